"""The timescales and the best momentum of any PyTorch model, without forming a matrix (T1 to T7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError, check_integer, check_lr, check_non_negative, check_one, check_positive
from ..predictors.momentum_rule import MomentumRule
from ..theory import formulas
from ..theory.relaxation import timescales
from .curvature import Probes, coupling, curvature, follow_drift, trace
from .krylov import Accuracy, NormalSpace, top_eigenvalues
from .label_noise import LabelNoiseLaw, NoiseParts, check_label_noise, expected_targets, gradient_noise
from .output_map import Loss, OutputMap
from .result import TimescaleEstimate

#: Above this share of the outputs' variance the residual counts as "not interpolating".
_FAR = 0.05
#: Above this share of the noise the choice of the batch counts.
_NOT_LABELS = 0.1


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
    n_samples: int | None = None,
    n_probes: int = 64,
    n_draws: int = 64,
    n_eigenvalues: int = 5,
    n_lanczos: int = 30,
    rank_tolerance: float = 1e-3,
    tolerance: float | None = None,
    max_iterations: int = 500,
    chunk_size: int = 128,
    seed: int = 0,
) -> TimescaleEstimate:
    """Estimate c, mu, the timescales and the momentum of `model` at its present parameters, matrix-free.

        1 - beta = (c mu zeta^2)^(1/3) lr^(2/3)  (T5; with weight decay T6),   tau_par = 4 delta^2 / (lr^2 c mu)  [theory: Drift]

    H is the Gauss-Newton matrix, the Hessian on Gamma. Everything is built from products with the Jacobian of the outputs and
    with second and third derivatives of the model along vectors, for a chunk of samples at a time. Krylov spaces live in output
    space, so memory is a few vectors of N and 30 of P = samples x outputs. tr H, its gradient and mu are means over random
    probes, with standard errors; exact once `n_probes` reaches P. The model and its `.grad` are left as they are.

    Args:
        model: any `nn.Module` whose forward takes one tensor and has forward-mode derivatives; its parameters that require a
            gradient count
        loss: mean over samples of a loss of (outputs, targets), such as `torch.nn.MSELoss()`
        data: (inputs, targets), two tensors of n samples; or a Dataset or DataLoader of such pairs
        lr: learning rate eta to predict for, > 0
        label_noise: sigma for real targets; for classes the probability of a flip (to a class drawn uniformly); or a function
            (targets, generator) -> noisy targets
        batch_size: samples a step; None for all
        weight_decay: as in `torch.optim.SGD`
        target: x in (0, 1) to relax below that fraction; None for critical damping
        displacement: (N,) vector whose curvature counts, say to a flatter point (T5, "which mu"); None for the drift's direction
        follow: descend tr H along Gamma by this many steps first, and take the displacement so found, at the flatter point
        n_samples: use as many samples, drawn at random; None for all. The tangent space is then that of these samples
        n_probes, n_draws: random probes for tr H and mu (each), and minibatch gradients for c
        n_eigenvalues, n_lanczos: leading eigenvalues, and Lanczos steps for them
        rank_tolerance: directions whose singular value of J is below this part of the largest count as tangent (smoothly):
            modes that soft do not relax in the time that counts
        tolerance, max_iterations: of each projection on the tangent space (conjugate gradients); None: 1e-4 in single, 1e-8 in
            double precision. Up to 256 outputs J J^T is formed and solved with directly
        chunk_size: samples at a time
        seed: of every draw

    Returns:
        `TimescaleEstimate`; its `failed` says in words which assumption does not hold.

    Raises:
        InputError: for arguments out of range, a loss that is no mean over samples, or layers without forward-mode derivatives.

    Source: T1 to T7; Hutchinson's estimator of the trace (1989), with probes in output space.

    >>> model = torch.nn.Linear(3, 1, dtype=torch.float64)
    >>> x = torch.eye(3, dtype=torch.float64)
    >>> estimate = estimate_timescales(model, torch.nn.MSELoss(), (x, model(x).detach()), lr=0.1, label_noise=0.1)
    >>> round(estimate.trace_hessian, 6), estimate.momentum is None
    (4.0, True)
    """
    rate = check_one(check_lr, lr, "lr")
    check_one(check_positive, rank_tolerance, "rank_tolerance")
    decay = check_one(check_non_negative, weight_decay, "weight_decay")
    for name, value, least in (
        ("follow", follow, 0),
        ("n_probes", n_probes, 2),
        ("n_draws", n_draws, 2),
        ("n_eigenvalues", n_eigenvalues, 1),
        ("n_lanczos", n_lanczos, n_eigenvalues),
        ("max_iterations", max_iterations, 1),
        ("chunk_size", chunk_size, 1),
        ("seed", seed, 0),
    ):
        check_integer(value, name, least)
    if displacement is not None and follow:
        raise InputError("follow", follow, "0 when a displacement is given")
    place = next(model.parameters(), torch.zeros(())).device
    inputs, targets = (part.to(place) for part in gather(data, n_samples, seed))
    batch = len(inputs) if batch_size is None else check_integer(batch_size, "batch_size", 1)
    if batch > len(inputs):
        raise InputError("batch_size", batch, f"at most the {len(inputs)} samples")
    noise_law = check_label_noise(label_noise, targets)
    failed = _mode_failures(model)

    with _without_randomness(model), torch.no_grad():
        expected = expected_targets(targets, noise_law, model(inputs[:1]), loss)
        z = OutputMap(model, loss, inputs, expected, chunk_size)
        if tolerance is None:
            tolerance = 1e-8 if z.dtype == torch.float64 else 1e-4
        generator = torch.Generator().manual_seed(seed)
        eigenvalues, bounds, vectors = top_eigenvalues(z, n_eigenvalues, generator, n_lanczos)
        accuracy = Accuracy(tolerance, max_iterations, rank_tolerance**2 * float(eigenvalues[0]))
        mean_loss, far = z.mean_loss(), _relative_residual(z)
        noise_of = gradient_noise(z, inputs, targets, expected, noise_law, batch, n_draws, seed)
        here = trace(z, Probes(z, n_probes, (seed, 0)))
        normal = NormalSpace(z, accuracy)
        gradient = normal.tangent(here.gradient)
        left = normal.leftover

        direction, flat = "the drift", here.value
        x, reference = gradient, float(here.gradient.norm())
        if follow:
            probes = Probes(z, n_probes, (seed, 2))
            displacement = follow_drift(z, probes, follow, accuracy)
            direction = f"the way of {follow} steps down tr H, at the flatter point"
            flat = trace(z, probes).value
            vectors = top_eigenvalues(z, n_eigenvalues, generator, n_lanczos)[2]
            normal = NormalSpace(z, accuracy)
        elif displacement is not None:
            direction = "the displacement given"
        if displacement is not None:
            displacement = _vector(displacement, z)
            x, reference = normal.tangent(displacement), float(displacement.norm())
        length = float(x.norm())
        mu = mu_se = g = 0.0
        if length > 1e-6 * reference:
            x = x / length
            if z.disagreement(x) > 1e-2:
                failed.append("a layer's derivatives disagree between forward and backward: do not trust mu")
            mu, mu_se = curvature(z, x, Probes(z, n_probes, (seed, 1)), normal)
            g = coupling(z, x, vectors)
        else:
            failed.append("no motion along Gamma: tr H is constant on it here, or the direction is normal to it")
        left = max(left, normal.leftover)

    c, c_se, share = _noise(noise_of, here.value, here.value_se)
    failed += _data_failures(loss, targets, noise_law, far, share, mean_loss)
    size = float(gradient.norm())
    if displacement is None and here.gradient_se > size > 0:
        failed.append(f"the drift's direction is lost in the noise of {n_probes} probes: more probes, or fewer samples")
    if left > 0.1:
        failed.append(f"the projection on the tangent space did not converge ({left:.2g} is left): raise max_iterations")
    numbers: dict[str, Any] = {
        "lr": rate,
        "weight_decay": decay,
        "target": target,
        "n_parameters": z.n_parameters,
        "n_samples": len(inputs),
        "n_outputs": z.n_outputs,
        "loss": mean_loss,
        "trace_hessian": here.value,
        "trace_hessian_se": here.value_se,
        "flatter_trace_hessian": flat,
        "gradient_norm": size,
        "gradient_norm_se": here.gradient_se,
        "eigenvalues": tuple(eigenvalues.tolist()),
        "eigenvalue_bounds": tuple(bounds.tolist()),
        "noise": c,
        "noise_se": c_se,
        "label_share": share,
        "direction": direction,
        "curvature": mu,
        "curvature_se": mu_se,
        "coupling": g,
        "projection_error": left,
        "passes": z.passes,
    }
    prediction, texts = _predict(numbers)
    return TimescaleEstimate(**numbers, **prediction, failed=tuple(failed + texts))


def gather(data: Any, n_samples: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """(inputs, targets) of all samples, or of `n_samples` of them drawn at random."""
    allowed = "(inputs, targets), two tensors of n samples, or a Dataset or DataLoader of such pairs"
    wanted = None if n_samples is None else check_integer(n_samples, "n_samples", 1)
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        inputs, targets = data
    elif isinstance(data, torch.utils.data.DataLoader):
        inputs, targets = _batches(data, wanted, allowed)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        order = _draw(len(data), wanted, seed)
        pairs = [data[i] for i in order]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise InputError("data", type(data).__name__, allowed)
        inputs, targets = (torch.stack([torch.as_tensor(pair[k]) for pair in pairs]) for k in range(2))
        wanted = None
    else:
        raise InputError("data", type(data).__name__, allowed)
    if not 0 < len(inputs) == len(targets):
        raise InputError("data", f"{len(inputs)} inputs and {len(targets)} targets", allowed)
    if wanted is not None and wanted < len(inputs):
        order = _draw(len(inputs), wanted, seed)
        inputs, targets = inputs[order], targets[order]
    return inputs, targets


def _draw(n: int, wanted: int | None, seed: int) -> list[int]:
    if wanted is None or wanted >= n:
        return list(range(n))
    return list(np.random.default_rng([seed, 3]).permutation(n)[:wanted].tolist())


def _batches(loader: Iterable[Any], wanted: int | None, allowed: str) -> tuple[Tensor, Tensor]:
    """Batches of the loader until there are enough samples."""
    kept: list[tuple[Tensor, Tensor]] = []
    for batch in loader:
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)):
            raise InputError("data", f"batches of {type(batch).__name__}", allowed)
        kept.append((batch[0], batch[1]))
        if wanted is not None and sum(len(x) for x, _ in kept) >= wanted:
            break
    if not kept:
        raise InputError("data", "no batches", allowed)
    return torch.cat([x for x, _ in kept]), torch.cat([y for _, y in kept])


def _vector(displacement: Tensor, z: OutputMap) -> Tensor:
    given = torch.as_tensor(displacement).to(device=z.device, dtype=z.dtype)
    if given.shape != (z.n_parameters,):
        raise InputError("displacement", f"shape {tuple(given.shape)}", f"shape ({z.n_parameters},)")
    return given


def _random_layers(model: torch.nn.Module) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
    """(batch norms, dropouts) in train mode."""
    active = [module for module in model.modules() if module.training]
    norms: list[torch.nn.Module] = [module for module in active if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    drops: list[torch.nn.Module] = [
        module for module in active if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0
    ]
    return norms, drops


def _mode_failures(model: torch.nn.Module) -> list[str]:
    norms, drops = _random_layers(model)
    texts = []
    if norms:
        texts.append("BatchNorm in train mode: an output depends on the other samples of its batch; taken in eval mode here")
    if drops:
        texts.append("dropout in train mode: noise of its own, which c does not count; taken in eval mode here")
    return texts


@contextmanager
def _without_randomness(model: torch.nn.Module) -> Iterator[None]:
    """Batch norm and dropout in eval mode for a while."""
    layers = [layer for kind in _random_layers(model) for layer in kind]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True


def _relative_residual(z: OutputMap) -> float:
    """|rho|^2 against the variance of the whitened outputs' own spread."""
    f = z.outputs()
    spread = z.whiten(f - f.mean(0))
    return float(z.residual().square().sum() / spread.square().sum().clamp_min(torch.finfo(z.dtype).tiny))


def _data_failures(
    loss: Loss, targets: Tensor, noise_law: LabelNoiseLaw, far: float, share: float, mean_loss: float
) -> list[str]:
    texts = []
    if not callable(noise_law) and noise_law == 0:
        texts.append("no label noise: c is that of the choice of the batch, which is not c H")
        if not targets.is_floating_point() and not getattr(loss, "label_smoothing", 0.0):
            near = f"loss {mean_loss:.2g}"
            texts.append(f"cross-entropy on certain labels ({near}): its minimum lies at infinity, H goes to 0 with the loss")
    elif share < 1 - _NOT_LABELS:
        texts.append(f"not interpolating: {100 * (1 - share):.0f} % of the gradient noise comes from the choice of the batch")
    if far > _FAR:
        texts.append(f"not interpolating: the squared residual is {100 * far:.2g} % of the outputs' variance")
    return texts


def _noise(found: NoiseParts, value: float, value_se: float) -> tuple[float, float, float]:
    """(c, its standard error, share of label noise)."""
    total = found.labels + found.batches
    if not (total > 0 and value > 0):
        return 0.0, 0.0, 1.0
    relative = np.hypot(np.hypot(found.labels_se, found.batches_se) / total, value_se / value)
    return total / value, float(total / value * relative), found.labels / total


def _predict(n: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Momentum, timescales and drift at the predicted momentum; and what speaks against it."""
    names = ("momentum", "one_minus_beta", "one_minus_beta_se", "tau_perp", "tau_par", "drift_speed")
    nothing: dict[str, Any] = {**dict.fromkeys(names), "edge_one_minus_beta": 0.0}
    lr, c, mu, texts = n["lr"], n["noise"], n["curvature"], []
    if mu < 0:
        texts.append(
            "tr H is not convex along this direction: no relaxation, so no momentum; follow the drift, or give a displacement"
        )
    if not (c * max(mu, 0.0) > 0 or n["weight_decay"] > 0) or mu < 0:
        return nothing, texts

    def ask(scale: float) -> float:
        return float(MomentumRule.from_geometry(c * scale, mu, n["weight_decay"], n["target"]).one_minus_beta(lr))

    delta = ask(1.0)
    power = np.log(ask(1.01) / ask(0.99)) / np.log(1.01 / 0.99)
    relative = float(np.hypot(n["noise_se"] / c, n["curvature_se"] / mu)) if c * mu > 0 else 0.0
    eigenvalues = np.array([value for value in n["eigenvalues"] if value > 0])
    found = timescales(lr, one_minus_beta=delta, eigenvalue=eigenvalues, noise=c, curvature=mu)
    if np.any(found.regime == "unstable"):
        texts.append(f"lr = {lr:g} is above the stability limit of the largest eigenvalue")
    edge = 0.0
    kappa = float(formulas.stability_edge_kappa(mu, n["coupling"]))
    if np.isfinite(kappa) and c > 0:
        edge = float(formulas.one_minus_beta_at_kappa(lr, c, kappa))
    if edge > delta:
        texts.append(
            f"beyond the stability edge of the coupling [theory: Critical limit]: 1 - beta = {edge:.3g} at least, more is safer"
        )
    return {
        "momentum": min(1 - delta, float(np.nextafter(1.0, 0.0))),
        "one_minus_beta": delta,
        "one_minus_beta_se": float(delta * power * relative),
        "edge_one_minus_beta": edge,
        "tau_perp": (float(found.transverse.min()), float(found.transverse.max())),
        "tau_par": float(formulas.longitudinal_time(lr, delta, c, mu)) if c * mu > 0 else None,
        "drift_speed": float(formulas.small_lr_drift_weight(lr, delta, c)) * n["gradient_norm"],
    }, texts
