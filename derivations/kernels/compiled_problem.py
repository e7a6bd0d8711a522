"""A formula as a training problem: outputs and exact derivatives as compiled kernels."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from sde_momentum.core.arguments import by_annotations
from sde_momentum.core.errors import check_integer, check_positive
from sde_momentum.core.simd import cache
from sde_momentum.problems import compiled
from sde_momentum.problems.compiled import Kernels, LazyKernels
from sde_momentum.problems.interpolation import project_to_manifold
from sde_momentum.problems.problem import Array, Problem

from .derivative_source import ContractionSource, JacobianSource
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

    >>> from derivations.models import two_factor
    >>> problem = two_factor(4).compile()
    >>> type(problem).__name__, problem.n_parameters
    ('CompiledProblem', 8)
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
            **self._text,
            **{f"{key}_sha256": hashlib.sha256(value.tobytes()).hexdigest() for key, value in numbers.items()},
        }

    @cached_property
    def _text(self) -> dict[str, str]:
        """Formulas and parameters as text, which takes long for large ones."""
        return {"formulas": "; ".join(map(str, self.formulas)), "parameters": " ".join(map(str, self._arguments[2]))}

    @by_annotations
    def random_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """Independent normal entries of standard deviation `scale`, (N,)."""
        rng = np.random.default_rng(check_integer(seed, "seed", 0))
        return np.asarray(check_positive(scale, "scale") * rng.standard_normal(self.n_parameters))

    def interpolating_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """A point of Gamma, (N,), from the known `point`, or else from `random_start(scale, seed)`."""
        return super().interpolating_start(scale, seed) if self.point is None else project_to_manifold(self, self.point)

    @cached_property
    def _sources(self) -> tuple[KernelSource, JacobianSource, ContractionSource]:
        """Of outputs and pullback, of the Jacobian, and of the contracted second derivatives."""
        n = self.n_parameters
        plan = Plan(self._nodes, n, self.n_inputs, self._per_sample)
        columns = self.n_inputs + len(plan.derived)  # all kernels read the same data
        second = Plan([self._graph.tangent(node) for node in self._nodes], n, columns, self._per_sample)
        return KernelSource(plan, n), JacobianSource(plan, n), ContractionSource(second, n)

    @cached_property
    def _columns(self) -> Array:
        """The data, and functions of them."""
        first, _, second = (source.plan.derived for source in self._sources)
        return np.ascontiguousarray(np.hstack([self._data, *(evaluate(node, self._data)[:, None] for node in (*first, *second))]))

    @cached_property
    def _derivatives(self) -> tuple[Any, Any]:
        """(jacobian, contract_hessians), compiled now."""
        _, first, second = (cache.load(source.text(), uses=(compiled,)) for source in self._sources)
        return first.jacobian, second.contract_hessians

    @cached_property
    def kernels(self) -> Kernels:
        module = cache.load(self._sources[0].text(), uses=(compiled,))
        rows = max(1, *(source.scratch_rows for source in self._sources))
        kernels = LazyKernels(
            module.outputs, module.pullback, self._columns, rows, by_sample=self._per_sample, fused=True, lanes=WIDTH
        )
        kernels.derivatives = lambda: self._derivatives
        return kernels

    def outputs(self, w: Array) -> Array:
        kernel, _, data, rows = self.kernels[:4]
        points = _lanes(w)
        f = np.empty((self.n_outputs, points.shape[1]))
        kernel(data, points, f, np.empty((rows, max(WIDTH, points.shape[1]))))
        return np.ascontiguousarray(f.T).reshape(*w.shape[:-1], self.n_outputs)

    def jacobian(self, w: Array) -> Array:
        """By pullbacks, sample by sample, with a lane for each of a sample's outputs: training needs no other kernel."""
        _, pullback, data, rows = self.kernels[:4]
        k, flat = len(self._nodes), np.reshape(w, (-1, self.n_parameters))
        points = _lanes(np.repeat(flat, k, axis=0))
        r, g = np.tile(np.eye(k), len(flat)), np.empty_like(points)
        scratch = np.empty((rows, max(WIDTH, points.shape[1])))
        j = np.empty((len(flat), len(self._data), k, self.n_parameters))
        for sample in range(len(data)):
            pullback(data[sample : sample + 1], points, r, g, scratch)
            j[:, sample] = g.T.reshape(len(flat), k, -1)
        return j.reshape(*w.shape[:-1], self.n_outputs, self.n_parameters)

    def contract_hessians(self, w: Array, c: Array) -> Array:
        kernel, (_, _, data, rows) = self.kernels.contract_hessians, self.kernels[:4]
        shape = np.broadcast_shapes(w.shape[:-1], c.shape[:-2])
        points = _lanes(np.broadcast_to(w, (*shape, self.n_parameters)))
        directions = np.broadcast_to(c, (*shape, *c.shape[-2:])).reshape(-1, *c.shape[-2:])
        g = np.empty_like(points)
        scratch = np.empty((rows, max(WIDTH, points.shape[1])))
        kernel(data, points, np.array(np.moveaxis(directions, 0, -1), dtype=np.float64, order="C"), g, scratch)
        return np.ascontiguousarray(g.T).reshape(*shape, self.n_parameters)


def _lanes(points: Array) -> Array:
    """(..., rows) -> (rows, lanes), a copy: kernels take no read-only arrays."""
    return np.array(np.reshape(points, (-1, points.shape[-1])).T, dtype=np.float64, order="C")
