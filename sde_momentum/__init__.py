"""Which momentum is best for a learning rate, why, and how well that holds in training.

Every public name is here; nothing heavier than the standard library is imported until one is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME = {
    "ClosedForm": "predictors.closed_form",
    "AutoMomentum": "training.auto",
    "coarsen": "sde.follow",
    "convergence_time": "core.convergence",
    "Covariance": "sde.observers",
    "CriticalLimit": "dynamics.critical_limit",
    "CriticalValley": "dynamics.critical_valley",
    "DriftPath": "predictors.drift_path",
    "drift_flow": "dynamics.drift_flow",
    "DriftDiffusion": "dynamics.drift_diffusion",
    "DriftFlow": "dynamics.drift_flow",
    "Dropout": "predictors.forces",
    "Dynamics": "core.dynamics",
    "EffectiveLossPredictor": "predictors.effective_loss",
    "fastest_within": "predictors.price",
    "first_phase": "predictors.first_phase",
    "estimate_timescales": "training.estimate",
    "follow": "sde.follow",
    "Force": "predictors.forces",
    "from_sympy": "sde.symbolic",
    "GradientNoise": "predictors.forces",
    "Histogram": "sde.observers",
    "InputError": "core.errors",
    "LabelNoise": "predictors.forces",
    "LabelNoiseSGD": "dynamics.label_noise_sgd",
    "Langevin": "sde.langevin",
    "LocalSGD": "predictors.forces",
    "ManifoldPoint": "geometry.manifold_point",
    "MatrixSensing": "problems.matrix_sensing",
    "MomentClosure": "dynamics.moment_closure",
    "momentum_schedule": "predictors.schedules",
    "MomentumRule": "predictors.momentum_rule",
    "MomentumSchedule": "predictors.schedules",
    "MomentumScaler": "training.scaler",
    "multilevel": "sde.multilevel",
    "OrnsteinUhlenbeck": "sde.ornstein_uhlenbeck",
    "ParameterNoise": "predictors.forces",
    "PassageTimes": "sde.observers",
    "PhaseDiagram": "predictors.phase_diagram",
    "predict": "predictors.prediction",
    "Prediction": "predictors.prediction",
    "Problem": "problems.problem",
    "price_of_speed": "predictors.price",
    "project_to_manifold": "problems.interpolation",
    "Quantiles": "sde.observers",
    "Recommendation": "predictors.recommendation",
    "SamplingNoise": "predictors.forces",
    "SDE": "sde.equation",
    "solve": "dynamics.solve",
    "solve_adaptive": "sde.adaptive",
    "solve_until": "sde.solve",
    "standard_increments": "sde.noise",
    "StationaryState": "predictors.stationary_state",
    "Target": "predictors.prediction",
    "TimescaleEstimate": "training.result",
    "Timescales": "theory.relaxation",
    "timescales": "theory.relaxation",
    "to_ito": "sde.symbolic",
    "to_stratonovich": "sde.symbolic",
    "universal_curve": "predictors.universal_curve",
    "UniversalCurve": "predictors.universal_curve",
    "Valley": "problems.valley",
    "WeightDecay": "predictors.forces",
}

# rooms with public names of their own
_ROOMS = ("dynamics", "geometry", "problems")

__all__ = ["__version__", *sorted(_HOME), *_ROOMS]

if TYPE_CHECKING:
    from . import dynamics, geometry, problems
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
    from .predictors.closed_form import ClosedForm
    from .predictors.drift_path import DriftPath
    from .predictors.effective_loss import EffectiveLossPredictor
    from .predictors.first_phase import first_phase
    from .predictors.forces import Dropout, Force, GradientNoise, LabelNoise, LocalSGD, ParameterNoise, SamplingNoise, WeightDecay
    from .predictors.momentum_rule import MomentumRule
    from .predictors.phase_diagram import PhaseDiagram
    from .predictors.prediction import Prediction, Target, predict
    from .predictors.price import fastest_within, price_of_speed
    from .predictors.recommendation import Recommendation
    from .predictors.schedules import MomentumSchedule, momentum_schedule
    from .predictors.stationary_state import StationaryState
    from .predictors.universal_curve import UniversalCurve, universal_curve
    from .problems.interpolation import project_to_manifold
    from .problems.matrix_sensing import MatrixSensing
    from .problems.problem import Problem
    from .problems.valley import Valley
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
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME) | set(_ROOMS))
