"""Kernels compiled from a formula against hand-written ones of the same signatures: time ratios.

Each round times the two alternately, about 1 ms each, on the same arrays, laid out in memory as the simulator's are.
Ratios are compiled over hand-written (below 1: the compiled one is faster): the ratio of the fastest times, which other
load on the machine disturbs least, and median and quartiles of the ratios within rounds. The hand-written network is
measured twice: with `np.tanh`, as one would write it, and with this library's vectorised tanh.
Run: python benchmarks/symbolic_vs_handwritten.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from derivations.kernels.values import WIDTH
from derivations.models import two_factor, two_layer_tanh
from sde_momentum.core.simd.functions import tanh as lanes_tanh
from sde_momentum.core.simd.lanes import load_and_spread, store
from sde_momentum.core.simd.matrix import aligned
from sde_momentum.dynamics.label_noise_sgd import LANES
from sde_momentum.problems.compiled import KERNEL, PULLBACK

ROUNDS = 101
load, _ = load_and_spread(WIDTH)
_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}}


@njit(KERNEL, **_COMPILE)
def _two_factor_outputs(data: Any, w: Any, f: Any, scratch: Any) -> None:
    size, lanes = w.shape[0] // 2, w.shape[1]
    scale = 1 / np.sqrt(size)
    for n in range(lanes):
        f[0, n] = 0.0
    for i in range(size):
        for n in range(lanes):
            f[0, n] += w[i, n] * w[size + i, n]
    for n in range(lanes):
        f[0, n] *= scale


@njit(PULLBACK, **_COMPILE)
def _two_factor_pullback(data: Any, w: Any, r: Any, g: Any, scratch: Any) -> None:
    size, lanes = w.shape[0] // 2, w.shape[1]
    scale = 1 / np.sqrt(size)
    for n in range(lanes):
        scratch[0, n] = scale * r[0, n]
    for i in range(size):
        for n in range(lanes):
            g[i, n] = scratch[0, n] * w[size + i, n]
            g[size + i, n] = scratch[0, n] * w[i, n]


@njit(**_COMPILE)
def _libm_tanh(row: Any) -> None:
    for n in range(row.shape[0]):
        row[n] = np.tanh(row[n])


@njit(**_COMPILE)
def _simd_tanh(row: Any) -> None:
    for n in range(0, row.shape[0], WIDTH):
        store(row, n, lanes_tanh(load(row, n)))


def _network(tanh: Any) -> tuple[Any, Any]:
    """f_s = sum_j a_j tanh(sum_k W_jk x_sk); w = (W row by row, a), d inputs in the columns of the data."""
    options = _COMPILE | {"cache": False}  # closures over `tanh`

    @njit(inline="always", **options)  # as if written twice: a call cost 7 %
    def unit(data: Any, w: Any, s: int, j: int, z: Any) -> None:
        """z = tanh(sum_k W_jk x_sk) in every lane."""
        d, lanes = data.shape[1], w.shape[1]
        for n in range(lanes):
            z[n] = w[j * d, n] * data[s, 0]
        for k in range(1, d):
            x = data[s, k]
            for n in range(lanes):
                z[n] += w[j * d + k, n] * x
        tanh(z)

    @njit(KERNEL, **options)
    def outputs(data: Any, w: Any, f: Any, scratch: Any) -> None:
        samples, d = data.shape
        lanes = w.shape[1]
        hidden = w.shape[0] // (d + 1)
        z = scratch[0]
        for s in range(samples):
            for n in range(lanes):
                f[s, n] = 0.0
            for j in range(hidden):
                unit(data, w, s, j, z)
                for n in range(lanes):
                    f[s, n] += w[hidden * d + j, n] * z[n]

    @njit(PULLBACK, **options)
    def pullback(data: Any, w: Any, r: Any, g: Any, scratch: Any) -> None:
        samples, d = data.shape
        rows, lanes = w.shape
        hidden = rows // (d + 1)
        z = scratch[0]
        for i in range(rows):
            for n in range(lanes):
                g[i, n] = 0.0
        for s in range(samples):
            for j in range(hidden):
                unit(data, w, s, j, z)
                for n in range(lanes):
                    t = z[n]
                    g[hidden * d + j, n] += r[s, n] * t
                    z[n] = r[s, n] * w[hidden * d + j, n] * (1 - t * t)
                for k in range(d):
                    x = data[s, k]
                    for n in range(lanes):
                        g[j * d + k, n] += z[n] * x

    return outputs, pullback


def _time(run: Callable[[], Any], calls: int) -> float:
    clock = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - clock) / calls


def compare(title: str, problem: Any, theirs: tuple[Any, Any]) -> None:
    """Print the ratios of outputs, of pullback, and of a step's pair, after checking that both compute the same."""
    outputs, pullback, data, rows = problem.kernels[:4]
    rng = np.random.default_rng(0)
    w, g, g_hand = (aligned(problem.n_parameters, LANES) for _ in range(3))
    r, f, f_hand = (aligned(problem.n_outputs, LANES) for _ in range(3))
    w[:], r[:] = rng.standard_normal(w.shape), rng.standard_normal(r.shape)
    scratch = aligned(max(rows, 2), LANES)
    runs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "outputs": (lambda: outputs(data, w, f, scratch), lambda: theirs[0](data, w, f_hand, scratch)),
        "pullback": (lambda: pullback(data, w, r, g, scratch), lambda: theirs[1](data, w, r, g_hand, scratch)),
    }
    runs["both"] = (
        lambda: (runs["outputs"][0](), runs["pullback"][0]()),
        lambda: (runs["outputs"][1](), runs["pullback"][1]()),
    )
    for name, (ours, hand) in runs.items():
        ours(), hand()
        calls = max(1, int(1e-3 / _time(hand, 20)))
        times = np.array([(_time(ours, calls), _time(hand, calls)) for _ in range(ROUNDS)])
        ratios = times[:, 0] / times[:, 1]
        fastest, (low, middle, high) = times.min(axis=0), np.percentile(ratios, [25, 50, 75])
        print(
            f"{title:50} {name:9}{fastest[0] * 1e6:9.2f} us, by hand{fastest[1] * 1e6:9.2f} us, "
            f"ratio {fastest[0] / fastest[1]:.2f}, of the rounds {middle:.2f} ({low:.2f} to {high:.2f})"
        )
    np.testing.assert_allclose(f, f_hand, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(g, g_hand, rtol=1e-10, atol=1e-10)


def main() -> None:
    print(f"{ROUNDS} rounds, {LANES} lanes")
    for size in (10, 100, 1000):
        compare(f"two-factor, n = {size}", two_factor(size).compile(), (_two_factor_outputs, _two_factor_pullback))
    for d, hidden, samples in ((5, 20, 40), (10, 50, 100)):
        problem = two_layer_tanh(d, hidden, samples).compile()
        for tanh, title in ((_libm_tanh, "np.tanh"), (_simd_tanh, "vectorised tanh")):
            compare(f"tanh network {d}-{hidden}, {samples} samples, {title}", problem, _network(tanh))


if __name__ == "__main__":
    main()
