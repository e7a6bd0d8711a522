"""Transfer of a momentum tuned at one learning rate to smaller ones, on a small MLP with real images.

A tanh network of one hidden layer learns two groups of FashionMNIST classes (targets -1 and 1, square loss, full batch)
under label noise, from one interpolating point. Time: steps after which tr H, averaged over the seeds, stays below a
stated share of its start. 1 - beta is tuned on a grid at the largest lr (the least momentum within 5 % of the best),
and each rule carries it to the other learning rates. Regret: the time there over the shortest time of that lr's own
grid (and of the rules themselves), with an interval from resampled seeds. It is infinite where tr H does not reach
the target within the horizon; then the regret is at least `regret_of_none`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np

RULES = {
    "lr^(2/3)": lambda delta, ratio: delta * ratio ** (2 / 3),
    "beta = 0.9": lambda delta, ratio: 0.1,
    "same beta": lambda delta, ratio: delta,
    "lr": lambda delta, ratio: delta * ratio,
    "lr^(1/2)": lambda delta, ratio: delta * ratio**0.5,
}


def images(data: Path, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 49) pixels, pooled 4 x 4 and standardised, and targets -1 (classes 0 to 4) or 1."""
    with gzip.open(data / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 7, 4, 7, 4)
    with gzip.open(data / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    picked = np.random.default_rng(seed).permutation(len(labels))[:n]
    x = pixels[picked].mean((2, 4)).reshape(n, -1)
    x = (x - x.mean(0)) / (x.std(0) + 1)
    return x / np.sqrt(np.square(x).sum(1).mean()), np.where(labels[picked] < 5, -1.0, 1.0)


class Replicas:
    """Independent runs of f(x) = sum_j a_j tanh(W_j . x), stacked: w (R, H, D), a (R, H)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, runs: int) -> None:
        self.x, self.y = x, y
        self.w, self.a = np.repeat(w[None], runs, 0), np.repeat(a[None], runs, 0)
        self.v = np.zeros_like(self.w), np.zeros_like(self.a)

    def step(self, lr: float, one_minus_beta: np.ndarray, noise: np.ndarray) -> None:
        """One heavy-ball step at the targets y + noise (R, P)."""
        hidden = np.tanh(self.w @ self.x.T)  # (R, H, P)
        error = ((self.a[:, None] @ hidden)[:, 0] - self.y - noise) / len(self.y)
        slope = (1 - hidden * hidden) * self.a[:, :, None] * error[:, None]
        beta = 1 - one_minus_beta
        self.v = (
            beta[:, None, None] * self.v[0] - lr * (slope @ self.x),
            beta[:, None] * self.v[1] - lr * (hidden @ error[:, :, None])[:, :, 0],
        )
        self.w, self.a = self.w + self.v[0], self.a + self.v[1]

    def trace(self) -> np.ndarray:
        """tr H = |J|^2 / P, (R,)."""
        hidden = np.tanh(self.w @ self.x.T)
        sizes = np.square(self.x).sum(1)
        by_w = np.einsum("rh,rhp,p->r", self.a**2, (1 - hidden**2) ** 2, sizes, optimize=True)
        return (np.square(hidden).sum((1, 2)) + by_w) / len(self.y)


def interpolating_point(x: np.ndarray, y: np.ndarray, hidden: int, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free gradient descent with momentum to a loss of 1e-12."""
    rng = np.random.default_rng(seed)
    w, a = scale * rng.standard_normal((hidden, x.shape[1])), rng.standard_normal(hidden) / hidden**0.5
    runs = Replicas(x, y, w, a, 1)
    zero = np.zeros((1, len(y)))
    for k in range(200_000):
        runs.step(0.2, np.array([0.05]), zero)
        if k % 200 == 0:
            f = (runs.a[:, None] @ np.tanh(runs.w @ x.T))[0, 0]
            if np.square(f - y).mean() < 1e-12:
                return runs.w[0], runs.a[0]
    raise SystemExit(f"no interpolating point: loss {np.square(f - y).mean():.2g}")


def traces(start, x, y, lr, deltas, sigma, seeds, n_steps, every):
    """tr H in units of its start, every `every` steps: (n_records, n_deltas, seeds)."""
    runs = Replicas(x, y, *start, len(deltas) * seeds)
    rng = np.random.default_rng(7)
    one_minus_beta = np.repeat(deltas, seeds)
    before = runs.trace()[0]
    records = []
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(1, n_steps + 1):
            noise = np.tile(sigma * rng.choice([-1.0, 1.0], (seeds, len(y))), (len(deltas), 1))  # the same for every delta
            runs.step(lr, one_minus_beta, noise)
            if k % every == 0:
                records.append(runs.trace().reshape(len(deltas), seeds) / before)
    return np.array(records)


def times(mean: np.ndarray, share: float, every: int) -> np.ndarray:
    """Steps until the mean of tr H (n_records, n_deltas) stays below `share`; inf if it does not."""
    above = ~(mean < share)
    last = np.where(above.any(0), len(mean) - above[::-1].argmax(0), 0)
    return np.where(last == len(mean), np.inf, (last + 1) * every)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SDE_MOMENTUM_DATA"), required="SDE_MOMENTUM_DATA" not in os.environ)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--lr", type=float, default=0.15)
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--horizon", type=float, default=900, help="steps at the largest lr; times ratio^(-2/3) at the others")
    parser.add_argument("--center", type=float, default=0.02, help="of the grid of 1 - beta at the largest lr")
    parser.add_argument("--ratios", type=float, nargs="*", default=[1, 1 / 3, 1 / 10, 1 / 30])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    x, y = images(Path(args.data) / "fashion_mnist", args.samples, 0)
    start = interpolating_point(x, y, args.hidden, 2.0, 0)
    grid = 2.0 ** np.arange(-2, 2.01, 0.5)
    rows, tuned = [], None
    for ratio in args.ratios:
        n_steps = int(args.horizon * ratio ** (-2 / 3))
        every = max(1, n_steps // 300)
        own = np.minimum(args.center * ratio ** (2 / 3) * grid, 1)
        carried = {} if tuned is None else {name: min(rule(tuned, ratio), 1.0) for name, rule in RULES.items()}
        deltas = np.concatenate([own, list(carried.values())])
        found = traces(start, x, y, args.lr * ratio, deltas, args.sigma, args.seeds, n_steps, every)
        runs, found = found, times(found.mean(2), args.share, every)
        rng = np.random.default_rng(11)
        drawn = [times(runs[:, :, rng.integers(0, args.seeds, args.seeds)].mean(2), args.share, every) for _ in range(200)]
        regrets = np.array([t[len(own) :] / t.min() for t in drawn])
        best = found.min()
        if tuned is None:
            tuned = float(own[found <= 1.05 * best].max())  # the least momentum within 5 %: beyond the best lies the cliff
        row = {
            "lr": args.lr * ratio,
            "tuned_one_minus_beta": tuned,
            "n_steps": n_steps,
            "one_minus_beta": own.round(6).tolist(),
            "steps": found[: len(own)].tolist(),
            "lowest_share": runs.mean(2).min(0)[: len(own)].round(3).tolist(),
            "best_one_minus_beta": float(deltas[np.argmin(found)]),
            "regret": {name: float(t / best) for name, t in zip(carried, found[len(own) :], strict=True)},
            "regret_90_percent": {
                name: np.quantile(r, [0.05, 0.95], method="nearest").tolist() for name, r in zip(carried, regrets.T, strict=True)
            },
            "regret_of_none": n_steps / best,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"settings": {k: str(v) for k, v in vars(args).items()}, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
