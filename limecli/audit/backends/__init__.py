"""Work on a stream of tasks, by any number of workers, with its outcomes in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar

from limecli.audit.backends.at_work import do_here, one_thread
from limecli.errors import UsageError

if TYPE_CHECKING:
    from limecli.audit.backends.crews import Crew, Ticket

__all__ = ["BACKENDS", "Parallelism", "in_order", "one_thread"]

BACKENDS = ("loky", "threading", "dask", "ray")
# Tasks and outcomes that exist at a time, for each worker: enough that a slow one in front, or a
# pause of the consumer, stops nobody.
_AHEAD = 4
_WATCH_S = 1.0

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Parallelism:
    """How work is spread.

    jobs: workers; -1 is one for each core. backend: one of BACKENDS; None is this process for one
    job, else loky. scheduler: of a cluster that runs already (its workers count, not `jobs`):
    tcp://HOST:PORT for dask, HOST:PORT for ray.
    """

    jobs: int = 1
    backend: str | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1 and self.jobs != -1:
            raise UsageError(f"--jobs is {self.jobs}", "1 or more, or -1 for all cores")
        if self.backend is not None and self.backend not in BACKENDS:
            raise UsageError(f"no backend {self.backend!r}", f"one of {', '.join(BACKENDS)}")
        if self.scheduler is not None and self.backend not in ("dask", "ray"):
            raise UsageError("--scheduler needs --backend dask or ray")


def in_order(
    work: Callable[[S, T], R],
    shared: S,
    tasks: Iterable[T],
    how: Parallelism,
    note: Callable[[str], None],
) -> Generator[R, None, None]:
    """The outcome of work(shared, task) for each task, in the order of the tasks.

    `work` is a function of a module, and pure: a task is done again when its worker is lost.
    `shared` goes to each worker once. `tasks` is read lazily: a few for each worker exist at a
    time, together with outcomes that were not taken yet. Both run on one thread and give the same
    bits wherever they run.

    What work or `tasks` raises is raised here after the outcomes before it. Raises UsageError where
    a library is missing, a scheduler does not answer or `shared` cannot be pickled, and
    PredictError when workers die over the same work again and again. `note` gets sentences for the
    user. Closing the generator ends the workers.
    """
    crew = _crew(work, shared, how, note)
    if crew is None:
        for task in tasks:
            yield do_here(work, shared, task).get()
        return
    try:
        crew.start()
        yield from _Window(crew, iter(tasks)).outcomes()
    finally:
        crew.close()


def _crew(
    work: Callable[[Any, Any], Any], shared: Any, how: Parallelism, note: Callable[[str], None]
) -> Crew | None:
    """The workers, not started yet; None: none but this process."""
    if how.backend in ("dask", "ray"):
        from limecli.audit.backends import clusters

        kind = clusters.OverDask if how.backend == "dask" else clusters.OverRay
        return kind(work, shared, _jobs(how.jobs), how.scheduler, note)
    jobs = _jobs(how.jobs)
    if jobs == 1:
        return None
    from limecli.audit.backends.crews import Processes, Threads

    return (Threads if how.backend == "threading" else Processes)(work, shared, jobs, note)


def _jobs(jobs: int) -> int:
    if jobs != -1:
        return jobs
    from joblib import cpu_count

    cores: int = cpu_count()
    return cores


class _Window:
    """The tasks that are handed out and whose outcomes are not taken, oldest first."""

    def __init__(self, crew: Crew, tasks: Iterator[Any]) -> None:
        self._crew = crew
        self._tasks = tasks
        self._open = True
        self._error: Exception | None = None
        self._tickets: deque[Ticket] = deque()
        self._watched = time.monotonic()

    def outcomes(self) -> Iterator[Any]:
        """Hand out, wait, and give what is oldest, until nothing is left."""
        crew = self._crew
        while True:
            self._fill()
            if not self._tickets:
                break
            self._wait_for(self._tickets[0])
            if self._failed():
                self._recover()
            else:
                yield crew.unpack(self._tickets.popleft().answer).get()
        if self._error is not None:
            raise self._error

    def _fill(self) -> None:
        from limecli.audit.backends.crews import Ticket

        while self._open and len(self._tickets) < _AHEAD * self._crew.jobs:
            if self._failed():
                return
            try:
                task = next(self._tasks)
            except StopIteration:
                self._open = False
            except Exception as error:
                self._error, self._open = error, False
            else:
                ticket = Ticket(self._crew.pack(task))
                self._tickets.append(ticket)
                self._crew.submit(ticket)

    def _failed(self) -> list[Ticket]:
        return [ticket for ticket in self._tickets if ticket.failure is not None]

    def _wait_for(self, ticket: Ticket) -> None:
        while not ticket.done:
            with suppress(Empty):
                self._crew.arrivals.get(timeout=_WATCH_S)
            if time.monotonic() - self._watched >= _WATCH_S:
                self._crew.watch()
                self._watched = time.monotonic()

    def _recover(self) -> None:
        """Hand out again what went with a worker. Raises what is not the loss of one."""
        from limecli.audit.backends.crews import MAX_LOSSES, died_again

        for ticket in self._tickets:
            if ticket.failure is not None and not isinstance(ticket.failure, self._crew.lost):
                raise self._crew.meaning(ticket.failure)
        # The rest still arrives, or fails: all workers' tasks with loky, those of one with Ray.
        for ticket in self._tickets:
            self._wait_for(ticket)
        self._crew.tell_loss()
        failed = self._failed()
        for ticket in failed[: self._crew.blamed]:
            ticket.losses += 1
            if ticket.losses == MAX_LOSSES and ticket.failure is not None:
                raise died_again(ticket.failure)
        self._crew.stop()
        self._crew.start()
        for ticket in failed:
            self._crew.submit(ticket)
