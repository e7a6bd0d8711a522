"""The result of the estimator: measured geometry and noise, and the momentum predicted from them. No torch needed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ..predictors.momentum_rule import MomentumRule
from ..theory import formulas
from ..theory.relaxation import timescales


@dataclass(frozen=True)
class Measurement:
    """Geometry and noise of a PyTorch model at one point; `_se` are standard errors.

    Attributes:
        lr: learning rate eta that the prediction is for
        weight_decay: as in `torch.optim.SGD`
        target: fraction to relax below; None for critical damping
        n_parameters, n_samples, n_outputs: N, samples, P = samples x outputs of one sample
        loss: mean loss at the point, targets without noise
        trace_hessian: tr H at the model's parameters
        flatter_trace_hessian: tr H where mu was measured: at the end of the path that was followed, or here
        gradient_norm: |grad_Gamma tr H|, the gradient along Gamma; `gradient_norm_se` bounds its error
        eigenvalues, eigenvalue_bounds: largest eigenvalues of H, decreasing, and a bound on the error of each
        noise: c in "gradient covariance = c H", measured as tr Cov / tr H
        label_share: share of the gradient noise that comes from label noise; the rest comes from the choice of the batch
        direction: the direction along which mu was measured, in words
        curvature: mu, the second derivative of tr H along that direction on Gamma
        coupling: g of the leading eigenvalues, in units of the curvature: a lower bound [theory: Critical limit]
        projection_error: largest relative residual of the projections on the tangent space
        passes: passes over the samples that the measurement took
    """

    lr: float
    weight_decay: float
    target: float | None
    n_parameters: int
    n_samples: int
    n_outputs: int
    loss: float
    trace_hessian: float
    trace_hessian_se: float
    flatter_trace_hessian: float
    gradient_norm: float
    gradient_norm_se: float
    eigenvalues: tuple[float, ...]
    eigenvalue_bounds: tuple[float, ...]
    noise: float
    noise_se: float
    label_share: float
    direction: str
    curvature: float
    curvature_se: float
    coupling: float
    projection_error: float
    passes: int


@dataclass(frozen=True)
class TimescaleEstimate(Measurement):
    """Geometry, noise, timescales and the best momentum of a PyTorch model. Made by `estimate_timescales`.

    Attributes (besides those of `Measurement`):
        momentum, one_minus_beta: predicted; None if nothing can be predicted
        edge_one_minus_beta: stability edge: with a smaller 1 - beta training leaves the flat region [theory: Critical limit];
            0.0 if there is no edge
        tau_perp: relaxation times of the leading normal modes in steps, (fastest, slowest) [theory: Relaxation]
        tau_par: relaxation time along Gamma, in steps [theory: Drift]
        drift_speed: |dw| a step along Gamma at the predicted momentum [theory: Drift]
        failed: the assumptions that do not hold here, in words
    """

    momentum: float | None
    one_minus_beta: float | None
    one_minus_beta_se: float | None
    edge_one_minus_beta: float
    tau_perp: tuple[float, float] | None
    tau_par: float | None
    drift_speed: float | None
    failed: tuple[str, ...]

    @property
    def rule(self) -> MomentumRule | None:
        """The momentum at every learning rate, from c and mu; None if nothing can be predicted. `MomentumScaler` takes it."""
        if self.momentum is None:
            return None
        return MomentumRule.from_geometry(self.noise, max(self.curvature, 0.0), self.weight_decay, self.target)

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain numbers, texts and lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        lines = [
            f"Timescales of a model with N = {self.n_parameters}, on {self.n_samples} samples (P = {self.n_outputs}), "
            f"loss {self.loss:.3g}",
            f"  tr H            {_pm(self.trace_hessian, self.trace_hessian_se)}",
            f"  |grad tr H|     {_pm(self.gradient_norm, self.gradient_norm_se)} along Gamma",
            f"  eigenvalues     {', '.join(f'{value:.4g}' for value in self.eigenvalues)}",
            f"  noise c         {_pm(self.noise, self.noise_se)} ({100 * self.label_share:.0f} % from labels)",
            f"  curvature mu    {_pm(self.curvature, self.curvature_se)} along {self.direction}",
        ]
        if self.momentum is None or self.one_minus_beta is None or self.one_minus_beta_se is None:
            lines.append(f"  momentum        none predicted at lr = {self.lr:g}")
        else:
            spread = _pm(self.one_minus_beta, self.one_minus_beta_se)
            lines.append(f"  momentum        {self.momentum:.6g} at lr = {self.lr:g} (1 - beta = {spread})")
            if self.tau_perp is not None:
                lines.append(f"  across Gamma    {self.tau_perp[0]:.3g} to {self.tau_perp[1]:.3g} steps (leading modes)")
            if self.tau_par is not None:
                lines.append(f"  along Gamma     {self.tau_par:.3g} steps, {self.drift_speed:.3g} a step")
        lines += [f"  ! {text}" for text in self.failed]
        return "\n".join(lines)


def predict_momentum(found: Measurement, failed: list[str]) -> TimescaleEstimate:
    """Momentum, timescales and drift at that momentum, from a measurement and what `failed` in it so far.

    1 - beta comes from `MomentumRule.from_geometry`; its standard error from those of c and mu, at the local power of c mu.
    """
    measured = {field.name: getattr(found, field.name) for field in fields(Measurement)}
    lr, c, mu, decay = found.lr, found.noise, found.curvature, found.weight_decay
    failed = list(failed)
    if mu < 0:
        failed.append(
            "tr H is not convex along this direction: no relaxation, so no momentum; follow the drift, or give a displacement"
        )
    if mu < 0 or not (c * mu > 0 or decay > 0):
        return TimescaleEstimate(**measured, **_NO_PREDICTION, failed=tuple(failed))

    def one_minus_beta(factor: float) -> float:
        """With `factor` times the noise strength."""
        return float(MomentumRule.from_geometry(c * factor, mu, decay, found.target).one_minus_beta(lr))

    delta = one_minus_beta(1.0)
    power = np.log(one_minus_beta(1.01) / one_minus_beta(0.99)) / np.log(1.01 / 0.99)
    relative = float(np.hypot(found.noise_se / c, found.curvature_se / mu)) if c * mu > 0 else 0.0
    eigenvalues = np.array([value for value in found.eigenvalues if value > 0])
    times = timescales(lr, one_minus_beta=delta, eigenvalue=eigenvalues, noise=c, curvature=mu)
    if np.any(times.regime == "unstable"):
        failed.append(f"lr = {lr:g} is above the stability limit of the largest eigenvalue")
    edge = 0.0
    kappa = float(formulas.stability_edge_kappa(mu, found.coupling))
    if np.isfinite(kappa) and c > 0:
        edge = float(formulas.one_minus_beta_at_kappa(lr, c, kappa))
    if edge > delta:
        failed.append(f"beyond the stability edge of the critical limit: use 1 - beta = {edge:.3g} at least, more is safer")
    return TimescaleEstimate(
        **measured,
        momentum=min(1 - delta, float(np.nextafter(1.0, 0.0))),
        one_minus_beta=delta,
        one_minus_beta_se=float(delta * power * relative),
        edge_one_minus_beta=edge,
        tau_perp=(float(times.transverse.min()), float(times.transverse.max())),
        tau_par=float(formulas.longitudinal_time(lr, delta, c, mu)) if c * mu > 0 else None,
        drift_speed=float(formulas.small_lr_drift_weight(lr, delta, c)) * found.gradient_norm,
        failed=tuple(failed),
    )


_NO_PREDICTION: dict[str, Any] = {
    **dict.fromkeys(("momentum", "one_minus_beta", "one_minus_beta_se", "tau_perp", "tau_par", "drift_speed")),
    "edge_one_minus_beta": 0.0,
}


def _pm(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"
