"""The report of the sweeps of small models: the power of lr of the momentum they need and of their shortest time, for each."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sde_momentum.figures.style import BLACK, BLUE, ORANGE, STYLE, plain_ticks
from sde_momentum.predictors.measured_optimum import Estimate, PowerLaw, needed_momenta

from ..drawing import one_legend, plt
from ..estimates import plain_law, with_error
from ..experiment import Experiment
from ..judges import decisive
from ..mean_times import N_RESAMPLES
from ..needed import WITHIN, Needed, fitted
from ..predictions.sweep import SETTLED
from ..report import Picture, Report, Section, Table
from ..store import RESULTS, read_dataset
from .sweep import HORIZON, LONGEST, RESAMPLED, unpacked

Floats = NDArray[np.float64]

ORDER = 2
"""Number of corrections in lr^(1/3), as far as a degree of freedom is left; as many as in matrix sensing."""
LIMIT = 2 / 3
_COLUMNS = 6


class Summary:
    """What the sweep of one model says: the least momentum that is fast enough, and the shortest time, against lr.

    Args:
        data: of this model, dims (rate, momentum) and (rate, resample, momentum)
    """

    def __init__(self, data: xr.Dataset) -> None:
        self.lr = data["lr"].values
        deltas, times = data["one_minus_beta"].values, data["convergence_time"].values
        resampled = np.moveaxis(unpacked(data[RESAMPLED].values, times), 1, 0)
        n_seeds, shortest = json.loads(data.attrs["configuration"])["n_seeds"], times.min(axis=1)
        at_end = int(np.sum(times[:, -1] <= WITHIN * shortest))
        self.needed = Needed(self.lr, needed_momenta(deltas, times, resampled, WITHIN, n_seeds), at_end, n_seeds, ORDER)
        spread = np.sqrt(n_seeds / (n_seeds - 1)) * (np.log(resampled.min(axis=2)) - np.log(shortest))
        self.shortest = shortest
        self.time_laws = [
            fitted(self.lr, (np.log(shortest), np.log(shortest) + spread), order, n_seeds)
            for order in range(ORDER + 1)
            if len(self.lr) > order + 2
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "lr": self.lr.tolist(),
            "shortest_time": self.shortest.tolist(),
            "needed": self.needed.to_dict(),
            "time_fits": [plain_law(law) for law in self.time_laws],
        }


def _interval(gamma: Estimate) -> str:
    return f"{gamma.value:.3f} ({gamma.low:.3f} to {gamma.high:.3f})"


def _chosen(laws: list[PowerLaw]) -> str:
    """The exponent of the first acceptable fit, in words."""
    i = decisive([plain_law(law) for law in laws])
    return "no fit is acceptable" if i is None else f"{_interval(laws[i].exponent)}, {i} correction{'s' * (i != 1)}"


def _row(name: str, one: Summary) -> list[str]:
    rates, laws, low = f"{one.lr[0]:.2g} to {one.lr[-1]:.2g}", one.needed.laws, one.needed.lowest
    if one.needed.at_end:
        return [name, rates, f"at the end of the sweep at {one.needed.at_end} lr", "–", "–", _chosen(one.time_laws)]
    plain = f"{_interval(laws[0].exponent)}, p = {laws[0].p_value:.2g}"
    return [name, rates, plain, _chosen(laws), *(map(_interval, low.values()) if low else "–"), _chosen(one.time_laws)]


def momenta(summaries: dict[str, Summary]) -> Figure:
    """A panel for each model: the needed 1 - beta over lr^(2/3), over that of the smallest lr, and the plain power law."""
    columns = min(_COLUMNS, len(summaries))
    rows = -(-len(summaries) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(2.2 * columns + 0.6, 2.1 * rows + 0.8), squeeze=False, sharey=True)
        for axis in axes.flat[len(summaries) :]:
            axis.set_visible(False)
        ends = [1.0]
        for k, (axis, (name, one)) in enumerate(zip(axes.flat, summaries.items(), strict=False)):
            first, dense = one.needed.estimates[0].value, np.geomspace(one.lr[0], one.lr[-1], 50)
            scale = first * (one.lr / one.lr[0]) ** LIMIT
            value, low, high = (
                np.array([getattr(each, end) for each in one.needed.estimates]) / scale for end in ("value", "low", "high")
            )
            axis.axhline(1, color=BLACK, lw=1, label=r"lr$^{2/3}$")
            line = one.needed.laws[0].curve(dense)[0] / (first * (dense / one.lr[0]) ** LIMIT)
            axis.plot(dense, line, color=ORANGE, lw=1.5, label="plain power law")
            bars = np.maximum([value - low, high - value], 0)
            axis.errorbar(one.lr, value, bars, fmt="o", ms=4, color=BLUE, lw=1, label="measured, 95 %")
            axis.set(xscale="log", yscale="log")
            ends += [value.min(), value.max()]
            axis.set_title(name, fontsize="small")
            plain_ticks(axis)
            if k + columns >= len(summaries):
                axis.set_xlabel("learning rate")
            if k % columns == 0:
                axis.set_ylabel(r"$(1-\beta)\,/\,$lr$^{2/3}$")
        axes[0, 0].set_ylim(min(ends) / 1.25, 1.25 * max(ends))  # by the points: a bar of few seeds may be long
        one_legend(figure, axes.flat[: len(summaries)], ncols=3)
    return figure


def read(folder: Path) -> xr.Dataset:
    """The Dataset of the sweeps."""
    return read_dataset(folder / RESULTS)


def findings(summaries: dict[str, Summary]) -> list[str]:
    """How many models have 2/3 in their intervals, at all learning rates and at the smallest."""

    def has(gamma: Estimate) -> bool:
        return gamma.low <= LIMIT <= gamma.high

    whole = {name: one for name, one in summaries.items() if not one.needed.at_end}
    said = []
    if ended := [name for name in summaries if name not in whole]:
        said.append(f"No exponent, as the least momentum of the sweep is still fast enough: {'; '.join(ended)}.")
    plain = [one.needed.laws[0].exponent for one in whole.values()]
    low = [gamma for one in whole.values() for gamma in one.needed.lowest.values()]
    for where, found in (("at all learning rates", plain), ("at the smallest, a decade", low)):
        if not found:
            continue
        width, middle = np.median([((gamma.high - gamma.low) / 2, gamma.value) for gamma in found], axis=0)
        weights = np.array([gamma.standard_error**-2 for gamma in found])
        mean = with_error(float(np.average([gamma.value for gamma in found], weights=weights)), float(weights.sum() ** -0.5))
        said.append(
            f"Plain power law {where}: 2/3 is in the interval in {sum(map(has, found))} of {len(found)}; mean exponent, weighted "
            f"by the errors, {mean}; median {middle:.3f}, median half of the intervals {width:.3f}."
        )
    return said


def report(experiment: Experiment, results: xr.Dataset) -> Report:
    """The power of lr of the momentum that is needed and of the shortest time, for each model."""
    summaries = {str(name): Summary(results.sel(model=name)) for name in results["model"].values}
    configuration = json.loads(results.attrs["configuration"])
    head = (
        *("model", "learning rates", "plain power law", "first acceptable fit", "the smallest decade"),
        "shortest time, first acceptable fit",
    )
    rows = [_row(name, one) for name, one in summaries.items()]
    sizes = f"{results.sizes['rate']} learning rates, {results.sizes['momentum']} momenta, {configuration['n_seeds']} seeds"
    caption = "The needed 1 − β over lr^(2/3), over that of the smallest learning rate: flat where the power is 2/3."
    share = f"{WITHIN - 1:.0%}".replace("%", " %")
    return Report(
        title=experiment.title,
        subtitle=f"profile {configuration['profile']}: {len(summaries)} models, {sizes}",
        summary={"systems": {name: one.to_dict() for name, one in summaries.items()}},
        findings=findings(summaries),
        sections=[
            Section(
                "The power of lr",
                table=Table(head, rows, shown=True, drop=("learning rates", head[5], head[3])),
                notes=[
                    f"Needed is the least momentum (the largest 1 − β) whose time is within {share} of the shortest. Exponents γ "
                    "of 1 − β = C lr^γ and of the shortest time (theory: 2/3 and −2/3 as lr goes to 0), with 95 % intervals and "
                    "with corrections in lr^(1/3) where a plain power law does not fit (p below 0.05).",
                ],
                pictures=[Picture("momenta", partial(momenta, summaries), caption)],
            )
        ],
        how=[
            "Every model starts from a point of Gamma, full batch, label noise at every step. Time of a momentum: that after "
            f"which the mean of tr H over the runs stays below its target, for {SETTLED:.0f} / (1 − β) steps in all, but for at "
            f"least {HORIZON:.0f} and at most {LONGEST:.0f} times the shortest time.",
            "A first look finds the momentum at the largest lr. Each smaller lr has 17 momenta around what the one before found, "
            "moved by lr^(2/3): 8 times nearer to 1, to 2.5 times farther from it.",
            f"Intervals: 95 %, from {N_RESAMPLES} resamples of the seeds, which all learning rates and momenta share.",
        ],
        command=results.attrs["command"],
        versions=json.loads(results.attrs["versions"]),
        configuration=results.attrs["configuration"],
    )
