"""`limecli diff`: what it shows and writes, and when it fails."""

from __future__ import annotations

import csv
import json

import pytest

from tests.audit.made import decision, envelope, part, skipped, written

OLD = [
    decision(0, part("age", 0, 0.5, 0.1)),
    decision(1, part("age", 0, 0.5, 0.1), part("sex", 1, -0.2, 0.1)),
    decision(2, part("age", 0, 0.5, 0.1)),
    decision(3, part("age", 0, 0.5, 0.1)),
]
NEW = [
    OLD[0],
    decision(1, part("age", 0, -0.5, 0.1), part("sex", 1, -0.2, 0.1)),
    decision(2, part("age", 0, 0.5, 0.1), label="no", value=0.6),
    skipped(3, "age is empty"),
]


@pytest.fixture
def audits(tmp_path):
    other = envelope(seed=3)
    return (written(tmp_path / "old.jsonl", envelope(), OLD),
            written(tmp_path / "new.jsonl", other, NEW))  # fmt: skip


def test_the_terminal_shows_counts_and_the_changed_decisions(cli, audits):
    result = cli("diff", *audits)
    assert result.code == 0, result.stderr
    shown = result.stdout
    assert "4 in both, 3 explained in both, 3 changed" in shown
    counts = {line.split()[0]: line.split()[1] for line in shown.splitlines()[4:11]}
    assert counts == {"prediction": "1", "top": "0", "sign": "1", "weight": "1", "fidelity": "0",
                      "skipped": "1", "missing": "0"}  # fmt: skip
    assert "yes -> no" in shown
    assert "settings seed" in shown
    assert "age +0.500 -> -0.500" in shown
    assert "age is empty" in shown
    assert "at most 0 of 2" in shown


def test_json_ends_with_every_changed_decision(cli, audits):
    content = json.loads(cli("diff", *audits, "--json").stdout)
    assert [line["id"] for line in content["changed"]] == ["1", "2", "3"]
    assert list(content)[-1] == "changed"
    assert content["counts"]["sign"] == 1
    assert content["transitions"] == [{"old": "yes", "new": "no", "count": 1}]
    assert content["chance"]["at_most"] == pytest.approx(0.1)
    same = json.loads(cli("diff", audits[0], audits[0], "--json").stdout)
    assert same["changed"] == []
    assert set(same["counts"].values()) == {0}


def test_files_hold_the_same(cli, audits, tmp_path):
    result = cli("diff", *audits, "-o", tmp_path / "diff.json")
    assert result.stdout == ""
    assert "3 decisions changed" in result.stderr
    told = json.loads((tmp_path / "diff.json").read_text())
    assert told == json.loads(cli("diff", *audits, "--json").stdout)
    cli("diff", *audits, "-o", tmp_path / "diff.csv")
    lines = list(csv.DictReader((tmp_path / "diff.csv").open()))
    assert [line["changes"] for line in lines] == ["sign, weight", "prediction", "skipped"]
    assert lines[0]["sign"] == "age +0.500 -> -0.500"
    assert (lines[1]["old_prediction"], lines[1]["new_prediction"]) == ("yes", "no")
    assert lines[2]["reason"] == "age is empty"


@pytest.mark.parametrize(("asked", "code"), [
    (("top,missing,fidelity",), 0), (("prediction",), 1), (("weight:1",), 0), (("weight:0",), 1),
    (("sign:25%",), 0), (("sign:24%",), 1), (("top", "skipped"), 1), (("sign:1, skipped:50%",), 0),
])  # fmt: skip
def test_gates_fail_beyond_what_they_allow(cli, audits, asked, code):
    options = [word for one in asked for word in ("--fail-on", one)]
    result = cli("diff", *audits, *options)
    assert result.code == code, result.stderr
    assert ("gate failed" in result.stderr) == bool(code)
    assert "4 in both" in result.stdout  # told all the same


def test_several_failed_gates_are_counted(cli, audits):
    result = cli("diff", *audits, "--fail-on", "prediction,sign,weight,top", "--json")
    assert result.code == 1
    assert "prediction changed in 1 of 4 decisions, --fail-on prediction (and 2 more)" in (
        result.stderr
    )
    assert json.loads(result.stdout)["counts"]["sign"] == 1


@pytest.mark.parametrize("asked", ["", "age", "weight:", "weight:x", "weight:-1", "weight:nan",
                                   "weight:inf", "prediction,,top"])  # fmt: skip
def test_gates_that_make_no_sense_are_refused(fails, audits, asked):
    assert "--fail-on" in fails(2, "diff", *audits, "--fail-on", asked).stderr


def test_limits_decide_what_is_a_change(cli, audits):
    def counts(*options):
        return json.loads(cli("diff", audits[0], audits[1], "--json", *options).stdout)["counts"]

    assert counts("--prediction-change", "0.5")["prediction"] == 1
    assert counts("--fidelity-change", "0")["fidelity"] == 0


def test_only_twenty_changed_decisions_are_shown(cli, tmp_path):
    old = written(tmp_path / "old.jsonl", envelope(), [decision(i) for i in range(30)])
    new = written(tmp_path / "new.jsonl", envelope(), [])
    result = cli("diff", old, new)
    assert "... and 10 more: -o FILE.csv or .json lists all" in result.stdout
    assert "missing     30  100 %" in result.stdout


def test_exact_audits_say_that_there_is_no_chance(cli, tmp_path):
    rows = [decision(0, part("age", 0, 0.5, 0), interval="exact")]
    path = written(tmp_path / "a.jsonl", envelope(), rows)
    shown = cli("diff", path, path).stdout
    assert "Exact weights have no sampling error" in shown
    assert "By chance" not in shown
    assert "exact" in next(line for line in shown.splitlines() if line.startswith("  age"))


def test_names_from_files_steer_no_terminal(cli, tmp_path):
    evil = decision("\x1b[31m", part("\x1b]0;x", 0, 0.5, 0.1), label="\x1b[2J")
    other = decision("\x1b[31m", part("\x1b]0;x", 0, -0.5, 0.1), label="\x1b[2J")
    told = envelope()
    told["settings"]["\x1b[5m"] = "\x1b[6m"
    old = written(tmp_path / "old.jsonl", told, [evil])
    new = written(tmp_path / "new.jsonl", envelope(), [other])
    assert "\x1b" not in cli("diff", old, new).stdout
    cli("diff", old, new, "-o", tmp_path / "diff.csv")
    assert "\x1b" not in (tmp_path / "diff.csv").read_text()


def test_bad_requests_are_told_in_a_sentence(fails, audits, tmp_path):
    old, new = audits
    assert "suffix .html" in fails(2, "diff", old, new, "-o", tmp_path / "d.html").stderr
    fails(2, "diff", old, new.rename(tmp_path / "n.json"), "-o", tmp_path / "n.json")
    fails(6, "diff", old, tmp_path / "nothing.jsonl")
    text = written(tmp_path / "text.jsonl", envelope("text"), [])
    assert "no decision in common" in fails(2, "diff", old, text).stderr


def test_an_edited_audit_is_refused_and_nothing_written(fails, audits, tmp_path):
    old, new = audits
    new.write_bytes(new.read_bytes().replace(b"-0.5", b"-0.4", 1))
    fails(6, "diff", old, new, "-o", tmp_path / "diff.json")
    assert not (tmp_path / "diff.json").exists()


def test_unfinished_audits_are_told(cli, audits, tmp_path):
    new = written(tmp_path / "new.jsonl.partial", envelope(), NEW[:2], end=False)
    result = cli("diff", audits[0], new)
    assert "no end line" in result.stderr
    assert json.loads(cli("diff", audits[0], new, "--json").stdout)["counts"]["missing"] == 2
