"""The contract of the library's own dynamics: training, or a limit of it, solved from a start for an ensemble of runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import xarray as xr
from numpy.typing import ArrayLike

from .dataset import common_attributes, time_coordinate


class Dynamics(ABC):
    """An evolution of a training problem's parameters, with a `solve` that gives what is measured along it.

    A member holds its problem and the settings of its method that are the same for every run. Its `solve` names its own
    options, so that `help` shows them and a misspelt one is a TypeError. What all have in common:

    - `start`: one point, from which every run leaves
    - `times`: increasing, on the member's own clock, when to take what is measured
    - seeds: whole numbers, or one `seed` and `n_paths`; a run's noise depends on its seed (and path) alone
    - `workers`: threads, -1 for all cores; the numbers do not depend on it
    - `progress`: a bar with the time left; None: if standard error is a terminal and it takes over two seconds
    - the answer: a Dataset over `time`, whose attrs hold the coordinate's `units` and `clock`, and what rebuilds the run in
      its own attrs: `dynamics`, `clock`, `version`, the step, the seeds, the settings of problem and method
    - a run that diverges is no error: it is marked with its time, and its numbers are NaN, or left out
    - InputError for a value out of range, before anything is run
    """

    clock: ClassVar[str]
    """What `times` counts, in symbols of the theory."""
    time_units: ClassVar[str]
    """The unit of `times`."""

    @abstractmethod
    def solve(self, start: Any, times: ArrayLike, /, *args: Any, **how: Any) -> xr.Dataset:
        """Run it from `start` and give what is asked for at `times`."""

    def time_coordinate(self, times: Any) -> tuple[str, Any, dict[str, str]]:
        """The answer's coordinate `time`."""
        return time_coordinate(times, self.clock, self.time_units)

    def common_attributes(self) -> dict[str, Any]:
        """What is in the attrs of every answer."""
        return common_attributes(type(self).__name__, self.clock)
