"""The target that ends training: a metric, and the fraction of its start below which it must stay."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.arguments import by_annotations
from ..core.convergence import check_fraction
from ..core.errors import InputError
from ..problems.metrics import Metric


@by_annotations
@dataclass(frozen=True)
class Target:
    """When training counts as done: `metric` stays below `fraction` of its value at the start of the drift along Gamma.

    Args:
        metric: one of the problem's metrics that does not vanish on Gamma, or its name, such as "test_error"
        fraction: in (0, 1)

    Raises:
        InputError: for a fraction out of range. A metric that the problem does not have is found where the problem is known.
    """

    metric: str | Metric
    fraction: float

    def __post_init__(self) -> None:
        check_fraction(self.fraction, "target")

    @classmethod
    def of(cls, given: Target | tuple[str | Metric, float]) -> Target:
        """The target itself, or one from (metric, fraction). InputError for anything else."""
        if isinstance(given, Target):
            return given
        pair = isinstance(given, tuple | list) and len(given) == 2
        if not pair or not isinstance(given[0], str | Metric):
            raise InputError("target", given, "(metric, fraction), a metric's name or a `Metric`, such as ('trace_hessian', 0.5)")
        return cls(*given)
