"""One training problem: network, loss, data, and what is measured of R runs at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import Network, Parameters
from .losses import CrossEntropy, Loss
from .sharpness import top_eigenvalues, trace_hessian

#: Metrics over time: name -> (what it is, unit).
METRICS = {
    "train_loss": ("train loss without noise", "1"),
    "test_loss": ("test loss without noise", "1"),
    "test_accuracy": ("share of the test images classified right", "1"),
    "trace_hessian": ("tr H", "1"),
    "trace_hessian_se": ("standard error of tr H: 0, exact", "1"),
    "distance": ("distance |w - start| travelled", "1"),
}
N_EIGENVALUES = 3


@dataclass(frozen=True)
class Task:
    """A training problem: network, loss and data.

    Attributes:
        network, loss: the loss knows the training targets
        inputs: training inputs (n, ...)
        test_inputs, test_targets: (n_test, ...), (n_test, K) without noise
        classes: whether the largest output is a class
        source: where the data come from, in words
        n_probes: of tr H, where it is not exact
        n_lanczos: steps for the largest eigenvalues
        augment: whether training images are moved and mirrored at random at every step
        n_measured: training samples, the first of them, on which the losses, tr H and its eigenvalues are measured; 0: all
    """

    network: Network
    loss: Loss
    inputs: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    classes: bool
    source: str
    n_probes: int = 8
    n_lanczos: int = 16
    augment: bool = False
    n_measured: int = 0

    @cached_property
    def _measured(self) -> Tensor:
        return self.inputs[: self.n_measured or None]

    def measure(self, parameters: Parameters, start: Parameters) -> dict[str, NDArray[np.float32]]:
        """METRICS of R runs, each (R,); `start` (1, ...) is where they began."""
        parts = [self._measure(part, start) for part in self._portions(parameters)]
        return {name: np.concatenate([part[m] for part in parts]) for m, name in enumerate(METRICS)}

    def _measure(self, parameters: Parameters, start: Parameters) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            seen = self.network.evaluate(parameters, self._measured, self.inputs)
            train = self.loss.value(seen, self.loss.targets[: len(self._measured)])
            outputs = self.network.evaluate(parameters, self.test_inputs, self.inputs)
            test = self.loss.value(outputs, self.test_targets)
            right = outputs.argmax(dim=-1) == self.test_targets.argmax(dim=-1)
            accuracy = right.float().mean(dim=-1) if self.classes else torch.full_like(test, torch.nan)
            way = sum(
                ((w - start[name]).flatten(1).square().sum(dim=1) for name, w in parameters.items()), torch.zeros_like(test)
            ).sqrt()
        trace, error = trace_hessian(self.network, self.loss, parameters, self._measured, n_probes=self.n_probes)
        found = (train, test, accuracy, trace, error, way)
        return [value.float().cpu().numpy() for value in found]

    def eigenvalues(self, parameters: Parameters) -> NDArray[np.float32]:
        """The largest eigenvalues of H, (R, N_EIGENVALUES)."""
        found = [
            top_eigenvalues(self.network, self.loss, part, self._measured, n=N_EIGENVALUES, n_lanczos=self.n_lanczos)
            for part in self._portions(parameters)
        ]
        return torch.cat(found).float().cpu().numpy()

    def _portions(self, parameters: Parameters) -> Iterator[Parameters]:
        most = self.network.n_together(len(self._measured))
        for first in range(0, len(next(iter(parameters.values()))), most):
            yield {name: value[first : first + most] for name, value in parameters.items()}

    @property
    def n_samples(self) -> int:
        """Number of training samples n."""
        return len(self.inputs)

    def noise(self, batch_size: int) -> float:
        """c: the gradient noise that the labels make on Gamma has covariance c H."""
        return self.loss.noise / batch_size

    @property
    def is_interpolable(self) -> bool:
        """Whether noise-free training goes to a loss of 0: with flipped labels the least expected loss is above it."""
        return not isinstance(self.loss, CrossEntropy)


def to_tensors(arrays: Mapping[str, NDArray[np.float64]], like: Tensor) -> Parameters:
    """Stored parameters, as tensors of the precision and device of `like`."""
    return {name: torch.as_tensor(np.asarray(value)).to(like) for name, value in arrays.items()}
