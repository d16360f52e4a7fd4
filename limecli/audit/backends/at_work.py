"""What happens where a task is done: in this process, or in a worker on any machine."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from limecli.errors import UsageError

# Two audits may share the workers of one cluster; more than that would fill their memory.
_KEPT = 2
_NUMERICAL = ("limecli", "numpy", "scipy", "scikit-learn", "lime")


# --- One thread


class _Threads:
    """How many threads BLAS may use is a matter of the process, so the first that asks for one
    thread sets it and the last restores it; OpenMP counts for each thread of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._modules = 0
        self._libraries: Any = None
        self._blas: Any = None
        self._environment: dict[str, str | None] = {}

    def _loaded(self) -> Any:
        from threadpoolctl import ThreadpoolController

        # Looking for libraries takes 3 ms; they come with modules.
        if self._modules != len(sys.modules):
            self._modules = len(sys.modules)
            self._libraries = ThreadpoolController()
        return self._libraries

    @contextmanager
    def limited(self) -> Iterator[None]:
        with self._lock:
            libraries = self._loaded()
            if self._inside == 0:
                self._blas = libraries.limit(limits=1, user_api="blas")
                self._environment = _set(dict.fromkeys(_thread_variables(), "1"))
            self._inside += 1
        openmp = libraries.limit(limits=1, user_api="openmp")
        try:
            yield
        finally:
            openmp.restore_original_limits()
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._blas.restore_original_limits()
                    _set(self._environment)


_threads = _Threads()


@cache
def _thread_variables() -> tuple[str, ...]:
    from joblib.parallel import ParallelBackendBase

    return tuple(ParallelBackendBase.MAX_NUM_THREADS_VARS)


def _set(variables: dict[str, str | None] | dict[str, str]) -> dict[str, str | None]:
    """Set or remove environment variables; returns what they were."""
    before = {name: os.environ.get(name) for name in variables}
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread, and whatever asks joblib for jobs done one after another.

    Sums of floats depend on their order, which is any order with several threads: a forest of
    n_jobs=-1 adds up its trees as they arrive. Libraries that are loaded inside obey, too (they
    read the environment then).
    """
    from joblib import parallel_config

    with _threads.limited(), parallel_config(backend="sequential"):
        yield


# --- What is shared comes once to each process


@dataclass(frozen=True)
class Versions:
    """What the results depend on beside the code of a task."""

    versions: tuple[str, ...]

    @classmethod
    def here(cls) -> Versions:
        """Those of this process."""
        return cls((f"Python {sys.version_info[0]}.{sys.version_info[1]}",
                    *(f"{name} {_installed(name)}" for name in _NUMERICAL)))  # fmt: skip

    def check(self) -> None:
        """Raises UsageError where this process has others."""
        for there, here in zip(self.versions, Versions.here().versions, strict=True):
            if there != here:
                raise UsageError(
                    f"a worker on {platform.node()} has {here}, the driver {there}:"
                    " results would differ",
                    "install the same versions everywhere",
                )


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(none)"


@dataclass(frozen=True)
class Shared:
    """Where a worker finds the work and what is shared, pickled together as one pair.

    `read` returns the pair's pickle; called once in a process for each `token`.
    """

    token: str
    versions: Versions
    read: Callable[[Any], bytes]
    source: Any

    def get(self) -> tuple[Callable[[Any, Any], Any], Any]:
        """The work, and what is shared. Raises whatever the pickle raises."""
        with _lock:
            if self.token not in _pairs:
                self.versions.check()
                _pairs[self.token] = pickle.loads(self.read(self.source))
                while len(_pairs) > _KEPT:
                    _pairs.popitem(last=False)
            _pairs.move_to_end(self.token)
            return _pairs[self.token]


_lock = threading.Lock()
_pairs: OrderedDict[str, tuple[Callable[[Any, Any], Any], Any]] = OrderedDict()


def forget(token: str) -> None:
    """Free what this process keeps of `token`; a worker of a cluster outlives the audit."""
    with _lock:
        _pairs.pop(token, None)


def from_file(path: str) -> bytes:
    """The pickle in a file of this machine."""
    return Path(path).read_bytes()


def from_ray(reference: Any) -> bytes:
    """The pickle in Ray's store of objects."""
    import ray

    return bytes(ray.get(reference))


def as_it_is(data: bytes) -> bytes:
    """The pickle itself (Dask has brought it already)."""
    return data


# --- A task


@dataclass(frozen=True)
class Outcome:
    """What work returned, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None
    trace: str = ""

    def get(self) -> Any:
        """The value; raises the exception, with the worker's traceback as its cause."""
        if self.error is None:
            return self.value
        if self.trace and self.error.__cause__ is None:
            raise self.error from _RemoteError(self.trace)
        raise self.error


class _RemoteError(Exception):
    """A traceback of another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def do_here(work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Outcome:
    """One task in this process."""
    try:
        with one_thread():
            return Outcome(work(shared, task))
    except Exception as error:
        return Outcome(error=error)


def do_away(place: Shared, source: Any, task: bytes) -> bytes:
    """One task in a worker: from a pickle to the pickle of an Outcome.

    `source` stands in for place.source where the backend brings it itself (Dask), else None.
    """
    try:
        if source is not None:
            place = Shared(place.token, place.versions, place.read, source)
        work, shared = place.get()
        given = pickle.loads(task)
        with one_thread():
            value = work(shared, given)
        return pickle.dumps(Outcome(value), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return _raised(error)


def _raised(error: Exception) -> bytes:
    """The pickle of what was raised; of its words where it cannot travel itself."""
    trace = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps(Outcome(error=error, trace=trace), pickle.HIGHEST_PROTOCOL)
        pickle.loads(data)  # many exceptions can be written, but not read
    except Exception:
        name = type(error).__name__
        return pickle.dumps(Outcome(error=RuntimeError(f"{name}: {error}"), trace=trace))
    return data


class Call:
    """A call in the form that joblib's backends take: a batch of one."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.items: Sequence[Any] = [(function, args, {})]

    def __call__(self) -> list[Any]:
        return [function(*args) for function, args, _ in self.items]


# --- A process that was started for us


def settle(parent: int | None = None) -> None:
    """Make this process a good worker: it prints on stderr, leaves Ctrl-C to the driver (which
    ends it), and ends by itself when the driver was killed.

    `parent` is who started it; it may be gone already. None: whoever that is.
    """
    if sys.platform != "win32":
        os.dup2(2, 1)
        threading.Thread(target=_end_with, args=(parent or os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def dask_setup(worker: Any) -> None:
    """What Dask calls in a worker that was told to load this module."""
    del worker
    settle()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
