"""Code generation for values: slots become loads, trees become operations, alike terms become loops.

Buffers lie in `scratch`, WIDTH lanes to a row: copies of the parameters (a sample's formula only: there they are
read once a sample, and a compact copy stays in the first-level cache), values of the roots, adjoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .plan import Plan, Scope, Tree

WIDTH = 32
"""Lanes to a value: 4 registers of AVX-512. Fewer make the rows of large models, which lie a block apart, slow to reach
(n = 1000: 2.1 times a hand-written kernel's time at 8, 1.2 at 32); more spill (twice the compile time at 64)."""


@dataclass
class Turn:
    """State inside a loop body: names of the enclosing loop variables, values and adjoints computed so far."""

    scope: Scope
    variables: tuple[str, ...]
    values: dict[Tree, str] = field(default_factory=dict)
    adjoints: dict[int, list[str]] = field(default_factory=dict)


class ValueWriter:
    """Writes what evaluates trees, and keeps account of tables, of names, and of the roots that are needed."""

    def __init__(self, plan: Plan, n_parameters: int) -> None:
        self.plan, self.n_parameters = plan, n_parameters
        self.copied = n_parameters if plan.per_sample else 0
        self.root_row = self.copied
        self.adjoint_row = self.root_row + plan.n_roots
        self.root_adjoint_row = self.adjoint_row + (plan.n_active if plan.per_sample else 0)
        self.scratch_rows = self.root_adjoint_row + plan.n_roots
        self._tables: dict[tuple[str, bytes], str] = {}
        self._table_lines: list[str] = []
        self._lines: list[str] = []
        self._indent = 0
        self._count = 0
        self._needed: set[int] = set()

    # -- lines ---------------------------------------------------------------------------------------

    def _put(self, line: str) -> None:
        self._lines.append("    " * self._indent + line)

    def _let(self, expression: str) -> str:
        self._count += 1
        self._put(f"t{self._count} = {expression}")
        return f"t{self._count}"

    @contextmanager
    def _block(self, line: str) -> Iterator[None]:
        self._put(line)
        self._indent += 1
        yield
        self._indent -= 1

    @contextmanager
    def _aside(self) -> Iterator[list[str]]:
        """Lines collected now and inserted later."""
        outside, self._lines = self._lines, []
        yield self._lines
        self._lines = outside

    @contextmanager
    def _loop(self, stop: int, start: int = 0, step: int = 1) -> Iterator[str]:
        """The loop variable; a single iteration needs no loop."""
        if start + step >= stop:
            yield str(start)
            return
        self._count += 1
        variable = f"i{self._count}"
        bounds = (start, stop, step) if step > 1 else (start, stop) if start else (stop,)
        with self._block(f"for {variable} in range({', '.join(map(str, bounds))}):"):
            yield variable

    # -- slots ---------------------------------------------------------------------------------------

    def _table(self, values: NDArray[np.generic]) -> str:
        kind = "float64" if values.dtype.kind == "f" else "int64"
        key = (kind, values.tobytes())
        if key not in self._tables:
            self._tables[key] = f"_TABLE{len(self._tables)}"
            self._table_lines.append(f"{self._tables[key]} = np.array({values.ravel().tolist()}, dtype=np.{kind})")
        return self._tables[key]

    def _entry(self, table: NDArray[np.generic], variables: Sequence[str]) -> str:
        """The entry for these loop variables: a number, an affine expression, or a look-up."""
        for axis in reversed(range(table.ndim)):
            if np.all(table == np.take(table, [0], axis)):
                table = np.take(table, 0, axis)
                variables = [*variables[:axis], *variables[axis + 1 :]]
        if table.ndim == 0:
            return repr(table.item())
        grid = np.indices(table.shape)
        if table.dtype.kind != "f":
            origin = int(table.flat[0])
            steps = [int(np.take(table, 1, k).flat[0]) - origin for k in range(table.ndim)]
            if np.array_equal(table, origin + np.tensordot(steps, grid, 1)):
                parts = [f"{step} * {name}" if step != 1 else name for step, name in zip(steps, variables, strict=True)]
                return " + ".join([str(origin), *parts] if origin else parts)
        place = variables[0]
        for size, name in zip(table.shape[1:], variables[1:], strict=True):
            place = f"({place}) * {size} + {name}"
        return f"at({self._table(table)}, {place})"

    def _load(self, turn: Turn, slot: int) -> str:
        kind = turn.scope.kinds[slot]
        entry = self._entry(turn.scope.tables[slot], turn.variables)
        if kind == "const":
            return entry if not entry.startswith("-") else f"({entry})"
        if kind == "input":
            return f"at(data, sample * columns + {entry})"
        if kind in ("root", "passive"):
            self._needed |= set(self.plan.family_of_row[turn.scope.tables[slot]].ravel().tolist())
            return f"load(scratch, {self._scratch(entry, self.root_row)})"
        return f"load(scratch, {self._scratch(entry)})" if self.plan.per_sample else f"load(w, ({entry}) * lanes + n)"

    @staticmethod
    def _scratch(entry: str, first_row: int = 0) -> str:
        return f"({entry} + {first_row}) * WIDTH" if first_row else f"({entry}) * WIDTH"

    def _adjoint(self, kind: str, entry: str) -> tuple[str, str]:
        """(array, offset) of the adjoint of a param or a root."""
        if kind == "root":
            return "scratch", self._scratch(entry, self.root_adjoint_row)
        return ("scratch", self._scratch(entry, self.adjoint_row)) if self.plan.per_sample else ("g", f"({entry}) * lanes + n")

    # -- values --------------------------------------------------------------------------------------

    def _value(self, tree: Tree, turn: Turn) -> str:
        """The name of the variable with a tree's value, computed here if it was not before."""
        if tree not in turn.values:
            turn.values[tree] = self._new_value(tree, turn)
        return turn.values[tree]

    def _new_value(self, tree: Tree, turn: Turn) -> str:
        if tree[0] == "leaf":
            value = self._load(turn, tree[1])
            return value if turn.scope.kinds[tree[1]] == "const" else self._let(value)
        if tree[0] == "add":
            parts = [self._value(part, turn) for part in tree[1]]
            return self._let(" + ".join([*parts, *(self._sum(turn, loop) for loop in tree[2])]))
        if tree[0] == "mul":
            return self._let(" * ".join(self._value(part, turn) for part in tree[1]))
        argument = self._value(tree[2], turn)
        if tree[0] == "call":
            return self._let(f"simd.{tree[1]}({argument})")
        return self._let(power(argument, tree[1]))

    def _sum(self, turn: Turn, loop: int) -> str:
        """Sum over the iterations of a loop. Short terms go to four sums: one would wait for each addition to finish."""
        scope = turn.scope.loops[loop]
        ways = 4 if _is_short(scope.tree) and not scope.loops and scope.count >= 8 else 1
        whole = scope.count - scope.count % ways
        self._count += 1
        names = [f"s{self._count}_{way}" for way in range(ways)]
        for name in names:
            self._put(f"{name} = spread(0.0)")
        known = self._invariants(turn, scope)
        with self._loop(whole, step=ways) as variable:
            for way, name in enumerate(names):
                inner = Turn(scope, (*turn.variables, f"({variable} + {way})" if way else variable), dict(known))
                self._put(f"{name} = {name} + {self._value(scope.tree, inner)}")
        if whole < scope.count:
            with self._loop(scope.count, whole) as variable:
                inner = Turn(scope, (*turn.variables, variable), dict(known))
                self._put(f"{names[0]} = {names[0]} + {self._value(scope.tree, inner)}")
        return self._let(" + ".join(names))

    def _invariants(self, turn: Turn | None, scope: Scope) -> dict[Tree, str]:
        """Loop-invariant slots, loaded before the loop."""
        outside = Turn(scope, (*(turn.variables if turn else ()), "0"))
        return {
            ("leaf", slot): self._value(("leaf", slot), outside)
            for slot, kind in enumerate(scope.kinds)
            if scope.count > 1 and kind != "const" and scope.invariant(slot)
        }


def power(base: str, exponent: float) -> str:
    """Code of base^exponent: products, square roots, and exp(p log) for the rest."""
    if exponent < 0:
        return f"1.0 / ({power(base, -exponent)})"
    if exponent == int(exponent) and exponent <= 64:
        squares, parts, left = base, [], int(exponent)
        while left:
            if left % 2:
                parts.append(squares)
            squares, left = f"({squares} * {squares})", left // 2
        return " * ".join(parts) or "1.0"
    if exponent == int(exponent) + 0.5 and exponent < 8:
        whole = power(base, int(exponent))
        return f"simd.sqrt({base})" if exponent == 0.5 else f"{whole} * simd.sqrt({base})"
    return f"simd.exp({exponent!r} * simd.log({base}))"


def _is_short(tree: Tree) -> bool:
    """At most four operations, none of them a function: a term whose addition is worth overlapping."""

    def size(tree: Tree) -> int:
        if tree[0] == "leaf":
            return 0
        if tree[0] == "call":
            return 5
        parts = tree[2:] if tree[0] == "power" else tree[1]
        return len(parts) + sum(size(part) for part in parts)

    return size(tree) <= 4
