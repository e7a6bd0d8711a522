"""A sweep over (lr, momentum, seed): cut into chunks that are run, stored and, after an interruption, not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from joblib import Parallel, delayed
from numpy.typing import NDArray

from sde_momentum.core.threads import one_blas_thread
from sde_momentum.dynamics.label_noise_sgd import LANES, LabelNoiseSGD, run_block

from .store import read_arrays, write_arrays

Floats = NDArray[np.float64]
RUNS = "runs"


@dataclass(frozen=True, eq=False)
class Sweep:
    """Which runs there are.

    Attributes:
        method: what is stepped
        start: (N,)
        lr: (n_lr,)
        one_minus_beta: (n_lr, n_momentum): each learning rate has its own momenta
        horizon: steps of each run, (n_lr, n_momentum)
        seeds: (n_seed,), shared by all (lr, momentum): common random numbers
        metrics: what is recorded
        n_records: at this many equally spaced times, 0 and the horizon among them
    """

    method: LabelNoiseSGD
    start: Floats
    lr: Floats
    one_minus_beta: Floats
    horizon: NDArray[np.int64]
    seeds: NDArray[np.uint64]
    metrics: Sequence[str]
    n_records: int

    def steps(self, i: int, j: int) -> NDArray[np.int64]:
        """Record times of (lr i, momentum j), (n_records,)."""
        return np.unique(np.linspace(0, self.horizon[i, j], self.n_records).astype(np.int64))

    def chunks(self) -> list[Chunk]:
        """All chunks, the longest first, so that no core waits for the last one."""
        n_lr, n_momentum = self.one_minus_beta.shape
        firsts = range(0, len(self.seeds), LANES)
        every = [Chunk(i, j, k) for i in range(n_lr) for j in range(n_momentum) for k in firsts]
        return sorted(every, key=lambda chunk: -self.cost(chunk))

    def cost(self, chunk: Chunk) -> int:
        """Steps of the chunk, the padding included."""
        return int(self.horizon[chunk.i, chunk.j]) * LANES

    def shapes(self, chunk: Chunk) -> dict[str, tuple[int, ...]]:
        """What a chunk's file holds."""
        n = len(self.seeds[chunk.first : chunk.first + LANES])
        return {"values": (len(self.metrics), n, self.n_records), "diverged": (n,)}


@dataclass(frozen=True)
class Chunk:
    """Up to LANES seeds, from `first` on, of (lr i, momentum j)."""

    i: int
    j: int
    first: int

    def file(self, folder: Path) -> Path:
        return folder / RUNS / f"lr{self.i:02d}-momentum{self.j:02d}-seed{self.first:05d}.npz"


def _run(sweep: Sweep, chunk: Chunk, folder: Path) -> Chunk:
    i, j = chunk.i, chunk.j
    seeds = sweep.seeds[chunk.first : chunk.first + LANES]
    momentum = 1 - sweep.one_minus_beta[i, j]
    values, diverged = run_block(sweep.method, sweep.start, sweep.lr[i], momentum, seeds, sweep.steps(i, j), sweep.metrics)
    write_arrays(chunk.file(folder), values=values.astype(np.float32), diverged=diverged)
    return chunk


def run(sweep: Sweep, folder: Path, workers: int, report: Callable[[int], None]) -> None:
    """Run the chunks whose file is not there yet; `report(cost)` is told of each chunk done, the old ones included.

    The files do not depend on `workers`, nor on how often the sweep was interrupted.
    """
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    todo = []
    for chunk in sweep.chunks():
        if chunk.file(folder).exists():
            read_arrays(chunk.file(folder), sweep.shapes(chunk))  # a broken file is noticed before the work starts
            report(sweep.cost(chunk))
        else:
            todo.append(chunk)
    with one_blas_thread():
        jobs = (delayed(_run)(sweep, chunk, folder) for chunk in todo)
        for done in Parallel(n_jobs=workers, prefer="threads", return_as="generator_unordered")(jobs):
            report(sweep.cost(done))


def collect(sweep: Sweep, folder: Path) -> xr.Dataset:
    """All chunks as one Dataset of dims (lr, momentum, seed, time)."""
    shape = (*sweep.one_minus_beta.shape, len(sweep.seeds))
    values = np.empty((len(sweep.metrics), *shape, sweep.n_records), dtype=np.float32)
    diverged = np.empty(shape, dtype=np.int64)
    for chunk in sweep.chunks():
        arrays = read_arrays(chunk.file(folder), sweep.shapes(chunk))
        cut = (chunk.i, chunk.j, slice(chunk.first, chunk.first + LANES))
        values[:, *cut] = arrays["values"]
        diverged[cut] = arrays["diverged"]
    n_lr, n_momentum = sweep.one_minus_beta.shape
    steps = np.array([[sweep.steps(i, j) for j in range(n_momentum)] for i in range(n_lr)])
    dims = ("lr", "momentum", "seed", "time")
    names = {
        "train_loss": "train loss without noise",
        "test_error": "squared error of the matrix, relative",
        "trace_hessian": "tr H",
        "distance": "first-order distance to Gamma",
    }
    metrics = {name: (dims, values[m], {"long_name": names[name], "units": "1"}) for m, name in enumerate(sweep.metrics)}
    note = {"long_name": "step at which the run diverged, -1: none", "units": "steps"}
    return xr.Dataset(
        {**metrics, "diverged": (dims[:3], diverged, note)},
        coords={
            "lr": ("lr", sweep.lr, {"long_name": "learning rate eta", "units": "1"}),
            "one_minus_beta": (dims[:2], sweep.one_minus_beta, {"long_name": "1 - momentum", "units": "1"}),
            "seed": ("seed", sweep.seeds.astype(np.int64), {"long_name": "seed of the run", "units": "1"}),
            "step": (("lr", "momentum", "time"), steps, {"long_name": "updates done", "units": "steps"}),
        },
    )
