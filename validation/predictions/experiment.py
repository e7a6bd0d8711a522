"""Every way to predict against training: regret of the recommended momentum, predicted over measured time
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
    """All cases, or those of --case; `profiles`: number of learning rates of each, and the share of its runs."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Profile, seed and cases."""
        from ..cases import CASES  # they need the derivations

        given = fill(self.options, given)
        names = given["case"] or None
        for name in names or ():
            if name not in {case.name for case in CASES}:
                raise InputError("--case", name, "; ".join(case.name for case in CASES))
        return self.basic(given, cases=names and list(names))

    def chunks(self, configuration: Configuration, folder: Path) -> list[Chunk]:
        """One for each learning rate of each case."""
        from .measure import measure, works

        n_lr, share = self.profiles[configuration["profile"]]
        every = works(n_lr, share, configuration["cases"], configuration["seed"])
        return [Chunk(work.file, partial(measure, work, folder / "curves")) for work in every]


EXPERIMENT = Predictions(
    name="predictions",
    title="Every prediction against full simulation",
    help="Every prediction against full simulation, on all built-in problems: regrets and times.",
    options=(
        *shared_options("quick (minutes) or full (an hour)", "of the label noise"),
        Option("case", list[str], None, "problem; repeat for several (default: all)"),
    ),
    profiles={"quick": (2, 0.125), "full": (3, 1.0)},
    spelling={"cases": "case"},
)
