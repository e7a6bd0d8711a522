"""Stochastic differential equations as data: coefficients, noise, domain, and the check of a start."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, numbers
from ..core.extras import require

Coefficient = Callable[[Any, float, Any], Any]
"""f(x, t, p). In dim 1 x and the value are floats, in dim d tuples of d floats; p is the tuple of parameters."""

INTERPRETATIONS = ("ito", "stratonovich")
NOISES = ("diagonal", "scalar", "general")
OUTSIDE = ("fault", "clip", "reflect")


class Equation(ABC):
    """An equation for `dim` components, driven by `n_noise` independent Wiener processes.

    `parts`: names of the groups of components that a method treats alike, such as ("q", "v"), all of the same length
    `n_indices`. `driven`: the components with noise, if it is diagonal and not all have noise. `domain`: the interval
    of each component, `outside`: what happens to a path that leaves it; `batched`: whether functions take arrays (see `SDE`).
    """

    parts: ClassVar[tuple[str, ...]] = ("x",)
    interpretation: str = "ito"
    driven: tuple[int, ...] | None = None
    domain: tuple[tuple[float, float], ...] | None = None
    outside: str = "fault"
    batched: bool | str = False
    in_place: bool = False
    """Whether the coefficients are functions f(x, t, p, out), which set the entries of an array."""
    dim: int
    n_noise: int

    @abstractmethod
    def coefficients(self) -> dict[str, Coefficient]:
        """The user's functions, by name."""

    @property
    def n_indices(self) -> int:
        """Number of components of each part."""
        return self.dim // len(self.parts)

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names of the components: x in dim 1, else x0, x1, ...; of a Langevin equation q, v, or q0, q1, ..., v0, v1, ..."""
        n = self.n_indices
        return tuple(part if n == 1 else f"{part}{i}" for part in self.parts for i in range(n))

    def noise_shape(self, name: str) -> str:
        """Form of coefficient `name`: "vector" if it multiplies no noise, else one of NOISES."""
        return "vector"

    def evaluate(self, name: str, function: Coefficient, x: NDArray[np.float64], t: float, p: tuple[float, ...]) -> Any:
        """The function's value at one point x (components,) in plain Python, in its own form; None where it has none."""
        single = len(x) == 1
        if self.batched:
            return call(name, function, to_library(self.batched, x if single else x[:, None]), t, p)
        if self.in_place:
            return self._evaluate_in_place(name, function, x, t, p)
        return call(name, function, float(x[0]) if single else tuple(map(float, x)), t, p)

    def _evaluate_in_place(self, name: str, function: Coefficient, x: NDArray[np.float64], t: float, p: tuple[float, ...]) -> Any:
        if name not in self.coefficients():
            return call(name, function, x, t, p)
        shape = self.noise_shape(name)
        rows = self.n_noise if shape == "diagonal" else self.dim
        out = np.full((rows, self.n_noise) if shape == "general" else rows, np.nan)
        plain: Any = getattr(function, "py_func", function)
        found = call(name, lambda x, t, p: (plain(x, t, p, out), True), x, t, p)
        if found is None:
            return None
        if np.any(np.isnan(out)):
            missing = ", ".join(map(str, np.argwhere(np.isnan(out))[0]))
            raise InputError(name, f"a function that leaves out[{missing}] unset or NaN", "one that sets every entry")
        if rows == 1 and shape != "general":
            return float(out[0])
        values = tuple(map(tuple, out.tolist())) if shape == "general" else tuple(out.tolist())
        return values[0] if shape == "general" and rows == 1 else values

    def check_start(self, x0: ArrayLike) -> NDArray[np.float64]:
        """x0 as a finite array (dim,) in the domain; a scalar is allowed in dim 1."""
        allowed = "a finite number" if self.dim == 1 else f"{self.dim} finite numbers"
        try:
            start = np.atleast_1d(np.asarray(x0, dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError("x0", x0, allowed) from None
        if start.shape != (self.dim,) or not np.all(np.isfinite(start)):
            raise InputError("x0", x0, allowed)
        if self.domain is not None:
            low, high = np.transpose(self.domain)
            if np.any((start < low) | (start > high)):
                raise InputError("x0", x0, f"a point of the domain {self.domain}")
        return start

    def probe(self, start: NDArray[np.float64], t: float, p: tuple[float, ...]) -> None:
        """Call each function once, as Python, at the start; InputError for one that returns the wrong form."""
        n = self.n_indices
        for name, function in self.coefficients().items():
            shape = self.noise_shape(name)
            columns, rows = (self.n_noise if shape == "general" else None), (self.n_noise if shape == "diagonal" else n)
            if self.batched:
                continue  # their shapes are checked wherever they are called
            value = self.evaluate(name, function, start[:n], t, p)
            if value is not None and not _has_form(value, rows, columns):
                raise InputError(name, f"a function that returns {value!r}", f"a function that returns {_form(rows, columns)}")


LIBRARIES = ("numpy", "torch", "jax")


def to_library(batched: bool | str, x: NDArray[np.float64]) -> Any:
    """An array as the library's."""
    if batched == "torch":
        import torch

        return torch.from_numpy(x)
    if batched == "jax":
        import jax
        import jax.numpy as jnp

        if not jax.config.jax_enable_x64:
            raise InputError("batched", "'jax' with 32 bits", "jax.config.update('jax_enable_x64', True) before")
        return jnp.asarray(x)
    return x


def to_numpy(value: Any) -> Any:
    """An array of any library as NumPy's; numbers stay."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def check_batched(batched: Any) -> bool | str:
    """False, or the name of a library; True stands for NumPy."""
    if batched not in (False, True, *LIBRARIES):
        raise InputError("batched", batched, "False, True, " + ", ".join(map(repr, LIBRARIES)))
    if batched in ("torch", "jax"):
        require(f"batched={batched!r}", batched)
    return "numpy" if batched is True else batched


_CLOCKS, _PARAMETERS = ("t", "time"), ("p", "params", "parameters", "args")


def check_function(argument: str, function: Any) -> None:
    """InputError unless it is a function f(x, t, p), in this order if its arguments are called so."""
    allowed = "a function f(x, t, p): of state, time and parameters, in this order"
    if not callable(function):
        raise InputError(argument, function, allowed)
    try:
        names = list(inspect.signature(getattr(function, "py_func", function)).parameters)[:3]
    except (TypeError, ValueError):  # a function without a signature
        return
    first, second, third = (*names, "", "", "")[:3]
    if first in (*_CLOCKS, *_PARAMETERS) or second in _PARAMETERS or third in _CLOCKS:
        raise InputError(argument, f"f({', '.join(names)})", allowed)


def writes(function: Any) -> bool:
    """Whether it is a function f(x, t, p, out)."""
    try:
        names = list(inspect.signature(getattr(function, "py_func", function)).parameters)
    except (TypeError, ValueError):
        return False
    return names[3:4] == ["out"]


def call(name: str, function: Coefficient, x: Any, t: float, p: tuple[float, ...]) -> Any:
    """The function's value in plain Python; None where it has none at (x, t), such as sqrt(-1): paths there are faulty."""
    try:
        return getattr(function, "py_func", function)(x, t, p)
    except (ArithmeticError, ValueError):
        return None
    except (IndexError, TypeError) as error:
        state = "x one number (dim = 1)" if np.ndim(x) == 0 else f"x of {len(x)} components"
        raise InputError(name, f"a function that raises {error!r}", f"f(x, t, p) with {state} and {len(p)} parameters") from None


def _is_number(value: Any) -> bool:
    return bool(np.isscalar(value)) and not isinstance(value, str) and not np.iscomplexobj(value)


def _has_form(value: Any, n: int, columns: int | None) -> bool:
    if columns is None:
        if n == 1:
            return _is_number(value)
        return isinstance(value, tuple) and len(value) == n and all(map(_is_number, value))
    rows = (value,) if n == 1 else value
    return (
        isinstance(rows, tuple)
        and len(rows) == n
        and all(isinstance(r, tuple) and _has_form((*r, 0.0), columns + 1, None) for r in rows)
    )


def _form(n: int, columns: int | None) -> str:
    row = "a float" if columns is None else f"a tuple of {columns} floats"
    if n == 1:
        return row
    return f"a tuple of {n} floats" if columns is None else f"a tuple of {n} tuples of {columns} floats"


@by_annotations
@dataclass(frozen=True)
class SDE(Equation):
    """An equation of the user's own: dX_i = a_i(X, t; p) dt + sum_k b_ik(X, t; p) dW_k, i = 1..dim.

    `drift` a and `diffusion` b are plain scalar Python, f(x, t, p), which numba compiles: for dim 1, x and the value
    are floats; for dim d > 1, tuples of d floats. t is the equation's own time, p the tuple of float parameters given
    to `solve`. +, -, *, /, **, abs, min, max and the functions of `math` run many paths at once; branches are allowed,
    and step the paths one by one. They may call functions of the same kind.

    `noise`: "diagonal", one Wiener process per component, b_i its coefficient; "scalar", one for all, b_i again;
    "general", `n_noise` of them, b a tuple of d rows of n_noise floats (d = 1: one row). `driven`: the numbers of the
    components that have noise, if it is diagonal and not all do; b then has a value for each of these alone.
    `additive`: b does not depend on x, as the method "sra1" needs it. `interpretation`: "ito" or "stratonovich" (b ∘ dW).
    `diffusion_derivative`: ∂b_i/∂x_i in the form of b (diagonal noise), for methods that use it; without it they take a
    central difference along b, over a thousandth of a step's noise: give it where b is not smooth and paths come near.

    `domain`: ((low, high), ...), one closed interval per component (±inf: no bound; dim 1: one pair will do), which a path
    may not leave. `outside`: what happens to one that a step takes out of it: "fault", it is faulty, left out from then on;
    "clip", the component is set to the bound; "reflect", it is mirrored at the bound. Such steps are counted (`exits`). The
    coefficients are taken at points of the domain alone: a method's points within a step are set to its bounds.

    `linear`: a matrix A (dim, dim), its diagonal (dim,) or a number, such that the drift is A x and a part that is not stiff; the
    method "exponential-euler" steps A x exactly. `drift` is the whole drift, A x included; other methods do not use A.

    Functions f(x, t, p, out) of many components set the entries of `out` in loops over those of x, with captured arrays as
    matrices: `for i in range(len(x)): ...`. They compile in seconds for any dim, and run many paths at once too; out has the
    entries of the value (general noise: out[i, k]), all of which must be set. Functionals and events index x likewise.

    `batched`: the functions take all paths of a batch at once, as arrays, for equations of many components (`A @ x`, a network's
    gradient): x is (dim, n) for n paths (dim 1: (n,)), the value likewise or of one column, or one number; for general noise
    (dim, n_noise), or (dim, n_noise, n). True or "numpy": NumPy's arrays; "torch" or "jax": that library's, of float64 (JAX's
    functions are compiled with `jax.jit`). So do functionals and events, of one row. Methods, statistics and the paths' random
    numbers are the same; steppings are `Fixed` and `OnIncrements`.

    Source: Kloeden, Platen 1992, sec. 4.8. Methods of strong order 1 reach it where b_i depends on x_i and t alone.
    Raises InputError for a dim, a noise, an interpretation, a domain or a function that cannot be used.

    >>> SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1]).dim
    1
    """

    drift: Coefficient
    diffusion: Coefficient
    dim: int = 1
    interpretation: str = "ito"
    diffusion_derivative: Coefficient | None = None
    noise: str = "diagonal"
    n_noise: int = 0
    driven: tuple[int, ...] | None = None
    additive: bool = False
    batched: bool | str = False
    domain: tuple[tuple[float, float], ...] | None = None
    outside: str = "fault"
    linear: ArrayLike | None = None

    def __post_init__(self) -> None:
        check_integer(self.dim, "dim", 1)
        object.__setattr__(self, "batched", check_batched(self.batched))
        for name, value, allowed in (
            ("interpretation", self.interpretation, INTERPRETATIONS),
            ("noise", self.noise, NOISES),
            ("outside", self.outside, OUTSIDE),
        ):
            if value not in allowed:
                raise InputError(name, value, " or ".join(map(repr, allowed)))
        for name, function in self.coefficients().items():
            check_function(name, function)
        if self.driven is not None:
            object.__setattr__(self, "driven", _check_driven(self.driven, self.dim, self.noise))
        own = {"diagonal": self.dim if self.driven is None else len(self.driven), "scalar": 1}.get(self.noise)
        if own is None:
            check_integer(self.n_noise, "n_noise", 1)
        elif self.n_noise not in (0, own):
            raise InputError("n_noise", self.n_noise, f"{own}, as the noise is {self.noise}")
        else:
            object.__setattr__(self, "n_noise", own)
        if self.diffusion_derivative is not None and self.noise != "diagonal":
            raise InputError("diffusion_derivative", "a function", "none where the noise is not diagonal")
        object.__setattr__(self, "in_place", any(map(writes, self.coefficients().values())))
        if self.in_place:
            if not all(map(writes, self.coefficients().values())):
                raise InputError("drift", "some functions f(x, t, p, out), some f(x, t, p)", "all of one form")
            if self.batched or self.driven is not None:
                raise InputError("driven", self.driven, "None, and batched=False, for functions f(x, t, p, out): write 0 instead")
        if self.domain is not None:
            object.__setattr__(self, "domain", _check_domain(self.domain, self.dim))
        if self.linear is not None:
            object.__setattr__(self, "linear", plain_matrix("linear", self.linear, self.dim))

    def coefficients(self) -> dict[str, Coefficient]:
        given = {"drift": self.drift, "diffusion": self.diffusion}
        return given if self.diffusion_derivative is None else given | {"diffusion_derivative": self.diffusion_derivative}

    def noise_shape(self, name: str) -> str:
        return self.noise if name.startswith("diffusion") else "vector"

    def probe(self, start: NDArray[np.float64], t: float, p: tuple[float, ...]) -> None:
        super().probe(start, t, p)
        if self.additive:
            values = [self.evaluate("diffusion", self.diffusion, start + shift, t, p) for shift in (0.0, 0.125)]
            if not np.array_equal(*map(to_numpy, values)):
                raise InputError("additive", f"True, but b depends on x: {values[0]} and {values[1]}", "True for b(t)")


def plain_matrix(name: str, value: ArrayLike, n: int) -> float | tuple[float, ...] | tuple[tuple[float, ...], ...]:
    """A finite number, n of them, or n rows of n, as tuples: equations are compared and hashed."""
    allowed = "a finite number" if n == 1 else f"a finite number, {n} of them, or a matrix ({n}, {n})"
    array = numbers(name, value, allowed)
    if array.shape not in ((), (n,), (n, n)) or not np.all(np.isfinite(array)):
        raise InputError(name, value if array.ndim == 0 else f"shape {array.shape}", allowed)
    if array.ndim < 2:
        return float(array) if array.ndim == 0 else tuple(map(float, array))
    return tuple(tuple(map(float, row)) for row in array)


def _check_driven(driven: Any, dim: int, noise: str) -> tuple[int, ...]:
    if noise != "diagonal":
        raise InputError("driven", driven, "None where the noise is not diagonal")
    try:
        numbers = tuple(int(i) for i in driven)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or list(numbers) != sorted(set(numbers)) or numbers[0] < 0 or numbers[-1] >= dim or numbers != tuple(driven):
        raise InputError("driven", driven, f"increasing whole numbers from 0 to {dim - 1}, at least one")
    return numbers


def _check_domain(domain: Any, dim: int) -> tuple[tuple[float, float], ...]:
    allowed = f"{dim} pairs (low, high), low < high, ±inf for no bound"
    try:
        pairs = np.atleast_2d(np.asarray(domain, dtype=np.float64))  # infinite bounds are allowed
    except (TypeError, ValueError, OverflowError):
        raise InputError("domain", domain, allowed) from None
    if pairs.shape != (dim, 2) or not np.all(pairs[:, 0] < pairs[:, 1]):
        raise InputError("domain", domain, allowed)
    return tuple((float(low), float(high)) for low, high in pairs)


def check_parameters(parameters: Sequence[float]) -> tuple[float, ...]:
    """p as a tuple of finite floats."""
    try:
        p = np.asarray(parameters, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError("parameters", parameters, "a sequence of finite numbers") from None
    if p.ndim != 1:
        raise InputError("parameters", f"shape {p.shape}", "a sequence of numbers")
    if not np.all(np.isfinite(p)):
        raise InputError("parameters", p[~np.isfinite(p)][0], "a sequence of finite numbers")
    return tuple(map(float, p))
