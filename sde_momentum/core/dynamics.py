"""The contract of a dynamics: how something moves, solved from a start for an ensemble of runs, with a labelled answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .. import __version__


class Dynamics(ABC):
    """What moves and how it is stepped; `solve` says for how long, how many, and with which seeds.

    A member holds its problem (or its equation) and the numbers of its method that are not asked of a single run. Its
    `solve` names its own options, so that `help` shows them and a misspelt one is a TypeError. What all have in common:

    - `start`: one point, from which every run leaves
    - `times`: increasing, on the member's own clock, when to take what is measured
    - seeds: whole numbers, or one `seed` and `n_paths`; a run's noise depends on its seed (and path) alone
    - `workers`: threads, -1 for all cores; the numbers do not depend on it
    - `progress`: a bar with the time left; None: if standard error is a terminal and it takes over two seconds
    - the answer: a Dataset over `time`, whose attrs hold the coordinate's `units` and `clock`, and what rebuilds the run in
      its own attrs: `dynamics`, `clock`, `version`, the step, the seeds, the settings of problem and method
    - a run that leaves the finite world is no error: it is marked with its time, and its numbers are NaN, or left out
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
        return "time", times, {"units": self.time_units, "clock": self.clock}

    def common_attributes(self) -> dict[str, Any]:
        """What is in the attrs of every answer."""
        return {"dynamics": type(self).__name__, "clock": self.clock, "version": __version__}


def as_attributes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the forms that a netCDF file can hold: None is left out, a truth value is 0 or 1, a list an array."""
    kept = {name: value for name, value in settings.items() if value is not None}
    return {k: int(v) if isinstance(v, bool) else np.asarray(v) if isinstance(v, list) else v for k, v in kept.items()}
