"""A user's functions in the form that a kernel can compile: with the values that they refer to at the time of the call.

numba compiles plain functions alone, and takes what they refer to as constants. Methods, partial functions, callable objects,
attributes of the user's own modules and objects, and keyword-only arguments are given to it as plain functions and modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numba import njit

from ..core.errors import InputError
from ..core.fingerprint import fingerprint, installed
from .equation import Coefficient

COMPILE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Options of numba for all that a kernel is made of."""


def injected(functions: dict[str, Coefficient]) -> tuple[dict[str, Any], str | None]:
    """The functions as numba's, to be compiled into a generated module; and their fingerprint, None if there is none.

    They become functions of this module: machine code on disk names the module, and another process may not have the user's.
    """
    identity = fingerprint(functions, mutable=True)
    return {name: _Compiler().function(function) for name, function in functions.items()}, identity


class _Compiler:
    """One function with all that it calls."""

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}

    def function(self, value: Any) -> Any:
        """A function, method, partial function or callable object as numba's function."""
        value = getattr(value, "py_func", value)
        if isinstance(value, FunctionType):
            if value not in self.known:
                self.known[value] = value  # for a function that calls itself
                self.known[value] = njit(forceinline=True, **COMPILE)(self._copy(value))
            return self.known[value]
        if isinstance(value, MethodType):
            return self._bound(value, value.__func__, (value.__self__,), {})
        if isinstance(value, partial):
            return self._bound(value, value.func, value.args, value.keywords)
        if isinstance(called := vars(type(value)).get("__call__"), FunctionType):
            return self._bound(value, called, (value,), {})
        return njit(forceinline=True, **COMPILE)(value)

    def _copy(self, f: FunctionType) -> FunctionType:
        """The function on today's values; keyword-only arguments, which numba has not, come after the others."""
        names = _names(f.__code__)
        called = {name: self.constant(f.__globals__[name], names) for name in names if name in f.__globals__}
        cells = tuple(_cell(cell, lambda value: self.constant(value, names)) for cell in f.__closure__ or ())
        code, only = f.__code__, f.__kwdefaults__ or {}
        last = code.co_argcount + code.co_kwonlyargcount
        defaults = (*(f.__defaults__ or ()), *(only[n] for n in code.co_varnames[code.co_argcount : last] if n in only))
        code = code.replace(co_argcount=last, co_kwonlyargcount=0)
        copy = FunctionType(code, f.__globals__ | called, f.__name__, defaults or None, cells or None)
        copy.__module__ = __name__
        return copy

    def _bound(self, whole: Any, function: Any, args: Iterable[Any], keywords: dict[str, Any]) -> Any:
        """A function of the arguments that are not bound yet; those that are become constants of it."""
        key = (getattr(function, "py_func", function), *map(id, args), *((k, id(v)) for k, v in keywords.items()))
        if key in self.known:
            raise InputError("drift", f"{whole}, which calls itself", "methods that do not")
        self.known[key] = None
        free = [p for p in inspect.signature(whole).parameters.values() if p.name not in keywords]
        names = _names(_code(function))
        scope: dict[str, Any] = {f"bound{i}": self.constant(a, names) for i, a in enumerate(args)}
        given = [*scope, *(p.name for p in free), *(f"{k}=keyword_{k}" for k in keywords)]
        scope |= {f"keyword_{k}": self.constant(v, names) for k, v in keywords.items()} | {"function": self.function(function)}
        exec(f"def coefficient({', '.join(p.name for p in free)}):\n    return function({', '.join(given)})\n", scope)
        wrapper = scope["coefficient"]
        wrapper.__module__ = __name__
        wrapper.__defaults__ = tuple(p.default for p in free if p.default is not p.empty) or None
        del self.known[key]
        return njit(forceinline=True, **COMPILE)(wrapper)

    def constant(self, value: Any, names: set[str]) -> Any:
        """What a function refers to, as numba takes it: functions compiled, modules and objects with the attributes it names."""
        if isinstance(value, FunctionType | MethodType | partial) or hasattr(value, "py_func"):
            return self.function(value)
        if type(value) is list:
            return tuple(self.constant(one, names) for one in value)
        if isinstance(value, ModuleType):
            return value if installed(value.__name__) else self._namespace(value, names)
        if isinstance(value, type):
            plain = issubclass(value, tuple | BaseException) or installed(value.__module__)
            return value if plain else self._namespace(value, names)
        if isinstance(value, tuple | np.ndarray | SimpleNamespace) or installed(type(value).__module__):
            return self._namespace(value, names) if isinstance(value, SimpleNamespace) else value
        return self._namespace(value, names)

    def _namespace(self, value: Any, names: set[str]) -> Any:
        """A module of the attributes of `value` that are named: numba knows modules, and takes their attributes as constants."""
        key = (id(value), frozenset(names))
        if key not in self.known:
            self.known[key] = made = ModuleType(getattr(value, "__name__", type(value).__name__))
            for name in names:
                if hasattr(value, name):
                    setattr(made, name, self.constant(getattr(value, name), names))
        return self.known[key]


def _cell(cell: CellType, change: Any) -> CellType:
    try:
        return CellType(change(cell.cell_contents))
    except ValueError:  # empty: the name is not bound yet
        return cell


def _code(function: Any) -> CodeType | None:
    """The code that uses a function's arguments."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    code = getattr(getattr(function, "py_func", function), "__code__", None)
    return code if isinstance(code, CodeType) else getattr(vars(type(function)).get("__call__"), "__code__", None)


def _names(code: CodeType | None) -> set[str]:
    """Global names and attributes of the code and of the functions inside it."""
    if code is None:
        return set()
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))
