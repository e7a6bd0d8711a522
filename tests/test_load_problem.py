"""A problem from `FILE.py:NAME`: what NAME may be, and one clear line for whatever goes wrong."""

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.problems import load_problem

MODEL = """
import numpy as np
import sde_momentum as sm
import sympy as sp
from derivations import SymbolicModel
from neighbour import SIZE

x = np.linspace(-1, 1, 5)

def f(w):
    return w[1] * np.tanh(w[0] * x)

f.targets, f.n_parameters = np.tanh(x), 2

def bare(w):
    return w

u, v = sp.symbols("u v")
symbolic = SymbolicModel(u * v, [u, v], [1.0])
valley = sm.Valley([1.0, 2.0], [0.1, -0.1], curvature=0.5)
started = valley, [2.0, 0.0, 0.0]
lost = valley, [2.0]

def make(size=SIZE):
    return sm.MatrixSensing(size, 1, 10)

def pair():
    return f, [1.0, 1.0]

def fails():
    return 1 / 0

def wrong():
    return sm.Problem.from_function(f, [1.0], 2)

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "neighbour.py").write_text("SIZE = 4\n")
    (tmp_path / "broken.py").write_text("import numpy\n\nnumpy.no_such_name\n")
    (tmp_path / "unfinished.py").write_text("x = 1\ny = = 2\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_a_problem_a_model_a_function_or_what_makes_one(folder):
    for name, n_parameters in {"f": 2, "symbolic": 2, "valley": 3, "make": 32}.items():
        problem, start = load_problem(f"model.py:{name}")
        assert (problem.n_parameters, start) == (n_parameters, None)
    for name, expected in {"started": [2.0, 0.0, 0.0], "pair": [1.0, 1.0]}.items():
        problem, start = load_problem(f"{folder}/model.py:{name}")
        np.testing.assert_array_equal(start, expected)
        assert isinstance(problem, sm.Problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.py", "--model: given model.py; allowed: FILE.py:NAME, the name of"),
        ("none.py:f", "--model: given none.py:f; allowed: a file that exists: there is no none.py"),
        ("model.py:g", "--model: given model.py:g; allowed: a name in model.py: .*f, bare"),
        (
            "broken.py:f",
            "given broken.py, which fails: line 3, AttributeError: .*no_such_name.*; allowed: a Python file",
        ),
        ("unfinished.py:f", "given unfinished.py, which fails: line 2, SyntaxError: invalid syntax; allowed"),
        ("leaves.py:f", "given leaves.py, which fails: line 1, SystemExit: 3; allowed"),
        ("model.py:bare", "given model.py:bare, a function without the attribute targets; allowed: a Problem, a SymbolicModel"),
        ("model.py:number", "given model.py:number, of type int; allowed: a Problem"),
        ("model.py:fails", r"given model.py:fails, which fails: line \d+, ZeroDivisionError: division by zero; allowed"),
        ("model.py:wrong", r"given model.py:wrong, whose f is values of shape \(5,\) at one point; allowed: as many values"),
        ("model.py:lost", r"--model model.py:lost: start: given shape \(1,\); allowed: shape \(3,\)"),
    ],
)
def test_whatever_goes_wrong_is_one_line(folder, text, message):
    with pytest.raises(sm.InputError, match=message) as caught:
        load_problem(text)
    assert "\n" not in str(caught.value)
