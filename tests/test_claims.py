"""The ledger of claims: every row's support exists, and the page says what the stored results say."""

from __future__ import annotations

import re

import pytest

from derivations.codegen import BY_NAME
from validation.claims import CLAIMS, PAGE, ROOT, page, stored

THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_a_claim_has_its_equation_derivation_and_tests(claim):
    assert re.search(rf"\({re.escape(claim.equation)}\)$", THEORY, flags=re.MULTILINE)
    assert set(claim.derivations) <= set(BY_NAME)
    assert claim.tests
    assert all((ROOT / test).is_file() for test in claim.tests)


def test_the_page_is_what_the_stored_results_say():
    """And every claim has at least one measurement; of a result that turns round, the verdict turns round."""
    results = stored()
    assert PAGE.read_text(encoding="utf-8") == page(results)
    assert all(any(list(claim.judge(summary)) for summary, _ in results.values()) for claim in CLAIMS)
    energies = next(claim for claim in CLAIMS if claim.equation == "2.10")
    (right,), (wrong,) = energies.judge({"loss_ratio": [1.01, 0.01]}), energies.judge({"loss_ratio": [1.1, 0.01]})
    assert (right.holds, wrong.holds) == (True, False)
