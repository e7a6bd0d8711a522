"""Base of the callbacks for training libraries: a `MomentumScaler` on each optimizer during training."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .scaler import MomentumScaler, Rule


class MomentumCallback:
    """Sets the momentum of SGD optimizers from their lr, whatever schedules the training library runs.

    Checkpoints need nothing: the state lies in the optimizer's own.

    Args:
        rule: a `MomentumRule`, or any callable from lr to a momentum in [0, 1)
        keep, when: as for `MomentumScaler`

    Raises:
        InputError: when training starts, for an optimizer other than SGD.
    """

    def __init__(self, rule: Rule, keep: str = "buffer", when: str = "phases") -> None:
        super().__init__()
        self.rule, self.keep, self.when = rule, keep, when
        self.scalers: list[MomentumScaler] = []

    def attach(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Put a scaler on each optimizer."""
        self.scalers = [MomentumScaler(optimizer, self.rule, self.keep, self.when) for optimizer in optimizers]

    def detach(self) -> None:
        """Remove the scalers; momentum buffers are left unscaled, since a checkpoint or more training may follow."""
        for scaler in self.scalers:
            scaler.remove(settle=False)
        self.scalers = []
