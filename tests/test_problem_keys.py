"""Keys under which results of a problem are kept: equal for equal problems, others where anything differs."""

import threading

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.predictors.curve.simulate import read_curve
from sde_momentum.predictors.drift_path import DriftPath
from sde_momentum.problems import Metric


def test_what_cannot_be_hashed_shares_its_key_with_nothing():
    lock = threading.Lock()

    def f(w):
        with lock:
            return w[:1] * w[1:]

    one, other = (sm.Problem.from_function(f, [1.0], 2).settings() for _ in range(2))
    assert one["fingerprint"] == other["fingerprint"]
    assert one != other


def test_functions_that_agree_at_a_point_but_not_elsewhere_have_other_keys():
    def made(at):
        return sm.Problem.from_function(lambda w: np.where(np.abs(w[:1]) < at, w[:1] * w[1:], 0.0), [1.0], 2).settings()

    assert made(100.0) == made(100.0)
    assert made(100.0) != made(200.0)  # closure data that no look at values finds

    class Product(sm.Problem):  # no function with code of its own: values near and far tell
        targets, n_parameters, far = np.ones(1), 2, 0.0

        def outputs(self, w):
            return w[..., :1] * w[..., 1:] + self.far * np.maximum(np.abs(w[..., :1]) - 2.0, 0.0)

        def jacobian(self, w):
            return w[..., None, ::-1]

        def contract_hessians(self, w, c):
            return c[..., 0, ::-1]

    other = Product()
    other.far = 1.0
    assert Product().settings() == Product().settings()
    assert Product().settings() != other.settings()


def test_data_of_a_module_are_part_of_its_key():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, x = torch.nn.Linear(2, 1), torch.arange(8.0).reshape(4, 2)

    def made(inputs):
        return sm.Problem.from_function(module, np.zeros(4), inputs=inputs).settings()

    assert made(x) == made(x.clone())
    changed = x.clone()
    changed[0, 0] += 1e-6
    assert made(x)["code"] != made(changed)["code"]


def test_metrics_of_one_name_are_told_apart_by_their_values(tmp_path):
    def made(power):
        metric = Metric("size", "|w|^power", "1", lambda problem, w: (np.abs(w) ** power).sum(axis=-1))
        return type("Measured", (sm.Valley,), {"own_metrics": (metric,)}).balanced(4, curvature=1.0, coupling=0.0)

    first, same, other = (made(power) for power in (2, 2, 4))
    start = first.start(1.0)
    path, again, different = (DriftPath(p, start, "size", 0.5) for p in (first, same, other))
    assert path.same_as(again)
    assert not path.same_as(different)
    curves = [sm.universal_curve(p, start, ("size", 0.5), store=tmp_path) for p in (first, same, other)]
    assert len(list(tmp_path.rglob("*.nc"))) == 2
    np.testing.assert_array_equal(curves[0].data["time"], curves[1].data["time"])
    curves[0].save(tmp_path / "kept.nc")
    with pytest.raises(sm.InputError, match="allowed: the curve of this problem and start"):
        read_curve(tmp_path / "kept.nc", other, start)
