"""Averages of gradients in place of sums: dampened momentum, Adam and AdamW near a manifold of minimizers.

Dampening = momentum makes the update heavy ball's with the learning rate eta delta. The drift loses its factor 1 / delta^2: it
gains nothing from momentum, and is damped critically at delta = eta^2 c mu.

Adam divides by sqrt(u), u_i the mean of g_i^2. Near Gamma the gradients are noise, u_i = c H_ii. With D = diag(1 / sqrt(u))
and y = D^(-1/2) w the update is dampened momentum with the Hessian D^(1/2) H D^(1/2) and noise c times it; D, an average, does
not follow the fluctuations that make the force, so it is held while tr(D H) is differentiated. That leaves (1/2) sum_i
sqrt(H_ii) as the potential, and no c. Along a straight Gamma of unit direction e the drift is

    d theta / dk = -(eta^2 c / 4) sum_i D_i H_ii' / sum_i (e_i^2 / D_i)

Bias correction divides the averages by 1 - beta^k: the weight of the newest gradient is d = delta / (1 - beta^k), about 1 / k
at first. Frequencies sqrt(eta d lambda) fall with it, and the energies, which lag behind, stay above the stationary ones.
"""

from __future__ import annotations

import sympy as sp

from .crossing import UNDERDAMPED, longitudinal_power
from .drift import heavy_ball_weight, small_lr_weight
from .formula import Derivation, Formula, Step
from .oscillator import a, beta, delta
from .prefactor import stiffness
from .sections import Equation, Section
from .stationary_variance import heavy_ball_variance
from .symbols import adam_curvature, curvature, decoupled_decay, eigenvalue, explicit_curvature, lr, n_steps, noise

_averaged = {lr: lr * delta}
_v, _m, _g, _r, _k0, _h, _rho, _kf, _d, _b = sp.symbols("v m g r k0 h rho k_f d b", positive=True)
_H, _H1, _H2, _s1, _s2, _e1, _e2 = sp.symbols("H H_1 H_2 s_1 s_2 e_1 e_2", positive=True)
_x = sp.Symbol("x", positive=True)

# --- Dampened momentum -----------------------------------------------------------------------------------------------
_stiffness = stiffness.subs(lr, lr * delta)
_label_noise = _stiffness.subs(explicit_curvature, 0)

# --- Adam ------------------------------------------------------------------------------------------------------------
_D1, _D2 = (1 / sp.sqrt(noise * each) for each in (_H1, _H2))
_adam_drift = lr**2 * noise / 4 * (_D1 * _s1 + _D2 * _s2) / (_e1**2 / _D1 + _e2**2 / _D2)
# d of sum sqrt(H_ii) along theta over sum e_i^2 sqrt(H_ii), the square of e's length in Adam's metric
_by_roots = lr**2 / 2 * (_s1 / (2 * sp.sqrt(_H1)) + _s2 / (2 * sp.sqrt(_H2))) / (_e1**2 * sp.sqrt(_H1) + _e2**2 * sp.sqrt(_H2))

# --- Decoupled weight decay: theta' = -h theta - p, p' = -delta p + delta k0 theta -------------------------------------
_rate = adam_curvature * lr**2 / 4
_decay = lr * decoupled_decay
_bound = (sp.sqrt(_rate) + sp.sqrt(_rate + _decay)) ** 2
_polynomial = (sp.Matrix([[-_h, -1], [delta * _k0, -delta]]) - _r * sp.eye(2)).det()
_adam_lr = delta / (decoupled_decay + sp.sqrt(adam_curvature * delta))

# --- Second moments that follow at the rate rho = 1 - beta2 -------------------------------------------------------------
# psi' = rho (theta - psi) is theta as u knows it; the force is k_f theta - (k_f - k0) psi.
_lagging = sp.Matrix([[0, -1, 0], [delta * _kf, -delta, -delta * (_kf - _k0)], [_rho, 0, -_rho]])
_cubic = sp.expand((_r * sp.eye(3) - _lagging).det())

# --- Bias correction ---------------------------------------------------------------------------------------------------
_newest = delta / (1 - beta**n_steps)
_weight = delta / (1 - sp.exp(-delta * n_steps))

DERIVATION = Derivation(
    title="Averages of gradients",
    sections=(Section.AVERAGES, Section.FORCES),
    assumptions=(
        "the normal modes are equilibrated and their energies average out",
        "Adam: small eta, epsilon far below the gradients' noise, beta2 near 1: u_i = c H_ii; no H_ii vanishes",
    ),
    steps=(
        Step(
            "dampening beta: v = -eta m obeys v <- beta v - eta delta g, heavy ball at the learning rate eta delta",
            -lr * (beta * _m + delta * _g),
            (beta * _v - lr * delta * _g).subs(_v, -lr * _m),
        ),
        Step(
            "weight of grad lambda in the drift, at any eta",
            heavy_ball_weight.subs(a, lr * eigenvalue).subs(_averaged),
            lr**2 * noise / 4 / (1 - delta * lr * eigenvalue / (2 * (1 + beta))),
        ),
        Step("at small eta it does not depend on momentum", small_lr_weight.subs(_averaged), lr**2 * noise / 4),
        Step(
            "nor does the stationary variance, eta c / 2",
            heavy_ball_variance.subs(a, 0).subs(_averaged),
            lr * noise / 2,
        ),
        Step(
            "critical damping, delta^2 = 4 k: delta = eta^2 c mu",
            4 * _label_noise / delta,
            lr**2 * noise * curvature,
        ),
        Step(
            "k0 = k / delta, the rate of the drift, so that this is delta = 4 k0",
            4 * _label_noise / delta**2 * delta,
            4 * lr**2 * noise * curvature / 4,
        ),
        Step("exponents: tau_par ~ eta^(-2), at any momentum", longitudinal_power(_label_noise), sp.Integer(-2)),
        Step("tau_perp = 2 / delta meets it at gamma = 2", UNDERDAMPED.subs(sp.Symbol("gamma", real=True), 2), sp.Integer(-2)),
        Step(
            "kappa = eta^2 c / (4 delta) in place of eta^2 c / (4 delta^3)",
            (lr**2 * noise / (4 * delta**3)).subs(_averaged),
            lr**2 * noise / (4 * delta),
        ),
        Step(
            "Adam: the weight (eta^2 c / 4) D of H_ii', D held, is that of (eta^2 sqrt(c) / 2) sqrt(H_ii)",
            lr**2 * noise / 4 / sp.sqrt(noise * _H),
            lr**2 * sp.sqrt(noise) / 2 * sp.diff(sp.sqrt(_H), _H),
        ),
        Step("Adam: along Gamma, in two coordinates, sum_i sqrt(H_ii) drives the drift and c cancels", _adam_drift, _by_roots),
        Step(
            "Adam: u_i = c H_ii (1 + a / 2): signal over noise of a mode, lambda^2 s / (c lambda) at s = eta c / 2",
            eigenvalue**2 * lr * noise / 2 / (noise * eigenvalue),
            lr * eigenvalue / 2,
        ),
        Step(
            "decoupled decay h: rates r along Gamma solve (r + h) (r + delta) + delta k0 = 0",
            _polynomial,
            (_r + _h) * (_r + delta) + delta * _k0,
        ),
        Step(
            "which is critically damped, (delta - h)^2 = 4 delta k0, at delta = (sqrt(k0) + sqrt(k0 + h))^2",
            ((delta - _h) ** 2 - 4 * delta * _k0).subs(delta, (sp.sqrt(_k0) + sp.sqrt(_k0 + _h)) ** 2),
        ),
        Step("without decay delta = 4 k0 = eta^2 mu_A", _bound.subs(decoupled_decay, 0), lr**2 * adam_curvature),
        Step("the inverse", _bound.subs(lr, _adam_lr), delta),
        Step(
            "beta2: u follows at the rate rho; k_f is the stiffness, over delta, where it does not",
            _cubic,
            (_r**2 + delta * _r + delta * _kf) * (_r + _rho) - delta * _rho * (_kf - _k0),
        ),
        Step(
            "rho far above the rates r: r^2 + delta r + delta k0 = 0",
            sp.Limit(_cubic / _rho, _rho, sp.oo),
            _r**2 + delta * _r + delta * _k0,
        ),
        Step(
            "rho far below them: r^2 + delta r + delta k_f = 0",
            _cubic.subs(_rho, 0),
            _r * (_r**2 + delta * _r + delta * _kf),
        ),
        Step(
            "u's own fluctuations, of relative variance rho / 2, kick w along Gamma; without momentum a mode's reaction leaves"
            " the share rho / (rho + a) of the diffusion eta^2 rho / 4",
            1 - sp.integrate(a * sp.exp(-(a + _rho) * _x), (_x, 0, sp.oo)),
            _rho / (_rho + a),
        ),
        Step(
            "which gives theta the stationary variance rho^2 / (2 mu_A (rho + a)) about the flattest point",
            lr**2 * _rho / 4 * _rho / (_rho + a) / (2 * _rate),
            _rho**2 / (2 * adam_curvature * (_rho + a)),
        ),
        Step(
            "bias correction: m / (1 - beta^k) averages with the weight d = delta / (1 - beta^k) of the newest gradient",
            beta * (1 - beta ** (n_steps - 1)) / (1 - beta**n_steps),
            1 - _newest,
        ),
        Step("its decay is d' = -d (d - delta)", sp.diff(_weight, n_steps), -_weight * (_weight - delta)),
        Step(
            "E x^2 of an underdamped mode grows as 1 / omega ~ d^(-1/2): b' = d (1 - b) + (d - delta) b / 2",
            -(-_d * (_d - delta)) / (2 * _d) * _b + _d * (1 - _b),
            _d * (1 - _b) + (_d - delta) * _b / 2,
        ),
        Step(
            "long before 1 / delta steps b = 2: energies and drift are doubled",
            (_d * (1 - _b) + (_d - delta) * _b / 2).subs({_b: 2, delta: 0}),
        ),
        Step("and long after b = 1", (_d * (1 - _b) + (_d - delta) * _b / 2).subs({_b: 1, _d: delta})),
    ),
    formulas=(
        Formula(
            "adam_one_minus_beta",
            (lr, adam_curvature, decoupled_decay),
            _bound,
            "1 - beta1 = (sqrt(k0) + sqrt(k0 + eta h_w))^2, k0 = eta^2 mu_A / 4",
            "The 1 - beta1 of Adam or AdamW that damps the motion along Gamma critically.",
            Equation(Section.AVERAGES, 7),
        ),
        Formula(
            "adam_lr",
            (delta, adam_curvature, decoupled_decay),
            _adam_lr,
            "eta = delta / (h_w + sqrt(mu_A delta))",
            "The lr at which `adam_one_minus_beta` is the given one.",
            Equation(Section.AVERAGES, 8),
        ),
    ),
    symbols={
        "'": "derivative by theta or, of d and b, by k",
        "k": "stiffness along Gamma, per step squared; of d and b the number of steps",
        "v": "velocity",
        "m": "average of the gradients",
        "g": "gradient",
        "u": "average of the squared gradients",
        "u_i": "element of u",
        "D": "D_i of one element",
        "H_ii": "diagonal element of H",
        _H: "a diagonal element of H",
        _H1: "a diagonal element of H",
        _H2: "another",
        _s1: "derivative of H_1 along Gamma",
        _s2: "derivative of H_2 along Gamma",
        _e1: "element of the unit direction of Gamma",
        _e2: "another element",
        "s": "stationary variance of a mode",
        _r: "rate, exp(r k)",
        _h: "= eta h_w",
        _rho: "= 1 - beta2",
        _kf: "stiffness over delta at second moments that do not follow",
        _x: "time, or a value",
        _d: "weight of the newest gradient",
        _b: "energy of a mode over its stationary one",
    },
)
