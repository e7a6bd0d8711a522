"""The task of ResNet-18 on CIFAR-10, or on digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sde_momentum.errors import InputError, check_integer

from ..data import default_images
from .losses import CrossEntropy, SquareLoss
from .placement import placed
from .resnet18 import ResNet18
from .task import Task

LOSSES = {"square": SquareLoss, "cross-entropy": CrossEntropy}
_SEED = 62  # of the choice of images


def task(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration, made once in a process."""
    sizes = ("images", "test_images", "pool", "width", "batch_norm", "activation", "loss", "augment")
    return _build(configuration["data"], *(configuration[name] for name in (*sizes, "label_noise", "precision", "device")))


@lru_cache(maxsize=4)
def _build(
    data: str | None,
    images: int,
    test_images: int,
    pool: int,
    width: int,
    batch_norm: bool,
    activation: str,
    loss: str,
    augment: bool,
    label_noise: float,
    precision: str,
    device: str,
) -> Task:
    if loss not in LOSSES:
        raise InputError("--loss", loss, " or ".join(LOSSES))
    units = check_integer(width, "--width", 1)
    whole = default_images("cifar-10", None if data is None else Path(data))
    if whole.train_images.shape[1] % pool:  # the digits that stand in are small enough
        pool = 1
    few = whole.subset(images, min(test_images, len(whole.test_images)), _SEED).pooled(pool)
    arrays = few.arrays()
    classes = np.eye(len(few.classes))
    shift = 1 / len(few.classes) if loss == "square" else 0.0
    x, xt = (placed(part, precision, device) for part in (arrays.train_inputs, arrays.test_inputs))
    y, yt = (placed(classes[labels] - shift, precision, device) for labels in (arrays.train_labels, arrays.test_labels))
    channels, h, w = x.shape[1:]
    network = ResNet18((channels, h, w), len(classes), units, batch_norm, activation)
    return Task(
        network,
        LOSSES[loss](y, label_noise),
        x,
        xt,
        yt,
        classes=True,
        source=f"{few!r} ({few.checksum})",
        n_probes=4,
        n_lanczos=8,
        augment=augment,
    )
