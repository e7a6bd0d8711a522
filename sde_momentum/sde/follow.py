"""Paths on given Wiener increments: for strong errors, common noise, and a coarse and a fine grid on one Brownian path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check, check_integer
from .ensemble import check_common
from .equation import Equation
from .kernel import compiled
from .methods import METHODS, method_for

Array = NDArray[np.float64]


def follow(
    sde: Equation,
    x0: ArrayLike,
    increments: ArrayLike,
    *,
    step: float,
    method: str = "euler-maruyama",
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    integrals: ArrayLike | None = None,
) -> Array:
    """The paths (n_steps + 1, dim, n_paths) on given Wiener increments dW (n_steps, n_noise, n_paths), variance `step` each.

    Sums of fine increments drive a coarse grid along the same Wiener path (`coarsen`). Methods of two draws a step ("sra1")
    also need `integrals` int (W_s - W_t) ds over each step, in the shape of the increments. The step is the very code of
    `solve`, whose own increments are sqrt(step) times `noise.standard_increments`.
    Raises InputError, also for methods that follow no path.

    >>> from sde_momentum.sde.equation import SDE
    >>> from sde_momentum.sde.noise import standard_increments
    >>> fine = 0.1 * standard_increments(0, n_paths=3, n_steps=200)  # of variance 0.01
    >>> coarse, _ = coarsen(fine, np.zeros_like(fine), 2, 0.01)
    >>> brownian = SDE(lambda x, t, p: 0.0, lambda x, t, p: 1.0)
    >>> ends = [follow(brownian, 0.0, dw, step=h)[-1] for dw, h in ((fine, 0.01), (coarse, 0.02))]
    >>> bool(np.allclose(*ends))
    True
    """
    h, origin, start, p = check_common(sde, x0, step, t0, parameters)
    dw = check("increments", increments, lambda a: np.full(a.shape, True), "finite numbers")
    if dw.ndim != 3 or dw.shape[1] != sde.n_noise:
        raise InputError("increments", f"shape {dw.shape}", f"shape (n_steps, {sde.n_noise}, n_paths)")
    scheme = method_for(sde, method)
    if scheme.strong_order is None and scheme.increments == "normal":
        named = ", ".join(m.name for m in METHODS.values() if m.strong_order is not None)
        raise InputError("method", method, f"one that approximates paths: {named}")
    z = dw / np.sqrt(h)
    if scheme.draws == 2:
        if integrals is None or np.shape(integrals) != dw.shape:
            given = "none" if integrals is None else f"shape {np.shape(integrals)}"
            raise InputError("integrals", given, f"int (W_s - W_t) ds over each step, shape {dw.shape}, for {method}")
        # J = int / h = (dW + dU / sqrt 3) / 2
        z = np.concatenate([z, np.sqrt(3.0) * (2.0 * np.asarray(integrals) / h - dw) / np.sqrt(h)], axis=1)
    sde.probe(start, origin, p)
    kernel = compiled(sde, scheme, len(p))
    lanes, c = kernel.lanes, kernel.constants(h)
    n_steps, numbers, n_paths = z.shape
    out = np.empty((n_steps + 1, sde.dim, n_paths))
    out[0] = start[:, None]
    extra = np.zeros((max(1, kernel.extras.rows), lanes))
    for first in range(0, n_paths, lanes):
        width = min(lanes, n_paths - first)
        block = np.zeros((n_steps * numbers, lanes))
        block[:, :width] = z[:, :, first : first + width].reshape(n_steps * numbers, width)
        x = np.repeat(start[:, None], lanes, axis=1)
        for k in range(n_steps):
            kernel.advance(x, block[k * numbers : (k + 1) * numbers], extra, 0, 1, k, origin, h, p, c)
            out[k + 1, :, first : first + width] = x[:, :width]
    return out


def coarsen(increments: ArrayLike, integrals: ArrayLike, factor: int, step: float) -> tuple[Array, Array]:
    """dW and int (W_s - W_t) ds of a grid of `factor` times the step, from those of the fine grid (n_steps, n_noise, n_paths)."""
    dw, area = np.asarray(increments, dtype=np.float64), np.asarray(integrals, dtype=np.float64)
    check_integer(factor, "factor", 1)
    if dw.ndim != 3 or dw.shape != area.shape or dw.shape[0] % factor:
        raise InputError("increments", f"shapes {dw.shape}, {area.shape}", f"one shape (k * {factor}, n_noise, n_paths)")
    grouped = (dw.shape[0] // factor, factor, *dw.shape[1:])
    dw, area = dw.reshape(grouped), area.reshape(grouped)
    before = np.cumsum(dw, axis=1) - dw  # W at the start of each fine step, from that of the coarse one
    return dw.sum(axis=1), (area + step * before).sum(axis=1)
