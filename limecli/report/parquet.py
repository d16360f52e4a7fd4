"""Parquet: the columns of the CSV with their types, through pyarrow (`limecli[parquet]`).

`value`, which may be a word in one line and a number in the next, is text; `value_number` beside it
holds those that are numbers. The key "limecli" of the file's metadata is the audit's envelope (a
report without its explanations) as JSON. Equal lines give equal bytes with the same pyarrow.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from limecli.errors import ReportError
from limecli.report.json import SCHEMA_VERSION, json_bytes
from limecli.report.tidy import COLUMNS, report_lines
from limecli.types import Report

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"limecli"
_ROW_GROUP = 100_000  # lines
_ROW_GROUP_BYTES = 1 << 27  # fewer lines where they are long
_CHUNK = 4096  # lines that exist as Python objects at a time
_CHUNK_TEXT = 1 << 24  # characters of them
_NUMBER = "value_number"
_INTEGERS = {
    "index", "label_index", "rank", "feature_index", "rank_first", "rank_last", "real_rows",
    "shared_of", "cell_rows", "flip_samples", "model_calls", "weight_calls",
}  # fmt: skip
_DOUBLES = {
    "model_prediction", "local_prediction", "intercept", "fidelity", "r2_fit", "stability",
    _NUMBER, "weight", "low", "high", "sign_probability", "top_probability", "fidelity_rows",
    "shared", "cell_low", "cell_high",
}  # fmt: skip
_TRUTHS = {"settled", "sign_holds"}
_LONG = ("feature", "condition", "flips")  # columns that may hold megabytes
_AFTER_VALUE = COLUMNS.index("value") + 1
PARQUET_COLUMNS = (*COLUMNS[:_AFTER_VALUE], _NUMBER, *COLUMNS[_AFTER_VALUE:])


class ParquetFormat:
    """The tidy table as one Parquet file."""

    suffixes = (".parquet",)
    one_each = False
    binary = True

    def render(self, report: Report) -> bytes:
        """The whole file. Raises ReportError where pyarrow is missing."""
        buffer = io.BytesIO()
        envelope = report_envelope(
            report.model, report.background, report.settings, report.provenance
        )
        write_parquet(report_lines(report), buffer, envelope)
        return buffer.getvalue()


def report_envelope(
    model: Mapping[str, Any],
    background: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """A report without its explanations, and without what differs between equal runs."""
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": {key: provenance[key] for key in ("limecli", "versions")},
        "model": model,
        "background": background,
        "settings": settings,
    }


def check_parquet() -> None:
    """Raise ReportError where Parquet cannot be written here."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ReportError("Parquet needs pyarrow", "pip install 'limecli[parquet]'") from None


def write_parquet(
    lines: Iterable[Mapping[str, Any]], file: BinaryIO, envelope: Mapping[str, Any]
) -> None:
    """Write tidy lines as they come, a row group at a time (about 100,000 lines).

    Raises ReportError where pyarrow is missing, or for a line that holds another type than its
    column has.
    """
    check_parquet()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = _schema().with_metadata({METADATA_KEY: json_bytes(envelope, indent=None)})
    with ParquetWriter(file, schema, compression="zstd") as writer:
        held: list[pa.RecordBatch] = []
        for chunk in _chunks(lines):
            held.append(_batch(chunk, schema))
            full = sum(batch.num_rows for batch in held) >= _ROW_GROUP
            if full or sum(batch.nbytes for batch in held) >= _ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(held))
                held = []
        if held:
            writer.write_table(pa.Table.from_batches(held))


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, _type(name)) for name in PARQUET_COLUMNS])


def _type(name: str) -> pa.DataType:
    import pyarrow as pa

    if name in _INTEGERS:
        return pa.int64()
    if name in _DOUBLES:
        return pa.float64()
    return pa.bool_() if name in _TRUTHS else pa.string()


def _chunks(lines: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    chunk: list[Mapping[str, Any]] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += sum(len(line.get(name) or "") for name in _LONG)
        if len(chunk) == _CHUNK or size >= _CHUNK_TEXT:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _batch(lines: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    values = [line.get("value") for line in lines]
    own: dict[str, list[Any]] = {
        "value": [_text(value) for value in values],
        _NUMBER: [_number(value) for value in values],
    }
    columns = (own.get(name) or [line.get(name) for line in lines] for name in schema.names)
    arrays = [_array(column, field) for column, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, field.type)
    except UnicodeEncodeError:  # a lone surrogate (from broken text) has no UTF-8 form
        plain = [
            value if value is None else value.encode("utf-8", "backslashreplace").decode()
            for value in values
        ]
        return pa.array(plain, field.type)
    except (pa.ArrowException, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ReportError(f"the column {field.name} cannot be written: {reason}") from None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
