"""Which momentum is best for a learning rate, why, and how well that holds in training.

Every public name is here; nothing heavier than the standard library is imported until one is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME = {
    "Check": "predictors.checks",
    "ClosedForm": "predictors.closed_form",
    "AutoMomentum": "training.auto",
    "convergence_time": "core.convergence",
    "CriticalLimit": "dynamics.critical_limit",
    "CriticalValley": "dynamics.critical_valley",
    "CurveSettings": "predictors.curve.settings",
    "DriftPath": "predictors.drift_path",
    "drift_flow": "dynamics.drift_flow",
    "DriftDiffusion": "dynamics.drift_diffusion",
    "DriftFlow": "dynamics.drift_flow",
    "Dynamics": "core.dynamics",
    "EffectiveLossPredictor": "predictors.effective_loss",
    "fastest_within": "predictors.price",
    "first_phase": "predictors.first_phase",
    "estimate_timescales": "training.estimate",
    "InputError": "core.errors",
    "LabelNoiseSGD": "dynamics.label_noise_sgd",
    "ManifoldPoint": "geometry.manifold_point",
    "MatrixSensing": "problems.matrix_sensing",
    "MomentClosure": "dynamics.moment_closure",
    "momentum_schedule": "predictors.schedules",
    "MomentumRule": "predictors.momentum_rule",
    "MomentumSchedule": "predictors.schedules",
    "MomentumScaler": "training.scaler",
    "PhaseDiagram": "predictors.phase_diagram",
    "predict": "predictors.predict",
    "Prediction": "predictors.prediction",
    "Problem": "problems.problem",
    "price_of_speed": "predictors.price",
    "project_to_manifold": "problems.interpolation",
    "Recommendation": "predictors.recommendation",
    "SDE": "sde.equation",
    "solve": "dynamics.solve",
    "StationaryState": "predictors.stationary_state",
    "Target": "predictors.target",
    "TimescaleEstimate": "training.result",
    "Timescales": "theory.relaxation",
    "timescales": "theory.relaxation",
    "universal_curve": "predictors.curve.simulate",
    "UniversalCurve": "predictors.curve.universal_curve",
    "Valley": "problems.valley",
    "Way": "predictors.ways.base",
}

# public name of a room, a module whose own names are public -> where it stands
_ROOMS = {name: name for name in ("dynamics", "geometry", "predictors", "problems", "sde", "training")} | {
    "forces": "predictors.forces"
}

__all__ = ["__version__", *sorted(_HOME), *sorted(_ROOMS)]

if TYPE_CHECKING:
    from . import dynamics, geometry, predictors, problems, sde, training
    from .core.convergence import convergence_time
    from .core.dynamics import Dynamics
    from .core.errors import InputError
    from .dynamics.critical_limit import CriticalLimit
    from .dynamics.critical_valley import CriticalValley
    from .dynamics.drift_diffusion import DriftDiffusion
    from .dynamics.drift_flow import DriftFlow, drift_flow
    from .dynamics.label_noise_sgd import LabelNoiseSGD
    from .dynamics.moment_closure import MomentClosure
    from .dynamics.solve import solve
    from .geometry.manifold_point import ManifoldPoint
    from .predictors import forces
    from .predictors.checks import Check
    from .predictors.closed_form import ClosedForm
    from .predictors.curve.settings import CurveSettings
    from .predictors.curve.simulate import universal_curve
    from .predictors.curve.universal_curve import UniversalCurve
    from .predictors.drift_path import DriftPath
    from .predictors.effective_loss import EffectiveLossPredictor
    from .predictors.first_phase import first_phase
    from .predictors.momentum_rule import MomentumRule
    from .predictors.phase_diagram import PhaseDiagram
    from .predictors.predict import predict
    from .predictors.prediction import Prediction
    from .predictors.price import fastest_within, price_of_speed
    from .predictors.recommendation import Recommendation
    from .predictors.schedules import MomentumSchedule, momentum_schedule
    from .predictors.stationary_state import StationaryState
    from .predictors.target import Target
    from .predictors.ways.base import Way
    from .problems.interpolation import project_to_manifold
    from .problems.matrix_sensing import MatrixSensing
    from .problems.problem import Problem
    from .problems.valley import Valley
    from .sde.equation import SDE
    from .theory.relaxation import Timescales, timescales
    from .training.auto import AutoMomentum
    from .training.estimate import estimate_timescales
    from .training.result import TimescaleEstimate
    from .training.scaler import MomentumScaler


def __getattr__(name: str) -> object:
    if name in _HOME:
        # bound here, so that the next look-up finds it at once
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    if name in _ROOMS:
        room = globals()[name] = import_module(f".{_ROOMS[name]}", __name__)
        return room
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME) | set(_ROOMS))
