"""T2: one normal mode as a discrete oscillator: multipliers, stability, regimes, relaxation time.

The mode x with a = eta lambda obeys x_{k+1} = T x_k - d x_{k-1}, whose multipliers are the roots of
kappa^2 - T kappa + d. Heavy ball: T = 1 + beta - a, d = beta. Nesterov: T = (1-a)(1+beta), d = (1-a) beta.
Everything is written in delta = 1 - beta, for 1 - beta must never be computed from beta.
"""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import log1p

from .formula import Derivation, Formula, Step, eigenvalue, lr, one_minus_beta

a = sp.Symbol("a", positive=True)
delta = one_minus_beta
beta = 1 - delta
kappa, root, lower, upper, t = sp.symbols("kappa root lower upper t", positive=True)
_ARGUMENTS = (lr, eigenvalue, one_minus_beta)
DEFINE_A = (a, lr * eigenvalue)


def polynomial(trace: sp.Expr, determinant: sp.Expr) -> sp.Expr:
    """The characteristic polynomial in kappa."""
    return kappa**2 - trace * kappa + determinant


# --- Heavy ball -------------------------------------------------------------------------------------
heavy_ball_trace, heavy_ball_determinant = 1 + beta - a, beta
_p = polynomial(heavy_ball_trace, heavy_ball_determinant)
_plain_discriminant = heavy_ball_trace**2 - 4 * heavy_ball_determinant

# Jury: the roots are inside the unit circle iff p(1) > 0, p(-1) > 0 and d < 1.
heavy_ball_limit = 2 * (1 + beta)

# Edges of the underdamped window: (1 - sqrt(beta))^2 and (1 + sqrt(beta))^2, with 1 - sqrt(beta) = r.
r = delta / (1 + sp.sqrt(beta))
_lower, _upper = r**2, (2 - r) ** 2
heavy_ball_discriminant = (a - _lower) * (a - _upper)

# 1 - max|kappa| without cancellation: a quotient in place of a difference, in either real regime.
_root = sp.sqrt(_plain_discriminant)
_gap_positive = 2 * a / (delta + a + root)
_gap_alternating = 2 * (heavy_ball_limit - a) / (4 - a - delta + root)

heavy_ball_time = sp.Piecewise(
    (sp.oo, a >= heavy_ball_limit),
    (-1 / log1p(-_gap_positive), a <= lower),
    (-2 / log1p(-delta), a < upper),
    (-1 / log1p(-_gap_alternating), True),
)

_steps_heavy_ball = (
    Step("heavy ball: p(1) = a", _p.subs(kappa, 1), a),
    Step("heavy ball: p(-1) = 2 (1 + beta) - a", _p.subs(kappa, -1), heavy_ball_limit - a),
    Step("heavy ball: 1 - d = delta", 1 - heavy_ball_determinant, delta),
    Step("heavy ball: discriminant = (delta + a)^2 - 4 a", _plain_discriminant, (delta + a) ** 2 - 4 * a),
    Step("heavy ball: 1 - sqrt(beta) = r", 1 - sp.sqrt(beta), r),
    Step("heavy ball: discriminant in factors", _plain_discriminant, heavy_ball_discriminant),
    Step(
        "heavy ball, overdamped: 1 - kappa = 2 a / (delta + a + root)",
        1 - (heavy_ball_trace + _root) / 2,
        _gap_positive.subs(root, _root),
        {a: t * _lower},
    ),
    Step(
        "heavy ball, alternating: 1 - |kappa| = 2 (2 (1 + beta) - a) / (4 - a - delta + root)",
        1 - (-heavy_ball_trace + _root) / 2,
        _gap_alternating.subs(root, _root),
        {a: _upper + t * (heavy_ball_limit - _upper)},
    ),
    Step(
        "heavy ball, underdamped: |kappa|^2 = (Re kappa)^2 + (Im kappa)^2 = beta",
        (heavy_ball_trace / 2) ** 2 + (sp.sqrt(-_plain_discriminant) / 2) ** 2,
        beta,
    ),
    Step("overdamped limit: a tau -> delta", sp.limit(a / _gap_positive.subs(root, _root), a, 0), delta),
    Step("underdamped limit: delta tau -> 2", sp.limit(-2 * delta / sp.log(1 - delta), delta, 0), sp.Integer(2)),
)

# --- Nesterov ---------------------------------------------------------------------------------------
nesterov_trace, nesterov_determinant = (1 - a) * (1 + beta), (1 - a) * beta
_q = polynomial(nesterov_trace, nesterov_determinant)
_plain_nesterov = nesterov_trace**2 - 4 * nesterov_determinant

nesterov_limit = 2 * (1 + beta) / (1 + 2 * beta)
nesterov_margin = 2 * (1 + beta) - a * (1 + 2 * beta)  # > 0 iff a is below the limit
_edge = (delta / (2 - delta)) ** 2
nesterov_discriminant = (1 - a) * (_edge - a) * (2 - delta) ** 2

_nesterov_root = sp.sqrt(_plain_nesterov)
_nesterov_gap_positive = 2 * a / (delta + a * (2 - delta) + root)
_nesterov_gap_alternating = 2 * nesterov_margin / (2 + nesterov_trace + root)

nesterov_time = sp.Piecewise(
    (sp.oo, a >= nesterov_limit),
    (-1 / log1p(-_nesterov_gap_positive), a <= lower),
    (-2 / (log1p(-a) + log1p(-delta)), a < 1),
    (-1 / log1p(-_nesterov_gap_alternating), True),
)

_steps_nesterov = (
    Step("Nesterov: p(1) = a", _q.subs(kappa, 1), a),
    Step("Nesterov: p(-1) = 2 (1 + beta) - a (1 + 2 beta)", _q.subs(kappa, -1), nesterov_margin),
    Step("Nesterov: the margin vanishes at the limit", nesterov_margin.subs(a, nesterov_limit), sp.Integer(0)),
    Step(
        "Nesterov: 1 - d = delta + a - a delta: effective damping delta + a at small a",
        1 - nesterov_determinant,
        delta + a - a * delta,
    ),
    Step(
        "Nesterov: |d| < 1 at the limit: 1 + d = (1 + beta) / (1 + 2 beta)",
        1 + nesterov_determinant.subs(a, nesterov_limit),
        (1 + beta) / (1 + 2 * beta),
    ),
    Step("Nesterov: discriminant in factors", _plain_nesterov, nesterov_discriminant),
    Step(
        "Nesterov, overdamped: 1 - kappa = 2 a / (delta + a (1 + beta) + root)",
        1 - (nesterov_trace + _nesterov_root) / 2,
        _nesterov_gap_positive.subs(root, _nesterov_root),
        {a: t * _edge},
    ),
    Step(
        "Nesterov, a > 1: 1 - |kappa| = 2 margin / (2 + T + root)",
        1 - (-nesterov_trace + _nesterov_root) / 2,
        _nesterov_gap_alternating.subs(root, _nesterov_root),
        {a: 1 + t * (nesterov_limit - 1)},
    ),
    Step(
        "Nesterov, underdamped: |kappa|^2 = (Re kappa)^2 + (Im kappa)^2 = (1 - a) beta",
        (nesterov_trace / 2) ** 2 + (sp.sqrt(-_plain_nesterov) / 2) ** 2,
        (1 - a) * beta,
    ),
)

DERIVATION = Derivation(
    title="Transverse motion of one mode",
    section="T2",
    assumptions=("the loss is quadratic in the mode", "lr and momentum are constant"),
    steps=_steps_heavy_ball + _steps_nesterov,
    formulas=(
        Formula(
            "heavy_ball_stability_limit",
            (one_minus_beta,),
            heavy_ball_limit,
            "stable iff 0 < a < 2 (1 + beta)",
            "The a = lr * eigenvalue at and above which heavy ball is unstable.",
            "T2",
        ),
        Formula(
            "heavy_ball_discriminant",
            _ARGUMENTS,
            (a - lower) * (a - upper),
            "(1 + beta - a)^2 - 4 beta = (a - (1 - sqrt(beta))^2) (a - (1 + sqrt(beta))^2)",
            "Negative iff the heavy-ball mode is underdamped.",
            "T2",
            (DEFINE_A, (lower, _lower), (upper, _upper)),
        ),
        Formula(
            "heavy_ball_relaxation_time",
            _ARGUMENTS,
            heavy_ball_time,
            "tau = -1 / ln max|kappa|, kappa^2 - (1 + beta - a) kappa + beta = 0",
            "Relaxation time of the amplitude of one heavy-ball mode, in steps; inf if unstable.",
            "T2",
            (DEFINE_A, (lower, _lower), (upper, _upper), (root, sp.sqrt((a - lower) * (a - upper)))),
        ),
        Formula(
            "nesterov_stability_limit",
            (one_minus_beta,),
            nesterov_limit,
            "stable iff 0 < a < 2 (1 + beta) / (1 + 2 beta)",
            "The a = lr * eigenvalue at and above which Nesterov momentum is unstable.",
            "T2",
        ),
        Formula(
            "nesterov_discriminant",
            _ARGUMENTS,
            (1 - a) * (lower - a) * (2 - delta) ** 2,
            "(1 - a)^2 (1 + beta)^2 - 4 (1 - a) beta = (1 - a) (delta^2 - a (1 + beta)^2)",
            "Negative iff the Nesterov mode is underdamped.",
            "T2",
            (DEFINE_A, (lower, _edge)),
        ),
        Formula(
            "nesterov_relaxation_time",
            _ARGUMENTS,
            nesterov_time,
            "tau = -1 / ln max|kappa|, kappa^2 - (1 - a) (1 + beta) kappa + (1 - a) beta = 0",
            "Relaxation time of the amplitude of one Nesterov mode, in steps; inf if unstable.",
            "T2",
            (DEFINE_A, (lower, _edge), (root, (2 - delta) * sp.sqrt((1 - a) * (lower - a)))),
        ),
    ),
)
