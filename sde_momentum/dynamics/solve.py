"""`solve`: one entry point for every dynamics and every equation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import ArrayLike

from ..core.dynamics import Dynamics
from ..core.errors import InputError

if TYPE_CHECKING:
    from ..sde.equation import Equation


def solve(system: Dynamics | Equation, start: Any, times: ArrayLike, **options: Any) -> xr.Dataset:
    """Solve `system` from `start`: its metrics, moments or statistics at `times`.

    An equation is solved by the SDE engine, `sde.solve(system, start, times, **options)`, see `help(sm.sde.solve)`:

    - `SDE`, `sde.OrnsteinUhlenbeck`, `sde.Langevin`: equations of the user's own

    A dynamics of the library by its own `system.solve(start, times, **options)`, see `help(sm.CriticalLimit.solve)`:

    - `LabelNoiseSGD`: the discrete update itself [theory: Setting, eq. 1.2]
    - `MomentClosure`: mean and covariance of the update, deterministic [theory: Moment closure]
    - `DriftDiffusion`: along the manifold, momentum well below its best [theory: Drift, eq. 3.13]
    - `CriticalLimit`, and `CriticalValley` in one dimension: along the manifold, momentum near its best
      [theory: Critical limit]

    Args:
        system: an equation or a dynamics
        start: one point, from which every run leaves
        times: increasing, on the clock of the system (`CriticalLimit.clock`; an equation's own t), (n_time,)
        options: those of the system's `solve`

    Returns:
        Dataset over `time`, with units and clock; its attrs reproduce it.

    Raises:
        InputError: for anything that is no equation and no dynamics, or a value out of range
        TypeError: for an option that there is not

    >>> import sde_momentum as sm
    >>> ou = sm.sde.OrnsteinUhlenbeck(rate=1.0, noise=0.5)
    >>> sm.solve(ou, 1.0, [0.5, 1.0], step=0.5, n_paths=100).attrs["dynamics"]
    'OrnsteinUhlenbeck'
    """
    if isinstance(system, Dynamics):
        return system.solve(start, times, **options)
    from .. import sde  # takes seconds to import, which a dynamics of the library does not need
    from ..sde.equation import Equation

    if not isinstance(system, Equation):
        raise InputError("system", system, "an equation, such as SDE, or a dynamics, such as CriticalLimit")
    return sde.solve(system, start, times, **options)
