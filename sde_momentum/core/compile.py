"""numba's `njit` with its machine code on disk under checksums: what is damaged is compiled again.

Machine code is kept beside the module that it is made from, or in NUMBA_CACHE_DIR, as numba does. Who can write there can have
any code run, so such a folder may be writable by its owner alone.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from .errors import InputError
from .files import write_whole

if off := getattr(numba.config, "DISABLE_JIT", 0):
    raise InputError("NUMBA_DISABLE_JIT", off, "0, or unset: the kernels run as machine code only")


def njit(*signatures: Any, cache: bool = False, **options: Any) -> Any:
    """As `numba.njit`, of one signature, a list of them, or none. Where no folder can be written there is no cache."""
    if signatures and isinstance(signatures[0], FunctionType):
        return njit(cache=cache, **options)(signatures[0])

    def compiled(function: Callable[..., Any]) -> Any:
        made = numba.njit(**options)(function)
        if cache:
            with suppress(RuntimeError):  # numba has found no folder
                made._cache = _Cache(function)
        for given in signatures:
            for signature in given if isinstance(given, list) else [given]:
                made.compile(signature)
            made.disable_compile()
        return made

    return compiled


def check_private(folder: Path, argument: str) -> None:
    """Raise InputError for a folder that others can write. A group of the user's own (of the same number) is the user."""
    about = folder.stat()
    others = 0o002 if about.st_gid == about.st_uid else 0o022
    if hasattr(os, "getuid") and (about.st_uid not in (os.getuid(), 0) or about.st_mode & others):
        given = f"{folder}, which others can write, and so have their code run"
        raise InputError(argument, given, f"a folder that you alone can write (chmod go-w {folder})")


class _Cache(FunctionCache):
    """numba's cache of one function; what cannot be read or written is compiled again."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        folder, source = Path(self.cache_path), Path(function.__code__.co_filename)
        if not folder.is_relative_to(source.parent):  # there, whoever writes can change the source as well
            check_private(folder, "NUMBA_CACHE_DIR")
        self._cache_file = _Checked(self.cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        with suppress(OSError):
            yield


class _Checked(IndexDataCacheFile):
    """numba's two kinds of files, each after a hash of numba's version and of its content."""

    def _hash(self, content: bytes) -> bytes:
        return hashlib.sha256(self._version.encode() + content).digest()

    def _read(self, path: str) -> Any:
        found = Path(path).read_bytes()
        if self._hash(found[32:]) != found[:32]:
            raise OSError(f"{path} is damaged")
        return pickle.loads(found[32:])

    def _write(self, path: str, value: Any) -> None:
        content = self._dump(value)
        write_whole(Path(path), lambda file: file.write(self._hash(content) + content))

    def _load_index(self) -> dict[Any, str]:
        try:
            stamp, overloads = self._read(self._index_path)
        except OSError:  # none, damaged, or another version's
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return self._read(self._data_path(name))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)
