"""Where an audit is written while it runs: NAME.partial, locked, appended to, renamed at the end.

A run that is killed leaves whole lines and at most one torn one behind; the next one goes on there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from limecli.errors import ReportError
from limecli.report.jsonl import AuditFile, AuditLine, Chain

SUFFIX = ".partial"
_SYNCED_EVERY_S = 1.0


class Sink(Protocol):
    """Takes the lines of an audit in their order."""

    chain: Chain
    path: str

    def write(self, lines: Sequence[bytes]) -> list[bytes]:
        """Bind decisions to the ones before them and keep them; returns them as they were kept."""
        ...

    def finish(self) -> None:
        """Write the end line, and give the file its name."""
        ...

    def close(self) -> None:
        """Let go of it, finished or not."""
        ...


class Stream:
    """A pipe, a device, or standard output: nothing to go on with later."""

    path = "the output"

    def __init__(self, file: BinaryIO, envelope: bytes) -> None:
        self._file, self.chain = file, Chain(envelope)
        self._put(envelope)

    def write(self, lines: Sequence[bytes]) -> list[bytes]:
        """See `Sink`."""
        linked = [self.chain.linked(line) for line in lines]
        self._put(b"\n".join(linked))
        return linked

    def finish(self) -> None:
        """See `Sink`."""
        self._put(self.chain.end())

    def close(self) -> None:
        """See `Sink`."""

    def _put(self, data: bytes) -> None:
        left = memoryview(data + b"\n")
        while left:
            left = left[self._file.write(left) :]
        self._file.flush()


class Journal:
    """A file that a stopped run goes on with.

    Opening it takes a lock that ends with the process. `recorded()` gives what an earlier run left,
    once, and must come to its end before anything is written; `written` counts the decisions since.
    Raises ReportError when another run
    has it, or when it cannot be read or written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = _locked(path)
        self._synced = time.monotonic()
        self._left: AuditFile | None = None
        self.chain, self.written = Chain(b""), 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written."""
        return os.fstat(self._file.fileno()).st_size == 0

    def take(self, path: str) -> None:
        """Begin with what another file holds: an audit whose tail was cut off."""
        with Path(path).open("rb") as file:
            while part := file.read(1 << 20):
                self._put(part)

    def envelope(self) -> AuditFile | None:
        """What an earlier run left; None for a file without one whole line."""
        self._file.seek(0)
        if b"\n" not in self._file.read(1 << 16) and not _has_line(self.path):
            return None
        self._left = AuditFile(self.path)
        return self._left

    def begin(self, envelope: bytes) -> None:
        """Write the first line of a new audit."""
        if self._left is not None:
            self._left.close()
            self._left = None
        self._file.seek(0)
        self._file.truncate()
        self.chain = Chain(envelope)
        self._put(envelope + b"\n")

    def recorded(self) -> Iterator[AuditLine]:
        """The decisions that an earlier run wrote. A torn last line is cut off after them."""
        left = self._left
        if left is None:
            return
        yield from left.records()
        left.close()
        self.chain = left.chain
        if left.torn:
            self._file.seek(-len(left.torn), os.SEEK_END)
            self._file.truncate()
        self._file.seek(0, os.SEEK_END)

    @property
    def finished(self) -> bool:
        """Whether what an earlier run left has its end line."""
        return self._left is not None and self._left.end is not None

    def write(self, lines: Sequence[bytes]) -> list[bytes]:
        """See `Sink`."""
        linked = [self.chain.linked(line) for line in lines]
        self._put(b"".join(line + b"\n" for line in linked))
        self.written += len(linked)
        if time.monotonic() - self._synced > _SYNCED_EVERY_S:
            self._sync()
        return linked

    def finish(self) -> None:
        """Write the end line. `named` then gives the file its name."""
        if not self.finished:
            self._put(self.chain.end() + b"\n")
        self._sync()

    def named(self, path: str) -> None:
        """Put the finished file in its place."""
        if path == self.path:
            return
        try:
            os.replace(self.path, path)
        except OSError as error:
            raise _unwritten(path, error) from None
        _sync_folder(path)

    def close(self) -> None:
        """Let go of the file, which stays where it is if anything is in it."""
        with contextlib.suppress(OSError):
            if self.is_empty:
                Path(self.path).unlink()
            self._file.close()

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _unwritten(self.path, error) from None

    def _sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritten(self.path, error) from None
        self._synced = time.monotonic()


def _unwritten(path: str, error: OSError) -> ReportError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "what was written stays: make room, then go on with --resume" if full else ""
    return ReportError(f"{path} cannot be written: {error.strerror or error}", hint)


def _has_line(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.readline(1 << 28).endswith(b"\n")


def _locked(path: str) -> BinaryIO:
    """The file, opened for reading and writing, unbuffered, ours alone."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise _unwritten(path, error) from None
        file = os.fdopen(handle, "r+b", buffering=0)
        if not _lock(handle):
            file.close()
            raise ReportError(
                f"{path} is being written by another audit",
                "wait for it, or choose another name: -o FILE",
            )
        # The other one may have finished, and renamed it, just before.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), Path(path).stat()):
                return file
        file.close()


def _lock(handle: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _sync_folder(path: str) -> None:
    with contextlib.suppress(OSError):  # not every system can
        handle = os.open(Path(path).resolve().parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_stream(path: str) -> bool:
    """Whether a path is a pipe or a device, which nothing can be appended to later."""
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False
