"""The task of ResNet-18 on CIFAR-10, or on digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sde_momentum.core.errors import check_integer

from .images import image_task
from .resnet18 import ResNet18
from .task import Task

_SEED = 62  # of the choice of images
_N_PROBES, _N_LANCZOS = 4, 8


def task(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration, made once in a process."""
    shared = ("images", "test_images", "pool", "loss", "label_noise", "precision", "device")
    own = ("width", "batch_norm", "activation", "augment", "measured")
    options = tuple((name, configuration[name]) for name in shared)
    return _build(configuration["data"], options, *(configuration[name] for name in own))


@lru_cache(maxsize=4)
def _build(
    data: str | None,
    options: tuple[tuple[str, Any], ...],
    width: int,
    batch_norm: bool,
    activation: str,
    augment: bool,
    measured: int,
) -> Task:
    units = check_integer(width, "--width", 1)
    found = image_task("cifar-10", data, seed=_SEED, **dict(options))
    channels, h, w = found.inputs.shape[1:]
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
        augment=augment,
        n_measured=check_integer(measured, "--measured", 0),
    )
