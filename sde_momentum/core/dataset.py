"""What every result has in common: an xarray.Dataset whose attributes name the clock, the version and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import __version__


def time_coordinate(times: Any, clock: str, units: str) -> tuple[str, Any, dict[str, str]]:
    """The coordinate `time`: `clock` says what it counts, `units` its unit."""
    return "time", times, {"units": units, "clock": clock}


def common_attributes(dynamics: str, clock: str) -> dict[str, Any]:
    """Attributes of every result: the name of what was solved, the clock of `time`, the version of the library."""
    return {"dynamics": dynamics, "clock": clock, "version": __version__}


def as_attributes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the forms that a netCDF file can hold: None is left out, a boolean becomes 0 or 1, a list an array."""
    kept = {name: value for name, value in settings.items() if value is not None}
    return {k: int(v) if isinstance(v, bool) else np.asarray(v) if isinstance(v, list) else v for k, v in kept.items()}
