"""The targets that each count as a sample of the loss: one a sample, or one for every token or pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rows:
    """How outputs and targets of n samples become rows, each with a loss of its own; the loss is the mean over rows.

    Attributes:
        classes: dimension of the outputs that runs over the classes of a token or pixel; None: a row is a sample
        ignored: class whose targets are left out, as are those below 0 (padding); None for real targets
    """

    classes: int | None
    ignored: int | None

    @classmethod
    def of(cls, outputs: Tensor, targets: Tensor, loss: Loss) -> Rows:
        """The rows for outputs (n, ...) and targets (n, ...); for classes of tokens (n, T) outputs are (n, T, K) or (n, K, T)."""
        if targets.is_floating_point():
            return cls(None, None)
        ignored = int(getattr(loss, "ignore_index", -100))
        if targets.ndim < 2:
            return cls(None, ignored)
        last, second = outputs.shape[:-1] == targets.shape, (*outputs.shape[:1], *outputs.shape[2:]) == targets.shape
        if last and second:
            raise InputError("data", f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}",
                             "outputs that tell tokens from classes: two of their sizes are equal")  # fmt: skip
        if not (last or second):
            raise InputError("data", f"classes {tuple(targets.shape)} for outputs {tuple(outputs.shape)}",
                             "targets (n, ...) and outputs (n, ..., classes) or (n, classes, ...)")  # fmt: skip
        return cls(outputs.ndim - 1 if last else 1, ignored)

    def counted(self, targets: Tensor) -> Tensor | None:
        """Which targets count, as booleans of their shape; None: all samples, by one row each."""
        if self.ignored is None or not targets.numel():
            return None
        kept = (targets != self.ignored) & (targets >= 0)
        return kept if self.classes is not None or not bool(kept.all()) else None

    def pick(self, outputs: Tensor, targets: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs and targets of the counted rows, (m, ...) each."""
        if counted is None:
            return outputs, targets
        if self.classes is not None:
            outputs = outputs.movedim(self.classes, -1)
        return outputs[counted], targets[counted]


def drawn(counted: Tensor, most: int, seed: int) -> Tensor:
    """At most `most` of the counted rows, drawn at random."""
    places = torch.nonzero(counted.flatten()).ravel()
    if len(places) <= most:
        return counted
    chosen = np.random.default_rng([seed, 4]).permutation(len(places))[:most]
    kept = torch.zeros_like(counted).flatten()
    kept[places[torch.as_tensor(chosen, device=places.device)]] = True
    return kept.view_as(counted)


def mean_of(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of rows, checked to be one number."""
    value: Any = loss(outputs, targets)
    if not isinstance(value, Tensor) or value.ndim:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError("loss", given, "one number: the mean over the samples")
    return value
