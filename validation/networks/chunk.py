"""A piece of a sweep: all momenta of one learning rate, a few seeds, trained together from one start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..store import read_whole, write_arrays
from .stacked_sgd import Setting, Stack
from .task import METRICS, N_EIGENVALUES, Task, to_tensors

Arrays = dict[str, NDArray[Any]]

_CHECKPOINT, _PAUSE = 120.0, 20.0
"""A checkpoint is written after so many seconds, and after so many times what the last one took."""
_HOLD = 1.6
"""A run ends when it has stayed below its target for this factor of the time that it took to get there."""


@dataclass(frozen=True)
class Chunk:
    """What a process needs to train M x S runs; its result depends on these alone, `checkpoint` aside.

    Attributes:
        build: makes the task from `configuration`, the same in every process
        start: parameters, name -> (1, ...)
        lr: eta
        one_minus_beta: (M,)
        seeds: S of them
        records: steps at which the runs are measured, from 0 to the horizon, (T,)
        level: a run has arrived when tr H stays below it
        loss_level: and the train loss below this
        least: steps that every run does at least
        checkpoint: where a stopped chunk goes on from, None: from its start
    """

    build: Callable[[Mapping[str, Any]], Task]
    configuration: Mapping[str, Any]
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
        """Run-steps at most."""
        return self.records[-1] * len(self.one_minus_beta) * len(self.seeds)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the arrays that `train` returns."""
        n = (len(self.one_minus_beta), len(self.seeds))
        return {"values": (len(METRICS), *n, len(self.records)), "last": n, "eigenvalues": (*n, 2, N_EIGENVALUES)}


def setting(task: Task, configuration: Mapping[str, Any]) -> Setting:
    """How the runs of a configuration are trained."""
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


def train(chunk: Chunk) -> Arrays:
    """Train the chunk.

    Returns:
        values: METRICS of every run, (n_metrics, M, S, T); once a run has ended its last values stand, inf if it diverged
        last: the last step of each run, (M, S)
        eigenvalues: the largest of H at the start and at each run's end, (M, S, 2, N_EIGENVALUES)
    """
    task = chunk.build(chunk.configuration)
    how = setting(task, chunk.configuration)
    n_momentum, n_seed = len(chunk.one_minus_beta), len(chunk.seeds)
    n_runs = n_momentum * n_seed
    start = to_tensors(chunk.start, task.inputs)
    momentum = np.repeat(1 - np.array(chunk.one_minus_beta), n_seed)
    stack = Stack.begin(
        start, np.full(n_runs, chunk.lr), momentum, np.tile(np.arange(n_seed), n_momentum), [int(s) for s in chunk.seeds]
    )
    values = np.full((len(METRICS), n_runs, len(chunk.records)), np.nan, dtype=np.float32)
    last = np.full(n_runs, chunk.records[-1], dtype=np.int64)
    eigenvalues = np.empty((n_runs, 2, N_EIGENVALUES), dtype=np.float32)
    eigenvalues[:, 0] = task.eigenvalues(start)
    active = np.arange(n_runs)
    above = np.zeros(n_runs)
    first = 0
    if chunk.checkpoint is not None and (found := read_whole(chunk.checkpoint)) is not None:
        first, active = int(found["first"]), found["active"]
        values, last, above, eigenvalues = found["values"], found["last"], found["above"], found["eigenvalues"]
        stack = stack.keep(active)
        stack.step = int(found["step"])
        for name in stack.parameters:
            stack.parameters[name] = torch.as_tensor(found[f"w {name}"]).to(task.inputs)
            stack.velocity[name] = torch.as_tensor(found[f"v {name}"]).to(task.inputs)
    due = time.monotonic() + _CHECKPOINT
    for t in range(first, len(chunk.records)):
        step = chunk.records[t]
        stack.advance(how, step - stack.step)
        measured = task.measure(stack.parameters, start)
        for m, name in enumerate(METRICS):
            values[m, active, t] = measured[name]
        finite = np.isfinite(measured["train_loss"]) & np.isfinite(measured["trace_hessian"])
        arrived = finite & (measured["trace_hessian"] < chunk.level) & (measured["train_loss"] < chunk.loss_level)
        above[active[~arrived]] = step
        done = ~finite | (arrived & (step >= chunk.least) & (step >= _HOLD * above[active]))
        if t == len(chunk.records) - 1:
            done[:] = True
        if done.any():
            gone = active[done]
            last[gone] = step
            values[:, gone[~finite[done]], t] = np.inf
            values[:, gone, t + 1 :] = values[:, gone, t : t + 1]
            ended = stack.keep(np.flatnonzero(done))
            eigenvalues[gone, 1] = np.where(finite[done][:, None], _eigenvalues(task, ended, finite[done]), np.inf)
            active = active[~done]
            if not active.size:
                break
            stack = stack.keep(np.flatnonzero(~done))
        if chunk.checkpoint is not None and (began := time.monotonic()) > due and chunk.checkpoint.parent.is_dir():
            state = {f"{kind} {name}": x.cpu().numpy() for kind, part in _parts(stack) for name, x in part.items()}
            progress = {"first": np.array(t + 1), "step": np.array(stack.step), "active": active}
            write_arrays(chunk.checkpoint, **state, **progress, values=values, last=last, above=above, eigenvalues=eigenvalues)
            due = (ended_at := time.monotonic()) + max(_CHECKPOINT, _PAUSE * (ended_at - began))
    shape = (n_momentum, n_seed)
    return {
        "values": values.reshape(len(METRICS), *shape, -1),
        "last": last.reshape(shape),
        "eigenvalues": eigenvalues.reshape(*shape, 2, N_EIGENVALUES),
    }


def _eigenvalues(task: Task, stack: Stack, finite: NDArray[np.bool_]) -> NDArray[np.float32]:
    out = np.full((len(finite), N_EIGENVALUES), np.inf, dtype=np.float32)
    if finite.any():
        out[finite] = task.eigenvalues(stack.keep(np.flatnonzero(finite)).parameters)
    return out


def _parts(stack: Stack) -> tuple[tuple[str, dict[str, torch.Tensor]], ...]:
    return ("w", stack.parameters), ("v", stack.velocity)
