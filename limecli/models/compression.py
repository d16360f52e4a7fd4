"""A pickle's bytes, unpacked as they are read, and never into more than a bounded number."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

from limecli.errors import ModelError
from limecli.models.interface import ModelFile

MAX_BYTES = 8 << 30  # what a file may decompress to, at most
MAX_RATIO = 200  # and how many times its own size, above the first 256 MiB


class _Bounded(io.RawIOBase):
    """A decompressor's output, cut off with an error past MAX_BYTES."""

    def __init__(self, stream: IO[bytes], path: str, limit: int) -> None:
        self._stream, self._path, self._limit, self._left = stream, path, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise ModelError(f"{self._path} decompresses to more than {self._limit >> 20} MiB")
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Zlib(io.RawIOBase):
    """A zlib stream, ended where it ends: joblib's reader never finds that when bytes follow."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._unpacker = stream, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._stream.read(1 << 16)
            found = self._unpacker.decompress(packed, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)
            if not packed:
                raise EOFError("the compressed data end too early")
        return 0


COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x5d\x00\x00": lzma.LZMAFile,
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), _Zlib),
}
"""How a compressed file begins, and what opens it."""


def unpacked_limit(file: ModelFile) -> int:
    """How many bytes a file may unpack to."""
    return min(MAX_BYTES, (256 << 20) + MAX_RATIO * file.size)


def decompressed(raw: IO[bytes], file: ModelFile) -> IO[bytes]:
    """The stream itself, or what it unpacks to. Reading past the bound raises ModelError."""
    for magic, opener in COMPRESSIONS.items():
        if file.head.startswith(magic):
            return io.BufferedReader(_Bounded(opener(raw), file.name, unpacked_limit(file)))
    return raw
