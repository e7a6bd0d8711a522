"""A fully connected network of 6 layers on FashionMNIST: square loss with Gaussian label noise, or cross-entropy with flips.

After Cowsik, Can, Glorioso (arXiv 2210.16400). Without a data folder the images are scikit-learn's digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sde_momentum.core.errors import check_integer
from sde_momentum.core.options import Option

from ..experiment import Configuration
from .experiment import NARROW, NetworkExperiment, Profile, once_per_process
from .images import describe_noise, image_options, image_task

if TYPE_CHECKING:
    from .task import Task

_SEED = 61  # of the choice of images


@once_per_process
def task(configuration: Configuration) -> Task:
    """The images, flattened, and the network."""
    from .mlp import MLP  # torch takes seconds to load
    from .task import Task

    depth, units = check_integer(configuration["layers"], "--layers", 1), check_integer(configuration["width"], "--width", 1)
    found = image_task("fashion-mnist", configuration, seed=_SEED)
    x, xt = (part.flatten(1) for part in (found.inputs, found.test_inputs))
    n_classes = found.test_targets.shape[1]
    network = MLP(x.shape[1], [units] * (depth - 1), n_classes, activation=configuration["activation"])
    return Task(network, found.loss, x, xt, found.test_targets, classes=True, source=found.source)


def describe(c: Configuration) -> list[str]:
    """For the report."""
    return [
        f"{c['layers']} layers, {c['width']} {c['activation']} units in each hidden one, with biases; images averaged over "
        f"{c['pool']} x {c['pool']} pixels and standardised.",
        describe_noise(c),
    ]


_QUESTIONS = ("mini-batch", "nesterov", "initial", "noisy-fit", "weight-decay")

EXPERIMENT = NetworkExperiment(
    name="mlp-fashionmnist",
    title="A 6-layer network on FashionMNIST: the best momentum, predicted and measured",
    build=task,
    images=True,
    sizes=(
        *image_options(256, 500),
        Option("width", int, 32, "units of each hidden layer"),
        Option("layers", int, 6, "layers, the last included"),
        Option("activation", str, "tanh", "tanh or relu"),
        Option("loss", str, "square", "square, or cross-entropy with flipped labels"),
    ),
    profiles={
        "quick": Profile((0.1, 0.2, 0.4), 2, 1_500, changes={"images": 128, "width": 16}),
        "full": Profile(
            (0.02, 0.04, 0.08, 0.16, 0.32), 8, 2_500, changes={"test_images": 1000}, questions=(*_QUESTIONS, "cross-entropy")
        ),
        "small-lr": Profile((0.001, 0.002, 0.005, 0.01, 0.02), 8, 8_000, changes={"test_images": 1000}, grid=NARROW),
        "paper": Profile(
            (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
            16,
            20_000,
            changes={"images": 10_000, "test_images": 10_000, "pool": 1, "width": 256},
            questions=_QUESTIONS,
        ),
    },
    label_noise=0.3,
    fraction=0.5,
    weight_decay=1e-4,
    questions={
        "cross-entropy": ("cross-entropy with a tenth of the labels flipped", {"loss": "cross-entropy", "label_noise": 0.1})
    },
    describe=describe,
)
