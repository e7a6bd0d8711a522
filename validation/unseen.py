"""Models made for one purpose: to test predictions on what nothing in the library was tuned on.

They were chosen, with the rules for their label noise, learning rates and target (below), before anything was run on them. All
draws have fixed seeds. Training starts on Gamma, where gradient descent from a random point arrives. Four models as first chosen
had no start: descent was still off after 100,000 steps. Before any training was run, three got fewer samples or more units
(`gelu_network`, `tensor_factors`, `gaussian_bumps`), and `matrix_completion` more columns and another seed, with which J has full
rank at the start. Four more, from `deep_tanh` on, were added when the search by trials had been mended on the first ten; of these
`sine_features` and `weight_normalised` got fewer samples in the same way, and `state_space` fewer steps (its nested sums grow as
width^steps when they are compiled). The last three, from `cubic_units` on, were added when the search had learnt to end earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.symbolic_model import SymbolicModel
from sde_momentum.dynamics.drift_flow import drift_flow
from sde_momentum.problems.interpolation import descend_to_manifold
from sde_momentum.problems.problem import Problem

Floats = NDArray[np.float64]
Made = tuple[Problem, Floats]
"""A problem, and its start on Gamma, (N,)."""

METRIC = "trace_hessian"
"""Metric of the targets."""


def label_noise(problem: Problem) -> float:
    """The rule for label noise: 0.1, or 0.05 where the targets' root mean square is below 0.5."""
    return 0.1 if float(np.sqrt(np.square(problem.targets).mean())) >= 0.5 else 0.05


def learning_rates(problem: Problem, start: Floats) -> tuple[float, float]:
    """The rule for learning rates: a sixteenth of 0.3 / lambda_max, and this; lambda_max is the Hessian's largest eigenvalue at
    the start. To three digits."""
    jacobian = problem.jacobian(start)
    largest = 0.3 / float(np.linalg.eigvalsh(jacobian @ jacobian.T / problem.n_outputs)[-1])
    return float(f"{largest / 16:.3g}"), float(f"{largest:.3g}")


def target(problem: Problem, start: Floats) -> float:
    """The rule for the target: tr H halfway from its start to the least that the drift along Gamma reaches (in 1,000 steps at
    most), as a fraction of its start. To three digits."""
    flow = drift_flow(problem, start, max_steps=1_000, unfinished="accept")
    first, last = problem.trace_hessian(flow.points[[0, -1]])
    return float(f"{(1 + last / first) / 2:.3g}")


def phase_retrieval(d: int = 15, n_samples: int = 30) -> Made:
    """f(x) = |U^T x|^2 - |V^T x|^2, U and V (d, 2): a symmetric matrix of rank 2, one eigenvalue of each sign, from quadratic
    measurements; N = 60. (With U alone tr H is constant on Gamma.)"""
    rng = np.random.default_rng(1)
    data, hidden = rng.standard_normal((n_samples, d)) / np.sqrt(d), rng.standard_normal((d, 2))
    targets = (data @ hidden[:, 0]) ** 2 - (data @ hidden[:, 1]) ** 2
    u, v, x = _grid("u", d, 2), _grid("v", d, 2), sp.symbols(f"x:{d}", real=True)
    output = sp.Add(*(_dot(column, x) ** 2 for column in zip(*u, strict=True)))
    output -= sp.Add(*(_dot(column, x) ** 2 for column in zip(*v, strict=True)))
    return _made("phase-retrieval", output, _flat(u, v), targets, 0.8 * rng.standard_normal(4 * d), x, data)


def skip_network(d: int = 5, n_hidden: int = 13, n_samples: int = 32) -> Made:
    """f(x) = a . tanh(W x + b) + s . x, targets by a network of 3 hidden units; N = 96."""
    rng = np.random.default_rng(2)
    data = rng.standard_normal((n_samples, d))
    teacher, shift, out = rng.standard_normal((3, d)), rng.standard_normal(3), rng.standard_normal(3) / np.sqrt(3)
    targets = np.tanh(data @ teacher.T + shift) @ out + data @ rng.standard_normal(d) / np.sqrt(d)
    w, x = _grid("w", n_hidden, d), sp.symbols(f"x:{d}", real=True)
    a, b, s = sp.symbols(f"a:{n_hidden}", real=True), sp.symbols(f"b:{n_hidden}", real=True), sp.symbols(f"s:{d}", real=True)
    output = sp.Add(*(a[j] * sp.tanh(_dot(w[j], x) + b[j]) for j in range(n_hidden)), _dot(s, x))
    return _made("tanh-skip", output, _flat(w, [a, b, s]), targets, rng.standard_normal((d + 2) * n_hidden + d), x, data)


def gelu_network(d: int = 4, n_hidden: int = 10, n_samples: int = 10) -> Made:
    """f_k(x) = A_k . gelu(W x + b), k = 1, 2, with gelu(z) = z (1 + erf(z / sqrt 2)) / 2; N = 70."""
    rng = np.random.default_rng(3)
    data = rng.standard_normal((n_samples, d))
    targets = np.maximum(data @ rng.standard_normal((d, 3)), 0) @ rng.standard_normal((3, 2)) / np.sqrt(3)
    w, a, x = _grid("w", n_hidden, d), _grid("a", 2, n_hidden), sp.symbols(f"x:{d}", real=True)
    b = sp.symbols(f"b:{n_hidden}", real=True)
    inner = [_dot(w[j], x) + b[j] for j in range(n_hidden)]
    hidden = [z * (1 + sp.erf(z / sp.sqrt(2))) / 2 for z in inner]
    start = rng.standard_normal((d + 3) * n_hidden)
    return _made("gelu", [_dot(row, hidden) for row in a], _flat(w, a, [b]), targets, start, x, data)


def matrix_completion(d: int = 10, width: int = 6) -> Made:
    """f = the entries of U V that are known, 60 % of a d x d matrix of rank 2; U (d, 6), V (6, d), N = 120."""
    rng = np.random.default_rng(14)
    hidden = rng.standard_normal((d, 2)) @ rng.standard_normal((2, d)) / np.sqrt(2)
    known = np.sort(rng.choice(d * d, size=int(0.6 * d * d), replace=False))
    u, v = _grid("u", d, width), _grid("v", d, width)
    outputs = [_dot(u[k // d], v[k % d]) for k in known]
    start = 0.8 * rng.standard_normal(2 * d * width)
    return _made("matrix-completion", outputs, _flat(u, v), hidden.ravel()[known], start)


def three_factors(d: int = 5, n_outputs: int = 3, n_samples: int = 4) -> Made:
    """f(x) = W3 W2 W1 x, W1 and W2 (d, d), W3 (3, d): a linear network of depth three; N = 65."""
    rng = np.random.default_rng(5)
    data = rng.standard_normal((n_samples, d))
    targets = data @ rng.standard_normal((d, n_outputs)) / np.sqrt(d)
    w1, w2, w3, x = _grid("a", d, d), _grid("b", d, d), _grid("c", n_outputs, d), sp.symbols(f"x:{d}", real=True)
    first = [_dot(row, x) for row in w1]
    second = [_dot(row, first) for row in w2]
    start = rng.standard_normal((2 * d + n_outputs) * d) / np.sqrt(d)
    return _made("three-factors", [_dot(row, second) for row in w3], _flat(w1, w2, w3), targets, start, x, data)


def tensor_factors(d: int = 4, width: int = 8, n_known: int = 36) -> Made:
    """f = known entries sum_r a_ir b_jr c_kr of a d x d x d tensor of rank 2, by CP factors of width 8; N = 96."""
    rng = np.random.default_rng(6)
    hidden = np.einsum("ir,jr,kr->ijk", *(rng.standard_normal((d, 2)) for _ in range(3)))
    known = np.sort(rng.choice(d**3, size=n_known, replace=False))
    a, b, c = (_grid(letter, d, width) for letter in "abc")
    where = [np.unravel_index(k, (d, d, d)) for k in known]
    outputs = [sp.Add(*(a[i][r] * b[j][r] * c[k][r] for r in range(width))) for i, j, k in where]
    start = 0.8 * rng.standard_normal(3 * d * width)
    return _made("tensor-factors", outputs, _flat(a, b, c), hidden.ravel()[known], start)


def deep_diagonal(d: int = 30, n_samples: int = 12) -> Made:
    """f(x) = sum_i (u_i^3 - v_i^3) x_i: a diagonal linear network of depth three, two relevant features; N = 60."""
    rng = np.random.default_rng(7)
    data = rng.standard_normal((n_samples, d))
    u, v, x = (sp.symbols(f"{letter}:{d}", real=True) for letter in "uvx")
    output = sp.Add(*((p**3 - q**3) * z for p, q, z in zip(u, v, x, strict=True)))
    return _made("deep-diagonal", output, (*u, *v), data[:, 0] - data[:, 1], 0.5 + 0.3 * rng.random(2 * d), x, data)


def gated_units(d: int = 5, n_hidden: int = 8, n_samples: int = 24) -> Made:
    """f(x) = sum_j sigmoid(g_j . x) (w_j . x): linear units behind gates, targets by two of them; N = 80."""
    rng = np.random.default_rng(8)
    data = rng.standard_normal((n_samples, d))
    gates, linear = rng.standard_normal((2, d)), rng.standard_normal((2, d)) / np.sqrt(d)
    targets = ((data @ linear.T) / (1 + np.exp(-data @ gates.T))).sum(axis=1)
    g, w, x = _grid("g", n_hidden, d), _grid("w", n_hidden, d), sp.symbols(f"x:{d}", real=True)
    output = sp.Add(*(_dot(line, x) / (1 + sp.exp(-_dot(gate, x))) for gate, line in zip(g, w, strict=True)))
    return _made("gated-units", output, _flat(g, w), targets, 0.7 * rng.standard_normal(2 * n_hidden * d), x, data)


def attention(d: int = 4, n_tokens: int = 3, n_heads: int = 6, n_samples: int = 20) -> Made:
    """f(x_1 .. x_T) = sum_h sum_t softmax_t(q_h . x_t) (v_h . x_t): heads of softmax attention, targets by one head; N = 48."""
    rng = np.random.default_rng(9)
    data = rng.standard_normal((n_samples, n_tokens, d))
    scores = np.exp(data @ rng.standard_normal(d))
    targets = (scores * (data @ rng.standard_normal(d))).sum(axis=1) / scores.sum(axis=1)
    q, v, x = _grid("q", n_heads, d), _grid("v", n_heads, d), _grid("x", n_tokens, d)
    heads = []
    for query, value in zip(q, v, strict=True):
        weights = [sp.exp(_dot(query, token)) for token in x]
        heads.append(_dot(weights, [_dot(value, token) for token in x]) / sp.Add(*weights))
    start = 0.7 * rng.standard_normal(2 * n_heads * d)
    return _made("attention", sp.Add(*heads), _flat(q, v), targets, start, _flat(x), data.reshape(n_samples, -1))


def _bump_data(rng: np.random.Generator, d: int, n_samples: int) -> tuple[Floats, Floats]:
    data = rng.uniform(-2, 2, (n_samples, d))
    return data, np.sin(2 * data[:, 0]) * np.cos(data[:, 1])


def compiled_bumps(d: int = 2, n_bumps: int = 20, n_samples: int = 10) -> Problem:
    """The problem of `gaussian_bumps` in machine code: in NumPy a sweep of momenta takes hours."""
    data, targets = _bump_data(np.random.default_rng(10), d, n_samples)
    height, centre, x = sp.symbols(f"a:{n_bumps}", real=True), _grid("c", n_bumps, d), sp.symbols(f"x:{d}", real=True)
    bumps = [sp.exp(-sp.Add(*((z - c) ** 2 for z, c in zip(x, line, strict=True))) / 2) for line in centre]
    model = SymbolicModel(_dot(height, bumps), (*height, *_flat(centre)), targets, inputs=x, data=data, name="gaussian-bumps")
    return model.compile()


def gaussian_bumps(d: int = 2, n_bumps: int = 20, n_samples: int = 10) -> Made:
    """f(x) = sum_j a_j exp(-|x - c_j|^2 / 2), a function in NumPy without kernels; targets sin(2 x_1) cos(x_2), N = 60."""
    rng = np.random.default_rng(10)
    data, targets = _bump_data(rng, d, n_samples)

    def parts(w: Floats) -> tuple[Floats, Floats, Floats]:
        height, centre = w[:, :n_bumps], w[:, n_bumps:].reshape(-1, n_bumps, d)
        gap = data[:, None] - centre[:, None]  # (n, P, bumps, d)
        return height, gap, np.exp(-np.square(gap).sum(axis=-1) / 2)

    def outputs(w: Floats) -> Floats:
        height, _, bump = parts(w)
        return np.asarray((bump * height[:, None]).sum(axis=-1))

    def jacobian(w: Floats) -> Floats:
        height, gap, bump = parts(w)
        centre = (bump * height[:, None])[..., None] * gap
        return np.concatenate([bump, centre.reshape(len(w), n_samples, -1)], axis=-1)

    problem = Problem.from_function(outputs, targets, n_bumps * (d + 1), batched=True, jacobian=jacobian, name="gaussian-bumps")
    return problem, descend_to_manifold(problem, 1.5 * rng.standard_normal(n_bumps * (d + 1)))


def deep_tanh(d: int = 4, width: int = 6, n_samples: int = 16) -> Made:
    """f(x) = a . tanh(W2 tanh(W1 x + b1) + b2): a network of two hidden layers, targets by one of width 2; N = 78."""
    rng = np.random.default_rng(21)
    data = rng.standard_normal((n_samples, d))
    targets = np.tanh(np.tanh(data @ rng.standard_normal((d, 2))) @ rng.standard_normal((2, 2))) @ rng.standard_normal(2)
    w1, w2, x = _grid("w", width, d), _grid("v", width, width), sp.symbols(f"x:{d}", real=True)
    a, b1, b2 = (sp.symbols(f"{letter}:{width}", real=True) for letter in "abc")
    first = [sp.tanh(_dot(row, x) + shift) for row, shift in zip(w1, b1, strict=True)]
    second = [sp.tanh(_dot(row, first) + shift) for row, shift in zip(w2, b2, strict=True)]
    start = rng.standard_normal(width * (d + width + 3))
    return _made("deep-tanh", _dot(a, second), _flat(w1, w2, [a, b1, b2]), targets, start, x, data)


def sine_features(d: int = 3, n_hidden: int = 16, n_samples: int = 14) -> Made:
    """f(x) = sum_j a_j sin(w_j . x + b_j): periodic units, targets by two of them; N = 80."""
    rng = np.random.default_rng(22)
    data = rng.uniform(-1, 1, (n_samples, d))
    targets = np.sin(data @ (2 * rng.standard_normal((d, 2))) + rng.uniform(0, 6, 2)) @ rng.standard_normal(2)
    w, x = _grid("w", n_hidden, d), sp.symbols(f"x:{d}", real=True)
    a, b = sp.symbols(f"a:{n_hidden}", real=True), sp.symbols(f"b:{n_hidden}", real=True)
    units = [sp.sin(_dot(row, x) + shift) for row, shift in zip(w, b, strict=True)]
    return _made(
        "sine-features", _dot(a, units), _flat(w, [a, b]), targets, 1.5 * rng.standard_normal(n_hidden * (d + 2)), x, data
    )


def state_space(width: int = 4, n_steps: int = 6) -> Made:
    """f_t = c^T A^t b, t = 0, 1, ...: the impulse response of a linear recurrent network, targets by a damped turn; N = 24."""
    rng = np.random.default_rng(23)
    targets = 0.85 ** np.arange(n_steps) * np.cos(0.7 * np.arange(n_steps))
    matrix, b, c = _grid("a", width, width), sp.symbols(f"b:{width}", real=True), sp.symbols(f"c:{width}", real=True)
    state, outputs = list(b), []
    for _ in range(n_steps):
        outputs.append(_dot(c, state))
        state = [_dot(row, state) for row in matrix]
    start = rng.standard_normal(width * (width + 2)) * np.sqrt(0.8 / width)
    return _made("state-space", outputs, _flat(matrix, [b, c]), targets, start)


def weight_normalised(d: int = 5, n_hidden: int = 10, n_samples: int = 10) -> Made:
    """f(x) = sum_j a_j tanh(g_j (w_j . x) / |w_j|): units of normalised weights, whose lengths do not matter; N = 70."""
    rng = np.random.default_rng(24)
    data = rng.standard_normal((n_samples, d))
    targets = np.tanh(data @ rng.standard_normal((d, 2))) @ rng.standard_normal(2)
    w, x = _grid("w", n_hidden, d), sp.symbols(f"x:{d}", real=True)
    a, g = sp.symbols(f"a:{n_hidden}", real=True), sp.symbols(f"g:{n_hidden}", real=True)
    units = [sp.tanh(scale * _dot(row, x) / sp.sqrt(_dot(row, row))) for row, scale in zip(w, g, strict=True)]
    start = rng.standard_normal(n_hidden * (d + 2))
    return _made("weight-normalised", _dot(a, units), _flat(w, [a, g]), targets, start, x, data)


def cubic_units(d: int = 4, n_hidden: int = 12, n_samples: int = 16) -> Made:
    """f(x) = sum_j a_j (w_j . x)^3: units without saturation, targets by two of them; N = 60."""
    rng = np.random.default_rng(31)
    data = rng.standard_normal((n_samples, d)) / 2
    targets = (data @ rng.standard_normal((d, 2))) ** 3 @ rng.standard_normal(2)
    w, x, a = _grid("w", n_hidden, d), sp.symbols(f"x:{d}", real=True), sp.symbols(f"a:{n_hidden}", real=True)
    output = sp.Add(*(a[j] * _dot(w[j], x) ** 3 for j in range(n_hidden)))
    return _made("cubic-units", output, _flat(w, [a]), targets, 0.8 * rng.standard_normal(n_hidden * (d + 1)), x, data)


def convolution(length: int = 16, n_samples: int = 10) -> Made:
    """f(x) = (u * v) . x: two circular convolutions after one another, targets by a hidden filter; N = 32."""
    rng = np.random.default_rng(32)
    data = rng.standard_normal((n_samples, length)) / np.sqrt(length)
    targets = 2 * data @ rng.standard_normal(length)
    u, v, x = (sp.symbols(f"{letter}:{length}", real=True) for letter in "uvx")
    filters = [sp.Add(*(u[j] * v[(k - j) % length] for j in range(length))) for k in range(length)]
    return _made("convolution", _dot(filters, x), _flat([u, v]), targets, 0.5 * rng.standard_normal(2 * length), x, data)


def experts(d: int = 4, n_experts: int = 6, n_samples: int = 20) -> Made:
    """f(x) = sum_j softmax(U x)_j (v_j . x): linear experts with a softmax gate, targets by two of them; N = 48."""
    rng = np.random.default_rng(33)
    data = rng.standard_normal((n_samples, d))
    gate = 1 / (1 + np.exp(-2 * data @ rng.standard_normal(d)))
    targets = gate * (data @ rng.standard_normal(d)) + (1 - gate) * (data @ rng.standard_normal(d))
    u, v, x = _grid("u", n_experts, d), _grid("v", n_experts, d), sp.symbols(f"x:{d}", real=True)
    weights = [sp.exp(_dot(row, x)) for row in u]
    output = sp.Add(*(weight * _dot(row, x) for weight, row in zip(weights, v, strict=True))) / sp.Add(*weights)
    return _made("experts", output, _flat(u, v), targets, rng.standard_normal(2 * n_experts * d), x, data)


def _made(
    name: str, outputs: Any, parameters: Sequence[sp.Symbol], targets: Floats, point: Floats, inputs: Any = (), data: Any = None
) -> Made:
    """The compiled model, and the point of Gamma where gradient descent from `point` arrives."""
    problem = SymbolicModel(outputs, parameters, targets, inputs=inputs, data=data, name=name).compile()
    return problem, descend_to_manifold(problem, point)


def _grid(letter: str, rows: int, columns: int) -> list[tuple[sp.Symbol, ...]]:
    return [sp.symbols(f"{letter}{i}_:{columns}", real=True) for i in range(rows)]


def _flat(*grids: Sequence[Sequence[sp.Symbol]]) -> tuple[sp.Symbol, ...]:
    return tuple(symbol for grid in grids for row in grid for symbol in row)


def _dot(a: Sequence[sp.Expr], b: Sequence[sp.Expr]) -> sp.Expr:
    return sp.Add(*(x * y for x, y in zip(a, b, strict=True)))
