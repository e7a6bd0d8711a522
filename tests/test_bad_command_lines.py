"""Every option of every command with values that are not meant: one line and exit status 2, or an answer; never a traceback."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import cycle
from typing import Any

import pytest
import typer
from command_lines import without

from sde_momentum.commands import main as command_line
from validation import runner

SECONDS = 10
BAD = (
    "", "x", "nan", "inf", "-1", "0", "1", "0.5", "1e308", "-1e308", "1e-320", "1e400", "99999999999999999999999",
    "18446744073709551616",
    "[1]", "null", "a\x1b[2Jb", "a\nb", "/nonexistent/folder/x.png", "/dev/null/x", "é" * 300, "--",
)  # fmt: skip
"""Values, as they are typed."""
EACH = 3
"""Of these each option gets so many, in turn: all options together get all."""
VALLEY = ["--problem", "valley", "--modes", "4"]
SENSING = ["--problem", "matrix-sensing", "--d", "3", "--measurements", "4"]
CLOSED = ["--lr", "0.1", "--method", "closed form"]
BASES: dict[str, list[list[str]]] = {
    "predict": [
        ["--lr", "0.1", "--ref-lr", "0.1", "--ref-momentum", "0.9"],
        ["--lr", "0.1", "--noise", "1e-3", "--curvature", "2"],
        [*VALLEY, *CLOSED],
        [*SENSING, *CLOSED],
    ],
    "simulate": [[*VALLEY, "--lr", "0.1", "--momentum", "0.5", "--steps", "4", "--seeds", "2"]],
    "phase-diagram": [["--noise", "1e-3", "--curvature", "2", "--eigenvalue", "1", "--json"]],
    "derive": [["nothing"]],
    "report": [["."]],
    "find": [["--model", "nothing:nowhere", "--data", "nothing:nowhere", "--lr", "0.1"]],
    "estimate": [["--model", "nothing:nowhere", "--data", "nothing:nowhere", "--lr", "0.1", "--label-noise", "0.1"]],
}
"""Cheap command lines, to which one option is added."""


class Endless(BaseException):
    """Raised by the alarm."""


@functools.cache
def program() -> Any:
    """The command line, made once and not again for each line."""
    command_line._add_commands()
    return typer.main.get_command(command_line.app)


@functools.cache
def commands() -> dict[str, list[str]]:
    """Every command, "validate NAME" among them, with its options' flags."""
    found: dict[str, list[str]] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        if hasattr(command, "commands"):
            for name, below in command.commands.items():
                walk(below, (*path, name))
        else:
            flags = [parameter.opts[0] for parameter in command.params if parameter.opts[0].startswith("--")]
            found[" ".join(path)] = [flag for flag in flags if flag != "--help"]

    walk(program(), ())
    return found


def lines(name: str) -> Iterator[list[str]]:
    """Command lines with one bad value, or a value where none belongs, or none where one does."""
    turn = cycle(BAD)
    for base in BASES.get(name, [[]]):
        for flag in commands()[name]:
            rest = without(base, flag)
            yield from ([*name.split(), *rest, flag, next(turn)] for _ in range(EACH))
            yield [*name.split(), *rest, flag]


def _said(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: int = SECONDS
) -> str | None:
    """What is wrong with the command's end, None for nothing."""
    monkeypatch.setattr(sys, "argv", ["sde-momentum", *line])
    signal.alarm(seconds)
    try:
        command_line.main()
    except SystemExit as end:
        status, err = end.code, capsys.readouterr().err
        if status in (0, None):
            return None
        missing = status == 1 and "not installed: pip install" in err  # of a package that this machine lacks
        if status not in (2, 3) and not missing:
            return f"exit status {status}: {err[-200:]}"
        last = err.rstrip("\n").split("\n")[-1]
        if not last.startswith("sde-momentum: ") or "Traceback" in err or "\x1b" in err:
            return f"says {err[-300:]!r}"
        return None
    except Endless:
        return f"no end in {SECONDS} s"
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.100}"
    finally:
        signal.alarm(0)
        capsys.readouterr()
    return "returns without an exit status"


def test_every_command_has_a_cheap_line():
    assert set(BASES) == {name for name in commands() if not name.startswith("validate ")}


@pytest.mark.parametrize("name", sorted(commands()))
def test_bad_values_end_in_one_line(name, tmp_path, monkeypatch, capsys):
    def ring(*_: Any) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, ring)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "app", program())
    for function in ("run", "draw"):  # an experiment that is accepted is not run
        monkeypatch.setattr(runner, function, lambda *_, **__: None)
    monkeypatch.setattr(import_module("sde_momentum.predictors.phase_diagram"), "N_GRID", 31)  # of a picture, for each line
    try:
        for base in BASES.get(name, [[]])[:1]:
            _said([*name.split(), *base], monkeypatch, capsys, seconds=0)  # loads what the command needs
        faults = [f"{line}: {fault}" for line in lines(name) if (fault := _said(line, monkeypatch, capsys)) is not None]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not faults, "\n".join(faults)


def test_so_many_lines_are_tried():
    tried = [line for name in commands() for line in lines(name)]
    assert len(tried) >= 1000
    assert set(BAD) <= {line[-1] for line in tried}
