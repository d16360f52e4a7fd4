"""Training data -> Background, and Background <-> JSON.

The statistics are lime's own (its discretizers compute them), so that an explanation made from the
JSON equals one made from the data.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal

from limecli.errors import InputError, UsageError
from limecli.inputs.files import read_input
from limecli.inputs.row_encoder import category_key, to_number
from limecli.inputs.table import Table, require_column
from limecli.types import Background, Category, Column

if TYPE_CHECKING:
    import pandas as pd

    from limecli.types import FloatArray

DISCRETIZERS = ("quartile", "decile", "entropy", "none")
_PERCENTILES = {"quartile": [25, 50, 75], "decile": [10, 20, 30, 40, 50, 60, 70, 80, 90]}
_DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d+\s*")
MIN_ROWS = 30
_SCHEMA_VERSION = 1
_PER_BIN = ("bins", "means", "stds", "mins", "maxs")


def background_from_table(
    table: Table,
    features: Sequence[str],
    discretizer: str,
    categorical: Collection[str] = (),
    source: Literal["file", "rows"] = "file",
    target: str | None = None,
    spelled: Collection[str] = (),
) -> Background:
    """Summarise the `features` columns of a table.

    String, category and bool columns and those in `categorical` are categorical: codes follow
    sorted `str(value)`, missing last. Those in `spelled` are, too, as the file spells them. Raises
    InputError for a number column with a word in it, UsageError for an entropy discretizer without
    `target`.
    """
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    for name in categorical:
        require_column(table, name, "--categorical")
    categories: list[tuple[Category, ...] | None] = []
    data = np.empty((len(table), len(features)))
    for j, name in enumerate(features):
        values = table.raw[name] if name in spelled else table.typed[name]
        if name in spelled or name in categorical or not _is_number(table, name):
            found = _categories(values)
            data[:, j] = _codes(values, found)
            categories.append(found)
        else:
            data[:, j] = values.astype(float)
            categories.append(None)
            if np.isinf(data[:, j]).any():
                row = int(np.isinf(data[:, j]).argmax())
                raise InputError(f"{table.name}, row {row}, column {name!r}: infinite")
    labels = _labels(table, target) if discretizer == "entropy" else None
    empty = np.isnan(data).all(axis=0)  # no mean to take
    with np.errstate(over="ignore"):
        wide = ~np.isfinite(np.nanmax(np.where(empty, 0.0, np.abs(data)), axis=0) ** 2 * len(data))
    if wide.any():
        name = features[int(wide.argmax())]
        raise InputError(f"{table.name}, column {name!r}: numbers too large to summarise")
    scaler = StandardScaler(with_mean=False).fit(np.where(empty, 0.0, data))
    columns = []
    for j, name in enumerate(features):
        mean, scale = float(scaler.mean_[j]), float(scaler.scale_[j])
        found_here = categories[j]
        if found_here is None:
            columns.append(continuous_column(name, data[:, j], discretizer, mean, scale, labels))
        else:
            values_, shares = _frequencies(data[:, j])
            columns.append(Column(name, found_here, values_, shares, 0.0, 1.0))
    return Background(tuple(columns), discretizer, len(table), source, table.name, table.sha256)


def _is_number(table: Table, name: str) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    column = table.typed[name]
    if is_bool_dtype(column):
        return False
    if is_numeric_dtype(column):
        return True
    _refuse_stray_words(table, name)
    return False


def _refuse_stray_words(table: Table, name: str) -> None:
    """A string column that is mostly numbers is a number column with a fault in it."""
    cells = [(type(value), value) for value in table.raw[name]]  # 1 is not True here
    counts = Counter(cell for cell in cells if cell[1] is not None)  # in the order of the rows
    present = counts.total()
    words = [cell for cell in counts if not _reads_as_number(cell[1])]
    commas = [cell for cell in words if _DECIMAL_COMMA.fullmatch(str(cell[1]))]
    if commas and sum(counts[cell] for cell in commas) * 2 > present:
        raise InputError(
            f"{table.name}, column {name!r}: {commas[0][1]!r} has a decimal comma",
            "write numbers with a point",
        )
    if words and sum(counts[cell] for cell in words) * 10 < present:
        i, value = cells.index(words[0]), words[0][1]
        raise InputError(
            f"{table.name}, row {i}, column {name!r}: {value!r} is not a number",
            f"mend the cell, or say --categorical {name!r} if the column holds categories",
        )


def _reads_as_number(value: Any) -> bool:
    try:
        to_number(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _categories(values: pd.Series[Any]) -> tuple[Category, ...]:
    distinct = {
        value.item() if hasattr(value, "item") else value for value in values.dropna().unique()
    }
    ordered: list[Category] = sorted(distinct, key=str)
    return (*ordered, None) if values.isna().any() else tuple(ordered)


def _codes(values: pd.Series[Any], known: tuple[Category, ...]) -> FloatArray:
    """Each cell's place among the categories; every distinct value is looked up once."""
    import numpy as np
    import pandas as pd

    codes = {category_key(value, numeric=False): code for code, value in enumerate(known)}
    places, distinct = pd.factorize(values)
    found = [float(codes[category_key(value, numeric=False)]) for value in distinct]
    found.append(float(codes.get(category_key(None, numeric=False), np.nan)))  # place -1: missing
    return np.array(found)[places]


def _frequencies(codes: FloatArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # As lime counts: values sorted, counts over their sum.
    import numpy as np

    values, counts = np.unique(codes, return_counts=True)
    shares = counts / float(counts.sum())
    return tuple(values.tolist()), tuple(shares.tolist())


def _labels(table: Table, target: str | None) -> list[str]:
    if target is None:
        raise UsageError(
            "--discretizer entropy needs the labels of the background data",
            "name their column with --target",
        )
    require_column(table, target, "--target")
    return [str(value) for value in table.raw[target]]


def continuous_column(
    name: str,
    values: FloatArray,
    discretizer: str,
    mean: float,
    scale: float,
    labels: list[str] | None,
) -> Column:
    """The statistics of a column of numbers, `float[n]`, NaN where one is missing.

    `mean` and `scale` are those of the whole column, `labels` serve the entropy discretizer.
    """
    import numpy as np

    missing = np.isnan(values)
    present = values[~missing]
    if present.size == 0:
        # Nothing but missing values: one bin that never occurs, and the missing one.
        return Column(name, None, (1.0,), (1.0,), 0.0, 1.0, (), (0.0,), (1e-11,), (0.0,), (0.0,))
    if discretizer == "none":
        low, high = float(present.min()), float(present.max())
        share = float(missing.mean())
        codes: tuple[float, ...] = (0.0, 1.0) if share else (0.0,)
        shares: tuple[float, ...] = (1 - share, share) if share else (1.0,)
        return Column(
            name, None, codes, shares, mean, scale, (), (mean,), (scale,), (low,), (high,)
        )
    edges = _edges(discretizer, present, name, missing, labels)
    codes_ = np.where(missing, len(edges) + 1.0, np.searchsorted(edges, values).astype(float))
    feature_values, shares = _frequencies(codes_)
    stats = _per_bin(present, edges)
    return Column(name, None, feature_values, shares, mean, scale, tuple(edges.tolist()), *stats)


def _edges(
    discretizer: str, present: FloatArray, name: str, missing: Any, labels: list[str] | None
) -> FloatArray:
    """The inner edges of the bins that lime's discretizer of that name cuts a column into."""
    import numpy as np

    if discretizer in _PERCENTILES:
        return np.unique(np.percentile(present, _PERCENTILES[discretizer]))
    from lime.discretize import EntropyDiscretizer

    kept = [label for label, gap in zip(labels or (), missing, strict=True) if not gap]
    data = present[:, None]
    lime = EntropyDiscretizer(data, [], [name], labels=kept, random_state=0)
    return np.unique(lime.bins(data, kept)[0])


def _per_bin(present: FloatArray, edges: FloatArray) -> list[tuple[float, ...]]:
    """Means, standard deviations, lower and upper ends of the bins.

    Computed as lime's `BaseDiscretizer` does, to the last bit; importing that takes long.
    """
    import numpy as np

    codes = np.searchsorted(edges, present)
    means, stds = [], []
    for code in range(len(edges) + 1):
        inside = present[codes == code]
        means.append(float(np.mean(inside)) if len(inside) else 0.0)
        stds.append((float(np.std(inside)) if len(inside) else 0.0) + 1e-11)
    inner = edges.tolist()
    low, high = float(np.min(present)), float(np.max(present))
    return [tuple(means), tuple(stds), (low, *inner), (*inner, high)]


def to_json(background: Background) -> dict[str, Any]:
    """The background as JSON-ready data: lime's `training_data_stats` by feature name, and more."""
    columns = background.columns
    continuous = [column for column in columns if column.continuous]
    stats: dict[str, Any] = {
        key: {column.name: list(getattr(column, key)) for column in continuous} for key in _PER_BIN
    }
    return {
        "schema_version": _SCHEMA_VERSION,
        "type": "limecli background",
        "discretizer": background.discretizer,
        "rows": background.rows,
        "recovered_from": list(background.recovered_from),
        "feature_names": list(background.feature_names),
        "categories": {c.name: list(c.categories) for c in columns if c.categories is not None},
        "feature_values": {c.name: list(c.feature_values) for c in columns},
        "feature_frequencies": {c.name: list(c.feature_frequencies) for c in columns},
        **stats,
        "scaler_mean": {column.name: column.mean for column in columns},
        "scaler_scale": {column.name: column.scale for column in columns},
    }


def is_background_json(data: bytes) -> bool:
    """Whether a file is a background's statistics rather than rows of data."""
    return data.lstrip()[:1] == b"{" and b'"limecli background"' in data[:4096]


def read_background(path: str, source: Literal["file", "sidecar"]) -> Background:
    """Read a statistics file. Raises InputError when it is damaged or of a newer version."""
    file = read_input(path)
    try:
        content = json.loads(file.text())
        version = content["schema_version"]
        if version > _SCHEMA_VERSION:
            raise InputError(
                f"{path} is a background of version {version}; this limecli reads up to"
                f" {_SCHEMA_VERSION}",
                "update limecli",
            )
        columns = tuple(_column_from_json(content, name) for name in content["feature_names"])
        discretizer, rows = str(content["discretizer"]), content["rows"]
        rows = None if rows is None else int(rows)
        if discretizer not in DISCRETIZERS or rows == 0 or type(version) is not int:
            raise ValueError("its discretizer, rows or schema_version make no sense")
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        what = (
            f"lacks the key {error}" if isinstance(error, KeyError) else str(error).split("\n")[0]
        )
        raise InputError(
            f"{path} is not a background that limecli can read: {what}",
            "make one with: limecli background TRAIN -o stats.json",
        ) from None
    recovered = tuple(str(part) for part in content.get("recovered_from", ()))
    return Background(columns, discretizer, rows, source, path, file.sha256, recovered)


def _column_from_json(content: dict[str, Any], name: str) -> Column:
    def numbers(key: str) -> tuple[float, ...]:
        values = tuple(float(x) for x in content[key].get(name, ()))
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"{key} of {name!r} is not finite")
        return values

    found = content["categories"].get(name)
    if not all(isinstance(item, str | int | float | None) for item in found or ()):
        raise ValueError(f"a category of {name!r} is no plain value")
    column = Column(
        name,
        None if found is None else tuple(found),
        numbers("feature_values"),
        numbers("feature_frequencies"),
        float(content["scaler_mean"][name]),
        float(content["scaler_scale"][name]),
        *(numbers(key) for key in _PER_BIN),
    )
    if not (math.isfinite(column.mean) and math.isfinite(column.scale) and column.scale > 0):
        raise ValueError(f"the scaler's numbers of {name!r} are not finite and positive")
    codes = len(found) if found is not None else len(column.bins) + 2
    if not all(0 <= code < codes and code.is_integer() for code in column.feature_values):
        raise ValueError(f"feature_values of {name!r} hold a code that does not exist")
    sizes = {len(column.means), len(column.stds), len(column.mins), len(column.maxs)}
    expected = 0 if found is not None else len(column.bins) + 1
    if sizes != {expected} or len(column.feature_values) != len(column.feature_frequencies):
        raise ValueError(f"the statistics of {name!r} do not fit together")
    if min(column.feature_frequencies, default=0.0) < 0 or min(column.stds, default=1.0) <= 0:
        raise ValueError(f"{name!r} has a frequency below 0, or a std that is not above it")
    if abs(sum(column.feature_frequencies) - 1.0) > 1e-6:
        raise ValueError(f"the frequencies of {name!r} do not add up to 1")
    return column
