"""The contract of a source of paths: it makes them chunk by chunk, each chunk independently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import xarray as xr

from .checks import lost
from .equation import Coefficient
from .kernel import Kernel, compiled
from .methods import Method
from .observers import Extras, Observer
from .task import Array, Task


@dataclass(frozen=True, eq=False)
class Paths(ABC):
    """The paths of a task, stepped by one method.

    Path i is a function of the task and of i alone, and the size of a chunk of the task alone. So results do not depend on
    threads, on the number of chunks, or on interruptions.
    """

    offers: ClassVar[frozenset[str]]
    """Names of the `Extras` of a chunk."""
    task: Task
    method: type[Method]
    small: bool = field(default=False, kw_only=True)
    """Whether chunks may be small: for ensembles that grow until an error is reached."""

    @property
    @abstractmethod
    def chunk_size(self) -> int:
        """Number of paths of a chunk."""

    @abstractmethod
    def prepare(self) -> None:
        """Compile the kernels, before threads use them."""

    @abstractmethod
    def chunk(self, first: int, n_active: int, see: Callable[[int, Array], None]) -> Extras:
        """Step paths first .. first + n_active - 1, at most a chunk.

        It calls `see(t, values)` with values (blocks, times, rows, lanes) from record time number t on, as for `Observer.add`.
        """

    @cached_property
    def kernel(self) -> Kernel:
        """The compiled step of the equation and the method."""
        task = self.task
        asked = task.statistics
        return compiled(task.equation, self.method, len(task.parameters), asked.functionals, asked.event, asked.stop)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the recorded rows: the components, then the functionals."""
        return self.kernel.row_names

    def observers(self) -> tuple[Observer, ...]:
        """Statistics of the steps themselves, which are part of every result."""
        return ()

    def attributes(self) -> dict[str, Any]:
        """Method, orders and settings, for the result's attrs."""
        return {"method": self.method.name, "weak_order": self.method.weak_order}

    def doubts(self, result: xr.Dataset) -> list[str]:
        """What casts doubt on the result, in words."""
        return lost(int(result["faulty"].values.max()), result.attrs["n_paths"])

    def functions(self) -> dict[str, Coefficient]:
        """Every function of the user's that the paths depend on, by name."""
        return self.kernel.functions()

    def identity(self) -> tuple[Any, ...]:
        """What the paths depend on beside `functions` and the task's numbers: texts, numbers and arrays."""
        return (self.chunk_size, self.kernel.text, self.kernel.constants(self.task.step))
