"""CSV: one line per instance, label and feature."""

from __future__ import annotations

import csv
import io
from typing import Any

from limecli.report.words import clean
from limecli.types import Report, Skipped

COLUMNS = (
    "id", "index", "status", "reason", "label", "label_index", "model_prediction",
    "local_prediction", "intercept", "fidelity", "r2_fit", "stability", "rank", "feature",
    "feature_index", "condition", "value", "weight", "low", "high", "sign_probability",
    "top_probability",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@")


class CsvFormat:
    """UTF-8 with a header line. Text that a spreadsheet would run as a formula gets a leading '."""

    suffixes = (".csv",)
    one_each = False

    def render(self, report: Report) -> bytes:
        """All lines; a skipped instance has one, with its reason."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for line in _lines(report):
            writer.writerow({key: _cell(value) for key, value in line.items()})
        return buffer.getvalue().encode("utf-8", "backslashreplace")


def _lines(report: Report) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for item in report.explanations:
        if isinstance(item, Skipped):
            lines.append({"id": item.id, "index": item.index, "status": "skipped",
                          "reason": item.reason})  # fmt: skip
            continue
        head = {"id": item.instance.id, "index": item.instance.index, "status": "ok"}
        for surrogate in item.surrogates:
            label = {
                "label": surrogate.label, "label_index": surrogate.index,
                **{key: getattr(surrogate, key) for key in (
                    "model_prediction", "local_prediction", "intercept", "fidelity", "r2_fit",
                    "stability")},
            }  # fmt: skip
            lines.extend(
                head | label | {"feature_index": part.index} | {
                    key: getattr(part, key) for key in (
                        "rank", "feature", "condition", "value", "weight", "low", "high",
                        "sign_probability", "top_probability")}
                for part in surrogate.attributions
            )  # fmt: skip
    return lines


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # Control characters would steer a terminal that shows the file; a cell may have line breaks.
    text = "\n".join(clean(line) for line in value.split("\n"))
    return "'" + text if text.startswith(_FORMULA) else text
