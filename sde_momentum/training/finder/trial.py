"""One trial: the user's training for some steps at one momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...core.errors import InputError
from .lengths import COOL_DOWN, n_all, n_measured

Floats = NDArray[np.float64]
Step = Callable[[Any], Any]
"""One update on a batch; gives the loss, a number or a tensor of one."""

_HOPELESS = 4.0
"""A trial is lost when its loss, averaged over a tenth of the steps, is this many times that of its first steps."""


@dataclass(frozen=True, eq=False)
class Training:
    """What the trials train.

    Attributes:
        optimizer: its groups' lr and momentum are set at each step
        step: the update
        look: the same batch's loss without one, for steps at lr 0
        loader: gives batches; begun anew when it ends
        n_steps: length of a trial
        anneal: whether lr falls to 0 over the last fifth; then the loss is measured in further steps at lr 0
        lr: of the first group; the others in proportion
        device: to which batches of tensors are moved
    """

    optimizer: torch.optim.Optimizer
    step: Step
    look: Step
    loader: Iterable[Any]
    n_steps: int
    anneal: bool
    lr: float
    device: torch.device

    @property
    def n_measured(self) -> int:
        """Number of last steps whose loss is compared."""
        return n_measured(self.n_steps, self.anneal)

    @property
    def n_all(self) -> int:
        """Number of steps of a trial with those at lr 0."""
        return n_all(self.n_steps, self.anneal)

    def run(
        self,
        momentum: float,
        tick: Callable[[float], object] = lambda amount: None,
        behind: Callable[[Floats], bool] = lambda losses: False,
    ) -> tuple[Floats, Any]:
        """Train at a momentum from the present state: the losses, fewer than `n_all` if the trial is lost; the first batch.

        `behind` is asked with the losses so far after each quarter; a trial that is behind is stopped.
        """
        groups = self.optimizer.param_groups
        scale = self.lr / float(groups[0]["lr"])
        rates = [float(group["lr"]) * scale for group in groups]
        losses, first = np.empty(self.n_all), None
        asked = {self.n_steps * quarter // 4 for quarter in (1, 2, 3)}
        for k, batch in zip(range(self.n_all), self._batches(), strict=False):
            first = batch if first is None else first
            share = self.share(k)
            for group, lr in zip(groups, rates, strict=True):
                group["momentum"] = momentum
                group["lr"] = lr * share
            losses[k] = _number((self.step if share > 0 else self.look)(_moved(batch, self.device)))
            tick(1)
            if self.lost(losses[: k + 1]) or (k + 1 in asked and behind(losses[: k + 1])):
                tick(self.n_all - k - 1)
                return losses[: k + 1], first
        return losses, first

    def share(self, k: int) -> float:
        """lr at step k over its value: 1, and falling linearly to 0 in a cool-down."""
        if not self.anneal:
            return 1.0
        return min(1.0, max(0, self.n_steps - k) / (COOL_DOWN * self.n_steps))

    def _batches(self) -> Iterator[Any]:
        while True:
            empty = True
            for batch in self.loader:
                empty = False
                yield batch
            if empty:
                raise InputError("loader", "no batches", "at least one")

    def lost(self, losses: Floats) -> bool:
        """Whether the losses so far are those of a training that diverges."""
        width = max(5, self.n_steps // 10)
        if not np.isfinite(losses[-1]):
            return True
        return len(losses) > 2 * width and losses[-width:].mean() > _HOPELESS * max(losses[:width].mean(), 0.0) > 0


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[..., Tensor] | None) -> Step:
    """The usual update: gradients to zero, forward, loss, backward, step.

    A batch is (inputs, targets), or a dictionary of the model's arguments; without `loss` the model's output holds it as `loss`.
    """

    def step(batch: Any) -> Tensor:
        optimizer.zero_grad()
        value = _loss(model, loss, batch)
        value.backward()
        optimizer.step()
        return value

    return step


def plain_look(model: nn.Module, loss: Callable[..., Tensor] | None) -> Step:
    """The loss of a batch without an update."""

    def look(batch: Any) -> Tensor:
        with torch.no_grad():
            return _loss(model, loss, batch)

    return look


def _loss(model: nn.Module, loss: Callable[..., Tensor] | None, batch: Any) -> Tensor:
    value: Any
    if isinstance(batch, Mapping):
        output = model(**batch)
        if loss is not None:
            value = loss(output, batch)
        else:
            value = output["loss"] if isinstance(output, Mapping) else getattr(output, "loss", None)
    elif loss is None:
        raise InputError("loss", None, "a function of (outputs, targets): only batches that are dictionaries do without")
    elif isinstance(batch, tuple | list) and len(batch) == 2:
        value = loss(model(batch[0]), batch[1])
    else:
        raise InputError(
            "loader", f"batches of {type(batch).__name__}", "pairs (inputs, targets) or dictionaries; others with step="
        )
    if not isinstance(value, Tensor):
        raise InputError("loss", type(value).__name__, "a tensor: the mean loss, or one for each sample or token")
    return value if value.ndim == 0 else value.mean()


def _number(value: Any) -> float:
    """The loss as a number."""
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError("step", f"a result of {type(value).__name__}", "the loss of the batch: one number") from None


def _moved(batch: Any, device: torch.device) -> Any:
    """The tensors of a batch on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: _moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        moved = [_moved(value, device) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch


def same_batch(one: Any, other: Any) -> bool:
    """Whether two batches hold the same numbers."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_batch(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(same_batch(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other)
