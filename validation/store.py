"""Files of a results folder: each is complete or absent, says what it is, and has a checksum; all are of one configuration."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_momentum.core.errors import InputError
from sde_momentum.core.files import read_arrays, sealed, unsealed, write_arrays, write_whole

if TYPE_CHECKING:
    import xarray as xr

CONFIGURATION, RESULTS, QUESTIONS_FOLDER = "configuration.json", "results.nc", "questions"
_LOCK = ".running"
_OURS = (CONFIGURATION, _LOCK)
_LARGE = 1000
_AGAIN = "delete it to compute it again"


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this project and of the packages named."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("sde-momentum", *packages)}}


def write(path: Path, value: Any, identity: str = "{}") -> None:
    """Write a result, whole or not at all, in the form of its ending: .npz named arrays, .json plain data, .nc a Dataset.

    `identity`: what it is, a JSON object as text. It is in the file, with a checksum of all: in .json among the keys, in .nc
    after the end of the data, where readers of NetCDF do not look.
    """
    if path.suffix == ".npz":
        write_arrays(path, identity, value)
    elif path.suffix == ".json":
        body = value if isinstance(value, dict) else {"value": value}
        text = json.dumps({**body, "identity": json.loads(identity), "sha256": _json_hash(body, identity)}, indent=1)
        write_whole(path, lambda file: file.write(f"{text}\n".encode()))
    else:
        large = [name for name, values in value.data_vars.items() if values.size > _LARGE]
        packed = {name: {"zlib": True, "complevel": 4, "shuffle": True} for name in large}
        content = bytes(value.to_netcdf(engine="h5netcdf", encoding=packed))
        write_whole(path, lambda file: file.write(sealed(content, identity)))


def read(path: Path, identity: str | None = None, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Any:
    """What `write` wrote; of an .npz file the arrays of `shapes`, or all. None: of any identity.

    An InputError names a file that is not whole, is another one in its place, or has other shapes.
    """
    found, value = _whole(path)
    if value is None:
        raise InputError("--out", path, f"an intact file of this sweep; {_AGAIN}")
    if identity is not None and json.loads(found) != json.loads(identity):
        raise InputError("--out", path, f"the file of the runs that its name says; {_AGAIN}")
    if path.suffix != ".npz":
        return value
    if any(name not in value or value[name].shape != shape for name, shape in (shapes or {}).items()):
        raise InputError("--out", path, f"an intact file of this sweep; {_AGAIN}")
    return {name: value[name] for name in shapes or value}


def read_dataset(path: Path) -> xr.Dataset:
    """A Dataset of `write`, or of an earlier version, without a checksum. Raises an InputError that names the file."""
    found: xr.Dataset = read(path)
    return found


def read_sweep(folder: Path) -> xr.Dataset:
    """The results of a sweep in a folder. Raises an InputError that names the file."""
    from sde_momentum.predictors.measured_optimum import read_results

    read_results(folder / RESULTS)  # what has to be in it
    return read_dataset(folder / RESULTS)


def _whole(path: Path) -> tuple[str, Any]:
    """Identity and value of a file of `write`; the value is None where there is no whole one."""
    try:
        if path.suffix == ".npz":
            return read_arrays(path) or ("{}", None)
        if path.suffix == ".json":
            body = json.loads(path.read_bytes())
            identity = json.dumps(body.pop("identity"))
            good = body.pop("sha256") == _json_hash(body, identity)
            return identity, (body["value"] if set(body) == {"value"} else body) if good else None
        import xarray as xr

        whole = path.read_bytes()
        if (found := unsealed(whole)) is None and b"\nsha256 " not in whole:
            found = "{}", whole  # of an earlier version
        return ("{}", None) if found is None else (found[0], xr.load_dataset(io.BytesIO(found[1]), engine="h5netcdf"))
    except Exception:  # a damaged file may raise anything
        return "{}", None


def _json_hash(body: object, identity: str) -> str:
    """Of the data, not of the text: keys in any order."""
    return hashlib.sha256("".join(json.dumps(part, sort_keys=True) for part in (body, json.loads(identity))).encode()).hexdigest()


def configuration_of(folder: Path) -> dict[str, Any] | None:
    """The configuration of a folder: its file, or where that is damaged or gone, what a whole file of results says."""
    if isinstance(own := _whole(folder / CONFIGURATION)[1], dict):
        return own
    for path in (file for files in ("*", "*/*") for file in folder.glob(files) if file.suffix in (".npz", ".json", ".nc")):
        found, value = _whole(path)
        stored = json.loads(found).get("configuration")
        if value is not None and isinstance(stored, dict):
            return stored
    return None


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
        stored = configuration_of(path)
        if stored is None:
            if not path.exists() or all(file.name in _OURS or file.suffix == ".part" for file in path.iterdir()):
                return new  # or one whose first file was not finished
            raise InputError("--out", f"{path}, which holds other files", "a new or empty folder")
        asked = json.loads(json.dumps(configuration))
        for name in sorted({*stored, *asked}):
            if stored.get(name) != asked.get(name):
                other = f"{path}, a folder with {name} = {stored.get(name)}"
                raise InputError("--out", other, f"a folder with {name} = {asked.get(name)}, or a new one")
        if not resume:
            raise InputError("--out", f"{path}, which holds results", "a new or empty folder, or --resume")
        return new

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Context in which no other process writes into the folder, which is begun. Raises InputError if one does.

        A process that dies lets go. Where there is no flock (Windows, some network file systems) nothing is locked.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = self.path / _LOCK
        file = _flock(lock, self.path)
        try:
            Folder.open(self.path, self.configuration, resume=True)  # another process may have begun it since
            self.begin()
            yield
        finally:
            lock.unlink(missing_ok=True)
            file.close()

    def begin(self) -> None:
        """Make the folder, write its configuration, and delete incomplete files of a killed process."""
        self.path.mkdir(parents=True, exist_ok=True)
        for part in self.path.rglob("*.part"):
            part.unlink()
        if _whole(self.path / CONFIGURATION)[1] is None:  # a new folder, or one whose whole results have told the configuration
            write(self.path / CONFIGURATION, self.configuration)


def _flock(lock: Path, folder: Path) -> io.TextIOWrapper:
    """The file, opened and locked, with the holder's name in it."""
    while True:
        file = lock.open("a+", encoding="utf-8")
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            given = f"a folder in use by {holder} ({folder})"
            raise InputError("--out", given, "another folder, or wait until it has ended") from None
        except (ImportError, OSError):
            pass
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                break
        file.close()  # its holder has just let go, and deleted it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    file.flush()
    return file
