"""Cost of the critical limit against that of the update it reduces, for the same answer and the same standard error.

    python benchmarks/critical_limit.py [--runs 256] [--picture docs/figures/critical_limit_cost.png]

The answer: the mean of a metric up to 1.5 times the time to its target, at the recommended 1 - beta, over as many runs. One
simulation of the limit, in steps of its default size, serves every learning rate; the update needs 1.5 T / (1 - beta) steps, T in
s = (1 - beta) k. A run of the update is timed over at most STEPS steps and counted up to all of them, as its cost is proportional
to their number. Both run on all cores; the time is the processor's, summed over the threads, the least of some rounds in turn,
without compilation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import sde_momentum as sm
from sde_momentum.predictors.curve.search import CurveSearch
from sde_momentum.predictors.curve.settings import CurveSettings
from sde_momentum.predictors.drift_path import DriftPath
from validation.cases import CASES

NAMES = {
    "valley, g = 3 m": "valley",
    "two-factor": "two-factor",
    "matrix sensing, d = 8, rank 1": "matrix sensing, d = 8",
    "matrix sensing, d = 20, rank 1": "matrix sensing, d = 20",
    "tanh teacher-student": "tanh network",
}
RATES = (1e-2, 1e-3, 1e-4, 1e-5)
STEPS, ROUNDS, RECORDS = 400, 3, 20
STEP = 0.05  # of the limit, in s
ENTRIES = 2**20  # of the Jacobians of all runs: large problems are timed with fewer runs, at least 32


def seconds(run):
    """Processor time of a call, over all threads."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


class Comparison:
    """The two simulations of one problem, over at most `n_runs` runs."""

    def __init__(self, case, n_runs):
        self.problem, self.start = case.make()
        entries = self.problem.n_outputs * self.problem.n_parameters
        self.n_runs = max(min(n_runs, ENTRIES // entries // 32 * 32), 32)
        self.metric, self.seeds = case.metric, np.arange(self.n_runs)
        self.training = sm.LabelNoiseSGD(self.problem, case.label_noise)
        path = DriftPath(self.problem, self.start, case.metric, case.fraction)
        search = CurveSearch(path, None, CurveSettings(), -1, lambda _: None)
        self.scaled = path.scaled_one_minus_beta  # a rough D = (1 - beta) / (c lr^2)^(1/3)
        self.kappa = 1 / (4 * self.scaled**3)
        self.time = self._time_to(case.fraction, 3 * search.guess * self.scaled)

    def _time_to(self, fraction, horizon):
        """s at which the mean first meets the target."""
        times = np.linspace(0, horizon, 61)
        mean = np.nanmean(self.limit(times)[self.metric].values[0], axis=0)
        met = mean <= fraction * mean[0]
        return float(times[np.argmax(met)]) if met.any() else self._time_to(fraction, 2 * horizon)

    def limit(self, times, **options):
        how = {"kappa": self.kappa, "seeds": self.seeds, "metrics": [self.metric], "step": STEP, "progress": False}
        return sm.solve(sm.CriticalLimit(self.problem), self.start, times, **how, **options)

    def limit_seconds(self):
        gap = STEP * max(round(1.5 * self.time / STEP / (RECORDS - 1)), 1)  # whole steps
        return seconds(lambda: self.limit(np.arange(0, 1.5 * self.time + gap / 2, gap) * (1 - 1e-9)))

    def update_seconds(self, lr):
        """Of all runs, and of how many steps."""
        delta = self.scaled * np.cbrt(self.training.noise * lr**2)
        n_steps = 1.5 * self.time / delta
        timed = int(min(n_steps, STEPS))
        records = np.unique(np.linspace(0, timed, max(2, int(RECORDS * timed / n_steps)), dtype=int))
        how = {"lr": lr, "momentum": 1 - delta, "seeds": self.seeds, "metrics": [self.metric], "progress": False}
        return seconds(lambda: sm.solve(self.training, self.start, records, **how)) * n_steps / timed, n_steps


def draw(found, file):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from sde_momentum.figures.style import LINES, STYLE, render

    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.6))
        axes = figure.add_subplot()
        for colour, (name, (limit, update)) in zip(LINES, found.items(), strict=False):
            axes.loglog(RATES, update, "o-", color=colour, label=name)
            axes.loglog(RATES, np.full(len(RATES), limit), "--", color=colour)
        axes.plot([], [], "k-", label="the update")
        axes.plot([], [], "k--", label="critical limit, one for all lr")
        axes.set(xlabel="learning rate", ylabel="processor time of a run (s)", title="Cost of the same answer")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        file.write_bytes(render(figure, file.suffix[1:]))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=256)
    options.add_argument("--picture", type=Path)
    options.add_argument("--only", nargs="*", default=list(NAMES.values()))
    given = options.parse_args()
    found = {}
    print("processor time for each run; ratio: the update's time over that of the critical limit")
    print(f"{'':24}{'limit, ms':>10}" + "".join(f"   lr {lr:.0e}" for lr in RATES))
    for case in CASES:
        name = NAMES.get(case.name)
        if name not in given.only:
            continue
        both = Comparison(case, given.runs)
        for lr in RATES:
            both.update_seconds(lr)  # compiles
        rounds = [(both.limit_seconds(), *(both.update_seconds(lr)[0] for lr in RATES)) for _ in range(ROUNDS)]
        limit, *update = np.min(rounds, axis=0) / both.n_runs
        found[name] = limit, update
        print(f"{name:24}{1e3 * limit:10.3f}" + "".join(f"{x / limit:11.2f}" for x in update), flush=True)
    if given.picture:
        draw(found, given.picture)


if __name__ == "__main__":
    main()
