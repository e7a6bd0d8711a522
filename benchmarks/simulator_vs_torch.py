"""Steps per second of the simulator and of torch.optim.SGD (one run after another), same update, as a ratio."""

from __future__ import annotations

import time

import torch

import sde_momentum as sm
from validation.matrix_sensing.torch_sgd import MatrixSensingModule

LR, MOMENTUM, SIGMA = 0.005, 0.9, 0.1


def main() -> None:
    problem = sm.MatrixSensing(16, 1, 100)
    start = problem.random_start(0.1)
    method = sm.LabelNoiseSGD(problem, SIGMA)
    sm.solve(
        method, start, [10], lr=LR, momentum=MOMENTUM, seeds=range(64), metrics=("train_loss",)
    )  # compiled before the clock runs
    clock = time.perf_counter()
    sm.solve(method, start, [2000], lr=LR, momentum=MOMENTUM, seeds=range(256), metrics=("train_loss",))
    ours = 256 * 2000 / (time.perf_counter() - clock)

    model = MatrixSensingModule(problem, start)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    targets = torch.tensor(problem.targets)

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            noise = SIGMA * (2.0 * torch.randint(0, 2, targets.shape) - 1)
            (((model() - targets - noise) ** 2).mean() / 2).backward()
            optimizer.step()

    theirs = 0.0
    for threads in (1, 2):  # torch in its faster setting
        torch.set_num_threads(threads)
        train(100)
        clock = time.perf_counter()
        train(2000)
        theirs = max(theirs, 2000 / (time.perf_counter() - clock))
    print(f"simulator {ours:,.0f} steps/s, torch {theirs:,.0f} steps/s, ratio {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
