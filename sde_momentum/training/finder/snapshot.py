"""The state of a training that trials must not change: parameters, buffers, optimizer, random generators; saved and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Snapshot:
    """A copy of the state of a model, its optimizer, the loader's and the global random generators.

    `restore` puts the copy back, bit for bit, into the same objects; it can be called any number of times.

    Args:
        model: its parameters, their gradients, all buffers and the training flag of every module are saved
        optimizer: the state of each parameter and all entries of its groups are saved
        loader: generators of a DataLoader and of its samplers are saved
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Any = None) -> None:
        self._model, self._optimizer, self._generators = model, optimizer, list(_generators(loader))
        with torch.no_grad():
            self._parameters = [(p, p.detach().clone(), _clone(p.grad)) for p in _parameters(model, optimizer)]
            self._buffers = [
                (m, dict(m._buffers), {k: b.clone() for k, b in m._buffers.items() if b is not None}) for m in model.modules()
            ]
            self._state = {p: _copied(state) for p, state in optimizer.state.items()}
        self._training = [(module, module.training) for module in model.modules()]
        self._groups = [{k: _copied(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self._python, self._numpy, self._torch = random.getstate(), _numpy_state(), torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
        self._own = [generator.get_state() for generator in self._generators]

    def restore(self) -> None:
        """Put everything back."""
        with torch.no_grad():
            for parameter, value, gradient in self._parameters:
                parameter.copy_(value)
                parameter.grad = _clone(gradient)
            for module, objects, values in self._buffers:
                module._buffers.clear()
                module._buffers.update(objects)
                for name, buffer in objects.items():
                    if buffer is not None:
                        buffer.copy_(values[name])
        for module, training in self._training:
            module.training = training
        self._optimizer.state.clear()
        self._optimizer.state.update({p: _copied(state) for p, state in self._state.items()})
        for group, saved in zip(self._optimizer.param_groups, self._groups, strict=True):
            parameters = group["params"]
            group.clear()
            group.update({"params": parameters} | {k: _copied(v) for k, v in saved.items()})
        self.restore_generators()

    def restore_generators(self) -> None:
        """Put the random generators alone back."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002 - the user's global generator
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        for generator, state in zip(self._generators, self._own, strict=True):
            generator.set_state(state)

    def reseed(self, seed: int) -> None:
        """Set all generators to a seed, for a trial on other noise and in another order of the data."""
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's global generator
        torch.manual_seed(seed)
        for generator in self._generators:
            generator.manual_seed(seed)


def _parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Parameters of the model and of the optimizer, each once."""
    found = {id(p): p for p in model.parameters()}
    found |= {id(p): p for group in optimizer.param_groups for p in group["params"]}
    return list(found.values())


def _generators(loader: Any) -> Iterator[torch.Generator]:
    """The generators that a loader and its samplers hold, each once."""
    seen = set()
    batches = getattr(loader, "batch_sampler", None)
    for owner in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator) and id(generator) not in seen:
            seen.add(id(generator))
            yield generator


def _numpy_state() -> Any:
    return np.random.get_state()  # noqa: NPY002 - the user's global generator


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _copied(value: Any) -> Any:
    """A copy of an entry of an optimizer: tensors are cloned, containers copied, objects kept."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(entry) for entry in value)
    return deepcopy(value) if isinstance(value, set) else value
