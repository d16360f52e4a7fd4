"""A flip is what the model says of exactly the values, words or superpixels reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier

from limecli.errors import PredictError, UsageError
from limecli.explainers.flips import Flipper
from limecli.explainers.protected import protected_columns
from limecli.inputs.background import continuous_column
from limecli.neighborhood.lime_stream import draw_bins, draw_normals, draw_words, generator
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.types import (
    Attribution,
    Change,
    Column,
    Explanation,
    Instance,
    LimeSettings,
    Neighborhood,
    Predictor,
    Score,
    Surrogate,
)
from tests.explainers.strategies import searching


def two(score):
    """A model of two labels, its second label's chance a logistic function of a score."""

    def predict(rows):
        chance = 1 / (1 + np.exp(-np.asarray(score(rows), float)))
        return np.column_stack([1 - chance, chance])

    return predict


def number(name, values, discretizer="quartile"):
    values = np.asarray(values, float)
    mean, scale = float(np.nanmean(values)), float(np.nanstd(values)) or 1.0
    return continuous_column(name, values, discretizer, mean, scale, None)


def category(name, categories):
    n = len(categories)
    return Column(name, categories, tuple(map(float, range(n))), (1 / n,) * n, 0.0, 1.0)


def explanation(instance, answer, labels, names, neighborhood, weights=()):
    surrogates = tuple(
        Surrogate(
            names[i], i, 0.0, 0.0, float(answer[i]), None,
            tuple(Attribution(f"{j}", j, None, None, w, 1) for j, w in enumerate(weights)),
        )
        for i in labels
    )  # fmt: skip
    order = np.argsort(-answer, kind="stable").tolist()
    scores = tuple(Score(names[i], i, float(answer[i])) for i in order)
    return Explanation(instance, scores, 100, surrogates, neighborhood=neighborhood)


class Table:
    """Rows of a table with a shared neighborhood, as the engine makes them."""

    def __init__(self, columns, predict, names=("no", "yes"), n=2000, **settings):
        task = "regression" if len(names) == 1 else "classification"
        self.columns, self.calls = columns, []
        self._predict, self.names = predict, names
        predictor = Predictor(self.predict, task, names, "m.pkl", None, "pickle", "Model")
        asked = LimeSettings("tabular", **{"flips": 1, "discretizer": "quartile", **settings})
        self.binned = asked.discretizer != "none"
        self.space, rng = TabularSpace(columns), generator(0)
        draws = draw_bins(rng, self.space, n) if self.binned else draw_normals(rng, self.space, n)
        draws.rows[0] = draws.rows[1]
        self.draws, self.outputs = draws, np.asarray(predict(draws.rows), float)
        self.flipper = Flipper(predictor, asked, columns)

    def predict(self, rows):
        self.calls.append(len(rows))
        return np.asarray(self._predict(rows), float)

    def explained(self, values, labels=None, weights=()):
        payload = np.array([
            np.nan if value is None and column.continuous
            else value if column.continuous else column.categories.index(value)
            for column, value in zip(self.columns, values, strict=True)
        ], float)  # fmt: skip
        answer = np.asarray(self._predict(payload[None]), float)[0]

        def interpretable():
            if self.binned:
                z = self.space.matches(self.draws.codes, self.space.codes(payload[None])[0])
                z[:, 0] = True
                return z, np.exp(-(len(z) - z.sum(axis=0)) / 10)
            scaled = ((self.draws.rows - self.space.means) / self.space.scales).T
            return scaled, np.exp(-((scaled - scaled[:, :1]) ** 2).sum(axis=0))

        near = Neighborhood(self.draws.rows, self.outputs, payload, self.predict, interpretable)
        instance = Instance("0", 0, "tabular", payload, "0", values=tuple(values))
        chosen = [int(answer.argmax())] if labels is None else labels
        return explanation(instance, answer, chosen, self.names, near, weights)

    def flips(self, values, labels=None, weights=()):
        """The flips of the first surrogate, each as {feature: (before, after)}, checked."""
        found = self.flipper.found([self.explained(values, labels, weights)])[0]
        for surrogate in found.surrogates:
            for flip in surrogate.flips:
                self.check(values, flip)
        return [
            {change.feature: (change.before, change.after) for change in flip.changes}
            for flip in found.surrogates[0].flips
        ]

    def row(self, values, changes):
        """The row with changes, as the model takes it, from what is reported alone."""
        cells = list(values)
        for change in changes:
            assert self.columns[change.index].name == change.feature
            assert cells[change.index] == change.before
            cells[change.index] = change.after
        return self.explained(cells).neighborhood.origin

    def check(self, values, flip):
        answer = self._predict(self.row(values, flip.changes)[None])[0]
        assert flip.to == self.names[flip.index]
        assert answer[flip.index] == flip.value
        assert answer.argmax() == flip.index


RNG = np.random.default_rng(0)
UNIFORM = RNG.uniform(0, 10, 500)
WHOLE = RNG.integers(0, 20, 500)


def test_a_threshold_is_found_from_either_side():
    columns = tuple(number(name, UNIFORM) for name in "abc")
    table = Table(columns, two(lambda rows: rows[:, 1] - 4.0))
    (up,) = table.flips([1.5, 1.5, 1.5])
    assert up == {"b": (1.5, pytest.approx(4.05, abs=0.05))}
    (down,) = table.flips([1.5, 9.5, 1.5])
    assert down == {"b": (9.5, pytest.approx(3.9, abs=0.1))}


def test_a_flip_within_the_own_bin_is_found():
    """Equal bins are put back first; where nothing is left of the flip they are not."""
    columns = (number("a", UNIFORM), category("c", ("x", "y")))
    table = Table(columns, two(lambda rows: 1.0 - 50 * np.abs(rows[:, 0] - 1.5)))
    (flip,) = table.flips([1.4, "x"])
    assert flip == {"a": (1.4, pytest.approx(1.482, abs=0.002))}


def test_categories_and_whole_numbers_keep_their_kind():
    columns = (category("job", ("baker", "clerk", "pilot")), number("years", WHOLE))
    pilots = Table(columns, two(lambda rows: np.where(rows[:, 0] == 2, 9, -9)))
    assert pilots.flips(["baker", 5]) == [{"job": ("baker", "pilot")}]
    years = Table(columns, two(lambda rows: rows[:, 1] - 12.5))
    for before, after in ((5, 13), (19, 12)):
        (flip,) = years.flips(["clerk", before])
        assert flip == {"years": (before, after)}
        assert type(flip["years"][1]) is int


def test_a_whole_number_among_fractions_may_change_to_one():
    columns = (number("a", UNIFORM),)
    (flip,) = Table(columns, two(lambda rows: rows[:, 0] - 4.25)).flips([2])
    assert 4.25 < flip["a"][1] < 4.4


@pytest.mark.parametrize("immutable", [("b",), ("b", "c")])
def test_immutable_columns_never_change(immutable):
    columns = tuple(number(name, UNIFORM) for name in "abc")
    model = two(lambda rows: 2 * rows[:, 1] + rows[:, 2] + rows[:, 0] - 11)
    for flip in Table(columns, model, immutable=immutable, flips=3).flips([1.5, 1.5, 1.5]):
        assert flip.keys() <= set("abc") - set(immutable)
    table = Table(columns, model, immutable=("a", "b", "c"))
    assert table.flips([1.5, 1.5, 1.5]) == []
    assert table.calls == []


def test_an_immutable_column_must_be_there():
    with pytest.raises(UsageError, match="--immutable d: the model has no such column"):
        Table((number("a", UNIFORM),), two(lambda rows: rows[:, 0]), immutable=("d",))


def test_missing_is_what_a_value_becomes_only_where_nothing_else_flips():
    gaps = np.where(RNG.random(500) < 0.3, np.nan, UNIFORM)
    columns = (number("a", gaps), category("c", ("x", "y", None)), number("b", UNIFORM))

    def lacking(rows):
        return np.isnan(rows[:, 0]) | (rows[:, 1] == 2)

    either = Table(columns, two(lambda rows: np.where(lacking(rows) | (rows[:, 2] > 8), 1, -1)))
    (flip,) = either.flips([1.5, "x", 1.5])
    assert flip == {"b": (1.5, pytest.approx(8.05, abs=0.06))}
    (flip,) = Table(columns, two(lambda rows: np.where(lacking(rows), 1, -1))).flips([1.5, "x", 1])
    assert flip in ({"a": (1.5, None)}, {"c": ("x", None)})
    (flip,) = Table(columns, two(lambda rows: np.where(np.isnan(rows[:, 0]), 1, -1))).flips(
        [None, "x", 1]
    )
    assert flip.keys() == {"a"}
    assert flip["a"][0] is None


def test_values_stay_in_the_bins_that_occur_though_the_row_lies_outside():
    columns = (number("a", UNIFORM), number("b", UNIFORM))
    low, high = UNIFORM.min(), UNIFORM.max()
    table = Table(columns, two(lambda rows: 5.0 - rows[:, 0]))
    (flip,) = table.flips([99.5, 1.5])
    assert low <= flip["a"][1] <= high
    beyond = Table(columns, two(lambda rows: 11.0 + rows[:, 0]))
    assert beyond.flips([-20.0, 1.5])[0]["a"][1] <= high
    assert Table(columns, two(lambda rows: rows[:, 0] - 11)).flips([1.5, 1.5]) == []


@pytest.mark.parametrize("discretizer", ["quartile", "none"])
def test_three_classes_flip_to_another_or_to_the_one_asked_for(discretizer):
    columns = tuple(number(name, UNIFORM, discretizer) for name in "abc")

    def model(rows):
        raised = np.exp(rows[:, :3] - rows[:, :3].max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    table = Table(columns, model, ("A", "B", "C"), discretizer=discretizer)
    found = table.flipper.found([table.explained([7.5, 5.5, 2.5], labels=[0, 1, 2])])[0]
    away, to_b, to_c = (surrogate.flips[0] for surrogate in found.surrogates)
    assert away.to in ("B", "C")
    assert (to_b.to, to_c.to) == ("B", "C")
    for flip in (away, to_b, to_c):
        table.check([7.5, 5.5, 2.5], flip)
    assert found.model_calls == 100 + sum(table.calls)
    assert {surrogate.flip_samples for surrogate in found.surrogates} == {2000}


def test_both_labels_of_two_have_the_same_flips_at_one_cost():
    columns = tuple(number(name, UNIFORM) for name in "ab")
    table = Table(columns, two(lambda rows: rows[:, 0] - 4.0))
    alone = table.flipper.found([table.explained([1.5, 1.5])])[0]
    both = table.flipper.found([table.explained([1.5, 1.5], labels=[0, 1])])[0]
    assert both.surrogates[0].flips == both.surrogates[1].flips == alone.surrogates[0].flips
    assert both.model_calls == alone.model_calls


@pytest.mark.parametrize(("row", "upward"), [([1.5, 1.5], True), ([9.5, 9.5], False)])
def test_a_regression_crosses_the_threshold(row, upward):
    columns = tuple(number(name, UNIFORM) for name in "ab")

    def model(rows):
        return (1e6 * rows[:, 0] + rows[:, 1])[:, None]

    table = Table(columns, model, ("price",), flip_threshold=5e6)
    (flip,) = table.flipper.found([table.explained(row)])[0].surrogates[0].flips
    assert (flip.to, flip.index) == ("price", 0)
    assert flip.value == model(table.row(row, flip.changes)[None])[0, 0]
    assert [change.feature for change in flip.changes] == ["a"]
    assert 5e6 <= flip.value < 5.3e6 if upward else 4.7e6 < flip.value < 5e6


def test_nobody_looks_without_a_threshold_a_count_or_a_neighborhood():
    columns = (number("a", UNIFORM),)
    regression = Table(columns, lambda rows: rows, ("value",))
    none = Table(columns, two(lambda rows: rows[:, 0] - 5), flips=None)
    zero = Table(columns, two(lambda rows: rows[:, 0] - 5), flips=0)
    for table in (regression, none, zero):
        asked = [table.explained([1.5])]
        assert table.flipper.found(asked) == asked
        assert table.calls == []
    table = Table(columns, two(lambda rows: rows[:, 0] - 5))
    bare = replace(table.explained([1.5]), neighborhood=None)
    found = table.flipper.found([bare, table.explained([1.5])])
    assert found[0] == bare
    assert found[0].surrogates[0].flips is None
    assert len(found[1].surrogates[0].flips) == 1


def test_a_constant_model_has_no_flip_among_its_samples():
    table = Table((number("a", UNIFORM),), two(lambda rows: np.zeros(len(rows)) - 1))
    surrogate = table.flipper.found([table.explained([1.5])])[0].surrogates[0]
    assert (surrogate.flips, surrogate.flip_samples) == ((), 2000)


def test_where_no_sample_crosses_the_strongest_features_are_tried_together():
    """Each sample that lowers one thing raises another; the surrogate knows which."""
    columns = tuple(number(name, UNIFORM) for name in "abcdefgh")

    def score(rows):
        return np.where((rows[:, :3].min(axis=1) > 1) & (rows[:, 3:].max(axis=1) < 1), 5.0, -5.0) \
            + rows[:, :3].sum(axis=1) / 1e3  # fmt: skip

    table = Table(columns, two(score))
    assert not (table.outputs[:, 1] > 0.5).any()
    weights = [1.0, 1.0, 1.0, 0, 0, 0, 0, 0]
    (flip,) = table.flips([0.5] * 8, weights=weights)
    assert flip.keys() == {"a", "b", "c"}


def test_many_rows_have_the_flips_that_each_has_alone_in_a_few_dozen_calls():
    data = load_breast_cancer()
    model = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(data.data, data.target)
    columns = tuple(number(str(name), data.data[:, j]) for j, name in enumerate(data.feature_names))
    table = Table(columns, model.predict_proba)
    rows = [[float(x) for x in row] for row in data.data[:200]]
    together = table.flipper.found([table.explained(row) for row in rows])
    assert len(table.calls) < 40 + 64  # 64 flips are asked for alone, once for all
    assert all(len(found.surrogates[0].flips) == 1 for found in together)
    assert np.mean([found.model_calls - 100 for found in together]) < 4 * 30
    for row, found in zip(rows[:20], together, strict=False):
        alone = table.flipper.found([table.explained(row)])[0]
        assert alone.surrogates == found.surrogates
        assert alone.model_calls == found.model_calls
        table.check(row, found.surrogates[0].flips[0])


def test_a_row_that_the_model_refuses_changed_has_no_flips_and_says_why():
    columns = tuple(number(name, UNIFORM) for name in "ab")
    table = Table(columns, two(lambda rows: rows[:, 0] - 5))
    good, bad = table.explained([1.5, 1.5]), table.explained([1.5, 3.25])
    answered = table._predict

    def refusing(rows):
        if (rows[:, 1] == 3.25).any():
            raise PredictError("the model is tired")
        return answered(rows)

    table._predict = refusing
    found = table.flipper.found([good, bad])
    assert len(found[0].surrogates[0].flips) == 1
    assert found[0].notes == ()
    assert found[1].surrogates[0].flips is None
    assert found[1].notes == ("what would flip it is unknown: the model is tired",)


@searching(60)
@given(seed=st.integers(0, 10**9), discretizer=st.sampled_from(["quartile", "none"]))
def test_whatever_is_reported_holds_and_needs_each_change(seed, discretizer):
    rng = np.random.default_rng(seed)
    columns, values, whole = [], [], set()
    for j in range(int(rng.integers(1, 6))):
        kind = rng.integers(0, 4 if discretizer == "quartile" else 3)
        if kind == 0:
            columns.append(category(f"c{j}", ("x", "y", "z")))
            values.append(str(rng.choice(["x", "y", "z"])))
            continue
        data = rng.integers(0, 6, 200) if kind == 1 else rng.normal(size=200) * 10.0 ** (j - 2)
        data = np.where(rng.random(200) < 0.2, np.nan, data) if kind == 3 else data
        columns.append(number(f"n{j}", data, discretizer))
        whole |= {f"n{j}"} if kind == 1 else set()
        value = data[rng.integers(0, 200)]
        values.append(None if np.isnan(value) else int(value) if kind == 1 else float(value))
    weights = rng.normal(size=len(columns))
    scales = np.array([column.scale for column in columns])
    split = rng.normal()

    def score(rows):
        filled = np.nan_to_num(rows, nan=0.5) / scales
        return (filled * weights).sum(axis=1) - split + (filled[:, 0] > 0.5)

    table = Table(tuple(columns), two(score), n=300, discretizer=discretizer, flips=2)
    (surrogate,) = table.flipper.found([table.explained(values)])[0].surrogates
    for flip in surrogate.flips:
        table.check(values, flip)
        assert flip.to != surrogate.label
        for change in flip.changes:
            column = table.columns[change.index]
            if column.continuous and change.after is not None:
                assert min(column.mins) <= change.after <= max(column.maxs)
                if column.name in whole and type(change.before) is int:
                    assert type(change.after) is int
            rest = [other for other in flip.changes if other is not change]
            answer = table._predict(table.row(values, rest)[None])[0]
            assert answer[flip.index] < 0.5 + 1e-4


def masked(kind, origin_of, predict, samples, names, flips=1, settings=None):
    """Explanations whose samples are masks."""
    outputs = np.asarray(predict(samples), float)
    settings = settings or LimeSettings(kind, flips=flips)

    def interpretable():
        return samples.T, np.exp(-(~samples).sum(axis=1) / 5)

    near = Neighborhood(samples, outputs, np.ones(samples.shape[1], bool), predict, interpretable)
    predictor = Predictor(predict, "classification", names, "m", None, "pickle", "Model")
    flipper = Flipper(predictor, settings, None)
    asked = explanation(origin_of, outputs[0], [int(outputs[0].argmax())], names, near)
    (found,) = flipper.found([asked])
    return found.surrogates[0].flips


def text(words):
    return Instance("0", 0, "text", words, "0")


def test_the_word_that_decides_is_taken_out():
    words = "this was an awful film with a cast that was good and a fine score"
    distinct = list(dict.fromkeys(words.split()))
    awful = distinct.index("awful")

    def predict(kept):
        assert kept.dtype == np.bool_
        return two(lambda kept: kept[:, awful] * 2.0 - 1.0)(kept)

    kept = draw_words(generator(0), len(distinct), 500)
    (flip,) = masked("text", text(words), predict, kept, ("good", "bad"))
    assert flip.to == "good"
    assert flip.changes == (Change("awful", awful, "awful", None),)


def test_without_a_bag_of_words_each_place_is_a_feature():
    settings = LimeSettings("text", flips=2, bow=False, mask_string="UNKWORDZ")
    kept = draw_words(generator(0), 4, 200)
    predict = two(lambda kept: (kept[:, 1] & kept[:, 3]) * 2.0 - 1.0)
    flips = masked("text", text("very bad very bad"), predict, kept, ("a", "b"), 2, settings)
    assert sorted(flip.changes[0].index for flip in flips) == [1, 3]
    assert {change.feature for flip in flips for change in flip.changes} == {"bad"}


def test_the_fewest_superpixels_are_hidden():
    rng = np.random.default_rng(0)
    shown = rng.random((600, 60)) < 0.5
    shown[0] = True
    weights = np.zeros(60)
    weights[[3, 30, 44]] = [3.0, 2.0, 2.0]
    predict = two(lambda shown: shown @ weights - 2.5)
    picture = Instance("0", 0, "image", np.zeros((2, 2, 3), np.uint8), "0")
    (flip,) = masked("image", picture, predict, shown, ("cat", "dog"))
    assert flip.to == "cat"
    assert len(flip.changes) == 2
    assert flip.changes[0] == Change("superpixel 3", 3, "shown", "hidden")


@pytest.mark.parametrize("name", [
    "age", "AGE", "Age at entry", "personAge", "age_years", "sex", "Gender", "is.male", "race",
    "ethnic-group", "ethnicity", "Religion", "nationality", "native-country", "nativecountry",
    "NativeCountry", "country of birth", "citizenship", "disability_status", "marital.status",
    "maritalStatus", "Pregnancies", "sexualOrientation", "skin_colour", "skin color", "AGEGroup",
    "date_of_birth", "DOB", "foreign_worker",
])  # fmt: skip
def test_protected_names(name):
    assert protected_columns(["x", name]) == (name,)


@pytest.mark.parametrize("name", [
    "page", "average", "mileage", "stage", "agent", "trace", "racer", "sextant", "color", "status",
    "country", "native", "orientation", "embrace", "usage_sum", "péage", "damage", "", "x1",
    "birthmark", "skin thickness",
])  # fmt: skip
def test_other_names(name):
    assert protected_columns([name]) == ()
