"""A prediction as a picture: trials, theory's curves, the recommendation and the cliff over 1 - beta; needs matplotlib."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_prediction(prediction: Any, axes: Axes | None = None) -> Axes:
    """Draw a `Prediction` on `axes`, or on a new figure's; returns them, with a legend and a title."""
    from matplotlib.figure import Figure

    from ..figures.time_against_momentum import Answer, draw

    if axes is None:
        axes = Figure(figsize=(8.8, 4.6), layout="constrained").add_subplot()
    trials, best = prediction.trials, prediction.best
    others = {name: way for name, way in prediction.ways.items() if trials is None or name != prediction.method}
    curves = {name: (way.tried, way.times, None) for name, way in others.items() if np.isfinite(way.times).any()}
    draw(
        axes,
        curves,
        {name: way.one_minus_beta for name, way in others.items() if name != prediction.method},
        prediction.cliff,
        trials=[] if trials is None else [(at.lr, at.one_minus_beta, at.time, at.time_se, at.n_steps) for at in trials.at],
        answer=Answer(
            best.one_minus_beta, best.low, best.high, best.time, best.time_se, trials is not None and bool(trials.carried)
        ),
    )
    target = prediction.target
    title = f"lr {prediction.lr:.4g}: steps until {target.metric} stays below {target.fraction:.3g} of its start"
    axes.set_title(textwrap.fill(title, 70), loc="left")
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return axes
