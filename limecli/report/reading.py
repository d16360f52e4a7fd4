"""A JSON report, read back. Whoever wrote it: it is data, checked before any of it is used."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, cast

from limecli.errors import ReportError
from limecli.report.json import SCHEMA_VERSION
from limecli.report.schema import REPORT_SCHEMA
from limecli.types import Kind, LimeSettings

_DIGITS = 18  # of a whole number that still fits 64 bits
_NO_REPORT = "give a report as limecli writes it: limecli tabular|image|text ... -o report.json"


@dataclass(frozen=True)
class Recorded:
    """A report by its parts, each of the shape that the schema says.

    `versions` holds limecli's own version, too.
    """

    path: str
    versions: Mapping[str, str]
    model: Mapping[str, Any]
    background: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    explanations: tuple[Mapping[str, Any], ...]

    @property
    def kind(self) -> Kind:
        """What it explains."""
        return cast("Kind", self.settings["kind"])

    @property
    def explained(self) -> tuple[Mapping[str, Any], ...]:
        """The explanations that hold numbers."""
        return tuple(item for item in self.explanations if item["status"] == "ok")

    @property
    def older(self) -> bool:
        """Whether it is of before explanations had intervals, flips and real rows."""
        return bool(self.explained) and all("sampler" not in item for item in self.explained)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What it holds that a replay does not compute again, by the options that asked for it."""
        labels = [label for item in self.explained for label in item["labels"]]
        held = {
            "--repeats": any(label.get("repeats") is not None for label in labels),
            "--sensitivity": any(label.get("variants") is not None for label in labels),
            "--tune": bool(self.settings.get("tried")),
        }
        return tuple(f"what {option} showed" for option, there in held.items() if there)

    def word(self, key: str) -> str | None:
        """A setting that is a string, or not there. Raises ReportError for another."""
        value = self.settings.get(key)
        if value is not None and not isinstance(value, str):
            self.refuse(f"settings.{key} is {str(value)[:40]!r}")
        return value

    def refuse(self, what: str) -> NoReturn:
        """Raise ReportError for something in the report that limecli never writes."""
        raise ReportError(f"{self.path} is no report that limecli wrote: {what}", _NO_REPORT)


def read_report(path: str) -> Recorded:
    """Read a report, or standard input for "-".

    Raises ReportError when it is missing, no limecli report, or of a newer schema.
    """
    name = "standard input" if path == "-" else path
    content = parsed(_bytes(path, name), name)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or not {"provenance", "explanations"} & content.keys():
        raise ReportError(f"{name} is JSON, but no limecli report", _NO_REPORT)
    if version > SCHEMA_VERSION:
        raise ReportError(
            f"{name} is a report of schema {version}; this limecli reads up to {SCHEMA_VERSION}",
            "update limecli",
        )
    fault = fault_in(content)
    if fault is not None:
        raise ReportError(f"{name} is no whole limecli report: {fault}", _NO_REPORT)
    provenance = content["provenance"]
    report = Recorded(
        name,
        {"limecli": provenance["limecli"], **provenance["versions"]},
        content["model"],
        content["background"],
        content["settings"],
        tuple(content["explanations"]),
    )
    _check_explanations(report)
    return report


def _bytes(path: str, name: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise ReportError(f"{name}: no such report", "check the path") from None
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise ReportError(f"{name} cannot be read: {told or error}", "check the path") from None
    if not data.strip():
        raise ReportError(f"{name} is empty", _NO_REPORT)
    return data


def parsed(data: bytes, name: str) -> Any:
    """Strict JSON. Raises ReportError."""
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_of_machine_size,
        )
    except RecursionError:
        raise ReportError(f"{name} is nested too deeply to be a report", _NO_REPORT) from None
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ReportError(
            f"{name} is no limecli report: it is not JSON{line}", _NO_REPORT
        ) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _of_machine_size(text: str) -> int:
    return int(text) if len(text) <= _DIGITS else _no_number(text)


def _check_explanations(report: Recorded) -> None:
    if not report.explanations:
        report.refuse("it holds no explanation")
    indices = [item["index"] for item in report.explanations]
    if len(set(indices)) < len(indices):
        report.refuse("two explanations have the same index")
    if report.settings["kind"] == "text" and any(
        "text" not in item["input"] for item in report.explained
    ):
        report.refuse("an explanation of a text lacks the text")


def fault_in(content: Any) -> str | None:
    """Where a report differs from its JSON Schema, and how; None when it does not."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend

    # To JSON Schema 1.0 is an integer; to what follows here it is not.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, x: type(x) is int)
    validator = extend(Draft202012Validator, type_checker=types)(REPORT_SCHEMA)
    error = best_match(validator.iter_errors(content))
    return None if error is None else f"{error.json_path[:80]}: {error.message[:120]}"


_WORDS = {
    "distance_metric": ("euclidean", "cosine", "manhattan"),
    "feature_selection": ("none", "forward_selection", "highest_weights", "lasso_path", "auto"),
    "discretizer": ("quartile", "decile", "entropy", "none"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "num_samples": (10, 20_000_000),  # whole blocks may be more than were asked for
    "num_features": (1, 2**31),
    "kernel_width": (1e-6, 1e6),
    "seed": (0, 2**32 - 1),
    "batch_size": (1, 2**31),
    "max_memory": (1, 2**60),
    "top_labels": (1, 2**31),
    "num_segments": (2, 2**31),
    "settle": (1, 2**31),
    "max_samples": (10, 10_000_000),
    "tie_tolerance": (0, 1),
    "flips": (0, 20),
    "flip_threshold": (-math.inf, math.inf),
}
_FRACTIONS = ("kernel_width", "tie_tolerance", "flip_threshold")
_TRUTHS = ("sample_around_instance", "char_level", "bow", "auto_width", "control_variate")
_NOT_TAKEN = {"labels", "not_exact"}  # the latter is only a remark
_COLOR = re.compile("mean|#[0-9a-f]{6}")


def recorded_settings(report: Recorded) -> LimeSettings:
    """The settings that a report was made with; labels left out.

    Keys that this limecli does not know are passed over, missing ones have their defaults. Raises
    ReportError for a value that no option of the command line could have given.
    """
    content = report.settings
    values: dict[str, Any] = {}
    for key in {item.name for item in fields(LimeSettings)} - _NOT_TAKEN:
        value = content.get(key)
        if value is not None and not _fits(key, value):
            report.refuse(f"settings.{key} is {str(value)[:40]!r}")
        if value is not None or key == "num_features":
            values[key] = tuple(value) if isinstance(value, list) else value
    for key in _FRACTIONS:
        if key in values:
            values[key] = float(values[key])
    return LimeSettings(**values)


def _fits(key: str, value: Any) -> bool:
    if key in _WORDS:
        return value in _WORDS[key]
    if key in _RANGES:
        low, high = _RANGES[key]
        whole = isinstance(value, int) or key in _FRACTIONS
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return whole and number and low <= value <= high
    if key in _TRUTHS:
        return isinstance(value, bool)
    if key == "immutable":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if key == "hide_color":
        return isinstance(value, str) and _COLOR.fullmatch(value) is not None
    return isinstance(value, str) and (key != "split_expression" or value != "")
