"""Random crops and flips of training images, a batch for each run (as in He, Zhang, Ren, Sun 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from sde_momentum.core.errors import InputError, check_integer

#: Key of this random stream, distinct from others of the same seed and step.
_STREAM = 5


def crop_and_flip(images: Tensor, seeds: Sequence[int], step: int, padding: int = 4, flip: bool = True) -> Tensor:
    """Each image moved by up to `padding` pixels both ways, zeros coming in at the edges, and mirrored with probability 1/2.

    Moves are uniform on the (2 padding + 1)^2 places. A run's draws depend on its seed, the step and the place in the batch
    alone: not on the other runs, the device or the type of numbers.

    Args:
        images: (R, B, C, h, w); zero should be their mean, as in centred images
        seeds: R of them, one for each run
        step: k, >= 0
        padding: pixels, >= 0; 0 moves nothing
        flip: mirror left and right

    Returns:
        (R, B, C, h, w)

    Raises:
        InputError: for other shapes, and negative seeds, steps or paddings.

    >>> images = torch.arange(8.0).reshape(1, 2, 1, 2, 2)
    >>> bool((crop_and_flip(images, [0], step=3) == crop_and_flip(images, [0], step=3)).all())
    True
    """
    if images.ndim != 5:
        raise InputError("images", f"shape {tuple(images.shape)}", "(R, B, C, h, w)")
    n_runs, n_samples, n_channels, height, width = images.shape
    if len(seeds) != n_runs:
        raise InputError("seeds", f"{len(seeds)} seeds", f"one for each of the {n_runs} runs")
    check_integer(step, "step", 0)
    check_integer(padding, "padding", 0)
    moves, mirrored = [], []
    for seed in seeds:
        rng = np.random.default_rng([check_integer(seed, "seeds", 0), step, _STREAM])
        moves.append(rng.integers(0, 2 * padding + 1, (n_samples, 2)))
        mirrored.append(rng.integers(0, 2, n_samples))
    places = torch.from_numpy(np.concatenate(moves))[:, :, None]
    rows, columns = places[:, 0] + torch.arange(height), places[:, 1] + torch.arange(width)
    if flip:
        columns = torch.where(torch.from_numpy(np.concatenate(mirrored))[:, None] == 1, columns.flip(1), columns)
    padded = pad(images.flatten(0, 1), (padding,) * 4)
    device = images.device
    n = torch.arange(len(padded), device=device)[:, None, None, None]
    c = torch.arange(n_channels, device=device)[None, :, None, None]
    chosen = padded[n, c, rows.to(device)[:, None, :, None], columns.to(device)[:, None, None, :]]
    return chosen.view_as(images)
