"""Texts come line by line as `read_texts` takes them, or out of a table's column."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from limecli.errors import InputError, UsageError
from limecli.inputs import byte_stream
from limecli.inputs.line_stream import TextLine, open_lines
from limecli.inputs.row_stream import MAX_CELL, BadRow
from limecli.inputs.text import read_texts
from tests.inputs.test_row_stream import written

TABLE = 'id,message\n7,"Hello, you"\n8,\nx,  \n9\n,bye\n'


def all_lines(path, **options):
    stream = open_lines(path, **options)
    found = list(stream.lines())
    stream.close()
    return found


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    text=st.text("ab é\u2028\x85\x0b\n\r", max_size=20),
    bom=st.booleans(),
    block=st.sampled_from([1, 3, 1 << 20]),
)
def test_lines_are_those_of_read_texts(text, bom, block, tmp_path, monkeypatch):
    assume(text.strip())
    monkeypatch.setattr(byte_stream, "_BLOCK", block)
    content = "\ufeff" * bom + text
    path = written(tmp_path, content)
    stream = open_lines(path)
    assert (stream.name, stream.format) == (path, "lines")
    assert list(stream.lines()) == [
        TextLine(found.index, None, found.payload) for found in read_texts(path, lines=True)
    ]
    assert stream.sha256 == hashlib.sha256(content.encode()).hexdigest()
    stream.close()


def test_a_line_that_is_no_text_keeps_its_place(tmp_path):
    content = b"good\n\n\xe9t\xe9\na\0b\n" + b"x" * (MAX_CELL + 1) + b"\n"
    content += b"y" * (4 * MAX_CELL + 1) + b"\n" + "😀".encode() * MAX_CELL
    lines = all_lines(written(tmp_path, content))
    assert [line.index for line in lines] == [0, 2, 3, 4, 5, 6]
    assert [line.text for line in lines[:5]] == [
        "good",
        BadRow("the line is not UTF-8 text (byte 0xe9)"),
        BadRow("the line holds a NUL byte"),
        BadRow("the line holds 1,048,577 characters; at most 1,048,576 are taken"),
        BadRow("the line holds 4,194,305 bytes; at most 1,048,576 characters are taken"),
    ]
    assert len(lines[5].text) == MAX_CELL


def test_a_column_gives_texts_and_ids(tmp_path):
    path = written(tmp_path, TABLE)
    assert all_lines(path, column="message", id_column="id") == [
        TextLine(0, "7", "Hello, you"),
        TextLine(1, "8", BadRow("column 'message' is missing")),
        TextLine(2, "x", BadRow("column 'message' is empty")),
        TextLine(3, None, BadRow("1 cell, the header has 2")),
        TextLine(4, None, "bye"),
    ]
    assert [line.id for line in all_lines(path, column="message")] == [None] * 5


def test_a_column_of_json_lines_gives_texts_and_ids(tmp_path):
    objects = [{"m": "a", "i": 1}, {"m": 5, "i": None}, {"i": 3}, {"m": {}, "i": []}]
    path = written(tmp_path, "\n".join(map(json.dumps, objects)))
    assert all_lines(path, column="m", id_column="i") == [
        TextLine(0, "1", "a"),
        TextLine(1, None, "5"),
        TextLine(2, "3", BadRow("column 'm' is missing")),
        TextLine(3, None, BadRow("column 'm' holds a nested value, not a cell")),
    ]


def test_a_column_that_is_not_there_is_told(tmp_path):
    path = written(tmp_path, TABLE)
    for options in ({"column": "mesage"}, {"column": "id", "id_column": "mesage"}):
        with pytest.raises(UsageError, match="has no column 'mesage'") as error:
            open_lines(path, **options)
        assert error.value.hint == "did you mean 'message'?"


def test_lines_of_stdin(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a\nb\n")))
    stream = open_lines("-")
    assert stream.name == "standard input"
    assert [line.text for line in stream.lines()] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n \n", "is empty"), ("text".encode("utf-16"), "is not UTF-8 text .byte 0xff")],
)
def test_a_file_without_text_is_told(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_lines(written(tmp_path, content))
