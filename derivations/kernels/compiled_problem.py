"""A formula as a training problem: outputs and exact derivatives as compiled kernels."""

from __future__ import annotations

import hashlib
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from sde_momentum.core.errors import check_integer, check_positive
from sde_momentum.core.simd import cache
from sde_momentum.problems import compiled
from sde_momentum.problems.compiled import Kernels
from sde_momentum.problems.interpolation import project_to_manifold
from sde_momentum.problems.problem import Array, Problem

from .expression_graph import Graph, Node, evaluate
from .plan import Plan
from .source import KernelSource
from .values import WIDTH


class CompiledProblem(Problem):
    """f(w) given by K expressions for each of S samples, P = S K (row s K + k is expression k at sample s).

    Made by `SymbolicModel.compile`. Derivatives are exact: J^T r by reverse-mode differentiation of the expressions,
    sum_i hess f_i c_i by reverse-mode differentiation of their derivative along c_i.

    Args:
        name: stands in answers and messages
        outputs: K expressions
        parameters: N symbols
        targets: y, (P,)
        inputs, data: symbols of one sample's inputs and their values, (S, inputs); both empty if S = 1
        point: on or near Gamma, (N,), from which `interpolating_start` begins
    """

    def __init__(
        self,
        name: str,
        outputs: tuple[sp.Expr, ...],
        parameters: tuple[sp.Symbol, ...],
        targets: Array,
        inputs: tuple[sp.Symbol, ...] = (),
        data: Array | None = None,
        point: ArrayLike | None = None,
    ) -> None:
        self._arguments = (name, outputs, parameters, targets, inputs, data, point)
        self.name = name
        self.n_parameters = len(parameters)
        self.targets = np.ascontiguousarray(targets, dtype=np.float64)
        self.point = None if point is None else self.check_point(point, "point")
        self.formulas = outputs
        self._per_sample = bool(inputs)
        self.n_inputs = len(inputs)
        self._data = np.zeros((1, 1)) if data is None or not inputs else np.ascontiguousarray(data, dtype=np.float64)
        self._graph = Graph(self.n_parameters)
        names: dict[sp.Expr, Node] = {symbol: self._graph.param(i) for i, symbol in enumerate(parameters)}
        names |= {symbol: self._graph.input(i) for i, symbol in enumerate(inputs)}
        self._nodes = [self._graph.from_sympy(f, names, f"outputs[{k}]") for k, f in enumerate(outputs)]

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledProblem, self._arguments  # without compiled code, which the other process loads or makes

    def settings(self) -> dict[str, Any]:
        """The formulas, and hashes of the inputs' data and the targets."""
        numbers = {"data": self._data, "targets": self.targets}
        return {
            "problem": self.name,
            "formulas": "; ".join(map(str, self.formulas)),
            "parameters": " ".join(map(str, self._arguments[2])),
            **{f"{key}_sha256": hashlib.sha256(value.tobytes()).hexdigest() for key, value in numbers.items()},
        }

    def random_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """Independent normal entries of standard deviation `scale`, (N,)."""
        rng = np.random.default_rng(check_integer(seed, "seed", 0))
        return np.asarray(check_positive(scale, "scale") * rng.standard_normal(self.n_parameters))

    def interpolating_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """A point of Gamma, (N,), from the known `point`, or else from `random_start(scale, seed)`."""
        return super().interpolating_start(scale, seed) if self.point is None else project_to_manifold(self, self.point)

    def _build(self, nodes: list[Node], rows: int, with_outputs: bool) -> tuple[ModuleType, Array, int]:
        """(module, data, scratch rows) of kernels that take `rows` parameters."""
        plan = Plan(nodes, self.n_parameters, self.n_inputs, self._per_sample)
        source = KernelSource(plan, rows)
        columns = [evaluate(node, self._data)[:, None] for node in plan.derived]
        data = np.ascontiguousarray(np.hstack([self._data, *columns]))
        return cache.load(source.text(with_outputs=with_outputs), uses=(compiled,)), data, max(1, source.scratch_rows)

    @cached_property
    def _first(self) -> tuple[ModuleType, Array, int]:
        return self._build(self._nodes, self.n_parameters, with_outputs=True)

    @cached_property
    def _second(self) -> tuple[ModuleType, Array, int]:
        """Pullback of the derivative of f along a direction d, at stacked (w, d)."""
        return self._build([self._graph.tangent(node) for node in self._nodes], 2 * self.n_parameters, with_outputs=False)

    @property
    def kernels(self) -> Kernels:
        module, data, rows = self._first
        return Kernels(module.outputs, module.pullback, data, rows, by_sample=self._per_sample, fused=True)

    def outputs(self, w: Array) -> Array:
        kernel, _, data, rows = self.kernels[:4]
        points = _lanes(w)
        f = np.empty((self.n_outputs, points.shape[1]))
        kernel(data, points, f, np.empty((rows, max(WIDTH, points.shape[1]))))
        return np.ascontiguousarray(f.T).reshape(*w.shape[:-1], self.n_outputs)

    def _rows(self, built: tuple[ModuleType, Array, int], points: Array, samples: NDArray[np.int64]) -> Array:
        """Gradient of each of a sample's K outputs: (lanes, K, rows of w) -> (samples, lanes, K, N).

        The kernel is called sample by sample, with a lane for each output of which it is asked.
        """
        module, data, rows = built
        k = points.shape[1]
        w = _lanes(points)
        r = np.tile(np.eye(k), points.shape[0])
        scratch = np.empty((rows, max(WIDTH, w.shape[1])))
        g = np.empty((self.n_parameters, w.shape[1]))
        out = np.empty((len(samples), points.shape[0], k, self.n_parameters))
        for i, sample in enumerate(samples):
            module.pullback(data[sample : sample + 1], w, r, g, scratch)
            out[i] = g.T.reshape(out.shape[1:])
        return out

    def jacobian(self, w: Array) -> Array:
        flat = np.ascontiguousarray(w, dtype=np.float64).reshape(-1, 1, self.n_parameters)
        points = np.broadcast_to(flat, (len(flat), len(self._nodes), self.n_parameters))
        j = self._rows(self._first, points, np.arange(len(self._data)))
        return np.moveaxis(j, 0, 1).reshape(*w.shape[:-1], self.n_outputs, self.n_parameters)

    def contract_hessians(self, w: Array, c: Array) -> Array:
        n, k = self.n_parameters, len(self._nodes)
        shape = np.broadcast_shapes(w.shape[:-1], c.shape[:-2])
        points = np.broadcast_to(w[..., None, :], (*shape, k, n)).reshape(-1, k, n)
        directions = np.broadcast_to(c, (*shape, self.n_outputs, n)).reshape(len(points), -1, k, n)
        module, data, rows = self._second
        w = np.vstack([_lanes(points), np.empty((n, len(points) * k))])
        r, g = np.tile(np.eye(k), len(points)), np.empty((n, len(points) * k))
        scratch = np.empty((rows, max(WIDTH, len(points) * k)))
        total = np.zeros((len(points), n))
        for sample in range(len(data)):  # as in `_rows`, each sample along directions of its own
            w[n:] = directions[:, sample].reshape(-1, n).T
            module.pullback(data[sample : sample + 1], w, r, g, scratch)
            total += g.T.reshape(-1, k, n).sum(axis=1)
        return total.reshape(*shape, n)

    def hessians(self, w: Array) -> Array:
        n, k = self.n_parameters, len(self._nodes)
        along = np.broadcast_to(np.concatenate([np.broadcast_to(w, (n, n)), np.eye(n)], axis=1)[:, None], (n, k, 2 * n))
        rows = self._rows(self._second, along, np.arange(len(self._data)))
        return np.swapaxes(rows, 1, 2).reshape(self.n_outputs, n, n)


def _lanes(points: Array) -> Array:
    """(..., rows) -> (rows, lanes), a copy: kernels take no read-only arrays."""
    return np.array(np.reshape(points, (-1, points.shape[-1])).T, dtype=np.float64, order="C")
