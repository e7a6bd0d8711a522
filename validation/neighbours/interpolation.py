"""Mini-batches without label noise: the best momentum for the fit, and where the drift ends [theory: Interpolation]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.optimize import brentq

import sde_momentum as sm
from sde_momentum.core.threads import in_order
from sde_momentum.figures.style import BLACK, LINES, STYLE, plain_ticks
from sde_momentum.predictors import loss_multiplier, second_moment_matrix
from sde_momentum.predictors.measured_optimum import PowerLaw
from sde_momentum.theory import formulas

from ..drawing import measured as points
from ..drawing import plt
from ..estimates import both_exponents, fitted_laws, lowest
from .drift_rate import Measured, weighted_slope, worst

Floats = NDArray[np.float64]

TITLE = "Mini-batches without label noise"
SOURCE = "Garg, Derezinski: Perfect parallelization in mini-batch SGD with classical momentum acceleration (arXiv 2605.18609)"
CLAIM = (
    "On least squares that can be fitted, what momentum gains is proportional to the batch size, up to a saturation point; a "
    "simple choice of momentum attains it."
)
DERIVED = (
    "The noise is multiplicative: the modes' second moments obey a linear recursion, whose spectral radius is the rate. While "
    "noise decides, the best momentum keeps lr / (1 - beta) at the share 1 / (1 + sqrt(S)) of its stability limit, so that "
    "1 - beta ~ lr / B, and the rate is proportional to B at any lr; once batches are large, or lr is small, it is critical "
    "damping, 1 - beta ~ lr^(1/2), and the rate no longer depends on B. The drift along the minima ends with the residuals: its "
    "whole way is the noise-free one over 1 - e, e the share of the stability limit. Beyond the limit the loss grows until w has "
    "drifted below it."
)

N, SOFT, STIFF, TARGET = 32, 0.1, 1.0, 1e-2
BATCHES = (1, 4, 32)
SCALED = np.geomspace(0.6, 1.9, 9)
"""1 - beta of the simulations, over the predicted best one."""
PARALLEL_LR, PARALLEL_BATCHES = 0.05, (1, 2, 4, 8, 12, 16, 24, 32)
CALM = 0.75
"""Largest e at which a few hundred runs have the mean loss: nearer to 1 it is carried by rare runs."""
SHARES, BEYOND = (0.2, 0.4, 0.6, 0.8), (1.1, 1.2, 1.3)
"""e of the runs below the stability limit, and at the start of those beyond it."""


@dataclass(frozen=True)
class Profile:
    """Learning rates, numbers of runs on least squares and in the valley."""

    lr: tuple[float, ...]
    n_runs: int
    n_valley: int


PROFILES = {"quick": Profile((0.005, 0.031), 96, 256), "full": Profile((0.002, 0.005, 0.0125, 0.031, 0.08), 400, 1024)}


def spectrum() -> Floats:
    """Half of the modes stiff, half soft."""
    return np.repeat([STIFF, SOFT], N // 2)


# --- Simulation ---------------------------------------------------------------------------------------------------------
def batch_descent(
    eigenvalues: Floats, start: Floats, n_steps: int, *, lr: float, momentum: float, batch_size: int, n_runs: int, seed: int,
    slope: float = 0.0,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Loss (n_steps + 1, n_runs) and final theta (n_runs,) of heavy ball by batches without replacement, without label noise.

        f = O (sqrt(P lambda_j (1 + slope theta)) x_j),   O orthogonal with elements of one size, targets 0

    O spreads each sample over all modes. With a slope, theta is one direction along the minima x = 0. n a power of two.

    >>> loss, theta = batch_descent(np.ones(4), np.ones(4), 9, lr=0.1, momentum=0.5, batch_size=2, n_runs=3, seed=0)
    >>> loss.shape, float(theta.max())
    ((10, 3), 0.0)
    """
    n = len(eigenvalues)
    rng = np.random.default_rng([seed, 43])
    mix, roots = hadamard(n) / np.sqrt(n), np.sqrt(n * eigenvalues)[:, None]
    x, v = np.repeat(start[:, None], n_runs, axis=1), np.zeros((n, n_runs))
    theta, velocity, loss = np.zeros(n_runs), np.zeros(n_runs), np.empty((n_steps + 1, n_runs))
    for step in range(n_steps + 1):
        growth = np.sqrt(1 + slope * theta)
        modes = growth * roots * x
        residual = mix @ modes
        loss[step] = np.square(residual).mean(axis=0) / 2
        if step == n_steps:
            break
        if batch_size < n:
            draws = rng.random((n, n_runs))
            residual *= draws <= np.partition(draws, batch_size - 1, axis=0)[batch_size - 1]
        pulled = mix.T @ residual / batch_size
        v *= momentum
        v -= lr * growth * roots * pulled
        if slope:
            velocity *= momentum
            velocity -= lr * slope / (2 * growth**2) * (modes * pulled).sum(axis=0)
            theta += velocity
        x += v
    return loss, theta


def expected_loss(eigenvalues: Floats, start: Floats, n_steps: int, lr: float, momentum: float, batch_size: int) -> Floats:
    """The mean loss by the recursion, (n_steps + 1,)."""
    n = len(eigenvalues)
    matrix = second_moment_matrix(eigenvalues, lr, momentum, n, batch_size)
    moments, out = np.tile(start**2, 3), np.empty(n_steps + 1)  # at rest: x_{k-1} = x_k
    for step in range(n_steps + 1):
        out[step] = eigenvalues @ moments[:n] / 2
        moments = matrix @ moments
    return out


# --- Measurement --------------------------------------------------------------------------------------------------------
def best_momentum(lr: float, batch_size: int) -> tuple[float, float]:
    """(1 - beta, chi_2) of the smallest loss multiplier."""
    eigenvalues = spectrum()
    grid = np.unique(np.minimum(1.0, np.geomspace(0.5, 2.0, 61) * _rule(lr, batch_size)))
    rates = [loss_multiplier(eigenvalues, lr, 1 - delta, N, batch_size) for delta in grid]
    at = int(np.argmin(rates))
    return float(grid[at]), rates[at]


def _rule(lr: float, batch_size: int) -> float:
    return float(sm.MomentumRule.for_interpolation(spectrum(), N, batch_size).one_minus_beta(lr))


def _soft_start() -> Floats:
    """Most of the loss in soft modes, so that the long run begins early."""
    return np.repeat([0.1, 1.0], N // 2)


def _cell(lr: float, batch_size: int, delta: float, n_runs: int, seed: int) -> tuple[float, float, float]:
    """Time for the mean loss to fall to TARGET, its standard error by resampling, and the recursion's."""
    if loss_multiplier(spectrum(), lr, 1 - delta, N, batch_size) > 0.9995:
        return np.nan, np.nan, np.inf
    horizon = 64
    while (expected := expected_loss(spectrum(), _soft_start(), horizon, lr, 1 - delta, batch_size))[
        -1
    ] > 0.2 * TARGET * expected[0]:
        horizon *= 2
    loss, _ = batch_descent(
        spectrum(), _soft_start(), horizon, lr=lr, momentum=1 - delta, batch_size=batch_size, n_runs=n_runs, seed=seed
    )
    weights = np.random.default_rng([seed, 44]).multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=100) / n_runs
    clock = np.arange(horizon + 1)
    times = [float(sm.convergence_time(course, clock, TARGET)) for course in (loss.mean(axis=1), *(weights @ loss.T))]
    return times[0], float(np.std(times[1:], ddof=1)), float(sm.convergence_time(expected, clock, TARGET))


def _valley_spectrum() -> Floats:
    """Eigenvalues of the valley. Of equal ones the rows of J would be orthogonal, and each sample on its own."""
    return np.geomspace(0.25, 2.0, N)


def stability_share(eigenvalues: Floats, lr: float, momentum: float, n_outputs: int, batch_size: int) -> float:
    """e of (13.4), exact: the mean loss grows from e = 1 on."""
    phi, a = float(formulas.minibatch_noise(1.0, n_outputs, batch_size)), lr * eigenvalues
    noise = phi * a**2 * _response(a, momentum)
    return float((noise / (1 + noise)).sum())


def _response(a: Floats, momentum: float) -> Floats:
    """G at chi = 1."""
    return 1 / ((1 - momentum) * a * (2 - a / (1 + momentum)))


def _lr_at(share: float, momentum: float) -> float:
    """The lr at which e is the share, with batches of one."""
    eigenvalues = _valley_spectrum()
    return float(brentq(lambda lr: stability_share(eigenvalues, lr, momentum, N, 1) - share, 1e-6, 0.4))


def _end(share: float, momentum: float, n_runs: int, seed: int) -> tuple[float, float, float]:
    """Way along the minima, its standard error and the derived one, at e = `share` of the stability limit; start small."""
    eigenvalues, slope, size = _valley_spectrum(), 1.0, 1e-3
    lr = _lr_at(share, momentum)
    matrix = second_moment_matrix(eigenvalues, lr, momentum, N, 1)
    summed = np.linalg.solve(np.eye(3 * N) - matrix, np.full(3 * N, size**2))[:N]
    chi = loss_multiplier(eigenvalues, lr, momentum, N, 1)
    steps = int(np.log(1e-6) / np.log(chi))
    _, theta = batch_descent(
        eigenvalues, np.full(N, size), steps, lr=lr, momentum=momentum, batch_size=1, n_runs=n_runs, seed=seed, slope=slope
    )
    scale = size**2 * N / 4  # of the gradient flow
    derived = lr * slope / (2 * (1 - momentum)) * float(eigenvalues @ summed)  # the velocity sums to 1 / delta of its kicks
    return float(-theta.mean() / scale), float(theta.std() / np.sqrt(n_runs) / scale), derived / scale


def _beyond(share: float, n_runs: int, seed: int) -> tuple[float, float, float, float]:
    """e at the end of runs that start beyond the limit: mean, standard error, share of runs that ended below 1, mean field's."""
    eigenvalues, lr, start, n_steps = _valley_spectrum(), _lr_at(share, 0.0), 1e-2, 3000
    _, theta = batch_descent(
        eigenvalues, np.full(N, start), n_steps, lr=lr, momentum=0.0, batch_size=1, n_runs=n_runs, seed=seed, slope=1.0
    )
    end = np.array([stability_share(eigenvalues * (1 + at), lr, 0.0, N, 1) for at in theta])
    return (
        float(end.mean()), float(end.std() / np.sqrt(n_runs)), float((end < 1).mean()),
        stability_share(eigenvalues * (1 + _mean_field(eigenvalues, start, n_steps, lr)), lr, 0.0, N, 1),
    )  # fmt: skip


def _mean_field(eigenvalues: Floats, start: float, n_steps: int, lr: float) -> float:
    """theta at the end where it follows the mean of the squares, without momentum, slope 1, batches of one."""
    theta, squares = 0.0, np.full(N, start**2)
    phi = float(formulas.minibatch_noise(1.0, N, 1))
    for _ in range(n_steps):
        a = lr * eigenvalues * (1 + theta)
        theta -= lr / 2 * float(eigenvalues @ squares)
        squares = (1 - a) ** 2 * squares + phi * a * (float(a @ squares) - a * squares)
    return theta


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """Times against momentum; rate against batch size; the way of the drift."""
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    base = seed * 1_000_003
    best = np.array([[best_momentum(lr, size) for lr in plan.lr] for size in BATCHES])
    jobs: list[Callable[[], tuple[float, ...]]] = []
    for i, size in enumerate(BATCHES):
        for j, lr in enumerate(plan.lr):
            for scaled in SCALED:
                jobs.append(partial(_cell, lr, size, min(1.0, scaled * best[i, j, 0]), plan.n_runs, base + len(jobs)))
    n_cells = len(jobs)
    parallel = [best_momentum(PARALLEL_LR, size) for size in PARALLEL_BATCHES]
    jobs += [
        partial(_cell, PARALLEL_LR, size, delta, plan.n_runs, base + 5000 + i)
        for i, (size, (delta, _)) in enumerate(zip(PARALLEL_BATCHES, parallel, strict=True))
    ]
    ways = [(share, momentum) for momentum in (0.0, 0.7) for share in SHARES]
    jobs += [partial(_end, *way, plan.n_valley, base + 6000 + i) for i, way in enumerate(ways)]
    jobs += [partial(_beyond, share, plan.n_valley // 4, base + 7000 + i) for i, share in enumerate(BEYOND)]
    found = []
    for row in in_order(iter(jobs), workers):
        found.append(row)
        report(1 / len(jobs))
    shape = (len(BATCHES), len(plan.lr), len(SCALED))
    times = np.array(found[:n_cells]).reshape(*shape, 3)
    runs = np.array(found[n_cells : n_cells + len(parallel)])
    ends = np.array(found[n_cells + len(parallel) : -len(BEYOND)]).reshape(2, len(SHARES), 3)
    over = np.array(found[-len(BEYOND) :])
    one, steps = {"units": "1"}, {"units": "steps"}
    stability = np.array(
        [
            [
                [stability_share(spectrum(), lr, 1 - min(1.0, q * best[i, j, 0]), N, size) for q in SCALED]
                for j, lr in enumerate(plan.lr)
            ]
            for i, size in enumerate(BATCHES)
        ]
    )
    rule = np.array([[_rule(lr, size) for lr in plan.lr] for size in BATCHES])
    regret = np.array(
        [
            [
                np.log(best[i, j, 1]) / np.log(loss_multiplier(spectrum(), lr, 1 - min(1.0, rule[i, j]), N, size))
                for j, lr in enumerate(plan.lr)
            ]
            for i, size in enumerate(BATCHES)
        ]
    )
    cells, sizes = ("batch_size", "lr", "scaled"), ("parallel_batch_size",)
    return xr.Dataset(
        {
            "time": (cells, times[..., 0], {"long_name": "time for the mean loss to a hundredth", **steps}),
            "time_se": (cells, times[..., 1], steps),
            "predicted": (cells, times[..., 2], steps),
            "stability": (cells, stability, {"long_name": "e, share of the stability limit", **one}),
            "best": (cells[:2], best[..., 0], {"long_name": "1 - beta of the smallest loss multiplier", **one}),
            "rule": (cells[:2], rule, {"long_name": "1 - beta in closed form", **one}),
            "regret": (cells[:2], regret, {"long_name": "time by the closed form over the shortest, in the long run", **one}),
            "parallel_time": (sizes, runs[:, 0], steps),
            "parallel_se": (sizes, runs[:, 1], steps),
            "parallel_predicted": (sizes, runs[:, 2], steps),
            "way": (("momentum", "share"), ends[..., 0], {"long_name": "way along the minima over the noise-free one", **one}),
            "way_se": (("momentum", "share"), ends[..., 1], one),
            "way_derived": (("momentum", "share"), ends[..., 2], one),
            "end": (("beyond",), over[:, 0], {"long_name": "e where the drift ended", **one}),
            "end_se": (("beyond",), over[:, 1], one),
            "ended_below": (("beyond",), over[:, 2], one),
            "end_derived": (("beyond",), over[:, 3], one),
        },
        coords={
            "batch_size": list(BATCHES),
            "lr": list(plan.lr),
            "scaled": SCALED,
            "parallel_batch_size": list(PARALLEL_BATCHES),
            "momentum": [0.0, 0.7],
            "share": list(SHARES),
            "beyond": list(BEYOND),
        },
        attrs={"n_samples": N, "soft": SOFT, "parallel_lr": PARALLEL_LR, "theory": "Interpolation"},
    )


# --- What it says -------------------------------------------------------------------------------------------------------
def fitted_best(result: xr.Dataset) -> tuple[Floats, Floats, Floats]:
    """1 - beta of the least time by a parabola in logarithms, its standard error, and the same of the recursion's times:
    (batch_size, lr); NaN where fewer than four momenta lie near it."""
    shape = (result.sizes["batch_size"], result.sizes["lr"])
    value, error, derived = (np.full(shape, np.nan) for _ in range(3))
    for i, j in np.ndindex(*shape):
        time, se, expected = (result[name].values[i, j] for name in ("time", "time_se", "predicted"))
        delta = np.minimum(1.0, result.best.values[i, j] * SCALED)
        some = np.isfinite(time) & (expected < 1.25 * np.nanmin(expected)) & (np.diff(delta, append=2.0) > 0)
        some &= result.stability.values[i, j] < 1
        if some.sum() < 4:
            continue
        x, spread = np.log(delta[some]), np.maximum(se / time, 1e-4)[some]
        value[i, j], error[i, j] = lowest(x, np.log(time[some]), spread)
        derived[i, j], _ = lowest(x, np.log(expected[some]), spread)
    return value, error, derived


def _known(value: Floats, error: Floats, derived: Floats) -> NDArray[np.bool_]:
    """The learning rates whose best 1 - beta counts in an exponent."""
    return np.isfinite(value) & np.isfinite(derived) & (error < 0.5 * value)


def _laws(result: xr.Dataset, i: int) -> list[PowerLaw]:
    """Power laws of the best 1 - beta of batch size i in lr."""
    value, error, derived = (each[i] for each in fitted_best(result))
    good = _known(value, error, derived)
    return fitted_laws(result.lr.values[good], value[good], (error / value)[good])


def numbers(result: xr.Dataset) -> dict[str, Any]:
    """What decides about the claims, with 95 % intervals."""
    noisy = (result.time_se > 1e-9 * result.time) & (result.stability < CALM)
    off = (np.abs(result.time / result.predicted - 1)).where(noisy)
    # derived to first order in the way, here up to 1e-4
    errors, _ = worst(
        result.way.values, np.hypot(result.way_se.values, 1e-3 * result.way_derived.values), result.way_derived.values
    )
    value, error, derived = fitted_best(result)
    out: dict[str, Any] = {
        "worst_time": float(np.nanmax(off)),
        "times": int(noisy.sum()),
        "times_within": float(np.nanquantile((np.abs(result.time - result.predicted) / result.time_se).where(noisy), 0.95)),
        "worst_beyond": float(np.nanmax(np.abs(result.time / result.predicted - 1).where(np.isfinite(result.predicted)))),
        "worst_regret": float(result.regret.max()),
        "way_errors": errors,
        "ended_below": float(result.ended_below.min()),
    }
    for i, size in enumerate(result.batch_size.values):
        good = _known(value[i], error[i], derived[i])
        if good.sum() > 1:
            log, relative = np.log(result.lr.values[good]), (error / value)[i, good]
            slope, expected = (weighted_slope(log, np.log(each[i, good]), relative) for each in (value, derived))
            out[f"exponent, batches of {size}"] = slope.to_dict() | {"derived": expected.value}
    small = result.parallel_time.sel(parallel_batch_size=[1, 4])
    relative = result.parallel_se.sel(parallel_batch_size=[1, 4]) / small
    ratio = float(small[0] / small[1])
    out["speed-up of batches of 4"] = Measured(ratio, ratio * float(np.sqrt((relative**2).sum()))).to_dict()
    return out


def findings(result: xr.Dataset) -> list[str]:
    """The findings, in sentences."""
    found = numbers(result)
    lines = [
        f"Times of the mean loss against the recursion's, up to e = {CALM:g}: at most {found['worst_time']:.1%} apart, 95 % "
        f"within {found['times_within']:.1f} standard errors, at {found['times']} settings; nearer to the stability limit up to "
        f"{found['worst_beyond']:.0%}, for there the mean is that of rare runs. The momentum in closed form takes at most "
        f"{found['worst_regret']:.2f} times the shortest time, in the long run."
    ]
    for i, size in enumerate(result.batch_size.values):
        if (law := found.get(f"exponent, batches of {size}")) is not None:
            lines.append(
                f"Batches of {size} of {N}: the best 1 - beta ~ lr^γ, {both_exponents(_laws(result, i))}; derived "
                f"{law['derived']:.3f} over these learning rates."
            )
    speed = result.parallel_time[0] / result.parallel_time
    pairs = ", ".join(f"{float(s):.2f} (B = {int(b)})" for b, s in zip(result.parallel_batch_size, speed, strict=True))
    lines.append(f"At lr = {PARALLEL_LR:g} with the best momentum, speed over that of B = 1: {pairs}.")
    for momentum in result.momentum.values:
        at = result.sel(momentum=momentum)
        ways = ", ".join(
            f"{float(w):.3f} ± {float(s):.3f} (derived {float(d):.3f}, e = {float(e):g})"
            for e, w, s, d in zip(at.share, at.way, at.way_se, at.way_derived, strict=True)
        )
        lines.append(f"Momentum {momentum:g}: the drift goes {ways} times the gradient flow's way.")
    ends = ", ".join(
        f"from e = {float(b):g} to {float(e):.3f} ± {float(s):.3f} (mean field {float(d):.3f}; {float(k):.0%} below 1)"
        for b, e, s, d, k in zip(result.beyond, result.end, result.end_se, result.end_derived, result.ended_below, strict=True)
    )
    return [*lines, f"Beyond the stability limit w drifts {ends}."]


def figure(result: xr.Dataset) -> Figure:
    """The best 1 - beta against lr; speed against batch size; the way of the drift against e."""
    with plt.rc_context(STYLE):
        drawn, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2))
        value, error, derived = fitted_best(result)
        for i, size in enumerate(result.batch_size.values):
            left.plot(result.lr, result.best[i], color=LINES[i], lw=1.5)
            left.plot(result.lr, np.minimum(result.rule[i], 1), color=LINES[i], lw=1.2, ls=":")
            good = np.isfinite(value[i]) & (error[i] < value[i])
            left.plot(result.lr[good], derived[i, good], color=LINES[i], marker="_", ms=14, mew=1.8, ls="none")
            points(left, result.lr[good], value[i, good], error[i, good], f"batches of {size}", colour=LINES[i])
        left.set(
            xscale="log",
            yscale="log",
            xlabel="learning rate",
            ylabel="best 1 − β",
            title="dashes: recursion, to a hundredth;\nlines: in the long run; dotted: closed form",
        )
        sizes, base = result.parallel_batch_size, result.parallel_time[0]
        middle.plot(
            sizes, float(result.parallel_predicted[0]) / result.parallel_predicted, color=LINES[0], lw=1.5, label="recursion"
        )
        points(
            middle,
            sizes,
            base / result.parallel_time,
            base * result.parallel_se / result.parallel_time**2,
            "measured, 95 %",
            colour=LINES[0],
        )
        middle.plot(sizes, sizes, color=BLACK, lw=0.8, ls="--", label="proportional to B")
        middle.set(
            xscale="log",
            yscale="log",
            xlabel="batch size B",
            ylabel="speed, over that of B = 1",
            title=f"best momentum, lr = {PARALLEL_LR:g}",
            ylim=(0.8, 40),
        )
        for i, momentum in enumerate(result.momentum.values):
            right.plot(result.share, result.way_derived[i], color=LINES[i], marker="_", ms=12, ls="none")
            points(right, result.share, result.way[i], result.way_se[i], f"momentum {momentum:g}", colour=LINES[i])
        right.set(
            xlabel="e, share of the stability limit",
            ylabel="way along the minima,\nover gradient flow's",
            title="dashes: derived",
        )
        fine = np.linspace(SHARES[0], SHARES[-1], 60)
        right.plot(fine, 1 / (1 - fine), color=BLACK, lw=0.8, ls="--", label="1 / (1 − e)")
        for axis in (left, middle):
            plain_ticks(axis)
        for axis in (left, middle, right):
            axis.legend()
    return drawn
