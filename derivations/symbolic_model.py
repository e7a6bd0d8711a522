"""A model given by its formula, from which its derivatives, geometry, best momentum and compiled code follow
[theory: Setting; Drift; Effective loss]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from sde_momentum.core.errors import InputError, check_integer, check_non_negative, check_positive
from sde_momentum.dynamics.drift_flow import drift_flow
from sde_momentum.predictors.momentum_rule import MomentumRule
from sde_momentum.problems.interpolation import descend_to_manifold, project_to_manifold
from sde_momentum.problems.problem import Array

from .kernels.compiled_problem import CompiledProblem
from .kernels.expression_graph import Symbols, symbols_in
from .model_point import ModelPoint

_CLOSED_OUTPUTS, _CLOSED_PARAMETERS = 2, 40
"""Up to here the geometry of Gamma is written as formulas; with more outputs only where J J^T is diagonal on a known Gamma."""


class SymbolicModel:
    """f: R^N -> R^P and targets y, from expressions; loss |f(w) - y|^2 / (2P), Gamma = {f = y} [theory: Setting, eq. 1.1].

    Args:
        outputs: an expression or several. Without `inputs` they are f_1 .. f_P; with `inputs` they are the K
            outputs of one sample in terms of its input symbols, P = S K, row s K + k is output k of sample s
        parameters: the N symbols w
        targets: y, P real numbers, or shape (S, K)
        inputs: symbols of one sample's inputs
        data: their values, (S, number of inputs)
        name: stands in results
        point: a known point of Gamma, or one to start looking for it, (N,)
        manifold: a parametrisation of Gamma, parameters -> expressions in the others; closed forms use it

    Raises:
        InputError: for an unknown symbol, a function that is not smooth, a wrong shape, a target that is not real.

    >>> import sympy as sp
    >>> u, v = sp.symbols("u v")
    >>> model = SymbolicModel(u * v, [u, v], [1.0])
    >>> model.jacobian, model.trace_hessian
    (Matrix([[v, u]]), u**2 + v**2)
    >>> model.at([0.5, 2.0]).trace_hessian, model.flattest_point([0.5, 2.0]).round(6).tolist()
    (4.25, [1.0, 1.0])
    >>> round(model.momentum_rule(label_noise=0.01, start=[0.5, 2.0]).momentum(0.01), 4)
    0.9966
    """

    def __init__(
        self,
        outputs: sp.Expr | Sequence[sp.Expr],
        parameters: Sequence[sp.Symbol],
        targets: ArrayLike | Sequence[sp.Expr],
        *,
        inputs: Sequence[sp.Symbol] = (),
        data: ArrayLike | None = None,
        name: str = "symbolic",
        point: ArrayLike | None = None,
        manifold: Mapping[sp.Symbol, sp.Expr] | None = None,
    ) -> None:
        self.name = name
        self.parameters = _symbols(parameters, "parameters")
        self.inputs = _symbols(inputs, "inputs") if len(inputs) else ()
        if both := set(self.parameters) & set(self.inputs):
            raise InputError("inputs", sorted(map(str, both))[0], "symbols that are not parameters")
        self.formulas = _expressions(outputs, {*self.parameters, *self.inputs})
        self.data = self._check_data(data)
        self.targets = _targets(targets, max(1, len(self.data)), len(self.formulas))
        self.manifold = dict(manifold or {})
        self._problem = CompiledProblem(name, self.formulas, self.parameters, self.targets, self.inputs, self.data, point)
        self._point = self._problem.point

    def _check_data(self, data: ArrayLike | None) -> Array:
        allowed = f"real numbers of shape (samples, {len(self.inputs)})"
        if (data is None) != (not self.inputs):
            raise InputError("data", "none" if data is None else "data without inputs", f"{allowed}, together with inputs")
        if data is None:
            return np.empty((0, 0))
        try:
            array = np.asarray(data, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError("data", data, allowed) from None
        if array.ndim != 2 or array.shape[1] != len(self.inputs) or not len(array):
            raise InputError("data", f"shape {array.shape}", allowed)
        if not np.all(np.isfinite(array)):
            raise InputError("data", "NaN or infinite entries", allowed)
        return array

    @property
    def n_parameters(self) -> int:
        """N."""
        return len(self.parameters)

    @property
    def n_outputs(self) -> int:
        """P."""
        return len(self.targets)

    def compile(self) -> CompiledProblem:
        """The problem with compiled kernels, made at first use and kept on disk; called wherever a problem is asked for."""
        return self._problem

    # -- formulas ------------------------------------------------------------------------------------

    @cached_property
    def outputs(self) -> tuple[sp.Expr, ...]:
        """f_1 .. f_P, the data inserted."""
        if not self.inputs:
            return self.formulas
        rows = [dict(zip(self.inputs, map(sp.Float, row), strict=True)) for row in self.data]
        return tuple(formula.xreplace(row) for row in rows for formula in self.formulas)

    @cached_property
    def jacobian(self) -> sp.Matrix:
        """J = df/dw, (P, N)."""
        return sp.Matrix(self.outputs).jacobian(sp.Matrix(self.parameters))

    @cached_property
    def hessian_on_manifold(self) -> sp.Matrix:
        """H = J^T J / P, (N, N): the loss's Hessian where f = y."""
        return self.jacobian.T * self.jacobian / self.n_outputs

    @cached_property
    def trace_hessian(self) -> sp.Expr:
        """tr H = |J|^2 / P."""
        return sp.Add(*(entry**2 for entry in self.jacobian)) / self.n_outputs

    @cached_property
    def trace_hessian_gradient(self) -> sp.Matrix:
        """Ambient gradient of tr H, (N, 1)."""
        return sp.Matrix([sp.diff(self.trace_hessian, w) for w in self.parameters])

    @cached_property
    def _normal_matrix(self) -> sp.Matrix | None:
        """J J^T / P on Gamma, (P, P), where it is small or diagonal; its eigenvalues are the normal ones."""
        if self.n_parameters > _CLOSED_PARAMETERS or (self.n_outputs > _CLOSED_OUTPUTS and not self.manifold):
            return None
        j = self._on_manifold(self.jacobian)
        k = (j * j.T / self.n_outputs).applyfunc(sp.factor_terms)
        return k if self.n_outputs <= _CLOSED_OUTPUTS or k.is_diagonal() else None

    def _on_manifold(self, expression: Any) -> Any:
        return expression.subs(self.manifold, simultaneous=True) if self.manifold else expression

    @cached_property
    def _inverse(self) -> sp.Matrix | None:
        """(J J^T / P)^-1 on Gamma."""
        k = self._normal_matrix
        if k is None:
            return None
        return sp.diag(*(1 / entry for entry in k.diagonal())) if k.is_diagonal() else k.adjugate() / k.det()

    @cached_property
    def _tangent_projection(self) -> sp.Matrix | None:
        """P_T = 1 - J^T (J J^T)^-1 J on Gamma."""
        if self._inverse is None:
            return None
        j = self._on_manifold(self.jacobian)
        return sp.eye(self.n_parameters) - j.T * self._inverse * j / self.n_outputs

    @cached_property
    def riemannian_gradient(self) -> sp.Matrix | None:
        """P_T grad tr H on Gamma, (N, 1). None without a short closed form: `at(w).gradient` is the number."""
        projection = self._tangent_projection
        return None if projection is None else projection * self._on_manifold(self.trace_hessian_gradient)

    @cached_property
    def riemannian_hessian(self) -> sp.Matrix | None:
        """M = P_T (hess tr H - sum_i nu_i hess f_i) P_T on Gamma, grad tr H = J^T nu in the normal space, (N, N)
        [theory: Drift, eq. 3.9].

        None without a short closed form: `at(w).hessian` is the number, in a basis of the tangent space.
        """
        if self._inverse is None or self._tangent_projection is None:
            return None
        j = self._on_manifold(self.jacobian)
        nu = self._inverse * j * self._on_manifold(self.trace_hessian_gradient) / self.n_outputs
        inner = self._on_manifold(sp.hessian(self.trace_hessian, self.parameters))
        for multiplier, output in zip(nu, self.outputs, strict=True):
            inner -= multiplier * self._on_manifold(sp.hessian(output, self.parameters))
        return self._tangent_projection * inner * self._tangent_projection

    @cached_property
    def normal_eigenvalues(self) -> tuple[sp.Expr, ...] | None:
        """lambda_j on Gamma, for P <= 2 or where J J^T is diagonal on a known Gamma; else None: `at(w).eigenvalues`."""
        k = self._normal_matrix
        return None if k is None else _eigenvalues(k)

    @cached_property
    def normal_eigenvalue_gradients(self) -> sp.Matrix | None:
        """P_T grad lambda_j on Gamma, (P, N), in the order of `normal_eigenvalues`; None where that is None.

        Where eigenvalues cross only the derivatives of their sum exist.
        """
        if self._normal_matrix is None or self._tangent_projection is None:
            return None
        j = self.jacobian
        if self._normal_matrix.is_diagonal():  # first-order perturbation theory asks for the diagonal alone
            off = [sp.Add(*(x**2 for x in j.row(i))) / self.n_outputs for i in range(self.n_outputs)]
        else:
            off = list(_eigenvalues(j * j.T / self.n_outputs))
        return self._on_manifold(sp.Matrix(off).jacobian(sp.Matrix(self.parameters))) * self._tangent_projection

    # -- points --------------------------------------------------------------------------------------

    def at(self, w: ArrayLike) -> ModelPoint:
        """The geometry at a point w (N,) of Gamma, in numbers. InputError where J loses rank, or f is not y or not smooth."""
        point = self._problem.check_point(w, "w")
        self._check_smooth(point)
        return ModelPoint(self._problem, point)

    def _check_smooth(self, w: Array) -> None:
        """InputError where an output or its derivative is not finite."""
        values = self._problem.outputs(w)
        for i in np.flatnonzero(~np.isfinite(values)):
            raise InputError("w", f"a point where outputs[{i}] is {values[i]}", "points where f is finite")
        where = dict(zip(self.parameters, map(sp.Float, w), strict=True))
        for i, k in np.argwhere(~np.isfinite(self._problem.jacobian(w))):
            # a sample's outputs share their reverse pass, and 0 times NaN is NaN: ask each derivative itself
            slope = sp.diff(self.outputs[i], self.parameters[k]).subs(where)
            if not slope.is_finite:
                given = f"a point where the derivative of outputs[{i}] in {self.parameters[k]} is {slope}"
                raise InputError("w", given, "points where f is smooth")

    def interpolating_point(self, seed: int = 0, scale: float = 1.0, max_steps: int = 20_000) -> Array:
        """A point of Gamma, (N,), from the model's `point`, or else from a random start.

        The random start has independent normal entries of standard deviation `scale`; Gauss-Newton first, then noise-free
        gradient descent of up to `max_steps`. InputError, naming the output furthest off, if neither interpolates.
        """
        rng = np.random.default_rng(check_integer(seed, "seed", 0))
        start = check_positive(scale, "scale") * rng.standard_normal(self.n_parameters)
        start = start if self._point is None else self._point
        with np.errstate(all="ignore"):
            try:
                return project_to_manifold(self._problem, start)
            except (InputError, np.linalg.LinAlgError):
                pass  # the start is too far for Gauss-Newton; descent takes the long way
            try:
                return descend_to_manifold(self._problem, start, max_steps)
            except (InputError, np.linalg.LinAlgError):
                off = np.abs(self._problem.residual(start))
        worst = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
        source = f"seed {seed}" if self._point is None else "the model's point"
        given = f"no interpolating point found from {source}; outputs[{worst}] starts {off[worst]:.3g} off its target"
        raise InputError("targets", given, "targets that the outputs reach together, or another seed, scale or point")

    def flattest_point(self, start: ArrayLike | None = None, rest: float = 1e-7) -> Array:
        """Where the drift along Gamma from `start` (N,), or else from `interpolating_point()`, comes to rest.

        `rest` as in `sde_momentum.drift_flow`.
        """
        return drift_flow(self._problem, self._on_gamma(start), rest=rest).points[-1]

    def _on_gamma(self, start: ArrayLike | None) -> Array:
        if start is None:
            return self.interpolating_point()
        return project_to_manifold(self._problem, self._problem.check_point(start))

    # -- momentum ------------------------------------------------------------------------------------

    def noise(self, label_noise: float, batch_size: int | None = None) -> float:
        """c = sigma^2 / B, B = P for None [theory: Setting, eq. 1.4]."""
        batch = self.n_outputs if batch_size is None else check_integer(batch_size, "batch_size", 1)
        if batch > self.n_outputs:
            raise InputError("batch_size", batch, f"a whole number from 1 to {self.n_outputs}")
        return float(check_non_negative(label_noise, "label_noise")) ** 2 / batch

    def momentum_rule(
        self,
        label_noise: float,
        batch_size: int | None = None,
        *,
        start: ArrayLike | None = None,
        curvature: float | None = None,
        explicit_curvature: float = 0.0,
        target: float | None = None,
    ) -> MomentumRule:
        """1 - beta = (c mu)^(1/3) eta^(2/3) with c and mu of this model [theory: Effective loss, eq. 5.5; Forces, eq. 6.2].

        mu is `curvature`, or else what the displacement from the flattest point that the drift reaches from `start`
        (or `interpolating_point()`) feels [theory: Drift, eq. 3.10]. The other arguments are `MomentumRule.from_geometry`'s.
        """
        noise = self.noise(label_noise, batch_size)
        if curvature is None:
            w = self._on_gamma(start)
            flow = drift_flow(self._problem, w)
            if len(flow.points) == 1:
                raise InputError("start", "a flattest point, where there is no drift", "another start, or curvature=")
            curvature = flow.flattest.curvature(w - flow.flattest.w)
        return MomentumRule.from_geometry(noise, curvature, explicit_curvature, target)

    def __repr__(self) -> str:
        return f"SymbolicModel({self.name!r}, N = {self.n_parameters}, P = {self.n_outputs})"


def _eigenvalues(k: sp.Matrix) -> tuple[sp.Expr, ...]:
    """Of a symmetric matrix that is diagonal or 2 x 2."""
    if k.is_diagonal():
        return tuple(k.diagonal())
    mean, gap = k.trace() / 2, sp.sqrt((k[0, 0] - k[1, 1]) ** 2 / 4 + k[0, 1] ** 2)
    return mean + gap, mean - gap


def _symbols(given: Sequence[sp.Symbol], argument: str) -> tuple[sp.Symbol, ...]:
    symbols = tuple(given)
    if not symbols:
        raise InputError(argument, "none", "at least one symbol")
    for symbol in symbols:
        if not isinstance(symbol, sp.Symbol):
            raise InputError(argument, symbol, "sympy symbols")
        if symbols.count(symbol) > 1:
            raise InputError(argument, f"{symbol} twice", "each symbol once")
    return symbols


def _expressions(given: Any, known: set[sp.Symbol]) -> tuple[sp.Expr, ...]:
    """The outputs as sympy expressions in the known symbols."""
    try:
        several = tuple(given) if isinstance(given, Sequence | sp.MatrixBase | np.ndarray) else (given,)
        expressions = tuple(sp.sympify(expression) for expression in several)
    except (sp.SympifyError, TypeError):
        raise InputError("outputs", given, "sympy expressions") from None
    if not expressions:
        raise InputError("outputs", "none", "at least one expression")
    seen: Symbols = {}
    for k, expression in enumerate(expressions):
        unknown = symbols_in(expression, seen) - known if isinstance(expression, sp.Basic) else ()
        for symbol in sorted(unknown, key=str):
            hint = ": the symbol of that name has other assumptions" if str(symbol) in set(map(str, known)) else ""
            raise InputError(f"outputs[{k}]", f"the symbol {symbol}{hint}", "parameters and inputs")
    return expressions


def _targets(given: Any, samples: int, outputs: int) -> Array:
    """P real finite numbers."""
    allowed = f"{samples * outputs} real finite numbers"
    values = np.asarray(given.tolist() if isinstance(given, sp.MatrixBase) else given, dtype=object)
    flat = []
    for i, value in enumerate(values.ravel()):
        try:
            number = complex(value)
        except (TypeError, ValueError):
            raise InputError(f"targets[{i}]", value, allowed) from None
        if number.imag or not np.isfinite(number.real):
            raise InputError(f"targets[{i}]", value, allowed)
        flat.append(number.real)
    if values.shape not in {(samples * outputs,), (samples, outputs), (samples, outputs, 1)}:
        raise InputError("targets", f"shape {values.shape}", allowed)
    return np.array(flat)
