"""Numba source code of all outputs' gradients, the Jacobian, and of contracted second derivatives sum_i hess f_i c_i.

Each output has a reverse pass of its own, through the roots on which it depends, as the rows of the Jacobian, or the directions
c_i, are its own too. What outputs share is computed once: values, and in second derivatives the reverse pass through roots that
do not depend on the direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from numpy.typing import NDArray

from .plan import Family, Plan
from .source import BlockSource
from .values import Turn


class EachOutput(BlockSource):
    """Loops over outputs, and over the members of a family on which the present one depends."""

    _sink_depth = 2

    def __init__(self, plan: Plan, n_parameters: int) -> None:
        super().__init__(plan, n_parameters)
        self._rows_below = plan.rows_below()
        self._find_added_to()

    @contextmanager
    def _outputs(self) -> Iterator[None]:
        """A loop over a sample's outputs; `first` is the offset of the output's first row among P rows of N each."""
        k = len(self.plan.outputs)
        with self._loop(k) as self._which:
            row = f"sample * {k} + {self._which}" if self.plan.per_sample else self._which
            self._put(f"first = ({row}) * {self.plan.n_active} * lanes + n")
            yield

    @contextmanager
    def _listed(self, family: Family, members: list[NDArray[np.int64]]) -> Iterator[str]:
        """A loop over the members whose numbers `members` lists for each output."""
        count = family.scope.count
        if all(len(some) == count for some in members):
            with self._loop(count) as variable:
                yield variable
            return
        ends, numbers = self._table(np.cumsum([0, *map(len, members)])), self._table(np.concatenate(members))
        self._count += 1
        turn, variable = f"m{self._count}", f"i{self._count}"
        with self._block(f"for {turn} in range(at({ends}, {self._which}), at({ends}, {self._which} + 1)):"):
            self._put(f"{variable} = at({numbers}, {turn})")
            yield variable

    def _of_output(self, family: Family) -> AbstractContextManager[str]:
        """A loop over the members on which the present output depends."""
        low = int(family.rows[0])
        return self._listed(family, [rows[np.isin(rows, family.rows)] - low for rows in self._rows_below])

    def _members(self, family: Family) -> AbstractContextManager[str]:
        return self._of_output(family) if self._depth(family) == 2 else super()._members(family)

    def _reverse_members(self, family: Family) -> AbstractContextManager[str]:
        return self._of_output(family) if self._reverse_depth(family) == 2 else super()._members(family)

    def _reverse_sinks(self) -> None:
        """From the output itself, of adjoint 1."""

        def body(turn: Turn) -> None:
            self._reverse(turn.scope.tree, self._let("spread(1.0)"), turn)

        for family in self.plan.sinks:
            if family.active:
                members = [np.flatnonzero(family.rows == k) for k in range(len(self.plan.outputs))]
                self._reverse_loop(family.scope, None, body, self._listed(family, members))

    def _reverse_roots(self, depth: int) -> None:
        """Through the roots whose adjoints are kept as long as this depth."""
        for family in reversed(self.plan.families):
            if family.active and self._reverse_depth(family) == depth:

                def body(turn: Turn, family: Family = family) -> None:
                    entry = self._entry(family.rows, turn.variables)
                    array, offset = self._adjoint("root", entry)
                    bar = self._let(f"load({array}, {offset})")
                    self._value_at_hand(family, entry, turn)
                    self._reverse(family.scope.tree, bar, turn)

                self._reverse_loop(family.scope, None, body, self._reverse_members(family))

    def _zero_roots(self, depth: int) -> None:
        """Set the adjoints to zero that are sums, and kept as long as this depth."""
        for family in self.plan.families:
            if family.active and self._reverse_depth(family) == depth and np.any(self._added_to["root"][family.rows]):
                with self._reverse_members(family) as variable:
                    array, offset = self._adjoint("root", self._entry(family.rows, (variable,)))
                    self._put(f"store({array}, {offset}, spread(0.0))")


class JacobianSource(EachOutput):
    """The text of a module with the function `jacobian`."""

    _kept_parameters = 2

    def _reverse_depth(self, family: Family) -> int:
        return 2

    def _adjoint(self, kind: str, entry: str) -> tuple[str, str]:
        return super()._adjoint(kind, entry) if kind == "root" else ("jacobian", f"first + ({entry}) * lanes")

    def text(self) -> str:
        """The module."""
        with self._function("jacobian", "JACOBIAN", ("data", "w", "jacobian: cube", "scratch"), "jacobian") as text:
            with self._aside() as by_sample, self._samples():
                with self._aside() as by_output, self._outputs():
                    self._zero_gradient()
                    self._zero_roots(2)
                    self._reverse_sinks()
                    self._reverse_roots(2)
                if self.plan.per_sample:
                    self._forward(1)
                self._lines += by_output
            self._forward(0)
            self._lines += by_sample
        return self._module(["\n".join(text)])

    def _zero_gradient(self) -> None:
        """Set to zero what is a sum, or not a derivative of every output."""
        if len(self.plan.outputs) == 1:
            self._zero("param", np.True_)
            return
        with self._loop(self.plan.n_active) as row:
            array, offset = self._adjoint("param", row)
            self._put(f"store({array}, {offset}, spread(0.0))")


class ContractionSource(EachOutput):
    """The text of a module with the function `contract_hessians`, from a plan of the outputs' derivatives along directions.

    The derivative of an output along its own c_i, held fixed, has the gradient hess f_i c_i.
    """

    def _depth(self, family: Family) -> int:
        return 2 if family.by_direction else int(family.by_samples)

    def _load(self, turn: Turn, slot: int) -> str:
        if turn.scope.kinds[slot] != "fixed":
            return super()._load(turn, slot)
        entry = self._entry(turn.scope.tables[slot] - self.plan.n_active, turn.variables)
        return f"load(c, first + ({entry}) * lanes)"

    def text(self) -> str:
        """The module."""
        arguments = ("data", "w", "c: cube", "g", "scratch")
        with self._function("contract_hessians", "CONTRACTION", arguments, "g") as text:
            with self._aside() as backward:
                self._reverse_roots(0)
            with self._aside() as by_sample, self._samples():
                with self._aside() as backward_by_sample:
                    self._reverse_roots(1)
                with self._aside() as by_output, self._outputs():
                    with self._aside() as reverse:
                        self._zero_roots(2)
                        self._reverse_sinks()
                        self._reverse_roots(2)
                    self._forward(2)
                    self._lines += reverse
                if self.plan.per_sample:
                    self._zero_roots(1)
                    self._forward(1)
                self._lines += by_output
                self._lines += backward_by_sample
            self._zero("param", np.True_)
            self._zero_roots(0)
            self._forward(0)
            self._lines += by_sample
            self._lines += backward
            if self.plan.per_sample:
                with self._loop(self.plan.n_active) as row:
                    self._put(f"store(g, {row} * lanes + n, load(scratch, {self._scratch(row, self.adjoint_row)}))")
        return self._module(["\n".join(text)])
