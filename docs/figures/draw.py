"""Draws the pictures of the pages of Start: `python docs/figures/draw.py`.

`home.png` is the annotated figure of the home page, from the stored sweep of matrix sensing. `ten_minutes.png` is what the
blocks of that page save.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import chdir
from pathlib import Path

import xarray as xr
from matplotlib.patheffects import withStroke

from sde_momentum.figures.style import render
from validation.matrix_sensing.figures import collapse
from validation.matrix_sensing.summary import Summary

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "validation" / "results" / "matrix-sensing" / "results.nc"


def home() -> bytes:
    """The figure as a PNG: the collapse of a report, with words for what is seen."""
    figure = collapse(Summary(xr.load_dataset(RESULTS)))
    axes = figure.axes[0]
    axes.get_legend().remove()
    for text in list(axes.texts):
        if text.get_text() == "more momentum":
            text.remove()
    axes.set(title="", ylim=(13.5, None), xlabel=r"$(1-\beta)\,/\,\mathrm{lr}^{2/3}$      (more momentum to the left)")
    notes = (
        ((0.0235, 160), (0.032, 230), "too much momentum:\nthrown out of the flat region, the cliff", "left"),
        ((0.052, 23.5), (0.062, 62), "fastest here, at\nevery learning rate", "left"),
        ((0.17, 44), (0.13, 15.8), "too little momentum: all nine learning rates\non the one predicted curve (blue)", "center"),
    )
    for at, where, words, side in notes:
        axes.annotate(
            words, at, where, ha=side, va="center", fontsize=11, linespacing=1.3,
            arrowprops={"arrowstyle": "->", "color": "0.3", "shrinkB": 4},
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    return render(figure, "png")


def saved_by(page: Path, picture: str) -> bytes:
    """The picture that a page's blocks of Python save, which are run in an empty folder."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        exec("\n".join(blocks), {"__name__": "__main__"})
        return Path(picture).read_bytes()


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"
    (HERE / "home.png").write_bytes(home())
    (HERE / "ten_minutes.png").write_bytes(saved_by(HERE.parent / "start" / "ten_minutes.md", "trials.png"))
