"""The compiled loop of one equation and one method, generated with the components unrolled.

A buffer of increments is filled first and the paths are updated after: done together, the generator's
integer state pushes the update out of the registers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from textwrap import dedent, indent
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int64, njit, typeof, types
from numba.core.errors import NumbaError

from ..errors import InputError
from .equation import SDE
from .methods import Method, method_named
from .moments import record
from .noise import FILL, LANES, buffer_steps

_TEMPLATE = '''
def advance(x, z, row, n_steps, k, t0, h, p):
    """n_steps steps from step k, in place: x (dim, lanes), z (rows, lanes) standard increments from `row` on."""
    root = math.sqrt(h)
    for j in range(n_steps):
        t = t0 + (k + j) * h
        r = row + j * {dim}
        for n in range({lanes}):
{step}


def run(x0, states, n_paths, t0, h, steps, p, count, sums):
    """All blocks of `states` (blocks, 4, lanes) from x0, in order; moments at `steps` go to count and sums."""
    x = np.empty(({dim}, {lanes}))
    z = np.empty(({rows}, {lanes}))
    good = np.empty({lanes})
    words = np.empty({lanes}, dtype=np.uint64)
    for block in range(states.shape[0]):
        for i in range({dim}):
            x[i] = x0[i]
        n_active = min({lanes}, n_paths - block * {lanes})
        k = 0
        for m in range(steps.shape[0]):
            while k < steps[m]:
                used = k % {buffer}
                if used == 0:
                    fill(states[block], words, z)
                n_steps = min({buffer} - used, steps[m] - k)
                advance(x, z, used * {dim}, n_steps, k, t0, h, p)
                k += n_steps
            record(x, n_active, count[m : m + 1], sums[m], good)
'''

_SLOPE_GIVEN = "slope* = diffusion_derivative(x*, t, p)\n"
# the cube root of the rounding error balances truncation and cancellation in a central difference
_SLOPE_DIFFERENCE = """\
e@ = 6e-6 * (1.0 + abs(x@))
up@ = x@ + e@
down@ = x@ - e@
high* = diffusion(up*, t, p)
low* = diffusion(down*, t, p)
slope@ = (high@ - low@) / (2.0 * e@)
"""


class Kernel(NamedTuple):
    """`advance` steps one block on given increments; `run` draws them, steps many blocks and records moments."""

    advance: Any
    run: Any


def source(method: type[Method], dim: int, derivative_given: bool = False) -> str:
    """The text of the kernel's module."""
    slope = "" if not method.derivative else _SLOPE_GIVEN if derivative_given else _SLOPE_DIFFERENCE
    lines = "x@ = x[@, n]\ndw@ = root * z[r + @, n]\n" + slope + dedent(method.step) + "x[@, n] = new@\n"
    buffer = buffer_steps(method.increments, dim)
    step = indent("\n".join(_expand(line, dim) for line in lines.splitlines() if line.strip()), " " * 12)
    return _TEMPLATE.format(dim=dim, lanes=LANES, buffer=buffer, rows=buffer * dim, step=step)


def _expand(line: str, dim: int) -> str:
    """One line of a method as one a component (`@`), or with all components joined (`name*`).

    >>> _expand("a* = drift(x*, t, p)", 2)
    'a0, a1 = drift((x0, x1), t, p)'
    """
    if "@" in line:
        return "\n".join(line.replace("@", str(i)) for i in range(dim))
    result, call = line.split("* = ")
    function, rest = call.split("(", 1)
    argument, rest = rest.split("*", 1)
    names = [", ".join(f"{name}{i}" for i in range(dim)) for name in (result, argument)]
    return f"{names[0]} = {function}({names[1]}{rest}" if dim == 1 else f"{names[0]} = {function}(({names[1]}){rest}"


@lru_cache(maxsize=64)
def compiled(sde: SDE, name: str, n_parameters: int) -> Kernel:
    """The kernel, compiled once a process for each equation and method; InputError if numba refuses a coefficient."""
    method = method_named(name)
    p = typeof((0.0,) * n_parameters)
    x = float64 if sde.dim == 1 else types.UniTuple(float64, sde.dim)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    names: dict[str, Any] = {"math": math, "np": np, "record": record, "fill": FILL[method.increments]}
    for coefficient, function in sde.coefficients().items():
        names[coefficient] = njit(forceinline=True, **options)(getattr(function, "py_func", function))
        try:
            names[coefficient].compile((x, float64, p))
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise InputError(
                coefficient, function, f"scalar code that numba compiles ({reason[-1] if reason else error})"
            ) from error
    exec(source(method, sde.dim, sde.diffusion_derivative is not None), names)
    matrix, vector = types.Array(float64, 2, "C"), types.Array(float64, 1, "C")
    states, steps = types.Array(types.uint64, 3, "C"), types.Array(int64, 1, "C")
    names["advance"] = njit(types.void(matrix, matrix, int64, int64, int64, float64, float64, p), **options)(names["advance"])
    run = njit(types.void(vector, states, int64, float64, float64, steps, p, vector, types.Array(float64, 3, "C")), **options)(
        names["run"]
    )
    return Kernel(names["advance"], run)
