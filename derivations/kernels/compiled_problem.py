"""A formula as a training problem: outputs and exact derivatives as compiled kernels."""

from __future__ import annotations

import hashlib
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from sde_momentum.core.errors import check_integer, check_positive
from sde_momentum.core.simd import cache
from sde_momentum.problems import compiled
from sde_momentum.problems.compiled import Kernels
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

    @cached_property
    def _plan(self) -> Plan:
        return Plan(self._nodes, self.n_parameters, self.n_inputs, self._per_sample)

    @cached_property
    def _first(self) -> tuple[ModuleType, Array, int]:
        """(module, data, scratch rows) of outputs and pullback."""
        return self._built(KernelSource(self._plan, self.n_parameters), self._data)

    @cached_property
    def _rows(self) -> tuple[ModuleType, Array, int]:
        """The same of the Jacobian."""
        return self._built(JacobianSource(self._plan, self.n_parameters), self._data)

    @cached_property
    def _second(self) -> tuple[ModuleType, Array, int]:
        """The same of the contracted second derivatives. The data serve the other kernels too: further columns come last."""
        data = self._first[1]
        plan = Plan(list(map(self._graph.tangent, self._nodes)), self.n_parameters, data.shape[1], self._per_sample)
        return self._built(ContractionSource(plan, self.n_parameters), data)

    def _built(self, source: KernelSource | JacobianSource | ContractionSource, data: Array) -> tuple[ModuleType, Array, int]:
        columns = [evaluate(node, self._data)[:, None] for node in source.plan.derived]
        data = np.ascontiguousarray(np.hstack([data, *columns]))
        return cache.load(source.text(), uses=(compiled,)), data, max(1, source.scratch_rows)

    @property
    def kernels(self) -> Kernels:
        module, data, rows = self._first
        return Kernels(module.outputs, module.pullback, data, rows, by_sample=self._per_sample, fused=True, lanes=WIDTH)

    @property
    def derivative_kernels(self) -> Kernels:
        (gradients, _, few), (second, data, many) = self._rows, self._second
        derivatives = {"jacobian": gradients.jacobian, "contract_hessians": second.contract_hessians}
        return self.kernels._replace(data=data, scratch_rows=max(self.kernels.scratch_rows, few, many), **derivatives)

    def outputs(self, w: Array) -> Array:
        kernel, _, data, rows = self.kernels[:4]
        points = _lanes(w)
        f = np.empty((self.n_outputs, points.shape[1]))
        kernel(data, points, f, np.empty((rows, max(WIDTH, points.shape[1]))))
        return np.ascontiguousarray(f.T).reshape(*w.shape[:-1], self.n_outputs)

    def jacobian(self, w: Array) -> Array:
        """By pullbacks, sample by sample, with a lane for each of a sample's outputs: training needs no other kernel."""
        module, data, rows = self._first
        k, flat = len(self._nodes), np.reshape(w, (-1, self.n_parameters))
        points = _lanes(np.repeat(flat, k, axis=0))
        r, g = np.tile(np.eye(k), len(flat)), np.empty_like(points)
        scratch = np.empty((rows, max(WIDTH, points.shape[1])))
        j = np.empty((len(flat), len(self._data), k, self.n_parameters))
        for sample in range(len(data)):
            module.pullback(data[sample : sample + 1], points, r, g, scratch)
            j[:, sample] = g.T.reshape(len(flat), k, -1)
        return j.reshape(*w.shape[:-1], self.n_outputs, self.n_parameters)

    def contract_hessians(self, w: Array, c: Array) -> Array:
        module, data, rows = self._second
        shape = np.broadcast_shapes(w.shape[:-1], c.shape[:-2])
        points = _lanes(np.broadcast_to(w, (*shape, self.n_parameters)))
        directions = np.broadcast_to(c, (*shape, *c.shape[-2:])).reshape(-1, *c.shape[-2:])
        g = np.empty_like(points)
        scratch = np.empty((rows, max(WIDTH, points.shape[1])))
        module.contract_hessians(data, points, np.array(np.moveaxis(directions, 0, -1), dtype=np.float64, order="C"), g, scratch)
        return np.ascontiguousarray(g.T).reshape(*shape, self.n_parameters)


def _lanes(points: Array) -> Array:
    """(..., rows) -> (rows, lanes), a copy: kernels take no read-only arrays."""
    return np.array(np.reshape(points, (-1, points.shape[-1])).T, dtype=np.float64, order="C")
