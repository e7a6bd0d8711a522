"""A sweep over learning rate and momentum on a network: plan, train, collect; stopped at any point, it goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from sde_momentum.core.errors import InputError

from ..engine import one_thread, run_chunks
from ..store import read_arrays, read_json, read_whole, versions, write_arrays, write_dataset, write_json
from . import plan
from .chunk import Arrays, Chunk, train
from .definition import Definition, command
from .task import METRICS, N_EIGENVALUES

RESULTS = "results.nc"
RUNS = "runs"
ASKED = "questions"
_START, _PLAN = "start.npz", "plan.json"
_SWEEP_SEED, _LOOK_SEED = 1 << 20, 1 << 30
_N_RATES = 3  # learning rates of a reader's question
_NESTEROV_LIMIT = 1.2  # lr times the largest eigenvalue: at momentum 1 Nesterov's update is unstable from 4/3 on
WIDTH = 8  # seeds that train together

Report = Callable[[float], object]
Engine = dict[str, Any]


class Experiment:
    """One configuration in one folder.

    Args:
        definition: of the experiment
        configuration: from `Options.configuration`
        folder: where everything is kept
        main: of a reader's question: the experiment that it belongs to
    """

    def __init__(
        self, definition: Definition, configuration: Mapping[str, Any], folder: Path, main: Experiment | None = None
    ) -> None:
        self.definition, self.configuration, self.folder, self.main = definition, dict(configuration), folder, main
        self.rates = np.array(configuration["lr"])

    def prepare(self) -> None:
        """Check what only the task knows, before anything is written."""
        if self.configuration["device"] != "cpu" and not torch.cuda.is_available():
            raise InputError("--device", self.configuration["device"], "cpu: there is no CUDA device")
        task = self.definition.build(self.configuration)
        if self.configuration["batch_size"] > task.n_samples:
            raise InputError("--batch-size", self.configuration["batch_size"], f"at most the {task.n_samples} training samples")

    def run(self, engine: Engine, track: Callable[[str, float], Any]) -> xr.Dataset:
        """Everything that is not there yet: phase 1, first look, sweep; then the results file."""
        (self.folder / RUNS).mkdir(parents=True, exist_ok=True)
        with one_thread():  # what a worker would get
            start, about = self._begin()
        found = self.folder / _PLAN
        if not found.exists():
            look = self._look(start, about)
            with track("first look", sum(chunk.cost for chunk in look)) as report:
                arrays = self._train(look, "look", engine, report)
            seen = plan.look(list(zip(look, arrays, strict=True)), float(self.rates[-1]))
            with one_thread():
                rules, estimate = plan.recommend(self.definition, self.configuration, start, seen)
            write_json(found, {"look": seen, "rules": rules, "estimate": estimate})
        planned = read_json(found)
        sweep = self._sweep(start, about, planned["look"])
        with track("training", sum(chunk.cost for chunk in sweep)) as report:
            arrays = self._train(sweep, "sweep", engine, report)
        planned["rules"] |= self._critical_limit(start, engine)
        data = self._dataset(sweep, arrays, about, planned)
        write_dataset(data, self.folder / RESULTS)
        return data

    def questions(self) -> list[tuple[str, Experiment]]:
        """Each reader's question that has stable learning rates, as a smaller experiment in a folder of its own."""
        asked = []
        for name in self.configuration["questions"]:
            changes = dict(self.definition.every_question[name][1])
            share = changes.pop("batch_share", None)
            if share is not None:
                changes["batch_size"] = max(1, round(share * self.definition.build(self.configuration).n_samples))
            if changes.get("weight_decay", 0) is None:
                changes["weight_decay"] = self.definition.weight_decay
            rates = self.rates[self.rates < _NESTEROV_LIMIT / self._stiffest()] if name == "nesterov" else self.rates
            if len(rates) < _N_RATES:
                continue
            few = np.unique(np.rint(np.linspace(0, len(rates) - 1, _N_RATES)).astype(int))
            changes |= {"lr": rates[few].tolist(), "n_seeds": max(2, self.configuration["n_seeds"] // 2), "questions": []}
            asked.append((name, Experiment(self.definition, self.configuration | changes, self.folder / ASKED / name, self)))
        return asked

    def _stiffest(self) -> float:
        """The largest eigenvalue of H at the start."""
        return float(read_json(self.folder / "start.json")["start"]["eigenvalues"][0])

    # -- the parts ---------------------------------------------------------------------------------

    def _begin(self) -> tuple[Arrays, dict[str, Any]]:
        path, about = self.folder / _START, self.folder / "start.json"
        if not (path.exists() and about.exists()):
            start, known = plan.begin(self.definition, self.configuration)
            write_arrays(path, **start)
            write_json(about, known)
        stored = read_whole(path)
        if stored is None:
            raise InputError("--out", path, "an intact file of this sweep; delete it to compute it again")
        return stored, read_json(about)

    def _critical_limit(self, start: Arrays, engine: Engine) -> dict[str, list[float]]:
        """What T7 recommends, where it was asked for; a reader's question takes the main sweep's word for it."""
        if not self.configuration.get("critical_limit") or self.main is not None:
            return {}
        path = self.folder / "critical_limit.json"
        if not path.exists():
            found = plan.critical_limit(self.definition, self.configuration, start, self.folder, engine["workers"])
            write_json(path, found)
        return {plan.CRITICAL: read_json(path)}

    def _look(self, start: Arrays, about: Mapping[str, Any]) -> list[Chunk]:
        lr, horizon = float(self.rates[-1]), self.configuration["horizon"]
        n_seeds = min(plan.N_LOOK, self.configuration["n_seeds"])
        seeds = [self.configuration["seed"] + _LOOK_SEED + i for i in range(n_seeds)]
        return plan.chunks(self.definition, self.configuration, start, about, lr, plan.LOOK, seeds, horizon, 0, WIDTH)

    def _sweep(self, start: Arrays, about: Mapping[str, Any], seen: Mapping[str, Any]) -> list[Chunk]:
        seeds = [self.configuration["seed"] * _SWEEP_SEED + i for i in range(self.configuration["n_seeds"])]
        chunks = []
        for lr in self.rates:
            scale = float(lr / seen["lr"]) ** (2 / 3)
            deltas = seen["best"] * scale * np.array(self.definition.profiles[self.configuration["profile"]].grid)
            deltas = np.asarray(deltas[deltas <= 1], dtype=np.float64)
            shortest = seen["best_time"] / scale
            least = self.configuration["budget"] or int(np.ceil(shortest))
            horizon = int(np.ceil(max(plan.LONGEST * shortest, least)))
            chunks += plan.chunks(
                self.definition, self.configuration, start, about, float(lr), deltas, seeds, horizon, least, WIDTH
            )
        return sorted(chunks, key=lambda chunk: -chunk.cost)

    def _file(self, chunk: Chunk, kind: str) -> Path:
        return self.folder / RUNS / f"{kind}-lr{chunk.lr:.6g}-seed{chunk.seeds[0]}.npz"

    def _train(self, chunks: list[Chunk], kind: str, engine: Engine, report: Report) -> list[Arrays]:
        """The arrays of every chunk, those on file not trained again."""
        todo = []
        for chunk in chunks:
            if self._file(chunk, kind).exists():
                read_arrays(self._file(chunk, kind), chunk.shapes)  # a broken file is noticed before the work starts
                report(chunk.cost)
            else:
                path = self._file(chunk, kind).absolute()
                todo.append(replace(chunk, checkpoint=path.with_name(f"checkpoint-{path.name}")))

        def finish(chunk: Chunk, arrays: Arrays) -> None:
            write_arrays(self._file(chunk, kind), **arrays)
            assert chunk.checkpoint is not None
            chunk.checkpoint.unlink(missing_ok=True)

        run_chunks(train, todo, finish, report=report, cost=lambda chunk: chunk.cost, **engine)
        return [read_arrays(self._file(chunk, kind), chunk.shapes) for chunk in chunks]

    def _dataset(self, chunks: list[Chunk], arrays: list[Arrays], about: dict[str, Any], planned: dict[str, Any]) -> xr.Dataset:
        n_lr, n_seed = len(self.rates), self.configuration["n_seeds"]
        n_momentum = max(len(chunk.one_minus_beta) for chunk in chunks)
        n_time = max(len(chunk.records) for chunk in chunks)
        delta = np.full((n_lr, n_momentum), np.nan)
        step = np.full((n_lr, n_time), -1, dtype=np.int64)
        values = np.full((len(METRICS), n_lr, n_momentum, n_seed, n_time), np.nan, dtype=np.float32)
        eigenvalues = np.full((n_lr, n_momentum, n_seed, 2, N_EIGENVALUES), np.nan, dtype=np.float32)
        reached = np.full((n_lr, n_momentum, n_seed), np.inf)
        last = np.zeros((n_lr, n_momentum, n_seed), dtype=np.int64)
        budget = np.zeros(n_lr, dtype=np.int64)
        for chunk, found in zip(chunks, arrays, strict=True):
            i = int(np.flatnonzero(self.rates == chunk.lr)[0])
            s = chunk.seeds[0] - self.configuration["seed"] * _SWEEP_SEED
            where = slice(0, len(chunk.one_minus_beta)), slice(s, s + len(chunk.seeds))
            n = len(chunk.records)
            delta[i, where[0]], step[i, :n], budget[i] = chunk.one_minus_beta, chunk.records, chunk.least
            values[:, i, *where, :n] = found["values"]
            values[:, i, *where, n:] = found["values"][..., -1:]
            eigenvalues[i, *where], last[i, *where] = found["eigenvalues"], found["last"]
            reached[i, *where] = plan.times(chunk, found)
        dims = ("lr", "momentum", "seed")
        metrics = {
            name: ((*dims, "time"), _rounded(values[m]), {"long_name": text, "units": unit})
            for m, (name, (text, unit)) in enumerate(METRICS.items())
        }
        methods = [name for name in plan.RULES if name in planned["rules"]]
        rules = np.array([[np.nan if x is None else x for x in planned["rules"][name]] for name in methods], dtype=np.float64)
        configuration = dict(self.configuration)
        return xr.Dataset(
            {
                **metrics,
                "convergence_time": (
                    dims,
                    reached,
                    {"long_name": "time after which tr H stays below its target", "units": "steps"},
                ),
                "last_step": (
                    dims,
                    last,
                    {"long_name": "last step of the run; its values stand from there on", "units": "steps"},
                ),
                "eigenvalues": (
                    (*dims, "stage", "rank"),
                    eigenvalues,
                    {"long_name": "largest eigenvalues of H", "units": "1"},
                ),
                "predicted_optimum": (("method", "lr"), rules, {"long_name": "1 - beta that a rule recommends", "units": "1"}),
                "budget": ("lr", budget, {"long_name": "steps after which the test metric is compared", "units": "steps"}),
            },
            coords={
                "lr": ("lr", self.rates, {"long_name": "learning rate eta", "units": "1"}),
                "one_minus_beta": (dims[:2], delta, {"long_name": "1 - momentum", "units": "1"}),
                "step": (("lr", "time"), step, {"long_name": "updates done", "units": "steps"}),
                "seed": ("seed", np.arange(n_seed), {"long_name": "seed of the run, from the first on", "units": "1"}),
                "method": methods,
                "stage": ["start", "end"],
            },
            attrs={
                "title": self.definition.title,
                "configuration": json.dumps(configuration),
                "command": command(self.definition, configuration),
                "about": json.dumps(about),
                "look": json.dumps(planned["look"]),
                "estimate": json.dumps(planned["estimate"]),
                "source": self.definition.build(self.configuration).source,
                "versions": json.dumps(versions("torch", "numpy", "scipy", "xarray")),
            },
        )


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To 12 bits, 4e-4: below the noise of any metric, and a file of half the size."""
    bits = values.view(np.uint32)
    rounded = ((bits + np.uint32(1 << 11)) & np.uint32(0xFFFFF000)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)
