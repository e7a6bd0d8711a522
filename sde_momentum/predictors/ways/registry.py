"""The list of all ways to predict, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import InputError
from ...problems.problem import Problem
from .base import Extras, Way
from .closed_form import ByClosedForm
from .critical_limit import ByCriticalLimit
from .effective_loss import ByEffectiveLoss
from .finite_lr import ByFiniteLr
from .moment_closure import ByMomentClosure
from .transfer import Transfer
from .trial import ByTrial

WAYS: dict[str, Way] = {
    way.name: way
    for way in (
        Transfer(),
        ByClosedForm(),
        ByEffectiveLoss(),
        ByMomentClosure(),
        ByCriticalLimit(),
        ByFiniteLr(),
        ByTrial(),
    )
}
"""Name -> way, from the cheapest to the most faithful."""


THEORY = "theory"
"""In place of a list of names: the ways without trials."""


def chosen(names: Sequence[str] | str | None, problem: Problem, extras: Extras) -> list[Way]:
    """The ways of these names (None: those taken by default; "theory": those without trials), the cheapest first.

    Raises:
        InputError: for an unknown name, an empty list, a way that does not apply, or an extra that no chosen way uses.
    """
    if names is None:
        ways = [way for way in WAYS.values() if way.describes(extras) and way.by_default(problem, extras)]
    elif isinstance(names, str) and names == THEORY:
        ways = [way for way in WAYS.values() if way.describes(extras) and way.in_theory(problem, extras)]
    elif isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError("methods", names, f"{THEORY!r}, or a list of some of {', '.join(WAYS)}")
    else:
        for name in names:
            if not isinstance(name, str) or name not in WAYS:
                raise InputError("methods", name, ", ".join(WAYS))
        if not names:
            raise InputError("methods", "none", f"some of {', '.join(WAYS)}")
        ways = [way for name, way in WAYS.items() if name in names]
        for way in ways:
            if (error := way.refusal(problem, extras)) is not None:
                raise error
            if not way.describes(extras):
                raise InputError("methods", way.name, f"with weight decay, only {users('weight_decay')}")
    for extra in (
        "reference",
        "curve",
        "store",
        "budget",
        "smallest_trial_lr",
        "seed",
    ):  # `nesterov` counts in the descent to Gamma too
        given = getattr(extras, extra)
        theory_in_time = extra == "budget" and isinstance(names, str) and names == THEORY
        if given is not None and not theory_in_time and not any(extra in way.uses for way in ways):
            raise InputError(extra, given, f"only with the method {users(extra)}")
    return ways


def users(extra: str) -> str:
    """Names of the ways that use this field of `Extras`, for a message."""
    return " or ".join(repr(way.name) for way in WAYS.values() if extra in way.uses)
