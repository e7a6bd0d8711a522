"""Label noise on a PyTorch model's targets, and the noise strength c measured from gradients [theory: Setting, eq. 1.4]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError, check, check_non_negative, check_one
from .output_map import Loss, OutputMap

#: sigma for real targets, the probability of a flip for classes, or a function (targets, generator) -> noisy targets.
LabelNoiseLaw = float | Callable[[Tensor, torch.Generator], Tensor]


def check_label_noise(label_noise: LabelNoiseLaw, targets: Tensor) -> LabelNoiseLaw:
    """The checked label noise: sigma >= 0 for real targets, a probability for classes (one integer a sample), or a function.

    Raises:
        InputError: for a value out of range, or classes of another shape.
    """
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


@dataclass(frozen=True)
class NoisySamples:
    """Training samples whose targets get label noise, drawn anew at every step.

    Attributes:
        inputs, targets: n samples, targets without noise
        label_noise: as returned by `check_label_noise`
        batch_size: samples in a batch, drawn without replacement
    """

    inputs: Tensor
    targets: Tensor
    label_noise: LabelNoiseLaw
    batch_size: int

    def noisy_targets(self, chosen: Tensor, n_classes: int, generator: torch.Generator) -> Tensor:
        """Noisy targets of the samples `chosen` (indices): y + sigma xi with xi standard normal.

        A class is replaced, with the probability `label_noise`, by one drawn uniformly from all `n_classes`.
        """
        targets = self.targets[chosen]
        if callable(self.label_noise):
            return self.label_noise(targets, generator)
        if targets.is_floating_point():
            xi = torch.randn(targets.shape, generator=generator, dtype=torch.float64)
            return targets + self.label_noise * xi.to(targets)
        flipped = torch.rand(targets.shape, generator=generator) < self.label_noise
        drawn = torch.randint(n_classes, targets.shape, generator=generator)
        return torch.where(flipped.to(targets.device), drawn.to(targets), targets)

    def expected_targets(self, outputs: Tensor, loss: Loss) -> Tensor:
        """Targets whose loss has the mean gradient: y itself; for flipped classes their probabilities (n, n_classes).

        `outputs` are those of at least one sample, (.., n_classes).
        """
        if callable(self.label_noise) or self.targets.is_floating_point() or self.label_noise == 0:
            return self.targets
        n_classes = outputs.shape[1]
        certain = torch.nn.functional.one_hot(self.targets, n_classes).to(outputs)
        soft = (1 - self.label_noise) * certain + self.label_noise / n_classes
        try:
            loss(outputs, soft[: len(outputs)])
        except (RuntimeError, TypeError, ValueError, IndexError):
            allowed = "a loss that takes class probabilities, as cross_entropy does; or real targets"
            raise InputError("loss", "one that refuses class probabilities as targets", allowed) from None
        return soft


@dataclass(frozen=True)
class MeasuredNoise:
    """Trace of the covariance of batch gradients: `labels` from label noise, `batches` from batch sampling; standard errors.

    On Gamma the first is c tr H and the second 0 [theory: Setting, eq. 1.4].
    """

    labels: float
    labels_se: float
    batches: float
    batches_se: float

    def strength(self, trace_hessian: float, trace_hessian_se: float) -> tuple[float, float, float]:
        """(c, its standard error, share of label noise in the gradient noise), c = tr Cov / tr H."""
        total = self.labels + self.batches
        if not (total > 0 and trace_hessian > 0):
            return 0.0, 0.0, 1.0
        relative = np.hypot(np.hypot(self.labels_se, self.batches_se) / total, trace_hessian_se / trace_hessian)
        return total / trace_hessian, float(total / trace_hessian * relative), self.labels / total


def gradient_noise(z: OutputMap, samples: NoisySamples, expected: Tensor, n_draws: int, seed: int) -> MeasuredNoise:
    """Measure the gradient noise from `n_draws` batches at the point of z.

    Label noise is the difference of two gradients of one batch, with and without it, so that no mean is needed.
    `expected` are the targets of `NoisySamples.expected_targets`.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, n = samples.inputs, len(samples.inputs)
    whole = z.gradient(inputs, expected)
    n_classes = z.outputs().shape[-1] if not samples.targets.is_floating_point() else 0
    labels, batches = torch.zeros(n_draws, dtype=torch.float64), torch.zeros(n_draws, dtype=torch.float64)
    for i in range(n_draws):
        chosen = torch.randperm(n, generator=generator)[: samples.batch_size].to(inputs.device)
        clean = whole if samples.batch_size == n else z.gradient(inputs[chosen], expected[chosen])
        noisy = z.gradient(inputs[chosen], samples.noisy_targets(chosen, n_classes, generator))
        labels[i], batches[i] = (noisy - clean).square().sum(), (clean - whole).square().sum()
    root = n_draws**0.5
    return MeasuredNoise(float(labels.mean()), float(labels.std()) / root, float(batches.mean()), float(batches.std()) / root)
