"""The closed form of the best momentum: damping along Gamma, bounded by the stationary fluctuations [theory: Effective loss]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..core.errors import InputError, check_lr, check_non_negative, check_one, check_positive
from ..theory import formulas
from .drift_path import DriftPath
from .momentum_rule import MomentumRule
from .stationary_state import StationaryState

_SHARE = 0.8
"""Share of what the target allows that the stationary fluctuations may take up."""


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The larger of two 1 - beta: what damps the motion along Gamma, and what keeps its fluctuations below the target.

        (c mu zeta^2)^(1/3) eta^(2/3)    damping, with the damping ratio zeta of the target [theory: Effective loss]
        (eta^2 c / (4 kappa))^(1/3)      kappa: where the stationary fluctuations take up four fifths of what the target allows
                                         [theory: Price of speed]

    The fluctuations are those of the position along Gamma at the flattest point, which the eigenvalues' slopes cause. They are
    measured by the excess of tr H if that is the target, or else by the mean square displacement.

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
        """The damping alone, without regard to the fluctuations."""
        geometry = self.noise, self.path.curvature, self.explicit_curvature
        return MomentumRule.from_geometry(*geometry, target=self.path.amplitude)

    @cached_property
    def state(self) -> StationaryState | None:
        """Fluctuations at the flattest point; None where they are not known: J loses rank, no minimum, over 400 directions."""
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
        """The recommended 1 - beta, at most 1."""
        rate = check_one(check_lr, lr, "lr")
        damping = float(self.rule.one_minus_beta(rate))
        quiet = float(formulas.one_minus_beta_at_kappa(rate, self.noise, self.largest_kappa))
        return min(1.0, max(damping, quiet))

    def time(self, lr: float, one_minus_beta: float) -> float:
        """Steps to the target, roughly: the time of the drift and a quarter period of the oscillation along Gamma."""
        return float(self.path.expected_time(lr, one_minus_beta, self.noise))

    def uncertainty(self, lr: float) -> tuple[float, float]:
        """(low, high) of 1 - beta: from the damping ratio of the target to critical damping, between which optima usually lie."""
        geometry = self.noise, self.path.curvature, self.explicit_curvature
        critical = float(MomentumRule.from_geometry(*geometry).one_minus_beta(lr))
        best = self.one_minus_beta(lr)
        return min(best, float(self.rule.one_minus_beta(lr))), max(best, min(1.0, critical))
