"""Where a report goes: checked before anything is computed, written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from limecli import registry
from limecli.cli.console import Console
from limecli.cli.options import ReportOptions
from limecli.errors import ReportError, UsageError
from limecli.report.interface import ReportFormat
from limecli.types import Explanation, Instance, Report


@dataclass(frozen=True)
class Destinations:
    """The format on stdout, if any, and (path template, format) of every file."""

    stdout: str | None
    files: tuple[tuple[str, ReportFormat], ...]

    def write(self, report: Report, console: Console) -> None:
        """Write the files, then stdout. Raises ReportError when one cannot be written."""
        for template, fmt in self.files:
            for path, part in _split(template, fmt, report):
                write_atomically(path, fmt.render(part))
        if self.stdout == "terminal":
            from limecli.report.terminal import show

            show(report, console.stdout())
        elif self.stdout is not None:
            fmt = registry.load(registry.FORMATS, self.stdout)()
            sys.stdout.flush()
            for _, part in _split("", fmt, report):
                _write_all(sys.stdout.buffer, fmt.render(part))
        sys.stdout.flush()


def _write_all(stream: BinaryIO, data: bytes) -> None:
    """Write every byte: with PYTHONUNBUFFERED a stream may take a part only."""
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def destinations(
    options: ReportOptions, instances: Sequence[Instance], read: Sequence[str | None] = ()
) -> Destinations:
    """Read -f, --json and -o for these instances; `read` are the files that must stay as they are.

    Raises UsageError for a format or suffix that nobody registered, for one picture file for
    several instances, or for a file that was read; ReportError for a place that cannot be written.
    """
    formats = {
        name: registry.load(registry.FORMATS, name)()
        for name in registry.available(registry.FORMATS)
    }
    if options.json and options.format not in (None, "json"):
        raise UsageError(f"--json and --format {options.format} contradict each other")
    chosen = "json" if options.json else options.format
    if chosen is not None and chosen not in formats:
        raise UsageError(f"--format {chosen} is not known", f"one of {', '.join(formats)}")
    for path in options.files:
        check_writable(path)
    files = tuple((path, _by_suffix(path, formats)) for path in options.files)
    for path, fmt in files:
        for name in _names(path, fmt, instances):
            check_writable(name)
            check_not_read(name, read)
    if chosen is None and not files:
        chosen = "terminal"
    if chosen is not None and formats[chosen].one_each | formats[chosen].binary:
        if sys.stdout.isatty():
            raise UsageError(f"{chosen} is not for a terminal", f"write a file: -o NAME.{chosen}")
        if len(instances) > 1 and formats[chosen].one_each:
            raise UsageError(
                f"{len(instances)} explanations do not fit one {chosen} on stdout",
                f"write files: -o '{{id}}.{chosen}'",
            )
    return Destinations(chosen, files)


def _by_suffix(path: str, formats: dict[str, ReportFormat]) -> ReportFormat:
    suffix = Path(path).suffix.lower()
    for fmt in formats.values():
        if suffix in fmt.suffixes:
            return fmt
    known = sorted(suffix for fmt in formats.values() for suffix in fmt.suffixes)
    raise UsageError(
        f"-o {path}: no report format has the suffix {suffix or '(none)'}",
        f"known: {' '.join(known)}",
    )


def filled(template: str, instance: Instance) -> str:
    """The name of one instance's file."""
    # An id comes from a file: it must not climb out of the folder.
    safe = instance.id.replace("/", "_").replace("\\", "_").replace("\0", "_").lstrip(".") or "_"
    return template.replace("{stem}", safe).replace("{id}", safe)


def _names(path: str, fmt: ReportFormat, instances: Sequence[Instance]) -> list[str]:
    """The files behind a template. Raises UsageError when two explanations want the same one."""
    if not (fmt.one_each or "{stem}" in path or "{id}" in path):
        return [path]
    names = Counter(filled(path, instance) for instance in instances)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        hint = "put {id} or {stem} into the name" if "{" not in path else "give them other names"
        raise UsageError(f"-o {path}: several explanations would be written to {twice}", hint)
    return list(names)


def _split(template: str, fmt: ReportFormat, report: Report) -> list[tuple[str, Report]]:
    """(path, report) of every file: one, unless the format or the name asks for one each."""
    if not (fmt.one_each or "{stem}" in template or "{id}" in template):
        return [(template, report)]
    return [
        (filled(template, item.instance), replace(report, explanations=(item,)))
        for item in report.explanations
        if isinstance(item, Explanation)
    ]


def check_writable(path: str) -> None:
    """Raise ReportError when a file cannot be created at `path`."""
    target = Path(path)
    folder = target.parent
    try:
        target.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be written: {error}") from None
    if target.is_dir():
        raise ReportError(f"{path} is a directory, not a file to write")
    if not folder.is_dir():
        raise ReportError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise ReportError(f"{path} cannot be written: permission denied")


def check_not_read(path: str, read: Sequence[str | None]) -> None:
    """Raise UsageError when writing `path` would replace one of the files that were read."""
    for source in read:
        both = source and Path(path).exists() and Path(source).exists()
        if source and both and Path(path).samefile(source):
            raise UsageError(f"-o {path} would replace {source}, which was read")


def write_atomically(path: str, data: bytes) -> None:
    """Write to a temporary name beside `path`, then rename: readers see all or nothing."""
    with writing_atomically(path) as file:
        file.write(data)


@contextmanager
def writing_atomically(path: str) -> Iterator[BinaryIO]:
    """A file to write, of a temporary name beside `path`, which it gets when the block is done.

    Readers see all or nothing: after any exception there is nothing. Raises ReportError where it
    cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary: str | None = None
    try:
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as device:  # a device or pipe cannot be replaced
                yield device
            return
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~umask
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            os.unlink(temporary)
