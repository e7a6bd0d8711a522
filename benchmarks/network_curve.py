"""The universal curve at finite lr of a network on images, with P = 2,560 modes: its processor time, and its recommendation.

    python benchmarks/network_curve.py [--lr 0.08] [--data DIR]

Eigenvalues of its Hessian fall to 1e-15 of the largest: it has no manifold of minimizers to double precision, and no drift along
one to begin the search from. The search begins from a rough D and time instead.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from sde_momentum.predictors.curve.search import CurveSearch
from sde_momentum.predictors.curve.settings import CurveSettings
from validation.networks.mlp_fashionmnist import EXPERIMENT
from validation.networks.plan import begin
from validation.networks.problem import NetworkProblem
from validation.networks.task import to_tensors

ROUGH_D, ROUGH_TIME = 1.0, 5.0
PRECISION = 0.03


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--lr", type=float, default=0.08)
    options.add_argument("--data", type=Path)
    given = options.parse_args()
    configuration = EXPERIMENT.configuration({"profile": "full", "data": given.data})
    task = EXPERIMENT.build(configuration)
    problem = NetworkProblem(task.network, task.inputs, task.loss.targets)
    start, about = begin(EXPERIMENT, configuration)
    rough = SimpleNamespace(
        problem=problem,
        start=problem.flat(to_tensors(start, task.inputs)),
        metric="trace_hessian",
        fraction=configuration["fraction"],
        amplitude=1.0,
        curvature=1.0,
        expected_time=lambda lr, scaled, noise: ROUGH_TIME * np.sqrt(scaled / ROUGH_D),
    )
    print(f"P = {problem.n_outputs:,}, N = {problem.n_parameters:,}, fit to a loss of {about['fit_excess']:.2g}", flush=True)
    began = time.process_time()
    search = CurveSearch(
        rough, about["noise"] ** 2 * given.lr, CurveSettings(precision=PRECISION), -1, lambda _: print(".", end="", flush=True)
    )
    search.closed_form = lambda: ROUGH_D
    courses = search.run()
    unit = np.cbrt(about["noise"] * given.lr**2)
    print(f"\n{time.process_time() - began:.0f} s of processor time, {sum(course.n_runs for course in courses)} runs")
    for course in courses:
        steps, error = (x / unit for x in course.time)
        print(f"1 - beta = {course.scaled * unit:.5f}: {steps:8.0f} ± {error:.0f} steps, {course.n_runs} runs")


if __name__ == "__main__":
    main()
