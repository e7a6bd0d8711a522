"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sde_momentum.sde.methods import methods_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=[f"block {i}" for i in range(len(BLOCKS))])
def test_python_blocks_print_and_draw_what_they_say(code, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    claimed = re.findall(r"^print\(.*\)  # ([^;:]+)", code, re.MULTILINE)
    pictures = re.findall(r"savefig\(\"(.*?)\"\)", code)
    assert len(printed) == len(claimed)
    assert claimed or pictures
    for picture in pictures:
        assert np.ptp(plt.imread(tmp_path / picture)) > 0  # not blank
    for line, claim in zip(printed, claimed, strict=True):
        numbers = [float(x) for x in re.findall(r"\d+\.\d+", claim)]
        shown = [float(x) for x in re.findall(r"\d+\.\d+", line)][: len(numbers)]
        assert numbers
        assert shown == pytest.approx(numbers, rel=1e-3)  # other machines round differently


def test_the_documentation_s_table_of_methods_is_what_the_methods_state():
    assert methods_table() in (ROOT / "docs" / "ensembles.md").read_text(encoding="utf-8")


def test_the_page_on_pytorch_works_when_pasted(capsys):
    page = (ROOT / "docs" / "pytorch.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    assert "momentum        0.9" in capsys.readouterr().out
    assert names["optimizer"].param_groups[0]["momentum"] == names["found"].momentum
