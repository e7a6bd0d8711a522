"""The stationary covariance of two normal modes under general gradient noise, in discrete time.

Modes i and j with a = eta lambda_i, b = eta lambda_j each obey x_{k+1} = T x_k - d x_{k-1} + e_k; their kicks
have the covariance q = eta^2 Sigma_ij. With z_k = (x_k, x_{k-1}) of each mode, the covariance S = E z_i z_j^T
solves S = A_i S A_j^T + diag(q, 0). Label noise has Sigma = c H, which is diagonal here: only other noise
makes two modes move together.

2 delta q / ((a - b)^2 + 2 delta^2 (a + b)) is the limit of small a, b and delta. It also holds at
fixed delta for small a and b, to leading order, where both it and the exact one are q / (delta (a + b)). Its exact
relative error is a step below: never negative and at most max(delta, a b / (a + b)) / (1 + beta).
"""

from __future__ import annotations

import sympy as sp

from .formula import Derivation, Formula, Step
from .oscillator import (
    DEFINE_A,
    DEFINE_HEAVY_BALL_MARGIN,
    DEFINE_NESTEROV_MARGIN,
    a,
    beta,
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
from .symbols import eigenvalue, lr, noise_covariance, one_minus_beta, other_eigenvalue, scaled_damping

b, q = sp.Symbol("b", positive=True), sp.Symbol("q", real=True)
other_margin = sp.Symbol("other_margin", real=True)
_lambda_i, _lambda_j, _s, _C = sp.symbols("lambda_i lambda_j s C", positive=True)
ARGUMENTS = (lr, eigenvalue, other_eigenvalue, one_minus_beta, noise_covariance)


def pair_lyapunov(trace: sp.Expr, determinant: sp.Expr) -> sp.Matrix:
    """E z_i z_j^T of the two stationary modes, from the trace and determinant of mode i as functions of a."""
    unknown = sp.Matrix(2, 2, sp.symbols("s_00 s_01 s_10 s_11"))
    step_i = sp.Matrix([[trace, -determinant], [1, 0]])
    balance = step_i * unknown * step_i.subs(a, b).T + sp.diag(q, 0) - unknown
    solution = sp.solve(list(balance), list(unknown), dict=True)[0]
    return unknown.subs(solution).applyfunc(sp.factor)


def _as_arguments(definition: tuple[sp.Symbol, sp.Expr], name: sp.Symbol) -> tuple[sp.Symbol, sp.Expr]:
    """The same quantity of the other mode."""
    return name, definition[1].subs(eigenvalue, other_eigenvalue)


_lyapunov = pair_lyapunov(heavy_ball_trace, heavy_ball_determinant)
_nesterov_lyapunov = pair_lyapunov(nesterov_trace, nesterov_determinant)

# Denominators as sums of terms that are positive below the stability limit; a - b is formed from the eigenvalues.
difference = sp.Symbol("difference", real=True)
_filled = (a * other_margin + b * margin) / 2
_heavy_ball = q * delta * (1 + beta) / (beta * difference**2 + delta**2 * _filled)
_damping, _other_damping = delta + a * beta, delta + b * beta
_together = _damping + _other_damping - _damping * _other_damping  # 1 - d_i d_j
_nesterov_denominator = beta**2 * difference**2 + _damping * _other_damping * _filled
_nesterov = q * _together / _nesterov_denominator
# At the look-ahead point y = x + beta (x - x_previous), where Nesterov's gradient is taken.
_lookahead = q * (beta**2 * _together + (1 + beta) ** 2 * _damping * _other_damping) / _nesterov_denominator


def _heavy(value: sp.Expr) -> sp.Expr:
    return value.subs({difference: a - b, margin: heavy_ball_margin, other_margin: heavy_ball_margin.subs(a, b)})


def _ahead(value: sp.Expr) -> sp.Expr:
    return value.subs({difference: a - b, margin: nesterov_margin, other_margin: nesterov_margin.subs(a, b)})


heavy_ball_pair, nesterov_pair, lookahead_pair = _heavy(_heavy_ball), _ahead(_nesterov), _ahead(_lookahead)
_point = sp.Matrix([[1 + beta, -beta]])
_lookahead_moment = (_point * _nesterov_lyapunov * _point.T)[0, 0]

# --- Small steps ------------------------------------------------------------------------------------
small_pair = 2 * delta * q / ((a - b) ** 2 + 2 * delta**2 * (a + b))


def stationary_operator(i: sp.Expr, j: sp.Expr, scaled: sp.Expr) -> sp.Expr:
    """E x_i x_j = (eta / delta) Sigma_ij times this, at delta = C sqrt(eta)."""
    return 2 * scaled**2 / ((i - j) ** 2 + 2 * scaled**2 * (i + j))


_operator = stationary_operator(_lambda_i, _lambda_j, _C)
lyapunov_operator = 1 / (_lambda_i + _lambda_j)


def _scaled(power: int) -> sp.Expr:
    """The exact covariance in units of eta q / (eta^2 delta), at eta = s^4 and delta = C s^power: gamma = power / 4."""
    return (heavy_ball_pair / q * delta).subs({a: _s**4 * _lambda_i, b: _s**4 * _lambda_j}).subs(delta, _C * _s**power) * _s**4


def below_both_limits(value: sp.Expr) -> sp.Expr:
    """`value` where both modes are stable, nan elsewhere: a diverging mode has no covariance."""
    return sp.Piecewise((sp.nan, sp.Min(margin, other_margin) <= 0), (value, True))


_COMMON = (
    DEFINE_A,
    (b, lr * other_eigenvalue),
    (difference, lr * (eigenvalue - other_eigenvalue)),
    (q, lr**2 * noise_covariance),
)
WHERE_HEAVY_BALL = (*_COMMON, DEFINE_HEAVY_BALL_MARGIN, _as_arguments(DEFINE_HEAVY_BALL_MARGIN, other_margin))
WHERE_NESTEROV = (*_COMMON, DEFINE_NESTEROV_MARGIN, _as_arguments(DEFINE_NESTEROV_MARGIN, other_margin))
EVALUATED_HEAVY_BALL, EVALUATED_LOOKAHEAD = _heavy_ball, _lookahead

DERIVATION = Derivation(
    title="Stationary covariance of two modes",
    sections=(Section.RELAXATION,),
    assumptions=(
        "the gradient noise has any covariance Sigma, constant in time, and is independent from step to step",
        "the loss is quadratic in the normal modes; i and j are eigenvectors of H",
    ),
    steps=(
        Step("heavy ball: solution of the Lyapunov equation", _lyapunov[0, 0], heavy_ball_pair),
        Step(
            "heavy ball: equal modes have the variance of one",
            heavy_ball_pair.subs(b, a),
            q * (1 + beta) / (delta * a * heavy_ball_margin),
        ),
        Step(
            "small a, b, delta: 2 delta q / ((a - b)^2 + 2 delta^2 (a + b)); its relative error is exactly",
            1 - small_pair / heavy_ball_pair,
            (delta * (a - b) ** 2 + 2 * delta**2 * a * b) / ((1 + beta) * ((a - b) ** 2 + 2 * delta**2 * (a + b))),
        ),
        Step(
            "that is a mean of delta / (1 + beta) and a b / ((a + b) (1 + beta)) with positive weights",
            (delta * (a - b) ** 2 + 2 * delta**2 * a * b) / (1 + beta),
            (a - b) ** 2 * delta / (1 + beta) + 2 * delta**2 * (a + b) * a * b / ((a + b) * (1 + beta)),
        ),
        Step(
            "in units of eta Sigma / delta, at delta = C sqrt(eta), it is a function of the eigenvalues and C",
            (small_pair / q * delta * lr).subs({a: lr * _lambda_i, b: lr * _lambda_j}).subs(delta, _C * sp.sqrt(lr)),
            _operator,
        ),
        Step("gamma = 1/2: the exact covariance tends to it", sp.Limit(_scaled(2), _s, 0), _operator),
        Step("gamma < 1/2 (1/4): it tends to the Lyapunov solution", sp.Limit(_scaled(1), _s, 0), lyapunov_operator),
        Step("gamma > 1/2 (3/4): distinct modes decouple", sp.Limit(_scaled(3), _s, 0)),
        Step(
            "as eta^(2 gamma - 1): what is left is 2 C^2 / (lambda_i - lambda_j)^2 times that",
            sp.Limit(_scaled(3) / _s**2, _s, 0),
            2 * _C**2 / (_lambda_i - _lambda_j) ** 2,
        ),
        Step(
            "gamma > 1/2: equal modes keep the Lyapunov solution 1 / (2 lambda)",
            sp.Limit(_scaled(3).subs(_lambda_j, _lambda_i), _s, 0),
            1 / (2 * _lambda_i),
        ),
        Step(
            "half of it is left at |lambda_i - lambda_j| = C sqrt(2 (lambda_i + lambda_j)), omega_i and omega_j delta apart",
            2 * _C**2 / (2 * _C**2 * (_lambda_i + _lambda_j) + (_C * sp.sqrt(2 * (_lambda_i + _lambda_j))) ** 2),
            lyapunov_operator / 2,
        ),
        Step("C -> oo recovers gamma < 1/2", sp.Limit(_operator, _C, sp.oo), lyapunov_operator),
        Step("Nesterov: solution of the Lyapunov equation", _nesterov_lyapunov[0, 0], nesterov_pair),
        Step("Nesterov: covariance at the look-ahead point", _lookahead_moment, lookahead_pair),
        Step("Nesterov: x = (1 - a) y + e in both modes", (1 - a) * (1 - b) * lookahead_pair + q, nesterov_pair),
        Step(
            "Nesterov, small a, b, delta: q (2 delta + a + b) / ((a - b)^2 + 2 (delta + a) (delta + b) (a + b))",
            sp.Limit((nesterov_pair / q).subs({a: _s * _lambda_i, b: _s * _lambda_j, delta: _s * _C}) * _s, _s, 0),
            (2 * _C + _lambda_i + _lambda_j) / (_lambda_i - _lambda_j) ** 2,
        ),
        Step("at beta = 0 both are plain SGD", heavy_ball_pair.subs(delta, 1), nesterov_pair.subs(delta, 1)),
    ),
    formulas=(
        Formula(
            "heavy_ball_pair_covariance",
            ARGUMENTS,
            below_both_limits(_heavy_ball),
            "E x_i x_j = q delta (1 + beta) / (beta (a - b)^2 + delta^2 ((1 + beta) (a + b) - a b)), q = eta^2 Sigma_ij",
            "Stationary covariance of two heavy-ball modes, in squared parameter units; nan if either is unstable.",
            Equation(Section.RELAXATION, 12),
            WHERE_HEAVY_BALL,
        ),
        Formula(
            "nesterov_pair_covariance",
            ARGUMENTS,
            below_both_limits(_nesterov),
            "E x_i x_j = q (1 - (1 - a) (1 - b) beta^2) / (beta^2 (a - b)^2"
            " + (delta + a beta) (delta + b beta) ((1 + beta) (a + b) - a b (1 + 2 beta)))",
            "Stationary covariance of two Nesterov modes, in squared parameter units; nan if either is unstable.",
            Equation(Section.RELAXATION, 13),
            WHERE_NESTEROV,
        ),
        Formula(
            "stationary_operator",
            (eigenvalue, other_eigenvalue, scaled_damping),
            stationary_operator(eigenvalue, other_eigenvalue, scaled_damping),
            "2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j))",
            "E x_i x_j = (eta / delta) Sigma_ij times this, for small lr and 1 - beta, either update.",
            Equation(Section.RELAXATION, 14),
        ),
    ),
    symbols={
        "Sigma": "Sigma_ij, covariance of the gradient noise in the two modes",
        a: "= eta lambda_i of the first mode",
        b: "= eta lambda_j of the second mode",
        q: "= eta^2 Sigma_ij, covariance of the kicks that the two modes get in a step",
        _lambda_i: "eigenvalue of the first mode",
        _lambda_j: "eigenvalue of the second mode",
        _s: "small number, eta = s^4",
        _C: "constant in delta = C eta^gamma",
        "gamma": "exponent in delta = C eta^gamma",
        "x": "displacement of a mode",
        "y": "= x + beta (x - x_previous), the look-ahead point at which Nesterov's gradient is taken",
        "e": "kick of a step",
        "omega_i": "= sqrt(eta lambda_i), frequency of the first mode",
        "omega_j": "= sqrt(eta lambda_j), frequency of the second mode",
    },
)
