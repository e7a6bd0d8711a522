"""The underdamped Langevin equation: a position with inertia, friction and thermal noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.arguments import by_annotations
from ..core.errors import check_integer, check_non_negative
from .equation import Coefficient, Equation, check_batched, check_function


@by_annotations
@dataclass(frozen=True)
class Langevin(Equation):
    """The underdamped Langevin equation dq = v dt, dv = F(q, t; p) dt - gamma v dt + sqrt(2 gamma T) dW, of unit mass.

    `force` F in the form of `SDE`'s coefficients, of q alone (n = 1: a float of a float; n > 1: tuples of n floats);
    `n_coordinates` n; the components are (q_1, ..., q_n, v_1, ..., v_n). `friction` gamma >= 0 in units of 1 / t,
    `temperature` T >= 0 in units of energy. For F = -grad U the stationary density is exp(-(U + v^2 / 2) / T).
    `batched` as in `SDE`. Raises InputError for a value out of range.

    >>> Langevin(lambda q, t, p: -q, friction=0.5, temperature=1.0).dim
    2
    """

    parts: ClassVar[tuple[str, ...]] = ("q", "v")
    force: Coefficient
    friction: float = 1.0
    temperature: float = 1.0
    n_coordinates: int = 1
    batched: bool | str = False

    def __post_init__(self) -> None:
        check_function("force", self.force)
        object.__setattr__(self, "batched", check_batched(self.batched))
        check_integer(self.n_coordinates, "n_coordinates", 1)
        for name in ("friction", "temperature"):
            object.__setattr__(self, name, float(check_non_negative(getattr(self, name), name)))
        object.__setattr__(self, "dim", 2 * self.n_coordinates)
        object.__setattr__(self, "n_noise", self.n_coordinates)

    def coefficients(self) -> dict[str, Coefficient]:
        return {"force": self.force}
