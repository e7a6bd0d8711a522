"""Checks of the theory's assumptions on a PyTorch model: interpolation, label noise, no other randomness [theory: Setting].

Every check answers with sentences; none means that nothing was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .label_noise import NoisySamples
from .output_map import Loss, OutputMap

#: A squared residual above this share of the outputs' variance counts as "not interpolating".
_LARGE_RESIDUAL = 0.05
#: A smaller share of label noise in the gradient noise counts as "not interpolating": on Gamma it is 1.
_SMALL_LABEL_SHARE = 0.9


def _random_layers(model: torch.nn.Module) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
    """(batch norms, dropouts) in train mode."""
    active = [module for module in model.modules() if module.training]
    norms: list[torch.nn.Module] = [module for module in active if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    drops: list[torch.nn.Module] = [
        module for module in active if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0
    ]
    return norms, drops


def random_layer_failures(model: torch.nn.Module) -> list[str]:
    """Layers in train mode that make an output random, or dependent on the other samples of its batch."""
    norms, drops = _random_layers(model)
    texts = []
    if norms:
        texts.append("BatchNorm in train mode: an output depends on the other samples of its batch; taken in eval mode here")
    if drops:
        texts.append("dropout in train mode: noise of its own, which c does not count; taken in eval mode here")
    return texts


@contextmanager
def without_randomness(model: torch.nn.Module) -> Iterator[None]:
    """Batch norm and dropout in eval mode inside of the context."""
    layers = [layer for kind in _random_layers(model) for layer in kind]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True


def relative_residual(z: OutputMap) -> float:
    """Squared residual |rho|^2 as a share of the variance of the whitened outputs."""
    f = z.outputs()
    spread = z.whiten(f - f.mean(0))
    return float(z.residual().square().sum() / spread.square().sum().clamp_min(torch.finfo(z.dtype).tiny))


def interpolation_failures(loss: Loss, samples: NoisySamples, mean_loss: float, residual: float, label_share: float) -> list[str]:
    """No label noise, or a model that does not interpolate its data.

    `residual` is `relative_residual`, `label_share` the share of the gradient noise that comes from label noise.
    """
    texts = []
    if not callable(samples.label_noise) and samples.label_noise == 0:
        texts.append("no label noise: c is that of the choice of the batch, which is not c H")
        if not samples.targets.is_floating_point() and not getattr(loss, "label_smoothing", 0.0):
            texts.append(
                f"cross-entropy on certain labels (loss {mean_loss:.2g}): its minimum lies at infinity, H goes to 0 with the loss"
            )
    elif label_share < _SMALL_LABEL_SHARE:
        other = 100 * (1 - label_share)
        texts.append(f"not interpolating: {other:.0f} % of the gradient noise comes from the choice of the batch")
    if residual > _LARGE_RESIDUAL:
        texts.append(f"not interpolating: the squared residual is {100 * residual:.2g} % of the outputs' variance")
    return texts
