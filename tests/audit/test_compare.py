"""Two audits compared: what changed is found, and what chance does is not."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from contextlib import closing

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.ensemble import RandomForestClassifier

from limecli.audit.compare import compare_audits
from limecli.audit.compare.changes import Limits
from limecli.audit.compare.pairing import pairs
from limecli.errors import ReportError, UsageError
from limecli.report.jsonl import AuditFile
from tests.audit.made import Bed, decision, envelope, numbers, part, skipped, written


def compared(old, new, **limits):
    """The comparison of two files, and the decisions that changed, by id."""
    kept = io.BytesIO()
    with closing(AuditFile(str(old))) as one, closing(AuditFile(str(new))) as other:
        found = compare_audits(one, other, Limits(**limits), kept)
    lines = [json.loads(line) for line in kept.getvalue().splitlines()]
    assert found.changed == len(lines)
    return found, {line["id"]: line for line in lines}


@pytest.fixture
def differ(tmp_path):
    """Compare records written down here: those of before, those of now."""

    def run(old, new, told=None, told_new=None, end=True, **limits):
        one = written(tmp_path / "old.jsonl", told or envelope(), old)
        other = written(tmp_path / "new.jsonl", told_new or told or envelope(), new, end)
        return compared(one, other, **limits)

    return run


def kinds(changed):
    return {name: line["changes"] for name, line in changed.items()}


def regression(column, sign=1.0):
    """A model with one coefficient for each column of `Bed(numbers())`; `column`'s has a sign."""
    weights = np.array([2.0, 1.0, -0.5, 0.25, 0.1])
    weights[column] *= sign
    return lambda frame: (frame.to_numpy(float) @ weights)[:, None]


@pytest.fixture(scope="module")
def bed():
    return Bed(numbers(100))


# Real explanations


@pytest.mark.parametrize("sampler", ["sobol", "lime"])
def test_an_audit_against_itself_has_no_change(tmp_path, bed, sampler):
    path = bed.audit(tmp_path / "a.jsonl", regression(0), num_samples=512, sampler=sampler)
    found, changed = compared(path, path)
    assert changed == {}
    assert (found.both, found.explained, found.sampled) == (100, 100, 100)
    assert all(item["difference"] == 0 for item in found.means.strongest(99))
    assert found.differences == []


@pytest.mark.parametrize("seed", [0, 1])
def test_a_coefficient_that_changes_its_sign_is_found_where_it_acts(tmp_path, bed, seed):

    def model(sign):
        def predict(frame):
            x = frame.to_numpy(float)
            return (2 * x[:, 0] + sign * x[:, 1])[:, None]

        return predict

    def half(records):  # the audit of a model that changed for some of the rows only
        kept = {item["id"]: item for item in before}
        return [item if int(item["id"]) % 2 else {**kept[item["id"]], "index": item["index"]}
                for item in records]  # fmt: skip

    old = bed.audit(tmp_path / "old.jsonl", model(1.0), num_samples=1024)
    before = [json.loads(line) for line in old.read_bytes().splitlines()[1:-1]]
    for item in before:
        del item["previous"]
    new = bed.audit(tmp_path / "new.jsonl", model(-1.0), num_samples=1024, seed=seed, edit=half)
    found, changed = compared(old, new)
    assert found.same_draws == (seed == 0)
    odd = {str(i) for i in range(1, 100, 2)}
    assert {name for name, line in changed.items() if "sign" in line["changes"]} == odd
    assert {item["feature"] for line in changed.values() for item in line["sign"]} == {"x1"}
    assert {name for name, line in changed.items() if "prediction" in line["changes"]} == odd
    assert set(changed) == odd  # the others are the same to the last digit


def test_a_coefficient_that_changes_its_sign_is_found_with_exact_weights(tmp_path, bed):
    frame = bed.frame.astype(float)
    high = frame > frame.median()  # no bin lies on both sides
    up, down = (
        RandomForestClassifier(1, bootstrap=False, max_features=None, random_state=0).fit(
            frame, np.where(high["x0"] & (high["x1"] == side), "no", "yes")
        )
        for side in (True, False)
    )
    paths = [
        bed.audit(tmp_path / f"{i}.jsonl", model.predict_proba, ["no", "yes"], model,
                  sampler="exact", labels=(1,))
        for i, model in enumerate((up, down))
    ]  # fmt: skip
    found, changed = compared(*paths)
    assert found.sampled == 0
    assert found.counts["sign"] == 100
    assert all([item["feature"] for item in line["sign"]] == ["x1"] for line in changed.values())
    assert all(line["margin"] == 0 for item in changed.values() for line in item["weight"])
    means = {item["feature"]: item for item in found.means.strongest(99)}
    assert means["x1"]["low"] == means["x1"]["high"] == means["x1"]["difference"]


def test_other_seeds_of_one_model_change_no_more_than_the_stated_share(tmp_path):
    """Decisions share their draws, so whole audits are what is independent: 28 pairs of them."""
    bed = Bed(numbers(40))
    frame = bed.frame.astype(float)
    model = RandomForestClassifier(10, max_depth=4, random_state=0).fit(
        frame, np.where(frame["x0"] + frame["x1"] * frame["x2"] > 0, "no", "yes")
    )
    paths = [
        bed.audit(tmp_path / f"{seed}.jsonl", model.predict_proba, list(model.classes_),
                  num_samples=4096, seed=seed)
        for seed in range(8)
    ]  # fmt: skip
    shares, outside = [], []
    for i, one in enumerate(paths):
        for other in paths[:i]:
            found, _ = compared(one, other)
            assert not found.same_draws
            assert found.chance == pytest.approx(0.05 * 40)
            shares.append([found.counts[kind] / 40 for kind in ("weight", "sign", "top")])
            means = found.means.strongest(99)
            outside += [not item["low"] <= 0 <= item["high"] for item in means]
    assert np.mean(shares, axis=0).max() <= 0.05
    assert np.mean(outside) <= 0.1
    assert np.mean(shares, axis=0)[0] > 0  # the intervals are not just wide


def test_changes_beyond_the_errors_are_found_between_other_seeds(tmp_path, bed):
    paths = [
        bed.audit(tmp_path / f"{seed}.jsonl", predict, num_samples=2048, seed=seed)
        for seed, predict in enumerate((regression(0), regression(0, 0.1)))
    ]
    found, changed = compared(*paths)
    assert found.counts["weight"] == found.counts["prediction"] == 100
    assert all("x0" in {item["feature"] for item in line["weight"]} for line in changed.values())
    (x0,) = [item for item in found.means.strongest(99) if item["feature"] == "x0"]
    assert x0["new"] == pytest.approx(0.1 * x0["old"], rel=0.1)
    assert x0["high"] < 0


def test_means_are_compared_across_replicates(differ):
    """By hand: |weight| of two decisions, three replicates, other draws."""

    def row(name, weights, replicates):
        told = base64.b64encode(np.array(replicates, "<f4").tobytes()).decode()
        parts = [part(f, j, w, 0.5) for j, (f, w) in enumerate(zip("ab", weights, strict=True))]
        return decision(name, *parts, interval="replicates", replicates=told)

    old = [row(0, (2.0, 1.0), [[1, 1], [2, 1], [3, 1]]), row(1, (-2.0, 1), [[-1, 1], [-3, 1],
                                                                            [-2, 1]])]  # fmt: skip
    new = [row(0, (4.0, 1.0), [[4, 1], [4, 1], [4, 1]]), row(1, (-5.0, 1), [[-5, 1], [-5, 1],
                                                                            [-5, 1]])]  # fmt: skip
    found, _ = differ(old, new, told_new=envelope(seed=1))
    a, b = found.means.strongest(9)
    assert (a["feature"], a["old"], a["new"], a["difference"]) == ("a", 2.0, 4.5, 2.5)
    half = student.ppf(0.975, 2) * np.std([1.0, 2.5, 2.5], ddof=1) / np.sqrt(3)
    assert (a["low"], a["high"]) == pytest.approx((2.5 - half, 2.5 + half))
    assert (b["low"], b["high"]) == (0, 0)


def test_errors_of_the_same_draws_go_together(differ):
    """The replicates differ by 1 everywhere: with the same draws that is sure, else it is not."""

    def row(shift):
        said = np.array([[10.0], [20.0], [30.0]]) + shift
        told = base64.b64encode(said.astype("<f4").tobytes()).decode()
        return [decision(0, part("a", 0, 20.0 + shift, 14.3), interval="replicates",
                         replicates=told)]  # fmt: skip

    found, changed = differ(row(0), row(1))
    assert found.same_draws
    assert kinds(changed) == {"0": ["weight"]}
    (a,) = found.means.strongest(1)
    assert a["low"] == pytest.approx(1) == a["high"]
    for other in (envelope(seed=1), envelope(num_samples=2000), envelope(sampler="lime")):
        found, changed = differ(row(0), row(1), told_new=other)
        assert not found.same_draws
        assert changed == {}


# Each kind of change, by hand


def test_another_class_and_another_value_are_changes_of_the_prediction(differ):
    one, other = decision(0, label="yes", value=0.6), decision(0, label="no", value=0.6)
    found, changed = differ([one], [other])
    assert kinds(changed) == {"0": ["prediction"]}
    assert dict(found.transitions) == {("yes", "no"): 1}
    assert found.other_label == 1
    moved = decision(0, value=0.7)
    assert differ([one], [moved])[1] == {}
    assert kinds(differ([one], [moved], prediction=0.05)[1]) == {"0": ["prediction"]}
    assert differ([one], [moved], prediction=0.2)[1] == {}


@pytest.mark.parametrize(("moved", "limit", "expected"), [
    (1e-9, None, False), (1e-3, None, True), (0.4, 0.5, False), (0.6, 0.5, True),
])  # fmt: skip
def test_values_of_a_regression_change_beyond_rounding_or_a_limit(differ, moved, limit, expected):
    """The offset is large: what counts is what the features move."""
    told = envelope(task="regression")
    one, other = (decision(0, part("a", 0, 5.0, 0.1), label="y", value=1e3 + x)
                  for x in (0.0, moved))  # fmt: skip
    found, _ = differ([one], [other], told, prediction=limit)
    assert found.counts["prediction"] == expected


def test_a_renamed_target_is_the_same_target(differ):
    told = envelope(task="regression")
    one = decision(0, part("a", 0, 1.0, 0.1), label="price", value=1.0)
    other = decision(0, part("a", 0, 2.0, 0.1), label="prediction", value=1.0)
    found, changed = differ([one], [other], told)
    assert kinds(changed) == {"0": ["weight"]}
    assert found.other_label == 0


@pytest.mark.parametrize(("half", "ranks", "expected"), [
    (0.01, None, True), (0.2, None, False), (0.2, [1, 1], True), (0.2, [1, 2], False),
    (0.0, None, True), (None, None, False),
])  # fmt: skip
def test_another_top_feature_counts_where_both_are_sure_of_theirs(differ, half, ranks, expected):
    interval = "exact" if half == 0 else "HC3" if half else None

    def row(a, b):
        parts = [part("a", 0, a, half, ranks=ranks), part("b", 1, b, half, ranks=ranks)]
        return [decision(0, *parts, interval=interval)]

    found, changed = differ(row(0.3, 0.2), row(0.2, 0.3))
    assert found.counts["top"] == expected
    if expected:
        assert changed["0"]["top"] == [{"label": "yes", "old": "a", "new": "b"}]
    assert found.unjudged == (half is None)


def test_signs_change_where_both_intervals_leave_out_0(differ):
    def row(weight, half):
        return [decision(0, part("a", 0, weight, half))]

    assert kinds(differ(row(0.1, 0.05), row(-0.1, 0.05))[1]) == {"0": ["sign", "weight"]}
    assert kinds(differ(row(0.1, 0.05), row(-0.1, 0.12))[1]) == {"0": ["weight"]}
    assert differ(row(0.1, 0.12), row(-0.1, 0.19))[1] == {}
    assert kinds(differ(row(0.1, 0.05), row(0.3, 0.05))[1]) == {"0": ["weight"]}


def test_many_weights_of_a_decision_are_compared_more_strictly(differ):
    """By hand: 0.2 is 2.8 standard errors. It counts for one weight, for twenty it does not."""
    half = 0.1 * student.ppf(0.975, 1e9) / 1.98  # errors of 0.0714 in all

    def rows(moved, count):
        others = [part(f"x{j}", j, 0.5, half) for j in range(1, count)]
        return [decision(0, part("a", 0, 1.0 + moved, half), *others)]

    for count, expected in ((1, True), (20, False)):
        found, changed = differ(rows(0.0, count), rows(0.2, count))
        assert ("0" in changed) == expected
        assert found.sampled == 1


def test_exact_weights_change_beyond_rounding(differ):
    def row(weight):
        return [decision(0, part("a", 0, weight, 0), part("b", 1, 1.0, 0), interval="exact")]

    assert differ(row(0.5), row(0.5 + 1e-9))[1] == {}
    assert kinds(differ(row(0.5), row(0.5 + 1e-3))[1]) == {"0": ["weight"]}
    assert differ(row(0.5), row(0.5 + 1e-3))[0].chance == 0


def test_fidelity_changes_by_more_than_its_limit(differ):
    one, other = decision(0, fidelity=0.8), decision(0, fidelity=0.65)
    assert kinds(differ([one], [other])[1]) == {"0": ["fidelity"]}
    assert differ([one], [other], fidelity=0.2)[1] == {}
    assert differ([one], [decision(0, fidelity=None)])[1] == {}


def test_skipped_and_missing_decisions_are_told(differ):
    old = [decision(0), skipped(1), skipped(2), decision(3)]
    new = [skipped(0, "age is empty"), decision(1), skipped(2), decision(4)]
    found, changed = differ(old, new)
    assert kinds(changed) == {"0": ["skipped"], "1": ["skipped"], "3": ["missing"],
                              "4": ["missing"]}  # fmt: skip
    assert changed["0"]["new"] == {"status": "skipped", "reason": "age is empty"}
    assert changed["3"]["new"] is None
    assert (found.old, found.new, found.both, found.all) == (4, 4, 3, 5)


def test_another_input_of_the_same_id_is_told(differ):
    found, changed = differ([decision(0)], [decision(0, sha="1" * 64)])
    assert (found.other_input, changed) == (1, {})


def test_words_are_compared_by_name_and_superpixels_by_number_on_the_same_map(differ):
    told = envelope("text", names=None)
    one, other = decision(0, part("win", 3, 0.5, 0.1)), decision(0, part("win", 7, -0.5, 0.1))
    assert kinds(differ([one], [other], told)[1]) == {"0": ["sign", "weight"]}
    in_order = envelope("text", names=None, bow=False)
    assert differ([one], [other], in_order)[1] == {}
    told = envelope("image", names=None)
    rows = [{**decision(0, part("superpixel 3", 3, w, 0.1)), "segmentation": {"map": name}}
            for w, name in ((0.5, "x"), (-0.5, "x"), (-0.5, "y"))]  # fmt: skip
    assert kinds(differ(rows[:1], rows[1:2], told)[1]) == {"0": ["sign", "weight"]}
    assert differ(rows[:1], rows[2:], told)[1] == {}


def test_columns_are_matched_by_name_where_the_models_have_others(differ):
    one = [decision(0, part("b", 1, 0.5, 0.1), part("c", 2, 0.4, 0.01))]
    other = [decision(0, part("b", 0, 0.5, 0.1), part("c", 1, -0.4, 0.01))]
    found, changed = differ(one, other, envelope(), envelope(names=("b", "c")))
    assert [item["feature"] for item in changed["0"]["sign"]] == ["c"]
    assert [item["what"] for item in found.differences] == ["model feature names"]


# Audits that do not match


def test_audits_of_other_kinds_or_tasks_are_refused(differ):
    with pytest.raises(UsageError, match="kind"):
        differ([], [], envelope("text"), envelope("image"))
    with pytest.raises(UsageError, match="regression"):
        differ([], [], envelope(), envelope(task="regression"))


def test_what_differs_in_the_first_lines_is_told(differ):
    other = envelope(seed=7)
    other["model"]["sha256"] = "1" * 64
    other["model"]["path"] = other["model"]["name"] = "other.pkl"
    other["provenance"]["versions"] = {"numpy": "2.1"}
    found, _ = differ([], [], told_new=other)
    assert [(item["what"], item["new"]) for item in found.differences] == [
        ("model sha256", "1" * 64), ("settings seed", 7), ("version of numpy", "2.1"),
    ]  # fmt: skip


def test_an_unfinished_audit_is_told(differ):
    found, _ = differ([decision(0)], [decision(0)], end=False)
    assert "no end line" in found.notes[0]
    assert found.both == 1


@pytest.mark.parametrize("seed", range(3))
def test_decisions_are_matched_by_id_and_occurrence_in_any_order(differ, seed):
    rng = np.random.default_rng(seed)
    names = rng.integers(0, 40, 60).tolist()  # ids come up to several times
    old = [decision(name, value=place) for place, name in enumerate(names)]
    order = rng.permutation(60)[: 60 - seed]
    new = [old[place] for place in order] + [decision(f"new {i}") for i in range(seed)]
    found, _ = differ(old, new)
    assert (found.old, found.new, found.both) == (60, 60, 60 - seed)
    assert found.counts["missing"] == 2 * seed


def test_the_nth_decision_of_an_id_meets_the_nth(tmp_path):
    def values(*shown):
        return [decision(name, value=value) for name, value in shown]

    one = written(tmp_path / "old.jsonl", envelope(), values((5, 0.1), (6, 0.2), (5, 0.3)))
    other = written(tmp_path / "new.jsonl", envelope(), values((6, 9.2), (5, 9.1), (5, 9.3),
                                                               (5, 9.4)))  # fmt: skip
    with closing(AuditFile(str(one))) as old, closing(AuditFile(str(other))) as new:
        met = [[side and side["prediction"][0]["value"] for side in pair]
               for pair in pairs(old, new)]  # fmt: skip
    assert met == [[0.1, 9.1], [0.2, 9.2], [0.3, 9.3], [None, 9.4]]


@pytest.mark.parametrize("change", [
    lambda item: item.pop("labels"), lambda item: item.update(prediction=[]),
    lambda item: item.update(id=7), lambda item: item["labels"][0].update(attributions=[3]),
    lambda item: item["labels"][0].update(replicates="AAA=", interval="replicates"),
    lambda item: item["labels"][0]["attributions"][0].pop("rank"),
])  # fmt: skip
@pytest.mark.parametrize("side", [0, 1])
def test_a_line_that_is_no_decision_is_an_error(differ, change, side):
    sides = [[decision(0, part("a", 0, 0.5, 0.1))] for _ in range(2)]
    change(sides[side][0])
    with pytest.raises(ReportError, match="not a decision as limecli writes it"):
        differ(*sides)


def test_memory_stays_flat_and_orders_cost_a_few_dozen_bytes(tmp_path):
    def peak(count, reverse):
        rows = [decision(i, part("a", 0, 0.5, 0.1)) for i in range(count)]
        one = written(tmp_path / "old.jsonl", envelope(), rows)
        other = written(tmp_path / "new.jsonl", envelope(), rows[::-1] if reverse else rows)
        del rows
        tracemalloc.start()
        try:
            found, _ = compared(one, other)
            assert found.both == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10, True)
    small, large = peak(600, False), peak(2400, False)
    assert large < small + 20_000
    assert peak(2400, True) < peak(600, True) + 1800 * 64
