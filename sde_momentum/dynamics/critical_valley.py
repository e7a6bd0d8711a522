"""T7 in the valley's own coordinates: large ensembles of (theta, p, amplitudes), their moments streamed, no path stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core import moments
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check, check_integer
from ..core.progress import track
from ..core.random import VALLEY_PATHS, streams
from ..core.threads import in_order
from ..core.times import fit_steps
from ..problems.problem import Array
from ..problems.valley import Valley
from .checks import check_kappa
from .valley_kernel import TILE, run_normal, run_simplified

INCREMENTS = ("simplified", "normal")
_PATHS = 512  # paths of a task: always so many, so that sums do not depend on the number of threads


def _moments(sums: Array) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Means and standard errors from the summed powers, (n_kappa, n_time, 5 + 2 P): of 1, theta^1..4, each e_j and e_j^2."""
    shape, flat = sums.shape[:2], sums.reshape(-1, sums.shape[2])
    count, modes = np.ascontiguousarray(flat[:, 0]), (flat.shape[1] - 5) // 2
    powers = np.zeros((len(flat), 1 + modes, 4))  # of the energies the third and fourth are not known: no error of a variance
    powers[:, 0], powers[:, 1:, 0], powers[:, 1:, 1] = flat[:, 1:5], flat[:, 5::2], flat[:, 6::2]
    with np.errstate(divide="ignore", invalid="ignore"):  # no path left: NaN
        mean_square, mean_fourth = flat[:, 2] / count, flat[:, 4] / count
        rms, spread = np.sqrt(mean_square), np.maximum(mean_fourth - mean_square**2, 0)
        rms_se = np.where(rms > 0, np.sqrt(spread * (count / (count - 1)) / count) / (2 * rms), 0)
    moments.centre(count, np.zeros(powers.shape[:2]), powers)
    found = moments.statistics(count, powers)
    columns = {"position": found["mean"], "position_se": found["mean_se"], "position_rms": rms, "position_rms_se": rms_se}
    columns |= {"position_variance": found["variance"], "position_variance_se": found["variance_se"]}
    here = {name: (("kappa", "time"), values.reshape(*shape, -1)[..., 0]) for name, values in columns.items()}
    energies = {"energy": found["mean"], "energy_se": found["mean_se"]}
    return here | {
        name: (("kappa", "mode", "time"), np.swapaxes(values[:, 1:].reshape(*shape, modes), 1, 2))
        for name, values in energies.items()
    }


@dataclass(frozen=True)
class CriticalValley(Dynamics):
    """The critical limit in a valley, as moments of theta and of the energies over many paths [theory: Critical limit].

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
        clock, n_steps, size = fit_steps(times, step)
        paths = check_integer(n_paths, "n_paths", 2)
        words = path_seeds(seed, paths)
        if increments not in INCREMENTS:
            raise InputError("increments", increments, " or ".join(INCREMENTS))
        kernel = run_normal if increments == "normal" else run_simplified
        width = 5 + 2 * valley.n_outputs

        def run(strength: float, first: int) -> tuple[Array, Array]:
            some = words[first : first + _PATHS]
            tiled = np.resize(some, -(-len(some) // TILE) * TILE)
            live = np.arange(len(tiled)) < len(some)
            sums, fault = np.zeros((len(clock), width)), np.full(len(tiled), np.nan)
            state = streams(tiled, VALLEY_PATHS)
            kernel(valley.data, start, strength, n_steps, size, state, live.astype(np.float64), sums, fault)
            return sums, fault[: len(some)]

        firsts = range(0, paths, _PATHS)
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
            | {
                "theta": start,
                "n_paths": paths,
                "seed": seed,
                "step": step,
                "increments": increments,
                "theory": "Critical limit",
            },
        )


def path_seeds(seed: int, n_paths: int) -> NDArray[np.uint64]:
    """One 64-bit word a path: the seed (below 2^32) above the path's number."""
    if check_integer(seed, "seed", 0) >= 2**32:
        raise InputError("seed", seed, "a whole number below 2^32")
    return (np.uint64(seed) << np.uint64(32)) + np.arange(n_paths, dtype=np.uint64)
