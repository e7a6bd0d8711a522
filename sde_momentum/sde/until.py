"""A target error in place of a number of paths."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, check_one, check_positive


@by_annotations
@dataclass(frozen=True, kw_only=True)
class UntilError:
    """As many paths as a target error needs: standard error of `quantity` <= max(absolute, relative |quantity|).

    `quantity`: "mean", "variance", or that of a functional, as "energy_mean"; at all times and in all components. It is
    checked after 1, 2, 4, ... chunks of 128 paths or more (32 from 8 components on), as many as take a millisecond, so the
    number of paths is at most twice what is needed or one chunk, and the same for any number of threads. `max_paths`: the
    greatest number of paths, 10 million if None. attrs of the result: `reached`, whether the error was met, and `n_paths`. A
    quantity near 0 may never meet a relative error.

    With `Multilevel` `absolute` is the root-mean-square error, bias and sampling error together; nothing else is given then.
    Raises InputError.

    >>> UntilError(relative=0.01).quantity
    'mean'
    """

    relative: float | None = None
    absolute: float | None = None
    quantity: str = "mean"
    max_paths: int | None = None

    def __post_init__(self) -> None:
        if self.relative is None and self.absolute is None:
            raise InputError("n_paths", self, "UntilError with a relative or an absolute error")
        for name in ("relative", "absolute"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_one(check_positive, getattr(self, name), name))
        if self.max_paths is not None:
            check_integer(self.max_paths, "max_paths", 1)

    @property
    def limit(self) -> int:
        """Greatest number of paths."""
        return 10_000_000 if self.max_paths is None else self.max_paths

    def reached(self, result: xr.Dataset) -> bool:
        """Whether the result's errors are small enough, at every time and in every component."""
        value, error = abs(result[self.quantity]), result[f"{self.quantity}_se"]
        return bool(((error <= (self.relative or 0.0) * value) | (error <= (self.absolute or 0.0))).all())
