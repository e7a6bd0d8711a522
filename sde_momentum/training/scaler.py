"""Momentum as a function of the learning rate of a PyTorch optimizer, with the velocity kept when lr changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch

from ..core.arguments import by_annotations
from ..core.errors import InputError
from ..predictors.momentum_rule import MomentumRule

Rule = MomentumRule | Callable[[float], float]

#: Key, in a parameter group, of the lr for which its momentum buffers b give the velocity v = -lr b. Being in the group it is
#: part of the optimizer's own state_dict.
BUFFER_LR = "momentum_buffer_lr"
#: Key, in a parameter group, of [lr for which its momentum is chosen, lr of the last step, number of steps at that lr so far].
PHASE = "momentum_phase"
_LASTING = 20.0
"""Steps of constant lr, in units of 1 / (1 - beta), after which they are a phase."""
# as lr -> 0 a rule's momentum rounds to 1
_BELOW_ONE = math.nextafter(1.0, 0.0)


@by_annotations
class MomentumScaler:
    """Sets the momentum of every parameter group of an SGD optimizer from the learning rate of the group's present phase.

    A phase is a stretch of constant lr of at least 20 / (1 - beta) steps, ten relaxation times [theory: Relaxation]. Before it
    has lasted so long, and while lr is warmed up or annealed, the momentum is that of the phase before, or for the peak lr: in an
    annealed training a momentum that follows lr makes the end worse, for the energy of the velocity falls more slowly than lr.
    `when="always"` follows every change at once.

    Heavy ball is v <- beta v - lr g, w <- w + v [theory: Setting, eq. 1.2]. PyTorch stores b instead:

        b <- beta b + (1 - dampening) g,   w <- w - lr b,   so v = -lr b.

    When lr changes to lr', PyTorch keeps b, so that v is multiplied by lr' / lr. `keep="buffer"` leaves it so. `keep="velocity"`
    keeps v, as in the theory: the next step is exactly v <- beta' v - lr' (1 - dampening) g, for which b is multiplied by
    lr / lr' before it, which multiplies the energy v^2 / (2 lr) by lr / lr'. A change of beta alone changes neither.

    A hook before `optimizer.step` does the work, with any `torch.optim.lr_scheduler`, warm-up or gradient scaler. The momentum of
    a scheduler is overridden (switch off its `cycle_momentum`). The rule is evaluated at lr (1 - dampening). At lr = 0 the
    momentum is unchanged, and with `keep="velocity"` the motion restarts from rest; so it does after a momentum of 0. Copies of
    the optimizer (`copy.deepcopy`, pickle) have no hooks: put a scaler on each.

    The state is four numbers in each parameter group, hence in `optimizer.state_dict()`: a run resumed from the optimizer's
    checkpoint equals the uninterrupted one. `state_dict` and `load_state_dict` serve to check it.

    Args:
        optimizer: `torch.optim.SGD`: heavy ball, Nesterov or dampening
        rule: a `MomentumRule`, or any callable from lr to a momentum in [0, 1)
        keep: "buffer" or "velocity"
        when: "phases" or "always"

    Raises:
        InputError: for another optimizer, one that has a scaler already, an unknown `keep` or `when`, float16 weights with
            `keep="velocity"`, whose b would overflow as lr falls, or a rule that answers outside of [0, 1).

    >>> import sde_momentum as sm
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> scaler = MomentumScaler(optimizer, sm.MomentumRule.from_reference(lr=0.1, momentum=0.9))
    >>> optimizer.param_groups[0]["lr"] = 0.01  # as a scheduler does
    >>> found = []
    >>> for _ in range(1000):
    ...     optimizer.step()
    ...     found.append(round(optimizer.param_groups[0]["momentum"], 6))
    >>> found[0], found[-1]
    (0.9, 0.978456)
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule: Rule, keep: str = "buffer", when: str = "phases") -> None:
        if not isinstance(optimizer, torch.optim.SGD):
            raise InputError("optimizer", type(optimizer).__name__, "torch.optim.SGD: the theory is that of SGD with momentum")
        if keep not in ("velocity", "buffer"):
            raise InputError("keep", keep, "buffer or velocity")
        if when not in ("phases", "always"):
            raise InputError("when", when, "phases or always")
        if any(
            isinstance(getattr(hook, "__self__", None), MomentumScaler) for hook in optimizer._optimizer_step_pre_hooks.values()
        ):
            raise InputError("optimizer", "one with a MomentumScaler", "one without: call the first one's remove()")
        half = any(p.dtype == torch.float16 for group in optimizer.param_groups for p in group["params"])
        if half and keep == "velocity":
            raise InputError("keep", keep, "buffer, as some weights are float16, which a rescaled velocity can overflow")
        self.optimizer, self.keep, self.when = optimizer, keep, when
        self.rule = rule
        self._handle = optimizer.register_step_pre_hook(self._before_step)
        for group in optimizer.param_groups:
            lr = float(group["lr"])
            group.setdefault(BUFFER_LR, lr)  # buffers of earlier steps belong to the present lr
            group.setdefault(PHASE, [max(lr, float(group.get("initial_lr", lr)), float(group.get("max_lr", lr))), lr, 0])
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
        self._handle.remove()
        for group in self.optimizer.param_groups if settle else ():
            self._rescale(group, float(group["lr"]))
            group.pop(BUFFER_LR, None)
            group.pop(PHASE, None)

    def state_dict(self) -> dict[str, Any]:
        """`keep` and `when`, and for each group the lr to which its buffers belong, and its phase."""
        groups = self.optimizer.param_groups
        numbers = {"buffer_lr": [group[BUFFER_LR] for group in groups], "phase": [list(group[PHASE]) for group in groups]}
        return {"keep": self.keep, "when": self.when} | numbers

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved; the optimizer loads its own state, before or after."""
        groups, rates, phases = self.optimizer.param_groups, state.get("buffer_lr"), state.get("phase")
        known = state.get("keep") in ("velocity", "buffer") and state.get("when") in ("phases", "always")
        if not known or rates is None or phases is None or not len(rates) == len(phases) == len(groups):
            raise InputError("state", state, f"a state of {len(groups)} groups")
        self.keep, self.when = state["keep"], state["when"]
        for group, lr, phase in zip(groups, rates, phases, strict=True):
            group[BUFFER_LR], group[PHASE] = lr, list(phase)
        self._between_steps()

    def _momentum_at(self, group: dict[str, Any], lr: float) -> float:
        """The rule's momentum at a learning rate; unchanged at 0."""
        at = lr if group["nesterov"] else lr * (1 - group["dampening"])
        return self._momentum(at) if at > 0 else float(group["momentum"])

    def _between_steps(self) -> None:
        for group in self.optimizer.param_groups:
            lr = float(group["lr"])
            group["momentum"] = self._momentum_at(group, lr if self.when == "always" else group[PHASE][0])

    def _before_step(self, *_: object) -> None:
        for group in self.optimizer.param_groups:
            lr = float(group["lr"])
            self._count(group, lr)
            group["momentum"] = self._momentum_at(group, lr if self.when == "always" else group[PHASE][0])
            if group["momentum"] == 0:
                self._drop(group)
            self._rescale(group, lr)

    def _count(self, group: dict[str, Any], lr: float) -> None:
        """Count steps of constant lr; the momentum is for the highest lr so far, or for that of a phase that has lasted."""
        chosen, last, n = group[PHASE]
        n = n + 1 if lr == last else 1
        if lr > chosen or (0 < lr < chosen and n * (1 - self._momentum_at(group, lr)) >= _LASTING):
            chosen = lr
        group[PHASE] = [chosen, lr, n]

    def _rescale(self, group: dict[str, Any], lr: float) -> None:
        """Let the buffers give the same velocity at `lr`, if that is kept; at an lr of 0 they cannot."""
        before, group[BUFFER_LR] = group.get(BUFFER_LR, lr), lr
        if self.keep == "buffer" or before == lr:
            return
        if before == 0 or lr == 0:
            self._drop(group)
        elif buffers := self._buffers(group):
            torch._foreach_mul_(buffers, before / lr)

    def _buffers(self, group: dict[str, Any]) -> list[torch.Tensor]:
        states = (self.optimizer.state.get(p, {}) for p in group["params"])
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
