"""What a derivation is made of: symbols, checked steps, and the formulas that become code."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import mpmath as mp
import sympy as sp

POINTS = 12  # random points at which a claim is evaluated that cancellation cannot prove
WORKING_DIGITS = 80

# The symbols are named as the library's arguments are; the theory page's letter stands on the right.
lr = sp.Symbol("lr", positive=True)  # eta
eigenvalue = sp.Symbol("eigenvalue", positive=True)  # lambda
one_minus_beta = sp.Symbol("one_minus_beta", positive=True)  # delta
noise = sp.Symbol("noise", nonnegative=True)  # c
curvature = sp.Symbol("curvature", nonnegative=True)  # mu
explicit_curvature = sp.Symbol("explicit_curvature", nonnegative=True)  # h
damping_ratio = sp.Symbol("damping_ratio", positive=True)  # zeta
target = sp.Symbol("target", positive=True)  # x
reference_lr = sp.Symbol("reference_lr", positive=True)  # eta0
reference_one_minus_beta = sp.Symbol("reference_one_minus_beta", positive=True)  # delta0
exponent = sp.Symbol("exponent", positive=True)  # gamma
energy_share = sp.Symbol("energy_share", nonnegative=True)  # b
relaxation_time = sp.Symbol("relaxation_time", positive=True)  # tau_perp
eigenvalue_growth = sp.Symbol("eigenvalue_growth", real=True)  # rho
n_steps = sp.Symbol("n_steps", nonnegative=True)  # k
other_eigenvalue = sp.Symbol("other_eigenvalue", positive=True)  # lambda_j
noise_covariance = sp.Symbol("noise_covariance", real=True)  # Sigma_ij
scaled_damping = sp.Symbol("scaled_damping", positive=True)  # C = delta / sqrt(eta)
noise_power = sp.Symbol("noise_power", real=True)  # p
square_curvature = sp.Symbol("square_curvature", real=True)  # nu
kappa = sp.Symbol("kappa", positive=True)
coupling = sp.Symbol("coupling", nonnegative=True)  # g
squared_slopes = sp.Symbol("squared_slopes", nonnegative=True)  # G2
parameter_noise = sp.Symbol("parameter_noise", nonnegative=True)  # s^2
n_workers = sp.Symbol("n_workers", positive=True)  # K
local_steps = sp.Symbol("local_steps", positive=True)  # H
decay_rate = sp.Symbol("decay_rate", real=True)  # r
squared_residual = sp.Symbol("squared_residual", nonnegative=True)  # r^2
n_outputs = sp.Symbol("n_outputs", positive=True)  # P
batch_size = sp.Symbol("batch_size", positive=True)  # B

# What the generated docstrings say about each argument.
MEANING: Mapping[sp.Symbol, str] = {
    lr: "eta, learning rate, > 0",
    eigenvalue: "lambda, eigenvalue of the Hessian on Gamma, > 0; a = lr * eigenvalue",
    one_minus_beta: "delta = 1 - beta, in (0, 1]",
    noise: "c, label-noise strength sigma^2 / B, in units of loss, >= 0",
    curvature: "mu, curvature of tr H along Gamma, >= 0",
    explicit_curvature: "h, curvature along Gamma of an explicit force (weight decay: h = wd), >= 0",
    damping_ratio: "zeta, 1 for critical damping",
    target: "x, the fraction of the start to stay below, in (0, 1)",
    reference_lr: "eta0, learning rate of the tuned pair, > 0",
    reference_one_minus_beta: "delta0 = 1 - beta0 of the tuned pair, in (0, 1]",
    exponent: "gamma in 1 - beta ~ lr^gamma, > 0",
    energy_share: "b, share of the mode's stationary variance that is there at first, >= 0",
    relaxation_time: "tau_perp of the mode's amplitude, in steps, > 0 (inf: never)",
    eigenvalue_growth: "rho = d ln lambda / dk, per step; 0 for an overdamped mode",
    n_steps: "k, steps, >= 0",
    other_eigenvalue: "lambda_j, eigenvalue of the other mode, > 0; b = lr * other_eigenvalue",
    noise_covariance: "Sigma_ij, covariance of the gradient noise in the two modes, in squared units of the gradient",
    noise_power: "p in c ~ lr^p; 0 for label noise of fixed strength",
    square_curvature: "nu = (tr H^2)'' - (tr H)''' (tr H^2)' / mu along Gamma at the flattest point, any sign",
    kappa: "kappa = eta^2 c / (4 delta^3), in units of 1 / curvature, > 0",
    coupling: "g = sum_j |grad lambda_j|^2 / lambda_j at the flattest point, in units of the curvature, >= 0",
    squared_slopes: "G2 = sum_j |grad lambda_j|^2 at the flattest point, >= 0",
    scaled_damping: "C = delta / sqrt(eta), in units of sqrt(eigenvalue), > 0",
    parameter_noise: "s^2, variance of the noise in each parameter where the gradient is taken, >= 0",
    n_workers: "K, workers, >= 1",
    local_steps: "H, steps between two averages, >= 1",
    decay_rate: "r = -d ln eta / dk, per step; negative while lr grows",
    squared_residual: "r^2, mean square of the residuals, >= 0",
    n_outputs: "P, outputs on the training set, > 1",
    batch_size: "B, samples per step, from 1 to P",
}


class compensated(sp.Function):
    """Its argument, a polynomial with integer coefficients, to be evaluated without losing digits to cancellation.

    The printer writes it as a call of `sde_momentum.theory.compensated.sum_of_products`.
    """

    nargs = 1


def plain(expression: sp.Expr) -> sp.Expr:
    """The expression without marks on how to evaluate it."""
    return sp.sympify(expression).replace(compensated, lambda argument: argument)


@dataclass(frozen=True)
class Formula:
    """One function of `sde_momentum/theory/formulas.py`.

    `expression` is the form that is numerically stable; the derivation proves it equal to the plain one.
    `text` is the formula as it stands on the theory page, `section` the page's section. `where` names
    the intermediate quantities of `expression`, each in terms of the arguments and of those before it.
    """

    name: str
    arguments: tuple[sp.Symbol, ...]
    expression: sp.Expr
    text: str
    summary: str
    section: str
    where: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()

    def __post_init__(self) -> None:
        known = set(self.arguments)
        for name, value in (*self.where, (None, self.expression)):
            if unknown := value.free_symbols - known:
                raise ValueError(f"{self.name}: {unknown} is neither an argument nor defined before its use")
            known.add(name)

    @property
    def unfolded(self) -> sp.Expr:
        """The value in terms of the arguments alone: what a step can compare with a plainer expression."""
        value = sp.sympify(self.expression)
        for name, definition in reversed(self.where):
            value = value.subs(name, definition)
        return plain(value)


@dataclass(frozen=True)
class Step:
    """The claim that `left` equals `right`.

    A rational identity is proved by cancellation. Any other is evaluated at 12 random points of `region`,
    which writes some symbols in terms of others; those left are drawn from (0, 1). It is worked out with 80
    digits and must agree to 50.
    """

    claim: str
    left: sp.Expr  # a limit stays as `sp.Limit`, so that it can be read
    right: sp.Expr
    region: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)

    @cached_property
    def sides(self) -> tuple[sp.Expr, sp.Expr]:
        """Both sides with their limits taken and without marks on how to evaluate them."""
        left, right = (plain(side) for side in (self.left, self.right))
        return (left.doit() if left.has(sp.Limit) else left), (right.doit() if right.has(sp.Limit) else right)

    @property
    def symbolic(self) -> bool:
        """Whether the claim is proved for all values, not only evaluated at some."""
        left, right = self.sides
        if left.has(sp.Piecewise) or right.has(sp.Piecewise):
            return False
        difference = sp.sympify(left - right)
        return bool(difference.is_rational_function(*difference.free_symbols))

    def holds(self) -> bool:
        left, right = self.sides
        if self.symbolic:
            return bool(sp.cancel(sp.together(left - right)) == 0)
        names = sorted(left.free_symbols | right.free_symbols, key=str)
        functions = [sp.lambdify(names, side, modules="mpmath") for side in (left, right)]
        draw = random.Random(self.claim)
        with mp.workdps(WORKING_DIGITS):
            return all(self._residual(draw, names, functions) < mp.mpf("1e-50") for _ in range(POINTS))

    def _residual(self, draw: random.Random, names: list[sp.Symbol], functions: list[Callable[..., mp.mpf]]) -> mp.mpf:
        """|left - right| / (1 + |right|) at one random point."""
        inside = {name: sp.sympify(value) for name, value in self.region.items()}
        free = set(names) | {s for value in inside.values() for s in value.free_symbols}
        drawn = {name: sp.Rational(draw.randint(1, 9999), 10_000) for name in sorted(free - set(inside), key=str)}
        where = {**drawn, **{name: value.subs(drawn) for name, value in inside.items()}}
        point = [mp.mpmathify(sp.N(where[name], WORKING_DIGITS)) for name in names]
        left, right = (mp.mpmathify(function(*point)) for function in functions)
        return abs(left - right) / (1 + abs(right))


@dataclass(frozen=True)
class Derivation:
    """One appendix: what is assumed, the steps, and the formulas they end in."""

    title: str
    section: str
    assumptions: tuple[str, ...]
    steps: tuple[Step, ...]
    formulas: tuple[Formula, ...]

    def failed(self) -> list[str]:
        """Claims that do not hold; empty when the derivation stands."""
        return [step.claim for step in self.steps if not step.holds()]
