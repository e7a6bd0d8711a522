"""What several commands ask for: a built-in problem, a picture."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError

PROBLEMS = ("matrix-sensing", "valley")
N_MODES = 32
"""Of the valley."""


def check_file(option: str, file: Path) -> None:
    """A file that can be written: its folder exists, and it is none itself."""
    if file.is_dir() or not file.parent.is_dir():
        raise InputError(option, file, "a file in a folder that exists")


def check_picture(option: str, file: Path) -> None:
    """A file that can be written, of a kind that can be drawn; before any work: matplotlib may be missing."""
    from ..figures.style import FORMATS

    if file.suffix[1:] not in FORMATS:
        raise InputError(option, file, f"a file that ends in {', '.join(f'.{kind}' for kind in FORMATS)}")
    check_file(option, file)
