"""Peak memory of `estimate_timescales` beyond a model of 10^7 parameters, each measured in a process of its own."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch
from torch import nn

import sde_momentum as sm
from sde_momentum.training import EstimatorSettings


def mlp() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 3000), nn.GELU(), nn.Linear(3000, 2560), nn.GELU(), nn.Linear(2560, 10))
    return model, torch.randn(512, 784), torch.randn(512, 10)


def conv() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inner, outer, stride in ((3, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2), (512, 1024, 2)):
        layers += [nn.Conv2d(inner, outer, 3, stride, 1), nn.BatchNorm2d(outer), nn.ReLU()]
    head = [nn.Conv2d(1024, 400, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(400, 10)]
    return nn.Sequential(*layers, *head).eval(), torch.randn(128, 3, 16, 16), torch.randn(128, 10)


MODELS = {"mlp": mlp, "conv": conv}


def peak() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(name: str, chunk: int) -> None:
    model, x, y = MODELS[name]()
    # what a training step needs anyway (gradients), and the libraries that torch.func loads, are not the estimator's
    ((model(x[:chunk]) - y[:chunk]) ** 2).mean().backward()
    model.zero_grad(set_to_none=True)
    small = nn.Linear(2, 1)
    settings = EstimatorSettings(n_probes=2, n_draws=2, n_lanczos=5, max_iterations=5)
    options = {"lr": 0.01, "label_noise": 0.1}
    sm.estimate_timescales(small, nn.MSELoss(), (torch.randn(4, 2), torch.randn(4, 1)), settings=settings, **options)
    before, clock = peak(), time.perf_counter()
    found = sm.estimate_timescales(
        model, nn.MSELoss(), (x, y), batch_size=64, settings=replace(settings, chunk_size=chunk), **options
    )
    result = {
        "model": name,
        "parameters": found.n_parameters,
        "outputs": found.n_outputs,
        "chunk": chunk,
        "model_MB": 4e-6 * found.n_parameters,
        "peak_before_MB": before,
        "peak_beyond_MB": peak() - before,
        "seconds": time.perf_counter() - clock,
        "passes": found.passes,
    }
    print(json.dumps({key: round(value, 1) if isinstance(value, float) else value for key, value in result.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--chunk", type=int, default=128)
    args = parser.parse_args()
    if args.model:
        one(args.model, args.chunk)
        return
    for name in MODELS:
        subprocess.run([sys.executable, __file__, "--model", name, "--chunk", str(args.chunk)], check=True)


if __name__ == "__main__":
    main()
