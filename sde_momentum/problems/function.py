"""A problem from a user's function in NumPy, PyTorch or JAX, or from a `torch.nn.Module`: `Problem.from_function`."""

from __future__ import annotations

import copy
import sys
import uuid
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import InputError, check, check_integer, check_positive
from ..core.fingerprint import fingerprint
from .array_functions import Array, ArrayFunctions, Function, row_by_row
from .autodiff import call_jax, call_torch, check_device, jax_functions, module_function, torch_functions
from .differences import numpy_functions
from .interpolation import descend_to_manifold
from .problem import Problem, as_problem


class FunctionProblem(Problem):
    """Outputs f(w) given as a function, with targets y: loss |f(w) - y|^2 / (2P) [theory: Setting, eq. 1.1].

    `Problem.from_function` makes it:

    >>> from sde_momentum import Problem
    >>> product = Problem.from_function(lambda w: w[:1] * w[1:], [1.0], start=[2.0, 0.5])
    >>> type(product).__name__, product.n_parameters, product.outputs([3.0, 0.5]).tolist()
    ('FunctionProblem', 2, [1.5])


    Attributes:
        derivatives: how they are found: "torch autodiff", "jax autodiff", "complex step", "central differences" or "given"
        own_start: the point given with the function, or the module's own parameters, (N,); None for none
    """

    def __init__(
        self, functions: ArrayFunctions, targets: Array, n_parameters: int, *, name: str, start: Array | None, code: str,
        made_by: Callable[[], Problem],
    ) -> None:  # fmt: skip
        self.name, self.targets, self.n_parameters = name, targets, n_parameters
        self.derivatives, self.own_start = functions.derivatives, start
        self._functions, self._code, self._made_by = functions, code, made_by

    def __reduce__(self) -> tuple[Any, ...]:
        return self._made_by, ()  # in another process, from the function itself

    @property
    def lanes(self) -> int:
        return self._functions.lanes

    def settings(self) -> dict[str, Any]:
        """Those of every problem, and a hash of the function's code and data."""
        return super().settings() | {"code": self._code}

    def outputs(self, w: Array) -> Array:
        return _on_leading_axes(self._functions.outputs, (w, 1))

    def jacobian(self, w: Array) -> Array:
        return _on_leading_axes(self._functions.jacobian, (w, 1))

    def contract_hessians(self, w: Array, c: Array) -> Array:
        return _on_leading_axes(self._functions.contract_hessians, (w, 1), (c, 2))

    def pullback(self, w: Array, r: Array) -> Array:
        vjp = self._functions.vjp
        return super().pullback(w, r) if vjp is None else _on_leading_axes(lambda rows, r: vjp(rows)[1](r), (w, 1), (r, 1))

    def vjp(self, w: Array) -> tuple[Array, Callable[[Array], Array]]:
        if self._functions.vjp is None:
            return super().vjp(w)
        values, pullback = self._functions.vjp(w.reshape(-1, self.n_parameters))
        leading = w.shape[:-1]
        return values.reshape(*leading, -1), lambda r: pullback(r.reshape(-1, self.n_outputs)).reshape(*leading, -1)

    def test_error(self, w: Array) -> Array:
        """The given function's values; NaN where there is none."""
        given = self._functions.test_error
        return super().test_error(w) if given is None else _on_leading_axes(given, (w, 1))

    def random_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """Independent normal entries of standard deviation `scale`, (N,)."""
        rng = np.random.default_rng(check_integer(seed, "seed", 0))
        return np.asarray(check_positive(scale, "scale") * rng.standard_normal(self.n_parameters))

    def interpolating_start(self, scale: float = 1.0, seed: int = 0) -> Array:
        """A point of Gamma, (N,): where gradient flow ends from `own_start`, or else from `random_start(scale, seed)`."""
        return descend_to_manifold(self, self.random_start(scale, seed) if self.own_start is None else self.own_start)


def _on_leading_axes(function: Function, *arrays: tuple[Array, int]) -> Array:
    """A function of rows over the leading axes of its arguments, which broadcast; each stands with its number of own axes."""
    leading = np.broadcast_shapes(*(x.shape[: x.ndim - own] for x, own in arrays))
    rows = []
    for x, own in arrays:
        shape = x.shape[x.ndim - own :]
        rows.append(np.broadcast_to(x, (*leading, *shape)).reshape(-1, *shape))
    values = np.asarray(function(*rows), dtype=np.float64)
    return values.reshape((*leading, *values.shape[1:]))


# -- from a function to a problem ----------------------------------------------------------------------

_CALLS: dict[str, Function] = {"numpy": lambda f, w: f(w), "torch": call_torch, "jax": call_jax}
_FLOAT64 = "outputs in float64, as w is: data and constants in float64, too"
_N_POINTS = 3
"""Points at which a function is looked at; no symmetry relates them."""


def problem_from_function(
    f: Any,
    targets: ArrayLike | None = None,
    n_parameters: int | None = None,
    *,
    inputs: Any = None,
    start: ArrayLike | None = None,
    batched: bool | None = None,
    device: str | None = None,
    jacobian: Function | None = None,
    contract_hessians: Function | None = None,
    test_error: Function | None = None,
    name: str | None = None,
) -> Problem:
    """`Problem.from_function`, which documents it."""
    options = {
        "inputs": inputs, "start": start, "batched": batched, "device": device, "jacobian": jacobian,
        "contract_hessians": contract_hessians, "test_error": test_error, "name": name,
    }  # fmt: skip
    if not _is_module(f) and hasattr(f, "compile"):
        _refuse({"targets": targets, "n_parameters": n_parameters} | options, "None: a SymbolicModel has its own")
        return as_problem(f, "f")
    if targets is None:
        raise InputError("targets", None, "the targets y, P finite numbers")
    if device is not None:
        if "torch" not in sys.modules:  # f would have imported it
            raise InputError("device", device, "None: f is not in PyTorch")
        check_device(device)
    function, label, cast = f, name or getattr(f, "__name__", "function").replace("<lambda>", "function"), ""
    if _is_module(f):
        f = copy.deepcopy(f)  # it may be trained, and w would start elsewhere
        label, cast = name or type(f).__name__, ", the module cast to float64" if _is_narrow(f) else ""
        function, own = module_function(f, inputs, device)
        start = own if start is None else start
    else:
        _refuse({"inputs": inputs}, "None: only a torch.nn.Module takes its inputs apart")
    given = {"jacobian": jacobian, "contract_hessians": contract_hessians, "test_error": test_error}
    for argument, value in {"f": function, **{key: value for key, value in given.items() if value is not None}}.items():
        if not callable(value):
            raise InputError(argument, value, "a function of w")
    if n_parameters is None and start is None:
        raise InputError("n_parameters", None, "a whole number >= 1: the number of parameters N")
    n = check_integer(np.size(start) if n_parameters is None else n_parameters, "n_parameters", 1, 10**8)  # type: ignore[arg-type]
    look = _Look(function, n, _as_targets(targets), start, device)
    framework, many = look.find(batched)
    points = look.finite_points(framework, many)
    if framework != "torch":
        _refuse({"device": device}, f"None: f is in {framework}, not in PyTorch")
    if framework == "numpy":
        functions = _in_numpy(function, points, len(look.targets), batched, tuple(given.values()))
    else:
        _refuse({key: given[key] for key in ("jacobian", "contract_hessians")}, f"None: {framework} differentiates f itself")
        make = partial(torch_functions, device=device) if framework == "torch" else jax_functions
        functions = make(function, (n, len(look.targets)), many, test_error)
    functions = replace(functions, derivatives=functions.derivatives + cast)
    problem = FunctionProblem(
        functions, look.targets, n, name=label, start=look.start,
        code=_code(function, test_error), made_by=partial(problem_from_function, f, targets, n_parameters, **options),
    )  # fmt: skip
    look.compare(problem, framework, many, points)
    return problem


def _refuse(given: dict[str, Any], allowed: str) -> None:
    """InputError for an argument that is not used."""
    for argument, value in given.items():
        if value is not None:
            raise InputError(argument, "a value" if argument == "inputs" or callable(value) else value, allowed)


def _code(f: Function, test_error: Function | None) -> str:
    """A hash of the functions' code and data; one of its own where they refer to what cannot be hashed."""
    known = fingerprint({"f": f} | ({} if test_error is None else {"test_error": test_error}), mutable=True)
    return known or f"not known: {uuid.uuid4().hex}"


def _is_module(f: Any) -> bool:
    torch = sys.modules.get("torch")  # without it there is no module
    return torch is not None and isinstance(f, torch.nn.Module)


def _is_narrow(module: Any) -> bool:
    return any(value.dtype != sys.modules["torch"].float64 for value in module.parameters())


def _as_targets(targets: Any) -> Array:
    plain = targets.detach().cpu().numpy() if hasattr(targets, "detach") else targets
    return check("targets", plain, np.isfinite, "finite numbers").ravel()


def _in_numpy(
    f: Function, points: Array, n_outputs: int, batched: bool | None, given: tuple[Function | None, ...]
) -> ArrayFunctions:
    """f, and its Jacobian, contracted Hessians and test error where they are `given`, as functions of rows."""
    n = points.shape[1]
    rng = np.random.default_rng(2)
    c = rng.standard_normal((len(points), n_outputs, n))
    arguments, shapes = ((points,), (points, c), (points,)), ((n_outputs, n), (n,), ())
    outputs, many = _of_rows("f", f, (points,), (n_outputs,), batched)
    names = ("jacobian", "contract_hessians", "test_error")
    jacobian, contract, error = (
        None if g is None else _of_rows(name, g, a, shape, batched)[0]
        for name, g, a, shape in zip(names, given, arguments, shapes, strict=True)
    )
    return replace(numpy_functions(outputs, points, jacobian, contract, many), test_error=error)


def _of_rows(
    argument: str, function: Function, arguments: tuple[Array, ...], shape: tuple[int, ...], batched: bool | None
) -> tuple[Function, bool]:
    """A NumPy function as one of rows, to values of `shape` each; and whether it takes many rows itself."""

    def shaped(of_rows: Function) -> Function:
        return lambda *rows: np.asarray(of_rows(*rows)).reshape(len(rows[0]), *shape)

    both = {True: shaped(function), False: shaped(row_by_row(function))}
    values, errors = {}, []
    for many in (False, True) if batched is None else (batched,):
        try:
            with np.errstate(all="ignore"):
                values[many] = both[many](*(x.copy() for x in arguments))
        except Exception as error:
            errors.append(error)
    if not values:
        raise InputError(
            argument, _told(errors[0]), f"a function to values of shape {shape} at w of shape {arguments[0].shape[1:]}"
        )
    many = len(values) == 1 and True in values
    if len(values) == 2:
        many = np.allclose(values[True], values[False], rtol=1e-9, atol=1e-12, equal_nan=True)
    return both[many], many


def _told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


class _Look:
    """A look at a function: in which framework it is, whether it takes many points, and where it is finite.

    Args:
        f, n_parameters, targets: those of `Problem.from_function`, checked
        start: a point at which f must be finite; None for any point
        device: where f in PyTorch is computed; None: the CPU
    """

    def __init__(self, f: Function, n_parameters: int, targets: Array, start: ArrayLike | None, device: str | None) -> None:
        self.calls = _CALLS | {"torch": partial(call_torch, device=device)}
        self.f, self.targets, self.n_parameters = f, targets, n_parameters
        self.start = None if start is None else _check_start(start, n_parameters)
        rng = np.random.default_rng(0)
        random = rng.standard_normal((_N_POINTS, n_parameters))
        if self.start is None:
            self.candidates = [random, np.abs(random), 0.1 * random]
        else:
            near = self.start + 1e-3 * random * (1 + np.abs(self.start))
            self.candidates = [np.concatenate([self.start[None], near[1:]])]

    def values(self, framework: str, many: bool, points: Array) -> Array:
        """f at the points, (n, N) -> (n, P), in one call if `many`; InputError for a wrong number or kind of values."""
        with np.errstate(all="ignore"):
            found = [self.calls[framework](self.f, x.copy()) for x in ([points] if many else points)]
        for value in found:
            kind = str(getattr(value, "dtype", "float64"))
            if "complex" in kind or ("float" in kind and not kind.endswith("float64")):
                raise InputError("f", f"outputs in {kind.removeprefix('torch.')}", _FLOAT64)
            if np.size(_as_array(value)) != len(self.targets) * (len(points) if many else 1):
                each = f"{len(points)} points" if many else "one point"
                raise InputError(
                    "f",
                    f"values of shape {tuple(np.shape(value))} at {each}",
                    f"as many values as targets, {len(self.targets)}, at each",
                )
        return np.concatenate([np.asarray(_as_array(value), dtype=np.float64).ravel() for value in found]).reshape(
            len(points), -1
        )

    def find(self, batched: bool | None) -> tuple[str, bool]:
        """The framework, and whether f takes many points at once."""
        errors: list[BaseException] = []
        for framework in self.calls:
            mismatch = any(isinstance(error, TypeError | AttributeError) for error in errors)
            if framework != "numpy" and not (mismatch and framework in sys.modules):
                continue  # f would have imported it, and refused an array
            for many in (False, True) if batched is None else (batched,):
                try:
                    own = self._framework(framework, many)
                    self.values(own, many, self.candidates[0])
                except (Exception, SystemExit) as error:  # a function that ends the program is a faulty one, too
                    errors.append(error)
                    continue
                return own, many or (batched is None and self._takes_many(own))
        raise _plainest(errors, self.n_parameters) from errors[0]

    def _framework(self, given: str, many: bool) -> str:
        """The framework of f's value at points in the `given` one."""
        points = self.candidates[0].copy()
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an array in a function of tensors
            value = self.calls[given](self.f, points if many else points[0])
        return {"torch": "torch", "jax": "jax", "jaxlib": "jax"}.get(type(value).__module__.partition(".")[0], "numpy")

    def _takes_many(self, framework: str) -> bool:
        """Whether f gives at many points at once what it gives at each of them."""
        points = self.candidates[0]
        try:
            together = self.values(framework, True, points)
        except Exception:
            return False
        return np.allclose(together, self.values(framework, False, points), rtol=1e-9, atol=1e-12, equal_nan=True)

    def finite_points(self, framework: str, many: bool) -> Array:
        """Those of the points at which f is finite, (n, N). InputError where there is none, or f is not one function of w."""
        for points in self.candidates:
            values = self.values(framework, many, points)
            if not np.array_equal(values, self.values(framework, many, points), equal_nan=True):
                raise InputError("f", "other values at the same w", "a deterministic function of w; of a module in eval mode")
            finite = np.asarray(np.isfinite(values).all(axis=1))
            if self.start is not None and not finite[0]:
                raise InputError("start", "a point where f is NaN or infinite", "a point where f is finite")
            if finite.any():
                return np.asarray(points[finite])
        raise InputError(
            "f", "NaN or infinite values at standard normal w", "finite ones there, or start=: a point where f is finite"
        )

    def compare(self, problem: Problem, framework: str, many: bool, points: Array) -> None:
        """InputError unless the problem, whose points go through f together, has f's own values and finite gradients."""
        try:
            with np.errstate(all="ignore"):
                values, pullback = problem.vjp(points)
                gradient = pullback(np.ones_like(values))
        except Exception as error:
            allowed = (
                f"a function that {framework}'s vmap takes, without branches on values or random numbers; or one of many points"
            )
            raise InputError("f", _told(error), f"{allowed}, with batched=True") from error
        if not np.allclose(values, self.values(framework, many, points), rtol=1e-6, atol=1e-9):
            raise InputError("f", "other values at many points together than at each", "batched=False: a function of one point")
        if not np.isfinite(gradient[0]).all():
            raise InputError(
                "f", "NaN or infinite derivatives", "a function with finite derivatives; start=: a point where they are"
            )


def _check_start(start: ArrayLike, n_parameters: int) -> Array:
    plain: Any = start.detach().cpu().numpy() if hasattr(start, "detach") else start
    point = check("start", plain, np.isfinite, "finite numbers").ravel()
    if len(point) != n_parameters:
        raise InputError("start", f"{len(point)} numbers", f"{n_parameters} numbers: n_parameters")
    return point


def _as_array(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _plainest(errors: list[BaseException], n_parameters: int) -> InputError:
    """Of the errors of all attempts the one that says most: f's own values, then what is no mismatch of frameworks."""
    for error in errors:
        if isinstance(error, InputError):
            return error
    own = [error for error in errors if "Tensor" not in str(error) and "ndarray" not in str(error)]
    allowed = f"a function of w, shape ({n_parameters},) or (n, {n_parameters}), in NumPy, PyTorch or JAX, in float64"
    return InputError("f", _told((own or errors)[0]), allowed)
