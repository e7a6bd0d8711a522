"""One normal mode as a discrete oscillator: its multipliers, stability limit, regimes and relaxation time.

The mode x with a = eta lambda obeys x_{k+1} = T x_k - d x_{k-1}, whose multipliers chi are the roots of
p(chi) = chi^2 - T chi + d. Heavy ball: T = 1 + beta - a, d = beta. Nesterov: T = (1-a)(1+beta), d = (1-a) beta.
Everything is written in delta = 1 - beta, for 1 - beta must never be computed from beta; margins and
discriminants, which nearly cancel where a regime ends, are marked `compensated`.
"""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import log1p

from .formula import Derivation, Formula, Step, compensated
from .sections import Equation, Section
from .symbols import eigenvalue, lr, one_minus_beta

a = sp.Symbol("a", positive=True)
delta = one_minus_beta
beta = 1 - delta
chi, root, t = sp.symbols("chi root t", positive=True)
margin, discriminant, window, contraction = sp.symbols("margin discriminant window contraction", real=True)
log_contraction = sp.Symbol("log_contraction", real=True)
nearer, gap, multiplier = sp.symbols("nearer gap multiplier", nonnegative=True)
_ARGUMENTS = (lr, eigenvalue, one_minus_beta)
DEFINE_A = (a, lr * eigenvalue)


def marked(polynomial: sp.Expr) -> sp.Expr:
    """A polynomial in a and delta as one in the arguments themselves, to be evaluated without cancellation."""
    return compensated(sp.expand(polynomial.subs(*DEFINE_A)))


def time_of(multiplier_gap: sp.Expr, size: sp.Expr) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
    """-1 / ln|chi| from 1 - |chi| or from |chi|, whichever is the smaller: the cases of a Piecewise."""
    return (-1 / log1p(-multiplier_gap), size >= sp.Rational(1, 2)), (-1 / sp.log(size), True)


def polynomial(trace: sp.Expr, determinant: sp.Expr) -> sp.Expr:
    """The characteristic polynomial in chi."""
    return chi**2 - trace * chi + determinant


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

# With M = 2 (1 + beta) - a, the distance to the limit, a and M enter the discriminant alike, and with them
# 1 - |chi| in either real regime: a quotient of positive terms in place of a difference.
heavy_ball_margin = heavy_ball_limit - a
_root = sp.sqrt(_plain_discriminant)
DEFINE_HEAVY_BALL_MARGIN = (margin, marked(heavy_ball_margin))
_gap = 2 * nearer / (nearer + delta + root)
_HEAVY_BALL_TIME = Formula(
    "heavy_ball_relaxation_time",
    _ARGUMENTS,
    sp.Piecewise((sp.oo, margin <= 0), (-2 / log1p(-delta), discriminant < 0), *time_of(gap, multiplier)),
    "tau = -1 / ln max|chi|, chi^2 - (1 + beta - a) chi + beta = 0",
    "Relaxation time of the amplitude of one heavy-ball mode, in steps; inf if unstable.",
    Equation(Section.RELAXATION, 3),
    (
        DEFINE_A,
        DEFINE_HEAVY_BALL_MARGIN,
        (discriminant, marked(_plain_discriminant)),
        (nearer, sp.Min(a, margin)),
        (root, sp.sqrt(discriminant)),
        (gap, _gap),
        (multiplier, (sp.Abs(marked(heavy_ball_trace)) + root) / 2),
    ),
)

# At a = x delta^2, the crossover between the two regimes: delta tau is a function of x = lambda / C^2 alone.
x = sp.Symbol("x", positive=True)
_crossover_gap = sp.limit(_gap.subs(root, _root).subs(nearer, a).subs(a, x * delta**2) / delta, delta, 0)

_steps_heavy_ball = (
    Step("heavy ball: p(1) = a", _p.subs(chi, 1), a),
    Step("heavy ball: p(-1) = 2 (1 + beta) - a", _p.subs(chi, -1), heavy_ball_limit - a),
    Step("heavy ball: 1 - d = delta", 1 - heavy_ball_determinant, delta),
    Step("heavy ball: discriminant = (delta + a)^2 - 4 a", _plain_discriminant, (delta + a) ** 2 - 4 * a),
    Step("heavy ball: 1 - sqrt(beta) = r", 1 - sp.sqrt(beta), r),
    Step("heavy ball: discriminant in factors", _plain_discriminant, heavy_ball_discriminant),
    Step(
        "heavy ball: the discriminant treats a and M = 2 (1 + beta) - a alike",
        _plain_discriminant.subs(a, heavy_ball_limit - a),
        _plain_discriminant,
    ),
    Step(
        "heavy ball, overdamped: 1 - chi = 2 a / (a + delta + root)",
        1 - (heavy_ball_trace + _root) / 2,
        _gap.subs(root, _root).subs(nearer, a),
        {a: t * _lower},
    ),
    Step(
        "heavy ball, alternating: 1 - |chi| = 2 M / (M + delta + root)",
        1 - (-heavy_ball_trace + _root) / 2,
        _gap.subs(root, _root).subs(nearer, heavy_ball_margin),
        {a: _upper + t * (heavy_ball_limit - _upper)},
    ),
    Step(
        "heavy ball, overdamped: the time evaluated is that of the multiplier",
        _HEAVY_BALL_TIME.unfolded,
        -1 / sp.log((heavy_ball_trace + _root) / 2).subs(*DEFINE_A),
        {eigenvalue: t * _lower / lr},
    ),
    Step(
        "heavy ball, alternating: the time evaluated is that of the multiplier",
        _HEAVY_BALL_TIME.unfolded,
        -1 / sp.log((-heavy_ball_trace + _root) / 2).subs(*DEFINE_A),
        {eigenvalue: (_upper + t * (heavy_ball_limit - _upper)) / lr},
    ),
    Step(
        "heavy ball, underdamped: the time evaluated is -2 / ln beta",
        _HEAVY_BALL_TIME.unfolded,
        -2 / sp.log(beta),
        {eigenvalue: (_lower + t * (_upper - _lower)) / lr},
    ),
    Step(
        "heavy ball, underdamped: |chi|^2 = (Re chi)^2 + (Im chi)^2 = beta",
        (heavy_ball_trace / 2) ** 2 + (sp.sqrt(-_plain_discriminant) / 2) ** 2,
        beta,
    ),
    Step(
        "overdamped limit: a tau -> delta",
        sp.Limit(a / _gap.subs(root, _root).subs(nearer, a), a, 0),
        delta,
    ),
    Step("underdamped limit: delta tau -> 2", sp.Limit(-2 * delta / sp.log(1 - delta), delta, 0), sp.Integer(2)),
    Step(
        "crossover at gamma = 1/2, a = x delta^2 with x < 1/4: delta tau -> 2 / (1 - sqrt(1 - 4 x))",
        1 / _crossover_gap,
        2 / (1 - sp.sqrt(1 - 4 * x)),
        {x: t / 4},
    ),
    Step("the crossover begins at the overdamped limit: x delta tau -> 1", sp.Limit(x / _crossover_gap, x, 0), sp.Integer(1)),
    Step(
        "and ends at the underdamped one: delta tau = 2 at x = 1/4, which is a = delta^2 / 4",
        1 / _crossover_gap.subs(x, sp.Rational(1, 4)),
        sp.Integer(2),
    ),
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
_nesterov_gap_alternating = 2 * margin / (2 + contraction * (2 - delta) + root)
DEFINE_NESTEROV_MARGIN = (margin, marked(nesterov_margin))
DEFINE_CONTRACTION = (contraction, marked(1 - a))
_DEFINE_WINDOW = (window, marked(delta**2 - a * (2 - delta) ** 2))
_log_contraction = sp.Piecewise((log1p(-a), a < sp.Rational(1, 2)), (sp.log(contraction), True))
_NESTEROV_TIME = Formula(
    "nesterov_relaxation_time",
    _ARGUMENTS,
    sp.Piecewise(
        (sp.oo, margin <= 0),
        (-2 / (log_contraction + log1p(-delta)), contraction * window < 0),
        *time_of(gap, multiplier),
    ),
    "tau = -1 / ln max|chi|, chi^2 - (1 - a) (1 + beta) chi + (1 - a) beta = 0",
    "Relaxation time of the amplitude of one Nesterov mode, in steps; inf if unstable.",
    Equation(Section.RELAXATION, 4),
    (
        DEFINE_A,
        DEFINE_NESTEROV_MARGIN,
        DEFINE_CONTRACTION,
        _DEFINE_WINDOW,
        (root, sp.sqrt(contraction * window)),
        (gap, sp.Piecewise((_nesterov_gap_positive, a <= 1), (_nesterov_gap_alternating, True))),
        (multiplier, (sp.Abs(contraction) * (2 - delta) + root) / 2),
        (log_contraction, _log_contraction),
    ),
)

_steps_nesterov = (
    Step("Nesterov: p(1) = a", _q.subs(chi, 1), a),
    Step("Nesterov: p(-1) = 2 (1 + beta) - a (1 + 2 beta)", _q.subs(chi, -1), nesterov_margin),
    Step("Nesterov: the margin vanishes at the limit", nesterov_margin.subs(a, nesterov_limit)),
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
    Step("Nesterov: discriminant as evaluated", _DEFINE_WINDOW[1] * DEFINE_CONTRACTION[1], _plain_nesterov.subs(*DEFINE_A)),
    Step(
        "Nesterov, overdamped: 1 - chi = 2 a / (delta + a (1 + beta) + root)",
        1 - (nesterov_trace + _nesterov_root) / 2,
        _nesterov_gap_positive.subs(root, _nesterov_root),
        {a: t * _edge},
    ),
    Step(
        "Nesterov, a > 1: 1 - |chi| = 2 margin / (2 + T + root)",
        1 - (-nesterov_trace + _nesterov_root) / 2,
        _nesterov_gap_alternating.subs({root: _nesterov_root, margin: nesterov_margin, contraction: 1 - a}),
        {a: 1 + t * (nesterov_limit - 1)},
    ),
    Step(
        "Nesterov, overdamped: the time evaluated is that of the multiplier",
        _NESTEROV_TIME.unfolded,
        -1 / sp.log((nesterov_trace + _nesterov_root) / 2).subs(*DEFINE_A),
        {eigenvalue: t * _edge / lr},
    ),
    Step(
        "Nesterov, a > 1: the time evaluated is that of the multiplier",
        _NESTEROV_TIME.unfolded,
        -1 / sp.log((-nesterov_trace + _nesterov_root) / 2).subs(*DEFINE_A),
        {eigenvalue: (1 + t * (nesterov_limit - 1)) / lr},
    ),
    Step(
        "Nesterov, underdamped: the time evaluated is -2 / ln((1 - a) beta)",
        _NESTEROV_TIME.unfolded,
        -2 / sp.log((1 - lr * eigenvalue) * beta),
        {eigenvalue: (_edge + t * (1 - _edge)) / lr},
    ),
    Step(
        "Nesterov, underdamped: |chi|^2 = (Re chi)^2 + (Im chi)^2 = (1 - a) beta",
        (nesterov_trace / 2) ** 2 + (sp.sqrt(-_plain_nesterov) / 2) ** 2,
        (1 - a) * beta,
    ),
)

DERIVATION = Derivation(
    title="Transverse motion of one mode",
    sections=(Section.RELAXATION,),
    assumptions=("the loss is quadratic in the mode", "lr and momentum are constant"),
    steps=_steps_heavy_ball + _steps_nesterov,
    formulas=(
        Formula(
            "heavy_ball_stability_limit",
            (one_minus_beta,),
            heavy_ball_limit,
            "stable iff 0 < a < 2 (1 + beta)",
            "The a = lr * eigenvalue at and above which heavy ball is unstable.",
            Equation(Section.RELAXATION, 5),
        ),
        Formula(
            "heavy_ball_discriminant",
            _ARGUMENTS,
            marked(_plain_discriminant),
            "(1 + beta - a)^2 - 4 beta = (a - (1 - sqrt(beta))^2) (a - (1 + sqrt(beta))^2)",
            "Negative iff the heavy-ball mode is underdamped.",
            Equation(Section.RELAXATION, 7),
        ),
        _HEAVY_BALL_TIME,
        Formula(
            "nesterov_stability_limit",
            (one_minus_beta,),
            nesterov_limit,
            "stable iff 0 < a < 2 (1 + beta) / (1 + 2 beta)",
            "The a = lr * eigenvalue at and above which Nesterov momentum is unstable.",
            Equation(Section.RELAXATION, 6),
        ),
        Formula(
            "nesterov_discriminant",
            _ARGUMENTS,
            contraction * window,
            "(1 - a)^2 (1 + beta)^2 - 4 (1 - a) beta = (1 - a) (delta^2 - a (1 + beta)^2)",
            "Negative iff the Nesterov mode is underdamped.",
            Equation(Section.RELAXATION, 8),
            (DEFINE_CONTRACTION, _DEFINE_WINDOW),
        ),
        _NESTEROV_TIME,
    ),
    symbols={
        "T": "trace of the update's matrix: 1 + beta - a for heavy ball, (1 - a) (1 + beta) for Nesterov",
        "d": "determinant of the update's matrix: beta for heavy ball, (1 - a) beta for Nesterov",
        "p": "p(chi) = chi^2 - T chi + d, characteristic polynomial; stable iff p(1) > 0, p(-1) > 0, |d| < 1",
        "M": "= 2 (1 + beta) - a, heavy ball's distance to the stability limit",
        "r": "= delta / (1 + sqrt(beta)), the square root of the least a at which heavy ball is underdamped",
        "tau": "relaxation time of the amplitude, in steps",
        x: "= a / delta^2, where the crossover between the regimes lies at gamma = 1/2",
    },
)
