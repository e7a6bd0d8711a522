"""The critical limit in a valley: moments over large ensembles of paths, none of which is stored [theory: Critical limit]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core import moments
from ..core.arguments import by_annotations
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check, check_integer
from ..core.progress import track
from ..core.random import VALLEY_PATHS, streams
from ..core.threads import in_order
from ..core.times import fit_steps
from ..problems.problem import Array
from ..problems.valley import Valley
from .checks import check_kappa
from .valley_kernel import TILE, Paths, run_normal, run_simplified

INCREMENTS = ("simplified", "normal")
_PATHS = 512  # paths of a chunk: always this many, so that the sums do not depend on the number of threads


def _moments(sums: Array) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Means and standard errors from the summed powers, (n_kappa, n_time, 5 + 2 P): of 1, theta^1..4, each e_j and e_j^2."""
    shape, flat = sums.shape[:2], sums.reshape(-1, sums.shape[2])
    count, modes = np.ascontiguousarray(flat[:, 0]), (flat.shape[1] - 5) // 2
    powers = np.zeros((len(flat), 1 + modes, 4))  # the energies' third and fourth are not known: no error of their variance
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


class _Request(NamedTuple):
    """The checked arguments of `solve`."""

    theta: float
    words: NDArray[np.uint64]
    """Seeds of the paths."""
    n_steps: NDArray[np.int64]
    """Number of steps before each time, from the time before."""
    size: Array
    """Size of these steps in s."""
    normal: bool


@by_annotations
@dataclass(frozen=True)
class CriticalValley(Dynamics):
    """The critical limit of label-noise SGD in a valley, as moments of theta and of the normal modes' energies over many paths
    [theory: Critical limit, eq. 7.3; Critical limit, eq. 7.4].

        d theta = p ds,   d p = -p ds - kappa sum_j (ln lambda_j)' e_j ds
        d e_j   = -(e_j - lambda_j) ds + (1/2) (ln lambda_j)' p e_j ds + sqrt(2 lambda_j e_j) dW_j

    p is the velocity of theta and e_j the energy of mode j in units of eta c / (2 delta). Weak order 2 in the step, with both
    kinds of increments.

    Args:
        valley: a Valley, whose eigenvalues are the lambda_j(theta)

    Raises:
        InputError: for anything else.

    Source: [theory: Critical limit]; we know of no publication of it.

    >>> import sde_momentum as sm
    >>> limit = sm.dynamics.CriticalValley(sm.Valley.balanced(8, curvature=1.0, coupling=0.5))
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
            theta: where all paths start, at rest and with empty modes (e_j = 0)
            times: record times of the moments, on the clock s = delta k, increasing, (n_time,)
            kappa: eta^2 c / (4 delta^3) > 0, in units of 1 / curvature, (n_kappa,) or one number
            step: largest step in s
            increments: "simplified" (four random bits per mode and step) or "normal"
            n_paths: number of paths for each kappa
            seed: path i draws from the stream (seed, i), the same at every kappa (common random numbers)
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

        Returns:
            Dataset of dims (kappa, time) and (kappa, mode, time): `position`, `position_rms`, `position_variance`, `energy`
            (units eta c / (2 delta)), each with its standard error `..._se`; `diverged` (kappa, path) is the s at which a path
            became infinite, NaN for none: it is left out of the moments from then on; `n_diverged` (kappa, time) of them.

        Raises:
            InputError: for a value out of range.
        """
        strengths = check_kappa(kappa)
        record_times, n_steps, size = fit_steps(times, step)
        if increments not in INCREMENTS:
            raise InputError("increments", increments, " or ".join(INCREMENTS))
        words = path_seeds(seed, check_integer(n_paths, "n_paths", 2))
        place = float(check("theta", theta, np.isfinite, "a finite number"))
        request = _Request(place, words, n_steps, size, increments == "normal")
        total, diverged = self._run(request, strengths, workers, progress)
        n_diverged = len(words) - total[..., 0]
        return xr.Dataset(
            _moments(total)
            | {"n_diverged": (("kappa", "time"), n_diverged, {"units": "paths"})}
            | {"diverged": (("kappa", "path"), diverged, {"units": self.time_units})},
            coords={
                "kappa": ("kappa", strengths, {"units": "1 / curvature"}),
                "time": self.time_coordinate(record_times),
                "mode": np.arange(self.valley.n_outputs),
            },
            attrs=self.common_attributes()
            | self.valley.settings()
            | {"theta": request.theta, "n_paths": len(words), "seed": seed, "step": step, "increments": increments}
            | {"theory": "Critical limit"},
        )

    def _run(self, request: _Request, kappa: Array, workers: int, progress: bool | None) -> tuple[Array, Array]:
        """Summed powers, (n_kappa, n_time, 5 + 2 P), and the times at which paths diverged, (n_kappa, n_paths)."""
        n_paths, shape = len(request.words), (len(request.size), 5 + 2 * self.valley.n_outputs)
        firsts = range(0, n_paths, _PATHS)
        total, diverged = np.zeros((len(kappa), *shape)), np.empty((len(kappa), n_paths))
        parts = in_order((partial(self._chunk, request, float(one), first) for one in kappa for first in firsts), workers)
        # in order, as they come: memory does not grow with the number of paths, nor the rounding change with the threads
        with track("paths", len(kappa) * n_paths, progress) as advance:
            for (k, first), (sums, marks) in zip(product(range(len(kappa)), firsts), parts, strict=True):
                total[k] += sums
                diverged[k, first : first + len(marks)] = marks
                advance(len(marks))
        return total, diverged

    def _chunk(self, request: _Request, kappa: float, first: int) -> tuple[Array, Array]:
        """Summed powers and times of divergence of a chunk, _PATHS paths from number `first` on, at one kappa."""
        some = request.words[first : first + _PATHS]
        tiled = np.resize(some, -(-len(some) // TILE) * TILE)
        live = (np.arange(len(tiled)) < len(some)).astype(np.float64)
        paths = Paths(streams(tiled, VALLEY_PATHS), live, np.full(len(tiled), np.nan))
        sums = np.zeros((len(request.size), 5 + 2 * self.valley.n_outputs))
        kernel = run_normal if request.normal else run_simplified
        kernel(self.valley.data, request.theta, kappa, request.n_steps, request.size, paths, sums)
        return sums, paths.diverged[: len(some)]


def path_seeds(seed: int, n_paths: int) -> NDArray[np.uint64]:
    """One 64-bit word per path: the seed (below 2^32) in the high half, the path's number in the low one."""
    if check_integer(seed, "seed", 0) >= 2**32:
        raise InputError("seed", seed, "a whole number below 2^32")
    return (np.uint64(seed) << np.uint64(32)) + np.arange(n_paths, dtype=np.uint64)
