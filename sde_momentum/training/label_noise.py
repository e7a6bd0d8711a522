"""Label noise on a PyTorch model's targets, and the noise strength c that gradients show [theory: Setting]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError, check, check_non_negative, check_one
from .output_map import Loss, OutputMap

#: sigma for real targets, the probability of a flip for classes, or a function of (targets, generator)
LabelNoiseLaw = float | Callable[[Tensor, torch.Generator], Tensor]


def check_label_noise(label_noise: LabelNoiseLaw, targets: Tensor) -> LabelNoiseLaw:
    """A callable, sigma >= 0 for real targets, or a probability for classes (integers, one a sample)."""
    if callable(label_noise):
        return label_noise
    if targets.is_floating_point():
        return check_one(check_non_negative, label_noise, "label_noise")
    p = check("label_noise", label_noise, lambda x: (x >= 0) & (x <= 1), "for classes: the probability of a flip, in [0, 1]")
    if p.ndim:
        raise InputError("label_noise", f"shape {p.shape}", "one number")
    if float(p) > 0 and targets.ndim != 1:
        raise InputError(
            "targets", f"classes of shape {tuple(targets.shape)}", "one class a sample, or a function as label_noise"
        )
    return float(p)


def noisy_targets(targets: Tensor, label_noise: LabelNoiseLaw, n_classes: int, generator: torch.Generator) -> Tensor:
    """y + sigma xi, xi normal; for classes: with the probability given a class drawn uniformly from all."""
    if callable(label_noise):
        return label_noise(targets, generator)
    if targets.is_floating_point():
        xi = torch.randn(targets.shape, generator=generator, dtype=torch.float64)
        return targets + label_noise * xi.to(targets)
    flipped = torch.rand(targets.shape, generator=generator) < label_noise
    drawn = torch.randint(n_classes, targets.shape, generator=generator)
    return torch.where(flipped.to(targets.device), drawn.to(targets), targets)


def expected_targets(targets: Tensor, label_noise: LabelNoiseLaw, outputs: Tensor, loss: Loss) -> Tensor:
    """What the gradient of the loss averages to: y itself; for classes under flips, their probabilities (n, D).

    `outputs`: those of the first sample or samples, (.., D).
    """
    if callable(label_noise) or targets.is_floating_point() or label_noise == 0:
        return targets
    n_classes = outputs.shape[1]
    certain = torch.nn.functional.one_hot(targets, n_classes).to(outputs)
    soft = (1 - label_noise) * certain + label_noise / n_classes
    try:
        loss(outputs, soft[: len(outputs)])
    except (RuntimeError, TypeError, ValueError, IndexError):
        allowed = "a loss that takes class probabilities, as cross_entropy does; or real targets"
        raise InputError("loss", "one that refuses class probabilities as targets", allowed) from None
    return soft


@dataclass(frozen=True)
class NoiseParts:
    """tr Cov of minibatch gradients, mean and standard error of each part: from labels, and from the choice of the batch."""

    labels: float
    labels_se: float
    batches: float
    batches_se: float


def gradient_noise(
    z: OutputMap,
    inputs: Tensor,
    targets: Tensor,
    expected: Tensor,
    label_noise: LabelNoiseLaw,
    batch_size: int,
    n_draws: int,
    seed: int,
) -> NoiseParts:
    """Measure tr Cov from `n_draws` minibatch gradients (batches without replacement).

    On Gamma the first part is c tr H and the second 0. Label noise alone is the difference of two gradients of one batch, with
    and without it, so that no mean has to be known.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(inputs)
    whole = z.gradient(inputs, expected)
    n_classes = z.outputs().shape[-1] if not targets.is_floating_point() else 0
    labels, batches = torch.zeros(n_draws, dtype=torch.float64), torch.zeros(n_draws, dtype=torch.float64)
    for i in range(n_draws):
        picked = torch.randperm(n, generator=generator)[:batch_size].to(inputs.device)
        x, y = inputs[picked], targets[picked]
        clean = whole if batch_size == n else z.gradient(x, expected[picked])
        noisy = z.gradient(x, noisy_targets(y, label_noise, n_classes, generator))
        labels[i], batches[i] = (noisy - clean).square().sum(), (clean - whole).square().sum()
    rest = n_draws**0.5
    return NoiseParts(float(labels.mean()), float(labels.std()) / rest, float(batches.mean()), float(batches.std()) / rest)
