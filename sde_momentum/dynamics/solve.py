"""`solve`: the one way in to every dynamics and every equation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import ArrayLike

from ..core.dynamics import Dynamics
from ..core.errors import InputError

if TYPE_CHECKING:
    from ..sde.equation import Equation


def solve(system: Dynamics | Equation, start: Any, times: ArrayLike, **options: Any) -> xr.Dataset:
    """Run `system` from `start` and give what is asked for at `times`.

    An equation, which is data, goes to the engine: `sde.solve(system, start, times, **options)`, see `help(sm.sde.solve)`.

    - `SDE`, `sde.OrnsteinUhlenbeck`, `sde.Langevin`: equations of the user's own

    A dynamics of the library has its own `solve`: `system.solve(start, times, **options)`, see `help(sm.CriticalLimit.solve)`.

    - `LabelNoiseSGD`: the discrete update itself [theory: Setting]
    - `MomentClosure`: the moments of the update without chance [theory: Moment closure]
    - `DriftDiffusion`: along the manifold, momentum far from its best [theory: Drift]
    - `CriticalLimit`, and `CriticalValley` in one dimension: along the manifold, momentum near its best
      [theory: Critical limit]

    Args:
        system: an equation or a dynamics
        start: one point, from which every run leaves
        times: increasing, on the clock of the system (`CriticalLimit.clock`; an equation's own t), (n_time,)
        options: those of the `solve` that does it

    Returns:
        Dataset over `time`: units and clock with the coordinate; in its attrs what rebuilds the run.

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
    from .. import sde  # seconds, which a dynamics of the library need not wait for
    from ..sde.equation import Equation

    if not isinstance(system, Equation):
        raise InputError("system", system, "an equation, such as SDE, or a dynamics, such as CriticalLimit")
    return sde.solve(system, start, times, **options)
