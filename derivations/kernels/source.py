"""Numba source code of a plan, for WIDTH runs (lanes) at a time: f(w), and by reverse-mode differentiation J(w)^T r or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from .adjoints import AdjointWriter
from .expression_graph import DERIVATIVE, y
from .plan import Family
from .values import WIDTH, Turn

_HEADER = '''"""Generated from a formula by `derivations.kernels`; the name holds the hash of this text and of the versions."""

import numpy as np
from sde_momentum.core.compile import njit
from sde_momentum.problems.compiled import CONTRACTION, JACOBIAN, KERNEL, PULLBACK
from sde_momentum.core.simd import functions as simd
from sde_momentum.core.simd.lanes import at, load_and_spread, narrow, store, widen

WIDTH = {width}
load, spread = load_and_spread(WIDTH)
_COMPILE = {{"cache": True, "nogil": True, "error_model": "numpy"}}
'''


class BlockSource(AdjointWriter):
    """What the modules have in common: functions over blocks of lanes, and loops over samples and over the roots' values."""

    def _module(self, functions: Sequence[str]) -> str:
        return "\n".join([_HEADER.format(width=WIDTH), *self._table_lines, *functions])

    @contextmanager
    def _function(self, name: str, kind: str, arguments: tuple[str, ...], result: str) -> Iterator[list[str]]:
        """A function over blocks of WIDTH lanes; fewer than that are filled up, and the results cut again.

        An argument `NAME: cube` is (P, N, lanes), and NAME the same with P N rows.
        """
        self._indent, self._needed = 0, set()
        names = [argument.removesuffix(": cube") for argument in arguments]
        with self._aside() as lines:
            self._put(f"\n@njit({kind}, **_COMPILE)")
            given = [argument.replace(": ", "_") for argument in arguments]
            with self._block(f"def {name}({', '.join(given)}):"):
                for argument, cube in zip(names, given, strict=True):
                    if argument != cube:
                        self._put(f"{argument} = {cube}.reshape(({cube}.shape[0] * {cube}.shape[1], {cube}.shape[2]))")
                self._put(f"asked = {result}")
                if "r" in names:
                    samples = f"data.shape[0] * {len(self.plan.outputs)}" if self.plan.per_sample else str(len(self.plan.outputs))
                    self._put(f"rows, whole = {samples}, r")
                    self._put("fused = r.shape[0] > rows")
                with self._block("if w.shape[1] < WIDTH:"):
                    for argument in (name for name in names[1:] if name != "w"):
                        filled = f"np.empty(({argument}.shape[0], WIDTH))"
                        self._put(f"{argument} = {filled if argument in (result, 'scratch') else f'widen({argument}, WIDTH)'}")
                    self._put("w = widen(w, WIDTH)")
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
                    self._put(f"narrow({result}, asked)")
                    if "r" in names:
                        with self._block("if fused:"):
                            self._put("narrow(r, whole)")

    def _members(self, family: Family) -> AbstractContextManager[str]:
        """A loop over the members of a family: its variable."""
        return self._loop(family.scope.count)

    def _forward(self, depth: int) -> None:
        """Values of the needed roots of this depth, in the order of their dependence."""
        pieces = []
        for i, family in reversed(list(enumerate(self.plan.families))):
            if self._depth(family) == depth and i in self._needed:
                with self._aside() as lines:
                    self._store_values(family, "scratch", lambda row: self._scratch(row, self.root_row))
                pieces.append(lines)
        for lines in reversed(pieces):
            self._lines += lines

    def _store_values(self, family: Family, array: str, offset: Callable[[str], str]) -> None:
        scope = family.scope
        known = self._invariants(None, scope)
        with self._members(family) as variable:
            turn = Turn(scope, (variable,), known)
            value = self._value(scope.tree, turn)
            if scope.tree[0] == "leaf" and scope.kinds[scope.tree[1]] in ("const", "input"):
                value = f"spread({value})"
            self._put(f"store({array}, {offset(self._entry(family.rows, (variable,)))}, {value})")

    @contextmanager
    def _samples(self) -> Iterator[None]:
        if self.plan.per_sample:
            with self._block("for sample in range(data.shape[0]):"):
                yield
        else:
            yield

    def _value_at_hand(self, family: Family, entry: str, turn: Turn) -> None:
        """Takes the root's own value from the forward pass, where its derivative is written in terms of it."""
        tree = family.scope.tree
        if (tree[0] == "call" and DERIVATIVE[tree[1]].has(y)) or tree[:2] == ("power", -1.0):
            self._needed |= {int(self.plan.family_of_row[family.rows[0]])}
            turn.values[tree] = self._let(f"load(scratch, {self._scratch(entry, self.root_row)})")


class KernelSource(BlockSource):
    """The text of a module with the functions `outputs` and `pullback`, and `scratch_rows`."""

    def text(self) -> str:
        """The module."""
        return self._module([self._outputs(), self._pullback()])

    def _output_offset(self, entry: str) -> str:
        row = f"sample * {len(self.plan.outputs)} + {entry}" if self.plan.per_sample else entry
        return f"({row}) * lanes + n"

    def _value_offset(self, entry: str) -> str:
        return f"{self._output_offset(entry)} + 2 * rows * lanes"

    def _outputs(self) -> str:
        with self._function("outputs", "KERNEL", ("data", "w", "f", "scratch"), "f") as text:
            with self._aside() as by_sample, self._samples():
                with self._aside() as sinks:
                    for family in self.plan.sinks:
                        self._store_values(family, "f", self._output_offset)
                if self.plan.per_sample:
                    self._forward(1)
                self._lines += sinks
            self._forward(0)
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
                            self._reverse_family(family, is_sink=True)
                        else:
                            with self._block("if fused:"):
                                self._store_values(family, "r", self._value_offset)
                    for family in reversed(self.plan.families):
                        if family.active and family.by_samples:
                            self._reverse_family(family)
                if self.plan.per_sample:
                    self._zero("root", self._row_depth == 1)
                    self._forward(1)
                self._lines += reverse
            self._zero("param", np.True_)
            self._zero("root", self._row_depth == 0)
            self._forward(0)
            self._lines += by_sample
            self._lines += backward
            if self.plan.per_sample:
                with self._loop(self.plan.n_active) as row:
                    self._put(f"store(g, {row} * lanes + n, load(scratch, {self._scratch(row, self.adjoint_row)}))")
        return "\n".join(text)

    def _reverse_family(self, family: Family, *, is_sink: bool = False) -> None:
        """Reverse mode through a family of outputs (adjoints from r, or (f - shift) scale) or of roots (from their own rows)."""

        def body(turn: Turn) -> None:
            entry = self._entry(family.rows, turn.variables)
            array, offset = ("r", self._output_offset(entry)) if is_sink else self._adjoint("root", entry)
            bar, tree = self._let(f"load({array}, {offset})"), family.scope.tree
            if is_sink:
                with self._block("if fused:"):
                    value = self._value(tree, Turn(turn.scope, turn.variables, dict(turn.values)))
                    self._put(f"store(r, {self._value_offset(entry)}, {value})")
                    self._put(f"{bar} = ({value} - {bar}) * load(r, {offset} + rows * lanes)")
            else:
                self._value_at_hand(family, entry, turn)
            self._reverse(tree, bar, turn)

        self._reverse_loop(family.scope, None, body)
