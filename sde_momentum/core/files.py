"""Writing of files whole or not at all, arrays under a checksum, and values as JSON has them."""

from __future__ import annotations

import glob
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import EINVAL, EISDIR
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

_SEAL = b"\nsha256 "


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file by `write(file)`, then rename it to `path`: a file of this name is always complete.

    It is on the disk when this returns. Any number of threads and processes may write it at once: the last one stays. An OSError
    names `path`, and leaves nothing behind. A link stays, and leads to the new file. What is there and no file, such as a device
    or a pipe, is never replaced.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(EISDIR if path.is_dir() else EINVAL, "not a file, and not replaced by one", str(path))
    part = file = None
    try:
        part, file = _begin(path)
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if os.name != "posix":  # where an open file cannot be renamed
            file.close()
        os.replace(part, path)
    except BaseException as error:
        if part is not None:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # a full disk names no file, a folder that is gone the part
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        if file is not None:
            with suppress(OSError):  # of a full disk, once more; what was written whole has been flushed
                file.close()
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems have no such thing
                os.fsync(folder)
        finally:
            os.close(folder)


def _begin(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `path`, locked as long as it is open: `remove_parts` leaves it alone."""
    while True:
        part = path.with_name(f"{path.name}.{uuid4().hex}.part")
        file = part.open("xb")
        if not _lock(file, wait=True) or part.exists():
            return part, file
        file.close()  # it was taken for a dead one before it was locked


def _lock(file: IO[bytes], wait: bool) -> bool:
    """Lock a file against other processes; False if another holds it, or where there is no such lock."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def remove_parts(path: Path) -> None:
    """Delete what killed processes have left of their writing to `path`; where there is no flock nothing is deleted."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        with suppress(OSError), part.open("rb") as file:
            if _lock(file, wait=False):
                part.unlink()


def write_arrays(path: Path, identity: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as .npz without pickles, with the text `identity` (what they are) and a checksum of all."""
    named = {**arrays, "identity": np.array(identity)}
    write_whole(path, lambda file: np.savez(file, allow_pickle=False, **named, checksum=np.array(_checksum(named))))


def read_arrays(path: Path) -> tuple[str, dict[str, NDArray[Any]]] | None:
    """Identity and arrays of `write_arrays`; None for anything else, such as a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays.pop("checksum")) != _checksum(arrays):
            return None
        return str(arrays.pop("identity")), arrays
    except Exception:  # a damaged file may raise anything
        return None


def sealed(content: bytes, identity: str = "{}") -> bytes:
    """The content of a netCDF file and, after its end, where readers do not look, a checksum and what it is, as JSON."""
    return content + _SEAL + f"{_digest(content, identity)} {identity}\n".encode()


def unsealed(whole: bytes) -> tuple[str, bytes] | None:
    """Identity and content of `sealed`; None for anything else, such as a damaged file."""
    content, _, seal = whole.rpartition(_SEAL)
    try:
        digest, _, identity = seal.decode().removesuffix("\n").partition(" ")
    except UnicodeDecodeError:
        return None
    return (identity, content) if digest == _digest(content, identity) else None


def _digest(content: bytes, identity: str) -> str:
    return hashlib.sha256(content + identity.encode()).hexdigest()


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def json_value(x: Any) -> Any:
    """As JSON has it: lists for arrays, and None for a number that is not finite.

    >>> json_value([1.5, float("nan")]), json_value("trace_hessian")
    ([1.5, None], 'trace_hessian')
    """
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, list):
        return [json_value(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
