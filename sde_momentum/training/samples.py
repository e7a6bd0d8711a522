"""Samples of a PyTorch data set as (inputs, targets), inputs a tensor or a dictionary of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError, check_integer

Inputs = Tensor | dict[str, Tensor]
"""n samples: a tensor (n, ...), or the arguments of a model's forward by name, each (n, ...)."""

_ALLOWED = (
    "(inputs, targets), inputs a tensor of n samples or a dictionary of them; or a Dataset, a DataLoader or a list of batches of "
    "such pairs, or of dictionaries with one class a sample as `labels`"
)


def gather(data: Any, n_samples: int | None, seed: int) -> tuple[Inputs, Tensor]:
    """(inputs, targets) of all samples, or of `n_samples` of them drawn at random.

    Args:
        data: a pair of tensors, or of a dictionary of tensors (arguments of the model's forward) and a tensor; a map-style
            Dataset of pairs; a DataLoader or list of batches of pairs. In place of a pair a dictionary with `labels` may stand
        n_samples: number of samples, >= 1; None for all. Batches are read only up to this number
        seed: of the draw
    """
    wanted = None if n_samples is None else check_integer(n_samples, "n_samples", 1)
    if _is_pair(data):
        inputs, targets = data
    elif isinstance(data, torch.utils.data.DataLoader) or (isinstance(data, list) and data and _pair(data[0]) is not None):
        inputs, targets = _from_batches(data, wanted)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | Mapping | np.ndarray):
        pairs = [_pair(data[i]) for i in _draw(len(data), wanted, seed)]
        if not pairs or any(pair is None for pair in pairs):
            raise InputError("data", type(data).__name__, _ALLOWED)
        inputs, targets = _joined([pair for pair in pairs if pair is not None], torch.stack)
        wanted = None
    else:
        raise InputError("data", type(data).__name__, _ALLOWED)
    if not 0 < n_of(inputs) == len(targets):
        raise InputError("data", f"{n_of(inputs)} inputs and {len(targets)} targets", _ALLOWED)
    if wanted is not None and wanted < len(targets):
        order = _draw(len(targets), wanted, seed)
        inputs, targets = take(inputs, torch.tensor(order)), targets[order]
    return inputs, targets


def n_of(inputs: Inputs) -> int:
    """Number of samples; -1 where the tensors of a dictionary differ in it."""
    if isinstance(inputs, Tensor):
        return len(inputs)
    sizes = {len(x) if x.ndim else 0 for x in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else -1


def take(inputs: Inputs, which: Any) -> Inputs:
    """The samples `which` (indices or a slice)."""
    return inputs[which] if isinstance(inputs, Tensor) else {name: x[which] for name, x in inputs.items()}


def converted(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The inputs with every tensor changed, such as moved to a device."""
    return change(inputs) if isinstance(inputs, Tensor) else {name: change(x) for name, x in inputs.items()}


def _is_pair(value: object) -> bool:
    if not (isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[1], Tensor) and value[1].ndim):
        return False
    first = value[0]
    return isinstance(first, Tensor) or (
        isinstance(first, dict) and bool(first) and all(isinstance(x, Tensor) for x in first.values())
    )


def _pair(value: Any) -> tuple[Any, Any] | None:
    """(inputs, targets) of a sample or batch; None for another form."""
    if isinstance(value, Mapping):
        known = {str(name): torch.as_tensor(x) for name, x in value.items()}
        labels = known.pop("labels", None)
        if labels is None or not known:
            return None
        if labels.ndim > 1:
            allowed = (
                "pairs ({...}, targets), targets shifted as the loss needs them: dictionaries leave open whether the model shifts"
            )
            raise InputError("data", f"dictionaries with labels of shape {tuple(labels.shape)}", allowed)
        return known, labels
    if not (isinstance(value, tuple | list) and len(value) == 2):
        return None
    first = value[0]
    if isinstance(first, Mapping):
        return {str(name): torch.as_tensor(x) for name, x in first.items()}, torch.as_tensor(value[1])
    try:
        return torch.as_tensor(first), torch.as_tensor(value[1])
    except (TypeError, ValueError, RuntimeError):
        return None


def _draw(n: int, wanted: int | None, seed: int) -> list[int]:
    if wanted is None or wanted >= n:
        return list(range(n))
    return list(np.random.default_rng([seed, 3]).permutation(n)[:wanted].tolist())


def _joined(pairs: list[tuple[Any, Any]], join: Callable[[list[Tensor]], Tensor]) -> tuple[Inputs, Tensor]:
    """Samples or batches as one pair."""
    try:
        targets = join([y for _, y in pairs])
        if isinstance(pairs[0][0], dict):
            return {name: join([x[name] for x, _ in pairs]) for name in pairs[0][0]}, targets
        return join([x for x, _ in pairs]), targets
    except (RuntimeError, KeyError, TypeError):
        raise InputError(
            "data", "samples of different shapes", "samples of one shape: pad them (a class below 0 is left out)"
        ) from None


def _from_batches(loader: Iterable[Any], wanted: int | None) -> tuple[Inputs, Tensor]:
    kept: list[tuple[Any, Any]] = []
    for batch in loader:
        pair = _pair(batch)
        if pair is None or not pair[1].ndim:
            raise InputError("data", f"batches of {type(batch).__name__}", _ALLOWED)
        kept.append(pair)
        if wanted is not None and sum(len(y) for _, y in kept) >= wanted:
            break
    if not kept:
        raise InputError("data", "no batches", "at least one")
    return _joined(kept, torch.cat)
