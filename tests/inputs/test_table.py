"""A table is a table, whatever it is written in; a background turns rows into numbers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limecli.errors import InputError, UsageError
from limecli.inputs.background import background_from_table, read_background, to_json
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table, read_table, select_rows
from limecli.types import Skipped

ROWS = [
    {"age": 41, "city": "Ulm", "member": True, "score": 1.5},
    {"age": None, "city": "Köln, Rhein", "member": False, "score": -2.0},
    {"age": 7, "city": None, "member": True, "score": 0.25},
]
FRAME = pd.DataFrame(ROWS)


def written(kind, folder):
    path = folder / "rows.data"
    if kind == "csv":
        FRAME.to_csv(path, index=False)
    elif kind == "bom":
        path.write_text("\ufeff" + FRAME.to_csv(index=False), "utf-8")
    elif kind in ("tsv", "semicolon"):
        FRAME.to_csv(path, index=False, sep="\t" if kind == "tsv" else ";")
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    elif kind == "columns":
        path.write_text(json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}))
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "bom", "tsv", "semicolon", "json", "jsonl", "columns"])
def test_every_way_to_write_a_table_gives_the_same_rows(tmp_path, kind):
    table = read_table(written(kind, tmp_path))
    assert table.columns == ["age", "city", "member", "score"]
    background = background_from_table(table, table.columns, "quartile")
    encoder = RowEncoder(background)
    instances = [encoder.encode(table, i, str(i)) for i in range(3)]
    values = [instance.values for instance in instances]
    assert values == [
        (41, "Ulm", True, 1.5),
        (None, "Köln, Rhein", False, -2),
        (7, None, True, 0.25),
    ]
    codes = np.stack([instance.payload for instance in instances])
    np.testing.assert_array_equal(
        codes, [[41, 1, 1, 1.5], [np.nan, 0, 0, -2], [7, 2, 1, 0.25]]
    )  # cities sorted, missing last


def test_one_json_object_is_one_row(tmp_path):
    (tmp_path / "row.json").write_text(json.dumps(ROWS[0]))
    assert len(read_table(str(tmp_path / "row.json"))) == 1


def test_json_strings_stay_strings(tmp_path):
    (tmp_path / "row.json").write_text(json.dumps([{"zip": "01234"}, {"zip": "89073"}]))
    table = read_table(str(tmp_path / "row.json"))
    background = background_from_table(table, ["zip"], "quartile", ["zip"])
    assert background.columns[0].categories == ("01234", "89073")


def test_truths_are_numbers_where_the_background_has_only_0_to_1(tmp_path):
    numbers = pd.DataFrame({"owner": [0, 1] * 20, "age": range(40)})
    numbers.to_csv(tmp_path / "train.csv", index=False)
    background = background_from_table(
        read_table(str(tmp_path / "train.csv")), ["owner", "age"], "quartile"
    )
    (tmp_path / "rows.json").write_text('[{"owner": true, "age": 3}, {"owner": false, "age": 4}]')
    for table in (
        table_of("owner,age\nTrue,3\nfalse,4\n", tmp_path),
        read_table(str(tmp_path / "rows.json")),
    ):
        encoder = RowEncoder(background)
        assert [encoder.encode(table, i, str(i)).payload[0] for i in range(2)] == [1.0, 0.0]
        assert encoder.notes == {}
    skipped = RowEncoder(background).encode(table_of("owner,age\nTrue,True\n", tmp_path), 0, "0")
    assert "'age': 'True' is not a number" in skipped.reason


def table_of(text, folder):
    (folder / "rows.csv").write_text(text)
    return read_table(str(folder / "rows.csv"))


@pytest.mark.parametrize(
    ("choice", "rows"),
    [("0", [0]), ("-1", [4]), ("1:3", [1, 2]), ("3:", [3, 4]), (":2", [0, 1]), ("-2:", [3, 4]),
     ("all", [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4]), ("id=b", [1]), ("id=c", [2, 3])],
)  # fmt: skip
def test_rows_are_picked(tmp_path, choice, rows):
    table = table_of("id,x\na,1\nb,2\nc,3\nc,4\nd,5\n", tmp_path)
    assert select_rows(table, choice, None) == rows


@pytest.mark.parametrize("choice", ["5", "-6", "7:9", "id=z"])
def test_a_row_that_is_not_there(tmp_path, choice):
    with pytest.raises(InputError):
        select_rows(table_of("id,x\na,1\nb,2\nc,3\nc,4\nd,5\n", tmp_path), choice, None)


@pytest.mark.parametrize("choice", ["first", "1:x", "1.5", ""])
def test_a_choice_that_cannot_be_read(tmp_path, choice):
    with pytest.raises(UsageError):
        select_rows(table_of("id,x\na,1\n", tmp_path), choice, None)


def test_many_rows_want_a_choice(tmp_path):
    with pytest.raises(UsageError, match="21 rows"):
        select_rows(table_of("x\n" + "1\n" * 21, tmp_path), None, None)


def test_a_word_in_a_number_column_is_a_reason_to_skip(tmp_path):
    background = background_from_table(table_of("age\n1\n2\n3\n", tmp_path), ["age"], "quartile")
    table = table_of("age\n5\nabc\n", tmp_path)
    item = RowEncoder(background).encode(table, 1, "1")
    assert isinstance(item, Skipped)
    assert item.reason.endswith("rows.csv, row 1, column 'age': 'abc' is not a number")


def test_integer_categories_match_however_they_are_spelled(tmp_path):
    train = table_of("grade,x\n1,0\n2,0\n,0\n2,0\n", tmp_path)  # a gap makes pandas read floats
    background = background_from_table(train, ["grade"], "quartile", ["grade"])
    assert background.columns[0].categories == (1.0, 2.0, None)
    item = RowEncoder(background).encode(table_of("grade\n2\n", tmp_path), 0, "0")
    assert item.payload.tolist() == [1.0]


def test_an_unseen_category_gets_a_code_of_its_own_and_a_note(tmp_path):
    background = background_from_table(table_of("c\nx\ny\nx\n", tmp_path), ["c"], "quartile")
    encoder = RowEncoder(background)
    table = table_of("c\nz\nx\nz\n", tmp_path)
    codes = [encoder.encode(table, i, str(i)).payload[0] for i in range(3)]
    assert codes == [2, 0, 2]
    assert encoder.columns[0].categories == ("x", "y", "z")
    assert "never occurs in the background" in encoder.notes["c"]


def test_a_value_out_of_range_gets_a_note(tmp_path):
    background = background_from_table(table_of("x\n1\n2\n3\n", tmp_path), ["x"], "quartile")
    encoder = RowEncoder(background)
    encoder.encode(table_of("x\n9\n", tmp_path), 0, "0")
    assert "outside the background's range 1 to 3" in encoder.notes["x"]


cells = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))
words = st.one_of(st.none(), st.sampled_from(["a", "b b", "ü", "<c>", "[d]"]))


@given(rows=st.lists(st.tuples(cells, words), min_size=1, max_size=40),
       discretizer=st.sampled_from(["quartile", "decile", "none"]))  # fmt: skip
def test_statistics_survive_json(tmp_path_factory, rows, discretizer):
    folder = tmp_path_factory.mktemp("stats")
    (folder / "train.json").write_text(json.dumps([{"x": x, "w": w} for x, w in rows]))
    made = background_from_table(read_table(str(folder / "train.json")), ["x", "w"], discretizer)
    (folder / "stats.json").write_text(json.dumps(to_json(made), allow_nan=False))
    back = read_background(str(folder / "stats.json"), "file")
    assert back.columns == made.columns
    for column in made.columns:
        assert sum(column.feature_frequencies) == pytest.approx(1)
        assert column.has_missing == any((x if column.name == "x" else w) is None for x, w in rows)


def test_decimal_commas_are_named(tmp_path):
    table = table_of("x;y\n" + "1,5;2\n" * 3, tmp_path)
    with pytest.raises(InputError, match="decimal comma"):
        background_from_table(table, ["x", "y"], "quartile")


def test_utf_16_is_named(tmp_path):
    (tmp_path / "rows.csv").write_text("x\n1\n", "utf-16")
    with pytest.raises(InputError) as refused:
        read_table(str(tmp_path / "rows.csv"))
    assert "iconv -f utf-16" in refused.value.hint


@pytest.mark.parametrize("orient", ["records", "columns", "split", "list"])
def test_every_way_in_which_pandas_writes_json(tmp_path, orient):
    path = tmp_path / "rows.json"
    if orient == "list":
        path.write_text(
            json.dumps(FRAME[["age", "city"]].astype(object).to_dict("list")).replace("NaN", "null")
        )
    else:
        FRAME[["age", "city"]].to_json(path, orient=orient)
    table = read_table(str(path))
    assert table.columns == ["age", "city"]
    assert table.raw["city"].tolist() == ["Ulm", "Köln, Rhein", None]


def test_0_and_1_are_other_spellings_of_truths():
    rows = pd.DataFrame({"owner": [True, False] * 20})
    table = Table("train.csv", None, rows.astype(str), True)
    background = background_from_table(table, ("owner",), "quartile")
    for cells, untyped in (
        (["1", "0", "true", "False"], True),
        ([1, 0, 1.0, False], False),
    ):
        asked = Table.of_cells("q", ("owner",), [(cell,) for cell in cells], untyped)
        encoder = RowEncoder(background)
        found = [encoder.encode(asked, i, str(i)) for i in range(4)]
        assert [item.values[0] for item in found] == [True, False, True, False]
        assert len(encoder.columns[0].categories) == 2
