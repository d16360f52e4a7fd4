"""Two streams: results on stdout, everything else on stderr. And how failures are told."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from limecli.errors import ExitCode, LimecliError
from limecli.report.words import clean

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress, TaskID

_PROGRESS_AFTER_S = 1.0
_DISK = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT)


@dataclass
class Console:
    """What the user asked for in the way of talk, colour and progress."""

    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    error_format: str = "text"
    show_progress: bool = True
    _said: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Say something on stderr, once; -q keeps it back."""
        if not self.quiet and text not in self._said:
            self._said.add(text)
            self._say("note", text)

    def detail(self, text: str) -> None:
        """Say something on stderr under -v."""
        if self.verbose and text not in self._said:
            self._said.add(text)
            self._say("detail", text)

    def _say(self, kind: str, text: str) -> None:
        if self.error_format == "json":
            print(json.dumps({kind: text}), file=sys.stderr)
        else:
            print(f"limecli: {clean(text)}", file=sys.stderr)

    def stdout(self) -> RichConsole:
        """A Rich console on stdout: colour as asked, no markup, no folding unless a terminal."""
        return _rich(sys.stdout, self.color)

    def progress(self, what: str = "model evaluations") -> ProgressBar:
        """A bar on stderr, where that is a terminal and the work takes longer than a second."""
        wanted = self.show_progress and not self.quiet and self.error_format == "text"
        return ProgressBar(wanted and sys.stderr.isatty(), self.color, what)


def _rich(stream: Any, color: str) -> RichConsole:
    from rich.console import Console as RichConsole

    class Piped(RichConsole):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # Rich would end with 1

    system: Literal["auto", "256", "truecolor"] | None = "auto"  # asks NO_COLOR, FORCE_COLOR, TERM
    if color == "always":
        many = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
        system = "truecolor" if many else "256"
    elif color == "never":
        system = None
    console = Piped(
        file=stream,
        force_terminal=True if color == "always" else None,
        color_system=system,
        no_color=False if color == "always" else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if not stream.isatty():
        console.width = 400
    return console


class ProgressBar:
    """Counts up to `total`, or without end; shows itself only once a second has gone by."""

    def __init__(self, wanted: bool, color: str, what: str) -> None:
        self.total: int | None = None
        self._wanted, self._color, self._what = wanted, color, what
        self._done, self._start = 0, time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, count: int) -> None:
        self._done += count
        if self._wanted and self._bar is None:
            if time.monotonic() - self._start < _PROGRESS_AFTER_S:
                return
            self._bar = self._open()
            self._task = self._bar.add_task(self._what, total=self.total)
            self._bar.start()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(self._done, self.total or self._done))

    def _open(self) -> Progress:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=_rich(sys.stderr, self._color),
            transient=True,
        )


def keep_stdout_clean() -> None:
    """Give file descriptor 1 to stderr and keep the real stdout for results.

    Native libraries print on descriptor 1 behind Python's back. A character that the stream's
    encoding lacks becomes "?".
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no real stream: a test's, none
        if sys.stdout.fileno() == 1:
            encoding, tty = sys.stdout.encoding, sys.stdout.isatty()
            sys.stdout.flush()
            real = os.dup(1)
            os.dup2(2, 1)
            buffering = 1 if tty else -1
            sys.stdout = open(  # noqa: SIM115, PTH123 - it stays open to the end
                real, "w", buffering, encoding, errors="replace"
            )


_current = Console()


def use(console: Console) -> Console:
    """Make `console` the one that a later failure is told on, and settle library warnings."""
    global _current  # noqa: PLW0603 - failures surface above every command, where no option is seen
    _current = console
    if console.verbose < 2:
        warnings.simplefilter("ignore")
    return console


def failed(error: BaseException) -> int:
    """Tell of a failure in one sentence and a hint on stderr; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        _tell(ExitCode.INTERRUPTED, "interrupted", "")
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return ExitCode.BROKEN_PIPE
    if isinstance(error, LimecliError):
        _tell(error.code, error.message, error.hint)
        if _current.verbose >= 2:
            traceback.print_exception(error)
        return error.code
    if hasattr(error, "format_message"):  # what typer raises for options it cannot parse
        _tell(ExitCode.USAGE, error.format_message().rstrip("."), "limecli COMMAND --help")
        return ExitCode.USAGE
    if isinstance(error, OSError) and error.errno in _DISK:
        _drop_stdout()
        _tell(ExitCode.REPORT, f"the output cannot be written: {error.strerror}", "")
        return ExitCode.REPORT
    if isinstance(error, MemoryError):
        _tell(ExitCode.BUG, "out of memory", "a smaller --batch-size or --num-samples needs less")
        return ExitCode.BUG
    if _current.verbose >= 2:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}"
    _tell(ExitCode.BUG, f"unforeseen: {what}", "please report it, with what -vv shows")
    return ExitCode.BUG


def _drop_stdout() -> None:
    """What is left in the buffer must not raise again when the interpreter ends."""
    with contextlib.suppress(OSError):  # not a real stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_HINTS = {
    ExitCode.USAGE: "limecli COMMAND --help lists the options",
    ExitCode.MODEL: "check that the file is whole and is the one you mean: limecli formats",
    ExitCode.INPUT: "mend the input, or choose another",
    ExitCode.PREDICT: "try the model on this input in Python; -vv shows where it fails",
    ExitCode.REPORT: "choose another place for it",
}


def _tell(code: ExitCode, message: str, hint: str) -> None:
    hint = hint or _HINTS.get(code, "")
    if _current.error_format == "json" or _json_asked():
        record = {"code": int(code), "name": code.name, "message": message, "hint": hint}
        print(json.dumps({"error": record}), file=sys.stderr)
        return
    print(f"limecli: {clean(' '.join(message.split()))}", file=sys.stderr)
    if hint:
        print(f"  hint: {clean(' '.join(hint.split()))}", file=sys.stderr)


def _json_asked() -> bool:
    """Whether argv asks for JSON errors: a command line may fail before its options are read."""
    words = sys.argv[1:]
    return "--error-format=json" in words or ("--error-format", "json") in itertools.pairwise(words)
