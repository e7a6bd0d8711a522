"""MomentumScaler as a callback of Lightning (`lightning` or `pytorch_lightning`)."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    from pytorch_lightning import Callback

from .scaler import MomentumScaler, Rule


class MomentumCallback(Callback):
    """Sets the momentum of the module's SGD optimizers from their lr, whatever schedules the module configures.

    Checkpoints need nothing: the state lies in the optimizer's. Log the momentum with Lightning's own
    `LearningRateMonitor(log_momentum=True)`.

    Args:
        rule: a `MomentumRule`, or any callable from lr to a momentum in [0, 1)
        keep: as for `MomentumScaler`

    Raises:
        InputError: when training starts, for an optimizer other than SGD.
    """

    def __init__(self, rule: Rule, keep: str = "velocity") -> None:
        super().__init__()
        self.rule, self.keep = rule, keep
        self.scalers: list[MomentumScaler] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """A scaler for each optimizer."""
        self.scalers = [MomentumScaler(optimizer, self.rule, self.keep) for optimizer in trainer.optimizers]

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The hooks go with the fit."""
        for scaler in self.scalers:
            scaler.remove(settle=False)  # a checkpoint may follow
        self.scalers = []
