"""A fully connected network of 6 layers on FashionMNIST: square loss with Gaussian label noise, or cross-entropy with flips.

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
    from .networks.mlp_fashionmnist import task  # torch takes seconds to load

    return task(configuration)


def _describe(c: Mapping[str, Any]) -> list[str]:
    noise = (
        "Square loss |f - y|² / (2P) on one-hot labels less 1 / classes, Gaussian label noise of standard deviation "
        f"{c['label_noise']:g}"
        if c["loss"] == "square"
        else f"Cross-entropy, labels flipped with probability {c['label_noise']:g}"
    )
    return [
        f"{c['layers']} layers, {c['width']} {c['activation']} units in each hidden one, with biases; images averaged over "
        f"{c['pool']} x {c['pool']} pixels and standardised.",
        f"{noise} at every step.",
    ]


MLP_FASHIONMNIST = Definition(
    name="mlp-fashionmnist",
    title="A 6-layer network on FashionMNIST: the best momentum, predicted and measured",
    build=build,
    sizes={
        "images": Size(256, "training images"),
        "test_images": Size(500, "test images"),
        "pool": Size(2, "pixels averaged in each direction"),
        "width": Size(32, "units of each hidden layer"),
        "layers": Size(6, "layers, the last included"),
        "activation": Size("tanh", "tanh or relu"),
        "loss": Size("square", "square, or cross-entropy with flipped labels"),
    },
    profiles={
        "quick": Profile((0.1, 0.2, 0.4), 2, 1_500, changes={"images": 128, "width": 16}),
        "full": Profile(
            (0.02, 0.04, 0.08, 0.16, 0.32),
            8,
            2_500,
            changes={"test_images": 1000},
            questions=("mini-batch", "nesterov", "initial", "noisy-fit", "weight-decay", "cross-entropy"),
        ),
        "paper": Profile(
            (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
            16,
            20_000,
            changes={"images": 10_000, "test_images": 10_000, "pool": 1, "width": 256},
            questions=("mini-batch", "nesterov", "initial", "noisy-fit", "weight-decay"),
        ),
    },
    label_noise=0.3,
    fraction=0.5,
    weight_decay=1e-4,
    questions={
        "cross-entropy": ("cross-entropy with a tenth of the labels flipped", {"loss": "cross-entropy", "label_noise": 0.1}),
    },
    describe=_describe,
)
