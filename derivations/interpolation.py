"""Mini-batches without label noise: sampling noise that vanishes with the residuals, on least squares that can be fitted.

A batch of B out of P samples, without replacement, has the Hessian H_B = (1 / B) sum_i J_i J_i^T. With M = E x x^T,

    E H_B M H_B = (1 - phi) H M H + phi (1 / P) sum_i (J_i . M J_i) J_i J_i^T,   phi = (P - B) / (B (P - 1))

Where the rows J_i are spread over the eigenvectors the last sum is tr(H M) H: the modes obey heavy ball driven by noise of
strength phi tr(H M), that of the mean loss itself. The loss grows or falls by chi_2 a step, the root of

    1 = phi sum_j a_j^2 G(chi_2; a_j)

with G / chi the generating function of a mode's second moment after a unit kick.
"""

from __future__ import annotations

import sympy as sp

from .formula import Derivation, Formula, Step
from .oscillator import a, beta, delta, heavy_ball_determinant, heavy_ball_trace
from .sections import Equation, Section
from .stationary_variance import heavy_ball_variance
from .symbols import batch_size, eigenvalue, lr, n_outputs, noise, soft_share, trace_hessian

_P, _B = n_outputs, batch_size
_one = _B / _P
_two = _B * (_B - 1) / (_P * (_P - 1))
_phi_full = (_P - _B) / (_B * (_P - 1))
_phi, _z, _e, _t, _share, _s = sp.symbols("phi z e t share s", positive=True)
_n = sp.Symbol("n", positive=True)

# --- One mode's second moments under noise ---------------------------------------------------------------------------
_T, _d = heavy_ball_trace, heavy_ball_determinant
_moments = sp.Matrix([[_T**2, -2 * _T * _d, _d**2], [_T, -_d, 0], [1, 0, 0]])  # of x_k^2, x_k x_{k-1}, x_{k-1}^2
_resolvent = sp.factor((_z * sp.eye(3) - _moments).inv()[0, 0])
response = _z * (_z + _d) / ((_z - _d) * (_z**2 - (_T**2 - 2 * _d) * _z + _d**2))
_at_rest = (1 + beta) / (delta * a * (2 * (1 + beta) - a))

# --- Overdamped modes at small eta: e = phi eta tr H / (2 delta), the share of the way to instability -------------------
# The softest eigenvalue holds the share S of tr H, the others are fast: 1 = e (S / (1 - t) + 1 - S), t = rate / (2 a / delta).
_S = soft_share
_rate = 1 - _e * _S / (1 - _e * (1 - _S))  # t
_best = 1 / (1 + sp.sqrt(_S))
_noisy = _phi * lr * trace_hessian / 2 * (1 + sp.sqrt(_S))
_critical = sp.sqrt(a) * (2 - sp.sqrt(a))
_rule = sp.sqrt(_noisy**2 + sp.Piecewise((_critical, a < 1), (sp.Integer(1), True)) ** 2)

DERIVATION = Derivation(
    title="Interpolation",
    sections=(Section.INTERPOLATION,),
    assumptions=(
        "least squares, or a model linearised at Gamma; batches drawn without replacement, afresh at each step",
        "rows J_i spread over the eigenvectors: (1 / P) sum_i (J_i . M J_i) J_i J_i^T = tr(H M) H",
    ),
    steps=(
        Step(
            "in the mean of H_B M H_B a pair of different samples has the weight (1 - phi) / P^2",
            _two / _B**2,
            (1 - _phi_full) / _P**2,
        ),
        Step(
            "and a sample with itself phi / P more",
            (_one - _two) / _B**2,
            _phi_full / _P,
        ),
        Step("none left with all samples", _phi_full.subs(_B, _P)),
        Step("second moments after a unit kick: the resolvent of their recursion, element x_k^2", _resolvent, response),
        Step("at chi = 1 it is the stationary variance (2.10), over its noise eta^2 c lambda", response.subs(_z, 1), _at_rest),
        Step(
            "(2.10)",
            _at_rest * lr**2 * noise * a / lr,
            heavy_ball_variance,
        ),
        Step(
            "so that the loss stays bounded iff e = (phi eta / delta) sum_j lambda_j / (2 - a_j / (1 + beta)) < 1: one mode",
            _phi * a**2 * _at_rest,
            _phi * lr / delta * (a / lr) / (2 - a / (1 + beta)),
        ),
        Step("at small a: e = phi eta tr H / (2 delta)", sp.Limit(_phi * a**2 * _at_rest / a, a, 0), _phi / (2 * delta)),
        Step(
            "overdamped, small a, chi = 1 - r: G = 1 / (delta^2 (2 a / delta - r))",
            sp.Limit(response.subs({a: _t * _n**3, delta: _n, _z: 1 - _s * _n**2}) * _n**4, _n, 0),
            1 / (2 * _t - _s),
        ),
        Step(
            "soft modes: t = r delta / (2 a) solves 1 = e (S / (1 - t) + 1 - S)",
            _e * (_S / (1 - _rate) + 1 - _S),
            sp.Integer(1),
        ),
        Step(
            "their rate r = (2 a / delta) t, proportional to e t, is largest at e = 1 / (1 + sqrt(S))",
            sp.diff(_e * _rate, _e).subs(_e, _best).subs(_S, _share**2),
        ),
        Step(
            "that is delta = (phi eta tr H / 2) (1 + sqrt(S))",
            (_phi * lr * trace_hessian / (2 * delta)).subs(delta, _noisy),
            _best,
        ),
        Step(
            "there r = 4 lambda / (phi tr H (1 + sqrt(S))^2), whatever eta: proportional to B while phi ~ 1 / B",
            (2 * lr * eigenvalue / delta * _rate).subs(_e, _best).subs(delta, _noisy).subs(_S, _share**2),
            (4 * eigenvalue / (_phi * trace_hessian * (1 + sp.sqrt(_S)) ** 2)).subs(_S, _share**2),
        ),
        Step(
            "without noise the best is critical damping of the softest mode",
            sp.sqrt(_noisy**2 + _critical**2).subs(_phi, 0),
            _critical,
            {a: _t},
        ),
        Step(
            "the loss summed over all steps, and with it the way along Gamma, is 1 / (1 - e) of the noise-free one",
            1 + _e * 1 / (1 - _e),
            1 / (1 - _e),
        ),
    ),
    formulas=(
        Formula(
            "interpolation_one_minus_beta",
            (lr, eigenvalue, trace_hessian, soft_share, n_outputs, batch_size),
            _rule,
            "1 - beta* = sqrt((phi eta tr H (1 + sqrt(S)) / 2)^2 + (2 sqrt(a) - a)^2)",
            "Best 1 - beta for the fit itself under mini-batches; `eigenvalue` is the softest.",
            Equation(Section.INTERPOLATION, 6),
            ((_phi, _phi_full), (a, lr * eigenvalue)),
        ),
    ),
    symbols={
        "H_B": "Hessian of a batch",
        "e": "share of the way to instability, 1 where the mean loss no longer falls",
        "r": "rate at which the mean loss falls, per step",
        "G": "response of a mode's second moment to a unit kick, by chi",
        "chi": "multiplier of the second moments",
        "x_k": "displacement of a mode after k steps",
        "M": "second moments E x x^T",
        _z: "= chi",
        _t: "= r delta / (2 a), or a value",
        _s: "a value",
        _n: "tends to 0",
        _share: "= sqrt(S)",
    },
)
