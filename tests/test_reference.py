"""The reference: every public name is on one of its pages and has an example that runs, and so has every command."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from functools import cache
from typing import Any

import pytest
from test_documentation import DOCS, PAGES, blocks, parse

sys.path.insert(0, str(DOCS / "_ext"))
command_pages = pytest.importorskip("command_pages")
plain_formula = pytest.importorskip("plain_formula")
public_names = pytest.importorskip("public_names")

EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)


@cache
def names() -> dict[str, Any]:
    return public_names.public_names()


def test_every_public_name_is_on_one_page_of_the_reference():
    assert not public_names.missing()
    listed = public_names.page_names()
    assert len(listed) == len(set(listed))
    assert not set(listed) - set(names()), "on a page, but not public"


@cache
def code_of_pages() -> str:
    """All code of the pages and of the gallery that a build runs."""
    text = [block.code for page in PAGES for block in blocks(page) if block.language == "python"]
    text += [path.read_text(encoding="utf-8") for path in DOCS.glob("*/plot_*.py")]
    return "\n".join(text)


def has_example(name: str, value: Any) -> bool:
    """In its own docstring or a method's; else in code of a page."""
    docstrings = [value.__doc__ or ""] if callable(value) else []
    if inspect.isclass(value):
        docstrings += [inspect.getdoc(member) or "" for member in vars(value).values() if inspect.getmodule(member) != inspect]
    own = any(EXAMPLE.search(text) for text in docstrings)
    return own or re.search(rf"\b{name.rpartition('.')[2]}\b", code_of_pages()) is not None


def test_every_public_name_has_an_example_that_runs():
    without = [name for name, value in names().items() if not has_example(name, value)]
    assert not without, "no example: " + ", ".join(without)


@pytest.mark.parametrize(
    ("name", "command"), list(command_pages.commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_an_example_that_the_command_line_understands(name, command):
    words = command_pages.example(command)
    assert words is not None
    assert words.startswith(f"sde-momentum {name} ")
    parse(shlex.split(words)[1:])
