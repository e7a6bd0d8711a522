"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=[f"block {i}" for i in range(len(BLOCKS))])
def test_python_blocks_print_what_their_comments_say(code, capsys):
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    claimed = re.findall(r"^print\(.*\)  # ([^;:]+)", code, re.MULTILINE)
    assert len(printed) == len(claimed) > 0
    for line, claim in zip(printed, claimed, strict=True):
        numbers = [float(x) for x in re.findall(r"\d+\.\d+", claim)]
        shown = [float(x) for x in re.findall(r"\d+\.\d+", line)][: len(numbers)]
        assert numbers
        assert shown == pytest.approx(numbers, rel=1e-3)  # other machines round differently
