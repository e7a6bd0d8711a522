"""Jobs in threads, with results in the order of the jobs: compiled code and numpy run without the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from time import monotonic
from typing import Generic, TypeVar

from joblib import effective_n_jobs
from threadpoolctl import threadpool_limits

from .errors import InputError

_Result = TypeVar("_Result")
_BATCH, _PATIENCE = 16, 0.1
"""Results are handed over 16 at a time, or after 0.1 s: waking the caller takes the interpreter's lock from the workers."""


def n_threads(workers: int) -> int:
    """Number of threads for the option `workers` (-1: all cores). Raises InputError."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers == 0:
        raise InputError("workers", workers, "-1 (all cores) or a number of threads >= 1")
    return int(effective_n_jobs(workers))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context or decorator in which BLAS uses one thread: for small products more threads only wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


def in_order(jobs: Iterator[Callable[[], _Result]], workers: int) -> Iterator[_Result]:
    """Results of the jobs in their order, run by `workers` threads (-1: all cores); few are held at a time.

    >>> list(in_order(iter([lambda: 1, lambda: 2]), workers=2))
    [1, 2]
    """
    n, first = n_threads(workers), list(islice(jobs, 2))
    jobs = chain(first, jobs)
    if n == 1 or len(first) < 2:
        yield from (job() for job in jobs)
        return
    pool = _Pool(jobs, window=4 * n + _BATCH)
    threads = [threading.Thread(target=pool.work, daemon=True) for _ in range(n)]
    try:
        for thread in threads:
            thread.start()
        while results := pool.next_results():
            yield from results
    finally:
        pool.stop()
        for thread in threads:
            thread.join()


class _Pool(Generic[_Result]):
    """Worker threads that take the next job, at most `window` jobs ahead of the results that have been taken."""

    def __init__(self, jobs: Iterator[Callable[[], _Result]], window: int) -> None:
        self.jobs, self.window = jobs, window
        self.begun, self.taken, self.done = 0, 0, dict[int, _Result]()
        self.over, self.failure = False, None  # type: bool, BaseException | None
        self.change, self.handed = threading.Condition(), monotonic()

    def work(self) -> None:
        """The loop of a worker thread."""
        try:
            while (found := self._next_job()) is not None:
                number, job = found
                result = job()
                with self.change:
                    self.done[number] = result
                    if self._ready():
                        self.change.notify_all()
        except BaseException as failure:  # it is raised where the results are taken
            with self.change:
                self.failure = failure
                self.stop()

    def _next_job(self) -> tuple[int, Callable[[], _Result]] | None:
        with self.change:
            while self.begun - self.taken >= self.window and not self.over:
                self.change.wait()
            job = None if self.over else next(self.jobs, None)
            if job is None:
                self.stop()
                return None
            self.begun += 1
            return self.begun - 1, job

    def _ready(self) -> bool:
        """Whether a batch is ready to hand over, or the last results are."""
        if self.failure is not None or (self.over and len(self.done) == self.begun - self.taken):
            return True
        enough = 1 if monotonic() - self.handed > _PATIENCE else _BATCH
        return all(self.taken + i in self.done for i in range(enough))

    def next_results(self) -> list[_Result]:
        """The next results in order, none at the end. Raises what a job has raised."""
        with self.change:
            while not self._ready():
                self.change.wait()
            if self.failure is not None:
                raise self.failure
            results = []
            while self.taken in self.done:
                results.append(self.done.pop(self.taken))
                self.taken += 1
            self.handed = monotonic()
            self.change.notify_all()
            return results

    def stop(self) -> None:
        """No more jobs are begun."""
        with self.change:
            self.over = True
            self.change.notify_all()
