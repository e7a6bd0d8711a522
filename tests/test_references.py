"""Every [theory: ...] leads to a section and an equation of docs/theory.md, and that page to what proves and tests it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from derivations.codegen import BY_NAME, DERIVATIONS
from derivations.sections import Section

ROOT = Path(__file__).parent.parent
THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")

_REFERENCE = re.compile(r"\[theory:((?:[^\]\n]|\n[ \t]*(?:#[ \t]*)?)*)\]")
_PART = re.compile(r"(?P<name>[^,;]+?)(?:, eq\. (?P<equation>\d+\.\d+))?")
_PLACEHOLDERS = {"...", "NAME", "Section"}  # of texts that explain what a reference is
_OLD_CODE = re.compile(r"\bT[1-9](?:\.[1-9])?\b(?!\s*=[^=])")  # a variable T1 = ... is none


def sections(page: str) -> dict[str, str]:
    """Name of each numbered section -> its text."""
    parts = re.split(r"^## (\d+)\. ([^:\n]+)(?::[^\n]*)?\n", page.split("\n## Literature")[0], flags=re.MULTILINE)
    return {parts[i + 1].strip(): f"{parts[i]}\n{parts[i + 2]}" for i in range(1, len(parts), 3)}


def equations(page: str) -> dict[str, str]:
    """Number of each equation -> its line, white space collapsed."""
    lines = re.findall(r"^    (.*?)\s*\((\d+\.\d+)\)$", page, flags=re.MULTILINE)
    assert len({number for _, number in lines}) == len(lines), "an equation's number stands twice"
    return {number: " ".join(line.split()) for line, number in lines}


SECTIONS, EQUATIONS = sections(THEORY), equations(THEORY)


def faults(text: str) -> list[str]:
    """What a reader cannot follow in a text: references that lead nowhere, and codes of sections that no page has."""
    found = [f"old code {match}" for match in _OLD_CODE.findall(text)]
    for inside in _REFERENCE.findall(text):
        if "{" in inside:  # code that writes references
            continue
        for part in " ".join(re.sub(r"\n\s*#?", " ", inside).split()).split(";"):
            match = _PART.fullmatch(part.strip())
            if match is None:
                found.append(f"[theory:{inside}] is not of the form [theory: Name, eq. 7.2; Other name]")
            elif match["name"] in _PLACEHOLDERS:
                continue
            elif match["name"] not in SECTIONS:
                found.append(f"[theory: {match['name']}]: no such section")
            elif match["equation"] and match["equation"] not in EQUATIONS:
                found.append(f"[theory: {part.strip()}]: no such equation")
            elif match["equation"] and match["equation"].split(".")[0] != SECTIONS[match["name"]].split("\n")[0]:
                found.append(f"[theory: {part.strip()}]: the equation belongs to another section")
    return found


def written() -> list[Path]:
    """Every text of the repository in which references stand; this file holds wrong ones on purpose."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md", "*.j2"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in names if (ROOT / name).is_file() and ROOT / name != Path(__file__)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[theory: Relaxation]", None),
        ("[theory: Relaxation, eq. 2.3; Drift]", None),
        ("[theory: Relaxation;\n        Drift, eq. 3.8].", None),
        ("# see [theory: Critical\n# limit, eq. 7.2]", None),
        ("[theory: ...] names a section", None),
        ("T1 = 3.0", None),
        ("[theory: Relaxatoin]", "[theory: Relaxatoin]: no such section"),
        ("[theory: Relaxation; Nowhere]", "[theory: Nowhere]: no such section"),
        ("[theory: Relaxation, eq. 2.99]", "[theory: Relaxation, eq. 2.99]: no such equation"),
        ("[theory: Relaxation, eq. 3.1]", "[theory: Relaxation, eq. 3.1]: the equation belongs to another section"),
        ("[theory: Relaxation, equation 2.3]", "[theory: Relaxation, equation 2.3] is not of the form"),
        ("of " + "T" + "7's cubic", "old code T7"),
        ("(" + "T" + "9.3)", "old code T9.3"),
    ],
)
def test_a_wrong_reference_is_found_and_a_right_one_is_not(text, fault):
    found = faults(text)
    assert found == [] if fault is None else len(found) == 1 and found[0].startswith(fault)


def test_every_reference_leads_to_a_section_and_an_equation():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {fault}"
        for path in written()
        for number, fault in _with_lines(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


def _with_lines(text: str) -> list[tuple[int, str]]:
    """Faults with the line on which each stands, one line or reference at a time."""
    spots = [*_OLD_CODE.finditer(text), *_REFERENCE.finditer(text)]
    return [(text.count("\n", 0, spot.start()) + 1, fault) for spot in spots for fault in faults(spot[0])]


def test_the_page_has_the_sections_that_the_derivations_know():
    headings = re.findall(r"^## (\d+\. .*)$", THEORY, flags=re.MULTILINE)
    assert headings == [section.heading for section in Section]
    assert list(SECTIONS) == [section.title for section in Section]


def test_every_formula_stands_on_the_page_under_its_number():
    formulas = [formula for derivation in DERIVATIONS for formula in derivation.formulas]
    assert len({formula.equation for formula in formulas}) == len(formulas)
    for formula in formulas:
        assert " ".join(formula.text.split()) in EQUATIONS[formula.equation.number], formula.name


def test_equations_are_numbered_without_gaps():
    for section in Section:
        places = [int(number.split(".")[1]) for number in EQUATIONS if number.split(".")[0] == str(section.number)]
        assert places == list(range(1, len(places) + 1)), section.title


@pytest.mark.parametrize("section", Section, ids=lambda section: section.title)
def test_every_section_says_what_proves_and_tests_it(section):
    text = SECTIONS[section.title]
    derived = {name for name, derivation in BY_NAME.items() if section in derivation.sections}
    named = set(re.findall(r"`sde-momentum derive (\w+)`", text))
    assert named <= set(BY_NAME), f"no such derivation: {named - set(BY_NAME)}"
    assert bool(section.underived) == (not derived)
    assert (f"No derivation: {section.underived.split('.')[0]}" in text) == (not derived)
    assert named or not derived
    for test in {*re.findall(r"`(tests/\w+\.py)`", text + section.underived)}:
        assert (ROOT / test).is_file(), test
    assert re.search(r"`tests/test_\w+\.py`", text)


def test_links_of_the_pages_lead_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            name, _, fragment = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name}: {link}"
            if target.name == "theory.md" and fragment:
                assert fragment in {section.anchor for section in Section}, f"{page.name}: {link}"
