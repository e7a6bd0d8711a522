"""Work in threads: compiled code and numpy run without the interpreter's lock, results come in the order of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from joblib import effective_n_jobs

from .errors import InputError

_Result = TypeVar("_Result")


def in_order(jobs: Iterator[Callable[[], _Result]], workers: int) -> Iterator[_Result]:
    """Results of the jobs in their order, run by so many threads (-1: all cores); few are alive at a time.

    >>> list(in_order(iter([lambda: 1, lambda: 2]), workers=2))
    [1, 2]
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers == 0:
        raise InputError("workers", workers, "-1 (all cores) or a number of threads >= 1")
    n, first = effective_n_jobs(workers), list(islice(jobs, 2))
    jobs = chain(first, jobs)
    if n == 1 or len(first) < 2:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(n) as pool:
        waiting: list[Future[_Result]] = [pool.submit(job) for job in islice(jobs, 4 * n)]
        try:
            while waiting:
                result = waiting.pop(0).result()
                waiting += [pool.submit(job) for job in islice(jobs, 1)]
                yield result
        finally:
            for future in waiting:
                future.cancel()
