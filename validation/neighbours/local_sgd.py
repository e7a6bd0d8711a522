"""Local SGD: with K workers that average every H steps the drift is up to K times as fast [theory: Forces, eq. 6.8]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.threads import in_order
from sde_momentum.figures.style import BLACK, LINES, STYLE, plain_ticks
from sde_momentum.theory import formulas

from ..drawing import measured as points
from ..drawing import plt
from .drift_rate import decay_rate, predicted_rate, worst
from .noisy_descent import noisy_descent

Floats = NDArray[np.float64]

TITLE = "Local SGD"
SOURCE = "Gu, Lyu, Huang, Arora: Why (and when) does local SGD generalize better than SGD? (arXiv 2303.01215)"
CLAIM = (
    "Local SGD with K workers and H local steps follows SGD's slow motion along the minima with a stronger drift: between "
    "two averages each worker feels its own noise, so that the drift grows from that of SGD with the same total batch at "
    "H = 1 to K times it for H large, the more of it the larger lr H."
)
DERIVED = (
    "The drift is (1 + (K - 1) psi) / K of one worker's; psi is the mean variance of a mode over a round that starts at 0, over "
    "its stationary variance. The gap falls by rho = |multiplier|^2 a step. Without momentum rho = (1 - a)^2, for small a "
    "psi = (e^-x - 1 + x) / x at x = 2 lr lambda H; with momentum and underdamped modes rho = beta, psi = 1 - (1 - beta^H) / "
    "(H delta). So H = alpha / lr keeps a fixed share of the effect as lr falls, and H = alpha / lr^2, the rule of Gu, Lyu, "
    "Arora, Zhang, Huang (arXiv 2310.14423), gains all of it."
)

N_WORKERS, N_MODES, EIGENVALUE, CURVATURE, START = 4, 8, 1.0, 1.0, 0.2
LR = 0.05
NOISE = {1.0: 0.4, 0.05: 0.002}
"""c of one worker at each 1 - beta."""
LAWS = {"H = 2 / lr": lambda lr: 2 / lr, "H = 1 / lr^2": lambda lr: 1 / lr**2}
DECAY = 0.4
"""Least number of e-folds by which theta falls while its rate is measured."""


@dataclass(frozen=True)
class Profile:
    """Amount of work of a profile: local steps at LR, learning rates of the two laws, number of runs of each."""

    local_steps: tuple[int, ...]
    lr: tuple[float, ...]
    n_runs: int


PROFILES = {
    "quick": Profile((1, 10, 40, 400), (0.1, 0.05), 48),
    "full": Profile((1, 2, 5, 10, 20, 40, 80, 160, 400, 1600), (0.1, 0.07, 0.05, 0.035, 0.025), 256),
}


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """Drift against H, without momentum and with; and against lr for H = 2 / lr and 1 / lr^2, without."""
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    deltas = tuple(NOISE)
    cells = [(delta, LR, steps) for delta in deltas for steps in plan.local_steps]
    cells += [(1.0, lr, round(law(lr))) for law in LAWS.values() for lr in plan.lr]
    jobs = [partial(_cell, *cell, plan.n_runs, seed * 1_000_003 + 13 * number) for number, cell in enumerate(cells)]
    found = []
    for row in in_order(iter(jobs), workers):
        found.append(row)
        report(1 / len(jobs))
    by_steps = np.array(found[: len(deltas) * len(plan.local_steps)]).reshape(len(deltas), -1, 4)
    by_lr = np.array(found[len(deltas) * len(plan.local_steps) :]).reshape(len(LAWS), -1, 4)
    one = {"units": "1"}
    share = "drift over that of one worker"
    dims, laws = ("one_minus_beta", "local_steps"), ("law", "lr")
    return xr.Dataset(
        {
            "share": (dims, by_steps[..., 0], {"long_name": share, **one}),
            "share_se": (dims, by_steps[..., 1], one),
            "share_exact": (dims, by_steps[..., 2], {"long_name": f"{share}: exact psi of a mode", **one}),
            "share_formula": (dims, by_steps[..., 3], {"long_name": f"{share}: closed form", **one}),
            "share_by_law": (laws, by_lr[..., 0], {"long_name": share, **one}),
            "share_by_law_se": (laws, by_lr[..., 1], one),
            "share_by_law_exact": (laws, by_lr[..., 2], {"long_name": f"{share}: exact psi of a mode", **one}),
            "share_by_law_formula": (laws, by_lr[..., 3], {"long_name": f"{share}: closed form", **one}),
        },
        coords={
            "one_minus_beta": ("one_minus_beta", list(deltas), one),
            "local_steps": ("local_steps", list(plan.local_steps), {"long_name": "H", "units": "steps"}),
            "law": list(LAWS),
            "lr": ("lr", list(plan.lr), {"long_name": "learning rate of the laws, without momentum", **one}),
        },
        attrs={
            "n_workers": N_WORKERS,
            "eigenvalue": EIGENVALUE,
            "lr_of_local_steps": LR,
            "noise": [NOISE[delta] for delta in deltas],
            "n_runs": plan.n_runs,
            "theory": "Relaxation; Drift; Forces",
        },
    )


def _cell(delta: float, lr: float, local_steps: int, n_runs: int, seed: int) -> tuple[float, float, float, float]:
    """Drift over that of one worker: measured, its standard error, by the exact psi, by the closed form."""
    valley = sm.Valley([EIGENVALUE] * N_MODES, 0.0, curvature=CURVATURE)
    noise = NOISE[delta]
    exact = (1 + (N_WORKERS - 1) * variance_share(lr, EIGENVALUE, delta, local_steps)) / N_WORKERS
    expected = exact * predicted_rate(sm.forces.LabelNoise(noise), valley, lr, delta, START)
    # both whole rounds; in the first the energies reach their stationary values, and the drift its speed
    rounds = [
        int(np.ceil(steps / local_steps)) for steps in (6 * max(delta / (2 * lr * EIGENVALUE), 1 / delta), DECAY / expected)
    ]
    times = np.cumsum(rounds) * local_steps
    runs = noisy_descent(
        valley,
        valley.start(START),
        times,
        lr=lr,
        momentum=1 - delta,
        n_runs=n_runs,
        seed=seed,
        label_noise=float(np.sqrt(noise * N_MODES)),
        n_workers=N_WORKERS,
        local_steps=local_steps,
    )
    theta = runs[..., 0]
    rate = decay_rate(theta[0], theta[1], float(times[1] - times[0]))
    middle = float(np.sqrt(theta[0].mean() * theta[1].mean()))
    # the share multiplies c before the oscillator's correction k / delta^2, which depends on the whole force
    one = predicted_rate(sm.forces.LabelNoise(noise * exact), valley, lr, delta, middle) / exact
    return rate.value / one, rate.standard_error / one, exact, closed_form(lr, EIGENVALUE, delta, local_steps)


def variance_share(lr: float, eigenvalue: float, one_minus_beta: float, local_steps: int) -> float:
    """psi of a mode: its mean variance over a round that starts at 0, over its stationary variance [theory: Forces, eq. 6.8]."""
    beta = 1 - one_minus_beta
    step = np.array([[1 + beta - lr * eigenvalue, -beta], [1.0, 0.0]])
    moments, total = np.zeros((2, 2)), 0.0
    for _ in range(local_steps):
        total += moments[0, 0]
        moments = step @ moments @ step.T
        moments[0, 0] += 1.0
    stationary = float(formulas.heavy_ball_pair_covariance(lr, eigenvalue, eigenvalue, one_minus_beta, 1.0)) / lr**2
    return total / local_steps / stationary


def closed_form(lr: float, eigenvalue: float, one_minus_beta: float, local_steps: int) -> float:
    """Drift over that of one worker, (1 + (K - 1) psi) / K, with the library's psi for momentum [theory: Forces], and without
    momentum with that of Gu and others, psi(2 lr lambda H)."""
    if one_minus_beta < 1:
        return float(formulas.local_sgd_share(one_minus_beta, N_WORKERS, local_steps))
    x = 2 * lr * eigenvalue * local_steps
    return float((1 + (N_WORKERS - 1) * (np.expm1(-x) + x) / x) / N_WORKERS)


def findings(result: xr.Dataset) -> list[str]:
    """The findings, in sentences."""
    k = int(result.attrs["n_workers"])
    lines = []
    for delta in result.one_minus_beta.values:
        at = result.sel(one_minus_beta=delta)
        errors, _ = worst(at.share.values, at.share_se.values, at.share_exact.values)
        _, off = worst(at.share.values, at.share_se.values, at.share_formula.values)
        name = "Without momentum" if delta == 1 else f"At 1 - beta = {delta:g}"
        low = int(np.argmax(np.abs(at.share.values / at.share_formula.values - 1)))
        ends = " to ".join(
            f"{float(k * at.share[i]):.4f} ± {float(k * at.share_se[i]):.4f} (H = {int(at.local_steps[i])})" for i in (0, -1)
        )
        lines.append(
            f"{name}: the drift goes from {ends} times that of SGD with the same total batch, K = {k}; within {errors:.1f} "
            f"standard errors of the exact psi at {at.sizes['local_steps']} values of H, within {off:.1%} of the closed form "
            f"(H = {int(at.local_steps[low])})."
        )
    for law in result.law.values:
        at = result.sel(law=law)
        pairs = ", ".join(
            f"{float(k * s):.3f} ± {float(k * e):.3f} (lr = {lr:g})"
            for lr, s, e in zip(at.lr.values, at.share_by_law.values, at.share_by_law_se.values, strict=True)
        )
        errors, _ = worst(at.share_by_law.values, at.share_by_law_se.values, at.share_by_law_exact.values)
        lines.append(f"{law}: {pairs} times; within {errors:.1f} standard errors of the exact psi.")
    return lines


def figure(result: xr.Dataset) -> Figure:
    """Drift against H; drift against lr for the two laws of H."""
    k = int(result.attrs["n_workers"])
    lr, eigenvalue = float(result.attrs["lr_of_local_steps"]), float(result.attrs["eigenvalue"])
    with plt.rc_context(STYLE):
        drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
        steps = np.unique(np.geomspace(1, float(result.local_steps[-1]), 80).round().astype(int))
        for colour, delta in zip(LINES, result.one_minus_beta.values, strict=False):
            at = result.sel(one_minus_beta=delta)
            exact = [1 + (k - 1) * variance_share(lr, eigenvalue, float(delta), int(h)) for h in steps]
            formula = [k * closed_form(lr, eigenvalue, float(delta), int(h)) for h in steps]
            name = "no momentum" if delta == 1 else rf"$1-\beta$ = {delta:g}"
            left.plot(steps, exact, color=colour, lw=1.5, label=f"{name}: exact psi")
            left.plot(steps, formula, color=colour, lw=1.2, ls=":", label=f"{name}: closed form")
            points(left, at.local_steps, k * at.share, k * at.share_se, f"{name}: measured, 95 %", colour=colour)
        left.set(xscale="log", xlabel="local steps H", ylabel="drift over SGD's, same total batch", title=f"lr = {lr:g}, K = {k}")
        for colour, law in zip(LINES[2:], result.law.values, strict=False):
            at = result.sel(law=law)
            right.plot(at.lr, k * at.share_by_law_exact, color=colour, lw=1.5)
            points(right, at.lr, k * at.share_by_law, k * at.share_by_law_se, str(law), colour=colour)
        right.set(
            xscale="log",
            xlabel="learning rate, no momentum",
            ylabel="drift over SGD's, same total batch",
            title="H with the learning rate; lines: exact psi",
        )
        for axis in (left, right):
            for level in (1, k):
                axis.axhline(level, color=BLACK, ls="--", lw=0.8, zorder=0)
            axis.set_ylim(0.8, k + 0.35)
            plain_ticks(axis)
            axis.set_yticks(range(1, k + 1))
        left.set_xticks([10**i for i in range(int(np.log10(steps[-1])) + 1)])
        right.set_xticks(result.lr.values)
        left.legend(fontsize=8.5, loc="lower right", bbox_to_anchor=(1.0, 0.07))
        right.legend(loc="center right")
    return drawn
