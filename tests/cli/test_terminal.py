"""What a person sees: the command on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess

import pytest

from tests.conftest import SAMPLES

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def terminal(command):
    """Run the command on a terminal of a given width; what it wrote, escapes and all."""

    def run(*args, columns=100, **env):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*command, *(str(arg) for arg in args)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **env},
        )
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(ours)
        assert process.wait(60) == 0, b"".join(chunks).decode()
        return b"".join(chunks).decode()

    return run


PICTURE = ("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", "--hide-color", "black")


def test_a_colour_terminal_shows_the_picture(terminal):
    shown = terminal(*PICTURE, "-n", "100")
    assert shown.count("▀") > 500
    assert "... and 37 weaker superpixels: --json lists all" in ESCAPES.sub("", shown)


def test_no_picture_without_colour(terminal):
    assert "▀" not in terminal(*PICTURE, "-n", "100", "--color", "never")


def test_no_escape_without_colour(terminal):
    assert "\x1b" not in terminal(*PICTURE, "-n", "100", "--color", "never", "--no-progress")


@pytest.mark.parametrize("sampler", ["exact", "sobol"])
@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_table_fits_the_terminal(terminal, columns, sampler):
    shown = ESCAPES.sub("", terminal("tabular", SAMPLES / "penguins.pkl",
                                     SAMPLES / "penguin.csv", "-n", "500", "-q",
                                     "--sampler", sampler, columns=columns))  # fmt: skip
    table = [line.rstrip("\r") for line in shown.split("\n") if "│" in line or "┼" in line]
    assert len(table) == 10
    assert max(map(len, table)) <= columns
    assert len({re.search("[│┼]", line).start() for line in table}) == 1  # one straight axis
    assert ("exact" in table[2]) == (sampler == "exact")


def test_progress_shows_after_a_second_and_goes_away(terminal, tmp_path):
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_iris(return_X_y=True, as_frame=True)
    joblib.dump(RandomForestClassifier(300, random_state=0).fit(x, y), tmp_path / "slow.joblib")
    x.to_csv(tmp_path / "x.csv", index=False)
    shown = terminal("tabular", tmp_path / "slow.joblib", tmp_path / "x.csv", "-r", "0",
                     "-n", "200000", "--batch-size", "2000", "-k", "2",
                     "--sampler", "lime")  # fmt: skip
    assert "model evaluations" in shown
    assert re.search(r"\d+/20000\d.*/s", ESCAPES.sub("", shown))
    assert "model evaluations" not in ESCAPES.sub("", shown.rsplit("\x1b[2K", 1)[1])


def test_words_are_coloured_by_what_they_say(terminal):
    shown = terminal("text", SAMPLES / "spam.joblib", "--file", SAMPLES / "message.txt")
    line = next(line for line in shown.split("\n") if "prize" in line)
    assert re.search(r"\x1b\[[0-9;]*38;5;\d+mprize\x1b\[0m", line)
