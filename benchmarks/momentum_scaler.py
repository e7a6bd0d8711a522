"""Overhead of MomentumScaler in a training step of a small MLP whose learning rate changes at every step, as a share of the step.

The scaler's own calls (before and after `optimizer.step`) are timed alone, in blocks that alternate with blocks of whole
training steps, so that other load on the machine falls on both.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import sde_momentum as sm

RULES = {
    "a tuned pair": sm.MomentumRule.from_reference(0.1, 0.9),
    "geometry": sm.MomentumRule.from_geometry(1e-4, 10.0),
    "a constant lr": sm.MomentumRule.from_reference(0.1, 0.9),
}


def measure(rule: sm.MomentumRule, hidden: int, batch: int, nesterov: bool, blocks: int, constant: bool) -> tuple[float, float]:
    """Medians over the blocks: (step in us, the scaler's part in us)."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(784, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=nesterov)
    scaler = sm.MomentumScaler(optimizer, rule, when="always")
    group = optimizer.param_groups[0]
    x, y = torch.randn(batch, 784), torch.randint(10, (batch,))
    step, own, k = [], [], 0
    for _ in range(blocks):
        clock = time.perf_counter()
        for _ in range(50):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        step.append((time.perf_counter() - clock) / 50)
        clock = time.perf_counter()
        for _ in range(50):
            k += 1
            group["lr"] = 0.01 if constant else 0.01 / (1 + 1e-4 * k)
            scaler._before_step()
        own.append((time.perf_counter() - clock) / 50)
    return float(np.median(step)) * 1e6, float(np.median(own)) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, rule in RULES.items():
        for nesterov in (False, True):
            step, own = measure(rule, args.hidden, args.batch, nesterov, args.blocks, name == "a constant lr")
            kind = "Nesterov" if nesterov else "heavy ball"
            print(f"{name}, {kind}: {own:.1f} us of a step of {step:.0f} us, {100 * own / step:.2f} %")


if __name__ == "__main__":
    main()
