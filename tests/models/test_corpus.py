"""The corpus of `tests/hostile/corpus.py`: nothing runs, nothing untrusted is imported."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from limecli.errors import LimecliError, ModelError
from limecli.models.detect import load_model
from limecli.models.interface import LoadOptions
from limecli.models.trust import trusted_names
from tests.conftest import ROOT, SAMPLES
from tests.hostile.corpus import BOMBS, CASES, PREDICTIONS, Name, written

WATCHED = re.compile(
    r"import$|open$|exec$|compile$|os\.(?!listdir|scandir)|subprocess\.|socket\.|ctypes\.|shutil\."
    r"|pty\.|webbrowser\.|urllib\.|smtplib\.|ftplib\.|sqlite3\.|tempfile\.|code\.__new__"
    r"|function\.__new__|builtins\.(breakpoint|input)|marshal\.|mmap\.|sys\.(_getframe|set|add)"
)
GIGABYTE = 1 << 30
ROWS = pd.DataFrame(np.ones((3, 7)), columns=list("abcdefg"))


class Recorder:
    """What the process did while it was on, as audit events tell. A hook cannot be removed."""

    def __init__(self):
        self.on, self.seen, self.model = False, [], ""
        sys.addaudithook(self._hook)

    def _hook(self, event, args):
        if self.on and WATCHED.match(event):
            # Versions of installed libraries are read from where they are installed.
            own = str(args[0]).startswith((self.model, sys.prefix, sys.base_prefix))
            if event == "open" and own and str(args[1]) in ("r", "rb"):
                return
            if event == "sys._getframe":  # pandas and numpy look at who calls
                return
            self.seen.append((event, str(args)[:200]))

    @contextlib.contextmanager
    def watch(self, model):
        """Record everything but the reading of the model itself."""
        self.seen, self.model, self.on = [], str(model), True
        try:
            yield self.seen
        finally:
            self.on = False


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """A recorder, once all that a trusted name may import is there: no import is left to allow."""
    for module in {module for module, _ in trusted_names()}:
        with contextlib.suppress(ImportError):  # names of other versions
            importlib.import_module(module)
    version("numpy")
    repr(LogisticRegression())
    benign = tmp_path_factory.mktemp("benign") / "model.pkl"
    for compress in (0, "zlib", "gzip", "bz2", "lzma", "xz"):
        joblib.dump(LogisticRegression().fit(ROWS.to_numpy() * [[1], [2], [3]], [0, 1, 1]), benign,
                    compress=compress)  # fmt: skip
        load_model(str(benign), LoadOptions(kind="tabular")).predict_fn(ROWS)
    for code in (written({"a": 1}), written(Name("os", "none")), b"(Vx\nlp0\n.", b"\x80\x06.",
                 written()):  # fmt: skip
        benign.write_bytes(code)
        with pytest.raises(ModelError):
            load_model(str(benign), LoadOptions(kind="tabular"))
    return Recorder()


@pytest.fixture
def evil(tmp_path):
    """Writes a case's file; its marker must not be there at the end."""
    marker = tmp_path / "marker"

    def write(case):
        path = tmp_path / "evil.pkl"
        path.write_bytes(case.build(marker))
        return path

    yield write
    assert not marker.exists(), "the payload ran"


def test_the_corpus_is_large():
    names = [str(case) for case in (*CASES, *BOMBS, *PREDICTIONS)]
    assert len(set(names)) == len(names) >= 250


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_malicious_file_is_refused(case, evil, recorder):
    path = evil(case)
    before = set(sys.modules)
    with recorder.watch(path) as seen, pytest.raises(ModelError) as error:
        load_model(str(path), LoadOptions(kind="tabular"))
    assert not seen
    assert set(sys.modules) == before
    for word in (path.name, *case.words):
        assert word in error.value.message


def test_a_malicious_file_cut_anywhere(tmp_path, recorder):
    marker, path = tmp_path / "marker", tmp_path / "cut.pkl"
    for case in (CASES[0], CASES[len(CASES) // 2], PREDICTIONS[0]):
        whole = case.build(marker)
        for end in range(1, len(whole) - 1, 1 if len(whole) < 300 else 17):
            path.write_bytes(whole[:end])
            with recorder.watch(path) as seen, pytest.raises(ModelError):
                load_model(str(path), LoadOptions(kind="tabular"))
            assert not seen
    assert not marker.exists()


@pytest.mark.parametrize("case", PREDICTIONS, ids=str)
def test_a_model_does_nothing_but_predict(case, evil, recorder):
    """These may load; then only their answers may be wrong."""
    path = evil(case)
    with recorder.watch(path) as seen, contextlib.suppress(LimecliError):
        load_model(str(path), LoadOptions(kind="tabular")).predict_fn(ROWS)
    assert not seen


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "escape"], ids=str)
def test_a_name_cannot_steer_the_terminal(case, evil, fails):
    stderr = fails(3, "tabular", evil(case), SAMPLES / "penguin.csv").stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", stderr)


BOMB_SQUAD = """
import json, os, resource, sys, time
from limecli.errors import ModelError
from limecli.models.detect import load_model
from limecli.models.interface import LoadOptions
import sklearn.pipeline, sklearn.tree, scipy.stats, pandas
for path in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 6))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            load_model(path, LoadOptions(kind="tabular"))
            os._exit(0)
        except ModelError:
            os._exit(3)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(70)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps([path, status, usage.ru_maxrss << 10]), flush=True)
"""


@pytest.fixture(scope="module")
def defused(tmp_path_factory):
    """How each bomb ended, in a process of its own under limits: (exit, signal, peak of memory)."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = {}
    for index, case in enumerate(BOMBS):
        paths[case.name] = folder / f"{index}.pkl"
        paths[case.name].write_bytes(case.build(folder / "marker"))
    names = [str(path) for path in paths.values()]

    def run(part):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", BOMB_SQUAD, *part], cwd=ROOT,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(2) as pool:
        ended = {path: rest for part in pool.map(run, (names[::2], names[1::2]))
                 for path, *rest in part}  # fmt: skip
    return {name: (*divmod(ended[str(path)][0], 256), ended[str(path)][1])
            for name, path in paths.items()}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS, ids=str)
def test_a_bomb_ends_in_bounded_memory_and_time(case, defused):
    code, signal, peak = defused[case.name]
    assert (code, signal) == (3, 0)
    assert peak < 1.5 * GIGABYTE


SAMPLE = ("global: os.system", "global: builtins.eval", "array: joblib's old", "place: gzip twice",
          "place: object array under joblib's xz", "name: a megabyte", "state: a generator's maker",
          "opcode: PERSID", "bomb: gzip of 340 MB", "bomb: laughing tuples as a key",
          "bomb: lists in lists")  # fmt: skip


def test_the_command_refuses(tmp_path):
    """As a user meets it: exit 3, one sentence, within limits of memory and time."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 * GIGABYTE, 4 * GIGABYTE))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 21))

    def run(item):
        index, start = item
        case = next(case for case in (*CASES, *BOMBS) if str(case).startswith(start))
        path = tmp_path / f"{index}.pkl"
        path.write_bytes(case.build(tmp_path / "marker"))
        command = [sys.executable, "-m", "limecli", "tabular", path, SAMPLES / "penguin.csv"]
        return start, subprocess.run(command, capture_output=True, text=True, check=False,
                                     timeout=60, preexec_fn=limit)  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        for start, done in pool.map(run, enumerate(SAMPLE)):
            assert done.returncode == 3, (start, done.stderr)
            assert done.stderr.startswith("limecli: "), start
            assert done.stdout == ""
            assert "Traceback" not in done.stderr
    assert not Path(tmp_path / "marker").exists()
