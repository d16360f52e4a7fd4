"""Protected columns: rates, weights and stand-ins, each with its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from limecli.audit.gates import Gates
from limecli.audit.summary import Summary
from limecli.audit.summary.association import cramers_v, interval_of_v
from limecli.audit.summary.proportions import newcombe, of_difference, of_mean, wilson
from limecli.audit.summary.protected import NOT_RECEIVED, NOT_SEEN, Groups
from tests.audit.made_records import envelope, label, record, skipped

NAMES = ("sex", "job", "noise")
YES, NO = (("yes", 1, 0.9), ("no", 0, 0.1)), (("no", 0, 0.8), ("yes", 1, 0.2))


def decision(sex, says=YES, weights=None, bins=(0, 0, 0), index=1, **own):
    name = {1: "yes", 0: "no"}[index]
    one = label({0: 0.1, 1: 0.2} if weights is None else weights, index, name, names=NAMES, **own)
    return record(one, scores=says, groups={"sex": sex}, bins=list(bins))


def protected(records, **own):
    groups = Groups(envelope(features=NAMES, **{"protected": ["sex"], **own}))
    for one in records:
        groups.add(one)
    return groups.content()


def group(column, value):
    return next(one for one in column["groups"] if one["value"] == value)


def weight(column, value, name="yes"):
    return next(one for one in column["weights"] if (one["value"], one["label"]) == (value, name))


# -- intervals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
     (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilson_as_newcombe_published_it(count, of, low, high):
    assert wilson(count, of) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(of - count, of)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090),
     ((5, 56), (0, 29), -0.0381, 0.1926), ((10, 10), (0, 10), 0.6075, 1.0)],
)  # fmt: skip
def test_differences_as_newcombe_published_them(one, other, low, high):
    assert newcombe(one, other) == pytest.approx((low, high), abs=5e-5)


def test_means_and_their_differences_are_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 1, 40), rng.normal(2, 3, 25)
    moments = [(x.mean(), x.var(ddof=1), len(x)) for x in (a, b)]
    expected = stats.t.interval(0.95, 39, a.mean(), stats.sem(a))
    assert of_mean(*moments[0]) == pytest.approx(expected)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert of_difference(*moments) == pytest.approx((welch.low, welch.high))
    assert of_mean(1.0, float("nan"), 1) == (None, None)


# -- association -----------------------------------------------------------------------------------


def test_association_of_copies_is_one_and_of_constants_nothing():
    assert cramers_v(np.diag([30, 20, 50])) == pytest.approx(1.0)
    wide = np.zeros((40, 2), np.int64)
    wide[np.arange(40), np.arange(40) % 2] = 5
    assert cramers_v(wide) == pytest.approx(1.0)  # one way is enough
    assert cramers_v(np.array([[10, 20]])) is None
    assert interval_of_v(np.array([[10], [20]])) is None
    assert cramers_v(np.array([[1, 0], [0, 1], [1, 0]])) is None  # as many codes as rows
    assert cramers_v(np.array([[10, 20], [20, 40]])) == 0.0


def test_association_of_two_binary_columns_is_phi_of_their_correlation():
    table = np.array([[4000, 1000], [1500, 3500]])
    a = np.repeat([0, 0, 1, 1], table.ravel())
    b = np.repeat([0, 1, 0, 1], table.ravel())
    assert cramers_v(table) == pytest.approx(abs(np.corrcoef(a, b)[0, 1]), abs=2e-4)


@pytest.mark.parametrize(
    ("rows", "columns", "strength", "n"),
    [(2, 2, 0.0, 300), (2, 2, 0.5, 300), (2, 2, 0.95, 1000), (4, 2, 0.1, 1000), (5, 6, 0.3, 2000),
     (30, 3, 0.0, 1000), (30, 3, 0.5, 1000), (30, 3, 0.9, 20_000)],
)  # fmt: skip
def test_intervals_of_association_cover(rows, columns, strength, n):
    rng = np.random.default_rng(7)
    apart = np.outer(rng.dirichlet(np.full(rows, 9.0)), rng.dirichlet(np.full(columns, 9.0)))
    tied = np.zeros((rows, columns))
    tied[np.arange(rows), np.arange(rows) % columns] = 1 / rows
    p = (1 - strength) * apart + strength * tied
    expected = np.outer(p.sum(axis=1), p.sum(axis=0))
    truth = np.sqrt(((p - expected) ** 2 / expected).sum() / (min(rows, columns) - 1))
    covered, estimates = 0, []
    for _ in range(400):
        table = rng.multinomial(n, p.ravel()).reshape(rows, columns)
        low, high = interval_of_v(table)
        covered += low - 1e-9 <= truth <= high + 1e-9
        estimates.append(cramers_v(table))
    assert covered / 400 >= 0.92
    assert np.sqrt(np.mean(np.square(estimates))) == pytest.approx(truth, abs=0.06)


# -- groups ----------------------------------------------------------------------------------------


def test_rates_by_group_and_their_differences():
    records = [decision("m", YES)] * 56 + [decision("m", NO)] * 14
    records += [decision("f", YES)] * 48 + [decision("f", NO)] * 32 + [decision(None, YES)] * 5
    (column,) = protected(records)
    assert [(one["value"], one["decisions"]) for one in column["groups"]] == [
        ("f", 80), ("m", 70), ("(missing)", 5),
    ]  # fmt: skip
    yes = group(column, "m")["outcomes"]["yes"]
    assert (yes["decisions"], yes["rate"]) == (56, 0.8)
    assert (yes["low"], yes["high"]) == wilson(56, 70)
    apart = column["differences"][0]
    assert (apart["value"], apart["reference"]) == ("m", "f")
    assert apart["outcomes"]["yes"]["difference"] == pytest.approx(0.2)
    ends = apart["outcomes"]["yes"]["low"], apart["outcomes"]["yes"]["high"]
    assert ends == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_outputs_of_a_regression_have_means():
    rng = np.random.default_rng(1)
    outputs = {"m": rng.normal(1e9, 1, 30), "f": rng.normal(1e9 + 2, 3, 50)}
    records = [
        record(label({0: 1.0}, 0, "price", names=NAMES), scores=(("price", 0, y),),
               groups={"sex": sex}, bins=[0, 0, 0])
        for sex in outputs for y in outputs[sex]
    ]  # fmt: skip
    made = envelope(task="regression", classes=("price",), features=NAMES, protected=["sex"])
    groups = Groups(made)
    for one in records:
        groups.add(one)
    (column,) = groups.content()
    found = group(column, "m")["outcomes"]["price"]
    low, high = stats.t.interval(0.95, 29, outputs["m"].mean(), stats.sem(outputs["m"]))
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-5, rel=0)
    apart = column["differences"][0]["outcomes"]["price"]
    welch = stats.ttest_ind(outputs["m"], outputs["f"], equal_var=False).confidence_interval()
    assert (apart["low"], apart["high"]) == pytest.approx((welch.low, welch.high), abs=1e-5, rel=0)


def test_share_of_decisions_that_show_the_column():
    records = [decision("m")] * 30 + [decision("m", weights={1: 0.2})] * 10
    (column,) = protected(records)
    low, high = wilson(30, 40)
    assert column["top"] == {"decisions": 30, "share": 0.75, "low": low, "high": high}
    assert column["top_reason"] is None


def test_a_column_that_the_model_does_not_receive_has_rates_and_stand_ins_only():
    rng = np.random.default_rng(2)
    records = []
    for i in range(600):
        race = "ab"[i % 2]
        one = decision("m", bins=[0, i % 2, int(rng.integers(4))])
        records.append({**one, "groups": {"race": race}})
    (column,) = protected(records, protected=["race"])
    assert (column["top"], column["top_reason"]) == (None, NOT_RECEIVED)
    assert column["weights"] == []
    assert column["stand_ins"][0]["feature"] == "job"
    assert column["stand_ins"][0]["association"] == pytest.approx(1.0)
    assert [one["feature"] for one in column["stand_ins"]] == ["job", "noise"]
    assert column["stand_ins"][1]["low"] == 0.0


def test_weights_are_means_over_the_group_towards_the_second_class():
    records = [
        decision("m", weights={0: 0.3, 1: 0.1}),
        decision("m", weights={1: 0.1}),  # not shown: 0
        decision("f", weights={0: 0.5}, says=NO, index=0),  # for "no": against "yes"
        decision("f", weights={0: 0.1}, says=YES),
    ]
    (column,) = protected(records)
    m, f = weight(column, "m"), weight(column, "f")
    assert (m["decisions"], m["mean"]) == (2, pytest.approx(0.15))
    assert (m["low"], m["high"]) == (m["mean"], m["mean"])
    assert f["mean"] == pytest.approx((-0.5 + 0.1) / 2)
    assert column["weights_unknown"] == 0


def test_independent_labels_say_nothing_of_each_other():
    says = (("no", 0, 0.8), ("yes", 1, 0.7))  # several may be true at once
    (column,) = protected([decision("m", says, index=0), decision("m")])
    assert weight(column, "m")["decisions"] == 1
    assert column["weights_unknown"] == 1


def test_margins_of_two_classes_do():
    says = (("no", 0, 3.5), ("yes", 1, -3.5))
    (column,) = protected([decision("m", says, {0: 0.4}, index=0)])
    assert weight(column, "m")["mean"] == pytest.approx(-0.4)


def test_intervals_of_weights_are_across_replicates():
    rng = np.random.default_rng(3)
    each = rng.normal(0.4, 0.1, (6, 8))
    records = [
        decision("m", NO if i % 2 else YES, {0: (-1) ** i * float(one.mean())}, index=(i + 1) % 2,
                 replicates=(-1) ** i * one[:, None])
        for i, one in enumerate(each)
    ]  # fmt: skip
    (column,) = protected(records)
    found = weight(column, "m")
    means = each.mean(axis=0)
    low, high = stats.t.interval(0.95, 7, means.mean(), stats.sem(means))
    assert found["mean"] == pytest.approx(means.mean())
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-6)


def test_of_several_classes_each_label_has_its_weights():
    classes = ("a", "b", "c")
    made = envelope(classes=classes, features=NAMES, protected=["sex"])
    groups = Groups(made)
    scores = (("c", 2, 0.5), ("a", 0, 0.3), ("b", 1, 0.2))
    for w in (0.1, 0.3):
        labels = (label({0: w}, 2, "c", names=NAMES), label({0: -w}, 0, "a", names=NAMES))
        groups.add(record(*labels, scores=scores, groups={"sex": "m"}, bins=[0, 0, 0]))
    (column,) = groups.content()
    assert weight(column, "m", "c")["mean"] == pytest.approx(0.2)
    assert weight(column, "m", "a")["mean"] == pytest.approx(-0.2)


def test_classes_of_one_name_tell_their_index():
    groups = Groups(envelope(classes=("x", "x"), features=NAMES, protected=["sex"]))
    for index in (0, 1):
        scores = (("x", index, 0.9), ("x", 1 - index, 0.1))
        groups.add(record(label({0: 1.0}, index, "x", names=NAMES), scores=scores,
                          groups={"sex": "m"}, bins=[0, 0, 0]))  # fmt: skip
    (column,) = groups.content()
    assert set(group(column, "m")["outcomes"]) == {"x (index:0)", "x (index:1)"}


def test_stand_ins_have_weights_from_the_audit_and_leave_out_masked_columns():
    made = envelope(features=(*NAMES, "hidden"), protected=["sex"], mask=["hidden"])
    found = Summary(made, Gates())
    for i in range(400):
        one = decision("mf"[i % 2], weights={0: 0.1, 1: 0.25}, bins=[i % 2, i % 2, i % 3])
        found.add({**one, "bins": [*one["bins"], None]})
    found.add(skipped("bad"))
    (column,) = found.content()["protected"]
    first, second = column["stand_ins"]
    assert first["feature"] == "job"
    assert first["mean_abs_weight"] == first["weight_low"] == pytest.approx(0.25)
    assert first["association"] == pytest.approx(1.0)
    assert first["low"] > 0.95
    assert (second["feature"], second["mean_abs_weight"]) == ("noise", 0.0)
    assert second["rows"] == 400


def test_at_most_ten_stand_ins():
    rng = np.random.default_rng(4)
    names = [f"f{i}" for i in range(30)]
    groups = Groups(envelope(features=names, protected=["sex"]))
    for _ in range(300):
        one = record(label({0: 0.1}, names=names), groups={"sex": "mf"[rng.integers(2)]},
                     bins=rng.integers(0, 3, 30).tolist())  # fmt: skip
        groups.add(one)
    (column,) = groups.content()
    found = [one["association"] for one in column["stand_ins"]]
    assert len(found) == 10
    assert found == sorted(found, reverse=True)


# -- groups of many values -------------------------------------------------------------------------


def test_values_beyond_fifty_are_pooled():
    rng = np.random.default_rng(5)
    values = [f"v{i % 10}" for i in range(900)] + [f"rare{rng.integers(500)}" for _ in range(2000)]
    (column,) = protected([decision(value) for value in values])
    assert len(column["groups"]) == 51
    assert column["groups"][-1]["value"] == "(other)"
    assert sum(one["decisions"] for one in column["groups"]) == 2900
    assert column["differences"][-1]["value"] == "(other)"
    assert all(one["reference"] == "v0" for one in column["differences"])


def test_many_numbers_become_the_bins_of_the_background():
    rng = np.random.default_rng(6)
    ages = rng.integers(18, 80, 1500)
    records = [
        decision(f"{age}", bins=[int(np.searchsorted([30, 40, 60], age)), 0, 0]) for age in ages
    ]
    (column,) = protected([*records, decision(None), decision("old")])
    assert column["grouped_by"] == "bins"
    assert [one["value"] for one in column["groups"]] == [
        "18 to 30", "31 to 40", "41 to 60", "61 to 79", "(not a number)", "(missing)",
    ]  # fmt: skip
    assert column["groups"][0]["decisions"] == int((ages <= 30).sum())


def test_many_numbers_without_bins_become_quarters_of_the_first():
    values = [*range(100)] * 11
    records = [{**decision("m"), "groups": {"zip": str(value)}} for value in values]
    (column,) = protected(records, protected=["zip"])
    assert column["grouped_by"] == "quartiles"
    assert [(one["value"], one["decisions"]) for one in column["groups"]] == [
        ("up to 24", 275), ("> 24 to 49", 275), ("> 49 to 74", 275), ("> 74", 275),
    ]  # fmt: skip


def test_few_numbers_and_numbers_that_are_categories_stay_values():
    few = [{**decision("m"), "groups": {"grade": str(i % 6)}} for i in range(100)]
    (column,) = protected(few, protected=["grade"])
    assert column["grouped_by"] == "values"
    codes = [decision(f"{i % 40}", bins=[i % 40, 0, 0]) for i in range(400)]
    assert protected(codes)[0]["grouped_by"] == "values"


def test_the_sentence_is_there_and_no_verdict():
    made = envelope(features=NAMES, protected=["sex"])
    found = Summary(made, Gates())
    found.add(decision("m"))
    content = found.content()
    sentence = "low weight does not show absence of discrimination: other columns can stand in"
    assert sentence in content["protected"][0]["note"]
    assert any(sentence in note for note in content["notes"])
    told = str(content).lower().replace(sentence, "")
    assert not any(word in told for word in ("fair ", "unfair", "biased", "discriminat"))


def test_without_protected_columns_there_is_nothing():
    assert protected([decision("m")], protected=[]) == []


def test_a_model_that_names_no_columns_is_not_said_to_lack_one():
    made = envelope(features=(), protected=["sex", "race"])
    groups = Groups(made)
    for i in range(40):
        groups.add(decision("mf"[i % 2], bins=[i % 2, i // 2 % 2, 0]))
    sex, race = groups.content()
    assert sex["top"]["share"] == 1.0
    assert weight(sex, "m")["mean"] == pytest.approx(0.1)
    assert {one["feature"] for one in sex["stand_ins"]} <= {"job", "column 2"}
    assert (race["top"], race["top_reason"]) == (None, NOT_SEEN)
