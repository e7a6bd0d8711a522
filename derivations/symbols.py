"""Every symbol of the theory with its letter, meaning and unit: the library's arguments, and letters of docs/theory.md.

`python -m derivations` writes the table to docs/glossary.md, and its rows into the docstrings of the generated formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from .sections import Section

_IN_WORDS = {"steps": "in steps", "1 / step": "per step"}


@dataclass(frozen=True)
class Quantity:
    """A row of the table.

    Attributes:
        letter: what docs/theory.md calls it
        meaning: in words; "= ..." where it is defined by a formula
        section: where it is introduced
        unit: in terms of step, loss and parameter (the unit of a component of w); empty for a pure number
        allowed: the range of the library's argument
    """

    letter: str
    meaning: str
    section: Section
    unit: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        start = f"{self.letter} {self.meaning}" if self.meaning.startswith("=") else f"{self.letter}, {self.meaning}"
        unit = _IN_WORDS.get(self.unit, f"in units of {self.unit}") if self.unit else ""
        return ", ".join(part for part in (start, unit, self.allowed) if part)


_EIGENVALUE, _CURVATURE = "loss / parameter^2", "loss / parameter^4"

SYMBOLS: dict[sp.Symbol, Quantity] = {}
"""The arguments of the generated formulas, in the order of docs/theory.md."""


def _argument(name: str, letter: str, meaning: str, section: Section, unit: str = "", allowed: str = "") -> sp.Symbol:
    """A row of SYMBOLS: the symbol, named as the library's argument is; its range says what sympy may assume."""
    sign = "nonnegative" if allowed.startswith(">= 0") else "positive" if allowed else "real"
    symbol = sp.Symbol(name, **{sign: True})
    SYMBOLS[symbol] = Quantity(letter, meaning, section, unit, allowed)
    return symbol


# fmt: off  (a line an argument, or two)
lr = _argument("lr", "eta", "learning rate", Section.SETTING, "parameter^2 / loss", "> 0")
eigenvalue = _argument(
    "eigenvalue", "lambda", "eigenvalue of the Hessian on Gamma; a = eta lambda", Section.SETTING, _EIGENVALUE, "> 0"
)
one_minus_beta = _argument("one_minus_beta", "delta", "= 1 - beta, beta the momentum", Section.SETTING, "", "in (0, 1]")
noise = _argument("noise", "c", "label-noise strength sigma^2 / B", Section.SETTING, "loss", ">= 0")
n_outputs = _argument("n_outputs", "P", "number of outputs on the training set", Section.SETTING, "", "> 1")
batch_size = _argument("batch_size", "B", "samples in a batch", Section.SETTING, "", "from 1 to P")
n_steps = _argument("n_steps", "k", "number of steps", Section.SETTING, "", ">= 0")
relaxation_time = _argument(
    "relaxation_time", "tau_perp", "relaxation time of a normal mode's amplitude", Section.RELAXATION, "steps", "> 0 (inf: never)"
)
other_eigenvalue = _argument(
    "other_eigenvalue", "lambda_j", "eigenvalue of the other mode; b = eta lambda_j", Section.RELAXATION, _EIGENVALUE, "> 0"
)
noise_covariance = _argument(
    "noise_covariance", "Sigma_ij", "covariance of the gradient noise in two modes", Section.RELAXATION, "loss^2 / parameter^2"
)
scaled_damping = _argument("scaled_damping", "C", "= delta / sqrt(eta)", Section.RELAXATION, "sqrt(loss) / parameter", "> 0")
curvature = _argument(
    "curvature",
    "mu",
    "curvature of tr H along Gamma at the flattest point (m for one direction)",
    Section.DRIFT,
    _CURVATURE,
    ">= 0",
)
exponent = _argument("exponent", "gamma", "exponent in 1 - beta ~ lr^gamma", Section.CROSSING, "", "> 0")
noise_power = _argument("noise_power", "p", "exponent in c ~ lr^p, 0 for label noise of fixed strength", Section.CROSSING)
energy_share = _argument(
    "energy_share", "b", "share of a mode's stationary variance that is there", Section.EFFECTIVE_LOSS, "", ">= 0"
)
eigenvalue_growth = _argument(
    "eigenvalue_growth",
    "rho",
    "= d ln lambda / dk, growth of an underdamped mode's eigenvalue (0 if overdamped)",
    Section.EFFECTIVE_LOSS,
    "1 / step",
)
damping_ratio = _argument(
    "damping_ratio", "zeta", "damping ratio along Gamma, 1 for critical damping", Section.EFFECTIVE_LOSS, "", "> 0"
)
target = _argument(
    "target", "x", "target: the displacement stays below this fraction of its start", Section.EFFECTIVE_LOSS, "", "in (0, 1)"
)
explicit_curvature = _argument(
    "explicit_curvature",
    "h",
    "curvature along Gamma of an explicit force such as weight decay",
    Section.FORCES,
    _EIGENVALUE,
    ">= 0",
)
parameter_noise = _argument(
    "parameter_noise",
    "s^2",
    "variance of the noise in each parameter where the gradient is taken",
    Section.FORCES,
    "parameter^2",
    ">= 0",
)
n_workers = _argument("n_workers", "K", "number of workers of local SGD", Section.FORCES, "", ">= 1")
local_steps = _argument("local_steps", "H", "steps of local SGD between two averages", Section.FORCES, "", ">= 1")
decay_rate = _argument("decay_rate", "r", "= -d ln eta / dk, decay of a learning-rate schedule", Section.FORCES, "1 / step")
squared_residual = _argument("squared_residual", "r^2", "mean square of the residuals", Section.FORCES, "loss", ">= 0")
kappa = _argument(
    "kappa", "kappa", "= eta^2 c / (4 delta^3), strength of the energies' force", Section.CRITICAL_LIMIT, "1 / curvature", "> 0"
)
square_curvature = _argument(
    "square_curvature",
    "nu",
    "= (tr H^2)'' - (tr H)''' (tr H^2)' / mu along Gamma at the flattest point",
    Section.FINITE_LEARNING_RATE,
    "loss^2 / parameter^6",
)
coupling = _argument(
    "coupling", "g", "= sum_j |grad lambda_j|^2 / lambda_j at the flattest point", Section.PRICE_OF_SPEED, _CURVATURE, ">= 0"
)
squared_slopes = _argument(
    "squared_slopes",
    "G2",
    "= sum_j |grad lambda_j|^2 at the flattest point",
    Section.PRICE_OF_SPEED,
    "loss^2 / parameter^6",
    ">= 0",
)
reference_lr = _argument(
    "reference_lr", "eta0", "learning rate of a tuned pair", Section.WAYS_TO_PREDICT, "parameter^2 / loss", "> 0"
)
reference_one_minus_beta = _argument(
    "reference_one_minus_beta", "delta0", "= 1 - beta0 of a tuned pair", Section.WAYS_TO_PREDICT, "", "in (0, 1]"
)
adam_curvature = _argument(
    "adam_curvature",
    "mu_A",
    "curvature along Gamma that Adam feels, k0 = eta^2 mu_A / 4",
    Section.AVERAGES,
    "1 / parameter^2",
    ">= 0",
)
decoupled_decay = _argument(
    "decoupled_decay",
    "h_w",
    "decay along Gamma per step and eta of AdamW's weight decay",
    Section.AVERAGES,
    "1 / parameter",
    ">= 0",
)
trace_hessian = _argument("trace_hessian", "tr H", "trace of the Hessian", Section.INTERPOLATION, _EIGENVALUE, "> 0")
soft_share = _argument(
    "soft_share", "S", "share of tr H that the softest eigenvalue holds", Section.INTERPOLATION, "", "in (0, 1]"
)
# fmt: on

LETTERS: Mapping[str, Quantity] = {
    quantity.letter: quantity
    for quantity in (
        Quantity("w", "the parameters, N of them", Section.SETTING, "parameter"),
        Quantity("f", "the model's outputs on the training set; y, their targets", Section.SETTING, "sqrt(loss)"),
        Quantity("L", "= |f - y|^2 / (2 P), the loss", Section.SETTING, "loss"),
        Quantity("Gamma", "= {w : f(w) = y}, the manifold of minimizers", Section.SETTING),
        Quantity("J", "= df/dw, the Jacobian; J_i its row i", Section.SETTING, "sqrt(loss) / parameter"),
        Quantity("H", "= J^T J / P, the Hessian on Gamma", Section.SETTING, _EIGENVALUE),
        Quantity("P_T", "projection onto the tangent space of Gamma; grad_Gamma = P_T grad", Section.SETTING),
        Quantity("beta", "momentum", Section.SETTING, "", "in [0, 1)"),
        Quantity("v", "velocity, change of w in a step", Section.SETTING, "parameter"),
        Quantity("sigma", "standard deviation of the label noise", Section.SETTING, "sqrt(loss)"),
        Quantity("a", "= eta lambda of a normal mode", Section.SETTING),
        Quantity("n_j", "unit vector of a normal mode; u_j the same in the outputs", Section.SETTING),
        Quantity("t", "= k c eta^2 / delta^2, the clock of the drift", Section.SETTING, "1 / curvature"),
        Quantity("s", "= delta k, the clock of the critical limit", Section.SETTING),
        Quantity("E", "mean over the noise", Section.RELAXATION),
        Quantity("chi", "multiplier of the update: a mode is a sum of powers chi^k", Section.RELAXATION),
        Quantity("s(lambda)", "stationary variance of a normal mode", Section.RELAXATION, "parameter^2"),
        Quantity("theta", "position along Gamma", Section.DRIFT, "parameter"),
        Quantity("V", "effective potential of the drift, per step: dw = -grad_Gamma V", Section.DRIFT, "parameter^2"),
        Quantity("tau_par", "time scale of the drift along Gamma", Section.DRIFT, "steps"),
        Quantity("M", "Riemannian Hessian of tr H on Gamma", Section.DRIFT, _CURVATURE),
        Quantity("nu_i", "multiplier of the constraint f_i = y_i", Section.DRIFT, "sqrt(loss) / parameter^2"),
        Quantity("X", "stationary covariance of the modes, in units of eta / delta", Section.DRIFT, "loss"),
        Quantity("delta*", "= (c mu)^(1/3) eta^(2/3), critical damping", Section.CROSSING),
        Quantity("L_eff", "effective loss: L and the regulariser (delta / eta) b V", Section.EFFECTIVE_LOSS, "loss"),
        Quantity("k(delta)", "stiffness along Gamma, per step squared", Section.EFFECTIVE_LOSS, "1 / step^2"),
        Quantity("G", "field of a force that pulls w by -G per step squared", Section.FORCES, "parameter"),
        Quantity("q", "probability that dropout takes out a hidden unit", Section.FORCES),
        Quantity("omega", "= sqrt(eta lambda), frequency of a normal mode", Section.CRITICAL_LIMIT, "1 / step"),
        Quantity("p(s)", "= dw/ds, velocity along Gamma on the clock s", Section.CRITICAL_LIMIT, "parameter"),
        Quantity("e_j", "energy of a normal mode over eta c / (2 delta)", Section.CRITICAL_LIMIT, _EIGENVALUE),
        Quantity("a_j", "complex amplitude of a normal mode, e_j = |a_j|^2", Section.CRITICAL_LIMIT, "sqrt(loss) / parameter"),
        Quantity("z_j", "= a_j / lambda_j^(1/4), its action amplitude", Section.CRITICAL_LIMIT, "(loss / parameter^2)^(1/4)"),
        Quantity("D", "= delta / (c eta^2)^(1/3)", Section.CRITICAL_LIMIT, "curvature^(1/3)"),
        Quantity(
            "tau", "= k (c eta^2)^(1/3), scaled time; tau(D) the universal curve", Section.CRITICAL_LIMIT, "curvature^(-1/3)"
        ),
        Quantity("Omega_j", "= sqrt(eta lambda_j) / delta, frequency per unit of s", Section.FINITE_LEARNING_RATE),
        Quantity("rho_i", "mean residual of the moment closure", Section.MOMENT_CLOSURE, "sqrt(loss)"),
        Quantity("epsilon", "how much longer than the shortest a recommended time may be", Section.WAYS_TO_PREDICT),
        Quantity("beta1", "= beta, decay of Adam's average of gradients", Section.AVERAGES, "", "in [0, 1)"),
        Quantity("beta2", "decay of Adam's average of squared gradients", Section.AVERAGES, "", "in [0, 1)"),
        Quantity("D_i", "= 1 / sqrt(u_i), by which Adam multiplies element i of the step", Section.AVERAGES),
        Quantity("k0", "rate of the drift, the stiffness k over delta", Section.AVERAGES, "1 / step"),
        Quantity("phi", "= (P - B) / (B (P - 1)), strength of the sampling noise", Section.INTERPOLATION),
        Quantity("chi_2", "multiplier of the mean loss per step", Section.INTERPOLATION),
    )
}
"""Letters of docs/theory.md that are no argument of a formula."""


def letter(symbol: sp.Symbol) -> str:
    """What docs/theory.md calls a symbol: eta for `lr`."""
    return SYMBOLS[symbol].letter if symbol in SYMBOLS else symbol.name
