"""The compiled kernel of one equation and one method: a generated module, kept on disk.

A buffer of increments is filled before the paths are updated: together, the generator's integer state would push the update out
of the registers. Paths are stepped as lanes of vector registers, a tile of them through all steps
of the buffer; equations whose functions branch are stepped one by one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numba import float64, typeof, types
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from ..core import random
from ..core.errors import InputError
from ..core.fingerprint import fingerprint
from ..core.forks import lock
from ..core.simd import cache
from .equation import Coefficient, Equation
from .functions import injected
from .loops import LoopText
from .methods.base import Method
from .noise import Layout
from .source import KernelText


class Kernel:
    """The compiled functions for one equation, method, functionals and event."""

    def __init__(
        self,
        equation: Equation,
        method: type[Method],
        n_parameters: int,
        functionals: dict[str, Coefficient] | None = None,
        event: Coefficient | None = None,
        stop: bool = False,
    ) -> None:
        self.equation, self.method, self.n_parameters = equation, method, n_parameters
        self.functionals, self.event, self.stop = functionals or {}, event, stop
        self.lanes = 128 if equation.dim < 8 and not equation.in_place else 32
        """Paths of a block, few enough that its components and the buffer stay in the first-level cache."""
        self.layout = Layout(method.n_numbers(equation) * method.draws, method.increments, self.lanes)
        self._source = self.written(event, self.lanes)
        self.extras = self._source.extras
        self._given = Layout(self.layout.numbers, "normal", self.lanes)

    def written(self, event: Coefficient | None, lanes: int) -> KernelText:
        """The writer of the kernel's text, for blocks of `lanes` paths."""
        kind = LoopText if self.equation.in_place else KernelText
        return kind(self.equation, self.method, self.n_parameters, self.functionals, event, lanes, self.stop)

    @property
    def row_names(self) -> tuple[str, ...]:
        """Names of the recorded rows: the components, then the functionals."""
        return (*self.equation.component_names, *self.functionals)

    @property
    def rows(self) -> int:
        """Number of recorded rows."""
        return len(self.row_names)

    @property
    def text(self) -> str:
        """The source text of the module, with paths in lanes."""
        return self._source.write(self.layout, wide=True)

    @cached_property
    def run(self) -> Any:
        """`run` of the module."""
        return self.module.run

    @cached_property
    def given(self) -> Any:
        """The module whose `advance` takes given increments: numbers of variance 1, whatever the method's law."""
        return self._module(self._given)

    def constants(self, h: float) -> NDArray[np.float64]:
        """The method's constants for the step h, as one vector."""
        values = self.method.constants(self.equation, h).values()
        return np.concatenate([np.ravel(v) for v in values]) if values else np.zeros(1)

    def functions(self) -> dict[str, Coefficient]:
        """The user's functions that are compiled into the kernel, by the name that they have there."""
        named = {f"functional_{name}": f for name, f in self.functionals.items()}
        return self.equation.coefficients() | named | ({"event": self.event} if self.event else {})

    @cached_property
    def module(self) -> Any:
        """The module with `run`, and the functions `advance` and `look` that it calls, on the method's own increments."""
        return self._module(self.layout)

    def _module(self, layout: Layout) -> Any:
        with _LOCK:
            for wide in (True, False):
                text = self._source.write(layout, wide)
                names, identity = injected({name: f for name, f in self.functions().items() if f"{name}(" in text})
                if wide and identity is not None and cache.is_refused(text, identity):
                    continue
                try:
                    return cache.load(text, names, identity, uses=(random,))
                except NumbaError as error:
                    if not wide:
                        raise self.compile_error(names, error) from error
                    if identity is not None:
                        cache.refuse(text, identity)
        raise InputError("drift", self.equation, "functions that numba compiles")

    def compile_error(self, names: dict[str, Any], error: NumbaError) -> InputError:
        """The InputError for functions that do not compile: it names the function and the reason."""
        n, dim = self.equation.n_indices, self.equation.dim
        for name, function in names.items():
            size = dim if name == "event" or name.startswith("functional_") else n
            x = float64 if size == 1 else types.UniTuple(float64, size)
            vector = types.Array(float64, 1, "C")
            out = [types.Array(float64, 1 + (self.equation.noise_shape(name) == "general"), "C")] * (
                name in self.equation.coefficients()
            )
            given = (
                (vector, float64, typeof((0.0,) * self.n_parameters), *out)
                if self.equation.in_place
                else (x, float64, typeof((0.0,) * self.n_parameters))
            )
            try:
                function.compile(given)
            except NumbaError as reason:
                allowed = f"scalar code that numba compiles ({_gist(reason)})"
                return InputError(name.removeprefix("functional_"), self.functions()[name], allowed)
        return InputError("drift", f"functions that do not fit together ({error})", "coefficients that return floats")


_LOCK = lock()


def _gist(error: NumbaError) -> str:
    """The line of numba's message that says what is wrong."""
    around = ("Failed in", "During:", "File ", "def ", "return ", "^", "<")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith(around)), lines[0])


_KERNELS: dict[Any, Kernel] = {}


def compiled(
    equation: Equation,
    method: type[Method],
    n_parameters: int,
    functionals: dict[str, Coefficient] | None = None,
    event: Coefficient | None = None,
    stop: bool = False,
) -> Kernel:
    """The kernel of an equation and a method, compiled when first used: the same object for functions that compute the same.

    What they refer to counts as it is now. Where its value cannot be told, the kernel is made anew.
    """
    kernel = Kernel(equation, method, n_parameters, functionals, event, stop)
    identity = fingerprint(kernel.functions(), mutable=True)
    key = (equation, method, n_parameters, tuple((functionals or {}).items()), event, stop, identity)
    try:
        known = _KERNELS.setdefault(key, kernel) if identity is not None else kernel
    except TypeError:  # a callable object without a hash
        return kernel
    if len(_KERNELS) > 64:
        _KERNELS.pop(next(iter(_KERNELS)))
    return known
