"""The contract of a stacked network: R runs of one architecture, with parameters in common tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

#: Parameters of R runs: name -> (R, ...).
Parameters = dict[str, Tensor]


class Network(ABC):
    """Outputs f of R runs at once, each with its own parameters.

    A subclass gives `shapes`, `initial` and `forward`; `pullback` follows by automatic differentiation, unless overridden. Runs
    are independent: to rounding, outputs and gradients are those of each run alone.

    Attributes:
        input_shape: of one sample
        n_outputs: K, outputs a sample
    """

    input_shape: tuple[int, ...]
    n_outputs: int

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one run."""

    @abstractmethod
    def initial(self, seed: int, dtype: torch.dtype = torch.float32) -> Parameters:
        """Random initialisation of one run, on the CPU: name -> (1, ...). Depends on `seed` alone."""

    @abstractmethod
    def forward(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Outputs (R, B, K) on inputs (B, *input_shape), the same for all runs, or (R, B, *input_shape), a batch for each."""

    def pullback(self, parameters: Parameters, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Parameters]]:
        """Outputs (R, B, K), detached, and the map from a cotangent c (R, B, K) to J^T c, the sum over the batch, by name.

        The map may be called more than once.
        """
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            outputs = self.forward(leaves, inputs)

        def pull(cotangent: Tensor) -> Parameters:
            gradients = torch.autograd.grad(outputs, list(leaves.values()), cotangent, retain_graph=True)
            return dict(zip(leaves, gradients, strict=True))

        return outputs.detach(), pull

    def evaluate(self, parameters: Parameters, inputs: Tensor, reference: Tensor) -> Tensor:
        """Outputs (R, B, K) on unseen inputs; `reference` are the training inputs, whose statistics a normalisation takes."""
        return self.forward(parameters, inputs)

    def n_together(self, n_samples: int) -> int:
        """Largest number of runs whose gradients on this number of samples are computed together; limited by memory."""
        return 1 << 30

    @property
    def n_parameters(self) -> int:
        """Number N of parameters of one run."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    def module(self, parameters: Parameters, run: int = 0) -> torch.nn.Module:
        """One run as an ordinary `nn.Module` of inputs (B, *input_shape) -> (B, K), with a copy of its parameters."""
        return _OneRun(self, {name: value[run].detach().clone() for name, value in parameters.items()})


class _OneRun(torch.nn.Module):
    def __init__(self, network: Network, values: dict[str, Tensor]) -> None:
        super().__init__()
        self._network = network
        self.values = torch.nn.ParameterDict(values)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, K)."""
        return self._network.forward({name: value[None] for name, value in self.values.items()}, inputs)[0]
