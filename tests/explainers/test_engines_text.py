"""Texts: the engine `limecli` gives lime's numbers, however the text is cut up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from lime.lime_text import LimeTextExplainer

from limecli.types import LimeSettings, Skipped
from tests.explainers.strategies import (
    TextCase,
    assert_same,
    explain,
    run_lime,
    searching,
    texts,
    wanted_labels,
)


def fresh_lime(case, label):
    """One label of a case by lime's own class."""
    asked = case.settings
    explainer = LimeTextExplainer(
        kernel_width=25 if asked.kernel_width is None else asked.kernel_width,
        feature_selection=asked.feature_selection,
        split_expression=asked.split_expression or r"\W+",
        bow=asked.bow,
        mask_string=asked.mask_string,
        char_level=asked.char_level,
        random_state=asked.seed,
    )
    return run_lime(
        explainer,
        case.text,
        case.predict_fn,
        label,
        num_features=asked.num_features,
        num_samples=asked.num_samples,
        distance_metric=asked.distance_metric,
    )


def assert_equals_lime(case, engine):
    (found,) = explain(engine, case.predictor, [case.instance], case.settings)
    if isinstance(found, Skipped):
        assert found.kind == "input"
        assert "has no words to explain" in found.reason
        with pytest.raises(ValueError, match="low >= high"):
            fresh_lime(case, 0)
        return
    first = case.predict_fn([case.text])[0]
    labels = {surrogate.index for surrogate in found.surrogates}
    assert labels == wanted_labels(case.settings, first, "classification")
    for surrogate in found.surrogates:
        assert_same(surrogate, fresh_lime(case, surrogate.index))


@given(texts())
@searching(20)
def test_the_reference_engine_equals_fresh_lime_explainers(case):
    assert_equals_lime(case, "lime")


@given(texts())
@searching(120)
def test_weights_equal_those_of_fresh_lime_explainers(case):
    assert_equals_lime(case, "limecli")


@given(texts())
@searching(60)
def test_the_model_sees_the_texts_that_lime_shows(case):
    """Letter by letter, each distinct text once; the first is the text itself."""
    shown = {}
    for engine in ("lime", "limecli"):
        seen = shown[engine] = []

        def looked_at(batch, seen=seen):
            seen.extend(batch)
            return case.predict_fn(batch)

        explain(engine, replace(case.predictor, predict_fn=looked_at), [case.instance],
                case.settings)  # fmt: skip
    assert list(dict.fromkeys(shown["limecli"])) == list(dict.fromkeys(shown["lime"]))


@given(texts())
@searching(40)
def test_features_are_the_same_words_at_the_same_places(case):
    (one,), (other,) = (
        explain(engine, case.predictor, [case.instance], case.settings)
        for engine in ("lime", "limecli")
    )
    if isinstance(one, Skipped):
        assert one == other
        return
    assert one.notes == other.notes
    for a, b in zip(one.surrogates, other.surrogates, strict=True):
        assert a.index == b.index
        words = {part.index: (part.feature, part.positions) for part in a.attributions}
        for part in b.attributions:
            said = (part.feature, part.positions)
            assert words.get(part.index, said) == said


def text_case(text, model="places", outputs=2, **asked):
    plain = {"kind": "text", "num_samples": 200, "split_expression": r"\W+", "char_level": False,
             "bow": True, "distance_metric": "cosine"}  # fmt: skip
    return TextCase(text, model, outputs, LimeSettings(**(plain | asked)))


@pytest.mark.parametrize("bow", [True, False])
@pytest.mark.parametrize("k", [3, 10, 500])
def test_long_texts(k, bow):
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in rng.integers(0, 150, 400)]
    assert_equals_lime(text_case(" ".join(words), num_features=k, bow=bow,
                                 feature_selection="highest_weights"), "limecli")  # fmt: skip


@pytest.mark.parametrize("char_level", [True, False])
@pytest.mark.parametrize("text", ["a", "aaaa", "a a a", "数据", "\0", "a\0", "ab\0 ab\0", "a\0b a"])
def test_tiny_texts(text, char_level):
    for bow in (True, False):
        asked = {"split_expression": None} if char_level else {}
        case = text_case(text, char_level=char_level, bow=bow, num_samples=20, **asked)
        assert_equals_lime(case, "limecli")


def test_ten_samples_and_more_words():
    case = text_case("one two three four five six seven eight nine ten eleven", num_samples=10)
    assert_equals_lime(case, "limecli")


def test_a_thousand_classes():
    case = text_case("win a free prize now", outputs=1000, labels=(999, 0), num_samples=30)
    assert_equals_lime(case, "limecli")
