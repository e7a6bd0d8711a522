"""Fingerprints of functions: a hash of the byte code, the constants and everything that they refer to."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np


class _UnknownError(Exception):
    pass


def fingerprint(functions: dict[str, Any]) -> str | None:
    """A hash of all the functions, by name: equal for functions that compute the same in the same way, in any process.

    Line numbers and names of files do not count; functions, numbers, strings, tuples, arrays and modules that the
    functions refer to do. None if one refers to anything else, whose value cannot be hashed.
    """
    try:
        parts = [part for name, function in functions.items() for part in (name, *_of(function, set()))]
    except _UnknownError:
        return None
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _of(value: Any, seen: set[int]) -> Iterator[str]:
    value = getattr(value, "py_func", value)
    if isinstance(value, FunctionType):
        if id(value) in seen:  # recursion
            yield "again"
            return
        seen.add(id(value))
        yield from _of_code(value.__code__, value, seen)
        yield from _of(value.__defaults__ or (), seen)
        for cell in value.__closure__ or ():
            yield from _of(cell.cell_contents, seen)
    elif isinstance(value, bool | int | float | complex | str | bytes | np.generic | None):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, tuple | frozenset):
        yield f"{type(value).__name__} {len(value)}"
        for item in value if isinstance(value, tuple) else sorted(value, key=repr):
            yield from _of(item, seen)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"array {value.shape} {value.dtype.str} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    elif isinstance(value, ModuleType):
        yield f"module {value.__name__} {getattr(value, '__version__', '')}"
    elif callable(value) and getattr(value, "__module__", None) in ("math", "builtins", "numpy"):
        yield f"{value.__module__}.{getattr(value, '__name__', value)}"
    else:
        raise _UnknownError


def _of_code(code: CodeType, function: FunctionType, seen: set[int]) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_argcount} {code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, function, seen)
        else:
            yield from _of(constant, seen)
    for name in code.co_names:
        if name in function.__globals__:
            yield from _of(function.__globals__[name], seen)
        elif hasattr(builtins, name):
            yield f"builtin {name}"
