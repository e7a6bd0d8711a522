"""A Lightning callback that sets the momentum by a `MomentumScaler` (`lightning` or `pytorch_lightning`)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..core.extras import MissingPackageError

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    if find_spec("pytorch_lightning") is None:
        raise MissingPackageError("LightningMomentumCallback", "lightning") from None
    from pytorch_lightning import Callback

from .callback import MomentumCallback


class LightningMomentumCallback(MomentumCallback, Callback):
    """Sets the momentum of a Lightning module's SGD optimizers from their lr; arguments as for `MomentumCallback`.

    Log the momentum with Lightning's own `LearningRateMonitor(log_momentum=True)`.
    """

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Put a scaler on each optimizer."""
        self.attach(trainer.optimizers)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remove the scalers."""
        self.detach()
