"""Checks of the theory's assumptions on a PyTorch model: interpolation and label noise [theory: Setting].

Sentences say what does not hold: a failure leaves no prediction, a doubt goes with one.
"""

from __future__ import annotations

import torch

from .label_noise import NoisySamples
from .output_map import OutputMap
from .rows import Loss

#: Squared residual of an interpolating model, as a share of the variance of the outputs: doubtful, and failed.
_RESIDUAL = 0.05, 0.5
#: Share of label noise in the gradient noise of an interpolating model, on Gamma 1: doubtful, and failed.
_LABEL_SHARE = 0.9, 0.5


def relative_residual(z: OutputMap) -> float:
    """Squared residual |rho|^2 over the variance of the whitened outputs."""
    f = z.outputs()
    spread = z.whiten(f - f.mean(0))
    return float(z.residual().square().sum() / spread.square().sum().clamp_min(torch.finfo(z.dtype).tiny))


def interpolation(
    loss: Loss, samples: NoisySamples, mean_loss: float, residual: float, label_share: float
) -> tuple[list[str], list[str]]:
    """(failures, doubts) on missing label noise and missing interpolation.

    `residual` is `relative_residual`, `label_share` the share of the gradient noise that comes from label noise.
    """
    failed: list[str] = []
    doubts: list[str] = []
    if not callable(samples.label_noise) and samples.label_noise == 0:
        failed.append("no label noise: c measures batch sampling, whose gradient covariance is not c H")
        if not samples.targets.is_floating_point() and not getattr(loss, "label_smoothing", 0.0):
            failed.append(
                f"cross-entropy without label noise (loss {mean_loss:.2g}): its minimum is at infinity, and H goes to 0"
            )
    elif label_share < _LABEL_SHARE[0]:
        text = f"not interpolating: {100 * (1 - label_share):.0f} % of the gradient noise comes from batch sampling"
        (failed if label_share < _LABEL_SHARE[1] else doubts).append(text)
    if residual > _RESIDUAL[0]:
        text = f"not interpolating: the squared residual is {float(f'{100 * residual:.2g}'):,g} % of the outputs' variance"
        (failed if residual > _RESIDUAL[1] else doubts).append(text)
    return failed, doubts
