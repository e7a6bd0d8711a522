"""A folder of results: files that are whole or absent, and that belong to one configuration."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.errors import InputError

PLAN = "plan.json"


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through `write(file)`, so that a file of this name is always complete, whenever the process dies."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_json(path: Path, value: object) -> None:
    """JSON, whole or not at all."""
    write_whole(path, lambda file: file.write((json.dumps(value, indent=1) + "\n").encode()))


def read_json(path: Path) -> Any:
    """JSON, or an InputError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError("--out", path, "a readable file; delete it to start over") from None


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Named arrays, whole or not at all; each has its checksum in the file."""
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """The arrays of `write_arrays`, of just these shapes; an InputError names a file that is not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        arrays = {}
    if any(arrays.get(name, np.empty(0)).shape != shape for name, shape in shapes.items()):
        raise InputError("--out", path, "an intact file of this sweep; delete it to compute it again")
    return arrays


class Folder:
    """The folder of one configuration.

    `open` makes it or, with `resume`, takes it up again; it refuses a folder that holds something else. Nothing is
    written before `keep_plan`.
    """

    def __init__(self, path: Path, plan: dict[str, Any] | None) -> None:
        self.path = path
        self.plan = plan
        """What `keep_plan` stored in an earlier run, None in a new folder."""

    @classmethod
    def open(cls, path: Path, configuration: Mapping[str, object], *, resume: bool) -> Folder:
        """Raises InputError for a folder of another configuration, or with results and no `resume`."""
        if path.exists() and not path.is_dir():
            raise InputError("--out", path, "a folder")
        if not path.exists() or not any(path.iterdir()):
            return cls(path, None)
        if not (path / PLAN).exists():
            raise InputError("--out", f"{path}, which holds other files", "a new or empty folder")
        plan = read_json(path / PLAN)
        stored = plan.get("configuration") if isinstance(plan, dict) else None
        if not isinstance(stored, dict):
            raise InputError("--out", path / PLAN, "a readable file; delete it to start over")
        asked = json.loads(json.dumps(configuration))
        for name in sorted({*stored, *asked}):
            if stored.get(name) != asked.get(name):
                other = f"{path}, a folder with {name} = {stored.get(name)}"
                raise InputError("--out", other, f"a folder with {name} = {asked.get(name)}, or a new one")
        if not resume:
            raise InputError("--out", f"{path}, which holds results", "a new or empty folder, or --resume")
        return cls(path, plan)

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Store what every later file depends on."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / PLAN, plan)
        self.plan = plan
