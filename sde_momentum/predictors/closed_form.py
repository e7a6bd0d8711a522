"""The closed form of the best momentum: damping along Gamma, bounded by fluctuations [theory: Effective loss, eq. 5.8]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_lr, check_non_negative, check_one, check_one_minus_beta, check_positive
from ..theory import formulas
from .drift_path import DriftPath
from .momentum_rule import MomentumRule
from .stationary_state import StationaryState

_SHARE = 0.8
"""Largest stationary fluctuation along Gamma, as a share of the displacement (or excess of tr H) that the target allows."""


@by_annotations
@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The best 1 - beta from the geometry of the drift path: the larger of two bounds [theory: Effective loss, eq. 5.8].

        1 - beta = max((c mu zeta^2)^(1/3), (c / (4 kappa_q))^(1/3)) eta^(2/3)

    The first damps the motion along Gamma with the damping ratio zeta of the target. The second keeps fluctuations below the
    target: at kappa_q the stationary fluctuations along Gamma are four fifths of what the target allows. They are measured by
    the excess of tr H if that is the metric, and else by the mean square displacement [theory: Price of speed].

    Args:
        path: the drift along Gamma from the start to the target
        noise: c = sigma^2 / B > 0, in units of the loss
        explicit_curvature: h >= 0 of an explicit force along Gamma, such as weight decay [theory: Forces, eq. 6.1]

    Raises:
        InputError: for a value out of range.

    >>> from sde_momentum import Valley
    >>> valley = Valley.balanced(8, curvature=1.0, coupling=0.0)
    >>> closed = ClosedForm(DriftPath(valley, valley.start(1.0), "test_error", 0.1), noise=1e-3)
    >>> round(float(closed.one_minus_beta(0.01)), 5)
    0.00228
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
        """The first bound alone, which ignores fluctuations [theory: Forces, eq. 6.2]."""
        geometry = self.noise, self.path.curvature, self.explicit_curvature
        return MomentumRule.from_geometry(*geometry, target=self.path.amplitude)

    @cached_property
    def state(self) -> StationaryState | None:
        """Fluctuations at the flattest point. None if J loses rank, tr H has no minimum, or Gamma over 400 dimensions."""
        flattest = self.path.flattest
        if not self.path.flow.at_rest or flattest.rank < len(flattest.problem.targets):
            return None
        try:
            state = StationaryState(flattest)
            return state if state.edge_kappa > 0 else None
        except InputError:
            return None

    @cached_property
    def largest_kappa(self) -> float:
        """kappa_q, in units of 1 / curvature; inf where the fluctuations stay below their bound or `state` is None."""
        if self.state is None:
            return float("inf")
        if self.path.metric == "trace_hessian":
            first, last = self.path.values[[0, -1]]
            return self.state.kappa_for(_SHARE, float(self.path.fraction * first - last), "excess")
        displacement = self.state.directions.T @ (self.path.start - self.path.flattest.w)
        return self.state.kappa_for(_SHARE, self.path.amplitude**2 * float(displacement @ displacement))

    @by_annotations
    def one_minus_beta(self, lr: float) -> float:
        """The recommended 1 - beta, at most 1."""
        rate = check_one(check_lr, lr, "lr")
        damping = float(self.rule.one_minus_beta(rate))
        bound = float(formulas.one_minus_beta_at_kappa(rate, self.noise, self.largest_kappa))
        return min(1.0, max(damping, bound))

    @by_annotations
    def time(self, lr: float, one_minus_beta: float) -> float:
        """A rough number of steps to the target: `DriftPath.expected_time`."""
        rate, delta = check_one(check_lr, lr, "lr"), check_one(check_one_minus_beta, one_minus_beta, "one_minus_beta")
        return float(self.path.expected_time(rate, delta, self.noise))

    @by_annotations
    def uncertainty(self, lr: float) -> tuple[float, float]:
        """(low, high) of 1 - beta: from the damping ratio of the target to critical damping, between which optima usually lie."""
        geometry = self.noise, self.path.curvature, self.explicit_curvature
        critical = float(MomentumRule.from_geometry(*geometry).one_minus_beta(lr))
        best = self.one_minus_beta(lr)
        return min(best, float(self.rule.one_minus_beta(lr))), max(best, min(1.0, critical))
