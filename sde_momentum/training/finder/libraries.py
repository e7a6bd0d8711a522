"""`find_momentum` for a module of Lightning and for a Trainer of Transformers; neither library is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import InputError, check_one, check_positive
from .find import find_momentum, peak
from .result import FoundMomentum
from .trial import Step

_LEVEL = ("constant", "reduce_lr_on_plateau", "greedy")
"""Beginnings of the names of Transformers' schedules that are not bound to fall; along all others lr falls."""
_ONE = "one torch.optim.SGD, alone or with its scheduler"


def find_lightning_momentum(
    module: nn.Module, loader: Iterable[Any], *, clip: float | None = None, **options: Any
) -> FoundMomentum:
    """`find_momentum` for a `LightningModule`: its `training_step` with the optimizer and scheduler of `configure_optimizers`.

    The learning rate is the highest that the scheduler tells. No Lightning Trainer is needed; the module and the random
    generators stay as they are. Use the answer in `configure_optimizers`.

    Args:
        module: a `LightningModule` with automatic optimization and one SGD optimizer
        loader: its training batches
        clip: `gradient_clip_val` of the Trainer, by norm (None: no clipping)
        options: of `find_momentum`: lr, steps, momenta, seeds, metric, budget, schedule, anneal, progress

    Raises:
        InputError: as `find_momentum`, and for a module that is optimized by hand, several optimizers, or a training step without
            a loss.
    """
    for name in ("configure_optimizers", "training_step"):
        if not callable(getattr(module, name, None)):
            raise InputError("module", type(module).__name__, "a LightningModule")
    if not getattr(module, "automatic_optimization", True):
        raise InputError("module", "automatic_optimization = False", "find_momentum with a step= of your own")
    optimizer, schedule = _configured(module.configure_optimizers())  # type: ignore[operator]
    number = iter(range(2**62))

    def loss(batch: Any) -> Any:
        value = module.training_step(batch, next(number))  # type: ignore[operator]
        value = value.get("loss") if isinstance(value, Mapping) else value
        if not isinstance(value, Tensor):
            given = f"a training_step that gives {type(value).__name__}"
            raise InputError("module", given, "one that gives the loss of each batch")
        return value

    options = {"lr": peak(optimizer), "schedule": schedule} | options
    return find_momentum(module, optimizer, None, loader, step=_step(module, optimizer, loss, clip), **options)


def find_trainer_momentum(trainer: Any, **options: Any) -> FoundMomentum:
    """`find_momentum` for a `transformers.Trainer` with SGD: its batches, loss, autocast and clipping.

    Length and kind of the schedule are those of its `TrainingArguments`. Afterwards set the answer in
    `trainer.optimizer.param_groups`; `trainer.train()` uses that optimizer.

    Args:
        trainer: before `train()`; SGD by `optimizers=(sgd, None)` or `TrainingArguments(optim="sgd")`
        options: of `find_momentum`: lr, steps, momenta, seeds, metric, budget, anneal, progress

    Raises:
        InputError: as `find_momentum`, and for gradient accumulation, float16 or several devices.
    """
    if not all(hasattr(trainer, name) for name in ("args", "model", "compute_loss", "get_train_dataloader", "create_optimizer")):
        raise InputError("trainer", type(trainer).__name__, "a transformers.Trainer")
    args, model = trainer.args, trainer.model
    for name, plain in (("gradient_accumulation_steps", 1), ("fp16", False), ("n_gpu", 1), ("world_size", 1)):
        value = getattr(args, name, plain)
        if value != plain and not (name == "n_gpu" and value == 0):
            raise InputError("trainer", f"{name} = {value}", f"{plain}, or find_momentum with a step= of your own")
    if trainer.optimizer is None:
        trainer.create_optimizer()
    optimizer = trainer.optimizer
    while hasattr(optimizer, "optimizer"):  # inside the wrappers of accelerate
        optimizer = optimizer.optimizer
    loader = trainer.get_train_dataloader()

    def loss(batch: Any) -> Any:
        with trainer.compute_loss_context_manager():
            return trainer.compute_loss(model, dict(batch))  # a copy: labels may be taken out

    kind = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    n = args.max_steps if args.max_steps > 0 else int(len(loader) * args.num_train_epochs)
    options = {"lr": peak(optimizer), "anneal": not kind.startswith(_LEVEL)} | options
    training = model.training
    model.train()  # as trainer.train() does
    try:
        return find_momentum(
            model,
            optimizer,
            None,
            _Reshuffled(loader),
            step=_step(model, optimizer, loss, args.max_grad_norm or None),
            schedule=SimpleNamespace(total_steps=n),
            **options,
        )
    finally:
        model.train(training)


def _configured(given: Any) -> tuple[torch.optim.Optimizer, Any]:
    """The one optimizer and its scheduler, or None, from any form in which `configure_optimizers` may give them."""
    schedule: Any = None
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, list | tuple) for part in given):
        given, schedule = given
        schedule = schedule[0] if schedule else None
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, Mapping):
        given, schedule = given.get("optimizer"), given.get("lr_scheduler")
    if isinstance(schedule, Mapping):
        schedule = schedule.get("scheduler")
    if not isinstance(given, torch.optim.Optimizer):
        many = f"{len(given)} optimizers" if isinstance(given, list | tuple) else type(given).__name__
        raise InputError("configure_optimizers", many, _ONE)
    return given, schedule


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[Any], Any], clip: float | None) -> Step:
    """One update, with the gradient clipped by norm."""
    if clip is not None:
        check_one(check_positive, clip, "clip")

    def step(batch: Any) -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(batch)
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return value

    return step


class _Reshuffled:
    """Batches of a loader of accelerate, whose order goes by a count of passes: by torch's generator, as elsewhere."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        if hasattr(self._loader, "set_epoch"):
            self._loader.set_epoch(int(torch.randint(2**31, ())))
        return iter(self._loader)

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]
