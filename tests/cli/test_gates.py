"""Gates: what an explanation must reach, or the command ends with exit code 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from limecli.cli.gates import GateError, GateOptions
from limecli.types import Explanation, Instance, Skipped, Surrogate
from tests.conftest import SAMPLES, Result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest, a model that knows no splits, constant ones, and their rows."""
    found = tmp_path_factory.mktemp("gates")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 3)), columns=["a", "b", "c"])
    target = np.where(frame["a"] + frame["b"] > 0, "yes", "no")
    frame.to_csv(found / "rows.csv", index=False)
    frame[:2].to_csv(found / "few.csv", index=False)
    gap = frame.head(3).astype(object)
    gap.loc[1, "a"] = np.nan
    gap.to_csv(found / "gap.csv", index=False)
    forest = RandomForestClassifier(5, random_state=0).fit(frame, target)
    for name in ("forest.joblib", "sidecar.joblib"):
        joblib.dump(forest, found / name)
    joblib.dump(LogisticRegression().fit(frame, target), found / "plain.joblib")
    joblib.dump(DummyClassifier().fit(frame, target), found / "same.joblib")
    joblib.dump(DummyRegressor().fit(frame, frame["a"]), found / "mean.joblib")
    return found


@pytest.fixture
def tabular(cli: Callable[..., Result], folder: Path) -> Callable[..., Result]:
    """Explain the first row by a model of the folder, from the rows as background."""

    def run(model: str, *options: object, rows: str = "rows.csv") -> Result:
        return cli("tabular", folder / model, folder / rows, "-b", folder / "rows.csv", "--json",
                   "-q", "--flips", 0, *options)  # fmt: skip

    return run


def sentences(result: Result) -> list[str]:
    """The errors on stderr, without hints."""
    return [line for line in result.stderr.splitlines() if not line.startswith("  hint: ")]


def test_a_gate_that_is_passed_says_nothing(tabular):
    done = tabular("forest.joblib", "-r", 0, "--min-fidelity", -1, "--min-stability", 0,
                   "--max-gap", 1)  # fmt: skip
    assert done.code == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--min-fidelity", 0.99), "is below --min-fidelity 0.99"),
        (("--min-stability", 1, "--sampler", "lime", "-n", 30, "-k", 2),
         "is below --min-stability 1"),
        (("--max-gap", 1e-9), "more than --max-gap 1e-09"),
    ],
)  # fmt: skip
def test_a_gate_that_fails_ends_with_1_and_one_sentence_the_report_written_all_the_same(
    tabular, tmp_path, options, said
):
    target = tmp_path / "report.json"
    done = tabular("forest.joblib", "-r", 0, *options, "-o", target)
    assert done.code == 1
    (line,) = sentences(done)
    assert line.startswith("limecli: gate failed: 0, ")
    assert said in line
    assert json.loads(done.stdout)["explanations"] == json.loads(target.read_text())["explanations"]


def test_the_first_that_fails_is_named_and_the_others_counted(tabular):
    done = tabular("forest.joblib", "-r", "0:3", "-t", 2, "--min-fidelity", 0.99)
    assert done.code == 1
    (line,) = sentences(done)
    assert line.endswith("(and 5 more)")


@pytest.mark.parametrize("model", ["same.joblib", "mean.joblib"])
@pytest.mark.parametrize("sampler", ["auto", "sobol", "lime"])
def test_a_fidelity_that_is_undefined_has_not_been_reached(tabular, model, sampler):
    done = tabular(model, "-r", 0, "--sampler", sampler, "-n", 500, "--min-fidelity", -1)
    assert done.code == 1
    assert "fidelity could not be measured, --min-fidelity asks for -1" in done.stderr
    assert json.loads(done.stdout)["explanations"][0]["labels"][0]["fidelity"] is None


def test_gates_ask_lime_s_own_classes_too(tabular):
    done = tabular("forest.joblib", "-r", 0, "--engine", "lime", "-n", 200, "--min-fidelity", 0.99)
    assert done.code == 1


def test_gates_ask_texts_and_pictures_too(cli):
    for words in (("text", SAMPLES / "spam.joblib", "you have won a prize"),
                  ("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png")):  # fmt: skip
        done = cli(*words, "-n", 200, "-q", "--json", "--max-gap", 0)
        assert done.code == 1
        assert "--max-gap 0" in done.stderr
        assert json.loads(done.stdout)["explanations"]


@pytest.mark.parametrize(
    "options",
    [("--min-fidelity", "nan"), ("--min-fidelity", 1.1), ("--min-stability", "nan"),
     ("--min-stability", -0.1), ("--max-gap", "nan"), ("--max-gap", -1)],
)  # fmt: skip
def test_a_demand_that_nothing_could_meet_or_miss_is_a_usage_error(tabular, options):
    assert tabular("forest.joblib", "-r", 0, *options).code == 2


def surrogate(**values: object) -> Surrogate:
    return Surrogate("yes", 0, 0.5, **{
        "local_prediction": 0.5, "model_prediction": 0.5, "r2_fit": None, "attributions": (),
        **values,
    })  # fmt: skip


def checked(gates: GateOptions, found: Surrogate) -> str:
    """What the gates say of a label; nothing when it passes."""
    item = Explanation(Instance("7", 7, "text", "a", "0"), (), 0, (found,))
    try:
        gates.check([Skipped("6", 6, "no row"), item])
    except GateError as error:
        return error.message
    return ""


@pytest.mark.parametrize("fidelity", [0.3, 0.31, 1.0])
def test_what_is_just_reached_is_reached(fidelity):
    assert not checked(GateOptions(min_fidelity=0.3), surrogate(fidelity=fidelity))
    assert not checked(GateOptions(min_stability=0.3), surrogate(stability=fidelity))


def test_the_sentence_shows_that_a_near_miss_is_one():
    said = checked(GateOptions(min_fidelity=0.3), surrogate(fidelity=0.29996))
    assert said == "gate failed: 7, yes: fidelity 0.29996 is below --min-fidelity 0.3"
    said = checked(GateOptions(max_gap=1000), surrogate(local_prediction=1001.0))
    assert (
        said
        == "gate failed: 7, yes: surrogate and model differ by 1000.5, more than --max-gap 1000"
    )


def test_a_gap_counts_on_either_side():
    for said, meant in ((0.7, 0.5), (0.5, 0.7)):
        found = surrogate(local_prediction=said, model_prediction=meant)
        assert not checked(GateOptions(max_gap=0.21), found)
        assert checked(GateOptions(max_gap=0.19), found)


def test_a_stability_that_was_not_measured_has_not_been_reached():
    assert "could not be measured" in checked(GateOptions(min_stability=0.0), surrogate())


# -- --require-background --------------------------------------------------------------------------


def test_a_background_that_was_given_is_enough(tabular, cli, folder):
    assert tabular("forest.joblib", "-r", 0, "--require-background").code == 0
    sidecar = folder / "sidecar.joblib.background.json"
    assert cli("background", folder / "rows.csv", "-o", sidecar, "-q").code == 0
    for given in ((), ("-b", sidecar)):
        done = cli("tabular", folder / "sidecar.joblib", folder / "few.csv", "-r", 0, "-q",
                   "--json", "--require-background", *given)  # fmt: skip
        assert done.code == 0, done.stderr
        expected = "file" if given else "sidecar"
        assert json.loads(done.stdout)["background"]["source"] == expected


@pytest.mark.parametrize(
    ("model", "rows", "where"),
    [("forest.joblib", "few.csv", "recovered from the model"),
     ("plain.joblib", "rows.csv", "taken from the rows themselves")],
)  # fmt: skip
def test_a_background_that_nobody_gave_ends_with_1(cli, folder, model, rows, where):
    run = ("tabular", folder / model, folder / rows, "-r", 0, "-q", "--json")
    assert cli(*run).code == 0
    done = cli(*run, "--require-background")
    assert done.code == 1
    (line,) = sentences(done)
    assert line == f"limecli: gate failed: --require-background, but it was {where}"
    assert done.stdout == ""


# -- with rows that were skipped -------------------------------------------------------------------


def test_rows_that_could_not_be_explained_matter_more_than_a_gate(tabular):
    """A script that waits for 1 must not take a run for whole."""
    run = ("plain.joblib", "-n", 500, "--min-fidelity", 0.99)
    done = tabular(*run, rows="gap.csv")
    assert done.code == 4
    report = json.loads(done.stdout)["explanations"]
    assert [item["status"] for item in report] == ["ok", "skipped", "ok"]
    assert tabular(*run, "-r", 0, rows="gap.csv").code == 1


def test_a_gate_that_fails_is_told_as_json_where_errors_are(tabular):
    done = tabular("forest.joblib", "-r", 0, "--min-fidelity", 0.99, "--error-format", "json")
    assert done.code == 1
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("gate failed" in json.dumps(one) for one in told)
