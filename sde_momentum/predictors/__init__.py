"""Predictions of the best momentum: rules, forces, ways to predict, phase diagram [theory: Ways to predict].

predict                 `predict`: the best momentum for a learning rate by trials, with theory beside them, or by theory alone
prediction, checks      `Prediction`: its result, with text and picture; `Check`: of the theory's assumptions; target: `Target`
ways/                   the methods of predicting: tuned pair, closed form, effective loss, moment closure, critical limit, trial
trials/                 short runs of the training itself, the search for the fastest momentum, and the law to smaller lr
theory_answer           one momentum from the ways without trials together, and what makes it doubtful
curve/                  `universal_curve`: time against momentum in the critical limit, for every lr and noise strength
drift_path              `DriftPath`: the drift along Gamma from a start to a target
closed_form             `ClosedForm`: critical damping along Gamma, bounded by the stationary fluctuations
effective_loss          `EffectiveLossPredictor`: convergence times of noise-free heavy ball on the effective loss
first_phase             `first_phase`: steps of the descent to Gamma
stationary_state        `StationaryState`: fluctuations and stability edge at the flattest point; `normal_excess` across Gamma
price                   `price_of_speed`, `fastest_within`: stationary excess of tr H against momentum
momentum_rule           `MomentumRule`: momentum as a function of the learning rate; `schedules`: for a schedule of lr
adam_curvature          `adam_curvature`: the curvature along Gamma that Adam feels, for `MomentumRule.for_adam`
forces, damped_forces   the forces along Gamma, and the momentum that damps several of them
loss_multiplier         `loss_multiplier`: how fast the mean loss falls under mini-batches without label noise
phase_diagram           `PhaseDiagram`: the regimes over (lr, 1 - beta)
measured_optimum        `Optima`: the best momentum that a sweep measured
"""

from __future__ import annotations

from ..core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
