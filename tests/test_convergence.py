"""`convergence_time`: the last crossing, its interpolation, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from sde_momentum import InputError, convergence_time


def test_an_exponential_arrives_when_its_logarithm_says_so_however_coarse_the_records():
    times = np.array([0.0, 1.0, 5.0, 20.0])
    assert convergence_time(3 * np.exp(-0.3 * times), times, 0.1) == pytest.approx(np.log(10) / 0.3, rel=1e-12)


def test_the_last_crossing_counts():
    assert 3 < convergence_time([1.0, 0.01, 0.01, 0.5, 0.01], np.arange(5), 0.1) < 4


def test_a_run_that_ends_above_or_diverges_never_arrives():
    values = np.array([[1.0, 0.05, 0.2], [1.0, 0.05, np.nan], [1.0, np.inf, 0.05], [1.0, 0.05, 0.05]])
    times = convergence_time(values, [0, 1, 2], 0.1)
    assert np.isinf(times).tolist() == [True, True, False, False]
    assert times[2] == 2  # nothing to interpolate from: the next record


def test_each_series_may_have_its_own_clock():
    values = np.exp(-np.arange(6.0))
    both = convergence_time(np.stack([values, values]), np.stack([np.arange(6), 2 * np.arange(6)]), 0.1)
    assert both[1] == pytest.approx(2 * both[0], rel=1e-14)


@pytest.mark.parametrize(
    ("values", "times", "fraction", "message"),
    [
        ([1.0, 0.1], [0, 1], 1.0, r"fraction: given 1.0; allowed: numbers in \(0, 1\)"),
        ([1.0, 0.1], [0, 1, 2], 0.1, r"times: given shape \(3,\); allowed: a shape that broadcasts to \(2,\)"),
        (1.0, 0.0, 0.1, r"values: given shape \(\); allowed: shape \(..., n_time\)"),
    ],
)
def test_bad_input_is_refused(values, times, fraction, message):
    with pytest.raises(InputError, match=message):
        convergence_time(values, times, fraction)
