"""ResNet-18 with the 3x3 stem on CIFAR-10, square loss with Gaussian label noise or cross-entropy with flips.

After Cowsik, Can, Glorioso (arXiv 2210.16400). Without a data folder the images are scikit-learn's digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .networks.definition import Definition, Profile, Size

if TYPE_CHECKING:
    from .networks.task import Task


def build(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration."""
    from .networks.resnet18_cifar10 import task  # torch takes seconds to load

    return task(configuration)


def _describe(c: Mapping[str, Any]) -> list[str]:
    noise = (
        f"Square loss |f - y|² / (2P) on one-hot labels less 1 / classes, Gaussian label noise of standard deviation "
        f"{c['label_noise']:g}"
        if c["loss"] == "square"
        else f"Cross-entropy, labels flipped with probability {c['label_noise']:g}"
    )
    norm = "batch norm" if c["batch_norm"] else "no batch norm, the last convolution of each block starts at zero"
    return [
        f"ResNet-18 with the 3x3 stem, {c['width']} channels in the first stage (64 is the usual width), {norm}, "
        f"{c['activation']}; images averaged over {c['pool']} x {c['pool']} pixels and standardised; augmentation "
        f"{'on' if c['augment'] else 'off'}.",
        f"{noise} at every step.",
        *([f"Losses and tr H are measured on {c['measured']} of the training images."] if c["measured"] else []),
    ]


RESNET18_CIFAR10 = Definition(
    name="resnet18-cifar10",
    title="ResNet-18 on CIFAR-10: the best momentum, predicted and measured",
    build=build,
    sizes={
        "images": Size(64, "training images"),
        "test_images": Size(200, "test images"),
        "pool": Size(2, "pixels averaged in each direction"),
        "width": Size(4, "channels of the first stage; 64 is the usual width"),
        "batch_norm": Size(False, "batch norm"),
        "activation": Size("relu", "relu, softplus, gelu, silu or tanh"),
        "loss": Size("square", "square, or cross-entropy with flipped labels"),
        "augment": Size(False, "random crops and mirrored images"),
        "sgd_fit": Size(0, "phase 1 by so many steps of SGD, its learning rate falling to 0; 0: by L-BFGS on all images"),
        "measured": Size(0, "training images on which losses and tr H are measured; 0: all"),
        "effective_loss": Size(True, "also train on the effective loss, and what it recommends"),
    },
    profiles={
        "quick": Profile((0.05, 0.1, 0.2), 2, 400, changes={"images": 32, "test_images": 100}, n_records=60),
        "full": Profile((0.02, 0.04, 0.09, 0.2), 4, 1_200, changes={"pool": 4}, n_records=60),
        "paper": Profile(
            (0.08, 0.2, 0.5),
            2,
            1_000,
            changes={
                "images": 10_000,
                "test_images": 1_000,
                "pool": 1,
                "width": 64,
                "batch_size": 100,
                "precision": "bf16",
                "label_noise": 0.1,
                "fraction": 0.75,
                "sgd_fit": 8_000,
                "measured": 500,
                "effective_loss": False,
            },
            n_records=24,
            grid=(0.4, 0.6, 0.85, 1.2, 1.7, 2.6),
        ),
    },
    label_noise=0.3,
    fraction=0.15,
    weight_decay=5e-4,
    questions={"batch-norm": ("batch norm", {"batch_norm": True})},
    fit_iterations=400,
    describe=_describe,
)
