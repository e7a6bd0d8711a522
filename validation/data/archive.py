"""Tars, plain or compressed, read in one pass in memory: nothing is written to disk, whatever their members are called."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from .checks import BrokenFileError

_TOTAL = 2**30  # bytes unpacked: a small file may unpack to any size
_SHORT, _LONG, _SQUARES = 2**8, 2**12, 2 * 10**8  # bytes of a header that holds a name; sum of the squares of those not short
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_FORMATS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def members(
    path: Path, wanted: Callable[[str], bool], limit: int, advance: Callable[[float], None] = lambda amount: None
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file in the tar whose name is `wanted`.

    A file of more than `limit` bytes is refused, wanted or not. `advance` is called with the bytes of the tar that were read.
    Links and devices are passed over. Raises BrokenFileError, if need be after all members, as a damage shows only then.
    """
    try:
        with path.open("rb") as raw:
            read = 0
            unpacked = _Metered(_decompressed(raw), path)
            with tarfile.open(fileobj=cast(IO[bytes], unpacked), mode="r|", tarinfo=_Member) as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # or else a small file has room for millions
                    if member.size > limit:
                        raise BrokenFileError(path, f"{member.name} of {member.size:,} bytes, more than it can have")
                    if member.isreg() and wanted(member.name):
                        file = tar.extractfile(member)
                        yield member.name, b"" if file is None else file.read()
                    advance(raw.tell() - read)
                    read = raw.tell()
            while unpacked.read(1 << 16):  # to the checksum at the end
                pass
    except BrokenFileError:
        raise
    except (OSError, EOFError, ValueError, OverflowError, RecursionError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise BrokenFileError(path, f"damaged, {error}") from None


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    begin = raw.read(6)
    raw.seek(0)
    for magic, opener in _FORMATS.items():
        if begin.startswith(magic):
            unpacking: IO[bytes] = opener(raw)
            return unpacking
    return raw


class _Member(tarfile.TarInfo):
    """A member without headers that take Python's reader a time quadratic in their size (CVE-2024-6232), or much memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *_PAX):
            square = self.size**2 if self.size > _SHORT else 0
            tar.squares = getattr(tar, "squares", 0) + square  # type: ignore[attr-defined]
            if self.size > _LONG or tar.squares > _SQUARES:  # type: ignore[attr-defined]
                raise tarfile.ReadError("headers larger than names need")
        elif self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise tarfile.ReadError("a sparse file")


class _Metered:
    """Stops when more comes out than any set of images has."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._left = file, path, _TOTAL

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BrokenFileError(self._path, f"unpacks to more than {_TOTAL:,} bytes")
        return data
