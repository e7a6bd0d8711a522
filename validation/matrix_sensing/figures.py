"""Pictures of a sweep; each function returns one figure."""

from __future__ import annotations

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
            times_of_momenta(axis, delta, time, optima.relative_error[i], optima.arrived[i])
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
    """Time x lr^(2/3) against (1 - beta) / lr^(2/3), which collapses all learning rates outside the cliff."""
    data, optima = summary.data, summary.optima
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 5))
        for i, colour in enumerate(colours(len(summary.lr))):
            scale = summary.lr[i] ** (2 / 3)
            x, y = data["one_minus_beta"].values[i] / scale, optima.time[i] * scale
            axis.errorbar(x, y, 1.96 * optima.relative_error[i] * y, fmt="o-", ms=4, lw=1, color=colour, label=_lr(summary.lr[i]))
        scale = summary.lr[0] ** (2 / 3)
        axis.plot(
            data["one_minus_beta"].values[0] / scale,
            data["predicted_time"].values[0] * scale,
            color=BLUE,
            lw=3,
            alpha=0.5,
            zorder=0,
            label=f"$L_{{eff}}$ at {_lr(summary.lr[0])}",
        )
        axis.set(
            xscale="log",
            yscale="log",
            xlabel=r"$C = (1-\beta)\,/\,\mathrm{lr}^{2/3}$",
            ylabel=r"time to target $\times\ \mathrm{lr}^{2/3}$ (steps)",
            title="All learning rates collapse; on the left, at more momentum, the cliff",
        )
        plain_ticks(axis)
        axis.legend(title="learning rate", ncols=2)
    return figure


def exponent(summary: Summary) -> Figure:
    """Measured optimum against learning rate, its fit with a 95 % band, and the predictions."""
    marks = ((EFFECTIVE_LOSS, BLUE, "--"), (CLOSED_FORM, GREEN, ":"))
    rules = [(method, summary.predicted(method), colour, style) for method, colour, style in marks]
    return best_momentum(summary.lr, [Fitted("measured", summary.optima, summary.law, BLACK)], rules)
