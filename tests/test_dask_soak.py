"""A Dask cluster that falls apart: workers killed, one late, one of another version, the scheduler killed and restarted."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_chunks import CHUNKS, product

pytest.importorskip("distributed")

CLIENT = """
import sys
from functools import partial
from pathlib import Path
from engine_chunks import CHUNKS, slow_product
from sde_momentum.core.errors import InputError
from validation.engine import run_chunks

folder, address = Path(sys.argv[1]), sys.argv[2]
todo = [chunk for chunk in CHUNKS if not (folder / str(chunk)).exists()]
try:
    run_chunks(partial(slow_product, folder=folder), todo, lambda chunk, result: (folder / str(chunk)).write_bytes(result),
               workers=1, dask=address, report=lambda cost: None)
except (OSError, InputError) as error:  # as the command line tells them
    print(error, file=sys.stderr)
    sys.exit(2 if isinstance(error, InputError) else 1)
"""
OTHER = "import importlib.metadata as m; known = m.version; m.version = lambda name: '0.1' if name == 'numpy' else known(name)"
START = "import sys; sys.argv = ['dask', *sys.argv[1:]]; from distributed.cli.dask_{0} import main; main()"


class Cluster:
    """A scheduler and workers, each a process."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address, self.folder, self.processes = f"tcp://127.0.0.1:{self.port}", folder, list[subprocess.Popen[bytes]]()

    def scheduler(self) -> subprocess.Popen[bytes]:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        process = self._start("scheduler", words)
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return process
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def worker(self, before: str = "") -> subprocess.Popen[bytes]:
        words = [self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60"]
        return self._start("worker", [*words, "--local-directory", str(self.folder)], before)

    def client(self, out: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CLIENT, out, self.address], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        )

    def _start(self, what: str, words: list[str], before: str = "") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{before}\n{START.format(what)}", *words], cwd=Path(__file__).parent,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(process)
        return process


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask")
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


def wait(condition, process) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_whatever_dies_the_sweep_goes_on_to_the_same_results(cluster, tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    def done() -> int:
        return len([file for file in out.iterdir() if file.name.isdigit()])

    def begun() -> int:
        return len(list(out.glob("*-*")))

    scheduler, first = cluster.scheduler(), cluster.worker()
    client = cluster.client(out)
    wait(lambda: begun() >= 1, client)  # by the only worker
    first.kill()
    second = cluster.worker()  # late
    wait(lambda: done() >= 2, client)
    second.kill()
    third = cluster.worker()
    wait(lambda: done() >= 3, client)
    scheduler.kill()
    error = client.communicate(timeout=120)[1]
    assert client.returncode == 1, error
    assert error.startswith(f"the Dask scheduler at {cluster.address} is gone"), error
    assert error.count("\n") == 1
    third.kill()
    kept = {file: file.stat().st_mtime_ns for file in out.iterdir() if file.name.isdigit()}
    assert 3 <= len(kept) < len(CHUNKS)

    cluster.scheduler()
    other = cluster.worker(OTHER)
    client = cluster.client(out)
    error = client.communicate(timeout=120)[1]
    assert client.returncode == 2, error
    assert "Traceback" not in error
    assert "a worker with numpy 0.1; allowed: workers with numpy" in error.splitlines()[-1]  # after Dask's table of versions
    other.kill()

    cluster.worker()
    client = cluster.client(out)
    error = client.communicate(timeout=120)[1]
    assert (client.returncode, error) == (0, "")
    assert all(file.stat().st_mtime_ns == at for file, at in kept.items())
    assert {chunk: (out / str(chunk)).read_bytes() for chunk in CHUNKS} == {chunk: product(chunk, out) for chunk in CHUNKS}
