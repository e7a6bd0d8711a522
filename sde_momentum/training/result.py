"""Results of the estimator: measured geometry and noise, and the momentum predicted from them; needs no torch."""

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
        lr: learning rate eta of the prediction
        weight_decay: as in `torch.optim.SGD`
        target: fraction of the displacement to fall below; None for critical damping
        n_parameters, n_samples, n_outputs: N, number of samples, P = samples x outputs of one sample
        loss: mean loss with targets without noise
        trace_hessian: tr H at the model's parameters
        flatter_trace_hessian: tr H at the point where mu is measured: the end of the followed path, or the same point
        gradient_norm: |grad_Gamma tr H|; `gradient_norm_se` bounds its error
        eigenvalues, eigenvalue_bounds: largest eigenvalues of H, decreasing, and a bound on the error of each
        noise: c = tr Cov(gradient) / tr H, in units of the loss [theory: Setting, eq. 1.4]
        label_share: share of the gradient noise that comes from label noise; the rest is batch sampling
        direction: that in which mu is measured, in words
        curvature: mu, second derivative of tr H along that direction on Gamma [theory: Drift, eq. 3.10]
        other_curvatures: mu measured otherwise, by how, in words; empty where not measured
        coupling: g of the leading eigenvalues, in units of curvature, a lower bound [theory: Price of speed, eq. 9.1]
        projection_error: largest relative residual of the projections onto the tangent space
        passes: cost, in forward passes over the samples
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
    other_curvatures: dict[str, float]
    coupling: float
    projection_error: float
    passes: int


@dataclass(frozen=True)
class TimescaleEstimate(Measurement):
    """Geometry, noise, timescales and the best momentum of a PyTorch model. Made by `estimate_timescales`.

    Attributes (besides those of `Measurement`):
        momentum, one_minus_beta: the prediction; None where there is none, as an assumption fails
        one_minus_beta_se: its standard error from those of c and mu alone
        low, high: least and largest 1 - beta of two standard errors on either side and of the other ways to measure mu and c; low
            is 0 where tr H is not convex in one of them
        edge_one_minus_beta: 1 - beta of the stability edge by the leading modes [theory: Price of speed, eq. 9.5]; 0.0: none
        tau_perp: relaxation times of the leading normal modes in steps, (fastest, slowest) [theory: Relaxation, eq. 2.3]
        tau_par: time scale of the drift along Gamma, in steps [theory: Drift, eq. 3.8]
        drift_speed: |dw| of the drift in a step at the predicted momentum [theory: Drift, eq. 3.6]
        failed: the assumptions that do not hold, in words; with any of them there is no prediction
        doubts: the assumptions that hold in part, in words
    """

    momentum: float | None
    one_minus_beta: float | None
    one_minus_beta_se: float | None
    low: float | None
    high: float | None
    edge_one_minus_beta: float
    tau_perp: tuple[float, float] | None
    tau_par: float | None
    drift_speed: float | None
    failed: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def rule(self) -> MomentumRule | None:
        """The rule of c and mu, for `MomentumScaler`; None where there is no prediction."""
        if self.momentum is None:
            return None
        return MomentumRule.from_geometry(self.noise, max(self.curvature, 0.0), self.weight_decay, self.target)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, strings and lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        lines = [f"! {text}" for text in self.failed] + [f"doubtful: {text}" for text in self.doubts]
        lines += [
            f"Timescales of a model with N = {self.n_parameters}, on {self.n_samples} samples (P = {self.n_outputs}), "
            f"loss {self.loss:.3g}",
            f"  tr H            {_pm(self.trace_hessian, self.trace_hessian_se)}",
            f"  |grad tr H|     {_pm(self.gradient_norm, self.gradient_norm_se)} along Gamma",
            f"  eigenvalues     {', '.join(f'{value:.4g}' for value in self.eigenvalues)}",
            f"  noise c         {_pm(self.noise, self.noise_se)} ({100 * self.label_share:.0f} % from labels)",
            f"  curvature mu    {_pm(self.curvature, self.curvature_se)} along {self.direction}",
        ]
        lines += [f"                  {value:.4g}: {name}" for name, value in self.other_curvatures.items()]
        if self.momentum is None or self.one_minus_beta is None:
            lines.append(f"  momentum        none predicted at lr = {self.lr:g}: find_momentum finds one by trials")
        else:
            spread = f"{self.one_minus_beta:.4g}, from {self.low:.2g} to {self.high:.2g}"
            lines.append(f"  momentum        {self.momentum:.6g} at lr = {self.lr:g} (1 - beta = {spread})")
            if self.tau_perp is not None:
                lines.append(f"  across Gamma    {self.tau_perp[0]:.3g} to {self.tau_perp[1]:.3g} steps (leading modes)")
            if self.tau_par is not None:
                lines.append(f"  along Gamma     {self.tau_par:.3g} steps, {self.drift_speed:.3g} a step")
        return "\n".join(lines)


def predict_momentum(found: Measurement, failed: list[str], doubts: list[str]) -> TimescaleEstimate:
    """The momentum predicted from a measurement, and the timescales at that momentum; `failed` and `doubts` are extended.

    1 - beta is that of `MomentumRule.from_geometry`; its standard error follows from those of c and mu to first order. Where an
    assumption failed there is none.
    """
    measured = {field.name: getattr(found, field.name) for field in fields(Measurement)}
    lr, c, mu, decay = found.lr, found.noise, found.curvature, found.weight_decay
    failed, doubts = list(failed), list(doubts)
    unknown = [
        name for name in ("loss", "trace_hessian", "gradient_norm", "noise", "curvature") if not np.isfinite(measured[name])
    ]
    if unknown and not any("not finite" in text for text in failed):
        failed.append(f"not finite: {', '.join(unknown)}")
    if mu < 0:
        failed.append("tr H is not convex along this direction: no momentum is predicted; use `follow`, or give a displacement")
    eigenvalues = np.array([value for value in found.eigenvalues if value > 0])
    if not len(eigenvalues) or lr * eigenvalues[0] > 4:
        failed.append(f"lr = {lr:g} is above the stability limit of the largest eigenvalue at any momentum")
    if failed or not (c * mu > 0 or decay > 0):
        return TimescaleEstimate(**measured, **_NO_PREDICTION, failed=tuple(failed), doubts=tuple(doubts))

    def one_minus_beta(noise: float, curvature: float) -> float:
        return float(MomentumRule.from_geometry(noise, curvature, decay, found.target).one_minus_beta(lr))

    delta = one_minus_beta(c, mu)
    power = np.log(one_minus_beta(1.01 * c, mu) / one_minus_beta(0.99 * c, mu)) / np.log(1.01 / 0.99)
    relative = float(np.hypot(found.noise_se / c, found.curvature_se / mu)) if c * mu > 0 else 0.0
    error = float(delta * power * relative)
    times = timescales(lr, one_minus_beta=delta, eigenvalue=eigenvalues, noise=c, curvature=mu)
    if np.any(times.regime == "unstable"):
        failed.append(f"lr = {lr:g} is above the stability limit of the largest eigenvalue")
        return TimescaleEstimate(**measured, **_NO_PREDICTION, failed=tuple(failed), doubts=tuple(doubts))
    edge = 0.0
    kappa = float(formulas.stability_edge_kappa(mu, found.coupling))
    if np.isfinite(kappa) and c > 0:
        edge = float(formulas.one_minus_beta_at_kappa(lr, c, kappa))
    if edge > delta:
        doubts.append(f"beyond the stability edge: use 1 - beta of at least {edge:.3g}, better more")
    others = [one_minus_beta(c, value) for value in found.other_curvatures.values() if value > 0]
    if not found.other_curvatures:
        doubts.append("low and high are of the standard errors alone: mu was measured in one way")
    flat = [name for name, value in found.other_curvatures.items() if not value > 0]
    if flat:
        doubts.append(f"tr H is not convex otherwise ({', '.join(flat)}): the best momentum may be far larger")
    if c * mu > 0:  # c of the label noise alone
        others.append(one_minus_beta(c * found.label_share, mu))
    return TimescaleEstimate(
        **measured,
        momentum=min(1 - delta, float(np.nextafter(1.0, 0.0))),
        one_minus_beta=delta,
        one_minus_beta_se=error,
        low=0.0 if flat else max(min(delta - 2 * error, *others, delta), 0.0),
        high=min(max(delta + 2 * error, *others, delta), 1.0),
        edge_one_minus_beta=edge,
        tau_perp=(float(times.transverse.min()), float(times.transverse.max())),
        tau_par=float(formulas.longitudinal_time(lr, delta, c, mu)) if c * mu > 0 else None,
        drift_speed=float(formulas.small_lr_drift_weight(lr, delta, c)) * found.gradient_norm,
        failed=tuple(failed),
        doubts=tuple(doubts),
    )


_NO_PREDICTION: dict[str, Any] = {
    **dict.fromkeys(("momentum", "one_minus_beta", "one_minus_beta_se", "low", "high", "tau_perp", "tau_par", "drift_speed")),
    "edge_one_minus_beta": 0.0,
}


def _pm(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"
