"""How fast the limits become true: error of T5's and T7's times against the learning rate at one C, with its power of lr.

At 1 - beta = D (c lr^2)^(1/3) the steps times (c lr^2)^(1/3) go to a number as lr -> 0. T7 says which; T5, without
fluctuations of the energies, another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.files import write_whole
from sde_momentum.figures.style import LINES, STYLE

from .cases import CASES, Case
from .predictions import mean_times
from .store import read_json, write_json

Floats = NDArray[np.float64]

NAME = "corrections"
PROBLEMS = ("valley, g = 0", "valley, g = 3 m", "diagonal linear network")
PROFILES = {"quick": (np.geomspace(0.1, 1e-3, 5), 0.5, 0.015), "full": (np.geomspace(0.1, 1e-5, 9), 2.0, 0.005)}
"""Learning rates, runs over those of the case, and the precision of the universal curve."""

_MORE = 1.3
"""D over that of the shortest time in the limit: far enough from the cliff, where times jump."""
_LIMIT = 1e-6
"""The learning rate at which T5's limit is taken: on the valleys it has 6 digits there."""
_N_RECORDS = 400
_SHOWN = (5e-5, 5.0)
"""Errors between which the picture shows them, with room for the legend above."""
_CLEAR = 2.0
"""Standard errors from 0 at which an error counts in the fit of its power."""


@dataclass(frozen=True)
class Approach:
    """One problem.

    Attributes:
        case: its name
        scaled: D
        lr: (n,)
        time, time_se: steps times (c lr^2)^(1/3) in training, and the standard error, (n,)
        limits: name of the theory -> (its number, standard error)
    """

    case: str
    scaled: float
    lr: list[float]
    time: list[float]
    time_se: list[float]
    limits: dict[str, tuple[float, float]]

    def error(self, theory: str) -> tuple[Floats, Floats]:
        """Relative error of the theory's number at every lr, and its standard error."""
        limit, limit_se = self.limits[theory]
        ratio = np.array(self.time) / limit
        return ratio - 1, np.hypot(np.array(self.time_se) / limit, ratio * limit_se / limit)

    def power(self, theory: str) -> tuple[float, float] | None:
        """a of error ~ lr^a and its standard error, by least squares in logarithms; None where fewer than 3 are clear."""
        error, se = self.error(theory)
        clear = np.abs(error) > _CLEAR * se
        if clear.sum() < 3:
            return None
        x, y, weight = np.log(np.array(self.lr)[clear]), np.log(np.abs(error[clear])), (np.abs(error) / se)[clear]
        fit, covariance = np.polyfit(x, y, 1, w=weight, cov="unscaled")
        spread = np.sqrt(max(1.0, float((weight**2 * (y - np.polyval(fit, x)) ** 2).sum() / (clear.sum() - 2))))
        return float(fit[0]), float(np.sqrt(covariance[0, 0]) * spread)


T5, T7 = "effective loss [theory: Effective loss]", "critical limit [theory: Critical limit]"


def run(profile: str, seed: int, out: Path, workers: int, report: Callable[[float], None]) -> list[Approach]:
    """One Approach for each of PROBLEMS; those that `out` holds already are not computed again."""
    rates, share, precision = PROFILES[profile]
    found = []
    for case in CASES:
        if case.name not in PROBLEMS:
            continue
        file = out / f"{'-'.join(case.name.replace(',', '').replace('=', '').split())}.json"
        if not file.exists():
            write_json(file, asdict(_approach(case, rates, max(32, int(share * case.n_seeds)), seed, precision, out, workers)))
        found.append(Approach(**read_json(file)))
        report(1)
    return found


def _approach(case: Case, rates: Floats, n_seeds: int, seed: int, precision: float, out: Path, workers: int) -> Approach:
    problem, start = case.make()
    method = sm.LabelNoiseSGD(problem, case.label_noise)
    goal = {"metric": case.metric, "fraction": case.fraction}
    how = sm.CurveSettings(precision=precision, seed=seed)
    curve = sm.universal_curve(problem, start, (case.metric, case.fraction), settings=how, store=out / "curves", workers=workers)
    known = np.isfinite(curve.scaled_time_se)
    point = int(np.flatnonzero(known & (curve.scaled_one_minus_beta >= _MORE * curve.scaled_one_minus_beta[curve.best]))[0])
    scaled = float(curve.scaled_one_minus_beta[point])
    effective = sm.EffectiveLossPredictor(problem, start, method.noise, **goal)  # type: ignore[arg-type]
    small = _scale(method.noise, _LIMIT)
    limit = float(effective.convergence_time(_LIMIT, [scaled * small])[0]) * small
    seeds = seed * 1_000_003 + np.arange(n_seeds)
    times, errors = [], []
    for lr in rates:
        scale = _scale(method.noise, lr)
        longest = 2.5 * float(curve.scaled_time[point]) / scale
        clock = np.unique(np.linspace(0, longest, _N_RECORDS).astype(int))
        course = sm.solve(
            method, start, clock, lr=float(lr), momentum=1 - scaled * scale, seeds=seeds, metrics=[case.metric],
            workers=workers, progress=False,
        )  # fmt: skip
        time, resampled = mean_times([(clock, course[case.metric].values[0, 0])], case.fraction, seed)
        times.append(float(time[0]) * scale)
        errors.append(float(resampled[:, 0].std()) * scale)
    critical = float(curve.scaled_time[point]), float(curve.scaled_time_se[point])
    return Approach(case.name, scaled, np.asarray(rates).tolist(), times, errors, {T5: (limit, 0.0), T7: critical})


def _scale(noise: float, lr: float) -> float:
    """(c eta^2)^(1/3), without `UniversalCurve.scale`'s correction of the drift at finite lr: that is part of the error."""
    return float(np.cbrt(noise * lr**2))


def table(found: Sequence[Approach]) -> str:
    """In Markdown."""
    lines = [
        "| problem | D | limit | its number | " + " | ".join(f"error at {lr:.2g}" for lr in found[0].lr) + " | power of lr |"
    ]
    lines.append("| --- " * (5 + len(found[0].lr)) + "|")
    for one in found:
        for theory, (limit, limit_se) in one.limits.items():
            cells = [f"{e:+.3f} ± {se:.3f}" for e, se in zip(*one.error(theory), strict=True)]
            power = one.power(theory)
            said = "not told from 0" if power is None else f"{power[0]:.2f} ± {power[1]:.2f}"
            number = f"{limit:.3f}" + (f" ± {limit_se:.3f}" if limit_se else "")
            lines.append(f"| {one.case} | {one.scaled:.3g} | {theory} | {number} | {' | '.join(cells)} | {said} |")
    return "\n".join(lines)


def picture(found: Sequence[Approach]) -> Figure:
    """Error against lr, both logarithmic, a panel for each problem, and the slope 1/3."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(found), figsize=(4.4 * len(found), 3.8), squeeze=False, sharey=True)
        for axis, one in zip(axes[0], found, strict=True):
            lr = np.array(one.lr)
            for theory, colour, marker in zip(one.limits, LINES, "os", strict=False):
                error, se = one.error(theory)
                power = one.power(theory)
                label = theory if power is None else f"{theory}: lr$^{{{power[0]:.2f} \\pm {power[1]:.2f}}}$"
                axis.errorbar(lr, np.abs(error), se, fmt=marker, ms=5, lw=1, color=colour, label=label)
            top = max(float(np.abs(one.error(theory)[0]).max()) for theory in one.limits)
            axis.plot(lr, top * (lr / lr.max()) ** (1 / 3), color="0.6", lw=1, ls="--", label=r"lr$^{1/3}$", zorder=0)
            axis.set(xscale="log", yscale="log", title=one.case, xlabel="learning rate")
            axis.legend(fontsize="small", loc="upper left")
        axes[0][0].set_ylim(*_SHOWN)
        axes[0][0].set_ylabel("relative error of the time")
    return figure


def write(found: Sequence[Approach], out: Path) -> dict[str, Any]:
    """Results, table and picture; the summary."""
    summary = {
        one.case: {theory: {"error": one.error(theory)[0].tolist(), "power": one.power(theory)} for theory in one.limits}
        for one in found
    }
    write_json(out / "results.json", {"results": [asdict(one) for one in found], "summary": summary, "version": sm.__version__})
    (out / "table.md").write_text(table(found) + "\n", encoding="utf-8")
    figure = picture(found)
    write_whole(out / "corrections.png", lambda file: figure.savefig(file, format="png"))
    plt.close(figure)
    return json.loads(json.dumps(summary))
