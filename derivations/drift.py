"""The mean force along Gamma that the fluctuations across it exert, and its potential V.

Take one normal mode x whose eigenvalue depends on the position theta along Gamma. With n the label noise
of this step, its loss is (sqrt(lambda(theta)) x - sqrt(c) n)^2 / 2: the gradient in x has the noise
sqrt(c lambda) n of a normal mode, and the gradient in theta is the force below. The noise is fresh, so it is
independent of the point where the gradient is taken, and the mean force is lambda'(theta) / 2 times the
second moment of that point: x for heavy ball, the look-ahead x + beta (x - x_previous) for Nesterov.
"""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import log1p

from .formula import Derivation, Formula, Step
from .oscillator import (
    DEFINE_A,
    DEFINE_HEAVY_BALL_MARGIN,
    DEFINE_NESTEROV_MARGIN,
    a,
    beta,
    delta,
    heavy_ball_limit,
    heavy_ball_margin,
    margin,
    nesterov_limit,
    nesterov_margin,
)
from .sections import Equation, Section
from .stationary_variance import below_limit, heavy_ball_variance, kick, nesterov_lyapunov, nesterov_variance
from .symbols import curvature, eigenvalue, lr, noise, one_minus_beta

_ARGUMENTS = (lr, eigenvalue, one_minus_beta, noise)
_SAFE = {a: sp.Symbol("t", positive=True) * nesterov_limit}  # inside both stability limits

# --- The mean force ---------------------------------------------------------------------------------
_theta, _x, _n, _second_moment, _velocity, _slope = sp.symbols("theta x n second_moment velocity slope")
_lambda = sp.Function("eigenvalue", positive=True)(_theta)
_step_loss = (sp.sqrt(_lambda) * _x - sp.sqrt(noise) * _n) ** 2 / 2
_force = sp.expand(sp.diff(_step_loss, _theta)).subs(sp.Derivative(_lambda, _theta), _slope)
_mean_force = _force.coeff(_n, 0).subs(_x**2, _second_moment)

# v <- beta v - eta F settles at v = -eta F / delta: the weight of grad lambda in the drift is
_settled = sp.solve(beta * _velocity - lr * _mean_force - _velocity, _velocity)[0]


def weight(second_moment: sp.Expr) -> sp.Expr:
    """dV/dlambda: minus the drift per step and per unit of grad lambda."""
    return lr * second_moment / (2 * delta)


# ln(1 - a / limit) from a or from the margin, whichever is the smaller.
logarithm = sp.Symbol("logarithm", nonpositive=True)


def _define_logarithm(limit: sp.Expr, margin_at_zero: sp.Expr) -> tuple[sp.Symbol, sp.Expr]:
    near = sp.log(margin / margin_at_zero)
    return logarithm, sp.Piecewise((log1p(-a / limit), a < limit / 2), (near, True))


# --- Heavy ball -------------------------------------------------------------------------------------
small_lr_weight = lr**2 * noise / (4 * delta**2)
_heavy_ball_weight = lr**2 * noise * (1 + beta) / (2 * delta**2 * margin)
heavy_ball_weight = _heavy_ball_weight.subs(margin, heavy_ball_margin)
_heavy_ball_potential = -(lr * noise * (1 + beta) / (2 * delta**2)) * logarithm
heavy_ball_potential = _heavy_ball_potential.subs(logarithm, log1p(-a / heavy_ball_limit))

# --- Nesterov ---------------------------------------------------------------------------------------
# The update is x_{k+1} = (1 - a) y_k + e_k with y the look-ahead point, so E x^2 = (1 - a)^2 E y^2 + E e^2.
_lookahead = ((1 + beta) ** 2 + beta**2) * nesterov_lyapunov[0] - 2 * beta * (1 + beta) * nesterov_lyapunov[1]
lookahead_variance = lr * noise * (1 + beta + a * beta * (1 + 2 * beta)) / ((delta + a * beta) * nesterov_margin)
nesterov_weight = weight(lookahead_variance)
_nesterov_weight = weight(lr * noise * (1 + beta + a * beta * (1 + 2 * beta)) / ((delta + a * beta) * margin))
# Partial fractions of the weight in a, integrated from a = 0.
_nesterov_potential = (
    lr * noise / (2 * delta * (1 + 3 * beta)) * (2 * beta**2 * log1p(a * beta / delta) - (1 + beta) * (1 + 2 * beta) * logarithm)
)
nesterov_potential = _nesterov_potential.subs(logarithm, log1p(-a / nesterov_limit))


def _by_eigenvalue(potential: sp.Expr) -> sp.Expr:
    """d/dlambda = eta d/da, with log1p written out so that the result is rational."""
    return sp.diff(potential.rewrite(sp.log), a) * lr


# --- The slow time ----------------------------------------------------------------------------------
# Along an eigenvector of the Riemannian Hessian of tr H: grad sum_j lambda_j = mu theta.
longitudinal_time = 4 * delta**2 / (lr**2 * noise * curvature)

DERIVATION = Derivation(
    title="Drift along Gamma",
    sections=(Section.DRIFT,),
    assumptions=(
        "the normal modes equilibrate faster than theta moves (the critical limit lifts this)",
        "the label noise of a step is independent of the point where its gradient is taken",
    ),
    steps=(
        Step("mean force along theta = lambda' E x^2 / 2", _mean_force, _slope * _second_moment / 2),
        Step("settled velocity = -(eta / (2 delta)) E x^2 lambda'", _settled, -weight(_second_moment) * _slope),
        Step("heavy ball: dV/dlambda from the variance", weight(heavy_ball_variance), heavy_ball_weight),
        Step(
            "heavy ball: dV/dlambda is (eta^2 c / (4 delta^2)) / (1 - a / (2 (1 + beta)))",
            heavy_ball_weight,
            small_lr_weight / (1 - a / heavy_ball_limit),
        ),
        Step("heavy ball: V integrates dV/dlambda", _by_eigenvalue(heavy_ball_potential), heavy_ball_weight),
        Step(
            "heavy ball at beta = 0: V = -(eta c / 2) ln(1 - a / 2), the regulariser of Damian, Ma, Lee",
            heavy_ball_potential.subs(delta, 1).rewrite(sp.log),
            -lr * noise / 2 * sp.log(1 - a / 2),
        ),
        Step("heavy ball, small eta: eta^2 c / (4 delta^2)", heavy_ball_weight.subs(a, 0), small_lr_weight),
        Step("Nesterov: variance at the look-ahead point", _lookahead, lookahead_variance),
        Step("Nesterov: x = (1 - a) y + e", (1 - a) ** 2 * lookahead_variance + kick, nesterov_variance),
        Step("Nesterov: V integrates dV/dlambda", _by_eigenvalue(nesterov_potential), nesterov_weight),
        Step("Nesterov, small eta: eta^2 c / (4 delta^2)", nesterov_weight.subs(a, 0), small_lr_weight),
        Step(
            "Nesterov, a and delta small together: eta^2 c / (4 delta (delta + a))",
            sp.Limit((nesterov_weight * delta * (delta + a) / lr**2).subs(delta, 3 * a), a, 0),
            noise / 4,
        ),
        Step(
            "V = 0 at lambda = 0 for both",
            heavy_ball_potential.subs(a, 0).rewrite(sp.log),
            nesterov_potential.subs(a, 0).rewrite(sp.log),
        ),
        Step(
            "at beta = 0 both potentials agree",
            heavy_ball_potential.subs(delta, 1).rewrite(sp.log),
            nesterov_potential.subs(delta, 1).rewrite(sp.log),
            _SAFE,
        ),
        Step(
            "heavy ball: 1 - a / limit = margin / (2 (1 + beta))",
            1 - a / heavy_ball_limit,
            heavy_ball_margin / (2 * (1 + beta)),
        ),
        Step(
            "Nesterov: 1 - a / limit = margin / (2 (1 + beta))",
            1 - a / nesterov_limit,
            nesterov_margin / (2 * (1 + beta)),
        ),
        Step(
            "Nesterov: dV/dlambda in terms of the margin",
            _nesterov_weight.subs(margin, nesterov_margin),
            nesterov_weight,
        ),
        Step("tau_par = 1 / (mu dV/dlambda)", longitudinal_time, 1 / (curvature * small_lr_weight)),
    ),
    formulas=(
        Formula(
            "heavy_ball_potential",
            _ARGUMENTS,
            below_limit(_heavy_ball_potential),
            "V = -(eta c (1 + beta) / (2 delta^2)) ln(1 - a / (2 (1 + beta)))",
            "Effective potential of one heavy-ball mode, per step: dw = -grad_Gamma sum V; inf if unstable.",
            Equation(Section.DRIFT, 3),
            (DEFINE_A, DEFINE_HEAVY_BALL_MARGIN, _define_logarithm(heavy_ball_limit, 2 * (1 + beta))),
        ),
        Formula(
            "heavy_ball_drift_weight",
            _ARGUMENTS,
            below_limit(_heavy_ball_weight),
            "dV/dlambda = (eta^2 c / (4 delta^2)) / (1 - a / (2 (1 + beta)))",
            "Weight of grad lambda_j in the heavy-ball drift, per step; inf if unstable.",
            Equation(Section.DRIFT, 2),
            (DEFINE_HEAVY_BALL_MARGIN,),
        ),
        Formula(
            "nesterov_potential",
            _ARGUMENTS,
            below_limit(_nesterov_potential),
            "V = (eta c / (2 delta (1 + 3 beta))) (2 beta^2 ln(1 + a beta / delta)"
            " - (1 + beta) (1 + 2 beta) ln(1 - a (1 + 2 beta) / (2 (1 + beta))))",
            "Effective potential of one Nesterov mode, per step: dw = -grad_Gamma sum V; inf if unstable.",
            Equation(Section.DRIFT, 5),
            (DEFINE_A, DEFINE_NESTEROV_MARGIN, _define_logarithm(nesterov_limit, 2 * (1 + beta))),
        ),
        Formula(
            "nesterov_drift_weight",
            _ARGUMENTS,
            below_limit(_nesterov_weight),
            "dV/dlambda = eta^2 c (1 + beta + a beta (1 + 2 beta)) / (2 delta (delta + a beta) (2 (1 + beta) - a (1 + 2 beta)))",
            "Weight of grad lambda_j in the Nesterov drift, per step; inf if unstable.",
            Equation(Section.DRIFT, 4),
            (DEFINE_A, DEFINE_NESTEROV_MARGIN),
        ),
        Formula(
            "small_lr_drift_weight",
            (lr, one_minus_beta, noise),
            small_lr_weight,
            "dV/dlambda = eta^2 c / (4 delta^2)",
            "Weight of grad tr H in the drift at small lr (a much below delta), per step.",
            Equation(Section.DRIFT, 6),
        ),
        Formula(
            "longitudinal_time",
            (lr, one_minus_beta, noise, curvature),
            longitudinal_time,
            "tau_par = 4 delta^2 / (eta^2 c mu)",
            "Relaxation time along Gamma at small lr, in steps.",
            Equation(Section.DRIFT, 8),
        ),
    ),
    symbols={
        _x: "displacement of the normal mode",
        _second_moment: "E x^2 at the point where the gradient is taken",
        _slope: "lambda', change of the eigenvalue along Gamma",
        "'": "derivative by theta",
        "y": "look-ahead point of Nesterov",
        "e": "kick of a step",
    },
)
