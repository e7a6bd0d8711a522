"""Pickles of strangers: arrays of numbers, bytes, text, numbers and plain containers; anything else is refused unexecuted.

A pickle is a program, which calls whatever it names. Here every name that it may use stands for a small object of ours, which
checks its arguments; numpy itself never sees an unchecked one.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .checks import BrokenFileError


def load(content: bytes, path: Path) -> Any:
    """The object in `content`. Strings of Python 2 come as bytes. `path` is for messages alone. Raises BrokenFileError."""
    try:
        return _Unpickler(content, path).load()
    except BrokenFileError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        raise BrokenFileError(path, f"no such pickle, {type(error).__name__}") from None


class _ForbiddenError(Exception):
    """Arguments that no pickle of an array of numbers has."""


_REFUSED = (
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ),
    *(pickle.NEWOBJ, pickle.NEWOBJ_EX),
)
"""Operations that no such pickle needs; some take memory or time as the file says, not as it has."""


_Pure: Any = pickle._Unpickler


class _Unpickler(_Pure):
    """Python's own, whose memory is a dictionary: that in C is an array as long as the largest number in the file."""

    dispatch: ClassVar[dict[int, Any]] = {code: run for code, run in _Pure.dispatch.items() if bytes([code]) not in _REFUSED}

    def load_setitem(self) -> None:
        self._check_keys([self.stack[-2]])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def _check_keys(self, keys: list[Any]) -> None:
        if not all(isinstance(key, str | bytes | int) for key in keys):  # a tuple of tuples may take for ever to hash
            raise _ForbiddenError

    dispatch[pickle.SETITEM[0]], dispatch[pickle.SETITEMS[0]] = load_setitem, load_setitems

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise BrokenFileError(self._path, f"a pickle that asks for {module}.{name}, which is refused") from None


# No dictionaries on the classes below, or else a pickle could hang attributes on them.


class _Ndarray:
    """Stands for numpy.ndarray, which pickles of arrays name and never call."""

    __slots__ = ()


class _Reconstruct:
    """Stands for numpy's _reconstruct: an empty array, which `_Array.__setstate__` fills."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if not isinstance(kind, _Ndarray) or shape != (0,):
            raise _ForbiddenError
        return np.empty(0, np.uint8).view(_Array)


class _Dtype:
    """Stands for numpy.dtype."""

    __slots__ = ()

    def __call__(self, code: object, align: object = False, copy: object = True) -> _NumberType:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(text, str) or text not in _CODES:
            raise _ForbiddenError
        return _NumberType(text)


class _Encode:
    """Stands for _codecs.encode, by which Python 3 writes bytes into old pickles; other codecs are not looked up."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise _ForbiddenError
        return text.encode("latin1")


class _NumberType:
    """A dtype in the making: a kind of number, then its byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise _ForbiddenError
        _, order, *rest = state
        order = order.decode("ascii") if isinstance(order, bytes) else order
        # the rest would make it a structure, an array of arrays or a carrier of objects
        if order not in ("|", "<", ">", "=") or not all(item is None or (type(item) is int and item in (-1, 0)) for item in rest):
            raise _ForbiddenError
        self.dtype = np.dtype(f"{order}{self.dtype.str[1:]}")


class _Array(np.ndarray[Any, Any]):
    """An array that only takes bytes, as many as its shape and its type of number say."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _ForbiddenError
        _, shape, kind, fortran, data = state
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise _ForbiddenError
        if not isinstance(kind, _NumberType) or type(fortran) is not bool or not isinstance(data, bytes):
            raise _ForbiddenError
        if math.prod(shape) * kind.dtype.itemsize != len(data):
            raise _ForbiddenError
        np.ndarray.__setstate__(self, (1, shape, kind.dtype, fortran, data))  # type: ignore[arg-type]  # wants a numpy bool


_CODES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy", "ndarray"): _Ndarray(),
    ("numpy", "dtype"): _Dtype(),
    ("_codecs", "encode"): _Encode(),
}
