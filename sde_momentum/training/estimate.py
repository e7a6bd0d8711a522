"""Estimates of the timescales and the best momentum of a PyTorch model, from products with its Jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, check_lr, check_non_negative, check_one
from ..core.progress import note, track
from .assumptions import interpolation, relative_residual
from .curvature import Probes, coupling, curvature, follow_drift, trace
from .derivative_check import derivative_gap
from .krylov import DENSE, Accuracy, NormalSpace, top_eigenvalues
from .label_noise import LabelNoiseLaw, NoisySamples, check_label_noise, gradient_noise
from .model_function import ModelFunction, same_generators, train_mode_remarks
from .output_map import OutputMap
from .result import Measurement, TimescaleEstimate, predict_momentum
from .rows import Loss, drawn
from .samples import converted, gather
from .settings import QUICK, EstimatorSettings

_WRONG = 1e-2
"""Relative error of a derivative that is no rounding."""
_PATH = 3
"""Steps of the drift along whose path mu is measured for the range of 1 - beta."""
_SOFT = 10.0
"""Factor on the rank tolerance for the range of 1 - beta."""
_FEWER = 2
"""Share of the probes for that range, as a divisor."""
_CG = 60
"""Iterations that a projection is expected to take; only for the time left."""


@by_annotations
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
    quick: bool = False,
    settings: EstimatorSettings | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> TimescaleEstimate:
    """Estimate noise strength c, curvature mu, timescales and best momentum of `model` at its present parameters.

        1 - beta = (c mu zeta^2)^(1/3) lr^(2/3),   tau_par = 4 delta^2 / (lr^2 c mu)

    [theory: Effective loss, eq. 5.5; Drift, eq. 3.8; Forces, eq. 6.2]. H is the Gauss-Newton matrix, the Hessian
    on Gamma. Only products with the Jacobian J of the outputs, and with second and third derivatives along vectors, are
    formed. Memory is a few vectors of N parameters and 30 of P = samples x outputs. tr H, its gradient and mu are means over
    random probes (Hutchinson 1989) with standard errors. The model, its `.grad` and torch's generators are not changed.

    It is for models that interpolate their training data and train with label noise; elsewhere there is no prediction, and
    `find_momentum` is the way. mu depends on the state: `low` and `high` enclose the predictions of mu along the drift, along a
    short path down tr H, and with more directions counted as soft. The cost is some thousand forward passes over the samples, and
    shown when the first are timed.

    Args:
        model: an `nn.Module` that has forward-mode derivatives, and gives a tensor (n, ...), or `logits` in a dictionary or
            object; in float32 or float64. w is its parameters that require a gradient
        loss: mean over samples of a loss of (outputs, targets), such as `torch.nn.MSELoss()`. Where targets are classes of tokens
            or pixels (n, ...), each counts as a sample: the loss is given outputs (m, classes) and targets (m,). Classes below 0,
            or equal to the loss's `ignore_index`, are left out
        data: (inputs, targets), inputs a tensor of n samples or a dictionary of them; or a Dataset, DataLoader or list of such
            pairs
        lr: learning rate eta to predict for, > 0
        label_noise: sigma for real targets; for classes the probability that a label is replaced by one drawn uniformly; or a
            function (targets, generator) -> noisy targets
        batch_size: samples in a batch; None for all
        weight_decay: as in `torch.optim.SGD`; counted as h = wd, exact where Gamma is straight [theory: Forces, eq. 6.5]
        target: x in (0, 1), fraction of the displacement to fall below; None for critical damping
        displacement: (N,), direction in which mu is measured, such as that to a flatter point; None: that of the drift
        follow: descend tr H along Gamma by this number of steps first, and measure mu along that path, at its end
        quick: few samples and probes, for tr H and mu to some ten percent
        settings: probes, samples and accuracies; not with `quick`
        seed: of all random numbers
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

    Returns:
        `TimescaleEstimate`; its `failed` lists the assumptions that do not hold, with which there is no momentum; `doubts` those
        that hold in part.

    Raises:
        InputError: for arguments out of range, a loss that is no mean over samples, a model whose outputs are random, not finite,
            or depend on other samples, or layers without forward-mode derivatives.

    >>> model = torch.nn.Linear(3, 1, dtype=torch.float64)
    >>> x = torch.eye(3, dtype=torch.float64)
    >>> estimate = estimate_timescales(model, torch.nn.MSELoss(), (x, model(x).detach()), lr=0.1, label_noise=0.1)
    >>> round(estimate.trace_hessian, 6), estimate.momentum is None
    (4.0, True)
    """
    rate, decay = check_one(check_lr, lr, "lr"), check_one(check_non_negative, weight_decay, "weight_decay")
    if not isinstance(model, torch.nn.Module):
        raise InputError("model", type(model).__name__, "a torch.nn.Module")
    check_integer(follow, "follow", 0, 10**6)
    check_integer(seed, "seed", 0, 2**63 - 1)
    if displacement is not None and follow:
        raise InputError("follow", follow, "0 when a displacement is given")
    if quick and settings is not None:
        raise InputError("settings", "beside quick", "one of them")
    chosen = settings or (QUICK if quick else EstimatorSettings())
    with same_generators(), track("estimate", 1.0, progress) as advance:
        work = _Work(advance)
        function = ModelFunction(model)
        samples = _samples(function, data, label_noise, batch_size, chosen.n_samples, seed)
        mixed = _mixed(function, samples, chosen.chunk_size)
        doubts = [*train_mode_remarks(model, samples.inputs), *mixed]
        with torch.no_grad():
            z = _output_map(function, loss, samples, chosen, seed, work.done)
            work.begin(z, samples, chosen, follow)
            mean_loss, residual = z.mean_loss(), relative_residual(z)
            noise = gradient_noise(z, samples, loss, chosen.n_draws, seed)
            geometry = _Geometry(z, chosen, seed)
            gap = derivative_gap(function, samples.inputs, seed, together=bool(mixed))
            if follow:
                displacement = geometry.follow_drift(follow)
            geometry.measure_curvature(displacement)
            c, c_se, label_share = noise.strength(geometry.trace.value, geometry.trace.value_se)
            failed, remarks = interpolation(loss, samples, mean_loss, residual, label_share)
            if chosen.vary and not failed:
                geometry.measure_others(displacement if follow else None)
    measured = Measurement(
        lr=rate,
        weight_decay=decay,
        target=target,
        n_samples=len(samples.targets),
        loss=mean_loss,
        noise=c,
        noise_se=c_se,
        label_share=label_share,
        passes=round(z.passes),
        **geometry.measured(),
    )
    return predict_momentum(measured, [*_derivatives(gap), *geometry.failures(), *failed], [*doubts, *remarks])


def _samples(
    function: ModelFunction, data: Any, label_noise: LabelNoiseLaw, batch_size: int | None, n_samples: int | None, seed: int
) -> NoisySamples:
    """The samples on the model's device, with the checked label noise and batch size."""
    place = function.parameters[0].device
    inputs, targets = gather(data, n_samples, seed)
    inputs, targets = converted(inputs, lambda x: x.to(place)), targets.to(place)
    batch = len(targets) if batch_size is None else check_integer(batch_size, "batch_size", 1)
    if batch > len(targets):
        raise InputError("batch_size", batch, f"at most the {len(targets)} samples")
    return NoisySamples(inputs, targets, check_label_noise(label_noise, targets), batch)


def _mixed(function: ModelFunction, samples: NoisySamples, chunk_size: int) -> list[str]:
    """What makes outputs depend on other samples, in words; InputError unless all samples are always evaluated together."""
    text, n = function.check(samples.inputs), len(samples.targets)
    if text and not samples.batch_size == n <= chunk_size:
        allowed = "layers that treat each sample by itself, such as batch norm with running statistics, group norm or layer norm"
        raise InputError("model", text, allowed)
    return [f"{text}; here that is all samples"] if text else []


def _output_map(
    function: ModelFunction,
    loss: Loss,
    samples: NoisySamples,
    settings: EstimatorSettings,
    seed: int,
    done: Callable[[float], object],
) -> OutputMap:
    """The map on all targets, or on some where a sample has many."""
    expected = samples.expected_loss(loss)
    whole = samples.targets
    counted = None
    if whole.ndim > 1 and not whole.is_floating_point():
        ignored = int(getattr(loss, "ignore_index", -100))
        counted = drawn((whole != ignored) & (whole >= 0), settings.n_targets, seed)
    return OutputMap(function, expected, samples.inputs, whole, settings.chunk_size, counted, done)


def _derivatives(gap: float) -> list[str]:
    """Sentences on derivatives that are wrong."""
    if math.isinf(gap):
        return ["derivatives of a layer are not finite (NaN): mu is not known"]
    if gap > _WRONG:
        return [f"derivatives of a layer disagree with differences of its outputs, by {100 * gap:.2g} %: mu is not reliable"]
    return []


class _Work:
    """Shows the cost, in forward passes over the samples: how many there will be, and the share that is done."""

    def __init__(self, advance: Callable[[float], object]) -> None:
        self._advance, self._expected, self._done = advance, math.inf, 0.0

    def begin(self, z: OutputMap, samples: NoisySamples, settings: EstimatorSettings, follow: int) -> None:
        """Time a product, and say what the whole will take."""
        probes = min(settings.n_probes, z.n_outputs)
        projection = 5.0 * z.n_outputs if z.n_outputs <= DENSE else 5.0 * 3 * min(_CG, settings.max_iterations)
        fewer = probes if probes == z.n_outputs else probes // _FEWER
        expected = 9 * probes * (1 + 2 * follow) + projection * (2 + follow) + 25 * probes + 5 * settings.n_lanczos
        if settings.vary:
            expected += 9 * fewer * (2 * _PATH + 1) + projection * (2 + _PATH) + 50 * fewer
        expected += 6 * settings.n_draws * samples.batch_size / len(samples.targets)
        ones = torch.ones(z.n_outputs, dtype=z.dtype, device=z.device)
        z.pull(ones)  # the first call loads libraries
        began = monotonic()
        z.pull(ones)
        seconds = (monotonic() - began) / 3 * expected
        passes, time = (f"{float(f'{number:.2g}'):,g}" for number in (expected, seconds))  # two digits, and no exponent
        note(f"about {passes} forward passes over {len(samples.targets)} samples, {time} s")
        self._expected = expected

    def done(self, cost: float) -> None:
        """Count a product."""
        self._done += cost
        if self._done < 0.99 * self._expected:
            self._advance(cost / self._expected)


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
        self._x: Tensor | None = None
        self._others: dict[str, float] = {}
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
        if not math.isfinite(length):
            self._failed.append("the gradient of tr H is not finite: a second derivative of the outputs is NaN or infinite")
            return
        if not length > 1e-6 * reference:
            self._failed.append("no motion along Gamma: the gradient of tr H, or the given displacement, is normal to Gamma")
            return
        self._x = x / length
        self._curvature = curvature(z, self._x, self._probes(1), normal)
        self._coupling = coupling(z, self._x, self._eigenvectors)

    def measure_others(self, followed: Tensor | None) -> None:
        """mu where more directions count as soft, and along another direction, with fewer probes; z is moved.

        `followed` is the displacement of a path that z has followed, if any.
        """
        z = self._z
        if self._x is None or self._failed:
            return
        softer = NormalSpace(z, replace(self._accuracy, damping=_SOFT**2 * self._accuracy.damping))
        self._along("more directions soft", softer, self._x)
        if followed is not None:
            z.move(followed)
        if self._direction != "the drift":
            self._along("the drift from the model's own point", self._normals[0], self._gradient)
            return
        path = follow_drift(z, self._probes(2, _FEWER), _PATH, self._accuracy)
        if float(path.norm()) > 0:
            self._along(f"a path of {_PATH} steps down tr H", NormalSpace(z, self._accuracy), path)

    def _along(self, name: str, normal: NormalSpace, direction: Tensor) -> None:
        """Keep mu along the tangent part of a direction (N,)."""
        x = normal.tangent(direction)
        if float(x.norm()) > 1e-6 * float(direction.norm()):
            self._others[name] = curvature(self._z, x / x.norm(), self._probes(1, _FEWER), normal)[0]

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
            "other_curvatures": dict(self._others),
            "coupling": self._coupling,
            "projection_error": self._projection_error(),
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

    def _probes(self, stream: int, fewer: int = 1) -> Probes:
        n = self._settings.n_probes
        return Probes(self._z, n if n >= self._z.n_outputs else max(n // fewer, 2), (self._seed, stream))

    def _spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        return top_eigenvalues(self._z, self._settings.n_eigenvalues, self._generator, self._settings.n_lanczos)
