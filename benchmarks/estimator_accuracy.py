"""Accuracy of `estimate_timescales` on plain modules, against exact geometry: c, mu and 1 - beta, with many and few probes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import sde_momentum as sm
from derivations.models.two_layer_tanh import two_layer_tanh
from sde_momentum.training import EstimatorSettings
from sde_momentum.training.curvature import Probes, follow_drift
from sde_momentum.training.krylov import Accuracy
from sde_momentum.training.output_map import OutputMap

LR, SIGMA, BATCH = 0.1, 0.1, 8


class Sensing(nn.Module):
    def __init__(self, problem: sm.MatrixSensing, w: np.ndarray) -> None:
        super().__init__()
        self.u, self.v = (nn.Parameter(torch.tensor(x)) for x in problem.factors(w))

    def forward(self, a: Tensor) -> Tensor:
        return (a * (self.u @ self.v)).sum((1, 2))


class Student(nn.Module):
    def __init__(self, w: np.ndarray) -> None:
        super().__init__()
        self.inner, self.outer = nn.Parameter(torch.tensor(w[:100].reshape(20, 5))), nn.Parameter(torch.tensor(w[100:]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.inner.T) @ self.outer


def half_square(f: Tensor, y: Tensor) -> Tensor:
    return (f - y).square().mean() / 2


def main() -> None:
    torch.set_num_threads(1)
    sensing = sm.MatrixSensing(8, 1, 40)
    network = two_layer_tanh()
    inputs = torch.tensor(np.random.default_rng(0).standard_normal((40, 5)))  # as two_layer_tanh draws them
    cases = (
        (
            "matrix sensing",
            sensing,
            sensing.interpolating_start(),
            lambda w: Sensing(sensing, w),
            torch.tensor(sensing.measurements),
        ),
        ("teacher-student", network.compile(), network.interpolating_point(), Student, inputs),
    )
    print("case, displacement, probes: c, mu, 1 - beta, each as estimate ± standard error (exact)")
    for name, problem, w, build, x in cases:
        data = (x, torch.tensor(problem.targets))
        # along the drift from the start; mu counts where that leads
        z = OutputMap(build(w), half_square, *data)
        back = follow_drift(z, Probes(z, 64, (0,)), 30, Accuracy(1e-8, 500, 1e-6 * 7))
        flat = sm.problems.project_to_manifold(problem, z.point().numpy())
        for label, place, displacement in (("gradient of tr H, start", w, None), ("drift of 30 steps, at its end", flat, back)):
            point = sm.ManifoldPoint(problem, place, rank_tolerance=1e-3)
            mu = point.curvature(point.gradient if displacement is None else displacement.numpy())
            c = SIGMA**2 / BATCH
            delta = sm.MomentumRule.from_geometry(c, mu).one_minus_beta(LR) if mu > 0 else float("nan")
            for n_probes in (64, 16):
                found = sm.estimate_timescales(
                    build(place), half_square, data, lr=LR, label_noise=SIGMA, batch_size=BATCH, displacement=displacement,
                    settings=EstimatorSettings(n_probes=n_probes, n_draws=200),
                )  # fmt: skip
                beta = "none" if found.one_minus_beta is None else f"{found.one_minus_beta:.5f} ± {found.one_minus_beta_se:.1g}"
                print(
                    f"{name}, {label}, {n_probes}: {found.noise:.4g} ± {found.noise_se:.1g} ({c:.4g}); "
                    f"{found.curvature:.4g} ± {found.curvature_se:.1g} ({mu:.4g}); {beta} ({delta:.5f})"
                )


if __name__ == "__main__":
    main()
