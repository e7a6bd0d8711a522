"""Fingerprints of functions: a hash of the byte code, the constants and everything that they refer to."""

from __future__ import annotations

import builtins
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

_LIBRARIES = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
_PLAIN = bool | int | float | complex | str | bytes | np.generic | None


class _UnknownError(Exception):
    pass


def fingerprint(functions: dict[str, Any], *, mutable: bool = False) -> str | None:
    """A hash of all the functions, by name: equal for functions that compute the same in the same way, in any process.

    Line numbers and names of files do not count; functions, numbers, strings, tuples, arrays and modules that the
    functions refer to do. None if one refers to anything else, whose value cannot be hashed.

    With `mutable`, lists, dictionaries, tensors and objects with their classes count too, as they are at the time of the call;
    what an installed package defines counts by its name and the package's version.
    """
    walk = _Walk(mutable)
    try:
        parts = [part for name, function in functions.items() for part in (name, *walk.of(function))]
    except _UnknownError:
        return None
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class _Walk:
    """A walk through everything that functions refer to, as text."""

    def __init__(self, mutable: bool) -> None:
        self.mutable = mutable
        self.seen: dict[int, tuple[int, Any]] = {}
        """By id, what was met, in its order; kept alive, so that its id stays its own."""
        self.named: set[tuple[int, str]] = set()
        """Attributes of modules that were met."""

    def of(self, value: Any) -> Iterator[str]:
        value = getattr(value, "py_func", value)
        if isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, tuple | frozenset):
            yield from self._items(value, ordered=isinstance(value, tuple))
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield f"array {value.shape} {value.dtype.str} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
        elif id(value) in self.seen:  # recursion, or met before
            yield f"again {self.seen[id(value)][0]}"
        else:
            self.seen[id(value)] = len(self.seen), value
            yield from self._new(value)

    def _items(self, values: Iterable[Any], ordered: bool) -> Iterator[str]:
        items = list(values) if ordered else sorted(values, key=repr)
        yield f"{type(values).__name__} {len(items)}"
        for item in items:
            yield from self.of(item)

    def _new(self, value: Any) -> Iterator[str]:
        if isinstance(value, FunctionType):
            yield from self._function(value)
        elif isinstance(value, ModuleType):
            yield f"module {value.__name__} {getattr(value, '__version__', '')}"
        elif callable(value) and getattr(value, "__module__", None) in ("math", "builtins", "numpy"):
            yield f"{value.__module__}.{getattr(value, '__name__', value)}"
            if self.mutable and not isinstance(getattr(value, "__self__", None), ModuleType | None):
                yield from self.of(value.__self__)  # a method of an object
        elif self.mutable:
            yield from self._mutable(value)
        else:
            raise _UnknownError

    def _function(self, value: FunctionType) -> Iterator[str]:
        if self.mutable and (library := installed(value.__globals__.get("__name__") or "__main__")):
            yield f"{library} {value.__qualname__}"  # its closure may hold a function of the user's
        else:
            yield from self._code(value.__code__, value)
        yield from self.of(value.__defaults__ or ())
        if self.mutable:
            yield from self.of(tuple((value.__kwdefaults__ or {}).items()))
        for cell in value.__closure__ or ():
            try:
                yield from self._global(cell.cell_contents, value.__code__.co_names)
            except ValueError:  # empty: the name is not bound yet
                yield "empty"

    def _code(self, code: CodeType, function: FunctionType) -> Iterator[str]:
        yield f"{code.co_code.hex()} {code.co_argcount} {code.co_names} {code.co_varnames} {code.co_freevars}"
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from self._code(constant, function)
            else:
                yield from self.of(constant)
        for name in code.co_names:
            if name in function.__globals__:
                yield from self._global(function.__globals__[name], code.co_names)
            elif hasattr(builtins, name):
                yield f"builtin {name}"

    def _global(self, value: Any, names: tuple[str, ...]) -> Iterator[str]:
        """A global, or a name of an outer function; of a module of the user's, what the code names of it."""
        yield from self.of(value)
        if self.mutable and isinstance(value, ModuleType) and not installed(value.__name__):
            for name in names:
                if hasattr(value, name) and (id(value), name) not in self.named:
                    self.named.add((id(value), name))
                    yield name
                    yield from self._global(getattr(value, name), names)

    def _mutable(self, value: Any) -> Iterator[str]:
        if isinstance(value, list | set):
            yield from self._items(value, ordered=isinstance(value, list))
        elif type(value) is dict:
            yield f"dict {len(value)}"
            for key, item in value.items():
                yield from self.of((key, item))
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, BuiltinFunctionType):
            yield f"{installed(value.__module__)} {value.__qualname__}"
            if not isinstance(value.__self__, ModuleType | None):
                yield from self.of(value.__self__)
        elif hasattr(value, "__wrapped__"):  # a cache around a function, or a compiled one
            yield f"{installed(type(value).__module__)} {type(value).__qualname__}"
            yield from self.of(value.__wrapped__)
        elif hasattr(value, "detach"):  # a tensor of torch
            yield from self.of(value.detach().cpu().numpy())
        elif hasattr(value, "__array__") and not isinstance(value, np.ndarray):
            yield from self.of(np.asarray(value))
        else:
            yield from self._object(value)

    def _class(self, value: type) -> Iterator[str]:
        library = installed(value.__module__)
        yield f"class {library} {value.__qualname__}"
        if not library:
            yield from self.of(value.__bases__)
            for name, member in vars(value).items():
                for function in (getattr(member, each, None) for each in ("__func__", "fget", "func")):
                    member = function if isinstance(function, FunctionType) else member
                if isinstance(member, FunctionType | _PLAIN) and name not in ("__module__", "__doc__", "__firstlineno__"):
                    yield name
                    yield from self.of(member)

    def _object(self, value: Any) -> Iterator[str]:
        """Any other object: how pickle would make it anew."""
        try:
            made = value.__reduce_ex__(2)
        except Exception:
            raise _UnknownError from None
        if isinstance(made, str):  # known by its name alone
            raise _UnknownError
        for part in made:
            if isinstance(part, dict):  # values kept on first use come and go
                part = {k: v for k, v in part.items() if not isinstance(getattr(type(value), str(k), None), cached_property)}
            yield from self.of(list(part) if isinstance(part, Iterator) else part)


def installed(module: str | None) -> str:
    """Name and version of the installed package that has this module, "" for a module of the user's own."""
    name = (module or "builtins").partition(".")[0]
    top = sys.modules.get(name)
    file = getattr(top, "__file__", None)
    own = top is None or name == "__main__" or (file is not None and not file.startswith(_LIBRARIES))
    return "" if own else f"{module} {getattr(top, '__version__', '')}"
