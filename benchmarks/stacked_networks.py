"""Speed of networks trained together, against torch.optim.SGD one after another and against the matrix products alone.

    python benchmarks/stacked_networks.py

Ratios from one run on an otherwise idle machine; every part runs on the same two cores. Stacks run in two processes with one
thread each, as the sweeps do, torch.optim.SGD with one thread and with two, whichever is faster.
"""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import torch

from validation.engine import run_chunks
from validation.networks.losses import SquareLoss
from validation.networks.mlp import MLP
from validation.networks.stacked_sgd import Setting, Stack

SECONDS = 8.0  # of each measurement
N_PROCESSES = 2
N_RUNS, N_INPUTS, WIDTH, N_SAMPLES = 64, 20, 64, 100
N_IMAGES, N_PIXELS, N_CLASSES, N_LAYERS, N_STACKED = 1024, 784, 10, 6, 4


def per_second(step, batch=1):
    """Calls of `step` a second."""
    step()
    n, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < SECONDS:
        for _ in range(batch):
            step()
        n += batch
    return n / passed


def problem(n, features, outputs):
    stream = torch.Generator().manual_seed(0)
    return torch.randn(n, features, generator=stream), torch.randn(n, outputs, generator=stream)


def stack(network, n_runs, n, features, outputs):
    """A function that makes one update of `n_runs` runs."""
    x, y = problem(n, features, outputs)
    setting = Setting(network, SquareLoss(y, 0.1), x, n)
    seeds = np.arange(n_runs)
    runs = Stack.begin(network.initial(0), np.full(n_runs, 0.05), np.full(n_runs, 0.9), seeds, seeds.tolist())
    return lambda: runs.advance(setting, 1)


def students(process):
    """Run-steps a second of this process's share of the teacher-student runs."""
    share = N_RUNS // N_PROCESSES
    return share * per_second(stack(MLP(N_INPUTS, [WIDTH], 1), share, N_SAMPLES, N_INPUTS, 1), 10)


def one_after_another(threads):
    """Run-steps a second of torch.optim.SGD."""
    torch.set_num_threads(threads)
    x, y = problem(N_SAMPLES, N_INPUTS, 1)
    model = torch.nn.Sequential(torch.nn.Linear(N_INPUTS, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def step():
        optimizer.zero_grad()
        noisy = y + 0.1 * torch.randn(y.shape)
        (((model(x) - noisy) ** 2).mean() / 2).backward()
        optimizer.step()

    return per_second(step, 10)


def image_network():
    return MLP(N_PIXELS, [WIDTH] * (N_LAYERS - 1), N_CLASSES)


def image_products():
    """Sizes (a, b, c) of the products (a x b) (b x c) of one step and run: outputs, gradients of W, gradients of the inputs."""
    shapes = []
    for layer, (before, after) in enumerate(pairwise(image_network().sizes)):
        shapes += [(after, before, N_IMAGES), (after, N_IMAGES, before)]
        if layer:
            shapes.append((before, after, N_IMAGES))
    return shapes


def flops():
    return N_STACKED * sum(2 * a * b * c for a, b, c in image_products())


def images(process):
    """Floating-point operations a second in the products of the image network's steps."""
    return flops() * per_second(stack(image_network(), N_STACKED, N_IMAGES, N_PIXELS, N_CLASSES))


def bare_products(process):
    """The same of the products alone, on operands that stay where they are."""
    jobs = []
    for a, b, c in image_products():
        left, right = torch.randn(N_STACKED, a, b), torch.randn(N_STACKED, b, c)
        jobs.append((left, right, torch.empty(N_STACKED, a, c)))

    def step():
        for left, right, out in jobs:
            torch.bmm(left, right, out=out)

    return flops() * per_second(step)


def together(function):
    """Sum over the processes, which run at the same time."""
    rates = []
    run_chunks(
        function,
        list(range(N_PROCESSES)),
        lambda chunk, rate: rates.append(rate),
        workers=N_PROCESSES,
        dask=None,
        report=lambda cost: None,
    )
    return sum(rates)


def main():
    stacked = together(students)
    single = max(one_after_another(threads) for threads in (1, 2))
    print(f"{N_RUNS} students ({N_INPUTS} inputs, width {WIDTH}, {N_SAMPLES} samples), run-steps a second:")
    print(f"  together {stacked:,.0f}, torch.optim.SGD {single:,.0f}: ratio {stacked / single:.1f}")
    rate, limit = together(images), together(bare_products)
    print(f"{N_LAYERS} layers of {WIDTH}, {N_IMAGES} images of {N_PIXELS} pixels, {N_STACKED} runs a process, float32 GF/s:")
    print(f"  training {rate / 1e9:.0f}, the same products alone {limit / 1e9:.0f}: ratio {rate / limit:.2f}")


if __name__ == "__main__":
    main()
