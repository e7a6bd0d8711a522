"""Chunks over processes and over a Dask cluster: the same results, whichever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from distributed import LocalCluster
from engine_chunks import CHUNKS, SLOW, brief, deadly, half, product, refuses, stuck_at_first, torch_sum
from faults import living

from sde_momentum import InputError
from validation import engine
from validation.engine import LostChunks, check_engine, one_thread, run_chunks

BEGUN = 60.0  # seconds after which a chunk has surely begun


def collect(function, *, workers=1, dask=None, threads=False, after=lambda results: None, chunks=CHUNKS, into=None):
    results, costs = {} if into is None else into, []

    def finish(chunk, result):
        assert chunk not in results
        results[chunk] = result
        after(results)

    engine = {"workers": workers, "dask": dask, "threads": threads}
    run_chunks(function, chunks, finish, **engine, report=costs.append, cost=lambda chunk: chunk**2)
    assert sorted(costs) == sorted(chunk**2 for chunk in results)
    return results


def calls(folder: Path) -> dict[int, int]:
    """How often each chunk was run."""
    return {chunk: len(list(folder.glob(f"{chunk}-*"))) for chunk in CHUNKS}


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + BEGUN
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_the_busy_worker(results, folder: Path) -> None:
    """After the first result: the worker that has begun SLOW does not finish it."""
    if len(results) > 1:
        return
    wait_for(folder / "victim")
    os.kill(int((folder / "victim").read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(params=["processes", "cluster"])
def two(request):
    """Two worker processes, of either engine."""
    return {"workers": 2} if request.param == "processes" else {"dask": request.getfixturevalue("cluster")}


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """In this process."""
    return collect(partial(product, folder=tmp_path_factory.mktemp("here")))


def test_a_worker_killed_midway_costs_its_unfinished_chunk_alone(two, products, tmp_path):
    results = collect(partial(stuck_at_first, folder=tmp_path), after=partial(kill_the_busy_worker, folder=tmp_path), **two)
    assert results == products
    assert calls(tmp_path) == dict.fromkeys(CHUNKS, 1) | {SLOW: 2}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_chunk_is_heard_before_it_is_finished(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_LOOK", 0.02)
    told, ended = [], []

    def report(amount):
        told.append(amount)
        if sum(told) >= 0.5 * 3.0:
            (tmp_path / "heard").touch()

    run_chunks(
        partial(half, folder=tmp_path),
        [7],
        lambda chunk, _: ended.append(sum(told)),
        workers=workers,
        dask=None,
        report=report,
        cost=lambda chunk: 3.0,
    )
    assert ended == [1.5]  # before the chunk's end half of its cost was reported, no part of it twice
    assert sum(told) == 3.0


def test_threads_give_the_same_and_take_any_function(products, tmp_path):
    assert collect(lambda chunk: product(chunk, tmp_path), workers=2, threads=True) == products
    assert calls(tmp_path) == dict.fromkeys(CHUNKS, 1)


def test_results_do_not_depend_on_the_engine_nor_on_the_threads_outside(two, tmp_path):
    before, chunks = torch.get_num_threads(), CHUNKS[:3]
    torch.set_num_threads(2)
    try:
        several = torch_sum(SLOW, tmp_path)
        here = collect(partial(torch_sum, folder=tmp_path), chunks=chunks)
        assert torch.get_num_threads() == 2  # as they were
    finally:
        torch.set_num_threads(before)
    assert list(here) == list(chunks)
    assert {n for _, n in here.values()} == {1}
    assert several[1] == 2
    assert collect(partial(torch_sum, folder=tmp_path), chunks=chunks, **two) == here


def test_a_chunk_that_kills_every_worker_is_named_after_all_others_are_finished(two, products, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "RETRIES", 1)  # of processes; Dask has its own number
    results = {}
    with pytest.raises(LostChunks, match=r"^5: every worker process .*--resume") as error:
        collect(partial(deadly, folder=tmp_path, who=(5,)), into=results, **two)
    assert isinstance(error.value, OSError)  # one line on the command line
    assert results == {chunk: result for chunk, result in products.items() if chunk != 5}
    if "workers" in two:
        assert calls(tmp_path)[5] == 2
    else:  # up to 4 times among the others and up to 4 times alone: Dask counts a worker that dies before it begins, too
        assert 4 < calls(tmp_path)[5] <= 8


def test_when_all_chunks_kill_their_workers_the_rest_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "MANY", 2)
    monkeypatch.setattr(engine, "RETRIES", 0)
    with pytest.raises(LostChunks, match=r"^[678], [678].*: every"):
        collect(partial(deadly, folder=tmp_path, who=CHUNKS), workers=2)
    assert sum(calls(tmp_path).values()) < len(CHUNKS)


def test_what_a_chunk_raises_is_raised_here(two):
    with pytest.raises(InputError, match=r"lr: given -1\.0") as error:
        collect(partial(refuses, error="input"), **two)
    assert (error.value.argument, error.value.given) == ("lr", -1.0)
    assert "in refuses" in error.value.__notes__[0]  # where it happened
    with pytest.raises(RuntimeError, match="this and that"):
        collect(partial(refuses, error="unpicklable"), **two)


def test_an_interrupt_ends_the_processes(tmp_path):
    def interrupt():
        wait_for(tmp_path / "victim")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        collect(partial(stuck_at_first, folder=tmp_path), chunks=(SLOW, 1), workers=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "victim").read_text()), 0)


def test_an_interrupt_while_processes_that_are_done_are_stopped_is_not_lost(tmp_path, monkeypatch):
    shutdown = engine.ProcessPoolExecutor.shutdown

    def interrupted(*given, **named):
        os.kill(os.getpid(), signal.SIGINT)
        shutdown(*given, **named)

    monkeypatch.setattr(engine.ProcessPoolExecutor, "shutdown", interrupted)
    results = {}
    with pytest.raises(KeyboardInterrupt):
        collect(partial(product, folder=tmp_path), chunks=(1, 2), workers=2, into=results)
    assert len(results) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


CLIENT = """
import sys
from functools import partial
from pathlib import Path
from engine_chunks import forever
from faults import living
from validation.engine import run_chunks
run_chunks(partial(forever, folder=Path(sys.argv[1])), range(4), print, workers=2, dask=None, report=print)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
@pytest.mark.parametrize("end", ["killed", "Control-C", "Control-C twice", "killed while its workers start"])
def test_workers_end_with_their_client_whatever_ends_it(end, tmp_path):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, tmp_path], start_new_session=True, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler), cwd=Path(__file__).parent,
    )  # fmt: skip
    while len(living(client.pid)) < 4 if "start" in end else len(list(tmp_path.iterdir())) < 2:  # client, workers, loky's tracker
        assert client.poll() is None
        time.sleep(0.01)
    try:
        os.killpg(client.pid, signal.SIGINT) if "Control" in end else client.kill()  # a terminal signals the group
        if "twice" in end:
            time.sleep(0.03)
            os.killpg(client.pid, signal.SIGINT)
        error, deadline = client.communicate(timeout=30)[1], time.monotonic() + 10
        while living(client.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        for process in living(client.pid):
            os.kill(int(process), signal.SIGKILL)
    assert "Process" not in error  # of a worker; that of the client is the interrupt


def test_after_an_interrupt_the_cluster_begins_no_other_chunk(cluster, tmp_path):
    def interrupt(results):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(BEGUN)

    with pytest.raises(KeyboardInterrupt):
        collect(partial(brief, folder=tmp_path), chunks=range(1000), dask=cluster, after=interrupt)
    begun = [0]
    while len(begun) < 2 or begun[-1] != begun[-2]:  # until none has begun for ten times a chunk's own time
        begun.append(len(list(tmp_path.iterdir())))
        time.sleep(0.5)
    assert 2 <= begun[-1] < 500


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address", "udp://127.0.0.1:8786"])
def test_an_address_where_no_scheduler_answers_is_refused(address, monkeypatch):
    monkeypatch.setattr(engine, "_CONNECT", 0.5)
    with pytest.raises(InputError, match=r"--dask: given .*; allowed: the address of a running Dask scheduler"):
        check_engine(1, address)


def test_workers_with_other_packages_are_refused(cluster, monkeypatch):
    check_engine(1, cluster)
    monkeypatch.setattr(engine, "_versions", lambda: {"Python": "{}.{}".format(*sys.version_info), "numpy": "1.0"})
    with pytest.raises(InputError, match=r"--dask: given a worker with numpy \d.*; allowed: workers with numpy 1\.0, as here"):
        collect(abs, dask=cluster)


def test_workers_that_lack_a_package_are_refused(cluster, monkeypatch):
    only_here = ModuleType("only_here")
    exec("def double(chunk): return 2 * chunk", only_here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with pytest.raises(InputError, match=r"--dask: given tcp:.* says: No module named 'only_here'; allowed: workers with the"):
        collect(only_here.double, dask=cluster)


def test_numbers_of_workers():
    with pytest.raises(InputError, match="workers: given 0"):
        check_engine(0, None)
    assert collect(abs, workers=4, chunks=()) == {}


def test_torch_that_is_loaded_within_one_thread_has_one():
    code = "from validation.engine import one_thread\nwith one_thread(): import torch; print(torch.get_num_threads())"
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"


def test_one_thread_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ
