"""Typesetting of the derivations: as plain text, LaTeX, or one HTML page; and the look of pages that stand alone."""

from __future__ import annotations

from importlib.resources import files


def stylesheet(name: str) -> str:
    """The text of a stylesheet of this folder: "base.css" is every page's."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
