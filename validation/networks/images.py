"""Real images as the tensors of a task, and the loss on their classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from sde_momentum.core.errors import InputError, check_integer

from ..data import default_images
from .losses import CrossEntropy, Loss, SquareLoss
from .placement import placed

_SMALL = 8
"""Images of no more pixels a side, such as the digits, are not pooled."""
LOSSES = {"square": SquareLoss, "cross-entropy": CrossEntropy}


@dataclass(frozen=True)
class ImageTask:
    """Images standardised, channels first, and their classes.

    Attributes:
        inputs, test_inputs: (n, channels, h, w)
        loss: it knows the training targets, one-hot; for the square loss less 1 / classes: their mean is 0, and no unit has to be
            spent on a constant
        test_targets: (n_test, classes), without noise
        source: which images, in words, and their checksum
    """

    inputs: Tensor
    loss: Loss
    test_inputs: Tensor
    test_targets: Tensor
    source: str


def image_task(
    name: str,
    data: str | None,
    *,
    images: int,
    test_images: int,
    pool: int,
    seed: int,
    loss: str,
    label_noise: float,
    precision: str,
    device: str,
) -> ImageTask:
    """A balanced choice of `images` training images of the set `name`, `pool` x `pool` pixels averaged, or of the digits instead.

    Raises:
        InputError: for an option that does not fit, by its name on the command line.
    """
    if loss not in LOSSES:
        raise InputError("--loss", loss, " or ".join(LOSSES))
    whole = default_images(name, None if data is None else Path(data))
    side, n = whole.train_images.shape[1], len(whole.train_images)
    if not 1 <= check_integer(images, "--images", 1) <= n:
        raise InputError("--images", images, f"at most the {n:,} of {whole.source}")
    factor = check_integer(pool, "--pool", 1) if side > _SMALL else 1
    if side % factor:
        raise InputError("--pool", pool, f"a divisor of {side}, the side of the images of {whole.source}")
    few = whole.subset(images, min(check_integer(test_images, "--test-images", 1), len(whole.test_images)), seed).pooled(factor)
    arrays = few.arrays()
    classes = np.eye(len(few.classes))
    shift = 1 / len(few.classes) if loss == "square" else 0.0
    x, xt = (placed(part, precision, device) for part in (arrays.train_inputs, arrays.test_inputs))
    y, yt = (placed(classes[labels] - shift, precision, device) for labels in (arrays.train_labels, arrays.test_labels))
    return ImageTask(x, LOSSES[loss](y, label_noise), xt, yt, f"{few!r} ({few.checksum})")
