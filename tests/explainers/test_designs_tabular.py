"""How rows of a table are explained: exactly, by Sobol's points or by lime's draws, as the command
does it with real models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.conftest import Result

MANY = 1 << 17
Json = dict[str, Any]


@dataclass
class Bed:
    """A model, the data that it was fitted to, and what asks for its exact weights."""

    model: Path
    data: Path
    options: tuple[str, ...] = ()


def with_gaps(gaps: float = 0.1) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers and categories, some missing, and what a column alone cannot tell."""
    rng = np.random.default_rng(0)
    n = 300
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, n).astype(float),
        "income": np.exp(rng.normal(10, 1, n)),
        "sex": rng.choice(["f", "m"], n),
        "region": rng.choice(["n", "s", "e"], n, p=[0.6, 0.3, 0.1]),
    })  # fmt: skip
    frame.loc[rng.random(n) < gaps, "age"] = np.nan
    frame.loc[rng.random(n) < gaps, "region"] = None
    old, south = frame["age"].fillna(40) > 45, frame["region"].fillna("n") == "s"
    return frame, np.where((old ^ south) | (frame["income"] > 60000), "yes", "no")


def mixed_pipeline() -> Any:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = make_column_transformer((numbers, ["age", "income"]), (words, ["sex", "region"]))
    return make_pipeline(columns, RandomForestClassifier(12, max_depth=5, random_state=0))


@pytest.fixture(scope="module")
def beds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bed]:
    """Models on disk, by name."""
    folder = tmp_path_factory.mktemp("beds")
    iris, cancer = load_iris(as_frame=True), load_breast_cancer(as_frame=True)
    diabetes = load_diabetes(as_frame=True, scaled=False)
    frames = {
        "iris": (iris.data, iris.target_names[iris.target]),
        "cancer": (cancer.data, cancer.target_names[cancer.target]),
        "diabetes": (diabetes.data, diabetes.target),
        "mixed": with_gaps(),
        "no gaps": with_gaps(gaps=0.0),
    }
    for name, (frame, _) in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    margin = ("--output", "margin")
    models: dict[str, tuple[str, Any, tuple[str, ...]]] = {
        "iris forest": ("iris", RandomForestClassifier(12, random_state=0), ()),
        "cancer forest": ("cancer", RandomForestClassifier(12, max_depth=4, random_state=0), ()),
        "extra trees": ("cancer", ExtraTreesClassifier(12, max_depth=4, random_state=0), ()),
        "gbr": ("diabetes", GradientBoostingRegressor(n_estimators=20, random_state=0), ()),
        "linear": ("diabetes", LinearRegression(), ()),
        "hist": ("cancer", HistGradientBoostingClassifier(max_iter=10, random_state=0), margin),
        "logistic": ("cancer", make_pipeline(StandardScaler(), LogisticRegression()), margin),
        "mixed": ("mixed", mixed_pipeline(), ()),
        "no gaps": ("no gaps", mixed_pipeline(), ()),
        "neighbours": ("iris", make_pipeline(StandardScaler(), KNeighborsClassifier()), ()),
        "rotated": ("iris", make_pipeline(PCA(2), RandomForestClassifier(5, random_state=0)), ()),
    }
    found = {}
    for name, (data, model, options) in models.items():
        path = folder / f"{name.replace(' ', '-')}.joblib"
        joblib.dump(model.fit(*frames[data]), path)
        found[name] = Bed(path, folder / f"{data}.csv", options)
    return found


@pytest.fixture
def explain(cli: Callable[..., Result], beds: dict[str, Bed]) -> Callable[..., Json]:
    """Explain rows of a bed's own data, for a JSON report."""

    def run(name: str, *options: object, own: bool = True) -> Json:
        bed = beds[name]
        scale = bed.options if own else ()
        result = cli("tabular", bed.model, bed.data, "-b", bed.data, "--json", "--flips", 0,
                     *scale, *options)  # fmt: skip
        assert result.code == 0, result.stderr
        report: Json = json.loads(result.stdout)
        report["stderr"] = result.stderr
        return report

    return run


def only(report: Json) -> Json:
    """The one label of the one explanation."""
    (explanation,) = report["explanations"]
    (label,) = explanation["labels"]
    found: Json = label
    return found


def weights(label: Json) -> dict[int, float]:
    return {item["index"]: item["weight"] for item in label["attributions"]}


def without(report: Json) -> Json:
    """A report but for what may differ between equal runs."""
    return {key: value for key, value in report.items() if key not in ("provenance", "stderr")}


EXACT = ["iris forest", "cancer forest", "extra trees", "gbr", "linear", "hist", "logistic",
         "mixed"]  # fmt: skip
NUMBERS = ("--discretizer", "none")
FORMS = [NUMBERS, (*NUMBERS, "--sample-around-instance")]


# -- exact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
def test_exact_weights_cost_no_call_have_no_error_and_depend_on_no_seed(explain, name):
    one, other = (explain(name, "-r", 4, "-s", seed) for seed in (0, 9))
    (explanation,) = one["explanations"]
    assert one["settings"]["sampler"] == explanation["sampler"] == "exact"
    assert explanation["weight_calls"] == 0
    assert explanation["model_calls"] >= 1000  # the check is counted
    assert "exact weights do not apply" not in one["stderr"]
    label = only(one)
    assert label["interval"] == "exact"
    assert all(item["low"] == item["weight"] == item["high"] for item in label["attributions"])
    assert label["attributions"] == only(other)["attributions"]
    assert label["intercept"] == only(other)["intercept"]


LIMITS = [(name, ()) for name in EXACT]
LIMITS += [(name, form) for name in ("iris forest", "gbr", "logistic", "no gaps") for form in FORMS]


@pytest.mark.parametrize(("name", "form"), LIMITS)
def test_exact_weights_are_what_very_many_samples_tend_to(explain, name, form):
    compare_with_the_limit(explain, name, ("-r", 4, "-k", 30, *form))


@pytest.mark.parametrize("column", ["age", "region"])
def test_exact_weights_of_a_row_with_a_gap_are_too(explain, column):
    frame, _ = with_gaps()
    row = int(np.flatnonzero(frame[column].isna())[0])
    compare_with_the_limit(explain, "mixed", ("-r", row))


def compare_with_the_limit(explain: Callable[..., Json], name: str, options: tuple) -> None:
    """Exact weights lie within the intervals of 2^17 of Sobol's points."""
    exact = only(explain(name, *options))
    sampled_report = explain(name, *options, "--sampler", "sobol", "-n", MANY)
    sampled = only(sampled_report)
    assert sampled_report["explanations"][0]["weight_calls"] >= MANY
    found = weights(exact)
    assert found.keys() == weights(sampled).keys()
    # 16 scramblings: intervals of 95 % each become intervals of 99.9 % for all together.
    wider = student.ppf(1 - 0.0005 / len(found), 15) / student.ppf(0.975, 15)
    largest = max(map(abs, found.values()))
    for item in sampled["attributions"]:
        half = (item["high"] - item["low"]) / 2
        assert half < 0.05 * largest  # else the next line could not fail
        assert abs(item["weight"] - found[item["index"]]) <= wider * half, item["feature"]
    assert sampled["local_prediction"] == pytest.approx(
        exact["local_prediction"], abs=0.02 * largest
    )
    assert sampled["fidelity"] == pytest.approx(exact["fidelity"], abs=0.05)


REFUSED = [
    ("neighbours", ()),
    ("rotated", ()),
    ("cancer forest", ("--distance-metric", "cosine")),
    ("hist", ()),
]


@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_where_nothing_exact_is_known_the_report_says_why_and_samples_are_drawn(
    explain, name, options
):
    quiet = explain(name, "-r", 1, "-n", 1000, *options, own=False)
    asked = explain(name, "-r", 1, "-n", 1000, *options, "--sampler", "exact", own=False)
    reason = quiet["settings"]["not_exact"]
    assert reason
    for report in (quiet, asked):
        assert report["settings"]["sampler"] == "sobol"
        assert report["settings"]["not_exact"] == reason
        assert report["explanations"][0]["weight_calls"] >= 1000
    told = f"exact weights do not apply, samples are drawn: {reason}"
    assert told in asked["stderr"]
    assert "exact weights" not in quiet["stderr"]
    assert asked["explanations"] == quiet["explanations"]


def test_a_column_that_is_constant_weighs_nothing(cli, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"same": 3.0, "moves": rng.normal(size=200)})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    joblib.dump(
        RandomForestClassifier(5, random_state=0).fit(frame, frame["moves"] > 0),
        tmp_path / "m.joblib",
    )
    for sampler in ("exact", "sobol"):
        done = cli("tabular", tmp_path / "m.joblib", tmp_path / "rows.csv", "-r", 0, "--json", "-b",
                   tmp_path / "rows.csv", "--sampler", sampler)  # fmt: skip
        report = json.loads(done.stdout)
        found = weights(only(report))
        assert found[0] == pytest.approx(0, abs=1e-12)
        assert abs(found[1]) > 0.1


# -- which way to draw -----------------------------------------------------------------------------


def test_lime_is_one_flag_away(cli, beds):
    """The same numbers as lime's own class, which `--engine lime` runs."""
    bed = beds["iris forest"]
    both = []
    for flags in (("--sampler", "lime"), ("--engine", "lime")):
        done = cli("tabular", bed.model, bed.data, "-b", bed.data, "-r", 60, "-n", 500, "--json",
                   *flags)  # fmt: skip
        assert done.code == 0, done.stderr
        both.append(json.loads(done.stdout))
    ours, limes = both
    assert ours["settings"]["sampler"] == limes["settings"]["sampler"] == "lime"
    assert ours["settings"]["num_samples"] == 500
    found, expected = weights(only(ours)), weights(only(limes))
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-8)


def test_too_few_samples_for_sobols_points_are_lime_s_draws_and_that_is_said(explain):
    report = explain("hist", "-r", 0, "-n", 50, own=False)
    assert report["settings"]["sampler"] == "lime"
    assert report["settings"]["num_samples"] == 50
    assert "50 samples are too few for Sobol's points in 30 columns" in report["stderr"]


def test_fewer_than_four_scramblings_have_no_intervals_and_say_so(explain):
    report = explain("hist", "-r", 0, "-n", 300, own=False)
    assert report["settings"]["sampler"] == "sobol"
    label = only(report)
    assert label["interval"] is None
    assert "replicates" in label["no_interval"]
    assert all(item["low"] is item["high"] is None for item in label["attributions"])


@pytest.mark.parametrize(
    ("name", "sampler", "count"),
    [("cancer forest", "auto", 700), ("hist", "auto", 3000), ("hist", "auto", 700),
     ("hist", "auto", 460),
     ("hist", "exact", 5000), ("mixed", "sobol", 700), ("cancer forest", "sobol", 3000),
     ("mixed", "lime", 700), ("mixed", "auto", 3000), ("iris forest", "sobol", 150)],
)  # fmt: skip
def test_the_recorded_number_of_samples_and_sampler_give_the_same_report_again(
    explain, name, sampler, count
):
    first = explain(name, "-r", 2, "--sampler", sampler, "-n", count, own=False)
    used = first["settings"]
    again = explain(
        name, "-r", 2, "--sampler", used["sampler"], "-n", used["num_samples"], own=False
    )
    assert again["explanations"] == first["explanations"]
    # The reason why nothing exact was done stands only where it was thought of.
    kept = [{k: v for k, v in report["settings"].items() if k not in ("requested", "not_exact")}
            for report in (first, again)]  # fmt: skip
    assert kept[0] == kept[1]


# -- rows alone and together -----------------------------------------------------------------------

ALONE = [
    ("cancer forest", ()),
    ("cancer forest", ("--sampler", "sobol", "-n", 1024)),
    ("cancer forest", ("--sampler", "lime", "-n", 500)),
    ("mixed", ()),
    ("mixed", ("--sampler", "sobol", "-n", 1024)),
    ("gbr", ("--sampler", "sobol", "-n", 512, "--settle", 2, "--max-samples", 8192)),
    ("gbr", ("--discretizer", "none", "--sampler", "sobol", "-n", 512)),
    ("gbr", ("--discretizer", "none")),
    ("logistic", ("--sampler", "sobol", "-n", 1024)),
    ("iris forest", ("--sampler", "sobol", "-n", 512, "-t", 3)),
    ("iris forest", ("--kernel-width", 2.5)),
    ("neighbours", ("-n", 512, "--settle", 2, "--max-samples", 4096)),
]


@pytest.mark.parametrize(("name", "options"), ALONE)
def test_a_row_alone_is_explained_as_among_a_hundred_others(explain, name, options):
    together = {
        item["index"]: item for item in explain(name, "-r", "0:100", *options)["explanations"]
    }
    assert len(together) == 100
    (alone,) = explain(name, "-r", 77, *options)["explanations"]
    assert alone == together[77]


@pytest.mark.parametrize("how", [("--batch-size", 37), ("--max-memory", "1M")])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cancer forest", ()),
        ("cancer forest", ("--sampler", "sobol", "-n", 1024)),
        ("mixed", ("--sampler", "sobol", "-n", 1024, "--settle", 2, "--max-samples", 4096)),
        ("gbr", ("--sampler", "lime", "-n", 500)),
    ],
)
def test_the_size_of_batches_changes_nothing(explain, name, options, how):
    whole = explain(name, "-r", "0:3", *options)
    parts = explain(name, "-r", "0:3", *options, *how)
    assert parts["explanations"] == whole["explanations"]


# -- settling --------------------------------------------------------------------------------------


def test_settling_doubles_the_samples_until_the_order_is_sure(explain):
    options = ("-r", 3, "--sampler", "sobol", "-n", 512, "--settle", 2)
    report = explain("gbr", *options)
    (explanation,) = report["explanations"]
    start = report["settings"]["num_samples"]
    doublings = np.log2((explanation["weight_calls"] - 1) / start)
    assert doublings == round(doublings)
    assert only(report)["settled"] is True
    order = [item["index"] for item in only(report)["attributions"][:2]]
    exact = only(explain("gbr", "-r", 3))
    assert order == [item["index"] for item in exact["attributions"][:2]]


def test_settling_stops_at_the_most_samples_allowed(explain):
    options = ("-r", 100, "--sampler", "sobol", "-n", 1024, "--settle", 8, "--tie-tolerance", 0)
    report = explain("cancer forest", *options, "--max-samples", 5000)
    (explanation,) = report["explanations"]
    assert only(report)["settled"] is False
    assert explanation["weight_calls"] - 1 == 4096
    assert report["settings"]["max_samples"] == 5000


def test_settling_never_draws_more_than_allowed_even_at_first(explain):
    report = explain("gbr", "-r", 3, "--sampler", "sobol", "--settle", 2, "--max-samples", 1000)
    assert report["explanations"][0]["weight_calls"] - 1 <= 1000


def test_an_exact_order_is_settled_at_once(explain):
    report = explain("cancer forest", "-r", 100, "--settle", 5, "--tie-tolerance", 0)
    assert only(report)["settled"] is True
    assert report["explanations"][0]["weight_calls"] == 0
    plain = explain("cancer forest", "-r", 100)
    assert only(report)["attributions"] == only(plain)["attributions"]


def test_nobody_asked_whether_the_order_is_settled(explain):
    assert only(explain("gbr", "-r", 3))["settled"] is None


def test_the_labels_of_an_explanation_are_settled_together(explain):
    options = ("-r", 60, "--sampler", "sobol", "-n", 256, "--settle", 1, "-t", 3)
    report = explain("iris forest", *options)
    (explanation,) = report["explanations"]
    assert len(explanation["labels"]) == 3
    assert all(label["settled"] is True for label in explanation["labels"])
    alone = [
        explain("iris forest", *options[:-2], "-l", name)["explanations"][0]["weight_calls"]
        for name in ("setosa", "versicolor", "virginica")
    ]
    assert explanation["weight_calls"] >= max(alone)


@pytest.mark.parametrize("flags", [("--sampler", "lime"), ("--engine", "lime")])
def test_lime_s_own_stream_cannot_go_on(fails, beds, flags):
    bed = beds["gbr"]
    done = fails(2, "tabular", bed.model, bed.data, "-r", 0, "-b", bed.data, "--settle", 3, *flags)
    assert "--settle" in done.stderr


@pytest.mark.parametrize("count", [50, 300])
def test_settling_is_refused_where_there_would_be_no_intervals(fails, beds, count):
    """Lime's draws cannot go on; without intervals no order is ever sure."""
    bed = beds["hist"]
    done = fails(2, "tabular", bed.model, bed.data, "-r", 0, "-b", bed.data, "--settle", 3, "-n",
                 count)  # fmt: skip
    assert "more --num-samples" in done.stderr


# -- the width of the best fidelity ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [("logistic", ()), ("cancer forest", ("--sampler", "sobol")), ("cancer forest", ()),
     ("gbr", ("--discretizer", "none"))],
)  # fmt: skip
def test_the_width_found_is_recorded_and_no_worse_than_the_default(explain, name, options):
    plain = explain(name, "-r", 100, *options)
    report = explain(name, "-r", 100, *options, "--kernel-width", "auto")
    used = report["settings"]
    assert used["auto_width"] is True
    assert isinstance(used["kernel_width"], float)
    # `report` measures fidelity on half of the samples: by the others the width was chosen.
    fixed = explain(name, "-r", 100, *options, "--kernel-width", repr(used["kernel_width"]))
    assert only(fixed)["fidelity"] >= only(plain)["fidelity"]
    assert only(report)["fidelity"] == pytest.approx(only(fixed)["fidelity"], abs=0.05)
    assert only(fixed)["attributions"] == only(report)["attributions"]
    cost = [item["explanations"][0]["weight_calls"] for item in (plain, report)]
    assert cost[0] == cost[1]


def test_a_better_width_than_the_default_is_found_where_there_is_one(explain):
    plain = explain("cancer forest", "-r", 100, "--discretizer", "none")
    tuned = explain("cancer forest", "-r", 100, "--discretizer", "none", "--kernel-width", "auto")
    assert tuned["settings"]["kernel_width"] < plain["settings"]["kernel_width"]
    assert only(tuned)["fidelity"] > only(plain)["fidelity"] + 0.02


def test_rows_explained_together_share_the_width_that_is_found(explain):
    report = explain("iris forest", "-r", "0:60", "--kernel-width", "auto", "--sampler", "sobol")
    width = report["settings"]["kernel_width"]
    fixed = explain(
        "iris forest", "-r", "0:60", "--kernel-width", repr(width), "--sampler", "sobol"
    )
    for one, other in zip(report["explanations"], fixed["explanations"], strict=True):
        assert one["labels"][0]["attributions"] == other["labels"][0]["attributions"]


# -- what a flip may change ------------------------------------------------------------------------


def changed(result: Result) -> set[str]:
    """The columns that flips of a report change."""
    assert result.code == 0, result.stderr
    return {
        change["feature"]
        for explanation in json.loads(result.stdout)["explanations"]
        for label in explanation["labels"]
        for flip in label["flips"]
        for change in flip["changes"]
    }


def test_no_flip_changes_a_protected_column_unless_it_is_freed(cli, beds):
    bed = beds["mixed"]
    run = ("tabular", bed.model, bed.data, "-b", bed.data, "-r", "0:12", "--json")
    fixed, freed = cli(*run), cli(*run, "--mutable", "age,sex")
    assert changed(fixed) <= {"income", "region"}
    assert changed(fixed)
    assert "age" in changed(freed)
    assert set(json.loads(fixed.stdout)["settings"]["immutable"]) == {"age", "sex"}
    assert json.loads(freed.stdout)["settings"]["immutable"] == []


@pytest.mark.parametrize("said", [("--immutable", "income,region"),
                                  ("--immutable", "income", "--immutable", "region")])  # fmt: skip
def test_columns_said_to_be_immutable_stay(cli, beds, said):
    bed = beds["mixed"]
    run = ("tabular", bed.model, bed.data, "-b", bed.data, "-r", "0:12", "--json", "--mutable",
           "age")  # fmt: skip
    done = cli(*run, *said)
    assert changed(done) == {"age"}


@pytest.mark.parametrize("option", ["--immutable", "--mutable"])
def test_a_column_that_is_not_there_cannot_be_held(fails, beds, option):
    bed = beds["mixed"]
    done = fails(2, "tabular", bed.model, bed.data, "-b", bed.data, "-r", 0, option, "sex,incone")
    assert f"{option} incone: the model has no such column" in done.stderr
    assert "income" in done.stderr


def test_a_column_with_a_comma_in_its_name_can_be_held(cli, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 2)), columns=["size, in m", "other"])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    model = RandomForestClassifier(5, random_state=0).fit(frame, frame.sum(axis=1) > 0)
    joblib.dump(model, tmp_path / "m.joblib")
    done = cli("tabular", tmp_path / "m.joblib", tmp_path / "rows.csv", "-r", "0:20", "--json",
               "-b", tmp_path / "rows.csv", "--immutable", "size, in m")  # fmt: skip
    assert changed(done) == {"other"}
