"""Parquet is a table like any other: the same rows, and never the whole file in memory."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limecli.errors import InputError
from limecli.inputs.background import background_from_table
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.row_stream import ABSENT, MAX_CELL, BadCell
from limecli.inputs.table import Table, check_features, read_table
from limecli.types import Instance, Skipped

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from limecli.inputs.parquet_stream import open_parquet  # noqa: E402

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def written(columns, folder, **options):
    path = folder / "rows.parquet"
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return str(path)


def streamed(path):
    stream = open_parquet(path)
    try:
        return list(stream.rows())
    finally:
        stream.close()


def column_of(array, folder):
    return [row[0] for row in streamed(written({"x": array}, folder))]


DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 30)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("array", "cells"),
    [
        (pa.array([1, None, -3]), [1, None, -3]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([True, None, False]), [True, None, False]),
        (pa.array([1.5, np.nan, None, np.inf, -0.0]), [1.5, None, None, np.inf, -0.0]),
        (pa.array([0.1], pa.float32()), [float(np.float32(0.1))]),
        (pa.array(np.array([0.5, np.nan], np.float16)), [0.5, None]),
        (pa.array(["ü", None, ""]), ["ü", None, ""]),
        (pa.array(["ü", None], pa.large_string()), ["ü", None]),
        (pa.array(["b", None, "a", "b"]).dictionary_encode(), ["b", None, "a", "b"]),
        (pa.array([None, None], pa.null()), [None, None]),
        (pa.array([DAY, None]), ["2024-02-29", None]),
        (pa.array([NOON, None], pa.timestamp("us")), ["2024-02-29T12:30:00", None]),
        (pa.array([NOON], pa.timestamp("ns")), ["2024-02-29T12:30:00"]),
        (pa.array([NOON], pa.timestamp("us", "UTC")), ["2024-02-29T12:30:00+00:00"]),
        (pa.array([dt.time(8, 5)]), ["08:05:00"]),
        (pa.array([Decimal("1.50"), None, Decimal("2.00")]), [1.5, None, 2.0]),
        (pa.array([Decimal(7), None], pa.decimal128(38, 0)), [7, None]),
    ],
)
def test_a_cell_is_a_plain_value(tmp_path, array, cells):
    found = column_of(array, tmp_path)
    assert [(type(cell), cell) for cell in found] == [(type(cell), cell) for cell in cells]


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (pa.array([[1, 2], None]), "nested values"),
        (pa.array([{"a": 1}, None]), "nested values"),
        (pa.array([b"\xff", None]), "bytes"),
        (pa.array([b"ab", None], pa.binary(2)), "bytes"),
        (pa.array([b"ab", None], pa.large_binary()), "bytes"),
        (pa.array([b"ab", None]).dictionary_encode(), "bytes"),
        (pa.array([dt.timedelta(1), None]), "durations"),
    ],
)
def test_what_is_no_single_value_is_a_bad_cell(tmp_path, array, what):
    bad, missing = column_of(array, tmp_path)
    assert isinstance(bad, BadCell)
    assert bad.reason.startswith(f"column 'x' holds {what}")
    assert missing is None


def test_damaged_text_spoils_only_its_cell(tmp_path):
    lengths, text = np.array([0, 1, 2, 3], np.int32), b"a\xe9b"
    array = pa.StringArray.from_buffers(3, pa.py_buffer(lengths), pa.py_buffer(text))
    bad = BadCell("column 'x' is not UTF-8 text (byte 0xe9)")
    assert column_of(array, tmp_path) == ["a", bad, "b"]
    with pytest.raises(InputError, match=r"row 1: column 'x' is not UTF-8"):
        read_table(written({"x": array}, tmp_path))


def test_a_date_beyond_the_calendar_spoils_only_its_cell(tmp_path):
    array = pa.array([0, 2**60], pa.int64()).view(pa.timestamp("us"))
    first, bad = column_of(array, tmp_path)
    assert first == "1970-01-01T00:00:00"
    assert bad == BadCell("column 'x' holds a timestamp[us] that cannot be read")


def test_a_cell_of_megabytes_is_bad(tmp_path):
    fits, long = column_of(pa.array(["a" * MAX_CELL, "b" * (MAX_CELL + 1)]), tmp_path)
    assert len(fits) == MAX_CELL
    assert long == BadCell("column 'x' holds 1,048,577 characters; at most 1,048,576 are taken")


def test_a_nameless_index_is_no_column_and_a_named_one_is(tmp_path):
    frame = pd.DataFrame({"a": [1, 2]}, index=[7, 5])
    frame.to_parquet(tmp_path / "nameless.parquet")
    assert open_columns(tmp_path / "nameless.parquet") == ("a",)
    frame.rename_axis("id").to_parquet(tmp_path / "named.parquet")
    assert open_columns(tmp_path / "named.parquet") == ("a", "id")


def open_columns(path):
    stream = open_parquet(str(path))
    stream.close()
    return stream.columns


def test_the_hash_is_of_the_file_and_known_at_its_end(tmp_path):
    path = written({"x": list(range(10_000))}, tmp_path, row_group_size=3000)
    stream = open_parquet(path)
    rows = stream.rows()
    next(rows)
    assert stream.sha256 is None
    assert [row[0] for row in rows] == list(range(1, 10_000))
    assert stream.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    stream.close()


def test_two_columns_of_one_name(tmp_path):
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputError, match="two columns named 'a'"):
        open_parquet(written(twice, tmp_path))


@pytest.mark.parametrize("damage", ["cut", "tail", "middle", "magic only"])
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = Path(written({"x": [f"word {i}" for i in range(5000)]}, tmp_path))
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "tail":
        data[-8:-4] = b"\xff\xff\xff\x7f"
    elif damage == "middle":
        data[4:2000] = bytes(1996)
    else:
        data = bytearray(b"PAR1")
    path.write_bytes(data)
    for read in (streamed, read_table):
        with pytest.raises(InputError) as refused:
            read(str(path))
        assert "rows.parquet cannot be read as Parquet" in refused.value.message
        assert "\n" not in refused.value.message


def test_a_missing_file_and_missing_pyarrow(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        open_parquet(str(tmp_path / "none.parquet"))
    path = written({"x": [1]}, tmp_path)
    monkeypatch.setattr("limecli.inputs.parquet_stream.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs pyarrow") as refused:
        open_parquet(path)
    assert "limecli[parquet]" in refused.value.hint


cells = {
    "number": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "whole": st.one_of(st.none(), st.integers(-1000, 1000)),
    "word": st.one_of(st.none(), st.sampled_from(["a", "b b", "ü", ""])),
    "truth": st.one_of(st.none(), st.booleans()),
}


@given(rows=st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=40))
def test_a_table_is_the_same_as_from_json_and_as_the_stream(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "rows.json").write_text(json.dumps(rows))
    path = written({name: [row[name] for row in rows] for name in rows[0]}, folder)
    found, expected = read_table(path), read_table(str(folder / "rows.json"))
    assert found.raw.values.tolist() == expected.raw.values.tolist()
    assert [tuple(row) for row in found.raw.values.tolist()] == streamed(path)
    pd.testing.assert_frame_equal(found.typed, expected.typed)
    assert not found.untyped


def test_types_are_those_of_pandas(tmp_path):
    frame = pd.DataFrame(
        {"i": [1, 2], "f": [0.5, np.nan], "s": ["a", "b"], "b": [True, False], "g": [1.0, 2.0]}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    typed = read_table(str(tmp_path / "rows.parquet")).typed
    pd.testing.assert_frame_equal(typed, pd.read_parquet(tmp_path / "rows.parquet"))


def test_a_column_of_lists_is_named_only_when_the_model_needs_it(tmp_path):
    table = read_table(written({"x": [1, 2], "l": [[1], [2]]}, tmp_path))
    assert table.columns == ["x"]
    check_features(table, ["x"])
    with pytest.raises(InputError, match="column 'l' holds nested values, not cells"):
        check_features(table, ["x", "l"])


def test_no_rows(tmp_path):
    path = written({"x": pa.array([], pa.int64())}, tmp_path)
    assert streamed(path) == []
    with pytest.raises(InputError, match="has no rows"):
        read_table(path)


def test_a_background_and_an_explanation_from_parquet(tmp_path, cli):
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "b": rng.integers(0, 9, 200)})
    frame.to_parquet(tmp_path / "train.parquet")
    (tmp_path / "train.json").write_text(json.dumps(frame.to_dict("records")))
    model = DecisionTreeClassifier(max_depth=3).fit(frame, frame["a"] > 0)
    pd.to_pickle(model, tmp_path / "model.pkl")
    reports = []
    for suffix in ("parquet", "json"):
        made = cli("background", tmp_path / f"train.{suffix}", "-o", tmp_path / f"{suffix}.stats")
        assert made.code == 0, made.stderr
        result = cli(
            "tabular", tmp_path / "model.pkl", tmp_path / f"train.{suffix}", "--row", "0:2",
            "--background", tmp_path / f"{suffix}.stats", "--json",
        )  # fmt: skip
        assert result.code == 0, result.stderr
        reports.append(json.loads(result.stdout)["explanations"])
    for found, expected in zip(*reports, strict=True):
        assert found["labels"] == expected["labels"]
        assert found["input"]["sha256"] == expected["input"]["sha256"]


def test_a_piece_of_a_stream_is_encoded_as_the_whole_table(tmp_path):
    frame = {"x": [1.5, 2.0, None, 9.0] * 10, "c": ["a", "b", None, "a"] * 10}
    whole = read_table(written(frame, tmp_path))
    background = background_from_table(whole, whole.columns, "quartile")
    encoder, other = RowEncoder(background), RowEncoder(background)
    rows = [*streamed(whole.name)[30:], (99.0, "z"), (BadCell("column 'x' is bad"), "a")]
    rows += [("word", "a"), (1.0, ABSENT)]
    piece = Table.of_cells(whole.name, whole.columns, rows, untyped=False)
    for i in range(10):
        found = encoder.encode(piece, i, str(30 + i), 30 + i)
        expected = other.encode(whole, 30 + i, str(30 + i))
        assert isinstance(found, Instance)
        assert found.index == 30 + i
        np.testing.assert_array_equal(found.payload, expected.payload)
        assert (found.sha256, found.values) == (expected.sha256, expected.values)
    assert encoder.encode(piece, 10, "40", 40).values == (99, "z")
    assert ", row 40: 'x' is 99, outside" in encoder.notes["x"]
    assert ", row 40: 'c' is 'z', which never occurs" in encoder.notes["c"]
    reasons = [
        "row 41: column 'x' is bad", "row 42, column 'x': 'word' is not a number",
        "row 43: there is no column 'c'",
    ]  # fmt: skip
    for i, reason in enumerate(reasons, 11):
        skipped = encoder.encode(piece, i, "id", 30 + i)
        assert isinstance(skipped, Skipped)
        assert skipped == Skipped("id", 30 + i, f"{whole.name}, {reason}", "input")


@needs_proc
def test_a_row_group_of_any_size_is_read_in_pieces(tmp_path):
    n = 400_000
    rng = np.random.default_rng(0)
    names = np.array([f"category {i}" for i in range(50)])
    path = written(
        {**{f"c{j}": names[rng.integers(0, 50, n)] for j in range(3)},
         **{f"x{j}": rng.normal(size=n) for j in range(12)}},
        tmp_path, row_group_size=n,
    )  # fmt: skip
    program = (
        "import sys, pyarrow.parquet\n"
        "from limecli.inputs.parquet_stream import open_parquet\n"
        "status = lambda: open('/proc/self/status').read()\n"
        "used = lambda: int(status().split('VmHWM:')[1].split()[0])\n"
        "rows = open_parquet(sys.argv[1]).rows()\n"
        "before = used()\n"
        "print(sum(1 for row in rows), (used() - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    count, megabytes = done.stdout.split()
    assert int(count) == n
    assert float(megabytes) < 80  # the row group holds 40 MB, as rows of Python 200 MB
