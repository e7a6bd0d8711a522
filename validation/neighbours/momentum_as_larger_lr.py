"""SGD with momentum against SGD at lr / (1 - beta): where they are the same, and where that stops
[theory: Crossing; Effective loss]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import sde_momentum as sm
from sde_momentum.figures.style import BLACK, BLUE, LINES, STYLE, plain_ticks

from .mean_course import mean_course

Floats = NDArray[np.float64]

NAME = "momentum_as_larger_lr"
TITLE = "Momentum as a larger learning rate"
SOURCE = "Wang, Malladi, Wang, Lyu, Li: The marginal value of momentum for small learning rate SGD (arXiv 2307.15196)"
CLAIM = (
    "At fixed beta and small lr, SGD with momentum (lr, beta) moves as SGD without it at lr / (1 - beta), also over the "
    "lr^-2 steps that label noise needs to move w along the minima."
)
DERIVED = (
    "Along Gamma the mean obeys theta'' + theta' + (delta* / delta)^3 (1 - e^-s) theta / 4 = 0 in s = delta k, with "
    "delta* = (c mu)^(1/3) lr^(2/3), and for SGD at lr / delta the flow theta' = -(delta* / delta)^3 theta / 4. "
    "So the difference depends on delta / delta* alone: it vanishes as (delta* / delta)^3 and is of order 1 at delta*."
)

N_MODES, EIGENVALUE, CURVATURE, START = 32, 1.0, 1.0, 1.0
NOISE = 22.2
"""c: delta* = 0.02 at the larger lr. eta lambda / delta* is 0.03 there: small, so that SGD at lr / delta* is a flow."""
LR = (6e-4, 7.5e-5)
LIMIT = 0.1
"""A deviation that counts as the end of the claim, as a share of the start."""
TIME = 6.0
"""Length of the courses in t = k c lr^2 / delta^2, in units of 1 / mu: theta^2 falls by e^3."""
N_RECORDS = 81
N_RESAMPLES = 400


@dataclass(frozen=True)
class Profile:
    """1 - beta over delta* = (c mu)^(1/3) lr^(2/3), and the runs of each."""

    ratio: tuple[float, ...]
    n_seeds: int


PROFILES = {
    "quick": Profile((6.0, 3.0, 2.2, 1.6, 1.2, 0.8, 0.5, 0.3), 32),
    "full": Profile((25.0, 12.0, 6.0, 4.0, 3.0, 2.5, 2.1, 1.8, 1.5, 1.25, 1.0, 0.8, 0.6, 0.45, 0.33, 0.25), 64),
}


def courses(ratio: float, times: Floats) -> tuple[Floats, Floats]:
    """theta^2 over its start, with momentum and without, at t in units of 1 / mu; ratio = delta / delta*."""
    stiffness = ratio**-3 / 4

    def slope(s: float, y: Floats) -> Floats:
        return np.array([y[1], -y[1] + stiffness * np.expm1(-s) * y[0]])

    s = times / (4 * stiffness)
    found = solve_ivp(slope, (0.0, float(s[-1])), [1.0, 0.0], method="LSODA", t_eval=s, rtol=1e-9, atol=1e-10)
    return found.y[0] ** 2, np.exp(-times / 2)


def largest_deviation(ratio: float) -> tuple[float, float]:
    """Largest |theta^2 with momentum - theta^2 without| over the start, and its t; ratio = delta / delta*."""
    times = np.linspace(0.0, TIME, N_RECORDS)
    with_momentum, without = courses(ratio, times)
    at = int(np.argmax(np.abs(with_momentum - without)))
    return float(abs(with_momentum[at] - without[at])), float(times[at])


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """Courses of theta^2 in a valley at two learning rates; `report` is told of shares of 1.

    The deviation is taken where the predicted one is largest: the largest of the measured would be biased by its noise.
    """
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    valley = sm.Valley([EIGENVALUE] * N_MODES, 0.0, curvature=CURVATURE)
    method = sm.LabelNoiseSGD(valley, float(np.sqrt(NOISE * N_MODES)))
    rule = sm.MomentumRule.from_geometry(method.noise, CURVATURE)
    seeds = seed * 1_000_003 + np.arange(plan.n_seeds)
    shape = (len(LR), len(plan.ratio))
    mean, error = np.empty((2, *shape, N_RECORDS, 2))
    each = np.empty((*shape, plan.n_seeds))
    predicted, where, finite, deltas = np.empty((4, *shape))
    asked = np.linspace(0.0, TIME / CURVATURE, N_RECORDS)
    cost = np.square(np.asarray(plan.ratio))
    for (i, lr), (j, ratio) in product(enumerate(LR), enumerate(plan.ratio)):
        delta = deltas[i, j] = ratio * float(rule.one_minus_beta(lr))
        steps, back = np.unique(np.round(asked * delta**2 / (method.noise * lr**2)).astype(int), return_inverse=True)
        runs = [
            sm.solve(
                method,
                valley.start(START),
                steps,
                lr=rate,
                momentum=momentum,
                seeds=seeds,
                metrics=["test_error"],
                workers=workers,
                progress=False,
            ).test_error.values[0, 0][:, back]
            / START**2
            for rate, momentum in ((lr, 1 - delta), (lr / delta, 0.0))
        ]
        mean[i, j] = np.stack([values.mean(axis=0) for values in runs], axis=-1)
        error[i, j] = np.stack([values.std(axis=0, ddof=1) for values in runs], axis=-1) / np.sqrt(plan.n_seeds)
        predicted[i, j], at = largest_deviation(ratio)
        where[i, j] = at / CURVATURE
        column = int(np.argmin(np.abs(asked - where[i, j])))
        signed = runs[0][:, column] - runs[1][:, column]
        each[i, j] = signed * np.sign(signed.mean())
        pair = [
            mean_course(
                rate,
                damping,
                steps,
                noise=method.noise,
                curvature=CURVATURE,
                eigenvalue=EIGENVALUE,
                n_modes=N_MODES,
                start=START,
            )[back[column]]
            for rate, damping in ((lr, delta), (lr / delta, 1.0))
        ]
        finite[i, j] = abs(pair[0] ** 2 - pair[1] ** 2) / START**2
        report(float(cost[j] / cost.sum() / len(LR)))
    dims = ("lr", "ratio")
    rng = np.random.default_rng([seed, 41])
    weights = rng.multinomial(plan.n_seeds, np.full(plan.n_seeds, 1 / plan.n_seeds), size=N_RESAMPLES) / plan.n_seeds
    crossing = [[_crossing(plan.ratio, each[i].mean(axis=-1)), _spread(plan.ratio, each[i], weights)] for i in range(len(LR))]
    one = {"units": "1"}
    start = {"units": "share of the start"}
    return xr.Dataset(
        {
            "one_minus_beta": (dims, deltas, one),
            "course": (("lr", "ratio", "time", "method"), mean, {"long_name": "mean of theta^2", **start}),
            "course_se": (("lr", "ratio", "time", "method"), error, start),
            "deviation": (dims, each.mean(axis=-1), {"long_name": "|with momentum - without| at deviation_time", **start}),
            "deviation_se": (dims, each.std(axis=-1, ddof=1) / np.sqrt(plan.n_seeds), start),
            "deviation_predicted": (dims, predicted, {"long_name": "largest |with momentum - without|, T5", **start}),
            "deviation_finite": (dims, finite, {"long_name": "the same at this lr: T5 with the exact energies, T2", **start}),
            "deviation_time": (dims, where, {"long_name": "t at which it is predicted", "units": "1 / curvature of tr H"}),
            "crossing": ("lr", [row[0] for row in crossing], {"long_name": "1 - beta / delta* at 10 % deviation", **one}),
            "crossing_se": ("lr", [row[1] for row in crossing], one),
        },
        coords={
            "lr": ("lr", list(LR), {"long_name": "learning rate with momentum", **one}),
            "ratio": ("ratio", list(plan.ratio), {"long_name": "(1 - beta) / ((c mu)^(1/3) lr^(2/3))", **one}),
            "time": ("time", asked, {"units": "1 / curvature of tr H", "clock": "t = k c lr^2 / (1 - beta)^2"}),
            "method": ["momentum", "SGD at lr / (1 - beta)"],
        },
        attrs={
            "n_seeds": plan.n_seeds,
            "noise": method.noise,
            "curvature": CURVATURE,
            "eigenvalue": EIGENVALUE,
            "n_modes": N_MODES,
            "crossing_predicted": _crossing(plan.ratio, predicted[0]),
            "theory": "Crossing; Effective loss",
        },
    )


def _crossing(ratio: tuple[float, ...], deviation: Floats) -> float:
    """The ratio, coming from above, at which the deviation passes LIMIT, on a line between logarithms; NaN: nowhere."""
    above = np.flatnonzero(deviation >= LIMIT)
    if not len(above) or above[0] == 0:
        return np.nan
    pair = slice(above[0] - 1, above[0] + 1)
    x, y = np.log(ratio[pair]), np.log(np.maximum(deviation[pair], 1e-3))
    return float(np.exp(np.interp(np.log(LIMIT), y, x)))


def _spread(ratio: tuple[float, ...], each: Floats, weights: Floats) -> float:
    """Standard error of the crossing from resampled seeds."""
    found = np.array([_crossing(ratio, deviation) for deviation in weights @ each.T])
    return float(found[np.isfinite(found)].std()) if np.isfinite(found).any() else np.nan


def findings(result: xr.Dataset) -> list[str]:
    """What was found, in sentences."""
    far = result.isel(ratio=int(np.argmax(result.ratio.values)))
    lines = []
    for i, lr in enumerate(result.lr.values):
        at = far.isel(lr=i)
        lines.append(
            f"lr = {lr:g}: at 1 - beta = {float(at.one_minus_beta):.3g}, {float(at.ratio):g} times delta*, momentum and SGD at "
            f"lr / (1 - beta) differ by {float(at.deviation):.5f} ± {float(at.deviation_se):.5f} of the start "
            f"(predicted {float(at.deviation_predicted):.5f})."
        )
    places = ", ".join(
        f"{float(value):.2f} ± {float(error):.2f} (lr = {lr:g})"
        for lr, value, error in zip(result.lr.values, result.crossing.values, result.crossing_se.values, strict=True)
    )
    lines.append(
        f"10 % deviation is passed at 1 - beta = C delta*, C = {places}; predicted {result.attrs['crossing_predicted']:.2f} "
        f"for every lr."
    )
    small = np.abs(result.deviation - result.deviation_predicted)
    exact = np.abs(result.deviation - result.deviation_finite)
    for i, lr in enumerate(result.lr.values):
        worst = [(int(np.argmax(off.values[i])), float(off[i].max())) for off in (small, exact)]
        lines.append(
            f"lr = {lr:g}: the curve of small lr is missed by at most {worst[0][1]:.3f} of the start, at "
            f"{float(result.ratio[worst[0][0]]):g} delta*; that with the exact energies at this lr by {worst[1][1]:.3f}, at "
            f"{float(result.ratio[worst[1][0]]):g} delta* (standard error {float(result.deviation_se[i, worst[1][0]]):.3f})."
        )
    one = result.isel(ratio=int(np.argmin(np.abs(result.ratio.values - 1))))
    values = ", ".join(
        f"{float(d):.3f} ± {float(e):.3f}" for d, e in zip(one.deviation.values, one.deviation_se.values, strict=True)
    )
    lines.append(f"At {float(one.ratio):g} delta* it is {values} (predicted {float(one.deviation_predicted[0]):.3f}).")
    return lines


def figure(result: xr.Dataset) -> Figure:
    """Courses at three momenta; the deviation against (1 - beta) / delta*."""
    with plt.rc_context(STYLE):
        drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
        times = result.time.values
        ratios = result.ratio.values
        for colour, wanted in zip(LINES, (3.0, 1.2, 0.5), strict=False):
            j = int(np.argmin(np.abs(np.log(ratios / wanted))))
            at = result.isel(lr=-1, ratio=j)
            theory = mean_course(
                float(at.lr),
                float(at.one_minus_beta),
                np.round(times * float(at.one_minus_beta / at.lr) ** 2 / float(result.attrs["noise"])).astype(np.int64),
                noise=float(result.attrs["noise"]),
                curvature=float(result.attrs["curvature"]),
                eigenvalue=float(result.attrs["eigenvalue"]),
                n_modes=int(result.attrs["n_modes"]),
                start=START,
            )
            theory = np.square(theory / START)
            left.plot(times, theory, color=colour, lw=1.5)
            left.errorbar(
                times[::4],
                at.course.values[::4, 0],
                1.96 * at.course_se.values[::4, 0],
                fmt="o",
                ms=4,
                color=colour,
                label=rf"momentum, $1-\beta$ = {ratios[j]:g} $\delta^*$",
            )
        at = result.isel(lr=-1, ratio=int(np.argmin(np.abs(np.log(ratios / 3.0)))))
        left.plot(times[::2], at.course.values[::2, 1], "k+", ms=6, label=r"SGD at lr$/(1-\beta)$")
        left.plot(times, np.exp(-times * float(result.attrs["curvature"]) / 2), color=BLACK, lw=1)
        left.set(
            xlabel=r"$t = k\,c\,\mathrm{lr}^2/(1-\beta)^2$ (1 / curvature of tr H)",
            ylabel=r"mean of $\theta^2$ over its start",
            title=f"lr = {float(result.lr[-1]):g}; lines: theory at this lr",
            ylim=(0, 1.55),
        )
        left.legend(loc="upper right")
        dense = np.geomspace(ratios.min(), ratios.max(), 120)
        curve = [largest_deviation(float(x))[0] for x in dense]
        right.plot(dense, curve, color=BLUE, lw=2, label="theory, small lr")
        for colour, marker, i in zip(LINES[1:], "os", range(result.sizes["lr"]), strict=False):
            low = np.minimum(1.96 * result.deviation_se[i].values, result.deviation[i].values * 0.999)
            right.errorbar(
                ratios,
                result.deviation[i].values,
                [low, 1.96 * result.deviation_se[i].values],
                fmt=marker,
                ms=5,
                mfc="none",
                color=colour,
                label=f"measured, 95 %, lr = {float(result.lr[i]):g}",
            )
            right.plot(
                ratios, result.deviation_finite[i].values, color=colour, lw=1, ls="--", label="theory at this lr" if i else None
            )
        right.axhline(LIMIT, color=BLACK, ls=":", lw=1)
        right.set(
            xscale="log",
            yscale="log",
            ylim=(3e-4, 1.5),
            xlabel=r"$(1-\beta)\,/\,(c\mu)^{1/3}\,\mathrm{lr}^{2/3}$",
            ylabel="largest deviation (share of the start)",
            title=r"Momentum against SGD at lr$/(1-\beta)$",
        )
        plain_ticks(right)
        right.legend()
    return drawn
