"""What is asked of an ensemble, and what does not change it: threads, slabs of time, interruptions, the kernel's cache."""

import math
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from given_noise import follow

import sde_momentum as sm
from sde_momentum.core.fingerprint import fingerprint
from sde_momentum.core.random import PASSAGE, streams
from sde_momentum.sde import (
    Adaptive,
    Covariance,
    Functional,
    Histogram,
    KeepPaths,
    OnIncrements,
    PassageTimes,
    Quantiles,
    UntilError,
    collect,
    standard_increments,
)
from sde_momentum.sde.noise import path_words
from sde_momentum.sde.stepping import fixed


def linear(x, t, p):
    return -p[0] * x


def constant(x, t, p):
    return p[1]


def pair_drift(x, t, p):
    return (x[1], -x[0] - 0.5 * x[1])


def pair_diffusion(x, t, p):
    return ((0.1, 0.0, 0.2), (0.0, 0.3, 0.1))


OU = sm.SDE(linear, constant)
PAIR = sm.SDE(pair_drift, pair_diffusion, dim=2, noise="general", n_noise=3)
STATISTICS = (Covariance(), Quantiles((0.1, 0.5)), Histogram((-1.0, 0.0, 1.0)))
SQUARE = Functional("square", lambda x, t, p: x * x)
KEPT = KeepPaths([0, 1500, 2100])
ASKED = dict(step=0.125, parameters=(1.0, 0.5), seed=3)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 1024 paths, and slabs of a few times: what large runs have."""
    monkeypatch.setattr(fixed, "_WORK", {"normal": 1, "rademacher": 1})
    monkeypatch.setattr(fixed, "_SLAB", 20_000)


def everything(n_paths, **changes):
    statistics = [*STATISTICS, SQUARE, PassageTimes(lambda x, t, p: -x), KEPT]
    return sm.solve(OU, 1.0, np.arange(0.5, 5.5, 0.5), n_paths=n_paths, **(ASKED | {"statistics": statistics} | changes))


@pytest.mark.usefixtures("small_chunks")
def test_results_are_the_same_on_one_two_and_four_threads():
    one, two, four = (everything(5000, workers=w) for w in (1, 2, 4))
    assert one.identical(two)
    assert one.identical(four)


@pytest.mark.usefixtures("small_chunks")
def test_results_do_not_depend_on_the_slabs_of_time(monkeypatch):
    cut = everything(3000)
    monkeypatch.setattr(fixed, "_SLAB", 1 << 30)
    assert cut.identical(everything(3000))


class Stop(Exception):
    pass


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch, after):
    whole = everything(4500)
    file, merge, calls = tmp_path / "run.npz", collect.Collection.merge, []

    def stopping(self, total, part):
        if len(calls) == after:
            raise Stop
        calls.append(part.n_paths)
        return merge(self, total, part)

    with monkeypatch.context() as patched:
        patched.setattr(collect.Collection, "merge", stopping)
        with pytest.raises(Stop):
            everything(4500, checkpoint=file)
    assert file.exists()
    merged = []
    monkeypatch.setattr(collect.Collection, "merge", lambda self, total, part: merged.append(1) or merge(self, total, part))
    assert everything(4500, checkpoint=file).identical(whole)
    assert len(merged) == 5 - after
    assert everything(4500, checkpoint=file).identical(whole)  # nothing left to do
    assert len(merged) == 5 - after


@pytest.mark.usefixtures("small_chunks")
def test_a_checkpoint_is_continued_to_more_paths_and_refuses_another_ensemble(tmp_path):
    file = tmp_path / "run.npz"
    everything(2048 + 1024, checkpoint=file)
    assert everything(4096, checkpoint=file).identical(everything(4096))
    with pytest.raises(sm.InputError, match=r"checkpoint: given .*run.npz of another ensemble; allowed: one of the same"):
        everything(4096, checkpoint=file, seed=4)
    with pytest.raises(sm.InputError, match=r"checkpoint: given .* of 4096 paths; allowed: one of 3000 paths, or of fewer that"):
        everything(3000, checkpoint=file)
    with pytest.raises(sm.InputError, match=r"checkpoint: given .*; allowed: a file in a folder that exists"):
        everything(4096, checkpoint=tmp_path / "no" / "run.npz")
    state = np.random.default_rng(0)  # cannot be told from its value
    unknown = sm.SDE(lambda x, t, p: -x if state is None else x, constant)
    with pytest.raises(sm.InputError, match=r"checkpoint: given .*; allowed: none where a coefficient refers to objects"):
        sm.solve(unknown, 1.0, [1.0], step=0.5, n_paths=10, parameters=(1.0, 1.0), checkpoint=tmp_path / "other.npz")


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path):
    def ensemble():
        return sm.solve(OU, 1.0, [1.0], step=0.5, n_paths=50, parameters=(1.0, 0.5), checkpoint=file)

    file = tmp_path / "run.npz"
    result, whole = ensemble(), file.read_bytes()
    with np.load(file) as stored:
        members = dict(stored)
    damaged = [{name: members[name] for name in members if name != gone} for gone in members]
    damaged += [members | {"n_paths": np.array("many")}, members | {"0.count": members["0.count"].astype(np.float32)}]
    flips = [bytes([*whole[:i], whole[i] ^ 1, *whole[i + 1 :]]) for i in range(0, len(whole), len(whole) // 50)]
    for content in (b"", b"nonsense", whole[: len(whole) // 2], *damaged):
        np.savez(file, **content) if isinstance(content, dict) else file.write_bytes(content)
        with pytest.raises(sm.InputError, match=r"^checkpoint: given .*; allowed: a checkpoint of this ensemble"):
            ensemble()
    refused = 0
    for content in flips:  # some hit dates and the like of the archive
        file.write_bytes(content)
        try:
            assert ensemble().identical(result)
        except sm.InputError:
            refused += 1
    assert refused > 0.5 * len(flips)


def test_chosen_paths_are_those_of_the_plain_loop():
    result = everything(3000)
    n = 2101
    dw = math.sqrt(0.125) * standard_increments(3, n, 40)
    paths = follow(OU, 1.0, dw, step=0.125, parameters=(1.0, 0.5))[4::4, 0]
    np.testing.assert_allclose(result["path_value"], paths[:, [0, 1500, 2100]].T, rtol=1e-14)
    np.testing.assert_allclose(result["path_square"], paths[:, [0, 1500, 2100]].T ** 2, rtol=1e-14)


def test_functionals_have_moments_of_their_own():
    result = everything(3000)
    dw = math.sqrt(0.125) * standard_increments(3, 3000, 40)
    paths = follow(OU, 1.0, dw, step=0.125, parameters=(1.0, 0.5))[4::4, 0]
    np.testing.assert_allclose(result["square_mean"], (paths**2).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(result["square_variance"], (paths**2).var(axis=1, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(result["mean"], paths.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(result["covariance"][:, 0, 1], [np.cov(x, x**2)[0, 1] for x in paths], rtol=1e-10)


def test_first_passages_are_those_of_the_plain_loop():
    result = everything(3000)
    dw = math.sqrt(0.125) * standard_increments(3, 3000, 40)
    event = -follow(OU, 1.0, dw, step=0.125, parameters=(1.0, 0.5))[:, 0]
    before, now = event[:-1], event[1:]
    # between the ends of a step: a Brownian bridge of the variance of its noise, against a uniform number of the path
    chance = np.where((before < 0) & (now < 0), np.exp(-2.0 * before * now / (0.25 * 0.125)), 0.0)
    uniform = ((streams(path_words(3, 0, 3000), PASSAGE)[0] >> np.uint64(11)) + 0.5) / 2.0**53
    unseen = np.cumprod(1.0 - chance, axis=0) / uniform
    passed = np.maximum.accumulate((now >= 0) | (unseen < 1.0), axis=0)
    np.testing.assert_allclose(result["survival"], 1 - passed[3::4].mean(axis=1), rtol=1e-14)
    first = len(passed) - passed.sum(axis=0)  # the step within which it passes; all steps: not at all
    at = np.minimum(first, 39)[None]
    share = 1.0 / (1.0 + abs(np.take_along_axis(now, at, 0) / np.take_along_axis(before, at, 0)))[0]
    time = np.where(first < 40, 0.125 * (first + share), 5.0)
    np.testing.assert_allclose(result["mean_passage_time"], time.mean(), rtol=1e-12)


def test_general_noise_equals_a_plain_loop():
    n, h = 300, 0.1
    dw = math.sqrt(h) * standard_increments(0, n, 20, n_noise=3)
    x, b = np.repeat([[1.0], [0.5]], n, axis=1), np.array(pair_diffusion(None, 0, ()))
    for step in dw:
        x = x + h * np.array(pair_drift(x, 0, ())) + b @ step
    np.testing.assert_allclose(follow(PAIR, (1.0, 0.5), dw, step=h)[-1], x, rtol=1e-12)
    result = sm.solve(PAIR, (1.0, 0.5), [2.0], step=h, n_paths=n, statistics=[Covariance()])
    np.testing.assert_allclose(result["covariance"][0], np.cov(x), rtol=1e-10)


def test_faults_are_reported_path_by_path():
    # dX = X^2 dt + dW explodes on some paths; those left out are named, with the record time at which they were found
    sde = sm.SDE(lambda x, t, p: x * x, lambda x, t, p: 1.0)
    with pytest.warns(UserWarning, match="were lost"):
        result = sm.solve(sde, 0.0, [1.0, 2.0, 3.0], step=0.1, n_paths=1500, seed=1)
    with np.errstate(all="ignore"), pytest.warns(UserWarning, match="were lost"):
        paths = follow(sde, 0.0, math.sqrt(0.1) * standard_increments(1, 1500, 30), step=0.1)[[10, 20, 30], 0]
    bad = ~np.isfinite(paths)
    where = np.flatnonzero(bad[-1])
    assert 0 < len(where) < 1500
    np.testing.assert_array_equal(result["fault_path"], where)
    np.testing.assert_array_equal(result["fault_time"], np.array([1.0, 2.0, 3.0])[bad[:, where].argmax(axis=0)])


@pytest.mark.parametrize("outside", ["fault", "clip", "reflect"])
def test_leaving_the_domain_is_handled_by_the_stated_rule_and_counted(outside):
    sde = sm.SDE(linear, constant, domain=((0.0, math.inf),), outside=outside)
    ask = dict(step=0.1, n_paths=1000, seed=2, parameters=(1.0, 0.5), statistics=[KeepPaths(range(1000))])
    with pytest.warns(UserWarning, match="were lost") if outside == "fault" else nullcontext():
        result = sm.solve(sde, 0.5, [1.0, 2.0], **ask)
    x, exits = np.full(1000, 0.5), np.zeros(1000)
    for dw in math.sqrt(0.1) * standard_increments(2, 1000, 20)[:, 0]:
        x = x - x * 0.1 + 0.5 * dw
        exits += x < 0
        x = np.where(x < 0, {"fault": np.nan, "clip": 0.0, "reflect": -x}[outside], x)
    np.testing.assert_allclose(result["path_value"][:, 1], x, rtol=1e-12)
    assert result.attrs["exits"] == exits.sum() > 0
    assert result.attrs["paths_with_exits"] == np.count_nonzero(exits)
    assert result["faulty"][1] == np.isnan(x).sum()


def test_an_ensemble_grows_until_its_error_is_small_enough():
    ask = dict(step=0.1, parameters=(1.0, 0.5), workers=1)
    result = sm.solve(OU, 1.0, [0.5, 1.0], n_paths=UntilError(relative=0.002), **ask)
    assert result.attrs["reached"]
    assert bool((result["mean_se"] <= 0.002 * result["mean"]).all())
    alone = sm.solve(OU, 1.0, [0.5, 1.0], n_paths=result.attrs["n_paths"], **ask)
    np.testing.assert_array_equal(result["mean"], alone["mean"])
    assert (alone["mean_se"] / alone["mean"]).max() > 0.001  # at most twice the paths that are needed
    few = sm.solve(OU, 1.0, [1.0], n_paths=UntilError(relative=1e-6, max_paths=20_000), **ask)
    assert not few.attrs["reached"]
    assert few.attrs["n_paths"] == 20_000
    square = UntilError(relative=0.01, quantity="square_mean")
    by_square = sm.solve(OU, 1.0, [1.0], n_paths=square, statistics=[SQUARE], **ask)
    assert by_square["square_mean_se"][0] <= 0.01 * by_square["square_mean"][0]
    with pytest.raises(sm.InputError, match="quantity: given median; allowed: mean, variance"):
        sm.solve(OU, 1.0, [1.0], n_paths=UntilError(relative=0.1, quantity="median"), **ask)
    absolute = sm.solve(OU, 1.0, [0.5, 1.0], n_paths=UntilError(absolute=0.002), **ask)
    assert bool((absolute["mean_se"] <= 0.002).all())
    assert absolute.attrs["absolute_error"] == 0.002
    either = sm.solve(OU, 1.0, [0.5, 1.0], n_paths=UntilError(absolute=0.002, relative=1e-9), **ask)
    assert either.attrs["n_paths"] == absolute.attrs["n_paths"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(statistics=["mean"]),
            "statistics: given mean; allowed: Autocovariance, Covariance, Functional, Histogram, KeepPaths, PassageTimes, Quant",
        ),
        (dict(statistics=2 * [PassageTimes(linear)]), "statistics: given 2 PassageTimes; allowed: one PassageTimes at most"),
        (dict(statistics=2 * [SQUARE]), "statistics: given two functionals 'square'; allowed: functionals of different names"),
        (
            dict(statistics=[Quantiles((0.5,)), Quantiles((0.1,))]),
            "statistics: given .*; allowed: one of them: both give 'quant",
        ),
        (dict(statistics=[Histogram((0.0, 1.0), row="y")]), "row: given y; allowed: one of x"),
        (dict(statistics=[KeepPaths([10])]), r"numbers: given \[10\]; allowed: different whole numbers from 0 to 9"),
        (
            dict(statistics=[Functional("f", lambda x, t, p: (x, x))]),
            r"f: given a function that returns \(.*; allowed: a function f\(x, t, p\)",
        ),
        (dict(statistics=[PassageTimes(lambda x, t, p: "late")]), "event: given a function that returns 'late'; allowed"),
        (dict(n_paths="many"), "n_paths: given many; allowed: a whole number or an UntilError"),
        (dict(step=OnIncrements(np.zeros((1, 1, 9)), 0.1)), "n_paths: given 10; allowed: a whole number from 1 to 9, the number"),
        (
            dict(step=OnIncrements(np.zeros((1, 1, 10)), 0.1), times=[0.2]),
            r"times: given 0.2; allowed: at most 1 steps after t0 = 0, as there are increments",
        ),
        (dict(step=OnIncrements(np.zeros((1, 1, 10)), 0.1), seed=1), "seed: given 1; allowed: none with given increments"),
        (
            dict(step=OnIncrements(np.zeros((1, 1, 10)), 0.1, integrals=np.zeros((1, 1, 10)))),
            r"integrals: given shape \(1, 1, 10\); allowed: none for euler-maruyama",
        ),
        (dict(progress=1), "progress: given 1; allowed: True, False, or None"),
    ],
)
def test_bad_input_names_argument_given_and_allowed(change, message):
    with pytest.raises(sm.InputError, match=message):
        sm.solve(**(dict(system=OU, start=1.0, times=[0.1], step=0.1, n_paths=10, parameters=(1.0, 1.0)) | change))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KeepPaths([0, 0]), r"numbers: given \[0, 0\]; allowed: different whole numbers >= 0, one at least"),
        (lambda: KeepPaths([]), r"numbers: given \[\]; allowed: different whole numbers >= 0, one at least"),
        (lambda: Functional("two words", linear), "name: given two words; allowed: a Python identifier"),
        (lambda: Functional("f", 1.0), r"f: given 1.0; allowed: a function f\(x, t, p\)"),
        (lambda: PassageTimes(1.0), r"event: given 1.0; allowed: a function"),
        (lambda: UntilError(), "n_paths: given UntilError.*; allowed: UntilError with a relative or an absolute error"),
        (lambda: UntilError(relative=-1.0), "relative: given -1.0; allowed: finite numbers > 0"),
    ],
)
def test_what_is_asked_is_checked_when_it_is_made(make, message):
    with pytest.raises(sm.InputError, match=message):
        make()


def test_an_interrupted_run_to_an_error_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    file, merge = tmp_path / "run.npz", collect.Collection.merge
    ask = dict(n_paths=UntilError(relative=0.002), step=0.1, parameters=(1.0, 0.5), workers=1)
    whole = sm.solve(OU, 1.0, [1.0], **ask)
    merged = []

    def stopping(self, total, part):
        if len(merged) == 4:  # the first time that the error is asked for comes after it
            raise Stop
        merged.append(part.n_paths)
        return merge(self, total, part)

    with monkeypatch.context() as patched:
        patched.setattr(collect.Collection, "merge", stopping)
        with pytest.raises(Stop):
            sm.solve(OU, 1.0, [1.0], checkpoint=file, **ask)
    for _ in range(2):
        assert sm.solve(OU, 1.0, [1.0], checkpoint=file, **ask).identical(whole)


def test_paths_on_given_increments_are_collected_as_all_others():
    dw = math.sqrt(0.125) * standard_increments(3, 2500, 40)
    given = everything(2500, step=OnIncrements(dw, 0.125), seed=0)
    own = everything(2500)
    assert set(given) == set(own)
    for name in own:  # passages within steps are decided by numbers of the seed, which given increments have not
        if "passage" not in name and "survival" not in name and name != "passed":
            np.testing.assert_allclose(given[name], own[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_adaptive_paths_are_collected_as_all_others(tmp_path):
    linear_noise = sm.SDE(linear, lambda x, t, p: p[1] * x)
    ask = dict(step=Adaptive(0.5, rtol=1e-2), n_paths=2500, parameters=(1.0, 0.5))
    statistics = [*STATISTICS, SQUARE, KeepPaths(range(2500))]
    file = tmp_path / "run.npz"
    result = sm.solve(linear_noise, 1.0, [1.0, 2.0], statistics=statistics, checkpoint=file, **ask)
    values = result["path_value"].values
    np.testing.assert_array_equal(result["path_square"], values**2)
    np.testing.assert_allclose(result["square_mean"], (values**2).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result["covariance"][:, 0, 1], [np.cov(x, x**2)[0, 1] for x in values.T], rtol=1e-10)
    counts = np.stack([np.histogram(x, (-1.0, 0.0, 1.0))[0] for x in values.T])
    np.testing.assert_allclose(result["density"][:, 0], counts / 2500, rtol=1e-12)
    assert np.all(np.abs(result["quantile"][:, 1, 0] - np.median(values, axis=0)) <= result["quantile_resolution"][:, 1, 0])
    assert sm.solve(linear_noise, 1.0, [1.0, 2.0], statistics=statistics, checkpoint=file, **ask).identical(result)
    until = sm.solve(linear_noise, 1.0, [1.0], **(ask | {"n_paths": UntilError(relative=0.01)}))
    assert until["mean_se"] <= 0.01 * until["mean"]


def twice(x):
    return helper(x) + helper(x)


def test_coefficients_may_call_plain_functions_and_change_with_them(monkeypatch):
    def closed(x):
        return 0.5 * twice(x)

    ask = dict(step=0.1, n_paths=200, seed=1)
    ours = sm.solve(sm.SDE(lambda x, t, p: -closed(x), lambda x, t, p: 0.1), 1.0, [1.0], **ask)
    plain = sm.solve(sm.SDE(lambda x, t, p: -math.sin(x), lambda x, t, p: 0.1), 1.0, [1.0], **ask)
    np.testing.assert_allclose(ours["mean"], plain["mean"], rtol=1e-12)
    monkeypatch.setitem(globals(), "helper", lambda x: 2.0 * x)
    linear = sm.solve(sm.SDE(lambda x, t, p: -closed(x), lambda x, t, p: 0.1), 1.0, [1.0], **ask)
    other = sm.solve(sm.SDE(lambda x, t, p: -2.0 * x, lambda x, t, p: 0.1), 1.0, [1.0], **ask)
    np.testing.assert_allclose(linear["mean"], other["mean"], rtol=1e-12)


def test_a_function_that_numba_refuses_is_named_with_the_reason():
    with pytest.raises(
        sm.InputError, match=r"drift: given .*; allowed: scalar code that numba compiles \(Untyped global name 'table"
    ):
        sm.solve(sm.SDE(lambda x, t, p: -x * table[0], lambda x, t, p: 0.1), 1.0, [1.0], step=0.1, n_paths=4)


def test_a_fingerprint_tells_what_a_function_computes():
    def scaled(k):
        return lambda x, t, p: k * x

    assert fingerprint({"f": scaled(2.0)}) == fingerprint({"f": scaled(2.0)})
    others = [scaled(3.0), scaled(2), lambda x, t, p: 2.0 + x, lambda x, t, p: helper(x)]
    assert len({fingerprint({"f": f}) for f in [scaled(2.0), *others]}) == 5
    assert fingerprint({"f": scaled(2.0)}) != fingerprint({"g": scaled(2.0)})
    assert fingerprint({"f": lambda x, t, p: x * table[0]}) is None


def helper(x):
    return math.sin(x)


table = {0: 1.0}  # may change without notice


def test_a_second_process_compiles_nothing(tmp_path):
    code = """
import time, numba, sde_momentum as sm
from numba.core import event
seconds = []
class Listen(event.Listener):
    def on_start(self, e): seconds.append(e.data["dispatcher"].py_func.__module__)
    def on_end(self, e): pass
event.register("numba:compile", Listen())
sm.solve(sm.SDE(lambda x, t, p: -x, lambda x, t, p: 0.5), 1.0, [1.0], step=0.5, n_paths=10)
print(len([s for s in seconds if s.startswith("sde_momentum_kernel")]))
"""
    environment = os.environ | {"SDE_MOMENTUM_CACHE": str(tmp_path)}
    first, second = (
        int(subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout)
        for _ in range(2)
    )
    assert first > 0
    assert second == 0


def test_the_page_on_ensembles_works_when_pasted():
    page = (Path(__file__).parent.parent / "docs" / "ensembles.md").read_text(encoding="utf-8")
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    np.testing.assert_allclose(names["call"]["mean"], 0.109864, atol=5e-3)
    assert "survival" in names["result"]
