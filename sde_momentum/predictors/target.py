"""The target of training: a metric, and the fraction of its start below which it must stay."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.convergence import check_fraction
from ..dynamics.label_noise_sgd import check_metric


@dataclass(frozen=True)
class Target:
    """When training counts as done: `metric` stays below `fraction` of its value at the start of the drift along Gamma.

    Args:
        metric: one of the problem's metrics, such as "test_error" or "trace_hessian"
        fraction: in (0, 1)

    Raises:
        InputError: for an unknown metric or a fraction out of range.
    """

    metric: str
    fraction: float

    def __post_init__(self) -> None:
        check_metric(self.metric, "target")
        check_fraction(self.fraction, "target")

    @classmethod
    def of(cls, given: Target | tuple[str, float]) -> Target:
        """A target from itself or from its two parts."""
        return given if isinstance(given, Target) else cls(*given)
