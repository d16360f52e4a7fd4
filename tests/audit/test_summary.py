"""The summary of an audit: truth first, then that cutting and resuming change nothing."""

from __future__ import annotations

import copy
import json
import tracemalloc

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from limecli.audit.gates import Gates
from limecli.audit.summary import Summary, fidelity_word
from limecli.audit.summary.features import FeatureTable
from limecli.audit.summary.lines import summary_lines
from limecli.audit.summary.quantiles import Spread
from limecli.audit.summary.reasons import normalised
from limecli.audit.summary.schema import SUMMARY_SCHEMA
from limecli.report import words
from limecli.report.json import as_dict
from limecli.report.jsonl import AuditFile
from tests.audit.made import Bed, numbers
from tests.audit.made_records import envelope, label, record, skipped
from tests.report.made import EXACT, SAMPLED, TEXT

NOTHING = Gates()


def summary(records, made=None, gates=NOTHING, run=None):
    found = Summary(made or envelope(), gates)
    for one in records:
        found.add(one)
    content = found.content(run)
    jsonschema.validate(content, SUMMARY_SCHEMA, jsonschema.Draft202012Validator)
    json.dumps(content, allow_nan=False)
    return content


def feature(content, name):
    return next(row for row in content["features"] if row["feature"] == name)


def test_means_over_decisions_count_a_feature_that_is_not_shown_as_zero():
    found = summary([
        record(label({0: 0.3, 1: -0.1})),
        record(label({0: -0.5, 2: 0.6})),
        record(label({0: 0.1, 1: 0.2})),
        record(label({2: -0.2})),
    ])  # fmt: skip
    a, b, c = (feature(found, name) for name in "abc")
    assert (a["decisions"], b["decisions"], c["decisions"]) == (3, 2, 2)
    assert (a["top"], b["top"], c["top"]) == (1, 1, 2)
    assert a["mean_abs_weight"] == pytest.approx((0.3 + 0.5 + 0.1) / 4)
    assert a["mean_weight"] == pytest.approx((0.3 - 0.5 + 0.1) / 4)
    assert c["mean_abs_weight"] == pytest.approx(0.8 / 4)
    assert [row["feature"] for row in found["features"]] == ["a", "c", "b"]


def test_exact_weights_have_no_error():
    found = feature(summary([record(label({0: 0.3})), record(label({0: -0.1}))]), "a")
    assert found["low"] == found["high"] == found["mean_abs_weight"] == pytest.approx(0.2)
    assert found["no_interval"] is None


def test_interval_is_the_t_interval_of_the_replicates_own_means():
    rng = np.random.default_rng(1)
    each = rng.normal([0.4, -0.6], 0.05, size=(5, 8, 2))  # decisions, replicates, features
    records = [
        record(label(dict(enumerate(one.mean(axis=0))), replicates=list(one))) for one in each
    ]
    a = feature(summary(records), "b")
    means = -each[:, :, 1].mean(axis=0)  # of each replicate
    low, high = stats.t.interval(0.95, 7, loc=means.mean(), scale=stats.sem(means))
    assert (a["low"], a["high"]) == pytest.approx((low, high), abs=1e-7)


def test_interval_covers_where_errors_are_shared_and_that_of_independent_rows_does_not():
    """60 decisions, 8 replicates, errors of one neighborhood: coverage over 400 audits."""
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.3, 1.0, 60)
    covered = naive = 0
    for _ in range(400):
        shared = rng.normal(0, 0.1, 8)
        each = truth[:, None] + shared + rng.normal(0, 0.02, (60, 8))
        table = FeatureTable(by_name=False, labels=False)
        for one in each:
            table.add(label({0: one.mean()}, replicates=one[:, None]))
        row = table.rows()[0]
        covered += row["low"] <= truth.mean() <= row["high"]
        errors = each.std(axis=1, ddof=1) / np.sqrt(8)
        half = 1.96 * np.sqrt((errors**2).sum()) / 60
        naive += abs(row["mean_abs_weight"] - truth.mean()) <= half
    assert 0.92 <= covered / 400 <= 0.98
    assert naive / 400 < 0.4


def test_intervals_of_real_audits_cover_those_of_many_more_samples(tmp_path):
    """A model with an interaction, 16 seeds of 512 samples against 2^16: 60 rows, 5 features."""
    bed = Bed(numbers())

    def predict(frame):
        x = np.asarray(frame, float)
        return (np.sin(x[:, 0]) + 2 * x[:, 1] * (x[:, 2] > 0) + x[:, 3] + 0.2 * x[:, 4])[:, None]

    def features(seed, num_samples):
        path = tmp_path / "audit.jsonl"
        bed.audit(path, predict, rows=60, seed=seed, num_samples=num_samples, flips=0)
        audit = AuditFile(str(path))
        found = Summary(audit.envelope, NOTHING)
        for line in audit.records():
            found.add(line.content)
        audit.close()
        return {row["feature"]: row for row in found.content()["features"]}

    truth = features(99, 2**16)
    found = [
        row["low"] <= truth[name]["mean_abs_weight"] <= row["high"]
        for seed in range(16)
        for name, row in features(seed, 512).items()
    ]
    assert len(found) == 80
    assert 0.87 <= np.mean(found) <= 0.995


def test_decisions_that_do_not_show_a_feature_or_are_exact_add_no_error():
    reps = [[0.1], [0.3], [0.2], [0.2]]
    alone = feature(summary([record(label({0: 0.2}, replicates=reps))]), "a")
    among = feature(
        summary([
            record(label({0: 0.2}, replicates=reps)),
            record(label({0: 0.4})),
            record(label({1: 0.7})),
        ]),
        "a",
    )  # fmt: skip
    width, narrower = alone["high"] - alone["low"], among["high"] - among["low"]
    assert narrower == pytest.approx(width / 3, rel=1e-6)
    assert among["mean_abs_weight"] == pytest.approx(0.2)


def test_no_interval_where_a_shown_weight_has_no_replicates_says_why():
    reps = [[0.1, 0.1], [0.3, 0.2]]
    found = summary([
        record(label({0: 0.2}, interval=None)),
        record(label({0: 0.2, 1: 0.1}, replicates=reps)),
    ])  # fmt: skip
    a, b = feature(found, "a"), feature(found, "b")
    assert (a["low"], a["high"]) == (None, None)
    assert "1 decision " in a["no_interval"]
    assert b["low"] is not None
    assert found["errors"] == {"exact": 0, "replicates": 1, "unknown": 1}


def test_no_interval_where_numbers_of_replicates_differ():
    found = summary([
        record(label({0: 0.2}, replicates=[[0.1], [0.3]])),
        record(label({0: 0.2}, replicates=[[0.1], [0.3], [0.2]])),
    ])  # fmt: skip
    assert feature(found, "a")["no_interval"] == "decisions differ in their number of replicates"


def test_replicates_that_are_no_numbers_or_a_single_one_are_of_unknown_error():
    broken = label({0: 0.2, 1: 0.1}, replicates=[[np.nan, 0.1], [0.3, 0.1]])
    found = summary([record(broken)])
    assert feature(found, "a")["low"] is None
    assert feature(found, "b")["low"] is not None
    single = label({0: 0.2}, replicates=[[0.2]])
    assert feature(summary([record(single)]), "a")["low"] is None


def test_each_label_has_its_own_features():
    found = summary([
        record(label({0: 0.3}, 1, "yes")),
        record(label({0: 0.1, 1: -0.4}, 0, "no")),
        record(label({0: 0.5}, 1, "yes")),
    ])  # fmt: skip
    no, yes = found["features_by_label"]
    assert (no["label"], no["decisions"], yes["label"], yes["decisions"]) == ("no", 1, "yes", 2)
    assert yes["features"][0]["mean_abs_weight"] == pytest.approx(0.4)
    assert [row["feature"] for row in no["features"]] == ["b", "a"]


def test_labels_of_a_thousand_classes_are_pooled_only():
    classes = [f"c{i}" for i in range(1000)]
    made = envelope(classes=classes)
    found = summary(
        [record(label({0: 1.0}, i, classes[i]), scores=((classes[i], i, 1.0),)) for i in range(50)],
        made,
    )
    assert found["features_by_label"] == []
    assert len(found["classes"]) == 50


def test_classes_of_one_name_stay_apart():
    made = envelope(classes=("x", "x"))
    scores = (("x", 0, 0.7), ("x", 1, 0.3))
    found = summary([record(label({0: 1.0}), scores=scores), record(label({0: 1.0}))], made)
    assert [(row["index"], row["share"]) for row in found["classes"]] == [(0, 0.5), (1, 0.5)]


@settings(deadline=None)
@given(st.lists(st.floats(-3, 1, width=32) | st.none(), max_size=40))
def test_spread_has_numpys_quantiles(values):
    spread = Spread()
    for value in values:
        spread.add(value)
    found = spread.content()
    known = [value for value in values if value is not None]
    assert (found["count"], found["unknown"]) == (len(known), len(values) - len(known))
    if not known:
        assert found["median"] is found["mean"] is found["min"] is None
        return
    assert found["mean"] == pytest.approx(np.mean(known), abs=1e-12)
    for name, q in (("p05", 0.05), ("median", 0.5), ("p75", 0.75), ("p99", 0.99)):
        assert found[name] == pytest.approx(np.quantile(known, q), rel=1e-6, abs=1e-6)
    assert found["min"] <= found["p01"] <= found["p99"] <= found["max"]


def test_a_quantile_that_was_a_decimal_stays_it():
    """0.7 is not 0.7 in float32: a gate at 0.7 must hold all the same."""
    found = summary([record(label({0: 1.0}, fidelity=0.7))])["fidelity"]
    assert found["median"] == found["mean"] == 0.7


def test_outputs_of_a_regression_of_any_scale():
    made = envelope(task="regression", classes=("price",))
    values = [1e300, -1e300, 5.0]
    found = summary(
        [record(label({0: 1e300}, 0, "price"), scores=(("price", 0, value),)) for value in values],
        made,
    )
    assert (found["output"]["min"], found["output"]["max"]) == (-1e300, 1e300)
    assert found["output"]["median"] == 5.0
    assert found["classes"] == []


def test_gap_is_between_surrogate_and_model():
    one = label({0: 1.0}, local_prediction=0.2, model_prediction=0.9)
    assert summary([record(one)])["gap"]["max"] == pytest.approx(0.7)


@pytest.mark.parametrize("value", [-5.0, 0.0, 0.294, 0.295, 0.3, 0.5, 0.694, 0.6951, 0.7, 1.0])
def test_words_of_fidelity_are_those_of_reports(value):
    surrogate = copy.copy(SAMPLED.explanations[0].surrogates[0])
    object.__setattr__(surrogate, "fidelity", value)
    assert fidelity_word(value) == words.fidelity_word(surrogate)


def test_shares_of_words():
    found = summary([record(label({0: 1.0}, fidelity=f)) for f in (0.9, 0.5, 0.1, None)])["words"]
    assert {word: row["share"] for word, row in found.items()} == {
        "good": 0.25, "fair": 0.25, "low": 0.25, "undefined": 0.25,
    }  # fmt: skip


def test_reasons_that_differ_in_values_only_are_one():
    found = summary([
        skipped("row 7, column 'age': 'abc' is not a number", 7),
        record(label({0: 1.0}), index=8),
        skipped("row 12, column 'age': '1,5 €' is not a number", 12),
        skipped("row 13, column 'hours': '1,5 €' is not a number", 13),
        skipped("the model raised ValueError: 3.5e-7", 3, "predict"),
    ])["skipped"]  # fmt: skip
    assert found["by_kind"] == [
        {"kind": "input", "count": 3, "first": 7}, {"kind": "predict", "count": 1, "first": 3},
    ]  # fmt: skip
    assert found["by_reason"][0] == {
        "reason": "row N, column 'age': '...' is not a number", "count": 2, "first": 7,
    }  # fmt: skip
    assert len(found["by_reason"]) == 3


def test_values_never_get_into_a_reason():
    told = normalised("row 3, column 'age': 'Jane Doe, \\'77' is not one of \"secret\" or 17")
    assert told == "row N, column 'age': '...' is not one of '...' or N"
    assert len(normalised("x" * 10_000_000)) < 400
    assert normalised("column 'age': '" + "Jane " * 1000) == "column 'age': '...'"
    assert normalised("the model's 2 inputs are 'a' and 1,234.5") == (
        "the model's N inputs are '...' and N"
    )


def test_reasons_after_the_twentieth_are_pooled():
    kinds = [f"fault {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(30)]
    found = summary([skipped(reason, i) for i, reason in enumerate(kinds + kinds[:20])])
    rows = found["skipped"]["by_reason"]
    assert len(rows) == 21
    assert rows[-1] == {"reason": "other", "count": 10, "first": 20}
    many = (f"fault {'x' * (i % 250)}{chr(97 + i // 250)}" for i in range(3000))
    rows = summary([skipped(reason, i) for i, reason in enumerate(many)])["skipped"]["by_reason"]
    assert sum(row["count"] for row in rows) == 3000
    assert len(rows) == 21


def test_words_of_texts_are_told_apart_by_themselves():
    made = envelope("text", features=())
    parts = [("free", 0.4), ("hello", -0.1), ("free", 0.2)]
    one = label({})
    one["attributions"] = [
        {"feature": word, "index": 5 + i, "weight": value, "rank": i + 1}
        for i, (word, value) in enumerate(parts)
    ]
    found = summary([record(one), record(label({0: -0.2}, names=["free"]))], made)
    free = feature(found, "free")
    assert (free["decisions"], free["top"]) == (2, 2)
    assert free["mean_abs_weight"] == pytest.approx((0.6 + 0.2) / 2)
    assert free["mean_weight"] == pytest.approx((0.6 - 0.2) / 2)


def test_only_so_many_words_are_held_and_what_is_forgotten_is_told():
    table = FeatureTable(by_name=True, labels=True, most=50)
    for i in range(500):
        table.add(label({0: 1.0, 1: 0.01}, i % 2, names=["often", f"rare{i}"]))
    rows, left_out = table.rows(), table.left_out()
    assert len(rows) <= 100
    assert rows[0] | {"mean_abs_weight": None} == {
        "feature": "often", "decisions": 500, "top": 500, "mean_abs_weight": None, "low": 1.0,
        "high": 1.0, "no_interval": None, "mean_weight": 1.0,
    }  # fmt: skip
    assert left_out["words_forgotten"] == 501 - len(rows)
    assert left_out["weight_share"] == pytest.approx(0.01 * (501 - len(rows)) / 505)
    assert [one["features"][0]["decisions"] for one in table.by_label()] == [250, 250]


def test_pictures_have_no_table_of_features():
    found = summary([record(label({0: 1.0}))], envelope("image", features=()))
    assert found["features"] == []
    assert any("Superpixels" in sentence for sentence in found["notes"])


def test_notes_say_what_applies():
    sampled = label({0: 0.2}, replicates=[[0.1], [0.3]])
    found = " ".join(summary([record(sampled)])["notes"])
    assert "only the sampling error of the shared neighborhood" in found
    assert "comes on top" in found
    assert "Exact" not in found
    exact = " ".join(summary([record(label({0: 0.2}))])["notes"])
    assert "Exact: no sampling error in LIME's large-sample weights" in exact
    recovered = envelope()
    recovered["background"]["source"] = "model"
    assert "recovered" in " ".join(summary([], recovered)["notes"])


@st.composite
def mixtures(draw):
    """Records of all sorts, and where to look at the summary on the way."""
    made = []
    for i in range(draw(st.integers(0, 30))):
        if draw(st.booleans()):
            made.append(skipped(draw(st.sampled_from(["row 1: bad", "row 2: worse"])), i))
            continue
        weights = draw(st.dictionaries(st.integers(0, 2), st.floats(-1, 1), min_size=1, max_size=3))
        reps = [
            {key: value + draw(st.floats(-0.1, 0.1)) for key, value in weights.items()}
            for _ in range(draw(st.sampled_from([0, 4, 8])))
        ]
        own = {"fidelity": draw(st.none() | st.floats(-1, 1))}
        groups = {"b": draw(st.sampled_from(["x", "y", None]))}
        made.append(
            record(label(weights, replicates=reps or None, **own), index=i, groups=groups,
                   bins=[draw(st.integers(0, 3)), {"x": 0, "y": 1}.get(groups["b"], 2), None])
        )  # fmt: skip
    return made, set(draw(st.lists(st.integers(0, 30), max_size=4)))


@settings(max_examples=60, deadline=None)
@given(mixtures())
def test_looking_on_the_way_changes_no_bit(mixture):
    records, looks = mixture
    made = envelope(protected=["b"])
    quiet, watched = Summary(made, NOTHING), Summary(made, NOTHING)
    for i, one in enumerate(records):
        quiet.add(one)
        watched.add(one)
        if i in looks:
            watched.content()
    assert quiet.content() == watched.content()


@settings(max_examples=60, deadline=None)
@given(mixtures(), st.randoms())
def test_the_mixture_of_skipped_and_explained_does_not_matter(mixture, random):
    records, _ = mixture
    made = envelope(protected=["b"])
    apart, together = Summary(made, NOTHING), Summary(made, NOTHING)
    explained = [one for one in records if one["status"] == "ok"]
    bad = [one for one in records if one["status"] != "ok"]
    mixed = explained.copy()
    for one in bad:  # anywhere, the explained in their order
        mixed.insert(random.randint(0, len(mixed)), one)
    for one in mixed:
        together.add(one)
    for one in explained + bad:
        apart.add(one)
    assert together.content() == apart.content()


def test_long_runs_are_the_same_however_they_are_watched():
    """Past the size of a block, in features and in groups."""
    rng = np.random.default_rng(3)
    made = envelope(protected=["b", "age"])
    quiet, watched = Summary(made, NOTHING), Summary(made, NOTHING)
    for i in range(2500):
        reps = rng.normal(0.1, 1, (4, 3))
        bins = rng.integers(0, 4, 3).tolist()
        one = record(label(dict(enumerate(reps.mean(axis=0))), replicates=reps), index=i,
                     groups={"b": "xyzw"[bins[1]], "age": str(20 + i % 60)}, bins=bins)  # fmt: skip
        quiet.add(one)
        watched.add(one)
        if i in (0, 7, 999, 1000, 1300, 2048):
            watched.content()
    assert quiet.content() == watched.content()


def test_real_records_of_reports_are_understood():
    for made in (SAMPLED, EXACT, TEXT):
        content = as_dict(made)
        found = summary(content["explanations"], content | {"input": None})
        first = content["explanations"][0]["labels"][0]["attributions"][0]
        assert found["features"][0]["mean_abs_weight"] == pytest.approx(abs(first["weight"]))
        assert found["features"][0]["feature"] == first["feature"]


def test_memory_is_a_few_numbers_a_decision():
    one = record(label({0: 0.3, 1: 0.1}, replicates=[[0.3, 0.1], [0.3, 0.1]]))
    found = Summary(envelope(), NOTHING)
    for _ in range(2048):
        found.add(one)
    tracemalloc.start()
    try:
        for _ in range(10 * 1024):
            found.add(one)
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 40 * 10 * 1024


def test_nothing_at_all_is_a_summary_too():
    found = summary([], envelope(protected=["a"]))
    assert set(found["counts"].values()) == {0}
    assert found["words"]["good"] == {"decisions": 0, "share": None}
    assert summary_lines(found)


def test_the_run_is_passed_through():
    run = {"wall_s": 1.5, "rows_per_s": 2.0, "backend": "loky", "jobs": 2}
    assert summary([], run=run)["run"] == run


def test_lines_fit_a_terminal_whatever_the_names():
    rng = np.random.default_rng(4)
    names = [f"evil\x1b[31m{'x' * 300}{i}" for i in range(40)]
    classes = [f"class \n{'y' * 90}{i}" for i in range(12)]
    protected = [*names[:5], "zip"]
    made = envelope(features=names, classes=classes, protected=protected)
    found = Summary(made, Gates(min_fidelity=0.5))
    for i in range(400):
        k = i % 12
        groups = {name: f"value {'z' * 200}{rng.integers(30)}" for name in protected}
        one = label(dict(enumerate(rng.normal(size=40))), k, classes[k], names=names, fidelity=0.1,
                    replicates=rng.normal(size=(8, 40)))  # fmt: skip
        found.add(record(one, scores=((classes[k], k, 1.0),), index=i, groups=groups,
                         bins=rng.integers(0, 5, 40).tolist()))  # fmt: skip
        found.add(skipped(f"{'bad' * 50}{chr(97 + i % 7)}", i))
    lines = summary_lines(found.content({"wall_s": 1e6, "rows_per_s": 1e5, "jobs": 64}))
    assert len(lines) <= 40
    assert all(len(line) <= 100 and line.isprintable() for line in lines)


def test_lines_say_the_counts_the_features_and_the_skipped():
    reps = [{0: 0.31, 1: -0.1}, {0: 0.29, 1: -0.12}]
    records = [record(label({0: 0.3, 1: -0.11}, replicates=reps)), skipped("row 3: 'x' is bad", 3)]
    text = "\n".join(summary_lines(summary(records, gates=Gates(min_fidelity=0.9))))
    assert "2 decisions: 1 explained, 1 skipped, 1 below the gates" in text
    assert "row N: '...' is bad (first: index 3)" in text
    assert "a " in text
    assert "0.300" in text
    assert "0.173 to 0.427" in text
