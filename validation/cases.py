"""The problems on which every prediction is tested: the training problem, its start, its target, its learning rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm
from derivations import models
from sde_momentum.problems.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One problem with its start and target.

    Attributes:
        name: what it is called in tables
        make: gives the problem and a start on Gamma
        label_noise: sigma
        metric, fraction: the target
        lr: lowest and highest learning rate, 1.5 decades apart or more
        n_seeds: runs for each (lr, momentum): the fewer modes average their noise out, the more runs it takes
        at_finite_lr: whether the critical limit has a correction at finite lr there
    """

    name: str
    make: Callable[[], tuple[Problem, Floats]]
    label_noise: float
    metric: str
    fraction: float
    lr: tuple[float, float]
    n_seeds: int
    at_finite_lr: bool = True


def _valley(coupling: float, theta: float) -> Callable[[], tuple[Problem, Floats]]:
    def make() -> tuple[Problem, Floats]:
        valley = sm.Valley.balanced(32, curvature=1.0, coupling=coupling)
        return valley, valley.start(theta)

    return make


def _sensing(d: int, rank: int, n_measurements: int) -> Callable[[], tuple[Problem, Floats]]:
    def make() -> tuple[Problem, Floats]:
        problem = sm.MatrixSensing(d, rank, n_measurements)
        return problem, problem.interpolating_start()

    return make


def _symbolic(name: str, *sizes: int) -> Callable[[], tuple[Problem, Floats]]:
    def make() -> tuple[Problem, Floats]:
        model = getattr(models, name)(*sizes)
        return model.compile(), model.interpolating_point()

    return make


CASES = (
    Case("valley, g = 0", _valley(0.0, 2.5), 0.1, "test_error", 0.05, (0.01, 0.32), 256, at_finite_lr=False),
    Case("valley, g = 3 m", _valley(3.0, 8.0), 0.1, "test_error", 0.1, (0.003, 0.1), 1024, at_finite_lr=False),
    Case("two-factor", _symbolic("two_factor", 8), 0.02, "trace_hessian", 0.82, (0.01, 0.32), 6144),
    Case("diagonal linear network", _symbolic("diagonal_linear", 40, 16), 0.1, "trace_hessian", 0.1, (0.003, 0.1), 256),
    Case("two-layer linear network", _symbolic("two_layer_linear"), 0.05, "trace_hessian", 0.88, (0.01, 0.32), 4096),
    Case("matrix sensing, d = 8, rank 1", _sensing(8, 1, 40), 0.1, "test_error", 0.1, (0.003, 0.1), 256),
    Case("matrix sensing, d = 8, rank 3", _sensing(8, 3, 50), 0.1, "test_error", 0.1, (0.003, 0.1), 256),
    Case("matrix sensing, d = 20, rank 1", _sensing(20, 1, 100), 0.1, "test_error", 0.1, (0.003, 0.1), 64),
    Case("matrix sensing, d = 20, rank 3", _sensing(20, 3, 200), 0.1, "test_error", 0.1, (0.003, 0.1), 64),
    Case("tanh teacher-student", _symbolic("two_layer_tanh"), 0.02, "trace_hessian", 0.5, (0.01, 0.32), 128),
)
