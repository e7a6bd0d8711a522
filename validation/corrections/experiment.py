"""Errors of the small-lr limits of the convergence time against the learning rate, and the powers of lr as which they fall:
the critical limit and the effective loss, at one scaled momentum [theory: Critical limit, eq. 7.9; Effective loss]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sde_momentum.core.options import fill

from ..experiment import Chunk, Configuration, PlainExperiment, shared_options

PROBLEMS = ("valley, g = 0", "valley, g = 3 m", "diagonal linear network")


@dataclass(frozen=True)
class Profile:
    """Learning rates, number of runs over that of the case, and precision of the universal curve."""

    lr: tuple[float, ...]
    share: float
    precision: float


class Corrections(PlainExperiment):
    """Errors of the limits on three problems."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Profile and seed."""
        return self.basic(fill(self.options, given))

    def chunks(self, configuration: Configuration, folder: Path) -> list[Chunk]:
        """One for each problem."""
        from .measure import cases, measure

        seed, profile, chunks = configuration["seed"], self.profiles[configuration["profile"]], []
        for case in cases(PROBLEMS):
            file = f"{'-'.join(case.name.replace(',', '').replace('=', '').split())}.json"
            chunks.append(
                Chunk(file, partial(measure, case, profile.lr, profile.share, profile.precision, seed, folder / "curves"))
            )
        return chunks


EXPERIMENT = Corrections(
    name="corrections",
    title="How the error of the limits falls with the learning rate",
    help="Errors of predicted times in the limit lr -> 0, with and without fluctuations of the energies, against lr.",
    options=shared_options("quick (minutes) or full (half an hour)", "of the label noise"),
    profiles={
        "quick": Profile(tuple(np.geomspace(0.1, 1e-3, 5).tolist()), 0.5, 0.015),
        "full": Profile(tuple(np.geomspace(0.1, 1e-5, 9).tolist()), 2.0, 0.005),
    },
)
