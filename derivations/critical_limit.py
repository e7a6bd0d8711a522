"""The critical limit gamma = 2/3, where the energies of the normal modes relax as slowly as w moves along Gamma.

A normal mode is an oscillator x'' + delta x' + omega^2 x = kicks (time in steps), omega^2 = eta lambda(theta), whose
frequency changes slowly with theta. The method of averaging gives its amplitude's equation; the averaged force
closes the system in s = delta k, with kappa = eta^2 c / (4 delta^3) and e = lambda x^2 / (eta c / (2 delta)):

    d theta = p ds,   d p = -p ds - kappa sum_j (ln lambda_j)' e_j ds
    d e_j   = -(e_j - lambda_j) ds + (1/2) (ln lambda_j)' p e_j ds + sqrt(2 lambda_j e_j) dW_j      (Ito)

What is left out is of relative order (delta / omega)^2 ~ eta^(1/3): the step on the force's own noise says how much.
Linearised at the flattest point, the variance along the valley is 2 kappa G2 / (m (2 + kappa (m - g))), which tends to
kappa G2 / m for kappa -> 0; it diverges at the stability edge, where the mean begins to swing at the
rate sqrt(kappa m / 2) per unit of s (a Hopf bifurcation). With several directions along Gamma, m and g are matrices M and
G = sum_j grad lambda_j grad lambda_j^T / lambda_j, and 2 + kappa (M - G) > 0 is sufficient: an unstable direction u would
make 2 + kappa u^T (M - G) u <= 0, as the cubic holds with u^T M u and u^T G u in place of m and g.
"""

from __future__ import annotations

import sympy as sp

from .drift import longitudinal_time, small_lr_weight
from .formula import Derivation, Formula, Step, compensated
from .oscillator import margin
from .sections import Equation, Section
from .symbols import coupling, curvature, explicit_curvature, kappa, lr, noise, one_minus_beta, squared_slopes

delta, m, g = one_minus_beta, curvature, coupling
half = sp.Rational(1, 2)
_definition = lr**2 * noise / (4 * delta**3)  # kappa
_lambda, _A, _E, _e, _t, _C = sp.symbols("lambda A E e t C", positive=True)
_omega, _phi, _lambda_dot = sp.symbols("omega phi lambda_dot", real=True)


def _average(expression: sp.Expr) -> sp.Expr:
    """Over the phase."""
    return sp.simplify(sp.integrate(sp.expand(expression), (_phi, 0, 2 * sp.pi)) / (2 * sp.pi))


# --- The amplitude: x = A cos phi, x' = -A omega sin phi, with omega changing slowly ---------------------
_A_dot, _phi_dot, _omega_dot = sp.symbols("A_dot phi_dot omega_dot", real=True)
_x, _v = _A * sp.cos(_phi), -_A * _omega * sp.sin(_phi)
_x_dot, _v_dot = (sp.diff(y, _A) * _A_dot + sp.diff(y, _phi) * _phi_dot + sp.diff(y, _omega) * _omega_dot for y in (_x, _v))
_slow = sp.solve([_x_dot - _v, _v_dot + delta * _v + _omega**2 * _x], [_A_dot, _phi_dot], dict=True)[0]
_amplitude_rate = _average(sp.simplify(_slow[_A_dot]))
_omega_rate = sp.diff(sp.sqrt(lr * _lambda), _lambda) * _lambda_dot / sp.sqrt(lr * _lambda)  # omega' / omega
# e = lambda A^2 / 2 in units of eta c / (2 delta): de / e = dlambda / lambda + 2 dA / A.
_energy_rate = _lambda_dot / _lambda + 2 * (_amplitude_rate / _A).subs(_omega_dot, _omega * _omega_rate)

# --- The kicks: velocity jumps eta sqrt(c lambda) n ------------------------------------------------------
_n = sp.Symbol("n", real=True)
_unit = 2 * delta / (lr**2 * noise)  # e = unit E with E = (x'^2 + omega^2 x^2) / 2, for omega^2 = eta lambda
_jump = _unit * (sp.expand((_v + lr * sp.sqrt(noise * _lambda) * _n) ** 2 - _v**2) / 2)
_jump_mean = _average(sp.expand(_jump).coeff(_n, 2))  # E n = 0, E n^2 = 1
_jump_variance = _average(sp.expand(_jump).coeff(_n, 1) ** 2).subs(_A, sp.sqrt(2 * _e / _unit) / _omega)

# --- The same as complex amplitude: e = |z|^2, dz = -z/2 ds + sqrt(lambda / 2) (dW1 + i dW2) --------------
_z1, _z2, _p, _theta = sp.symbols("z1 z2 p theta", real=True)
_slope = sp.Symbol("slope", real=True)  # lambda'
_z_drift = -half + _slope / _lambda * _p / 4
_modulus = _z1**2 + _z2**2
_ito_drift = sum(sp.diff(_modulus, z) * z * _z_drift + sp.diff(_modulus, z, 2) / 2 * _lambda / 2 for z in (_z1, _z2))
_ito_variance = sum(sp.diff(_modulus, z) ** 2 * _lambda / 2 for z in (_z1, _z2))

# --- The force along Gamma -----------------------------------------------------------------------------
_force_per_step = lr * _slope / 2 * (_e / _lambda) * lr * noise / (2 * delta)  # eta (1/2) lambda' x^2
# Its own noise: the gradient along theta has the noise sqrt(c) n lambda' x / (2 sqrt(lambda)).
_kick_variance = lr**2 * noise * _slope**2 / (4 * _lambda) * (_e / _lambda) * lr * noise / (2 * delta)

# --- Linearised at the flattest point, three modes with sum lambda_j' = 0 --------------------------------
_l, _b = sp.symbols("l_1:4", positive=True), sp.symbols("b_1:4", real=True)
_free = sp.symbols("g_1:3", real=True)
_slopes = (*_free, -sum(_free))
_modes = [_l[j] + _slopes[j] * _theta + _b[j] * _theta**2 / 2 for j in range(3)]
_energies = sp.symbols("e_1:4", positive=True)
_drifts = sp.Matrix(
    [
        _p,
        -_p - kappa * sum(sp.diff(sp.log(_modes[j]), _theta) * _energies[j] for j in range(3)),
        *(-(_energies[j] - _modes[j]) + sp.diff(sp.log(_modes[j]), _theta) * _p * _energies[j] / 2 for j in range(3)),
    ]
)
_at_rest = {_theta: 0, _p: 0, **dict(zip(_energies, _l, strict=True))}
_jacobian = _drifts.jacobian([_theta, _p, *_energies]).subs(_at_rest)
_m, _g = sum(_b), sum(_slopes[j] ** 2 / _l[j] for j in range(3))
_r = sp.Symbol("r")
_characteristic = (_r * sp.eye(5) - _jacobian).det(method="berkowitz")

cubic = (_r**2 + _r + kappa * m) * (_r + 1) - kappa * g * _r / 2
edge_margin = 2 + kappa * (m - g)
_with_force = sp.expand(cubic.subs(m, m + lr * explicit_curvature / (delta**2 * kappa)))
_bend = sp.Symbol("lambda''", positive=True)
_opening = _bend * _theta**2 / 2  # a mode that vanishes at theta = 0; y = e / theta stays finite there
_opening_log_slope = sp.diff(sp.log(_opening), _theta)
_opening_rate = (-(_e - _opening) + half * _opening_log_slope * _p * _e) / _theta - _e * _p / _theta**2
_opening_system = sp.Matrix([[0, 1, 0], [0, -1, -2 * kappa], [_bend / 2, 0, -1]])  # of theta, p, y
_constant, _linear, _quadratic = (sp.expand(cubic).coeff(_r, n) for n in range(3))

# --- The variance: only X = sum_j (ln lambda_j)' (e_j - l_j) acts on theta, p ------------------------------
_reduced = sp.Matrix([[0, 1, 0], [-kappa * (m - g), -1, -kappa], [g, g / 2, -1]])
_moments = sp.Matrix(3, 3, lambda i, j: sp.Symbol(f"c_{min(i, j)}{max(i, j)}"))
_balance = _reduced * _moments + _moments * _reduced.T + sp.diag(0, 0, 2 * squared_slopes)
_solved = sp.solve(list(_balance), sorted(_moments.free_symbols, key=str), dict=True)[0]
valley_variance = 2 * kappa * squared_slopes / (m * edge_margin)
_x_noise = sum((_slopes[j] / _l[j]) ** 2 * 2 * _l[j] ** 2 for j in range(3))

_expected_e = -_e + _lambda + half * _slope / _lambda * _p * _e
_edge = 2 / (g - m)

_steps_amplitude = (
    Step("averaged amplitude: A' = -(delta + omega' / omega) A / 2", _amplitude_rate, -(delta + _omega_dot / _omega) * _A / 2),
    Step("omega' / omega = lambda' / (2 lambda)", _omega_rate, _lambda_dot / (2 * _lambda)),
    Step(
        "energy: e' / e = -delta + lambda' / (2 lambda): e / sqrt(lambda) is the adiabatic invariant",
        _energy_rate,
        -delta + _lambda_dot / (2 * _lambda),
    ),
    Step("kicks raise e by lambda per unit of s = delta k", _jump_mean / delta, _lambda),
    Step("and spread it at the rate 2 lambda e: sqrt(2 lambda e) dW", _jump_variance / delta, 2 * _lambda * _e),
    Step("e = |z|^2 has that drift (Ito)", sp.expand(_ito_drift), sp.expand(_expected_e.subs(_e, _modulus))),
    Step("and that diffusion", sp.expand(_ito_variance), sp.expand(2 * _lambda * _modulus)),
    Step("force: per unit of s^2 it is kappa (ln lambda)' e", _force_per_step / delta**2, _definition * _slope / _lambda * _e),
    Step(
        "equilibrated, e = lambda, it is the drift",
        _force_per_step.subs(_e, _lambda),
        delta * small_lr_weight * _slope,
    ),
    Step(
        "its own noise spreads p at the rate 2 kappa^2 (delta^2 / (eta lambda)) (lambda' / lambda)^2 lambda e: eta^(1/3) less",
        _kick_variance / delta**3,
        2 * _definition**2 * delta**2 / (lr * _lambda) * _slope**2 / _lambda * _e,
    ),
    Step(
        "at delta = C eta^(2/3): kappa = c / (4 C^3), free of eta",
        _definition.subs(delta, _C * lr ** sp.Rational(2, 3)),
        noise / (4 * _C**3),
    ),
)

_steps_linear = (
    Step(
        "three modes: the characteristic polynomial is (r + 1)^2 times the cubic",
        _characteristic,
        (_r + 1) ** 2 * cubic.subs({m: _m, g: _g}),
    ),
    Step("the same cubic from theta, p and X = sum_j (ln lambda_j)' (e_j - lambda_j)", (_r * sp.eye(3) - _reduced).det(), cubic),
    Step(
        "in powers of r: 1, 2, 1 + kappa (m - g / 2), kappa m",
        cubic,
        _r**3 + 2 * _r**2 + (1 + kappa * m - kappa * g / 2) * _r + kappa * m,
    ),
    Step("Routh-Hurwitz: 2 a_1 > a_0 is 2 + kappa (m - g) > 0", _quadratic * _linear - _constant, edge_margin),
    Step("which makes a_1 positive too, for m > 0", _linear, (edge_margin + kappa * m) / 2),
    Step("the edge: kappa = 2 / (g - m)", edge_margin.subs(kappa, _edge)),
    Step(
        "an explicit force adds eta h / delta^2 to kappa m: the mean is stable iff 2 + eta h / delta^2 + kappa (m - g) > 0",
        _with_force.coeff(_r, 2) * _with_force.coeff(_r, 1) - _with_force.coeff(_r, 0),
        edge_margin + lr * explicit_curvature / delta**2,
    ),
    Step(
        "a mode that vanishes at the flattest point, lambda = lambda'' theta^2 / 2, pulls by 2 kappa y, y = e / theta",
        _opening_log_slope * _e,
        2 * _e / _theta,
    ),
    Step("where y' = -y + lambda'' theta / 2", _opening_rate, -_e / _theta + _bend * _theta / 2),
    Step(
        "so it obeys the cubic with m = lambda'' and g = 2 lambda'', the limit of (lambda')^2 / lambda",
        (_r * sp.eye(3) - _opening_system).det(),
        cubic.subs({m: _bend, g: 2 * _bend}),
    ),
    Step(
        "at the edge r = +-i sqrt(kappa m / 2): the mean swings",
        cubic.subs(_r, sp.I * sp.sqrt(kappa * m / 2)).subs(g, m + 2 / kappa),
    ),
    Step(
        "without coupling (g = 0) critical damping is kappa m = 1/4",
        sp.discriminant(cubic.subs(g, 0) / (_r + 1), _r).subs(kappa, 1 / (4 * m)),
    ),
    Step("which is the closed form delta^3 = eta^2 c mu", _definition.subs(delta, sp.cbrt(lr**2 * noise * m)), 1 / (4 * m)),
    Step(
        "kappa -> 0: the slowest rate is the drift's 1 / tau_par",
        delta * kappa.subs(kappa, _definition) * m,
        1 / longitudinal_time,
    ),
    Step(
        "with its first correction r = -kappa m (1 + kappa (m + g / 2)): order 2 of the cubic vanishes",
        sp.series(cubic.subs(_r, -kappa * m * (1 + kappa * (m + g / 2))), kappa, 0, 3).removeO(),
    ),
)

_steps_variance = (
    Step("X is spread at the rate 2 G2", _x_noise, 2 * sum(slope**2 for slope in _slopes)),
    Step("variance along the valley, from the Lyapunov equation", _moments[0, 0].subs(_solved), valley_variance),
    Step("variance of p: kappa m / 2 times that of theta", _moments[1, 1].subs(_solved), kappa * m / 2 * valley_variance),
    Step("small kappa: kappa G2 / m", sp.Limit(valley_variance / kappa, kappa, 0), squared_slopes / m),
)

_LINEAR = (kappa, curvature, coupling)
DERIVATION = Derivation(
    title="The critical limit",
    sections=(
        Section.CRITICAL_LIMIT,
        Section.PRICE_OF_SPEED,
    ),
    assumptions=(
        "delta = C eta^(2/3) and eta -> 0: omega_j = sqrt(eta lambda_j) is far above delta",
        "distinct or decoupled eigenvalues: no two modes exchange energy through turning eigenvectors",
        "the linear part: small excursions from a point where tr H is flattest, with m = (tr H)'' > 0",
    ),
    steps=_steps_amplitude + _steps_linear + _steps_variance,
    formulas=(
        Formula(
            "critical_kappa",
            (lr, one_minus_beta, noise),
            _definition,
            "kappa = eta^2 c / (4 delta^3)",
            "Strength of the energies' force in the reduced SDE, in units of 1 / curvature.",
            Equation(Section.CRITICAL_LIMIT, 1),
        ),
        Formula(
            "one_minus_beta_at_kappa",
            (lr, noise, kappa),
            sp.cbrt(noise / (4 * kappa)) * lr ** sp.Rational(2, 3),
            "1 - beta = C eta^(2/3), C = (c / (4 kappa))^(1/3)",
            "The 1 - beta at which `critical_kappa` is the given one; at lr = 1 it is the prefactor C.",
            Equation(Section.CRITICAL_LIMIT, 2),
        ),
        Formula(
            "critical_cubic_linear",
            _LINEAR,
            compensated(sp.expand(2 * _linear)) / 2,
            "a_1 = 1 + kappa (m - g / 2) in r^3 + 2 r^2 + a_1 r + kappa m",
            "Coefficient of r in the cubic of the decay rates, in units of s = delta k.",
            Equation(Section.PRICE_OF_SPEED, 3),
        ),
        Formula(
            "stability_margin",
            _LINEAR,
            compensated(sp.expand(edge_margin)),
            "2 + kappa (m - g)",
            "Positive iff the mean stays at the flattest point (m > 0).",
            Equation(Section.PRICE_OF_SPEED, 4),
        ),
        Formula(
            "stability_edge_kappa",
            (curvature, coupling),
            sp.Piecewise((2 / (g - m), g > m), (sp.oo, True)),
            "kappa = 2 / (g - m)",
            "The kappa from which on training leaves the flattest point; inf where the coupling g <= m.",
            Equation(Section.PRICE_OF_SPEED, 5),
        ),
        Formula(
            "valley_variance",
            (*_LINEAR, squared_slopes),
            sp.Piecewise((sp.oo, margin <= 0), (valley_variance.subs(edge_margin, margin), True)),
            "2 kappa G2 / (m (2 + kappa (m - g)))",
            "Stationary variance of the position along the valley, in squared parameter units; inf from the edge on.",
            Equation(Section.PRICE_OF_SPEED, 7),
            ((margin, compensated(sp.expand(edge_margin))),),
        ),
    ),
    symbols={
        "k": "number of steps",
        "m": "= mu, curvature of tr H along one direction at the flattest point",
        _p: "= d theta / ds",
        "lambda_j": "eigenvalue of mode j",
        "lambda''": "second derivative of an eigenvalue that vanishes at theta = 0",
        _A: "amplitude of a mode",
        _omega_dot: "omega', its change in a step",
        _lambda_dot: "lambda', change of the eigenvalue in a step; along Gamma its derivative",
        "'": "derivative by steps, of lambda_j and tr H by theta, of y by s",
        "y": "= e / theta of a mode that vanishes at theta = 0",
        _e: "energy of a mode, lambda times the mean of its squared displacement over eta c / (2 delta)",
        "e_j": "that of mode j",
        _z1: "real part of the complex amplitude z, e = |z|^2",
        _z2: "imaginary part of z",
        "z": "complex amplitude of a mode",
        _slope: "derivative of lambda by theta",
        "W": "Wiener process",
        _C: "constant in delta = C eta^(2/3)",
        _r: "rate of a small displacement, exp(r s)",
        "X": "= sum_j (ln lambda_j)' (e_j - lambda_j), the energies' force",
        "a_0": "the cubic's constant, kappa m",
        "a_1": "the cubic's coefficient of r",
        _l[0]: "eigenvalue of mode 1 at the flattest point",
        _l[1]: "eigenvalue of mode 2 at the flattest point",
        _l[2]: "eigenvalue of mode 3 at the flattest point",
        _b[0]: "second derivative of eigenvalue 1",
        _b[1]: "second derivative of eigenvalue 2",
        _b[2]: "second derivative of eigenvalue 3",
        _free[0]: "slope of eigenvalue 1; the third makes their sum 0",
        _free[1]: "slope of eigenvalue 2; the third makes their sum 0",
    },
)
