"""Repeated estimates of the best momentum while a PyTorch model trains, within a given share of the training time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, check_integer
from .estimate import estimate_timescales
from .label_noise import LabelNoiseLaw
from .output_map import Loss, OutputMap
from .result import TimescaleEstimate
from .samples import gather
from .scaler import MomentumScaler
from .settings import MomentumUpdates

#: Rough number of passes over its samples of an estimate with `QUICK` settings; predicts the cost of the first estimate.
_PASSES_OF_AN_ESTIMATE = 250


@dataclass(frozen=True)
class _PowerLaw:
    """1 - beta = one_minus_beta (lr' / lr)^exponent at a learning rate lr' near lr."""

    lr: float
    one_minus_beta: float
    exponent: float = 2 / 3

    def log(self, lr: float) -> float:
        """ln(1 - beta) at `lr`."""
        return math.log(self.one_minus_beta) + self.exponent * math.log(lr / self.lr)


class AutoMomentum:
    """Estimates the best momentum every `updates.every` steps, and moves the optimizer's there smoothly until the next estimate.

        ln(1 - beta) = (1 - s) ln(1 - beta)_before + s ln(1 - beta)_estimated,   s = steps since the estimate / every

    1 - beta also follows the learning rate by lr^(2/3), through a `MomentumScaler`. The curvature mu is measured along the
    displacement of w since the last estimate (its part along Gamma). 1 - beta goes to one standard error above its estimate,
    since beyond the best momentum lies the cliff, and never below the stability edge of the leading modes
    [theory: Critical limit; Price of speed, eq. 9.5]. Each estimate but the first changes it by a factor of at most
    `updates.max_factor`; one without a prediction leaves it unchanged.

    An estimate is made only if all estimates, it included, take at most the share `updates.budget` of the time spent training.
    That depends on the clock: with `budget=None` there is an estimate every `every` steps, and runs repeat exactly. An estimate
    costs some hundred passes over its samples, so a short training of a tiny model affords few.

    Args:
        optimizer: `torch.optim.SGD`; its lr and momentum are the start, and the first group's lr is the learning rate
        model, loss, data, label_noise, batch_size: as for `estimate_timescales`
        updates: when to estimate, at what cost, and the largest change
        seed: of all random numbers

    Raises:
        InputError: for another optimizer, or a value out of range.

    Attributes:
        estimates: pairs (step, `TimescaleEstimate`) so far
        spent: seconds that they took
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
        updates: MomentumUpdates = MomentumUpdates(),
        seed: int = 0,
    ) -> None:
        self.model, self.loss, self.data, self.label_noise, self.batch_size = model, loss, data, label_noise, batch_size
        self.updates, self.seed = updates, check_integer(seed, "seed", 0)
        self.steps = 0
        self.estimates: list[tuple[int, TimescaleEstimate]] = []
        self._n_estimates, self._set_by_estimate = 0, False
        group = self._group = optimizer.param_groups[0]
        start = _PowerLaw(float(group["lr"]) or 1.0, max(1 - float(group.get("momentum", 0.0)), 1e-12))
        self._before = self._after = start
        self._steps_since = updates.every
        self.scaler = MomentumScaler(optimizer, self._momentum, updates.keep, "always")
        self._handle = optimizer.register_step_post_hook(self._after_step)
        self._path_start = self._point()
        self.spent, self._expected_cost, self._begin = 0.0, 0.0, self._clock()
        if updates.budget is not None:
            self._expected_cost = _PASSES_OF_AN_ESTIMATE * self._time_of_a_pass()

    def one_minus_beta(self, lr: float) -> float:
        """The present 1 - beta at `lr`."""
        s = min(self._steps_since / self.updates.every, 1.0)
        return min(math.exp((1 - s) * self._before.log(lr) + s * self._after.log(lr)), 1.0)

    def remove(self) -> None:
        """Remove the hooks from the optimizer."""
        self._handle.remove()
        self.scaler.remove()

    def state_dict(self) -> dict[str, Any]:
        """Present and next momentum, number of steps, and the point from which the next displacement is measured."""
        return {
            "steps": self.steps,
            "steps_since": self._steps_since,
            "laws": [[law.lr, law.one_minus_beta, law.exponent] for law in (self._before, self._after)],
            "path_start": self._path_start,
            "n_estimates": self._n_estimates,
            "set_by_estimate": self._set_by_estimate,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved; the list of estimates and the clock start anew."""
        try:
            self._before, self._after = (_PowerLaw(*law) for law in state["laws"])
            self.steps, self._steps_since = int(state["steps"]), int(state["steps_since"])
            self._path_start = state["path_start"].to(self._path_start)
            self._n_estimates, self._set_by_estimate = state["n_estimates"], state["set_by_estimate"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("state", type(state).__name__, "what state_dict() returned") from None
        self._refresh()

    # -- inside ------------------------------------------------------------------------------------

    _clock = staticmethod(time.perf_counter)  # seconds

    def _momentum(self, lr: float) -> float:
        return min(1 - self.one_minus_beta(lr), math.nextafter(1.0, 0.0))

    def _refresh(self) -> None:
        self.scaler.rule = self._momentum  # set again: the scaler keeps the answers of a rule
        self.scaler.step()

    def _point(self) -> Tensor:
        return torch.cat([p.detach().ravel() for p in self.model.parameters() if p.requires_grad])

    def _after_step(self, *_: object) -> None:
        self.steps += 1
        if self._steps_since < self.updates.every:
            self._steps_since += 1
            self._refresh()
        if self._steps_since >= self.updates.every and self.steps % self.updates.every == 0 and self._affordable():
            clock = self._clock()
            self._estimate()
            self._expected_cost = self._clock() - clock
            self.spent += self._expected_cost

    def _affordable(self) -> bool:
        if self.updates.budget is None:
            return True
        training = self._clock() - self._begin - self.spent
        return self.spent + self._expected_cost <= self.updates.budget * training

    def _estimate(self) -> None:
        lr = float(self._group["lr"]) * (1 - self._group["dampening"])
        here = self._point()
        displacement = here - self._path_start
        if not (lr > 0 and float(displacement.norm()) > 0):
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
                target=self.updates.target,
                displacement=displacement,
                settings=self.updates.estimator,
                seed=self.seed + self._n_estimates,
            )
        self._n_estimates += 1
        self.estimates.append((self.steps, found))
        self._path_start = here
        self._move_towards(found, lr)

    def _move_towards(self, found: TimescaleEstimate, lr: float) -> None:
        """Start to move to the estimate's 1 - beta plus its error, limited by the stability edge and `max_factor`."""
        if found.one_minus_beta is None or found.rule is None:
            return
        now = self.one_minus_beta(lr)
        # one standard error towards less momentum, where the time is flat: on the other side is the cliff
        wanted = max(found.one_minus_beta + (found.one_minus_beta_se or 0.0), found.edge_one_minus_beta)
        if self._set_by_estimate:
            wanted = min(max(wanted, now / self.updates.max_factor), now * self.updates.max_factor)
        self._set_by_estimate = True
        nearby = [float(found.rule.one_minus_beta(lr * factor)) for factor in (0.99, 1.01)]
        exponent = math.log(nearby[1] / nearby[0]) / math.log(1.01 / 0.99)
        self._before = _PowerLaw(lr, now, self._after.exponent)
        self._after, self._steps_since = _PowerLaw(lr, min(wanted, 1.0), exponent), 0
        self._refresh()

    def _time_of_a_pass(self) -> float:
        """Seconds of one pass over the samples, from a product with J and one with J^T; added to `spent`."""
        clock = self._clock()
        device = self._path_start.device
        inputs, targets = (part.to(device) for part in gather(self.data, self.updates.estimator.n_samples, self.seed))
        z = OutputMap(self.model, self.loss, inputs, targets)
        z.push(z.pull(torch.ones(z.n_outputs, dtype=z.dtype, device=device)))  # the first call loads libraries
        before, start = z.passes, self._clock()
        z.push(z.pull(torch.ones(z.n_outputs, dtype=z.dtype, device=device)))
        each = (self._clock() - start) / (z.passes - before)
        self.spent += self._clock() - clock
        return each
