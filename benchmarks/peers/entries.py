"""The entries of the comparison: which function of which file solves which problem, and what is timed and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from .problems import CriticalValley, LabelNoise, OrnsteinUhlenbeck, Problem

P1, P2, P3 = OrnsteinUhlenbeck(), CriticalValley(), LabelNoise()
P3_CHECK = replace(P3, n_steps=1_000)  # records at 100, 200, ...: the reference need not run for minutes


@dataclass(frozen=True)
class Entry:
    """One line: `label` names engine and set-up, `function` is `file.function` (`ours`: of this library).

    `group` is what may be compared: a problem and its increments. `timed` and `checked` are the work itself and the
    (perhaps shorter) work whose law is tested. `threads`: thread counts of PyTorch's pool to choose from by trial;
    None leaves the choice to the engine. `processes`: the paths are divided among so many, each with one thread if
    the engine lets itself be told: the way to two cores for those whose own threads do not fill them.
    """

    group: str
    label: str
    function: str
    timed: Problem
    checked: Problem
    threads: tuple[int, ...] | None = None
    processes: int = 1

    @property
    def unit(self) -> tuple[float, str]:
        """What one unit of throughput is, in component-steps."""
        return (1e3, "thousand seed-steps/s") if isinstance(self.timed, LabelNoise) else (1e6, "million component-steps/s")

    @property
    def work(self) -> float:
        """Units of work in one timed call."""
        return self.timed.n_paths * self.timed.n_steps * self.timed.components / self.unit[0]


class Line(NamedTuple):
    """An entry before its problem is known; `{p}` in `function` becomes p1 or p2."""

    label: str
    function: str
    threads: tuple[int, ...] | None = None
    processes: int = 1


ONE, EITHER = (1,), (1, 2)

NORMAL = [
    Line("ours", "ours.{p}_normal"),
    Line("diffrax, batch as state", "diffrax_peer.{p}_batch"),
    Line("diffrax, vmap over paths", "diffrax_peer.{p}_vmap"),
    Line("raw JAX scan", "jax_scan.{p}_normal"),
    Line("raw JAX scan, Box-Muller by hand", "jax_scan.{p}_box_muller"),
    Line("torchsde, fresh increments", "torchsde_peer.{p}_fresh", EITHER),
    Line("torchsde, fresh increments, two processes", "torchsde_peer.{p}_fresh", ONE, 2),
    Line("torchsde, default", "torchsde_peer.{p}_default", EITHER),
    Line("PyTorch, batched", "torch_batched.{p}_normal", EITHER),
    Line("PyTorch, batched, two processes", "torch_batched.{p}_normal", ONE, 2),
    Line("NumPy, batched, one core", "numpy_batched.{p}_normal"),
    Line("NumPy, batched, two processes", "numpy_batched.{p}_normal", None, 2),
]
TWO_POINT = [
    Line("ours", "ours.{p}_two_point"),
    Line("raw JAX scan, random.rademacher", "jax_scan.{p}_two_point"),
    Line("raw JAX scan, bits unpacked by hand", "jax_scan.{p}_two_point_bits"),
    Line("raw JAX scan, bits, blocks, two processes", "jax_scan.{p}_two_point_blocks", None, 2),
]
#: What is compared, group by group; ours first in each.
LINES: dict[str, list[Line]] = {
    "P1 normal increments": NORMAL,
    "P1 two-point increments": [
        *TWO_POINT,
        Line("PyTorch, batched, random_", "torch_batched.{p}_two_point", EITHER),
        Line("PyTorch, batched, random_, two processes", "torch_batched.{p}_two_point", ONE, 2),
        Line("NumPy, batched, two processes", "numpy_batched.{p}_two_point", None, 2),
    ],
    "P2 normal increments": [
        *NORMAL[:5],
        Line("raw JAX scan, Box-Muller, blocks, two processes", "jax_scan.{p}_box_muller_blocks", None, 2),
        *NORMAL[5:],
    ],
    "P2 two-point increments": TWO_POINT,
    "P3": [
        Line("ours", "ours.p3"),
        Line("JAX, vmap over seeds", "jax_scan.p3_vmap"),
        Line("JAX, scan batched by hand", "jax_scan.p3_batched"),
        Line("JAX, scan batched by hand, two processes", "jax_scan.p3_batched", None, 2),
        Line("JAX, scan, seeds last", "jax_scan.p3_lanes"),
        Line("PyTorch, batched over seeds", "torch_batched.p3_batched", EITHER),
        Line("PyTorch, batched over seeds, two processes", "torch_batched.p3_batched", ONE, 2),
        Line("NumPy, batched, one core", "numpy_batched.p3_batched"),
        Line("NumPy, batched, two processes", "numpy_batched.p3_batched", None, 2),
    ],
}


def entries(quick: bool) -> list[Entry]:
    """All entries, ours first in each group; `quick`: a tenth of the paths (P3: of the steps)."""
    problems: dict[str, Problem] = {
        "P1": replace(P1, n_paths=P1.n_paths // 10) if quick else P1,
        "P2": replace(P2, n_paths=P2.n_paths // 10) if quick else P2,
        "P3": replace(P3, n_steps=P3.n_steps // 10) if quick else P3,
    }
    made = []
    for group, lines in LINES.items():
        name = group[:2]
        timed = problems[name]
        for line in lines:
            function = line.function.format(p=name.lower())
            checked = P3_CHECK if name == "P3" else timed
            made.append(Entry(group, line.label, function, timed, checked, line.threads, line.processes))
    one_run = replace(P3, n_paths=1, n_steps=P3.n_steps // (10 if quick else 5))
    check = replace(P3_CHECK, n_steps=200, n_times=2)
    return [*made, Entry("P3", "nn.Module + optim.SGD, one run, one core", "torch_batched.p3_module", one_run, check, ONE)]
