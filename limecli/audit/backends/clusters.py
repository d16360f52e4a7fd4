"""Crews on Dask and Ray: in a cluster that runs already, or one on this machine of our own."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any

from limecli.audit.backends.at_work import (
    Call,
    Shared,
    Versions,
    as_it_is,
    do_away,
    forget,
    from_ray,
)
from limecli.audit.backends.crews import Crew, Work, died_again, joblib_backend, packed
from limecli.errors import PredictError, UsageError

_ANSWER_S = 10
_NO_WORKERS_S = 60


@contextmanager
def _quiet(*libraries: str) -> Iterator[None]:
    """Nothing of their loggers on stderr: what matters is said by an exception."""
    known = [name for name in logging.root.manager.loggerDict if name.startswith(libraries)]
    before = {name: logging.getLogger(name).level for name in (*libraries, *known)}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _reachable(scheduler: str) -> None:
    """Raises UsageError where nobody listens: the libraries take minutes to say so."""
    host, _, port = scheduler.rpartition("://")[2].rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--scheduler {scheduler!r} is no address", "for example tcp://HOST:8786")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"no scheduler answers at {scheduler}: {error}") from error


def _need(module: str, name: str) -> Any:
    """A module of an extra. Raises UsageError where the extra is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        extra = name.lower()
        raise UsageError(
            f"--backend {extra} needs {name}", f"install it: pip install 'limecli[{extra}]'"
        ) from error


class _Cluster(Crew):
    """What both have in common: what is shared is stored in the cluster, tasks refer to it."""

    def __init__(
        self,
        work: Work,
        shared: Any,
        jobs: int,
        scheduler: str | None,
        note: Callable[[str], None],
    ) -> None:
        super().__init__(note)
        self._asked, self._scheduler = jobs, scheduler
        if scheduler is not None:
            _reachable(scheduler)
        self._data = packed(work, shared)
        self._token = uuid.uuid4().hex
        self._open = ExitStack()
        self._told_size = False

    def _tell_size(self) -> None:
        if self._scheduler is not None and self.jobs != self._asked and not self._told_size:
            self.note(
                f"{self._scheduler} has room for {self.jobs} tasks at a time:"
                f" --jobs {self._asked} does not apply"
            )
        self._told_size = True


class OverDask(_Cluster):
    """Workers of Dask. The scheduler itself has the work of a lost one done again, and gives up a
    task that took too many of them along; only when nobody is left who has what is shared is it
    for us to begin anew.
    """

    def __init__(
        self,
        work: Work,
        shared: Any,
        jobs: int,
        scheduler: str | None,
        note: Callable[[str], None],
    ) -> None:
        of_client = _need("distributed.client", "Dask")
        super().__init__(work, shared, jobs, scheduler, note)
        from asyncio import CancelledError as OfAsyncio
        from concurrent.futures import CancelledError as OfFutures

        # What is running is not known: about the oldest.
        self.blamed = jobs
        self._killed = _need("distributed.scheduler", "Dask").KilledWorker
        self.lost = (OfAsyncio, OfFutures, of_client.CancelledError)
        self._shared = Shared(self._token, Versions.here(), as_it_is, None)
        self._client: Any = None
        self._source: Any = None
        self._workers: set[str] = set()
        self._seen = 0.0

    def start(self) -> None:
        if self._client is None:
            self._open.enter_context(_quiet("distributed", "tornado.application", "asyncio"))
            self._connect()
        try:
            self._backend, self.jobs = joblib_backend("dask", -1, client=self._client)
            self._backend.start_call()
            self._source = self._client.scatter(self._data, broadcast=True, hash=False)
        except (OSError, TimeoutError) as error:
            raise PredictError(
                f"{self._scheduler or 'Dask'} has no workers, or answers no more",
                "start some: dask worker ADDRESS",
            ) from error
        self._workers = set(self._client.nthreads())
        self._seen = time.monotonic()
        self._tell_size()

    def _connect(self) -> None:
        distributed = import_module("distributed")
        address: Any = self._scheduler
        if address is None:
            address = self._own_cluster()
        try:
            self._client = self._open.enter_context(
                distributed.Client(address, timeout=_ANSWER_S, set_as_default=False)
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address}") from error

    def call(self, task: Any) -> Call:
        return Call(do_away, self._shared, self._source, task)

    def _own_cluster(self) -> Any:
        folder = self._open.enter_context(
            tempfile.TemporaryDirectory(prefix="limecli-", ignore_cleanup_errors=True)
        )
        settings = {**_OWN_CLUSTER, "temporary-directory": folder}
        self._open.enter_context(import_module("dask").config.set(settings))
        try:
            cluster = import_module("distributed").LocalCluster(
                n_workers=self._asked,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",  # None would be the usual port, taken or not
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,  # else Dask writes what it holds to disk
                silence_logs=logging.CRITICAL + 1,
                security=_certificates(),
                preload="limecli.audit.backends.at_work",
                local_directory=folder,
            )
        except RuntimeError as error:
            raise UsageError(f"Dask does not start: {error}") from error
        return self._open.enter_context(cluster)

    def meaning(self, failure: BaseException) -> BaseException:
        if isinstance(failure, self._killed):
            return died_again(failure)
        return super().meaning(failure)

    def watch(self) -> None:
        try:
            threads = self._client.nthreads() if self._client.status == "running" else {}
        except (OSError, TimeoutError):
            threads = {}
        if self._workers - set(threads):
            self.tell_loss()
        self._workers = set(threads)
        if threads:
            self._seen = time.monotonic()
            self.jobs = sum(threads.values())
        elif self._client.status in ("closing", "closed"):
            raise PredictError("the connection to the Dask scheduler is lost")
        elif time.monotonic() - self._seen > _NO_WORKERS_S:
            raise PredictError(f"no Dask worker was left for {_NO_WORKERS_S} seconds")

    def stop(self) -> None:
        backend, self._backend = self._backend, None
        self._source = None
        if backend is not None:
            backend.abort_everything(ensure_ready=False)
            backend.stop_call()

    def close(self) -> None:
        self.stop()
        # Dask looks for half a minute for workers that are gone.
        if self._client is not None and self._scheduler is not None and not self._told:
            with suppress(Exception):  # what is left is freed by the next audits
                self._client.run(forget, self._token, wait=False)
        self._open.close()


# A worker that died of a task three times shall be the last one.
_OWN_CLUSTER = {"distributed.scheduler.allowed-failures": 2}


def _certificates() -> Any:
    """For a cluster of our own: else whoever has an account here could run code through it."""
    try:
        return import_module("distributed.security").Security.temporary()
    except ImportError:
        return None


# Read when Ray is imported. It would print what goes wrong in workers on our stdout.
_RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
_STORE_BYTES = 256 << 20


def _prepare_ray(*, own: bool) -> None:
    """Set what Ray reads when it is imported. A Ray of our own gets a password of its own, else it
    would write one into the home folder. That of another one is for the user to set.
    """
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if own and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@contextmanager
def _short_folder() -> Iterator[str]:
    """A private folder for Ray, whose sockets lie some 70 characters below it (107 are allowed)."""
    parent = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="limecli-",
        dir=parent if len(parent) < 18 else "/tmp",  # noqa: S108 - private by mkdtemp
        ignore_cleanup_errors=True,
    ) as folder:
        yield f"{folder}/ray"  # Ray lets everybody write into the one it is given


_FEWEST_ACTORS = 2  # with one, joblib would not ask Ray at all


class OverRay(_Cluster):
    """Workers of Ray: actors that take turns."""

    blamed = 2  # the outcome of the task before may have been lost on its way

    def __init__(
        self,
        work: Work,
        shared: Any,
        jobs: int,
        scheduler: str | None,
        note: Callable[[str], None],
    ) -> None:
        _prepare_ray(own=scheduler is None)
        self._ray = _need("ray", "Ray")
        super().__init__(work, shared, max(jobs, _FEWEST_ACTORS), scheduler, note)
        exceptions = self._ray.exceptions
        self.lost = (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
        )
        self._shared: Shared | None = None

    def start(self) -> None:
        if self._shared is None:
            self._open.enter_context(_quiet("ray"))
            self._connect()
            import_module("ray.util.joblib").register_ray()
            stored = self._ray.put(self._data)
            self._shared = Shared(self._token, Versions.here(), from_ray, stored)
            self._data = b""
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if cpus < _FEWEST_ACTORS:
            raise UsageError(f"the Ray cluster has {cpus} CPUs", "two are needed at least")
        self._backend, self.jobs = joblib_backend("ray", cpus)
        self._tell_size()

    def _connect(self) -> None:
        options: dict[str, Any] = {"address": self._scheduler, "log_to_driver": False}
        if self._scheduler is None:
            options |= {
                "address": "local",
                "num_cpus": self._asked,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES + 2 * len(self._data),
                "_temp_dir": self._open.enter_context(_short_folder()),
            }
        if self._scheduler is None or not self._scheduler.startswith("ray://"):
            # As a client's job: workers shall not look for modules in our working directory.
            job = self._ray.job_config.JobConfig(_client_job=True)
            options |= {"job_config": job, "configure_logging": False}
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(logging_level=logging.CRITICAL, **options)
        except (OSError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            raise UsageError(f"Ray does not start: {error}") from error
        finally:  # Ray takes this signal for itself
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, terminate)
        self._open.callback(self._ray.shutdown)

    def call(self, task: Any) -> Call:
        return Call(do_away, self._shared, None, task)

    def stop(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.terminate()

    def close(self) -> None:
        self.stop()
        self._shared = None
        self._open.close()
