"""The random streams: exact against plain formulas, the normal law, and lanes that do not know their neighbours.

Tests of chance have fixed seeds and are two-sided; the false-alarm rate of all that one test checks stands in it.
"""

import numpy as np
import pytest
from scipy import stats

from sde_momentum.core.random import LABEL_NOISE, fill_normal, fill_rademacher, fill_words, next_words, streams

LOW32, LOW30 = np.uint64(2**32 - 1), np.uint64(2**30 - 1)
EXACT = np.longdouble


def rows_of(fill, rows, lanes, seed=0):
    """(rows, lanes) numbers of fresh streams, and their state afterwards."""
    state, out = streams(seed + np.arange(lanes), LABEL_NOISE), np.empty((rows, lanes))
    fill(state, out)
    return out, state


def state_before(words):
    """A state whose next words are these: with s0 = 0 the word is s3 rotated by 23."""
    words = np.asarray(words, dtype=np.uint64)
    s3 = (words >> np.uint64(23)) | (words << np.uint64(41))
    return np.stack([np.zeros_like(words), np.full_like(words, 5), np.full_like(words, 7), s3])


def box_muller(words):
    """The formula in extended precision."""
    u = ((words & LOW32).astype(EXACT) + EXACT(0.5)) / 2**32
    angle = (((words >> np.uint64(32)) & LOW30).astype(EXACT) + EXACT(0.5)) / 2**30 - EXACT(0.5)
    angle *= 2 * np.arctan(EXACT(1))  # pi / 2
    x, y = np.cos(angle), np.sin(angle)
    exchanged = (words >> np.uint64(62)) & np.uint64(1) == 1
    radius = np.sqrt(-2 * np.log(u)) * np.where(words >> np.uint64(63) == 1, -1, 1)
    return np.stack([radius * np.where(exchanged, y, x), radius * np.where(exchanged, x, y)])


def normals(words):
    state, out = state_before(words), np.empty((2, len(words)))
    fill_normal(state, out)
    return out


def test_words_are_those_of_xoshiro256_plus_plus():
    """The reference implementation's first words from the state 1, 2, 3, 4 (as in the crate rand_xoshiro)."""
    state, word, first = np.array([[1], [2], [3], [4]], dtype=np.uint64), np.empty(1, np.uint64), []
    for _ in range(5):
        next_words(state, word)
        first.append(int(word[0]))
    assert first == [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205]


@pytest.mark.parametrize("lanes", [1, 7, 8, 64, 71])
def test_rows_of_words_are_those_drawn_one_by_one(lanes):
    one, many = streams(range(lanes), LABEL_NOISE), streams(range(lanes), LABEL_NOISE)
    rows, row = np.empty((5, lanes), np.uint64), np.empty(lanes, np.uint64)
    fill_words(many, rows)
    for expected in rows:
        next_words(one, row)
        np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("lanes", [1, 7, 64, 71])
def test_signs_are_the_bits_of_the_words(lanes):
    out, state = rows_of(fill_rademacher, 150, lanes)
    again, words = streams(range(lanes), LABEL_NOISE), np.empty((3, lanes), np.uint64)
    fill_words(again, words)
    i = np.arange(150)
    bits = (words[i // 64] >> (i % 64).astype(np.uint64)[:, None]) & np.uint64(1)
    np.testing.assert_array_equal(out, 1 - 2 * bits.astype(float))
    np.testing.assert_array_equal(state, again)


def test_normals_are_those_of_box_and_muller():
    """To 3e-11 (2.1e-11 in 6 million words): 32 bits of radius and 30 of angle resolve no more than 1e-9."""
    words = np.random.default_rng(0).integers(0, 2**64, 500_000, dtype=np.uint64)
    # radii around the powers of two of u, where exponent and mantissa change places, and the ends of every part
    low = [k + j for k in 2 ** np.arange(3, 32) for j in (-2, -1, 0, 1)] + [0, 1, 2**32 - 2, 2**32 - 1]
    edges = [int(k) | int(angle) << 32 for k in low for angle in (0, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31, 2**32 - 1)]
    words = np.concatenate([words, np.array(edges, dtype=np.uint64)])
    error = np.abs(normals(words) - box_muller(words))
    assert error.max() < 3e-11, f"{error.max():.3g} at word {words[error.max(axis=0).argmax()]:#x}"


def test_the_smallest_and_the_largest_radius():
    smallest, largest = np.hypot(*normals([2**32 - 1, 0]))
    assert smallest == pytest.approx(2.0**-16, rel=1e-5)  # ln u = -2^-33 there, to the rounding of numbers near 1
    assert largest == pytest.approx(np.sqrt(66 * np.log(2)), rel=1e-10)
    assert largest < 6.8


@pytest.mark.parametrize("lanes", [1, 7, 8, 9, 64, 71, 128])
def test_a_lane_has_the_same_normals_in_any_company(lanes):
    everyone, state = rows_of(fill_normal, 6, 200)
    for first in (0, 200 - lanes):
        some, some_state = rows_of(fill_normal, 6, lanes, first)
        np.testing.assert_array_equal(some, everyone[:, first : first + lanes])
        np.testing.assert_array_equal(some_state, state[:, first : first + lanes])


@pytest.mark.parametrize("lanes", [3, 64])
def test_normals_do_not_depend_on_how_many_rows_are_drawn_at_once(lanes):
    at_once, _ = rows_of(fill_normal, 16, lanes)
    state = streams(range(lanes), LABEL_NOISE)
    parts = [np.empty((rows, lanes)) for rows in (2, 4, 10)]
    for part in parts:
        fill_normal(state, part)
    np.testing.assert_array_equal(np.concatenate(parts), at_once)


@pytest.mark.parametrize("lanes", [3, 64])
def test_an_odd_number_of_rows_drops_the_second_of_the_last_pair(lanes):
    (odd, odd_state), (even, state) = rows_of(fill_normal, 5, lanes), rows_of(fill_normal, 6, lanes)
    np.testing.assert_array_equal(odd, even[:5])
    np.testing.assert_array_equal(odd_state, state)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_every_pair_of_rows_is_made_of_the_next_word(rows):
    """Against pairs made one at a time, each from a word that `next_words` draws."""
    lanes = 11
    out, after = rows_of(fill_normal, rows, lanes)
    state, word, expected = streams(range(lanes), LABEL_NOISE), np.empty(lanes, np.uint64), []
    for _ in range(0, rows, 2):
        next_words(state, word)
        expected += list(normals(word))
    np.testing.assert_array_equal(out, expected[:rows])
    np.testing.assert_array_equal(after, state)


def test_no_rows_draw_nothing():
    _, after = rows_of(fill_normal, 0, 9)
    np.testing.assert_array_equal(after, streams(range(9), LABEL_NOISE))


def test_normals_have_the_normal_law():
    """4 million numbers. Six moments and four tails at 5 standard errors, KS at 1e-5: false alarms below 2e-5."""
    x = rows_of(fill_normal, 8000, 500, seed=1)[0].ravel()
    exact = [0, 1, 0, 3, 0, 15]
    twice = [1, 3, 15, 105, 945, 10395]  # E z^(2k)
    for k in range(6):
        error = np.sqrt((twice[k] - exact[k] ** 2) / len(x))
        assert abs((x ** (k + 1)).mean() - exact[k]) < 5 * error, k + 1
    for edge in (3.0, 4.0):
        p = stats.norm.sf(edge)
        for tail in (x > edge, x < -edge):
            assert abs(tail.sum() - len(x) * p) < 5 * np.sqrt(len(x) * p), edge
    assert stats.kstest(x, "norm").pvalue > 1e-5


def test_the_two_normals_of_a_word_are_independent():
    """2 million pairs. Six products of powers at 5 standard errors, KS of angle and radius at 1e-5: false alarms below 3e-5."""
    out, _ = rows_of(fill_normal, 8000, 500, seed=2)
    x, y = out[0::2].ravel(), out[1::2].ravel()
    moment = {1: 0, 2: 1, 3: 0, 4: 3, 6: 15, 8: 105}
    for a, b in ((1, 1), (2, 2), (1, 2), (2, 1), (3, 1), (1, 3)):
        mean = moment[a] * moment[b]
        error = np.sqrt((moment[2 * a] * moment[2 * b] - mean**2) / len(x))
        assert abs((x**a * y**b).mean() - mean) < 5 * error, (a, b)
    assert stats.kstest(np.arctan2(y, x), "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-5
    assert stats.kstest((x**2 + y**2) / 2, "expon").pvalue > 1e-5


def test_rows_and_lanes_are_uncorrelated():
    """2 million numbers, their squares and their signs, at 10 lags of rows and 10 of lanes: 60 correlations at 5.5
    standard errors: false alarms below 3e-6."""
    x, _ = rows_of(fill_normal, 4000, 500, seed=3)
    for name, y, deviation in (("x", x, 1), ("x^2", x**2 - 1, 2), ("sign", np.sign(x), 1)):
        for lag in range(1, 11):
            for kind, a, b in (("rows", y[lag:], y[:-lag]), ("lanes", y[:, lag:], y[:, :-lag])):
                assert abs((a * b).mean()) < 5.5 * deviation / np.sqrt(a.size), (name, kind, lag)
