"""Pictures: the engine `limecli` gives lime's numbers, whatever the picture and its segments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from lime.lime_image import LimeImageExplainer

from limecli.types import Instance, LimeSettings
from tests.explainers.strategies import (
    PictureCase,
    assert_same,
    explain,
    picture_model,
    pictures,
    predictor_of,
    run_lime,
    searching,
    wanted_labels,
)


def fresh_lime(case, label):
    """One label of a case by lime's own class, on segments that it can count."""
    asked = case.settings
    explainer = LimeImageExplainer(
        kernel_width=0.25 if asked.kernel_width is None else asked.kernel_width,
        feature_selection=asked.feature_selection,
        random_state=asked.seed,
    )
    return run_lime(
        explainer,
        case.image,
        case.predict_fn,
        label,
        top_labels=None,
        hide_color=case.color,
        num_features=asked.num_features or 100_000,
        num_samples=asked.num_samples,
        segmentation_fn=lambda image: case.dense,
        distance_metric=asked.distance_metric,
    )


def assert_equals_lime(case, engine):
    (found,) = explain(engine, case.predictor, [case.instance], case.settings)
    labels = {surrogate.index for surrogate in found.surrogates}
    first = case.predict_fn(case.image[None])[0]
    assert labels == wanted_labels(case.settings, first, "classification")
    for surrogate in found.surrogates:
        assert_same(surrogate, fresh_lime(case, surrogate.index))
    assert found.segmentation.count == len(case.ids)
    assert np.array_equal(found.segmentation.labels, case.dense)


@given(pictures())
@searching(15)
def test_the_reference_engine_equals_fresh_lime_explainers(case):
    assert_equals_lime(case, "lime")


@given(pictures())
@searching(100)
def test_weights_equal_those_of_fresh_lime_explainers(case):
    assert_equals_lime(case, "limecli")


@given(pictures())
@searching(40)
def test_the_model_sees_the_pictures_that_lime_shows(case):
    """Bit by bit and in order: the first is the picture itself."""
    shown = {}
    for engine in ("lime", "limecli"):
        seen = shown[engine] = []

        def looked_at(batch, seen=seen):
            seen.extend(picture.tobytes() for picture in batch)
            return case.predict_fn(batch)

        explain(engine, replace(case.predictor, predict_fn=looked_at), [case.instance],
                case.settings)  # fmt: skip
    # Equal pictures may be predicted once.
    assert list(dict.fromkeys(shown["limecli"])) == list(dict.fromkeys(shown["lime"]))


def noisy_picture(height=40, width=56):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([128 + 100 * np.sin(x / 9), 128 + 100 * np.cos(y / 7), x + y], axis=2)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("algorithm", ["auto", "quickshift", "slic", "felzenszwalb", "grid"])
def test_both_engines_cut_a_picture_alike(algorithm):
    image = noisy_picture()
    predictor = predictor_of(
        picture_model("linear", image.shape, 3, np.random.default_rng(1)), outputs=3
    )
    asked = LimeSettings(kind="image", segmentation=algorithm, num_samples=60, num_features=None,
                         distance_metric="cosine", top_labels=2)  # fmt: skip
    instance = Instance("0", 0, "image", image, "0" * 64)
    (one,), (other,) = (
        explain(engine, predictor, [instance], asked) for engine in ("lime", "limecli")
    )
    assert np.array_equal(one.segmentation.labels, other.segmentation.labels)
    assert one.segmentation.parameters == other.segmentation.parameters
    for a, b in zip(one.surrogates, other.surrogates, strict=True):
        assert a.index == b.index
        assert b.r2_fit == pytest.approx(a.r2_fit, abs=1e-8)
        theirs = {part.index: part for part in a.attributions}
        for part in b.attributions:
            same = theirs[part.index]
            assert part.weight == pytest.approx(same.weight, abs=1e-8)
            assert (part.feature, part.area, part.centroid) == (
                same.feature, same.area, same.centroid,
            )  # fmt: skip


def test_a_picture_of_one_segment_is_refused_alike():
    image = noisy_picture(12, 12)
    instance = Instance("0", 0, "image", image, "0" * 64, None, (), np.full((12, 12), 7))
    predictor = predictor_of(picture_model("linear", image.shape, 2, np.random.default_rng(1)))
    asked = LimeSettings(kind="image", segmentation="auto", num_features=None, num_samples=20,
                         distance_metric="cosine")  # fmt: skip
    one, other = (explain(engine, predictor, [instance], asked) for engine in ("lime", "limecli"))
    assert one == other


def test_more_segments_than_samples():
    asked = LimeSettings(kind="image", segmentation="auto", num_features=None, num_samples=20,
                         distance_metric="cosine")  # fmt: skip
    case = PictureCase(20, 20, tuple(range(0, 900, 9)), 3, False, "linear", 2, asked)
    assert_equals_lime(case, "limecli")


def test_a_thousand_classes():
    asked = LimeSettings(kind="image", segmentation="auto", num_features=5, num_samples=50,
                         distance_metric="cosine", labels=(3, 999))  # fmt: skip
    case = PictureCase(8, 9, tuple(range(10)), 3, False, "linear", 1000, asked)
    assert_equals_lime(case, "limecli")
