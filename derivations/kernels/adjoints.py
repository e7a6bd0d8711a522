"""Code generation for reverse-mode differentiation: adjoints are propagated from an expression tree to its leaves (slots)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from .expression_graph import DERIVATIVE, a, y
from .plan import Family, Scope, Tree
from .values import Turn, ValueWriter, power


class AdjointWriter(ValueWriter):
    """Writes reverse passes; the forward values that they need are computed where they are first used."""

    def _is_active(self, tree: Tree, scope: Scope) -> bool:
        if tree[0] == "leaf":
            return scope.kinds[tree[1]] in ("param", "root")
        if tree[0] == "add":
            return any(self._is_active(part, scope) for part in tree[1]) or any(
                self._is_active(scope.loops[loop].tree, scope.loops[loop]) for loop in tree[2]
            )
        parts = tree[1] if tree[0] == "mul" else tree[2:]
        return any(self._is_active(part, scope) for part in parts)

    def _reverse(self, tree: Tree, bar: str, turn: Turn) -> None:
        """Propagate the adjoint `bar` of a tree to its slots."""
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
            base, left = (tree, 2) if tree[1] == -1 else (tree[2], tree[1] - 1)  # of y = 1 / a it is -y^2: a division fewer
            slope = power(self._value(base, turn), left)
            self._reverse(tree[2], self._let(f"{bar} * ({tree[1]!r} * ({slope}))"), turn)
        else:
            rule = DERIVATIVE[tree[1]]
            names = {a: self._value(tree[2], turn)} if rule.has(a) else {}
            if rule.has(y):
                names[y] = self._value(tree, turn)
            self._reverse(tree[2], self._let(f"{bar} * ({_rule(rule, names)})"), turn)

    def _reverse_loop(
        self, scope: Scope, turn: Turn | None, body: Callable[[Turn], None], loop: AbstractContextManager[str] | None = None
    ) -> None:
        """All iterations of a loop in reverse mode, or those of `loop`.

        The adjoint of a slot that stays the same is written once, after it.
        """
        known = self._invariants(turn, scope)
        around = turn.variables if turn else ()
        kept: dict[int, str] = {}
        for slot, kind in enumerate(scope.kinds):
            if kind in ("param", "root") and scope.count > 1 and scope.invariant(slot):
                kept[slot] = self._let("spread(0.0)")
        with loop or self._loop(scope.count) as variable:
            inner = Turn(scope, (*around, variable), dict(known))
            body(inner)
            self._write(inner, kept)
        self._write(Turn(scope, (*around, "0"), adjoints={slot: [name] for slot, name in kept.items()}), {})

    def _write(self, turn: Turn, kept: dict[int, str]) -> None:
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
        """Whether the rows' adjoints have a single contribution, this one."""
        return not np.any(self._added_to[kind][table])

    # Some roots are computed once, others once a sample, or once an output: depths 0, 1 and 2. Adjoints are kept as long.

    def _depth(self, family: Family) -> int:
        """How often the values of these roots are computed."""
        return int(family.by_samples)

    def _reverse_depth(self, family: Family) -> int:
        """How often the reverse pass runs through these roots."""
        return self._depth(family)

    _kept_parameters = 0
    """How long the adjoints of parameters are kept, as a depth."""

    @property
    def _sink_depth(self) -> int:
        """How often the reverse pass begins at the outputs."""
        return int(self.plan.per_sample)

    def _find_added_to(self) -> None:
        """The rows whose adjoint is a sum of several writes, and so starts from zero."""
        plan = self.plan
        self._row_depth = np.array([self._reverse_depth(f) for f in plan.families for _ in f.rows], dtype=np.int64)
        times = {"param": np.zeros(plan.n_active, dtype=np.int64), "root": np.zeros(plan.n_roots, dtype=np.int64)}
        writes: list[tuple[str, NDArray[np.int64]]] = []

        def visit(scope: Scope, depth: int) -> None:
            for slot, (kind, table) in enumerate(zip(scope.kinds, scope.tables, strict=True)):
                if kind in times:
                    rows = table[..., 0] if scope.invariant(slot) else table
                    # written for every sample, kept for all of them: as good as twice
                    kept = self._row_depth[rows] if kind == "root" else self._kept_parameters
                    np.add.at(times[kind], rows, 1 + (depth > kept))
                    writes.append((kind, rows))
            for loop in scope.loops:
                visit(loop, depth)

        for family in plan.families:
            visit(family.scope, self._reverse_depth(family))
        for family in plan.sinks:
            visit(family.scope, self._sink_depth)
        self._added_to = {kind: count != 1 for kind, count in times.items()}
        for kind, rows in writes:
            if np.any(self._added_to[kind][rows]):
                self._added_to[kind][rows] = True

    def _zero(self, kind: str, where: NDArray[np.bool_] | np.bool_) -> None:
        """Set the adjoints that are sums to zero, one loop for each range of neighbouring rows."""
        rows = np.flatnonzero(self._added_to[kind] & where)
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                with self._loop(int(run[-1]) + 1, int(run[0])) as row:
                    array, offset = self._adjoint(kind, row)
                    self._put(f"store({array}, {offset}, spread(0.0))")


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
        return power(parts[0], float(rule.exp))
    return f"simd.{type(rule).__name__}{parts[0]}"
