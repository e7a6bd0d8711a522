"""Text for terminals of any width: nothing is cut, the least important columns are left out and named."""

import numpy as np
import pytest

from sde_momentum.core.terminal import table, width, wrapped
from validation import report

HEAD = ("learning rate", "best", "range", "time (steps)", "says")
ROWS = [
    ("0.001", "2.05e-05", "1.97e-05 to 2.15e-05", "45,958", "the trials were too few to say more than this about it"),
    ("0.1", "0.0137", "0.0135 to 0.014", "103\n± 2", "safe"),
]


@pytest.mark.parametrize("columns", [100, 80, 60, 40])
def test_a_table_fits_and_no_cell_is_cut(columns):
    lines = table(HEAD, ROWS, columns, drop=("range",), title="Predicted")
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    last = text.partition("not shown (narrow): ")[2]
    for i, name in enumerate(HEAD):
        assert name in last or all(word in text for row in ROWS for word in row[i].split())
    assert lines[0] == "Predicted"


def test_columns_are_left_out_in_the_order_asked_for_then_from_the_right():
    assert "not shown" not in "".join(table(HEAD, ROWS, None))
    assert table(HEAD, ROWS, 70, drop=("range",))[-1] == "not shown (narrow): range"
    assert table(HEAD, ROWS, 42, drop=("range",))[-1] == "not shown (narrow): range, says"


def test_a_column_of_words_is_narrowed_before_any_is_left_out():
    natural = max(map(len, table(HEAD, ROWS)))
    lines = table(HEAD, ROWS, natural - 10)
    assert max(map(len, lines)) <= natural - 10
    assert not any(line.startswith("not shown") for line in lines)


def test_long_lines_are_broken_under_their_last_column():
    line = "  curvature mu    0.25 ± 0.01 along the negative gradient of tr H"
    assert wrapped(line, 40).splitlines() == [
        "  curvature mu    0.25 ± 0.01 along the",
        "                  negative gradient of",
        "                  tr H",
    ]
    assert wrapped(line, None) == line
    assert " ".join(wrapped(line, 40).split()) == " ".join(line.split())


@pytest.mark.parametrize(("given", "expected"), [("80", 80), ("20", 40), ("0", None), ("wide", None)])
def test_the_width_is_that_of_columns_and_unlimited_in_a_pipe(monkeypatch, given, expected):
    monkeypatch.setenv("COLUMNS", given)
    monkeypatch.setattr("sys.stdout", None)  # neither a terminal nor a file
    assert width() == expected


@pytest.mark.parametrize("columns", [80, 60])
def test_reports_fit_the_terminal(columns, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", str(columns))
    methods = ("effective loss", "closed form", "transfer", "measured fit")
    rows = [
        [f"{lr:.3g}", "2.05e-05", "1.97e-05 to 2.15e-05", "45,958", *("1.96e-05", "1.000 ± 0.003") * 4]
        for lr in np.geomspace(1e-5, 1, 3)
    ]
    head = ("learning rate", "best 1 − β", "95 %", "time (steps)", *("1 − β", "regret") * 4)
    shown = report.Table(
        head, rows, (("measured", 3), *((method, 2) for method in methods)), shown=True, drop=("measured fit", "95 %")
    )
    page = report.Report(
        "A title",
        "",
        {},
        ["a finding in a sentence that is longer than any terminal is wide, as they are"],
        [report.Section("One", table=shown)],
    )
    report.show(page, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= columns  # the last line is a path
    assert any("effective" in line for line in lines)
    assert any(line.startswith("not shown (narrow): ") for line in lines)
