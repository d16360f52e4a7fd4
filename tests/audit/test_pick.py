"""Submodular pick: lime's own class is the oracle, the paper's sentences are the rest."""

from __future__ import annotations

import time
import tracemalloc
import warnings
from contextlib import closing

import numpy as np
import pytest
from lime.lime_tabular import LimeTabularExplainer
from lime.submodular_pick import SubmodularPick
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from limecli.audit.pick import Matrix, greedy, pick
from limecli.errors import ReportError, UsageError
from limecli.report.jsonl import AuditFile
from tests.audit.made import Bed, decision, envelope, numbers, part, skipped, written


def audit(tmp_path, *records, **told):
    return written(tmp_path / "audit.jsonl", envelope(**told), records)


def picked(path, *args, **own):
    with closing(AuditFile(str(path))) as file:
        return pick(file, *args, **own)


def ids(found):
    return [item["id"] for item in found.told]


def conditioned(feature, index, condition, weight, **own):
    return part(feature, index, weight, condition=condition, **own)


def of_lime(explanations):
    """Records of the same explanations, and the matrix that lime makes of them."""
    records, names = [], {}
    for i, found in enumerate(explanations):
        (label,) = found.available_labels()
        parts = [
            conditioned(f"c{j}", int(j), condition, float(weight))
            for (j, weight), (condition, _) in zip(
                found.as_map()[label], found.as_list(label), strict=True
            )
        ]
        records.append(decision(i, *parts))
        for condition, _ in found.as_list(label):
            names.setdefault(condition, len(names))
    matrix = np.zeros((len(records), len(names)))
    for i, found in enumerate(explanations):
        for condition, weight in found.as_list(found.available_labels()[0]):
            matrix[i, names[condition]] += weight
    return records, matrix


def objective(matrix, rows):
    """c(V) of the paper."""
    importance = np.sqrt(np.abs(matrix).sum(axis=0))
    return importance[(np.abs(matrix[list(rows)]) > 0).any(axis=0)].sum()


@pytest.mark.parametrize("seed", range(4))
def test_picks_are_those_of_lime(tmp_path, seed):
    iris = load_iris()
    model = RandomForestClassifier(10, random_state=seed).fit(iris.data, iris.target)
    explainer = LimeTabularExplainer(iris.data, feature_names=iris.feature_names, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SubmodularPick(
            explainer, iris.data[seed::4], model.predict_proba, method="full", num_features=2,
            num_exps_desired=6, num_samples=200,
        )  # fmt: skip
    records, matrix = of_lime(theirs.explanations)
    mine = picked(audit(tmp_path, *records), 6)
    assert mine.saturated() is None or mine.saturated() >= 3
    rows = [choice.row for choice in mine.choices]
    for count in range(1, 7):
        assert objective(matrix, rows[:count]) == pytest.approx(objective(matrix, theirs.V[:count]))
    gains = [objective(matrix, rows[: n + 1]) for n in range(6)]
    everything = objective(matrix, range(len(matrix)))
    assert [choice.covered for choice in mine.choices] == pytest.approx(
        [gain / everything for gain in gains]
    )


def random_matrix(rng, n, d, k, ties):
    matrix = Matrix([f"f{j}" for j in range(d)], [0.0] * d)
    dense = np.zeros((n, d))
    for i in range(n):
        columns = rng.choice(d, rng.integers(0, k + 1), replace=False)
        dense[i, columns] = rng.integers(1, 3, len(columns)) if ties else rng.random(len(columns))
        matrix.add({int(j): dense[i, j] for j in columns}, i)
    return matrix, dense


def naive(dense, count):
    """The paper's algorithm 2 as it stands, the first of equals."""
    chosen = []
    for _ in range(count):
        values = [
            -1.0 if i in chosen else round(objective(dense, [*chosen, i]), 9)
            for i in range(len(dense))
        ]
        chosen.append(int(np.argmax(values)))
    return chosen


@pytest.mark.parametrize("ties", [False, True])
def test_lazy_gains_choose_what_computing_all_of_them_chooses(ties):
    rng = np.random.default_rng(0)
    for _ in range(15):
        matrix, dense = random_matrix(rng, 60, 40, 4, ties)
        importance = np.sqrt(np.array(matrix.sums))
        found = list(greedy(matrix, importance, 8))
        open_ones = [choice.row for choice in found if choice.adds > 0]
        assert open_ones == naive(dense, 8)[: len(open_ones)]
        assert len(open_ones) == 8 or found[len(open_ones)].covered == 1.0


def test_when_all_is_covered_the_largest_weights_follow(tmp_path):
    rows = [decision(i, part("a", 0, w), part("b", 1, -w)) for i, w in enumerate((0.1, 0.2, 0.5))]
    found = picked(audit(tmp_path, *rows), 3)
    assert found.saturated() == 1
    assert ids(found) == ["0", "2", "1"]
    assert [choice.adds for choice in found.choices] == [1.0, 0.0, 0.0]


def test_a_weight_of_0_covers_nothing(tmp_path):
    rows = [decision(0, part("a", 0, 0.4), part("b", 1, 0.0)), decision(1, part("b", 1, 0.3))]
    assert ids(picked(audit(tmp_path, *rows), 1)) == ["0"]
    assert picked(audit(tmp_path, *rows), 1).choices[0].covered < 1


def test_significant_takes_only_weights_whose_interval_leaves_out_0(tmp_path):
    rows = [
        decision(0, part("a", 0, 0.4, 0.5), part("b", 1, 0.3, 0.4)),
        decision(1, part("a", 0, -0.2, 0.1)),
        decision(2, part("a", 0, 0.9)),
    ]
    assert ids(picked(audit(tmp_path, *rows), 1)) == ["0"]
    assert ids(picked(audit(tmp_path, *rows), 1, significant=True)) == ["1"]
    with pytest.raises(UsageError, match="leaves out 0"):
        picked(audit(tmp_path, rows[0], rows[2]), 1, significant=True)


def test_features_of_a_table_are_conditions_or_columns(tmp_path):
    rows = [
        decision(0, conditioned("a", 0, "a <= 1", 0.4), conditioned("b", 1, "b = x", 0.1)),
        decision(1, conditioned("a", 0, "a > 1", 0.3)),
    ]
    assert picked(audit(tmp_path, *rows), 2).matrix.names == ["a <= 1", "b = x", "a > 1"]
    found = picked(audit(tmp_path, *rows), 2, by="feature")
    assert found.matrix.names == ["a", "b"]
    assert found.saturated() == 1


def test_columns_of_one_name_are_two_features(tmp_path):
    rows = [decision(0, part("a", 0, 0.5)), decision(1, part("a", 1, 0.4))]
    assert len(picked(audit(tmp_path, *rows), 2, by="feature").matrix.names) == 2


def test_words_are_features_wherever_they_stand(tmp_path):
    rows = [decision(0, part("win", 0, 0.5), part("win", 4, -0.5)), decision(1, part("win", 7, 1))]
    found = picked(audit(tmp_path, *rows, kind="text"), 1)
    assert ids(found) == ["1"]  # in the other one they come to 0
    assert found.by == "feature"


def test_a_label_takes_its_own_weights(tmp_path):
    rows = [decision(i, part("a", 0, 0.1 * i + 0.1), label=name)
            for i, name in enumerate(("yes", "no", "no"))]  # fmt: skip
    found = picked(audit(tmp_path, *rows), 5, label="no")
    assert ids(found) == ["1", "2"]
    assert found.matrix.others == 1
    with pytest.raises(UsageError, match="maybe") as raised:
        picked(audit(tmp_path, *rows), 5, label="maybe")
    assert "no, yes" in raised.value.hint


def test_equal_decisions_are_taken_in_order_or_by_seed(tmp_path):
    rows = [decision(i, part("a", 0, 0.5)) for i in range(50)]
    assert ids(picked(audit(tmp_path, *rows), 3)) == ["0", "1", "2"]
    some = [ids(picked(audit(tmp_path, *rows), 3, seed=seed)) for seed in (1, 1, 2)]
    assert some[0] == some[1] != some[2]
    assert len(set(some[0])) == 3


def test_skipped_decisions_are_not_picked(tmp_path):
    found = picked(audit(tmp_path, skipped(0), decision(1, part("a", 0, 1.0)), skipped(2)), 3)
    assert ids(found) == ["1"]
    assert found.matrix.skipped == 2


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_weights_of_any_scale_count(tmp_path, scale):
    rows = [decision(0, part("a", 0, 0.1 * scale)), decision(1, part("b", 1, 0.4 * scale))]
    assert ids(picked(audit(tmp_path, *rows), 2)) == ["1", "0"]


def test_a_model_without_weights_picks_the_first(tmp_path):
    rows = [decision(0), decision(1, part("a", 0, 0.0))]
    found = picked(audit(tmp_path, *rows), 2)
    assert ids(found) == ["0", "1"]
    assert [choice.adds for choice in found.choices] == [0.0, 0.0]


def test_images_and_empty_audits_are_refused(tmp_path):
    with pytest.raises(UsageError, match="superpixels"):
        picked(audit(tmp_path, decision(0), kind="image"), 1)
    with pytest.raises(ReportError, match="no explained decision"):
        picked(audit(tmp_path, skipped(0)), 1)


@pytest.mark.parametrize(
    "broken",
    [
        {"labels": 3},
        {"labels": [{"label": "yes"}]},
        {"labels": [{"label": "yes", "attributions": [1]}]},
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path, broken):
    rows = [decision(0, part("a", 0, 1.0)), {**decision(1), **broken}]
    with pytest.raises(ReportError, match="line 3"):
        picked(audit(tmp_path, *rows), 1)


def test_real_explanations_are_covered_with_few_decisions(tmp_path):
    bed = Bed(numbers(120, 4))
    path = bed.audit(tmp_path / "audit.jsonl", lambda f: f[["x0"]].to_numpy(float),
                     num_samples=1024)  # fmt: skip
    found = picked(path, 4, significant=True)
    tops = {item["features"][0]["condition"] for item in found.told}
    assert len(tops) == 4  # the four quartiles of the only column that matters
    assert found.choices[-1].covered == pytest.approx(1.0, abs=0.2)


def test_a_million_decisions_take_little_memory_and_time():
    rng, n, k = np.random.default_rng(0), 1_000_000, 10
    matrix = Matrix([f"f{j}" for j in range(400)], rng.random(400).tolist())
    matrix.columns.frombytes(np.sort(rng.integers(0, 400, (n, k), np.int32), axis=1).tobytes())
    matrix.starts.frombytes((np.arange(1, n + 1) * k).tobytes())
    matrix.totals.frombytes(rng.random(n).tobytes())
    matrix.offsets.frombytes(np.zeros(n, np.int64).tobytes())
    tracemalloc.start()
    try:
        start = time.process_time()
        found = list(greedy(matrix, np.sqrt(np.array(matrix.sums)), 100))
        assert time.process_time() - start < 20
        assert tracemalloc.get_traced_memory()[1] < 120e6  # the matrix takes 64
    finally:
        tracemalloc.stop()
    assert len({choice.row for choice in found}) == 100
