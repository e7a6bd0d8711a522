"""`solve`: the one way in to every dynamics of the library."""

from __future__ import annotations

from typing import Any

import xarray as xr
from numpy.typing import ArrayLike

from ..core.dynamics import Dynamics
from ..core.errors import InputError


def solve(dynamics: Dynamics, start: Any, times: ArrayLike, **how: Any) -> xr.Dataset:
    """Run `dynamics` from `start` and give what is asked for at `times`: `dynamics.solve(start, times, **how)`.

    Args:
        dynamics: `SDE`, `OrnsteinUhlenbeck`, `Langevin`: equations of the user's own;
            `LabelNoiseSGD`: the discrete update itself [theory: Setting], and `MomentClosure`, its moments without chance
            [theory: Moment closure];
            `DriftDiffusion`: along the manifold, momentum far from its best [theory: Drift];
            `CriticalLimit`, and `CriticalValley` in one dimension: along the manifold, momentum near its best
            [theory: Critical limit]
        start: one point, from which every run leaves
        times: increasing, on the clock of the dynamics (`dynamics.clock`), (n_time,)
        how: the options of the dynamics' own `solve`, which documents them: `help(sm.CriticalLimit.solve)`

    Returns:
        Dataset over `time`: units and clock with the coordinate; in its attrs what rebuilds the run.

    Raises:
        InputError: for anything that is no dynamics or a value out of range
        TypeError: for an option that the dynamics does not have

    >>> import sde_momentum as sm
    >>> ou = sm.OrnsteinUhlenbeck(rate=1.0, noise=0.5)
    >>> sm.solve(ou, 1.0, [0.5, 1.0], step=0.5, n_paths=100).attrs["dynamics"]
    'OrnsteinUhlenbeck'
    """
    if not isinstance(dynamics, Dynamics):
        raise InputError("dynamics", dynamics, "a dynamics: an SDE, a CriticalLimit, ...")
    return dynamics.solve(start, times, **how)
