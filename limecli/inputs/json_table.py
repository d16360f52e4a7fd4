"""JSON and JSONL -> a frame of cells, and the types that JSON itself gives to them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError
from limecli.inputs.files import InputFile

if TYPE_CHECKING:
    import pandas as pd


def read_json(file: InputFile, text: str) -> pd.DataFrame:
    """A list of objects, one object, an object of columns, or one object a line."""
    import pandas as pd

    try:
        content = json.loads(text)
    except RecursionError:
        raise InputError(f"{file.name} is nested too deeply to be a table") from None
    except ValueError as whole:  # numbers of thousands of digits, too
        try:
            content = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            place = f" in line {whole.lineno}" if isinstance(whole, json.JSONDecodeError) else ""
            what = whole.msg if isinstance(whole, json.JSONDecodeError) else str(whole)
            raise InputError(f"{file.name} is not valid JSON: {what}{place}") from None
    if isinstance(content, dict):
        content = _rows_of(content, file)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{file.name} is JSON, but no list of objects with one key a column")
    for i, row in enumerate(content):
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                row[key] = None if math.isnan(value) else str(value)
            if isinstance(value, dict | list):
                raise InputError(
                    f"{file.name}, row {i}, column {key!r}: a nested value, not a cell"
                )
    names = list(dict.fromkeys(str(key) for row in content for key in row))
    rows = [[row.get(name) for name in names] for row in content]
    return pd.DataFrame(rows, columns=names, dtype=object)


def _rows_of(content: dict[str, Any], file: InputFile) -> list[Any]:
    """One object, or one of the ways in which pandas writes a table as an object."""
    if {"columns", "data"} <= content.keys() <= {"columns", "data", "index"}:
        names, rows = content["columns"], content["data"]
        sound = isinstance(names, list) and isinstance(rows, list)
        sound = sound and all(isinstance(name, str) for name in names)
        if sound and all(isinstance(row, list) and len(row) == len(names) for row in rows):
            return [dict(zip(names, row, strict=True)) for row in rows]
    values = list(content.values())
    if values and all(isinstance(value, dict) for value in values):
        values = [list(value.values()) for value in values]
    if not values or not all(isinstance(value, list) for value in values):
        return [content]
    if len({len(value) for value in values}) > 1:
        raise InputError(f"{file.name} has columns of different lengths")
    return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]


def json_types(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of cells as pandas types it, missing ones as NaN."""
    import numpy as np
    import pandas as pd

    plain = [np.nan if value is None else value for value in column]
    return pd.Series(plain, index=column.index)
