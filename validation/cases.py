"""The problems on which predictions are tested, each with its sizes, target and learning rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.problems.problem import Problem
from sde_momentum.problems.registry import built_in

from . import unseen

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A problem started on Gamma, with its target.

    Attributes:
        name: in tables
        make: gives the problem and its start, (N,)
        label_noise: sigma, in units of the targets
        metric: of the target
        fraction: the target: the metric stays below this fraction of its start
        lr: lowest and highest learning rate
        n_seeds: number of runs to begin with for each (lr, momentum); fewer normal modes need more runs
        n_lr: number of learning rates at most, evenly spread in log
        unseen: made for this test, nothing was tuned on it
        compiled: gives the same problem in machine code, for sweeps, where `make` gives functions in Python
    """

    name: str
    make: Callable[[], tuple[Problem, Floats]]
    label_noise: float
    metric: str
    fraction: float
    lr: tuple[float, float]
    n_seeds: int
    n_lr: int = 3
    unseen: bool = False
    compiled: Callable[[], Problem] | None = None

    def rates(self, n: int) -> list[float]:
        """`n` learning rates or `n_lr` of them, whichever is less, increasing."""
        return [float(f"{lr:.3g}") for lr in np.geomspace(*self.lr, min(n, self.n_lr))]


def _known(name: str, problem: str, fraction: float, lr: tuple[float, float], n_seeds: int, **values: Any) -> Case:
    """A built-in problem, whose label noise and metric are used; `values` are those of its options that are not the defaults."""
    source = built_in(problem)
    return Case(name, lambda: source.setup(**values), source.label_noise, source.target[0], fraction, lr, n_seeds)


def _unseen(
    name: str,
    make: Callable[[], tuple[Problem, Floats]],
    label_noise: float,
    fraction: float,
    lr: tuple[float, float],
    compiled: Callable[[], Problem] | None = None,
) -> Case:
    """A model of `unseen`; the numbers follow from its rules."""
    return Case(name, make, label_noise, unseen.METRIC, fraction, lr, 128, 2, True, compiled)


CASES = (
    _known("valley, g = 0", "valley", 0.05, (0.01, 0.32), 256),
    _known("valley, g = 3 m", "valley", 0.1, (0.003, 0.1), 1024, coupling=3.0, start_theta=8.0),
    _known("two-factor", "two-factor", 0.82, (0.01, 0.32), 6144),
    _known("diagonal linear network", "diagonal-linear", 0.1, (0.003, 0.1), 256),
    _known("two-layer linear network", "two-layer-linear", 0.88, (0.01, 0.32), 4096),
    _known("matrix sensing, d = 8, rank 1", "matrix-sensing", 0.1, (0.003, 0.1), 256),
    _known("matrix sensing, d = 8, rank 3", "matrix-sensing", 0.1, (0.003, 0.1), 256, rank=3, measurements=50),
    _known("matrix sensing, d = 20, rank 1", "matrix-sensing", 0.1, (0.003, 0.1), 64, d=20, measurements=100),
    _known("matrix sensing, d = 20, rank 3", "matrix-sensing", 0.1, (0.003, 0.1), 64, d=20, rank=3, measurements=200),
    _known("tanh teacher-student", "two-layer-tanh", 0.5, (0.01, 0.32), 128),
)
"""Built-in problems, three learning rates over 1.5 decades each."""

UNSEEN = (
    _unseen("phase retrieval, rank 2", unseen.phase_retrieval, 0.1, 0.708, (0.0127, 0.203)),
    _unseen("tanh network with a skip connection", unseen.skip_network, 0.1, 0.674, (0.00317, 0.0506)),
    _unseen("GELU network, 2 outputs", unseen.gelu_network, 0.1, 0.515, (0.00101, 0.0162)),
    _unseen("matrix completion", unseen.matrix_completion, 0.1, 0.747, (0.049, 0.784)),
    _unseen("three linear factors", unseen.three_factors, 0.1, 0.877, (0.00883, 0.141)),
    _unseen("CP tensor factors", unseen.tensor_factors, 0.1, 0.663, (0.0142, 0.228)),
    _unseen("diagonal network of depth 3", unseen.deep_diagonal, 0.1, 0.532, (0.000963, 0.0154)),
    _unseen("gated linear units", unseen.gated_units, 0.05, 0.652, (0.00404, 0.0647)),
    _unseen("softmax attention", unseen.attention, 0.1, 0.769, (0.00324, 0.0519)),
    _unseen("Gaussian bumps, NumPy", unseen.gaussian_bumps, 0.05, 0.535, (0.0103, 0.164), unseen.compiled_bumps),
    _unseen("tanh network of two hidden layers", unseen.deep_tanh, 0.05, 0.553, (0.00744, 0.119)),
    _unseen("sine features", unseen.sine_features, 0.1, 0.573, (0.00162, 0.026)),
    _unseen("linear state space", unseen.state_space, 0.1, 0.842, (0.0105, 0.169)),
    _unseen("normalised weights", unseen.weight_normalised, 0.1, 0.562, (0.00307, 0.0492)),
    _unseen("cubic units", unseen.cubic_units, 0.1, 0.744, (0.00032, 0.00512)),
    _unseen("two convolutions", unseen.convolution, 0.1, 0.93, (0.00704, 0.113)),
    _unseen("softmax-gated experts", unseen.experts, 0.1, 0.659, (0.0141, 0.226)),
)
"""Models that nothing was tuned on: label noise, target and two learning rates by the rules there. The four before the last three
were added after the search by trials had been mended on the first ten, the last three when it had learnt to end earlier."""
