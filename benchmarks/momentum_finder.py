"""Benefit and cost of find_momentum: points lost against a sweep of full trainings in steps of sqrt(2), and cost in trainings.

Every case trains with 13 momenta x seeds to the end; then `find_momentum` is asked from the initialisation of each seed, and its
answer is the sweep's mean score at that momentum, interpolated in ln(1 - beta). Sweeps are kept in a file, so that the finder
alone is run again.

    python benchmarks/momentum_finder.py --data FOLDER --sweeps sweeps.json [--case cnn-cosine] [--seeds 3] [--share 0.2]

FOLDER holds fashion_mnist/ with the original .gz files; the language model reads docs/*.md by characters.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sde_momentum as sm

DELTAS = tuple(2.0 ** (-k / 2) for k in range(13))  # 1 - beta of the sweep: 1 to 1/64
DATA = Path()


@cache
def images(kind: str, n: int) -> tuple[Tensor, Tensor]:
    """The first n images (n, 1, 14, 14), standardized, and classes (n,) of FashionMNIST."""
    folder = DATA / "fashion_mnist"
    with gzip.open(folder / f"{kind}-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(16 + 784 * n), np.uint8, offset=16).reshape(n, 14, 2, 14, 2).mean((2, 4))
    with gzip.open(folder / f"{kind}-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(8 + n), np.uint8, offset=8)
    return torch.tensor((x / 255 - 0.286) / 0.32, dtype=torch.float32)[:, None], torch.tensor(y, dtype=torch.long)


@cache
def regression() -> tuple[Tensor, Tensor]:
    """6000 points (n, 8) and a smooth function of them (n, 1) with noise in the first 4000."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6000, 8, generator=g)
    w = torch.randn(8, 6, generator=g) / 2
    y = torch.sin(x @ w).sum(1, keepdim=True) + (x[:, :1] * x[:, 1:2])
    y = y / y.std()
    y[:4000] += 0.3 * torch.randn(4000, 1, generator=g)
    return x, y


@cache
def text() -> tuple[Tensor, Tensor, int]:
    """Windows of 16 characters (n, 16), the characters that follow each (n, 16), and how many kinds there are."""
    folder = Path(__file__).parents[1] / "docs"
    raw = "\n".join((folder / name).read_text() for name in ("theory.md", "predictions.md", "glossary.md", "networks.md"))
    raw = raw.encode("ascii", "replace").decode()
    kinds = {c: i for i, c in enumerate(sorted(set(raw)))}
    codes = torch.tensor([kinds[c] for c in raw])
    starts = torch.randperm(len(codes) - 17, generator=torch.Generator().manual_seed(0))[:5000]
    windows = codes[starts[:, None] + torch.arange(17)]
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), len(kinds)


def mlp(n_in: int = 196, n_out: int = 10, width: int = 64, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in, width), act(), nn.Linear(width, width), act(), nn.Linear(width, n_out))


def convolutional() -> nn.Module:
    def block(i: int, o: int, s: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    return nn.Sequential(
        *block(1, 6, 1), *block(6, 12, 2), *block(12, 12, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)
    )


def dropout_mlp() -> nn.Module:
    def block(i: int) -> list[nn.Module]:
        return [nn.Linear(i, 64), nn.ReLU(), nn.Dropout(0.2)]

    return nn.Sequential(nn.Flatten(), *block(196), *block(64), nn.Linear(64, 10))


def group_norm() -> nn.Module:
    def block(i: int, o: int, s: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, s, 1), nn.GroupNorm(3, o), nn.SiLU()]

    return nn.Sequential(*block(1, 6, 1), *block(6, 12, 2), *block(12, 12, 2), nn.Flatten(), nn.Linear(192, 10))


class Residual(nn.Module):
    """Stem, three residual blocks with batch norm at 7 x 7, pooling."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
            )
            for _ in range(3)
        )  # fmt: skip
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.last(x.mean((2, 3)))


class LanguageModel(nn.Module):
    """A pre-norm transformer on characters: two layers, width 24."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(text()[2], width), nn.Embedding(16, width)
        layer = partial(nn.TransformerEncoderLayer, width, 4, 4 * width, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.ModuleList(layer() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, text()[2])

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places.weight
        mask = nn.Transformer.generate_square_subsequent_mask(16)
        for layer in self.layers:
            h = layer(h, src_mask=mask, is_causal=True)
        return self.head(self.norm(h))


def cross_entropy(f: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(f.flatten(0, -2), y.flatten(), label_smoothing=smoothing)


def flipped(f: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy with a fifth of the labels drawn anew at every step: label noise."""
    drawn = torch.where(torch.rand(y.shape) < 0.2, torch.randint(10, y.shape), y)
    return F.cross_entropy(f, drawn)


def image_data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return images("train", 4000), images("t10k", 2000)


def regression_data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x, y = regression()
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])


def text_data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x, y, _ = text()
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])


def pixels_data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images as their own targets."""
    return tuple((x, x.flatten(1)) for x, _ in image_data())


def accuracy(f: Tensor, y: Tensor) -> float:
    return 100 * float((f.argmax(-1) == y).float().mean())


def explained(f: Tensor, y: Tensor) -> float:
    """Percent of the variance explained."""
    return 100 * (1 - float((f - y).square().mean() / y.var()))


@dataclass(frozen=True)
class Case:
    """A training: its model, learning rate, data, loss, schedule and score (larger is better, in points)."""

    model: Callable[[], nn.Module]
    lr: float
    cosine: bool
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    data: Callable[[], Any] = image_data
    score: Callable[[Tensor, Tensor], float] = accuracy
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 6


CASES = {
    "label-noise-mlp": Case(mlp, 0.05, False, flipped),
    "cnn-constant": Case(convolutional, 0.1, False, options={"weight_decay": 5e-4}),
    "cnn-cosine": Case(convolutional, 0.1, True, options={"weight_decay": 5e-4}),
    "mlp-smoothing-cosine": Case(mlp, 0.05, True, partial(cross_entropy, smoothing=0.1)),
    "residual-nesterov-cosine": Case(Residual, 0.03, True, options={"weight_decay": 5e-4, "nesterov": True}),
    "regression-constant": Case(partial(mlp, 8, 1, 64, nn.Tanh), 0.02, False, F.mse_loss, regression_data, explained),
    "language-cosine": Case(LanguageModel, 0.1, True, data=text_data),
    "language-constant": Case(LanguageModel, 0.1, False, data=text_data),
    "mlp-gelu-constant": Case(partial(mlp, act=nn.GELU), 0.2, False, options={"weight_decay": 1e-3}),
    "regression-gelu-constant": Case(partial(mlp, 8, 1, 64, nn.GELU), 0.05, False, F.mse_loss, regression_data, explained),
    "autoencoder-constant": Case(partial(mlp, 196, 196, 24, nn.Tanh), 1.0, False, F.mse_loss, pixels_data, explained),
    "dropout-nesterov-constant": Case(dropout_mlp, 0.02, False, options={"weight_decay": 5e-4, "nesterov": True}),
    "group-norm-constant": Case(group_norm, 0.03, False),
}
BATCH = 32


def made(case: Case, seed: int, momentum: float) -> tuple[nn.Module, torch.optim.SGD, DataLoader[Any]]:
    torch.manual_seed(seed)
    model = case.model()
    options = {name: value for name, value in case.options.items() if name != "nesterov" or momentum > 0}
    optimizer = torch.optim.SGD(model.parameters(), lr=case.lr, momentum=momentum, **options)
    return model, optimizer, DataLoader(TensorDataset(*case.data()[0]), BATCH, shuffle=True)


def scored(case: Case, model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        x, y = case.data()[1]
        value = case.score(model(x), y)
    model.train()
    return value


def trained(case: Case, seed: int, momentum: float) -> tuple[float, float]:
    """(score, processor seconds) of a whole training; at constant lr the mean of the last two epochs. NaN: lost."""
    began = time.process_time()
    model, optimizer, loader = made(case, seed, momentum)
    n = case.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n) if case.cosine else None
    scores, spent = [], 0.0
    for epoch in range(case.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = case.loss(model(x), y)
            if not torch.isfinite(loss):
                return float("nan"), time.process_time() - began
            loss.backward()
            optimizer.step()
            if schedule:
                schedule.step()
        if epoch >= case.epochs - (1 if case.cosine else 2):
            clock = time.process_time()
            scores.append(scored(case, model))
            spent += time.process_time() - clock
    return float(np.mean(scores)), time.process_time() - began - spent


def sweep(case: Case, seeds: int) -> dict[str, Any]:
    runs = [[trained(case, seed, 1 - delta) for seed in range(seeds)] for delta in DELTAS]
    whole = [seconds for row in runs for score, seconds in row if np.isfinite(score)]
    return {"scores": [[score for score, _ in row] for row in runs], "seconds": float(np.mean(whole))}


def report(name: str, case: Case, kept: dict[str, Any], seeds: int, share: float) -> None:
    """One line: the best of the sweep, what was found, the points lost with it and with momentum 0.9, the cost."""
    scores = np.array(kept["scores"])
    mean = scores.mean(1)
    best = int(np.nanargmax(mean))
    pairs = (scores - scores[best])[mean > mean[best] - 5]  # of momenta that train
    noise = float(np.sqrt(pairs.var(axis=1, ddof=1).mean() / scores.shape[1]))
    line = np.log(np.array(DELTAS)[::-1]), np.nan_to_num(mean, nan=np.nanmin(mean))[::-1]
    lost = lambda delta: float(mean[best] - np.interp(np.log(delta), *line))  # noqa: E731
    found, cost = [], []
    for seed in range(seeds):
        model, optimizer, loader = made(case, seed, 0.9)
        n = case.epochs * len(loader)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n) if case.cosine else None
        began = time.process_time()
        steps = int(share * n)
        found.append(sm.find_momentum(model, optimizer, case.loss, loader, steps=steps, schedule=schedule, progress=False))
        cost.append((time.process_time() - began) / kept["seconds"])
    deltas = [x.one_minus_beta for x in found]
    print(
        f"{name}: best {mean[best]:.2f} at 1 - beta {DELTAS[best]:.3g} (se of a difference {noise:.2f}); found "
        f"{', '.join(f'{d:.3g}' for d in deltas)}, lost {', '.join(f'{lost(d):.2f}' for d in deltas)} "
        f"(mean {np.mean([lost(d) for d in deltas]):.2f}); momentum 0.9 lost {lost(0.1):.2f}; "
        f"cost {', '.join(f'{np.isfinite(x.losses).sum() / n:.2f}' for x in found)} trainings in steps, "
        f"{', '.join(f'{c:.2f}' for c in cost)} in processor time; trials of {found[0].n_steps} of {n} steps",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds fashion_mnist/")
    parser.add_argument("--sweeps", type=Path, required=True, help="JSON file in which sweeps are kept")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.2, help="length of a trial, in trainings")
    parser.add_argument("--sweep-only", action="store_true")
    args = parser.parse_args()
    global DATA
    DATA = args.data
    torch.set_num_threads(1)
    for name in args.case or CASES:
        kept = json.loads(args.sweeps.read_text()) if args.sweeps.exists() else {}
        if name not in kept:
            kept[name] = sweep(CASES[name], args.seeds)
            args.sweeps.write_text(json.dumps(kept))
        if not args.sweep_only:
            report(name, CASES[name], kept[name], args.seeds, args.share)


if __name__ == "__main__":
    main()
