"""Trials: short runs of the training from which the best momentum is found [theory: Ways to predict]."""

from __future__ import annotations

from time import monotonic
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

import sde_momentum as sm
from sde_momentum.core.convergence import settle_time
from sde_momentum.core.errors import InputError
from sde_momentum.predictors.trials.carry import Found, Law, carry
from sde_momentum.predictors.trials.choice import choose
from sde_momentum.predictors.trials.courses import Clock, Courses, Training
from sde_momentum.predictors.trials.plan import Plan
from sde_momentum.predictors.trials.search import Search
from sde_momentum.predictors.trials.times import Course, resampling
from sde_momentum.theory import formulas

VALLEY = sm.Valley.balanced(32, curvature=1.0, coupling=0.0)
STRONG = sm.Valley.balanced(32, curvature=1.0, coupling=3.0)
ASKED = {"noise": 0.01 / 32, "target": ("test_error", 0.05), "start": VALLEY.start(2.5)}


def training(problem, start, **given):
    asked = {"level": 1.0, "seed": 3, "workers": 1, **given}
    return Training(sm.LabelNoiseSGD(problem, 0.1), start, problem.find_metric("test_error"), **asked)


class InNumPy(sm.Problem):
    """A valley without its kernels."""

    name, n_parameters, targets = "valley in numpy", VALLEY.n_parameters, VALLEY.targets
    outputs, jacobian, contract_hessians = VALLEY.outputs, VALLEY.jacobian, VALLEY.contract_hessians
    test_error, pullback = VALLEY.test_error, VALLEY.pullback


@pytest.mark.parametrize("problem", [VALLEY, InNumPy()])
def test_runs_are_those_of_the_plain_simulation_however_they_are_advanced(problem):
    """Two momenta, more runs later, in pieces: the same numbers, to rounding, as `solve` gives with the same seeds."""
    runs = Courses(training(problem, VALLEY.start(2.5)), 0.1, Clock(2, 20))
    runs.add([0.02, 0.05], 3)
    runs.advance({0: 40, 1: 40})
    runs.advance({1: 90})
    runs.more([1], 5)
    runs.advance({0: 60, 1: 60})
    for i, (delta, n) in enumerate([(0.02, 3), (0.05, 5)]):
        course = runs.courses[i]
        plain = sm.solve(
            sm.LabelNoiseSGD(problem, 0.1), VALLEY.start(2.5), course.steps, lr=0.1, momentum=1 - delta,
            seeds=3 * 1_000_003 + np.arange(n), metrics=["test_error"],
        )  # fmt: skip
        assert course.n_runs == n
        assert course.end >= 60
        np.testing.assert_allclose(course.values, plain["test_error"].values[0, 0], rtol=1e-9)


def test_a_mean_that_comes_back_has_not_met_the_target():
    """By hand; between records the logarithm is linear."""
    steps = np.array([0.0, 1.0, 2.0, 3.0])
    assert settle_time(np.array([4.0, 0.5, 2.0, 0.5]), steps, 1.0) == pytest.approx(2.5)
    assert settle_time(np.array([4.0, 0.5, 0.5, 2.0]), steps, 1.0) == np.inf
    assert settle_time(np.array([0.5, 0.5, 0.5, 0.5]), steps, 1.0) == 0.0
    assert settle_time(np.array([4.0, np.nan, 0.5, 0.25]), steps, 1.0) == 2.0


def test_the_error_of_a_time_is_its_spread_over_independent_repetitions():
    """Decay exp(-k / 50) with a factor of each run: 400 times 16 runs. Known: the spread to 3.5 %, its mean error to 2 %."""
    rng = np.random.default_rng(5)
    steps = np.arange(300)
    times, errors = [], []
    for _ in range(400):
        values = rng.gamma(4.0, 0.25, size=(16, 1)) * np.exp(-steps / 50)
        course = Course(0.1, 0.1, 16, steps, values)
        times.append(course.time())
        errors.append(course.time_se(0))
    assert np.mean(errors) == pytest.approx(np.std(times), rel=0.15)


def test_resampled_means_have_the_variance_of_the_mean():
    """Of 8 runs of variance 1: 1 / 8, where a plain resampling has 7/8 of it. 200 resamples know it to 10 %."""
    rng = np.random.default_rng(2)
    found = [np.var(resampling(8, seed) @ rng.standard_normal(8), ddof=1) for seed in range(300)]
    assert np.mean(found) == pytest.approx(1 / 8, rel=4 * np.std(found) / np.mean(found) / np.sqrt(300))


@pytest.mark.parametrize("law", [Law(), Law(3.0), Law(0.0, 0.05**3, 0.002), Law(3.0, 0.05**3, 0.002), Law(0.0, 1e-12, 0.002)])
def test_a_law_with_its_first_correction_is_carried_exactly(law):
    """Where the trials are exact only the prior on the correction is felt."""
    size = 0.05 if law.noise == 1 else 1.0
    truth = {lr: law.one_minus_beta(lr, size * np.exp(0.6 * np.cbrt(lr))) for lr in (0.3, 0.03, 0.003, 1e-4)}
    found = [Found(lr, truth[lr], truth[lr], truth[lr], 3 / truth[lr], 0.0) for lr in (0.3, 0.03, 0.003)]
    there = carry(found, 1e-4, law)
    assert there.low < truth[1e-4] < there.one_minus_beta < there.high
    assert there.one_minus_beta < 1.12 * truth[1e-4]
    # of slope 1: with less momentum time grows as 1 - beta
    assert there.time == pytest.approx(3 * there.one_minus_beta / truth[1e-4] ** 2, rel=0.05)


def test_what_a_law_with_one_correction_leaves_out_is_in_the_range():
    """A scale exp(2 x - 1.6 x^2), x = lr^(1/3): the two least learning rates say more than the largest."""
    truth = {lr: float(np.cbrt(lr) ** 2 * np.exp(2 * np.cbrt(lr) - 1.6 * np.cbrt(lr) ** 2)) for lr in (0.5, 0.08, 0.01, 3e-4)}
    found = [Found(lr, truth[lr], truth[lr], truth[lr], 3 / truth[lr], 0.0) for lr in (0.5, 0.08, 0.01)]
    there = carry(found, 3e-4)
    assert there.low < truth[3e-4] < there.high
    assert there.high < 2 * there.low


def test_a_margin_to_the_cliff_is_wide_where_it_costs_little():
    """Margins k in standard errors, of least slope k error + P(normal > k) / 4, by a search over k from 1 to 2."""
    margins = np.linspace(1, 2, 10_001)

    def carried(slope):
        return carry([Found(0.01, 0.002, 0.0015, 0.0025, 1000.0, 1.0, slope)], 0.009)

    widest = carried(0.0)
    error = np.log(widest.one_minus_beta / widest.low) / 4
    for slope in (0.001, 0.15, 0.3, 0.5, 1.0):
        cheapest = margins[np.argmin(slope * margins * error + norm.sf(margins) / 4)]
        assert np.log(carried(slope).one_minus_beta / widest.low) / error - 2 == pytest.approx(cheapest, abs=2e-3)


def test_a_momentum_that_may_yet_hold_the_target_counts_in_the_bound_where_asked():
    """Two momenta, 0.010 twice as fast as 0.020, its late mean just below the level within its errors."""
    rng = np.random.default_rng(0)
    steps, n = np.arange(0, 1001, 10), 512

    def course(delta, time, late):
        mean = np.where(steps < time, 2.0, 0.5)
        mean[steps > 900] = late
        return Course(delta, 1.0, n, steps, mean + 0.1 * rng.standard_normal((n, 1)))

    near = [course(0.01, 100, 0.998), course(0.02, 200, 0.5)]
    loose, exact = choose(near, near, 0)[0], choose(near, near, 0, exact=True)[0]
    assert loose.one_minus_beta == exact.one_minus_beta == 0.02
    assert loose.regret == 1.0
    assert exact.regret == pytest.approx(2.0, rel=0.05)
    assert [each.one_minus_beta for each in choose(near, near, 0, exact=True)[1]] == [0.01, 0.02]


class Written(Courses):
    """Courses whose means are written down, functions of 1 - beta and step, in place of runs."""

    def __init__(self, mean):
        self.mean = mean
        super().__init__(training(VALLEY, VALLEY.start(2.5), level=1.0), 0.1, Clock())

    def add(self, deltas, n_seeds):
        self.courses += [Course(float(delta), 1.0, n_seeds) for delta in deltas]

    def more(self, which, n_seeds):
        for i in which:
            self.courses[i].n_runs = n_seeds

    def advance(self, goals):
        for i, until in goals.items():
            course, steps = self.courses[i], self.clock.steps(until)
            if until > course.end or len(course.values) < course.n_runs:
                course.go_on(steps, np.tile(self.mean(course.one_minus_beta, steps), (course.n_runs, 1)))
            self.run_steps += 1
            self.seconds += 1e-9


def test_momenta_that_were_behind_go_on_when_the_fastest_comes_back_late_for_a_while():
    """Below 1 - beta = 0.01 the mean falls to the target sooner, and is above it again around step 800."""

    def mean(delta, steps):
        time = 50 * max(delta / 0.01, 0.01 / delta) ** 0.3 if delta >= 0.01 else 45.0
        return np.where((steps < time) | ((delta < 0.01) & (abs(steps - 800) < 30)), 2.0, 0.5)

    choice = Search(Written(mean), monotonic() + 600, 1.0, 1000, 1e5).find(0.012, 50, (1.5, 3, 3))
    assert 0.01 <= choice.one_minus_beta < 0.013
    assert choice.regret <= 1.03


def test_more_momentum_than_one_that_comes_back_for_good_is_not_tried():
    """Below 1 - beta = 0.01 the mean falls ever sooner, and is above the target again from step 800 on."""

    def mean(delta, steps):
        return np.where((steps < 50 * (delta / 0.01) ** 0.3) | ((delta < 0.01) & (steps > 800)), 2.0, 0.5)

    search = Search(Written(mean), monotonic() + 600, 1.0, 1000, 1e5)
    choice = search.find(0.012, 50, (1.5, 3, 3))
    assert 0.01 <= choice.one_minus_beta < 0.012
    assert 0.005 < search.floor < 0.01
    # those given up before they were followed so far, and those followed, each with less momentum than the one before
    followed = [course.one_minus_beta for course in search.courses if course.one_minus_beta < 0.01 and course.end > 800]
    assert max(followed) == search.floor
    assert len(followed) < sum(course.one_minus_beta < 0.01 for course in search.courses)


def test_the_bound_that_ends_a_search_rises_with_the_time_spent(monkeypatch):
    """From 15 % of the budget on, by 10 % over the whole of it, up to what is not doubtful; not where the answer is carried."""
    now = [0.0]
    monkeypatch.setattr("sde_momentum.predictors.trials.search.monotonic", lambda: now[0])
    search = Search(Written(lambda delta, steps: steps), 20.0, 1.0, 1000, 1e5)
    bounds = []
    for now[0] in (0.0, 3.0, 6.0, 20.0):
        bounds.append(search._enough)
    assert bounds == pytest.approx([1.03, 1.03, 1.045, 1.06])
    search.exact = True
    assert search._enough == 1.03


@pytest.mark.parametrize(("noise", "decay"), [(0.0, 0.3), (2.0, 0.0), (2.0, 0.3)])
def test_the_carried_law_is_that_of_critical_damping_by_label_noise_and_weight_decay(noise, decay):
    """Heavy ball: the cubic of the closed form, at a damping ratio of 0.8 and mu = 1."""
    zeta, rates = 0.8, np.array([1e-4, 0.01, 0.3])
    expected = formulas.critical_one_minus_beta(rates, noise, 1.0, decay, zeta)
    law = Law(0.0, noise * zeta**2 or 1e-300, 4 * zeta**2 * decay)
    np.testing.assert_allclose([law.one_minus_beta(rate, 1.0) for rate in rates], expected, rtol=1e-9)
    np.testing.assert_allclose(law.scale(rates, expected), 1.0, rtol=1e-9)


def sweep(problem, start, deltas, lr, fraction, n_steps, n_runs=512, **training):
    """Times of the mean over other runs, and their errors."""
    clock = np.unique(np.linspace(0, n_steps, 400).astype(int))
    found = sm.solve(
        sm.LabelNoiseSGD(problem, 0.1, **training), start, clock, lr=lr, momentum=1 - np.asarray(deltas),
        seeds=10**9 + np.arange(n_runs), metrics=["test_error"],
    )["test_error"].values[0]  # fmt: skip
    courses = [
        Course(d, fraction * float(problem.test_error(start)), n_runs, clock, v) for d, v in zip(deltas, found, strict=True)
    ]
    return np.array([course.time() for course in courses]), np.array([course.time_se(0) for course in courses])


@pytest.mark.parametrize(("problem", "theta", "fraction", "lr"), [(VALLEY, 2.5, 0.05, 0.1), (STRONG, 8.0, 0.1, 0.03)])
def test_the_recommendation_is_nearly_the_fastest_and_not_beyond_the_cliff(problem, theta, fraction, lr):
    """In a sweep of other runs: at most 5 % slower than the fastest, and as slow as predicted, within 4 errors of the two."""
    answer = sm.predict(problem, lr, noise=0.01 / 32, start=problem.start(theta), target=("test_error", fraction), budget=600)
    assert answer.safe
    assert answer.method == "trial"
    assert answer.trials.regret <= 1.03
    times, errors = sweep(
        problem, problem.start(theta), answer.one_minus_beta * 1.04 ** np.arange(-5, 6), lr, fraction, 4 * answer.time
    )
    assert times[5] <= 1.05 * times.min() + 4 * errors[5]
    assert abs(answer.time - times[5]) < 4 * np.hypot(answer.time_se, errors[5])
    assert answer.low <= answer.one_minus_beta <= answer.high
    assert answer.cliff < answer.one_minus_beta


@pytest.mark.parametrize("decay", [0.003, 0.1])
def test_with_weight_decay_trials_and_law_are_those_of_the_decayed_training(decay):
    """The valley: at lr 0.1 in trials, and carried to 0.001 from them, each nearly the fastest in a sweep of other runs there."""
    for lr, how in ((0.1, {}), (0.001, {"smallest_trial_lr": 0.01})):
        answer = sm.predict(VALLEY, lr, **ASKED, weight_decay=decay, budget=600, **how)
        assert answer.trials.carried == bool(how)
        grid = answer.one_minus_beta * 1.08 ** np.arange(-5, 6)
        times, errors = sweep(VALLEY, ASKED["start"], grid, lr, 0.05, 3.5 * answer.time, weight_decay=decay)
        assert times[5] <= (1.1 if how else 1.05) * times.min() + 4 * errors[5]
        assert abs(answer.time - times[5]) < 4 * np.hypot(answer.time_se, errors[5])
        assert abs(np.log(answer.ways["closed form"].one_minus_beta / answer.one_minus_beta)) < 0.5


def test_ways_that_know_no_weight_decay_are_not_asked_and_refused_by_name():
    with pytest.raises(InputError, match="critical limit; allowed: with weight decay, only 'closed form' or 'trial'"):
        sm.predict(VALLEY, 0.1, **ASKED, weight_decay=0.1, methods=["critical limit"])
    few = sm.Valley.balanced(4, curvature=1.0, coupling=0.0)  # whose fluctuations after arrival are soon simulated
    answer = sm.predict(few, 0.1, **{**ASKED, "start": few.start(2.5)}, weight_decay=0.1, methods="theory")
    assert list(answer.ways) == ["closed form"]
    assert not answer.safe


def test_threads_do_not_change_the_answer():
    one, two = (sm.predict(VALLEY, 0.1, **ASKED, workers=n, budget=600) for n in (1, 2))
    assert one.one_minus_beta == two.one_minus_beta
    assert one.time == two.time
    other = sm.predict(VALLEY, 0.1, **ASKED, seed=1, budget=600)
    assert other.time != one.time
    assert abs(other.time - one.time) < 5 * np.hypot(one.time_se, other.time_se) + 0.03 * one.time


def test_a_small_learning_rate_is_reached_by_the_law():
    """Carried from lr 0.01 on, to a thirtieth of it: within 10 % of the fastest in a sweep there."""
    answer = sm.predict(VALLEY, 0.01 / 30, **ASKED, smallest_trial_lr=0.01, budget=600)
    assert answer.trials.carried
    assert min(at.lr for at in answer.trials.at) >= 0.01
    grid = answer.one_minus_beta * 1.06 ** np.arange(-3, 3)
    times, errors = sweep(VALLEY, ASKED["start"], grid, 0.01 / 30, 0.05, 3.5 * answer.time, n_runs=256)
    assert errors[3] < 0.01 * times[3]
    assert times[3] <= 1.1 * times.min() + 4 * errors[3]
    assert abs(answer.time - times[3]) < 4 * np.hypot(answer.time_se, errors[3])


def test_a_target_that_no_momentum_meets_is_said_so_with_the_fraction_that_can_be_met():
    with pytest.raises(
        sm.InputError, match=r"target: given trace_hessian below 0.5; allowed: more than that: .* stays below 0.9"
    ):
        sm.predict(VALLEY, 0.1, **{**ASKED, "target": ("trace_hessian", 0.5)})
    with pytest.raises(sm.InputError, match=r"lr: given 50\.?0*; allowed: a smaller learning rate: runs diverge"):
        sm.predict(VALLEY, 50.0, **ASKED)


@pytest.mark.parametrize(("smallest", "how"), [(None, "a larger budget"), (0.2, "a smaller smallest_trial_lr")])
def test_a_target_unmet_at_a_larger_learning_rate_than_was_asked_for_may_be_met_at_that(smallest, how):
    extras, target = SimpleNamespace(smallest_trial_lr=smallest), sm.Target("test_error", 0.1)
    plan = object.__new__(Plan)
    plan.question = SimpleNamespace(target=target, level=0.1, theory_error=None, lr=0.003, extras=extras)
    course = SimpleNamespace(mean=np.array([1.0, 0.3, 0.2]), one_minus_beta=0.1, end=50)
    search = SimpleNamespace(courses=[course], runs=SimpleNamespace(lr=0.4), deadline=0.0)
    assert str(plan._unmet(search)) == (
        "target: given test_error below 0.1; allowed: more than that: at lr 0.4 the mean stays below 0.3 at best, at momentum 0.9"
        f" up to step 50; trials at lr 0.003 itself, which {how} allows, may meet it"
    )


def test_the_ways_beside_the_trials_get_one_word_each():
    answer = sm.predict(STRONG, 0.03, noise=0.01 / 32, start=STRONG.start(8.0), target=("test_error", 0.1), budget=600)
    assert answer.agreement == {"closed form": "too little momentum"}
    far = sm.predict(VALLEY, 0.1, **ASKED, reference=(0.1, 0.9999))
    assert far.agreement["transfer"] == "too much momentum"
    assert far.agreement["closed form"] == "agrees"
    assert str(far).splitlines()[0].startswith("momentum 0.99")


def chain():
    """f = w0 w1 + w2 w3, target 1, in NumPy, from a point where tr H falls to 0.702 of its start."""
    return sm.Problem.from_function(lambda w: (w[..., 0] * w[..., 1] + w[..., 2] * w[..., 3])[..., None], [1.0], 4, batched=True)


def test_a_target_that_lies_just_below_the_start_is_met_at_once():
    asked = {"noise": 1e-3, "start": [1.2, 0.5, 1.0, 0.4], "budget": 4}
    answer = sm.predict(chain(), 0.05, target=("trace_hessian", 0.9999), **asked)
    assert answer.time < 40


def test_a_target_below_the_flattest_point_says_what_theory_says():
    asked = {"noise": 1e-3, "start": [1.2, 0.5, 1.0, 0.4], "budget": 600}
    with pytest.raises(
        InputError, match=r"stays below 0\.7\d+ at best.*; theory: fraction: given 0.6; allowed: more than 0.7018"
    ):
        sm.predict(chain(), 0.05, target=("trace_hessian", 0.6), **asked)


def test_where_the_trials_were_too_few_to_tell_the_range_reaches_to_the_next_ones():
    """Three momenta of four runs, the same decay at very different sizes: no bound, and more than one point."""
    steps, sizes = np.arange(1, 2000), np.array([[0.3], [1.0], [1.5], [2.0]])
    courses = [
        Course(delta, 0.1, 4, steps, (1 + size * (sizes - 1.2)) / steps)
        for delta, size in ((0.02, 0.1), (0.03, 0.3), (0.045, 0.2))
    ]
    choice, _ = choose(courses, courses, 0)
    assert choice.regret > 1.03
    assert choice.low < choice.high
    assert choice.low <= choice.one_minus_beta <= choice.high
