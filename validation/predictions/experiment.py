"""The default answer of `predict` against training: regret, predicted over measured time, and how long it takes
[theory: Ways to predict]."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sde_momentum.core.errors import InputError
from sde_momentum.core.options import Option, fill

from ..experiment import Chunk, Configuration, PlainExperiment, shared_options


class Predictions(PlainExperiment):
    """All cases, or those of --case; `profiles`: most learning rates of each, and doublings of runs."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Profile, seed, cases, and what is asked beside the default answer."""
        from ..cases import CASES, UNSEEN  # they need the derivations

        given = fill(self.options, given)
        names, known = given["case"] or None, [case.name for case in (*CASES, *UNSEEN)]
        for name in names or ():
            if name not in known:
                raise InputError("--case", name, "; ".join(known))
        return self.basic(given, cases=names and list(names), theory=given["theory"], carry=given["carry"])

    def chunks(self, configuration: Configuration, folder: Path) -> list[Chunk]:
        """One for each learning rate of each case."""
        from .measure import measure, works

        n_lr, doublings = self.profiles[configuration["profile"]]
        asked = {name: configuration[name] for name in ("theory", "carry")}
        every = works(n_lr, doublings, configuration["cases"], configuration["seed"], **asked)
        return [Chunk(work.file, partial(measure, work)) for work in every]


EXPERIMENT = Predictions(
    name="predictions",
    title="The default answer against full simulation",
    help="The default answer of predict against full simulation, on built-in and on unseen problems: regrets and times.",
    options=(
        *shared_options("quick (half an hour) or full (hours)", "of the label noise"),
        Option("case", list[str], None, "problem; repeat for several (default: all)"),
        Option("theory", bool, False, "ask the ways without trials too, as methods='theory' does"),
        Option("carry", bool, False, "ask also for a learning rate 30 times smaller than all that trials may use"),
    ),
    profiles={"quick": (2, 2), "full": (3, 5)},
    spelling={"cases": "case"},
)
