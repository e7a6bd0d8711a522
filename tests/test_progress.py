"""The progress bar: silent unless it is wanted, right about what is left."""

import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sde_momentum.core import progress
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


def work(total=4, seconds=0.0, **options):
    with track("paths", total, **options) as advance:
        for _ in range(total):
            time.sleep(seconds)
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


def test_short_work_on_a_terminal_shows_nothing(monkeypatch):
    terminal = terminal_in(monkeypatch)
    work()
    assert terminal.getvalue() == ""


def test_long_work_on_a_terminal_shows_time_passed_and_left(monkeypatch):
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 0.05)
    work(seconds=0.15)
    text = terminal.getvalue()
    assert "paths" in text
    assert "left" in text
    assert "%" in text


def test_the_bar_appears_although_no_amount_has_come(monkeypatch):
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 0.05)
    with track("paths", 1):
        time.sleep(0.5)
        assert "paths" in terminal.getvalue()


def test_false_is_silent_on_a_terminal_and_true_shows_at_once_anywhere(monkeypatch):
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    work(seconds=0.02, progress=False)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "_PATIENCE", 60.0)
    monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    work(seconds=0.02, progress=True)
    assert "100%" in terminal.getvalue()


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
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with track("all", 1, True) as outer:
        assert outer.__self__.drawn
        with track("part", 1, True) as inner:
            assert inner.__self__.drawn
            assert not outer.__self__.drawn
            outer(0.5)
        assert outer.__self__.drawn
        assert not inner.__self__.drawn
    assert not outer.__self__.drawn


def test_standard_error_may_be_missing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    work()


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"progress: given yes; allowed: True, False, or None \(shown on a terminal\)"):
        work(progress="yes")
