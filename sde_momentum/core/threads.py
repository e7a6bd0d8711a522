"""Jobs in threads, with results in the order of the jobs: compiled code and numpy run without the interpreter's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

from joblib import effective_n_jobs
from threadpoolctl import threadpool_limits

from .errors import InputError

_Result = TypeVar("_Result")
_AHEAD = 16
"""Jobs begun ahead of the results taken, beside four for each thread: none waits for a slow one."""


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
    pool = ThreadPoolExecutor(n)
    try:
        waiting = deque(pool.submit(job) for job in islice(jobs, 4 * n + _AHEAD))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(job) for job in islice(jobs, 1))
    finally:
        pool.shutdown(cancel_futures=True)
