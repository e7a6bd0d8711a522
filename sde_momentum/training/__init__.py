"""PyTorch training: momentum that follows the learning rate, and the timescales and best momentum of a model.

Importing this package does not import torch; using a name that needs it does.
"""

# ruff: noqa: F401  (imported for type checkers only)
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# public name -> the module that defines it
_HOME = {
    "AutoMomentum": "auto",
    "estimate_timescales": "estimate",
    "EstimatorSettings": "settings",
    "LightningMomentumCallback": "lightning_callback",
    "Measurement": "result",
    "MomentumScaler": "scaler",
    "MomentumUpdates": "settings",
    "QUICK": "settings",
    "TimescaleEstimate": "result",
    "TrainerMomentumCallback": "trainer_callback",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from .auto import AutoMomentum
    from .estimate import estimate_timescales
    from .lightning_callback import LightningMomentumCallback
    from .result import Measurement, TimescaleEstimate
    from .scaler import MomentumScaler
    from .settings import QUICK, EstimatorSettings, MomentumUpdates
    from .trainer_callback import TrainerMomentumCallback


def __getattr__(name: str) -> object:
    if name in _HOME:
        # bound here, so that the next look-up finds it at once
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
