"""Work for the tests of backends: functions of a module, as workers import them."""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from limecli.errors import InputError


def square(shared: int, task: int) -> int:
    """shared + task²."""
    return shared + task * task


def sleep(shared: Any, task: float) -> float:
    """Wait `task` seconds."""
    time.sleep(task)
    return task


def place(shared: Any, task: Any) -> int:
    """The process; slowly enough that every worker gets some."""
    time.sleep(0.05)
    return os.getpid()


class Counted:
    """Leaves a file of its own in a folder whenever it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__dict__.update(state)
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()


def kill_once(folder: Path, task: int) -> int:
    """Task 5 kills its worker, the first time."""
    time.sleep(0.02)
    mark = folder / "killed"
    if task == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def kill_always(folder: Path, task: int) -> int:
    """Task 5 kills its worker, always; leaves a file each time."""
    if task == 5:
        (folder / str(time.monotonic_ns())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def write_pid(folder: Path, task: int) -> int:
    """Leave a file named by the process."""
    (folder / str(os.getpid())).touch()
    time.sleep(0.05)
    return task


def fail(shared: str, task: int) -> int:
    """Task 5 fails in one of several ways."""
    if task != 5:
        return task
    if shared == "ours":
        raise InputError("row 5 is bad", "mend it")
    if shared == "value":
        raise ValueError("five")
    raise AwkwardError("five", 5)


class AwkwardError(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)


class Refuses:
    """Cannot be unpickled in another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return only_in, (os.getpid(),)


def only_in(pid: int) -> str:
    """Raises OSError in another process."""
    if os.getpid() != pid:
        raise OSError("not here")
    return "here"


def predict(model: Any, rows: np.ndarray) -> bytes:
    """The bits of a prediction and of a product of matrices."""
    return bytes(model.predict(rows).tobytes() + (rows.T @ rows).tobytes())


def threads(shared: Any, task: Any) -> list[int]:
    """How many threads each native library takes, one that is loaded only now, too."""
    import scipy.linalg  # noqa: F401 - brings its own BLAS
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info()]


def intrude(module: str, task: int) -> bool:
    """Print in Python, and behind its back; returns whether a module can be imported."""
    print("from a worker")
    sys.stdout.flush()
    os.write(1, b"from a library\n")
    return find_spec(module) is not None
