"""The stationary variance of one normal mode under label noise, from the discrete Lyapunov equation.

z_k = (x_k, x_{k-1}) obeys z_{k+1} = A z_k + (e_k, 0), A = [[T, -d], [1, 0]], with E e^2 = eta^2 c lambda.
Its stationary covariance solves S = A S A^T + Q.
"""

from __future__ import annotations

import sympy as sp

from .formula import Derivation, Formula, Step
from .oscillator import (
    DEFINE_A,
    DEFINE_CONTRACTION,
    DEFINE_HEAVY_BALL_MARGIN,
    DEFINE_NESTEROV_MARGIN,
    a,
    beta,
    contraction,
    delta,
    heavy_ball_determinant,
    heavy_ball_margin,
    heavy_ball_trace,
    margin,
    nesterov_determinant,
    nesterov_margin,
    nesterov_trace,
)
from .sections import Equation, Section
from .symbols import eigenvalue, lr, noise, one_minus_beta

_ARGUMENTS = (lr, eigenvalue, one_minus_beta, noise)
kick = lr * noise * a  # eta^2 c lambda, as eta c a


def below_limit(value: sp.Expr) -> sp.Expr:
    """`value` where the margin to the stability limit is positive, infinity elsewhere."""
    return sp.Piecewise((sp.oo, margin <= 0), (value, True))


def lyapunov(trace: sp.Expr, determinant: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """(E x_k^2, E x_k x_{k-1}) of the stationary mode."""
    variance, covariance = sp.symbols("variance covariance")
    step = sp.Matrix([[trace, -determinant], [1, 0]])
    moments = sp.Matrix([[variance, covariance], [covariance, variance]])
    balance = step * moments * step.T + sp.diag(kick, 0) - moments
    solution = sp.solve([balance[0, 0], balance[0, 1]], [variance, covariance], dict=True)[0]
    return sp.factor(solution[variance]), sp.factor(solution[covariance])


heavy_ball_lyapunov = lyapunov(heavy_ball_trace, heavy_ball_determinant)
nesterov_lyapunov = lyapunov(nesterov_trace, nesterov_determinant)

# In terms of the margin to the stability limit and, for Nesterov, of 1 - a.
_heavy_ball = lr * noise * (1 + beta) / (delta * margin)
_nesterov = lr * noise * (1 + contraction * beta) / ((delta + a * beta) * margin)
heavy_ball_variance = _heavy_ball.subs(margin, heavy_ball_margin)
nesterov_variance = _nesterov.subs({contraction: 1 - a, margin: nesterov_margin})

DERIVATION = Derivation(
    title="Stationary variance of one mode",
    sections=(Section.RELAXATION,),
    assumptions=("the gradient noise on Gamma has covariance c H", "noise is independent from step to step"),
    steps=(
        Step("heavy ball: solution of the Lyapunov equation", heavy_ball_lyapunov[0], heavy_ball_variance),
        Step("Nesterov: solution of the Lyapunov equation", nesterov_lyapunov[0], nesterov_variance),
        Step("heavy ball, small a: eta c / (2 delta)", heavy_ball_variance.subs(a, 0), lr * noise / (2 * delta)),
        Step(
            "Nesterov, a and delta small together: eta c / (2 (delta + a))",
            sp.Limit((nesterov_variance * (delta + a)).subs(delta, 3 * a), a, 0),
            lr * noise / 2,
        ),
        Step(
            "at beta = 0 both are plain SGD",
            heavy_ball_variance.subs(delta, 1),
            nesterov_variance.subs(delta, 1),
        ),
    ),
    formulas=(
        Formula(
            "heavy_ball_stationary_variance",
            _ARGUMENTS,
            below_limit(_heavy_ball),
            "s = eta c (1 + beta) / (delta (2 (1 + beta) - a))",
            "Stationary variance of one heavy-ball mode, in squared parameter units; inf if unstable.",
            Equation(Section.RELAXATION, 10),
            (DEFINE_HEAVY_BALL_MARGIN,),
        ),
        Formula(
            "nesterov_stationary_variance",
            _ARGUMENTS,
            below_limit(_nesterov),
            "s = eta c (1 + (1 - a) beta) / ((delta + a beta) (2 (1 + beta) - a (1 + 2 beta)))",
            "Stationary variance of one Nesterov mode, in squared parameter units; inf if unstable.",
            Equation(Section.RELAXATION, 11),
            (DEFINE_A, DEFINE_CONTRACTION, DEFINE_NESTEROV_MARGIN),
        ),
    ),
    symbols={},
)
