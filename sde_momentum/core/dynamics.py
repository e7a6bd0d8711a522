"""The contract of the library's own dynamics: training, or a limit of it, solved for an ensemble of runs from one start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import xarray as xr
from numpy.typing import ArrayLike

from .dataset import common_attributes, time_coordinate


class Dynamics(ABC):
    """An evolution of a training problem's parameters; its `solve` gives metrics or moments of an ensemble of runs.

    A member holds its problem and the settings of its method that are the same for every run. Its `solve` names its own
    options, so that `help` shows them and a misspelt one is a TypeError. Common to all:

    - `start`: one point, from which every run leaves
    - `times`: increasing record times, on the member's own clock
    - seeds: whole numbers, or one `seed` and `n_paths`; a run's noise depends on its seed (and path) alone
    - `workers`: threads, -1 for all cores; the numbers do not depend on it
    - `progress`: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten
    - the result: a Dataset over the coordinate `time`, whose attrs are `units` and `clock`; the Dataset's own attrs
      reproduce it: `dynamics`, `clock`, `version`, the step, the seeds, the settings of problem and method
    - a run that diverges is no error: `diverged` holds the time; from then on its metrics are NaN, and moments leave it out
    - InputError for a value out of range, before anything is run
    """

    clock: ClassVar[str]
    """The time in symbols of the theory, such as "s = delta k" [theory: Setting, eq. 1.6]."""
    time_units: ClassVar[str]
    """The unit of `times`."""

    @abstractmethod
    def solve(self, start: Any, times: ArrayLike, /, *args: Any, **how: Any) -> xr.Dataset:
        """The metrics or moments at `times` of runs from `start`."""

    def time_coordinate(self, times: Any) -> tuple[str, Any, dict[str, str]]:
        """The result's coordinate `time`."""
        return time_coordinate(times, self.clock, self.time_units)

    def common_attributes(self) -> dict[str, Any]:
        """The attrs of every result."""
        return common_attributes(type(self).__name__, self.clock)
