"""Picture of convergence time against 1 - beta: trials at each learning rate, theory's curves, the recommendation, the cliff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError
from .style import BLACK, LINES, colours, plain_ticks

Floats = NDArray[np.float64]
Curve = tuple[ArrayLike, ArrayLike, ArrayLike | None]
"""1 - beta, time in steps, its standard error in steps or None, each (n,)."""

Arrays = tuple[Floats, Floats, Floats]
"""A `Curve` as arrays, in increasing 1 - beta."""

_BAND = 1.96  # standard errors to either side: 95 %
_WIDE = 300.0  # ratio of the ends of the axis of 1 - beta above which numbers stand at its decades alone: others would touch
_DASHES = ("-", "--", "-.")
_HIGHEST = (
    30.0  # times above this multiple of the highest time that matters are cut off: theory's reach thousands beyond the cliff
)


@dataclass(frozen=True)
class Answer:
    """The recommendation: 1 - beta with its interval, and the expected time in steps with its standard error.

    Attributes:
        one_minus_beta: the recommended 1 - beta
        low, high: its interval; None without one
        time: in steps; None where it is not known: a line is drawn instead of a point
        time_se: standard error of `time`
        carried: trials were run at other learning rates: a line leads from the fastest of each to the recommendation
    """

    one_minus_beta: float
    low: float | None = None
    high: float | None = None
    time: float | None = None
    time_se: float = 0.0
    carried: bool = False


def draw(
    axes: Axes,
    curves: Mapping[str, Curve],
    recommended: Mapping[str, float],
    cliff: float | None = None,
    *,
    trials: Sequence[tuple[float, Curve]] = (),
    answer: Answer | None = None,
) -> None:
    """Draw times over 1 - beta on log axes; no legend.

    Args:
        axes: to draw on
        curves: name -> `Curve` at the learning rate asked for, drawn as a line; infinite times are left out, those without
            standard error (None, 0 or NaN) are drawn without band
        recommended: name -> recommended 1 - beta: a diamond on the curve of that name, a dotted line without one
        cliff: 1 - beta below which the target is met much later or never, shaded; None or 0: none
        trials: (learning rate, `Curve`), drawn as points with 95 % error bars; infinite times are crosses at the upper edge
        answer: the recommendation, drawn as a star with its intervals

    Raises:
        InputError: for nothing to draw, more names than styles of lines, arrays that differ in length, or no finite time.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> draw(axes, {"SGD": ([0.01, 0.1], [100.0, 300.0], [2.0, 5.0])}, {"closed form": 0.02}, cliff=0.012)
    >>> [text for text in axes.get_legend_handles_labels()[1]]
    ['beyond the cliff', 'SGD', 'closed form recommends']
    """
    names = list(dict.fromkeys([*curves, *recommended]))
    if len(names) > len(LINES) * len(_DASHES):
        raise InputError("curves", f"{len(names)} curves", f"at most {len(LINES) * len(_DASHES)}")
    if not curves and not trials:
        raise InputError("curves", "none", "at least one, or trials")
    lines = {name: _curve(f"curves[{name!r}]", *given) for name, given in curves.items()}
    points = [(lr, _curve("trials", *given, finite=False)) for lr, given in sorted(trials, key=lambda trial: trial[0])]
    _limits(axes, lines, points, [*recommended.values()], cliff, answer)
    if cliff:
        axes.axvspan(axes.get_xlim()[0], cliff, color="0.9", lw=0, zorder=0, label="beyond the cliff")
    for i, name in enumerate(names):  # dashes differ: curves that coincide stay visible
        style = LINES[i % len(LINES)], _DASHES[(i + i // len(LINES)) % len(_DASHES)]
        _line(axes, name, lines.get(name), recommended.get(name), *style)
    _trials(axes, points)
    if answer is not None:
        _answer(axes, answer, points)
    axes.set(xlabel=r"$1 - \mathrm{momentum}$  ($\delta = 1-\beta$)", ylabel="time to the target (steps)")
    plain_ticks(axes)
    low, high = axes.get_xlim()
    if high > _WIDE * low:
        axes.xaxis.set_major_locator(LogLocator())


def _limits(
    axes: Axes,
    lines: Mapping[str, Arrays],
    points: Sequence[tuple[float, Arrays]],
    marked: Sequence[float],
    cliff: float | None,
    answer: Answer | None,
) -> None:
    """Set log axes around everything; times that only theory reaches, far above the rest, are cut off."""
    ends = [] if answer is None else [end for end in (answer.one_minus_beta, answer.low, answer.high) if end is not None]
    delta = np.concatenate([[*marked, *ends], *(line[0] for line in lines.values()), *(point[0] for _, point in points)])
    low = min(delta.min() / 1.15, cliff / 1.3 if cliff else np.inf)
    found = [time[np.isfinite(time)] for _, (_, time, _) in points]
    if answer is not None and answer.time is not None and np.isfinite(answer.time):
        found.append(np.array([answer.time]))
    known = np.concatenate([[], *found])
    times = np.concatenate([known, *(time for _, time, _ in lines.values())])
    if not times.size:  # trials none of which met the target
        times = np.array([1.0, 10.0])
    cut = _HIGHEST * (known.max() if known.size else times.min())
    axes.set(xscale="log", yscale="log", xlim=(low, min(1.0, delta.max() * 1.15)))
    axes.set_ylim(times.min() / 1.3, min(times.max(), cut) * 1.4)


def _line(axes: Axes, name: str, line: Arrays | None, best: float | None, colour: str, dashes: str) -> None:
    if line is not None:
        delta, time, error = line
        axes.plot(delta, time, color=colour, ls=dashes, lw=2, label=name)
        if np.any(error > 0):
            axes.fill_between(delta, time - _BAND * error, time + _BAND * error, color=colour, alpha=0.25, lw=0)
    if best is None:
        return
    label = f"{name} recommends"
    if line is None:
        axes.axvline(best, color=colour, ls=":", lw=2, label=label)
    else:
        at = np.exp(np.interp(np.log(best), np.log(delta), np.log(time)))
        axes.plot(best, at, "D", ms=8, color=colour, mec="white", zorder=4, label=label)


def _trials(axes: Axes, points: Sequence[tuple[float, Arrays]]) -> None:
    """Points with error bars, a colour for each learning rate; crosses at the upper edge where the target was not met."""
    for (lr, (delta, time, error)), colour in zip(points, colours(len(points) + 1), strict=False):
        met = np.isfinite(time)
        label, bars = f"trials, lr {lr:.3g}", _BAND * error[met]
        axes.errorbar(delta[met], time[met], bars, fmt="o", ms=4.5, color=colour, lw=1.3, capsize=2, zorder=5, label=label)
        where = axes.get_xaxis_transform()
        axes.plot(delta[~met], np.full((~met).sum(), 0.975), "x", ms=6, mew=1.6, color=colour, transform=where, zorder=5)
    if any(not np.isfinite(time).all() for _, (_, time, _) in points):
        axes.plot([], [], "x", ms=6, mew=1.6, color="0.4", label="target not met in the trial")


def _answer(axes: Axes, answer: Answer, points: Sequence[tuple[float, Arrays]]) -> None:
    best = answer.one_minus_beta
    if answer.time is None or not np.isfinite(answer.time):
        if answer.low is not None and answer.high is not None:
            axes.axvspan(answer.low, answer.high, color=BLACK, alpha=0.12, lw=0, zorder=0)
        axes.axvline(best, color=BLACK, lw=2, label="recommended")
        return
    if answer.carried:
        fastest = [(delta[i], time[i]) for _, (delta, time, _) in points if np.isfinite(time[i := int(np.argmin(time))])]
        way = np.array([(best, answer.time), *fastest])
        way = way[np.argsort(way[:, 0])]
        axes.plot(*way.T, color="0.5", lw=1.2, ls=(0, (2, 2)), zorder=1, label="carried between learning rates")
    low, high = answer.low or best, answer.high or best
    across, up = [[best - low], [high - best]], [[_BAND * answer.time_se]] * 2
    bars = axes.errorbar(best, answer.time, up, across, fmt="none", ecolor=BLACK, lw=1.6, capsize=3, zorder=6)
    bars.set_label("_")
    axes.plot(best, answer.time, "*", ms=15, color="#F0E442", mec=BLACK, mew=1.2, zorder=7, label="recommended")


def _curve(name: str, one_minus_beta: ArrayLike, time: ArrayLike, time_se: ArrayLike | None, *, finite: bool = True) -> Arrays:
    """Three arrays in increasing 1 - beta; infinite times are left out if `finite`."""
    delta, steps = np.asarray(one_minus_beta, dtype=np.float64), np.asarray(time, dtype=np.float64)
    error = np.zeros_like(steps) if time_se is None else np.nan_to_num(np.asarray(time_se, dtype=np.float64), posinf=0.0)
    if delta.ndim != 1 or not delta.shape == steps.shape == error.shape:
        raise InputError(name, f"shapes {delta.shape}, {steps.shape}, {error.shape}", "three arrays (n,)")
    order = np.argsort(delta)
    if finite:
        order = order[np.isfinite(steps[order])]
        if not order.size:
            raise InputError(name, "no finite time", "a curve with a finite time")
    return delta[order], steps[order], error[order]
