"""What goes to which stream, in which clothes, and what happens when a stream or the user goes."""

import contextlib
import csv
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tests.conftest import SAMPLES

QUICK = ("-n", "100", "--no-progress")
SCRIPT = Path(sys.executable).with_name("limecli")  # `python -m` would search the folder itself
COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-9]|38|48)[\d;]*m")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A model with its training data."""
    folder = tmp_path_factory.mktemp("streams")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(300, 6)).round(3), columns=list("abcdef"))
    rows.to_csv(folder / "rows.csv", index=False)
    model = LogisticRegression().fit(rows, np.where(rows["a"] + rows["b"] > 0, "yes", "no"))
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    return folder


@pytest.fixture
def all_rows(folder):
    return "tabular", folder / "model.pkl", folder / "rows.csv", "-r", "all", "-n", "10"


@pytest.fixture
def one_row(folder):
    return "tabular", folder / "model.pkl", folder / "rows.csv", "-r", "0", *QUICK


@pytest.fixture
def started(command, tmp_path):
    """Start the command; whatever still runs at the end of the test is ended."""
    with contextlib.ExitStack() as stack:

        def start(*args, program=None, **options):
            process = subprocess.Popen(
                [*(program or command), *map(str, args)],
                **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path,
                   **options},
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


# The reader goes away


def closed_early(process, read=0):
    """Read some of stdout, close it, and wait: (exit code, stderr)."""
    for _ in range(read):
        process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read().decode() if process.stderr else ""
    if process.stderr:
        process.stderr.close()
    return process.wait(120), stderr


# Containers set PYTHONUNBUFFERED: then sys.stdout.buffer may write a part and say so, not raise.
UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@UNBUFFERED
@pytest.mark.parametrize("form", ["json", "csv", "terminal"])
def test_reader_that_leaves_after_a_line_is_no_error(started, all_rows, form, unbuffered):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    code, stderr = closed_early(started(*all_rows, "-f", form, "-q", env=env), read=1)
    assert code == 141
    assert stderr == ""


@pytest.mark.parametrize("form", ["json", "csv", "terminal"])
def test_reader_that_never_read_is_no_error(started, one_row, form):
    code, stderr = closed_early(started(*one_row, "-f", form, "-q"))
    assert code == 141
    assert stderr == ""


@pytest.mark.parametrize("words", [("formats",), ("schema",), ("--help",), ("--version",),
                                   ("tabular", "--help")])  # fmt: skip
def test_reader_of_short_output_that_leaves_is_no_error(started, words):
    code, stderr = closed_early(started(*words))
    assert code == 141
    assert stderr == ""


def test_reader_of_both_streams_that_leaves_is_no_error(started, all_rows):
    process = started(*all_rows, stderr=subprocess.STDOUT)
    code, _ = closed_early(process)
    assert code == 141


def test_file_is_written_although_the_reader_left(started, one_row, tmp_path):
    out = tmp_path / "out.json"
    code, _ = closed_early(started(*one_row, "-o", out, "-f", "csv", "-q"))
    assert code == 141
    assert json.loads(out.read_text())["schema_version"] == 1


@UNBUFFERED
def test_report_cut_short_on_stdout_is_a_report_fault(command, all_rows, tmp_path, unbuffered):
    # Files limited to 1 KiB, as on a disk that fills up: half a report must not count as one.
    words = " ".join(f"'{word}'" for word in [*command, *all_rows, "--json", "-q"])
    result = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; exec {words} > out.json"], cwd=tmp_path, timeout=120,
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert result.returncode == 6, result.stderr
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr


def test_full_disk_behind_stdout_is_a_report_fault(started, one_row):
    with Path("/dev/full").open("wb") as full:
        process = started(*one_row, "--json", "-q", stdout=full)
        stderr = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 6
    assert "No space left on device" in stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


# Ctrl-C

SLOW = """
import os, time
import numpy as np

class Slow:
    classes_ = np.array(["no", "yes"])
    n_features_in_ = 6

    def predict(self, rows):
        return self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows):
        if len(rows) > 1:
            open("predicting", "w").close()
            for _ in range(600):
                time.sleep(0.1)
        return np.full((len(rows), 2), 0.5)
"""


def own_model(folder, code, name):
    """Put `code` into a module in `folder` and pickle its class `name` beside it."""
    (folder / "ownmodel.py").write_text(code)
    subprocess.run(
        [sys.executable, "-c",
         f"import ownmodel, pickle; pickle.dump(ownmodel.{name}(), open('own.pkl', 'wb'))"],
        cwd=folder, check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    return "own.pkl", "--trust", f"ownmodel.{name}"


def wait_for(path, process):
    limit = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < limit
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def interrupted(process):
    """Send Ctrl-C: (exit code, stderr, seconds until the end)."""
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert stdout == b""
    return process.returncode, stderr.decode(), time.monotonic() - sent


def test_ctrl_c_ends_a_slow_model_at_once_and_leaves_no_file(started, folder, tmp_path):
    model = own_model(tmp_path, SLOW, "Slow")
    process = started("tabular", *model, folder / "rows.csv", "-r", "0", *QUICK,
                      "-o", "out.json", "-q", program=[SCRIPT])  # fmt: skip
    wait_for(tmp_path / "predicting", process)
    code, stderr, seconds = interrupted(process)
    assert code == 130
    assert stderr.splitlines() == ["limecli: interrupted"]
    assert seconds < 5
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"ownmodel.py", "own.pkl", "predicting"}


def test_ctrl_c_ends_a_long_run_soon(started, folder, tmp_path):
    process = started("tabular", folder / "model.pkl", folder / "rows.csv", "-r", "all",
                      "-n", "2000000", "-o", "out.json")  # fmt: skip
    first = process.stderr.readline()  # the note about the background: the work begins
    time.sleep(2)
    code, stderr, seconds = interrupted(process)
    assert b"background" in first
    assert code == 130
    assert stderr.splitlines()[-1:] == ["limecli: interrupted"]
    assert "Traceback" not in stderr
    assert seconds < 5
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_a_model_is_imported_is_told_in_a_line(started, folder, tmp_path):
    model = own_model(tmp_path, SLOW, "Slow")
    (tmp_path / "ownmodel.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")  # fmt: skip # noqa: E501
    process = started("tabular", *model, folder / "rows.csv", "-r", "0", program=[SCRIPT])
    wait_for(tmp_path / "importing", process)
    code, stderr, seconds = interrupted(process)
    assert code == 130
    assert stderr.splitlines() == ["limecli: interrupted"]
    assert seconds < 5


def test_ctrl_c_is_told_as_json_when_asked(started, folder, tmp_path):
    model = own_model(tmp_path, SLOW, "Slow")
    process = started("tabular", *model, folder / "rows.csv", "-r", "0", *QUICK, "-q",
                      "--error-format", "json", program=[SCRIPT])  # fmt: skip
    wait_for(tmp_path / "predicting", process)
    code, stderr, _ = interrupted(process)
    assert code == 130
    assert json.loads(stderr)["error"]["name"] == "INTERRUPTED"


# Errors as JSON


def errors(stderr):
    """Every line of stderr, parsed: each must be a JSON object."""
    found = [json.loads(line) for line in stderr.splitlines()]
    assert all(isinstance(item, dict) for item in found)
    return [item["error"] for item in found if "error" in item]


def test_error_as_json_has_code_name_message_and_hint(process, tmp_path, folder):
    result = process("tabular", folder / "model.pkl", folder / "rows.csv", "-r", "900",
                     "--error-format", "json")  # fmt: skip
    assert result.returncode == 4
    (error,) = errors(result.stderr)
    assert set(error) == {"code", "name", "message", "hint"}
    assert (error["code"], error["name"]) == (4, "INPUT")
    assert "--row 900" in error["message"]
    assert error["hint"].startswith("rows count from 0")


@pytest.mark.parametrize(
    "words",
    [("tabular", "m.pkl", "rows.csv", "--nope"), ("tabular", "m.pkl"), ("tabluar", "m.pkl"),
     ("tabular", "m.pkl", "rows.csv", "-n", "many"), ("--nope",)],
)  # fmt: skip
@pytest.mark.parametrize("asked", [("--error-format", "json"), ("--error-format=json",)])
def test_usage_error_is_told_as_json(cli, words, asked):
    result = cli(*words, *asked)
    assert result.code == 2
    assert result.stdout == ""
    (error,) = errors(result.stderr)
    assert (error["code"], error["name"]) == (2, "USAGE")
    assert error["message"]


@pytest.mark.parametrize("words", [("tabular", "m.pkl", "rows.csv", "--nope"), ("--nope",),
                                   ("tabluar",), ("tabular",)])  # fmt: skip
def test_usage_error_is_told_in_a_sentence(fails, words):
    stderr = fails(2, *words).stderr
    assert words[-1] in stderr or "MODEL" in stderr


def test_unknown_error_format_is_a_usage_error(fails, one_row):
    assert "--error-format" in fails(2, *one_row, "--error-format", "xml").stderr


def test_notes_are_json_lines_too(cli, one_row):
    result = cli(*one_row, "--error-format", "json")
    assert result.code == 0
    notes = [json.loads(line)["note"] for line in result.stderr.splitlines()]
    assert any("background" in note for note in notes)


def test_message_of_several_lines_is_one_json_line(cli, folder, tmp_path):
    path = tmp_path / "odd\nname.csv"
    result = cli("tabular", folder / "model.pkl", path, "--error-format", "json")
    assert result.code == 4
    assert "odd\nname.csv" in errors(result.stderr)[0]["message"]


def test_message_of_several_lines_is_one_line_of_text(fails, folder, tmp_path):
    path = tmp_path / "odd\nname\x1b[31m.csv"
    stderr = fails(4, "tabular", folder / "model.pkl", path).stderr
    _, hint = stderr.splitlines()
    assert hint.startswith("  hint: ")
    assert "\x1b" not in stderr


# Notes


@pytest.mark.parametrize("form", ["json", "csv", "terminal"])
def test_notes_never_go_to_stdout(cli, one_row, form):
    result = cli(*one_row, "-f", form)
    assert "limecli: background: the 300 rows" in result.stderr
    assert "limecli:" not in result.stdout


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_quiet_keeps_notes_back(cli, one_row, quiet):
    result = cli(*one_row, quiet)
    assert result.code == 0
    assert result.stderr == ""


def test_quiet_keeps_errors(fails, folder):
    stderr = fails(
        4, "tabular", folder / "model.pkl", folder / "rows.csv", "-r", "900", "-q"
    ).stderr
    assert stderr.startswith("limecli: --row 900")


def test_output_file_replaces_stdout(cli, one_row, tmp_path):
    result = cli(*one_row, "-o", tmp_path / "out.json")
    assert result.code == 0
    assert result.stdout == ""


def test_output_file_and_format_give_both(cli, one_row, tmp_path):
    result = cli(*one_row, "-o", tmp_path / "out.csv", "--json")
    assert json.loads(result.stdout)["schema_version"] == 1
    assert (tmp_path / "out.csv").read_text().startswith("id,index,status")


def test_no_progress_where_stderr_is_no_terminal(process, all_rows):
    result = process(*all_rows, "-q", "--json")
    assert result.returncode == 0
    assert result.stderr == ""


CHATTY = """
import os
import numpy as np

print("chatter: importing")

class Chatty:
    classes_ = np.array(["no", "yes"])
    n_features_in_ = 6

    def __setstate__(self, state):
        print("chatter: loading")

    def __getstate__(self):
        return {"x": 1}

    def predict(self, rows):
        return self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows):
        print("chatter: predicting")
        p = 1 / (1 + np.exp(-np.asarray(rows, dtype=float)[:, 0]))
        return np.column_stack([1 - p, p])
"""


@pytest.mark.parametrize(
    "words",
    ['print("chatter: predicting")', 'os.write(1, b"chatter, as of a C library")'],
    ids=["python", "c library"],
)
def test_model_that_prints_does_not_spoil_json(folder, tmp_path, words):
    code = CHATTY.replace('print("chatter: predicting")', words)
    model = own_model(tmp_path, code, "Chatty")
    result = subprocess.run(
        [SCRIPT, "tabular", *model, folder / "rows.csv", "-r", "0", *QUICK, "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["schema_version"] == 1
    assert "chatter: importing" in result.stderr


# Colour


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def stdout_with(cli, one_row, monkeypatch, plain_environment):
    """stdout of a piped run under these options and environment."""

    def run(*options, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        result = cli(*one_row, "-q", *options)
        assert result.code == 0, result.stderr
        return result.stdout

    return run


def test_pipe_gets_no_colour(stdout_with):
    assert "\x1b" not in stdout_with()


def test_force_color_colours_a_pipe(stdout_with):
    assert COLOUR.search(stdout_with(FORCE_COLOR="1"))


def test_color_always_colours_a_pipe(stdout_with):
    assert COLOUR.search(stdout_with("--color", "always"))


def test_color_never_beats_force_color(stdout_with):
    assert not COLOUR.search(stdout_with("--color", "never", FORCE_COLOR="1"))


def test_color_always_beats_no_color(stdout_with):
    assert COLOUR.search(stdout_with("--color", "always", NO_COLOR="1"))


def test_no_color_beats_force_color(stdout_with):
    assert not COLOUR.search(stdout_with(FORCE_COLOR="1", NO_COLOR="1"))


def test_forced_colour_changes_no_character(stdout_with):
    coloured = stdout_with("--color", "always")
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == stdout_with("--color", "never")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_files_of_data_are_never_coloured(stdout_with, form):
    assert "\x1b" not in stdout_with("--color", "always", "-f", form)


def test_text_file_is_never_coloured(cli, one_row, tmp_path, monkeypatch, plain_environment):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli(*one_row, "-q", "--color", "always", "-o", tmp_path / "out.txt").code == 0
    assert "\x1b" not in (tmp_path / "out.txt").read_text()


def on_terminal(command, args, **environment):
    """stdout of the command on a terminal of 100 columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    env = {key: value for key, value in os.environ.items()
           if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}  # fmt: skip
    process = subprocess.Popen(
        [*command, *map(str, args)], stdout=theirs, stderr=subprocess.PIPE,
        env={**env, "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(theirs)
    parts = []
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(ours, 65536):
            parts.append(part)
    os.close(ours)
    stderr = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 0, stderr
    return b"".join(parts).decode()


def test_terminal_gets_colour(command, one_row):
    assert COLOUR.search(on_terminal(command, one_row))


def test_no_color_keeps_a_terminal_plain(command, one_row):
    assert not COLOUR.search(on_terminal(command, one_row, NO_COLOR="1"))


def test_color_never_keeps_a_terminal_plain(command, one_row):
    assert not COLOUR.search(on_terminal(command, [*one_row, "--color", "never"]))


def test_picture_is_not_written_to_a_terminal(command, one_row):
    import pty

    ours, theirs = pty.openpty()
    result = subprocess.run(
        [*command, *map(str, one_row), "-f", "png"], stdout=theirs, stderr=subprocess.PIPE,
        check=False, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert result.returncode == 2
    assert b"png is not for a terminal" in result.stderr


# Names that would steer a terminal, a markup parser or a spreadsheet

MARKUP, ESCAPE, BREAK, FORMULA = "[bold]x[/bold]", "\x1b[31mred", "line\nbreak", "=1+1"
CLASSES = ["[red]no[/red]", "@SUM(\x1b[2J)"]


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A model whose columns and classes have such names."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(60, 4)), columns=[FORMULA, ESCAPE, BREAK, MARKUP])
    rows = rows.round(3)
    rows.to_csv(folder / "rows.csv", index=False)
    labels = np.array(CLASSES)[(rows.sum(axis=1) > 0).astype(int)]
    (folder / "model.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(rows, labels)))
    return folder


@pytest.fixture
def hostile_row(hostile):
    return ("tabular", hostile / "model.pkl", hostile / "rows.csv", "-r", "0", "-t", "2",
            *QUICK, "-q")  # fmt: skip


@pytest.mark.parametrize("color", ["never", "always"])
def test_markup_in_names_is_shown_as_it_is(cli, hostile_row, color):
    stdout = cli(*hostile_row, "--color", color).stdout
    assert MARKUP in stdout
    assert CLASSES[0] in stdout


def test_escapes_in_names_are_made_visible(cli, hostile_row):
    stdout = cli(*hostile_row).stdout
    assert "\x1b" not in stdout
    assert r"\x1b[31mred" in stdout
    assert r"@SUM(\x1b[2J)" in stdout


def test_colour_adds_no_escapes_of_the_names(cli, hostile_row):
    stdout = cli(*hostile_row, "--color", "always").stdout
    assert "\x1b[31mred" not in stdout
    assert "\x1b[2J" not in stdout


def test_line_break_in_a_name_starts_no_line_of_its_own(cli, hostile_row):
    stdout = cli(*hostile_row).stdout
    assert r"line\nbreak" in stdout


def test_text_report_makes_escapes_visible(cli, hostile_row, tmp_path):
    assert cli(*hostile_row, "-o", tmp_path / "out.txt").code == 0
    content = (tmp_path / "out.txt").read_text()
    assert "\x1b" not in content
    assert MARKUP in content


def test_notes_make_escapes_visible(cli, hostile, tmp_path):
    rows = pd.read_csv(hostile / "rows.csv").assign(**{"\x1b[32mgreen\nnote": 1})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    result = cli("tabular", hostile / "model.pkl", tmp_path / "rows.csv", "-r", "0", *QUICK)
    assert result.code == 0
    assert "\x1b" not in result.stderr
    assert r"\x1b[32mgreen\nnote" in result.stderr


def test_formulas_in_csv_are_disarmed(cli, hostile_row):
    lines = list(csv.DictReader(io.StringIO(cli(*hostile_row, "-f", "csv").stdout)))
    assert {"'=1+1", MARKUP, BREAK} <= {line["feature"] for line in lines}
    cells = [line[key] for line in lines for key in ("feature", "condition", "label", "id")]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []


def test_numbers_in_csv_are_left_alone(cli, hostile_row):
    lines = list(csv.DictReader(io.StringIO(cli(*hostile_row, "-f", "csv").stdout)))
    weights = [float(line["weight"]) for line in lines]
    assert min(weights) < 0 < max(weights)


def test_json_keeps_names_as_they_are(cli, hostile_row):
    report = json.loads(cli(*hostile_row, "--json").stdout)
    found = report["explanations"][0]["labels"][0]["attributions"]
    assert {item["feature"] for item in found} == {MARKUP, ESCAPE, BREAK, FORMULA}
    assert sorted(report["model"]["class_names"]) == sorted(CLASSES)


def test_png_is_drawn_with_such_names(cli, hostile_row, tmp_path):
    result = cli(*hostile_row, "-o", tmp_path / "out.png")
    assert result.code == 0, result.stderr
    assert Image.open(tmp_path / "out.png").format == "PNG"


def test_dollar_signs_in_names_start_no_formula_in_a_png(cli, hostile, tmp_path):
    rows = pd.read_csv(hostile / "rows.csv")
    rows.columns = ["$a$", r"$\nosuch{$", "$", "d"]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    model = LogisticRegression().fit(rows, np.where(rows["d"] > 0, r"$\frac$", "$"))
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    result = cli("tabular", tmp_path / "model.pkl", tmp_path / "rows.csv", "-r", "0", *QUICK,
                 "-o", tmp_path / "out.png")  # fmt: skip
    assert result.code == 0, result.stderr
    assert Image.open(tmp_path / "out.png").format == "PNG"


def test_names_of_error_messages_are_made_visible(fails, hostile, tmp_path):
    rows = pd.read_csv(hostile / "rows.csv").drop(columns=ESCAPE)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    stderr = fails(4, "tabular", hostile / "model.pkl", tmp_path / "rows.csv", "-r", "0").stderr
    assert "\x1b" not in stderr
    assert "[31mred" in stderr


@pytest.mark.parametrize("color", ["never", "always"])
def test_text_with_escapes_and_markup_is_shown_as_data(cli, color):
    text = "free \x1b[2J[blink]prize[/blink] won"
    result = cli("text", SAMPLES / "spam.joblib", text, *QUICK, "-q", "--color", color)
    assert result.code == 0, result.stderr
    assert "\x1b[2J" not in result.stdout
    plain = re.sub(r"\x1b\[[\d;]*m", "", result.stdout)
    assert r"free \x1b[2J[blink]prize[/blink] won" in plain


def test_text_with_a_lone_surrogate_is_explained(cli):
    result = cli("text", SAMPLES / "spam.joblib", "free \udcff prize", *QUICK, "-q", "--json")
    assert result.code in (0, 4, 5), result.stderr


def test_windows_code_page_does_not_stop_the_report(command, one_row):
    result = subprocess.run(
        [*command, *map(str, one_row)], capture_output=True, check=False, timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert b"why" in result.stdout
