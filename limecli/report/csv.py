"""CSV: one line per instance, label and feature."""

from __future__ import annotations

import csv
import io
from typing import Any

from limecli.report import words
from limecli.report.caveats import caveats
from limecli.report.sensitivity import held
from limecli.types import Attribution, Explanation, Report, Skipped, Surrogate

COLUMNS = (
    "id", "index", "status", "reason", "label", "label_index", "model_prediction",
    "local_prediction", "intercept", "fidelity", "r2_fit", "stability", "rank", "feature",
    "feature_index", "condition", "value", "weight", "low", "high", "sign_probability",
    "top_probability", "rank_first", "rank_last", "fidelity_rows", "real_rows", "settled",
    "interval", "no_interval", "shared", "shared_of", "cell_rows", "cell_low", "cell_high", "flips",
    "flip_samples", "sampler", "model_calls", "weight_calls", "sign_holds",
    "caveats",
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
        head = _explanation(item, report)
        for surrogate in item.surrogates:
            label = head | _surrogate(surrogate, item.instance.kind, report)
            holds = {one.index: one.holds for one in held(surrogate)}
            lines.extend(
                label | _attribution(part) | {"sign_holds": holds.get(part.index)}
                for part in surrogate.attributions
            )
    return lines


def _explanation(item: Explanation, report: Report) -> dict[str, Any]:
    locality = item.locality
    return {
        "id": item.instance.id,
        "index": item.instance.index,
        "status": "ok",
        "real_rows": item.real_rows,
        "shared": None if locality is None else locality.shared,
        "shared_of": None if locality is None else locality.of,
        "sampler": item.sampler,
        "model_calls": item.model_calls,
        "weight_calls": item.weight_calls,
        "caveats": " ".join(caveats(item, report)),
    }


def _surrogate(surrogate: Surrogate, kind: str, report: Report) -> dict[str, Any]:
    line = {key: getattr(surrogate, key) for key in (
        "label", "model_prediction", "local_prediction", "intercept", "fidelity", "r2_fit",
        "stability", "fidelity_rows", "settled", "interval", "no_interval",
        "flip_samples")}  # fmt: skip
    line["label_index"] = surrogate.index
    cell = surrogate.cell
    if cell is not None:
        line["cell_rows"] = cell.rows
        if cell.rows > 0:
            line |= {"cell_low": cell.low, "cell_high": cell.high}
    line["flips"] = "; ".join(
        f"{words.changes(flip, kind)} gives {words.outcome(flip, report)}"
        for flip in surrogate.flips or ()
    )
    return line


def _attribution(part: Attribution) -> dict[str, Any]:
    line = {key: getattr(part, key) for key in (
        "rank", "feature", "condition", "value", "weight", "low", "high", "sign_probability",
        "top_probability")}  # fmt: skip
    first, last = part.ranks or (None, None)
    return line | {"feature_index": part.index, "rank_first": first, "rank_last": last}


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # Control characters would steer a terminal that shows the file; a cell may have line breaks.
    text = "\n".join(words.clean(line) for line in value.split("\n"))
    return "'" + text if text.startswith(_FORMULA) else text
