"""What the tests share: the samples, real data where it lies beside the project, the command."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Before anything imports them: one thread, no window, the small Keras backend.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("KERAS_BACKEND", "openvino")

import pandas as pd

from limecli.cli import main

# With pyarrow installed pandas keeps words in its buffers, which no pickle is trusted with.
pd.set_option("mode.string_storage", "python")

# A shell ignores SIGINT in what it starts in the background, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_models"
SHARED_DATA = ROOT.parent / "shared" / "data"


@dataclass
class Result:
    """How a call of the command ended."""

    code: int
    stdout: str
    stderr: str
    stdout_bytes: bytes


class _Stream(io.TextIOWrapper):
    def __init__(self, data: bytes = b"") -> None:
        self.raw_bytes = io.BytesIO(data)
        super().__init__(self.raw_bytes, encoding="utf-8", write_through=True)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in this process, as the console script does."""

    def run(*args: object, stdin: bytes | str = b"") -> Result:
        words = [str(arg) for arg in args]
        out, err = _Stream(), _Stream()
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["limecli", *words])
            patch.setenv("PYTHONSAFEPATH", "")  # the command sets it; here it must not stay
            patch.setattr(sys, "stdin", _Stream(data))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code: object = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
            out.flush()
            err.flush()
            raw = out.raw_bytes.getvalue()
            stderr = err.raw_bytes.getvalue().decode()
        assert isinstance(code, int)
        return Result(int(code), raw.decode("utf-8", "replace"), stderr, raw)

    return run


@pytest.fixture
def fails(cli: Callable[..., Result]) -> Callable[..., Result]:
    """Run a command that must fail well: its code, nothing on stdout, a sentence, no traceback."""

    def run(code: int, *args: object, stdin: bytes | str = b"") -> Result:
        result = cli(*args, stdin=stdin)
        assert result.code == code, result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        assert lines
        assert all(line.startswith(("limecli: ", "  hint: ", "{")) for line in lines), lines
        return result

    return run


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The command as a real process: for signals, pipes and what gets imported."""
    return [sys.executable, "-m", "limecli"]


@pytest.fixture
def process(command: list[str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a process of its own."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *(str(arg) for arg in args)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **options,
        )

    return run


def shared(name: str) -> Path:
    """A file of real data, or a skip."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here: real data lies beside the project, not in it")
    return path


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras as limecli uses it (in float32), seeded; a skip where it is not installed."""
    pytest.importorskip("keras")
    from limecli.models.keras import import_keras

    module = import_keras()
    module.utils.set_random_seed(0)
    return module
