"""What a model format has to offer, and what the command line may ask of it."""

from __future__ import annotations

import hashlib
import io
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from limecli.errors import ModelError
from limecli.models.info import ModelInfo
from limecli.types import Kind, Predictor, Task

Output = Literal["probability", "margin", "decision"]
Activation = Literal["none", "softmax", "sigmoid"]

HEAD = 1 << 16


@dataclass(frozen=True)
class LoadOptions:
    """What the user said about the model. None means: find out.

    `trust` holds exact "module.Name" strings that a pickle may use, `trust_pickle` lets it use
    anything. `timeout_s` and `batch_size` are for endpoints.
    """

    kind: Kind
    task: Task | None = None
    output: Output = "probability"
    activation: Activation = "none"
    independent: bool = False  # several labels may be true at once: no sum to check
    class_names: tuple[str, ...] | None = None
    target: str | None = None
    preprocess: str | None = None
    trust: frozenset[str] = frozenset()
    trust_pickle: bool = False
    timeout_s: float = 30.0
    batch_size: int | None = None


class ModelFile:
    """What MODEL names: a file, a folder, or neither (a URL, a `module:function`).

    A file is opened once and read once: what was hashed is what is loaded. Small formats take
    `data`; a format that can read a stream takes `stream()`, which hashes as it goes, so that no
    second copy is ever in memory.
    """

    def __init__(self, path: str, data: bytes | None = None) -> None:
        self.path = Path(path)
        self.name = path
        self._sha256: str | None = None
        self.is_folder = data is None and self._is(Path.is_dir)
        self.is_file = not self.is_folder and (data is not None or self._is(Path.exists))
        self._handle = self._opened(data) if self.is_file else io.BytesIO()
        weakref.finalize(self, self._handle.close)
        self.head = self._read(HEAD)  # the first 64 KiB; empty for what is no file

    def _is(self, ask: Callable[[Path], bool]) -> bool:
        try:
            return ask(self.path)
        except OSError as error:  # a name that is too long, say
            raise ModelError(f"{self.name} cannot be read: {error.strerror or error}") from None

    def _opened(self, data: bytes | None) -> IO[bytes]:
        if data is not None:
            return io.BytesIO(data)
        try:
            handle = self.path.open("rb")
            # Of a pipe nothing can be read twice.
            return handle if handle.seekable() else io.BytesIO(handle.read())
        except OSError as error:
            raise ModelError(f"{self.name} cannot be read: {error.strerror or error}") from None

    def _read(self, count: int = -1) -> bytes:
        try:
            self._handle.seek(0)
            return self._handle.read(count)
        except OSError as error:
            raise ModelError(f"{self.name} cannot be read: {error.strerror or error}") from None

    @cached_property
    def data(self) -> bytes:
        """All bytes. What they hash to is `sha256`."""
        data = self._read()
        self._sha256 = hashlib.sha256(data).hexdigest()
        return data

    @cached_property
    def zip_names(self) -> frozenset[str]:
        """The names inside a zip file, without its outermost folder too; empty for any other."""
        if not self.head.startswith(b"PK"):
            return frozenset()
        try:
            names = zipfile.ZipFile(self._handle).namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return frozenset()
        return frozenset(names) | {name.partition("/")[2] for name in names}

    @cached_property
    def size(self) -> int:
        """Bytes of the file; of all files for a folder; 0 for what is neither."""
        if self.is_folder:
            return sum(path.stat().st_size for path in _files_below(self.path))
        position = self._handle.tell()  # someone may be reading the stream
        size = self._handle.seek(0, io.SEEK_END)
        self._handle.seek(position)
        return size

    @property
    def sha256(self) -> str | None:
        """Hash of the bytes that were read, or of a folder's listing; None for what is neither."""
        if self._sha256 is None and self.is_folder:
            self._sha256 = _folder_hash(self.path)
        if self._sha256 is None and self.is_file:
            with self.stream():
                pass
        return self._sha256

    @contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """The bytes from the start. Leaving the context reads the rest, so that all are hashed."""
        if "data" in self.__dict__:
            yield io.BytesIO(self.data)
            return
        self._handle.seek(0)
        hashing = _HashingReader(self._handle)
        buffered = io.BufferedReader(hashing, 1 << 20)
        yield buffered
        while buffered.read(1 << 20):
            pass
        self._sha256 = hashing.digest.hexdigest()


class _HashingReader(io.RawIOBase):
    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self.digest = handle, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._handle.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(memoryview(buffer)[:count])
        return count


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _folder_hash(folder: Path) -> str:
    """sha256 over one line a file, in the form that `sha256sum` prints, sorted by path."""
    listing = hashlib.sha256()
    for path in _files_below(folder):
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        listing.update(f"{digest}  {path.relative_to(folder).as_posix()}\n".encode())
    return listing.hexdigest()


def missing_packages(requires: tuple[str, ...]) -> list[str]:
    """Those of the packages that are not installed, found without importing them."""
    return [package for package in requires if find_spec(package) is None]


class ModelLoader(Protocol):
    """One model format. Importing the module that holds it must be cheap.

    `requires` names the packages that it imports; the extra that installs them is called like the
    format's entry point. `load` and `inspect` are called only when they are installed.
    """

    requires: tuple[str, ...]

    def matches(self, file: ModelFile) -> bool:
        """Whether the content (never the suffix) is of this format."""
        ...

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Open the model. Raises ModelError, or PredictError when it cannot give what was asked."""
        ...

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """Tell what is in the file and run nothing of it. Raises ModelError for a damaged one."""
        ...
