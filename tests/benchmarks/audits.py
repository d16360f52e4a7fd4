"""What an audit costs: rows per second, memory, workers, and kill -9 again and again.

    python tests/benchmarks/audits.py                         # some twenty minutes
    python tests/benchmarks/audits.py --quick                 # fewer rows: rough
    python tests/benchmarks/audits.py adult exact text kill   # only some of the parts

Prints a table in Markdown. `limecli audit` runs as a process of its own, one thread; its time is
the CPU time of that process, starting and loading included, but for the workers, where the wall
clock counts. The naive loop makes a lime explainer for each row, with as many samples.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from limecli.explainers.tabular import Tabular
from limecli.inputs.background import background_from_table
from limecli.inputs.table import Table
from limecli.models.estimator import adapt
from limecli.models.frames import bind_columns
from limecli.models.interface import LoadOptions, ModelFile
from limecli.types import LimeSettings

ADULT = Path(__file__).parents[3] / "shared" / "data" / "adult_train.csv"
ONE = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SAMPLES = 1 << 14
KILLS = 100

SLOW = """
import time

def predict(texts):
    # each text costs as much: 64 samples of it take a second
    end = time.process_time() + len(texts) / 64
    while time.process_time() < end:
        pass
    return [[1 - len(text) % 10 / 10, len(text) % 10 / 10] for text in texts]
"""
PACED = """
import time

def predict(rows):
    time.sleep(0.05 * (len(rows) <= 256))
    score = 1 / (1 + 2.718281828 ** -((rows["mean radius"].astype(float) - 14) / 3))
    return [[1 - s, s] for s in score]
"""


@dataclass
class Line:
    """A line of the table."""

    what: str
    found: str
    target: str


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "limecli", "audit", *map(str, words), "-q"]


def cost_of(folder: Path, *words: object) -> tuple[float, float]:
    """CPU seconds of a process, and the most memory that it had, MiB."""
    process = subprocess.Popen([str(word) for word in words], cwd=folder, env=ONE)
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while True:
        # What the kernel counts for a child may be its parent's: so it is read while it runs.
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        peak = max(peak, int(found[1]) if found else 0)
        pid, code, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.05)
    process.returncode = code
    if code:
        raise SystemExit(f"failed: {words}")
    return used.ru_utime + used.ru_stime, peak / 1024


def cpu_of(folder: Path, *words: object) -> float:
    return cost_of(folder, *command(*words))[0]


def wall_of(folder: Path, *words: object) -> float:
    start = time.monotonic()
    subprocess.run(command(*words), cwd=folder, env=ONE, check=True)
    return time.monotonic() - start


def adult_like(folder: Path, rows: int) -> None:
    """A mixed pipeline, its training data, and rows drawn from real ones with small changes."""
    data = pd.read_csv(ADULT)
    x, y = data.iloc[:, :-1], data.iloc[:, -1]
    numbers = [name for name in x if pd.api.types.is_numeric_dtype(x[name])]
    words = [name for name in x if name not in numbers]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    mixed = make_column_transformer((encoder, words), remainder="passthrough")
    model = make_pipeline(mixed, HistGradientBoostingClassifier(random_state=0))
    model.fit(x[:10000], y[:10000])
    (folder / "adult.pkl").write_bytes(pickle.dumps(model))
    x[:10000].to_csv(folder / "adult.csv", index=False)
    rng = np.random.default_rng(0)
    drawn = x.iloc[rng.integers(0, len(x), rows)].reset_index(drop=True)
    for name in numbers:
        moved = drawn[name] + rng.integers(-1, 2, rows)
        drawn[name] = moved.clip(x[name].min(), x[name].max())
    drawn.to_csv(folder / "rows.csv", index=False)
    drawn[: rows // 10].to_csv(folder / "tenth.csv", index=False)


def lime_cpu(folder: Path, count: int) -> float:
    """CPU seconds a row of the loop that people write, encoding left out."""
    from lime.lime_tabular import LimeTabularExplainer

    model = pickle.loads((folder / "adult.pkl").read_bytes())
    train = pd.read_csv(folder / "adult.csv")
    names = list(train)
    words = [j for j, name in enumerate(names) if not pd.api.types.is_numeric_dtype(train[name])]
    codes = train.copy()
    categories = {}
    for j in words:
        labels, kept = pd.factorize(train[names[j]], sort=True)
        codes[names[j]], categories[j] = labels, kept

    def predict(rows: np.ndarray) -> np.ndarray:
        frame = pd.DataFrame(rows, columns=names)
        for j in words:
            frame[names[j]] = categories[j].take(rows[:, j].astype(int))
        return np.asarray(model.predict_proba(frame))

    start = time.process_time()
    for i in range(count):
        explainer = LimeTabularExplainer(
            codes.to_numpy(float), categorical_features=words, random_state=0
        )
        explainer.explain_instance(codes.to_numpy(float)[i], predict, num_samples=SAMPLES)
    return (time.process_time() - start) / count


def adult(folder: Path, quick: bool) -> Iterator[Line]:
    if not ADULT.exists():
        yield Line("adult-like", "the data are not here", "")
        return
    rows = 10_000 if quick else 100_000
    adult_like(folder, rows)
    words = ("adult.pkl", "-b", "adult.csv")
    audit = command("tabular", *words)
    cpu, peak = cost_of(folder, *audit, "rows.csv", "-o", "rows.jsonl")
    _, small = cost_of(folder, *audit, "tenth.csv", "-o", "tenth.jsonl")
    loop = lime_cpu(folder, 5 if quick else 20)
    yield Line(
        f"adult-like, {rows:,} rows, {SAMPLES:,} evaluations: rows per second",
        f"{rows / cpu:,.0f}, lime's loop {1 / loop:.1f}: {rows / cpu * loop:.0f} times",
        ">= 50 times",
    )
    (folder / "tenth.jsonl").unlink()
    flips = cpu_of(folder, "tabular", *words, "tenth.csv", "-o", "tenth.jsonl", "--flips", 1)
    yield Line(f"the same with --flips 1, {rows // 10:,} rows", f"{rows / 10 / flips:,.0f}", "-")
    script = "import pickle, pandas as pd; m = pickle.load(open('adult.pkl', 'rb'));"
    script += "m.predict_proba(pd.read_csv('adult.csv'))"
    _, alone = cost_of(folder, sys.executable, "-c", script)
    yield Line(
        f"peak memory above the model, {rows // 10:,} and {rows:,} rows",
        f"{small - alone:.0f} and {peak - alone:.0f} MiB (the model: {alone:.0f})",
        "<= 500 MB, flat",
    )


def exact(folder: Path, quick: bool) -> Iterator[Line]:
    rows = 4_000 if quick else 20_000
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = RandomForestClassifier(100, random_state=0).fit(x, y)
    (folder / "forest.pkl").write_bytes(pickle.dumps(model))
    x.to_csv(folder / "train.csv", index=False)
    rng = np.random.default_rng(0)
    drawn = x.iloc[rng.integers(0, len(x), rows)].reset_index(drop=True)
    drawn *= 1 + 0.02 * rng.standard_normal(drawn.shape)
    drawn.to_csv(folder / "cells.csv", index=False)
    words = ("tabular", "forest.pkl", "cells.csv", "-b", "train.csv", "-o", "cells.jsonl")
    yield Line(
        f"forest of 100 trees, 30 features, exact, {rows:,} rows: rows per second",
        f"{rows / cpu_of(folder, *words):,.0f}",
        ">= 1000",
    )
    (folder / "cells.jsonl").unlink()
    flips = cpu_of(folder, *words, "--flips", 1)
    yield Line("the same with --flips 1", f"{rows / flips:,.0f}", "-")
    yield shap_against_ours(x, y, drawn[:2000])


def shap_against_ours(x: pd.DataFrame, y: pd.Series, rows: pd.DataFrame) -> Line:
    """The weights alone, many rows at a time, against the fastest of shap's for trees."""
    from shap import TreeExplainer

    model = RandomForestClassifier(100, random_state=0).fit(x, y)
    file = ModelFile("forest", pickle.dumps(model))
    predictor = adapt(model, file, LoadOptions("tabular"), "pickle")
    background = background_from_table(table_of(x), tuple(x), "quartile")
    bound = bind_columns(predictor, background.columns)
    explainer = Tabular(bound, background, LimeSettings("tabular", sampler="exact"), lambda _: None)
    design = explainer._design
    found = explainer._space.rows(rows.to_numpy())
    ours, theirs = [], []
    trees = TreeExplainer(model)
    for _ in range(3):
        start = time.process_time()
        design.foresee(found, explainer.settings, [[1]] * len(found))
        ours.append((time.process_time() - start) / len(found))
        start = time.process_time()
        trees.shap_values(rows[:500], check_additivity=False)
        theirs.append((time.process_time() - start) / 500)
    mine, other = statistics.median(ours), statistics.median(theirs)
    return Line(
        "the weights alone, ms a row", f"{1e3 * mine:.2f}, shap.TreeExplainer {1e3 * other:.2f}",
        "not slower",
    )  # fmt: skip


def table_of(frame: pd.DataFrame) -> Table:
    return Table("train", None, frame, untyped=False)


def text(folder: Path, quick: bool) -> Iterator[Line]:
    count = 8 if quick else 40
    (folder / "slow.py").write_text(SLOW)
    lines = [" ".join(f"w{i}{j}" for j in range(12)) for i in range(count)]
    (folder / "texts.txt").write_text("\n".join(lines) + "\n")
    words = ("text", "slow:predict", "texts.txt", "-n", 64)
    one = wall_of(folder, *words, "-o", "one.jsonl")
    two = wall_of(folder, *words, "-o", "two.jsonl", "-j", 2)
    same = (folder / "one.jsonl").read_bytes() == (folder / "two.jsonl").read_bytes()
    yield Line(f"loky, 2 workers against 1, {count} texts of 1 s", told(one / two, same), ">= 1.8")
    with cluster(folder) as address:
        there = ("-j", 2, "--backend", "dask", "--scheduler", address)
        far = wall_of(folder, *words, "-o", "far.jsonl", *there)
    same = (folder / "one.jsonl").read_bytes() == (folder / "far.jsonl").read_bytes()
    yield Line("Dask over TCP, 2 workers, same work", told(one / far, same), ">= 1.7")


def told(ratio: float, same: bool) -> str:
    return f"{ratio:.2f} times, {'same bytes' if same else 'OTHER BYTES'}"


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A scheduler and two workers, processes of their own."""
    port, dask = random.randrange(20000, 40000), [sys.executable, "-m", "distributed.cli"]
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    first = [*dask[:2], "distributed.cli.dask_scheduler", "--port", str(port), "--no-dashboard"]
    started = [subprocess.Popen(first, **quiet)]
    time.sleep(3)
    worker = [*dask[:2], "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    started += [
        subprocess.Popen([*worker, "--no-dashboard"], **{**quiet, "env": ONE}) for _ in range(2)
    ]
    time.sleep(3)
    try:
        yield address
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def kill(folder: Path, quick: bool) -> Iterator[Line]:
    count = 10 if quick else KILLS
    x, _ = load_breast_cancer(return_X_y=True, as_frame=True)
    x.to_csv(folder / "train.csv", index=False)
    x.sample(256 * count, replace=True, random_state=0).to_csv(folder / "long.csv", index=False)
    (folder / "paced.py").write_text(PACED)
    words = ("tabular", "paced:predict", "long.csv", "-b", "train.csv", "-n", 256, "--flips", 0)
    subprocess.run(command(*words, "-o", "whole.jsonl"), cwd=folder, check=True)
    whole = (folder / "whole.jsonl").read_bytes()
    journal, rng, killed = folder / "killed.jsonl.partial", random.Random(0), 0
    for end in sorted(rng.randrange(len(whole)) for _ in range(count)):
        process = subprocess.Popen(command(*words, "-o", "killed.jsonl", "--resume"), cwd=folder)
        while process.poll() is None and (not journal.exists() or journal.stat().st_size < end):
            time.sleep(0.001)
        time.sleep(rng.random() * 0.1)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(*words, "-o", "killed.jsonl", "--resume"), cwd=folder, check=True)
    same = (folder / "killed.jsonl").read_bytes() == whole
    yield Line(
        f"killed {killed} times in a row, resumed each time",
        "byte-identical" if same else "OTHER BYTES",
        "byte-identical",
    )


PARTS: dict[str, Callable[[Path, bool], Iterator[Line]]] = {
    "adult": adult, "exact": exact, "text": text, "kill": kill,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    print("| | found | target |\n|---|---|---|")
    for name in asked.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for line in PARTS[name](Path(folder), asked.quick):
                print(f"| {line.what} | {line.found} | {line.target} |", flush=True)


if __name__ == "__main__":
    main()
