"""Commands that are killed, or find the disk full, once they have stored a stated number of files.

As a program it runs them in forked children, which need no imports of their own: `Server` starts it and talks to it.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

FAULTS = ("half", "whole", "stored", "full")
"""Killed with half of the next file written, with all of it but not yet under its name, or before it is begun; the disk is full
when half of it is written, and stays so."""
SIGNALS = ("SIGTERM", "SIGINT", "SIGINT twice", "SIGKILL", "SIGHUP")
"""More faults: a signal soon after a file is stored; twice within 50 ms, as by an impatient hand."""


@dataclass(frozen=True)
class End:
    """How a child ended: exit status, or minus the signal; standard error; files stored, in order."""

    status: int
    error: str
    stored: list[str]


class Server:
    """A process that runs jobs in forked children, one at a time."""

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self, job: Sequence[str], folder: Path, at: int | None = None, fault: str = "") -> int:
        """Start a job that writes into `folder`, with a fault once `at` files are stored; its process, which leads a group."""
        self._log = folder.with_name(f"{folder.name}.log")
        task = {"job": list(map(str, job)), "folder": str(folder), "log": str(self._log), "at": at, "fault": fault}
        self._process.stdin.write(json.dumps(task) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        return int(self._process.stdout.readline())  # type: ignore[union-attr]

    def end(self) -> End:
        """Wait until the job has ended."""
        status = int(self._process.stdout.readline())  # type: ignore[union-attr]
        stored = self._log.with_suffix(".stored")
        return End(status, self._log.read_text(encoding="utf-8"), stored.read_text(encoding="utf-8").split("\n")[:-1])

    def run(self, job: Sequence[str], folder: Path, at: int | None = None, fault: str = "") -> End:
        """Both."""
        self.begin(job, folder, at, fault)
        return self.end()


def living(group: int) -> list[int]:
    """Processes of a group that have not ended (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of, *_ = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(of) == group and state not in "ZX":
            found.append(int(file.parent.name))
    return found


def seconds_until_none_lives(group: int, patience: float) -> float:
    """After which all processes of a group have ended; those that live longer are killed, and it is infinite."""
    began = time.monotonic()
    while alive := living(group):
        if time.monotonic() - began > patience:
            for process in alive:
                os.kill(process, signal.SIGKILL)
            return float("inf")
        time.sleep(0.01)
    return time.monotonic() - began


def _serve() -> None:
    # what the jobs need, loaded once; nothing is computed here, so that no thread is there when a child is made
    import torch._decomp.decompositions_for_jvp
    import torch._dynamo  # noqa: F401
    import xarray  # noqa: F401

    import validation.matrix_sensing.report
    import validation.networks.report
    import validation.networks.stacked_sgd
    import validation.report  # noqa: F401
    from sde_momentum.commands import main

    main._add_commands()
    for line in sys.stdin:
        task = json.loads(line)
        if not (child := os.fork()):
            _run(task)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(task: dict[str, Any]) -> None:
    """In the child: the job, and no way back."""
    os.setsid()
    with open(task["log"], "wb", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # both may be ignored where tests run in the background of a shell
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _prepare(Path(task["folder"]), Path(task["log"]).with_suffix(".stored"), task["at"], task["fault"])
    status = 1
    try:
        if task["job"][0] == "ensemble":
            _ensemble(Path(task["folder"]))
            status = 0
        else:
            from sde_momentum.commands import entry

            sys.argv = ["sde-momentum", *task["job"]]
            entry.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _prepare(folder: Path, stored: Path, at: int | None, fault: str) -> None:
    """Count the files that are renamed to their names in the folder, and let the fault come."""
    names = stored.open("w", encoding="utf-8")
    replace, fsync, n = os.replace, os.fsync, 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def synced(file: int) -> None:
        if at is not None and n >= at and fault in ("half", "full"):
            path = Path(os.readlink(f"/proc/self/fd/{file}"))
            if path.suffix == ".part" and path.is_relative_to(folder):
                os.ftruncate(file, os.fstat(file).st_size // 2)
                if fault == "full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                die()
        fsync(file)

    def named(part: str | Path, path: str | Path) -> None:
        nonlocal n
        ours = (path := Path(path)).is_relative_to(folder)
        if ours and n == at and fault == "whole":
            die()
        replace(part, path)
        if ours:
            n += 1
            names.write(f"{path.relative_to(folder)}\n")
            names.flush()
            if n == at and fault == "stored":
                die()
            if n == at and fault in SIGNALS:
                threading.Thread(target=_signal, args=(fault,), daemon=True).start()

    os.replace, os.fsync = named, synced  # type: ignore[assignment]


def _signal(name: str) -> None:
    """Send this process a signal, or two."""
    draw, (kind, _, twice) = random.Random(time.time_ns()), name.partition(" ")
    time.sleep(0.2 * draw.random())
    os.kill(os.getpid(), getattr(signal, kind))
    if twice:
        time.sleep(0.05 * draw.random())
        os.kill(os.getpid(), getattr(signal, kind))


def _ensemble(folder: Path) -> None:
    """Paths whose checkpoint is written after each chunk, and their mean."""
    import sde_momentum as sm
    from sde_momentum.core.files import write_whole
    from sde_momentum.sde import collect
    from sde_momentum.sde.stepping import fixed

    collect._SAVE_EVERY = -1.0
    fixed._WORK = {"normal": 1, "rademacher": 1}  # chunks of 1024 paths
    folder.mkdir(exist_ok=True)
    equation, file = sm.sde.OrnsteinUhlenbeck(rate=1.0, noise=1.0), folder / "run.npz"
    found = sm.sde.solve(equation, 1.0, [0.5], step=0.1, n_paths=20 * 1024, checkpoint=file, workers=1, progress=False)
    content = json.dumps({name: found[name].values.tolist() for name in found.data_vars}).encode()
    write_whole(folder / "mean.json", lambda file: file.write(content))


if __name__ == "__main__":
    _serve()
