"""Estimates of the timescales and the best momentum of a PyTorch model, from products with its Jacobian."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, check_integer, check_lr, check_non_negative, check_one
from .assumptions import interpolation_failures, random_layer_failures, relative_residual, without_randomness
from .curvature import Probes, coupling, curvature, follow_drift, trace
from .krylov import Accuracy, NormalSpace, top_eigenvalues
from .label_noise import LabelNoiseLaw, NoisySamples, check_label_noise, gradient_noise
from .output_map import Loss, OutputMap
from .result import Measurement, TimescaleEstimate, predict_momentum
from .samples import gather
from .settings import EstimatorSettings


def estimate_timescales(
    model: torch.nn.Module,
    loss: Loss,
    data: Any,
    *,
    lr: float,
    label_noise: LabelNoiseLaw,
    batch_size: int | None = None,
    weight_decay: float = 0.0,
    target: float | None = None,
    displacement: Tensor | None = None,
    follow: int = 0,
    settings: EstimatorSettings = EstimatorSettings(),
    seed: int = 0,
) -> TimescaleEstimate:
    """Estimate noise strength c, curvature mu, timescales and best momentum of `model` at its present parameters.

        1 - beta = (c mu zeta^2)^(1/3) lr^(2/3),   tau_par = 4 delta^2 / (lr^2 c mu)

    [theory: Effective loss, eq. 5.5; Drift, eq. 3.8; Forces, eq. 6.2]. H is the Gauss-Newton matrix, the Hessian
    on Gamma. Only products with the Jacobian J of the outputs, and with second and third derivatives along vectors, are
    formed. Memory is a few vectors of N parameters and 30 of P = samples x outputs. tr H, its gradient and mu are means over
    random probes (Hutchinson 1989) with standard errors. The model and its `.grad` are not changed.

    Args:
        model: an `nn.Module` whose forward takes one tensor and has forward-mode derivatives; w is its parameters that require a
            gradient
        loss: mean over samples of a loss of (outputs, targets), such as `torch.nn.MSELoss()`
        data: (inputs, targets), two tensors of n samples; or a Dataset or DataLoader of such pairs
        lr: learning rate eta to predict for, > 0
        label_noise: sigma for real targets; for classes the probability that a label is replaced by one drawn uniformly; or a
            function (targets, generator) -> noisy targets
        batch_size: samples in a batch; None for all
        weight_decay: as in `torch.optim.SGD`; counted as h = wd, exact where Gamma is straight [theory: Forces, eq. 6.5]
        target: x in (0, 1), fraction of the displacement to fall below; None for critical damping
        displacement: (N,), direction in which mu is measured, such as that to a flatter point; None: that of the drift
        follow: descend tr H along Gamma by this number of steps first, and measure mu along that path, at its end
        settings: probes, samples and accuracies
        seed: of all random numbers

    Returns:
        `TimescaleEstimate`; its `failed` lists the assumptions that do not hold, in words.

    Raises:
        InputError: for arguments out of range, a loss that is no mean over samples, or layers without forward-mode derivatives.

    >>> model = torch.nn.Linear(3, 1, dtype=torch.float64)
    >>> x = torch.eye(3, dtype=torch.float64)
    >>> estimate = estimate_timescales(model, torch.nn.MSELoss(), (x, model(x).detach()), lr=0.1, label_noise=0.1)
    >>> round(estimate.trace_hessian, 6), estimate.momentum is None
    (4.0, True)
    """
    rate, decay = check_one(check_lr, lr, "lr"), check_one(check_non_negative, weight_decay, "weight_decay")
    check_integer(follow, "follow", 0)
    if displacement is not None and follow:
        raise InputError("follow", follow, "0 when a displacement is given")
    samples = _samples(model, data, label_noise, batch_size, settings.n_samples, check_integer(seed, "seed", 0))
    failed = random_layer_failures(model)
    with without_randomness(model), torch.no_grad():
        expected = samples.expected_targets(model(samples.inputs[:1]), loss)
        z = OutputMap(model, loss, samples.inputs, expected, settings.chunk_size)
        mean_loss, residual = z.mean_loss(), relative_residual(z)
        noise = gradient_noise(z, samples, expected, settings.n_draws, seed)
        geometry = _Geometry(z, settings, seed)
        if follow:
            displacement = geometry.follow_drift(follow)
        geometry.measure_curvature(displacement)
    c, c_se, label_share = noise.strength(geometry.trace.value, geometry.trace.value_se)
    failed += geometry.failures() + interpolation_failures(loss, samples, mean_loss, residual, label_share)
    measured = Measurement(
        lr=rate,
        weight_decay=decay,
        target=target,
        n_samples=len(samples.inputs),
        loss=mean_loss,
        noise=c,
        noise_se=c_se,
        label_share=label_share,
        **geometry.measured(),
    )
    return predict_momentum(measured, failed)


def _samples(
    model: torch.nn.Module, data: Any, label_noise: LabelNoiseLaw, batch_size: int | None, n_samples: int | None, seed: int
) -> NoisySamples:
    """The samples on the model's device, with the checked label noise and batch size."""
    place = next(model.parameters(), torch.zeros(())).device
    inputs, targets = (part.to(place) for part in gather(data, n_samples, seed))
    batch = len(inputs) if batch_size is None else check_integer(batch_size, "batch_size", 1)
    if batch > len(inputs):
        raise InputError("batch_size", batch, f"at most the {len(inputs)} samples")
    return NoisySamples(inputs, targets, check_label_noise(label_noise, targets), batch)


class _Geometry:
    """tr H, its gradient along Gamma and the leading eigenvalues at the point of z; then mu there, or at the end of a path.

    Random streams: a generator for Lanczos; probes (seed, 0) for tr H, (seed, 1) for mu, (seed, 2) for the path.
    """

    def __init__(self, z: OutputMap, settings: EstimatorSettings, seed: int) -> None:
        self._z, self._settings, self._seed = z, settings, seed
        self._generator = torch.Generator().manual_seed(seed)
        self._eigenvalues, self._bounds, self._eigenvectors = self._spectrum()
        tolerance = settings.tolerance
        if tolerance is None:
            tolerance = 1e-8 if z.dtype == torch.float64 else 1e-4
        damping = settings.rank_tolerance**2 * float(self._eigenvalues[0])
        self._accuracy = Accuracy(tolerance, settings.max_iterations, damping)
        self.trace = trace(z, self._probes(0))
        self._normals = [NormalSpace(z, self._accuracy)]
        self._gradient = self._normals[0].tangent(self.trace.gradient)
        self._flatter_trace = self.trace.value
        self._direction, self._curvature, self._coupling = "the drift", (0.0, 0.0), 0.0
        self._failed: list[str] = []

    def follow_drift(self, n_steps: int) -> Tensor:
        """Descend tr H along Gamma and leave z at the flatter point; returns the displacement back (N,)."""
        probes = self._probes(2)
        displacement = follow_drift(self._z, probes, n_steps, self._accuracy)
        self._direction = f"the path of {n_steps} steps down tr H, at the flatter point"
        self._flatter_trace = trace(self._z, probes).value
        self._eigenvectors = self._spectrum()[2]
        self._normals.append(NormalSpace(self._z, self._accuracy))
        return displacement

    def measure_curvature(self, displacement: Tensor | None) -> None:
        """mu and the coupling g along a displacement (N,); None: along the drift."""
        z, normal = self._z, self._normals[-1]
        if displacement is None:
            x, reference = self._gradient, float(self.trace.gradient.norm())
            if self.trace.gradient_se > float(x.norm()) > 0:
                n = self._settings.n_probes
                self._failed.append(f"the drift's direction is not resolved by {n} probes: use more probes, or fewer samples")
        else:
            given = torch.as_tensor(displacement).to(device=z.device, dtype=z.dtype)
            if given.shape != (z.n_parameters,):
                raise InputError("displacement", f"shape {tuple(given.shape)}", f"shape ({z.n_parameters},)")
            if len(self._normals) == 1:
                self._direction = "the given displacement"
            x, reference = normal.tangent(given), float(given.norm())
        length = float(x.norm())
        if not length > 1e-6 * reference:
            self._failed.append("no motion along Gamma: the gradient of tr H, or the given displacement, is normal to Gamma")
            return
        x = x / length
        if z.disagreement(x) > 1e-2:
            self._failed.append("forward and backward derivatives of a layer disagree: mu is not reliable")
        self._curvature = curvature(z, x, self._probes(1), normal)
        self._coupling = coupling(z, x, self._eigenvectors)

    def measured(self) -> dict[str, Any]:
        """The fields of `Measurement` that are geometry."""
        return {
            "n_parameters": self._z.n_parameters,
            "n_outputs": self._z.n_outputs,
            "trace_hessian": self.trace.value,
            "trace_hessian_se": self.trace.value_se,
            "flatter_trace_hessian": self._flatter_trace,
            "gradient_norm": float(self._gradient.norm()),
            "gradient_norm_se": self.trace.gradient_se,
            "eigenvalues": tuple(self._eigenvalues.tolist()),
            "eigenvalue_bounds": tuple(self._bounds.tolist()),
            "direction": self._direction,
            "curvature": self._curvature[0],
            "curvature_se": self._curvature[1],
            "coupling": self._coupling,
            "projection_error": self._projection_error(),
            "passes": self._z.passes,
        }

    def failures(self) -> list[str]:
        """Sentences on numerical failures."""
        error = self._projection_error()
        if error <= 0.1:
            return self._failed
        text = f"the projection on the tangent space did not converge ({error:.2g} is left): raise max_iterations"
        return [*self._failed, text]

    def _projection_error(self) -> float:
        """Largest relative residual of the projections on the tangent space so far."""
        return max(normal.leftover for normal in self._normals)

    def _probes(self, stream: int) -> Probes:
        return Probes(self._z, self._settings.n_probes, (self._seed, stream))

    def _spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        return top_eigenvalues(self._z, self._settings.n_eigenvalues, self._generator, self._settings.n_lanczos)
