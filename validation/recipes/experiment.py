"""The experiment on rules of thumb: a convolutional network with batch norm, trained as people train, over lr and momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sde_momentum.core.options import Option, fill

from ..experiment import Chunk, Configuration, PlainExperiment, Spread, shared_options


@dataclass(frozen=True)
class Profile:
    """Learning rates, 1 - beta, number of seeds, of epochs, and of training and test images."""

    lr: tuple[float, ...]
    one_minus_beta: tuple[float, ...]
    n_seeds: int
    epochs: int
    images: int
    test_images: int
    batch_size: int = 64


class Recipes(PlainExperiment):
    """Sweeps over lr and momentum at constant lr, with label noise, and under a cosine schedule."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Profile, seed and folder of the images."""
        given = fill(self.options, given)
        return self.basic(given, data=None if given["data"] is None else str(given["data"]))

    def command(self, configuration: Configuration) -> str:
        """The command that reproduces this configuration; a folder of images is DIR."""
        return super().command({**configuration, "data": configuration["data"] and "DIR"})

    def check(self, configuration: Configuration) -> None:
        """Raise InputError for images that are missing or damaged."""
        self._images(configuration)

    def _images(self, configuration: Configuration) -> Any:
        from .training import images

        profile, folder = self.profiles[configuration["profile"]], configuration["data"]
        return images(None if folder is None else Path(folder), profile.images, profile.test_images)

    def chunks(self, configuration: Configuration, folder: Path) -> list[Chunk]:
        """One for each kind of training, seed and lr: all momenta side by side."""
        from .training import ARMS, Training, identity

        p, found = self.profiles[configuration["profile"]], []
        pixels = identity(self._images(configuration))
        data = configuration["data"], p.images, p.test_images
        for arm in ARMS:
            for lr in p.lr:
                for i in range(p.n_seeds):
                    seed = configuration["seed"] << 32 | i
                    training = Training(arm, lr, p.one_minus_beta, seed, p.epochs, p.batch_size, data)
                    file = f"runs/{arm.replace(',', '').replace(' ', '-')}-{lr:g}-{i}.json"
                    found.append(Chunk(file, training.run, identity=pixels))
        return found


EXPERIMENT = Recipes(
    name="recipes",
    title="Ordinary training: the best momentum against the learning rate, and what each rule loses",
    help="A convolutional network as people train it: best momentum by lr, and points lost by each rule tuned at the largest lr.",
    options=(
        *shared_options(
            "quick (a minute) or full (some ten minutes)", "of starts, batches and noise", "processes; -1: every core"
        ),
        Option("dask", str, None, "address of a Dask scheduler to run on instead, such as tcp://HOST:8786"),
        Option("data", Path, None, "folder with FashionMNIST (default: SDE_MOMENTUM_DATA, or else scikit-learn's digits)"),
    ),
    profiles={
        "quick": Profile((0.1, 0.03, 0.01), tuple(4.0**-k for k in range(5)), 2, 2, 2_000, 1_000),
        "full": Profile((0.1, 0.03, 0.01, 0.003), tuple(2.0**-k for k in range(9)), 3, 5, 20_000, 10_000),
    },
    spread=Spread.PROCESSES,
)
