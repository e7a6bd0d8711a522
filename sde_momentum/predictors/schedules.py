"""Momenta for a schedule of learning rates, and where it changes too fast for the rule [theory: Forces, eq. 6.15]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_lr
from .momentum_rule import MomentumRule

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MomentumSchedule:
    """Momenta for a sequence of learning rates.

    Attributes:
        lr: eta at each step, (n,)
        one_minus_beta: 1 - beta at each step, (n,)
        speed: |d ln eta / dk| / delta, (n,): the relative change of lr in 1 / (1 - beta) steps. With 1 - beta = C lr^gamma the
            energies of the normal modes are off their stationary values by the fraction (3/2 - gamma) speed, 5/6 of `speed` at
            gamma = 2/3. The rule assumes a small fraction; from speed about 1 on the energies cannot follow.

    >>> schedule = momentum_schedule(MomentumRule.from_reference(0.1, 0.9), [0.1, 0.0999, 0.0998])
    >>> bool(schedule.speed.max() < 0.1)  # slow enough for the rule
    True
    """

    lr: Floats
    one_minus_beta: Floats
    speed: Floats

    @property
    def momentum(self) -> Floats:
        """beta at each step, (n,)."""
        return 1 - self.one_minus_beta


@by_annotations
def momentum_schedule(rule: MomentumRule, lr: ArrayLike) -> MomentumSchedule:
    """The momentum of `rule` at the learning rate of every step.

    It holds while lr changes little in 1 / (1 - beta) steps: `speed` well below 1. At a jump of lr set momentum and lr together,
    and expect a transient of some 1 / (1 - beta) steps.

    Args:
        rule: momentum for a learning rate
        lr: eta at each step, > 0, (n,), n >= 2

    Raises:
        InputError: for a learning rate out of range or a sequence too short.

    >>> rule = MomentumRule.from_reference(0.1, 0.9)
    >>> schedule = momentum_schedule(rule, [0.1, 0.05, 0.0125])
    >>> schedule.momentum.round(4).tolist()
    [0.9, 0.937, 0.975]
    >>> bool(schedule.speed.min() > 1)  # halved at every step: too fast
    True
    """
    rates = check_lr(lr)
    if rates.ndim != 1 or len(rates) < 2:
        raise InputError("lr", f"shape {rates.shape}", "shape (n,), n >= 2")
    one_minus_beta = np.asarray(rule.one_minus_beta(rates))
    speed = np.abs(np.gradient(np.log(rates))) / one_minus_beta
    return MomentumSchedule(rates, one_minus_beta, speed)
