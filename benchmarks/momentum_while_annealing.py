"""MomentumScaler at its default against plain momentum at the rule's own choice for the peak lr, where lr is annealed.

A bowl with unit noise (gradient w + noise, final loss w^2 / 2), lr from 0.1 to 0 by cosine over 1,500 steps; and the network
with batch norm of momentum_finder.py on 8,000 FashionMNIST images, lr 0.1, weight decay 5e-4, 1,000 steps of batch 32, points of
test accuracy, scaler minus plain, six seeds: cosine step by step, cosine epoch by epoch (250 steps each), warm-up and cosine.

    python benchmarks/momentum_while_annealing.py --data FOLDER
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import momentum_finder as finder
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import sde_momentum as sm

LR, EPOCHS, BATCH, STEPS = 0.1, 4, 32, 1500
RULES = {0.9: sm.MomentumRule.from_reference(lr=LR, momentum=0.9), 0.79: sm.MomentumRule.from_reference(lr=LR, momentum=0.79)}
SCALERS = {"default": {}, "always": {"when": "always"}, "always, velocity": {"when": "always", "keep": "velocity"}}


def cosine(share: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * share)


def warm_up(share: float) -> float:
    """From a thousandth over the first tenth, then half a cosine."""
    return max(1e-3, share / 0.1) if share < 0.1 else cosine((share - 0.1) / 0.9)


def bowl(momentum: float, rule: sm.MomentumRule | None, how: dict[str, str], n: int = 20_000) -> float:
    """Mean final loss of n bowls."""
    w = torch.nn.Parameter(torch.zeros(n))
    optimizer = torch.optim.SGD([w], lr=LR, momentum=momentum)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: cosine(min(1.0, k / STEPS)))
    if rule is not None:
        sm.MomentumScaler(optimizer, rule, **how)
    g = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        w.grad = w.detach() + torch.randn(n, generator=g)
        optimizer.step()
        schedule.step()
    return float(w.detach().square().mean() / 2)


def accuracy(seed: int, share: Callable[[int, int], float], momentum: float, rule: sm.MomentumRule | None) -> float:
    """Test accuracy in percent of one training; `share(step, epoch)` is lr over its peak."""
    torch.manual_seed(seed)
    model = finder.convolutional()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=momentum, weight_decay=5e-4)
    loader = DataLoader(TensorDataset(*finder.images("train", 8000)), BATCH, shuffle=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: share(k, k // len(loader)))
    if rule is not None:
        sm.MomentumScaler(optimizer, rule)
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            finder.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        x, y = finder.images("t10k", 10_000)
        return finder.accuracy(model(x), y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds fashion_mnist/")
    finder.DATA = parser.parse_args().data
    torch.set_num_threads(1)
    for momentum, rule in RULES.items():
        plain = bowl(momentum, None, {})
        ratios = ", ".join(f"{name} {bowl(momentum, rule, how) / plain:.3g}" for name, how in SCALERS.items())
        print(f"bowl, momentum {momentum} at the peak lr: plain {plain:.4g}; scaler over plain: {ratios}", flush=True)
    n = EPOCHS * 8000 // BATCH
    arms = {
        "cosine by epochs": lambda k, epoch: cosine(epoch / EPOCHS),
        "cosine": lambda k, epoch: cosine(k / n),
        "warm-up and cosine": lambda k, epoch: warm_up(k / n),
    }
    for name, share in arms.items():
        pairs = [[accuracy(seed, share, 0.9, rule) for rule in (None, RULES[0.9])] for seed in range(6)]
        difference = np.diff(pairs, axis=1)
        se = float(difference.std(ddof=1) / len(pairs) ** 0.5)
        print(f"{name}: plain 0.9 {np.mean(pairs, 0)[0]:.2f} %, scaler {difference.mean():+.2f} +- {se:.2f} points", flush=True)


if __name__ == "__main__":
    main()
