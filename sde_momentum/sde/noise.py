"""Random increments: each path has a stream keyed by (seed, path), drawn in the order step, draw, Wiener process.

Numbers are drawn one buffer at a time, and a buffer goes on beyond a record time: the increment of a step depends on
seed, path, step and the layout (Wiener processes, draws) alone, not on n_paths, `times` or threads. Normals fill
rows; two-point increments are bits, the highest of a word first, and a buffer's steps take theirs from the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import by_annotations
from ..core.errors import check_integer
from ..core.random import PASSAGE, WIENER, fill_normal, fill_words, streams


class Layout(NamedTuple):
    """Layout of the buffer of random numbers for a block of `lanes` paths: `numbers` per step, "normal" or "rademacher" (±1)."""

    numbers: int
    law: str
    lanes: int = 128

    @property
    def steps(self) -> int:
        """Steps of one buffer. Normals: those of 16 KiB, half the first-level cache, with an even number of rows, since they
        are made in pairs: so the numbers do not depend on it. Bits: those of a word."""
        if self.law == "rademacher":
            return max(1, 64 // self.numbers)
        return max(1 + self.numbers % 2, 2048 // self.lanes // self.numbers // 2 * 2)

    @property
    def rows(self) -> int:
        """Rows of one buffer."""
        numbers = self.steps * self.numbers
        return -(-numbers // 64) if self.law == "rademacher" else numbers


def path_words(seed: int, first: int, n_paths: int, branch: tuple[int, ...] = ()) -> NDArray[np.uint64]:
    """64-bit seeds of the paths first, first + 1, ...: a hash of the seed (and branch), plus the path's number."""
    return _hash(seed, branch) + np.arange(first, first + n_paths, dtype=np.uint64)


@lru_cache(maxsize=256)
def _hash(seed: int, branch: tuple[int, ...]) -> np.uint64:
    return np.uint64(np.random.SeedSequence(seed, spawn_key=branch).generate_state(1, np.uint64)[0])


@by_annotations
def standard_increments(
    seed: int, n_paths: int, n_steps: int, n_noise: int = 1, law: str = "normal", draws: int = 1
) -> NDArray[np.float64]:
    """dW / sqrt(h) as `solve` draws it, (n_steps, n_noise, n_paths): mean 0, variance 1, law "normal" or "rademacher".

    With `draws` 2 (methods that need two numbers per step): (n_steps, 2 n_noise, n_paths), dW's first, then dU's.

    >>> drawn = standard_increments(seed=0, n_paths=2, n_steps=1000)
    >>> drawn.shape, bool(abs(drawn.mean()) < 0.1), bool(abs(drawn.std() - 1) < 0.1)
    ((1000, 1, 2), True, True)
    """
    check_integer(seed, "seed", 0)
    check_integer(n_noise, "n_noise", 1, 10**6)
    check_integer(draws, "draws", 1, 2)
    check_integer(n_steps, "n_steps", 1, 10**9)
    check_integer(n_paths, "n_paths", 1, max(1, 10**10 // (n_noise * n_steps)))
    numbers = standard_numbers(Layout(n_noise * draws, law), streams(path_words(seed, 0, n_paths), WIENER))
    return np.stack([next(numbers).copy() for _ in range(n_steps)])


def standard_numbers(layout: Layout, state: NDArray[np.uint64]) -> Iterator[NDArray[np.float64]]:
    """The numbers (numbers, n) of each step from the streams of state (4, n), valid until the next is asked for."""
    n = state.shape[1]
    steps = (
        layout.steps if layout.law == "rademacher" else 1 + layout.numbers % 2
    )  # an even number of rows: they are made in pairs
    numbers = np.empty((steps * layout.numbers, n))
    while True:
        if layout.law == "normal":
            fill_normal(state, numbers)
        else:
            words = np.empty((layout.rows, n), np.uint64)
            fill_words(state, words)
            bits = (words[:, None] >> np.arange(63, -1, -1, dtype=np.uint64)[:, None]) & np.uint64(1)
            numbers[:] = 1.0 - 2.0 * bits.reshape(-1, n)[: len(numbers)]
        yield from numbers.reshape(steps, layout.numbers, n)


def unseen_at_start(seed: int, first: int, n: int) -> NDArray[np.float64]:
    """1 / U of each path, U its own uniform number that decides on passages within steps."""
    words = streams(path_words(seed, first, n), PASSAGE)[0]
    return np.asarray(2.0**53 / ((words >> np.uint64(11)) + 0.5))
