"""Random streams: xoshiro256++ (Blackman, Vigna 2021), one state per lane, seeded from (seed, purpose).

A lane's numbers depend on its own seed and purpose alone: never on threads, batches or interruptions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import ArrayLike, NDArray

LABEL_NOISE, BATCHES = 0, 1
_STATE = types.Array(types.uint64, 2, "C")
_U64 = types.uint64


def streams(seeds: ArrayLike, purpose: int) -> NDArray[np.uint64]:
    """Initial states, shape (4, lanes): SplitMix64 from a hash of each lane's 64-bit seed and the purpose."""
    with np.errstate(over="ignore"):
        z = np.asarray(seeds, dtype=np.uint64)
        z = _mix(z) ^ _mix(np.full_like(z, np.uint64(purpose) + np.uint64(0xA0761D6478BD642F)))
        golden = np.uint64(0x9E3779B97F4A7C15)
        return np.stack([_mix(z + np.uint64(i + 1) * golden) for i in range(4)])


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(types.void(_STATE, types.Array(types.uint64, 1, "C")), cache=True, nogil=True)
def next_words(s: Any, out: Any) -> None:
    """One 64-bit word per lane."""
    for n in range(s.shape[1]):
        s0, s1, s2, s3 = s[0, n], s[1, n], s[2, n], s[3, n]
        x = s0 + s3
        out[n] = ((x << _U64(23)) | (x >> _U64(41))) + s0
        t = s1 << _U64(17)
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = (s3 << _U64(45)) | (s3 >> _U64(19))
        s[0, n], s[1, n], s[2, n], s[3, n] = s0, s1, s2, s3


_MATRIX = types.Array(types.float64, 2, "C")
_WORDS = types.Array(types.uint64, 1, "C")


@njit(types.void(_STATE, _WORDS, _MATRIX), cache=True, nogil=True)
def fill_rademacher(s: Any, words: Any, out: Any) -> None:
    """out (rows, lanes) <- +-1 with equal chances, one bit each: 64 rows from a word."""
    for i in range(out.shape[0]):
        bit = _U64(i % 64)
        if bit == _U64(0):
            next_words(s, words)
        for n in range(out.shape[1]):
            out[i, n] = 1.0 - 2.0 * np.float64((words[n] >> bit) & _U64(1))


@njit(types.void(_STATE, _WORDS, _MATRIX), cache=True, nogil=True)
def fill_normal(s: Any, words: Any, out: Any) -> None:
    """out (rows, lanes) <- standard normals by Box-Muller, a pair of rows from two words."""
    rows, lanes = out.shape
    for i in range(0, rows, 2):
        next_words(s, words)
        for n in range(lanes):
            # 1 - u in (0, 1]: the logarithm is finite
            u = 1.0 - np.float64(words[n] >> _U64(11)) * 2.0**-53
            out[i, n] = np.sqrt(-2.0 * np.log(u))
        next_words(s, words)
        for n in range(lanes):
            angle = 2.0 * np.pi * (np.float64(words[n] >> _U64(11)) * 2.0**-53)
            radius = out[i, n]
            out[i, n] = radius * np.cos(angle)
            if i + 1 < rows:
                out[i + 1, n] = radius * np.sin(angle)


def draws(seed: int, purpose: int, shape: tuple[int, int], law: str = "rademacher") -> NDArray[np.float64]:
    """What the simulator draws for one run: (n_steps, rows) of mean 0 and variance 1, `law` "rademacher" or "normal"."""
    state, words = streams([seed], purpose), np.empty(1, np.uint64)
    out = np.empty((*shape, 1))
    for step in out:
        (fill_normal if law == "normal" else fill_rademacher)(state, words, step)
    return out[..., 0]
