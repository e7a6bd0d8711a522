"""The kernel's source for functions f(x, t, p, out): loops over the components, of the same length for any number of them."""

from __future__ import annotations

import re
from functools import partial
from textwrap import dedent, indent

from .equation import SDE
from .noise import Layout
from .source import LACK, KernelText

_PRODUCT = re.compile(r"\((\w+)\.(\w+)\)@")
_JOINED = re.compile(r"(\w+)\* = (\w+)\((\w+)\*(.*)")


class LoopText(KernelText):
    """Writes a kernel whose state and coefficients are arrays of lanes (`core.simd.rows`), or of numbers, path by path."""

    @property
    def _width(self) -> int:
        return 32

    def _constant_lines(self) -> list[str]:
        lines, offset = [], 0
        for name, value in self.method.constants(self.equation, 1.0).items():
            lines.append(f"{name} = c[{offset}:{offset + value.size}]")
            offset += value.size
        if self.equation.domain is not None:
            for name, end in (("LOW", 0), ("HIGH", 1)):
                values = ", ".join(repr(bounds[end]).replace("inf", "np.inf") for bounds in self.equation.domain)
                lines.append(f"{name} = np.array([{values}])")
        return lines

    def _loop(self, layout: Layout, wide: bool) -> str:
        dim, lanes = self.equation.dim, self.lanes
        body = [*self._numbers(layout, wide), *self._method_lines(), *self._after_loops()]
        body += self._over(dim, ["x[i] = new[i]"])
        text = "\n".join(["t = t0 + (k + j) * h", *body])
        sizes = self._sizes(text)
        scratch = [
            f"{name}_ = np.empty({rows * max(columns, 1)} * {self._width if wide else 1})"
            for name, (rows, columns) in sizes.items()
        ]
        extras = [name for name, row in self.extras._asdict().items() if row is not None]
        numbers = {name: getattr(self.extras, name) for name in extras}
        views = []
        if wide:
            for name, (rows, columns) in sizes.items():
                make = "matrix" if columns else "vector"
                views.append(f"{name} = {make}({name}_, 0, {self._width}, {rows}, {max(columns, 1)})")
            enter = [f"x = vector(states_, n, {lanes}, {dim}, 1)"]
            enter += [f"{name} = load(extra, {numbers[name] * lanes} + n)" for name in extras]
            leave = [f"store(extra, {numbers[name] * lanes} + n, {name})" for name in extras]
        else:
            for name, (rows, columns) in sizes.items():
                views.append(f"{name} = {name}_" + (f".reshape({rows}, {columns})" if columns else ""))
            enter = ["x = states_[:, n]", *(f"{name} = extra[{numbers[name]}, n]" for name in extras)]
            leave = [f"extra[{numbers[name]}, n] = {name}" for name in extras]
        inner = "\n".join([*enter, "for j in range(n_steps):", indent(text, " " * 4), *leave])
        steps = f"for n in range(0, {lanes}, {self._width if wide else 1}):\n{indent(inner, ' ' * 4)}"
        return "\n".join(["states_ = x", *scratch, *views, steps])

    def _sizes(self, text: str) -> dict[str, tuple[int, int]]:
        """Rows and columns (0: a vector) of each array that the text sets."""
        equation = self.equation
        found: dict[str, tuple[int, int]] = {}
        for name in dict.fromkeys(re.findall(r"(\w+)\[i\] = ", text)):
            if name != "x":
                found[name] = (max(equation.dim, equation.n_noise, self.method.n_numbers(equation)), 0)
        for result, function, _, _ in map(re.Match.groups, _JOINED.finditer(self._method_text())):
            shape = equation.noise_shape(function)
            rows = equation.n_noise if shape == "diagonal" else equation.dim
            found[result] = (rows, equation.n_noise if shape == "general" else 0)
        if "noise" in text:
            found["noise"] = found.get("b", (equation.dim, 0))
        return found

    def _method_text(self) -> str:
        return dedent(self.method.text(self.equation))

    @staticmethod
    def _over(count: int, lines: list[str]) -> list[str]:
        return [f"for i in range({count}):", *(f"    {line}" for line in lines)]

    def _numbers(self, layout: Layout, wide: bool) -> list[str]:
        m = self.method.n_numbers(self.equation)
        text, lines = self.method.text(self.equation), []
        for draw, (standard, scaled) in enumerate((("xi", "dw"), ("zeta", "du"))[: self.method.draws]):
            row = f"((used + j) * {layout.numbers} + {draw * m} + i)"
            if layout.law == "normal":
                lines.append(f"{standard}[i] = " + (f"load(z, {row} * {self.lanes} + n)" if wide else f"z[{row}, n]"))
                if scaled in text:
                    lines.append(f"{scaled}[i] = root * {standard}[i]")
            else:
                word = f"load(z, {row} // 64 * {self.lanes} + n)" if wide else f"z[{row} // 64, n]"
                lines.append(f"{scaled}[i] = signed(root, shifted({word}, {row} % 64))")
        return self._over(m, lines)

    def _method_lines(self) -> list[str]:
        """The method's lines: calls, and loops over the components or the Wiener processes."""
        equation, lines = self.equation, []
        by_noise = {"dw", "du", "xi", "zeta"}
        constants = self.method.constants(equation, 1.0)
        shapes = {name: ("vector", "vector", "matrix")[value.ndim] for name, value in constants.items()}
        m = self.method.n_numbers(equation)
        for line in filter(None, map(str.strip, self._method_text().splitlines())):
            joined = _JOINED.fullmatch(line)
            if joined is not None:
                result, function, argument, rest = joined.groups()
                shapes[result] = equation.noise_shape(function)
                if shapes[result] == "diagonal":
                    by_noise.add(result)
                if argument != "x":
                    lines += self._confine(argument)
                lines.append(f"{function}({argument}{rest[:-1]}, {result})")
                continue
            line = re.sub(r"(\w+)@\[(\d+)\]", r"\1[i, \2]", line)
            if "@" not in line:
                lines.append(line)
                continue
            inside: list[str] = []
            name, *inputs = re.findall(r"(\w+)@", _PRODUCT.sub("", line))
            count = equation.dim
            if by_noise & set(inputs):
                count = m
                by_noise.add(name)
            text = re.sub(r"(\w+)@", r"\1[i]", _PRODUCT.sub(partial(self._product, shapes, inside), line))
            lines += self._over(count, [*inside, text])
        return lines

    def _product(self, shapes: dict[str, str], before: list[str], match: re.Match[str]) -> str:
        """Component i of b times the increments, for the noise at hand; a sum needs lines before."""
        left, right = match.groups()
        if shapes[left] not in ("general", "matrix"):
            return f"({left}[i] * {right}[{0 if shapes[left] == 'scalar' else 'i'}])"
        name, general = f"sum{len(before) // 3}", shapes[left] == "general"
        columns = self.equation.n_noise if general else self.equation.dim  # a constant matrix is square, and flat
        before += [
            f"{name} = 0.0",
            f"for q in range({columns}):",
            f"    {name} = {name} + {left}[{'i, q' if general else f'i * {columns} + q'}] * {right}[q]",
        ]
        return name

    def _confine(self, name: str) -> list[str]:
        if self.equation.domain is None:
            return []
        inside = [f"{name}[i] = where_below({name}[i], LOW[i], LOW[i], {name}[i])"]
        return self._over(self.equation.dim, [*inside, f"{name}[i] = where_below(HIGH[i], {name}[i], HIGH[i], {name}[i])"])

    def _after_loops(self) -> list[str]:
        equation, lines = self.equation, []
        if self.stop:
            lines += self._over(equation.dim, ["new[i] = where_below(passage, np.inf, x[i], new[i])"])
        if equation.domain is not None:
            rule, inside = equation.outside, []
            mirrored = "min(2.0 * LOW[i] - new[i], HIGH[i])", "max(2.0 * HIGH[i] - new[i], LOW[i])"
            for test, bound, mirror in zip(("new[i], LOW[i]", "HIGH[i], new[i]"), ("LOW[i]", "HIGH[i]"), mirrored, strict=True):
                inside.append(f"out = where_below({test}, 1.0, out)")
                if rule != "fault":
                    inside.append(f"new[i] = where_below({test}, {bound if rule == 'clip' else mirror}, new[i])")
            lines += ["out = 0.0 * new[0]", *self._over(equation.dim, inside), "exits = exits + out"]
            if rule == "fault":
                lines += self._over(equation.dim, ["new[i] = where_below(0.0, out, np.nan, new[i])"])
        return lines + (self._event_loops() if self.event is not None else [])

    def _event_loops(self) -> list[str]:
        """As `_event_lines`, with a loop over the Wiener processes."""
        equation = self.equation
        assert isinstance(equation, SDE)
        lines, seen = ["now = as_lanes(new[0], event(new, t + h, p))"], "now, 0.0, passage, first"
        if self.method.increments == "normal":
            move = {
                "diagonal": ["moved[q] = x[q] + 0.001 * root * noise[q]"],
                "scalar": self._over(equation.dim, ["moved[i] = x[i] + 0.001 * root * noise[i]"]),
                "general": self._over(equation.dim, ["moved[i] = x[i] + 0.001 * root * noise[i, q]"]),
            }[equation.noise]
            back = ["moved[q] = x[q]"] if equation.noise == "diagonal" else []
            if self.stop:
                row = "i, q" if equation.noise == "general" else "i"
                toward = ["across[i] = across[i] + slope * noise[" + row + "]"]
                back += ["across[q] = slope * noise[q]"] if equation.noise == "diagonal" else self._over(equation.dim, toward)
                lines += self._over(equation.dim, ["across[i] = 0.0 * new[0]"])
            inside = [*move, *self._confine("moved"), "slope = 1000.0 * (as_lanes(new[0], event(moved, t, p)) - value)"]
            lines += ["diffusion(x, t, p, noise)", "variance = 0.0 * new[0]", *self._over(equation.dim, ["moved[i] = x[i]"])]
            lines += [f"for q in range({equation.n_noise}):"]
            lines += [f"    {line}" for line in [*inside, "variance = variance + slope * slope", *back]]
            lines += [
                "chance = math.exp(-2.0 * now * (value / variance))",
                "unseen = where_below(chance, 1.0, unseen * (1.0 - chance), unseen)",
            ]
            seen = "now, 0.0, where_below(unseen, 1.0, first, passage), first"
        lines += [
            "before = passage",
            "begun = value",
            "first = min(passage, t + h / (1.0 + abs(now / value)))",
            f"passage = where_below(value, 0.0, where_below({seen}), passage)",
            "value = now",
        ]
        return lines + (self._stop_loops() if self.stop else [])

    def _stop_loops(self) -> list[str]:
        """As `_stop_lines`."""
        lines, across = ["share = 1.0 / (1.0 + abs(now / begun))"], ""
        if self.method.increments == "normal":
            lines += ["steepness = variance", *LACK]
            across = " + lack * across[i]"
        text = f"new[i] = where_below(passage, before, x[i] + share * (new[i] - x[i]){across}, new[i])"
        return [*lines, *self._over(self.equation.dim, [text])]

    def _look_lines(self, wide: bool) -> list[str]:
        if not self.functionals:
            return []
        lanes, dim = self.lanes, self.equation.dim
        lines = [f"for n in range(0, {lanes}, {self._width if wide else 1}):"]
        lines.append(f"    state = vector(x, n, {lanes}, {dim}, 1)" if wide else "    state = x[:, n]")
        for i, name in enumerate(self.functionals):
            value = f"functional_{name}(state, t, p)"
            if wide:
                lines.append(f"    store(out, {(dim + i) * lanes} + n, as_lanes(state[0], {value}))")
            else:
                lines.append(f"    out[{dim + i}, n] = {value}")
        return lines
