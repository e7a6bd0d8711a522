"""MomentumScaler as a callback of Transformers' Trainer."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from .scaler import MomentumScaler, Rule


class MomentumCallback(TrainerCallback):
    """Sets the momentum of the Trainer's SGD optimizer from its lr, whatever schedule the Trainer has.

    Give the Trainer SGD: `Trainer(optimizers=(sgd, scheduler), callbacks=[MomentumCallback(rule)])`, or
    `TrainingArguments(optim="sgd")`. Checkpoints need nothing: the state lies in the optimizer's. The momentum stands beside the
    learning rate in `trainer.state.log_history`.

    Args:
        rule: a `MomentumRule`, or any callable from lr to a momentum in [0, 1)
        keep: as for `MomentumScaler`

    Raises:
        InputError: when training starts, for an optimizer other than SGD.
    """

    def __init__(self, rule: Rule, keep: str = "velocity") -> None:
        self.rule, self.keep = rule, keep
        self.scaler: MomentumScaler | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The scaler sits on the optimizer itself, inside of what wraps it."""
        optimizer = kwargs["optimizer"]
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        self.scaler = MomentumScaler(optimizer, self.rule, self.keep)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """`momentum` of the first group beside `learning_rate`."""
        if self.scaler is not None and logs is not None and "learning_rate" in logs:
            momentum = self.scaler.optimizer.param_groups[0]["momentum"]
            logs["momentum"] = momentum  # for the callbacks that come after this one
            state.log_history[-1]["momentum"] = momentum

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The hooks go with the training."""
        if self.scaler is not None:
            self.scaler.remove(settle=False)  # the trainer may go on from its optimizer
        self.scaler = None
