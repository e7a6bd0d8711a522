"""Paths on given Wiener increments: for strong errors, common noise, or a coarse and a fine grid on one Brownian path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ...core.arguments import by_annotations
from ...core.errors import InputError, check, check_integer
from ..collect import Execution
from ..methods import METHODS, Method, follows_paths, method_for
from ..paths import Paths
from ..task import Array, Task
from ..until import UntilError
from .base import PathStepping
from .batched import BatchedPaths
from .fixed import Advance, KernelPaths


@by_annotations
@dataclass(frozen=True, eq=False)
class OnIncrements(PathStepping):
    """Steps on given Wiener increments dW (n_steps, n_noise, n_paths), of variance `step` each: path i on increments[..., i].

    Sums of fine increments drive a coarse grid along the same Wiener path (`coarsen`). Methods of two draws a step ("sra1")
    also need `integrals` int (W_s - W_t) ds over each step, in the shape of the increments. The step's code is that of
    `Fixed`, whose own increments are sqrt(step) times `standard_increments`. Record times may not go beyond the increments,
    nor n_paths beyond their number; there is no seed. Raises InputError, also for methods that only approximate expectations.

    >>> from sde_momentum import sde
    >>> fine = 0.1 * sde.standard_increments(0, n_paths=3, n_steps=200)  # of variance 0.01
    >>> coarse, _ = coarsen(fine, np.zeros_like(fine), 2, 0.01)
    >>> brownian = sde.SDE(lambda x, t, p: 0.0, lambda x, t, p: 1.0)
    >>> ends = [
    ...     sde.solve(brownian, 0.0, [2.0], step=OnIncrements(dw, h), n_paths=3, statistics=[sde.KeepPaths(range(3))])
    ...     for dw, h in ((fine, 0.01), (coarse, 0.02))
    ... ]
    >>> bool(np.allclose(ends[0].path_value, ends[1].path_value))
    True
    """

    increments: ArrayLike
    step: float
    method: str | type[Method] = "euler-maruyama"
    integrals: ArrayLike | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("increments", "integrals"):
            if getattr(self, name) is not None:
                value = check(name, getattr(self, name), lambda a: np.full(a.shape, True), "finite numbers")
                object.__setattr__(self, name, value)

    def run(self, task: Task, n_paths: int | UntilError, how: Execution) -> xr.Dataset:
        dw = np.asarray(self.increments)
        most = dw.shape[-1] if dw.ndim else 0
        if isinstance(n_paths, UntilError) or check_integer(n_paths, "n_paths", 1) > most:
            raise InputError("n_paths", n_paths, f"a whole number from 1 to {most}, the number of paths with increments")
        if task.seed != 0:
            raise InputError("seed", task.seed, "none with given increments")
        return super().run(task, n_paths, how)

    def paths(self, task: Task) -> Paths:
        dw, n_noise = np.asarray(self.increments), task.equation.n_noise
        if dw.ndim != 3 or dw.shape[1] != n_noise:
            raise InputError("increments", f"shape {dw.shape}", f"shape (n_steps, {n_noise}, n_paths)")
        if task.steps[-1] > len(dw):
            raise InputError("times", task.times[-1], f"at most {len(dw)} steps after t0 = {task.t0:g}, as there are increments")
        method = method_for(task.equation, self.method)
        if not follows_paths(method) and method.increments == "normal":
            named = ", ".join(m.name for m in METHODS.values() if follows_paths(m))
            raise InputError("method", method.name, f"one that approximates paths: {named}")
        if method.levy_areas:
            raise InputError("method", method.name, "one whose step follows from dW: increments do not tell the Levy areas")
        z = self._standard(method)
        return BatchedPaths(task, method, z=z) if task.equation.batched else GivenPaths(task, method, z)

    def _standard(self, method: type[Method]) -> Array:
        """The method's standard normal numbers, (n_steps, numbers, n_paths)."""
        dw, root = np.asarray(self.increments), np.sqrt(self.step)
        if method.draws == 1:
            if self.integrals is not None:
                raise InputError("integrals", f"shape {np.shape(self.integrals)}", f"none for {method.name}: it uses dW alone")
            return dw / root
        if self.integrals is None or np.shape(self.integrals) != dw.shape:
            given = "none" if self.integrals is None else f"shape {np.shape(self.integrals)}"
            raise InputError("integrals", given, f"int (W_s - W_t) ds over each step, shape {dw.shape}, for {method.name}")
        # J = int / h = (dW + dU / sqrt 3) / 2
        return np.concatenate([dw / root, np.sqrt(3.0) * (2.0 * np.asarray(self.integrals) / self.step - dw) / root], axis=1)


@dataclass(frozen=True, eq=False)
class GivenPaths(KernelPaths):
    """Paths on given numbers z (n_steps, numbers, n_paths) of variance 1."""

    z: Array

    def prepare(self) -> None:
        self.kernel.given  # noqa: B018  it is compiled when first used

    def stepper(self, first: int, blocks: int) -> Advance:
        task, (kernel, c) = self.task, (self.kernel, self.constants)
        lanes, numbers, module = kernel.lanes, self.z.shape[1], kernel.given

        def advance(k: int, steps: NDArray[np.int64], x: Array, extra: Array, out: Array) -> None:
            for block in range(blocks):
                here = self.z[k : steps[-1], :, first + block * lanes : first + (block + 1) * lanes]
                z = np.zeros(((steps[-1] - k) * numbers, lanes))
                z[:, : here.shape[2]] = here.reshape(len(z), here.shape[2])
                before = k
                for m, at in enumerate(steps):
                    rows = z[(before - k) * numbers : (at - k) * numbers]
                    module.advance(x[block], rows, extra[block], 0, at - before, before, task.t0, task.step, task.parameters, c)
                    module.look(x[block], out[block, m], task.t0 + at * task.step, task.parameters)
                    before = at

        return advance

    def identity(self) -> tuple[Any, ...]:
        return (*super().identity(), self.z)


@by_annotations
def coarsen(increments: ArrayLike, integrals: ArrayLike, factor: int, step: float) -> tuple[Array, Array]:
    """dW and int (W_s - W_t) ds of a grid of `factor` times the step, from those of the fine grid (n_steps, n_noise, n_paths).

    >>> dw = np.array([0.1, -0.2, 0.3, 0.0]).reshape(4, 1, 1)
    >>> coarse, _ = coarsen(dw, np.zeros_like(dw), 2, step=0.5)
    >>> coarse.ravel().round(3).tolist()  # W at 1 and 2: sums of two
    [-0.1, 0.3]
    """
    dw, area = np.asarray(increments, dtype=np.float64), np.asarray(integrals, dtype=np.float64)
    check_integer(factor, "factor", 1)
    if dw.ndim != 3 or dw.shape != area.shape or dw.shape[0] % factor:
        raise InputError("increments", f"shapes {dw.shape}, {area.shape}", f"one shape (k * {factor}, n_noise, n_paths)")
    grouped = (dw.shape[0] // factor, factor, *dw.shape[1:])
    dw, area = dw.reshape(grouped), area.reshape(grouped)
    before = np.cumsum(dw, axis=1) - dw  # W at the start of each fine step, from that of the coarse one
    return dw.sum(axis=1), (area + step * before).sum(axis=1)
