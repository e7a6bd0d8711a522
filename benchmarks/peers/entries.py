"""The table's lines: which function of which file does which problem, and how much of it is timed and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


def entries(quick: bool) -> list[Entry]:
    """All lines, ours first in each group; `quick`: a tenth of the paths (P3: of the steps)."""
    p1 = replace(P1, n_paths=P1.n_paths // 10) if quick else P1
    p2 = replace(P2, n_paths=P2.n_paths // 10) if quick else P2
    p3 = replace(P3, n_steps=P3.n_steps // 10) if quick else P3
    problems: dict[str, Problem] = {"P1": p1, "P2": p2, "P3": p3}
    one, either = (1,), (1, 2)

    def line(group: str, label: str, function: str, threads: tuple[int, ...] | None = None, processes: int = 1) -> Entry:
        timed = problems[group[:2]]
        return Entry(group, label, function, timed, P3_CHECK if timed is p3 else timed, threads, processes)

    normal, two_point = "P1 normal increments", "P1 two-point increments"
    valley, valley_two_point, sensing = "P2 normal increments", "P2 two-point increments", "P3"
    module = Entry(
        sensing,
        "nn.Module + optim.SGD, one run, one core",
        "torch_batched.p3_module",
        replace(p3, n_paths=1, n_steps=p3.n_steps // 5 if not quick else p3.n_steps),
        replace(P3_CHECK, n_steps=200, n_times=2),
        (1,),
    )
    return [
        line(normal, "ours", "ours.p1_normal"),
        line(normal, "diffrax, batch as state", "diffrax_peer.p1_batch"),
        line(normal, "diffrax, vmap over paths", "diffrax_peer.p1_vmap"),
        line(normal, "raw JAX scan", "jax_scan.p1_normal"),
        line(normal, "raw JAX scan, Box-Muller by hand", "jax_scan.p1_box_muller"),
        line(normal, "torchsde, fresh increments", "torchsde_peer.p1_fresh", either),
        line(normal, "torchsde, fresh increments, two processes", "torchsde_peer.p1_fresh", one, 2),
        line(normal, "torchsde, default", "torchsde_peer.p1_default", either),
        line(normal, "PyTorch, batched", "torch_batched.p1_normal", either),
        line(normal, "PyTorch, batched, two processes", "torch_batched.p1_normal", one, 2),
        line(normal, "NumPy, batched, one core", "numpy_batched.p1_normal"),
        line(normal, "NumPy, batched, two processes", "numpy_batched.p1_normal", None, 2),
        line(two_point, "ours", "ours.p1_two_point"),
        line(two_point, "raw JAX scan, random.rademacher", "jax_scan.p1_two_point"),
        line(two_point, "raw JAX scan, bits unpacked by hand", "jax_scan.p1_two_point_bits"),
        line(two_point, "raw JAX scan, bits, blocks, two processes", "jax_scan.p1_two_point_blocks", None, 2),
        line(two_point, "PyTorch, batched, random_", "torch_batched.p1_two_point", either),
        line(two_point, "PyTorch, batched, random_, two processes", "torch_batched.p1_two_point", one, 2),
        line(two_point, "NumPy, batched, two processes", "numpy_batched.p1_two_point", None, 2),
        line(valley, "ours", "ours.p2_normal"),
        line(valley, "diffrax, batch as state", "diffrax_peer.p2_batch"),
        line(valley, "diffrax, vmap over paths", "diffrax_peer.p2_vmap"),
        line(valley, "raw JAX scan", "jax_scan.p2_normal"),
        line(valley, "raw JAX scan, Box-Muller by hand", "jax_scan.p2_box_muller"),
        line(valley, "raw JAX scan, Box-Muller, blocks, two processes", "jax_scan.p2_box_muller_blocks", None, 2),
        line(valley, "torchsde, fresh increments", "torchsde_peer.p2_fresh", either),
        line(valley, "torchsde, fresh increments, two processes", "torchsde_peer.p2_fresh", one, 2),
        line(valley, "torchsde, default", "torchsde_peer.p2_default", either),
        line(valley, "PyTorch, batched", "torch_batched.p2_normal", either),
        line(valley, "PyTorch, batched, two processes", "torch_batched.p2_normal", one, 2),
        line(valley, "NumPy, batched, one core", "numpy_batched.p2_normal"),
        line(valley, "NumPy, batched, two processes", "numpy_batched.p2_normal", None, 2),
        line(valley_two_point, "ours", "ours.p2_two_point"),
        line(valley_two_point, "raw JAX scan, random.rademacher", "jax_scan.p2_two_point"),
        line(valley_two_point, "raw JAX scan, bits unpacked by hand", "jax_scan.p2_two_point_bits"),
        line(valley_two_point, "raw JAX scan, bits, blocks, two processes", "jax_scan.p2_two_point_blocks", None, 2),
        line(sensing, "ours", "ours.p3"),
        line(sensing, "JAX, vmap over seeds", "jax_scan.p3_vmap"),
        line(sensing, "JAX, scan batched by hand", "jax_scan.p3_batched"),
        line(sensing, "JAX, scan batched by hand, two processes", "jax_scan.p3_batched", None, 2),
        line(sensing, "JAX, scan, seeds last", "jax_scan.p3_lanes"),
        line(sensing, "PyTorch, batched over seeds", "torch_batched.p3_batched", either),
        line(sensing, "PyTorch, batched over seeds, two processes", "torch_batched.p3_batched", one, 2),
        line(sensing, "NumPy, batched, one core", "numpy_batched.p3_batched"),
        line(sensing, "NumPy, batched, two processes", "numpy_batched.p3_batched", None, 2),
        module,
    ]
