"""Many runs of SGD together: the update of `torch.optim.SGD` on stacked parameters, each run with its own lr and momentum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .augmentation import crop_and_flip
from .base import Network, Parameters
from .captured import Captured
from .draws import Batches, LabelDraws
from .losses import Loss


@dataclass(frozen=True)
class Setting:
    """The training problem that all runs of a stack share.

    Attributes:
        network, loss: what is trained; the loss knows the targets
        inputs: training inputs, (n, ...)
        batch_size: samples a step; n: full batch
        nesterov: the look-ahead update
        weight_decay: as in torch.optim.SGD
        noisy: whether labels have noise
        autocast: "bfloat16" to compute outputs in it, None: in the parameters' own precision
        augment: whether images are moved and mirrored at random
    """

    network: Network
    loss: Loss
    inputs: Tensor
    batch_size: int
    nesterov: bool = False
    weight_decay: float = 0.0
    noisy: bool = True
    autocast: str | None = None
    augment: bool = False


@dataclass
class Stack:
    """The state of R runs that train together.

    Attributes:
        parameters, velocity: name -> (R, ...); velocity is that of the theory, v <- beta v - lr g [theory: Setting]
        lr, momentum: (R,)
        seed: index of each run's seed among `seeds`, (R,); runs of one seed share their noise
        seeds: S of them
        step: updates done
    """

    parameters: Parameters
    velocity: Parameters
    lr: Tensor
    momentum: Tensor
    seed: NDArray[np.int64]
    seeds: Sequence[int]
    step: int = 0
    _draws: LabelDraws | None = field(default=None, repr=False)
    _batches: Batches | None = field(default=None, repr=False)
    _one_update: Callable[[Tensor, Tensor], None] | None = field(default=None, repr=False)

    @classmethod
    def begin(
        cls,
        start: Parameters,
        lr: NDArray[np.float64],
        momentum: NDArray[np.float64],
        seed: NDArray[np.int64],
        seeds: Sequence[int],
    ) -> Stack:
        """R = len(lr) runs from one start, name -> (1, ...), at rest."""
        n = len(lr)
        parameters = {name: value.repeat(n, *[1] * (value.ndim - 1)) for name, value in start.items()}
        like = next(iter(parameters.values()))
        rates, momenta = (torch.tensor(x, dtype=like.dtype, device=like.device) for x in (lr, momentum))
        velocity = {name: torch.zeros_like(value) for name, value in parameters.items()}
        return cls(parameters, velocity, rates, momenta, np.asarray(seed), seeds)

    def keep(self, runs: NDArray[np.int64]) -> Stack:
        """The stack of some of the runs."""
        index = torch.as_tensor(runs, device=self.lr.device)
        parameters = {name: value[index] for name, value in self.parameters.items()}
        velocity = {name: value[index] for name, value in self.velocity.items()}
        return Stack(parameters, velocity, self.lr[index], self.momentum[index], self.seed[runs], self.seeds, self.step)

    def advance(self, setting: Setting, n_steps: int) -> None:
        """Do `n_steps` updates; every call on a stack has the same setting.

        Nesterov's is torch's, w <- w + beta v - lr g with v the new velocity: its parameters are the look-ahead point.
        """
        with torch.no_grad():
            for _ in range(n_steps):
                inputs, targets = self._batch(setting)
                if self._one_update is None:
                    update = partial(_update, setting, self.parameters, self.velocity, self.lr, self.momentum)
                    self._one_update = Captured(update) if inputs.is_cuda else update
                self._one_update(inputs, targets)
                self.step += 1

    def _batch(self, setting: Setting) -> tuple[Tensor, Tensor]:
        """Inputs and noisy targets of this step, of all runs or of each."""
        loss, inputs = setting.loss, setting.inputs
        n, n_seed = len(inputs), len(self.seeds)
        targets: Tensor = loss.targets
        if setting.batch_size < n:
            if self._batches is None:
                self._batches = Batches(self.seeds, n, setting.batch_size, inputs.device)
            index = self._batches.at(self.step)
            inputs, targets = inputs[index[self._row]], targets[index]
        if setting.augment:
            shared = inputs.ndim == len(setting.network.input_shape) + 1
            batches = inputs.expand(len(self.seed), *inputs.shape) if shared else inputs
            inputs = crop_and_flip(batches, [self.seeds[s] for s in self.seed], self.step)
        if setting.noisy:
            if self._draws is None:
                k = max(2, targets.shape[-1]) if loss.law == "uniform" else targets.shape[-1]
                self._draws = LabelDraws(self.seeds, (setting.batch_size, k), loss.law, inputs.device, targets.dtype)
            targets = loss.noisy(targets, self._draws.at(self.step))
        if targets.ndim == 3 and (n_seed > 1 or len(self.seed) == 1):
            targets = targets[self._row]
        return inputs, targets

    @cached_property
    def _row(self) -> Tensor:
        """`seed` on the device of the runs: sent once, not at every step."""
        return torch.as_tensor(self.seed, device=self.lr.device)


def _update(
    setting: Setting,
    parameters: Parameters,
    velocity: Parameters,
    rates: Tensor,
    momenta: Tensor,
    inputs: Tensor,
    targets: Tensor,
) -> None:
    """One update in place. It refers to no Stack, so that a captured graph is freed together with its stack."""
    if setting.autocast is None:
        outputs, pull = setting.network.pullback(parameters, inputs)
    else:
        dtype = getattr(torch, setting.autocast)
        with torch.autocast(inputs.device.type, dtype=dtype, cache_enabled=False), torch.enable_grad():
            outputs, pull = setting.network.pullback(parameters, inputs)
        outputs = outputs.to(targets.dtype)
    gradient = pull(setting.loss.gradient(outputs, targets))
    for name, w in parameters.items():
        shape = (-1, *[1] * (w.ndim - 1))
        lr, momentum = rates.view(shape), momenta.view(shape)
        g = gradient[name]
        if setting.weight_decay:
            g = g.add(w, alpha=setting.weight_decay)
        v = velocity[name]
        kick = g * lr
        v.mul_(momentum).sub_(kick)
        if setting.nesterov:
            w.addcmul_(v, momentum).sub_(kick)
        else:
            w.add_(v)
