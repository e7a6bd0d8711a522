"""Fingerprints of functions with everything they refer to: containers, tensors, objects and classes."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sde_momentum.core.fingerprint import fingerprint

TABLE = {"scale": 1.0}


def of(value):
    return fingerprint({"f": value}, mutable=True)


class Scaled:
    """A model as an object."""

    power = 2

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, w):
        return self.scale * w**self.power

    @functools.cached_property
    def kept(self):
        return 2 * self.scale


def by_table(w):
    return TABLE["scale"] * w


def closure(data):
    return lambda w: data @ w


def test_what_a_function_refers_to_counts_as_it_is_now(monkeypatch):
    before = of(by_table)
    monkeypatch.setitem(TABLE, "scale", 2.0)
    assert of(by_table) != before
    assert of(closure(np.eye(2))) == of(closure(np.eye(2)))
    pairs = [
        (closure(np.eye(2)), closure(2 * np.eye(2))),
        (Scaled(1.0), Scaled(2.0)),
        (Scaled(1.0).__call__, Scaled(2.0).__call__),
        (functools.partial(by_table, 1.0), functools.partial(by_table, 2.0)),
        (functools.lru_cache(by_table), functools.lru_cache(closure(1))),
        (np.eye(2).dot, np.ones((2, 2)).dot),
        (closure([1.0, 2.0]), closure([2.0, 1.0])),
        (closure({1: Scaled(1.0)}), closure({1: Scaled(3.0)})),
    ]
    for one, other in pairs:
        assert None not in (of(one), of(other))
        assert of(one) != of(other)


def test_the_class_counts_and_a_value_kept_on_first_use_does_not(monkeypatch):
    model = Scaled(1.0)
    before = of(model)
    assert model.kept == 2.0
    assert of(model) == before
    monkeypatch.setattr(Scaled, "power", 3)
    assert of(model) != before


def test_tensors_and_modules_count():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    x = torch.ones(2, requires_grad=True)
    before = of(closure(x)), of(module), of(torch.func.vmap(closure(x)))
    assert None not in before
    assert before == (of(closure(x)), of(module), of(torch.func.vmap(closure(x))))
    with torch.no_grad():
        x[0] = 2.0
        module[0].bias[0] = 5.0
    after = of(closure(x)), of(module), of(torch.func.vmap(closure(x)))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_another_process_gives_the_same():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_fingerprint as t, numpy as np;"
        "print(t.of(t.closure(np.eye(3))), t.of(t.by_table), t.of(t.Scaled(1.0)), t.of(t.closure({'a', 'b', 'c'})))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert b"None" not in runs[0].stdout
