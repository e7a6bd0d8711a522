"""Runs chunks of work in threads, in processes of this machine (joblib's loky) or on a Dask cluster."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from sde_momentum.core.errors import InputError
from sde_momentum.core.extras import require
from sde_momentum.core.threads import n_threads, one_blas_thread

from .shares import Board, Place, heard_by

if TYPE_CHECKING:
    from distributed import Client

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
Results = Generator[tuple[Chunk, Result], None, None]

RETRIES = 3
"""Number of times that a chunk whose worker died is run again: Dask's default (`distributed.scheduler.allowed-failures`)."""
MANY = 8
"""Number of such chunks from which on a common cause is assumed, and the rest is not tried."""
_IDLE, _LOOK, _CONNECT = 300.0, 5.0, 10.0
"""Seconds after which an idle worker process ends; between two looks whether its client lives, and how far workers are; to reach
a scheduler."""
_ONE = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
_SAME = ("sde-momentum", "numpy", "scipy", "numba", "torch")
"""Packages on which results may depend."""


class LostChunks(ChildProcessError):
    """The worker processes of these chunks died each time they were tried."""

    def __init__(self, chunks: Sequence[object]) -> None:
        named = ", ".join(map(repr, chunks[:3])) + (f" and {len(chunks) - 3} more" if len(chunks) > 3 else "")
        super().__init__(
            f"{named}: every worker process that it was given to died (out of memory?); "
            "finished chunks are kept: add --resume to go on"
        )


def check_engine(workers: int, dask: str | None) -> None:
    """Check the number of workers and the address, before anything is written. Raises InputError."""
    n_threads(workers)
    if dask is not None:
        require("--dask", "distributed")
        _connect(dask).close()


def run_chunks(
    function: Callable[[Chunk], Result],
    chunks: Sequence[Chunk],
    finish: Callable[[Chunk, Result], object],
    *,
    workers: int,
    dask: str | None,
    threads: bool = False,
    report: Callable[[float], object],
    cost: Callable[[Chunk], float] = lambda chunk: 1.0,
) -> None:
    """Run every chunk and hand over its result, which does not depend on where the chunk ran.

    Args:
        function: from a chunk to its result, which depends on the chunk alone. A function of a module, or a partial of one
            with small plain data: it is sent with each chunk. It runs with one thread of torch and BLAS.
        chunks: small plain data, the longest first
        finish: called in this process as each chunk finishes, in any order: it writes the files, and workers need no share of
            the file system
        workers: processes on this machine; 1: this process; -1: every core. A cluster has its own number.
        dask: address of a Dask scheduler, or None for this machine
        threads: workers are threads of this process, and the function and the chunks may be anything; BLAS keeps to one thread
        report: told of the cost of each chunk: of parts of it as the function tells its share by `shares.tell`, in a process of
            this machine, and of the rest after `finish`
        cost: of a chunk, in units of the caller

    A chunk whose worker dies is run again, up to RETRIES times; then the others are finished and LostChunks is raised. What
    `function` raises ends the sweep and is raised here (with the worker's traceback as a note); so does an interrupt.

    >>> run_chunks(abs, [-3, 2], print, workers=1, dask=None, report=lambda cost: None)
    -3 3
    2 2
    """
    n = n_threads(workers)
    told = dict[int, float]()

    def hear(chunk: Chunk, share: float) -> None:
        """Report what is new: a chunk that is run again tells less than before."""
        before = told.get(id(chunk), 0.0)
        if share > before:
            told[id(chunk)] = share
            report((share - before) * cost(chunk))

    if threads:
        results = _in_threads(function, chunks, n)
    elif dask is not None:
        results = _on_cluster(function, chunks, dask)
    elif n == 1:
        results = _here(function, chunks, hear)
    else:
        results = _in_processes(function, chunks, n, hear)
    with closing(results):
        for chunk, result in results:
            finish(chunk, result)
            hear(chunk, 1.0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Context in which torch, BLAS and OpenMP have one thread: results must not depend on the number of cores.

    A library that is first loaded within keeps to one thread afterwards.
    """
    torch, environment = sys.modules.get("torch"), {name: os.environ.get(name) for name in _ONE}
    n = torch.get_num_threads() if torch else 0
    with threadpool_limits(1):
        _keep_to_one_thread()
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(n)
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _keep_to_one_thread() -> None:
    os.environ.update(_ONE)  # libraries loaded from now on
    threadpool_limits(1)  # those that are there
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@dataclass(frozen=True)
class _Outcome(Generic[Result]):
    """What a worker sends back: the result, or an error that can be pickled."""

    result: Result | None = None
    error: Exception | None = None

    def get(self) -> Result:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


def _run(
    function: Callable[[Chunk], Result], chunk: Chunk, versions: dict[str, str] | None = None, place: Place | None = None
) -> _Outcome[Result]:
    """Run a chunk in a worker process, whose threads stay limited: a Dask worker may be running other chunks at this moment."""
    _keep_to_one_thread()
    try:
        for name, ours in (versions or {}).items():
            if _versions()[name] != ours:
                raise InputError("--dask", f"a worker with {name} {_versions()[name]}", f"workers with {name} {ours}, as here")
        with heard_by(place):
            return _Outcome(function(chunk))
    except Exception as error:
        error.add_note(f"in a worker process, {chunk!r}:\n{traceback.format_exc()}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return _Outcome(error=RuntimeError("".join(traceback.format_exception(error))))
        return _Outcome(error=error)


@cache
def _versions() -> dict[str, str]:
    """Versions of Python and of the packages on which results may depend."""
    found = {"Python": "{}.{}".format(*sys.version_info)}
    for name in _SAME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "(none)"
    return found


def _here(
    function: Callable[[Chunk], Result], chunks: Sequence[Chunk], hear: Callable[[Chunk, float], None]
) -> Results[Chunk, Result]:
    for chunk in chunks:
        with one_thread(), heard_by(partial(hear, chunk)):
            result = function(chunk)
        yield chunk, result


def _in_threads(function: Callable[[Chunk], Result], chunks: Sequence[Chunk], n: int) -> Results[Chunk, Result]:
    with one_blas_thread():  # around all threads: each would give BLAS its threads back while others still compute
        jobs = (delayed(lambda chunk: (chunk, function(chunk)))(chunk) for chunk in chunks)
        yield from Parallel(n_jobs=n, prefer="threads", return_as="generator_unordered")(jobs)


def _in_processes(
    function: Callable[[Chunk], Result], chunks: Sequence[Chunk], n: int, hear: Callable[[Chunk, float], None]
) -> Results[Chunk, Result]:
    """Results from n processes, each a pool of its own: one that dies breaks no other, and it is known which chunk it ran."""
    board, lost = Board(len(chunks)), list[Chunk]()
    idle, busy = [_process() for _ in range(min(n, len(chunks)))], dict[Future[_Outcome[Result]], Any]()
    try:
        waiting = deque((chunk, place, 0) for chunk, place in zip(chunks, board.places, strict=True))
        while waiting or busy:
            while waiting and idle:
                chunk, place, deaths = waiting.popleft()
                process = idle.pop()
                try:
                    future = _submit(process, function, chunk, place)
                except BrokenExecutor:  # it died idle
                    process = _process()
                    future = _submit(process, function, chunk, place)
                busy[future] = process, chunk, place, deaths
            for future in wait(busy, timeout=_LOOK, return_when=FIRST_COMPLETED).done:
                process, chunk, place, deaths = busy.pop(future)
                try:
                    outcome = future.result()
                except BrokenExecutor:
                    idle.append(_process())
                    if deaths < RETRIES:
                        waiting.appendleft((chunk, place, deaths + 1))
                    else:
                        lost.append(chunk)
                    continue
                idle.append(process)
                yield chunk, outcome.get()
            for _, chunk, place, _ in busy.values():
                hear(chunk, place.read())
            if len(lost) >= MANY:
                break
        if lost:
            raise LostChunks(lost)
    finally:
        with _uninterrupted():
            for process in (*idle, *(process for process, *_ in busy.values())):
                process.shutdown(kill_workers=True)
        board.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Context whose end an interrupt waits for: while workers are stopped it would leave the others alive."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):  # no interrupt is heard here
        yield
        return
    heard = list[int]()
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


def _process() -> ProcessPoolExecutor:
    """A pool of one process, started with its first chunk, that ends with this one."""
    return ProcessPoolExecutor(1, timeout=_IDLE, initializer=_end_with, initargs=(os.getpid(),), env=_ONE)


def _submit(
    process: ProcessPoolExecutor, function: Callable[[Chunk], Result], chunk: Chunk, place: Place
) -> Future[_Outcome[Result]]:
    """Submit a chunk. A process that starts with it never hears an interrupt: it inherits that signal as blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return process.submit(_run, function, chunk, None, place)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(client: int) -> None:
    """In a worker: end with the client, however that ends."""
    if sys.platform == "linux":  # at once, even within a long call of compiled code that holds the interpreter's lock
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def watch() -> None:
        while os.getppid() == client:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_cluster(function: Callable[[Chunk], Result], chunks: Sequence[Chunk], dask: str) -> Results[Chunk, Result]:
    with _quiet(), _connect(dask) as client:
        suspects, lost = list[Chunk](), list[Chunk]()
        yield from _submitted(client, function, chunks, suspects)
        if len(suspects) >= MANY:
            raise LostChunks(suspects)
        for chunk in suspects:  # Dask suspects all chunks that the worker had in its queue: one at a time shows which it is
            yield from _submitted(client, function, [chunk], lost)
        if lost:
            raise LostChunks(lost)


@contextmanager
def _quiet() -> Iterator[None]:
    """Context in which Dask does not tell in its own words, with tracebacks, what the error says that is raised here."""
    import distributed  # noqa: F401  # which sets the levels

    loggers = [logging.getLogger(name) for name in ("distributed.client", "distributed.comm", "distributed.core")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _submitted(
    client: Client, function: Callable[[Chunk], Result], chunks: Sequence[Chunk], lost: list[Chunk]
) -> Results[Chunk, Result]:
    """Results of the chunks as they finish; those whose workers died too often are added to `lost`, up to MANY."""
    import cloudpickle
    from distributed import KilledWorker, as_completed

    def run(job: bytes) -> Any:  # a local function goes as code: a worker without this package reports it, instead of closing
        return pickle.loads(job)()

    address, pending = client.scheduler.address, {}  # type: ignore[union-attr]
    for i, chunk in enumerate(chunks):
        job = cloudpickle.dumps(partial(_run, function, chunk, _versions()))
        pending[client.submit(run, job, pure=False, priority=-i)] = chunk
    try:
        for future in as_completed(list(pending), loop=client.loop):
            chunk = pending[future]
            try:
                outcome = future.result()
            except KilledWorker:
                lost.append(chunk)
                if len(lost) >= MANY:
                    return
                continue
            except CancelledError:
                raise ConnectionError(
                    f"the Dask scheduler at {address} is gone, or has dropped what it was given; "
                    "finished chunks are kept: add --resume to go on"
                ) from None
            except Exception as error:  # not of the chunk: Dask could not even begin it
                given = f"{address}, with a worker that says: {error}"
                raise InputError("--dask", given, "workers with the packages that are here") from error
            finally:
                del pending[future]
                future.release()
            yield chunk, outcome.get()
    finally:
        if client.status == "running":
            client.cancel(list(pending), force=True)


def _connect(dask: str) -> Client:
    from distributed import Client

    try:
        if asyncio.run(_kind(dask)) == "Scheduler":  # a Client that fails to connect leaves noise behind
            return Client(dask, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError):
        pass
    raise InputError("--dask", dask, "the address of a running Dask scheduler, such as tcp://HOST:8786")


async def _kind(address: str) -> str | None:
    """What answers there: "Scheduler", "Worker", "Nanny"."""
    from distributed import Security, rpc

    async with asyncio.timeout(_CONNECT), rpc(address, connection_args=Security().get_connection_args("client")) as server:
        kind: str | None = (await server.identity()).get("type")
        return kind
