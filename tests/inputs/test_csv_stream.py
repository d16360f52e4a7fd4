"""CSV has the cells of `pandas.read_csv`; bad rows and cells say what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from limecli.errors import InputError
from limecli.inputs import byte_stream, csv_stream
from limecli.inputs.csv_stream import MISSING
from limecli.inputs.row_stream import MAX_CELL, BadCell, BadRow, open_rows
from limecli.inputs.table import read_table
from tests.inputs.test_row_stream import all_rows, raw_rows, written

PIECES = ["a", "b", "1", ",", ";", "\t", "|", '"', '""', "\n", "\r\n", "\r", " ", "  \n", "NA",
          "nan", "é", "😀", "\x0b", "\x85", "\u2028"]  # fmt: skip
HEADERS = ["a,b\n", "x,y,z\r\n", "a\n", "a;b\r", "a\tb\n", '"a\nb",c\n', "a,,\n", "\n\na,b\n", ""]
# pandas 3.1 swallows a separator that follows a blank line ended by CR alone
SWALLOWED = re.compile(r"(?:[\r\n]|^)[ \t]*\r(?=[,;|\t])")
CELLS = st.one_of(st.sampled_from(sorted(MISSING)), st.text("aé ,;\"\n\r'", max_size=6))
SEARCH = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


def test_missing_words_are_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES

    assert MISSING == STR_NA_VALUES


@SEARCH
@given(
    header=st.sampled_from(HEADERS),
    pieces=st.lists(st.sampled_from(PIECES), max_size=30),
    bom=st.booleans(),
    block=st.sampled_from([1, 2, 3, 7, 1 << 20]),
)
def test_any_text_has_the_cells_of_read_table(header, pieces, bom, block, tmp_path, monkeypatch):
    text = header + "".join(pieces)
    assume(not SWALLOWED.search(text))
    monkeypatch.setattr(byte_stream, "_BLOCK", block)
    path = written(tmp_path, "\ufeff" * bom + text)
    try:
        table = read_table(path)
    except InputError:
        assume(False)
    with closing(open_rows(path)) as stream:
        assert list(stream.columns) == table.columns
        rows = list(stream.rows())
    wanted = list(table.raw.itertuples(index=False, name=None))
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        if isinstance(row, BadRow):  # pandas fills short rows up
            assert want[-1] is None
        else:
            assert row == want


@SEARCH
@given(
    cells=st.lists(st.tuples(*[CELLS] * 3), min_size=1, max_size=8),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([1, 5, 1 << 20]),
)
def test_what_is_written_with_quotes_is_read_back(
    cells, separator, end, block, tmp_path, monkeypatch
):
    monkeypatch.setattr(byte_stream, "_BLOCK", block)
    lines = [["x", "y", "z"], *cells]
    quoted = (separator.join('"' + c.replace('"', '""') + '"' for c in line) for line in lines)
    path = written(tmp_path, end.join(quoted) + end)
    rows = all_rows(path)
    assert rows == [tuple(None if c in MISSING else c for c in row) for row in cells]
    assert rows == raw_rows(path)


def test_a_blank_line_is_no_row_but_an_empty_cell_is(tmp_path):
    path = written(tmp_path, 'a\n"  "\n""\n  \n\nx\n')
    assert all_rows(path) == raw_rows(path) == [("  ",), (None,), ("x",)]


def test_rows_with_other_cells_than_the_header_are_bad_and_the_rest_is_not(tmp_path):
    rows = all_rows(written(tmp_path, "a,b,c\n1,2,3\n1,2\n1,2,3,4,5\n1,2,3,4\n1,2,3,\n7,8,9\n"))
    assert rows == [
        ("1", "2", "3"),
        BadRow("2 cells, the header has 3"),
        BadRow("5 cells, the header has 3"),
        BadRow("4 cells, the header has 3"),
        ("1", "2", "3"),  # a separator at the end of a line is no cell, as for pandas
        ("7", "8", "9"),
    ]


def test_a_cell_of_another_encoding_spoils_only_itself(tmp_path):
    content = "name,city\nAnna,Köln\n".encode() + "René,Köln\n".encode("latin-1") + b"Bo,Ulm\n"
    assert all_rows(written(tmp_path, content)) == [
        ("Anna", "Köln"),
        (
            BadCell("column 'name' is not UTF-8 text (byte 0xe9)"),
            BadCell("column 'city' is not UTF-8 text (byte 0xf6)"),
        ),
        ("Bo", "Ulm"),
    ]


def test_a_bad_byte_in_a_cell_over_several_blocks_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(byte_stream, "_BLOCK", 4)
    content = b'a,b\n1,2\n1,2\n"x\xe9\n' + b"y\n" * 20 + b'",NA\n3,4\n'
    rows = all_rows(written(tmp_path, content))
    assert rows[2] == (BadCell("column 'a' is not UTF-8 text (byte 0xe9)"), None)
    assert rows[3] == ("3", "4")


def test_a_nul_byte_spoils_its_cell(tmp_path):
    rows = all_rows(written(tmp_path, b"a,b\n1,2\n\0x,3\n4,\n"))
    assert rows == [("1", "2"), (BadCell("column 'a' holds a NUL byte"), "3"), ("4", None)]


def test_a_cell_that_is_too_long_spoils_itself_and_a_long_row_of_short_cells_is_good(tmp_path):
    long = "x" * (10 << 20)
    content = f'a,b\n{long},1\n"{long}\n",2\n{long[:MAX_CELL]},{long[:MAX_CELL]}\n4,5\n'
    rows = all_rows(written(tmp_path, content))
    reason = "column 'a' holds 10,485,76{} characters; at most 1,048,576 are taken"
    assert rows[0] == (BadCell(reason.format(0)), "1")
    assert rows[1] == (BadCell(reason.format(1)), "2")
    assert [len(cell) for cell in rows[2]] == [MAX_CELL, MAX_CELL]
    assert rows[3] == ("4", "5")


@pytest.mark.parametrize("size", [1, 4, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_quote_that_is_never_closed_is_told_with_its_line(end, size, tmp_path, monkeypatch):
    monkeypatch.setattr(byte_stream, "_BLOCK", size)
    text = 'a,b\n1,2\n\n"x\ny",2\n3,"4\n5,6\n'.replace("\n", end)
    with closing(open_rows(written(tmp_path, text))) as stream:
        rows = stream.rows()
        assert [next(rows), next(rows)] == [("1", "2"), (f"x{end}y", "2")]
        with pytest.raises(InputError, match="the quote that opens in the row of line 6 is never"):
            next(rows)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,2\n1,2\n3,"4\n' + "5,6\n" * 40, 4),
        ("a,b\n1,2\n1,2\n" + "x" * 150 + ",1\n", 4),
        ("a,b\n1,2\n1,2\n" + "x" * 150, 4),
        ('"a,b\n' + "1,2\n" * 40, 1),
    ],
)
@pytest.mark.parametrize("size", [8, 1 << 20])
def test_a_record_without_end_is_not_read_into_memory(text, line, size, tmp_path, monkeypatch):
    monkeypatch.setattr(byte_stream, "_BLOCK", size)
    monkeypatch.setattr(csv_stream, "MAX_RECORD", 100)
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=f"what begins in line {line} is longer than"):
        all_rows(path)


MEASURE = """
import resource, sys
from limecli.inputs.row_stream import open_rows
import pandas
stream = open_rows(sys.argv[1])
rows = stream.rows()
next(rows)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(1 for _ in rows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_big_file_takes_no_memory(tmp_path):
    path = tmp_path / "big.csv"
    line = ",".join(["United-States"] * 14) + "\n"
    n = (20 << 20) // len(line)
    path.write_text(line.replace("United-States", "{}").format(*range(14)) + line * n)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    rows, kilobytes = map(int, done.stdout.split())
    assert rows == n - 1
    assert kilobytes < 8 << 10
