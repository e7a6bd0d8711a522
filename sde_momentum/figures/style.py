"""Style of all pictures: colour-blind-safe colours (Okabe-Ito with a darker purple; viridis), fonts, ticks."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

BLUE, ORANGE, GREEN, RED, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#222222"
SKY, PURPLE = "#56B4E9", "#AA4499"
LINES = (BLUE, RED, GREEN, PURPLE, SKY, ORANGE)
"""Colours of lines, in order of use."""

STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "svg.hashsalt": "sde-momentum",
}


def colours(n: int) -> Any:
    """n colours in order, dark to light, for an ordered quantity: (n, 4)."""
    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, n))


class _RoundTicks(LogLocator):
    """Ticks of a log axis at round numbers, as many as have room and at most six: decades, or steps between them where few are
    shown."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The ticks from vmin to vmax."""
        room = 3 * self.axis.get_tick_space() if isinstance(self.axis, XAxis) else np.inf  # in font sizes

        def fits(row: Any) -> bool:
            if len(row) < 2:
                return True
            needed = 1 + 0.6 * max(len(tick(value)) for value in row)
            return len(row) <= 6 and room * np.diff(np.log(row)).min() >= needed * np.log(vmax / vmin)

        below, above = np.floor(np.log10(vmin)), np.ceil(np.log10(vmax))
        rows = [_row(10.0 ** np.arange(below, above + 1, n), (1,)) for n in range(max(int(above - below), 1), 0, -1)]
        decades = 10.0 ** np.arange(below, above + 1)
        rows += [_row(decades, steps) for steps in _STEPS]
        shown = [row[(row >= vmin * (1 - 1e-9)) & (row <= vmax * (1 + 1e-9))] for row in rows]
        return max((row for row in shown if fits(row)), key=len)


_STEPS = (
    *((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), range(1, 10)),
    *(np.arange(n, 10 * n) / n for n in (2, 5, 10, 20, 50, 100)),
)
"""Round numbers of one decade, more and more of them."""


def _row(decades: Any, steps: Any) -> Any:
    return np.outer(decades, np.asarray(steps, dtype=float)).ravel()


def plain_ticks(axes: Axes) -> None:
    """Round numbers on both log axes, told apart by their labels."""
    for line in (axes.xaxis, axes.yaxis):
        line.set_major_locator(_RoundTicks())
        line.set_major_formatter(FuncFormatter(tick))
        line.set_minor_formatter(NullFormatter())


def tick(value: float, _: object = None) -> str:
    """Label of a tick, three digits at most below 0.01."""
    if value >= 1e-2:
        return f"{value:,.5g}"
    digits, power = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(power)}"


FORMATS = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""File formats of pictures -> metadata to leave out, so that the same figure gives the same bytes."""


def render(figure: Figure, kind: str) -> bytes:
    """The figure as the content of a file of one of FORMATS; the same figure gives the same bytes. A png has at most 256 colours,
    which makes it a third as large."""
    buffer = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, metadata=FORMATS[kind])
    if kind == "png":
        with Image.open(buffer) as drawn:
            few = drawn.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        buffer = BytesIO()
        few.save(buffer, format=kind, optimize=True)
    return buffer.getvalue()
