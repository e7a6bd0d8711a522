"""The experiment on claims of neighbouring papers: a small measurement for each, one command and one report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_momentum.core.errors import InputError
from sde_momentum.core.options import Option, fill

from ..experiment import Chunk, Configuration, Experiment, Plan, Spread, Stage, shared_options

if TYPE_CHECKING:
    import xarray as xr

PAPERS = (
    "momentum_as_larger_lr",
    "representational_drift",
    "noise_injection",
    "local_sgd",
    "averaged_gradients",
    "interpolation",
)
"""Modules of this package. Each has TITLE, SOURCE, CLAIM, DERIVED, PROFILES and `measure`, `findings`, `figure`; those whose
results decide about a claim have `numbers` too."""


def paper(name: str) -> Any:
    """The module of one of PAPERS; matplotlib comes with it."""
    return import_module(f".{name}", __package__)


class Neighbours(Experiment):
    """A small experiment for each paper, or for those of --only; others may be added to the folder later."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Profile and seed; not `only`, so that a folder can take more experiments later."""
        given = fill(self.options, given)
        for name in given["only"] or ():
            if name not in PAPERS:
                raise InputError("--only", name, ", ".join(PAPERS))
        return self.basic(given)

    def plan(self, configuration: Configuration, folder: Path, given: Mapping[str, Any]) -> Plan:
        """One stage, one chunk for each paper."""
        only = given.get("only") or PAPERS
        chunks = [Chunk(file(name), partial(self._measure, name, configuration)) for name in PAPERS if name in only]
        yield Stage("experiments", chunks, Spread.HERE)

    def _measure(self, name: str, configuration: Configuration, workers: int, report: Callable[[float], None]) -> xr.Dataset:
        """The measurement of one module, with the configuration, command and versions that made it."""
        from ..store import versions

        mine = paper(name)
        found = mine.measure(configuration["profile"], configuration["seed"], workers, report)
        attributes = {
            "experiment": name,
            "title": mine.TITLE,
            "source": mine.SOURCE,
            "claim": mine.CLAIM,
            "derived": mine.DERIVED,
            "seed": configuration["seed"],
            "configuration": json.dumps(configuration),
            "command": f"{self.command(configuration)} --only {name}",
            "versions": json.dumps(versions("numpy", "scipy", "numba", "xarray")),
        }
        return found.assign_attrs(attributes)


def file(name: str) -> str:
    """The file of the results of one paper."""
    return f"results/{name}.nc"


EXPERIMENT = Neighbours(
    name="neighbours",
    title="Neighbouring papers: the claims beside measurements",
    help="The claims of neighbouring papers, each tested by a small measurement.",
    options=(
        *shared_options("quick (a minute) or full (minutes)", "of all noise"),
        Option("only", list[str], None, f"experiment, once for each: {', '.join(PAPERS)}; all where not given"),
    ),
    profiles={"quick": None, "full": None},
)
