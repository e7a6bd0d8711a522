"""`find_momentum`: the momentum that suits one's own training, by short trials from where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor, nn

from ...core.errors import InputError, check_integer, check_lr, check_momentum, check_one, check_positive
from ...core.progress import note, track
from ...predictors.momentum_rule import MomentumRule
from .result import FoundMomentum
from .snapshot import Snapshot
from .trial import Step, Training, plain_step, same_batch

Floats = NDArray[np.float64]

FIRST = (1.0, 0.32, 0.1, 0.032, 0.01)
"""1 - beta of the first trials, as far as trials are long enough for them."""
_RELAXATIONS = 3.0
"""Least length of a trial, in relaxation times 2 / (1 - beta) of its momentum [theory: Relaxation]: shorter ones reward greed."""
_FINER = (1.8, 1.35)
"""Factors between neighbouring 1 - beta around the best, first and last."""
_STEPS = 300, 1000
"""Least and most steps of a trial where none are given: else one pass through the data."""
_MOST = 9
"""Number of trials for which a budget is shared out."""
_PILOT = 5
"""Steps whose speed is measured for a budget."""
_BLOCKS = 16
"""Blocks of neighbouring batches, whose mean differences give the error of a comparison."""
_AS_GOOD = 0.975
"""Probability of the one-sided t test by which a momentum counts as worse than the best."""


def find_momentum(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[..., Tensor] | None,
    loader: Iterable[Any],
    lr: float | None = None,
    *,
    steps: int | None = None,
    momenta: Sequence[float] | None = None,
    seeds: int = 1,
    metric: Callable[[nn.Module], float] | None = None,
    budget: float | None = None,
    schedule: Any = None,
    anneal: bool | None = None,
    step: Step | None = None,
    progress: bool | None = None,
) -> FoundMomentum:
    """The momentum for `lr`, by short trainings at several momenta on the same batches, from where the training stands.

    Nothing is changed: parameters, buffers, optimizer and random generators are put back, also after an exception. Of all momenta
    whose final loss is within a standard error of the best the least is recommended: beyond the best lies a cliff.

    Args:
        model: in the mode (train or eval) in which it is trained
        optimizer: SGD, whose groups get each momentum; their other options stay as they are
        loss: a function of (outputs, targets), or of (output, batch) for batches that are dictionaries; None: the model's output
            holds it in `loss`
        loader: gives batches, the same ones each time its random generators are put back; not an iterator
        lr: peak learning rate of the first group, the others in proportion (None: as they are)
        steps: length of a trial; a fifth of the training is enough (None: one pass through the data, but 300 to 1,000, and what
            the budget allows)
        momenta: to try (None: five from 0 to 0.99, then around the best)
        seeds: number of repetitions with other batches and other noise; with one, the error is that over batches
        metric: a function of the trained model, smaller is better, in place of the loss at the end of a trial, such as one minus
            the validation accuracy
        budget: seconds for all trials (None: no limit)
        schedule: the learning rate scheduler of the training; only asks for `anneal`
        anneal: lr falls to 0 over the last fifth of each trial, as it will in the training (None: if a schedule is given). The
            momentum for an annealed training differs from that at constant lr
        step: one update on a batch, which gives the loss, in place of the usual one: with clipping, autocast, any loss
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

    Raises:
        InputError: for a value out of range, an optimizer without momentum, a loader that gives other batches each time, or if
            every trial is lost.

    Source: [theory: Relaxation] for the range and the length; the comparison is measured, not theory.

    >>> x = torch.linspace(-1, 1, 32)[:, None]
    >>> model = nn.Linear(1, 1)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> found = find_momentum(model, sgd, nn.functional.mse_loss, [(x, 3 * x)], steps=100, momenta=[0, 0.5, 0.9])
    >>> found.momentum, sgd.param_groups[0]["momentum"]
    (0.5, 0.9)
    """
    began = monotonic()
    finder = _Finder.checked(model, optimizer, loss, loader, lr, steps, momenta, seeds, metric, budget, schedule, anneal, step)
    with track("momentum", _MOST * seeds, progress) as finder.tick:
        try:
            finder.search()
        finally:
            finder.snapshot.restore()
    return finder.result(monotonic() - began)


@dataclass(eq=False)
class _Finder:
    """The trials made so far.

    Attributes:
        lr: of the first group
        given: momenta to try, as 1 - beta; None: to be found
        runs: 1 - beta -> losses of each seed, and the metric of each seed
    """

    model: nn.Module
    snapshot: Snapshot
    training: Training
    lr: float
    present: float
    given: list[float] | None
    seeds: int
    metric: Callable[[nn.Module], float] | None
    runs: dict[float, tuple[list[Floats], list[float]]] = field(default_factory=dict)
    first: dict[int, Any] = field(default_factory=dict)
    tick: Callable[[float], object] = lambda amount: None

    @classmethod
    def checked(
        cls, model: Any, optimizer: Any, loss: Any, loader: Any, lr: Any, steps: Any, momenta: Any, seeds: Any, metric: Any,
        budget: Any, schedule: Any, anneal: Any, step: Any,
    ) -> _Finder:  # fmt: skip
        """From the arguments of `find_momentum`."""
        if not isinstance(model, nn.Module):
            raise InputError("model", type(model).__name__, "a torch.nn.Module")
        if not isinstance(optimizer, torch.optim.Optimizer) or any("momentum" not in g for g in optimizer.param_groups):
            raise InputError("optimizer", type(optimizer).__name__, "an optimizer with momentum, such as torch.optim.SGD")
        if isinstance(loader, Iterator) or not isinstance(loader, Iterable):
            raise InputError("loader", type(loader).__name__, "a DataLoader or list of batches, which can be read again")
        for name, value in (("loss", loss), ("metric", metric), ("step", step)):
            if value is not None and not callable(value):
                raise InputError(name, value, "a function, or None")
        if step is not None and loss is not None:
            raise InputError("loss", "beside step", "None: the step computes it")
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        rate = rates[0] if lr is None else check_one(check_lr, lr, "lr")
        if rates[0] <= 0:
            raise InputError("optimizer", f"lr {rates[0]}", "lr > 0 in its first group")
        if any(
            getattr(hook, "__module__", "").startswith("sde_momentum") for hook in optimizer._optimizer_step_pre_hooks.values()
        ):
            raise InputError(
                "optimizer", "one with a MomentumScaler", "one whose momentum nothing else sets: call its remove() first"
            )
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        given = None if momenta is None else sorted({1 - float(x) for x in np.atleast_1d(check_momentum(momenta, "momenta"))})
        n_seeds = check_integer(seeds, "seeds", 1)
        limit = None if budget is None else check_one(check_positive, budget, "budget")
        annealed = bool(anneal) if anneal is not None else schedule is not None
        update = step if step is not None else plain_step(model, optimizer, loss)
        training = Training(optimizer, update, loader, 1, annealed, rate / rates[0], device)
        snapshot = Snapshot(model, optimizer, loader)
        n_steps = cls._length(training, snapshot, steps, limit, n_seeds * (_MOST if given is None else len(given)))
        present = float(optimizer.param_groups[0]["momentum"])
        return cls(model, snapshot, replace(training, n_steps=n_steps), rate, present, given, n_seeds, metric)

    @staticmethod
    def _length(training: Training, snapshot: Snapshot, steps: Any, budget: float | None, trials: int) -> int:
        """Steps of a trial."""
        if steps is not None:
            return check_integer(steps, "steps", 10)
        least, most = _STEPS
        try:
            wanted = int(np.clip(len(training.loader), least, most))  # type: ignore[arg-type]
        except TypeError:
            wanted = least
        if budget is None:
            return wanted
        try:
            replace(training, n_steps=1).run(0.0, lambda amount: None)  # the first step may take longer
            began = monotonic()
            replace(training, n_steps=_PILOT).run(0.0, lambda amount: None)
            seconds = (monotonic() - began) / _PILOT
        finally:
            snapshot.restore()
        return max(10, min(wanted, int(budget / (seconds * trials))))

    # -- trials ------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Make all trials."""
        if self.given is not None:
            self._try(self.given)
        else:
            least = 2 * _RELAXATIONS / self.training.n_steps
            now = [1 - self.present] if least <= 1 - self.present else []
            self._try(sorted({delta for delta in (*FIRST, *now) if delta >= least} or {1.0}))
            for factor in _FINER:
                self._try(self._between(factor, least))
        if not np.isfinite(min(self._scores().values())):
            raise InputError("lr", self.lr, "a smaller learning rate: every trial was lost, also without momentum")

    def _between(self, factor: float, least: float) -> list[float]:
        """1 - beta on either side of the best, `factor` apart at most."""
        scores = self._scores()
        best, tried = min(scores, key=lambda delta: scores[delta]), sorted(scores)
        new = []
        for side in (1 / factor, factor):
            delta = min(1.0, best * side)
            gaps = [abs(np.log(other / delta)) for other in tried]
            if delta >= least and min(gaps) > 0.4 * np.log(factor):
                new.append(delta)
        return new

    def _try(self, deltas: Sequence[float]) -> None:
        for delta in deltas:
            if delta in self.runs:
                continue
            note(f"1 - beta {delta:.3g}, {self.training.n_steps} steps")
            losses, values = [], []
            for seed in range(self.seeds):
                self.snapshot.restore()
                if seed:
                    self.snapshot.reseed(seed)
                course, batch = self.training.run(1 - delta, lambda amount: self.tick(amount / self.training.n_all))
                self._compare_batches(seed, batch)
                losses.append(course)
                lost = len(course) < self.training.n_all or not np.isfinite(course[-1])
                values.append(float("inf") if lost or self.metric is None else float(self.metric(self.model)))
            self.runs[delta] = losses, values

    def _compare_batches(self, seed: int, batch: Any) -> None:
        if not same_batch(self.first.setdefault(seed, batch), batch):
            raise InputError(
                "loader", "other batches each time", "one that repeats its batches when torch's generators are put back"
            )

    # -- comparison --------------------------------------------------------------------------------------

    def _whole(self, delta: float) -> bool:
        return all(len(losses) == self.training.n_all and np.isfinite(losses).all() for losses in self.runs[delta][0])

    def _scores(self) -> dict[float, float]:
        """1 - beta -> mean over seeds of what is compared; inf for a lost trial."""
        found = {}
        for delta, (losses, values) in self.runs.items():
            if not self._whole(delta):
                found[delta] = float("inf")
            elif self.metric is not None:
                found[delta] = float(np.mean(values))
            else:
                found[delta] = float(np.mean([course[-self.training.n_measured :].mean() for course in losses]))
        return found

    def _excess(self, delta: float, best: float) -> tuple[float, float, float]:
        """ln of the score over that of the best, its standard error and degrees of freedom, from pairs of seeds or of blocks.

        Logarithms, for losses fall exponentially; where a score is not positive it is the difference.
        """
        if not self._whole(delta):
            return float("inf"), float("nan"), 1.0
        mine, theirs = self._parts(delta), self._parts(best)
        positive = min(mine.min(), theirs.min()) > 0
        pairs = np.log(mine / theirs) if positive else mine - theirs
        error = float(pairs.std(ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else float("nan")
        return float(pairs.mean()), error, len(pairs) - 1.0

    def _parts(self, delta: float) -> Floats:
        """What is compared: one number for each seed, or for one seed the loss of each block of neighbouring batches."""
        losses, values = self.runs[delta]
        if self.metric is not None:
            return np.array(values)
        ends = [course[-self.training.n_measured :] for course in losses]
        if self.seeds > 1:
            return np.array([end.mean() for end in ends])
        return np.array([block.mean() for block in np.array_split(ends[0], min(_BLOCKS, len(ends[0])))])

    def result(self, seconds: float) -> FoundMomentum:
        """The recommendation from all trials."""
        scores = self._scores()
        tried = np.array(sorted(scores))
        best = min(scores, key=lambda delta: scores[delta])
        excess, errors, freedom = np.array([self._excess(delta, best) for delta in tried]).T
        errors_of = np.nan_to_num(errors)
        at = int(np.flatnonzero(tried == best)[0])
        _, chosen = _around(at, excess <= errors_of)  # within one standard error of the best
        low, high = _around(at, excess <= student.ppf(_AS_GOOD, np.maximum(freedom, 1.0)) * errors_of)
        value = float(tried[chosen])
        lost = [float(delta) for delta in tried if scores[delta] == np.inf and delta < value]
        losses = np.full((len(tried), self.seeds, self.training.n_all), np.nan)
        for i, delta in enumerate(tried):
            for j, course in enumerate(self.runs[float(delta)][0]):
                losses[i, j, : len(course)] = course
        where = "after the cool-down" if self.training.anneal else "at the end"
        measure = "metric" if self.metric is not None else f"loss over {self.training.n_measured} batches {where}"
        score = np.array([scores[delta] for delta in tried])
        nesterov = bool(self.training.optimizer.param_groups[0].get("nesterov", False))
        rule = MomentumRule.from_reference(self.lr, 1 - value, nesterov=nesterov)
        ends = float(tried[low]), float(tried[high])
        return FoundMomentum(
            self.lr, value, *ends, tried, score, excess, errors, losses, max(lost, default=None), self.present,
            self.training.n_steps, self.training.anneal, measure, seconds, rule,
        )  # fmt: skip


def _around(at: int, good: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last index of the unbroken run of good ones that contains `at`."""
    bad = np.flatnonzero(~good)
    return int(bad[bad < at].max(initial=-1)) + 1, int(bad[bad > at].min(initial=len(good))) - 1
