"""The options that all audits share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from limecli.cli.options import OutputOptions
from limecli.errors import UsageError

if TYPE_CHECKING:
    from limecli.audit.backends import Parallelism

_WITH_SCHEDULER = ("dask", "ray")


class Backend(StrEnum):
    """joblib's back ends."""

    loky = "loky"
    threading = "threading"
    dask = "dask"
    ray = "ray"


@dataclass
class AuditOptions(OutputOptions):
    """How an audit runs, what it keeps back, and what it must reach."""

    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped; same options.")
    ] = False
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first that cannot be explained.")
    ] = False
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j", "--jobs", min=-1, help="Workers; -1 for one a core [1; with --backend -1]."
        ),
    ] = None
    backend: Annotated[
        Backend | None, typer.Option(help="Who runs the workers [loky, if there are several].")
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Of a cluster: tcp://HOST:PORT (dask), or ray's address."
        ),
    ] = None
    summary: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Write the summary, .json or .html. Repeatable."),
    ] = None
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMNS", help="Keep their values out of the records."),
    ] = None
    max_skipped: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Exit 1 if more were skipped.")
    ] = None
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Exit 1 if it holds of the summary: 'fidelity.median < 0.5', 'below > 1%'"
            " ... Repeatable.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raises UsageError for options that do not go together."""
        if self.jobs == 0:
            raise UsageError("--jobs 0: there must be somebody to do it", "-1 is one a core")
        if self.scheduler is not None and self.backend not in _WITH_SCHEDULER:
            raise UsageError("--scheduler needs --backend dask or ray")

    def parallelism(self) -> Parallelism:
        """For the workers."""
        from limecli.audit.backends import Parallelism

        backend = None if self.backend is None else self.backend.value
        jobs = self.jobs or (1 if backend is None else -1)
        return Parallelism(jobs, backend, self.scheduler)
