"""Phase 1: from an initialisation to a point of Gamma, without label noise
[theory: Setting]: by L-BFGS, or by SGD where there are many samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .base import Network, Parameters
from .losses import CrossEntropy, Loss
from .stacked_sgd import Setting, Stack

_HISTORY = 50
_GRADIENT = 1e-8
_MOMENTUM, _STAGES = 0.95, 50


@dataclass(frozen=True)
class Fit:
    """The point where phase 1 ended.

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
    targets = _expected(loss).double()
    leaves = {name: value.double().clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.LBFGS(
        list(leaves.values()),
        max_iter=max_iterations,
        history_size=_HISTORY,
        tolerance_grad=_GRADIENT,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
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
        excess = float(loss.value(network.forward(leaves, wide), targets)) - _least(loss, targets)
    parameters = {name: value.detach().to(inputs.dtype) for name, value in leaves.items()}
    return Fit(parameters, excess, evaluations)


def by_sgd(setting: Setting, start: Parameters, lr: float, n_steps: int, seed: int) -> Fit:
    """`n_steps` of SGD at momentum 0.95 from `start` (1, ...), in the setting's batches but without label noise.

    The learning rate falls from `lr` to almost 0 along half a cosine, in 50 stages.
    """
    stack = Stack.begin(start, np.array([lr]), np.array([_MOMENTUM]), np.array([0]), [seed])
    quiet = replace(setting, noisy=False)
    ends = np.rint(np.linspace(0, n_steps, _STAGES + 1)).astype(int)
    for stage, end in enumerate(ends[1:]):
        stack.lr.fill_(lr * np.cos(np.pi / 2 * (stage + 0.5) / _STAGES) ** 2)
        stack.advance(quiet, int(end) - stack.step)
    with torch.no_grad():
        outputs = setting.network.evaluate(stack.parameters, setting.inputs, setting.inputs)
        targets = _expected(setting.loss)
        excess = float(setting.loss.value(outputs, targets)) - _least(setting.loss, targets)
    return Fit(stack.parameters, excess, n_steps)


def _expected(loss: Loss) -> Tensor:
    return loss.expected_targets() if isinstance(loss, CrossEntropy) else loss.targets


def _least(loss: Loss, targets: Tensor) -> float:
    """The least expected loss."""
    return float(-torch.special.xlogy(targets, targets).sum(dim=-1).mean()) if isinstance(loss, CrossEntropy) else 0.0
