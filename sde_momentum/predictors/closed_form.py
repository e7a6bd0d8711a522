"""T5, T7, T9.2: the momentum from the geometry alone: critical damping, but no closer to 1 than edge and price allow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..core.errors import InputError, check_lr, check_non_negative, check_one, check_positive
from ..theory import formulas
from .drift_path import DriftPath
from .momentum_rule import MomentumRule
from .stationary_state import StationaryState

_SHARE = 0.8
"""Of what the target allows, how much the stationary fluctuations may take up."""


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """1 - beta = max of T5's (c mu zeta^2)^(1/3) eta^(2/3) and of what T7's fluctuations at the flattest point allow.

    With noise and slopes of the eigenvalues the position along Gamma keeps fluctuating; where it does so beyond the target,
    no momentum helps. They may take up four fifths of what the target allows: of tr H's excess, or else of the mean square
    displacement.

    Args:
        path: the drift from the start to the target
        noise: c = sigma^2 / B > 0
        explicit_curvature: h of a further force along Gamma [theory: Forces], >= 0

    Raises:
        InputError: for a value out of range.
    """

    path: DriftPath
    noise: float
    explicit_curvature: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", check_one(check_positive, self.noise, "noise"))
        value = check_one(check_non_negative, self.explicit_curvature, "explicit_curvature")
        object.__setattr__(self, "explicit_curvature", value)

    @cached_property
    def rule(self) -> MomentumRule:
        """T5 alone."""
        geometry = self.noise, self.path.curvature, self.explicit_curvature
        return MomentumRule.from_geometry(*geometry, target=self.path.amplitude)

    @cached_property
    def state(self) -> StationaryState | None:
        """The flattest point's fluctuations; None where they are not known: many directions, J loses rank, no minimum."""
        flattest = self.path.flattest
        if not self.path.flow.at_rest or flattest.rank < len(flattest.problem.targets):
            return None
        try:
            return StationaryState(flattest)
        except InputError:
            return None

    @cached_property
    def largest_kappa(self) -> float:
        """kappa at which the stationary fluctuations take up their share; inf if they never do, or are not known."""
        if self.state is None:
            return float("inf")
        if self.path.metric == "trace_hessian":
            first, last = self.path.values[[0, -1]]
            return self.state.kappa_for(_SHARE, float(self.path.fraction * first - last), "excess")
        gone = self.state.directions.T @ (self.path.start - self.path.flattest.w)
        return self.state.kappa_for(_SHARE, self.path.amplitude**2 * float(gone @ gone))

    def one_minus_beta(self, lr: float) -> float:
        """delta, at most 1."""
        rate = check_one(check_lr, lr, "lr")
        damping = float(self.rule.one_minus_beta(rate))
        quiet = float(formulas.one_minus_beta_at_kappa(rate, self.noise, self.largest_kappa))
        return min(1.0, max(damping, quiet))

    def time(self, lr: float, one_minus_beta: float) -> float:
        """Steps to the target, roughly: the drift's own time and a quarter period of the oscillation along Gamma."""
        return float(self.path.expected_time(lr, one_minus_beta, self.noise))

    def uncertainty(self, lr: float) -> tuple[float, float]:
        """(low, high) of 1 - beta: from the target's damping ratio to critical damping, the usual span of optima."""
        geometry = self.noise, self.path.curvature, self.explicit_curvature
        critical = float(MomentumRule.from_geometry(*geometry).one_minus_beta(lr))
        best = self.one_minus_beta(lr)
        return min(best, float(self.rule.one_minus_beta(lr))), max(best, min(1.0, critical))
