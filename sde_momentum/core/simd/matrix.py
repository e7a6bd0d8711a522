"""Matrix products for lanes, blocked in registers: with one matrix for all lanes, or a small matrix of each lane.

A tile of the result stays in vector registers over the whole inner dimension, so that the multiply-add units wait
neither for loads nor for each other. The sum of an entry runs over the inner dimension in its order, in any
tile: a lane's numbers do not depend on its neighbours.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from ..compile import njit
from .lanes import Lanes, _address, _splat, _vector_pointer, intrinsic, load_and_spread, store

WIDTH = 8
"""Lanes of a tile: one register of 512 bits, two of 256."""

# Tiles large enough to hide the latency of an addition and to save loads, small enough for 32 or 16 registers.
_MANY_REGISTERS = bool(binding.get_host_cpu_features().get("avx512f"))
_ROWS = 10 if _MANY_REGISTERS else 6
_SIDE, _COLUMNS = 4, 4 if _MANY_REGISTERS else 2
"""Tile of `product_by_lane`, whose speed the loads limit: there each lane has its own left factor."""
_LONG = 8
"""Rows of the tile of `apply_by_lane`."""
_PANEL = 64
"""Columns of the left factor of `symmetric_by_lane` that are used up before the next."""


@njit(types.Array(types.float64, 2, "C")(types.int64, types.int64), cache=True, nogil=True)
def aligned(rows: int, lanes: int) -> Any:
    """An empty array that starts at a cache line: a register's lanes never lie across two."""
    raw = np.empty(rows * lanes + 7)
    skip = (-raw.ctypes.data // 8) % 8
    return raw[skip : skip + rows * lanes].reshape((rows, lanes))


def _opaque(builder: Any, pointer: Any) -> Any:
    """The same pointer, through empty assembly: otherwise LLVM keeps a pointer for every entry, and spills them."""
    same = ir.FunctionType(pointer.type, [pointer.type])
    return builder.call(ir.InlineAsm(same, "", "=r,0"), [pointer])


@cache
def tile(rows: int, columns: int, *, by_lane: bool) -> Any:
    """`tile(a, a0, ai, ak, ao, x, x0, xk, xo, xj, out, out0, outi, outj, size, outer)`: a product of `rows` x `columns` entries,

        out[out0 + i outi + j outj] = sum_{o < outer} sum_{k < size} a[a0 + i ai + k ak + o ao] x[x0 + k xk + o xo + j xj],

    with flat offsets in C-contiguous float64 arrays. An entry of x or out is WIDTH lanes; one of `a` too (`by_lane`), or
    else a number for all lanes. Bounds are not checked, and out overlaps neither factor.
    """
    kind = Lanes(WIDTH)

    @intrinsic
    def multiply(
        context: Any, a: Any, a0: Any, ai: Any, ak: Any, ao: Any, x: Any, x0: Any, xk: Any, xo: Any, xj: Any,
        out: Any, out0: Any, outi: Any, outj: Any, size: Any, outer: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, b: Any, sig: Any, args: Any) -> Any:
            a, a0, ai, ak, ao, x, x0, xk, xo, xj, out, out0, outi, outj, size, outer = args
            a_type, x_type, out_type = sig.args[0], sig.args[5], sig.args[10]

            def times(step: Any, index: int) -> Any:
                return b.mul(step, ir.Constant(ir.IntType(64), index))

            def left_entry(pointer: Any) -> Any:
                if by_lane:
                    return b.load(_vector_pointer(b, pointer, kind), align=8)
                return _splat(b, b.load(pointer), WIDTH)

            # Two moving pointers, and constant offsets from them to the entries, need few integer registers.
            offsets, sides = [times(ai, i) for i in range(rows)], [times(xj, j) for j in range(columns)]
            along = cgutils.alloca_once_value(b, _address(context, b, a, a_type, a0))
            down = cgutils.alloca_once_value(b, _address(context, b, x, x_type, x0))
            zero = ir.Constant(kind.doubles, [0.0] * WIDTH)
            sums = [[cgutils.alloca_once(b, kind.doubles) for _ in sides] for _ in offsets]
            for row in sums:
                for total in row:
                    b.store(zero, total)
            # after `size` terms on to the first of the next: what is left of ao and xo
            rest, below = b.sub(ao, b.mul(size, ak)), b.sub(xo, b.mul(size, xk))
            with cgutils.for_range(b, outer):
                with cgutils.for_range(b, size):
                    left, top = _opaque(b, b.load(along)), _opaque(b, b.load(down))
                    right = [b.load(_vector_pointer(b, b.gep(top, [side]), kind), align=8) for side in sides]
                    for offset, row in zip(offsets, sums, strict=True):
                        entry = left_entry(b.gep(left, [offset]))
                        for factor, total in zip(right, row, strict=True):
                            term = b.fmul(entry, factor, flags=("contract",))
                            b.store(b.fadd(b.load(total), term, flags=("contract",)), total)
                    b.store(b.gep(left, [ak]), along)
                    b.store(b.gep(top, [xk]), down)
                b.store(b.gep(b.load(along), [rest]), along)
                b.store(b.gep(b.load(down), [below]), down)
            for i, row in enumerate(sums):
                for j, total in enumerate(row):
                    offset = b.add(b.add(out0, times(outi, i)), times(outj, j))
                    b.store(b.load(total), _vector_pointer(b, _address(context, b, out, out_type, offset), kind), align=8)
            return context.get_dummy_value()

        whole = types.int64
        number = (whole,) * 4
        return types.void(a, *number, x, *number, out, whole, whole, whole, whole, whole), generate

    return multiply


_tile, _single = tile(_ROWS, 1, by_lane=False), tile(1, 1, by_lane=False)


@njit(error_model="numpy")
def _product(a: Any, ai: int, ak: int, size: int, x: Any, y: Any) -> None:
    """y[i] <- sum_{k < size} a[i ai + k ak] x[k], flat offsets in a."""
    m, lanes = y.shape
    for block in range(0, lanes, WIDTH):
        n = min(block, lanes - WIDTH)  # the last block overlaps its neighbour, as does the last tile
        if m < _ROWS:
            for i in range(m):
                _single(a, i * ai, ai, ak, 0, x, n, lanes, 0, 0, y, i * lanes + n, lanes, 0, size, 1)
        else:
            for top in range(0, m, _ROWS):
                i = min(top, m - _ROWS)
                _tile(a, i * ai, ai, ak, 0, x, n, lanes, 0, 0, y, i * lanes + n, lanes, 0, size, 1)


@njit
def product(a: Any, x: Any, y: Any) -> None:
    """y (m, lanes) <- a x, with numbers a (m, k) and x (k, lanes); at least WIDTH lanes."""
    _product(a, a.shape[1], 1, a.shape[1], x, y)


@njit
def product_transposed(a: Any, x: Any, y: Any) -> None:
    """y (k, lanes) <- a^T x, with numbers a (m, k) and x (m, lanes); at least WIDTH lanes."""
    _product(a, 1, a.shape[1], a.shape[0], x, y)


def _small(*, by_lane: bool) -> Any:
    """The function `sum_of_products`, or one with a left factor of each lane in place of numbers for all lanes."""
    many, one = (tile(rows, columns, by_lane=by_lane) for rows, columns in ((_SIDE, _COLUMNS), (1, 1)))

    @njit(error_model="numpy")
    def multiply(left: Any, right: Any, out: Any, m: int, size: int, n: int, outer: int) -> None:
        a, a0, ai, ak, ao = left
        x, x0, xk, xj, xo = right
        y, y0, yi, yj = out
        lanes = y.shape[1]
        each = lanes if by_lane else 1
        tiled = m >= _SIDE and n >= _COLUMNS
        down, across = (_SIDE, _COLUMNS) if tiled else (1, 1)
        for block in range(0, lanes, WIDTH):
            lane = min(block, lanes - WIDTH)
            own = lane if by_lane else 0
            for side in range(0, n, across):  # a panel of the right factor stays in the cache over all rows
                j = min(side, n - across)
                for top in range(0, m, down):
                    i = min(top, m - down)
                    first, start = (a0 + i * ai) * each + own, (x0 + j * xj) * lanes + lane
                    place = (y0 + i * yi + j * yj) * lanes + lane
                    if tiled:
                        many(
                            a, first, ai * each, ak * each, ao * each, x, start, xk * lanes, xo * lanes, xj * lanes,
                            y, place, yi * lanes, yj * lanes, size, outer,
                        )  # fmt: skip
                    else:
                        one(
                            a, first, ai * each, ak * each, ao * each, x, start, xk * lanes, xo * lanes, xj * lanes,
                            y, place, yi * lanes, yj * lanes, size, outer,
                        )  # fmt: skip

    return multiply


_by_lane, _by_number = _small(by_lane=True), _small(by_lane=False)


@njit(error_model="numpy")
def product_by_lane(left: Any, right: Any, out: Any, m: int, size: int, n: int) -> None:
    """out (m x n) <- left (m x size) right (size x n) in every lane; at least WIDTH lanes.

    A matrix is (rows, first, down, across): its entry (i, j) is row `first + i down + j across` of the array `rows`.
    """
    a, a0, ai, ak = left
    x, x0, xk, xj = right
    _by_lane((a, a0, ai, ak, 0), (x, x0, xk, xj, 0), out, m, size, n, 1)


@njit(error_model="numpy")
def sum_of_products(left: Any, right: Any, out: Any, m: int, size: int, n: int, outer: int) -> None:
    """out (m x n) <- sum_{o < outer} left_o (m x size) right_o (size x n), left_o of numbers for all lanes; at least WIDTH lanes.

    out as in `product_by_lane`; right (rows, first, down, across, next) has entry (i, j) of matrix o in row
    `first + i down + j across + o next`, and left at that place of the flat array `rows`.
    """
    _by_number(left, right, out, m, size, n, outer)


_part, _corner, _column = (tile(*shape, by_lane=True) for shape in ((_SIDE, _COLUMNS), (1, 1), (_LONG, 1)))
_load, _ = load_and_spread(WIDTH)


@njit(error_model="numpy")
def symmetric_by_lane(left: Any, right: Any, out: Any, m: int, size: int) -> None:
    """out (m x m) <- left (m x size) right (size x m) in every lane, for a symmetric result; matrices as in `product_by_lane`.

    Tiles on and below the diagonal are computed, the rest is copied. A multiple of WIDTH lanes.
    """
    a, a0, ai, ak = left
    x, x0, xk, xj = right
    y, y0, yi, yj = out
    lanes, part = y.shape[1], aligned(_SIDE * _COLUMNS, WIDTH)
    for n in range(0, lanes, WIDTH):
        if m < _SIDE:
            for i in range(m):
                for j in range(i + 1):
                    _corner(
                        a, (a0 + i * ai) * lanes + n, ai * lanes, ak * lanes, 0, x, (x0 + j * xj) * lanes + n, xk * lanes, 0,
                        xj * lanes, y, (y0 + i * yi + j * yj) * lanes + n, yi * lanes, yj * lanes, size, 1,
                    )  # fmt: skip
        else:
            for begin in range(0, size, _PANEL):  # so many columns of the left factor stay in the cache
                count = min(_PANEL, size - begin)
                for top in range(0, m, _SIDE):
                    i = min(top, m - _SIDE)
                    for side in range(0, i + _SIDE, _COLUMNS):
                        j = min(side, m - _COLUMNS)
                        _part(
                            a, (a0 + i * ai + begin * ak) * lanes + n, ai * lanes, ak * lanes, 0,
                            x, (x0 + j * xj + begin * xk) * lanes + n, xk * lanes, 0, xj * lanes,
                            part, 0, _COLUMNS * WIDTH, WIDTH, count, 1,
                        )  # fmt: skip
                        for row in range(top - i, _SIDE):  # not twice where tiles overlap
                            for column in range(max(side - j, 0), _COLUMNS):
                                at = (y0 + (i + row) * yi + (j + column) * yj) * lanes + n
                                entry = _load(part, (row * _COLUMNS + column) * WIDTH)
                                store(y, at, entry if begin == 0 else _load(y, at) + entry)
        for i in range(m):
            for j in range(i):
                store(y, (y0 + j * yi + i * yj) * lanes + n, _load(y, (y0 + i * yi + j * yj) * lanes + n))


@njit(error_model="numpy")
def apply_by_lane(left: Any, x: Any, y: Any, m: int, size: int) -> None:
    """y (m, lanes) <- left (m x size) x (size, lanes) in every lane; as in `product_by_lane`, with a multiple of WIDTH lanes."""
    a, a0, ai, ak = left
    lanes = y.shape[1]
    for n in range(0, lanes, WIDTH):
        if m < _LONG:
            for i in range(m):
                _corner(
                    a, (a0 + i * ai) * lanes + n, 0, ak * lanes, 0, x, n, lanes, 0, 0, y, i * lanes + n, 0, 0, size, 1,
                )  # fmt: skip
        else:
            for top in range(0, m, _LONG):
                i = min(top, m - _LONG)
                _column(
                    a, (a0 + i * ai) * lanes + n, ai * lanes, ak * lanes, 0, x, n, lanes, 0, 0, y, i * lanes + n, lanes, 0,
                    size, 1,
                )  # fmt: skip
