"""The documentation against the library: code runs, commands and options exist, names are explained, links lead somewhere.

A block of Python that is too heavy, or needs what a test machine lacks, stands behind `<!-- compiled only: REASON -->`.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import typer

import sde_momentum as sm
from sde_momentum.commands import main
from sde_momentum.sde.methods import methods_table

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
MADE = {"_build", "examples", "tutorials_run"}
"""Folders of docs/ that building the site makes."""
PAGES = [
    README,
    *(path for path in [ROOT / "CONTRIBUTING.md"] if path.exists()),
    *sorted(path for path in DOCS.rglob("*.md") if not MADE & set(path.relative_to(DOCS).parts)),
]

FENCE = re.compile(r"^(?P<before>[^\n]*)\n```(?P<language>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, the line of the page on which the text begins, and whether it runs."""

    language: str
    code: str
    line: int
    runs: bool


@cache
def blocks(page: Path) -> list[Block]:
    text = "\n" + page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["code"],
            text.count("\n", 0, found.start("code")),
            not re.fullmatch(r"<!-- compiled only: .+ -->", found["before"]),
        )
        for found in FENCE.finditer(text)
    ]


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"-?\d+\.\d+", text)]


def by_name(pages: list[Path]) -> dict[str, list]:
    return {"argvalues": pages, "ids": [str(page.relative_to(ROOT)) for page in pages]}


# -- Python --------------------------------------------------------------------------------------------


def run_python(page: Path) -> None:
    """Run a page's blocks in one namespace, in the current folder; compare what they print with what stands beside it.

    `print(...)  # 1.23: explanation` states that 1.23 is printed, within rounding. A picture that is saved must not be blank.
    """
    printed: dict[int, str] = {}

    def recording(*values: object, **options: object) -> None:
        printed[sys._getframe(1).f_lineno] = " ".join(str(value) for value in values)

    names: dict[str, object] = {"__name__": "__main__", "print": recording}
    for block in blocks(page):
        if block.language != "python":
            continue
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")  # errors show the page's own line
        if block.runs:
            exec(code, names)
            for picture in re.findall(r"savefig\(\"(.*?)\"\)", block.code):
                assert np.ptp(plt.imread(picture)) > 0, f"{picture} is blank"
    plt.close("all")
    lines = page.read_text(encoding="utf-8").splitlines()
    for line, text in printed.items():
        _, _, claim = lines[line - 1].partition("  # ")
        claimed, shown = numbers(claim), numbers(text)
        n = min(len(claimed), len(shown))
        assert n >= len(numbers(claim.partition(":")[0])), f"{page.name}:{line} prints {text}"
        assert shown[:n] == pytest.approx(claimed[:n], rel=1e-3), f"{page.name}:{line} prints {text}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", **by_name([page for page in PAGES if any(b.language == "python" for b in blocks(page))]))
def test_python_blocks_run_in_order_and_print_and_draw_what_they_say(page, folder):
    run_python(page)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = 1.5\n```\ntext\n```python\nprint(x)  # 1.5: as stated\n", None),
        ("print(1.25)  # 1.5: not what is printed\n", AssertionError),
        ("print('nothing')  # 1.5: not a number\n", AssertionError),
        ("no_such_name\n", NameError),
    ],
)
def test_a_wrong_block_is_noticed(code, error, folder):
    page = folder / "page.md"
    page.write_text(f"# Page\n```python\n{code}```\n")
    if error is None:
        run_python(page)
    else:
        with pytest.raises(error):
            run_python(page)
    page = folder / "heavy.md"
    page.write_text(f"# Page\n<!-- compiled only: a reason -->\n```python\n{code.splitlines()[0]}\n```\n")
    run_python(page)


def test_every_python_block_of_the_readme_shows_something():
    """Each prints a number that is stated beside it, or draws."""
    for block in blocks(README):
        if block.language == "python":
            assert re.search(r"^print\(.*\)  # .*\d\.\d|savefig\(", block.code, re.MULTILINE), f"line {block.line}"


# -- commands ------------------------------------------------------------------------------------------

INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
PLACEHOLDER = re.compile(r"[A-Z_]+|.*\.\.\.|pkg\.module:\w+")


#: A command, option or value that does not exist; typer has a copy of click of its own, and names only this subclass.
UsageError = typer.BadParameter.__base__


@cache
def commands() -> Any:
    main._add_commands()
    return typer.main.get_command(main.app)


def calls(page: Path) -> list[tuple[int, str]]:
    """(line, what follows `sde-momentum`) of every call on the page: in blocks of sh, in indented code, and in running text.

    In running text the program's name may be left out when a command and an option or argument stand there.
    """
    text = page.read_text(encoding="utf-8")
    found = []
    for block in blocks(page):
        if block.language in ("sh", "bash", "console"):
            found += [(block.line + i, line) for i, line in enumerate(block.code.splitlines())]
    plain = re.sub(r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    found += [(i, line.strip()) for i, line in enumerate(plain.splitlines(), 1) if line.startswith("    ")]
    for span in INLINE.finditer(plain):
        words = " ".join(span[1].split())
        if words.split()[0] in commands().commands and " " in words:
            words = f"sde-momentum {words}"
        found.append((plain.count("\n", 0, span.start()) + 1, words))
    matches = ((line, re.match(r"(?:\$ )?(?:\S*/)?sde-momentum (.+)", words)) for line, words in found)
    return [(line, match[1]) for line, match in matches if match]


def parse(words: list[str]) -> None:
    """Raises UsageError for a command, an option or a value that does not exist.

    Values in capitals stand for any; required options may be missing, since running text often shows a part of a call.
    """
    command = commands()
    context = typer.Context(command)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):  # but for the program's own options
        _, command, words = command.resolve_command(context, words)
        context = typer.Context(command, parent=context)
    command.make_parser(context).parse_args(list(words))  # options exist and have values
    kept: list[str] = []
    for word in words:
        if PLACEHOLDER.fullmatch(word) and kept and kept[-1].startswith("--"):
            kept.pop()
        else:
            kept.append(word)
    try:
        command.make_context(command.name, kept, parent=context.parent)
    except typer.Exit:  # --version has been printed
        pass
    except UsageError as error:
        if type(error).__name__ != "MissingParameter":
            raise


@pytest.mark.parametrize("page", **by_name([page for page in PAGES if "sde-momentum" in page.read_text(encoding="utf-8")]))
def test_commands_and_options_exist(page):
    wrong = []
    for line, words in calls(page):
        try:
            parse(shlex.split(words, comments=True))
        except UsageError as error:
            wrong.append(f"{page.name}:{line}: sde-momentum {words}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "words", ["--versions", "predictt --lr 1", "predict --no-such 1", "predict --lr high", "validate nothing --seed 0"]
)
def test_a_wrong_command_is_noticed(words):
    with pytest.raises(UsageError):
        parse(words.split())


# -- names ---------------------------------------------------------------------------------------------


def test_every_public_name_is_in_the_documentation():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "CONTRIBUTING.md")
    missing = [name for name in sm.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)]
    assert not missing, f"in sde_momentum.__all__, but on no page: {', '.join(missing)}"


def test_the_table_of_methods_is_what_the_methods_state():
    assert methods_table() in (ROOT / "docs" / "ensembles.md").read_text(encoding="utf-8")


# -- links ---------------------------------------------------------------------------------------------

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")


@cache
def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings, and explicit ids."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found, seen = set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text)), Counter[str]()
    for heading in re.findall(r"^#+ +(.*?)#* *$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", **by_name(PAGES))
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for link in (a or b for a, b in LINK.findall(INLINE.sub("", text))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            wrong.append(link)
    assert not wrong, f"{page.name}: {', '.join(wrong)}"


def test_the_text_for_a_package_index_has_no_link_that_leads_nowhere_there():
    """There neither this source's files nor its pictures exist: their names stand in place of links to them."""
    text = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["for_an_index"](README.read_text(encoding="utf-8"))
    links = [a or b for a, b in LINK.findall(text)]
    assert links
    assert all(link.startswith("https://") for link in links)
    for page in ("docs/pytorch.md", "docs/figures/home.png"):
        assert f"(`{page}" in text


def test_headings_have_the_anchors_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('# The `a_b` rule: 1 - beta\n\n## Same\n```sh\n# no heading\n```\n## Same\n<a id="here"></a>\n')
    assert anchors(page) == {"the-a_b-rule-1---beta", "same", "same-1", "here"}
