"""The progress bar: silent unless it is wanted, right about what is left."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sde_momentum.core.errors import InputError
from sde_momentum.core.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal_in(monkeypatch):
    """Standard error as a terminal; within the test, as pytest puts its own there before each."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


class Timer:
    """A timer that goes off when a test calls `go_off`."""

    started: list[Timer]

    def __init__(self, seconds, go_off):
        self.seconds, self.go_off, self.cancelled = seconds, go_off, False

    def start(self):
        self.started.append(self)

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def timers(monkeypatch):
    """The timers that were started, in place of those that wait."""
    monkeypatch.setattr(Timer, "started", [], raising=False)
    monkeypatch.setattr(threading, "Timer", Timer)
    return Timer.started


def work(total=4, **options):
    with track("paths", total, **options) as advance:
        for _ in range(total):
            advance(1)


def test_nothing_is_printed_or_imported_where_there_is_no_bar():
    code = (
        "import sys\nfrom sde_momentum.core.progress import track\n"
        "for progress in (None, False):\n"
        "    with track('paths', 2, progress) as advance: advance(1); advance(1)\n"
        "print(*[m for m in sys.modules if m.partition('.')[0] == 'rich'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() == ""


def test_work_that_is_over_within_two_seconds_shows_nothing_on_a_terminal(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    work()
    (timer,) = timers
    assert (timer.seconds, timer.cancelled) == (2.0, True)
    timer.go_off()  # it may have been too late to cancel it
    assert terminal.getvalue() == ""


def test_long_work_on_a_terminal_shows_time_passed_and_left(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    with track("paths", 4) as advance:
        advance(1)
        timers[0].go_off()
        text = terminal.getvalue()
    assert "paths" in text
    assert "left" in text
    assert "25%" in text


def test_the_bar_appears_although_no_amount_has_come(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    with track("paths", 1):
        timers[0].go_off()
        assert "paths" in terminal.getvalue()


def test_false_is_silent_on_a_terminal_and_true_shows_at_once_anywhere(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    work(progress=False)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    work(progress=True)
    assert "100%" in terminal.getvalue()
    assert timers == []


def test_an_error_inside_passes_and_ends_the_bar(monkeypatch):
    terminal = terminal_in(monkeypatch)
    with pytest.raises(KeyError), track("paths", 3, True):
        raise KeyError("x")
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is shown again


def test_amounts_from_threads_are_all_counted(monkeypatch):
    terminal_in(monkeypatch)
    with track("paths", 400, True) as advance:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(advance, [1] * 400))
        assert advance.__self__.done == 400


def test_a_bar_inside_takes_the_place_of_the_outer_one_until_it_is_closed(monkeypatch):
    terminal_in(monkeypatch)
    with track("all", 1, True) as outer:
        assert outer.__self__.drawn
        with track("part", 1, True) as inner:
            assert inner.__self__.drawn
            assert not outer.__self__.drawn
            outer(0.5)
        assert outer.__self__.drawn
        assert not inner.__self__.drawn
    assert not outer.__self__.drawn


def test_without_standard_error_the_work_is_done_without_a_bar(monkeypatch, timers):
    monkeypatch.setattr(sys, "stderr", None)
    work()
    with track("paths", 1, True) as advance:
        advance(1)
        assert advance.__self__.done == 1
    assert timers == []


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"progress: given yes; allowed: True, False, or None \(shown on a terminal\)"):
        work(progress="yes")
