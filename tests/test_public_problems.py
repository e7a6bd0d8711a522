"""Problems of other libraries' test suites give the values that do not come from this library."""

from __future__ import annotations

from pathlib import Path

import pytest
from public_problems import Public, problems

PAGE = Path(__file__).parents[1] / "docs" / "public_problems.md"


@pytest.mark.parametrize(("seed", "problem"), list(enumerate(problems())), ids=lambda one: getattr(one, "name", None))
def test_problems_of_public_suites(seed: int, problem: Public) -> None:
    value, own, se, z = problem.compared(2**13, seed)
    print(f"{problem.name}: {value:.6g}, ours {own:.6g} +- {se:.2g}, z = {z:.2f}")
    assert abs(z) < 4.0  # false alarms: 6e-5 each
    assert se < 0.2 * max(abs(value), 0.1)  # or it would show nothing


def test_the_page_has_every_problem() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = problems()
    assert len(found) >= 20
    for problem in found:
        assert f"| {problem.name} | {problem.suite} | {problem.quantity} |" in text
