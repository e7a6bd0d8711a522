"""Sweeps and ensembles that are killed, or find the disk full, at every stage: completed, they are the same to the last byte.

A few faults, one after another in the same folder. With FAULTS=20 in the environment each kind gets so many kills and full disks,
each in a folder of its own, and each signal so many sweeps: half an hour of computing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from itertools import cycle
from pathlib import Path

import pytest
from faults import FAULTS, SIGNALS, End, Server, seconds_until_none_lives

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files and processes are looked up in /proc")

MANY = int(os.environ.get("FAULTS", "0"))
SENSING = ["--lr", "0.1", "--lr", "0.14", "--lr", "0.2", "--seeds", "2", "--d", "3", "--measurements", "6"]
SENSING += ["--metric", "trace_hessian", "--fraction", "0.97"]
NETWORK = ["--lr", "0.05", "--lr", "0.1", "--lr", "0.2", "--seeds", "2", "--fraction", "0.5", "--horizon", "400"]
NETWORK += ["--question", "none", "--label-noise", "0.2", "--inputs", "4", "--width", "8", "--samples", "10"]
JOBS = {
    "matrix-sensing": ["validate", "matrix-sensing", *SENSING],
    "teacher-student": ["validate", "teacher-student", *NETWORK],
    "ensemble": ["ensemble"],
}
STAGES = {
    "start-up": ("configuration.json",),
    "prediction": ("start.npz", "plan.json", "predictions/*"),
    "runs": ("runs/*",),
    "collection": ("results.nc",),
    "report": ("*.png", "report.html"),
    "checkpoint": ("run.npz",),
}


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """Of a kind: files of an undisturbed run, and their names in the order in which they were stored."""
    found: dict[str, tuple[dict[str, bytes], list[str]]] = {}

    def run(kind: str) -> tuple[dict[str, bytes], list[str]]:
        if kind not in found:
            folder = tmp_path_factory.mktemp("whole") / kind
            end = server.run(job(kind, folder), folder)
            assert end.status == 0, end.error
            found[kind] = files(folder), end.stored
        return found[kind]

    return run


def job(kind: str, folder: Path, workers: int = 1) -> list[str]:
    resumed = ["--workers", str(workers), "--resume", "--out", str(folder)]
    return JOBS[kind] + (resumed if kind != "ensemble" else [])


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def chosen(stored: list[str], faults: tuple[str, ...], n: int) -> list[tuple[int, str]]:
    """(number of stored files, fault), n or one for each fault and stage: every stage in turn, at a random file of it."""
    places = [[i for i, name in enumerate(stored) if any(Path(name).match(p) for p in STAGES[stage])] for stage in STAGES]
    places, draw = [place for place in places if place], random.Random(1)
    turn, kinds = cycle(places), cycle(faults)
    return sorted((draw.choice(next(turn)), next(kinds)) for _ in range(n or 5))


def said(end: End, fault: str) -> None:
    """The end that a fault should have."""
    if fault != "full":
        assert end.status == -signal.SIGKILL, end.error
        return
    assert end.status == 1, end.error
    assert "Traceback" not in end.error or ".sde.solve(" in end.error  # in Python it is an exception
    last = end.error.rstrip("\n").split("\n")[-1]
    assert "No space left on device: " in last, end.error
    assert ".part" not in last, end.error


@pytest.mark.parametrize("faults", [FAULTS[:3], FAULTS[3:]], ids=["killed", "disk full"])
@pytest.mark.parametrize("kind", JOBS)
def test_after_a_fault_at_any_stage_it_is_completed_to_the_same_bytes(kind, faults, server, whole, tmp_path):
    expected, stored = whole(kind)
    points = chosen(stored, faults, MANY)
    for i, together in enumerate([[point] for point in points] if MANY else [points]):
        folder, kept = tmp_path / f"{kind}-{i}", 0
        for at, fault in together:
            left = max(at - kept, fault == "stored")
            end = server.run(job(kind, folder, 1 + (i % 2)), folder, left, fault)
            said(end, fault)
            assert len(end.stored) == left
            assert fault != "full" or not list(folder.rglob("*.part"))
            kept += len([name for name in end.stored if not name.endswith(".png")])  # pictures are drawn again
        end = server.run(job(kind, folder), folder)
        assert end.status == 0, end.error
        assert files(folder) == expected
        print(f"{kind}, {together}: completed, the same {len(expected)} files")
        shutil.rmtree(folder)


@pytest.mark.parametrize("ending", SIGNALS)
def test_no_process_outlives_its_client(ending, server, tmp_path):
    draw, longest = random.Random(ending), 0.0
    for i in range(MANY or 1):
        folder = tmp_path / f"{ending}-{i}"
        stored = draw.randrange(2, 6)  # while workers compute
        client = server.begin(job("teacher-student", folder, 2), folder, stored, ending)
        end = server.end()
        assert end.status in (130, -getattr(signal, ending.partition(" ")[0])), end.error
        assert "Traceback" not in end.error
        assert end.status != 130 or "interrupted; finished runs are kept: add --resume to go on" in end.error
        longest = max(longest, seconds_until_none_lives(client, 10))
        print(f"{ending}, {len(end.stored)} files stored: the last process ended at most {longest:.2f} s after its client")
        assert longest < 10
