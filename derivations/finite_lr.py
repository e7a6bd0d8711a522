"""The prefactor at finite learning rate: what the discrete update and the size of the normal modes change in it.

Along Gamma the update itself is a heavy-ball mode with a = k, theta_{k+1} = (1 + beta - k) theta_k - beta theta_{k-1}: its
critical damping is exactly k = (1 - sqrt(beta))^2, that is delta = 2 sqrt(k) - k, where the differential equation
has 2 sqrt(k). With delta0 = (c mu)^(1/3) eta^(2/3) the first corrections are

    1 - beta* = delta0 (1 - delta0 / 6 + eta nu / (24 mu))

the first from the discrete update, of relative order eta^(2/3), the second from the drift's potential V at finite eta, of
relative order eta, with nu the curvature of tr H^2, less (tr H)''' (tr H^2)' / mu because V is flattest elsewhere. The
energies' lag behind theta (the critical limit) is not in it.
"""

from __future__ import annotations

from itertools import pairwise

import sympy as sp

from .drift import heavy_ball_weight, small_lr_weight
from .formula import Derivation, Formula, Step
from .oscillator import a, beta, delta, heavy_ball_determinant, heavy_ball_discriminant, heavy_ball_trace, r
from .prefactor import WHERE_CRITICAL, critical, label_noise_rule, stiffness
from .sections import Equation, Section
from .symbols import curvature, damping_ratio, explicit_curvature, lr, noise, one_minus_beta, square_curvature

_k, _s, _u, _x, _theta, _t = sp.symbols("k s u x theta t", positive=True)
_p, _q = WHERE_CRITICAL[0][0], WHERE_CRITICAL[1][0]

# --- The discrete update along Gamma -------------------------------------------------------------------
# s = sqrt(k) = 1 - sqrt(beta), delta = 2 s - s^2: (s^2 - eta h) delta = eta^2 c mu / 4 with p = 4 eta h, q = eta^2 c mu.
_delta_of_s = 2 * _s - _s**2
_equation = sp.expand((_s**2 - _p / 4) * _delta_of_s - _q / 4)
_ITERATIONS = 6  # from the solution of the differential equation: quadratic, from at worst 25 % off


def _newton(s: sp.Expr) -> sp.Expr:
    """One step of Newton's method for the equation in s."""
    return s - (_equation / sp.diff(_equation, _s)).subs(_s, s)


_iterates = sp.symbols(f"s_0:{_ITERATIONS + 1}", positive=True)
_WHERE_DISCRETE = (
    *((name, value.subs(damping_ratio, 1)) for name, value in WHERE_CRITICAL),
    (_iterates[0], critical / 2),
    *((after, _newton(before)) for before, after in pairwise(_iterates)),
)
_discrete = sp.Piecewise(
    (sp.Integer(0), _p + _q <= 0),
    (sp.Integer(1), _p + _q >= 4),
    (_delta_of_s.subs(_s, _iterates[-1]), True),
)
_edge = r**2  # (1 - sqrt(beta))^2 without cancellation
discrete_lr = 2 * _edge / (explicit_curvature + sp.sqrt(explicit_curvature**2 + noise * curvature * _edge / delta))

# delta ((1 - sqrt(1 - delta))^2) 4 = delta0^3 under label noise: delta as a series in delta0.
_residual = 4 * _x * (1 - sp.sqrt(1 - _x)) ** 2 - _u**3


def _order(correction: sp.Expr, order: int) -> sp.Expr:
    """Coefficient of u^order in the residual at x = u + correction."""
    return sp.series(_residual.subs(_x, _u + correction), _u, 0, order + 1).removeO().coeff(_u, order)


# --- The potential at finite eta ------------------------------------------------------------------------
# Two modes with quadratic lambda_j(theta) whose sum is flattest at 0; V's own flattest point moves by order eta.
_l, _b, _c3 = sp.symbols("l_0:2"), sp.symbols("b_0:2"), sp.symbols("d_0:2")
_slope = sp.Symbol("slope")
_modes = [_l[j] + (-1) ** j * _slope * _theta + _b[j] * _theta**2 / 2 + _c3[j] * _theta**3 / 6 for j in range(2)]
_trace, _square = sum(_modes), sum(mode**2 for mode in _modes)
_first_order = sp.series(heavy_ball_weight / small_lr_weight, a, 0, 2).removeO()  # 1 + a / (2 (1 + beta))
_potential = sum(sp.integrate(_first_order.subs(a, lr * _t), (_t, 0, mode)) for mode in _modes)
_mu, _third = (sp.diff(_trace, _theta, n).subs(_theta, 0) for n in (2, 3))
_nu, _square_slope = (sp.diff(_square, _theta, n).subs(_theta, 0) for n in (2, 1))
_shift = -lr * _square_slope / (4 * (1 + beta) * _mu)
_evaluated_curvature = curvature + lr * square_curvature / (4 * (1 + beta))

# --- b(k): how the normal modes fill --------------------------------------------------------------------
_T, _d = heavy_ball_trace, heavy_ball_determinant
_moments = sp.Matrix([[_T**2, -2 * _T * _d, _d**2], [_T, -_d, 0], [1, 0, 0]])  # of x_k^2, x_k x_{k-1}, x_{k-1}^2
_multiplier = sp.Symbol("multiplier")
_fills = sp.factor((_moments - _multiplier * sp.eye(3)).det())
# Started at 0, minus the stationary moments decays; the part along the multiplier beta, by left and right eigenvectors.
_right = (_moments - beta * sp.eye(3)).nullspace()[0]
_left = (_moments.T - beta * sp.eye(3)).nullspace()[0]
_stationary = sp.Matrix([1, _T / (1 + _d), 1])
_share = sp.factor((_left.dot(_stationary) / _left.dot(_right) * _right[0]).simplify())

DERIVATION = Derivation(
    title="The prefactor at finite learning rate",
    sections=(
        Section.EFFECTIVE_LOSS,
        Section.FINITE_LEARNING_RATE,
    ),
    assumptions=(
        "the normal modes are equilibrated and the energies average out",
        "for b(k): underdamped modes, averaged over the phase",
    ),
    steps=(
        Step(
            "critical damping of the update: the discriminant vanishes at k = (1 - sqrt(beta))^2",
            heavy_ball_discriminant.subs(a, r**2),
        ),
        Step("there delta = 2 sqrt(k) - k", 2 * r - r**2, delta),
        Step("with an explicit force alone: delta = 2 sqrt(eta h) - eta h", _equation.subs({_q: 0, _s: sp.sqrt(_p) / 2})),
        Step(
            "k(delta) = k is the equation that is solved",
            (_s**2 - stiffness.subs(delta, _delta_of_s)) * _delta_of_s,
            _equation.subs({_p: 4 * lr * explicit_curvature, _q: lr**2 * noise * curvature}),
        ),
        Step("a fixed point of the iteration solves it", (_s - _newton(_s)) * sp.diff(_equation, _s), _equation),
        Step("the inverse: k(delta) = (1 - sqrt(beta))^2 at that eta", stiffness.subs(lr, discrete_lr), r**2),
        Step("delta = delta0 - delta0^2 / 6: orders 3 and 4 vanish", _order(-(_u**2) / 6, 3) + _order(-(_u**2) / 6, 4)),
        Step("and at order 4 no other second-order term does it", _order(_t * _u**2, 4), 3 * _t + sp.Rational(1, 2)),
        Step("weight of grad lambda to first order: 1 + a / (2 (1 + beta))", _first_order, 1 + a / (2 * (1 + beta))),
        Step(
            "so V is tr H + eta tr H^2 / (4 (1 + beta)), in units of eta^2 c / (4 delta^2)",
            _potential,
            _trace + lr * _square / (4 * (1 + beta)),
        ),
        Step(
            "its flattest point moves by -eta (tr H^2)' / (4 (1 + beta) mu)",
            sp.diff(_potential, _theta).subs(_theta, lr * _u).diff(lr).subs(lr, 0).subs(_u, _shift / lr),
        ),
        Step(
            "the curvature there, to first order in eta: mu + eta nu / (4 (1 + beta)) + (tr H)''' times the shift",
            sp.diff(_potential, _theta, 2).subs(_theta, _shift).diff(lr).subs(lr, 0),
            _nu / (4 * (1 + beta)) + _third * _shift / lr,
        ),
        Step(
            "at small delta delta0 ~ mu^(1/3) therefore grows by the fraction eta nu / (24 mu)",
            sp.diff(sp.log(label_noise_rule.subs(curvature, _evaluated_curvature.subs(delta, 0)) / label_noise_rule), lr).subs(
                lr, 0
            ),
            square_curvature / (24 * curvature),
        ),
        Step(
            "second moments multiply by chi_1^2, chi_1 chi_2 = beta, chi_2^2",
            _fills,
            sp.factor((_d - _multiplier) * (_multiplier**2 - (_T**2 - 2 * _d) * _multiplier + _d**2)),
        ),
        Step(
            "started at 0, a share f beta^k of the variance that does not oscillate is missing after k steps",
            _share,
            2 * a * beta * (2 * (1 + beta) - a) / ((1 + beta) * (4 * a - (delta + a) ** 2)),
        ),
        Step(
            "for small a far above delta^2 (underdamped) f is 1",
            sp.Limit(_share.subs({a: _t * _x, delta: _t * _u}), _t, 0),
            sp.Integer(1),
        ),
        Step(
            "so b(k) = 1 - beta^k, and 1 - exp(-delta k) at small delta",
            sp.Limit(1 - beta ** (_u / delta), delta, 0),
            1 - sp.exp(-_u),
        ),
    ),
    formulas=(
        Formula(
            "discrete_critical_one_minus_beta",
            (lr, noise, curvature, explicit_curvature),
            _discrete,
            "(1 - sqrt(beta))^2 = k(delta); with delta0 = (c mu)^(1/3) eta^(2/3): delta0 (1 - delta0 / 6 + ...)",
            "The 1 - beta that damps the discrete update along Gamma critically; 1 where even plain SGD overshoots.",
            Equation(Section.FINITE_LEARNING_RATE, 1),
            _WHERE_DISCRETE,
        ),
        Formula(
            "discrete_critical_lr",
            (one_minus_beta, noise, curvature, explicit_curvature),
            discrete_lr,
            "eta = 2 K / (h + sqrt(h^2 + c mu K / delta)), K = (1 - sqrt(beta))^2",
            "The lr at which `discrete_critical_one_minus_beta` is the given one.",
            Equation(Section.FINITE_LEARNING_RATE, 2),
        ),
        Formula(
            "finite_lr_curvature",
            (lr, one_minus_beta, curvature, square_curvature),
            _evaluated_curvature,
            "mu + eta nu / (4 (1 + beta))",
            "Curvature along Gamma of the drift's potential V at its flattest point, in place of mu, to first order in lr.",
            Equation(Section.FINITE_LEARNING_RATE, 3),
        ),
    ),
    symbols={
        "b": "b(k), share of a mode's stationary variance that is there after k steps",
        "k": "stiffness along Gamma, per step squared; in b(k) the number of steps",
        _s: "= sqrt(k) = 1 - sqrt(beta)",
        _p: "= 4 eta h",
        _q: "= eta^2 c mu",
        _u: "= delta0, or delta k, or a factor of eta, as the claim says",
        _x: "= 1 - beta, or lambda in units of eta",
        _t: "a factor that is free, or tends to 0",
        "delta0": "= (c mu)^(1/3) eta^(2/3)",
        _slope: "slope of the two eigenvalues at theta = 0, opposite to each other",
        "'": "derivative by theta",
        _l[0]: "an eigenvalue at theta = 0",
        _l[1]: "an eigenvalue at theta = 0",
        _b[0]: "its second derivative",
        _b[1]: "its second derivative",
        _c3[0]: "its third derivative",
        _c3[1]: "its third derivative",
        _multiplier: "multiplier of the second moments",
        "chi_1": "multiplier of the mode",
        "chi_2": "the other multiplier of the mode",
        "f": "share of the missing variance that does not oscillate",
    },
)
