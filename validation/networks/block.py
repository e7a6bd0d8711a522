"""A block of a sweep: all momenta of one learning rate and a few seeds, trained together from one start."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sde_momentum.core.files import read_arrays, write_arrays

from ..experiment import Configuration
from ..shares import tell
from .base import Parameters
from .stacked_sgd import Setting, Stack
from .task import METRICS, N_EIGENVALUES, Task, to_tensors

Arrays = dict[str, NDArray[Any]]

_CHECKPOINT, _PAUSE = 120.0, 20.0
"""Interval between checkpoints: at least this many seconds, and this many times the duration of the last one."""
_HOLD = 1.6
"""A run ends when it has stayed below its target for this fraction of the time that it took to reach it."""


@dataclass(frozen=True)
class Block:
    """Plain data from which a process trains M x S runs; the results depend on them alone, not on `checkpoint`.

    Attributes:
        build: makes the task from `configuration`, the same in every process
        start: parameters, name -> (1, ...)
        lr: eta
        one_minus_beta: (M,)
        seeds: S of them
        records: steps at which the runs are measured, from 0 to the horizon, (T,)
        level, loss_level: the target, tr H and train loss below which a run must stay
        least: least number of steps of every run
        checkpoint: file from which a stopped block continues; None: it starts over
    """

    build: Callable[[Configuration], Task]
    configuration: Configuration
    start: Mapping[str, NDArray[Any]] = field(repr=False)
    lr: float
    one_minus_beta: tuple[float, ...]
    seeds: tuple[int, ...]
    records: tuple[int, ...] = field(repr=False)
    level: float
    loss_level: float
    least: int
    checkpoint: Path | None = None

    @property
    def cost(self) -> int:
        """Largest number of steps, summed over the runs."""
        return self.records[-1] * len(self.one_minus_beta) * len(self.seeds)

    @property
    def left(self) -> float:
        """The part of `cost` that the checkpoint does not hold."""
        found = self.kept()
        return self.cost * (1 - (self.share(int(found["step"]), len(found["active"])) if found else 0.0))

    def share(self, step: int, n_active: int) -> float:
        """Share of `cost` after so many steps with so many runs that go on; those that have ended count whole."""
        return 1 - n_active / (len(self.one_minus_beta) * len(self.seeds)) * (1 - step / self.records[-1])

    @property
    def mark(self) -> str:
        """What a checkpoint must belong to, as JSON."""
        return json.dumps({**self.identity, "configuration": self.configuration})

    def kept(self) -> Arrays | None:
        """The state in the checkpoint; None without one of this block."""
        found = None if self.checkpoint is None else read_arrays(self.checkpoint)
        return found[1] if found is not None and found[0] == self.mark else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that `train` returns."""
        n = (len(self.one_minus_beta), len(self.seeds))
        return {"values": (len(METRICS), *n, len(self.records)), "last": n, "eigenvalues": (*n, 2, N_EIGENVALUES)}

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on, beside the configuration."""
        names = ("lr", "one_minus_beta", "seeds", "records", "level", "loss_level", "least")
        start = hashlib.sha256(b"".join(self.start[name].tobytes() for name in sorted(self.start))).hexdigest()
        return json.loads(json.dumps({**{name: getattr(self, name) for name in names}, "start": start}))


def setting(task: Task, configuration: Configuration) -> Setting:
    """The stack's training problem in a configuration: batches, update, noise, precision."""
    return Setting(
        task.network,
        task.loss,
        task.inputs,
        batch_size=int(configuration["batch_size"]) or task.n_samples,
        nesterov=bool(configuration["nesterov"]),
        weight_decay=float(configuration["weight_decay"]),
        noisy=configuration["label_noise"] > 0,
        autocast="bfloat16" if configuration["precision"] == "bf16" else None,
        augment=task.augment,
    )


def train(block: Block) -> Arrays:
    """Train all runs of a block, from its checkpoint if there is one.

    Returns:
        values: METRICS of every run, (n_metrics, M, S, T); once a run has ended its last values stand, inf if it diverged
        last: the last step of each run, (M, S)
        eigenvalues: the largest of H at the start and at each run's end, (M, S, 2, N_EIGENVALUES)
    """
    training = _Training.begin(block)
    if (found := block.kept()) is not None:
        training.take_up(found)
    due, before, mark = time.monotonic() + _CHECKPOINT, training.share, block.mark
    for t in range(training.first, len(block.records)):
        if training.advance(t):
            break
        tell((training.share - before) / (1 - before))
        if block.checkpoint is not None and (began := time.monotonic()) > due and block.checkpoint.parent.is_dir():
            write_arrays(block.checkpoint, mark, training.state(t + 1))
            due = (ended := time.monotonic()) + max(_CHECKPOINT, _PAUSE * (ended - began))
    shape = (len(block.one_minus_beta), len(block.seeds))
    return {
        "values": training.values.reshape(len(METRICS), *shape, -1),
        "last": training.last.reshape(shape),
        "eigenvalues": training.eigenvalues.reshape(*shape, 2, N_EIGENVALUES),
    }


@dataclass
class _Training:
    """A block in training: M S runs, of which those in `stack` are not finished.

    Attributes:
        values, last, eigenvalues: as `train` returns them, with one axis for all runs
        active: the runs in `stack`, by number
        above: last step at which each run was above its levels
        first: the next record
    """

    block: Block
    task: Task
    start: Parameters
    stack: Stack
    values: NDArray[np.float32]
    last: NDArray[np.int64]
    eigenvalues: NDArray[np.float32]
    active: NDArray[np.int64]
    above: NDArray[np.float64]
    first: int = 0

    @classmethod
    def begin(cls, block: Block) -> _Training:
        task = block.build(block.configuration)
        n_momentum, n_seed = len(block.one_minus_beta), len(block.seeds)
        n_runs = n_momentum * n_seed
        start = to_tensors(block.start, task.inputs)
        momentum = np.repeat(1 - np.array(block.one_minus_beta), n_seed)
        seed = np.tile(np.arange(n_seed), n_momentum)
        stack = Stack.begin(start, np.full(n_runs, block.lr), momentum, seed, [int(s) for s in block.seeds])
        values = np.full((len(METRICS), n_runs, len(block.records)), np.nan, dtype=np.float32)
        last = np.full(n_runs, block.records[-1], dtype=np.int64)
        eigenvalues = np.empty((n_runs, 2, N_EIGENVALUES), dtype=np.float32)
        eigenvalues[:, 0] = task.eigenvalues(start)
        return cls(block, task, start, stack, values, last, eigenvalues, np.arange(n_runs), np.zeros(n_runs))

    def state(self, first: int) -> Arrays:
        """The state from which `take_up` continues at record `first`."""
        parts = (("w", self.stack.parameters), ("v", self.stack.velocity))
        tensors = {f"{kind} {name}": x.cpu().numpy() for kind, part in parts for name, x in part.items()}
        where = {"first": np.array(first), "step": np.array(self.stack.step), "active": self.active}
        return {**tensors, **where, **{name: getattr(self, name) for name in _KEPT}}

    def take_up(self, found: Arrays) -> None:
        """Continue from a `state`."""
        self.first, self.active = int(found["first"]), found["active"]
        for name in _KEPT:
            setattr(self, name, found[name])
        self.stack = self.stack.keep(self.active)
        self.stack.step = int(found["step"])
        for name in self.stack.parameters:
            self.stack.parameters[name] = torch.as_tensor(found[f"w {name}"]).to(self.task.inputs)
            self.stack.velocity[name] = torch.as_tensor(found[f"v {name}"]).to(self.task.inputs)

    @property
    def share(self) -> float:
        """Share of the block's cost that is done."""
        return self.block.share(self.stack.step, self.active.size)

    def advance(self, t: int) -> bool:
        """Train to record t, measure, and end runs that stay below their target or diverged; True: none is left."""
        block, active = self.block, self.active
        step = block.records[t]
        self.stack.advance(setting(self.task, block.configuration), step - self.stack.step)
        measured = self.task.measure(self.stack.parameters, self.start)
        for m, name in enumerate(METRICS):
            self.values[m, active, t] = measured[name]
        finite = np.isfinite(measured["train_loss"]) & np.isfinite(measured["trace_hessian"])
        arrived = finite & (measured["trace_hessian"] < block.level) & (measured["train_loss"] < block.loss_level)
        self.above[active[~arrived]] = step
        done = ~finite | (arrived & (step >= block.least) & (step >= _HOLD * self.above[active]))
        if t == len(block.records) - 1:
            done[:] = True
        if done.any():
            self._end(t, done, finite)
        return not self.active.size

    def _end(self, t: int, done: NDArray[np.bool_], finite: NDArray[np.bool_]) -> None:
        """Keep the last values of finished runs, and continue the others."""
        gone = self.active[done]
        self.last[gone] = self.block.records[t]
        self.values[:, gone[~finite[done]], t] = np.inf
        self.values[:, gone, t + 1 :] = self.values[:, gone, t : t + 1]
        ended = self.stack.keep(np.flatnonzero(done))
        self.eigenvalues[gone, 1] = np.where(finite[done][:, None], _eigenvalues(self.task, ended, finite[done]), np.inf)
        self.active = self.active[~done]
        if self.active.size:
            self.stack = self.stack.keep(np.flatnonzero(~done))


_KEPT = ("values", "last", "above", "eigenvalues")


def _eigenvalues(task: Task, stack: Stack, finite: NDArray[np.bool_]) -> NDArray[np.float32]:
    out = np.full((len(finite), N_EIGENVALUES), np.inf, dtype=np.float32)
    if finite.any():
        out[finite] = task.eigenvalues(stack.keep(np.flatnonzero(finite)).parameters)
    return out
