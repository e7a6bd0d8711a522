"""The result of `predict`: the answer of each way, checks of the theory's assumptions, a verdict [theory: Ways to predict]."""

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
    """The best momentum for a learning rate with its uncertainty and checks; made by `predict`.

    Attributes:
        lr, noise, target: as given to `predict`
        ways: name of each way -> its answer, from the cheapest to the most faithful
        method: name of the recommended way, the most faithful of them
        checks: of the theory's assumptions
        verdict: whether the ways agree, and which assumptions fail, in words
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
    def cliff(self) -> float | None:
        """1 - beta below which the target is met much later or never, by the recommended way; None if that shows none."""
        return self.best.cliff

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
        if self.cliff is not None:
            lines.append(f"  cliff: below 1 - beta = {self.cliff:.4g} the target is met much later or never")
        lines += [f"  {'holds' if check.holds else 'FAILS':5}  {check.name}: {check.found}" for check in self.checks]
        return "\n".join([*lines, self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, strings and lists; None for an infinite time."""
        return {
            "lr": self.lr,
            "noise": self.noise,
            "target": {"metric": str(self.target.metric), "fraction": self.target.fraction},
            "momentum": self.momentum,
            "one_minus_beta": self.one_minus_beta,
            "time": json_value(self.time),
            "method": self.method,
            "cliff": self.cliff,
            "ways": {name: {key: json_value(value) for key, value in vars(way).items()} for name, way in self.ways.items()},
            "checks": [asdict(check) for check in self.checks],
            "verdict": self.verdict,
        }

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw time against 1 - beta by each way that predicts it, recommendations and cliff; needs matplotlib."""
        from matplotlib.figure import Figure

        from ..figures.time_against_momentum import draw

        if axes is None:
            axes = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
        curves = {
            name: (way.tried[np.isfinite(way.times)], way.times[np.isfinite(way.times)], None)
            for name, way in self.ways.items()
            if np.isfinite(way.times).any()
        }
        draw(axes, curves, {name: way.one_minus_beta for name, way in self.ways.items()}, self.cliff)
        axes.legend(fontsize=8)
        return axes
