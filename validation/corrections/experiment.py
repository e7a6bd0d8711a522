"""How fast the limits become true: errors of the times of the effective loss and of the critical limit against the learning
rate, at one scaled momentum, and the powers of lr that they go with [theory: Critical limit; Effective loss]."""

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
    """Learning rates, runs over those of the case, and the precision of the critical limit's curve."""

    lr: tuple[float, ...]
    share: float
    precision: float


class Corrections(PlainExperiment):
    """The limits' times on three problems."""

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
    title="How fast the limits become true",
    help="Errors of the limits' times as lr falls, with and without fluctuations of the energies, and their powers of lr.",
    options=shared_options("quick (minutes) or full (half an hour)", "of the label noise"),
    profiles={
        "quick": Profile(tuple(np.geomspace(0.1, 1e-3, 5).tolist()), 0.5, 0.015),
        "full": Profile(tuple(np.geomspace(0.1, 1e-5, 9).tolist()), 2.0, 0.005),
    },
)
