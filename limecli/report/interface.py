"""What a report format has to offer."""

from __future__ import annotations

from typing import Protocol

from limecli.types import Report


class ReportFormat(Protocol):
    """One format. Importing the module that holds it must be cheap."""

    suffixes: tuple[str, ...]
    one_each: bool
    """Whether a file of this format holds a single explanation (a picture does)."""
    binary: bool
    """Whether it is nothing for a terminal."""

    def render(self, report: Report) -> bytes:
        """The whole file. With `one_each`, `report` has one explanation. Opens no file."""
        ...
