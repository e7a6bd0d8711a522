"""The two losses and their label noise, for R runs: gradient and second derivative with respect to the outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from sde_momentum.core.errors import check, check_non_negative, check_one


class Loss(ABC):
    """A loss of outputs (R, B, K), a mean over the B samples; `targets` (n, K) are those of all n training samples.

    H = J^T S J with S the loss's second derivative with respect to the outputs: the Gauss-Newton matrix, the Hessian on Gamma.
    """

    targets: Tensor

    @property
    @abstractmethod
    def noise(self) -> float:
        """Noise strength times batch size, c B: the gradient noise on Gamma has covariance c H [theory: Setting, eq. 1.4]."""

    @abstractmethod
    def noisy(self, targets: Tensor, draw: Tensor) -> Tensor:
        """Targets with label noise: (..., B, K) from uniform or normal draws of that shape, as `law` says."""

    @abstractmethod
    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the loss with respect to the outputs, (R, B, K)."""

    @abstractmethod
    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss, (R,)."""

    @abstractmethod
    def curvature_factors(self, outputs: Tensor) -> Sequence[Tensor]:
        """Cotangents c_k (R, B, K) with S = sum_k c_k c_k^T for each sample, so that tr H is the sum of their |J^T c_k|^2."""

    #: "normal" or "uniform": the draws that `noisy` takes.
    law: str


class SquareLoss(Loss):
    """Square loss L = |f - y|^2 / (2 B K); labels y + sigma xi, xi normal: c = sigma^2 / (B K)."""

    law = "normal"

    def __init__(self, targets: Tensor, label_noise: float) -> None:
        self.targets = targets
        self.label_noise = float(check_one(check_non_negative, label_noise, "--label-noise"))

    @property
    def noise(self) -> float:
        """sigma^2 / K."""
        return self.label_noise**2 / self.targets.shape[-1]

    def noisy(self, targets: Tensor, draw: Tensor) -> Tensor:
        """y + sigma xi."""
        return torch.add(targets, draw, alpha=self.label_noise)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(f - y) / (B K)."""
        return (outputs - targets).div_(outputs.shape[-1] * outputs.shape[-2])

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """|f - y|^2 / (2 B K)."""
        return (outputs - targets).square().mean(dim=(-2, -1)) / 2

    def curvature_factors(self, outputs: Tensor) -> Sequence[Tensor]:
        """e_k / sqrt(B K): S is the identity over B K."""
        n, k = outputs.shape[-2:]
        eye = torch.eye(k, dtype=outputs.dtype, device=outputs.device) / (n * k) ** 0.5
        return [row.expand_as(outputs) for row in eye]


class CrossEntropy(Loss):
    """Cross-entropy L = -ln softmax(f)_y, a mean over B samples; each label is flipped with probability q to a random class.

    The expected loss is least where softmax equals the flipped labels' probabilities; there the gradient noise of a sample
    is J^T (diag p - p p^T) J, just its H, so c = 1 / B.
    """

    law = "uniform"

    def __init__(self, targets: Tensor, label_noise: float) -> None:
        self.targets = targets
        self.label_noise = float(
            check("--label-noise", label_noise, lambda q: (q >= 0) & (q <= 1), "a probability of a flip, in [0, 1]")
        )

    @property
    def noise(self) -> float:
        """1."""
        return 1.0

    def noisy(self, targets: Tensor, draw: Tensor) -> Tensor:
        """One-hot labels; with probability q, drawn from one number, that of a class which another number draws."""
        n_classes = targets.shape[-1]
        flipped = draw[..., 0] < self.label_noise
        other = torch.nn.functional.one_hot((draw[..., 1] * n_classes).long().clamp_(max=n_classes - 1), n_classes)
        return torch.where(flipped[..., None], other.to(targets.dtype), targets)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(softmax(f) - y) / B."""
        return torch.softmax(outputs, dim=-1).sub_(targets).div_(outputs.shape[-2])

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of -sum_k y_k ln softmax(f)_k."""
        return -(targets * torch.log_softmax(outputs, dim=-1)).sum(dim=-1).mean(dim=-1)

    def expected_targets(self) -> Tensor:
        """Probabilities of the flipped labels, (n, K)."""
        return (1 - self.label_noise) * self.targets + self.label_noise / self.targets.shape[-1]

    def curvature_factors(self, outputs: Tensor) -> Sequence[Tensor]:
        """sqrt(p_k / B) (e_k - p): S = (diag p - p p^T) / B."""
        p = torch.softmax(outputs, dim=-1)
        eye = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        return [(eye[k] - p) * (p[..., k : k + 1] / p.shape[-2]).sqrt() for k in range(p.shape[-1])]
