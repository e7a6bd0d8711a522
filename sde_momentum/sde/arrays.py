"""Functions of whole batches of paths, in NumPy, PyTorch or JAX, and the steps of a method on arrays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .equation import Coefficient, Equation, to_library, to_numpy
from .methods.base import Method

Array = NDArray[np.float64]


def array_function(name: str, function: Coefficient, equation: Equation) -> Callable[[Array, float, Any], Array]:
    """f of x (components, n) as arrays of float64: (rows, n), or for general noise (rows, n_noise) or (rows, n_noise, n).

    `name`: that of a coefficient; any other is a function of the whole state with one row.
    """
    own = name in equation.coefficients()
    shape = equation.noise_shape(name) if own else "vector"
    rows = 1 if not own else equation.n_noise if shape == "diagonal" else equation.n_indices
    columns = (equation.n_noise,) if shape == "general" else ()
    single = (equation.n_indices if own else equation.dim) == 1
    library = equation.batched
    if library == "jax":
        import jax

        function = jax.jit(function)

    def on_arrays(x: Array, t: float, p: Any) -> Array:
        value = function(to_library(library, x[0] if single else x), t, p)
        if isinstance(value, tuple | list):  # of the components; for general noise of rows, which are tuples
            nested = bool(columns) and isinstance(value[0], tuple | list)
            entries = [to_numpy(b) for row in value for b in row] if nested else list(map(to_numpy, value))
            stacked = np.stack(np.broadcast_arrays(*entries))
            value = stacked.reshape(len(value), -1, *stacked.shape[1:]) if nested else stacked
        found = np.asarray(to_numpy(value), dtype=np.float64)
        if rows == 1 and found.ndim <= 1 + len(columns) and found.shape[:1] != (1,) * (found.ndim > len(columns)):
            found = found[None]
        elif found.ndim == 1 and not columns:
            found = found[:, None]  # a constant of each component
        allowed = (
            [(rows, *columns), (rows, *columns, 1), (rows, *columns, x.shape[1])] if columns else [(rows, 1), (rows, x.shape[1])]
        )
        if found.ndim == 0 or (found.shape == (1,) and rows == 1):
            return np.broadcast_to(found, (rows, x.shape[1]))
        if found.shape not in allowed:
            wanted = " or ".join(map(str, dict.fromkeys(allowed)))
            raise InputError(
                name, f"a function that returns shape {np.shape(value)} for n = {x.shape[1]} paths", f"shape {wanted}"
            )
        if columns:
            return found[..., 0] if found.shape[2:] == (1,) else found
        return np.broadcast_to(found, (rows, x.shape[1]))

    return on_arrays


def confined(equation: Equation, x: Array) -> Array:
    """Points within a step, set to the bounds of the domain."""
    if equation.domain is None:
        return x
    low, high = np.transpose(equation.domain)
    return np.clip(x, low[:, None], high[:, None])


_PRODUCT = re.compile(r"\((\w+)\.(\w+)\)@")
_JOINED = re.compile(r"(\w+)\* = (\w+)\((\w+)\*(.*)")


def array_step(equation: Equation, method: type[Method], h: float, functions: dict[str, Any]) -> Callable[..., Any]:
    """step(x, xi, zeta, t, p) -> the new state (dim, n): the method's text on arrays, for the step h.

    xi and zeta (numbers, n) are of variance 1; `functions`: the coefficients as `array_function`.
    """
    text, parts = method.text(equation), equation.parts
    constants = {name: v[:, None] if v.ndim == 1 else v for name, v in method.constants(equation, h).items()}
    shapes = {name: "general" if v.ndim == 2 and v.shape[1] != 1 else "vector" for name, v in constants.items()}
    body = ["dw = root * xi"] if re.search(r"\bdw\b", text) else []
    body += ["du = root * zeta"] if re.search(r"\bdu\b", text) else []
    for line in filter(None, map(str.strip, text.splitlines())):
        joined = _JOINED.fullmatch(line)
        if joined is not None:
            result, function, argument, rest = joined.groups()
            shapes[result] = equation.noise_shape(function)
            point = argument if argument in parts else f"confined(equation, {argument})"
            body.append(f"{result} = {function}({point}{rest}")
            continue
        line = _PRODUCT.sub(lambda m: f"_{shapes[m[1]]}({m[1]}, {m[2]})", line)
        line = re.sub(r"(\w+)@\[(\d+)\]", r"_column(\1, \2)", line)
        body.append(re.sub(r"(\w+)@", r"\1", line))
    first = [] if parts == ("x",) else [f"{part} = x[{i} * n : {i + 1} * n]" for i, part in enumerate(parts)]
    last = "new" if parts == ("x",) else f"np.concatenate([{', '.join(f'new_{part}' for part in parts)}])"
    source = "\n    ".join(["def step(x, xi, zeta, t, p):", *first, *body, f"return {last}"])
    scope: dict[str, Any] = {"np": np, "math": np, "max": np.maximum, "min": np.minimum, "confined": confined}
    scope |= constants | functions | {"equation": equation, "n": equation.n_indices, "h": h, "root": np.sqrt(h)}
    scope |= {"_diagonal": _diagonal(equation), "_scalar": np.multiply, "_vector": np.multiply, "_general": _general}
    scope["_column"] = _column
    exec(source, scope)
    step: Callable[..., Any] = scope["step"]
    return step


def _diagonal(equation: Equation) -> Callable[[Array, Array], Array]:
    """b_i dw_i for the components with noise, 0 for the others."""
    if equation.driven is None:
        return np.multiply

    def product(b: Array, dw: Array) -> Array:
        full = np.zeros((equation.dim, b.shape[1]))
        full[list(equation.driven or ())] = b * dw
        return full

    return product


def _column(b: Array, k: int) -> Array:
    """Column k of b (rows, n_noise) or (rows, n_noise, n), (rows, 1) or (rows, n)."""
    return b[:, k] if b.ndim == 3 else b[:, k : k + 1]


def _general(b: Array, dw: Array) -> Array:
    """sum_k b_ik dw_k, b (rows, n_noise) or (rows, n_noise, n)."""
    if np.ndim(dw) == 0:
        return b * dw
    return b @ dw if b.ndim == 2 else np.einsum("ikn,kn->in", b, dw)
