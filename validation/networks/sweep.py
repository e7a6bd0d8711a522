"""A sweep over learning rate and momentum on a network, in stages: phase 1, first look, predictions, sweep, results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sde_momentum.core.errors import InputError

from ..engine import one_thread
from ..experiment import Chunk, Configuration, Plan, Spread, Stage, collecting
from ..store import QUESTIONS_FOLDER, RESULTS, versions
from . import course
from . import plan as planning
from .block import Arrays, Block, train
from .plan import Ground
from .task import METRICS, N_EIGENVALUES

if TYPE_CHECKING:
    from .experiment import NetworkExperiment

RUNS, COURSE = "runs", "course.nc"
_SWEEP_SEED, _LOOK_SEED = 1 << 20, 1 << 30
_N_RATES = 3  # learning rates of a variant
_NESTEROV_LIMIT = 1.2  # lr times the largest eigenvalue: at momentum 1 Nesterov's update is unstable from 4/3 on
WIDTH = 8
"""Number of seeds that train together."""


def plan(experiment: NetworkExperiment, configuration: Configuration, folder: Path) -> Plan:
    """The sweep of a configuration, then that of each variant; a variant that fails says why, without ending the others."""
    ground = yield from Sweep(experiment, configuration, folder).stages()
    for name, changed in questions(ground):
        try:
            yield from Sweep(experiment, changed, folder, name).stages()
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)


def questions(ground: Ground) -> Iterator[tuple[str, Configuration]]:
    """Each variant with stable learning rates, as the configuration of a smaller sweep."""
    configuration = ground.configuration
    every = np.array(configuration["lr"])
    for name in configuration["questions"]:
        changes = dict(ground.experiment.every_question[name][1])
        share = changes.pop("batch_share", None)
        if share is not None:
            changes["batch_size"] = max(1, round(share * ground.task.n_samples))
        if changes.get("weight_decay", 0) is None:
            changes["weight_decay"] = ground.experiment.weight_decay
        stiffest = float(ground.about["start"]["eigenvalues"][0])
        rates = every[every < _NESTEROV_LIMIT / stiffest] if name == "nesterov" else every
        if len(rates) < _N_RATES:
            continue
        few = np.unique(np.rint(np.linspace(0, len(rates) - 1, _N_RATES)).astype(int))
        changes |= {"lr": rates[few].tolist(), "n_seeds": max(2, configuration["n_seeds"] // 2), "questions": []}
        yield name, configuration | changes


@dataclass(frozen=True)
class Sweep:
    """The sweep of one configuration.

    Attributes:
        folder: of the results
        question: name of the variant, whose files have a folder of their own; "": the main sweep
    """

    experiment: NetworkExperiment
    configuration: Configuration
    folder: Path
    question: str = ""

    @property
    def rates(self) -> NDArray[np.float64]:
        """Learning rates."""
        return np.array(self.configuration["lr"])

    def stages(self) -> Generator[Stage, list[Any], Ground]:
        """All stages of this sweep; returns the result of phase 1."""
        begin = self._alone("start.npz", partial(_begin, self.experiment, self.configuration))
        (start,) = yield self._stage("phase 1", [begin])
        about = json.loads(str(start.pop("about")))
        ground = Ground(self.experiment, self.configuration, start, about)
        look = self._look(ground)
        arrays = yield self._stage("first look", self._chunks(look, "look"), Spread.PROCESSES)
        seen = planning.look(list(zip(look, arrays, strict=True)), float(self.rates[-1]))
        (planned,) = yield self._stage("predicting", [self._alone("plan.json", partial(_recommend, ground, seen))])
        sweep = self._sweep(ground, planned["look"])
        arrays = yield self._stage("training", self._chunks(sweep, "sweep"), Spread.PROCESSES)
        if self.configuration.get("critical_limit") and not self.question:  # not for variants
            job = partial(_critical_limit, ground, self.folder)
            (limit,) = yield self._stage("critical limit", [Chunk(self._file("critical_limit.json"), job)])
            planned["rules"] |= {planning.CRITICAL: limit}
        (results,) = yield collecting(self._file(RESULTS), partial(self.dataset, sweep, arrays, about, planned))
        if self._has_course:
            yield self._stage("course", [self._alone(COURSE, partial(course.predict, ground, results))])
        return ground

    @property
    def _has_course(self) -> bool:
        """Whether the effective loss's course is compared: in the main sweep, from a point of Gamma."""
        c = self.configuration
        return self.experiment.course and not self.question and c["start"] == "interpolating" and c["label_noise"] > 0

    def _file(self, name: str) -> str:
        return f"{QUESTIONS_FOLDER}/{self.question}/{name}" if self.question else name

    def _stage(self, title: str, chunks: Sequence[Chunk], spread: Spread = Spread.HERE) -> Stage:
        return Stage(f"{self.question}: {title}" if self.question else title, chunks, spread)

    def _alone(self, name: str, job: Callable[[], Any]) -> Chunk:
        """A chunk that runs in this process, with one thread as in a worker's."""

        def run(workers: int, report: Callable[[float], object]) -> Any:
            with one_thread():
                return job()

        return Chunk(self._file(name), run)

    def _chunks(self, blocks: Sequence[Block], kind: str) -> list[Chunk]:
        chunks = []
        for block in blocks:
            file = Path(self._file(RUNS)) / f"{kind}-lr{block.lr!r}-seed{block.seeds[0]}.npz"
            path = (self.folder / file).absolute()
            checkpoint = path.with_name(f"checkpoint-{path.name}")
            kept = replace(block, checkpoint=checkpoint)
            chunks.append(Chunk(str(file), partial(train, kept), kept.left, block.shapes, checkpoint, block.identity))
        return chunks

    def _look(self, ground: Ground) -> list[Block]:
        lr, horizon = float(self.rates[-1]), self.configuration["horizon"]
        n_seeds = min(planning.N_LOOK, self.configuration["n_seeds"])
        seeds = [self.configuration["seed"] + _LOOK_SEED + i for i in range(n_seeds)]
        return planning.blocks(ground, lr, planning.LOOK, seeds, horizon, 0, WIDTH)

    def _sweep(self, ground: Ground, seen: dict[str, Any]) -> list[Block]:
        seeds = [self.configuration["seed"] * _SWEEP_SEED + i for i in range(self.configuration["n_seeds"])]
        blocks = []
        for lr in self.rates:
            scale = float(lr / seen["lr"]) ** (2 / 3)
            deltas = seen["best"] * scale * np.array(self.experiment.profiles[self.configuration["profile"]].grid)
            deltas = np.asarray(deltas[deltas <= 1], dtype=np.float64)
            shortest = seen["best_time"] / scale
            least = self.configuration["budget"] or int(np.ceil(shortest))
            horizon = int(np.ceil(max(planning.LONGEST * shortest, least)))
            blocks += planning.blocks(ground, float(lr), deltas, seeds, horizon, least, WIDTH)
        return blocks

    def dataset(self, blocks: list[Block], arrays: list[Arrays], about: dict[str, Any], planned: dict[str, Any]) -> xr.Dataset:
        """Runs, times, and what every rule recommends, with units and the full configuration."""
        dims = ("lr", "momentum", "seed")
        found = self._gathered(blocks, arrays)
        metrics = {
            name: ((*dims, "time"), _rounded(found["values"][m]), {"long_name": text, "units": unit})
            for m, (name, (text, unit)) in enumerate(METRICS.items())
        }
        methods = [name for name in planning.RULES if name in planned["rules"]]
        rules = np.array([[np.nan if x is None else x for x in planned["rules"][name]] for name in methods], dtype=np.float64)
        one, steps = {"units": "1"}, {"units": "steps"}
        last = {"long_name": "last step of the run; its values stand from there on", **steps}
        n_seed = self.configuration["n_seeds"]
        return xr.Dataset(
            {
                **metrics,
                "convergence_time": (dims, found["time"], {"long_name": "time after which tr H stays below its target", **steps}),
                "last_step": (dims, found["last"], last),
                "eigenvalues": ((*dims, "stage", "rank"), found["eigenvalues"], {"long_name": "largest eigenvalues of H", **one}),
                "predicted_optimum": (("method", "lr"), rules, {"long_name": "1 - beta that a rule recommends", **one}),
                "budget": ("lr", found["budget"], {"long_name": "steps after which the test metric is compared", **steps}),
            },
            coords={
                "lr": ("lr", self.rates, {"long_name": "learning rate eta", **one}),
                "one_minus_beta": (dims[:2], found["one_minus_beta"], {"long_name": "1 - momentum", **one}),
                "step": (("lr", "time"), found["step"], {"long_name": "updates done", **steps}),
                "seed": ("seed", np.arange(n_seed), {"long_name": "seed of the run, from the first on", **one}),
                "method": methods,
                "stage": ["start", "end"],
            },
            attrs={
                "title": self.experiment.title,
                "configuration": json.dumps(self.configuration),
                "command": self.experiment.command(self.configuration),
                "about": json.dumps(about),
                "look": json.dumps(planned["look"]),
                "estimate": json.dumps(planned["estimate"]),
                "source": self.experiment.build(self.configuration).source,
                "versions": json.dumps(versions("torch", "numpy", "scipy", "xarray")),
            },
        )

    def _gathered(self, blocks: list[Block], arrays: list[Arrays]) -> Arrays:
        """The arrays of all blocks in one, NaN (or -1 in `step`) where a learning rate has fewer momenta or records."""
        shape = (len(self.rates), max(len(block.one_minus_beta) for block in blocks), self.configuration["n_seeds"])
        n_time = max(len(block.records) for block in blocks)
        out: Arrays = {
            "one_minus_beta": np.full(shape[:2], np.nan),
            "step": np.full((shape[0], n_time), -1, dtype=np.int64),
            "values": np.full((len(METRICS), *shape, n_time), np.nan, dtype=np.float32),
            "eigenvalues": np.full((*shape, 2, N_EIGENVALUES), np.nan, dtype=np.float32),
            "time": np.full(shape, np.inf),
            "last": np.zeros(shape, dtype=np.int64),
            "budget": np.zeros(shape[0], dtype=np.int64),
        }
        for block, found in zip(blocks, arrays, strict=True):
            i = int(np.flatnonzero(self.rates == block.lr)[0])
            s = block.seeds[0] - self.configuration["seed"] * _SWEEP_SEED
            where = (i, slice(0, len(block.one_minus_beta)), slice(s, s + len(block.seeds)))
            n = len(block.records)
            out["one_minus_beta"][where[:2]], out["step"][i, :n], out["budget"][i] = (
                block.one_minus_beta,
                block.records,
                block.least,
            )
            out["values"][:, *where, :n] = found["values"]
            out["values"][:, *where, n:] = found["values"][..., -1:]
            out["eigenvalues"][where], out["last"][where] = found["eigenvalues"], found["last"]
            out["time"][where] = planning.times(block, found)
        return out


def _begin(experiment: NetworkExperiment, configuration: Configuration) -> Arrays:
    start, about = planning.begin(experiment, configuration)
    return {**start, "about": np.array(json.dumps(about))}


def _recommend(ground: Ground, seen: dict[str, Any]) -> dict[str, Any]:
    rules, estimate = planning.recommend(ground, seen)
    return {"look": seen, "rules": rules, "estimate": estimate}


def _critical_limit(ground: Ground, folder: Path, workers: int, report: Callable[[float], object]) -> list[float]:
    return planning.critical_limit(ground, folder, workers)


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values rounded to 12 bits, 4e-4: below the noise of any metric, and a file of half the size."""
    bits = values.view(np.uint32)
    rounded = ((bits + np.uint32(1 << 11)) & np.uint32(0xFFFFF000)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)
