"""`limecli render`: audits and reports as tables, pages and summaries, without the model."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from limecli.audit.summary.schema import SUMMARY_SCHEMA
from limecli.report.jsonl import Chain, line_of
from tests.conftest import SAMPLES

PENGUINS = (SAMPLES / "penguins.pkl", SAMPLES / "penguins.csv")
MEMORY = """
import sys
from pathlib import Path
from limecli.cli import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print("peak", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A JSON report of thirty rows."""
    path = tmp_path_factory.mktemp("render") / "report.json"
    args = ["tabular", *PENGUINS, "-r", "0:30", "--target", "species", "-n", "500", "-q"]
    done = subprocess.run([sys.executable, "-m", "limecli", *map(str, args), "-o", str(path)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def content(report):
    return json.loads(report.read_bytes())


def envelope_of(content):
    provenance = {key: content["provenance"][key] for key in ("limecli", "versions")}
    shared = {key: content[key] for key in ("schema_version", "model", "background", "settings")}
    source = {"path": "rows.csv", "sha256": None, "format": "csv"}
    return {**shared, "provenance": provenance, "input": source, "caveats": ["Of all."]}


def records_of(content, count):
    """So many records out of the report's explanations; every tenth is skipped."""
    explained = content["explanations"]
    for index in range(count):
        if index % 10 == 9:
            reason = f"row {index}: 3 cells, the header has 8"
            yield {"id": str(index), "index": index, "status": "skipped", "reason": reason,
                   "kind": "input"}  # fmt: skip
        else:
            yield explained[index % len(explained)] | {"id": str(index), "index": index}


@pytest.fixture
def audit(content, tmp_path):
    """Write an audit and give its path."""

    def write(count=40, name="audit.jsonl", finished=True, records=None):
        path = tmp_path / name
        first = line_of(envelope_of(content))
        chain = Chain(first)
        with path.open("wb") as file:
            file.write(first + b"\n")
            for record in records or records_of(content, count):
                file.write(chain.linked(line_of(record)) + b"\n")
            if finished:
                file.write(chain.end() + b"\n")
        return path

    return write


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


class TestAudits:
    def test_every_format_at_once(self, cli, audit, tmp_path):
        files = [tmp_path / f"out{suffix}" for suffix in (".csv", ".parquet", ".html", ".json")]
        result = cli("render", audit(), *(word for file in files for word in ("-o", file)))
        assert (result.code, result.stdout, result.stderr) == (0, "", "")
        assert all(file.stat().st_size > 1000 for file in files)
        assert leftovers(tmp_path) == []

    def test_a_line_for_each_decision_and_feature(self, cli, audit, content, tmp_path):
        cli("render", audit(), "-o", tmp_path / "out.csv")
        lines = table(tmp_path / "out.csv")
        expected = []
        for record in records_of(content, 40):
            parts = [None]
            if record["status"] == "ok":
                parts = record["labels"][0]["attributions"]
            expected += [(record["id"], str(part["weight"]) if part else "") for part in parts]
        assert [(line["id"], line["weight"]) for line in lines] == expected

    def test_sentences_of_the_envelope_stand_in_every_line(self, cli, audit, tmp_path):
        cli("render", audit(), "-o", tmp_path / "out.csv")
        told = {line["caveats"][:7] for line in table(tmp_path / "out.csv") if line["feature"]}
        assert told == {"Of all."}

    def test_parquet_is_the_csv(self, cli, audit, tmp_path):
        duckdb = pytest.importorskip("duckdb")
        cli("render", audit(), "-o", tmp_path / "out.csv", "-o", tmp_path / "out.parquet")
        found = duckdb.sql(
            f"select id, feature, weight from '{tmp_path / 'out.parquet'}'"
        ).fetchall()
        lines = table(tmp_path / "out.csv")
        assert found == [
            (line["id"], line["feature"] or None, float(line["weight"]) if line["weight"] else None)
            for line in lines
        ]
        ((kept,),) = duckdb.sql(
            f"select value from parquet_kv_metadata('{tmp_path / 'out.parquet'}')"
            " where key = 'limecli'"
        ).fetchall()
        assert json.loads(kept)["model"]["name"] == "penguins.pkl"

    def test_the_summary_is_strict_json(self, cli, audit, tmp_path):
        cli("render", audit(), "-o", tmp_path / "out.json")
        found = json.loads((tmp_path / "out.json").read_bytes(), parse_constant=pytest.fail)
        jsonschema.validate(found, SUMMARY_SCHEMA)
        counts = {"decisions": 40, "explained": 36, "skipped": 4, "below": 0, "repeated_ids": 0}
        assert found["counts"] == counts

    def test_the_page_tells_the_last_hash(self, cli, audit, tmp_path):
        path = audit()
        cli("render", path, "-o", tmp_path / "out.html")
        last = json.loads(path.read_bytes().splitlines()[-1])["sha256"]
        assert last in (tmp_path / "out.html").read_text()

    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".html", ".json"])
    def test_equal_audits_give_equal_bytes(self, cli, audit, tmp_path, suffix):
        for name in ("one", "other"):
            cli("render", audit(), "-o", tmp_path / f"{name}{suffix}")
        one, other = (tmp_path / f"{name}{suffix}" for name in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()

    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".html", ".json"])
    def test_an_unfinished_one_is_rendered_with_a_note(self, cli, audit, tmp_path, suffix):
        path = audit(1111, finished=False)
        with path.open("ab") as file:
            file.write(b'{"id":"torn')
        result = cli("render", path, "-o", tmp_path / f"out{suffix}")
        assert result.code == 0
        assert "unfinished or cut: 1,111 decisions, no end line" in result.stderr
        assert (tmp_path / f"out{suffix}").exists()

    def test_a_journal_is_known_by_its_content(self, cli, audit, tmp_path):
        for name in ("audit.jsonl.partial", "audit.log"):
            result = cli("render", audit(name=name), "-o", tmp_path / "out.html")
            assert result.code == 0, result.stderr

    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".html", ".json"])
    def test_an_edited_one_is_refused_and_nothing_written(self, cli, audit, tmp_path, suffix):
        path = audit()
        path.write_bytes(path.read_bytes().replace(b'"weight":0.', b'"weight":1.', 1))
        result = cli("render", path, "-o", tmp_path / f"out{suffix}")
        assert result.code == 6
        assert "was edited, removed or added" in result.stderr
        assert sorted(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".html"])
    @pytest.mark.parametrize(
        "change",
        [{"labels": 3}, {"labels": [{}]}, {"id": ["x"]}, {"prediction": []}, {"model_calls": "a"}],
        ids=lambda change: next(iter(change)),
    )
    def test_a_record_that_limecli_never_writes_is_refused(
        self, cli, audit, content, tmp_path, suffix, change
    ):
        records = [next(records_of(content, 1)) | change]
        result = cli("render", audit(records=records), "-o", tmp_path / f"out{suffix}")
        assert result.code in (0, 6)  # a format need not look at every key
        assert "unforeseen" not in result.stderr

    @pytest.mark.parametrize("key", ["model", "settings", "provenance", "background", "input"])
    @pytest.mark.parametrize("value", [3, [], "x", {}])
    def test_half_an_envelope_is_refused(self, cli, content, tmp_path, key, value):
        first = line_of(envelope_of(content) | {key: value})
        path = tmp_path / "audit.jsonl"
        path.write_bytes(first + b"\n" + Chain(first).end() + b"\n")
        result = cli("render", path, "-o", tmp_path / "out.html", "-o", tmp_path / "out.csv")
        expected = 0 if value == {} and key not in ("model", "settings") else 6
        assert result.code == expected, result.stderr

    def test_masked_values_are_in_no_file(self, cli, audit, content, tmp_path):
        (record,) = records_of(content, 1)
        part = record["labels"][0]["attributions"][0]
        secret = f"{part['value']}"
        parts = [part | {"value": None, "condition": None, "masked": True}]
        record = record | {"labels": [record["labels"][0] | {"attributions": parts, "flips": []}]}
        cli("render", audit(records=[record]), "-o", tmp_path / "out.csv")
        (line,) = table(tmp_path / "out.csv")
        assert (line["value"], line["condition"], line["feature"]) == ("", "", part["feature"])
        assert secret

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
    @pytest.mark.parametrize(
        ("suffixes", "most_mb"), [((".csv", ".html"), 150), ((".parquet",), 350)]
    )
    def test_memory_is_bounded(self, audit, content, tmp_path, suffixes, most_mb):
        """As dicts the decisions of this audit take 270 MB."""
        path = audit(20_000)
        outputs = [word for suffix in suffixes for word in ("-o", str(tmp_path / f"out{suffix}"))]
        done = subprocess.run([sys.executable, "-c", MEMORY, "render", str(path), *outputs],
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stderr.split("peak")[1]) / 1024 < most_mb


class TestReports:
    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_table_is_that_of_the_run_itself(self, cli, tmp_path, suffix):
        run, rendered = tmp_path / f"run{suffix}", tmp_path / f"rendered{suffix}"
        report = tmp_path / "report.json"
        args = ("-r", "0:30", "--target", "species", "-n", "500", "-o", run, "-o", report)
        assert cli("tabular", *PENGUINS, *args).code == 0
        assert cli("render", report, "-o", rendered).code == 0
        assert rendered.read_bytes() == run.read_bytes()

    def test_out_of_standard_input(self, cli, report, tmp_path):
        for path, stdin in ((report, b""), ("-", report.read_bytes())):
            result = cli("render", path, "-o", tmp_path / f"{path == '-'}.csv", stdin=stdin)
            assert result.code == 0, result.stderr
        one, other = (tmp_path / f"{x}.csv" for x in (True, False))
        assert one.read_bytes() == other.read_bytes()

    @pytest.mark.parametrize("suffix", [".html", ".json"])
    def test_a_report_has_no_summary(self, cli, report, tmp_path, suffix):
        result = cli("render", report, "-o", tmp_path / f"out{suffix}")
        assert result.code == 2
        assert "known: .csv .parquet" in result.stderr

    def test_what_is_no_report_is_refused(self, cli, tmp_path):
        for name, data in (("rows.csv", b"a,b\n1,2\n"), ("x.json", b'{"a": 1}'), ("y.json", b"{}")):
            (tmp_path / name).write_bytes(data)
            result = cli("render", tmp_path / name, "-o", tmp_path / "out.csv")
            assert result.code == 6, name
            assert "Traceback" not in result.stderr
        assert cli("render", tmp_path / "missing.json", "-o", tmp_path / "out.csv").code == 6
        assert cli("render", tmp_path / "missing.jsonl", "-o", tmp_path / "out.csv").code == 6


class TestPlaces:
    @pytest.mark.parametrize("name", ["out.pdf", "out", "out.jsonl"])
    def test_an_unknown_suffix_lists_the_known(self, cli, audit, tmp_path, name):
        result = cli("render", audit(), "-o", tmp_path / name)
        assert result.code == 2
        assert "known: .csv .html .json .parquet" in result.stderr

    def test_nothing_to_write_says_how(self, cli, audit):
        result = cli("render", audit())
        assert result.code == 2
        assert "-o FILE" in result.stderr

    def test_the_input_is_not_replaced(self, cli, audit, report, tmp_path):
        path = audit(name="audit.csv")
        before = path.read_bytes()
        (tmp_path / "link.csv").symlink_to(path)
        for output in (path, tmp_path / "link.csv"):
            result = cli("render", path, "-o", output)
            assert result.code == 2
            assert "would replace" in result.stderr
        assert path.read_bytes() == before

    def test_no_place_no_work(self, cli, audit, tmp_path):
        result = cli("render", audit(), "-o", tmp_path / "nowhere" / "out.csv")
        assert result.code == 6
        assert "there is no folder" in result.stderr

    def test_what_was_there_stays_until_all_is_written(self, cli, audit, tmp_path):
        path = audit()
        target = tmp_path / "out.csv"
        target.write_text("old")
        target.chmod(0o600)
        path.write_bytes(path.read_bytes().replace(b'"weight":0.', b'"weight":1.', 1))
        assert cli("render", path, "-o", target).code == 6
        assert target.read_text() == "old"
        assert cli("render", audit(), "-o", target).code == 0
        assert target.stat().st_mode & 0o777 == 0o600

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".html"])
    def test_a_full_disk_is_one_sentence(self, cli, audit, tmp_path, suffix):
        (tmp_path / f"full{suffix}").symlink_to("/dev/full")
        result = cli("render", audit(), "-o", tmp_path / f"full{suffix}")
        assert result.code == 6
        assert "cannot be written: No space left on device" in result.stderr

    def test_parquet_needs_an_extra(self, cli, audit, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        result = cli("render", audit(), "-o", tmp_path / "out.parquet")
        assert result.code == 6
        assert "pip install 'limecli[parquet]'" in result.stderr
