"""Parquet: the CSV's table with types, as DuckDB, pandas and Polars read it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys

import pytest

from limecli.errors import ReportError
from limecli.report.csv import CsvFormat
from limecli.report.json import JsonFormat
from limecli.report.parquet import PARQUET_COLUMNS, ParquetFormat, check_parquet, write_parquet
from limecli.report.tidy import COLUMNS, report_lines
from tests.report.made import EXACT, SAMPLED, TABULAR, TEXT, attribution, picture, with_label

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

MADE = {"tabular": TABULAR, "text": TEXT, "image": picture(), "sampled": SAMPLED, "exact": EXACT}
VALUES = with_label(
    SAMPLED,
    tuple(
        attribution(rank, f"f{rank}", 0.5, value=value)
        for rank, value in enumerate([41, 2.5, "Dream", "41", True, None, 10**400], start=1)
    ),
)


@pytest.fixture
def written(tmp_path):
    def write(made):
        path = tmp_path / "made.parquet"
        path.write_bytes(ParquetFormat().render(made))
        return path

    return write


def read(data):
    return pq.read_table(io.BytesIO(data))


def envelope():
    return {"schema_version": 1, "settings": {}}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_it_says_what_the_csv_says(made):
    cells = list(csv.DictReader(io.StringIO(CsvFormat().render(made).decode())))
    rows = read(ParquetFormat().render(made)).to_pylist()
    assert len(rows) == len(cells)
    for row, cell in zip(rows, cells, strict=True):
        for name in COLUMNS:
            if isinstance(row[name], float):
                assert float(cell[name]) == row[name]
            elif not (
                cell[name].startswith("'") or "\\x1b" in cell[name]
            ):  # kept from spreadsheets
                assert cell[name] == ("" if row[name] is None else str(row[name]))


def test_names_stay_as_they_are():
    rows = read(ParquetFormat().render(TABULAR)).to_pylist()
    assert rows[1]["value"] == "=1+1"
    assert rows[2]["feature"] == "evil\x1b[31m"


def test_numbers_among_the_values_can_be_reckoned_with():
    table = read(ParquetFormat().render(VALUES)).to_pydict()
    assert table["value_number"] == [41.0, 2.5, None, None, None, None, None]
    assert table["value"] == ["41", "2.5", "Dream", "41", "True", None, str(10**400)]


def test_the_columns_are_the_csvs_and_the_number():
    assert set(PARQUET_COLUMNS) - set(COLUMNS) == {"value_number"}
    assert [name for name in PARQUET_COLUMNS if name in COLUMNS] == list(COLUMNS)


def test_types_do_not_depend_on_the_lines():
    schemas = {str(read(ParquetFormat().render(made)).schema.remove_metadata())
               for made in MADE.values()}  # fmt: skip
    assert len(schemas) == 1


def test_duckdb_reads_it(written):
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(
        f"select feature, weight, rank, settled from '{written(SAMPLED)}' where weight < 0"
    )
    assert found.fetchall() == [("island", -0.15, 2, True)]
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    assert types == {
        "feature": "VARCHAR", "weight": "DOUBLE", "rank": "BIGINT", "settled": "BOOLEAN",
    }  # fmt: skip


def test_pandas_reads_it(written):
    pd = pytest.importorskip("pandas")
    frame = pd.read_parquet(written(SAMPLED))
    assert list(frame["feature"]) == ["bill_length_mm", "island", "flipper_length_mm", "sex"]
    assert frame["weight"].dtype == "float64"
    assert frame["rank"].dtype == "int64"
    assert frame["weight"].sum() == pytest.approx(0.15)


def test_polars_reads_it(written):
    pl = pytest.importorskip("polars")
    frame = pl.read_parquet(written(SAMPLED))
    assert frame["weight"].dtype == pl.Float64
    assert frame["rank"].to_list() == [1, 2, 3, 4]
    assert frame["value_number"].to_list() == [43.2, None, 192.0, None]


def test_the_envelope_is_in_the_metadata_without_times_and_command():
    content = json.loads(JsonFormat().render(SAMPLED))
    found = json.loads(read(ParquetFormat().render(SAMPLED)).schema.metadata[b"limecli"])
    assert found["provenance"].keys() == {"limecli", "versions"}
    for key in ("schema_version", "model", "background", "settings"):
        assert found[key] == content[key]
    assert "explanations" not in found


def test_equal_reports_give_equal_bytes():
    assert ParquetFormat().render(SAMPLED) == ParquetFormat().render(SAMPLED)


def test_row_groups_are_bounded():
    line = next(report_lines(SAMPLED))
    buffer = io.BytesIO()
    write_parquet(itertools.repeat(line, 230_000), buffer, envelope())
    file = pq.ParquetFile(buffer)
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sum(sizes) == 230_000
    assert all(100_000 <= size < 105_000 for size in sizes[:-1])
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_long_cells_make_shorter_row_groups():
    line = next(report_lines(SAMPLED)) | {"condition": "x" * (1 << 20)}
    buffer = io.BytesIO()
    write_parquet(itertools.repeat(line, 300), buffer, envelope())
    file = pq.ParquetFile(buffer)
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sum(sizes) == 300
    assert max(sizes) < 200


def test_an_audit_without_decisions_is_an_empty_table():
    buffer = io.BytesIO()
    write_parquet(iter(()), buffer, envelope())
    assert pq.read_table(buffer).num_rows == 0


def test_broken_text_is_told_as_in_csv():
    made = with_label(SAMPLED, (attribution(1, "caf\udce9", 0.5),))
    assert read(ParquetFormat().render(made))["feature"].to_pylist() == ["caf\\udce9"]


@pytest.mark.parametrize(
    ("name", "value"), [("weight", "heavy"), ("label", 3), ("rank", 2**70), ("settled", "yes")]
)
def test_a_cell_of_another_type_is_refused(name, value):
    line = next(report_lines(SAMPLED)) | {name: value}
    with pytest.raises(ReportError, match=f"the column {name} cannot be written"):
        write_parquet([line], io.BytesIO(), envelope())


def test_without_pyarrow_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ReportError) as told:
        check_parquet()
    assert told.value.hint == "pip install 'limecli[parquet]'"
    with pytest.raises(ReportError):
        ParquetFormat().render(SAMPLED)
