"""The same explanation otherwise: `--repeats`, `--sensitivity` and `--tune`."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.conftest import SAMPLES, Result

Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the same five columns, the columns as ROWS, and other rows as training data."""
    found = tmp_path_factory.mktemp("variants")
    rng = np.random.default_rng(0)
    names = list("abcde")
    train = pd.DataFrame(rng.normal(size=(300, 5)), columns=names)
    rows = pd.DataFrame(rng.normal(0.2, 1.3, size=(60, 5)), columns=names)
    rows.iloc[0] = [4.0, -4.0, 4.0, -4.0, 4.0]  # at the end of every scale
    train.to_csv(found / "train.csv", index=False)
    rows.to_csv(found / "rows.csv", index=False)
    line = train @ [3.0, 2.0, -1.0, -0.5, 0.25]
    noisy = line + rng.normal(0, 2, 300) > 0
    bowl = train["a"].abs() < 0.7
    models = {
        "line": LinearRegression().fit(train, line),
        "same": DummyRegressor().fit(train, line),
        "forest": RandomForestClassifier(10, random_state=0).fit(train, noisy),
        "logistic": LogisticRegression().fit(train, noisy),
        "bowl": RandomForestClassifier(10, random_state=0).fit(train[["a", "b"]], bowl),
        # log of a number below -8, which only draws without bins hold
        "log": make_pipeline(
            FunctionTransformer(np.log1p), LinearRegression()
        ).fit(np.exp(train), line),
    }  # fmt: skip
    np.exp(train).to_csv(found / "positive.csv", index=False)
    (train[["a"]] + 3).to_csv(found / "three.csv", index=False)
    models["log of three"] = make_pipeline(FunctionTransformer(np.log), LinearRegression()).fit(
        train[["a"]].clip(-2.9) + 3, line
    )
    for name, model in models.items():
        joblib.dump(model, found / f"{name}.joblib")
    return found


@pytest.fixture
def explain(cli: Callable[..., Result], folder: Path) -> Callable[..., Json]:
    def run(name: str, *options: object, background: str | None = "train.csv",
            rows: str = "rows.csv") -> Json:  # fmt: skip
        given = () if background is None else ("-b", folder / background)
        result = cli("tabular", folder / f"{name}.joblib", folder / rows, *given, "--json",
                     "--flips", 0, *options)  # fmt: skip
        assert result.code == 0, result.stderr
        report: Json = json.loads(result.stdout)
        report["stderr"] = result.stderr
        return report

    return run


def labels(report: Json) -> list[Json]:
    return [label for item in report["explanations"] for label in item["labels"]]


def features(label: Json) -> set[int]:
    return {item["index"] for item in label["attributions"]}


# -- --repeats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_repeats_are_the_mean_jaccard_index_of_runs_with_the_next_seeds(explain, seed):
    options = ("-r", "0:3", "-k", 2, "--sampler", "lime", "-n", 60)
    report = explain("forest", *options, "-s", seed, "--repeats", 4)
    runs = [explain("forest", *options, "-s", (seed + i) % 2**32) for i in range(4)]
    assert any(label["repeats"]["jaccard"] < 1 for label in labels(report))
    for place, label in enumerate(labels(report)):
        sets = [features(labels(run)[place]) for run in runs]
        expected = np.mean([len(a & b) / len(a | b) for a, b in combinations(sets, 2)])
        assert label["repeats"] == {"runs": 4, "jaccard": pytest.approx(expected)}
        assert {**label, "repeats": None} == labels(runs[0])[place]


def test_what_is_exact_repeats(explain):
    (label,) = labels(explain("forest", "-r", 1, "-k", 2, "--repeats", 3))
    assert label["interval"] == "exact"
    assert label["repeats"] == {"runs": 3, "jaccard": 1.0}


def test_texts_and_pictures_repeat_too(cli):
    for words in (("text", SAMPLES / "spam.joblib", "you have won a prize, call home now"),
                  ("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png",
                   SAMPLES / "digit-5.png", "--segmentation", "slic")):  # fmt: skip
        done = cli(*words, "-n", 64, "-k", 3, "-q", "--json", "--repeats", 3)
        assert done.code == 0, done.stderr
        for label in labels(json.loads(done.stdout)):
            assert label["repeats"]["runs"] == 3
            assert 0 <= label["repeats"]["jaccard"] <= 1


def test_a_run_that_the_model_refuses_is_none_that_repeats(explain, fails, folder):
    """Now and then a draw lies below 0, where there is no logarithm."""
    options = ("-r", 7, "--discretizer", "none", "--sampler", "lime", "-n", 500)
    data = {"background": "three.csv", "rows": "three.csv"}
    fails(5, "tabular", folder / "log of three.joblib", folder / "three.csv", "-q", *options, "-s",
          5)  # fmt: skip
    (label,) = labels(explain("log of three", *options, "-s", 4, "--repeats", 2, **data))
    assert label["repeats"] is None
    (label,) = labels(explain("log of three", *options, "-s", 4, "--repeats", 9, **data))
    assert 2 <= label["repeats"]["runs"] < 9


def test_nothing_is_repeated_or_varied_unasked(explain):
    (label,) = labels(explain("forest", "-r", 1))
    assert label["repeats"] is None
    assert label["variants"] is None


# -- --sensitivity ---------------------------------------------------------------------------------


def test_variants_are_widths_bins_and_backgrounds(explain):
    report = explain("forest", "-r", 0, "--sensitivity")
    (label,) = labels(report)
    width = report["settings"]["kernel_width"]
    assert [one["name"] for one in label["variants"]] == [
        "as explained",
        f"kernel width {width / 2:.3g}",
        f"kernel width {width * 2:.3g}",
        "bins: decile",
        "bins: none",
        "background: the rows of ROWS",
        "background: the model's own",
    ]
    assert [one["effect"] for one in label["variants"][0]["effects"]] == [
        item["weight"] for item in label["attributions"]
    ]


@pytest.mark.parametrize("sampler", ["auto", "sobol", "lime"])
def test_each_variant_is_what_its_own_run_says(explain, sampler):
    """Of all features, whatever the number shown."""
    options = ("-r", 0, "--sampler", sampler, "-n", 500)
    (label,) = labels(explain("forest", *options, "-k", 2, "--sensitivity"))
    found = {one["name"]: one for one in label["variants"]}
    width = 0.75 * float(np.sqrt(5))
    runs = {
        f"kernel width {width * 2:.3g}": (("--kernel-width", repr(width * 2)), "train.csv"),
        "bins: decile": (("--discretizer", "decile"), "train.csv"),
        "background: the rows of ROWS": ((), "rows.csv"),
        "background: the model's own": ((), None),
    }
    for name, (flags, background) in runs.items():
        (alone,) = labels(
            explain("forest", *options, "-k", 5, "--feature-selection", "none", *flags,
                    background=background)
        )  # fmt: skip
        effects = {one["index"]: one["effect"] for one in found[name]["effects"]}
        expected = {item["index"]: item["weight"] for item in alone["attributions"]}
        assert effects == pytest.approx(expected, abs=1e-9), name
        assert found[name]["fidelity"] == pytest.approx(alone["fidelity"], abs=1e-9)


def test_without_bins_an_effect_is_the_weight_times_the_scaled_number(explain, folder):
    (label,) = labels(explain("line", "-r", 3, "--discretizer", "none", "--sensitivity"))
    train, rows = (pd.read_csv(folder / f"{name}.csv") for name in ("train", "rows"))
    slopes = np.array([3.0, 2.0, -1.0, -0.5, 0.25])
    expected = slopes * (rows.iloc[3] - train.mean()).to_numpy()
    for variant in label["variants"][:3]:  # linear: of no width is the slope another
        effects = {one["index"]: one["effect"] for one in variant["effects"]}
        np.testing.assert_allclose([effects[j] for j in range(5)], expected, atol=1e-6)
        order = [abs(one["effect"]) for one in variant["effects"]]
        assert order == sorted(order, reverse=True)


def test_the_signs_of_a_linear_model_hold(explain):
    """For a row at the end of every scale: in any bins it lies above or below the others."""
    (label,) = labels(explain("line", "-r", 0, "--sensitivity"))
    assert len(label["variants"]) == 7 - 1  # a linear model remembers no background
    signs = np.sign([3.0, -2.0, -1.0, 0.5, 0.25])
    for variant in label["variants"]:
        effects = {one["index"]: one["effect"] for one in variant["effects"]}
        assert [np.sign(effects[j]) for j in range(5)] == list(signs), variant["name"]
    assert all(item["sign_holds"] for item in label["attributions"])


def test_a_sign_that_does_not_hold_is_found(explain, folder):
    """Around the bottom of a bowl, bins see its walls, and a line through the row does not."""
    rows = pd.DataFrame({"a": [0.3], "b": [0.0]})
    rows.to_csv(folder / "bottom.csv", index=False)
    report = explain("bowl", "--sensitivity", rows="bottom.csv", background=None)
    attributions = {item["feature"]: item for item in labels(report)[0]["attributions"]}
    signs = {
        np.sign(one["effect"])
        for variant in labels(report)[0]["variants"]
        for one in variant["effects"]
        if one["index"] == 0
    }
    assert {-1.0, 1.0} <= signs
    assert attributions["a"]["sign_holds"] is False


def test_the_rows_are_no_other_background_when_they_are_the_background(explain):
    (label,) = labels(explain("forest", "-r", 0, "--sensitivity", background="rows.csv"))
    names = [one["name"] for one in label["variants"]]
    assert "background: the rows of ROWS" not in names
    assert "background: the model's own" in names


def test_another_background_is_cut_into_the_same_bins(explain, folder, cli):
    done = cli("background", folder / "train.csv", "--discretizer", "decile", "-o",
               folder / "decile.json", "-q")  # fmt: skip
    assert done.code == 0, done.stderr
    (label,) = labels(explain("forest", "-r", 0, "--sensitivity", background="decile.json"))
    found = {one["name"]: one for one in label["variants"]}
    (alone,) = labels(
        explain("forest", "-r", 0, "--discretizer", "decile", background="rows.csv")
    )  # fmt: skip
    effects = {
        one["index"]: one["effect"] for one in found["background: the rows of ROWS"]["effects"]
    }
    expected = {item["index"]: item["weight"] for item in alone["attributions"]}
    assert effects == pytest.approx(expected, abs=1e-9)


def test_texts_vary_in_width_only(cli):
    done = cli("text", SAMPLES / "spam.joblib", "you have won a prize", "-q", "--json", "-n", 200,
               "--sensitivity")  # fmt: skip
    (label,) = labels(json.loads(done.stdout))
    assert [one["name"] for one in label["variants"]] == [
        "as explained", "kernel width 12.5", "kernel width 50",
    ]  # fmt: skip


def test_bins_that_the_model_refuses_are_left_out(explain):
    """Without bins, numbers are drawn that no logarithm takes."""
    options = ("-r", "0:3", "--sampler", "sobol")
    report = explain("log", *options, "--sensitivity", background="positive.csv",
                     rows="positive.csv")  # fmt: skip
    for label in labels(report):
        assert "bins: none" not in [one["name"] for one in label["variants"]]
        assert "bins: decile" in [one["name"] for one in label["variants"]]
    tuned = explain("log", *options, "--tune", background="positive.csv", rows="positive.csv")
    assert {row["discretizer"] for row in tuned["settings"]["tried"]} == {"quartile", "decile"}


# -- --tune ----------------------------------------------------------------------------------------


def best(report: Json) -> Json:
    found: Json = max(
        (row for row in report["settings"]["tried"] if row["r2"] is not None),
        key=lambda row: row["r2"],
    )
    return found


@pytest.mark.parametrize(("name", "options"), [
    ("logistic", ("-r", 0)), ("logistic", ("-r", "0:40", "-n", 1000)), ("forest", ("-r", 0)),
    ("forest", ("-r", 0, "--sampler", "lime", "-n", 1000)),
])  # fmt: skip
def test_tuning_takes_the_best_of_what_it_tries_and_says_all(explain, name, options):
    report = explain(name, *options, "--tune")
    used = report["settings"]
    assert {row["discretizer"] for row in used["tried"]} == {"quartile", "decile", "none"}
    assert len(used["tried"]) == 3 * 9
    assert (used["discretizer"], used["kernel_width"]) == (
        best(report)["discretizer"], best(report)["kernel_width"],
    )  # fmt: skip
    told = [line for line in report["stderr"].splitlines() if "kernel width" in line]
    assert len(told) == len(used["tried"])
    assert "tried, by held-out R²" in report["stderr"]
    plain = explain(name, *options, "--discretizer", used["discretizer"], "--kernel-width",
                    repr(used["kernel_width"]))  # fmt: skip
    for one, other in zip(labels(report), labels(plain), strict=True):
        assert one["attributions"] == other["attributions"]


def test_tuning_a_linear_model_finds_that_a_line_says_it_all(explain):
    report = explain("line", "-r", 5, "--tune")
    assert report["settings"]["discretizer"] == "none"
    assert labels(report)[0]["fidelity"] == pytest.approx(1.0)


def test_statistics_hold_one_kind_of_bins(explain, folder, cli):
    done = cli("background", folder / "train.csv", "-o", folder / "stats.json", "-q")
    assert done.code == 0, done.stderr
    report = explain("logistic", "-r", 0, "--tune", background="stats.json")
    assert {row["discretizer"] for row in report["settings"]["tried"]} == {"quartile", "none"}


def test_bins_are_not_given_up_where_rows_would_be_lost(explain, folder):
    """A gap lies in a bin of its own, but nowhere on a scale."""
    frame = pd.read_csv(folder / "train.csv")
    target = frame["a"] > 0
    frame.loc[frame.index % 9 == 0, "b"] = np.nan
    frame.to_csv(folder / "gaps.csv", index=False)
    model = HistGradientBoostingClassifier(max_iter=5).fit(frame, target)
    joblib.dump(model, folder / "gaps.joblib")
    files = {"background": "gaps.csv", "rows": "gaps.csv"}
    report = explain("gaps", "-r", "0:4", "--tune", **files)
    assert [item["status"] for item in report["explanations"]] == ["ok"] * 4
    assert {row["discretizer"] for row in report["settings"]["tried"]} == {"quartile", "decile"}
    said = "--tune leaves out --discretizer none: it would skip 1 of 4 rows"
    assert said in report["stderr"]
    report = explain("gaps", "-r", "1:4", "--tune", **files)
    assert "none" in {row["discretizer"] for row in report["settings"]["tried"]}


def test_texts_and_pictures_are_tuned_in_width(cli):
    for words in (("text", SAMPLES / "spam.joblib", "you have won a prize, call home now"),
                  ("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", "--segmentation",
                   "slic")):  # fmt: skip
        done = cli(*words, "-n", 256, "--json", "--tune")
        assert done.code == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["settings"]["kernel_width"] == best(report)["kernel_width"]
        assert "discretizer" not in best(report)
        assert "tried, by held-out R²" in done.stderr


def test_a_constant_model_keeps_the_defaults(explain):
    report = explain("same", "-r", 0, "--tune")
    assert report["settings"]["discretizer"] == "quartile"
    assert report["settings"]["kernel_width"] == pytest.approx(0.75 * np.sqrt(5))
    assert all(row["r2"] is None for row in report["settings"]["tried"])
    assert "R² undefined" in report["stderr"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--engine", "lime"), "--tune needs limecli's own engine"),
     (("--kernel-width", 2), "--tune chooses the kernel width itself")],
)  # fmt: skip
def test_what_tuning_cannot_obey_is_refused(fails, folder, flags, said):
    done = fails(2, "tabular", folder / "forest.joblib", folder / "rows.csv", "-q", "-r", 0, "-b",
                 folder / "train.csv", "--tune", *flags)  # fmt: skip
    assert said in done.stderr


def test_what_was_tuned_can_be_repeated_and_varied(explain):
    report = explain("logistic", "-r", 0, "--sampler", "sobol", "-n", 600, "--tune", "--repeats", 2,
                     "--sensitivity")  # fmt: skip
    (label,) = labels(report)
    assert label["repeats"]["runs"] == 2
    used = report["settings"]
    assert used["discretizer"] == "none"
    (plain,) = labels(
        explain("logistic", "-r", 0, "--sampler", "sobol", "-n", 600, "--discretizer", "none",
                "--kernel-width", repr(used["kernel_width"]), background="rows.csv")
    )  # fmt: skip
    other = next(one for one in label["variants"] if one["name"] == "background: the rows of ROWS")
    assert other["fidelity"] == pytest.approx(plain["fidelity"], abs=1e-9)
