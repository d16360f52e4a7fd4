"""`limecli pick`: what it shows, writes and refuses."""

from __future__ import annotations

import csv
import hashlib
import json

import pytest

from tests.audit.made import decision, envelope, part, skipped, written

ROWS = (
    decision(0, part("age", 0, 0.5, 0.1, condition="age > 40"), part("sex", 1, 0.2, 0.3)),
    decision(1, part("age", 0, -0.4, 0.1, condition="age <= 40"), label="no"),
    decision(2, part("age", 0, 0.1, 0.3, condition="age > 40"), label="no"),
    skipped(3),
)


@pytest.fixture
def audit(tmp_path):
    return written(tmp_path / "audit.jsonl", envelope(), ROWS)


def test_the_terminal_shows_who_was_picked_and_why(cli, audit):
    result = cli("pick", audit, "-n", 2)
    assert result.code == 0, result.stderr
    assert "2 of 3 decisions, 3 conditions" in result.stdout
    lines = result.stdout.splitlines()
    first = next(line for line in lines if line.strip().startswith("1 "))
    assert "age > 40 +0.500, sex +0.200" in first
    assert "100.0%" in next(line for line in lines if line.strip().startswith("2 "))


def test_json_tells_all_of_it(cli, audit):
    result = cli("pick", audit, "-n", 3, "--json")
    content = json.loads(result.stdout)
    assert [item["id"] for item in content["picked"]] == ["0", "1", "2"]
    assert (content["decisions"], content["skipped"], content["cover_everything"]) == (3, 1, 2)
    assert content["picked"][1]["features"] == [
        {"feature": "age", "condition": "age <= 40", "weight": -0.4, "low": -0.5,
         "high": pytest.approx(-0.3)}
    ]  # fmt: skip
    assert content["picked"][1]["covered"] == 1
    assert "2 decisions have all features" in result.stderr


def test_files_hold_the_same(cli, audit, tmp_path):
    assert cli("pick", audit, "-o", tmp_path / "picked.json").stdout == ""
    told = json.loads((tmp_path / "picked.json").read_text())
    assert told == json.loads(cli("pick", audit, "--json").stdout)
    cli("pick", audit, "-o", tmp_path / "picked.csv")
    lines = list(csv.DictReader((tmp_path / "picked.csv").open()))
    assert [line["id"] for line in lines] == ["0", "1", "2"]
    assert lines[0]["features"] == "age > 40 +0.500, sex +0.200"


def test_the_label_chooses_the_weights(cli, audit, fails):
    result = cli("pick", audit, "-l", "no", "--json")
    assert [item["id"] for item in json.loads(result.stdout)["picked"]] == ["1", "2"]
    assert "1 decisions do not explain this label 'no'" in result.stderr
    assert "explained are: no, yes" in fails(2, "pick", audit, "-l", "maybe").stderr


def test_columns_or_significant_weights_count(cli, audit):
    def picked(*options):
        return json.loads(cli("pick", audit, "-n", 1, "--json", *options).stdout)

    assert picked("--by", "feature")["features"] == 2
    assert picked("--significant")["features"] == 2
    assert picked()["features"] == 3


def test_names_from_files_steer_no_terminal(cli, tmp_path):
    evil = decision("\x1b[31m=1+1", part("\x1b]0;x", 0, 1.0), label="\x1b[2J")
    path = written(tmp_path / "audit.jsonl", envelope(), [evil])
    assert "\x1b" not in cli("pick", path).stdout
    cli("pick", path, "-o", tmp_path / "picked.csv")
    assert "\x1b" not in (tmp_path / "picked.csv").read_text()


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(cli, tmp_path):
    path = written(tmp_path / "audit.jsonl", envelope(), [decision("=1+1", part("a", 0, 1.0))])
    cli("pick", path, "-o", tmp_path / "picked.csv")
    assert "\n1,'=1+1," in (tmp_path / "picked.csv").read_text()


def test_an_unfinished_audit_is_picked_from_and_told(cli, tmp_path):
    path = written(tmp_path / "audit.jsonl.partial", envelope(), ROWS, end=False)
    path.write_bytes(path.read_bytes() + b'{"id":"9","st')
    result = cli("pick", path)
    assert result.code == 0
    assert "no end line and breaks off within a line" in result.stderr


def test_bad_requests_are_told_in_a_sentence(fails, audit, tmp_path):
    fails(2, "pick", audit, "-n", 0)
    assert "suffix .txt" in fails(2, "pick", audit, "-o", tmp_path / "picked.txt").stderr
    renamed = audit.rename(tmp_path / "audit.json")
    assert "which was read" in fails(2, "pick", renamed, "-o", renamed).stderr
    fails(6, "pick", tmp_path / "nothing.jsonl")
    fails(6, "pick", tmp_path)
    image = written(tmp_path / "image.jsonl", envelope("image"), [decision(0)])
    assert "superpixels of different pictures" in fails(2, "pick", image).stderr


@pytest.mark.parametrize("change", [
    lambda item: item.pop("prediction"), lambda item: item["prediction"][0].update(value="x"),
    lambda item: item["labels"][0]["attributions"][0].update(weight=float("nan")),
    lambda item: item["labels"][0]["attributions"][0].update(low=1e999),
    lambda item: item["labels"][0]["attributions"][0].pop("rank"),
])  # fmt: skip
def test_a_made_up_decision_is_told_in_a_sentence(fails, audit, change):
    """A chain can be computed anew by whoever edits a line."""
    row = json.loads(json.dumps(ROWS[0]))
    change(row)
    lines = [json.dumps(item).encode() for item in (envelope(), row)]
    previous = hashlib.sha256(lines[0]).hexdigest()
    lines[1] = lines[1][:-1] + b', "previous": "%s"}' % previous.encode()
    audit.write_bytes(b"\n".join(lines) + b"\n")
    told = fails(6, "pick", audit).stderr.splitlines()[0]
    assert "not a decision as limecli writes it" in told or "is damaged" in told
