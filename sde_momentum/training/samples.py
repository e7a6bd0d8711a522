"""Samples of a PyTorch data set as two tensors, (inputs, targets)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError, check_integer

_ALLOWED = "(inputs, targets), two tensors of n samples, or a Dataset or DataLoader of such pairs"


def gather(data: Any, n_samples: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """(inputs, targets) of all samples, or of `n_samples` of them drawn at random.

    Args:
        data: two tensors, a map-style Dataset of pairs, or a DataLoader of batches of pairs
        n_samples: number of samples, >= 1; None for all. A DataLoader is read only up to this number
        seed: of the draw
    """
    wanted = None if n_samples is None else check_integer(n_samples, "n_samples", 1)
    if _is_pair_of_tensors(data):
        inputs, targets = data
    elif isinstance(data, torch.utils.data.DataLoader):
        inputs, targets = _from_batches(data, wanted)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        pairs = [data[i] for i in _draw(len(data), wanted, seed)]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise InputError("data", type(data).__name__, _ALLOWED)
        inputs, targets = (torch.stack([torch.as_tensor(pair[k]) for pair in pairs]) for k in range(2))
        wanted = None
    else:
        raise InputError("data", type(data).__name__, _ALLOWED)
    if not 0 < len(inputs) == len(targets):
        raise InputError("data", f"{len(inputs)} inputs and {len(targets)} targets", _ALLOWED)
    if wanted is not None and wanted < len(inputs):
        order = _draw(len(inputs), wanted, seed)
        inputs, targets = inputs[order], targets[order]
    return inputs, targets


def _is_pair_of_tensors(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(part, Tensor) for part in value)


def _draw(n: int, wanted: int | None, seed: int) -> list[int]:
    if wanted is None or wanted >= n:
        return list(range(n))
    return list(np.random.default_rng([seed, 3]).permutation(n)[:wanted].tolist())


def _from_batches(loader: Iterable[Any], wanted: int | None) -> tuple[Tensor, Tensor]:
    kept: list[tuple[Tensor, Tensor]] = []
    for batch in loader:
        if not _is_pair_of_tensors(batch):
            raise InputError("data", f"batches of {type(batch).__name__}", _ALLOWED)
        kept.append((batch[0], batch[1]))
        if wanted is not None and sum(len(x) for x, _ in kept) >= wanted:
            break
    if not kept:
        raise InputError("data", "no batches", _ALLOWED)
    return torch.cat([x for x, _ in kept]), torch.cat([y for _, y in kept])
