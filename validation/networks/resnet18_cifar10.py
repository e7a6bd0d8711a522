"""ResNet-18 with the 3x3 stem on CIFAR-10, square loss with Gaussian label noise or cross-entropy with flips.

After Cowsik, Can, Glorioso (arXiv 2210.16400). Without a data folder the images are scikit-learn's digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sde_momentum.core.errors import check_integer
from sde_momentum.core.options import Option

from ..experiment import Configuration, Switch
from .experiment import NetworkExperiment, Profile, once_per_process
from .images import describe_noise, image_options, image_task

if TYPE_CHECKING:
    from .task import Task

_SEED = 62  # of the choice of images
_N_PROBES, _N_LANCZOS = 4, 8
"""Random probes of tr H, and Lanczos steps for the largest eigenvalues of H."""


@once_per_process
def task(configuration: Configuration) -> Task:
    """The images and the network."""
    from .resnet18 import ResNet18  # torch takes seconds to load
    from .task import Task

    units = check_integer(configuration["width"], "--width", 1)
    found = image_task("cifar-10", configuration, seed=_SEED)
    channels, h, w = found.inputs.shape[1:]
    batch_norm, activation = configuration["batch_norm"], configuration["activation"]
    network = ResNet18((channels, h, w), found.test_targets.shape[1], units, batch_norm, activation)
    return Task(
        network,
        found.loss,
        found.inputs,
        found.test_inputs,
        found.test_targets,
        classes=True,
        source=found.source,
        n_probes=_N_PROBES,
        n_lanczos=_N_LANCZOS,
        augment=configuration["augment"],
        n_measured=check_integer(configuration["measured"], "--measured", 0),
    )


def describe(c: Configuration) -> list[str]:
    """For the report."""
    norm = "batch norm" if c["batch_norm"] else "no batch norm, the last convolution of each block starts at zero"
    return [
        f"ResNet-18 with the 3x3 stem, {c['width']} channels in the first stage (64 is the usual width), {norm}, "
        f"{c['activation']}; images averaged over {c['pool']} x {c['pool']} pixels and standardised; augmentation "
        f"{'on' if c['augment'] else 'off'}.",
        describe_noise(c),
        *([f"Losses and tr H are measured on {c['measured']} of the training images."] if c["measured"] else []),
    ]


EXPERIMENT = NetworkExperiment(
    name="resnet18-cifar10",
    title="ResNet-18 on CIFAR-10: the best momentum, predicted and measured",
    build=task,
    images=True,
    sizes=(
        *image_options(64, 200),
        Option("width", int, 4, "channels of the first stage; 64 is the usual width"),
        Switch("batch_norm", bool, False, "batch norm"),
        Option("activation", str, "relu", "relu, softplus, gelu, silu or tanh"),
        Option("loss", str, "square", "square, or cross-entropy with flipped labels"),
        Switch("augment", bool, False, "random crops and mirrored images"),
        Option("sgd_fit", int, 0, "steps of SGD in phase 1, its learning rate falling to 0; 0: by L-BFGS on all images"),
        Option("measured", int, 0, "training images on which losses and tr H are measured; 0: all"),
        Switch("effective_loss", bool, True, "also train on the effective loss, and what it recommends"),
    ),
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
    course=False,
    describe=describe,
)
