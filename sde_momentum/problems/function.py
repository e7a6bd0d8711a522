"""A problem from a user's function in NumPy, PyTorch or JAX; derivatives are given, or by differences, or by autodiff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import InputError, check, check_integer, check_positive
from .problem import Array, Problem

Function = Callable[..., Any]

_FIRST, _SECOND = 3e-6, 3e-5
"""Steps of first and second central differences in units of 1 + max |w|: truncation and rounding errors balance."""


class FunctionProblem(Problem):
    """Outputs f(w) given as a function, with targets y: loss |f(w) - y|^2 / (2P) [theory: Setting, eq. 1.1].

    Derivatives that are not given are central differences. Where f and its derivatives are of order 1 their errors are about 1e-9
    (J), 1e-8 (second derivatives from a given J) and 1e-6 (second derivatives from f alone); they take 2 N calls of f or J, and
    4 N^2 of f. With PyTorch or JAX take `from_torch` or `from_jax`, whose derivatives are exact to rounding.

    Args:
        outputs: f, w (N,) -> (P,)
        targets: y, P finite numbers
        n_parameters: N
        jacobian: J = df/dw, w (N,) -> (P, N)
        contract_hessians: sum_i hess f_i c_i, the gradient of <c, J(w)> at fixed c, (w (N,), c (P, N)) -> (N,)
        test_error: w (N,) -> a number
        name: in results and messages
        vectorized: the functions take many points at once: n rows in, w (n, N), and n rows out; faster

    Raises:
        InputError: for targets that are not finite numbers, or outputs of another shape.

    >>> import sde_momentum as sm
    >>> x = np.linspace(-1, 1, 5)
    >>> problem = FunctionProblem(lambda w: w[1] * np.tanh(w[0] * x), np.tanh(x), 2)
    >>> w = problem.interpolating_start(seed=1)
    >>> bool(problem.loss(w) < 1e-20), sm.ManifoldPoint(problem, w).rank
    (True, 2)
    """

    def __init__(
        self,
        outputs: Function,
        targets: ArrayLike,
        n_parameters: int,
        *,
        jacobian: Function | None = None,
        contract_hessians: Function | None = None,
        test_error: Function | None = None,
        name: str = "function",
        vectorized: bool = False,
    ) -> None:
        self.name = name
        self.targets = check("targets", targets, np.isfinite, "finite numbers").ravel()
        self.n_parameters = check_integer(n_parameters, "n_parameters", 1)
        given = {
            "outputs": outputs, "jacobian": jacobian, "contract_hessians": contract_hessians, "test_error": test_error,
        }  # fmt: skip
        for argument, function in given.items():
            if function is not None and not callable(function):
                raise InputError(argument, function, "a function of w")
        self._functions = {k: f if vectorized else _each(f) for k, f in given.items() if f is not None}
        with np.errstate(all="ignore"):
            found = np.shape(self._functions["outputs"](np.zeros((1, self.n_parameters))))[1:]
        if found != self.targets.shape:
            raise InputError(
                "outputs", f"values of shape {found}", f"a function to the shape of the targets, {self.targets.shape}"
            )

    @classmethod
    def from_torch(
        cls, outputs: Function, targets: ArrayLike, n_parameters: int, *, test_error: Function | None = None, name: str = "torch"
    ) -> FunctionProblem:
        """f in PyTorch: a tensor (N,) of doubles to a tensor (P,), of operations that `torch.func` differentiates.

        The other arguments and errors are those of `FunctionProblem`; `test_error` is in PyTorch too.

        >>> import pytest
        >>> torch = pytest.importorskip("torch")
        >>> problem = FunctionProblem.from_torch(lambda w: w[:1] * w[1:], [1.0], 2)
        >>> problem.jacobian(np.array([2.0, 0.5])).tolist()
        [[0.5, 2.0]]
        """
        import torch
        from torch import func

        def on_arrays(function: Function) -> Function:
            def call(*arrays: Array) -> Array:
                tensors = (torch.as_tensor(np.array(x, dtype=np.float64)) for x in arrays)
                return np.asarray(function(*tensors).detach().numpy())

            return call

        return cls._by_autodiff(func, on_arrays, outputs, targets, n_parameters, test_error, name)

    @classmethod
    def from_jax(
        cls, outputs: Function, targets: ArrayLike, n_parameters: int, *, test_error: Function | None = None, name: str = "jax"
    ) -> FunctionProblem:
        """f in JAX: an array (N,) of doubles to an array (P,), of operations that JAX traces; compiled at first use.

        The other arguments and errors are those of `FunctionProblem`; `test_error` is in JAX too.
        """
        import jax
        from jax import experimental

        double = jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64  # its home before JAX 0.8

        def on_arrays(function: Function) -> Function:
            compiled = jax.jit(function)

            def call(*arrays: Array) -> Array:
                with double(True):
                    return np.array(compiled(*(np.asarray(x, dtype=np.float64) for x in arrays)))

            return call

        return cls._by_autodiff(jax, on_arrays, outputs, targets, n_parameters, test_error, name)

    @classmethod
    def _by_autodiff(
        cls, tool: Any, on_arrays: Callable[[Function], Function], f: Function, targets: ArrayLike, n_parameters: int,
        test_error: Function | None, name: str,
    ) -> FunctionProblem:  # fmt: skip
        """With vmap, jacrev, grad and vjp from `tool`, `torch.func` or `jax`; `on_arrays` makes its functions take arrays."""

        def contract(w: Any, c: Any) -> Any:
            return tool.grad(lambda x: (c * tool.jacrev(f)(x)).sum())(w)

        def pullback(w: Any, r: Any) -> Any:
            return tool.vjp(f, w)[1](r)[0]

        def many(function: Function) -> Function:
            return on_arrays(tool.vmap(function))

        problem = cls(
            many(f), targets, n_parameters, jacobian=many(tool.jacrev(f)), contract_hessians=many(contract),
            test_error=None if test_error is None else many(test_error), name=name, vectorized=True,
        )  # fmt: skip
        problem._functions["pullback"] = many(pullback)
        return problem

    def _call(self, name: str, w: Array, *others: Array) -> Array:
        """One of the functions of w (..., N) and its other arguments, over their broadcast leading axes."""
        leading = np.broadcast_shapes(w.shape[:-1], *(x.shape[: x.ndim - n] for x, n in zip(others, _AXES[name], strict=True)))
        rows = [np.broadcast_to(w, (*leading, w.shape[-1])).reshape(-1, w.shape[-1])]
        for x, n in zip(others, _AXES[name], strict=True):
            own = x.shape[x.ndim - n :]
            rows.append(np.broadcast_to(x, (*leading, *own)).reshape(-1, *own))
        values = np.asarray(self._functions[name](*rows), dtype=np.float64)
        return values.reshape(*leading, *values.shape[1:])

    def outputs(self, w: Array) -> Array:
        return self._call("outputs", w)

    def jacobian(self, w: Array) -> Array:
        return self._call("jacobian", w) if "jacobian" in self._functions else self._jacobian_by_differences(w, _FIRST)

    def pullback(self, w: Array, r: Array) -> Array:
        return self._call("pullback", w, r) if "pullback" in self._functions else super().pullback(w, r)

    def contract_hessians(self, w: Array, c: Array) -> Array:
        if "contract_hessians" in self._functions:
            return self._call("contract_hessians", w, c)
        exact = "jacobian" in self._functions
        step = _step(w, _FIRST if exact else _SECOND)
        out = []
        for shift in np.eye(self.n_parameters):  # one after the other: many Jacobians at once need much memory
            both = np.stack([w + step * shift, w - step * shift])
            ahead, behind = self.jacobian(both) if exact else self._jacobian_by_differences(both, _SECOND)
            out.append(((ahead - behind) * c).sum(axis=(-2, -1)) / (2 * step[..., 0]))
        return np.stack(out, axis=-1)

    def _jacobian_by_differences(self, w: Array, size: float) -> Array:
        step = _step(w, size)[..., None, :]
        shifts = step * np.eye(self.n_parameters)
        ahead, behind = self.outputs(np.stack([w[..., None, :] + shifts, w[..., None, :] - shifts]))
        return np.swapaxes((ahead - behind) / (2 * step), -1, -2)

    def test_error(self, w: Array) -> Array:
        """The given function's values; NaN where there is none."""
        return self._call("test_error", w) if "test_error" in self._functions else super().test_error(w)

    def random_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """Independent normal entries of standard deviation `scale`, (N,)."""
        rng = np.random.default_rng(check_integer(seed, "seed", 0))
        return np.asarray(check_positive(scale, "scale") * rng.standard_normal(self.n_parameters))


_AXES = {"outputs": (), "jacobian": (), "test_error": (), "pullback": (1,), "contract_hessians": (2,)}
"""Number of axes, beyond the leading ones, of each argument after w."""


def _each(function: Function) -> Function:
    """A function of one point as one of many, row by row."""
    return lambda *arrays: np.stack([np.asarray(function(*row), dtype=np.float64) for row in zip(*arrays, strict=True)])


def _step(w: Array, size: float) -> Array:
    """The step of a difference at w: (..., N) -> (..., 1)."""
    return np.asarray(size * (1 + np.abs(w).max(axis=-1, keepdims=True)))
