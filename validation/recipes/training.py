"""A small convolutional network with batch norm, trained at many momenta side by side by grouped convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.augmentation import crop_and_flip
from ..networks.draws import generator

ARMS = ("constant lr", "constant lr, flips", "cosine")
"""lr constant; the same with a tenth of the labels drawn anew at every step; lr to 0 along half a cosine."""
FLIPS = 0.1
WEIGHT_DECAY = 5e-4
_CHANNELS = 8, 16
_ORDER, _START, _LABELS = 0, 1, 2  # random streams of a seed
_SMALL = 8  # largest side of images that are not pooled, such as the digits
_IMAGES_SEED = 73
_LATE = 5
"""Number of evaluations over the last fifth of a training."""


@dataclass(frozen=True)
class Images:
    """Standardised images (n, 1, h, w) and classes (n,), for training and test; `source` says which they are."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    source: str


@cache
def images(folder: Path | None, n: int, n_test: int) -> Images:
    """n FashionMNIST images averaged to 14 x 14, or without a folder of data as many of scikit-learn's digits as there are."""
    from ..data import default_images

    whole = default_images("fashion-mnist", folder)
    few = whole.subset(min(n, len(whole.train_labels)), min(n_test, len(whole.test_labels)), _IMAGES_SEED)
    few = few.pooled(2) if whole.train_images.shape[1] > _SMALL else few
    arrays = few.arrays()
    x, y, xt, yt = (torch.from_numpy(np.ascontiguousarray(part)) for part in arrays)
    return Images(x, y, xt, yt, f"{few!r} ({few.checksum})")


@dataclass(frozen=True)
class Training:
    """Trainings at one learning rate and one seed: a start, batches and label noise common to all momenta.

    Attributes:
        arm: one of ARMS
        lr: at the beginning
        one_minus_beta: of each run, R of them
        seed: of initialisation, order of the images, moves, flips and label noise
        epochs, batch_size: length of the training
        data: (folder or None, number of training images, of test images)
    """

    arm: str
    lr: float
    one_minus_beta: tuple[float, ...]
    seed: int
    epochs: int
    batch_size: int
    data: tuple[str | None, int, int]

    def run(self) -> dict[str, Any]:
        """Test accuracies in percent at five times in the last fifth of the training, (R, 5); the mean training loss there, (R,),
        None for a run that diverged; and what was trained."""
        folder, n, n_test = self.data
        data = images(None if folder is None else Path(folder), n, n_test)
        height, width = data.inputs.shape[-2:]
        model = _Runs(len(self.one_minus_beta), (height, width), int(data.labels.max()) + 1, self.seed)
        about = {"arm": self.arm, "lr": self.lr, "one_minus_beta": list(self.one_minus_beta)}
        return about | self._train(model, data)

    def _train(self, model: _Runs, data: Images) -> dict[str, Any]:
        momenta = 1 - torch.tensor(self.one_minus_beta, dtype=torch.float64)
        velocity = [torch.zeros_like(w) for w in model.weights]
        per_epoch = len(data.labels) // self.batch_size
        total = per_epoch * self.epochs
        ends = {total - i * max(1, total // 25) for i in range(_LATE)}
        accuracies, losses = [], []
        for k in range(total):
            if k % per_epoch == 0:
                labels, order = self._epoch(k // per_epoch, data.labels)
            batch = order[k % per_epoch * self.batch_size :][: self.batch_size]
            x = crop_and_flip(data.inputs[batch][None], [self.seed], k, padding=1)[0]
            loss, gradient = model.gradient(x, labels[batch])
            model.update(velocity, gradient, self._lr(k / total), momenta)
            if k >= total - max(1, total // 5):
                losses.append(loss)
            if k + 1 in ends:
                accuracies.append(model.accuracy(data.test_inputs, data.test_labels))
        mean = torch.stack(losses).mean(0).tolist()
        return {
            "accuracy": torch.stack(accuracies, 1).tolist(),
            "loss": [x if np.isfinite(x) else None for x in mean],
            "source": data.source,
            "steps": total,
        }

    def _lr(self, share: float) -> float:
        """lr after a share of the training."""
        return self.lr * (0.5 + 0.5 * float(np.cos(np.pi * share))) if self.arm == "cosine" else self.lr

    def _epoch(self, epoch: int, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and order of the images of an epoch."""
        order = torch.randperm(len(labels), generator=generator(self.seed, _ORDER, epoch))
        if self.arm == "constant lr, flips":
            noise = generator(self.seed, _LABELS, epoch)
            flipped = torch.rand(len(labels), generator=noise) < FLIPS
            labels = torch.where(flipped, torch.randint(int(labels.max()) + 1, labels.shape, generator=noise), labels)
        return labels, order


class _Runs:
    """R networks: two convolutions of stride 2 with batch norm and ReLU, and a linear layer; all runs begin alike.

    Args:
        n: R
        size: height and width of the images
        classes: number of outputs
        seed: of the weights
    """

    def __init__(self, n: int, size: tuple[int, int], classes: int, seed: int) -> None:
        first, second = _CHANNELS
        self._n, self._features = n, second * int(np.prod([-(-s // 4) for s in size]))
        one = generator(seed, _START)

        def uniform(*shape: int, fan_in: int) -> Tensor:  # torch.nn's own initialisation
            bound = fan_in**-0.5
            return (torch.rand(shape, generator=one) * 2 * bound - bound).expand(n, *shape).contiguous().requires_grad_()

        def constant(value: float, channels: int) -> Tensor:
            return torch.full((n, channels), value, requires_grad=True)

        self.weights = [
            uniform(first, 1, 3, 3, fan_in=9), constant(1.0, first), constant(0.0, first),
            uniform(second, first, 3, 3, fan_in=9 * first), constant(1.0, second), constant(0.0, second),
            uniform(classes, self._features, fan_in=self._features), uniform(classes, fan_in=self._features),
        ]  # fmt: skip
        self._statistics = [(torch.zeros(n * c), torch.ones(n * c)) for c in _CHANNELS]

    def outputs(self, x: Tensor, training: bool) -> Tensor:
        """Outputs of all runs on the same images (B, 1, h, w): (B, R, classes)."""
        h = x
        for i, (mean, variance) in enumerate(self._statistics):
            weight, scale, shift = self.weights[3 * i : 3 * i + 3]
            h = F.conv2d(h, weight.flatten(0, 1), None, 2, 1, groups=self._n if i else 1)
            h = F.batch_norm(h, mean, variance, scale.flatten(), shift.flatten(), training)
            h = torch.relu(h)
        weight, shift = self.weights[-2:]
        return torch.einsum("brc,rkc->brk", h.view(len(x), self._n, self._features), weight) + shift

    def gradient(self, x: Tensor, labels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Cross-entropy of each run (R,), and the gradients of the weights."""
        f = self.outputs(x, True)
        losses = F.cross_entropy(f.movedim(2, 1), labels[:, None].expand(-1, self._n), reduction="none").mean(0)
        return losses.detach(), torch.autograd.grad(losses.sum(), self.weights)

    @torch.no_grad()
    def update(self, velocity: list[Tensor], gradient: tuple[Tensor, ...], lr: float, momenta: Tensor) -> None:
        """One step of `torch.optim.SGD` with weight decay, each run with its own momentum (R,)."""
        for w, v, g in zip(self.weights, velocity, gradient, strict=True):
            beta = momenta.to(w.dtype).view(-1, *[1] * (w.ndim - 1))
            v.mul_(beta).add_(g).add_(w, alpha=WEIGHT_DECAY)
            w.sub_(v, alpha=lr)

    @torch.no_grad()
    def accuracy(self, x: Tensor, labels: Tensor) -> Tensor:
        """Percent of the images that each run puts into the right class, (R,)."""
        right = [(self.outputs(part, False).argmax(2) == y[:, None]).sum(0) for part, y in _parts(x, labels)]
        return 100 * torch.stack(right).sum(0) / len(labels)


def _parts(x: Tensor, labels: Tensor) -> zip[tuple[Tensor, Tensor]]:
    return zip(x.split(500), labels.split(500), strict=True)


def identity(data: Images) -> Mapping[str, str]:
    """What results depend on beside the configuration: the pixels, wherever they lie."""
    return {"images": data.source}
