"""Pictures of a sweep; each function returns one figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sde_momentum.figures.style import BLACK, BLUE, GREEN, ORANGE, STYLE, colours, plain_ticks

from ..drawing import Fitted, best_momentum, one_legend, plt, times_of_momenta
from .summary import CLOSED_FORM, EFFECTIVE_LOSS, Summary


def _lr(value: float) -> str:
    return f"{value:.2g}"


def time_against_momentum(summary: Summary) -> Figure:
    """Convergence time against 1 - beta, a panel for each learning rate: measured, predicted, recommended, optimum."""
    data, optima = summary.data, summary.optima
    n = len(summary.lr)
    columns = min(3, n)
    rows = -(-n // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.1 * rows + 0.5), squeeze=False)
        for axis in axes.flat[n:]:
            axis.set_visible(False)
        for i, axis in enumerate(axes.flat[:n]):
            delta, time = data["one_minus_beta"].values[i], optima.time[i]
            recommended, best = summary.predicted(EFFECTIVE_LOSS)[i], optima.optimum(i)
            axis.axvspan(delta[0] * 0.9, recommended, color="0.92", zorder=0)
            axis.axvspan(best.low, best.high, color=ORANGE, alpha=0.35, zorder=1, lw=0, label="measured optimum, 95 %")
            axis.plot(delta, data["predicted_time"].values[i], color=BLUE, lw=2, label="predicted by $L_{eff}$")
            axis.axvline(recommended, color=BLUE, ls="--", lw=1.5, label="recommended by $L_{eff}$")
            axis.axvline(summary.predicted(CLOSED_FORM)[i], color=GREEN, ls=":", lw=2, label="closed form")
            times_of_momenta(axis, delta, time, optima.half_width[i], optima.arrived[i])
            axis.set(
                xscale="log", yscale="log", title=f"learning rate {_lr(summary.lr[i])}", xlim=(delta[0] * 0.9, delta[-1] * 1.1)
            )
            plain_ticks(axis)
            if i % columns == 0:
                axis.set_ylabel("time to target (steps)")
            if i + columns >= n:
                axis.set_xlabel(r"$1-\beta$")
        one_legend(figure, axes.flat[:n], ncols=3)
    return figure


def collapse(summary: Summary) -> Figure:
    """Time x lr^(2/3) against (1 - beta) / lr^(2/3): outside the cliff all learning rates follow the one predicted curve."""
    data, optima = summary.data, summary.optima
    scale = summary.lr ** (2 / 3)
    best = np.array([optima.optimum(i).value for i in range(len(summary.lr))]) / scale
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 5))
        axis.axvspan(best.min(), best.max(), color=ORANGE, alpha=0.2, lw=0, label="best of each learning rate")
        x, y = data["one_minus_beta"].values[0] / scale[0], data["predicted_time"].values[0] * scale[0]
        axis.plot(x, y, color=BLUE, lw=5, alpha=0.35, zorder=0, label=r"predicted, learning rate $\to$ 0, without chance")
        for i, colour in enumerate(colours(len(summary.lr))):
            x, y = data["one_minus_beta"].values[i] / scale[i], optima.time[i] * scale[i]
            axis.errorbar(x, y, optima.half_width[i] * y, fmt="o-", ms=4, lw=1, color=colour)
            if i in (0, len(summary.lr) - 1):
                place: Any = {"xytext": (-7, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
                axis.annotate(f"lr = {_lr(summary.lr[i])}", (x[0], y[0]), **place)
        axis.set(
            xscale="log",
            yscale="log",
            xlabel=r"$C = (1-\beta)\,/\,\mathrm{lr}^{2/3}$",
            ylabel=r"time to target $\times\ \mathrm{lr}^{2/3}$ (steps)",
            title="One curve for every learning rate, but for the cliff",
            xlim=((data["one_minus_beta"].values / scale[:, None]).min() / 1.8, None),
        )
        plain_ticks(axis)
        arrow = {"arrowstyle": "->", "color": BLACK, "lw": 1.2}
        axis.annotate("more momentum", (0.6, 0.05), (0.78, 0.05), "axes fraction", arrowprops=arrow, va="center")
        axis.legend(loc="upper center", bbox_to_anchor=(0.7, 1.0))
    return figure


def exponent(summary: Summary) -> Figure:
    """Measured optimum against learning rate, its fit with a 95 % band, and the predictions."""
    marks = ((EFFECTIVE_LOSS, BLUE, "--"), (CLOSED_FORM, GREEN, ":"))
    rules = [(method, summary.predicted(method), colour, style) for method, colour, style in marks]
    return best_momentum(summary.lr, [Fitted("measured", summary.optima, summary.law, BLACK)], rules)
