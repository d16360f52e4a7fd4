"""Reads an input file or stdin whole, in one sentence when that cannot be done."""

from __future__ import annotations

import hashlib
import sys
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
        """Decode as UTF-8, a byte order mark allowed. Raises InputError at the first other byte."""
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            byte = self.data[error.start]
            utf16 = self.data.startswith((b"\xff\xfe", b"\xfe\xff"))
            raise InputError(
                f"{self.name} is not UTF-8 text (byte 0x{byte:02x} at position {error.start})",
                f"convert it: iconv -f {'utf-16' if utf16 else 'latin1'} -t utf-8",
            ) from None
        if not text.strip():
            raise InputError(f"{self.name} is empty")
        return text


@lru_cache(maxsize=1)
def _read_once(stream: BinaryIO) -> bytes:
    """A pipe gives its bytes once; other bins or backgrounds may want them again."""
    return stream.read()


def read_input(path: str) -> InputFile:
    """Read a file, or standard input for "-". Raises InputError when it is missing or empty."""
    if path == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed")
        name, data = "standard input", _read_once(sys.stdin.buffer)
    else:
        name = path
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except IsADirectoryError:
            raise InputError(f"{path} is a directory, not a file") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if not data.strip():
        raise InputError(f"{name} is empty")
    return InputFile(name, data)
