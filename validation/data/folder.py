"""Where a set lies: the folder of `--data`, or of SDE_MOMENTUM_DATA, and two levels of folders in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sde_momentum.core.errors import InputError

from .checks import Contents

VARIABLE = "SDE_MOMENTUM_DATA"
_DEPTH = 2


@dataclass(frozen=True)
class Form:
    """One form in which a set is handed out: files that lie side by side.

    Attributes:
        looks_like: the files in words, for a message
        files: for each file, the names that it may have
        read: from the files, in this order, to their contents; raises BrokenFileError
    """

    looks_like: str
    files: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[Path]], Contents]


class Found(NamedTuple):
    """A form whose files are all there."""

    form: Form
    paths: tuple[Path, ...]


def data_folder(folder: Path | None) -> tuple[str, Path] | None:
    """The user's folder and the name of the option that gave it; None if there is none. Raises InputError."""
    given = folder if folder is not None else os.environ.get(VARIABLE)
    if given is None or given == "":
        return None
    argument, path = ("--data" if folder is not None else VARIABLE), Path(given).expanduser()
    if not path.is_dir():
        raise InputError(argument, path, "a folder")
    return argument, path.resolve()


def find(argument: str, folder: Path, forms: Sequence[Form], hint: str, wanted: str) -> Found:
    """The first of `forms` that is there as a whole; of several places, one with `hint` in its name, then the nearest.

    Other sets have files of the same names: hence the hint. `wanted` says in the message what would do. Raises InputError.
    """
    complete: list[tuple[tuple[int, bool, int], Found]] = []
    partial: list[str] = []
    for depth, place in _folders(folder):
        hinted = hint in str(place.relative_to(folder.parent)).lower()
        for order, form in enumerate(forms):
            paths = [next((place / name for name in names if (place / name).is_file()), None) for names in form.files]
            if None not in paths:
                complete.append(((order, not hinted, depth), Found(form, tuple(path for path in paths if path))))
            elif any(paths):
                partial.append(f"no {form.files[paths.index(None)][0]} in {place}")
    if not complete:
        raise InputError(argument, "; ".join(partial) or f"nothing of it in {folder}", wanted)
    best = min(key for key, _ in complete)
    found = [place for key, place in complete if key == best]
    if len(found) > 1:
        places = ", ".join(str(place.paths[0].parent.relative_to(folder)) for place in found)
        raise InputError(argument, f"more than one in {folder}: {places}", "the folder of one of them")
    return found[0]


def _folders(folder: Path, depth: int = 0) -> Iterator[tuple[int, Path]]:
    yield depth, folder
    if depth == _DEPTH:
        return
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:  # not ours to read
        return
    for path in inner:
        yield from _folders(path, depth + 1)
