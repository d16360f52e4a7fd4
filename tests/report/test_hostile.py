"""Names that would steer a terminal, a spreadsheet or a picture; and more than a picture holds."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from limecli.report.csv import CsvFormat
from limecli.report.json import JsonFormat
from limecli.report.png import PngFormat
from limecli.types import Change, Flip
from tests.report.made import (
    FLIP,
    SAMPLED,
    TEXT,
    attribution,
    attributions,
    label,
    lines,
    on_terminal,
    terminal,
    with_intervals,
    with_label,
)

HOSTILE = "=cmd()[bold]x[/bold]\x1b[31m\u202e$\\frac{"


class TestHostileNames:
    made = with_label(
        SAMPLED,
        (*attributions(SAMPLED), attribution(5, HOSTILE, 0.001, condition=HOSTILE, value=HOSTILE)),
        flips=(Flip(HOSTILE, 1, 0.5, (Change(HOSTILE, 0, HOSTILE, HOSTILE),)),),
        no_interval=HOSTILE,
    )
    text = with_label(TEXT, flips=(Flip(HOSTILE, 1, 0.5, (Change(HOSTILE, 0, HOSTILE, None),)),))

    @pytest.mark.parametrize("hostile", [made, text], ids=["tabular", "text"])
    def test_the_terminal_shows_them_as_text(self, hostile):
        for shown in (terminal(hostile), on_terminal(hostile, 200)):
            assert "\x1b" not in shown
            assert "\u202e" not in shown
            assert r"=cmd()[bold]x[/bold]\x1b[31m\u202e$\frac{" in shown

    def test_csv_makes_no_formula_of_a_flip(self):
        line = lines(self.made)[0]
        assert line["flips"].startswith("'=cmd()")
        assert line["no_interval"].startswith("'=cmd()")
        assert "\x1b" not in CsvFormat().render(self.made).decode()

    @pytest.mark.parametrize("hostile", [made, text], ids=["tabular", "text"])
    def test_json_escapes_them(self, hostile):
        assert label(hostile)["flips"][0]["to"] == HOSTILE
        raw = JsonFormat().render(hostile).decode()
        assert "\x1b" not in raw
        assert "\u202e" not in raw

    @pytest.mark.parametrize("hostile", [made, text], ids=["tabular", "text"])
    def test_a_picture_takes_them(self, hostile):
        assert PngFormat().render(hostile)


class TestPictures:
    def height(self, made):
        return Image.open(io.BytesIO(PngFormat().render(made))).size[1]

    def test_more_facts_make_a_taller_picture(self):
        short = with_label(SAMPLED, flips=None, locality=None, cell=None, stability=None)
        assert self.height(SAMPLED) > self.height(short)

    def test_very_many_bars_stay_a_file_that_opens(self):
        parts = tuple(attribution(n, "long name " * 20 + str(n), 1 / n, low=0.5 / n, high=2 / n)
                      for n in range(1, 500))  # fmt: skip
        made = with_label(SAMPLED, parts, flips=(replace(FLIP, changes=FLIP.changes * 300),))
        assert self.height(made) < 5_000

    def test_very_many_labels_stay_a_file_that_opens(self):
        item = SAMPLED.explanations[0]
        many = replace(item, surrogates=item.surrogates * 100)
        data = PngFormat().render(replace(SAMPLED, explanations=(many,)))
        assert Image.open(io.BytesIO(data)).size[0] < 10_000

    def test_intervals_are_drawn(self):
        wide, narrow = (with_label(SAMPLED, with_intervals(attributions(SAMPLED), half))
                        for half in (0.05, 0.0501))  # fmt: skip
        assert PngFormat().render(wide) != PngFormat().render(narrow)
