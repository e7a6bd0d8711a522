"""Every argument of every public call, with values that are not meant: an InputError of one line, or an answer; never another
error, never an endless call, and no NaN from numbers.
"""

from __future__ import annotations

import functools
import inspect
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from public_calls import EXEMPT, calls, public_names

from sde_momentum.core.errors import InputError

SECONDS = 10
"""After which a call counts as endless."""


def bad_values() -> list[Any]:
    """Of wrong kinds, of no size, too large, too small, not finite."""
    numbers = [math.nan, math.inf, -math.inf, -1, 0, 0.5, 10**400, -(10**400), 2**64, 2**63, 1e308, 5e-324, 1j, np.float32(0.1)]
    arrays = [
        [],
        [[]],
        [math.nan],
        [1, "x"],
        np.array([]),
        np.zeros((2, 3, 4)),
        np.array(["a"]),
        np.array(None),
        np.array([1 + 1j]),
    ]
    return [*numbers, *arrays, None, True, "x", "", "a\x1b[2J\nb", b"x", {}, {"a": 1}, set(), object(), range(0), slice(1)]


class Endless(BaseException):
    """Raised by the alarm; no code of the library catches it."""


@functools.cache
def every_call() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    return {name: (function, given) for name, function, given in calls()}


def _tried(function: Callable[..., Any], given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    named = [
        p.name for p in inspect.signature(function).parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in dict.fromkeys([*named, *given]):
        yield from ((name, value) for value in bad_values())


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Some arguments are files."""
    monkeypatch.chdir(tmp_path)

    def ring(*_: Any) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


def test_every_public_name_is_tried():
    tried = {word for name in every_call() for word in name.replace(".", " ").split()}
    assert not public_names() - tried - EXEMPT
    assert not EXEMPT & tried - {"Problem"}


@pytest.mark.parametrize("name", sorted(every_call()))
def test_bad_arguments_are_refused_by_name(name):
    function, given = every_call()[name]
    if all(value is not None for value in given.values()):
        function(**given)
    faults = []
    for argument, value in _tried(function, given):
        signal.alarm(SECONDS)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                answer = function(**{**given, argument: value})
            if isinstance(answer, float) and math.isnan(answer) and not _has_nan(value):
                faults.append(f"{argument}={value!r:.60}: NaN")
        except InputError as error:
            if "\n" in str(error) or "\x1b" in str(error) or len(str(error)) > 1000:
                faults.append(f"{argument}={value!r:.60}: {error}")
        except Endless:
            faults.append(f"{argument}={value!r:.60}: no end in {SECONDS} s")
        except Exception as error:
            faults.append(f"{argument}={value!r:.60}: {type(error).__name__} {error!s:.80}")
        finally:
            signal.alarm(0)
    assert not faults, "\n".join(faults)


def _has_nan(value: Any) -> bool:
    try:
        return bool(np.isnan(np.asarray(value, dtype=float)).any())
    except (TypeError, ValueError, OverflowError):
        return False
