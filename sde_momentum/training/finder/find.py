"""`find_momentum`: the momentum that suits one's own training, by short trials from where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from ...core.arguments import by_annotations
from ...core.errors import InputError, check_lr, check_one
from ...core.progress import track
from .lengths import TRIALS
from .result import FoundMomentum
from .search import Search
from .settings import FinderSettings
from .snapshot import Snapshot
from .trial import Step, Training, plain_look, plain_step


@by_annotations
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

    Nothing is changed: parameters, buffers, optimizer and random generators are put back, also after an exception. From the
    present momentum the search goes on both sides by factors of 3 in 1 - beta until the best is enclosed, then by 1.8. A trial
    that is clearly behind one with more momentum is stopped. Of all momenta whose final loss is within a standard error of the
    best the least is recommended: beyond the best lies a cliff. It takes three to five trials where `schedule` tells no length,
    else as many as take the steps of the training, for each of `seeds`.

    Args:
        model: in the mode (train or eval) in which it is trained
        optimizer: SGD, whose groups get each momentum; their other options stay as they are
        loss: a function of (outputs, targets), or of (output, batch) for batches that are dictionaries; None: the model's output
            holds it in `loss`
        loader: gives batches, the same ones each time its random generators are put back; not an iterator
        lr: peak learning rate of the first group, the others in proportion (None: as they are; at the beginning of a `schedule`
            the highest that it tells)
        steps: length of a trial; a fifth of the training is enough (None: a tenth of the steps of a schedule that tells its
            length, but 150 to 1,000; else a pass through the data, but 300 to 1,000; and what the budget allows)
        momenta: to try (None: a search from the present one)
        seeds: number of repetitions with other batches and other noise; with one, the error is that over batches
        metric: a function of the trained model, smaller is better, in place of the loss at the end of a trial, such as one minus
            the validation accuracy
        budget: seconds for all trials (None: no limit)
        schedule: the learning rate scheduler of the training; asks for `anneal`, and tells the length
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
    settings = FinderSettings(steps, momenta, seeds, metric, budget, schedule)
    if not isinstance(model, nn.Module):
        raise InputError("model", type(model).__name__, "a torch.nn.Module")
    if lr is None and getattr(schedule, "last_epoch", None) == 0 and isinstance(optimizer, torch.optim.Optimizer):
        lr = peak(optimizer)  # a warm-up has set the present one
    training = _training(model, optimizer, loss, loader, lr, step)
    training = replace(training, anneal=bool(anneal) if anneal is not None else schedule is not None)
    snapshot = Snapshot(model, optimizer, loader)
    training = replace(training, n_steps=settings.n_steps(training, snapshot))
    search = Search(model, snapshot, training, settings)
    with track("momentum", TRIALS * settings.seeds, progress) as search.tick:
        try:
            search.run()
        finally:
            snapshot.restore()
    return search.result(monotonic() - began)


def peak(optimizer: torch.optim.Optimizer) -> float:
    """The highest lr of the first group that its scheduler tells, which may have set the present one for a warm-up."""
    group = optimizer.param_groups[0]
    return max(float(group[name]) for name in ("lr", "initial_lr", "max_lr") if name in group)


def _training(model: nn.Module, optimizer: Any, loss: Any, loader: Any, lr: float | None, step: Step | None) -> Training:
    """What the trials train, of one step at constant lr."""
    if not isinstance(optimizer, torch.optim.Optimizer) or any("momentum" not in g for g in optimizer.param_groups):
        raise InputError("optimizer", type(optimizer).__name__, "an optimizer with momentum, such as torch.optim.SGD")
    if isinstance(loader, Iterator) or not isinstance(loader, Iterable) or not getattr(loader, "ndim", 1):
        raise InputError("loader", type(loader).__name__, "a DataLoader or list of batches, which can be read again")
    for name, value in (("loss", loss), ("step", step)):
        if value is not None and not callable(value):
            raise InputError(name, value, "a function, or None")
    if isinstance(loss, type):
        raise InputError("loss", f"the class {loss.__name__}", f"a function, such as {loss.__name__}()")
    trained = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    if step is None and trained.isdisjoint(id(p) for p in model.parameters()):
        raise InputError("optimizer", "one that trains no parameter of the model", "the optimizer of this model")
    if step is not None and loss is not None:
        raise InputError("loss", "beside step", "None: the step computes it")
    present = float(optimizer.param_groups[0]["lr"])
    if present <= 0:
        raise InputError("optimizer", f"lr {present}", "lr > 0 in its first group")
    hooks = optimizer._optimizer_step_pre_hooks.values()
    if any(getattr(hook, "__module__", "").startswith("sde_momentum") for hook in hooks):
        allowed = "one whose momentum nothing else sets: call its remove() first"
        raise InputError("optimizer", "one with a MomentumScaler", allowed)
    rate = present if lr is None else check_one(check_lr, lr, "lr")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    own = plain_step(model, optimizer, loss) if step is None else step
    look = plain_look(model, loss) if step is None else own
    return Training(optimizer, own, look, loader, 1, False, rate, device)
