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

Trial = tuple[float, ArrayLike, ArrayLike, ArrayLike, ArrayLike]
"""Learning rate; 1 - beta, time in steps, its standard error, and number of steps of the trials, each (n,)."""

Arrays = tuple[Floats, Floats, Floats]
"""A `Curve` as arrays, in increasing 1 - beta."""

Points = tuple[float, Floats, Floats, Floats, Floats]
"""A `Trial` as arrays."""

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
    trials: Sequence[Trial] = (),
    answer: Answer | None = None,
) -> None:
    """Draw times over 1 - beta on log axes; no legend.

    Args:
        axes: to draw on
        curves: name -> `Curve` at the learning rate asked for, drawn as a line; infinite times are left out, those without
            standard error (None, 0 or NaN) are drawn without band
        recommended: name -> recommended 1 - beta: a diamond on the curve of that name, a dotted line without one
        cliff: 1 - beta below which the target is met much later or never, shaded; None or 0: none
        trials: points with 95 % error bars; where the time is infinite, a triangle at the steps made, above which the time is
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
    points = [_points(trial) for trial in sorted(trials, key=lambda trial: trial[0])]
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
    points: Sequence[Points],
    marked: Sequence[float],
    cliff: float | None,
    answer: Answer | None,
) -> None:
    """Set log axes around everything; times that only theory reaches, far above the rest, are cut off."""
    ends = [] if answer is None else [end for end in (answer.one_minus_beta, answer.low, answer.high) if end is not None]
    delta = np.concatenate([[*marked, *ends], *(line[0] for line in lines.values()), *(point[1] for point in points)])
    low = min(delta.min() / 1.15, cliff / 1.3 if cliff else np.inf)
    found = [np.where(np.isfinite(time), time, n_steps) for _, _, time, _, n_steps in points]
    if answer is not None and answer.time is not None and np.isfinite(answer.time):
        found.append(np.array([answer.time]))
    known = np.concatenate([[], *found])
    times = np.concatenate([known, *(time for _, time, _ in lines.values())])
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


def _trials(axes: Axes, points: Sequence[Points]) -> None:
    """Points with error bars, a colour for each learning rate; triangles where trials ended before the target was met."""
    for (lr, delta, time, error, n_steps), colour in zip(points, colours(len(points) + 1), strict=False):
        met = np.isfinite(time)
        label, bars = f"trials, lr {lr:.3g}", _BAND * error[met]
        axes.errorbar(delta[met], time[met], bars, fmt="o", ms=4.5, color=colour, lw=1.3, capsize=2, zorder=5, label=label)
        axes.plot(delta[~met], n_steps[~met], "^", ms=6, mfc="none", mew=1.4, color=colour, zorder=5)
    if any(not np.isfinite(time).all() for _, _, time, _, _ in points):
        axes.plot([], [], "^", ms=6, mfc="none", mew=1.4, color="0.4", label="target not met in so many steps")


def _answer(axes: Axes, answer: Answer, points: Sequence[Points]) -> None:
    best = answer.one_minus_beta
    if answer.time is None or not np.isfinite(answer.time):
        if answer.low is not None and answer.high is not None:
            axes.axvspan(answer.low, answer.high, color=BLACK, alpha=0.12, lw=0, zorder=0)
        axes.axvline(best, color=BLACK, lw=2, label="recommended")
        return
    if answer.carried:
        fastest = [(delta[i], time[i]) for _, delta, time, *_ in points if np.isfinite(time[i := int(np.argmin(time))])]
        way = np.array([(best, answer.time), *fastest])
        way = way[np.argsort(way[:, 0])]
        axes.plot(*way.T, color="0.5", lw=1.2, ls=(0, (2, 2)), zorder=1, label="carried between learning rates")
    low, high = answer.low or best, answer.high or best
    across, up = [[best - low], [high - best]], [[_BAND * answer.time_se]] * 2
    bars = axes.errorbar(best, answer.time, up, across, fmt="none", ecolor=BLACK, lw=1.6, capsize=3, zorder=6)
    bars.set_label("_")
    axes.plot(best, answer.time, "*", ms=15, color="#F0E442", mec=BLACK, mew=1.2, zorder=7, label="recommended")


def _curve(name: str, one_minus_beta: ArrayLike, time: ArrayLike, time_se: ArrayLike | None) -> Arrays:
    """Three arrays in increasing 1 - beta; infinite times are left out."""
    delta, steps = np.asarray(one_minus_beta, dtype=np.float64), np.asarray(time, dtype=np.float64)
    error = np.zeros_like(steps) if time_se is None else np.asarray(time_se, dtype=np.float64)
    delta, steps, error = _together(name, delta, steps, np.nan_to_num(error, posinf=0.0))
    finite = np.isfinite(steps)
    if not finite.any():
        raise InputError(name, "no finite time", "a curve with a finite time")
    return delta[finite], steps[finite], error[finite]


def _points(trial: Trial) -> Points:
    lr, *given = trial
    delta, time, error, n_steps = _together("trials", *(np.asarray(values, dtype=np.float64) for values in given))
    return lr, delta, time, np.nan_to_num(error, posinf=0.0), n_steps


def _together(name: str, *arrays: Floats) -> tuple[Floats, ...]:
    """Arrays of one length, in the order in which the first increases."""
    if arrays[0].ndim != 1 or len({array.shape for array in arrays}) > 1:
        raise InputError(name, "shapes " + ", ".join(str(array.shape) for array in arrays), "arrays (n,) of one length")
    order = np.argsort(arrays[0])
    return tuple(array[order] for array in arrays)
