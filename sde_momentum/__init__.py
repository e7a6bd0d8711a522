"""Which momentum is best for a learning rate, why, and how well that holds in training.

Every public name is here; nothing heavier than the standard library is imported until one is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME = {
    "AutoMomentum": "training.auto",
    "coarsen": "sde.follow",
    "convergence_time": "convergence",
    "Covariance": "sde.observers",
    "CriticalLimit": "dynamics.critical_limit",
    "CriticalValley": "dynamics.critical_valley",
    "drift_flow": "dynamics.drift_flow",
    "DriftDiffusion": "dynamics.drift_diffusion",
    "DriftFlow": "dynamics.drift_flow",
    "Dynamics": "dynamics.base",
    "EffectiveLossPredictor": "predictors.effective_loss",
    "estimate_timescales": "training.estimate",
    "follow": "sde.follow",
    "from_sympy": "sde.symbolic",
    "Histogram": "sde.observers",
    "InputError": "errors",
    "LabelNoiseSGD": "dynamics.label_noise_sgd",
    "Langevin": "sde.langevin",
    "ManifoldPoint": "geometry",
    "MatrixSensing": "problems.matrix_sensing",
    "MomentClosure": "dynamics.moment_closure",
    "MomentumRule": "predictors.momentum_rule",
    "MomentumScaler": "training.scaler",
    "multilevel": "sde.multilevel",
    "OrnsteinUhlenbeck": "sde.ornstein_uhlenbeck",
    "PassageTimes": "sde.observers",
    "project_to_manifold": "geometry",
    "Quantiles": "sde.observers",
    "Recommendation": "predictors.effective_loss",
    "SDE": "sde.equation",
    "solve": "dynamics.solve",
    "solve_adaptive": "sde.adaptive",
    "solve_until": "sde.solve",
    "standard_increments": "sde.noise",
    "TimescaleEstimate": "training.result",
    "Timescales": "relaxation",
    "timescales": "relaxation",
    "to_ito": "sde.symbolic",
    "to_stratonovich": "sde.symbolic",
    "Valley": "problems.valley",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from .convergence import convergence_time
    from .dynamics.base import Dynamics
    from .dynamics.critical_limit import CriticalLimit
    from .dynamics.critical_valley import CriticalValley
    from .dynamics.drift_diffusion import DriftDiffusion
    from .dynamics.drift_flow import DriftFlow, drift_flow
    from .dynamics.label_noise_sgd import LabelNoiseSGD
    from .dynamics.moment_closure import MomentClosure
    from .dynamics.solve import solve
    from .errors import InputError
    from .geometry import ManifoldPoint, project_to_manifold
    from .predictors.effective_loss import EffectiveLossPredictor, Recommendation
    from .predictors.momentum_rule import MomentumRule
    from .problems.matrix_sensing import MatrixSensing
    from .problems.valley import Valley
    from .relaxation import Timescales, timescales
    from .sde.adaptive import solve_adaptive
    from .sde.equation import SDE
    from .sde.follow import coarsen, follow
    from .sde.langevin import Langevin
    from .sde.multilevel import multilevel
    from .sde.noise import standard_increments
    from .sde.observers import Covariance, Histogram, PassageTimes, Quantiles
    from .sde.ornstein_uhlenbeck import OrnsteinUhlenbeck
    from .sde.solve import solve_until
    from .sde.symbolic import from_sympy, to_ito, to_stratonovich
    from .training.auto import AutoMomentum
    from .training.estimate import estimate_timescales
    from .training.result import TimescaleEstimate
    from .training.scaler import MomentumScaler


def __getattr__(name: str) -> object:
    if name in _HOME:
        # bound here, so that the next look-up finds it at once
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
