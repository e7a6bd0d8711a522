"""Strong and weak orders of every method, by regression over step sizes (Kloeden, Platen 1992).

Each order is asserted with its confidence interval, which must be narrow (standard error < 0.1) and contain the order
that the method states. Step and sample sizes were settled by exact biases or in pilot runs on other noise, and no seed
was chosen. Strong errors are measured twice: against a reference that does not come from the method, and between steps
h and h/2 of the method itself on one Wiener path.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from given_noise import follow
from scipy import stats
from scipy.linalg import expm

import sde_momentum as sm
from sde_momentum.sde import METHODS, Fixed, Langevin, OrnsteinUhlenbeck, coarsen, standard_increments
from sde_momentum.sde.arrays import array_function, array_step
from sde_momentum.sde.methods.ornstein_uhlenbeck import ExactOrnsteinUhlenbeck
from sde_momentum.sde.task import Task

BATCHES, WIDTH = 20, 128
PATHS = BATCHES * WIDTH


# -- strong orders -----------------------------------------------------------------------------------


def slope(h, logs):
    """p of log error = c + p log h + d h, least squares on each row of `logs`; d h is the next order."""
    design = np.stack([np.ones_like(h), np.log(h), h], axis=1)
    return np.linalg.lstsq(design, np.atleast_2d(logs).T, rcond=None)[0][1]


def assert_strong_order(name, h, errors, order, reference=None):
    """errors: (n_h, dim, PATHS). `reference`: log of the relative error that the reference brings, as a function of h.

    The slopes of independent batches give the standard error. False alarms: 1e-4 a case, two-sided.
    """
    squares = (errors**2).sum(axis=1).reshape(len(h), BATCHES, WIDTH).mean(axis=2)
    slopes = slope(h, np.log(squares).T / 2)
    p, se = slopes.mean(), slopes.std(ddof=1) / math.sqrt(BATCHES)
    allowance = 0.0 if reference is None else abs(slope(h, reference(h)).item())
    width = stats.t.ppf(1 - 5e-5, BATCHES - 1) * se + allowance
    print(f"{name}: strong order {p:.4f} +- {se:.4f}, interval [{p - width:.3f}, {p + width:.3f}], in theory {order}")
    assert se < 0.1
    assert allowance < 0.02
    assert abs(p - order) < width


@dataclass
class Path:
    """A Wiener path on the finest grid, times 0 to 1: dW and int (W_s - W_t) ds, (n_steps, n_noise, PATHS), and an end point
    of the equation's own."""

    dw: np.ndarray
    area: np.ndarray
    end: Any = None
    levy: Any = None
    """Levy areas of two Wiener processes, (n_steps, PATHS)."""

    def coarser(self, n_steps):
        return coarsen(self.dw, self.area, len(self.dw) // n_steps, 1 / len(self.dw))


def wiener(seed, n_noise, n_steps):
    z, h = standard_increments(seed, PATHS, n_steps, n_noise, draws=2), 1 / n_steps
    dw = math.sqrt(h) * z[:, :n_noise]
    return Path(dw, h / 2 * (dw + math.sqrt(h / 3) * z[:, n_noise:]))


@dataclass
class Problem:
    """An equation; `end(path, interpretation)` its solution at t = 1, (dim, PATHS), where it is known."""

    name: str
    coefficients: tuple[Callable, Callable]
    x0: tuple[float, ...]
    parameters: tuple[float, ...] = ()
    noise: str = "diagonal"
    n_noise: int = 1
    additive: bool = False
    linear: Any = None
    sample: Callable[[int], Path] | None = None
    end: Callable[[Path, str], np.ndarray] | None = None
    reference: Callable | None = None

    def equation(self, interpretation):
        dim, n = len(self.x0), self.n_noise if self.noise == "general" else 0
        kind = dict(noise=self.noise, n_noise=n, additive=self.additive, linear=self.linear)
        return sm.SDE(*self.coefficients, dim, interpretation, **kind)

    def path(self, seed, n_steps):
        return wiener(seed, self.n_noise, n_steps) if self.sample is None else self.sample(seed)

    def last(self, method, path, n_steps):
        """End points (dim, PATHS) with so many steps."""
        dw, area = path.coarser(n_steps)
        return follow(
            self.equation(METHODS[method].interpretations[0]),
            self.x0,
            dw,
            step=1 / n_steps,
            method=method,
            parameters=self.parameters,
            integrals=area if METHODS[method].draws == 2 else None,
        )[-1]


def geometric_end(path, interpretation):
    mu, sigma = GEOMETRIC.parameters
    return np.exp(mu - (sigma**2 / 2 if interpretation == "ito" else 0.0) + sigma * path.dw.sum(axis=0))


GEOMETRIC = Problem(
    "geometric Brownian motion",
    (lambda x, t, p: p[0] * x, lambda x, t, p: p[1] * x),
    (1.0,),
    (0.5, 0.5),
    linear=0.5,
    end=geometric_end,
)
COUPLED = Problem(  # b_i of x_i and t alone, as strong order 1 with diagonal noise needs it
    "coupled drift",
    (
        lambda x, t, p: (x[1], -math.sin(x[0]) - 0.5 * x[1] + math.cos(t)),
        lambda x, t, p: (0.9 * math.sin(x[0]), 0.6 * (1.0 + x[1] * x[1]) ** 0.5),
    ),
    (1.0, -0.5),
    n_noise=2,
    linear=[[0.0, 1.0], [-1.0, -0.5]],
)

BETA = (0.4 + 0.5j, -0.2 + 0.3j)
"""dz = m z dt + sum_k beta_k z dW_k in the complex plane: two real components, and the noise commutes."""


def complex_end(path, interpretation):
    beta = np.array(BETA[: path.dw.shape[1]])
    drift = 0.3 - ((beta**2).sum() / 2 if interpretation == "ito" else 0.0)
    z = np.exp(drift + np.tensordot(beta, path.dw.sum(axis=0), axes=1))
    return np.stack([z.real, z.imag])


def complex_drift(x, t, p):
    return (0.3 * x[0], 0.3 * x[1])


ROTATING = Problem(
    "scalar noise",
    (complex_drift, lambda x, t, p: (0.4 * x[0] - 0.5 * x[1], 0.5 * x[0] + 0.4 * x[1])),
    (1.0, 0.0),
    noise="scalar",
    linear=0.3,
    end=complex_end,
)
COMMUTING = Problem(
    "general commutative noise",
    (
        complex_drift,
        lambda x, t, p: (
            (0.4 * x[0] - 0.5 * x[1], -0.2 * x[0] - 0.3 * x[1]),
            (0.5 * x[0] + 0.4 * x[1], 0.3 * x[0] - 0.2 * x[1]),
        ),
    ),
    (1.0, 0.0),
    noise="general",
    n_noise=2,
    linear=[0.3, 0.3],
    end=complex_end,
)


@cache
def shear_path(seed, n_steps=256, finer=64):
    """B_1 = [[0, 1], [0, 0]], B_2 = [[0, 0], [1, 0]]: [B_1, B_2] != 0, and B_k^2 = 0, so Ito and Stratonovich agree.

    The solution on a grid 64 times finer than the finest of the methods: the exponential of each step's M, to M^2. The Levy
    areas of the methods' grid are kept; without those below the reference's, its error is of order 1/2 as any method's is
    (Clark, Cameron 1980).
    """
    rng, h = np.random.default_rng(seed), 1 / (n_steps * finer)
    x, dw, levy = np.array([[1.0], [0.5]]) * np.ones(PATHS), np.zeros((n_steps, 2, PATHS)), np.zeros((n_steps, PATHS))
    for k in range(n_steps):
        for w in math.sqrt(h) * rng.standard_normal((finer, 2, PATHS)):
            levy[k] += (dw[k, 0] * w[1] - dw[k, 1] * w[0]) / 2
            dw[k] += w
            m = lambda y, w=w: w * y[::-1] - 0.2 * h * y  # noqa: E731
            step = m(x)
            x = x + step + 0.5 * m(step)
    return Path(dw, np.zeros_like(dw), x, levy)


SHEAR = Problem(
    "general noise",
    (lambda x, t, p: (-0.2 * x[0], -0.2 * x[1]), lambda x, t, p: ((x[1], 0.0), (0.0, x[0]))),
    (1.0, 0.5),
    noise="general",
    n_noise=2,
    linear=-0.2,
    sample=shear_path,
    end=lambda path, interpretation: path.end,
    # both lack the areas below the fine grid: E |X_h - reference|^2 is as h - h_fine
    reference=lambda h: np.log1p(-1 / (256 * 64 * h)) / 2,
)


def relaxing_path(seed, n_steps=512):
    """dX = -X dt + dW with its exact solution: dW, its integral and int e^(s - h) dW_s of a step are jointly normal."""
    h, e = 1 / n_steps, math.exp(-1 / n_steps)
    covariance = np.array(
        [
            [h, h**2 / 2, -math.expm1(-h)],
            [h**2 / 2, h**3 / 3, -math.expm1(-h) - h * e],
            [-math.expm1(-h), -math.expm1(-h) - h * e, -math.expm1(-2 * h) / 2],
        ]
    )
    scale = np.array([h**0.5, h**1.5, h**0.5])
    values, basis = np.linalg.eigh(covariance / np.outer(scale, scale))
    z = np.random.default_rng(seed).standard_normal((n_steps, 3, PATHS))
    z = np.einsum("ij,njk->nik", scale[:, None] * basis * np.sqrt(np.maximum(values, 0.0)), z)
    weights = np.exp(-h * np.arange(n_steps - 1, -1, -1))
    return Path(z[:, :1], z[:, 1:2], math.exp(-1.0) + np.tensordot(weights, z[:, 2:], axes=1))


RELAXING = Problem(
    "additive noise, linear drift",
    (lambda x, t, p: -x, lambda x, t, p: 1.0),
    (1.0,),
    additive=True,
    linear=-1.0,
    sample=relaxing_path,
    end=lambda path, interpretation: path.end,
)


@cache
def logistic_path(seed, n_steps=1024, finer=4):
    """X = ln N, dN = N (1 - N) dt + N dW: N = e^(t / 2 + W) / (1 + int e^(s / 2 + W_s) ds), N_0 = 1.

    The integral is expanded to W^2 within steps 4 times finer: its error is of order 3/2 in them.
    """
    fine = wiener(seed, 1, n_steps * finer)
    h, w = 1 / (n_steps * finer), np.cumsum(fine.dw, axis=0) - fine.dw
    start = np.exp(w + h / 2 * np.arange(n_steps * finer)[:, None, None])
    integral = start * (h + h**2 / 4 + fine.area + (h * fine.dw**2 / 3 + h**2 / 6) / 2)
    end = 0.5 + fine.dw.sum(axis=0) - np.log1p(integral.sum(axis=0))
    return Path(*coarsen(fine.dw, fine.area, finer, h), end)


LOGISTIC = Problem(
    "additive noise",
    (lambda x, t, p: 0.5 - math.exp(x), lambda x, t, p: 1.0),
    (0.0,),
    additive=True,
    sample=logistic_path,
    end=lambda path, interpretation: path.end,
    # what the reference does not know of the path, the methods do not: E |X_h - reference|^2 is as h^3 - h_fine^3
    reference=lambda h: np.log1p(-((1024 * 4 * h) ** -3.0)) / 2,
)
DRIVEN = Problem(
    "general additive noise in time",
    (
        lambda x, t, p: (math.sin(x[1]) - x[0], math.cos(x[0]) - 0.5 * x[1]),
        lambda x, t, p: ((0.8, 0.5 * math.sin(t)), (0.3 * t, 0.6)),
    ),
    (0.5, 0.0),
    noise="general",
    n_noise=2,
    additive=True,
    linear=[-1.0, -0.5],
)
DRIVEN_SCALAR = Problem(
    "scalar additive noise in time",
    (DRIVEN.coefficients[0], lambda x, t, p: (0.8, 0.5 * math.sin(t))),
    (0.5, 0.0),
    noise="scalar",
    additive=True,
)
PROBLEMS = (GEOMETRIC, COUPLED, ROTATING, COMMUTING, SHEAR, RELAXING, LOGISTIC, DRIVEN, DRIVEN_SCALAR)


EULER = ("euler-maruyama", "exponential-euler")


def strong_order(method, problem):
    """In theory: as the class states it, and as its docstring does for particular noise."""
    if method in EULER and problem.additive:
        return 1.0
    if method == "heun" and problem is SHEAR:
        return 0.5
    if method == "sra1" and problem is RELAXING:
        return 2.0  # the local terms that limit it to 3/2 hold a'': a linear drift has none of them
    return METHODS[method].strong_order


CASES = [
    pytest.param(method, problem, id=f"{method}-{problem.name}")
    for method in METHODS
    for problem in PROBLEMS
    if METHODS[method].strong_order
    and not METHODS[method].levy_areas
    and METHODS[method].fits(problem.equation(METHODS[method].interpretations[0]))
    # additive noise is for the methods whose order it raises
    if not problem.additive or method == "sra1" or (method in EULER and problem in (RELAXING, DRIVEN))
]


@pytest.mark.parametrize(("method", "problem"), CASES)
def test_strong_order(method, problem):
    # sra1's terms of order 2 are as large as those of order 3/2 near h = 1/10: below 1/32 they are a correction
    path, order = problem.path(3, 2048 if method == "sra1" else 512), strong_order(method, problem)
    n_steps = len(path.dw) // 2 ** np.arange(6, -1, -1)
    last = [problem.last(method, path, n) for n in n_steps]
    own = np.stack([one - two for one, two in pairwise(last)])
    assert_strong_order(f"{method}, {problem.name}, own limit", 1 / n_steps[:-1], own, order)
    if problem.end is not None:
        errors = np.stack(last) - problem.end(path, METHODS[method].interpretations[0])
        assert_strong_order(f"{method}, {problem.name}", 1 / n_steps, errors, order, problem.reference)


def test_every_method_of_a_strong_order_is_measured_with_every_noise_it_accepts():
    measured = {(case.values[0], case.values[1].noise) for case in CASES} | {("srk-levy", "general")}
    assert measured == {(m, noise) for m in METHODS if METHODS[m].strong_order for noise in METHODS[m].noises}


def on_areas(problem, interpretation, path, n_steps):
    """End points of srk-levy with so many steps on the path's own Levy areas: they take the place of those it draws."""
    method, h = METHODS["srk-levy"], 1 / n_steps
    drift, diffusion = problem.coefficients
    equation = sm.SDE(drift, diffusion, 2, interpretation, noise="general", n_noise=2, batched=True)
    functions = {name: array_function(name, f, equation) for name, f in equation.coefficients().items()}
    step = array_step(equation, method, h, functions)
    size = float(method.area_lines(2)[-1].rsplit(" * (xi", 1)[0].rsplit(" ", 1)[1])  # of the area's last number, in h
    fine = path.dw.reshape(n_steps, -1, 2, PATHS)
    before = np.cumsum(fine, axis=1) - fine
    levy = path.levy.reshape(n_steps, -1, PATHS).sum(axis=1)
    levy = levy + ((before[:, :, 0] * fine[:, :, 1] - before[:, :, 1] * fine[:, :, 0]) / 2).sum(axis=1)
    x, xi = np.array(problem.x0)[:, None] * np.ones(PATHS), np.zeros((method.n_numbers(equation), PATHS))
    for k in range(n_steps):
        xi[:2], xi[-1] = fine[k].sum(axis=0) / math.sqrt(h), levy[k] / (h * size)
        x = step(x, xi, xi[:0], k * h, problem.parameters)
    return x


@pytest.mark.parametrize("interpretation", ["ito", "stratonovich"])
@pytest.mark.parametrize("problem", [SHEAR, COMMUTING], ids=lambda p: p.name)
def test_strong_order_of_srk_levy_on_given_areas(problem, interpretation):
    path = problem.path(3, 256)
    if path.levy is None:  # they do not count where the noise commutes
        path.levy = np.random.default_rng(1).standard_normal((256, PATHS)) / 512
    n_steps = 256 // 2 ** np.arange(6, -1, -1)
    errors = np.stack([on_areas(problem, interpretation, path, n) for n in n_steps]) - problem.end(path, interpretation)
    assert_strong_order(f"srk-levy, {problem.name}, {interpretation}", 1 / n_steps, errors, METHODS["srk-levy"].strong_order)


def test_levy_areas_have_their_law_given_the_increments():
    # E exp(i u A / h | dW) = (u / 2) / sinh(u / 2) exp(-|xi|^2 / 2 ((u / 2) coth(u / 2) - 1)) (Levy 1951)
    method, n, rng = METHODS["srk-levy"], 2**17, np.random.default_rng(0)
    equation = sm.SDE(lambda x, t, p: 0.0, lambda x, t, p: ((1.0, 0.0, 0.0),), noise="general", n_noise=3)
    xi = rng.standard_normal((method.n_numbers(equation), n))
    scope = {"root": 1.0, "h": 1.0, "xi": xi}
    for line in method.area_lines(3):
        exec(line, scope)
    for j, k in ((0, 1), (0, 2), (1, 2)):
        area, square = scope[f"area{j}_{k}"], xi[j] ** 2 + xi[k] ** 2
        for u in (0.7, 2.0, 6.0):
            exact = u / 2 / math.sinh(u / 2) * np.exp(-square / 2 * (u / 2 / math.tanh(u / 2) - 1))
            for weight in (1.0, square):  # false alarms: 6e-7 each
                difference = weight * (np.cos(u * area) - exact)
                assert abs(difference.mean()) < 5 * difference.std() / math.sqrt(n)
    others = np.mean(scope["area0_1"] * scope["area0_2"] * xi[1] * xi[2])  # h^2 / 12 E xi_1^2 xi_2^2
    assert abs(others - 1 / 12) < 5 * np.std(scope["area0_1"] * scope["area0_2"] * xi[1] * xi[2]) / math.sqrt(n)


# -- weak orders -------------------------------------------------------------------------------------


def assert_weak_order(name, h, bias, covariance, order, next_order=1):
    """log |bias| = c + p log h + d h^next by generalised least squares; `covariance` (n_h, n_h) of the biases, or their
    standard errors. False alarms: 4 standard errors, 6e-5 a case, two-sided.
    """
    h, bias, covariance = np.asarray(h), np.asarray(bias), np.asarray(covariance)
    covariance = covariance if covariance.ndim == 2 else np.diag(covariance**2)
    weight = np.linalg.inv(covariance / np.outer(bias, bias))
    design = np.stack([np.ones_like(h), np.log(h), h**next_order], axis=1)
    spread = np.linalg.inv(design.T @ weight @ design)
    p, se = (spread @ design.T @ weight @ np.log(np.abs(bias)))[1], math.sqrt(spread[1, 1])
    relative = np.sqrt(np.diag(covariance)) / np.abs(bias)
    print(
        f"{name}: weak order {p:.4f} +- {se:.4f}, interval [{p - 4 * se:.3f}, {p + 4 * se:.3f}], in theory {order}; "
        f"biases {np.array2string(bias, precision=3)} known to {relative.max():.1%} or better"
    )
    assert len(h) >= 5
    assert se < 0.1
    assert relative.max() < 0.2  # or the logarithm is not linear in the error
    assert abs(p - order) < 4 * se


def ends(equation, x0, time, step, method, n_paths, seed, parameters=()):
    """End points (dim, n_paths) as `solve` steps them."""
    run = Fixed(step, method).paths(Task.of(equation, x0, [time], step=step, seed=seed, parameters=parameters))
    out = np.empty((len(run.names), n_paths))
    run.prepare()

    def chunk(first):
        part = out[:, first : first + run.chunk_size]

        def see(t, values):
            part[:] = values[:, 0].swapaxes(0, 1).reshape(len(out), -1)[:, : part.shape[1]]

        run.chunk(first, part.shape[1], see)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(chunk, range(0, n_paths, run.chunk_size)))
    return out


def mean_and_se(sample):
    return sample.mean(), sample.std() / math.sqrt(sample.size)


HALVED = 2.0 ** -np.arange(2, 8)
BETA_LITTLE = (0.2 + 0.1j, 0.1 - 0.15j)  # little noise: the bias stands out


def complex_equation(m, beta, noise, interpretation="ito"):
    """dz = m z dt + sum_k beta_k z dW_k: numbers as default arguments, so that each has its own kernel."""
    if noise == "scalar":
        diffusion = lambda x, t, p, c=beta[0].real, s=beta[0].imag: (c * x[0] - s * x[1], s * x[0] + c * x[1])  # noqa: E731
    else:

        def diffusion(x, t, p, c=beta[0].real, s=beta[0].imag, d=beta[1].real, e=beta[1].imag):
            return ((c * x[0] - s * x[1], d * x[0] - e * x[1]), (s * x[0] + c * x[1], e * x[0] + d * x[1]))

    drift = lambda x, t, p, m=m: (m * x[0], m * x[1])  # noqa: E731
    return sm.SDE(drift, diffusion, 2, interpretation, noise=noise, n_noise=2 if noise == "general" else 0)


DIAGONAL_ITO = [m for m in METHODS if METHODS[m].fits(GEOMETRIC.equation("ito")) and m != "dri1"]


@pytest.mark.parametrize("method", DIAGONAL_ITO)
def test_weak_order_with_diagonal_noise(method):
    mu, sigma = parameters = (-1.5, 0.2)
    equation, bias, se = GEOMETRIC.equation("ito"), [], []
    for i, h in enumerate(HALVED):
        mean, error = mean_and_se(ends(equation, 1.0, 1.0, h, method, 2**17, i, parameters) ** 2)
        bias.append(mean - math.exp(2 * mu + sigma**2))
        se.append(error)
    assert_weak_order(f"{method}, diagonal", HALVED, bias, se, METHODS[method].weak_order)


@pytest.mark.parametrize(
    ("method", "noise"),
    [
        ("euler-maruyama", "general"),
        ("weak-euler", "scalar"),
        ("weak-euler", "general"),
        ("exponential-euler", "general"),
        ("srk-levy", "general"),
    ],
)
def test_weak_order_with_scalar_and_general_noise(method, noise):
    beta = BETA_LITTLE[: 1 if noise == "scalar" else 2]
    equation, bias, se = complex_equation(-1.5, beta, noise), [], []
    if method == "exponential-euler":
        equation = replace(equation, linear=-0.5)
    for i, h in enumerate(HALVED):
        mean, error = mean_and_se((ends(equation, (1.0, 0.0), 1.0, h, method, 2**17, i) ** 2).sum(axis=0))
        bias.append(mean - math.exp(-3.0 + sum(abs(b) ** 2 for b in beta)))
        se.append(error)
    assert_weak_order(f"{method}, {noise}", HALVED, bias, se, METHODS[method].weak_order)


@pytest.mark.parametrize("problem", [GEOMETRIC, ROTATING, COMMUTING], ids=lambda p: p.name)
def test_weak_order_of_heun(problem):
    # without noise Heun is of order 2: the bias of order 1 is small, so the exact path's square, of known mean, is taken off
    equation, bias, se = problem.equation("stratonovich"), [], []
    for i, h in enumerate(HALVED):
        dw = math.sqrt(h) * standard_increments(i, 2**16, round(1 / h), problem.n_noise)
        last = follow(equation, problem.x0, dw, step=h, method="heun", parameters=problem.parameters)[-1]
        exact = problem.end(Path(dw, dw), "stratonovich")
        mean, error = mean_and_se((last**2).sum(axis=0) - (exact**2).sum(axis=0))
        bias.append(mean)
        se.append(error)
    assert_weak_order(f"heun, {problem.name}", HALVED, bias, se, METHODS["heun"].weak_order)


DRI_STEPS = np.array([2, 3, 4, 6, 8, 12, 16])


@pytest.mark.parametrize("problem", [GEOMETRIC, ROTATING, COMMUTING], ids=lambda p: p.name)
def test_weak_order_of_dri1(problem):
    # the paths follow the exact ones of the same noise closely: their squares, of known mean, are taken off
    equation, bias, se, n_paths = problem.equation("ito"), [], [], 2**20 if problem is GEOMETRIC else 2**18
    for i, n in enumerate(map(int, DRI_STEPS)):
        last = ends(equation, problem.x0, 1.0, 1 / n, "dri1", n_paths, i, problem.parameters)
        dw = standard_increments(i, n_paths, n, problem.n_noise, draws=2)[:, : problem.n_noise] / math.sqrt(n)
        mean, error = mean_and_se((last**2).sum(axis=0) - (np.atleast_2d(problem.end(Path(dw, dw), "ito")) ** 2).sum(axis=0))
        bias.append(mean)
        se.append(error)
    assert_weak_order(f"dri1, {problem.name}", 1 / DRI_STEPS, bias, se, METHODS["dri1"].weak_order)


UNLIKE = (np.array([[0.5, 0.2], [-0.3, 0.1]]), np.array([[0.1, 0.6], [0.4, -0.2]]))
RATE = np.array([[-0.4, 0.3], [0.2, -0.6]])


@pytest.mark.parametrize("columns", [UNLIKE, UNLIKE[:1]], ids=["two columns that do not commute", "one column"])
def test_weak_order_of_dri1_with_exact_second_moments(columns):
    # dX = A X dt + sum_k B_k X dW_k: second moments of a step by quadrature over its normal numbers, exact for polynomials
    m = len(columns)
    equation = sm.SDE(
        lambda x, t, p: RATE @ x,
        lambda x, t, p: np.stack([b @ x for b in columns], axis=1),
        2,
        noise="general",
        n_noise=m,
        batched=True,
    )
    generator = np.kron(RATE, np.eye(2)) + np.kron(np.eye(2), RATE) + sum(np.kron(b, b) for b in columns)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * (2 * m), indexing="ij")])
    weight = np.prod(np.meshgrid(*[weights / weights.sum()] * (2 * m), indexing="ij"), axis=0).ravel()
    functions = {name: array_function(name, f, equation) for name, f in equation.coefficients().items()}
    biases = []
    for n in (32, 64, 128, 256):
        step = array_step(equation, METHODS["dri1"], 1 / n, functions)
        # x x^T from the four products of unit vectors, by polarisation
        matrix = np.empty((4, 4))
        images = [step(np.repeat(e[:, None], z.shape[1], axis=1), z[:m], z[m:], 0.0, ()) for e in np.eye(2)]
        for i in range(2):
            for j in range(2):
                matrix[:, 2 * i + j] = np.einsum("an,bn,n->ab", images[i], images[j], weight).ravel()
        biases.append((np.linalg.matrix_power(matrix, n) - expm(generator)) @ np.array([1.0, 0.5, 0.5, 0.25]))
    slopes = np.log2(np.abs(np.array(biases[:-1]) / np.array(biases[1:])))
    print(f"dri1, exact biases {biases[-1]}, weak orders\n{slopes}")
    np.testing.assert_allclose(slopes[-1], METHODS["dri1"].weak_order, atol=0.06)
    assert np.all(np.abs(slopes[2] - 2.0) < np.abs(slopes[0] - 2.0))  # it comes nearer


SRA_STEPS = np.array([4, 6, 8, 12, 16, 24])  # the exact bias of a linear drift gives p = 2.03 with these: far inside the interval


def test_weak_order_of_sra1_against_exact_moments():
    # dX = -X dt + dW, E X^2 = e^-2 + (1 - e^-2) / 2; the square of the exact path, of that mean, is taken off
    bias, se = [], []
    for i, n in enumerate(SRA_STEPS):
        differences, squares = [], []
        for seed in range(100 * i, 100 * i + 40):
            path = relaxing_path(seed, int(n))
            differences.append(RELAXING.last("sra1", path, int(n)) ** 2 - path.end**2)
            squares.append(path.end**2)
        mean, error = mean_and_se(np.array(squares))
        assert abs(mean - (1 + math.exp(-2)) / 2) < 5 * error  # the reference itself; false alarms: 6e-7
        mean, error = mean_and_se(np.array(differences))
        bias.append(mean)
        se.append(error)
    assert_weak_order("sra1, linear drift", 1 / SRA_STEPS, bias, se, METHODS["sra1"].weak_order)


@pytest.mark.parametrize("problem", [LOGISTIC, DRIVEN, DRIVEN_SCALAR], ids=lambda p: p.name)
def test_weak_order_of_sra1_towards_its_own_limit(problem):
    # E Y_h^2 - E Y_(h/2)^2 on one Wiener path, Y the last component: the biases of |X|^2 nearly cancel here
    bias, se, repeats = [], [], 40 if problem is LOGISTIC else 20
    for i, n in enumerate(SRA_STEPS):
        differences = []
        for seed in range(100 * i, 100 * i + repeats):
            path = wiener(seed, problem.n_noise, 2 * int(n))
            one, two = (problem.last("sra1", path, k * int(n)) for k in (1, 2))
            differences.append(one[-1] ** 2 - two[-1] ** 2)
        mean, error = mean_and_se(np.array(differences))
        bias.append(mean)
        se.append(error)
    assert_weak_order(f"sra1, {problem.name}, own limit", 1 / SRA_STEPS, bias, se, METHODS["sra1"].weak_order)


# -- Langevin ----------------------------------------------------------------------------------------

LANGEVIN_STEPS = 2.0 / np.array([3, 4, 5, 6, 8])


def harmonic(temperature):
    """dq = v dt, dv = -q dt - v dt + sqrt(2 T) dW."""
    return Langevin(lambda q, t, p: -q, temperature=temperature)


def chain_of(method, h, temperature):
    """(q, v) -> A (q, v) + noise of covariance C, one step for the force -q: from the parts O, B, A."""
    half, whole = math.exp(-h / 2), math.exp(-h)
    o, b, a = (lambda keep: np.diag([1.0, keep])), np.array([[1.0, 0.0], [-h / 2, 1.0]]), np.array([[1.0, h], [0.0, 1.0]])
    warm = lambda keep: np.diag([0.0, temperature * (1 - keep**2)])  # noqa: E731
    if method == "obabo":
        after = o(half) @ b @ a @ b
        return after @ o(half), after @ warm(half) @ after.T + warm(half)
    drift = np.array([[1.0, h / 2], [0.0, 1.0]])
    after = b @ drift
    return after @ o(whole) @ drift @ b, after @ warm(whole) @ after.T


def moments_of_chain(method, h, n_steps, start, temperature):
    mean, covariance = np.array(start), np.zeros((2, 2))
    a, c = chain_of(method, h, temperature)
    for _ in range(n_steps):
        mean, covariance = a @ mean, a @ covariance @ a.T + c
    return mean, covariance


def exact_moments(time, start, temperature):
    """Of the harmonic Langevin equation: linear, so that its moments follow a linear equation."""
    rate, still = np.array([[0.0, -1.0], [1.0, 1.0]]), temperature * np.eye(2)
    decay = expm(-rate * time)
    return decay @ start, still - decay @ still @ decay.T


SPLITTINGS = ("obabo", "baoab")


@pytest.mark.parametrize("method", SPLITTINGS)
def test_splittings_have_the_moments_of_their_chain(method):
    start, temperature = (1.0, 0.5), 0.8
    for seed, h in enumerate((0.25, 0.5, 1.0)):
        x = ends(harmonic(temperature), start, 3.0, h, method, 2**18, seed)
        mean, covariance = moments_of_chain(method, h, round(3 / h), start, temperature)
        for i in range(2):
            assert abs(x[i].mean() - mean[i]) < 5 * x[i].std() / 2**9  # false alarms: 6e-7 each, 15 of them
            for j in range(i + 1):
                product = (x[i] - mean[i]) * (x[j] - mean[j])
                assert abs(product.mean() - covariance[i, j]) < 5 * product.std() / 2**9


# temperatures and steps at which the biases of 2^21 paths stand out, by the moments of the chain
@pytest.mark.parametrize(
    ("method", "row", "temperature"),
    [("obabo", 0, 0.8), ("obabo", 1, 0.2), ("baoab", 0, 0.01), ("baoab", 1, 0.8)],
    ids=["obabo q", "obabo v", "baoab q", "baoab v"],
)
def test_weak_order_of_splittings_against_the_exact_second_moment(method, row, temperature):
    time, start, bias, se, chain = 2.0, (1.0, 0.0), [], [], []
    equation = harmonic(temperature)
    steps = 2.0 / np.array([2, 3, 4, 5, 6])
    mean, covariance = exact_moments(time, start, temperature)
    for i, h in enumerate(steps):
        value, error = mean_and_se(ends(equation, start, time, h, method, 2**21, i)[row] ** 2)
        bias.append(value - (mean[row] ** 2 + covariance[row, row]))
        se.append(error)
        m, c = moments_of_chain(method, h, round(time / h), start, temperature)
        chain.append(m[row] ** 2 + c[row, row] - (mean[row] ** 2 + covariance[row, row]))
    assert np.all(np.abs(np.subtract(bias, chain)) < 5 * np.array(se))  # false alarms: 6e-7 each
    # the methods are symmetric in time: the next order is h^2 beyond
    assert_weak_order(f"{method}, harmonic, {'qv'[row]}^2", steps, bias, se, METHODS[method].weak_order, 2)


@pytest.mark.parametrize("method", SPLITTINGS)
def test_matrices_of_friction_and_mass_keep_the_temperature(method):
    # the stationary law is that of the energy, whatever the friction: to O(h^2), of position or velocity exactly
    friction, mass, stiffness = (
        np.array([[1.0, 0.5], [-0.2, 0.8]]),
        np.array([[2.0, 0.3], [0.3, 1.0]]),
        np.array([[1.5, 0.4], [0.4, 1.0]]),
    )
    equation = Langevin(
        lambda q, t, p: (-1.5 * q[0] - 0.4 * q[1], -0.4 * q[0] - q[1]), friction.tolist(), 0.7, 2, mass=mass.tolist()
    )
    drag = np.linalg.solve(mass.T, friction.T).T  # gamma M^-1
    np.testing.assert_allclose(equation.noise_matrix @ equation.noise_matrix.T, 0.7 * (drag + drag.T), rtol=1e-12)
    n, rows = 2**17, (slice(0, 2) if method == "baoab" else slice(2, 4))
    x = ends(equation, (0.0,) * 4, 24.0, 0.5, method, n, 1)[rows]
    exact = 0.7 * np.linalg.inv(stiffness if method == "baoab" else mass)
    for i in range(2):
        for j in range(i + 1):
            product = x[i] * x[j]
            assert abs(product.mean() - exact[i, j]) < 5 * product.std() / math.sqrt(n)  # false alarms: 6e-7 each


BENT = Langevin(lambda q, t, p: -q - 2.0 * math.sin(q), temperature=0.8)
"""U = q^2 / 2 - 2 cos q: anharmonic, its force of bounded slope, so that no path explodes at these steps."""


@pytest.mark.parametrize("method", SPLITTINGS)
def test_weak_order_of_splittings_for_an_anharmonic_force_towards_their_own_limit(method):
    time, start, fine = 2.0, (1.0, 0.0), 1 / 32
    row = 1 if method == "baoab" else 0  # its bias of q^2 is ten times smaller: hidden by chance
    limit, error = mean_and_se(ends(BENT, start, time, fine, method, 2**22, 99)[row] ** 2)
    values = [mean_and_se(ends(BENT, start, time, h, method, 2**21, i)[row] ** 2) for i, h in enumerate(LANGEVIN_STEPS)]
    bias, se = np.array([v for v, _ in values]) - limit, np.array([e for _, e in values])
    covariance = np.diag(se**2) + error**2  # the limit's error is common to all
    assert_weak_order(f"{method}, anharmonic, own limit", LANGEVIN_STEPS, bias, covariance, METHODS[method].weak_order, 2)


def test_weak_order_of_obabo_for_an_anharmonic_force_against_the_boltzmann_density():
    q = np.linspace(-12, 12, 20001)
    weight = np.exp(-(q**2 / 2 - 2 * np.cos(q)) / BENT.temperature)
    exact = (q**2 * weight).sum() / weight.sum()
    bias, se = [], []
    for i, h in enumerate(LANGEVIN_STEPS):
        # second moments relax at rate ~ 1: at t = 16 nothing is left of the start
        value, error = mean_and_se(ends(BENT, (0.0, 0.0), 16.0, h, "obabo", 2**20, i)[0] ** 2)
        bias.append(value - exact)
        se.append(error)
    assert_weak_order("obabo, anharmonic, stationary", LANGEVIN_STEPS, bias, se, METHODS["obabo"].weak_order, 2)


# -- exact steps -------------------------------------------------------------------------------------

PROCESSES = {
    "1-d": OrnsteinUhlenbeck(2.0, 0.5, 0.3),
    "2-d, rotating, 3 noises": OrnsteinUhlenbeck([[1.0, -2.0], [1.5, 0.5]], [[0.5, 0.2, 0.0], [0.0, 0.3, 0.4]], [0.3, -1.0]),
    "2-d, one noise": OrnsteinUhlenbeck([[0.0, -1.0], [1.0, 0.5]], [[0.0], [0.7]]),
    "2-d, stiff": OrnsteinUhlenbeck([[1.0, 3.0], [0.0, 200.0]], [1.0, 2.0]),
}


def law(process, time, start):
    """Mean and covariance at a time, from the stationary covariance: S - e^(-At) S e^(-A^T t)."""
    decay, still = expm(-process.rate_matrix * time), process.stationary_covariance()
    return process.mean_vector + decay @ (start - process.mean_vector), still - decay @ still @ decay.T


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("h", [0.01, 1.0, 5.0])
def test_exact_steps_of_any_size_have_the_law_of_the_process(process, h):
    d, start = process.dim, np.linspace(1.0, 2.0, process.dim)
    c = ExactOrnsteinUhlenbeck.constants(process, h)
    mean, covariance = law(process, h, start)
    scale = np.abs(process.stationary_covariance()).max()
    np.testing.assert_allclose(c["shift"] + c["decay"] @ start, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(c["spread"] @ c["spread"].T, covariance, rtol=1e-10, atol=1e-13 * scale)
    n, n_paths = 4, 2**17
    mean, covariance = law(process, n * h, start)
    x = ends(process, start, n * h, h, "exact", n_paths, 1)
    z = x - mean[:, None]
    for i in range(d):  # two-sided, false alarms 6e-7 each
        assert abs(z[i].mean()) < 5 * z[i].std() / math.sqrt(n_paths)
        for j in range(i + 1):
            product = z[i] * z[j]
            assert abs(product.mean() - covariance[i, j]) < 5 * product.std() / math.sqrt(n_paths)


def test_every_method_has_its_weak_order_measured():
    """In the tests above; those of diagonal Ito noise by themselves, the others one by one."""
    others = {"dri1", "srk-levy", "heun", "sra1", *SPLITTINGS}
    assert {m for m, c in METHODS.items() if math.isfinite(c.weak_order)} == {*DIAGONAL_ITO, *others}
    assert math.isinf(METHODS["exact"].weak_order)
