"""A callback of Transformers' Trainer that sets the momentum by a `MomentumScaler`."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from .callback import MomentumCallback


class TrainerMomentumCallback(MomentumCallback, TrainerCallback):
    """Sets the momentum of the Trainer's SGD optimizer from its lr; arguments as for `MomentumCallback`.

    Give the Trainer SGD: `Trainer(optimizers=(sgd, scheduler), callbacks=[TrainerMomentumCallback(rule)])`, or
    `TrainingArguments(optim="sgd")`. `trainer.state.log_history` records it beside the learning rate.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put a scaler on the optimizer inside any wrappers."""
        optimizer = kwargs["optimizer"]
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        self.attach([optimizer])

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Log the `momentum` of the first group beside `learning_rate`."""
        if self.scalers and logs is not None and "learning_rate" in logs:
            momentum = self.scalers[0].optimizer.param_groups[0]["momentum"]
            logs["momentum"] = momentum  # for callbacks after this one
            state.log_history[-1]["momentum"] = momentum

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remove the scaler."""
        self.detach()
