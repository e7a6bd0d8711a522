"""Phase 1: from an initialisation to a point of Gamma, without label noise (T1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Network, Parameters
from .losses import CrossEntropy, Loss

_HISTORY = 50
_GRADIENT = 1e-8


@dataclass(frozen=True)
class Fit:
    """Where the fit ended.

    Attributes:
        parameters: name -> (1, ...), in the precision of the inputs
        excess: loss above its least value: the loss itself, or for flipped labels the divergence from their probabilities
        evaluations: of loss and gradient
    """

    parameters: Parameters
    excess: float
    evaluations: int


def interpolate(network: Network, loss: Loss, inputs: Tensor, start: Parameters, *, max_iterations: int = 3000) -> Fit:
    """Minimise the expected loss from `start` (1, ...) by L-BFGS with Wolfe steps, in double precision."""
    wide = inputs.double()
    targets = (loss.expected_targets() if isinstance(loss, CrossEntropy) else loss.targets).double()
    leaves = {name: value.double().clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.LBFGS(
        list(leaves.values()),
        max_iter=max_iterations,
        history_size=_HISTORY,
        tolerance_grad=_GRADIENT,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    floor = float(-(torch.special.xlogy(targets, targets)).sum(dim=-1).mean()) if isinstance(loss, CrossEntropy) else 0.0
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        value = loss.value(network.forward(leaves, wide), targets).sum()
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        excess = float(loss.value(network.forward(leaves, wide), targets)) - floor
    parameters = {name: value.detach().to(inputs.dtype) for name, value in leaves.items()}
    return Fit(parameters, excess, evaluations)
