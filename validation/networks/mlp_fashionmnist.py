"""The task of the fully connected network on FashionMNIST, or on digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sde_momentum.core.errors import check_integer

from .images import image_task
from .mlp import MLP
from .task import Task

_SEED = 61  # of the choice of images


def task(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration, made once in a process."""
    shared = ("images", "test_images", "pool", "loss", "label_noise", "precision", "device")
    options = tuple((name, configuration[name]) for name in shared)
    return _build(configuration["data"], options, configuration["width"], configuration["layers"], configuration["activation"])


@lru_cache(maxsize=4)
def _build(data: str | None, options: tuple[tuple[str, Any], ...], width: int, layers: int, activation: str) -> Task:
    depth, units = check_integer(layers, "--layers", 1), check_integer(width, "--width", 1)
    found = image_task("fashion-mnist", data, seed=_SEED, **dict(options))
    x, xt = (part.flatten(1) for part in (found.inputs, found.test_inputs))
    n_classes = found.test_targets.shape[1]
    network = MLP(x.shape[1], [units] * (depth - 1), n_classes, activation=activation)
    return Task(network, found.loss, x, xt, found.test_targets, classes=True, source=found.source)
