"""T7 in the valley's own coordinates: large ensembles of (theta, p, amplitudes), their moments streamed, no path stored.

With the action amplitudes z_j = a_j / lambda_j^(1/4), which turning eigenvalues leave alone, e_j = sqrt(lambda_j) |z_j|^2 and

    d theta = p ds,   d p = -p ds - kappa sum_j lambda_j' / sqrt(lambda_j) |z_j|^2 ds
    d z_j   = -(1/2) z_j ds + (lambda_j^(1/4) / sqrt(2)) (dW1 + i dW2)

so that no energy can become negative. A step is a palindrome of parts that are each solved exactly: theta drifts for
h/2, p is damped and pushed for h/2, the z_j relax for h, p again, theta again. Weak order 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numba import int64, njit, types
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check, check_integer
from ..problems.base import Array
from ..problems.valley import Valley, eigenvalue, slope
from ..progress import track
from ..threads import in_order
from .base import Dynamics
from .ensemble import check_kappa, check_times
from .random import VALLEY_PATHS, fill_normal, fill_rademacher, streams

INCREMENTS = ("simplified", "normal")
_LANES = 64  # paths stepped together, always this many
_BLOCKS = 8  # blocks a task: of a fixed size, so that sums do not depend on the number of threads

_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")

# (+-cos, +-sin) and (+-sin, +-cos) of pi/8 are 8 even directions: half the sum and half the difference of cos and sin.
_HALF_SUM = (np.cos(np.pi / 8) + np.sin(np.pi / 8)) / 2
_HALF_DIFFERENCE = (np.cos(np.pi / 8) - np.sin(np.pi / 8)) / 2


@njit(types.void(types.Array(types.uint64, 2, "C"), types.Array(types.uint64, 1, "C"), _M, _M), cache=True, nogil=True)
def fill_simplified(s: Any, words: Any, bits: Any, out: Any) -> None:
    """out (2 rows a pair, lanes) <- pairs with the moments of two independent normals up to the fifth order.

    Zero or a step of length 2 in one of 8 even directions, with equal chances: four random bits a pair. Enough for weak
    order 2. `bits`: scratch, (4 rows a pair, lanes).
    """
    fill_rademacher(s, words, bits)
    for j in range(out.shape[0] // 2):
        b0, b1, b2, b3 = bits[4 * j], bits[4 * j + 1], bits[4 * j + 2], bits[4 * j + 3]
        one, two = out[2 * j], out[2 * j + 1]
        for n in range(out.shape[1]):
            length = 1.0 + b0[n]
            skew = _HALF_DIFFERENCE * b1[n]
            one[n] = length * b2[n] * (_HALF_SUM + skew)
            two[n] = length * b3[n] * (_HALF_SUM - skew)


@njit(
    types.void(
        _M, types.float64, types.float64, types.Array(int64, 1, "C"), _V, types.Array(types.uint64, 2, "C"), int64,
        types.boolean, _M, _V,
    ),
    cache=True,
    nogil=True,
    fastmath={"contract"},
    error_model="numpy",  # a test for division by zero would keep the loops out of the SIMD units
)  # fmt: skip
def _run_block(
    data: Any, start: float, kappa: float, n_steps: Any, size: Any, state: Any, n_paths: int, normal: bool, sums: Any, fault: Any
) -> None:
    """Adds to sums (n_time, 5 + 2 P) the count, theta^1..4, e_j and e_j^2 of the first `n_paths` lanes.

    Before record t: n_steps[t] steps of size[t]. `fault` (lanes,): the s at which a lane left the finite world, else NaN.
    """
    modes, lanes = data.shape[1], state.shape[1]
    theta, p = np.full(lanes, start), np.zeros(lanes)
    z = np.zeros((2 * modes, lanes))
    xi, bits = np.empty((2 * modes, lanes)), np.empty((4 * modes, lanes))
    words = np.empty(lanes, dtype=np.uint64)
    bend, bend_slope, before, after = np.empty(lanes), np.empty(lanes), np.empty(lanes), np.empty(lanes)
    time = 0.0
    for t in range(n_steps.shape[0]):
        h = size[t]
        keep = np.exp(-h / 2)
        push = kappa * -np.expm1(-h / 2)
        spread = np.sqrt(-np.expm1(-h) / 2)
        for _ in range(n_steps[t]):
            if normal:
                fill_normal(state, words, xi)
            else:
                fill_simplified(state, words, bits, xi)
            for n in range(lanes):
                theta[n] += h / 2 * p[n]
                unit = 1.0 / np.sqrt(1.0 + data[3, 0] * theta[n] * theta[n])
                bend[n] = theta[n] * unit
                bend_slope[n] = unit * unit * unit
                before[n] = 0.0
                after[n] = 0.0
            for j in range(modes):
                re, im, xi_re, xi_im = z[2 * j], z[2 * j + 1], xi[2 * j], xi[2 * j + 1]
                rest, b, q = data[0, j], data[1, j], data[2, j]
                for n in range(lanes):
                    root = np.sqrt(eigenvalue(rest, b, q, theta[n], bend[n]))
                    pull = slope(b, q, theta[n], bend_slope[n]) / root
                    amplitude = spread * np.sqrt(root)
                    x, y = re[n], im[n]
                    before[n] += pull * (x * x + y * y)
                    x = keep * x + amplitude * xi_re[n]
                    y = keep * y + amplitude * xi_im[n]
                    after[n] += pull * (x * x + y * y)
                    re[n] = x
                    im[n] = y
            time += h
            for n in range(lanes):
                p[n] = keep * (keep * p[n] - push * before[n]) - push * after[n]
                theta[n] += h / 2 * p[n]
            for n in range(lanes):
                # NaN fails the comparison too. 1e50: far beyond recovery, and theta^4 is far from overflow.
                if not abs(theta[n]) < 1e50 or not np.isnan(fault[n]):
                    if np.isnan(fault[n]):
                        fault[n] = time
                    theta[n] = 0.0
                    p[n] = 0.0
                    for j in range(2 * modes):
                        z[j, n] = 0.0
        for n in range(n_paths):
            if np.isnan(fault[n]):
                x = theta[n]
                sums[t, 0] += 1.0
                sums[t, 1] += x
                sums[t, 2] += x * x
                sums[t, 3] += x * x * x
                sums[t, 4] += x * x * x * x
                bent = x / np.sqrt(1.0 + data[3, 0] * x * x)
                for j in range(modes):
                    root = np.sqrt(eigenvalue(data[0, j], data[1, j], data[2, j], x, bent))
                    energy = root * (z[2 * j, n] * z[2 * j, n] + z[2 * j + 1, n] * z[2 * j + 1, n])
                    sums[t, 5 + 2 * j] += energy
                    sums[t, 6 + 2 * j] += energy * energy


def _moments(sums: Array) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Means and standard errors from the summed powers, (n_kappa, n_time, 5 + 2 P)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # no path left: NaN
        n = sums[..., 0]
        m1, m2, m3, m4 = (sums[..., i] / n for i in range(1, 5))
        scale = np.maximum(n / (n - 1), 0)  # unbiased
        variance = np.maximum(m2 - m1**2, 0)
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        rms = np.sqrt(m2)
        rms_error = np.where(rms > 0, np.sqrt(np.maximum(m4 - m2**2, 0) * scale / n) / (2 * rms), 0)
        energy, square = (sums[..., i::2] / n[..., None] for i in (5, 6))
        energy_error = np.sqrt(np.maximum(square - energy**2, 0) * (scale / n)[..., None])
    here, mode = ("kappa", "time"), ("kappa", "mode", "time")
    return {
        "position": (here, m1),
        "position_se": (here, np.sqrt(variance * scale / n)),
        "position_rms": (here, rms),
        "position_rms_se": (here, rms_error),
        "position_variance": (here, variance * scale),
        "position_variance_se": (here, np.sqrt(np.maximum(fourth - variance**2, 0) * scale / n)),
        "energy": (mode, np.swapaxes(energy, 1, 2)),
        "energy_se": (mode, np.swapaxes(energy_error, 1, 2)),
    }


@dataclass(frozen=True)
class CriticalValley(Dynamics):
    """The critical limit in a valley, as moments of theta and of the energies over many paths (T7).

        d theta = p ds,   d p = -p ds - kappa sum_j (ln lambda_j)' e_j ds
        d e_j   = -(e_j - lambda_j) ds + (1/2) (ln lambda_j)' p e_j ds + sqrt(2 lambda_j e_j) dW_j

    Weak order 2 in the step, with either increments. `valley`: lambda_j(theta). Raises InputError for anything else.

    Source: theory section 7; we know of no publication of it.

    >>> import sde_momentum as sm
    >>> limit = sm.CriticalValley(sm.Valley.balanced(8, curvature=1.0, coupling=0.5))
    >>> result = sm.solve(limit, 1.0, [0.0, 40.0], kappa=0.1, n_paths=1000)
    >>> bool(abs(result.position[0, 1]) < 4 * result.position_se[0, 1])
    True
    """

    clock: ClassVar[str] = "s = delta k"
    time_units: ClassVar[str] = "1 / delta"

    valley: Valley

    def __post_init__(self) -> None:
        if not isinstance(self.valley, Valley):
            raise InputError("valley", self.valley, "a Valley")

    def solve(
        self,
        theta: float,
        times: ArrayLike,
        *,
        kappa: ArrayLike,
        step: float = 0.05,
        increments: str = "simplified",
        n_paths: int = 10_000,
        seed: int = 0,
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Moments over n_paths paths for each kappa, from the interpolating start at `theta`, at `times`.

        Args:
            theta: where all paths start, at rest and with empty modes
            times: when to take the moments, on the clock s = delta k, increasing, (n_time,)
            kappa: eta^2 c / (4 delta^3) > 0, in units of 1 / curvature, (n_kappa,) or one number
            step: largest step in s
            increments: "simplified" (four random bits a mode and step) or "normal"
            n_paths: paths for each kappa
            seed: path i draws from the stream (seed, i), the same at every kappa (common random numbers)
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

        Returns:
            Dataset of dims (kappa, time) and (kappa, mode, time): `position`, `position_rms`, `position_variance`, `energy`
            (units eta c / (2 delta)), each with its standard error `..._se`; `fault` (kappa, path) is the s at which a path
            became infinite, NaN for none: such paths are left out of the moments, `n_faults` (kappa, time) of them.

        Raises:
            InputError: for a value out of range.
        """
        strengths, valley = check_kappa(kappa), self.valley
        start = float(check("theta", theta, np.isfinite, "a finite number"))
        clock, n_steps, size = check_times(times, step)
        paths = check_integer(n_paths, "n_paths", 2)
        words = path_seeds(seed, paths)
        if increments not in INCREMENTS:
            raise InputError("increments", increments, " or ".join(INCREMENTS))
        task = _LANES * _BLOCKS
        width = 5 + 2 * valley.n_outputs

        def run(strength: float, first: int) -> tuple[Array, Array]:
            sums, faults = np.zeros((len(clock), width)), []
            for low in range(first, min(first + task, paths), _LANES):
                some = words[low : low + _LANES]
                fault = np.full(_LANES, np.nan)
                state = streams(np.resize(some, _LANES), VALLEY_PATHS)
                block = np.zeros_like(sums)
                normal = increments == "normal"
                _run_block(valley.data, start, strength, n_steps, size, state, len(some), normal, block, fault)
                sums += block
                faults.append(fault[: len(some)])
            return sums, np.concatenate(faults)

        firsts = range(0, paths, task)
        total, fault = np.zeros((len(strengths), len(clock), width)), np.empty((len(strengths), paths))
        parts = in_order((partial(run, float(strength), first) for strength in strengths for first in firsts), workers)
        # in order, as they come: memory does not grow with the number of paths, nor the rounding change with the threads
        with track("paths", len(strengths) * paths, progress) as advance:
            for (k, first), (sums, faults) in zip(product(range(len(strengths)), firsts), parts, strict=True):
                total[k] += sums
                fault[k, first : first + len(faults)] = faults
                advance(len(faults))
        return xr.Dataset(
            _moments(total)
            | {
                "n_faults": (("kappa", "time"), paths - total[..., 0], {"units": "paths"}),
                "fault": (("kappa", "path"), fault, {"units": self.time_units}),
            },
            coords={
                "kappa": ("kappa", strengths, {"units": "1 / curvature"}),
                "time": self.time_coordinate(clock),
                "mode": np.arange(valley.n_outputs),
            },
            attrs=self.common_attributes()
            | valley.settings()
            | {"theta": start, "n_paths": paths, "seed": seed, "step": step, "increments": increments, "theory": "T7"},
        )


def path_seeds(seed: int, n_paths: int) -> NDArray[np.uint64]:
    """One 64-bit word a path: the seed (below 2^32) above the path's number."""
    if check_integer(seed, "seed", 0) >= 2**32:
        raise InputError("seed", seed, "a whole number below 2^32")
    return (np.uint64(seed) << np.uint64(32)) + np.arange(n_paths, dtype=np.uint64)
