"""What the estimator found, readable, and as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..predictors.momentum_rule import MomentumRule


@dataclass(frozen=True)
class TimescaleEstimate:
    """Geometry, noise and predicted momentum of a PyTorch model; `_se` are standard errors. Made by `estimate_timescales`.

    Attributes:
        lr: learning rate eta that the prediction is for
        n_parameters, n_samples, n_outputs: N, samples, P = samples x outputs
        loss: mean loss at the point, targets without noise
        trace_hessian: tr H at the model's parameters
        flatter_trace_hessian: tr H where mu was measured: at the end of the way that was followed, or here
        gradient_norm: |grad_Gamma tr H|, at most this much off
        eigenvalues: largest eigenvalues of H, decreasing, and a bound on the error of each
        noise: c in "gradient covariance = c H", measured: tr Cov / tr H
        label_share: share of it that comes from label noise; the rest comes from the choice of the batch
        direction: which displacement the curvature is felt by
        curvature: mu, the curvature of tr H along it on Gamma
        coupling: g of the leading eigenvalues, in units of the curvature: a lower bound [theory: Critical limit]
        projection_error: residual of the projections on the tangent space, relative
        momentum, one_minus_beta: predicted; None if nothing can be predicted
        edge_one_minus_beta: below it training leaves the flat region [theory: Critical limit]; 0.0 if there is no such edge
        tau_perp: steps of the relaxation of the leading normal modes, fastest and slowest [theory: Relaxation]
        tau_par: steps of the relaxation along Gamma [theory: Drift]
        drift_speed: |dw| a step along Gamma at the predicted momentum [theory: Drift]
        failed: the assumptions that do not hold here, in words
        passes: passes over the samples that it took
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
    momentum: float | None
    one_minus_beta: float | None
    one_minus_beta_se: float | None
    edge_one_minus_beta: float
    tau_perp: tuple[float, float] | None
    tau_par: float | None
    drift_speed: float | None
    failed: tuple[str, ...]
    passes: int

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


def _pm(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"
