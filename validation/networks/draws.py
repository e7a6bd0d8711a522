"""Random numbers of training, label noise and mini-batches, as functions of (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LABELS, _BATCHES, PROBES = 0, 1, 2
_BLOCK_NUMBERS = 1 << 18  # drawn at a time, in whole steps


def generator(*key: int) -> torch.Generator:
    """A random stream for each key."""
    word = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(word)


class LabelDraws:
    """The random numbers behind the label noise of S runs' seeds: (S, B, K) at every step.

    They are drawn in blocks of steps, a stream for each (seed, block), so that they depend on nothing else.

    Args:
        seeds: S of them
        shape: (B, K)
        law: "normal" or "uniform"
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int], law: str, device: torch.device, dtype: torch.dtype) -> None:
        self._seeds, self._shape, self._law, self._device, self._dtype = seeds, shape, law, device, dtype
        self._steps = max(1, min(256, _BLOCK_NUMBERS // max(1, shape[0] * shape[1])))
        self._block = -1
        self._numbers: Tensor = torch.empty(0)

    def at(self, step: int) -> Tensor:
        """(S, B, K)."""
        block, within = divmod(step, self._steps)
        if block != self._block:
            numbers = torch.empty(len(self._seeds), self._steps, *self._shape)
            for row, seed in zip(numbers, self._seeds, strict=True):
                stream = generator(seed, _LABELS, block)
                if self._law == "normal":
                    row.normal_(generator=stream)
                else:
                    row.uniform_(generator=stream)
            self._block, self._numbers = block, numbers.to(self._device, self._dtype)
        return self._numbers[:, within]


class Batches:
    """Mini-batches of each step: in each epoch a permutation of all n, cut into batches of B; what is left over waits.

    Args:
        seeds: S of them
        n_samples, batch_size: n and B <= n
    """

    def __init__(self, seeds: Sequence[int], n_samples: int, batch_size: int, device: torch.device) -> None:
        self._seeds, self._n, self._size, self._device = seeds, n_samples, batch_size, device
        self._epoch = -1
        self._order: Tensor = torch.empty(0)

    def at(self, step: int) -> Tensor:
        """Indices (S, B)."""
        epoch, within = divmod(step, self._n // self._size)
        if epoch != self._epoch:
            orders = [torch.randperm(self._n, generator=generator(seed, _BATCHES, epoch)) for seed in self._seeds]
            self._epoch, self._order = epoch, torch.stack(orders).to(self._device)
        return self._order[:, within * self._size : (within + 1) * self._size]
