"""Crews of workers: joblib's own backends, started, watched and ended.

joblib.Parallel itself is not used: it hands out tasks whether or not anyone takes the outcomes,
throws away what is done when a worker dies, waits for ever when Dask gives a task up (joblib 1.6),
and gives no outcomes before the last with Ray. The interface of its backends (configure, submit,
retrieve_result_callback, abort_everything: joblib's guide to custom backends) is enough for a
window over the tasks.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from limecli.audit.backends.at_work import (
    Call,
    Outcome,
    Shared,
    Versions,
    do_away,
    do_here,
    from_file,
    settle,
)
from limecli.errors import PredictError, UsageError

Work = Callable[[Any, Any], Any]
MAX_LOSSES = 3
_LOST = "a worker was lost (killed, or out of memory): its work is done again"


def joblib_backend(name: str, jobs: int, **options: Any) -> tuple[Any, int]:
    """A backend of joblib's, configured, and how many tasks it does at a time."""
    from joblib import Parallel, parallel_config
    from joblib.parallel import get_active_backend

    with parallel_config(backend=name, **options):
        backend, _ = get_active_backend()
        return backend, backend.configure(n_jobs=jobs, parallel=Parallel(n_jobs=jobs))


def packed(work: Work, shared: Any) -> bytes:
    """Work and what it shares, for other processes. Raises UsageError where they cannot travel."""
    try:
        return pickle.dumps((work, shared), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # any __reduce__ may raise anything
        raise UsageError(
            f"this cannot be sent to other processes: {error}", "try --backend threading"
        ) from error


def died_again(failure: BaseException) -> PredictError:
    """The error for work that takes its workers along."""
    error = PredictError(
        f"a worker died {MAX_LOSSES} times on the same work",
        "it may need more memory than there is: try fewer --jobs",
    )
    error.__cause__ = failure
    return error


@dataclass(eq=False)
class Ticket:
    """A task that is handed out, until its outcome is taken.

    task: as the crew packed it; answer: what came of it, still packed; failure: why nothing did;
    losses: how often a worker was lost over it.
    """

    task: Any
    answer: Any = None
    failure: BaseException | None = None
    losses: int = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.answer is not None or self.failure is not None


class Crew:
    """The workers of one backend; they do `jobs` tasks at a time.

    Failures of a class in `lost` mean that a worker is no more. Tasks are begun in the order in
    which they were handed out; so the first `blamed` of those that failed hold the one it was at.
    """

    jobs = 1
    blamed = 1
    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, note: Callable[[str], None]) -> None:
        self.arrivals: SimpleQueue[None] = SimpleQueue()
        self.note = note
        self._backend: Any = None
        self._told = False

    def start(self) -> None:
        """Start workers; or others, after a loss."""
        raise NotImplementedError

    def watch(self) -> None:
        """Called every second or so. Raises LimecliError where nothing will ever arrive."""

    def stop(self) -> None:
        """End the workers, whatever they are at."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.abort_everything(ensure_ready=False)

    def meaning(self, failure: BaseException) -> BaseException:
        """What to raise for a failure that is no loss of a worker."""
        if isinstance(failure, ImportError):
            return UsageError(
                f"the workers cannot import limecli: {failure}",
                "install the same versions everywhere",
            )
        return failure

    def close(self) -> None:
        """End the workers and remove what was kept for them."""
        self.stop()

    def tell_loss(self) -> None:
        """Say that a worker was lost, once."""
        if not self._told:
            self._told = True
            self.note(_LOST)

    def call(self, task: Any) -> Call:
        """What a worker does with a packed task."""
        raise NotImplementedError

    def pack(self, task: Any) -> Any:
        """A task as it travels."""
        return pickle.dumps(task, pickle.HIGHEST_PROTOCOL)

    def unpack(self, answer: Any) -> Outcome:
        """What came back."""
        outcome: Outcome = pickle.loads(answer)
        return outcome

    def submit(self, ticket: Ticket) -> None:
        """Hand out a task; something in `arrivals` says that an answer or a failure is there."""
        ticket.answer = ticket.failure = None
        backend = self._backend

        def arrived(result: Any) -> None:
            settled(ticket, lambda: backend.retrieve_result_callback(result))

        def resolved(future: Future[Any]) -> None:
            if future.cancelled() or future.exception() is not None:
                settled(ticket, future.result)

        def settled(ticket: Ticket, get: Callable[[], Any]) -> None:
            try:
                answer = get()
                if isinstance(answer, BaseException):  # Dask: a future that was cancelled
                    raise answer
                ticket.answer = answer[0]
            except BaseException as error:
                ticket.failure = error
            self.arrivals.put(None)

        try:
            job = backend.submit(self.call(ticket.task), callback=arrived)
        except self.lost as error:
            ticket.failure = error
            return
        if isinstance(job, Future):  # Dask's backend calls back only where all went well
            job.add_done_callback(resolved)


class Threads(Crew):
    """Threads of this process: for work that waits, or that frees Python's lock."""

    def __init__(self, work: Work, shared: Any, jobs: int, note: Callable[[str], None]) -> None:
        super().__init__(note)
        self.jobs = jobs
        self._work, self._shared = work, shared

    def start(self) -> None:
        self._backend, self.jobs = joblib_backend("threading", self.jobs)

    def pack(self, task: Any) -> Any:
        return task

    def unpack(self, answer: Any) -> Outcome:
        outcome: Outcome = answer
        return outcome

    def call(self, task: Any) -> Call:
        return Call(do_here, self._work, self._shared, task)


class Processes(Crew):
    """Processes of this machine (loky). What is shared lies in a file that only the user reads."""

    def __init__(self, work: Work, shared: Any, jobs: int, note: Callable[[str], None]) -> None:
        from joblib.externals.loky import BrokenProcessPool
        from joblib.externals.loky.backend import resource_tracker

        super().__init__(note)
        self.jobs = self.blamed = jobs
        self.lost = (BrokenProcessPool,)
        data = packed(work, shared)
        self._folder = tempfile.mkdtemp(prefix="limecli-")
        # The tracker removes it should this process be killed: a model may be confidential.
        resource_tracker.register(self._folder, "folder")
        path = Path(self._folder) / "shared"
        try:
            private = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(private, "wb") as file:
                file.write(data)
        except OSError as error:
            self.close()
            raise PredictError(
                f"cannot keep the model for the workers in {path}: {error.strerror}",
                "set TMPDIR to a folder with room",
            ) from error
        self._shared = Shared(uuid.uuid4().hex, Versions.here(), from_file, str(path))

    def start(self) -> None:
        self._backend, self.jobs = joblib_backend(
            "loky", self.jobs, inner_max_num_threads=1, initializer=settle,
            initargs=(os.getpid(),),
        )  # fmt: skip

    def call(self, task: Any) -> Call:
        return Call(do_away, self._shared, None, task)

    def stop(self) -> None:
        # When loky kills its workers it drops what waits, and then (joblib 1.6) looks for it by
        # the numbers in this queue: a traceback on stderr.
        with suppress(AttributeError, Empty):
            while True:
                self._backend._workers._work_ids.get_nowait()
        super().stop()

    def close(self) -> None:
        from joblib.externals.loky.backend import resource_tracker

        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        resource_tracker.unregister(self._folder, "folder")
