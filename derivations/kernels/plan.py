"""The plan of a kernel: what it computes, in which order, and which terms are alike and become loops.

A node used more than once, one that is the same for all samples, or a function is a root: it is computed once and kept.
Between roots the graph is trees. Trees that differ in their leaves only form a family, evaluated by one loop;
within a tree, so do the alike terms of a sum. A leaf becomes a slot: its kind, and a table of which parameter,
input, constant or root it is in each turn of the loops around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .expression_graph import Node

LOOP_FROM = 6
"""Least number of alike terms of a sum that become a loop; fewer are unrolled."""

Tree = tuple[Any, ...]
"""("leaf", slot) | ("add", trees, loops) | ("mul", trees) | ("power", exponent, tree) | ("call", name, tree)."""


@dataclass(frozen=True)
class Scope:
    """The body of a loop: its tree, its slots, and the loops over alike terms inside it.

    `tables[slot]` has one axis for each loop around, this one last. Kinds: "param" (differentiated), "fixed"
    (a parameter that is not), "root", "passive" (a root of fixed parameters and inputs), "input", "const".
    """

    tree: Tree
    kinds: tuple[str, ...]
    tables: tuple[NDArray[Any], ...]
    loops: tuple[Scope, ...]
    count: int

    def invariant(self, slot: int) -> bool:
        """Whether the slot is the same in every iteration of this loop."""
        table = self.tables[slot]
        return bool(np.all(table == table[..., :1]))


@dataclass(frozen=True)
class Family:
    """Roots (or outputs) of one form. `rows`: the buffer rows (output numbers) of its members.

    `by_direction`: whether they depend on parameters that are held fixed in derivatives.
    """

    scope: Scope
    rows: NDArray[np.int64]
    by_samples: bool
    active: bool
    by_direction: bool


@dataclass(frozen=True)
class _Match:
    """A tree with its slots' kinds, `key`; which leaf each slot is, `leaves`; matches of the looped terms."""

    key: tuple[Any, ...]  # (tree, kinds, ((count, key of a term), ...))
    leaves: tuple[Any, ...]
    loops: tuple[tuple[_Match, ...], ...]


@dataclass
class Plan:
    """`outputs`: nodes f_k; parameters from `n_active` on are held fixed in derivatives; `per_sample`: one sample's formula."""

    outputs: Sequence[Node]
    n_active: int
    n_inputs: int
    per_sample: bool
    derived: list[Node] = field(default_factory=list)
    """Nodes of inputs alone: further columns of the data, from `n_inputs` on."""

    def __post_init__(self) -> None:
        self._columns: dict[Node, int] = {}
        self._active: dict[Node, bool] = {}
        self._by_direction: dict[Node, bool] = {}
        self._matches: dict[Node, _Match] = {}
        self._roots = self._find_roots()
        self._rows: dict[Node, int] = {}
        self.families = self._find_families()
        self.sinks = self._find_sinks()
        self.family_of_row = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(np.full(len(f.rows), i) for i, f in enumerate(self.families))]
        )

    @property
    def n_roots(self) -> int:
        return len(self._rows)

    # -- roots ---------------------------------------------------------------------------------------

    def _find_roots(self) -> set[Node]:
        uses: Counter[Node] = Counter(self.outputs)
        roots: set[Node] = set()
        stack, seen = [*self.outputs], set(self.outputs)
        if self.per_sample:
            roots |= {node for node in self.outputs if self._worth_keeping(node) and not node.by_inputs}
        while stack:
            node = stack.pop()
            if node.by_inputs and not node.by_parameters:
                continue
            for arg in node.args:
                uses[arg] += 1
                if self._worth_keeping(arg) and (self._is_dear(arg) or (node.by_inputs and not arg.by_inputs)):
                    roots.add(arg)
                if arg not in seen:
                    seen.add(arg)
                    stack.append(arg)
        return roots | {node for node, count in uses.items() if count > 1 and self._worth_keeping(node)}

    @staticmethod
    def _worth_keeping(node: Node) -> bool:
        """Not leaves, inputs' functions (columns of the data), and a number times a leaf (as cheap as a load)."""
        cheap = node.op == "mul" and len(node.args) == 2 and all(arg.is_leaf for arg in node.args)
        constant = any(arg.op == "const" for arg in node.args)
        return node.by_parameters and not node.is_leaf and not (cheap and constant)

    @staticmethod
    def _is_dear(node: Node) -> bool:
        """Functions, divisions and square roots: the reverse pass takes their values from the forward pass."""
        return node.op == "call" or (node.op == "power" and not (node.value > 0 and node.value == int(node.value)))

    def is_active(self, node: Node) -> bool:
        """Whether the node depends on a differentiated parameter."""
        if node not in self._active:
            own = node.op == "param" and node.value < self.n_active
            self._active[node] = own or any(self.is_active(arg) for arg in node.args)
        return self._active[node]

    def is_by_direction(self, node: Node) -> bool:
        """Whether the node depends on a parameter that is held fixed in derivatives."""
        if node not in self._by_direction:
            own = node.op == "param" and node.value >= self.n_active
            self._by_direction[node] = own or any(self.is_by_direction(arg) for arg in node.args)
        return self._by_direction[node]

    # -- trees ---------------------------------------------------------------------------------------

    def _kind(self, node: Node) -> str | None:
        """The kind of slot that the node is, None for what lies inside a tree."""
        if node in self._roots:
            return "root" if self.is_active(node) else "passive"
        if node.op == "param":
            return "param" if node.value < self.n_active else "fixed"
        if node.op == "const":
            return "const"
        return None if node.by_parameters else "input"

    def _match(self, node: Node, top: bool = False) -> _Match:
        """`top`: the tree of a root, not a slot that refers to it."""
        if not top and node in self._matches:
            return self._matches[node]
        kinds: list[str] = []
        leaves: list[Any] = []
        slots: dict[Any, int] = {}
        loops: list[tuple[_Match, ...]] = []

        def slot(kind: str, leaf: Any) -> Tree:
            # Constants never share a slot: alike trees may have equal numbers where others have different ones.
            key = (kind, len(slots) if kind == "const" else leaf)
            if key not in slots:
                slots[key] = len(kinds)
                kinds.append(kind)
                leaves.append(leaf)
            return ("leaf", slots[key])

        def walk(node: Node, top: bool = False) -> Tree:
            kind = None if top and node.args and node.by_parameters else self._kind(node)
            if kind is not None:
                return slot(kind, node)
            if node.op == "add":
                groups: dict[Any, list[Node]] = {}
                for arg in node.args:
                    groups.setdefault(self._match(arg).key, []).append(arg)
                inside, looped = [], []
                for group in groups.values():
                    if len(group) < LOOP_FROM:
                        inside += [walk(arg) for arg in group]
                    else:
                        looped.append(len(loops))
                        loops.append(tuple(self._match(arg) for arg in group))
                return ("add", tuple(inside), tuple(looped))
            trees = tuple(walk(arg) for arg in node.args)
            return ("mul", trees) if node.op == "mul" else (node.op, node.value, trees[0])

        tree = walk(node, top)
        key = (tree, tuple(kinds), tuple((len(terms), terms[0].key) for terms in loops))
        match = _Match(key, tuple(leaves), tuple(loops))
        if not top:
            self._matches[node] = match
        return match

    def _number(self, leaf: Node) -> float:
        """What stands in a slot's table."""
        if leaf in self._rows:
            return self._rows[leaf]
        if leaf.op == "const" or leaf.is_leaf:
            return leaf.value
        if leaf not in self._columns:
            self._columns[leaf] = self.n_inputs + len(self.derived)
            self.derived.append(leaf)
        return self._columns[leaf]

    def _scope(self, matches: Sequence[_Match], axes: tuple[int, ...]) -> Scope:
        tree, kinds, _ = matches[0].key
        tables = []
        for slot, kind in enumerate(kinds):
            numbers = [self._number(match.leaves[slot]) for match in matches]
            tables.append(np.array(numbers, dtype=float if kind == "const" else np.int64).reshape(axes))
        loops = []
        for i, terms in enumerate(matches[0].loops):
            inner = [term for match in matches for term in match.loops[i]]
            loops.append(self._scope(inner, (*axes, len(terms))))
        return Scope(tree, kinds, tuple(tables), tuple(loops), axes[-1])

    # -- families ------------------------------------------------------------------------------------

    def _roots_below(self, match: _Match) -> Iterator[Node]:
        yield from (leaf for leaf in match.leaves if leaf in self._roots)
        for terms in match.loops:
            for term in terms:
                yield from self._roots_below(term)

    def _find_families(self) -> list[Family]:
        matches = {root: self._match(root, top=True) for root in self._roots}
        levels: dict[Node, int] = {}

        def level(root: Node) -> int:
            """Roots of one level do not depend on each other."""
            if root not in levels:
                levels[root] = 1 + max((level(below) for below in self._roots_below(matches[root])), default=0)
            return levels[root]

        groups: dict[Any, list[Node]] = {}
        for root in sorted(self._roots, key=lambda node: (node.by_inputs, level(node), node.shape, node.leaves, node.serial)):
            key = (root.by_inputs, level(root), self.is_by_direction(root), matches[root].key)
            groups.setdefault(key, []).append(root)
        # a family may have roots of several shapes, so groups come in the order of their first member
        families = []
        for (by_samples, _, by_direction, _), members in sorted(groups.items(), key=lambda item: item[0][:2]):
            rows = np.arange(len(self._rows), len(self._rows) + len(members))
            scope = self._scope([matches[root] for root in members], (len(members),))
            self._rows |= dict(zip(members, rows.tolist(), strict=True))
            families.append(Family(scope, rows, by_samples, self.is_active(members[0]), by_direction))
        return families

    def rows_below(self) -> list[NDArray[np.int64]]:
        """For each output the buffer rows of the roots on which it depends, increasing."""
        below: dict[Node, set[Node]] = {}

        def all_below(root: Node) -> set[Node]:
            if root not in below:
                direct = set(self._roots_below(self._match(root, top=True)))
                below[root] = direct.union(*map(all_below, direct))
            return below[root]

        found = []
        for node in self.outputs:
            direct = set(self._roots_below(self._match(node)))
            found.append(np.array(sorted(self._rows[root] for root in direct.union(*map(all_below, direct))), dtype=np.int64))
        return found

    def _find_sinks(self) -> list[Family]:
        groups: dict[Any, list[int]] = {}
        matches = [self._match(node) for node in self.outputs]
        for k, match in enumerate(matches):
            groups.setdefault(match.key, []).append(k)
        return [
            Family(
                self._scope([matches[k] for k in members], (len(members),)),
                np.array(members),
                self.per_sample,
                self.is_active(self.outputs[members[0]]),
                self.is_by_direction(self.outputs[members[0]]),
            )
            for members in groups.values()
        ]
