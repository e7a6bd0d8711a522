"""Jobs in threads: the order of the results, failures, and the number of threads alive at a time."""

import threading
import time
from functools import partial

import pytest

from sde_momentum.core.threads import in_order

THREADS = threading.active_count


def job(i, seconds=0.0):
    time.sleep(seconds)
    return i


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
def test_results_come_in_the_order_of_the_jobs(workers, n):
    # the first of every few takes longest
    assert list(in_order((partial(job, i, 0.002 * (i % 3 == 0)) for i in range(n)), workers)) == list(range(n))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_job_raises_is_raised_where_results_are_taken_and_no_thread_is_left(workers):
    before, taken = THREADS(), []
    jobs = (partial(job, i) if i < 7 else partial(int, "seven") for i in range(100))
    with pytest.raises(ValueError, match="seven"):
        taken += in_order(jobs, workers)
    assert THREADS() == before


def test_what_the_jobs_themselves_raise_is_raised_too():
    def jobs():
        yield from (partial(job, i) for i in range(5))
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(in_order(jobs(), 2))


def test_few_jobs_are_begun_before_their_results_are_taken():
    begun, before = [], THREADS()
    results = in_order((partial(begun.append, i) for i in range(1000)), 2)
    next(results)
    time.sleep(0.05)  # threads that ignored the window would run on meanwhile
    assert len(begun) <= 2 * (4 * 2 + 16)  # a window taken, and a window ahead of it
    results.close()  # whoever stops taking stops the work
    assert THREADS() == before
    assert len(begun) < 1000


def test_a_result_does_not_wait_for_later_ones():
    """All jobs but the first wait until the first result has come."""
    come = threading.Event()

    def work(i):
        if i:
            assert come.wait(60)
        return i

    results = in_order((partial(work, i) for i in range(40)), 2)
    assert next(results) == 0
    come.set()
    assert list(results) == list(range(1, 40))
