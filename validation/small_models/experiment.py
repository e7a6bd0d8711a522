"""The momentum that small models need, from ordinary learning rates down to very small ones: does its power of lr become 2/3?
[theory: Crossing, eq. 4.3; Finite learning rate].

The models are those on which predictions are tested and nothing was tuned: small networks and factorizations, started on Gamma,
full batch with label noise. Their updates are machine code, so that learning rates of a thousandth of the usual are affordable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sde_momentum.core.errors import InputError, check_integer
from sde_momentum.core.options import Option, fill
from sde_momentum.core.progress import track

from ..experiment import Chunk, Configuration, Experiment, Plan, Spread, Stage, collecting, shared_options
from ..store import RESULTS


@dataclass(frozen=True)
class Profile:
    """Number of learning rates, from the largest of a model down by half a decade each, and of runs for each (lr, momentum)."""

    n_lr: int
    n_seeds: int


class SmallModels(Experiment):
    """All models of `unseen`, or those of --case."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Profile, seed, number of runs and models."""
        from ..cases import UNSEEN  # they need the derivations

        given = fill(self.options, given)
        profile, known = self.profile(given), [case.name for case in UNSEEN]
        for name in given["case"] or ():
            if name not in known:
                raise InputError("--case", name, "; ".join(known))
        n_seeds = check_integer(profile.n_seeds if given["seeds"] is None else given["seeds"], "--seeds", 2)
        return self.basic(given, n_lr=profile.n_lr, n_seeds=n_seeds, cases=list(given["case"] or known))

    def plan(self, configuration: Configuration, folder: Path, given: Mapping[str, Any]) -> Plan:
        """A first look at the largest learning rate; then one learning rate after another, each around what the one before found,
        moved by lr^(2/3)."""
        from .sweep import Model, dataset

        models = [Model.of(name, configuration) for name in configuration["cases"]]
        with track("models", len(models)) as advance:
            for model in models:
                model.prepare()
                advance(1)
        centres = yield Stage(
            "first look", [Chunk(f"looks/{model.word}.json", model.look, model.cost) for model in models], Spread.THREADS
        )
        found: list[list[Any]] = []
        for i in range(configuration["n_lr"]):
            asked = [model.asked(i, centre) for model, centre in zip(models, centres, strict=True)]
            chunks = [
                Chunk(f"runs/{model.word}-{i:02d}.npz", partial(model.run, each), model.cost * each.steps, identity=each.identity)
                for model, each in zip(models, asked, strict=True)
            ]
            found.append((yield Stage(f"lr {i + 1} of {configuration['n_lr']}", chunks, Spread.THREADS)))
            centres = [model.centre(i, each) for model, each in zip(models, found[-1], strict=True)]
        yield collecting(RESULTS, partial(dataset, models, found, configuration, self.command(configuration)))


EXPERIMENT = SmallModels(
    name="small-models",
    title="The momentum that small models need, down to very small learning rates",
    help="Small models in machine code: the momentum they need over 2.5 decades of lr, and its power of lr.",
    options=(
        *shared_options("quick (3 learning rates, minutes) or full (6 learning rates, 40 minutes)", "of the label noise"),
        Option("seeds", int, None, "number of runs for each (lr, momentum) (default: that of the profile)"),
        Option("case", list[str], None, "model; repeat for several (default: all)"),
    ),
    profiles={"quick": Profile(3, 32), "full": Profile(6, 64)},
    spelling={"n_seeds": "seeds", "cases": "case"},
)
