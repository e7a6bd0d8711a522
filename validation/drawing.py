"""What the pictures of all experiments share: matplotlib without a display, one legend for many panels, measured points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from sde_momentum.figures.style import BLACK, render

__all__ = ["measured", "one_legend", "plt", "render", "times_of_momenta"]


def one_legend(figure: Figure, axes: Iterable[Axes], ncols: int) -> None:
    """One legend above all panels, each label once."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=ncols)


def times_of_momenta(
    axis: Axes,
    one_minus_beta: NDArray[np.float64],
    value: NDArray[np.float64],
    relative_error: NDArray[np.float64],
    arrived: NDArray[np.float64],
) -> None:
    """Measured points with 95 % bars, all (n,); hollow where the share of runs that have `arrived` is below 1."""
    finite = np.isfinite(value)
    for mask, face, label in (
        (arrived == 1, BLACK, "measured, 95 %"),
        (arrived < 1, "white", "measured, some runs never arrive"),
    ):
        some = mask & finite
        bars = 1.96 * relative_error[some] * value[some]
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
