"""JSON Lines: what `read_table` has where it can read them, and a place for every bad line."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limecli.errors import InputError
from limecli.inputs import byte_stream, json_stream
from limecli.inputs.row_stream import ABSENT, MAX_CELL, BadCell, BadRow, open_rows
from limecli.inputs.table import read_table
from tests.inputs.test_row_stream import all_rows, raw_rows, written

BROKEN = BadRow("line is no JSON object")
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    objects=st.lists(st.fixed_dictionaries({"a": VALUES, "ä b": VALUES}), min_size=2, max_size=6),
    ascii_only=st.booleans(),
    block=st.sampled_from([1, 5, 1 << 20]),
)
def test_any_objects_have_the_cells_of_read_table(
    objects, ascii_only, block, tmp_path, monkeypatch
):
    monkeypatch.setattr(byte_stream, "_BLOCK", block)
    lines = (json.dumps(row, ensure_ascii=ascii_only) for row in objects)
    path = written(tmp_path, "\n".join(lines))
    with closing(open_rows(path)) as stream:
        assert stream.format == "jsonl"
        rows, wanted = list(stream.rows()), raw_rows(path)
    assert rows == wanted
    assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in wanted]


def test_columns_are_the_keys_of_the_first_object(tmp_path):
    path = written(tmp_path, '{"b": 1, "a": 2}\n{"a": 3}\n{}\n{"c": 4, "a": null, "b": ""}\n')
    with closing(open_rows(path)) as stream:
        assert stream.columns == ("b", "a") == tuple(read_table(path).columns[:2])
        assert list(stream.rows()) == [(1, 2), (ABSENT, 3), (ABSENT, ABSENT), ("", None)]


@pytest.mark.parametrize(
    "line",
    [
        '{"a": 1', '{"a": 1}}', "[1]", "12", "null", "{'a': 1}", '{"a": "x\0"}', '{"a": }',
        '{"a": ' + "[" * 100_000, '{"a": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_a_line_that_is_no_object_keeps_its_place(line, tmp_path):
    text = '{"a": 1}\n' + line + '\n{"a": 2}\n'
    assert all_rows(written(tmp_path, text)) == [(1,), BROKEN, (2,)]


@pytest.mark.parametrize("line", ['{"a": x}', '{"a": "b}', '{"a": 1} {', '{"a": "\xe9", }'])
def test_a_broken_first_line_does_not_hide_the_others(line, tmp_path):
    text = line + '\n{"a": 1}\n{"a": 2}\n'
    with closing(open_rows(written(tmp_path, text))) as stream:
        assert stream.columns == ("a",)
        assert list(stream.rows()) == [BROKEN, (1,), (2,)]


def test_a_nested_value_spoils_only_its_cell(tmp_path):
    rows = all_rows(written(tmp_path, '{"a": 1, "b": 2}\n{"a": [1], "b": 2}\n'))
    assert rows[1] == (BadCell("column 'a' holds a nested value, not a cell"), 2)


def test_bytes_that_are_no_utf8_spoil_only_their_cell(tmp_path):
    content = b'{"a": "x", "b": 1}\n{"a": "\xe9", "b": "\xc3\xa9"}\n{"\xe9": 1, "b": 3}\n'
    assert all_rows(written(tmp_path, content)) == [
        ("x", 1),
        (BadCell("column 'a' is not UTF-8 text (byte 0xe9)"), "é"),
        (ABSENT, 3),
    ]


def test_a_text_that_is_too_long_spoils_its_cell(tmp_path):
    lines = [{"a": "x" * size, "b": 1} for size in (1, MAX_CELL, MAX_CELL + 1)]
    rows = all_rows(written(tmp_path, "\n".join(map(json.dumps, lines))))
    assert [len(row[0]) for row in rows[:2]] == [1, MAX_CELL]
    reason = "column 'a' holds 1,048,577 characters; at most 1,048,576 are taken"
    assert rows[2] == (BadCell(reason), 1)


@pytest.mark.parametrize("size", [8, 1 << 20])
def test_a_line_without_end_is_passed_over(size, tmp_path, monkeypatch):
    monkeypatch.setattr(byte_stream, "_BLOCK", size)
    monkeypatch.setattr(json_stream, "MAX_RECORD", 50)
    text = '{"a": 1}\n{"a": 2}\n' + "x" * 500 + '\n{"a": 3}\n' + "y" * 51
    bad = "the line holds {} bytes; at most 50 are taken"
    assert all_rows(written(tmp_path, text)) == [
        (1,),
        (2,),
        BadRow(bad.format(500)),
        (3,),
        BadRow(bad.format(51)),
    ]


def test_lines_without_any_object_are_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_PATIENCE", 5)
    for text in ("{}\n{}\n{}\n", "{}\n" * 9 + '{"a": 1}\n'):
        with pytest.raises(InputError, match="no list of objects with one key a column"):
            open_rows(written(tmp_path, text))
