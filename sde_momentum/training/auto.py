"""Momentum that is estimated again and again while a PyTorch model trains (T5, within a stated share of the time)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, check, check_integer, check_one, check_positive
from .estimate import estimate_timescales, gather
from .label_noise import LabelNoiseLaw
from .output_map import Loss, OutputMap
from .result import TimescaleEstimate
from .scaler import MomentumScaler

#: What an estimate during training may cost: few probes and an early stop, for a direction that is right to some ten percent.
QUICK: dict[str, Any] = {"n_probes": 8, "n_draws": 8, "n_eigenvalues": 2, "n_lanczos": 8, "max_iterations": 20, "tolerance": 1e-2}
#: Passes over the samples that such an estimate takes at most, about.
_PASSES = 250


@dataclass(frozen=True)
class _Law:
    """1 - beta = one_minus_beta (lr' / lr)^exponent near the lr of the estimate."""

    lr: float
    one_minus_beta: float
    exponent: float = 2 / 3

    def log(self, lr: float) -> float:
        return math.log(self.one_minus_beta) + self.exponent * math.log(lr / self.lr)


class AutoMomentum:
    """Estimates c and mu every `every` steps, and moves the momentum there smoothly over the next `every` steps.

        ln(1 - beta) = (1 - s) ln(1 - beta)_before + s ln(1 - beta)_estimated,   s = steps since the estimate / every

    In between, 1 - beta follows the learning rate by lr^(2/3), through a `MomentumScaler`. mu is the curvature along the way
    that training itself has gone since the last estimate (the part along Gamma). 1 - beta goes to one standard error above
    its estimate, since less momentum costs little and more may cost all
    [theory: Effective loss], and never below the stability edge of the leading
    modes [theory: Critical limit]. Every estimate but the first moves it by a factor of at most `most`; one that predicts
    nothing leaves it.

    An estimate is made only when all estimates together, it included, take at most `budget` of the time spent training.
    When that is depends on the clock: with `budget=None` every K-th step has its estimate, and runs repeat exactly. An estimate
    costs some hundred passes over its samples, so a short training of a tiny model affords few.

    Args:
        optimizer: `torch.optim.SGD`; its momentum at its lr is where this starts. The lr of the theory is the first group's.
        model, loss, data, label_noise, batch_size: as for `estimate_timescales`
        every: steps between estimates, >= 1
        budget: share of the training time, in (0, 1), or None for no limit
        n_samples: samples of an estimate, drawn anew for each
        most: largest factor for 1 - beta in one estimate after the first, > 1
        keep: as for `MomentumScaler`
        clock: seconds, for tests
        options: of `estimate_timescales`, in place of those in `QUICK`

    Raises:
        InputError: for another optimizer, or a value out of range.

    `estimates` holds (step, `TimescaleEstimate`) so far, `spent` the seconds that they took.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: torch.nn.Module,
        loss: Loss,
        data: Any,
        *,
        label_noise: LabelNoiseLaw,
        batch_size: int | None = None,
        every: int = 500,
        budget: float | None = 0.05,
        n_samples: int = 256,
        most: float = 2.0,
        keep: str = "velocity",
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.every = check_integer(every, "every", 1)
        if budget is not None:
            check_one(
                lambda x, name: check(name, x, lambda b: (b > 0) & (b < 1), "a number in (0, 1), or None"), budget, "budget"
            )
        if not check_one(check_positive, most, "most") > 1:
            raise InputError("most", most, "a factor > 1")
        self.model, self.loss, self.data, self.label_noise, self.batch_size = model, loss, data, label_noise, batch_size
        self.budget, self.most, self.seed = budget, most, check_integer(seed, "seed", 0)
        self.n_samples = check_integer(n_samples, "n_samples", 1)
        self._options = {**QUICK, **(options or {})}
        self._clock = clock
        self.steps = 0
        self.estimates: list[tuple[int, TimescaleEstimate]] = []
        group = optimizer.param_groups[0]
        start = _Law(float(group["lr"]) or 1.0, max(1 - float(group.get("momentum", 0.0)), 1e-12))
        self._before = self._after = start
        self._since = self.every
        self.scaler = MomentumScaler(optimizer, self._momentum, keep)
        self._group = group
        self._handle = optimizer.register_step_post_hook(self._after_step)
        self._left = self._point()
        self.spent, self._expected, self._begin = 0.0, 0.0, self._clock()
        if budget is not None:
            self._expected = _PASSES * self._time_of_a_pass()

    def one_minus_beta(self, lr: float) -> float:
        """1 - beta at `lr` now."""
        s = min(self._since / self.every, 1.0)
        return min(math.exp((1 - s) * self._before.log(lr) + s * self._after.log(lr)), 1.0)

    def remove(self) -> None:
        """Take the hooks off the optimizer."""
        self._handle.remove()
        self.scaler.remove()

    def state_dict(self) -> dict[str, Any]:
        """Where the momentum is and where it goes, the step, and the point where the way of the next estimate begins."""
        laws = [[law.lr, law.one_minus_beta, law.exponent] for law in (self._before, self._after)]
        return {"steps": self.steps, "since": self._since, "laws": laws, "left": self._left, "made": [self._made, self._told]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved; the list of estimates begins anew, as does the clock."""
        try:
            self._before, self._after = (_Law(*law) for law in state["laws"])
            self.steps, self._since, self._left = int(state["steps"]), int(state["since"]), state["left"].to(self._left)
            self._made, self._told = state["made"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("state", type(state).__name__, "what state_dict() returned") from None
        self._refresh()

    # -- inside ------------------------------------------------------------------------------------

    _made = 0  # estimates, and whether one of them has set the momentum
    _told = False

    def _momentum(self, lr: float) -> float:
        return min(1 - self.one_minus_beta(lr), math.nextafter(1.0, 0.0))

    def _refresh(self) -> None:
        self.scaler.rule = self._momentum  # forgets the answers of before
        self.scaler.step()

    def _point(self) -> Tensor:
        return torch.cat([p.detach().ravel() for p in self.model.parameters() if p.requires_grad])

    def _after_step(self, *_: object) -> None:
        self.steps += 1
        if self._since < self.every:
            self._since += 1
            self._refresh()
        if self._since >= self.every and self.steps % self.every == 0 and self._affordable():
            clock = self._clock()
            self._estimate()
            self._expected = self._clock() - clock
            self.spent += self._expected

    def _affordable(self) -> bool:
        if self.budget is None:
            return True
        training = self._clock() - self._begin - self.spent
        return self.spent + self._expected <= self.budget * training

    def _estimate(self) -> None:
        lr = float(self._group["lr"]) * (1 - self._group["dampening"])
        here = self._point()
        way = here - self._left
        if not (lr > 0 and float(way.norm()) > 0):
            return
        with torch.enable_grad():
            found = estimate_timescales(
                self.model,
                self.loss,
                self.data,
                lr=lr,
                label_noise=self.label_noise,
                batch_size=self.batch_size,
                weight_decay=self._group["weight_decay"],
                displacement=way,
                n_samples=self.n_samples,
                seed=self.seed + self._made,
                **self._options,
            )
        self._made += 1
        self.estimates.append((self.steps, found))
        self._left = here
        if found.one_minus_beta is None or found.rule is None:
            return
        now = self.one_minus_beta(lr)
        # one standard error to the side of less momentum: the time is flat there, and beyond the best lies a cliff
        # [theory: Effective loss]
        wanted = max(found.one_minus_beta + (found.one_minus_beta_se or 0.0), found.edge_one_minus_beta)
        if self._told:
            wanted = min(max(wanted, now / self.most), now * self.most)
        self._told = True
        nearby = [float(found.rule.one_minus_beta(lr * factor)) for factor in (0.99, 1.01)]
        exponent = math.log(nearby[1] / nearby[0]) / math.log(1.01 / 0.99)
        self._before = _Law(lr, now, self._after.exponent)
        self._after, self._since = _Law(lr, min(wanted, 1.0), exponent), 0
        self._refresh()

    def _time_of_a_pass(self) -> float:
        """Seconds, from one product each way once all is loaded; everything counts as spent."""
        clock = self._clock()
        device = self._left.device
        inputs, targets = (part.to(device) for part in gather(self.data, self.n_samples, self.seed))
        z = OutputMap(self.model, self.loss, inputs, targets)
        z.push(z.pull(torch.ones(z.n_outputs, dtype=z.dtype, device=device)))  # the first one loads libraries
        before, start = z.passes, self._clock()
        z.push(z.pull(torch.ones(z.n_outputs, dtype=z.dtype, device=device)))
        each = (self._clock() - start) / (z.passes - before)
        self.spent += self._clock() - clock
        return each
