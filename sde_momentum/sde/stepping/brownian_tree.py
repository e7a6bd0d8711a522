"""Paths on dyadic Brownian trees, compiled (Gaines, Lyons 1997, SIAM J. Appl. Math. 57).

The increment over a root interval of length H is drawn first; the increments over the halves of any interval are
(dW ± sqrt(h) Z) / 2, Z standard normal (Lévy's construction). Z is a hash of seed, path, root and node of the tree, so that
the Brownian path does not depend on which intervals are refined.

Methods of two draws a step use int (W_s - W_t) ds = (h / 2) (dW + dU / sqrt 3) too. That the integrals of the halves add up is
linear in their four numbers, so that these are a rotation of dW, dU and two new normals.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from textwrap import indent
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from ...core import random
from ...core.compile import njit
from ...core.random import ADAPTIVE, mix
from ...core.simd import cache
from ..functions import injected
from ..kernel import Kernel
from ..noise import path_words

_U64 = types.uint64
_COLUMNS = types.Array(types.float64, 2, "C")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(
    types.void(types.uint64, types.uint64, types.int64, types.int64, _COLUMNS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def node_normals(key: Any, other: Any, root: int, node: int, out: Any) -> None:
    """Standard normals of a node of the tree: out (n, 1) <- a function of the path's two keys, the root interval and the node.

    Node 0: the increment over the root interval; node 2^l + i: the midpoint of part i of its 2^l parts. Box-Muller on two
    32-bit numbers, two normals from a word: |z| < 6.8.
    """
    base = mix(key + _U64(root + 1) * _GOLDEN)
    n = out.shape[0]
    words = (n + 1) // 2
    for j in range(words):
        w = mix(mix(base + _U64(node * words + j + 1) * _GOLDEN) ^ other)
        radius = math.sqrt(-2.0 * math.log((float(w >> _U64(32)) + 0.5) / 4294967296.0))
        angle = (float(w & _U64(0xFFFFFFFF)) + 0.5) * (2.0 * math.pi / 4294967296.0)
        out[2 * j, 0] = radius * math.cos(angle)
        if 2 * j + 1 < n:
            out[2 * j + 1, 0] = radius * math.sin(angle)


@njit(types.void(_COLUMNS, _COLUMNS), cache=True, nogil=True)
def copy(source: Any, target: Any) -> None:
    """target <- source; compiled once, unlike an assignment of arrays."""
    for i in range(source.shape[0]):
        target[i, 0] = source[i, 0]


_HALVES = """
for i in range({m}):  # of variance 1 each, and independent: a rotation
    first[i, 0] = 0.70710678118654752 * (z[level, i, 0] + bridge[i, 0])
    second[i, 0] = 0.70710678118654752 * (z[level, i, 0] - bridge[i, 0])
"""
_HALVES_WITH_INTEGRALS = """
for i in range({m}):
    half, tilt = 0.70710678118654752 * z[level, i, 0], 0.35355339059327376 * z[level, {m} + i, 0]
    swing, other_half = 0.35355339059327376 * bridge[i, 0], 0.70710678118654752 * bridge[{m} + i, 0]
    first[i, 0] = half + (1.7320508075688772 * tilt + swing)
    second[i, 0] = half - (1.7320508075688772 * tilt + swing)
    first[{m} + i, 0] = (tilt - 1.7320508075688772 * swing) + other_half
    second[{m} + i, 0] = (tilt - 1.7320508075688772 * swing) - other_half
"""
_TEXT = '''"""Paths on dyadic trees; `advance` and `look` of an equation are there before this is executed."""

import math

import numpy as np
from numba import float64, int64, typeof, types
from sde_momentum.core.compile import njit
from sde_momentum.sde.stepping.brownian_tree import copy, node_normals

P = typeof((0.0,) * {n_parameters})
V, M, A = (types.Array(float64, n, "C") for n in (1, 2, 3))


@njit(types.void(types.Array(types.uint64, 2, "C"), V, types.Array(int64, 1, "C"), float64, float64, P, float64, float64,
                 int64, A, A), cache=CACHE, nogil=True, error_model="numpy", fastmath={{"contract"}})
def trees(keys, start, roots, t0, step, p, rtol, atol, depth, out, counts):
    """out (times, rows, paths): rows after so many roots; counts (times, 4, paths): steps, steps tried, forced, exits until then.

    A node at `level` is a part h = step / 2^level of a root interval, its numbers z are its increments / sqrt(h).
    """
    x, whole, middle, end = np.empty(({dim}, 1)), np.empty(({dim}, 1)), np.empty(({dim}, 1)), np.empty(({dim}, 1))
    z, right = np.empty((depth, {numbers}, 1)), np.empty((depth, {numbers}, 1))
    first, second, bridge = np.empty(({numbers}, 1)), np.empty(({numbers}, 1)), np.empty(({numbers}, 1))
    extra, none, rows = np.zeros((1, 1)), np.zeros(1), np.empty(({rows}, 1))
    for path in range(keys.shape[1]):
        key, other = keys[0, path], keys[1, path]
        for i in range({dim}):
            x[i, 0] = start[i]
        taken, tried, forced, exits, alive, k = 0, 0, 0, 0.0, True, 0
        for m in range(roots.shape[0]):
            while alive and k < roots[m]:
                node_normals(key, other, k, 0, z[0])
                level, node, known = 0, 1, False
                while True:
                    parts = 1 << level
                    h = step / parts
                    t = t0 + (k + (node - parts) / parts) * step
                    node_normals(key, other, k, node, bridge)
{halves}
                    if not known:
                        copy(x, whole)
                        advance(whole, z[level], extra, 0, 1, 0, t, h, p, none)
                        tried += 1
                    extra[0, 0] = 0.0
                    copy(x, middle)
                    advance(middle, first, extra, 0, 1, 0, t, 0.5 * h, p, none)
                    copy(middle, end)
                    advance(end, second, extra, 0, 1, 0, t + 0.5 * h, 0.5 * h, p, none)
                    tried += 2
                    close = True
                    for i in range({dim}):
                        allowed = atol + rtol * max(abs(x[i, 0]), abs(end[i, 0]))
                        # NaN and inf are not close to anything
                        if not (abs(end[i, 0] - whole[i, 0]) <= allowed and abs(end[i, 0]) < np.inf):
                            close = False
                    if not close and level < depth - 1:
                        level += 1
                        node *= 2
                        copy(first, z[level])
                        copy(second, right[level])
                        copy(middle, whole)
                        known = True
                        continue
                    taken += 2
                    exits += extra[0, 0]
                    copy(end, x)
                    for i in range({dim}):
                        if not abs(x[i, 0]) < np.inf:
                            alive = False
                    if alive and not close:
                        forced += 1
                    while node > 1 and node & 1:
                        node >>= 1
                        level -= 1
                    if node == 1 or not alive:
                        break
                    node += 1
                    copy(right[level], z[level])
                    known = False
                k += 1
            look(x, rows, t0 + roots[m] * step, p)
            for i in range({rows}):
                out[m, i, path] = rows[i, 0] if alive else np.nan
            counts[m, 0, path], counts[m, 1, path], counts[m, 2, path], counts[m, 3, path] = taken, tried, forced, exits
'''


@lru_cache(maxsize=64)
def compiled_trees(kernel: Kernel) -> Any:
    """`trees` for the kernel's equation, method and functionals; InputError if numba cannot compile a function."""
    text = kernel.written(None, lanes=1)
    step = text.write(kernel.layout, wide=False)
    step = step.partition("\n\n\n@njit(types.void(A, types.Array(")[
        0
    ]  # without `run`, whose compilation takes as long as the rest
    names, identity = injected(kernel.functions())
    try:
        module = cache.load(step, names, identity, uses=(random,))
    except NumbaError as error:
        raise kernel.compile_error(names, error) from error
    numbers, draws = kernel.layout.numbers, kernel.method.draws
    halves = (_HALVES if draws == 1 else _HALVES_WITH_INTEGRALS).format(m=numbers // draws)
    source = _TEXT.format(
        n_parameters=kernel.n_parameters,
        dim=kernel.equation.dim,
        rows=kernel.rows,
        numbers=numbers,
        halves=indent(halves.strip(), " " * 20),
    )
    given, uses = {"advance": module.advance, "look": module.look}, (random, sys.modules[__name__])  # the normals
    return cache.load(source, given, None if identity is None else module.__name__, uses).trees


def brownian_keys(seed: int, first: int, n_paths: int) -> NDArray[np.uint64]:
    """The two keys (2, n_paths) of paths first, first + 1, ...: a hash of the seed, plus the path."""
    return np.ascontiguousarray(random.streams(path_words(seed, first, n_paths), ADAPTIVE)[:2])
