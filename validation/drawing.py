"""Parts of the pictures of all experiments: matplotlib without a display, shared legends, measured points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from sde_momentum.figures.style import BLACK, STYLE
from sde_momentum.figures.style import render as render
from sde_momentum.predictors.measured_optimum import Optima, PowerLaw


def one_legend(figure: Figure, axes: Iterable[Axes], ncols: int) -> None:
    """One legend above all panels, each label once, in at most `ncols` columns: as many as fit the picture's width. Powers of lr
    are typeset."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(re.sub(r"lr\^\((\d)/(\d)\)", r"$\\mathrm{lr}^{\1/\2}$", label), handle)
    for columns in range(ncols, 0, -1):
        legend = figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def times_of_momenta(
    axis: Axes,
    one_minus_beta: NDArray[np.float64],
    value: NDArray[np.float64],
    half_width: NDArray[np.float64],
    arrived: NDArray[np.float64],
) -> None:
    """Measured points with bars of a relative `half_width`, all (n,); hollow where `arrived`, a share of the runs, is below 1."""
    finite = np.isfinite(value)
    for mask, face, label in (
        (arrived == 1, BLACK, "measured, 95 %"),
        (arrived < 1, "white", "measured, some runs miss the target"),
    ):
        some = mask & finite
        bars = half_width[some] * value[some]
        axis.errorbar(
            one_minus_beta[some], value[some], bars, fmt="o", ms=5, mfc=face, color=BLACK, lw=1, label=label, zorder=3
        )  # fmt: skip


def measured(
    axis: Axes, x: ArrayLike, y: ArrayLike, se: ArrayLike, label: str, *, colour: str, marker: str = "o", filled: bool = False
) -> None:
    """Points with bars of 1.96 standard errors `se`; on a logarithmic axis a bar that would go below 0 ends just above it."""
    value, bar = np.asarray(y), 1.96 * np.asarray(se)
    low = np.minimum(bar, 0.999 * np.abs(value)) if axis.get_yscale() == "log" else bar
    axis.errorbar(
        np.asarray(x), value, [low, bar], fmt=marker, ms=5, mfc=colour if filled else "none", color=colour, label=label
    )  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """Measured optima of 1 - beta with a power law; `whole`: no optimum is at an end of the sweep."""

    name: str
    optima: Optima
    law: PowerLaw
    colour: str
    marker: str = "o"
    whole: bool = True


def best_momentum(
    lr: NDArray[np.float64], fitted: Sequence[Fitted], rules: Sequence[tuple[str, NDArray[np.float64], str, str]]
) -> Figure:
    """Best 1 - beta against the learning rate, and the same over lr^(2/3): measured optima with their fits and 95 % bands, and
    (name, 1 - beta (n_lr,), colour, line style) of each rule."""
    dense = np.geomspace(lr[0] / 1.3, lr[-1] * 1.3, 200)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
        points = np.array([[one.optima.optimum(i).value for i in range(len(lr))] for one in fitted] + [rule[1] for rule in rules])
        for axis, power in zip(axes, (0.0, 2 / 3), strict=True):
            for one in fitted:
                gamma, found = one.law.exponent, [one.optima.optimum(i) for i in range(len(lr))]
                fit = rf"$\gamma$ = {gamma.value:.3f} [{gamma.low:.3f}, {gamma.high:.3f}]"
                at = np.array([e.value for e in found]) / lr**power
                bars = np.array([[max(e.value - e.low, 0), max(e.high - e.value, 0)] for e in found]).T / lr**power
                if one.whole:
                    value, low, high = (x / dense**power for x in one.law.curve(dense))
                    axis.fill_between(dense, low, high, color=one.colour, alpha=0.15, lw=0)
                    axis.plot(dense, value, color=one.colour, lw=1)
                label = f"{one.name}: {fit if one.whole else 'at the end of the sweep'}"
                axis.errorbar(lr, at, bars, fmt=one.marker, color=one.colour, ms=5, label=label, zorder=3)
            for name, recommended, colour, style in rules:
                axis.plot(lr, recommended / lr**power, style, color=colour, lw=1.8, label=name)
            axis.set(xscale="log", xlabel="learning rate")
            if lr[-1] < 100 * lr[0]:
                axis.set_xticks(lr, [f"{rate:.3g}" for rate in lr])
                axis.minorticks_off()
        # by the points: an interval of few seeds may be many times as wide
        low, high, top = np.nanmin(points) / 3, np.nanmax(points) * 3, 1.8 * np.nanmax(points / lr ** (2 / 3))
        axes[0].set(yscale="log", ylabel=r"$1-\beta$", title="Best momentum against learning rate")
        axes[1].set(ylabel=r"$C = (1-\beta)\,/\,\mathrm{lr}^{2/3}$", title=r"The same over $\mathrm{lr}^{2/3}$", ylim=(0, None))
        for axis, (least, most) in zip(axes, ((low, high), (0, top)), strict=True):
            bottom, above = axis.get_ylim()
            axis.set_ylim(max(bottom, least), min(above, most))
        one_legend(figure, axes[:1], ncols=3)
    return figure
