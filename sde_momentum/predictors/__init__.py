"""From theory to a momentum: rules, forces, ways to predict, phase diagram [theory: Ways to predict].

predict                 `predict`: the best momentum for a learning rate by every way that applies
prediction, checks      its answer: `Prediction`; the assumptions of the theory: `Check`; `target`: `Target`
ways/                   one file a way: tuned pair, closed form, effective loss, moment closure, critical limit
curve/                  `universal_curve`: time against momentum in the critical limit, for all lr and noises at once
drift_path              `DriftPath`: the drift along Gamma from a start to a target
closed_form             `ClosedForm`: critical damping along Gamma, bounded by the stationary fluctuations
effective_loss          `EffectiveLossPredictor`: convergence times of noise-free heavy ball on the effective loss
first_phase             `first_phase`: steps of the descent to Gamma
stationary_state        `StationaryState`: fluctuations and stability edge at the flattest point; `normal_excess` across Gamma
price                   `price_of_speed`, `fastest_within`: stationary excess of tr H against momentum
momentum_rule           `MomentumRule`: momentum as a function of the learning rate; `schedules`: for a schedule of lr
forces, damped_forces   the forces along Gamma, and the momentum that damps several of them
phase_diagram           `PhaseDiagram`: the regimes over (lr, 1 - beta)
measured_optimum        `Optima`: the best momentum that a sweep measured
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Answer": "ways.base",
    "Check": "checks",
    "ClosedForm": "closed_form",
    "CurveSettings": "curve.settings",
    "DriftPath": "drift_path",
    "EffectiveLossPredictor": "effective_loss",
    "Force": "forces",
    "MomentumRule": "momentum_rule",
    "MomentumSchedule": "schedules",
    "Optima": "measured_optimum",
    "PhaseDiagram": "phase_diagram",
    "Prediction": "prediction",
    "Question": "ways.base",
    "Recommendation": "recommendation",
    "StationaryState": "stationary_state",
    "Target": "target",
    "UniversalCurve": "curve.universal_curve",
    "WAYS": "ways.registry",
    "Way": "ways.base",
    "fastest_within": "price",
    "measured_optima": "measured_optimum",
    "momentum_schedule": "schedules",
    "price_of_speed": "price",
    "read_curve": "curve.simulate",
    "universal_curve": "curve.simulate",
}
# `predict`, `first_phase` and `normal_excess` bear the names of their modules: import them from there

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
