"""Arguments of public functions are of the kinds that their annotations name, or one clear line says which are not.

Ranges are checked where the values are used, by `core.errors`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np

from .errors import InputError, numbers

Public = TypeVar("Public", bound=Callable[..., Any])

_NOUNS: dict[str, str] = {
    "int": "a whole number",
    "float": "one number",
    "bool": "True, False",
    "str": "a text",
    "None": "None",
    "ArrayLike": "numbers",
    "Callable": "a function",
    "Path": "a path",
    "Problem": "a Problem, such as MatrixSensing, Valley or Problem.from_function(f, ...), or a SymbolicModel",
    "Equation": "an SDE, OrnsteinUhlenbeck or Langevin",
}
"""How each kind is called in a message; of one that is not here: a, and its name."""
_SAME = {"Array": "ArrayLike", "Floats": "ArrayLike", "PathLike": "Path"}
"""Names of annotations that mean the same kind."""
_UNKNOWN = ("Any", "object", "Sequence", "Iterable", "Mapping")
"""Annotations that say too little, or that are checked with what they contain."""
_CLASSES: dict[str, type] = {}
"""Those that were checked themselves, by name: modules import some of them for type checkers alone."""


def by_annotations(public: Public) -> Public:
    """The function or class, whose arguments are first compared with their annotations.

    Known are whole numbers, numbers, truth values, texts, arrays of numbers, functions, paths, None and the classes of the
    function's module; what is annotated otherwise passes. Numbers of NumPy are numbers; True and "0.1" are not.

    Raises (the function that is returned):
        InputError: for an argument of another kind.

    >>> @by_annotations
    ... def half(x: float, exact: bool = False) -> float:
    ...     return x / 2
    >>> half("1")
    Traceback (most recent call last):
    sde_momentum.core.errors.InputError: x: given 1; allowed: one number
    """
    if inspect.isclass(public):
        _CLASSES[public.__name__] = public
        if "__init__" in public.__dict__:
            setattr(public, "__init__", _checked(public.__dict__["__init__"]))  # noqa: B010
        return public
    return _checked(public)


def _checked(function: Any) -> Any:
    signature = inspect.signature(function)
    kinds = {name: _kinds(p.annotation) for name, p in signature.parameters.items() if isinstance(p.annotation, str)}
    passed: dict[str, set[type]] = {name: set() for name in kinds if kinds[name]}  # types of values that need no other look
    in_order = [(name, passed.get(name)) for name in signature.parameters]

    def look(name: str, value: Any) -> None:
        kind = next((kind for kind in kinds[name] if _is(value, kind, function)), None)
        if kind is None:
            raise InputError(name, _shape(value, kinds[name]), _either([_noun(kind) for kind in kinds[name]]))
        if _by_type_alone(value, kind, function):
            passed[name].add(type(value))

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        for (name, types), value in zip(in_order, args, strict=False):
            if types is not None and type(value) not in types:
                look(name, value)
        for name, value in named.items():
            if name in passed and type(value) not in passed[name]:
                look(name, value)
        return function(*args, **named)

    return call


def _by_type_alone(value: Any, kind: str, function: Any) -> bool:
    """Whether every value of this one's type is of the kind."""
    if kind in ("float", "ArrayLike"):
        return isinstance(value, float | np.floating)
    return (kind in _NOUNS and kind not in ("Problem", "Equation")) or inspect.isclass(_known(kind, function))


def _kinds(annotation: str) -> tuple[str, ...]:
    """The alternatives, without what stands in brackets; none where there is one that is not known."""
    flat, depth = "", 0
    for letter in annotation:
        depth += (letter == "[") - (letter == "]")
        flat += letter if not depth and letter != "]" else ""
    found = tuple(_SAME.get(kind.strip().rpartition(".")[2], kind.strip().rpartition(".")[2]) for kind in flat.split("|"))
    return found if all(kind in _NOUNS or (kind.isidentifier() and kind not in _UNKNOWN) for kind in found) else ()


def _noun(kind: str) -> str:
    return _NOUNS.get(kind) or f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def _either(nouns: list[str]) -> str:
    """Alternatives in words."""
    if nouns == [_NOUNS["bool"]]:
        return "True or False"
    if len(nouns) == 1:
        return nouns[0]
    return f"{', '.join(nouns[:-1])}{',' if ', ' in nouns[0] or len(nouns) > 2 else ''} or {nouns[-1]}"


def _shape(value: Any, kinds: tuple[str, ...]) -> Any:
    """What to say was given: the shape, where several numbers stand in the place of one."""
    if "float" in kinds and "ArrayLike" not in kinds and _is(value, "ArrayLike", None):
        return f"shape {np.shape(value)}"
    return value


def _is(value: Any, kind: str, function: Any) -> bool:
    if kind == "None":
        return value is None
    if kind == "bool":
        return isinstance(value, bool | np.bool_)
    if kind == "int":
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if kind in ("float", "ArrayLike"):
        if isinstance(value, float) or (kind == "ArrayLike" and type(value) is np.ndarray and value.dtype.kind in "fiu"):
            return True
        try:
            array = numbers("", value, "")
        except InputError:
            return False
        return kind == "ArrayLike" or array.ndim == 0
    if kind == "str":
        return isinstance(value, str)
    if kind == "Path":
        return isinstance(value, str | PurePath)
    if kind == "Callable":
        return callable(value)
    if kind == "Problem" and hasattr(value, "compile") and hasattr(value, "outputs"):
        return True  # a SymbolicModel, of which one is made
    known = _known(kind, function)
    return not inspect.isclass(known) or getattr(known, "_is_protocol", False) or isinstance(value, known)


def _known(kind: str, function: Any) -> Any:
    """The class of this name in the function's module, or among those checked; modules load some of them late."""
    return getattr(inspect.unwrap(function), "__globals__", {}).get(kind, _CLASSES.get(kind))
