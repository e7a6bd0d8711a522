"""Files of a results folder: each is complete or absent, and all belong to one configuration."""

from __future__ import annotations

import json
import platform
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.core.errors import InputError
from sde_momentum.core.files import write_whole

if TYPE_CHECKING:
    import xarray as xr

CONFIGURATION, RESULTS, QUESTIONS_FOLDER = "configuration.json", "results.nc", "questions"
_LARGE = 1000


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, lambda file: file.write((json.dumps(value, indent=1) + "\n").encode()))


def read_json(path: Path) -> Any:
    """Read JSON. Raises an InputError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError("--out", path, "a readable file; delete it to compute it again") from None


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write named arrays, whole or not at all; each has its checksum in the file."""
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of `write_arrays`, those of `shapes`, or all; an InputError names a file that is not whole or has others."""
    arrays = read_whole(path)
    if arrays is None or any(name not in arrays or arrays[name].shape != shape for name, shape in (shapes or {}).items()):
        raise InputError("--out", path, "an intact file of this sweep; delete it to compute it again")
    return {name: arrays[name] for name in shapes or arrays}


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this project and of the packages named."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("sde-momentum", *packages)}}


def write_dataset(data: xr.Dataset, path: Path) -> None:
    """Write NetCDF-4, whole or not at all, the large arrays compressed."""
    packed = {
        name: {"zlib": True, "complevel": 4, "shuffle": True} for name, values in data.data_vars.items() if values.size > _LARGE
    }
    content = data.to_netcdf(engine="h5netcdf", encoding=packed)
    write_whole(path, lambda file: file.write(content))


def read_dataset(path: Path) -> xr.Dataset:
    """What `write_dataset` wrote, or an InputError that names the file."""
    import xarray as xr

    try:
        return xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError):
        raise InputError("--out", path, "a readable file; delete it to compute it again") from None


def read_whole(path: Path) -> dict[str, NDArray[Any]] | None:
    """All arrays of `write_arrays`, or None where there is no whole file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


_WRITERS: Mapping[str, Callable[[Path, Any], None]] = {
    ".npz": lambda path, arrays: write_arrays(path, **arrays),
    ".json": write_json,
    ".nc": lambda path, data: write_dataset(data, path),
}


def write(path: Path, value: Any) -> None:
    """Write a result, whole or not at all, in the form of its ending: .npz named arrays, .json plain data, .nc a Dataset."""
    _WRITERS[path.suffix](path, value)


def read(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Any:
    """Read what `write` wrote; of an .npz file the arrays of `shapes`, or all. An InputError names a file that is not whole."""
    if path.suffix == ".json":
        return read_json(path)
    if path.suffix == ".nc":
        return read_dataset(path)
    return read_arrays(path, shapes)


class Folder:
    """The results folder of one configuration.

    `open` checks a new or existing folder and refuses one with other content; `begin` writes its first file.
    """

    def __init__(self, path: Path, configuration: dict[str, Any]) -> None:
        self.path, self.configuration = path, configuration

    @classmethod
    def open(cls, path: Path, configuration: dict[str, Any], *, resume: bool) -> Folder:
        """The folder, checked. Raises InputError for one of another configuration, or with results and no `resume`."""
        new = cls(path, configuration)
        if path.exists() and not path.is_dir():
            raise InputError("--out", path, "a folder")
        if not path.exists() or not any(path.iterdir()):
            return new
        if not (path / CONFIGURATION).exists():
            if all(file.name.startswith(CONFIGURATION) for file in path.iterdir()):  # killed before the first file was whole
                return new
            raise InputError("--out", f"{path}, which holds other files", "a new or empty folder")
        stored = read_json(path / CONFIGURATION)
        if not isinstance(stored, dict):
            raise InputError("--out", path / CONFIGURATION, "a readable file; delete the folder to start over")
        asked = json.loads(json.dumps(configuration))
        for name in sorted({*stored, *asked}):
            if stored.get(name) != asked.get(name):
                other = f"{path}, a folder with {name} = {stored.get(name)}"
                raise InputError("--out", other, f"a folder with {name} = {asked.get(name)}, or a new one")
        if not resume:
            raise InputError("--out", f"{path}, which holds results", "a new or empty folder, or --resume")
        return new

    def begin(self) -> None:
        """Make the folder, write its configuration, and delete incomplete files of a killed process."""
        self.path.mkdir(parents=True, exist_ok=True)
        for part in self.path.rglob("*.part"):
            part.unlink()
        if not (self.path / CONFIGURATION).exists():
            write_json(self.path / CONFIGURATION, self.configuration)
