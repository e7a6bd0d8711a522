"""Curves at finite lr: against the critical limit at P = 100, and of a network on images with P = 2,560 modes, with its training.

    python benchmarks/network_curve.py limit [--scaled-lr 1e-13 1e-16 1e-19] [--problem "tanh teacher-student"]
    python benchmarks/network_curve.py network [--lr 0.08] [--data DIR] [--train 0.0045 0.0062 0.009]

`limit`: at vanishing c^2 lr a curve at finite lr, which is made by training with every mode resolved, has to be that of the
critical limit, which follows all eigenvectors. `network`: eigenvalues of its Hessian fall to 1e-15 of the largest, so that it has
no manifold of minimizers to double precision, and no drift along one; the search begins from a guess of D and tau.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import sde_momentum as sm
from sde_momentum.predictors.curve.search import CurveSearch, Guess, common_noise
from sde_momentum.predictors.curve.settings import CurveSettings
from sde_momentum.predictors.curve.universal_curve import TOLERANCE
from sde_momentum.predictors.recommendation import largest_within
from sde_momentum.problems.registry import built_in
from validation.networks.mlp_fashionmnist import EXPERIMENT
from validation.networks.plan import begin
from validation.networks.problem import NetworkProblem
from validation.networks.task import to_tensors

PROBLEMS = {
    "matrix sensing": ("matrix-sensing", {"d": 20, "measurements": 100}, 0.1),
    "tanh teacher-student": ("two-layer-tanh", {"inputs": 20, "hidden": 20, "samples": 100}, 0.75),
}
"""P = 100: built-in problem, its options, and the target's fraction."""
GUESS = 1.0, 5.0
"""D and tau of the network on images."""
RECORDS, SEEDS = 50, 8


def recommended(courses):
    """(D, tau) of the largest D within the tolerance."""
    scaled = np.array([course.scaled for course in courses])
    times = common_noise(courses) * [course.time[0] for course in courses]
    return largest_within(scaled, times, (1 + TOLERANCE) * float(times.min()))


def curve(path, scaled_lr):
    """Courses and processor seconds."""
    began = time.process_time()
    courses = CurveSearch(path, scaled_lr, CurveSettings(), -1, lambda _: None).run()
    return courses, time.process_time() - began


def limit(given):
    """Prints recommendation and time of curves at finite lr over those of the limit."""
    for name in given.problem:
        kind, options, fraction = PROBLEMS[name]
        source = built_in(kind)
        path = sm.predictors.DriftPath(*source.setup(**options), source.target[0], fraction)
        print(f"{name}: P = {path.problem.n_outputs}, N = {path.problem.n_parameters}", flush=True)
        courses, spent = curve(path, None)
        d, tau = recommended(courses)
        print(f"  limit: D = {d:.4f}, tau = {tau:.4f}; {spent:.0f} s of processor time", flush=True)
        for scaled_lr in given.scaled_lr:
            courses, spent = curve(path, scaled_lr)
            other, late = recommended(courses)
            print(f"  c^2 lr = {scaled_lr:g}: D {other / d:.3f}, tau {late / tau:.3f} of the limit's; {spent:.0f} s", flush=True)


def network(given):
    """Prints the curve of the network on images, and the steps that training takes."""
    configuration = EXPERIMENT.configuration({"profile": "full", "data": given.data})
    task = EXPERIMENT.build(configuration)
    problem = NetworkProblem(task.network, task.inputs, task.loss.targets)
    start, about = begin(EXPERIMENT, configuration)
    path = Guess(problem, problem.flat(to_tensors(start, task.inputs)), "trace_hessian", configuration["fraction"], *GUESS)
    print(f"P = {problem.n_outputs:,}, N = {problem.n_parameters:,}, fit to a loss of {about['fit_excess']:.2g}", flush=True)
    training = sm.LabelNoiseSGD(problem, configuration["label_noise"])
    unit = np.cbrt(training.noise * given.lr**2)
    courses, spent = curve(path, training.noise**2 * given.lr)
    print(f"{spent:.0f} s of processor time, {sum(course.n_runs for course in courses)} runs")
    for course in courses:
        steps, error = (x / unit for x in course.time)
        print(f"1 - beta = {course.scaled * unit:.5f}: {steps:8.0f} ± {error:.0f} steps, {course.n_runs} runs")
    d, tau = recommended(courses)
    print(f"recommended: 1 - beta = {d * unit:.5f}, {tau / unit:.0f} steps", flush=True)
    records = np.linspace(0, 2 * tau / unit, RECORDS).astype(int)
    for delta in given.train or []:
        how = {"lr": given.lr, "momentum": 1 - delta, "seeds": range(SEEDS), "metrics": ["trace_hessian"]}
        values = sm.solve(training, path.start, records, **how).trace_hessian.values[0, 0]
        means = [values.mean(axis=0), *(np.delete(values, i, axis=0).mean(axis=0) for i in range(SEEDS))]
        steps, *without = (float(sm.convergence_time(mean, records, path.fraction)) for mean in means)
        error = np.sqrt((SEEDS - 1) * np.var(without))
        print(f"training, 1 - beta = {delta:.5f}: {steps:8.0f} ± {error:.0f} steps, {SEEDS} seeds", flush=True)


def main():
    """Print one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("limit")
    one.add_argument("--scaled-lr", type=float, nargs="+", default=[1e-13, 1e-16, 1e-19])
    one.add_argument("--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    one.set_defaults(run=limit)
    other = parts.add_parser("network")
    other.add_argument("--lr", type=float, default=0.08)
    other.add_argument("--data", type=Path)
    other.add_argument("--train", type=float, nargs="+", help="1 - beta at which the network is trained, too")
    other.set_defaults(run=network)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
