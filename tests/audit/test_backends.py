"""Work spread over threads, processes and clusters: same outcomes, same order, nothing lost."""

from __future__ import annotations

import itertools
import os
import pickle
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

from limecli.audit.backends import Parallelism, in_order, one_thread
from limecli.audit.backends.at_work import Versions
from limecli.errors import InputError, LimecliError, PredictError, UsageError
from limecli.models.trust import UntrustedNameError
from tests.audit import work
from tests.conftest import ROOT

# Ray reads its settings when it is imported, so nothing here imports it.
needs_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="needs limecli[dask]")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs limecli[ray]")
DASK = pytest.param("dask", marks=needs_dask)
RAY = pytest.param("ray", marks=needs_ray)
IN_ONE_MACHINE = ["alone", "threading", "loky"]
EVERY = [*IN_ONE_MACHINE, DASK, RAY]


class Notes(list):
    """What the user was told."""

    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def notes() -> Notes:
    return Notes()


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Started:
    """Processes of a cluster; all end with it, each with what it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, *words: str) -> None:
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    words,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
                )
            )

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)


@pytest.fixture(scope="module")
def dask_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real scheduler and two `dask worker` processes, over TCP."""
    folder = tmp_path_factory.mktemp("dask")
    where = folder / "scheduler.json"
    start = Started(folder)
    dask = (sys.executable, "-m", "dask")
    start(*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
          "--scheduler-file", str(where))  # fmt: skip
    try:
        for _ in range(2):
            start(*dask, "worker", "--scheduler-file", str(where), "--nthreads", "1",
                  "--no-dashboard", "--local-directory", str(folder))  # fmt: skip
        wait_until(where.exists)
        from distributed import Client

        with Client(scheduler_file=str(where), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=30)
            address = client.scheduler.address
        yield address
    finally:
        start.stop()


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A real Ray of two workers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        start = Started(Path(folder))
        start(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
              "--port", str(port), "--node-ip-address", "127.0.0.1", "--num-cpus", "2",
              "--include-dashboard=false", "--disable-usage-stats", "--temp-dir", folder,
              "--object-store-memory", str(100 << 20))  # fmt: skip
        try:
            wait_until(lambda: b"Ray runtime started" in (Path(folder) / "0.log").read_bytes(), 60)
            yield f"127.0.0.1:{port}"
        finally:
            start.stop()


@pytest.fixture
def how(request: pytest.FixtureRequest) -> Callable[[str], Parallelism]:
    """Two workers of a backend; "alone" is this process."""

    def of(backend: str) -> Parallelism:
        if backend == "alone":
            return Parallelism()
        scheduler = {"dask": "dask_scheduler", "ray": "ray_cluster"}.get(backend)
        return Parallelism(2, backend, scheduler and request.getfixturevalue(scheduler))

    return of


@pytest.mark.parametrize("backend", EVERY)
def test_outcomes_come_in_the_order_of_the_tasks(backend, how, notes):
    outcomes = in_order(work.square, 7, range(50), how(backend), notes)
    assert list(outcomes) == [7 + task * task for task in range(50)]
    assert notes == []


@pytest.mark.parametrize("backend", EVERY)
def test_a_bounded_number_of_tasks_and_outcomes_exists(backend, how, notes):
    pulled = itertools.count()
    ahead = []
    tasks = (next(pulled) and 0 for _ in range(60))
    outcomes = in_order(work.sleep, None, tasks, how(backend), notes)
    for taken, _ in enumerate(outcomes, start=1):
        if taken in (1, 20):
            time.sleep(0.3)  # all that is handed out is done by now
        ahead.append(int(repr(pulled)[6:-1]) - taken)
    assert max(ahead) == (0 if backend == "alone" else 7)  # four for each worker, one is here


def test_no_task_is_pulled_before_the_first_outcome_is_asked_for(notes):
    def tasks():
        pytest.fail("pulled")
        yield 1

    in_order(work.square, 0, tasks(), Parallelism(), notes).close()


@pytest.mark.parametrize("backend", [*IN_ONE_MACHINE, DASK])
def test_what_work_raises_comes_after_the_outcomes_before_it(backend, how, notes):
    outcomes = in_order(work.fail, "ours", range(20), how(backend), notes)
    before = list(itertools.islice(outcomes, 5))
    with pytest.raises(InputError, match="row 5 is bad") as caught:
        next(outcomes)
    assert before == [0, 1, 2, 3, 4]
    assert caught.value.hint == "mend it"


@pytest.mark.parametrize("backend", IN_ONE_MACHINE)
def test_other_exceptions_are_raised_as_they_are(backend, how, notes):
    with pytest.raises(ValueError, match=r"^five$"):
        list(in_order(work.fail, "value", range(20), how(backend), notes))


def test_an_exception_that_cannot_travel_is_told_in_its_words(notes):
    with pytest.raises(RuntimeError, match=r"^AwkwardError: five$"):
        list(in_order(work.fail, "awkward", range(20), Parallelism(2), notes))


def test_the_traceback_of_a_worker_is_the_cause(notes):
    with pytest.raises(ValueError, match="five") as caught:
        list(in_order(work.fail, "value", range(20), Parallelism(2), notes))
    assert 'raise ValueError("five")' in str(caught.value.__cause__)


@pytest.mark.parametrize("backend", IN_ONE_MACHINE)
def test_what_tasks_raise_comes_after_the_outcomes_before_it(backend, how, notes):
    def tasks():
        yield from range(3)
        raise InputError("the file ends here")

    outcomes = in_order(work.square, 0, tasks(), how(backend), notes)
    assert list(itertools.islice(outcomes, 3)) == [0, 1, 4]
    with pytest.raises(InputError, match="ends here"):
        next(outcomes)


@pytest.mark.parametrize(
    "error", [InputError("bad", "mend it"), UntrustedNameError("bad", "mend it", "os.system")]
)
def test_our_errors_travel_whole(error: LimecliError):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


# --- What is shared


@pytest.mark.parametrize("backend", ["loky", DASK, RAY])
def test_what_is_shared_is_unpickled_once_by_each_worker(backend, how, notes, tmp_path):
    shared = work.Counted(tmp_path)
    workers = set(in_order(work.place, shared, range(24), how(backend), notes))
    assert len(workers) == 2
    assert sorted(int(mark.name.split("-")[0]) for mark in tmp_path.iterdir()) == sorted(workers)


def test_threads_share_the_object_itself(notes, tmp_path):
    shared = work.Counted(tmp_path)
    workers = set(in_order(work.place, shared, range(24), Parallelism(2, "threading"), notes))
    assert workers == {os.getpid()}
    assert list(tmp_path.iterdir()) == []


def test_only_the_user_reads_what_is_shared_and_it_goes_in_the_end(notes, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcomes = in_order(work.square, 1, range(20), Parallelism(2), notes)
    next(outcomes)
    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(list(outcomes)) == 19
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_pickled_is_a_usage_error(notes):
    with pytest.raises(UsageError, match="cannot be sent to other processes") as caught:
        next(in_order(work.square, threading.Lock(), range(20), Parallelism(2), notes))
    assert "threading" in caught.value.hint


def test_what_a_worker_cannot_read_raises_there_and_is_no_loss(notes):
    with pytest.raises(OSError, match="not here"):
        next(in_order(work.sleep, work.Refuses(), [0.0] * 9, Parallelism(2), notes))
    assert notes == []


def test_a_worker_with_other_versions_is_refused():
    there = Versions(("Python 2.7", *Versions.here().versions[1:]))
    with pytest.raises(UsageError, match=r"has Python 3\.\d+, the driver Python 2\.7"):
        there.check()


# --- Workers that die


@pytest.mark.parametrize("backend", ["loky", DASK, RAY])
def test_the_work_of_a_killed_worker_is_done_again(backend, how, notes, tmp_path):
    outcomes = in_order(work.kill_once, tmp_path, range(30), how(backend), notes)
    assert list(outcomes) == list(range(30))
    assert (tmp_path / "killed").exists()
    assert len(notes) == 1 or (backend == "dask" and not notes)  # Dask is asked once a second
    assert all("a worker was lost" in note for note in notes)


@pytest.mark.parametrize("backend", ["loky", RAY])
def test_work_that_kills_its_worker_three_times_is_given_up(backend, how, notes, tmp_path):
    outcomes = in_order(work.kill_always, tmp_path, range(30), how(backend), notes)
    with pytest.raises(PredictError, match="died 3 times on the same work") as caught:
        list(outcomes)
    assert "--jobs" in caught.value.hint
    assert len(list(tmp_path.iterdir())) == 3
    assert len(notes) == 1


@needs_dask
def test_dask_gives_up_work_that_kills_its_workers(how, notes, tmp_path):
    outcomes = in_order(work.kill_always, tmp_path, range(30), how("dask"), notes)
    with pytest.raises(PredictError, match="died 3 times on the same work"):
        list(outcomes)
    assert 3 <= len(list(tmp_path.iterdir())) <= 6  # the scheduler counts by its own settings


# --- The end


def test_closing_early_ends_the_workers_and_removes_the_file(notes, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcomes = in_order(work.place, None, range(1000), Parallelism(2), notes)
    workers = {next(outcomes) for _ in range(10)}
    outcomes.close()
    wait_until(lambda: not any(alive(worker) for worker in workers))
    assert list(tmp_path.iterdir()) == []


DRIVER = """
import os, sys
from pathlib import Path
from limecli.audit.backends import Parallelism, in_order
from tests.audit import work
from tests.conftest import ROOT

if __name__ == "__main__":
    backend, name, shared = sys.argv[1:4]
    shared = Path(shared) if name == "write_pid" else shared
    how = Parallelism(2, backend)
    for outcome in in_order(getattr(work, name), shared, range(int(sys.argv[4])), how, print):
        pass
    os.write(1, f"driver {outcome}\\n".encode())
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that has work done, as a group of its own, in a folder with a trap."""
    script = tmp_path / "driver" / "script.py"
    script.parent.mkdir()
    script.write_text(DRIVER)
    home = tmp_path / "home"
    home.mkdir()
    (home / "trap.py").write_text("")
    (home / "tmp").mkdir()
    started = []

    def start(*words: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-W", "error", str(script), *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=home,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYTHONSAFEPATH": "1",
                    "TMPDIR": str(home / "tmp"),
                },
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


OWN = ["loky", DASK, RAY]


@pytest.mark.parametrize("backend", OWN)
def test_own_workers_keep_off_stdout_and_the_working_directory(backend, driver):
    out, err = driver(backend, "intrude", "trap", 20).communicate(timeout=60)
    assert out == "driver False\n", err
    assert (
        err.count("from a worker") == err.count("from a library") == (0 if backend == "ray" else 20)
    )
    assert err.replace("from a worker", "").replace("from a library", "").strip() == ""


@pytest.mark.parametrize("backend", ["loky", DASK])
def test_ctrl_c_ends_driver_and_workers(backend, driver, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    process = driver(backend, "write_pid", pids, 100_000)
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert out == ""
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1
    wait_until(lambda: not any(alive(int(pid.name)) for pid in pids.iterdir()))
    assert list((tmp_path / "home" / "tmp").iterdir()) == []


def test_workers_and_what_is_shared_do_not_outlive_a_killed_driver(driver, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    process = driver("loky", "write_pid", pids, 100_000)
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    process.kill()
    wait_until(lambda: not any(alive(int(pid.name)) for pid in pids.iterdir()))
    wait_until(lambda: not any((tmp_path / "home" / "tmp").glob("limecli-*")))


# --- The same bits


@pytest.mark.parametrize("backend", [*IN_ONE_MACHINE[1:], DASK, RAY])
def test_bits_are_the_same_wherever_they_are_computed(backend, how, notes):
    from sklearn.ensemble import RandomForestRegressor

    generator = np.random.default_rng(0)
    rows = generator.normal(size=(400, 8))
    model = RandomForestRegressor(40, random_state=0, n_jobs=-1, max_depth=6)
    model.fit(rows, rows @ generator.normal(size=8))
    tasks = [generator.normal(size=(300, 8)) for _ in range(6)]
    alone = list(in_order(work.predict, model, tasks, Parallelism(), notes))
    assert list(in_order(work.predict, model, tasks, how(backend), notes)) == alone


def test_joblib_is_sequential_inside():
    with one_thread():
        assert effective_n_jobs(-1) == 1
    assert effective_n_jobs(3) == 3


@pytest.mark.parametrize("backend", ["alone", "threading", "loky"])
def test_native_libraries_use_one_thread_also_those_loaded_late(backend):
    jobs = 1 if backend == "alone" else 2
    script = (
        "import numpy, sys\n"
        "from limecli.audit.backends import Parallelism, in_order\n"
        "from tests.audit import work\n"
        "if __name__ == '__main__':\n"
        f"    how = Parallelism({jobs}, {backend if jobs == 2 else None!r})\n"
        "    assert 'scipy.linalg' not in sys.modules\n"
        "    print(*in_order(work.threads, None, range(6), how, print))\n"
    )
    many = {**os.environ, "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
    seen = subprocess.run([sys.executable, "-c", script], env=many, cwd=ROOT, text=True,
                          capture_output=True, check=True, timeout=60).stdout  # fmt: skip
    assert set(seen) <= set("[1, ]\n")
    assert "1, 1" in seen


def test_one_thread_ends_with_the_last_that_asked_for_it():
    libraries = ThreadpoolController()
    with libraries.limit(limits=2, user_api="blas"):
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        during = {library["num_threads"] for library in libraries.select(user_api="blas").info()}
        second.__exit__(None, None, None)
        after = {library["num_threads"] for library in libraries.select(user_api="blas").info()}
    assert (during, after) == ({1}, {2})


# --- Speed

WARM = [0.1] * 12  # both workers have begun when these are done


def test_two_workers_are_nearly_twice_as_fast_as_one(notes):
    outcomes = in_order(work.sleep, None, WARM + [0.1] * 40, Parallelism(2), notes)
    assert list(itertools.islice(outcomes, len(WARM))) == WARM
    begin = time.monotonic()
    assert len(list(outcomes)) == 40
    assert time.monotonic() - begin < 4 / 1.8


def test_a_slow_task_does_not_keep_the_others_waiting(notes):
    outcomes = in_order(work.sleep, None, [*WARM, 0.6] + [0.1] * 6, Parallelism(2), notes)
    assert list(itertools.islice(outcomes, len(WARM))) == WARM
    begin = time.monotonic()
    assert list(outcomes) == [0.6] + [0.1] * 6
    assert time.monotonic() - begin < 1  # one after another: 1.2


# --- What is asked for wrongly


@pytest.mark.parametrize(
    ("jobs", "backend", "scheduler", "message"),
    [
        (0, None, None, "--jobs is 0"),
        (-2, None, None, "--jobs is -2"),
        (2, "spark", None, "no backend 'spark'"),
        (2, None, "tcp://127.0.0.1:1", "--scheduler needs --backend dask or ray"),
        (2, "loky", "tcp://127.0.0.1:1", "--scheduler needs --backend dask or ray"),
    ],
)
def test_nonsense_is_a_usage_error(jobs, backend, scheduler, message):
    with pytest.raises(UsageError, match=message):
        Parallelism(jobs, backend, scheduler)


@pytest.mark.parametrize("backend", [DASK, RAY])
@pytest.mark.parametrize(
    ("address", "message"),
    [("tcp://127.0.0.1:1", "no scheduler answers at tcp://127.0.0.1:1"), ("here", "no address")],
)
def test_a_scheduler_that_does_not_answer_is_a_usage_error(backend, address, message, notes):
    begin = time.monotonic()
    with pytest.raises(UsageError, match=message):
        next(in_order(work.square, 0, range(3), Parallelism(2, backend, address), notes))
    assert time.monotonic() - begin < 12


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed.client"), ("ray", "ray")])
def test_a_missing_extra_is_named(backend, module, notes, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        next(in_order(work.square, 0, range(3), Parallelism(2, backend), notes))
    assert f"pip install 'limecli[{backend}]'" in caught.value.hint


@needs_dask
def test_a_cluster_has_the_workers_that_it_has(how, notes):
    asked = Parallelism(5, "dask", how("dask").scheduler)
    assert len(list(in_order(work.square, 0, range(20), asked, notes))) == 20
    (note,) = notes
    assert "has room for 2 tasks at a time: --jobs 5 does not apply" in note
