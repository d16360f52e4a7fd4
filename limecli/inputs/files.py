"""Reads an input file or stdin whole, in one sentence when that cannot be done."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from limecli.errors import InputError


@dataclass(frozen=True)
class InputFile:
    """An input's bytes, the name to call it by, and its sha256."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Hash of the bytes as read."""
        return hashlib.sha256(self.data).hexdigest()

    def text(self) -> str:
        """The bytes decoded. Raises InputError when there is nothing but space in them."""
        text = self.decoded()
        if not text.strip():
            raise InputError(f"{self.name} is empty")
        return text

    def decoded(self) -> str:
        """Decode as UTF-8, a byte order mark allowed. Raises InputError at the first other byte."""
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            byte = self.data[error.start]
            utf16 = self.data.startswith((b"\xff\xfe", b"\xfe\xff"))
            raise InputError(
                f"{self.name} is not UTF-8 text (byte 0x{byte:02x} at position {error.start})",
                f"convert it: iconv -f {'utf-16' if utf16 else 'latin1'} -t utf-8",
            ) from None


@lru_cache(maxsize=1)
def _read_once(stream: BinaryIO) -> bytes:
    """A pipe gives its bytes once; other bins or backgrounds may want them again."""
    return stream.read()


def standard_input() -> BinaryIO:
    """The bytes of stdin. Raises InputError when it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return sys.stdin.buffer


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what the operating system says of `path` into InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory, not a file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def read_input(path: str) -> InputFile:
    """Read a file, or standard input for "-". Raises InputError when it is missing or empty."""
    if path == "-":
        name, data = "standard input", _read_once(standard_input())
    else:
        name = path
        with reading(path):
            data = Path(path).read_bytes()
    if not data.strip():
        raise InputError(f"{name} is empty")
    return InputFile(name, data)
