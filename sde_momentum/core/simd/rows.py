"""Arrays whose entries are lanes: x[i] is component i of many paths, for compiled functions that loop over components."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, overload, register_model

from .lanes import Lanes, _address, _vector_pointer, _widen, intrinsic


class LaneRows(types.Type):
    """A view of float64 memory: entry i (or i, k of a matrix) is `width` consecutive numbers; entries are `stride` apart."""

    def __init__(self, width: int, ndim: int) -> None:
        self.width, self.ndim = width, ndim
        super().__init__(name=f"LaneRows({width}, {ndim})")


@register_model(LaneRows)
class _LaneRowsModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        members = [("data", types.CPointer(types.float64))]
        super().__init__(manager, kind, members + [(name, types.int64) for name in ("stride", "count", "columns")])


@cache
def rows_of(width: int, ndim: int) -> Any:
    """`rows(array, offset, stride, count, columns)`: the view of a contiguous array from a flat offset on."""
    kind = LaneRows(width, ndim)

    @intrinsic
    def rows(context: Any, array: Any, offset: Any, stride: Any, count: Any, columns: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            view = cgutils.create_struct_proxy(kind)(context, builder)
            view.data = _address(context, builder, args[0], sig.args[0], args[1])
            view.stride, view.count, view.columns = args[2:]
            return view._getvalue()

        return kind(array, *(types.int64,) * 4), generate

    return rows


def _index(kind: Any, index: Any) -> bool:
    if isinstance(index, types.Integer):
        return bool(kind.ndim == 1)
    return kind.ndim == 2 and isinstance(index, types.UniTuple) and index.count == 2 and isinstance(index.dtype, types.Integer)


@infer_global(operator.getitem)
class _GetTyping(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], LaneRows) and _index(*args):
            place = types.intp if args[0].ndim == 1 else types.UniTuple(types.intp, 2)
            return signature(Lanes(args[0].width), args[0], place)
        return None


@infer_global(operator.setitem)
class _SetTyping(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 3 and isinstance(args[0], LaneRows) and _index(*args[:2]) and isinstance(args[2], Lanes | types.Number):
            place = types.intp if args[0].ndim == 1 else types.UniTuple(types.intp, 2)
            return signature(types.none, args[0], place, args[2])
        return None


def _entry(context: Any, builder: Any, kind: Any, view: Any, index: Any) -> Any:
    held = cgutils.create_struct_proxy(kind)(context, builder, view)
    if kind.ndim == 2:
        i, k = cgutils.unpack_tuple(builder, index, 2)
        index = builder.add(builder.mul(i, held.columns), k)
    pointer = builder.gep(held.data, [builder.mul(index, held.stride)])
    return _vector_pointer(builder, pointer, Lanes(kind.width))


def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(_entry(context, builder, sig.args[0], *args), align=8)


def _set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = _widen(context, builder, args[2], sig.args[2], sig.args[0].width)
    builder.store(value, _entry(context, builder, sig.args[0], *args[:2]), align=8)
    return context.get_dummy_value()


for _place in (types.Integer, types.UniTuple):
    lower_builtin(operator.getitem, LaneRows, _place)(_get)
    for _value in (Lanes, types.Number):
        lower_builtin(operator.setitem, LaneRows, _place, _value)(_set)


@intrinsic
def _count(context: Any, view: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return cgutils.create_struct_proxy(view)(context, builder, args[0]).count

    return types.int64(view), generate


@overload(len)
def _length(view: Any) -> Any:
    def length(view: Any) -> int:
        return _count(view)

    return length if isinstance(view, LaneRows) else None
