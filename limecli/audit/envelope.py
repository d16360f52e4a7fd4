"""The first line of an audit: what all of its decisions share, and what nobody may change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from limecli.errors import InputError, LimecliError, ModelError, ReportError, UsageError
from limecli.report.json import SCHEMA_VERSION
from limecli.report.jsonl import line_of
from limecli.report.provenance import provenance

_NOT_OURS = ("joblib",)  # a back end may have imported it, or not
_PLACES = {"path", "name"}  # where a model or background lies says nothing of what it is
_HINTS = {
    "model": "go on with the model that the audit began with",
    "background": "go on with the background that the audit began with",
    "input": "give the input that the audit began with, by the same name",
    "settings": "go on with the options that the audit began with",
    "provenance": "go on where those versions are installed",
}
_ERRORS: dict[str, type[LimecliError]] = {
    "model": ModelError, "background": InputError, "input": InputError, "settings": UsageError,
    "provenance": ReportError,
}  # fmt: skip
_SHOWN = 40  # characters of a value


def envelope(
    model: Mapping[str, Any],
    background: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    read: Mapping[str, Any],
    sentences: list[str],
) -> dict[str, Any]:
    """As JSON gives it back; `read` says what the input is, `sentences` what holds for all."""
    found = provenance((), datetime.now(UTC), 0.0)
    versions = {name: told for name, told in found["versions"].items() if name not in _NOT_OURS}
    content = {
        "schema_version": SCHEMA_VERSION,
        "provenance": {"limecli": found["limecli"], "versions": versions},
        "model": dict(model),
        "background": None if background is None else dict(background),
        "settings": dict(settings),
        "input": dict(read),
        "caveats": sentences,
    }
    same: dict[str, Any] = json.loads(line_of(content))  # to be compared with one that was read
    return same


def check_same(recorded: Mapping[str, Any], now: Mapping[str, Any], path: str) -> None:
    """Refuse to go on with an audit of something else.

    Raises ModelError, InputError, UsageError or ReportError, by what has changed.
    """
    for part, error in _ERRORS.items():
        for key, before, here in _differences(part, recorded.get(part), now.get(part), ""):
            what = f"{part} {key}".strip()
            raise error(
                f"{path} cannot be gone on with: its {what} is {_shown(before)}, here it is"
                f" {_shown(here)}",
                f"{_HINTS[part]}, or choose another name: -o FILE",
            )


def _differences(part: str, before: Any, here: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(here, Mapping):
        for name in dict.fromkeys([*before, *here]):
            if name not in _PLACES or part == "input":  # records name the input
                inner = f"{key}.{name}".strip(".")
                yield from _differences(part, before.get(name), here.get(name), inner)
    elif before != here:
        yield key, before, here


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
