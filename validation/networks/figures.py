"""Pictures of a sweep on a network; each function returns one figure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from sde_momentum.figures.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, colours, plain_ticks

from ..drawing import Fitted, best_momentum, one_legend, plt, times_of_momenta
from .course import Course
from .plan import CRITICAL, EFFECTIVE, GEOMETRY, TRANSFER
from .summary import BEST_TEST, FASTEST, Summary

_MARKS = ((TRANSFER, BLUE, "--"), (GEOMETRY, GREEN, ":"), (EFFECTIVE, PURPLE, "-."), (CRITICAL, RED, "-"))


def _marks(summary: Summary) -> list[tuple[str, str, str]]:
    return [mark for mark in _MARKS if mark[0] in summary.methods and np.isfinite(summary.recommended(mark[0])).any()]


def against_momentum(summary: Summary) -> Figure:
    """Time to the target, and test loss after the budget, against 1 - beta: a column for each learning rate."""
    n = len(summary.lr)
    labels = {FASTEST: "time to target (steps)", BEST_TEST: "test loss after the budget"}
    with plt.rc_context(STYLE):
        size = (2.6 * n + 0.8, 2.9 * len(summary.optima) + 0.7)
        figure, axes = plt.subplots(len(summary.optima), n, figsize=size, squeeze=False, sharey="row")
        for row, (name, optima) in zip(axes, summary.optima.items(), strict=True):
            for i, axis in enumerate(row):
                delta, value = summary.one_minus_beta[i], optima.time[i]
                best = optima.optimum(i)
                axis.axvspan(best.low, best.high, color=ORANGE, alpha=0.35, lw=0, label="best, 95 %")
                for method, colour, style in _marks(summary):
                    at = summary.recommended(method)[i]
                    if np.isfinite(at):
                        axis.axvline(at, color=colour, ls=style, lw=1.8, label=method)
                times_of_momenta(axis, delta, value, optima.half_width[i], optima.arrived[i])
                axis.set(xscale="log", yscale="log", title=f"lr {summary.lr[i]:.3g}")
                plain_ticks(axis)
            row[0].set_ylabel(labels[name])
            low, high = np.quantile(optima.time[np.isfinite(optima.time)], [0, 1])
            room = max((high / low) ** 0.25, 1.04)  # by the points: a bar of few seeds may reach to 0
            row[0].set_ylim(low / room, high * room)
        for axis in axes[-1]:
            axis.set_xlabel(r"$1-\beta$")
        one_legend(figure, axes.flat, ncols=5)
    return figure


def exponent(summary: Summary) -> Figure:
    """Both optima against the learning rate with their fits, and the same over lr^(2/3)."""
    optima = [
        Fitted(name, optima, summary.laws[name][0], colour, mark, not summary.at_end(name))
        for (name, optima), colour, mark in zip(summary.optima.items(), (BLACK, ORANGE), "os", strict=False)
    ]
    rules = [(method, summary.recommended(method), colour, style) for method, colour, style in _marks(summary)]
    return best_momentum(summary.lr, optima, rules)


def courses(summary: Summary) -> Figure:
    """tr H, test loss and train loss against time at the middle learning rate: means over the seeds, a line for each momentum."""
    i = len(summary.lr) // 2
    data = summary.data.isel(lr=i)
    names = {"trace_hessian": "tr H", "test_loss": "test loss", "train_loss": "train loss without noise"}
    step = data["step"].values
    use = step > 0
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(names), figsize=(4.3 * len(names), 3.9))
        picked, note = range(0, data.sizes["momentum"], 2), ""
        for axis, (name, label) in zip(axes, names.items(), strict=True):
            runs = data[name].values[picked].astype(np.float64)[:, :, use]
            means = np.where(np.isfinite(runs), runs, np.nan).mean(axis=1)
            for j, mean, colour in zip(picked, means, colours(len(picked)), strict=True):
                axis.plot(step[use], mean, color=colour, lw=1.5, label=f"{summary.one_minus_beta[i, j]:.2g}")
            axis.set(xscale="log", yscale="log", xlabel="steps", title=label)
            if np.nanmax(means) > (top := 10 * np.nanpercentile(means, 90)):
                axis.set_ylim(top=top)
                note = "; lines that leave the picture diverge"
        level = summary.configuration["fraction"] * summary.about["interpolating"]["trace_hessian"]
        axes[0].axhline(level, color=BLACK, ls="--", lw=1)
        axes[0].annotate("target", (step[use][-1], level), va="bottom", ha="right", fontsize="small")
        axes[-1].legend(title=r"$1-\beta$", loc="upper left", fontsize="small")
        figure.suptitle(f"lr {summary.lr[i]:.3g}; a run that has ended keeps its last value{note}")
    return figure


def course(compared: Course) -> Figure:
    """tr H and test loss over their start against time, predicted and measured, a colour a momentum; below, the difference."""
    names = {"trace_hessian": "tr H over its start", "test_loss": "test loss over its start"}
    step = compared.predicted["step"].values
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, len(names), figsize=(9.6, 5.6), sharex=True, squeeze=False, gridspec_kw={"height_ratios": (2.2, 1)}
        )
        for j, colour in enumerate(colours(len(compared.one_minus_beta))):
            going = compared.steps(j) & (step > 0)
            inner = going[compared.steps(j)]
            for (above, below), name in zip(axes.T, names, strict=True):
                mean, error = compared.measured(name, j)
                first, expected = mean[0], compared.expected(name, j)
                band = compared.reach * error
                label = f"{compared.one_minus_beta[j]:.2g}"
                above.plot(step[going], (mean / first)[inner], color=colour, lw=1.5, label=label)
                above.fill_between(
                    step[going], ((mean - band) / first)[inner], ((mean + band) / first)[inner], color=colour, alpha=0.25, lw=0
                )
                above.plot(step[going], (expected / first)[inner], color=colour, lw=1.5, ls="--")
                gap = 100 * (expected - mean) / first
                below.plot(step[going], gap[inner], color=colour, lw=1.5)
                half = 100 * band / first
                below.fill_between(step[going], (gap - half)[inner], (gap + half)[inner], color=colour, alpha=0.25, lw=0)
        for (above, below), label in zip(axes.T, names.values(), strict=True):
            above.set(xscale="log", title=label)
            below.axhline(0, color=BLACK, lw=0.8)
            below.axhspan(-15, 15, color=BLACK, alpha=0.06, lw=0)
            below.set(xlabel="steps")
        axes[1, 0].set_ylabel("predicted - measured\n(% of the start)")
        axes[0, 0].plot([], [], color=BLACK, lw=1.5, label="measured, 95 %")
        axes[0, 0].plot([], [], color=BLACK, lw=1.5, ls="--", label="effective loss")
        axes[0, 0].legend(title=r"$1-\beta$", loc="lower left", fontsize="small", title_fontsize="small")
    return figure
