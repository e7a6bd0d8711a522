"""SGD with momentum against SGD at lr / (1 - beta): the range of 1 - beta in which they agree
[theory: Crossing; Effective loss, eq. 5.4]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import sde_momentum as sm
from sde_momentum.figures.style import BLACK, BLUE, LINES, STYLE, plain_ticks

from ..drawing import measured as points
from ..drawing import plt
from .mean_course import mean_course

Floats = NDArray[np.float64]

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
"""Deviation, as a share of the start, at which the two count as different."""
TIME = 6.0
"""Length of the runs in t = k c lr^2 / delta^2, in units of 1 / mu: theta^2 falls by e^3."""
N_RECORDS = 81
N_RESAMPLES = 400


@dataclass(frozen=True)
class Profile:
    """Amount of work of a profile: 1 - beta over delta* = (c mu)^(1/3) lr^(2/3), and the number of runs of each."""

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


@dataclass(frozen=True)
class _Course:
    """Measurement and prediction at one (lr, ratio).

    Attributes:
        mean, error: of theta^2 over its start, (n_time, 2 methods)
        each: deviation of each run at the time `where` it is predicted to be largest, (n_seed,)
        predicted, finite: the deviation predicted for small lr, and at this lr
    """

    delta: float
    mean: Floats
    error: Floats
    each: Floats
    predicted: float
    where: float
    finite: float


def _course(method: sm.LabelNoiseSGD, lr: float, ratio: float, asked: Floats, seeds: NDArray[np.int64], workers: int) -> _Course:
    start = method.problem.start(START)  # type: ignore[attr-defined]
    noise = method.noise
    delta = ratio * float(sm.MomentumRule.from_geometry(noise, CURVATURE).one_minus_beta(lr))
    steps, back = np.unique(np.round(asked * delta**2 / (noise * lr**2)).astype(int), return_inverse=True)

    def squares(rate: float, momentum: float) -> Floats:
        found = sm.solve(
            method, start, steps, lr=rate, momentum=momentum, seeds=seeds, metrics=["test_error"], workers=workers, progress=False
        )
        return np.asarray(found.test_error.values[0, 0][:, back] / START**2)

    def theory(rate: float, damping: float, column: int) -> float:
        valley: dict[str, Any] = {"curvature": CURVATURE, "eigenvalue": EIGENVALUE, "n_modes": N_MODES, "start": START}
        return float(mean_course(rate, damping, steps, noise=noise, **valley)[back[column]] ** 2)

    runs = [squares(lr, 1 - delta), squares(lr / delta, 0.0)]
    predicted, at = largest_deviation(ratio)
    where = at / CURVATURE
    column = int(np.argmin(np.abs(asked - where)))
    signed = runs[0][:, column] - runs[1][:, column]
    return _Course(
        delta,
        np.stack([values.mean(axis=0) for values in runs], axis=-1),
        np.stack([values.std(axis=0, ddof=1) for values in runs], axis=-1) / np.sqrt(len(seeds)),
        signed * np.sign(signed.mean()),
        predicted,
        where,
        abs(theory(lr, delta, column) - theory(lr / delta, 1.0, column)) / START**2,
    )


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """theta^2 against time in a valley at two learning rates; `report` is called with shares of the work, of sum 1.

    The deviation is taken where the predicted one is largest: the largest of the measured would be biased by its noise.
    """
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    valley = sm.Valley([EIGENVALUE] * N_MODES, 0.0, curvature=CURVATURE)
    method = sm.LabelNoiseSGD(valley, float(np.sqrt(NOISE * N_MODES)))
    seeds = seed * 1_000_003 + np.arange(plan.n_seeds)
    asked = np.linspace(0.0, TIME / CURVATURE, N_RECORDS)
    cost = np.square(np.asarray(plan.ratio))
    found = []
    for lr, (j, ratio) in product(LR, enumerate(plan.ratio)):
        found.append(_course(method, lr, ratio, asked, seeds, workers))
        report(float(cost[j] / cost.sum() / len(LR)))

    def column(name: str) -> Floats:
        values = np.array([getattr(course, name) for course in found])
        return values.reshape(len(LR), len(plan.ratio), *values.shape[1:])

    each, predicted = column("each"), column("predicted")
    rng = np.random.default_rng([seed, 41])
    weights = rng.multinomial(plan.n_seeds, np.full(plan.n_seeds, 1 / plan.n_seeds), size=N_RESAMPLES) / plan.n_seeds
    dims, one, start = ("lr", "ratio"), {"units": "1"}, {"units": "share of the start"}
    times, where = (*dims, "time", "method"), {"long_name": "t at which it is predicted", "units": "1 / curvature of tr H"}
    return xr.Dataset(
        {
            "one_minus_beta": (dims, column("delta"), one),
            "course": (times, column("mean"), {"long_name": "mean of theta^2", **start}),
            "course_se": (times, column("error"), start),
            "deviation": (dims, each.mean(axis=-1), {"long_name": "|with momentum - without| at deviation_time", **start}),
            "deviation_se": (dims, each.std(axis=-1, ddof=1) / np.sqrt(plan.n_seeds), start),
            "deviation_predicted": (dims, predicted, {"long_name": "largest |with momentum - without| as lr -> 0", **start}),
            "deviation_finite": (dims, column("finite"), {"long_name": "the same at this lr, with the exact energies", **start}),
            "deviation_time": (dims, column("where"), where),
            "crossing": (
                "lr",
                [_crossing(plan.ratio, runs.mean(axis=-1)) for runs in each],
                {"long_name": "1 - beta / delta* at 10 % deviation", **one},
            ),
            "crossing_se": ("lr", [_spread(plan.ratio, runs, weights) for runs in each], one),
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
    """The findings, in sentences."""
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
    """theta^2 against time at three momenta; the deviation against (1 - beta) / delta*."""
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
            some = at.isel(time=slice(None, None, 4), method=0)
            label = rf"momentum, $1-\beta$ = {ratios[j]:g} $\delta^*$"
            points(left, some.time, some.course, some.course_se, label, colour=colour, filled=True)
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
        right.set(xscale="log", yscale="log")
        dense = np.geomspace(ratios.min(), ratios.max(), 120)
        curve = [largest_deviation(float(x))[0] for x in dense]
        right.plot(dense, curve, color=BLUE, lw=2, label="theory, small lr")
        for colour, marker, i in zip(LINES[1:], "os", range(result.sizes["lr"]), strict=False):
            at = result.isel(lr=i)
            label = f"measured, 95 %, lr = {float(at.lr):g}"
            points(right, ratios, at.deviation, at.deviation_se, label, colour=colour, marker=marker)
            right.plot(ratios, at.deviation_finite, color=colour, lw=1, ls="--", label="theory at this lr" if i else None)
        right.axhline(LIMIT, color=BLACK, ls=":", lw=1)
        right.set(
            ylim=(3e-4, 1.5),
            xlabel=r"$(1-\beta)\,/\,(c\mu)^{1/3}\,\mathrm{lr}^{2/3}$",
            ylabel="largest deviation (share of the start)",
            title=r"Momentum against SGD at lr$/(1-\beta)$",
        )
        plain_ticks(right)
        right.legend()
    return drawn
