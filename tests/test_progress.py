"""Progress: silent where work is short, right about what is left, a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sde_momentum.core import progress as module
from sde_momentum.core.errors import InputError
from sde_momentum.core.progress import note, track


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


@pytest.fixture
def clock(monkeypatch):
    """The seconds that `monotonic` gives, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_work_that_is_over_within_a_second_shows_nothing_on_a_terminal(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    work()
    (timer,) = timers
    assert (timer.seconds, timer.cancelled) == (1.0, True)
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
    assert "25 %" in text


def test_the_bar_appears_although_no_amount_has_come(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    with track("paths", 1):
        timers[0].go_off()
        assert "paths" in terminal.getvalue()


def test_false_is_silent_on_a_terminal_and_true_shows_at_once_anywhere(monkeypatch, timers):
    terminal = terminal_in(monkeypatch)
    work(progress=False)
    assert terminal.getvalue() == ""
    work(progress=True)
    assert "paths" in terminal.getvalue()
    assert timers == []
    lines = lines_in(monkeypatch)
    work(progress=True)
    assert lines.getvalue() == "paths: 0:00:00 passed\n"


def lines_in(monkeypatch):
    """Standard error as a file."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_off_a_terminal_a_line_is_printed_every_ten_seconds(monkeypatch, timers, clock):
    lines = lines_in(monkeypatch)
    with track("predict", 10) as advance:
        assert [timer.seconds for timer in timers] == [10.0]
        advance(4)
        clock[0] += 12
        assert lines.getvalue() == ""
        timers[0].go_off()
        assert lines.getvalue() == "predict: 40 %, 0:00:12 passed, 0:00:18 left\n"
        assert [timer.seconds for timer in timers] == [10.0, 10.0]
        advance(4)
        timers[1].go_off()
    assert lines.getvalue().splitlines()[1:] == ["predict: 80 %, 0:00:12 passed, 0:00:03 left"]
    assert all(timer.cancelled for timer in timers)
    timers[2].go_off()  # too late to cancel it
    assert len(lines.getvalue().splitlines()) == 2
    assert len(timers) == 3


def test_short_tasks_inside_do_not_put_off_the_line_and_long_ones_are_named(monkeypatch, timers, clock):
    lines = lines_in(monkeypatch)
    with track("predict", 10):
        for _ in range(3):
            clock[0] += 4
            work()
        assert len(timers) == 1
        with track("runs", 4) as advance:
            timers[0].go_off()  # the task has just begun: it is not shown yet
            clock[0] += 10
            advance(1)
            timers[1].go_off()
    assert lines.getvalue().splitlines() == ["predict: 0:00:12 passed", "predict > runs: 25 %, 0:00:10 passed, 0:00:30 left"]


def test_a_note_says_what_is_done_now(monkeypatch, timers, clock):
    lines = lines_in(monkeypatch)
    note("nobody listens")
    with track("predict", 2):
        note("trials at lr 0.01: 12 momenta x 64 seeds")
        timers[0].go_off()
        with track("runs", 1):
            clock[0] += 5
            note("lr 0.1")
            timers[1].go_off()
        note("")
        timers[2].go_off()
    assert lines.getvalue().splitlines() == [
        "predict (trials at lr 0.01: 12 momenta x 64 seeds): 0:00:00 passed",
        "predict (trials at lr 0.01: 12 momenta x 64 seeds) > runs (lr 0.1): 0:00:05 passed",
        "predict: 0:00:05 passed",
    ]


def test_a_note_stands_beside_the_bar(monkeypatch):
    terminal = terminal_in(monkeypatch)
    monkeypatch.setenv("COLUMNS", "100")
    with track("predict", 2, True) as advance:
        note("lr 0.01")
        advance(1)
        module._THREAD.display._live.refresh()
        assert "predict (lr 0.01)" in terminal.getvalue()
        assert "50 %" in terminal.getvalue()


def test_an_error_inside_passes_and_ends_the_bar(monkeypatch):
    terminal = terminal_in(monkeypatch)
    with pytest.raises(KeyError), track("paths", 3, True):
        raise KeyError("x")
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is shown again
    assert module._THREAD.display is None


def test_amounts_from_threads_are_all_counted(monkeypatch):
    terminal_in(monkeypatch)
    with track("paths", 400, True) as advance:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(advance, [1] * 400))
        assert advance.__self__.done == 400


def test_without_standard_error_the_work_is_done_without_a_bar(monkeypatch, timers, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    work()
    assert timers == []
    with track("paths", 1, True) as advance:
        advance(1)
        assert advance.__self__.done == 1
    assert capsys.readouterr().out == ""


def test_a_closed_standard_error_does_not_end_the_work(monkeypatch, timers):
    lines_in(monkeypatch).close()
    with track("paths", 1):
        timers[0].go_off()


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"progress: given yes; allowed: True, False, or None \(a bar on a"):
        work(progress="yes")
