"""What can go wrong, and the exit code that says so. Imports nothing of limecli."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of the command; scripts may rely on them."""

    OK = 0
    FINDING = 1
    USAGE = 2
    MODEL = 3
    INPUT = 4
    PREDICT = 5
    REPORT = 6
    BUG = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class LimecliError(Exception):
    """The only exception that reaches a user: one sentence, and what to do about it.

    `message` says what is wrong and where; `hint` says what to try (may be empty).
    """

    code = ExitCode.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """All of it travels between processes, also where __init__ of a subclass takes more."""
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[LimecliError], args: tuple[Any, ...]) -> LimecliError:
    return kind.__new__(kind, *args)


class UsageError(LimecliError):
    """An option or argument makes no sense."""

    code = ExitCode.USAGE


class ModelError(LimecliError):
    """The model file is unreadable, unsupported, untrusted, or needs an extra."""

    code = ExitCode.MODEL


class InputError(LimecliError):
    """A row, image, text or background is unreadable or does not fit the model."""

    code = ExitCode.INPUT


class PredictError(LimecliError):
    """The model raised, or its output is not what an explanation needs."""

    code = ExitCode.PREDICT


class ReportError(LimecliError):
    """A report cannot be read or written."""

    code = ExitCode.REPORT


class NotExactError(Exception):
    """LIME's exact weights do not apply here; the message says why. Never reaches a user as such:
    samples are drawn instead.
    """
