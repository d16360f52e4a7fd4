"""The tidy table: what a line says, and that a table is the same now and out of the JSON later."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limecli.report.csv import CsvFormat, write_csv
from limecli.report.json import JsonFormat, result_dict
from limecli.report.tidy import COLUMNS, report_lines, tidy_lines
from limecli.types import Change, Flip, Variant
from tests.report.made import (
    EXACT,
    FLIP,
    SAMPLED,
    TABULAR,
    TEXT,
    attribution,
    attributions,
    label,
    picture,
    with_label,
)

REGRESSION = with_label(
    replace(SAMPLED, model={**SAMPLED.model, "task": "regression"}),
    label="price",
    flips=(replace(FLIP, to="price", value=0.012345), FLIP),
)
WORDS_GONE = with_label(TEXT, flips=(Flip("no", 0, 0.9, (Change("win", 0, "win", None),)),))
VARIED = with_label(
    SAMPLED,
    variants=(
        Variant("as asked", ((1, 0.2), (0, 0.1), (2, 0.05), (3, 0.01)), 0.5),
        Variant("wider", ((0, -0.1),), None),
    ),
)
BROKEN_TEXT = with_label(
    SAMPLED, (attribution(1, "caf\udce9", 0.5, value="\udce9", condition="x\ny"),)
)
MADE = {
    "tabular": TABULAR, "text": TEXT, "image": picture(), "sampled": SAMPLED, "exact": EXACT,
    "regression": REGRESSION, "words gone": WORDS_GONE, "variants": VARIED, "broken": BROKEN_TEXT,
}  # fmt: skip


def out_of_json(report):
    """The lines of a report that was written as JSON and read back."""
    content = json.loads(JsonFormat().render(report))
    for item in content["explanations"]:
        yield from tidy_lines(item, content["settings"]["kind"], content["model"]["task"])


def as_csv(lines):
    buffer = io.BytesIO()
    write_csv(lines, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_table_out_of_json_is_the_table_of_the_report(made):
    assert as_csv(out_of_json(made)) == CsvFormat().render(made)


@given(
    weight=st.floats(allow_nan=False, allow_infinity=False),
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.text(),
                    st.floats(allow_nan=False, allow_infinity=False)),
    name=st.text(min_size=1),
)  # fmt: skip
def test_whatever_the_cells_hold(weight, value, name):
    made = with_label(
        SAMPLED,
        (attribution(1, name, weight, value=value, condition=name),),
        flips=(Flip(name, 0, weight, (Change(name, 0, value, name),)),),
    )
    assert as_csv(out_of_json(made)) == CsvFormat().render(made)


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_there_is_a_line_for_each_decision_label_and_feature(made):
    lines = list(report_lines(made))
    expected = [
        (item["id"], each["label"], part["feature"])
        for item in json.loads(JsonFormat().render(made))["explanations"]
        if item["status"] == "ok"
        for each in item["labels"]
        for part in each["attributions"]
    ]
    found = [line for line in lines if line["status"] == "ok"]
    assert [(line["id"], line["label"], line["feature"]) for line in found] == expected
    assert all(line.keys() <= set(COLUMNS) for line in lines)


def test_a_skipped_decision_has_one_line():
    assert list(report_lines(TABULAR))[-1] == {
        "id": "61", "index": 61, "status": "skipped", "reason": "column 'age' is empty",
    }  # fmt: skip


def test_a_label_without_features_is_not_lost():
    (line,) = report_lines(with_label(SAMPLED, ()))
    assert (line["id"], line["label"], line["fidelity"]) == ("60", "yes", 0.62)
    assert "feature" not in line


def record(made):
    return result_dict(made.explanations[0], made)


def test_masked_values_stay_empty():
    masked = record(SAMPLED)
    (first,) = masked["labels"]
    first["attributions"][0] |= {"value": None, "condition": None, "masked": True}
    first["flips"][0]["changes"][0] |= {"from": None, "to": None}
    line = tidy_lines(masked, "tabular", "classification")[0]
    assert (line["value"], line["condition"]) == (None, None)
    assert line["flips"] == "bill length (masked) -> (masked) gives Chinstrap"


def test_a_value_that_comes_or_goes_is_no_masked_one():
    made = with_label(SAMPLED, flips=(Flip("b", 0, 1.0, (Change("x", 0, None, 3),)),))
    assert next(report_lines(made))["flips"] == "x missing -> 3 gives b"


def test_flips_tell_nobody_looked_from_none_found():
    assert next(report_lines(with_label(SAMPLED, flips=None)))["flips"] is None
    assert next(report_lines(with_label(SAMPLED, flips=())))["flips"] == ""


def test_a_regression_flips_to_a_value():
    flips = next(report_lines(REGRESSION))["flips"]
    assert flips.startswith("bill length 38.1 -> 46.2 gives price = 0.01235; ")


def test_reports_of_the_first_release_are_read():
    old = record(SAMPLED)
    for key in ("sampler", "weight_calls", "locality", "real_rows", "caveats"):
        del old[key]
    (first,) = old["labels"]
    for key in ("interval", "no_interval", "fidelity_rows", "cell", "flip_samples"):
        del first[key]
    for key in ("index", "value"):
        del first["flips"][0][key]
    for part in first["attributions"]:
        del part["ranks"]
    line = tidy_lines(old, "tabular", "regression")[0]
    assert line["flips"] == "bill length 38.1 -> 46.2 gives Chinstrap"
    assert (line["weight"], line["cell_rows"], line["rank_first"]) == (0.164, None, None)


@pytest.mark.parametrize("key", ["labels", "id", "model_calls"])
def test_half_a_record_is_refused(key):
    half = record(SAMPLED)
    del half[key]
    with pytest.raises(KeyError, match=key):
        tidy_lines(half, "tabular", "classification")


def test_signs_that_do_not_hold_are_marked():
    holds = [line["sign_holds"] for line in report_lines(VARIED)]
    assert holds[:2] == [part["sign_holds"] for part in label(VARIED)["attributions"]][:2]
    assert holds[:2] == [False, True]


class TestCsv:
    def test_lines_are_written_as_they_come(self):
        buffer = io.BytesIO()
        sizes = []

        def lines():
            for line in itertools.repeat(next(report_lines(SAMPLED)), 2000):
                sizes.append(len(buffer.getvalue()))
                yield line

        write_csv(lines(), buffer)
        assert sizes[1000] > 0
        assert not buffer.closed

    def test_a_failure_leaves_the_file_to_its_owner(self):
        def lines():
            yield next(report_lines(SAMPLED))
            raise KeyError("weight")

        buffer = io.BytesIO()
        with pytest.raises(KeyError):
            write_csv(lines(), buffer)
        assert not buffer.closed

    def test_cells_keep_line_breaks_and_show_control_characters(self):
        made = with_label(SAMPLED, (attribution(1, "a", 1.0, value="x\ny\x1b[31m"),))
        (line,) = csv.DictReader(io.StringIO(CsvFormat().render(made).decode(), newline=""))
        assert line["value"] == "x\ny\\x1b[31m"
        assert len(attributions(made)) == 1
