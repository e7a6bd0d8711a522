"""Momentum as a function of the learning rate of a PyTorch optimizer, with the velocity kept when lr changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch

from ..core.errors import InputError
from ..predictors.momentum_rule import MomentumRule

Rule = MomentumRule | Callable[[float], float]

#: Key, in a parameter group, of the lr for which its momentum buffers b give the velocity v = -lr b. Being in the group it is
#: part of the optimizer's own state_dict.
BUFFER_LR = "momentum_buffer_lr"
# as lr -> 0 a rule's momentum rounds to 1
_BELOW_ONE = math.nextafter(1.0, 0.0)


class MomentumScaler:
    """Sets the momentum of every parameter group of an SGD optimizer from the group's current learning rate.

    Heavy ball is v <- beta v - lr g, w <- w + v [theory: Setting, eq. 1.2]. PyTorch stores b instead:

        b <- beta b + (1 - dampening) g,   w <- w - lr b,   so v = -lr b.

    When lr changes to lr', PyTorch keeps b, so that v is multiplied by lr' / lr. `keep="velocity"` keeps v, as in the theory:
    the next step is exactly v <- beta' v - lr' (1 - dampening) g. `keep="buffer"` keeps b. A change of beta alone changes
    neither.

    Hooks on `optimizer.step` do the work, with any `torch.optim.lr_scheduler`, warm-up or gradient scaler. A scheduler's own
    momentum is overridden (switch it off by `cycle_momentum=False`). The rule is evaluated at lr (1 - dampening). At lr = 0 the
    momentum is unchanged, and with `keep="velocity"` the motion restarts from rest; so it does after a momentum of 0.

    The step itself rescales the buffers, through a momentum set for that step (with Nesterov, whose update has the momentum
    twice, through dampening too, and over several steps). Between steps a group has the rule's momentum.

    The state is one number in each parameter group, hence in `optimizer.state_dict()`: a run resumed from the optimizer's
    checkpoint equals the uninterrupted one. `state_dict` and `load_state_dict` serve to check it.

    Args:
        optimizer: `torch.optim.SGD`: heavy ball, Nesterov or dampening
        rule: a `MomentumRule`, or any callable from lr to a momentum in [0, 1)
        keep: "velocity" or "buffer"

    Raises:
        InputError: for another optimizer, an unknown `keep`, or a rule that answers outside of [0, 1).

    >>> import sde_momentum as sm
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> scaler = MomentumScaler(optimizer, sm.MomentumRule.from_reference(lr=0.1, momentum=0.9))
    >>> optimizer.param_groups[0]["lr"] = 0.01  # as a scheduler does
    >>> optimizer.step()
    >>> round(optimizer.param_groups[0]["momentum"], 6)
    0.978456
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule: Rule, keep: str = "velocity") -> None:
        if not isinstance(optimizer, torch.optim.SGD):
            raise InputError("optimizer", type(optimizer).__name__, "torch.optim.SGD: the theory is that of SGD with momentum")
        if keep not in ("velocity", "buffer"):
            raise InputError("keep", keep, "velocity or buffer")
        self.optimizer, self.keep = optimizer, keep
        # for the step in progress, of each group: (factor by which it rescales the buffers, momentum)
        self._waiting: list[tuple[float, float]] = []
        self.rule = rule
        self._handles = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )
        self._between_steps()

    @property
    def rule(self) -> Rule:
        """The present rule; a new one is used from the next step on."""
        return self._rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        if not isinstance(rule, MomentumRule) and not callable(rule):
            raise InputError("rule", rule, "a MomentumRule, or a function of lr")
        self._rule = rule
        # evaluated once for each lr
        self._momentum = lru_cache(maxsize=256)(partial(_answer, rule))

    def step(self) -> None:
        """Set the groups to the momentum of the next step now, for a log; training does not need it."""
        self._between_steps()

    def remove(self, *, settle: bool = True) -> None:
        """Remove the hooks from the optimizer; momentum and velocity do not change.

        Args:
            settle: rescale the buffers to the present lr, so that PyTorch alone can go on; otherwise they are left, with the
                state that a later scaler needs
        """
        for handle in self._handles:
            handle.remove()
        for group in self.optimizer.param_groups if settle else ():
            ratio = self._ratio(group, float(group["lr"]))
            if ratio != 1:
                torch._foreach_mul_(self._buffers(group), ratio)
            group.pop(BUFFER_LR, None)

    def state_dict(self) -> dict[str, Any]:
        """`keep`, and for each group the lr to which its buffers belong (None before the first step)."""
        return {"keep": self.keep, "buffer_lr": [group.get(BUFFER_LR) for group in self.optimizer.param_groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved; the optimizer loads its own state, before or after."""
        rates = state.get("buffer_lr")
        if rates is None or len(rates) != len(self.optimizer.param_groups) or state.get("keep") not in ("velocity", "buffer"):
            raise InputError("state", state, f"a state of {len(self.optimizer.param_groups)} groups")
        self.keep = state["keep"]
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            if lr is not None:
                group[BUFFER_LR] = lr
        self._between_steps()

    def _ask(self, group: dict[str, Any]) -> tuple[float, float]:
        """(lr, momentum) of the next step."""
        lr = float(group["lr"])
        at = lr if group["nesterov"] else lr * (1 - group["dampening"])
        return lr, self._momentum(at) if at > 0 else group["momentum"]

    def _between_steps(self) -> None:
        for group in self.optimizer.param_groups:
            group["momentum"] = self._ask(group)[1]

    def _before_step(self, *_: object) -> None:
        self._waiting = []
        for group in self.optimizer.param_groups:
            lr, momentum = self._ask(group)
            if momentum == 0:
                self._drop(group)
            ratio, scale = self._ratio(group, lr), 1.0
            if ratio != 1 and group["nesterov"] and len(self._buffers(group)) < len(group["params"]):
                # a buffer that this step creates would be scaled wrongly
                torch._foreach_mul_(self._buffers(group), ratio)
                ratio = 1.0
            if ratio == 1:
                group["momentum"] = momentum
            elif group["nesterov"]:  # its update has the momentum twice: half of the change now, the rest in later steps
                scale = math.sqrt(ratio)
                group["momentum"], group["dampening"] = momentum * scale, 1 - 1 / scale
            else:  # b <- beta (b lr / lr') + g for this one step
                group["momentum"] = momentum * ratio
            group[BUFFER_LR] = lr * scale
            self._waiting.append((ratio / scale, momentum))

    def _after_step(self, *_: object) -> None:
        for group, (ratio, momentum) in zip(self.optimizer.param_groups, self._waiting, strict=True):
            if ratio != 1:  # the step skips parameters without gradient
                left = self._buffers(group, [p for p in group["params"] if p.grad is None])
                if left:
                    torch._foreach_mul_(left, ratio)
            if group["nesterov"]:
                group["dampening"] = 0
            group["momentum"] = momentum

    def _ratio(self, group: dict[str, Any], lr: float) -> float:
        """Factor by which the buffers are to be rescaled before a step at `lr`."""
        before = group.get(BUFFER_LR)
        if before is None or before == lr or self.keep == "buffer":
            return 1.0
        if before == 0 or lr == 0:
            self._drop(group)
            return 1.0
        return float(before / lr)

    def _buffers(self, group: dict[str, Any], parameters: Sequence[torch.Tensor] | None = None) -> list[torch.Tensor]:
        states = (self.optimizer.state.get(p, {}) for p in (group["params"] if parameters is None else parameters))
        return [state["momentum_buffer"] for state in states if state.get("momentum_buffer") is not None]

    def _drop(self, group: dict[str, Any]) -> None:
        """Delete the buffers, which PyTorch then starts anew; it would reuse those of before the momentum was 0."""
        for p in group["params"]:
            if self.optimizer.state.get(p, {}).get("momentum_buffer") is not None:
                self.optimizer.state[p]["momentum_buffer"] = None


def _answer(rule: Rule, lr: float) -> float:
    if isinstance(rule, MomentumRule):
        return min(float(rule.momentum(lr)), _BELOW_ONE)
    momentum = float(rule(lr))
    if not 0 <= momentum < 1:
        raise InputError("rule", f"momentum {momentum:g} at lr = {lr:g}", "a rule that answers in [0, 1)")
    return momentum
