"""Real images as the tensors of a task, the loss on their classes, and the options that experiments on images share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sde_momentum.core.errors import InputError, check_integer
from sde_momentum.core.options import Option

from ..experiment import Configuration

if TYPE_CHECKING:
    from torch import Tensor

    from .losses import Loss

_SMALL = 8
"""Largest side of images that are not pooled, such as the digits."""


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


def image_options(images: int, test_images: int) -> tuple[Option, ...]:
    """Options of the choice of images, with these numbers of them."""
    return (
        Option("images", int, images, "number of training images"),
        Option("test_images", int, test_images, "number of test images"),
        Option("pool", int, 2, "pixels averaged in each direction"),
    )


def describe_noise(c: Configuration) -> str:
    """Loss and label noise, for the report."""
    if c["loss"] == "square":
        return (
            "Square loss |f - y|² / (2P) on one-hot labels less 1 / classes, Gaussian label noise of standard deviation "
            f"{c['label_noise']:g} at every step."
        )
    return f"Cross-entropy, labels flipped with probability {c['label_noise']:g} at every step."


def image_task(name: str, configuration: Configuration, *, seed: int) -> ImageTask:
    """A balanced choice of the configuration's number of training images of the set `name`, pooled, or of the digits instead.

    Raises:
        InputError: for an option that does not fit, by its name on the command line.
    """
    from ..data import default_images
    from .losses import CrossEntropy, SquareLoss
    from .placement import placed

    c = configuration
    losses = {"square": SquareLoss, "cross-entropy": CrossEntropy}
    images, test_images, loss = c["images"], c["test_images"], c["loss"]
    if loss not in losses:
        raise InputError("--loss", loss, " or ".join(losses))
    whole = default_images(name, None if c["data"] is None else Path(c["data"]))
    side, n = whole.train_images.shape[1], len(whole.train_images)
    if not 1 <= check_integer(images, "--images", 1) <= n:
        raise InputError("--images", images, f"at most the {n:,} of {whole.source}")
    factor = check_integer(c["pool"], "--pool", 1) if side > _SMALL else 1
    if side % factor:
        raise InputError("--pool", factor, f"a divisor of {side}, the side of the images of {whole.source}")
    few = whole.subset(images, min(check_integer(test_images, "--test-images", 1), len(whole.test_images)), seed).pooled(factor)
    arrays = few.arrays()
    classes = np.eye(len(few.classes))
    shift = 1 / len(few.classes) if loss == "square" else 0.0
    x, xt, y, yt = (
        placed(part, c["precision"], c["device"])
        for part in (
            arrays.train_inputs,
            arrays.test_inputs,
            classes[arrays.train_labels] - shift,
            classes[arrays.test_labels] - shift,
        )
    )
    return ImageTask(x, losses[loss](y, c["label_noise"]), xt, yt, f"{few!r} ({few.checksum})")
