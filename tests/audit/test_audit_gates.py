"""Gates of an audit: of each decision, and of all together."""

from __future__ import annotations

import pytest

from limecli.audit.gates import Gates
from limecli.audit.summary import Summary
from limecli.errors import UsageError
from tests.audit.made_records import envelope, label, record, skipped


def content(gates, fidelities=(0.9, 0.5, 0.1, 0.8), bad=0, **own):
    found = Summary(envelope(), gates)
    for fidelity in fidelities:
        found.add(record(label({0: 1.0}, fidelity=fidelity, **own)))
    for i in range(bad):
        found.add(skipped("bad", i))
    return found.content()


def failures(gates, *args, **own):
    return gates.failures(content(gates, *args, **own))


@pytest.mark.parametrize(
    ("gates", "own", "below"),
    [
        (Gates(min_fidelity=0.5), {"fidelity": 0.5}, False),
        (Gates(min_fidelity=0.5), {"fidelity": 0.49}, True),
        (Gates(min_fidelity=0.5), {"fidelity": None}, True),
        (Gates(min_stability=0.5), {"stability": 0.6}, False),
        (Gates(min_stability=0.5), {"stability": None}, True),
        (Gates(max_gap=0.2), {"local_prediction": 0.75, "model_prediction": 0.5}, True),
        (Gates(max_gap=0.25), {"local_prediction": 0.75, "model_prediction": 0.5}, False),
        (Gates(), {"fidelity": -5.0, "stability": None}, False),
    ],
)
def test_below_is_what_misses_a_threshold_or_could_not_be_measured(gates, own, below):
    assert gates.below(record(label({0: 1.0}, **own))) is below


def test_one_label_below_is_enough_and_a_skipped_row_is_not_below():
    gates = Gates(min_fidelity=0.5)
    assert gates.below(record(label({0: 1.0}), label({0: 1.0}, fidelity=0.1)))
    assert not gates.below(skipped("bad"))


def test_any_decision_below_the_thresholds_is_a_failure():
    (told,) = failures(Gates(min_fidelity=0.5, max_gap=0.1))
    assert told == ("1 of 4 explained decisions do not reach --min-fidelity 0.5, --max-gap 0.1")
    assert failures(Gates(min_fidelity=0.1)) == []
    assert failures(Gates()) == []


def test_a_condition_on_below_takes_the_place_of_any():
    assert failures(Gates(min_fidelity=0.5, fail_on=("below > 25%",))) == []
    (told,) = failures(Gates(min_fidelity=0.5, fail_on=("counts.below >= 1",)))
    assert told == "counts.below is 1 (25 %), --fail-on counts.below >= 1"


@pytest.mark.parametrize(
    ("limit", "fails"),
    [("2", False), ("1", True), ("0", True), ("34%", False), ("33%", True), (" 33.4 % ", False)],
)
def test_max_skipped_is_a_count_or_a_share_of_all(limit, fails):
    found = failures(Gates(max_skipped=limit), bad=2)
    assert bool(found) is fails
    assert not fails or f"more than --max-skipped {limit}" in found[0]


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("fidelity.median < 0.65", False),
        ("fidelity.median<=0.65", True),
        ("fidelity.min < 0.2", True),
        ("fidelity_rows.p05 >= 0.7", True),
        ("gap.p95 > 0", False),
        ("stability.mean < .95", True),
        ("skipped > 0", False),
        ("explained < 1e3", True),
        ("counts.explained < 4", False),
        ("low > 20%", True),
        ("low > 0.25", False),
        ("low >= 0.25", True),
        ("fidelity.unknown > 0%", False),
    ],
)
def test_conditions_fail_where_they_hold(text, fails):
    assert bool(failures(Gates(fail_on=(text,)))) is fails


def test_what_could_not_be_measured_fails_whatever_is_asked():
    for text in ("fidelity.median < 0.5", "fidelity.median > 0.5"):
        (told,) = failures(Gates(fail_on=(text,)), fidelities=(None,))
        assert "could not be measured" in told
    assert failures(Gates(fail_on=("low > 20%",)), fidelities=())
    assert failures(Gates(fail_on=("output.mean > 3",)))  # a classification has no output


def test_each_condition_that_holds_is_told():
    gates = Gates(fail_on=("fidelity.min < 0.5", "fidelity.max < 0.5", "decisions < 100"))
    assert failures(gates) == [
        "fidelity.min is 0.1, --fail-on fidelity.min < 0.5",
        "decisions is 4 (100 %), --fail-on decisions < 100",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fidelity < 0.5", "nothing is called fidelity"),
        ("fidelity.mode < 0.5", "nothing is called fidelity.mode"),
        ("fidelity.median = 0.5", "cannot be read"),
        ("fidelity.median < half", "cannot be read"),
        ("0.5 > fidelity.median", "cannot be read"),
        ("", "cannot be read"),
        ("fidelity.median < 50%", "is no count"),
        ("low > 20", "is a share"),
        ("skipped > 1e999", "too large"),
        ("fidelity.median < nan", "cannot be read"),
    ],
)
def test_conditions_that_make_no_sense_are_refused_at_once(text, told):
    with pytest.raises(UsageError, match=told) as caught:
        Gates(fail_on=(text,))
    if "called" in told:
        assert "one of: " in caught.value.hint
        assert "skipped" in caught.value.hint


@pytest.mark.parametrize("text", ["many", "-1", "-1%", "1%%", "", "10 rows"])
def test_max_skipped_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="neither a count nor a share"):
        Gates(max_skipped=text)


def test_an_audit_without_decisions_has_no_share():
    assert failures(Gates(max_skipped="0%", fail_on=("skipped > 0%",)), fidelities=()) == []
