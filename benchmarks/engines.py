"""This library and its peers on the same problems: throughput, ratio, compile time, memory.

P1: an ensemble of Ornstein-Uhlenbeck paths. P2: the SDE of the critical limit in a valley with 14 normal modes. P3: discrete
label-noise SGD on matrix sensing (equations in `peers/problems.py`). Every engine runs in its own
process with a time limit; its mean and variance must agree with the exact result (P1) or an independent simulation
(P2, P3) within 5 standard errors, or its time does not count. Engines take turns, round after round; a ratio is the
median over rounds of ours / theirs within the round. Everything in float64, warm, on the same cores.

    python benchmarks/engines.py [--only P1,jax] [--quick] [--rounds 5] [--json FILE]

needs the peers: an environment with this package and `pip install -r benchmarks/requirements.txt`. On a busy machine
the figures are meaningless: the load is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from peers.entries import Entry, entries
from peers.problems import LIMIT
from peers.worker import main as serve
from peers.worker import versions, write_references


class Engine:
    """The process of an entry, and its answers."""

    def __init__(self, index: int, entry: Entry, folder: Path, quick: bool, cores: set[int]) -> None:
        self.entry, self.rates, self.facts = entry, list[float](), dict[str, Any]()
        self.fault: str | None = None
        command = [sys.executable, __file__, "--worker", str(index), "--folder", str(folder)] + ["--quick"] * quick
        # an outer BLAS thread pool would fight with NumPy's own threads; PyTorch's pool is set by the worker
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        self.log = (folder / f"{index}.log").open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment, bufsize=0
        )
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, cores)

    def _answer(self, limit: float) -> dict[str, Any]:
        """The next line of the process, or its error."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(limit):
                self.stop()
                self.fault = f"over {limit:.0f} s"
                return {}
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            self.fault = (self.log.read().strip().splitlines() or ["ended"])[-1][:100]
            return {}
        fields: dict[str, Any] = json.loads(line)
        return fields

    def warm_up(self, limit: float) -> None:
        """Compile, warm up, and check mean and variance."""
        self.facts = self._answer(limit)
        if "missing" in self.facts:
            self.fault = self.facts["missing"]
        elif not self.fault and not self.facts["deviation"] < LIMIT:
            self.fault = f"wrong law: {self.facts['deviation']:.1f} standard errors"
        if self.fault:
            self.stop()

    def run(self, seed: int, limit: float) -> None:
        """One timed run."""
        if self.fault:
            return
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seed}\n".encode())
        fields = self._answer(limit)
        if fields:
            self.facts["memory"] = fields["memory"]
            self.rates.append(self.entry.work / fields["seconds"])

    def cores_by(self) -> str:
        """How the work is divided among the cores, in words."""
        if self.entry.processes > 1:
            return f"{self.entry.processes} processes"
        threads = self.facts.get("threads")
        return f"{threads} thread{'s' * (threads > 1)}" if threads else ""

    def stop(self) -> None:
        """End the process: it ends its own children when its input closes."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()


def table_lines(engines: list[Engine]) -> list[dict[str, Any]]:
    """One record per engine, ratios against ours of the same group."""
    ours = {e.entry.group: e.rates for e in engines if e.entry.label == "ours"}
    records = []
    for engine in engines:
        mine, theirs = ours.get(engine.entry.group, []), engine.rates
        ratios = [a / b for a, b in zip(mine, theirs, strict=False)]
        records.append(
            {
                "group": engine.entry.group,
                "engine": engine.entry.label,
                "unit": engine.entry.unit[1],
                "throughput": statistics.median(theirs) if theirs else None,
                "rounds": theirs,
                "ours over theirs": statistics.median(ratios) if ratios else None,
                "fault": engine.fault,
                "cores by": engine.cores_by(),
            }
            | {k: engine.facts.get(k) for k in ("compile", "memory", "deviation", "threads")}
        )
    return records


def print_table(records: list[dict[str, Any]]) -> None:
    """The records of one group as text."""

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    print(f"\n{records[0]['group']} ({records[0]['unit']})")
    head = f"{'engine':48s}{'rate':>9s}{'ours/it':>9s}{'spread':>8s}{'compile s':>11s}{'MiB':>7s}{'law, SE':>9s}"
    print(f"  {head}  cores by")
    for r in records:
        spread = (max(r["rounds"]) / min(r["rounds"]) - 1) if r["rounds"] else None
        print(
            f"  {r['engine']:48s}{cell(r['throughput'], '9,.1f'):>9s}{cell(r['ours over theirs'], '.1f'):>9s}"
            f"{cell(spread, '.0%'):>8s}{cell(r['compile'], '.1f'):>11s}{cell(r['memory'], '.0f'):>7s}"
            f"{cell(r['deviation'], '.1f'):>9s}  {r['fault'] or r['cores by']}",
            flush=True,
        )


def copy_bandwidth(threads: int, size: int = 1 << 27) -> float:
    """Bytes read and written per second by copying arrays far larger than the caches."""
    sources = [np.ones(size // 8 // threads) for _ in range(threads)]
    targets = [np.zeros_like(x) for x in sources]

    def copy(i: int) -> None:
        for _ in range(10):
            np.copyto(targets[i], sources[i])

    with ThreadPoolExecutor(threads) as pool:
        clock = time.perf_counter()
        list(pool.map(copy, range(threads)))
        return 20 * size / (time.perf_counter() - clock)


def limits() -> dict[str, float]:
    """The machine's own limits, best of three."""
    from ours import normals_per_second

    measures: dict[str, Callable[[int], float]] = {"million normals/s": normals_per_second, "copy GB/s": copy_bandwidth}
    scale = {"million normals/s": 1e6, "copy GB/s": 1e9}
    return {
        f"{name}, {threads} thread{'s' * (threads > 1)}": max(measure(threads) for _ in range(3)) / scale[name]
        for name, measure in measures.items()
        for threads in (1, 2)
    }


def select(every: list[Entry], only: str) -> list[Entry]:
    """Entries whose group, label or function contains any of the words; ours stays with its group."""
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    chosen = [e for e in every if any(w in f"{e.group} {e.label} {e.function}".lower() for w in words)] if words else every
    groups = {e.group for e in chosen}
    return [e for e in every if e in chosen or (e.label == "ours" and e.group in groups)]


def write_json(path: Path, records: list[dict[str, Any]], machine: dict[str, float], load: list[float]) -> None:
    """Everything measured so far."""
    path.write_text(json.dumps({"results": records, "limits": machine, "versions": versions(), "load": load}, indent=1) + "\n")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="words, separated by commas: P1, two-point, jax, diffrax, ...")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that everything runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2, help="cores that every engine may use")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one run; ten times that to warm up")
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        serve(given.worker, given.folder, given.quick)
        return
    load = [os.getloadavg()[0]]
    every = entries(given.quick)
    chosen = select(every, given.only)
    if not chosen:
        parser.error(f"--only {given.only}: no entry; words of: {', '.join(sorted({e.function for e in every}))}")
    cores = set(sorted(os.sched_getaffinity(0))[: given.cores]) if hasattr(os, "sched_getaffinity") else set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if any(not e.group.startswith("P1") for e in chosen):
            write_references(folder, given.quick)
        machine = limits()
        records: list[dict[str, Any]] = []
        for group in dict.fromkeys(e.group for e in chosen):  # one group at a time: few processes are alive at once
            engines = []
            for entry in (e for e in chosen if e.group == group):
                engine = Engine(every.index(entry), entry, folder, given.quick, cores)
                engines.append(engine)
                engine.warm_up(10 * given.limit)
                print(f"{group}: {entry.label}: {engine.fault or 'ready'}", file=sys.stderr, flush=True)
            for turn in range(given.rounds):
                for engine in engines:
                    engine.run(100 + turn, given.limit)
            for engine in engines:
                engine.stop()
            lines = table_lines(engines)
            print_table(lines)  # at once: whoever stops the run keeps what is done
            records += lines
            if given.json:
                write_json(given.json, records, machine, load)
    load.append(os.getloadavg()[0])
    print("\nThis machine: " + "; ".join(f"{k} {v:,.0f}" for k, v in machine.items()))
    normal = next((r["throughput"] for r in records if r["group"].startswith("P1 normal") and r["engine"] == "ours"), None)
    if normal:
        print(f"Ours on P1: {normal / max(machine[k] for k in machine if 'normals' in k):.0%} of what the generator alone makes")
    print("Versions: " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    print(f"Load before {load[0]:.1f}, after {load[1]:.1f} (this run itself makes up to {given.cores})")
    if load[0] > 0.5:
        print("The machine was busy when the run began: PRELIMINARY figures.")
    if given.json:
        write_json(given.json, records, machine, load)


if __name__ == "__main__":
    main()
