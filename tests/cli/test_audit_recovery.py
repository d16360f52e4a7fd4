"""A run that is killed loses nothing: --resume goes on, and no byte tells that there was a stop."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from limecli.audit.journal import Journal
from tests.cli.test_audit import people

SLOW = """
import time

def predict(rows):
    time.sleep(0.02 * (len(rows) <= 256))  # a block takes its time
    score = 1 / (1 + 2.718281828 ** -((rows["income"].astype(float) - 30) / 9))
    return [[1 - s, s] for s in score]
"""
KILLS = 100 if os.environ.get("LIMECLI_ALL") else 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recovery")
    people(2000, 3)[["age", "income"]].to_csv(folder / "train.csv", index=False)
    people(2000, 1).to_csv(folder / "rows.csv", index=False)
    (folder / "slow.py").write_text(SLOW)
    return folder


WORDS = ("audit", "tabular", "slow:predict", "rows.csv", "-b", "train.csv", "-n", "256", "-q",
         "--flips", "0", "--id-column", "person")  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(folder, command):
    subprocess.run([*command, *WORDS, "-o", "whole.jsonl"], cwd=folder, check=True)
    return (folder / "whole.jsonl").read_bytes()


@pytest.fixture
def started(command, folder):
    """Start an audit; whatever still runs at the end of the test is ended."""
    with contextlib.ExitStack() as stack:

        def start(*options, rows="rows.csv", **more):
            words = [rows if word == "rows.csv" else word for word in WORDS]
            process = subprocess.Popen(
                [*command, *words, *options], cwd=folder, text=True,
                **{"stderr": subprocess.PIPE, **more},
            )  # fmt: skip
            stack.callback(ended, process)
            return process

        yield start


def ended(process):
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def killed_at(process, path, size, number=signal.SIGKILL):
    """Send a signal once the journal is that long; what the process ended with."""
    while process.poll() is None and size_of(path) < size:
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait()


def test_killed_again_and_again_the_file_is_the_same(folder, started, undisturbed):
    journal = folder / "killed.jsonl.partial"
    rng = random.Random(0)
    ends = sorted(rng.randrange(len(undisturbed)) for _ in range(KILLS))
    for end in ends:
        killed_at(started("-o", "killed.jsonl", "--resume"), journal, end)
    last = started("-o", "killed.jsonl", "--resume")
    assert last.wait() == 0, last.stderr.read()
    assert (folder / "killed.jsonl").read_bytes() == undisturbed
    assert not journal.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_ends_in_good_order(folder, started, undisturbed, number, code):
    name = f"signal{code}.jsonl"
    process = started("-o", name, "-j", "2")
    assert killed_at(process, folder / f"{name}.partial", len(undisturbed) // 3, number) == code
    assert "Traceback" not in process.stderr.read()
    assert started("-o", name, "--resume").wait() == 0
    assert (folder / name).read_bytes() == undisturbed


@pytest.mark.parametrize("cut", [1, 17, 4000])
def test_a_torn_tail_is_written_again(folder, started, undisturbed, cut):
    (folder / "torn.jsonl").write_bytes(undisturbed[:-cut])
    assert started("-o", "torn.jsonl", "--resume").wait() == 0
    assert (folder / "torn.jsonl").read_bytes() == undisturbed


def test_a_finished_audit_is_left_as_it_is(folder, started, undisturbed):
    shutil.copy(folder / "whole.jsonl", folder / "again.jsonl")
    assert started("-o", "again.jsonl", "--resume").wait() == 0
    assert (folder / "again.jsonl").read_bytes() == undisturbed


def refused(process, code, *words):
    stderr = process.communicate()[1]
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert all(word in stderr for word in words), stderr


@pytest.fixture
def half(folder, undisturbed):
    """A journal of half an audit."""
    lines = undisturbed.splitlines(keepends=True)[:800]
    for path in folder.glob("half*"):
        path.unlink()
    (folder / "half.jsonl.partial").write_bytes(b"".join(lines))
    return folder / "half.jsonl.partial"


def test_other_settings_are_refused(half, started):
    before = half.read_bytes()
    refused(started("-o", "half.jsonl", "--resume", "--seed", "1"), 2, "seed is 0, here it is 1")
    assert half.read_bytes() == before


@pytest.mark.parametrize("line", [5, 1500])
def test_a_changed_input_is_refused(half, started, folder, line):
    """Be it in what was explained already or in what was not."""
    before = (folder / "rows.csv").read_text()
    lines = before.splitlines()
    lines[line] = lines[line].replace(lines[line].split(",")[2], "12.5")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    try:
        refused(started("-o", "half.jsonl", "--resume"), 4, "input sha256")
    finally:
        (folder / "rows.csv").write_text(before)


def test_a_changed_background_is_refused(half, started, folder):
    (folder / "other.csv").write_text((folder / "train.csv").read_text() + "40,30.0\n")
    refused(started("-o", "half.jsonl", "--resume", "-b", "other.csv"), 4, "background")


def test_a_changed_model_is_refused(half, started, folder):
    (folder / "slow.py").write_text(SLOW.replace("- 30)", "- 31)"))
    try:
        refused(started("-o", "half.jsonl", "--resume"), 3, "model sha256")
    finally:
        (folder / "slow.py").write_text(SLOW)


def test_stdin_is_fed_again_and_compared(folder, command, undisturbed):
    words = [*WORDS[:3], "-", *WORDS[4:], "-o", "piped.jsonl"]
    rows = (folder / "rows.csv").read_bytes()

    def run(data, *options):
        return subprocess.run([*command, *words, *options], cwd=folder, input=data,
                              capture_output=True, check=False)  # fmt: skip

    assert run(rows).returncode == 0
    whole = (folder / "piped.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (folder / "piped.jsonl").unlink()
    (folder / "piped.jsonl.partial").write_bytes(b"".join(lines[:1000]))
    other = rows.replace(b"p7,", b"x7,")
    first = rows.splitlines()[8].split(b",")
    changed = rows.replace(b",".join(first), b",".join([first[0], b"99", *first[2:]]))
    found = run(changed, "--resume")
    assert (found.returncode, b"its input" in found.stderr) == (4, True)
    assert other != rows
    assert run(rows, "--resume").returncode == 0
    assert (folder / "piped.jsonl").read_bytes() == whole


def test_an_edited_record_is_not_gone_on_with(half, started):
    half.write_bytes(half.read_bytes().replace(b'"id":"p100"', b'"id":"p101"', 1))
    refused(started("-o", "half.jsonl", "--resume"), 6, "was edited")


def test_a_stopped_audit_is_not_overwritten(half, started):
    before = half.read_bytes()
    refused(started("-o", "half.jsonl"), 2, "--resume")
    assert half.read_bytes() == before


def test_two_audits_cannot_write_the_same_file(half, started):
    other = Journal(str(half))
    before = half.read_bytes()
    refused(started("-o", "half.jsonl", "--resume"), 6, "another audit")
    assert half.read_bytes() == before
    other.close()
    assert started("-o", "half.jsonl", "--resume").wait() == 0


def test_an_input_that_changes_during_the_run_is_told(folder, started):
    shutil.copy(folder / "rows.csv", folder / "growing.csv")
    process = started("-o", "grown.jsonl", rows="growing.csv")
    while not size_of(folder / "grown.jsonl.partial"):
        time.sleep(0.002)
    with (folder / "growing.csv").open("a") as file:
        file.write("late,40,30.5,Rome,f\n")
    refused(process, 4, "growing.csv changed while it was read")
    assert not (folder / "grown.jsonl").exists()


def mounted(path):
    """A small file system; None where nobody may mount one."""
    path.mkdir(exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path],
        capture_output=True,
        check=False,
    )
    return made.returncode == 0


def test_a_full_disk_loses_nothing(folder, started, undisturbed):
    small = folder / "small"
    if not mounted(small):
        pytest.skip("mounting a small file system takes more rights than there are here")
    try:
        refused(started("-o", "small/out.jsonl"), 6, "No space left", "--resume")
        kept = (small / "out.jsonl.partial").read_bytes()
        assert kept
        assert undisturbed.startswith(kept)
        assert not (small / "out.jsonl").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert started("-o", "small/out.jsonl", "--resume").wait() == 0
        assert (small / "out.jsonl").read_bytes() == undisturbed
    finally:
        subprocess.run(["umount", "-l", small], check=False)
