"""Files, folders and lists of pictures -> the paths of the pictures, one after the other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from limecli.errors import InputError
from limecli.inputs.byte_stream import byte_lines, open_bytes
from limecli.inputs.files import reading

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
_MAX_PATH = 1 << 16  # bytes of a path in a list


@dataclass(frozen=True)
class PictureFile:
    r"""Where a picture lies. `id` is its path in the one folder given, else the path itself.

    An `id` is text: bytes of a name that are no UTF-8 stand as \xe9 in it. `index` counts from 0.
    """

    index: int
    id: str
    path: str


def open_pictures(paths: Sequence[str]) -> PictureStream:
    """The pictures among files, folders and lists of paths: "@list.txt", or "-" for stdin.

    Raises InputError for a path that is missing and a folder without pictures. What a list names
    is only looked at when it is opened: one missing picture does not end the run.
    """
    stream = PictureStream(paths)
    for path in paths:
        if _is_list(path):
            continue
        with reading(path):
            Path(path).stat()
        if Path(path).is_dir() and next(_walk(path), None) is None:
            raise InputError(
                f"{path} holds no pictures", f"their names end in {', '.join(sorted(SUFFIXES))}"
            )
    return stream


class PictureStream:
    """Paths in the order given, a folder's by the bytes of their names, folders within it too."""

    format = "images"

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        more = len(paths) - 1
        first = "standard input" if paths[:1] == ["-"] else paths[0]
        self.name = first + (f" and {more} more" if more else "")

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture's path; the pictures themselves are not opened."""
        for index, (name, path) in enumerate(self._named()):
            yield PictureFile(index, os.fsencode(name).decode(errors="backslashreplace"), path)

    def _named(self) -> Iterator[tuple[str, str]]:
        alone = len(self._paths) == 1
        for path in self._paths:
            if _is_list(path):
                yield from ((line, line) for line in _listed(path))
            elif Path(path).is_dir():
                for name in _walk(path):
                    full = str(Path(path, name))
                    yield (name if alone else full), full
            else:
                yield path, path

    @cached_property
    def sha256(self) -> str | None:
        """Hash of all ids and paths, not of the pictures; None when stdin has the list."""
        if "-" in self._paths:
            return None
        digest = hashlib.sha256()
        for name, path in self._named():
            digest.update(os.fsencode(f"{name}\0{path}\0"))
        return digest.hexdigest()


def _is_list(path: str) -> bool:
    return path == "-" or path.startswith("@")


def _listed(path: str) -> Iterator[str]:
    source = open_bytes(path if path == "-" else path[1:])
    try:
        for number, line in enumerate(byte_lines(source, _MAX_PATH), 1):
            if isinstance(line, int) or b"\0" in line:
                raise InputError(
                    f"{source.name}, line {number} is no path", "a list has one path a line"
                )
            if line.strip():
                yield os.fsdecode(line.removesuffix(b"\r"))
    finally:
        source.close()


def _walk(folder: str) -> Iterator[str]:
    """Paths of the pictures relative to `folder`, sorted by their bytes; hidden ones left out.

    Linked folders are followed but for those that lead back to where they lie.
    """
    yield from _walk_in(folder, "", frozenset())


def _walk_in(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    with reading(folder):
        status = Path(folder).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as entries:
            found = [
                (os.fsencode(entry.name) + (b"/" if _is_folder(entry) else b""), entry.name)
                for entry in entries
                if not entry.name.startswith(".")
            ]
    for key, name in sorted(found):
        if key.endswith(b"/"):
            yield from _walk_in(str(Path(folder, name)), f"{prefix}{name}/", above | {here})
        elif Path(name).suffix.lower() in SUFFIXES:
            yield prefix + name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
