"""The bytes of a file or of stdin, block by block, hashed as they pass."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from limecli.errors import InputError
from limecli.inputs.files import InputFile, reading, standard_input

_BLOCK = 1 << 20
_HEAD = 1 << 26  # bytes after which the first lines are no longer waited for
_HEAD_LINES = 3
BOM = b"\xef\xbb\xbf"  # byte order mark of UTF-8
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class ByteStream:
    """An open input. `name` is what to call it; `head` holds its first lines, read ahead.

    `head` has at least the first two lines that hold something, complete, and the beginning of the
    third: the whole input if that is less (`short`), and never more than 65 MiB.
    """

    def __init__(self, name: str, stream: BinaryIO, owned: bool) -> None:
        self.name = name
        self._stream = stream
        self._owned = owned
        self._hash = hashlib.sha256()
        self._ended = False
        self.head = self._first_lines()
        self.short = self._ended
        self._given = False
        if self.short and not self.head.strip():
            raise InputError(f"{name} is empty")
        if self.head.startswith(_UTF16):
            InputFile(name, self.head).decoded()  # raises, with a hint

    def _first_lines(self) -> bytes:
        head = b""
        while len(head) < _HEAD:
            block = self._next()
            head += block
            if not block or (
                (b"\n" in block or b"\r" in block) and _count_lines(head) >= _HEAD_LINES
            ):
                break
        return head

    def _next(self) -> bytes:
        with reading(self.name):
            block: bytes = self._stream.read1(_BLOCK)  # type: ignore[attr-defined]
        self._ended = not block
        self._hash.update(block)
        return block

    def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises InputError when the system cannot read on."""
        if not self._given:
            self._given = True
            return self.head
        return b"" if self._ended else self._next()

    def read_all(self) -> bytes:
        """Everything at once."""
        return b"".join(iter(self.read, b""))

    @property
    def sha256(self) -> str | None:
        """Hash of all bytes, None until the last was read."""
        return self._hash.hexdigest() if self._ended else None

    def close(self) -> None:
        """Close a file; stdin stays open."""
        if self._owned:
            self._stream.close()


def _count_lines(data: bytes) -> int:
    return sum(1 for line in data.splitlines() if line.strip())


def open_bytes(path: str) -> ByteStream:
    """Open a file, or stdin for "-". Raises InputError for what is missing, empty or UTF-16."""
    if path == "-":
        return ByteStream("standard input", standard_input(), owned=False)
    with reading(path):
        stream = Path(path).open("rb")  # noqa: SIM115 - the stream returned closes it
    try:
        return ByteStream(path, stream, owned=True)
    except BaseException:
        stream.close()
        raise


def is_regular(path: str) -> bool:
    """Whether `path` is a file that can be read twice: no stdin, pipe or device."""
    if path == "-":
        return False
    with reading(path):
        return stat.S_ISREG(Path(path).stat().st_mode)


def hash_file(path: str) -> str | None:
    """Hash of a file's bytes; None for stdin, pipes and devices, which can be read only once."""
    if not is_regular(path):
        return None
    with reading(path), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def byte_lines(source: ByteStream, limit: int) -> Iterator[bytes | int]:
    """Lines without their newline and byte order mark; of one above `limit` bytes, its size."""
    held: list[bytes] = []
    size = 0
    for number, block in enumerate(iter(source.read, b"")):
        parts = (block if number else block.removeprefix(BOM)).split(b"\n")
        for i, part in enumerate(parts):
            if i:
                yield b"".join(held) if size <= limit else size
                held, size = [], 0
            size += len(part)
            if size <= limit:
                held.append(part)
    if size:
        yield b"".join(held) if size <= limit else size
