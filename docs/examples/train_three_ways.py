"""One classifier trained three ways: momentum 0.9, a tuned momentum carried to the lr in use, and momentum estimated in training.

A small tanh network learns to distinguish two groups of FashionMNIST classes under label noise, from one interpolating point.
Compared are the steps after which tr H (flatness) and the test accuracy (mean of 500 steps) stay beyond a stated level. Run as

    python docs/examples/train_three_ways.py --data FOLDER --out three_ways.png

FOLDER holds fashion_mnist/ with the four original .gz files. Takes about a minute and prints what it draws.
"""

from __future__ import annotations

import argparse
import gzip
import os
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

import sde_momentum as sm
from sde_momentum.training import QUICK, MomentumUpdates

TUNED_LR, LR = 0.15, 0.015  # the tuning is done at ten times the lr of the training that follows


def read(folder: Path, kind: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, 49) images pooled 4 x 4, and targets (n, 1): -1 for classes 0 to 4, 1 for the others."""
    with gzip.open(folder / f"{kind}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 7, 4, 7, 4)
    with gzip.open(folder / f"{kind}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    picked = np.random.default_rng(seed).permutation(len(labels))[:n]
    x = (pixels[picked].mean((2, 4)).reshape(n, -1) / 255 - 0.286) / 0.353 / 7
    return torch.tensor(x, dtype=torch.float32), torch.tensor(
        np.where(labels[picked] < 5, -1.0, 1.0)[:, None], dtype=torch.float32
    )


def half_square(f: Tensor, y: Tensor) -> Tensor:
    return (f - y).square().mean() / 2


def new_model(weights: dict[str, Tensor] | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(49, 64, bias=False), nn.Tanh(), nn.Linear(64, 1, bias=False))
    with torch.no_grad():
        model[0].weight.normal_(0, 2)
        model[2].weight.normal_(0, 1 / 8)
    if weights is not None:
        model.load_state_dict(weights)
    return model


def trace_hessian(model: nn.Module, x: Tensor) -> float:
    """tr H = |J|^2 / P of this network."""
    with torch.no_grad():
        hidden = torch.tanh(model[0](x))
        by_inner = ((1 - hidden**2) ** 2 @ model[2].weight[0] ** 2) @ x.square().sum(1)
        return float((hidden.square().sum() + by_inner) / len(x))


def interpolate(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Training without label noise until the loss is 1e-7."""
    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.98)
    for _ in range(60_000):
        optimizer.zero_grad()
        loss = half_square(model(x), y)
        loss.backward()
        optimizer.step()
        if float(loss.detach()) < 1e-7:
            return {name: value.clone() for name, value in model.state_dict().items()}
    raise SystemExit(f"no interpolating start: loss {float(loss.detach()):.2g}")


@dataclass(frozen=True)
class Task:
    """Training and test images as (inputs, targets), the interpolating start, and the label noise sigma."""

    data: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    start: dict[str, Tensor]
    sigma: float

    def trace(self, model: nn.Module) -> float:
        return trace_hessian(model, self.data[0])

    def accuracy(self, model: nn.Module) -> float:
        """Share of the test images on the right side of 0."""
        with torch.no_grad():
            return float((model(self.test[0]) * self.test[1] > 0).float().mean())


def train(task, lr, n_steps, every, prepare, seed=0):
    """tr H and test accuracy every `every` steps, (n_records,) each; `prepare(optimizer, model)` sets the momentum up."""
    model = new_model(task.start)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    helper = prepare(optimizer, model)
    draw = torch.Generator().manual_seed(seed)
    (x, y), records = task.data, []
    for k in range(n_steps):
        optimizer.zero_grad()
        half_square(model(x), y + task.sigma * torch.randn(y.shape, generator=draw)).backward()
        optimizer.step()
        if (k + 1) % every == 0:
            records.append((task.trace(model), task.accuracy(model)))
    return np.array(records).T, helper


def smoothed(values: np.ndarray, width: int = 20) -> np.ndarray:
    """Mean over the last `width` records, or as many as there are."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(len(values)) + 1 - width, 0)
    return (total[1:] - total[first]) / (np.arange(len(values)) + 1 - first)


def steps_to(values: np.ndarray, level: float, every: int, rising: bool) -> float:
    """Steps until `values` stay beyond `level`; inf if they do not."""
    short = ~(values > level) if rising else ~(values < level)
    if short[-1]:
        return np.inf
    return float((len(values) - short[::-1].argmax() if short.any() else 0) * every + every)


def tuned_rule(task: Task, goal: float) -> sm.MomentumRule:
    """The rule from a tuning at TUNED_LR: of a few momenta, the least within 5 % of the shortest time to tr H = `goal`."""
    trials = {}
    for beta in (0.96, 0.97, 0.98, 0.985, 0.99):
        (trace, _), _ = train(
            task, TUNED_LR, 2000, 20, lambda optimizer, _, beta=beta: sm.MomentumScaler(optimizer, lambda lr: beta)
        )
        trials[beta] = steps_to(trace, goal, 20, rising=False)
    fastest = min(trials.values())
    if not np.isfinite(fastest):
        raise SystemExit(f"no momentum brings tr H to {goal:.3g} at lr = {TUNED_LR:g}")
    tuned = min(beta for beta, steps in trials.items() if steps <= 1.05 * fastest)
    rule = sm.MomentumRule.from_reference(TUNED_LR, tuned)
    print(f"tuned at lr = {TUNED_LR:g}: momentum {tuned:g} ({fastest:.0f} steps); at lr = {LR:g}: {rule.momentum(LR):.5f}")
    return rule


def report(helper: object) -> None:
    """What AutoMomentum found on the way."""
    if isinstance(helper, sm.training.AutoMomentum):
        for step, found in helper.estimates:
            mu = f"{found.curvature:.3g} ± {found.curvature_se:.1g}"
            print(f"  estimate at step {step}: momentum {found.momentum}, mu {mu}")
        print(f"  {helper.spent:.2f} s spent on estimates; momentum at the end {1 - helper.one_minus_beta(LR):.5f}")


def compare(task: Task, ways: dict, n_steps: int, goal: float, level: float) -> plt.Figure:
    """Train each way at LR; draw tr H over its start and the test accuracy, and print when they pass `goal` and `level`."""
    before = task.trace(new_model(task.start))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for color, (name, prepare) in zip(("#0072B2", "#E69F00", "#009E73"), ways.items(), strict=True):
        (trace, accuracy), helper = train(task, LR, n_steps, 25, prepare)
        accuracy = smoothed(accuracy)
        flat, accurate = steps_to(trace, goal, 25, rising=False), steps_to(accuracy, level, 25, rising=True)
        print(f"{name}: {flat:.0f} steps to tr H = {goal / before:g} of its start, {accurate:.0f} to accuracy {level:.3f}")
        report(helper)
        time = 25 * np.arange(1, len(trace) + 1)
        axes[0].plot(time, trace / before, color=color, label=name)
        axes[1].plot(time, accuracy, color=color, label=name)
    axes[0].axhline(goal / before, color="gray", ls=":", lw=1)
    axes[0].set(xlabel="steps", ylabel="tr H, in units of its start", yscale="log")
    axes[1].axhline(level, color="gray", ls=":", lw=1)
    axes[1].set(xlabel="steps", ylabel="test accuracy, mean of 500 steps")
    axes[0].legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SDE_MOMENTUM_DATA"), help="folder that holds fashion_mnist/")
    parser.add_argument("--out", type=Path, default=Path("three_ways.png"))
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--sigma", type=float, default=0.5, help="label noise")
    parser.add_argument("--flatness", type=float, default=0.75, help="tr H to reach, in units of its start")
    parser.add_argument("--budget", type=float, default=0.3, help="of AutoMomentum; 0.05 suits steps of more than a millisecond")
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data is needed")
    torch.set_num_threads(1)
    folder = Path(args.data) / "fashion_mnist"
    data = read(folder, "train", 128, 0)
    task = Task(data, read(folder, "t10k", 4000, 0), interpolate(*data), args.sigma)
    model = new_model(task.start)
    before, accuracy = task.trace(model), task.accuracy(model)
    print(f"start: tr H {before:.3g}, test accuracy {accuracy:.3f}")
    rule = tuned_rule(task, args.flatness * before)

    def auto(optimizer, model):
        estimator = replace(QUICK, n_samples=64, n_probes=6, n_draws=4, n_lanczos=4)
        updates = MomentumUpdates(every=250, budget=args.budget, estimator=estimator)
        return sm.training.AutoMomentum(optimizer, model, half_square, data, label_noise=args.sigma, updates=updates)

    ways = {
        "momentum 0.9": lambda optimizer, model: None,
        "transferred rule": lambda optimizer, model: sm.MomentumScaler(optimizer, rule),
        "AutoMomentum": auto,
    }
    figure = compare(task, ways, args.steps, args.flatness * before, accuracy + 0.01)
    figure.suptitle(f"lr = {LR:g}, label noise {args.sigma:g}: one start, three ways to set the momentum")
    figure.savefig(args.out, dpi=120)


if __name__ == "__main__":
    main()
