"""The slowest decay rate at the flattest point in the critical limit, evaluated without losing digits.

The rates y = -r solve f(y) = y^3 - 2 y^2 + a_1 y - a_0 = 0 with a_0 = kappa m, a_1 = 1 + kappa (m - g / 2). Cardano or Viete
start, Newton's method with a compensated residual finishes: the slowest rate is nearly a difference of large terms both for
small kappa m, where a real y is small, and at the stability edge, where the real part z / 2 of a pair is, z = 2 - y.

Where the two slowest are nearly equal, as at critical damping, Newton's method would not converge. There f is expanded at
its own extremum d beside them: with the far root's offset h_3 known, Vieta's rules give the sum and product of theirs.
"""

from __future__ import annotations

import sympy as sp

from .critical_limit import cubic
from .formula import Derivation, Formula, Step, compensated
from .sections import Equation, Section
from .symbols import coupling, curvature, kappa

_r, _y, _z, _w = sp.symbols("r y z w")
_a1, _P, _Q, _D, _u, _angle = sp.symbols("a_1 P Q D u angle", real=True)
_a0, _root_of_D, _scale = sp.symbols("a_0 root_of_D scale", nonnegative=True)
_ITERATIONS = 3

_of_y = sp.expand(-2 * cubic.subs(_r, -_y))
_of_z = sp.expand(-_of_y.subs(_y, 2 - _z))
_third = sp.Rational(1, 3)
_cardano = _u - _P / (3 * _u)
_viete = -2 * sp.sqrt(-_P / 3) * sp.cos((_angle - sp.pi) / 3)  # the smallest of three


def _refined(start: sp.Expr, polynomial: sp.Expr, name: sp.Symbol, label: str) -> tuple[tuple[sp.Symbol, sp.Expr], ...]:
    """Newton's method from `start`."""
    lines = [(sp.Symbol(f"{label}_0", real=True), start)]
    for i in range(_ITERATIONS):
        before = lines[-1][0]
        value, slope = (_at(p, name, before) for p in (polynomial, sp.diff(polynomial, name)))
        lines.append((sp.Symbol(f"{label}_{i + 1}", real=True), before - value / slope))
    return tuple(lines)


def _at(polynomial: sp.Expr, name: sp.Symbol, where: sp.Symbol) -> sp.Expr:
    return compensated(sp.expand(polynomial.subs(name, where)))


_start = sp.Piecewise((_cardano, _D > 0), (_viete, _P < 0), (sp.Integer(0), True)) + sp.Rational(2, 3)
_by_y = _refined(_start, _of_y, _y, "y")
_by_z = _refined(2 - _by_y[-1][0], _of_z, _z, "z")
# f(d + h) = f_0 + f_1 h + bend h^2 + h^3 at the extremum d; offsets h_3 of the far root, the pair's sum and product.
_d, _bend, _f0, _f1, _far, _sum = sp.symbols("d bend f_0 f_1 h_3 h_sum", real=True)
_far_offset = -_bend - _f0 / _bend**2 + _f1 / _bend  # to second order in the small f_0, f_1
_sum_of_pair, _product_of_pair = _f0 / _far**2 + _f1 / _far, -_f0 / _far
_pair = _d + _sum / 2 - sp.sqrt(sp.Max(0, _sum**2 / 4 - _product_of_pair))
_close = sp.Symbol("close", real=True)
_WHERE_CLOSE = (
    (_close, sp.Max(sp.Abs(_D) - _scale * sp.Rational(1, 10**10), _Q)),
    (_d, sp.Rational(2, 3) - sp.sqrt(sp.Max(0, -_P) / 3)),
    (_bend, 3 * _d - 2),
    (_f0, _at(_of_y, _y, _d) / 2),
    (_f1, _at(sp.diff(_of_y, _y), _y, _d) / 2),
    (_far, _far_offset),
    (_sum, _sum_of_pair),
)
_h = sp.Symbol("h")
_root_of_far = -(_far**3 + _bend * _far**2 + _f1 * _far)  # the f_0 of which h_3 is a root

_slowest = sp.Piecewise((_pair, _close < 0), (sp.Min(_by_y[-1][0], _by_z[-1][0] / 2), _D > 0), (_by_y[-1][0], True))

_depressed = sp.expand((_y**3 - 2 * _y**2 + _a1 * _y - _a0).subs(_y, _w + sp.Rational(2, 3)))
_DEFINE_P = (_P, _a1 - sp.Rational(4, 3))
_DEFINE_Q = (_Q, _a1 * 2 / 3 - sp.Rational(16, 27) - _a0)
_DEFINE_D = (_D, _Q**2 / 4 + _P**3 / 27)
_DEFINE_U = (_u, -sp.sign(_Q) * sp.cbrt(sp.Abs(_Q) / 2 + _root_of_D))
_DEFINE_ANGLE = (_angle, sp.acos(sp.Max(-1, sp.Min(1, 3 * _Q / (2 * _P) * sp.sqrt(-3 / _P)))))
_t, _v = sp.symbols("t v", positive=True)

DERIVATION = Derivation(
    title="The slowest rate in the critical limit",
    sections=(Section.PRICE_OF_SPEED,),
    assumptions=("kappa, m > 0; the rate is negative beyond the stability edge",),
    steps=(
        Step(
            "twice the cubic in y = -r",
            _of_y,
            2 * (_y**3 - 2 * _y**2 + (1 + kappa * curvature - kappa * coupling / 2) * _y - kappa * curvature),
        ),
        Step(
            "the three rates add up to 2: a pair shares z = 2 - y; its equation ends in 2 (2 + kappa (m - g))",
            _of_z.subs(_z, 0),
            -2 * (2 + kappa * (curvature - coupling)),
        ),
        Step("y = w + 2/3 removes the square: w^3 + P w + Q", _depressed, (_w**3 + _P * _w + _Q).subs([_DEFINE_Q, _DEFINE_P])),
        Step(
            "Cardano solves it where D > 0 (here Q < 0)",
            (_w**3 + _P * _w + _Q)
            .subs(_w, _cardano)
            .subs(*_DEFINE_U)
            .subs(_root_of_D, sp.sqrt(_DEFINE_D[1]))
            .subs({_Q: -_v, _P: _t}),
        ),
        Step(
            "Viete solves it where D < 0",
            (_w**3 + _P * _w + _Q).subs(_w, _viete).subs(*_DEFINE_ANGLE).subs({_P: -3 * _v**2, _Q: 2 * _v**3 * (2 * _t - 1)}),
        ),
        Step(
            "expanded at d: f = f(d) + f'(d) h + (3 d - 2) h^2 + h^3",
            _of_y.subs(_y, _d + _h) / 2,
            _of_y.subs(_y, _d) / 2 + sp.diff(_of_y, _y).subs(_y, _d) / 2 * _h + (3 * _d - 2) * _h**2 + _h**3,
        ),
        Step(
            "where h_3 is a root, the other two have the sum f_0 / h_3^2 + f_1 / h_3 and the product -f_0 / h_3",
            ((_h - _far) * (_h**2 - _sum_of_pair * _h + _product_of_pair)).subs(_f0, _root_of_far),
            (_h**3 + _bend * _h**2 + _f1 * _h + _f0).subs(_f0, _root_of_far),
        ),
        Step(
            "h_3 = -bend - f_0 / bend^2 + f_1 / bend up to second order in f_0, f_1",
            sp.series(
                (_h**3 + _bend * _h**2 + _t * (_f1 * _h + _f0)).subs(_h, -_bend + _t * (_far_offset + _bend)), _t, 0, 2
            ).removeO(),
        ),
    ),
    formulas=(
        Formula(
            "critical_decay_rate",
            (kappa, curvature, coupling),
            _slowest,
            "min -Re r, (r^2 + r + kappa m) (r + 1) - kappa g r / 2 = 0",
            "Slowest decay rate at the flattest point, per unit of s = delta k; negative beyond the stability edge.",
            Equation(Section.PRICE_OF_SPEED, 2),
            (
                (_a1, compensated(sp.expand(2 + 2 * kappa * curvature - kappa * coupling)) / 2),
                (_a0, kappa * curvature),
                _DEFINE_P,
                _DEFINE_Q,
                _DEFINE_D,
                (_scale, _Q**2 / 4 + sp.Abs(_P) ** 3 / 27),
                (_root_of_D, sp.sqrt(_D)),
                _DEFINE_U,
                _DEFINE_ANGLE,
                *_by_y,
                *_by_z,
                *_WHERE_CLOSE,
            ),
        ),
    ),
    symbols={
        "m": "= mu, curvature of tr H along one direction at the flattest point",
        _r: "rate of a small displacement, exp(r s)",
        _y: "= -r, decay rate",
        _z: "= 2 - y, twice the decay rate that a complex pair shares",
        _w: "= y - 2/3",
        _a0: "= kappa m",
        _a1: "= 1 + kappa (m - g / 2)",
        _P: "linear coefficient of the cubic in w",
        _Q: "constant of the cubic in w",
        _D: "= Q^2 / 4 + P^3 / 27, discriminant: positive for one real root",
        "f": "f(y) = y^3 - 2 y^2 + a_1 y - a_0, half of the cubic that is evaluated",
        "'": "derivative by y",
        _d: "where f has an extremum",
        _h: "offset from d",
        _far: "offset of the root that is far from d",
        _bend: "= 3 d - 2, coefficient of h^2",
        _f0: "f at d",
        _f1: "f' at d",
        _t: "a number in (0, 1), or one that marks the order of smallness",
        _v: "a number in (0, 1) that sets the size of P and Q",
    },
)
