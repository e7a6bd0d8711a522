"""The source text of a compiled kernel: one equation and one method, with components, noise and domain written out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from textwrap import dedent, indent
from typing import NamedTuple

import numpy as np

from .equation import SDE, Coefficient, Equation
from .langevin import Langevin
from .methods.base import Method
from .noise import Layout

_HEADER = '''"""Generated from an equation and a method; the name holds the hash of this text and of what compiles it."""

import math

import numpy as np
from numba import float64, int64, typeof, types
from sde_momentum.core.compile import njit
from sde_momentum.core.random import fill_normal, fill_words
from sde_momentum.core.simd.lanes import aligned_stack, load_and_spread, store
from sde_momentum.core.simd.rows import rows_of
from sde_momentum.core.simd.operators import as_lanes, signed, shifted, where_below

load, spread = load_and_spread({width})
vector, matrix = (rows_of({width}, n) for n in (1, 2))
_COMPILE = {{"cache": CACHE, "nogil": True, "error_model": "numpy", "fastmath": {{"contract"}}}}
P = typeof((0.0,) * {n_parameters})
V, M, A = (types.Array(float64, n, "C") for n in (1, 2, 3))


@njit(inline="always")
def fill(states, z):
{fill}


@njit(types.void(M, M, M, int64, int64, int64, float64, float64, P, V), **_COMPILE)
def advance(x, z, extra, used, n_steps, k, t0, h, p, c):
    """n_steps steps from step k, in place: x (dim, lanes), z the buffer of increments, from its step `used` on."""
    aligned_stack()
    root = math.sqrt(h)
{constants}
{loop}


@njit(types.void(M, M, float64, P), **_COMPILE)
def look(x, out, t, p):
    """The recorded rows: the components, then the functionals."""
    for i in range({dim}):
        for n in range({lanes}):
            out[i, n] = x[i, n]
{look}


@njit(types.void(A, types.Array(types.uint64, 3, "C"), A, A, int64, types.Array(int64, 1, "C"), float64, float64, P, V,
                 types.Array(float64, 4, "C")), **_COMPILE)
def run(x, states, z, extra, k, steps, t0, h, p, c, out):
    """All blocks from step k to the last of `steps`; out (blocks, len(steps), rows, lanes) is what there is at each."""
    aligned_stack()
    for block in range(x.shape[0]):
        i = k
        for m in range(steps.shape[0]):
            while i < steps[m]:
                used = i % {buffer}
                if used == 0:
                    fill(states[block], z[block])
                n_steps = min({buffer} - used, steps[m] - i)
                advance(x[block], z[block], extra[block], used, n_steps, i, t0, h, p, c)
                i += n_steps
            look(x[block], out[block, m], t0 + i * h, p)
'''
_FILL = {
    "normal": "    fill_normal(states, z)",
    "rademacher": "    fill_words(states, z.view(np.uint64))",
}


class ExtraRows(NamedTuple):
    """Row numbers of a lane's further state, or None: exits from the domain; the event's last value, its first passage, and the
    chance to have gone unseen so far, over the path's own uniform number: below 1 it has passed."""

    exits: int | None
    value: int | None
    passage: int | None
    unseen: int | None

    @property
    def rows(self) -> int:
        return sum(row is not None for row in self)


class KernelText:
    """Writes a kernel's module for an equation, a method, functionals and an event; a block holds `lanes` paths."""

    def __init__(
        self,
        equation: Equation,
        method: type[Method],
        n_parameters: int,
        functionals: dict[str, Coefficient],
        event: Coefficient | None,
        lanes: int,
        stop: bool = False,
    ) -> None:
        self.equation, self.method, self.n_parameters = equation, method, n_parameters
        self.functionals, self.event, self.lanes, self.stop = functionals, event, lanes, stop and event is not None
        counted = int(equation.domain is not None)
        self.extras = ExtraRows(0 if counted else None, *(range(counted, counted + 3) if event else (None, None, None)))

    @property
    def _width(self) -> int:
        """Lanes of a tile: enough to hide the latency of an operation, few enough for the registers."""
        return 32 if self.equation.dim == 1 else 16 if self.equation.dim < 4 else 8

    def write(self, layout: Layout, wide: bool) -> str:
        """The module; `wide`: paths as lanes of vector registers, else one by one."""
        return _HEADER.format(
            width=self._width,
            n_parameters=self.n_parameters,
            fill=_FILL[layout.law],
            constants=indent("\n".join(self._constant_lines()), " " * 4),
            loop=indent(self._loop(layout, wide), " " * 4),
            lanes=self.lanes,
            buffer=layout.steps,
            dim=self.equation.dim,
            look=indent("\n".join(self._look_lines(wide)), " " * 4),
        )

    def _constant_lines(self) -> list[str]:
        lines, offset = [], 0
        for name, value in self.method.constants(self.equation, 1.0).items():
            for index in np.ndindex(value.shape):
                lines.append(f"{'_'.join([name + str(index[0]), *map(str, index[1:])]) if index else name} = c[{offset}]")
                offset += 1
        return lines

    def _loop(self, layout: Layout, wide: bool) -> str:
        """The loops over tiles and steps; `wide`: steps inside, the state in registers."""
        lanes, state = self.lanes, self._state_names()
        rows = [(f"x, {i}", name) for i, name in enumerate(state)]
        rows += [(f"extra, {row}", name) for name, row in self.extras._asdict().items() if row is not None]
        if wide:
            enter = [f"{name} = load({array} * {lanes} + n)" for array, name in rows]
            leave = [f"store({array} * {lanes} + n, {name})" for array, name in rows]
        else:
            enter = [f"{name} = {array.split(', ')[0]}[{array.split(', ')[1]}, n]" for array, name in rows]
            leave = [f"{array.split(', ')[0]}[{array.split(', ')[1]}, n] = {name}" for array, name in rows]
        body = [*self._increment_lines(layout, wide), *self._step_lines(layout), *self._after_lines()]
        body += [f"{name} = {self._new(i)}" for i, name in enumerate(state)]
        if not wide:
            inner = "\n".join([*enter, *body, *leave])
            return f"for j in range(n_steps):\n    t = t0 + (k + j) * h\n    for n in range({lanes}):\n{indent(inner, ' ' * 8)}"
        words = []
        if layout.law == "rademacher" and layout.rows == 1:
            words = ["word = load(z, n)", f"word = shifted(word, used * {layout.numbers})"]
        inner = "\n".join(["t = t0 + (k + j) * h", *body])
        return "\n".join(
            [
                f"for n in range(0, {lanes}, {self._width}):",
                indent("\n".join([*enter, *words, "for j in range(n_steps):"]), " " * 4),
                indent(inner, " " * 8),
                indent("\n".join(leave), " " * 4),
            ]
        )

    def _state_names(self) -> list[str]:
        n = self.equation.n_indices
        return [f"{part}{i}" for part in self.equation.parts for i in range(n)]

    def _increment_lines(self, layout: Layout, wide: bool) -> list[str]:
        """Lines that read the step's random numbers from the buffer."""
        targets = self.equation.driven or range(self.method.n_numbers(self.equation))
        m = len(targets)
        text, lines = self.method.text(self.equation), []
        for draw, (standard, scaled) in enumerate((("xi", "dw"), ("zeta", "du"))[: self.method.draws]):
            for order, i in enumerate(targets):
                row = draw * m + order
                if layout.law == "normal":
                    at = f"((used + j) * {layout.numbers} + {row})"
                    lines.append(f"{standard}{i} = " + (f"load(z, {at} * {self.lanes} + n)" if wide else f"z[{at}, n]"))
                    if scaled in text:
                        lines.append(f"{scaled}{i} = root * {standard}{i}")
                elif wide and layout.rows == 1:
                    lines += [f"{scaled}{i} = signed(root, word)", "word = shifted(word, 1)"]
                else:
                    bit = f"((used + j) * {layout.numbers} + {row})"
                    word = f"load(z, {bit} // 64 * {self.lanes} + n)" if wide else f"z[{bit} // 64, n]"
                    lines.append(f"{scaled}{i} = signed(root, shifted({word}, {bit} % 64))")
        return lines

    def _step_lines(self, layout: Layout) -> list[str]:
        writer = _StepWriter(self.equation, self.method, layout.law)
        text = dedent(self.method.text(self.equation))
        return [new for line in text.splitlines() if line.strip() for new in writer.expand(line.strip())]

    def _new(self, i: int) -> str:
        name = self._state_names()[i]
        return f"new_{name}" if len(self.equation.parts) > 1 else name.replace("x", "new")

    def _after_lines(self) -> list[str]:
        """Lines after the step: the domain's rule, then the event, at the new state. A path that has stopped stays."""
        names, lines = self._state_names(), []
        if self.stop:
            lines += [f"{self._new(i)} = where_below(passage, np.inf, {name}, {self._new(i)})" for i, name in enumerate(names)]
        if self.equation.domain is not None:
            out = "0.0"  # 1 if any component left its interval in this step
            for i, (low, high) in enumerate(self.equation.domain):
                new = self._new(i)
                # a component that is mirrored is kept within the other bound
                low_side = f"2.0 * {low!r} - {new}" if math.isinf(high) else f"min(2.0 * {low!r} - {new}, {high!r})"
                high_side = f"2.0 * {high!r} - {new}" if math.isinf(low) else f"max(2.0 * {high!r} - {new}, {low!r})"
                for bound, test, mirrored in ((low, f"{new}, {low!r}", low_side), (high, f"{high!r}, {new}", high_side)):
                    if math.isfinite(bound):
                        lines.append(f"out = where_below({test}, 1.0, {out})")
                        if self.equation.outside != "fault":
                            rule = repr(bound) if self.equation.outside == "clip" else mirrored
                            lines.append(f"{new} = where_below({test}, {rule}, {new})")
                        out = "out"
            if out == "out":
                lines.append("exits = exits + out")
                if self.equation.outside == "fault":  # the whole path: other components would be counted again
                    every = [self._new(k) for k in range(self.equation.dim)]
                    lines += [f"{new} = where_below(0.0, out, np.nan, {new})" for new in every]
        return [*lines, *(self._event_lines() if self.event is not None else [])]

    def _event_lines(self) -> list[str]:
        """The event at the new state, and the chance to have passed within the step if it is below 0 at both ends.

        From y_0 to y_1 the event is a Brownian bridge of variance s^2 h, s^2 = sum_k (b_k . grad f)^2 at the step's start: it
        reaches 0 with probability exp(-2 y_0 y_1 / (s^2 h)), about at the share |y_0| / (|y_0| + |y_1|) of the step. A path
        passes once the product of the chances not to is less than a uniform number of its own (Gobet 2000, Stoch. Process.
        Appl. 87).
        """
        old = self._state_names()
        new = [self._new(i) for i in range(self.equation.dim)]

        def event(state: list[str], time: str) -> str:
            argument = state[0] if len(state) == 1 else f"({', '.join(state)})"
            return f"as_lanes({new[0]}, event({argument}, {time}, p))"

        lines, seen = [f"now = {event(new, 't + h')}"], "now, 0.0, passage, first"
        noises = self._noises() if self.method.increments == "normal" else []
        if noises:
            if isinstance(self.equation, SDE):
                lines += _StepWriter(self.equation, self.method, "normal").expand("noise* = diffusion(x*, t, p)")
            for k, noise in enumerate(noises):
                moved = [f"moved{i}" if i in noise else name for i, name in enumerate(old)]
                lines += [f"moved{i} = {old[i]} + 0.001 * root * {b}" for i, b in noise.items()]
                lines += _confined(self.equation, {i: f"moved{i}" for i in noise})
                lines.append(f"slope{k} = 1000.0 * ({event(moved, 't')} - value)")
            lines += [
                f"chance = math.exp(-2.0 * now * (value / ({' + '.join(f'slope{k} * slope{k}' for k in range(len(noises)))})))",
                # 1 or more where one end is not below 0; NaN where it began at -inf
                "unseen = where_below(chance, 1.0, unseen * (1.0 - chance), unseen)",
            ]
            seen = "now, 0.0, where_below(unseen, 1.0, first, passage), first"
        if self.stop:
            lines += ["before = passage", "begun = value"]
        lines += [
            # the event may begin at -inf; the min keeps the first passage
            "first = min(passage, t + h / (1.0 + abs(now / value)))",
            f"passage = where_below(value, 0.0, where_below({seen}), passage)",
            "value = now",
        ]
        return lines + (self._stop_lines(noises) if self.stop else [])

    def _stop_lines(self, noises: list[dict[int, str]]) -> list[str]:
        """A path that has just passed is put where it passed: on the line between the step's ends, at the time of passage.

        Where it passed unseen, the event is not 0 on that line: the point is moved along the noise, as a bridge's is, to where it
        is 0 to first order.
        """
        names = self._state_names()
        lines = ["share = 1.0 / (1.0 + abs(now / begun))"]
        if noises:
            lines.append(f"steepness = {' + '.join(f'slope{k} * slope{k}' for k in range(len(noises)))}")
            lines += LACK
        for i, name in enumerate(names):
            new = self._new(i)
            moved = [f"slope{k} * {noise[i]}" for k, noise in enumerate(noises) if i in noise]
            across = f" + lack * ({' + '.join(moved)})" if moved else ""
            lines.append(f"{new} = where_below(passage, before, {name} + share * ({new} - {name}){across}, {new})")
        return lines

    def _noises(self) -> list[dict[int, str]]:
        """For each Wiener process the components that it drives, each with its coefficient as text."""
        equation = self.equation
        if not isinstance(equation, SDE):
            assert isinstance(equation, Langevin)
            n, noise = equation.n_coordinates, equation.noise_matrix
            return [
                {n + i: repr(float(noise[i, k])) for i in range(n) if noise[i, k] != 0.0} for k in range(n) if noise[:, k].any()
            ]
        if equation.noise == "diagonal":
            return [{i: f"noise{i}"} for i in equation.driven or range(equation.dim)]
        if equation.noise == "scalar":
            return [{i: f"noise{i}" for i in range(equation.dim)}]
        return [{i: f"noise{i}_{k}" for i in range(equation.dim)} for k in range(equation.n_noise)]

    def _look_lines(self, wide: bool) -> list[str]:
        names, lanes, dim = list(self.functionals), self.lanes, self.equation.dim
        if not names:
            return []
        at = [f"load(x, {i * lanes} + n)" if wide else f"x[{i}, n]" for i in range(dim)]
        argument = at[0] if dim == 1 else f"({', '.join(at)})"
        lines = [f"for n in range(0, {lanes}, {self._width}):" if wide else f"for n in range({lanes}):"]
        for i, name in enumerate(names):
            value = f"functional_{name}({argument}, t, p)"
            lines.append(
                f"    store(out, {(dim + i) * lanes} + n, as_lanes({at[0]}, {value}))"
                if wide
                else f"    out[{dim + i}, n] = {value}"
            )
        return lines


LACK = [
    "lack = where_below(0.0, steepness, -root * (begun + share * (now - begun)) / steepness, 0.0)",
    "lack = where_below(-np.inf, begun, lack, 0.0)",
]
"""How far along the noise the event is 0 again, from the point on the line between the step's ends."""


def _confined(equation: Equation, names: dict[int, str]) -> list[str]:
    """Lines that set components of a point within a step, by number, to the bounds of the domain."""
    lines = []
    for i, name in names.items():
        low, high = (-math.inf, math.inf) if equation.domain is None else equation.domain[i]
        for bound, test in ((low, f"{name}, {low!r}"), (high, f"{high!r}, {name}")):
            if math.isfinite(bound):
                lines.append(f"{name} = where_below({test}, {bound!r}, {name})")
    return lines


_PRODUCT = re.compile(r"\((\w+)\.(\w+)\)@")


class _StepWriter:
    """Expands the lines of a method for one equation: an index for each component, sums over the Wiener processes."""

    def __init__(self, equation: Equation, method: type[Method], law: str) -> None:
        self.equation, self.law = equation, law
        self.targets = equation.driven or range(method.n_numbers(equation))
        # names indexed by Wiener process (for diagonal noise: by the component that it drives)
        self.by_noise = {"dw", "du", "xi", "zeta"}
        constants = method.constants(equation, 1.0)
        self.shapes = {name: ("vector", "vector", "general")[v.ndim] for name, v in constants.items()}
        self.columns = {name: v.shape[1] for name, v in constants.items() if v.ndim == 2}

    def expand(self, line: str) -> list[str]:
        """One line of a method as the lines of the kernel."""
        n = self.equation.n_indices
        joined = re.fullmatch(r"(\w+)\* = (\w+)\((\w+)\*(.*)", line)
        line = re.sub(r"(\w+@?)\[(\d+)\]", lambda m: f"{m[1]}_{m[2]}" if "@" in m[1] else f"{m[1]}{m[2]}", line)
        if joined is None and "@" not in line:
            return [line]
        if joined is None:
            name, *inputs = re.findall(r"(\w+)@", _PRODUCT.sub("", line))
            indices: Sequence[int] = range(n)
            if self.by_noise & set(inputs):
                indices = self.targets
                self.by_noise.add(name)
            return [self._products(line, i).replace("@", str(i)) for i in indices]
        result, function, argument, rest = joined.groups()
        self.shapes[result] = self.equation.noise_shape(function)
        if self.shapes[result] == "general":
            m = self.equation.n_noise
            rows = [", ".join(f"{result}{i}_{k}" for k in range(m)) + ("," if m == 1 else "") for i in range(n)]
            left = rows[0] if n == 1 else ", ".join(f"({row})" for row in rows)
        else:
            own = self.targets if self.shapes[result] == "diagonal" else range(n)
            if self.shapes[result] == "diagonal":
                self.by_noise.add(result)
            left = ", ".join(f"{result}{i}" for i in own)
        names = ", ".join(f"{argument}{i}" for i in range(n))
        call = f"{left} = {function}({names if n == 1 else f'({names})'}{rest}"
        return (
            [call]
            if argument in self.equation.parts
            else [*_confined(self.equation, {i: f"{argument}{i}" for i in range(n)}), call]
        )

    def _products(self, line: str, i: int) -> str:
        def product(match: re.Match[str]) -> str:
            left, right = match.groups()
            shape, scale = self.shapes[left], ""
            if right == "dw" and self.law == "normal":
                right, scale = "xi", " * root"  # b sqrt(h) first: where b is constant it leaves the loop
            if shape == "general":
                columns = self.columns.get(left, self.equation.n_noise)
                return "(" + " + ".join(f"{left}{i}_{k}{scale} * {right}{k}" for k in range(columns)) + ")"
            if shape == "diagonal" and i not in self.targets:
                return "0.0"
            return f"({left}{i}{scale} * {right}{0 if shape == 'scalar' else i})"

        return _PRODUCT.sub(product, line)
