"""Every source of force along Gamma as one stiffness k(eta, delta), and the root of delta^2 = 4 zeta^2 k(delta).

A force that pulls w along Gamma by -G per step squared has the stiffness k = x . grad_x G along a unit displacement x. A
regulariser R in the loss gives eta times its Riemannian Hessian, noise gives delta times that of the drift's potential V.
Where k(delta) / delta^2 falls with delta, the root is unique: it runs from infinity at delta = 0 downwards.

Weight decay is not h = wd on a curved Gamma: the constraint f(w) = y bends the parabola |w|^2 / 2. Noise in the parameters
at which the gradient is taken is a regulariser and, by s H z, gradient noise of covariance s^2 H^2. Workers of local SGD
that average positions and velocities every H steps fill their differences' normal modes from empty each time, as training
from an interpolating start does (the share b of the effective loss).
"""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p

from .crossing import EXPLICIT_FORCE
from .drift import heavy_ball_weight, nesterov_weight, small_lr_weight, weight
from .formula import Derivation, Formula, Step
from .general_drift import heavy_ball_pair_weight, nesterov_pair_weight
from .oscillator import (
    DEFINE_A,
    DEFINE_HEAVY_BALL_MARGIN,
    DEFINE_NESTEROV_MARGIN,
    a,
    beta,
    heavy_ball_margin,
    margin,
    nesterov_margin,
)
from .pair_covariance import b, q
from .prefactor import label_noise_rule, stiffness
from .sections import Equation, Section
from .stationary_variance import below_limit
from .symbols import (
    batch_size,
    curvature,
    damping_ratio,
    decay_rate,
    eigenvalue,
    explicit_curvature,
    exponent,
    local_steps,
    lr,
    n_outputs,
    n_workers,
    noise,
    noise_power,
    one_minus_beta,
    parameter_noise,
    reference_lr,
    squared_residual,
)

delta, zeta = one_minus_beta, damping_ratio
_s, _t, _u, _x = sp.symbols("s t u x", positive=True)

# --- Weight decay on a curved Gamma: the ellipse f = x^2 / A^2 + y^2 / B^2 = 1 at (A, 0) --------------------------
_A, _B, _wd = sp.symbols("A B weight_decay", positive=True)
_curve = sp.Matrix([_A * sp.cos(_t), _B * sp.sin(_t)])
_along = (_curve.T * _curve)[0, 0] / 2  # |w|^2 / 2, by arc length near t = 0: ds = B dt
_by_arc = sp.diff(_along, _t, 2).subs(_t, 0) / _B**2
_nu = _A / (2 / _A)  # J^T nu = w, J = (2 / A, 0)
_by_multiplier = 1 - _nu * 2 / _B**2  # tangent (0, 1): 1 - nu (hess f)_yy

# --- Parameter noise: gradient at w + s z ------------------------------------------------------------------------
# Along theta: lambda' (x + s z)^2 / 2, z independent of x; across: lambda x + s lambda z, label noise of c = s^2 lambda.
_as_noise = parameter_noise * eigenvalue


def _noisy(plain_weight: sp.Expr) -> sp.Expr:
    return weight(parameter_noise) + plain_weight.subs(noise, _as_noise)


heavy_ball_parameter_weight = lr * parameter_noise / (2 * delta) * (1 + a * (1 + beta) / (delta * margin))
nesterov_parameter_weight = (
    lr * parameter_noise / (2 * delta) * (1 + a * (1 + beta + a * beta * (1 + 2 * beta)) / ((delta + a * beta) * margin))
)
_PAIR = {q: lr**2 * parameter_noise * eigenvalue**2, b: a}

# --- Local SGD -----------------------------------------------------------------------------------------------------
_K, _H, _k = n_workers, local_steps, sp.Symbol("k", positive=True)
_decay = expm1(_H * log1p(-delta))  # beta^H - 1
_psi = 1 + _decay / (_H * delta)
local_sgd = (1 + (_K - 1) * _psi) / _K
_psi_of_x = (sp.exp(-_x) - 1 + _x) / _x
_plain_psi = 1 - (1 - beta**_H) / (_H * delta)

# --- Noise that scales with the learning rate ----------------------------------------------------------------------
_scaled = sp.cbrt(noise * curvature * zeta**2 * (lr / reference_lr) ** noise_power) * lr ** sp.Rational(2, 3)
_slowest_critical = sp.sqrt(a) * (2 - sp.sqrt(a))  # the normal mode's own critical damping, a < 1
scaled_rule = sp.Min(_scaled, sp.Piecewise((_slowest_critical, a < 1), (sp.Integer(1), True)))

# --- Schedules: b = E x^2 / s with eta ~ exp(-r k), delta ~ eta^gamma ----------------------------------------------
_r, _gamma = decay_rate, exponent
_frequency_rate = -_r / 2  # of omega = sqrt(eta lambda)
_variance_rate = -(1 - _gamma) * _r  # of s = eta c / (2 delta)
_lag = _r * (sp.Rational(3, 2) - _gamma)
_share = delta / (delta - _lag)

# --- Sampling without replacement ----------------------------------------------------------------------------------
_P, _size = n_outputs, batch_size
minibatch = squared_residual * (_P - _size) / (_size * (_P - 1))
# Each of P terms of mean 0 is drawn with probability B / P, two of them with B (B - 1) / (P (P - 1)); sum_i!=j = -sum_i.
_per_term = _size / _P - _size * (_size - 1) / (_P * (_P - 1))

_label_noise = stiffness.subs(explicit_curvature, 0)
_nesterov_stiffness = lr**2 * noise * curvature / (4 * (delta + a))
_of_average = stiffness.subs(lr, lr * delta)

DERIVATION = Derivation(
    title="Forces along Gamma",
    sections=(Section.FORCES,),
    assumptions=(
        "the normal modes are equilibrated and their energies average out",
        "parameter noise: to second order in s; local SGD: underdamped modes, averaged over the phase",
        "schedules: underdamped modes; mini-batches: residuals frozen on the time of the modes",
    ),
    steps=(
        Step(
            "weight decay: on the ellipse its curvature by arc length is 1 - nu t . hess f t, not 1",
            _by_arc,
            _by_multiplier,
        ),
        Step("which on a circle is 0: |w| does not change", _by_multiplier.subs(_B, _A)),
        Step(
            "explicit force and label noise: k / delta^2 falls with delta",
            sp.diff(stiffness / delta**2, delta),
            -2 * lr * explicit_curvature / delta**3 - 3 * lr**2 * noise * curvature / (4 * delta**4),
        ),
        Step(
            "parameter noise: weight of s^2 alone is eta s^2 / (2 delta): h = s^2 mu / 2",
            delta * weight(parameter_noise) * curvature,
            EXPLICIT_FORCE.subs(explicit_curvature, parameter_noise * curvature / 2),
        ),
        Step(
            "parameter noise, heavy ball: s^2 and the variance under gradient noise s^2 lambda^2",
            _noisy(heavy_ball_weight).subs(eigenvalue, a / lr),
            heavy_ball_parameter_weight.subs(margin, heavy_ball_margin),
        ),
        Step(
            "parameter noise, Nesterov: s^2 and the variance of the look-ahead point",
            _noisy(nesterov_weight).subs(eigenvalue, a / lr),
            nesterov_parameter_weight.subs(margin, nesterov_margin),
        ),
        Step(
            "parameter noise, heavy ball: its drift is that of two modes with Sigma = s^2 H^2",
            heavy_ball_pair_weight.subs(_PAIR).subs(eigenvalue, a / lr),
            heavy_ball_weight.subs(noise, parameter_noise * a / lr),
        ),
        Step(
            "parameter noise, Nesterov: likewise",
            nesterov_pair_weight.subs(_PAIR).subs(eigenvalue, a / lr),
            nesterov_weight.subs(noise, parameter_noise * a / lr),
        ),
        Step(
            "small eta: the noise adds the fraction a / (2 delta) of the regulariser",
            small_lr_weight.subs(noise, _as_noise) / weight(parameter_noise),
            lr * eigenvalue / (2 * delta),
        ),
        Step(
            "Nesterov, equal modes: delta^2 = 4 zeta^2 k is delta^2 (delta + a) = zeta^2 c mu eta^2: delta0 - a / 3",
            sp.series((delta**2 * (delta + a)).subs(delta, _u - a / 3), a, 0, 2).removeO(),
            _u**3,
        ),
        Step("a / delta0 is of order eta^(1/3)", a.subs(a, lr) / lr ** sp.Rational(2, 3), sp.cbrt(lr)),
        Step(
            "Nesterov, a far above delta: delta^2 (delta + a) is delta^2 a",
            sp.Limit(delta**2 * (delta + a) / (delta**2 * a), delta, 0),
            sp.Integer(1),
        ),
        Step(
            "so that delta = zeta (c mu eta / lambda)^(1/2): exponent 1/2",
            (zeta * sp.sqrt(noise * curvature * lr / eigenvalue)) ** 2 * a.subs(*DEFINE_A),
            zeta**2 * lr**2 * noise * curvature,
        ),
        Step(
            "Nesterov: k / delta^2 falls",
            sp.diff(_nesterov_stiffness / delta**2, delta),
            -(_nesterov_stiffness / delta**2) * (2 / delta + 1 / (delta + a)),
        ),
        Step(
            "dampening beta (an average of gradients) is lr delta: delta = 4 zeta^2 eta h + zeta^2 eta^2 c mu",
            4 * zeta**2 * _of_average / delta**2 * delta,
            4 * zeta**2 * lr * explicit_curvature + zeta**2 * lr**2 * noise * curvature,
        ),
        Step(
            "noise c (eta / eta0)^p: critical damping",
            _scaled**3,
            zeta**2 * lr**2 * noise * curvature * (lr / reference_lr) ** noise_power,
        ),
        Step("at p = 0 it is that of label noise of fixed strength", _scaled.subs(noise_power, 0), label_noise_rule),
        Step("a normal mode is critical at delta = 2 sqrt(a) - a", (1 - (1 - _slowest_critical)).subs(a, _s**2), 2 * _s - _s**2),
        Step("there sqrt(beta) = 1 - sqrt(a)", (1 - sp.sqrt(a)) ** 2, 1 - _slowest_critical),
        Step(
            "local SGD: mean of the share 1 - beta^j over j = 0..H-1 (sum of a geometric series, H = 5)",
            sum((1 - beta**j for j in range(5)), sp.Integer(0)) / 5,
            _plain_psi.subs(_H, 5),
        ),
        Step("local SGD: evaluated without 1 - beta", _psi.rewrite(sp.exp), _plain_psi),
        Step("local SGD: psi(x) of x = H delta at small delta", sp.Limit(_plain_psi.subs(_H, _x / delta), delta, 0), _psi_of_x),
        Step("local SGD: H = 1 is a batch of all workers", _plain_psi.subs(_H, 1)),
        Step("local SGD: workers that never meet", sp.Limit(_psi_of_x, _x, sp.oo), sp.Integer(1)),
        Step(
            "schedule: the share b solves b' = delta - (delta + omega'/omega + s'/s) b = 0",
            delta - (delta + _frequency_rate + _variance_rate) * _share,
        ),
        Step(
            "mini-batch: covariance of a mean of B out of P terms of mean 0 and variance r^2",
            squared_residual * _P * _per_term / _size**2,
            minibatch,
        ),
        Step("mini-batch: none left with all samples", minibatch.subs(_size, _P)),
        Step("label noise alone has the stiffness of the drift's potential", _label_noise, delta * small_lr_weight * curvature),
    ),
    formulas=(
        Formula(
            "heavy_ball_parameter_noise_drift_weight",
            (lr, eigenvalue, one_minus_beta, parameter_noise),
            below_limit(heavy_ball_parameter_weight),
            "dV/dlambda = (eta s^2 / (2 delta)) (1 + a (1 + beta) / (delta (2 (1 + beta) - a)))",
            "Weight of grad lambda_j in the heavy-ball drift under parameter noise, per step; inf if unstable.",
            Equation(Section.FORCES, 6),
            (DEFINE_A, DEFINE_HEAVY_BALL_MARGIN),
        ),
        Formula(
            "nesterov_parameter_noise_drift_weight",
            (lr, eigenvalue, one_minus_beta, parameter_noise),
            below_limit(nesterov_parameter_weight),
            "dV/dlambda = (eta s^2 / (2 delta)) (1 + a (1 + beta + a beta (1 + 2 beta))"
            " / ((delta + a beta) (2 (1 + beta) - a (1 + 2 beta))))",
            "Weight of grad lambda_j in the Nesterov drift under parameter noise, per step; inf if unstable.",
            Equation(Section.FORCES, 7),
            (DEFINE_A, DEFINE_NESTEROV_MARGIN),
        ),
        Formula(
            "local_sgd_share",
            (one_minus_beta, n_workers, local_steps),
            local_sgd,
            "(1 + (K - 1) psi) / K, psi = 1 - (1 - beta^H) / (H delta)",
            "Share of one worker's label-noise drift that local SGD keeps; positions and velocities are averaged.",
            Equation(Section.FORCES, 8),
        ),
        Formula(
            "scaled_noise_one_minus_beta",
            (lr, noise, curvature, damping_ratio, noise_power, reference_lr, eigenvalue),
            scaled_rule,
            "min((c mu zeta^2 (eta / eta0)^p)^(1/3) eta^(2/3), 2 sqrt(a) - a), a = eta lambda of the slowest normal mode",
            "The best 1 - beta under noise c (eta / eta0)^p; the second is best where the first overdamps the normal modes.",
            Equation(Section.FORCES, 9),
            (DEFINE_A,),
        ),
        Formula(
            "scheduled_energy_share",
            (one_minus_beta, decay_rate, exponent),
            sp.Piecewise((_share, _lag < delta), (sp.oo, True)),
            "b = delta / (delta - (3/2 - gamma) r), itself to first order in r / delta",
            "Energy of the normal modes, relative to the stationary one, while lr falls as exp(-r k); inf: they cannot follow.",
            Equation(Section.FORCES, 15),
        ),
        Formula(
            "minibatch_noise",
            (squared_residual, n_outputs, batch_size),
            minibatch,
            "c = r^2 (P - B) / (B (P - 1))",
            "Strength of the sampling noise, without replacement, of residuals of mean square r^2: Sigma = c H.",
            Equation(Section.FORCES, 11),
        ),
    ),
    symbols={
        "k": "stiffness along Gamma, per step squared",
        "'": "derivative by k",
        _A: "half-axis of the ellipse at whose end weight decay is looked at",
        _B: "the ellipse's other half-axis; in a mini-batch, its size",
        "nu": "multiplier of the constraint",
        "f": "the output, constant on the ellipse",
        "t": "unit tangent",
        _s: "= sqrt(a); as s^2 the variance of the parameter noise; in a schedule the stationary variance",
        _u: "= delta0, or delta, as the claim says",
        _x: "= H delta",
        "delta0": "= (c mu zeta^2)^(1/3) eta^(2/3)",
        "psi": "share of the stationary variance that a round of local SGD fills, on average",
        "j": "steps since the last average",
        "Sigma": "covariance of the gradient noise",
        "r": "= -d ln eta / dk; in a mini-batch r^2 is the mean square of the residuals",
        "H": "Hessian on Gamma; in local SGD the steps between two averages",
        "b": "energy of a mode over its stationary one",
    },
)
