"""Pictures of docs/understand/picture.md, drawn when the site is built: training in a valley, and the two timescales."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sphinx.application import Sphinx

LR, NOISE, CURVATURE, MODES, COUPLING = 0.1, 0.0125, 1.0, 16, 0.6
"""eta, c, mu = (tr H)'', number of modes, g: those of the valley below."""
DELTAS = {"too little momentum": 0.15, "best": 0.05, "too much": 0.01}
STEPS, RUNS, START = 900, 48, 1.5
COLOURS = {"too little momentum": "#0072b2", "best": "#009e73", "too much": "#d55e00"}  # safe for the colour-blind


def _eigenvalues(theta: Any) -> Any:
    """lambda_j(theta) of all modes; half have a slope along the valley, half the opposite one. (..., MODES)"""
    slope = np.sqrt(COUPLING / MODES) * np.where(np.arange(MODES) % 2, 1.0, -1.0)
    reach = theta / np.sqrt(1 + (theta / 0.9) ** 2)
    return 1.0 + slope * reach[..., None] + CURVATURE / MODES * theta[..., None] ** 2 / 2


def _slopes(theta: Any) -> Any:
    slope = np.sqrt(COUPLING / MODES) * np.where(np.arange(MODES) % 2, 1.0, -1.0)
    return slope * (1 + (theta[..., None] / 0.9) ** 2) ** -1.5 + CURVATURE / MODES * theta[..., None]


def train(delta: float, seed: int) -> tuple[Any, Any]:
    """theta and the first mode's x of RUNS trainings, (STEPS + 1, RUNS) each: v <- beta v - eta g, w <- w + v."""
    rng = np.random.default_rng(seed)
    theta, x = np.full(RUNS, START), np.zeros((RUNS, MODES))
    v, u = np.zeros(RUNS), np.zeros((RUNS, MODES))
    path = [(theta, x[:, 0])]
    for _ in range(STEPS):
        root = np.sqrt(_eigenvalues(theta))
        residual = root * x - np.sqrt(NOISE) * rng.standard_normal((RUNS, MODES))  # of output sqrt(lambda) x, with a noisy label
        u = (1 - delta) * u - LR * root * residual
        v = (1 - delta) * v - LR * (_slopes(theta) / (2 * root) * x * residual).sum(1)
        theta, x = theta + v, x + u
        path.append((theta, x[:, 0]))
    return np.array([p[0] for p in path]), np.array([p[1] for p in path])


def draw_valley(file: Path) -> None:
    """The animation: one training for each momentum in the valley, beside the mean of all."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation, PillowWriter

    paths = {name: train(delta, seed=1) for name, delta in DELTAS.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.5), width_ratios=[1.25, 1], layout="constrained", dpi=90)
    theta, x = np.meshgrid(np.linspace(-2.2, 2.2, 161), np.linspace(-0.75, 0.75, 81))
    left.contourf(theta, x, np.sqrt(_eigenvalues(theta).mean(-1) * x**2), levels=14, cmap="Greys", alpha=0.6)
    left.axhline(0, color="0.35", lw=0.8)
    left.annotate("flattest point", (0, 0), (0, -0.62), ha="center", arrowprops={"arrowstyle": "->", "color": "0.3"}, fontsize=9)
    left.annotate("start", (START, 0), (START, 0.5), ha="center", arrowprops={"arrowstyle": "->", "color": "0.3"}, fontsize=9)
    left.set(xlabel=r"along the valley: $\theta$", ylabel="across: one of 16 modes", xlim=(-2.2, 2.2), ylim=(-0.75, 0.75))
    right.set(xlabel="steps", ylabel=r"mean $\theta^2$ of 48 trainings", yscale="log", xlim=(0, STEPS), ylim=(0.02, 20))
    trails = {name: left.plot([], [], color=COLOURS[name], lw=1.0, alpha=0.85)[0] for name in DELTAS}
    heads = {name: left.plot([], [], "o", color=COLOURS[name], ms=5)[0] for name in DELTAS}
    labels = {name: rf"$1 - \beta$ = {delta:g}: {name}" for name, delta in DELTAS.items()}
    curves = {name: right.plot([], [], color=COLOURS[name], label=labels[name])[0] for name in DELTAS}
    right.legend(fontsize=8, loc="upper right", framealpha=0.9)
    steps = np.arange(STEPS + 1)

    def frame(k: int) -> list[Any]:
        for name, (along, across) in paths.items():
            begin = max(0, k - 40)
            trails[name].set_data(along[begin : k + 1, 0], across[begin : k + 1, 0])
            heads[name].set_data(along[k : k + 1, 0], across[k : k + 1, 0])
            curves[name].set_data(steps[: k + 1], (along[: k + 1] ** 2).mean(1))
        return []

    frames = np.unique(np.concatenate([np.linspace(0, 200, 41), np.linspace(200, STEPS, 36)]).astype(int))
    FuncAnimation(figure, frame, frames=[*map(int, frames), *[STEPS] * 12]).save(file, PillowWriter(fps=9))
    plt.close(figure)


def draw_timescales(file: Path) -> None:
    """Relaxation across and drift along against 1 - beta at three learning rates: where they cross goes as eta^(2/3)."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.9), layout="constrained")
    delta = np.geomspace(1e-3, 1, 200)
    axes.loglog(delta, 2 / delta, color="0.25", lw=2)
    axes.text(0.055, 50, "across, at every lr:\n" + r"$2\,/\,(1 - \beta)$ steps", fontsize=9, va="bottom")
    for lr, colour in ((0.1, "#d55e00"), (0.01, "#009e73"), (0.001, "#0072b2")):
        along = 4 * delta**2 / (lr**2 * NOISE * CURVATURE)
        best = (lr**2 * NOISE * CURVATURE / 2) ** (1 / 3)
        axes.loglog(delta, along, color=colour, lw=1.6, label=f"along, lr = {lr:g}")
        axes.loglog([best], [2 / best], "o", color=colour, ms=8)
    best = (0.01**2 * NOISE * CURVATURE / 2) ** (1 / 3)
    arrow = {"arrowstyle": "->", "color": "0.3"}
    axes.annotate(
        r"equally slow: $1 - \beta \sim \mathrm{lr}^{2/3}$", (best, 2 / best), (1.5e-3, 2.8), arrowprops=arrow, fontsize=9
    )
    axes.set(xlabel=r"$1 - \beta$", ylabel="steps", ylim=(2, 2e5), xlim=(1e-3, 1))
    axes.legend(fontsize=9, loc="upper right")
    figure.savefig(file)
    plt.close(figure)


def _draw(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "_static" / "pictures"
    folder.mkdir(exist_ok=True)
    for name, draw in (("valley.gif", draw_valley), ("timescales.svg", draw_timescales)):
        file = folder / name
        if not file.exists() or file.stat().st_mtime < Path(__file__).stat().st_mtime:
            draw(file)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _draw)
    return {"parallel_read_safe": True}
