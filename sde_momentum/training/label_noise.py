"""Label noise on a PyTorch model's targets, and the noise strength c measured from gradients [theory: Setting, eq. 1.4]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError, check, check_non_negative, check_one
from .output_map import OutputMap
from .rows import Loss
from .samples import Inputs, take
from .whitening import MOST_OUTPUTS

#: sigma for real targets, the probability of a flip for classes, or a function (targets, generator) -> noisy targets.
LabelNoiseLaw = float | Callable[[Tensor, torch.Generator], Tensor]


def check_label_noise(label_noise: LabelNoiseLaw, targets: Tensor) -> LabelNoiseLaw:
    """The checked label noise: sigma >= 0 for real targets, a probability for classes (integers), or a function.

    Raises:
        InputError: for a value out of range.
    """
    if callable(label_noise):
        return label_noise
    if targets.is_floating_point():
        return check_one(check_non_negative, label_noise, "label_noise")
    p = check("label_noise", label_noise, lambda x: (x >= 0) & (x <= 1), "for classes: the probability of a flip, in [0, 1]")
    if p.ndim:
        raise InputError("label_noise", f"shape {p.shape}", "one number")
    return float(p)


@dataclass(frozen=True)
class NoisySamples:
    """Training samples whose targets get label noise, drawn anew at every step.

    Attributes:
        inputs, targets: n samples, targets without noise
        label_noise: as returned by `check_label_noise`
        batch_size: samples in a batch, drawn without replacement
    """

    inputs: Inputs
    targets: Tensor
    label_noise: LabelNoiseLaw
    batch_size: int

    def noisy_targets(self, chosen: Tensor, n_classes: int, generator: torch.Generator) -> Tensor:
        """Noisy targets of the samples `chosen` (indices): y + sigma xi with xi standard normal.

        A class is replaced, with the probability `label_noise`, by one drawn uniformly from all `n_classes`; one below 0 stays.
        """
        targets = self.targets[chosen]
        if callable(self.label_noise):
            return self.label_noise(targets, generator)
        if targets.is_floating_point():
            xi = torch.randn(targets.shape, generator=generator, dtype=torch.float64)
            return targets + self.label_noise * xi.to(targets)
        flipped = torch.rand(targets.shape, generator=generator) < self.label_noise
        drawn = torch.randint(n_classes, targets.shape, generator=generator)
        return torch.where(flipped.to(targets.device) & (targets >= 0), drawn.to(targets), targets)

    def expected_loss(self, loss: Loss) -> Loss:
        """The mean of a loss over the label noise: for flipped classes the mixture of the losses of all classes."""
        if callable(self.label_noise) or self.targets.is_floating_point() or self.label_noise == 0:
            return loss
        return FlippedLoss(loss, self.label_noise)


@dataclass(frozen=True)
class FlippedLoss:
    """(1 - p) loss(f, y) + (p / K) sum_k loss(f, k): the mean loss of flipped classes y (m,), of K, for outputs f (m, K)."""

    loss: Loss
    probability: float
    _soft: dict[int, bool] = field(default_factory=dict)

    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        p, n_classes = self.probability, f.shape[1]
        if n_classes not in self._soft:
            self._soft[n_classes] = self._takes_probabilities(f, n_classes)
        if self._soft[n_classes]:  # one evaluation in place of K
            return self.loss(f, (1 - p) * torch.nn.functional.one_hot(y, n_classes).to(f) + p / n_classes)
        if n_classes > MOST_OUTPUTS:
            allowed = f"a loss that takes class probabilities, as cross_entropy does, or at most {MOST_OUTPUTS} classes"
            raise InputError("loss", f"one that refuses class probabilities, for {n_classes} classes", allowed)
        every = torch.stack([self.loss(f, torch.full_like(y, k)) for k in range(n_classes)])
        return (1 - p) * self.loss(f, y) + p * every.mean(0)

    def _takes_probabilities(self, f: Tensor, n_classes: int) -> bool:
        """Whether certain probabilities have the loss of the class; class weights let cross-entropy divide the two otherwise."""
        y = torch.arange(n_classes, device=f.device)
        g = torch.linspace(-1, 1, n_classes, dtype=f.dtype, device=f.device).expand(n_classes, n_classes)
        try:
            one, other = self.loss(g, torch.nn.functional.one_hot(y, n_classes).to(g)), self.loss(g, y)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False
        return one.ndim == 0 and bool((one - other).abs() <= 1e-4 * other.abs())


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


def gradient_noise(z: OutputMap, samples: NoisySamples, loss: Loss, n_draws: int, seed: int) -> MeasuredNoise:
    """Measure the gradient noise from `n_draws` batches at the point of z, whose loss is the mean over the label noise.

    Label noise is the difference of two gradients of one batch, with and without it, so that no mean is needed. `loss` is that of
    noisy targets.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, targets, n = samples.inputs, samples.targets, len(samples.targets)
    whole = z.gradient(inputs, targets)
    n_classes = z.outputs().shape[-1] if not targets.is_floating_point() else 0
    labels, batches = torch.zeros(n_draws, dtype=torch.float64), torch.zeros(n_draws, dtype=torch.float64)
    for i in range(n_draws):
        chosen = torch.randperm(n, generator=generator)[: samples.batch_size].to(targets.device)
        batch = take(inputs, chosen)
        clean = whole if samples.batch_size == n else z.gradient(batch, targets[chosen])
        noisy = z.gradient(batch, samples.noisy_targets(chosen, n_classes, generator), loss)
        labels[i], batches[i] = (noisy - clean).square().sum(), (clean - whole).square().sum()
    root = n_draws**0.5
    return MeasuredNoise(float(labels.mean()), float(labels.std()) / root, float(batches.mean()), float(batches.std()) / root)
