"""The list of experiments: modules with an EXPERIMENT, each a command `sde-momentum validate NAME`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from sde_momentum.core.errors import InputError

from .experiment import Experiment

MODULES = (
    "matrix_sensing.experiment",
    "small_models.experiment",
    "predictions.experiment",
    "corrections.experiment",
    "networks.teacher_student",
    "networks.mlp_fashionmnist",
    "networks.resnet18_cifar10",
    "networks.transformer_text",
    "neighbours.experiment",
    "recipes.experiment",
)


@cache
def experiments() -> dict[str, Experiment]:
    """All experiments by name, in the order of MODULES."""
    found: list[Experiment] = [import_module(f"{__package__}.{module}").EXPERIMENT for module in MODULES]
    return {experiment.name: experiment for experiment in found}


def experiment_of(folder: Path) -> Experiment:
    """The experiment whose results are in a folder. Raises InputError."""
    from .store import configuration_of

    configuration = configuration_of(folder)
    if configuration is not None:
        name = configuration.get("experiment")
    else:  # a results file of a sweep on its own
        name = "matrix-sensing" if (folder / "results.nc").exists() else None
    if not isinstance(name, str) or name not in experiments():
        raise InputError("folder", folder, "a folder written by `sde-momentum validate`")
    return experiments()[name]
