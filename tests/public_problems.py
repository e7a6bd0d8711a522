"""Problems of other libraries' test suites and of textbooks, each with a value that does not come from this library.

    python tests/public_problems.py

prints the table of docs/public_problems.md (a minute): value, ours with its standard error, their difference in those.
Values are exact (solutions in closed form, averaged over W_t by Gauss-Hermite quadrature; moment equations of linear problems),
or those of an independent computation: the backward equation on a grid, or a plain NumPy loop with fine steps, whose standard
error counts too. The noise of problem number n is that of seed n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.special import ndtr

import sde_momentum as sm
from sde_momentum import sde

SCIML, STOCHASTIC, SDEINT = "SDEProblemLibrary.jl", "StochasticDiffEq.jl", "sdeint"
TORCHSDE, BOOK, GILES = "torchsde", "Kloeden, Platen 1992", "Giles 2008"


@dataclass(frozen=True)
class Public:
    """A problem: `value()` and `ours(n_paths, seed)` give (number, standard error) of the same quantity."""

    name: str
    suite: str
    quantity: str
    value: Callable[[], tuple[float, float]]
    ours: Callable[[int, int], tuple[float, float]]

    def compared(self, n_paths: int, seed: int) -> tuple[float, float, float, float]:
        """The value, ours, its standard error, and the difference in standard errors."""
        (value, its_se), (own, se) = self.value(), self.ours(n_paths, seed)
        return value, own, se, (own - value) / math.hypot(se, its_se)


# -- values ------------------------------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(200)


def over_normal(f: Callable[[Any], Any], mean: float, variance: float) -> Callable[[], tuple[float, float]]:
    """E f(Z), Z normal."""
    return lambda: (float(_WEIGHTS @ f(mean + math.sqrt(variance) * _NODES) / _WEIGHTS.sum()), 0.0)


def exactly(value: float) -> Callable[[], tuple[float, float]]:
    """A number in closed form."""
    return lambda: (value, 0.0)


def second_moment(a: Any, columns: Any, x0: Any, t: float, i: int) -> Callable[[], tuple[float, float]]:
    """E X_i^2 of dX = A X dt + sum_k B_k X dW_k, from the linear equation of E X X^T."""
    eye = np.eye(len(x0))
    generator = np.kron(a, eye) + np.kron(eye, a) + sum(np.kron(b, b) for b in columns)
    return exactly(float((expm(generator * t) @ np.kron(x0, x0))[i * (len(x0) + 1)]))


def backward_equation(drift: Any, variance: Any, f: Any, low: float, high: float, x0: float, t: float) -> Any:
    """E f(X_t) by the backward equation u' = a u_x + b^2 u_xx / 2 on a grid, central differences extrapolated to its limit."""

    def on(n: int) -> float:
        x, h = np.linspace(low, high, n + 1), (high - low) / n
        a, d = drift(x) / (2.0 * h), variance(x) / (2.0 * h * h)
        generator = np.diag(-2.0 * d) + np.diag((d + a)[:-1], 1) + np.diag((d - a)[1:], -1)
        generator[0, 1] += (d - a)[0]  # mirrored: nothing comes near the ends
        generator[-1, -2] += (d + a)[-1]
        return float(np.interp(x0, x, expm(generator * t) @ f(x)))

    return lambda: ((4.0 * on(400) - on(200)) / 3.0, 0.0)


def plain_loop(drift: Any, b: float, x0: Any, t: float, n_steps: int, f: Any) -> Callable[[], tuple[float, float]]:
    """E f(X_t) with additive noise b by a NumPy loop of Heun's drift and one dW a step, on 4096 paths."""

    def run() -> tuple[float, float]:
        rng, h = np.random.default_rng(1), t / n_steps
        x = np.repeat(np.array(x0)[:, None], 4096, axis=1)
        for _ in range(n_steps):
            dw = b * math.sqrt(h) * rng.standard_normal(x.shape)
            a = drift(x)
            x = x + dw + 0.5 * h * (a + drift(x + a * h + dw))
        values = f(x)
        return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))

    return run


# -- ours --------------------------------------------------------------------------------------------


def by(equation: Any, x0: Any, t: float, step: Any, method: str, f: Any = None, component: int = 0) -> Any:
    """The mean of f(x, t, p), or of a component, at t with its standard error."""

    def run(n_paths: int, seed: int) -> tuple[float, float]:
        asked = [] if f is None else [sde.Functional("f", f)]
        result = sm.solve(
            equation,
            x0,
            [t],
            step=sde.Fixed(step, method),
            n_paths=n_paths,
            seed=seed,
            statistics=asked,
        )
        name = "mean" if f is None else "f_mean"
        found = [float(np.ravel(result[n].values)[component]) for n in (name, f"{name}_se")]
        return found[0], found[1]

    return run


def one_dimensional(
    name: str,
    suite: str,
    quantity: str,
    value: Any,
    drift: Any,
    diffusion: Any,
    x0: float,
    t: float,
    step: float,
    method: str = "dri1",
    f: Any = None,
    **options: Any,
) -> Public:
    """A problem of one component."""
    interpretation = "stratonovich" if method == "heun" else "ito"
    equation = sm.SDE(drift, diffusion, interpretation=interpretation, **options)
    return Public(name, suite, quantity, value, by(equation, x0, t, step, method, f))


def _lorenz(x: Any, t: float = 0.0, p: Any = ()) -> Any:
    return (10.0 * (x[1] - x[0]), x[0] * (28.0 - x[2]) - x[1], x[0] * x[1] - 2.66 * x[2])


def _production(x: Any) -> Any:
    return 5.0 + 18.0 * x**4 / (x**4 + 11.9**4)


def _bistable() -> Public:
    def drift(x: Any, t: float, p: Any) -> Any:
        return 5.0 + 18.0 * x**4 / (x**4 + 11.9**4) - x

    def diffusion(x: Any, t: float, p: Any) -> Any:
        return (0.1 * math.sqrt(5.0 + 18.0 * x**4 / (x**4 + 11.9**4)), -0.1 * math.sqrt(x))

    value = backward_equation(
        lambda x: _production(x) - x, lambda x: 0.01 * (_production(x) + x), lambda x: x, 1.0, 9.0, 3.0, 2.0
    )
    equation = sm.SDE(drift, diffusion, noise="general", n_noise=2)
    return Public("prob_sde_bistable, two noises", SCIML, "E X, t = 2", value, by(equation, 3.0, 2.0, 1 / 16, "dri1"))


_UNLIKE = np.array([[0.25, 0.0], [(1.0 - 2.0 * math.sqrt(2.0)) / 4.0, 0.0]]), np.array([[0.0625, 0.0], [0.1, 0.0625]])
_UNLIKE_RATE = np.array([[-273.0 / 512.0, 0.0], [-1.0 / 160.0, 785.0 / 512.0 - math.sqrt(2.0) / 8.0]])


def _not_commuting(i: int) -> Public:
    equation = sm.SDE(
        lambda x, t, p: _UNLIKE_RATE @ x,
        lambda x, t, p: np.stack([b @ x for b in _UNLIKE], axis=1),
        2,
        noise="general",
        n_noise=2,
        batched=True,
    )
    value = exactly(math.exp(-3.0)) if i == 0 else second_moment(_UNLIKE_RATE, _UNLIKE, np.ones(2), 1.0, 1)
    t, step = (3.0, 1 / 16) if i == 0 else (1.0, 1 / 32)
    ours = by(equation, (1.0, 1.0), t, step, "dri1", (lambda x, t, p: x[0] ** 2) if i == 0 else (lambda x, t, p: x[1] ** 2))
    return Public("noise that does not commute (Debrabant, Rößler)", STOCHASTIC, f"E X{i + 1}^2, t = {t:g}", value, ours)


def _many_noises() -> Public:
    a, b = np.full((5, 5), 0.05), np.full((5, 5), 0.01)
    np.fill_diagonal(a, -1.5)
    np.fill_diagonal(b, 0.2)
    equation = sm.SDE(
        lambda x, t, p: a @ x, lambda x, t, p: np.repeat((b @ x)[:, None], 4, axis=1), 5, noise="general", n_noise=4, batched=True
    )
    value = second_moment(a, [b] * 4, np.ones(5), 1.0, 0)
    ours = by(equation, np.ones(5), 1.0, 1 / 16, "dri1", lambda x, t, p: x[0] ** 2)
    return Public("R74: five components, four noises", SDEINT, "E X1^2, t = 1", value, ours)


def _heat(n: int = 20) -> Public:
    a = 0.01 * n**2 * (np.eye(n, k=1) - 2.0 * np.eye(n) + np.eye(n, k=-1))
    equation = sm.SDE(lambda x, t, p: a @ x, lambda x, t, p: x, n, noise="scalar", batched=True)
    value = exactly(float((expm(a) @ np.ones(n))[0]))
    return Public(
        "heat equation with scalar noise, 20 points", SCIML, "E X1, t = 1", value, by(equation, np.ones(n), 1.0, 1 / 32, "dri1")
    )


def _oscillator() -> Public:
    # dq = v dt, dv = -q dt - v dt + dW from (0, 1)
    rate = np.array([[0.0, 1.0], [-1.0, -1.0]])
    decay = expm(5.0 * rate)
    still = -solve_continuous_lyapunov(-rate, -np.diag([0.0, 1.0]))
    value = exactly(float((decay @ [0.0, 1.0])[0] ** 2 + (still - decay @ still @ decay.T)[0, 0]))
    langevin = sde.Langevin(lambda q, t, p: -q, friction=1.0, temperature=0.5)
    return Public(
        "harmonic oscillator, damped",
        STOCHASTIC,
        "E q^2, t = 5",
        value,
        by(langevin, (0.0, 1.0), 5.0, 1 / 16, "baoab", lambda x, t, p: x[0] * x[0]),
    )


def _three_additive() -> Public:
    a, b = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, -0.4]]), np.diag([0.2, 0.0, 0.5])
    still = -solve_continuous_lyapunov(-a, -b @ b.T)
    decay = expm(4.0 * a)
    value = exactly(float((still - decay @ still @ decay.T)[2, 2]))
    equation = sm.SDE(
        lambda x, t, p: (-x[0], x[2], -x[1] - 0.4 * x[2]), lambda x, t, p: (0.2, 0.5), 3, driven=(0, 2), additive=True
    )
    ours = by(equation, (0.0, 0.0, 0.0), 4.0, 1 / 16, "sra1", lambda x, t, p: x[2] * x[2])
    return Public("three components, additive noise in two", SDEINT, "E y3^2, t = 4", value, ours)


def _eight() -> Public:
    equation = sm.SDE(lambda x, t, p: 1.01 * x, lambda x, t, p: 0.87 * x, 8, batched=True)
    ours = by(equation, np.full(8, 0.5), 1.0, 1 / 16, "dri1", lambda x, t, p: x.mean(axis=0))
    return Public("prob_sde_2Dlinear, eight components", SCIML, "E mean X, t = 1", exactly(0.5 * math.exp(1.01)), ours)


def _call() -> Public:
    r, s = 0.05, 0.2
    d = (r + s * s / 2.0) / s
    equation = sm.SDE(lambda x, t, p: 0.05 * x, lambda x, t, p: 0.2 * x)

    def ours(n_paths: int, seed: int) -> tuple[float, float]:
        payoff = sde.Functional("payoff", lambda x, t, p: math.exp(-0.05) * max(x - 100.0, 0.0))
        step, until = sde.Multilevel(0.25), sde.UntilError(absolute=6.0 / math.sqrt(n_paths))
        found = sm.solve(equation, 100.0, [1.0], step=step, n_paths=until, seed=seed, statistics=[payoff])
        return float(found["mean"]), float(found["rms_error"])

    value = exactly(100.0 * (ndtr(d) - math.exp(-r) * ndtr(d - s)))
    return Public("European call, by levels", GILES, "price", value, ours)


def problems() -> list[Public]:
    """All of them, as their suites state them (with shorter times where the spread of the paths would hide an error)."""
    root = math.sqrt
    additive = dict(
        drift=lambda x, t, p: 0.05 / (1.0 + t) ** 0.5 - x / (2.0 * (1.0 + t)),
        x0=1.0,
        t=1.0,
        step=1 / 64,
        method="sra1",
        diffusion=lambda x, t, p: 0.005 / (1.0 + t) ** 0.5,
        additive=True,
    )
    return [
        one_dimensional(
            "prob_sde_linear",
            SCIML,
            "E X, t = 1",
            exactly(0.5 * math.exp(1.01)),
            lambda x, t, p: 1.01 * x,
            lambda x, t, p: 0.87 * x,
            0.5,
            1.0,
            1 / 16,
        ),
        one_dimensional(
            "prob_sde_linear_stratonovich",
            SCIML,
            "E X, t = 1",
            exactly(0.5 * math.exp(1.01 + 0.87**2 / 2.0)),
            lambda x, t, p: 1.01 * x,
            lambda x, t, p: 0.87 * x,
            0.5,
            1.0,
            1 / 1024,
            "heun",
        ),
        _eight(),
        one_dimensional(
            "prob_sde_cubic",
            SCIML,
            "E X, t = 1",
            over_normal(lambda w: np.tanh(math.atanh(0.5) + w / 2.0), 0.0, 1.0),
            lambda x, t, p: -0.25 * x * (1.0 - x * x),
            lambda x, t, p: 0.5 * (1.0 - x * x),
            0.5,
            1.0,
            1 / 16,
        ),
        one_dimensional(
            "prob_sde_wave",
            SCIML,
            "E X, t = 1",
            over_normal(lambda w: np.arctan(0.1 * w + math.tan(1.0)), 0.0, 1.0),
            lambda x, t, p: -0.01 * math.sin(x) * math.cos(x) ** 3,
            lambda x, t, p: 0.1 * math.cos(x) ** 2,
            1.0,
            1.0,
            1 / 16,
        ),
        one_dimensional("prob_sde_additive", SCIML, "E X, t = 1", exactly(1.05 / root(2.0)), **additive),
        one_dimensional(
            "prob_sde_additive",
            SCIML,
            "E (X - E X)^2, t = 1",
            exactly(0.005**2 / 2.0),
            **additive,
            f=lambda x, t, p: (x - 0.742462120245875) ** 2,
        ),
        Public(
            "prob_sde_lorenz",
            SCIML,
            "E z, t = 1",
            plain_loop(lambda x: np.stack(_lorenz(x)), 3.0, (1.0, 1.0, 1.0), 1.0, 512, lambda x: x[2]),
            by(
                sm.SDE(_lorenz, lambda x, t, p: (3.0, 3.0, 3.0), 3, additive=True),
                (1.0, 1.0, 1.0),
                1.0,
                1 / 256,
                "sra1",
                component=2,
            ),
        ),
        one_dimensional(
            "prob_sde_nltest",
            SCIML,
            "E X, t = 1",
            exactly(28.0),
            lambda x, t, p: x ** (1.0 / 3.0) / 3.0 + 6.0 * x ** (2.0 / 3.0),
            lambda x, t, p: x ** (2.0 / 3.0),
            1.0,
            1.0,
            1 / 64,
        ),
        one_dimensional(
            "prob_sde_stiffquadito",
            SCIML,
            "E X, t = 1",
            over_normal(lambda w: np.tanh(math.atanh(0.5) - 1.0 + w), 0.0, 1.0),
            lambda x, t, p: -(1.0 + x) * (1.0 - x * x),
            lambda x, t, p: 1.0 - x * x,
            0.5,
            1.0,
            1 / 128,
        ),
        one_dimensional(
            "prob_sde_stiffquadstrat",
            SCIML,
            "E X, t = 1",
            over_normal(lambda w: np.tanh(math.atanh(0.5) - 1.0 + w), 0.0, 1.0),
            lambda x, t, p: x * x - 1.0,
            lambda x, t, p: 1.0 - x * x,
            0.5,
            1.0,
            1 / 512,
            "heun",
        ),
        _bistable(),
        _heat(),
        _not_commuting(0),
        _not_commuting(1),
        one_dimensional(
            "nonlinear, scalar (Debrabant, Rößler)",
            STOCHASTIC,
            "E F(X), F polynomial of arsinh, t = 1/2",
            exactly(0.375),
            lambda x, t, p: 0.5 * x + (x * x + 1.0) ** 0.5,
            lambda x, t, p: (x * x + 1.0) ** 0.5,
            0.0,
            0.5,
            1 / 64,
            f=lambda x, t, p: _polynomial(math.log(x + (x * x + 1.0) ** 0.5)),
        ),
        _oscillator(),
        one_dimensional(
            "KP4446",
            SDEINT,
            "E y, t = 1",
            over_normal(lambda w: np.tanh(math.atanh(0.1) - 1.0 + 0.8 * w), 0.0, 1.0),
            lambda x, t, p: -(1.0 + 0.64 * x) * (1.0 - x * x),
            lambda x, t, p: 0.8 * (1.0 - x * x),
            0.1,
            1.0,
            1 / 64,
        ),
        one_dimensional(
            "KP4459, two noises",
            SDEINT,
            "E arctan y, t = 1/4",
            over_normal(lambda w: np.arctan(np.exp(-0.02 / 4.0 - 5.0 / 8.0 + w)), 0.0, 1.25),
            lambda x, t, p: -0.02 * x,
            lambda x, t, p: (x, 2.0 * x),
            1.0,
            0.25,
            1 / 256,
            f=lambda x, t, p: math.atan(x),
            noise="general",
            n_noise=2,
        ),
        one_dimensional(
            "KPS445",
            SDEINT,
            "E y, t = 1",
            over_normal(np.arctan, math.tan(1.0) * math.exp(-1.0), 1.0 - math.exp(-2.0)),
            lambda x, t, p: -math.sin(2.0 * x) - 0.25 * math.sin(4.0 * x),
            lambda x, t, p: root(2.0) * math.cos(x) ** 2,
            1.0,
            1.0,
            1 / 64,
        ),
        Public(
            "one component, additive noise",
            SDEINT,
            "E y^2, stationary",
            exactly(0.02),
            by(sde.OrnsteinUhlenbeck(1.0, 0.2), 0.0, 20.0, 5.0, "exact", lambda x, t, p: x * x),
        ),
        _three_additive(),
        _many_noises(),
        one_dimensional(
            "ExDiagonal, Stratonovich",
            TORCHSDE,
            "E y, t = 1",
            exactly(math.exp(-0.86)),
            lambda x, t, p: (-0.86 - 0.18) * x,
            lambda x, t, p: 0.6 * x,
            1.0,
            1.0,
            1 / 512,
            "heun",
        ),
        one_dimensional(
            "ExScalar, Stratonovich",
            TORCHSDE,
            "E y, t = 1",
            over_normal(lambda w: np.arctan(0.7 * w + math.tan(0.5)), 0.0, 1.0),
            lambda x, t, p: 0.0 * x,
            lambda x, t, p: 0.7 * math.cos(x) ** 2,
            0.5,
            1.0,
            1 / 512,
            "heun",
        ),
        one_dimensional(
            "square of a Wiener process, dX = dt + 2 sqrt(X) dW",
            BOOK,
            "E X^2, t = 1/8",
            exactly(1.0 + 6.0 / 8.0 + 3.0 / 64.0),
            lambda x, t, p: 1.0,
            lambda x, t, p: 2.0 * x**0.5,
            1.0,
            0.125,
            1 / 64,
            f=lambda x, t, p: x * x,
            domain=((0.0, math.inf),),
            outside="clip",
        ),
        _call(),
    ]


def _polynomial(z: Any) -> Any:
    return z**3 - 6.0 * z**2 + 8.0 * z


def main() -> None:
    """Print the table."""
    print("| problem | of | quantity | exact or independent value | ours | difference in standard errors |")
    print("| --- | --- | --- | --- | --- | --- |")
    for seed, problem in enumerate(problems()):
        value, own, se, z = problem.compared(2**18, seed)
        print(f"| {problem.name} | {problem.suite} | {problem.quantity} | {value:.6g} | {own:.6g} ± {se:.2g} | {z:+.1f} |")


if __name__ == "__main__":
    main()
