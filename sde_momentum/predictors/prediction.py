"""A prediction: what every way answers, the checks of the theory's assumptions, and a verdict [theory: Ways to predict]."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import json_value
from .checks import Check
from .target import Target
from .ways.base import Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Prediction:
    """The best momentum for a learning rate and how sure it is, made by `predict` [theory: Ways to predict].

    Attributes:
        lr, noise, target: what was asked
        ways: the answers, by the name of the way, from the cheapest to the most faithful
        method: the way that is recommended, the most faithful of them
        checks: the assumptions of the theory
        verdict: whether the ways agree, and which assumption is broken if not
    """

    lr: float
    noise: float
    target: Target
    ways: dict[str, Answer]
    method: str
    checks: tuple[Check, ...]
    verdict: str

    @property
    def best(self) -> Answer:
        """The answer of the recommended way."""
        return self.ways[self.method]

    @property
    def one_minus_beta(self) -> float:
        """The recommended 1 - beta."""
        return self.best.one_minus_beta

    @property
    def momentum(self) -> float:
        """The recommended momentum."""
        return 1 - self.one_minus_beta

    @property
    def time(self) -> float | None:
        """Predicted steps to the target at the recommended momentum."""
        return self.best.time

    @property
    def edge(self) -> float | None:
        """1 - beta below which the target is met much later or never, by the recommended way; None if it saw none."""
        return self.best.edge

    def __str__(self) -> str:
        lines = [
            f"lr = {self.lr:.4g}: momentum {self.momentum:.6g} (1 - beta = {self.one_minus_beta:.4g}), by {self.method}",
            f"target: {self.target.metric} below {self.target.fraction:.3g} of its start",
            f"  {'way':15} {'1 - beta':>10}  {'from':>9} {'to':>9} {'steps':>16}",
        ]
        for name, way in self.ways.items():
            span = f"{'':>9} {'':>9}" if way.low is None or way.high is None else f"{way.low:9.4g} {way.high:9.4g}"
            steps = "" if way.time is None else f"{way.time:.4g}" + (f" ± {way.time_se:.2g}" if way.time_se else "")
            lines.append(f"  {name:15} {way.one_minus_beta:10.4g}  {span} {steps:>16}")
        if self.edge is not None:
            lines.append(f"  edge: below 1 - beta = {self.edge:.4g} training does not meet the target")
        lines += [f"  {'holds' if check.holds else 'FAILS':5}  {check.name}: {check.found}" for check in self.checks]
        return "\n".join([*lines, self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; a time that is never met is None."""
        return {
            "lr": self.lr,
            "noise": self.noise,
            "target": {"metric": str(self.target.metric), "fraction": self.target.fraction},
            "momentum": self.momentum,
            "one_minus_beta": self.one_minus_beta,
            "time": json_value(self.time),
            "method": self.method,
            "edge": self.edge,
            "ways": {name: {key: json_value(value) for key, value in vars(way).items()} for name, way in self.ways.items()},
            "checks": [asdict(check) for check in self.checks],
            "verdict": self.verdict,
        }

    def plot(self, axes: Axes | None = None) -> Axes:
        """Time against 1 - beta by every way that predicts it, recommendations and edge; needs matplotlib."""
        from matplotlib.figure import Figure

        from ..figures.time_against_momentum import draw

        if axes is None:
            axes = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
        curves = {
            name: (way.tried[np.isfinite(way.times)], way.times[np.isfinite(way.times)], None)
            for name, way in self.ways.items()
            if np.isfinite(way.times).any()
        }
        draw(axes, curves, {name: way.one_minus_beta for name, way in self.ways.items()}, self.edge)
        axes.legend(fontsize=8)
        return axes
