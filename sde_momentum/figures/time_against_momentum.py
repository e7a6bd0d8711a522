"""Picture of convergence time against 1 - beta at one learning rate: several ways to predict, recommendations, the cliff."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ..core.errors import InputError
from .style import LINES, plain_ticks

_BAND = 1.96  # standard errors to either side: 95 %
_DASHES = ("-", "--", "-.")


def draw(
    axes: Axes,
    curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike | None]],
    recommended: Mapping[str, float],
    cliff: float | None = None,
) -> None:
    """Draw times over 1 - beta on log axes; no legend.

    Args:
        axes: to draw on
        curves: name -> (1 - beta, time in steps, its standard error in steps or None), each (n,); infinite times are left out,
            those without standard error (None, 0 or NaN) are drawn without band
        recommended: name -> recommended 1 - beta: a diamond on the curve of that name, a dotted line without one
        cliff: 1 - beta below which the target is met much later or never, shaded; None or 0: none

    Raises:
        InputError: for no curve, more names than colours, arrays that differ in length, or no finite time.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> draw(axes, {"SGD": ([0.01, 0.1], [100.0, 300.0], [2.0, 5.0])}, {"closed form": 0.02}, cliff=0.012)
    >>> [text for text in axes.get_legend_handles_labels()[1]]
    ['beyond the cliff', 'SGD', 'closed form recommends']
    """
    names = list(dict.fromkeys([*curves, *recommended]))
    if len(names) > len(LINES):
        raise InputError("curves", f"{len(names)} curves", f"at most {len(LINES)}")
    if not curves:
        raise InputError("curves", "none", "at least one")
    colour = dict(zip(names, LINES, strict=False))
    dashes = dict(zip(names, _DASHES * len(names), strict=False))  # curves that coincide stay visible
    lines = {name: _curve(name, *given) for name, given in curves.items()}
    every = np.concatenate([*(delta for delta, _, _ in lines.values()), np.array(list(recommended.values()))])
    low, high = every.min() / 1.15, min(1.0, every.max() * 1.15)
    if cliff:
        low = min(low, cliff / 1.3)
        axes.axvspan(low, cliff, color="0.9", lw=0, zorder=0, label="beyond the cliff")
    for name, (delta, time, error) in lines.items():
        axes.plot(delta, time, color=colour[name], ls=dashes[name], lw=2, label=name)
        if np.any(error > 0):
            axes.fill_between(delta, time - _BAND * error, time + _BAND * error, color=colour[name], alpha=0.25, lw=0)
    for name, best in recommended.items():
        label = f"{name} recommends"
        if name in lines:
            delta, time, _ = lines[name]
            at = np.exp(np.interp(np.log(best), np.log(delta), np.log(time)))
            axes.plot(best, at, "D", ms=8, color=colour[name], mec="white", zorder=4, label=label)
        else:
            axes.axvline(best, color=colour[name], ls=":", lw=2, label=label)
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set(xlabel=r"$1 - \mathrm{momentum}$  ($\delta = 1-\beta$)", ylabel="time to the target (steps)")
    plain_ticks(axes)


def _curve(
    name: str, one_minus_beta: ArrayLike, time: ArrayLike, time_se: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    delta, steps = np.asarray(one_minus_beta, dtype=np.float64), np.asarray(time, dtype=np.float64)
    error = np.zeros_like(steps) if time_se is None else np.nan_to_num(np.asarray(time_se, dtype=np.float64), posinf=0.0)
    if delta.ndim != 1 or not delta.shape == steps.shape == error.shape:
        raise InputError(f"curves[{name!r}]", f"shapes {delta.shape}, {steps.shape}, {error.shape}", "three arrays (n,)")
    order = np.argsort(delta)
    order = order[np.isfinite(steps[order])]
    if not order.size:
        raise InputError(f"curves[{name!r}]", "no finite time", "a curve with a finite time")
    return delta[order], steps[order], error[order]
