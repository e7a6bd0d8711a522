"""The increments of each path: a stream keyed by (seed, path), drawn in the order step, component.

Numbers are drawn a buffer at a time, and the buffer outlives the times of record: the increment of a step depends
on seed, path, step, component and the law alone, not on n_paths, on `times` or on threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..dynamics.random import WIENER, fill_normal, fill_rademacher, streams

LANES = 128
"""Paths stepped together: of 64, 128 and 256, all within 7 %, the first whose buffer and moments both amortise."""

FILL = {"normal": fill_normal, "rademacher": fill_rademacher}
# 16 rows of normals (16 KiB) stay in the first-level cache with the paths; two-point rows come 64 from a word
_ROWS = {"normal": 16, "rademacher": 64}


def buffer_steps(law: str, dim: int) -> int:
    """Steps of one buffer: an even number, as normals are made in pairs."""
    return max(2, _ROWS[law] // dim // 2 * 2)


def path_states(seed: int, first: int, n_paths: int) -> NDArray[np.uint64]:
    """Generator states (4, n_paths) of paths first, first + 1, ...: a hash of the seed, plus the path."""
    base = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return np.ascontiguousarray(streams(base + np.arange(first, first + n_paths, dtype=np.uint64), WIENER))


def standard_increments(seed: int, n_paths: int, n_steps: int, dim: int = 1, law: str = "normal") -> NDArray[np.float64]:
    """dW / sqrt(h) as `solve` draws it, (n_steps, dim, n_paths): mean 0, variance 1, law "normal" or "rademacher"."""
    state, words = path_states(seed, 0, n_paths), np.empty(n_paths, np.uint64)
    rows = buffer_steps(law, dim) * dim
    buffers = []
    for _ in range(-(-n_steps * dim // rows)):
        buffers.append(np.empty((rows, n_paths)))
        FILL[law](state, words, buffers[-1])
    return np.concatenate(buffers)[: n_steps * dim].reshape(n_steps, dim, n_paths)
