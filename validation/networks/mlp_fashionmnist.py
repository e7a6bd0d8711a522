"""The task of the fully connected network on FashionMNIST, or on digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sde_momentum.errors import InputError, check_integer

from ..data import default_images
from .losses import CrossEntropy, SquareLoss
from .mlp import MLP
from .placement import placed
from .task import Task

LOSSES = {"square": SquareLoss, "cross-entropy": CrossEntropy}
_SEED = 61  # of the choice of images


def task(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration, made once in a process."""
    sizes = ("images", "test_images", "pool", "width", "layers", "activation", "loss")
    return _build(configuration["data"], *(configuration[name] for name in (*sizes, "label_noise", "precision", "device")))


@lru_cache(maxsize=4)
def _build(
    data: str | None,
    images: int,
    test_images: int,
    pool: int,
    width: int,
    layers: int,
    activation: str,
    loss: str,
    label_noise: float,
    precision: str,
    device: str,
) -> Task:
    if loss not in LOSSES:
        raise InputError("--loss", loss, " or ".join(LOSSES))
    depth, units = check_integer(layers, "--layers", 1), check_integer(width, "--width", 1)
    whole = default_images("fashion-mnist", None if data is None else Path(data))
    few = whole.subset(images, min(test_images, len(whole.test_images)), _SEED).pooled(pool)
    arrays = few.arrays()
    classes = np.eye(len(few.classes))
    # The square loss's targets have mean 0: no unit has to be spent on a constant.
    shift = 1 / len(few.classes) if loss == "square" else 0.0
    x, xt = (placed(part.reshape(len(part), -1), precision, device) for part in (arrays.train_inputs, arrays.test_inputs))
    y, yt = (placed(classes[labels] - shift, precision, device) for labels in (arrays.train_labels, arrays.test_labels))
    network = MLP(x.shape[1], [units] * (depth - 1), len(classes), activation=activation)
    return Task(network, LOSSES[loss](y, label_noise), x, xt, yt, classes=True, source=f"{few!r} ({few.checksum})")
