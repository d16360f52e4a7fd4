"""Report formats as golden files: a hand-made report must come out as it did before.

After an intended change: GOLDEN=write python -m pytest tests/report, then read the diff.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from limecli.report.csv import CsvFormat
from limecli.report.json import JsonFormat
from limecli.report.png import PngFormat, overlay
from limecli.report.schema import REPORT_SCHEMA
from limecli.report.terminal import TerminalFormat
from tests.report.made import EXACT, SAMPLED, TABULAR, TEXT, picture

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tabular.json", JsonFormat().render(TABULAR)),
        ("tabular.csv", CsvFormat().render(TABULAR)),
        ("tabular.txt", TerminalFormat().render(TABULAR)),
        ("text.json", JsonFormat().render(TEXT)),
        ("sampled.csv", CsvFormat().render(SAMPLED)),
        ("sampled.txt", TerminalFormat().render(SAMPLED)),
        ("exact.txt", TerminalFormat().render(EXACT)),
        ("text.txt", TerminalFormat().render(TEXT)),
        ("image.csv", CsvFormat().render(picture())),
        ("image.txt", TerminalFormat().render(picture())),
    ],
)
def test_a_format_is_as_it_was(name, data):
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / name).write_bytes(data)
    assert data.decode() == (GOLDEN / name).read_text()


@pytest.mark.parametrize("made", [TABULAR, TEXT, picture(), SAMPLED, EXACT],
                         ids=["tabular", "text", "image", "sampled", "exact"])  # fmt: skip
def test_json_is_strict_and_follows_the_schema(made):
    content = json.loads(
        JsonFormat().render(made), parse_constant=lambda name: pytest.fail(f"{name} in JSON")
    )
    jsonschema.validate(content, REPORT_SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("key", ["schema_version", "settings", "explanations", "model"])
def test_the_schema_notices_a_missing_key(key):
    content = json.loads(JsonFormat().render(TABULAR))
    del content[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, REPORT_SCHEMA)


def test_the_schema_notices_a_wrong_weight():
    content = json.loads(JsonFormat().render(TABULAR))
    content["explanations"][0]["labels"][0]["attributions"][0]["weight"] = "0.3"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, REPORT_SCHEMA)


def test_csv_cells_are_no_formulas():
    rows = list(csv.DictReader(io.StringIO(CsvFormat().render(TABULAR).decode())))
    assert rows[1]["value"] == "'=1+1"
    assert rows[0]["weight"] == "0.312"
    assert rows[1]["weight"] == "-0.087"  # a number, not a formula
    assert rows[3]["status"] == "skipped"
    assert rows[3]["reason"] == "column 'age' is empty"


def test_terminal_shows_control_characters_as_text():
    shown = TerminalFormat().render(TABULAR).decode()
    assert "\x1b" not in shown
    assert r"evil\x1b[31m is missing" in shown
    assert "[bold]x[/bold]" in shown


def test_low_fidelity_is_said_in_words():
    shown = TerminalFormat().render(TEXT).decode()
    assert "R² 0.10 low (in sample): this surrogate does not describe the model here" in shown


def test_the_segment_map_can_be_read_back():
    content = json.loads(JsonFormat().render(picture()))
    encoded = content["explanations"][0]["segmentation"]["map"]
    labels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert labels.shape == (20, 20)
    assert (labels[:, 10:] == 1).all()
    assert (labels[:, :10] == 0).all()


@pytest.mark.parametrize("made", [TABULAR, TEXT, picture()], ids=["tabular", "text", "image"])
def test_png_is_a_picture_and_always_the_same(made):
    one = replace(made, explanations=made.explanations[:1])
    data = PngFormat().render(one)
    assert Image.open(io.BytesIO(data)).size[0] > 400
    assert PngFormat().render(one) == data


def test_the_overlay_is_blue_for_and_orange_against():
    (item,) = picture().explanations
    pixels = overlay(item, item.surrogates[0]).astype(int)
    red, _, blue = pixels[10, 3]
    assert blue > red + 50
    red, _, blue = pixels[10, 16]
    assert red > blue + 20
