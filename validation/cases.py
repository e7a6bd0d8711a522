"""The built-in problems on which predictions are tested, each with its sizes, target and learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.problems.problem import Problem
from sde_momentum.problems.registry import built_in

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A built-in problem of given sizes, started on Gamma, with its target.

    Attributes:
        name: in tables
        problem: name of the built-in problem, whose label noise and metric are used
        fraction: the target: the metric stays below this fraction of its start
        lr: lowest and highest learning rate, 1.5 decades apart or more
        n_seeds: number of runs for each (lr, momentum); fewer normal modes need more runs
        values: option of the problem -> value, where that is not the default
    """

    name: str
    problem: str
    fraction: float
    lr: tuple[float, float]
    n_seeds: int
    values: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> tuple[Problem, Floats]:
        """The problem and its start, (N,)."""
        return built_in(self.problem).setup(**self.values)

    @property
    def label_noise(self) -> float:
        """sigma, in units of the targets."""
        return built_in(self.problem).label_noise

    @property
    def metric(self) -> str:
        """Metric of the target."""
        return built_in(self.problem).target[0]


CASES = (
    Case("valley, g = 0", "valley", 0.05, (0.01, 0.32), 256),
    Case("valley, g = 3 m", "valley", 0.1, (0.003, 0.1), 1024, {"coupling": 3.0, "start_theta": 8.0}),
    Case("two-factor", "two-factor", 0.82, (0.01, 0.32), 6144),
    Case("diagonal linear network", "diagonal-linear", 0.1, (0.003, 0.1), 256),
    Case("two-layer linear network", "two-layer-linear", 0.88, (0.01, 0.32), 4096),
    Case("matrix sensing, d = 8, rank 1", "matrix-sensing", 0.1, (0.003, 0.1), 256),
    Case("matrix sensing, d = 8, rank 3", "matrix-sensing", 0.1, (0.003, 0.1), 256, {"rank": 3, "measurements": 50}),
    Case("matrix sensing, d = 20, rank 1", "matrix-sensing", 0.1, (0.003, 0.1), 64, {"d": 20, "measurements": 100}),
    Case("matrix sensing, d = 20, rank 3", "matrix-sensing", 0.1, (0.003, 0.1), 64, {"d": 20, "rank": 3, "measurements": 200}),
    Case("tanh teacher-student", "two-layer-tanh", 0.5, (0.01, 0.32), 128),
)
