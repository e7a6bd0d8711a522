"""Numba source of a plan: f(w), and by reverse-mode differentiation J(w)^T r, for WIDTH lanes at a time.

Buffers lie in `scratch`, WIDTH lanes to a row: copies of the parameters (a sample's formula only: there they are
read once a sample, and a compact copy stays in the first-level cache), values of the roots, adjoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from .expression_graph import DERIVATIVE, a, y
from .kernel_plan import Family, Plan, Scope, Tree

_HEADER = '''"""Generated from a formula by `derivations.compile`; the name holds the hash of this text and of the versions."""

import numpy as np
from derivations import lanes as simd
from derivations.lanes import WIDTH, at, load, spread, store
from numba import njit
from sde_momentum.problems.base import KERNEL, PULLBACK

_COMPILE = {"cache": True, "nogil": True, "error_model": "numpy"}
'''


@dataclass
class _Turn:
    """One turn of a loop: names of the loop variables around, values known so far, adjoints gathered so far."""

    scope: Scope
    variables: tuple[str, ...]
    values: dict[Tree, str] = field(default_factory=dict)
    adjoints: dict[int, list[str]] = field(default_factory=dict)


class KernelSource:
    """The text of a module with the functions `outputs` and `pullback` (or only the latter), and `scratch_rows`."""

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

    def text(self, *, with_outputs: bool = True) -> str:
        """The module."""
        functions = [self._outputs()] if with_outputs else []
        functions.append(self._pullback())
        return "\n".join([_HEADER, *self._table_lines, *functions])

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
        """Lines that find their place later."""
        outside, self._lines = self._lines, []
        yield self._lines
        self._lines = outside

    @contextmanager
    def _loop(self, stop: int, start: int = 0, step: int = 1) -> Iterator[str]:
        """The loop variable; a single turn needs no loop."""
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

    def _load(self, turn: _Turn, slot: int) -> str:
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

    def _value(self, tree: Tree, turn: _Turn) -> str:
        """The name of a tree's value, computed here if it is not known yet."""
        if tree not in turn.values:
            turn.values[tree] = self._new_value(tree, turn)
        return turn.values[tree]

    def _new_value(self, tree: Tree, turn: _Turn) -> str:
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
        return self._let(_power(argument, tree[1]))

    def _sum(self, turn: _Turn, loop: int) -> str:
        """Sum over the turns of a loop. Short terms go to four sums: one would wait for each addition to finish."""
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
                inner = _Turn(scope, (*turn.variables, f"({variable} + {way})" if way else variable), dict(known))
                self._put(f"{name} = {name} + {self._value(scope.tree, inner)}")
        if whole < scope.count:
            with self._loop(scope.count, whole) as variable:
                inner = _Turn(scope, (*turn.variables, variable), dict(known))
                self._put(f"{names[0]} = {names[0]} + {self._value(scope.tree, inner)}")
        return self._let(" + ".join(names))

    def _invariants(self, turn: _Turn | None, scope: Scope) -> dict[Tree, str]:
        """Slots that are the same in every turn of a loop, loaded before it."""
        outside = _Turn(scope, (*(turn.variables if turn else ()), "0"))
        return {
            ("leaf", slot): self._value(("leaf", slot), outside)
            for slot, kind in enumerate(scope.kinds)
            if scope.count > 1 and kind != "const" and scope.invariant(slot)
        }

    # -- adjoints ------------------------------------------------------------------------------------

    def _is_active(self, tree: Tree, scope: Scope) -> bool:
        if tree[0] == "leaf":
            return scope.kinds[tree[1]] in ("param", "root")
        if tree[0] == "add":
            return any(self._is_active(part, scope) for part in tree[1]) or any(
                self._is_active(scope.loops[loop].tree, scope.loops[loop]) for loop in tree[2]
            )
        parts = tree[1] if tree[0] == "mul" else tree[2:]
        return any(self._is_active(part, scope) for part in parts)

    def _reverse(self, tree: Tree, bar: str, turn: _Turn) -> None:
        """Hand the adjoint `bar` of a tree down to its slots."""
        if not self._is_active(tree, turn.scope):
            return
        if tree[0] == "leaf":
            turn.adjoints.setdefault(tree[1], []).append(bar)
        elif tree[0] == "add":
            for part in tree[1]:
                self._reverse(part, bar, turn)
            for loop in tree[2]:
                self._reverse_loop(turn.scope.loops[loop], turn, lambda inner: self._reverse(inner.scope.tree, bar, inner))
        elif tree[0] == "mul":
            for i, part in enumerate(tree[1]):
                if self._is_active(part, turn.scope):
                    others = [self._value(other, turn) for k, other in enumerate(tree[1]) if k != i]
                    self._reverse(part, self._let(" * ".join([bar, *others])), turn)
        elif tree[0] == "power":
            slope = _power(self._value(tree[2], turn), tree[1] - 1)
            self._reverse(tree[2], self._let(f"{bar} * ({tree[1]!r} * ({slope}))"), turn)
        else:
            rule = DERIVATIVE[tree[1]]
            names = {a: self._value(tree[2], turn)} if rule.has(a) else {}
            if rule.has(y):
                names[y] = self._value(tree, turn)
            self._reverse(tree[2], self._let(f"{bar} * ({_rule(rule, names)})"), turn)

    def _reverse_loop(self, scope: Scope, turn: _Turn | None, body: Callable[[_Turn], None]) -> None:
        """All turns of a loop in reverse mode; the adjoint of a slot that stays the same is written once, after it."""
        known = self._invariants(turn, scope)
        around = turn.variables if turn else ()
        kept: dict[int, str] = {}
        for slot, kind in enumerate(scope.kinds):
            if kind in ("param", "root") and scope.count > 1 and scope.invariant(slot):
                kept[slot] = self._let("spread(0.0)")
        with self._loop(scope.count) as variable:
            inner = _Turn(scope, (*around, variable), dict(known))
            body(inner)
            self._write(inner, kept)
        self._write(_Turn(scope, (*around, "0"), adjoints={slot: [name] for slot, name in kept.items()}), {})

    def _write(self, turn: _Turn, kept: dict[int, str]) -> None:
        for slot, parts in turn.adjoints.items():
            total = " + ".join(parts)
            if slot in kept:
                self._put(f"{kept[slot]} = {kept[slot]} + {total}")
                continue
            kind, table = turn.scope.kinds[slot], turn.scope.tables[slot]
            array, offset = self._adjoint(kind, self._entry(table, turn.variables))
            if not self._is_assigned(kind, table):
                total = f"load({array}, {offset}) + {total}"
            self._put(f"store({array}, {offset}, {total})")

    def _is_assigned(self, kind: str, table: NDArray[np.generic]) -> bool:
        """Whether the rows get their adjoint from here alone, in one piece."""
        return not np.any(self._added_to[kind][table])

    def _find_added_to(self) -> None:
        """The rows whose adjoint is a sum of several writes, and so starts from zero."""
        plan = self.plan
        row_by_samples = np.array([f.by_samples for f in plan.families for _ in f.rows], dtype=bool)
        times = {"param": np.zeros(plan.n_active, dtype=np.int64), "root": np.zeros(plan.n_roots, dtype=np.int64)}
        writes: list[tuple[str, NDArray[np.int64]]] = []

        def visit(scope: Scope, by_samples: bool) -> None:
            for slot, (kind, table) in enumerate(zip(scope.kinds, scope.tables, strict=True)):
                if kind in times:
                    rows = table[..., 0] if scope.invariant(slot) else table
                    # written for every sample, kept for all of them: as good as twice
                    kept = ~row_by_samples[rows] if kind == "root" else True
                    np.add.at(times[kind], rows, 1 + (by_samples & kept))
                    writes.append((kind, rows))
            for loop in scope.loops:
                visit(loop, by_samples)

        for family in [*plan.families, *plan.sinks]:
            visit(family.scope, family.by_samples)
        self._row_by_samples = row_by_samples
        self._added_to = {kind: count != 1 for kind, count in times.items()}
        for kind, rows in writes:
            if np.any(self._added_to[kind][rows]):
                self._added_to[kind][rows] = True

    def _zero(self, kind: str, where: NDArray[np.bool_] | np.bool_) -> None:
        """Clear the adjoints that are sums, a run of neighbours to a loop."""
        rows = np.flatnonzero(self._added_to[kind] & where)
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                with self._loop(int(run[-1]) + 1, int(run[0])) as row:
                    array, offset = self._adjoint(kind, row)
                    self._put(f"store({array}, {offset}, spread(0.0))")

    # -- functions -----------------------------------------------------------------------------------

    @contextmanager
    def _function(self, name: str, kind: str, arguments: tuple[str, ...], result: str) -> Iterator[list[str]]:
        """A function over blocks of WIDTH lanes; fewer than that are filled up, and the results cut again."""
        self._indent, self._needed = 0, set()
        with self._aside() as lines:
            self._put(f"\n@njit({kind}, **_COMPILE)")
            with self._block(f"def {name}({', '.join(arguments)}):"):
                self._put(f"asked = {result}")
                with self._block("if w.shape[1] < WIDTH:"):
                    for argument in (name for name in arguments[1:] if name != "w"):
                        filled = f"np.empty(({argument}.shape[0], WIDTH))"
                        self._put(f"{argument} = {filled if argument in (result, 'scratch') else f'simd.widen({argument})'}")
                    self._put("w = simd.widen(w)")
                self._put("lanes = w.shape[1]")
                if self.plan.per_sample:
                    self._put("columns = data.shape[1]")
                # the last block overlaps its neighbour where lanes is no multiple of WIDTH
                with self._block("for block in range(0, lanes, WIDTH):"):
                    self._put("n = min(block, lanes - WIDTH)")
                    if self.copied:
                        with self._loop(self.copied) as row:
                            self._put(f"store(scratch, {row} * WIDTH, load(w, {row} * lanes + n))")
                    yield lines
                with self._block("if asked.shape[1] < WIDTH:"):
                    self._put(f"simd.narrow({result}, asked)")

    def _forward(self, by_samples: bool) -> None:
        """Values of the needed roots, in the order of their dependence."""
        pieces = []
        for i, family in reversed(list(enumerate(self.plan.families))):
            if family.by_samples == by_samples and i in self._needed:
                with self._aside() as lines:
                    self._store_values(family, "scratch", lambda row: self._scratch(row, self.root_row))
                pieces.append(lines)
        for lines in reversed(pieces):
            self._lines += lines

    def _store_values(self, family: Family, array: str, offset: Callable[[str], str]) -> None:
        scope = family.scope
        known = self._invariants(None, scope)
        with self._loop(scope.count) as variable:
            turn = _Turn(scope, (variable,), known)
            value = self._value(scope.tree, turn)
            if scope.tree[0] == "leaf" and scope.kinds[scope.tree[1]] in ("const", "input"):
                value = f"spread({value})"
            self._put(f"store({array}, {offset(self._entry(family.rows, (variable,)))}, {value})")

    def _output_offset(self, entry: str) -> str:
        row = f"sample * {len(self.plan.outputs)} + {entry}" if self.plan.per_sample else entry
        return f"({row}) * lanes + n"

    @contextmanager
    def _samples(self) -> Iterator[None]:
        if self.plan.per_sample:
            with self._block("for sample in range(data.shape[0]):"):
                yield
        else:
            yield

    def _outputs(self) -> str:
        with self._function("outputs", "KERNEL", ("data", "w", "f", "scratch"), "f") as text:
            with self._aside() as by_sample, self._samples():
                with self._aside() as sinks:
                    for family in self.plan.sinks:
                        self._store_values(family, "f", self._output_offset)
                if self.plan.per_sample:
                    self._forward(True)
                self._lines += sinks
            self._forward(False)
            self._lines += by_sample
        return "\n".join(text)

    def _pullback(self) -> str:
        self._find_added_to()
        with self._function("pullback", "PULLBACK", ("data", "w", "r", "g", "scratch"), "g") as text:
            with self._aside() as backward:
                for family in reversed(self.plan.families):
                    if family.active and not family.by_samples:
                        self._reverse_family(family)
            with self._aside() as by_sample, self._samples():
                with self._aside() as reverse:
                    for family in self.plan.sinks:
                        if family.active:
                            self._reverse_family(family, self._output_offset)
                    for family in reversed(self.plan.families):
                        if family.active and family.by_samples:
                            self._reverse_family(family)
                if self.plan.per_sample:
                    self._zero("root", self._row_by_samples)
                    self._forward(True)
                self._lines += reverse
            self._zero("param", np.True_)
            self._zero("root", ~self._row_by_samples)
            self._forward(False)
            self._lines += by_sample
            self._lines += backward
            if self.plan.per_sample:
                with self._loop(self.plan.n_active) as row:
                    self._put(f"store(g, {row} * lanes + n, load(scratch, {self._scratch(row, self.adjoint_row)}))")
        return "\n".join(text)

    def _reverse_family(self, family: Family, r: Callable[[str], str] | None = None) -> None:
        """Reverse mode through a family of outputs (adjoints from the array r) or of roots (from their own rows)."""

        def body(turn: _Turn) -> None:
            entry = self._entry(family.rows, turn.variables)
            array, offset = ("r", r(entry)) if r else self._adjoint("root", entry)
            bar, tree = self._let(f"load({array}, {offset})"), family.scope.tree
            if r is None and tree[0] == "call" and DERIVATIVE[tree[1]].has(y):  # its value is at hand
                self._needed |= {int(self.plan.family_of_row[family.rows[0]])}
                turn.values[tree] = self._let(f"load(scratch, {self._scratch(entry, self.root_row)})")
            self._reverse(tree, bar, turn)

        self._reverse_loop(family.scope, None, body)


def _power(base: str, exponent: float) -> str:
    """Code of base^exponent: products, square roots, and exp(p log) for the rest."""
    if exponent < 0:
        return f"1.0 / ({_power(base, -exponent)})"
    if exponent == int(exponent) and exponent <= 64:
        squares, parts, left = base, [], int(exponent)
        while left:
            if left % 2:
                parts.append(squares)
            squares, left = f"({squares} * {squares})", left // 2
        return " * ".join(parts) or "1.0"
    if exponent == int(exponent) + 0.5 and exponent < 8:
        whole = _power(base, int(exponent))
        return f"simd.sqrt({base})" if exponent == 0.5 else f"{whole} * simd.sqrt({base})"
    return f"simd.exp({exponent!r} * simd.log({base}))"


def _rule(rule: sp.Expr, names: Mapping[sp.Symbol, str]) -> str:
    """Code of a derivative rule."""
    if rule in names:
        return names[rule]
    if rule.is_number:
        return repr(float(rule))
    parts = [f"({_rule(arg, names)})" for arg in rule.args]
    if rule.is_Add or rule.is_Mul:
        return (" + " if rule.is_Add else " * ").join(parts)
    if rule.is_Pow:
        return _power(parts[0], float(rule.exp))
    return f"simd.{type(rule).__name__}{parts[0]}"


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
