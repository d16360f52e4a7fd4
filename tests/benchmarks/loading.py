"""What the guard costs: loading through it against joblib's own, side by side in one process.

    python tests/benchmarks/loading.py

Prints medians of CPU time for a 100-tree forest, and the peak memory of loading a joblib of 500 MB,
which must not be in memory twice.
"""

from __future__ import annotations

import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsRegressor

from limecli.models.guard import guarded_load
from limecli.models.interface import ModelFile

ROUNDS = 15
_PEAK = """
import pathlib, re
def peak():  # ru_maxrss would be the parent's where that was larger
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
{imports}
before = peak()
{load}
print((peak() - before) // 1024)
"""


def cpu_ms(call: Callable[[], object]) -> float:
    """Milliseconds of CPU time of one call."""
    begun = time.process_time()
    call()
    return (time.process_time() - begun) * 1000


def forest() -> None:
    """A forest of 100 trees, as joblib and as pickle."""
    x, y = load_breast_cancer(return_X_y=True)
    model = RandomForestClassifier(100, random_state=0).fit(x, y)
    with tempfile.TemporaryDirectory() as folder:
        for name, dump, plain in (
            ("joblib", joblib.dump, joblib.load),
            ("joblib, zlib 3", lambda m, p: joblib.dump(m, p, compress=3), joblib.load),
            ("pickle", _pickle_dump, lambda p: pickle.loads(Path(p).read_bytes())),
        ):
            path = str(Path(folder) / "forest")
            dump(model, path)
            pairs = [
                (
                    cpu_ms(lambda path=path, plain=plain: plain(path)),
                    cpu_ms(lambda path=path: guarded_load(ModelFile(path))),
                )
                for _ in range(ROUNDS)
            ]
            own, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
            size = Path(path).stat().st_size >> 10
            print(
                f"100 trees, {name:<15} {size:5} KiB: plain {own:6.1f} ms,"
                f" guarded {ours:6.1f} ms, {ours / own:.2f} times"
            )


def _pickle_dump(model: object, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(model))


def memory() -> None:
    """Peak memory of loading 500 MB, in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "big")
        rows = np.random.default_rng(0).normal(size=(500_000, 125))  # 500 MB
        joblib.dump(KNeighborsRegressor(algorithm="brute").fit(rows, rows[:, 0]), path)
        del rows
        size = Path(path).stat().st_size >> 20
        for name, imports, load in (
            ("joblib.load", "import joblib, sklearn.neighbors", f"joblib.load({path!r})"),
            (
                "guarded",
                "import sklearn.neighbors\nfrom limecli.models.guard import guarded_load\n"
                "from limecli.models.interface import ModelFile",
                f"file = ModelFile({path!r}); guarded_load(file); file.sha256",
            ),
        ):
            code = _PEAK.format(imports=imports, load=load)
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
            print(
                f"{size} MiB, {name:<12} adds {done.stdout.strip() or done.stderr} MiB at its peak"
            )


if __name__ == "__main__":
    forest()
    memory()
