"""Two explanations side by side: every number counts, and rounding does not."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest

from limecli.report.comparison import compare
from limecli.report.deviations import Sides, allowed_deviation, compare_within
from limecli.report.differences import TOLERANCE
from tests.report.made import EXACT, SAMPLED, explained, picture

HERE = explained(SAMPLED)


def label(item):
    return item["labels"][0]


def first(item):
    return label(item)["attributions"][0]


def flip(item):
    return label(item)["flips"][0]


def edited(item, change):
    item = copy.deepcopy(item)
    change(item)
    return item


def differences(recorded, here=HERE, same_engine=True):
    found = compare(recorded, here, same_engine, same_name=True)
    assert found.verified == (not found.differences)
    return [difference.what for difference in found.differences]


@pytest.mark.parametrize("made", [SAMPLED, EXACT, picture()])
def test_an_explanation_equals_itself(made):
    assert differences(explained(made), explained(made)) == []


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("intercept", lambda e: label(e).update(intercept=0.5)),
        ("local_prediction", lambda e: label(e).update(local_prediction=0.5)),
        ("model_prediction", lambda e: label(e).update(model_prediction=0.5)),
        ("r2_fit", lambda e: label(e).update(r2_fit=0.99)),
        ("fidelity", lambda e: label(e).update(fidelity=0.99)),
        ("fidelity", lambda e: label(e).update(fidelity=None)),
        ("fidelity_rows", lambda e: label(e).update(fidelity_rows=1.0)),
        ("stability", lambda e: label(e).update(stability=0.5)),
        ("settled", lambda e: label(e).update(settled=False)),
        ("interval", lambda e: label(e).update(interval="exact")),
        ("rows of the cell", lambda e: label(e)["cell"].update(rows=99)),
        ("rows of the cell", lambda e: label(e).update(cell=None)),
        ("lowest prediction of the cell", lambda e: label(e)["cell"].update(low=0.9)),
        ("highest prediction of the cell", lambda e: label(e)["cell"].update(high=0.99)),
        ("name of the label", lambda e: label(e).update(label="maybe")),
        ("explained label", lambda e: e["labels"].clear()),
        ("selected feature", lambda e: label(e)["attributions"].pop(0)),
        ("selected feature given twice", lambda e: label(e)["attributions"].append(first(e))),
        ("feature", lambda e: first(e).update(feature="charm")),
        ("condition", lambda e: first(e).update(condition="any")),
        ("value", lambda e: first(e).update(value=1)),
        ("weight", lambda e: first(e).update(weight=0.1641)),
        ("low", lambda e: first(e).update(low=0.1)),
        ("high", lambda e: first(e).update(high=None)),
        ("sign_probability", lambda e: first(e).update(sign_probability=0.999)),
        ("top_probability", lambda e: first(e).update(top_probability=0.99)),
        ("ranks", lambda e: first(e).update(rank=2)),
        ("tied ranks", lambda e: first(e).update(ranks=[1, 2])),
        ("flips", lambda e: label(e).update(flips=None)),
        ("flips", lambda e: label(e)["flips"].append(flip(e))),
        ("flip 1: to", lambda e: flip(e).update(to="nobody")),
        ("flip 1: index", lambda e: flip(e).update(index=7)),
        ("flip 1: value", lambda e: flip(e).update(value=0.99)),
        ("flip 1: features", lambda e: flip(e)["changes"].pop()),
        ("flip 1: features", lambda e: flip(e)["changes"][0].update(feature="charm")),
        ("flip 1: index", lambda e: flip(e)["changes"][0].update(index=7)),
        ("flip 1: from", lambda e: flip(e)["changes"][0].update({"from": 1.0})),
        ("flip 1: to", lambda e: flip(e)["changes"][0].update(to="46.2")),
        ("flip samples", lambda e: label(e).update(flip_samples=7)),
        ("sampler", lambda e: e.update(sampler="exact")),
        ("model calls", lambda e: e.update(model_calls=1)),
        ("weight calls", lambda e: e.update(weight_calls=0)),
        ("real rows", lambda e: e.update(real_rows=1)),
        ("shared features", lambda e: e["locality"].update(shared=3.3)),
        ("features of the locality", lambda e: e.update(locality=None)),
        ("prediction", lambda e: e["prediction"][0].update(value=0.1)),
        ("prediction", lambda e: e["prediction"].pop()),
        ("name of the output", lambda e: e["prediction"][0].update(label="x")),
        ("sha256 of the input", lambda e: e["input"].update(sha256="1" * 64)),
        ("id", lambda e: e.update(id="00")),
    ],
)
def test_every_edit_is_found(what, change):
    assert what in differences(edited(HERE, change))


def test_what_another_engine_does_not_measure_is_passed_over():
    def lime(item):
        item.update(sampler=None, model_calls=5000, weight_calls=None, locality=None)
        label(item).update(fidelity=None, interval=None, flips=None, stability=None)
        for found in label(item)["attributions"]:
            found.update(low=None, high=None, sign_probability=None, top_probability=None)

    assert differences(edited(HERE, lime), same_engine=False) == []
    assert differences(edited(HERE, lime), same_engine=True) != []


def test_rounding_is_no_difference():
    def rounded(item):
        label(item)["intercept"] += 1e-10
        label(item)["stability"] += 1e-9
        first(item)["weight"] += 1e-10
        flip(item)["changes"][0]["from"] *= 1 + 1e-12

    found = compare(edited(HERE, rounded), HERE, same_engine=True, same_name=True)
    assert found.verified
    assert found.largest == pytest.approx(1e-10, rel=0.3)
    assert found.largest < TOLERANCE


def test_an_interval_that_is_rounding_decides_no_probability():
    """A linear model's errors are 1e-16: how sure a sign or rank is then differs by machine."""

    def tiny(item):
        first(item).update(weight=0.0, low=-1e-15, high=1e-15, rank=4)

    def otherwise(item):
        first(item).update(sign_probability=0.5, ranks=[3, 4])

    here = edited(HERE, tiny)
    assert not {"sign_probability", "tied ranks"} & set(differences(edited(here, otherwise), here))
    assert {"sign_probability", "tied ranks"} <= set(differences(edited(HERE, otherwise)))


def test_equal_numbers_may_stand_in_either_order():
    def exchanged(item):
        one, other = label(item)["attributions"][:2]
        one["rank"], other["rank"] = other["rank"], one["rank"]

    def equal(item):
        for found in label(item)["attributions"][:2]:
            found.update(weight=0.25)

    assert differences(edited(edited(HERE, equal), exchanged), edited(HERE, equal)) == []
    assert differences(edited(HERE, exchanged)) == ["rank"]


# -- beside lime -----------------------------------------------------------------------------------


@dataclass
class Drawn:
    weight: float
    error: float
    told: bool = True


def against(item, errors=0.01, degrees=math.inf, allowed=4.0, faulty=(), here=HERE, **off):
    """The item beside lime, whose weights lie off by `off` by feature."""
    drawn = {
        found["index"]: Drawn(found["weight"] + off.get(found["feature"], 0.0), errors)
        for found in label(HERE)["attributions"]
    }
    sides = Sides(here, HERE, {label(HERE)["index"]: drawn}, degrees, faulty)
    return compare_within(item, sides, True, TOLERANCE, allowed)


def test_a_deviation_counts_the_errors_of_both():
    # the intervals are 0.02 to either side: errors of 0.0102
    found = against(HERE, errors=0.02, sex=0.05)
    assert found.deviation == pytest.approx(0.05 / math.hypot(0.02 / 1.96, 0.02), rel=1e-3)
    assert found.verified


def test_a_weight_beyond_is_named():
    found = against(HERE, errors=0.01, sex=0.1)
    (one,) = found.differences
    assert (one.what, one.feature, one.deviation) == ("weight", "sex", found.deviation)
    assert found.verified is False


def test_few_replicates_allow_for_more():
    sure = against(HERE, errors=1e-6, sex=0.05).deviation
    unsure = against(HERE, errors=1e-6, sex=0.05, degrees=7).deviation
    assert unsure < 0.8 * sure


def test_a_report_cannot_widen_its_own_intervals():
    def widened(item):
        for found in label(item)["attributions"]:
            found.update(low=-9.0, high=9.0)

    assert against(edited(HERE, widened), sex=0.1).verified is False


def test_without_any_error_only_rounding_is_allowed():
    here = explained(EXACT)
    assert against(here, errors=0.0, here=here).verified
    assert against(here, errors=0.0, here=here, sex=1e-6).verified is False


def test_without_intervals_nothing_is_decided():
    def bare(item):
        label(item).update(no_interval="fewer than four replicates")
        for found in label(item)["attributions"]:
            found.update(low=None, high=None)

    found = against(HERE, here=edited(HERE, bare))
    assert found.verified is None
    assert "fewer than four replicates" in found.reason


def test_a_feature_without_an_interval_is_told_and_passed_over():
    """A category that never occurs has no weight."""

    def unknown(item):
        first(item).update(weight=0.0, low=None, high=None)

    here = edited(HERE, unknown)
    found = against(here, here=here)
    assert found.verified
    assert any(first(here)["feature"] in note for note in found.notes)


def test_limes_fault_excuses_only_what_comes_out_again():
    assert against(HERE, sex=0.5, faulty=("year",)).verified is None
    moved = edited(HERE, lambda e: first(e).update(weight=0.9))
    assert against(moved, faulty=("year",)).verified is False


def test_a_true_report_practically_never_fails():
    rng = np.random.default_rng(0)
    for weights in (1, 10, 1000):
        largest = np.abs(rng.normal(size=(4000, weights))).max(axis=1)
        assert (largest > allowed_deviation(weights)).mean() < 3e-3
        assert allowed_deviation(weights) < np.quantile(largest, 0.999) + 0.6
