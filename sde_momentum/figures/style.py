"""Style of all pictures: colour-blind-safe colours (Okabe-Ito with a darker purple; viridis), fonts, ticks."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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


def plain_ticks(axes: Axes) -> None:
    """Numbers at the decades and at 2 and 5 between them, on both log axes."""
    for line in (axes.xaxis, axes.yaxis):
        line.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        line.set_major_formatter(FuncFormatter(tick))
        line.set_minor_formatter(NullFormatter())


def tick(value: float, _: object = None) -> str:
    """Label of a tick."""
    return f"{value:.0e}".replace("e-0", "e-") if value < 1e-2 else f"{value:,.5g}"


FORMATS = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""File formats of pictures -> metadata to leave out, so that the same figure gives the same bytes."""


def render(figure: Figure, kind: str) -> bytes:
    """The figure as the content of a file of one of FORMATS; the same figure gives the same bytes."""
    buffer = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, metadata=FORMATS[kind])
    return buffer.getvalue()
