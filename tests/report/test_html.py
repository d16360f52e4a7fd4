"""The page of an audit: self-contained, escaped, readable, and what its numbers are."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import limecli.report
from limecli.audit.gates import Gates
from limecli.audit.summary import Summary
from limecli.report.html import DECISIONS, LowestFidelity, summary_page
from limecli.report.json import result_dict
from tests.report.made import EXACT, SAMPLED, TEXT, picture

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}\x1b[31m\u202e"
END = {"status": "end", "count": 3, "sha256": "f" * 64}
LARGE = {"label": "y", "index": 0, "value": 1e9}
VOID = {"meta", "br"}


def envelope(made, **own):
    settings = {**made.settings, **own.pop("settings", {})}
    return {
        "schema_version": 1,
        "provenance": {"limecli": "0.1.0", "versions": {"numpy": "2.0"}},
        "model": {**made.model, **own.pop("model", {})},
        "background": made.background,
        "settings": settings,
        "input": {"path": "decisions.csv", "sha256": "b" * 64, "format": "csv"},
        **own,
    }


def record(made, index=0, **own):
    """An explained record; keys of its label are given as `label_...`."""
    found = result_dict(made.explanations[0], made) | {"id": str(index), "index": index}
    for key in [key for key in own if key.startswith("label_")]:
        found["labels"][0][key.removeprefix("label_")] = own.pop(key)
    return found | own


def skipped(index, reason="column 'age' is empty"):
    return {"id": str(index), "index": index, "status": "skipped", "reason": reason,
            "kind": "input"}  # fmt: skip


def page(first, records, gates=None, end=END):
    summary, lowest = Summary(first, gates or Gates()), LowestFidelity()
    for item in records:
        summary.add(item)
        lowest.add(item)
    return summary_page(summary.content(), lowest.decisions(), first, end).decode()


class Outline(HTMLParser):
    """Checks that elements are closed in order, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


PROTECTED = [
    record(SAMPLED, i, groups={"sex": value, "gone": None}, bins=[0, i % 2, 1, i % 3])
    for i, value in enumerate(["male", "female", None, "female", HOSTILE])
]
PAGES = {
    "tabular": page(envelope(SAMPLED), [record(SAMPLED), skipped(1)]),
    "exact": page(envelope(EXACT), [record(EXACT)]),
    "text": page(envelope(TEXT), [record(TEXT)]),
    "image": page(envelope(picture()), [record(picture())]),
    "nothing": page(envelope(SAMPLED), []),
    "skipped only": page(envelope(SAMPLED), [skipped(0)]),
    "regression": page(
        envelope(SAMPLED, model={"task": "regression", "class_names": None, "n_classes": None}),
        [record(SAMPLED), record(SAMPLED, 1, prediction=[LARGE])],
    ),
    "protected": page(
        envelope(SAMPLED, settings={"protected": ["sex", "gone"]},
                 model={"feature_names": ["bill_length_mm", "island", "flipper_length_mm", "sex"]}),
        PROTECTED,
    ),
    "unfinished": page(envelope(SAMPLED), [record(SAMPLED)], end=None),
    "gates": page(envelope(SAMPLED), [record(SAMPLED)], Gates(min_fidelity=0.9)),
    "constant": page(
        envelope(SAMPLED),
        [record(SAMPLED, label_attributions=[
            part | {"weight": 0.0, "low": 0.0, "high": 0.0}
            for part in record(SAMPLED)["labels"][0]["attributions"]
        ], label_fidelity=None)],
    ),
    "unmeasured": page(
        envelope(SAMPLED), [record(SAMPLED, label_fidelity=None, label_fidelity_rows=None)]
    ),
}  # fmt: skip
every_page = pytest.mark.parametrize("text", PAGES.values(), ids=PAGES)


@every_page
def test_it_is_well_formed_and_fetches_nothing(text):
    outline = Outline(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(outline.tags)
    names = {name for _, attributes in outline.attributes for name in attributes}
    assert not {"src", "href", "style", "action", "srcset"} & names
    assert not [name for name in names if name.startswith("on")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text


@every_page
def test_tables_can_be_listened_to(text):
    outline = Outline(text)
    assert outline.attributes[0] == ("html", {"lang": "en"})
    assert outline.tags.count("caption") == outline.tags.count("table") > 0
    assert outline.tags.count("h1") == 1
    headers = [attributes for tag, attributes in outline.attributes if tag == "th"]
    assert all(attributes["scope"] in ("col", "row") for attributes in headers)
    pictures = [attributes for tag, attributes in outline.attributes if tag == "svg"]
    assert all(attributes.get("aria-hidden") == "true" for attributes in pictures)


@every_page
def test_pictures_stay_in_their_frames(text):
    for tag, attributes in Outline(text).attributes:
        if tag == "rect":
            assert 0 <= float(attributes.get("x", 0)) + float(attributes["width"]) <= 241
        if tag == "path":
            places = re.findall(r"[MH](-?[\d.]+)", attributes["d"])
            assert all(0 <= float(place) <= 240 for place in places)
        assert "nan" not in str(attributes.get("d", "")) + str(attributes.get("width", ""))


def test_text_out_of_files_is_text():
    """Wherever a name can come from a file, and however hostile it is."""
    first = envelope(
        SAMPLED,
        model={"name": HOSTILE, "path": HOSTILE, "estimator": HOSTILE,
               "feature_names": [HOSTILE, "b", "c", "d"]},
        settings={"protected": [HOSTILE], HOSTILE: HOSTILE},
        provenance={"limecli": HOSTILE, "versions": {HOSTILE: HOSTILE}},
        background={"source": HOSTILE, "path": HOSTILE, "sha256": HOSTILE, "rows": 1},
        input={"path": HOSTILE, "sha256": HOSTILE, "format": "csv"},
    )  # fmt: skip
    parts = record(SAMPLED)["labels"][0]["attributions"]
    for part in parts:
        part |= {"feature": HOSTILE, "condition": HOSTILE, "value": HOSTILE}
    item = record(
        SAMPLED, label_label=HOSTILE, label_attributions=parts, id=HOSTILE,
        prediction=[{"label": HOSTILE, "index": 1, "value": 0.5}],
        groups={HOSTILE: HOSTILE}, bins=[0, 1, 2, 3],
    )  # fmt: skip
    text = page(first, [item | {"id": HOSTILE}, skipped(1, f"column is {HOSTILE}")],
                end=END | {"sha256": HOSTILE})  # fmt: skip
    outline = Outline(text)
    assert "img" not in outline.tags
    assert "{{7*7}}" in outline.text
    assert "49" not in outline.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[31m\u202e" in outline.text


def test_equal_audits_give_equal_bytes():
    records = [record(SAMPLED), skipped(1)]
    assert page(envelope(SAMPLED), records) == PAGES["tabular"]


def test_what_was_audited_is_said():
    text = Outline(PAGES["tabular"]).text
    for told in ("model.pkl", "RandomForestClassifier", "0" * 64, "decisions.csv", "b" * 64,
                 "train.csv", "f" * 64, "kernel width", "numpy"):  # fmt: skip
        assert told in text
    assert "it is not signed" in text
    assert "A LIME report alone is not legal compliance." in text


def test_numbers_of_the_summary_are_shown():
    text = Outline(PAGES["tabular"]).text
    assert "2 decisions 1 explained 1 skipped 0.62 median fidelity R² 0.58 the same" in text
    assert "yes 1 100.0 %" in text
    assert "fidelity R², on perturbations 1 0 0.62 0.62 0.62 0.62 0.62 0.62" in text
    assert "gap of surrogate and model 1 0 0.050" in text
    assert "fair: 1 decisions (100.0 %)" in text
    assert "bill_length_mm 0.164" in text
    assert "column 'age' is empty 1 1" in text
    assert "0 yes 0.960 0.62 0.050 39.23 < bill_length_mm <= 44.45 +0.164" in text


def test_exact_weights_and_unknown_errors_are_told_apart():
    assert "bill_length_mm 0.164 0 to" not in Outline(PAGES["exact"]).text
    assert "0.164 exact" in Outline(PAGES["exact"]).text
    text = Outline(PAGES["tabular"]).text
    assert "0.164 exact" not in text
    assert "No interval (-): " in text


def test_an_unfinished_audit_says_so():
    text = Outline(PAGES["unfinished"]).text
    assert "Unfinished or cut. This audit has no end line" in text
    assert "first 1 decisions" in text
    assert "Unfinished" not in PAGES["tabular"]


def test_gates_are_shown_where_there_are_any():
    text = Outline(PAGES["gates"]).text
    assert "1 below the gates" in text
    assert "fidelity at least 0.9" in text
    assert "below the gates" not in PAGES["tabular"]


def test_protected_columns_have_numbers_and_no_verdict():
    text = Outline(PAGES["protected"]).text
    assert "female 2 40.0 % 100.0 %" in text
    assert "gone: the model does not receive this column." in text
    assert "other columns can stand in" in text
    for word in ("unfair", "biased", "discriminates", "discriminated"):
        assert word not in text.lower()


def test_a_signed_weight_shows_its_sign_besides_its_colour():
    parts = re.findall(r'class="(?:number )?(for|against)">([^<]*)<', PAGES["tabular"])
    assert parts
    assert all(shown.startswith("-" if side == "against" else ("+", "0")) for side, shown in parts)


def test_many_classes_are_cut_with_a_word():
    records = [
        record(SAMPLED, i, prediction=[{"label": f"class {i}", "index": i, "value": 1.0}])
        for i in range(60)
    ]
    text = Outline(page(envelope(SAMPLED), records)).text
    assert "10 more classes were predicted less often." in text


class TestLowestFidelity:
    @given(st.lists(st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]),
                              st.floats(-1e6, 1.0)), max_size=3 * DECISIONS))  # fmt: skip
    def test_they_are_the_lowest_and_the_first_of_equals(self, fidelities):
        made = record(SAMPLED)
        lowest = LowestFidelity()
        for i, fidelity in enumerate(fidelities):
            label = made["labels"][0] | {"fidelity": fidelity}
            lowest.add(made | {"index": i, "labels": [label]})
        known = [(f, i) for i, f in enumerate(fidelities) if f is not None]
        found = [(item["fidelity"], item["index"]) for item in lowest.decisions()]
        assert found == sorted(known)[:DECISIONS]

    def test_an_explained_label_that_was_not_predicted_is_named(self):
        text = Outline(page(envelope(SAMPLED), [record(SAMPLED, label_label="no")])).text
        assert "yes 0.960, explained: no" in text

    def test_a_masked_column_shows_its_name_only(self):
        part = record(SAMPLED)["labels"][0]["attributions"][0]
        part |= {"value": None, "condition": None, "masked": True}
        lowest = LowestFidelity()
        lowest.add(record(SAMPLED, label_attributions=[part]))
        (found,) = lowest.decisions()
        assert found["features"] == [{"name": "bill_length_mm", "weight": 0.164}]


def luminance(color):
    digits = color.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """WCAG 2.1, 1.4.3."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def themes():
    css = (Path(limecli.report.__file__).parent / "templates" / "summary.css").read_text()
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", block))
            for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]  # fmt: skip


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark", "print"])
def test_text_has_the_contrast_that_readers_need(theme):
    for text, ground in itertools.product(("ink", "soft", "for", "against"), ("page", "panel")):
        assert contrast(theme[text], theme[ground]) >= 4.5
    for shape in ("for", "against", "mark"):
        assert contrast(theme[shape], theme["track"]) >= 3
