"""A stream has the rows that `read_table` has, whatever the file is written in and how it comes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest

from limecli.errors import InputError
from limecli.inputs import byte_stream
from limecli.inputs.files import read_input
from limecli.inputs.row_stream import BadRow, hash_file, open_rows
from limecli.inputs.table import read_table

OBJECTS = [
    {"age": 41, "city": "Ulm", "member": True, "score": 1.5},
    {"age": None, "city": "Köln, Rhein", "member": False, "score": -2.0},
    {"age": 7, "city": None, "member": True, "score": 0.25},
]
COLUMNS = {name: [row[name] for row in OBJECTS] for name in OBJECTS[0]}
CSV = 'age,city\n41,Ulm\n\nNA,"Köln, ""Rhein"""\n7,\n'
FILES = {
    "csv": ("csv", CSV),
    "bom": ("csv", "\ufeff" + CSV),
    "crlf": ("csv", CSV.replace("\n", "\r\n")),
    "cr": ("csv", CSV.replace("\n", "\r")),
    "no newline at the end": ("csv", CSV.rstrip("\n")),
    "tsv": ("csv", "age\tcity\n41\tUlm, Do\n\tKöln\n"),
    "semicolon": ("csv", "age;city\n4,1;Ulm\n"),
    "bar": ("csv", "age|city\n41|Ulm\n"),
    "trailing separators": ("csv", "age,city\n41,Ulm,\n7,,\n"),
    "bracket in a header": ("csv", "[cm] height,city\n1,Ulm\n"),
    "jsonl": ("jsonl", "\n".join(map(json.dumps, OBJECTS))),
    "jsonl, blank lines": ("jsonl", "\n\r\n" + "\r\n\r\n".join(map(json.dumps, OBJECTS)) + "\n\n"),
    "jsonl, numbers": ("jsonl", '{"x": NaN}\n{"x": Infinity}\n{"x": 1e400}\n{"x": 12}\n'),
    "jsonl, escapes": ("jsonl", '{"x": "\\u0000"}\n{"x": "\\ud83d\\ude00"}\n'),
    "array": ("json", json.dumps(OBJECTS)),
    "pretty array": ("json", json.dumps(OBJECTS, indent=2)),
    "one object": ("json", json.dumps(OBJECTS[0])),
    "pretty object": ("json", json.dumps(OBJECTS[0], indent=1)),
    "columns": ("json", json.dumps(COLUMNS)),
    "columns, a line each": ("json", '{"age": [1, 2],\n"city": ["a", "b"]}'),
    "an object in an object": ("json", '{"x":\n{"a": 1}\n}'),
    "array of lines": ("json", '[{"a": 1},\n{"a": 2},\n{"a": 3}]'),
}


def written(folder, content):
    path = folder / "rows.data"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def raw_rows(path):
    return [tuple(row) for row in read_table(path).raw.itertuples(index=False, name=None)]


def all_rows(path):
    with closing(open_rows(path)) as stream:
        return list(stream.rows())


@pytest.fixture(params=[None, 1, 2, 3, 7], ids="block of {}".format)
def block(request, monkeypatch):
    """Bytes that come at a time: a pipe breaks lines, characters and CRLF apart."""
    if request.param:
        monkeypatch.setattr(byte_stream, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("kind", FILES)
def test_a_stream_has_the_rows_of_the_table(kind, tmp_path):
    form, content = FILES[kind]
    path = written(tmp_path, content)
    stream = open_rows(path)
    assert (stream.name, stream.format, stream.untyped) == (path, form, form == "csv")
    assert list(stream.columns) == read_table(path).columns
    rows = list(stream.rows())
    assert rows == raw_rows(path)
    assert [list(map(type, row)) for row in rows] == [list(map(type, r)) for r in raw_rows(path)]
    assert stream.sha256 == hashlib.sha256(content.encode()).hexdigest() == hash_file(path)
    stream.close()


def test_the_hash_is_known_only_at_the_end(tmp_path):
    stream = open_rows(written(tmp_path, "a\n" + "1\n" * 1_000_000))
    rows = stream.rows()
    next(rows)
    assert stream.sha256 is None
    assert sum(1 for _ in rows) == 999_999
    stream.close()
    assert stream.sha256 == hash_file(str(tmp_path / "rows.data"))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "array"])
def test_stdin_is_read_as_a_file_is(kind, monkeypatch, tmp_path):
    _, content = FILES[kind]
    stdin = SimpleNamespace(buffer=io.BytesIO(content.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    stream = open_rows("-")
    assert stream.name == "standard input"
    assert list(stream.rows()) == raw_rows(written(tmp_path, content))
    stream.close()
    assert not stdin.buffer.closed
    assert hash_file("-") is None


def test_rows_of_a_pipe_come_before_it_ends(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    seen = threading.Event()

    def write():
        with path.open("w") as pipe:
            pipe.write("a,b\n1,2\n3,4\n5,6\n")
            pipe.flush()
            assert seen.wait(20)
            pipe.write("7,8\n")

    writer = threading.Thread(target=write)
    writer.start()
    stream = open_rows(str(path))
    rows = stream.rows()
    assert next(rows) == ("1", "2")
    seen.set()
    assert list(rows) == [("3", "4"), ("5", "6"), ("7", "8")]
    writer.join()
    assert hash_file(str(path)) is None
    stream.close()


FAULTS = {
    "empty": b"",
    "spaces": b" \n\n \t\r\n",
    "latin-1 header": "größe,a\n1,2\n".encode("latin-1"),
    "latin-1 header after a byte order mark": b"\xef\xbb\xbfa,gr\xf6\n1,2\n",
    "utf-16": "a,b\n1,2\n".encode("utf-16"),
    "utf-16 json": '{"a": 1}\n'.encode("utf-16"),
    "two columns of a name": b"a,b, a\n1,2,3\n",
    "array of numbers": b"[1, 2]",
    "broken array": b'[{"a": 1}, {"a": ]',
    "nested in an array": b'[{"a": {"b": 1}}]',
    "latin-1 in an array": b'[{"a": "\xe9"}]',
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_file_that_is_no_table_is_told_as_by_read_table(kind, tmp_path):
    path = written(tmp_path, FAULTS[kind])
    with pytest.raises(InputError) as wanted:
        read_table(path)
    with pytest.raises(InputError) as found:
        all_rows(path)
    assert (found.value.message, found.value.hint) == (wanted.value.message, wanted.value.hint)


@pytest.mark.parametrize("opened", [open_rows, hash_file])
def test_a_path_that_is_no_file_is_told_as_by_read_input(opened, tmp_path):
    for path in (str(tmp_path / "none.csv"), str(tmp_path / ("x" * 300))):
        with pytest.raises(InputError) as wanted:
            read_input(path)
        with pytest.raises(InputError) as found:
            opened(path)
        assert found.value.message == wanted.value.message
    with pytest.raises(InputError, match="is a directory, not a file"):
        open_rows(str(tmp_path))


@pytest.mark.parametrize("content", ["a,b\n", "a,b", "[]"])
def test_a_table_without_rows_just_ends(content, tmp_path):
    assert all_rows(written(tmp_path, content)) == []


def test_binary_files_are_no_tables(tmp_path):
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 0x89 at position 0\)"):
        all_rows(written(tmp_path, b"\x89PNG\r\n\x1a\n\0\0"))
    with pytest.raises(InputError, match="its header holds a NUL byte"):
        all_rows(written(tmp_path, b"a\0b,c\n1,2\n"))


def test_parquet_in_a_pipe_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"PAR1\0\0PAR1")))
    with pytest.raises(InputError, match="cannot be read from a pipe"):
        open_rows("-")


def test_a_closed_stdin_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        open_rows("-")


def test_a_bad_row_keeps_its_place(tmp_path):
    rows = all_rows(written(tmp_path, "a,b\n1,2\n3\n4,5\n"))
    assert rows == [("1", "2"), BadRow("1 cell, the header has 2"), ("4", "5")]
