"""Label noise against parameter noise: the same regulariser tr H on two time scales [theory: Drift; Forces, eq. 6.6]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.threads import in_order
from sde_momentum.figures.style import LINES, STYLE, plain_ticks
from sde_momentum.predictors.measured_optimum import PowerLaw

from ..drawing import measured as points
from ..drawing import plt
from ..estimates import both_exponents, fitted_laws
from .drift_rate import Measured, decay_rate, predicted_rate, weighted_slope, worst
from .noisy_descent import noisy_descent

Floats = NDArray[np.float64]

TITLE = "Noise injection"
SOURCE = "Shalova, Schlichting, Peletier: Singular-limit analysis of gradient descent with noise injection (arXiv 2404.12293)"
CLAIM = (
    "The structure of the injected noise decides not only where the slow motion along the minima leads but on which time "
    "scale it happens: label noise of variance sigma^2 needs of the order of 1 / (lr sigma)^2 steps, noise that enters the "
    "mean gradient already at first order in lr, with variance s^2, 1 / (lr s^2)."
)
DERIVED = (
    "Label noise descends tr H at the rate lr^2 c mu / (4 delta^2). Gradients taken at w + s z average to those of "
    "L + s^2 tr H / 2: the rate lr s^2 mu / (2 delta), and lr^2 s^2 (tr H^2)'' / (8 delta^2) on top from the shaking. "
    "With momentum both k(delta) = delta times these, so that the best 1 - beta goes as lr^(2/3) and lr^(1/2)."
)

N_MODES, CURVATURE, START = 16, 1.0, 1.0
LABEL, PARAMETER = "label noise", "parameter noise"
VARIANCE = 0.02
"""s^2 of the parameter noise, in squared units of w."""
NOISE = {1.0: 0.3, 0.2: 0.03}
"""c at each 1 - beta: less where momentum multiplies its effect, so that the drift stays slow against 1 - beta."""
LR = (0.01, 0.02, 0.04, 0.08)
DECAY = 0.4
"""Number of e-folds by which theta falls while its rate is measured."""

BEST_LR = (0.01, 0.04, 0.16)
BEST_MODES, BEST_EIGENVALUE, BEST_START = 32, 0.1, 0.5
BEST_NOISE, BEST_VARIANCE = 0.1, 0.05
TARGET = 0.1
"""The mean of theta must stay below this share of its start."""
N_RESAMPLES = 200


@dataclass(frozen=True)
class Profile:
    """Amount of work of a profile: runs for the rates; learning rates; momenta and runs of the sweeps for the best momentum."""

    n_runs: int
    lr: tuple[float, ...]
    n_momenta: int
    n_sweep_runs: int


PROFILES = {"quick": Profile(64, LR[1:], 7, 64), "full": Profile(512, LR, 15, 512)}


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """Rates of both noises against lr, at beta = 0 and with momentum; the fastest momentum of each against lr."""
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    kinds, deltas = (LABEL, PARAMETER), tuple(NOISE)
    shape = (len(kinds), len(deltas), len(plan.lr))
    jobs = [
        partial(_rate, kind, delta, lr, plan.n_runs, seed * 1_000_003 + 101 * number)
        for number, (kind, delta, lr) in enumerate(product(kinds, deltas, plan.lr))
    ]
    found = []
    for row in in_order(iter(jobs), workers):
        found.append(row)
        report(0.5 / len(jobs))
    rate, error, predicted = np.array(found).T.reshape(3, *shape)
    best, best_error, rule = np.empty((3, len(kinds), len(BEST_LR)))
    for i, kind in enumerate(kinds):
        for j, lr in enumerate(BEST_LR):
            (best[i, j], best_error[i, j]), rule[i, j] = _best(kind, lr, plan, seed, workers)
            report(0.5 / len(BEST_LR) / len(kinds))
    dims, per_step, one = ("noise_kind", "one_minus_beta", "lr"), {"units": "1 / step"}, {"units": "1"}
    return xr.Dataset(
        {
            "rate": (dims, rate, {"long_name": "decay rate of the mean of theta", **per_step}),
            "rate_se": (dims, error, per_step),
            "rate_predicted": (dims, predicted, {"long_name": "the same, predicted", **per_step}),
            "best": (("noise_kind", "best_lr"), best, {"long_name": "fastest 1 - beta, measured", **one}),
            "best_se": (("noise_kind", "best_lr"), best_error, {"long_name": "resampling and grid", **one}),
            "best_predicted": (("noise_kind", "best_lr"), rule, {"long_name": "MomentumRule.from_forces", **one}),
        },
        coords={
            "noise_kind": list(kinds),
            "one_minus_beta": ("one_minus_beta", list(deltas), one),
            "lr": ("lr", list(plan.lr), {"long_name": "learning rate", **one}),
            "best_lr": ("best_lr", list(BEST_LR), {"long_name": "learning rate of the sweeps", **one}),
        },
        attrs={
            "label_noise_strength": [NOISE[delta] for delta in deltas],
            "parameter_noise_variance": VARIANCE,
            "n_runs": plan.n_runs,
            "n_sweep_runs": plan.n_sweep_runs,
            "theory": "Drift; Effective loss; Forces",
        },
    )


def _rate(kind: str, delta: float, lr: float, n_runs: int, seed: int) -> tuple[float, float, float]:
    """Decay rate of the mean of theta per step, its standard error, and the predicted rate."""
    valley = sm.Valley([1.0] * N_MODES, 0.0, curvature=CURVATURE)
    start, noise = valley.start(START), NOISE[delta]
    force: sm.forces.Force = sm.forces.LabelNoise(noise) if kind == LABEL else sm.forces.ParameterNoise(VARIANCE)
    # within a few times these the energies and the drift speed become stationary
    first = int(np.ceil(8 * max(delta / (2 * lr), 1 / delta)))
    n_steps = int(np.ceil(DECAY / predicted_rate(force, valley, lr, delta, START)))
    times = [first, first + n_steps]
    if kind == LABEL:
        method = sm.LabelNoiseSGD(valley, float(np.sqrt(noise * N_MODES)))
        found = sm.solve(
            method,
            start,
            times,
            lr=lr,
            momentum=1 - delta,
            seeds=seed + np.arange(n_runs),
            metrics=["test_error"],
            workers=1,
            progress=False,
        )
        theta = np.sqrt(found.test_error.values[0, 0].T)  # theta decays without changing its sign
    else:
        runs = noisy_descent(
            valley, start, times, lr=lr, momentum=1 - delta, n_runs=n_runs, seed=seed, parameter_noise=np.sqrt(VARIANCE)
        )
        theta = runs[..., 0]
    measured = decay_rate(theta[0], theta[1], n_steps)
    middle = float(np.sqrt(theta[0].mean() * theta[1].mean()))
    return *measured, predicted_rate(force, valley, lr, delta, middle)


def _best(kind: str, lr: float, plan: Profile, seed: int, workers: int) -> tuple[Measured, float]:
    """The 1 - beta of the shortest time to TARGET, and that of the rule."""
    valley = sm.Valley([BEST_EIGENVALUE] * BEST_MODES, 0.0, curvature=CURVATURE)
    force: sm.forces.Force = sm.forces.LabelNoise(BEST_NOISE) if kind == LABEL else sm.forces.ParameterNoise(BEST_VARIANCE)
    point = sm.ManifoldPoint(valley, valley.start(0.0))
    rule = sm.MomentumRule.from_forces(point, valley.start(1.0), [force], target=TARGET)
    asked = float(rule.one_minus_beta(lr))
    deltas = asked * np.geomspace(0.6, 1.7, plan.n_momenta)
    noise = (
        {"label_noise": float(np.sqrt(BEST_NOISE * BEST_MODES))} if kind == LABEL else {"parameter_noise": np.sqrt(BEST_VARIANCE)}
    )
    rng = np.random.default_rng([seed, 42])
    drawn = rng.multinomial(plan.n_sweep_runs, np.full(plan.n_sweep_runs, 1 / plan.n_sweep_runs), size=N_RESAMPLES)
    weights = np.vstack([np.ones(plan.n_sweep_runs), drawn]) / plan.n_sweep_runs  # the first row: the runs themselves

    def times(delta: float) -> Floats:
        clock = np.arange(0, int(24 / asked), max(1, int(0.05 / asked)))
        runs = noisy_descent(
            valley, valley.start(BEST_START), clock, lr=lr, momentum=1 - delta, n_runs=plan.n_sweep_runs, seed=seed, **noise
        )
        return np.asarray(sm.convergence_time(np.abs(weights @ runs[..., 0].T), clock, TARGET))

    found = np.stack(list(in_order((partial(times, float(delta)) for delta in deltas), workers)))
    best = deltas[np.argmin(found, axis=0)]
    grid = best[0] * np.log(deltas[1] / deltas[0]) / np.sqrt(12)
    return Measured(float(best[0]), float(np.hypot(best[1:].std(), grid))), asked


def rate_slope(result: xr.Dataset, kind: str, one_minus_beta: float, name: str = "rate") -> Measured:
    """Exponent of lr in the measured rate, or in the "rate_predicted" at the same points and weights."""
    at = result.sel(noise_kind=kind, one_minus_beta=one_minus_beta)
    return weighted_slope(np.log(at.lr.values), np.log(at[name].values), (at.rate_se / at.rate).values)


def best_slope(result: xr.Dataset, kind: str, name: str = "best") -> Measured:
    """Exponent of lr in the fastest 1 - beta, or in the "best_predicted"."""
    at = result.sel(noise_kind=kind)
    return weighted_slope(np.log(at.best_lr.values), np.log(at[name].values), (at.best_se / at.best).values)


def _best_laws(result: xr.Dataset, kind: str) -> list[PowerLaw]:
    """Power laws of the fastest 1 - beta in lr."""
    at = result.sel(noise_kind=kind)
    return fitted_laws(at.best_lr.values, at.best.values, (at.best_se / at.best).values)


def findings(result: xr.Dataset) -> list[str]:
    """The findings, in sentences."""
    lines = []
    for kind, law in ((LABEL, 2), (PARAMETER, 1)):
        at = result.sel(noise_kind=kind)
        errors, off = worst(at.rate.values, at.rate_se.values, at.rate_predicted.values)
        slopes = "; ".join(
            f"{slope.value:.4f} ± {slope.standard_error:.4f} at 1 - beta = {delta:g} "
            f"(predicted rates {rate_slope(result, kind, delta, 'rate_predicted').value:.4f})"
            for delta in result.one_minus_beta.values
            for slope in [rate_slope(result, kind, float(delta))]
        )
        lines.append(
            f"{kind.capitalize()}: rates agree with the prediction within {off:.2%} ({errors:.1f} standard errors at most, "
            f"{at.rate.size} points); exponent of lr {slopes}; {law} in the limit of small lr."
        )
    for kind, limit in ((LABEL, "2/3"), (PARAMETER, "1/2")):
        laws, rule = _best_laws(result, kind), best_slope(result, kind, "best_predicted")
        ratios = (result.best / result.best_predicted).sel(noise_kind=kind).values
        lines.append(
            f"Fastest 1 - beta with {kind}: {both_exponents(laws)}; of the rule at these lr {rule.value:.3f} (limit {limit}); "
            f"measured over the rule from {ratios.min():.2f} to {ratios.max():.2f}."
        )
    return lines


def figure(result: xr.Dataset) -> Figure:
    """Rates against lr; fastest 1 - beta against lr."""
    with plt.rc_context(STYLE):
        drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
        for colour, kind in zip(LINES, result.noise_kind.values, strict=False):
            for marker, line, delta in zip("os", ("-", "--"), result.one_minus_beta.values, strict=False):
                at = result.sel(noise_kind=kind, one_minus_beta=delta)
                left.plot(at.lr, at.rate_predicted, line, color=colour, lw=1.5)
                label = rf"{kind}, $1-\beta$ = {float(delta):g}"
                points(left, at.lr, at.rate, at.rate_se, label, colour=colour, marker=marker)
            at = result.sel(noise_kind=kind)
            right.plot(at.best_lr, at.best_predicted, "-", color=colour, lw=1.5)
            points(right, at.best_lr, at.best, at.best_se, str(kind), colour=colour)
        for axis in (left, right):
            axis.set(xscale="log", yscale="log", xlabel="learning rate")
            plain_ticks(axis)
            axis.legend()
        left.set(ylabel=r"decay rate of $\theta$ (1 / step)", title="Drift along the minima; lines: theory")
        right.set(ylabel=r"fastest $1-\beta$", title="Best momentum; lines: the rule from the forces")
    return drawn
