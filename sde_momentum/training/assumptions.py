"""Checks of the theory's assumptions on a PyTorch model: interpolation, label noise, no other randomness [theory: Setting].

Every check returns sentences, one for each assumption that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .label_noise import NoisySamples
from .output_map import Loss, OutputMap

#: Largest squared residual of an interpolating model, as a share of the variance of the outputs.
_LARGE_RESIDUAL = 0.05
#: Least share of label noise in the gradient noise of an interpolating model; on Gamma it is 1.
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
    """Sentences on layers in train mode that make an output random, or dependent on the other samples of its batch."""
    norms, drops = _random_layers(model)
    texts = []
    if norms:
        texts.append("BatchNorm in train mode: an output depends on the other samples of its batch; eval mode is used here")
    if drops:
        texts.append("dropout in train mode: its noise is not part of c; eval mode is used here")
    return texts


@contextmanager
def without_randomness(model: torch.nn.Module) -> Iterator[None]:
    """Context in which batch norm and dropout are in eval mode."""
    layers = [layer for kind in _random_layers(model) for layer in kind]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True


def relative_residual(z: OutputMap) -> float:
    """Squared residual |rho|^2 over the variance of the whitened outputs."""
    f = z.outputs()
    spread = z.whiten(f - f.mean(0))
    return float(z.residual().square().sum() / spread.square().sum().clamp_min(torch.finfo(z.dtype).tiny))


def interpolation_failures(loss: Loss, samples: NoisySamples, mean_loss: float, residual: float, label_share: float) -> list[str]:
    """Sentences on missing label noise and missing interpolation.

    `residual` is `relative_residual`, `label_share` the share of the gradient noise that comes from label noise.
    """
    texts = []
    if not callable(samples.label_noise) and samples.label_noise == 0:
        texts.append("no label noise: c measures batch sampling, whose gradient covariance is not c H")
        if not samples.targets.is_floating_point() and not getattr(loss, "label_smoothing", 0.0):
            texts.append(f"cross-entropy without label noise (loss {mean_loss:.2g}): its minimum is at infinity, and H goes to 0")
    elif label_share < _SMALL_LABEL_SHARE:
        other = 100 * (1 - label_share)
        texts.append(f"not interpolating: {other:.0f} % of the gradient noise comes from batch sampling")
    if residual > _LARGE_RESIDUAL:
        texts.append(f"not interpolating: the squared residual is {100 * residual:.2g} % of the outputs' variance")
    return texts
