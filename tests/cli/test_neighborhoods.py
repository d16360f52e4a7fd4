"""`--save-neighborhood`: what is saved is what the explanation rests on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from limecli.neighborhood.sobol import sobol_plan
from tests.conftest import SAMPLES, Result

TEXT = "Free prize! call the free number, or see you at home"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest of numbers, one of numbers and categories, and their rows."""
    found = tmp_path_factory.mktemp("saved")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    target = np.where(frame["a"] * 2 + frame["b"] > 0, "yes", "no")
    frame.to_csv(found / "rows.csv", index=False)
    joblib.dump(RandomForestClassifier(8, random_state=0).fit(frame, target), found / "m.joblib")
    mixed = frame[["a"]].assign(
        town=rng.choice(["Ulm", "Bonn", "Köln"], 120), name=[f"n/{i}" for i in range(120)]
    )
    mixed.to_csv(found / "mixed.csv", index=False)
    columns = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
    model = make_pipeline(columns, RandomForestClassifier(8, random_state=0))
    joblib.dump(model.fit(mixed[["a", "town"]], target), found / "mixed.joblib")
    return found


@pytest.fixture
def saved(cli: Callable[..., Result], folder: Path, tmp_path: Path) -> Callable[..., Any]:
    """(the only label's report, the archive) of a row of numbers."""

    def run(*options: object, row: int = 0) -> tuple[Any, Any]:
        target = tmp_path / "saved.npz"
        done = cli("tabular", folder / "m.joblib", folder / "rows.csv", "-b", folder / "rows.csv",
                   "-r", row, "--json", "--save-neighborhood", target, *options)  # fmt: skip
        assert done.code == 0, done.stderr
        (explanation,) = json.loads(done.stdout)["explanations"]
        return explanation["labels"][0], np.load(target, allow_pickle=False)

    return run


def fitted(z: Any, weights: Any, outputs: Any, alpha: float) -> tuple[float, Any]:
    """Intercept and weights of a weighted ridge, by the textbook."""
    design = np.column_stack([np.ones(len(z)), z])
    penalty = alpha * np.diag([0.0] + [1.0] * z.shape[1])
    gram = design.T @ (weights[:, None] * design) + penalty
    found = np.linalg.solve(gram, design.T @ (weights * outputs))
    return float(found[0]), found[1:]


def weights_of(label: Any) -> Any:
    found = {item["index"]: item["weight"] for item in label["attributions"]}
    return np.array([found[j] for j in range(len(found))])


SHAPES = {"samples", "z", "weights", "predictions", "instance", "class_names", "feature_names",
          "categories", "blocks"}  # fmt: skip


@pytest.mark.parametrize("flags", [(), ("--sampler", "sobol"), ("--sampler", "lime"),
                                   ("--discretizer", "none", "--sampler", "sobol"),
                                   ("--settle", "2", "--sampler", "sobol")])  # fmt: skip
def test_predictions_belong_to_the_samples(saved, folder, flags):
    label, found = saved("-n", 600, *flags)
    assert set(found.files) == SHAPES
    n = len(found["samples"])
    assert found["samples"].shape == found["z"].shape == (n, 3)
    assert found["weights"].shape == (n,)
    assert found["predictions"].shape == (n, 2)
    frame = pd.DataFrame(found["samples"], columns=found["feature_names"])
    again = joblib.load(folder / "m.joblib").predict_proba(frame)
    np.testing.assert_allclose(found["predictions"], again, atol=1e-12)
    assert list(found["class_names"]) == ["no", "yes"]
    rows = pd.read_csv(folder / "rows.csv")
    np.testing.assert_array_equal(found["instance"], rows.iloc[0])
    assert label["label"] in found["class_names"]


def test_the_samples_of_sobol_are_those_that_the_weights_come_from(saved):
    label, found = saved("--sampler", "sobol", "-n", 2048)
    plan = sobol_plan(2048, 3)
    outputs = found["predictions"][:, label["index"]]
    parts = [
        fitted(z, weights, y, 0.0)[1]
        for z, weights, y in zip(
            *(
                np.split(array, plan.replicates)
                for array in (found["z"], found["weights"], outputs)
            ),
            strict=True,
        )
    ]
    np.testing.assert_allclose(np.mean(parts, axis=0), weights_of(label), rtol=1e-6, atol=1e-9)
    half = np.array([item["high"] - item["low"] for item in label["attributions"]]).max() / 2
    whole = fitted(found["z"], found["weights"], outputs, 0.0)[1]
    np.testing.assert_allclose(whole, weights_of(label), atol=half)


@pytest.mark.parametrize("flags", [(), ("--discretizer", "none")])
def test_the_samples_of_lime_with_the_instance_give_the_weights(saved, flags):
    label, found = saved("--sampler", "lime", "-n", 500, *flags)
    assert len(found["z"]) == 499  # the instance is lime's first sample
    first = np.ones(3)
    if flags:
        scale = (found["z"][0] - found["z"][1]) / (found["samples"][0] - found["samples"][1])
        first = found["z"][0] + (found["instance"] - found["samples"][0]) * scale
    z = np.vstack([first, found["z"]])
    weights = np.append(1.0, found["weights"])
    outputs = np.append(label["model_prediction"], found["predictions"][:, label["index"]])
    intercept, expected = fitted(z, weights, outputs, 1.0)
    np.testing.assert_allclose(expected, weights_of(label), rtol=1e-7, atol=1e-10)
    assert intercept == pytest.approx(label["intercept"], rel=1e-7)


def test_exact_weights_are_near_those_of_the_samples_they_were_checked_on(saved):
    label, found = saved()
    assert label["interval"] == "exact"
    outputs = found["predictions"][:, label["index"]]
    expected = fitted(found["z"], found["weights"], outputs, 0.0)[1]
    np.testing.assert_allclose(expected, weights_of(label), atol=0.02)


def test_z_says_which_samples_share_a_bin_with_the_instance(saved):
    label, found = saved("--sampler", "lime", "-n", 400)
    for item in label["attributions"]:
        inside = found["z"][:, item["index"]].astype(bool)
        same = found["samples"][inside, item["index"]]
        other = found["samples"][~inside, item["index"]]
        assert not ((other > same.min()) & (other < same.max())).any()


def test_several_rows_have_an_archive_each_and_their_categories(cli, folder, tmp_path):
    done = cli("tabular", folder / "mixed.joblib", folder / "mixed.csv", "-b", folder / "mixed.csv",
               "-r", "0:3", "--id-column", "name", "-q", "-n", 300, "--save-neighborhood",
               tmp_path / "{id}.npz")  # fmt: skip
    assert done.code == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"n_0.npz", "n_1.npz", "n_2.npz"}
    rows = pd.read_csv(folder / "mixed.csv")
    for i in range(3):
        found = np.load(tmp_path / f"n_{i}.npz", allow_pickle=False)
        names = json.loads(str(found["categories"]))
        assert list(names) == ["town"]
        assert list(found["feature_names"]) == ["a", "town"]
        assert names["town"][int(found["instance"][1])] == rows["town"][i]
        towns = [names["town"][int(code)] for code in found["samples"][:, 1]]
        same = [town == rows["town"][i] for town in towns]
        np.testing.assert_array_equal(found["z"][:, 1].astype(bool), same)
        frame = pd.DataFrame({"a": found["samples"][:, 0], "town": towns})
        again = joblib.load(folder / "mixed.joblib").predict_proba(frame)
        np.testing.assert_allclose(found["predictions"], again, atol=1e-12)


@pytest.mark.parametrize("sampler", ["pairs", "lime"])
def test_a_text_s_archive_names_its_words_and_gives_the_weights(cli, tmp_path, sampler):
    target = tmp_path / "text.npz"
    done = cli("text", SAMPLES / "spam.joblib", TEXT, "--json", "-q", "-k", 50, "-n", 800,
               "--sampler", sampler, "--save-neighborhood", target)  # fmt: skip
    assert done.code == 0, done.stderr
    label = json.loads(done.stdout)["explanations"][0]["labels"][0]
    found = np.load(target, allow_pickle=False)
    words = list(found["feature_names"])
    assert words == ["Free", "prize", "call", "the", "free", "number", "or", "see", "you", "at",
                     "home"]  # fmt: skip
    for item in label["attributions"]:
        assert words[item["index"]] == item["feature"]
    z, weights = found["z"], found["weights"]
    outputs = found["predictions"][:, label["index"]]
    if sampler == "lime":
        z, weights = np.vstack([found["instance"], z]), np.append(1.0, weights)
        outputs = np.append(label["model_prediction"], outputs)
    expected = fitted(z.astype(float), weights, outputs, float(sampler == "lime"))[1]
    np.testing.assert_allclose(expected, weights_of(label), rtol=1e-5, atol=1e-7)
    model = joblib.load(SAMPLES / "spam.joblib")
    kept = found["samples"][5]
    text = "".join(
        part for part in re.split(r"(\W+)", TEXT)
        if part not in words or kept[words.index(part)]
    )  # fmt: skip
    np.testing.assert_allclose(found["predictions"][5], model.predict_proba([text])[0], atol=1e-9)


@pytest.mark.parametrize("flags", [("--no-bow",), ("--char-level",), ("--char-level", "--no-bow")])
def test_places_and_characters_are_named_as_many_as_there_are(cli, tmp_path, flags):
    target = tmp_path / "text.npz"
    done = cli("text", SAMPLES / "spam.joblib", "to be or to be", *flags, "-q", "-n", 64,
               "--save-neighborhood", target)  # fmt: skip
    assert done.code == 0, done.stderr
    found = np.load(target, allow_pickle=False)
    assert len(found["feature_names"]) == found["z"].shape[1] == found["samples"].shape[1]


def test_a_picture_s_archive_holds_its_superpixels(cli, tmp_path):
    target = tmp_path / "picture.npz"
    done = cli("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", "--segmentation", "slic",
               "--num-segments", 12, "-n", 1000, "-q", "--json", "--sampler", "lime",
               "--save-neighborhood", target)  # fmt: skip
    assert done.code == 0, done.stderr
    label = json.loads(done.stdout)["explanations"][0]["labels"][0]
    found = np.load(target, allow_pickle=False)
    count = found["z"].shape[1]
    assert found["segments"].shape == (28, 28)
    assert set(np.unique(found["segments"])) == set(range(count))
    z = np.vstack([found["instance"], found["z"]]).astype(float)
    outputs = np.append(label["model_prediction"], found["predictions"][:, label["index"]])
    expected = fitted(z, np.append(1.0, found["weights"]), outputs, 1.0)[1]
    np.testing.assert_allclose(expected, weights_of(label), rtol=1e-6, atol=1e-8)


def test_equal_runs_save_equal_bytes(saved, tmp_path):
    saved("-n", 300)
    first = (tmp_path / "saved.npz").read_bytes()
    saved("-n", 300)
    assert (tmp_path / "saved.npz").read_bytes() == first


def test_lime_s_own_classes_keep_no_samples_and_that_is_said(fails, folder, tmp_path):
    target = tmp_path / "none.npz"
    done = fails(2, "tabular", folder / "m.joblib", folder / "rows.csv", "-r", 0, "-n", 100,
                 "--engine", "lime", "--save-neighborhood", target)  # fmt: skip
    assert "lime's own classes keep no samples" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("saved.npy", 2, "the name must end with .npz"),
        ("saved", 2, "the name must end with .npz"),
        ("nowhere/saved.npz", 6, "there is no folder"),
        ("folder.npz", 6, "is a directory"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_written_is_refused_before_anything_is_asked(
    fails, folder, tmp_path, name, code, said
):
    (tmp_path / "folder.npz").mkdir()
    done = fails(code, "tabular", folder / "m.joblib", folder / "rows.csv", "-b",
                 folder / "rows.csv", "-r", 0, "--save-neighborhood", tmp_path / name)  # fmt: skip
    assert said in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_must_not_be_written_is_refused(fails, folder, tmp_path):
    tmp_path.chmod(0o500)
    done = fails(6, "tabular", folder / "m.joblib", folder / "rows.csv", "-r", 0,
                 "--save-neighborhood", tmp_path / "saved.npz")  # fmt: skip
    assert "permission denied" in done.stderr


def test_one_name_for_several_rows_is_refused(fails, folder, tmp_path):
    done = fails(2, "tabular", folder / "m.joblib", folder / "rows.csv", "-b",
                 folder / "rows.csv", "-r", "0:2", "--save-neighborhood",
                 tmp_path / "saved.npz")  # fmt: skip
    assert "several explanations would be written there" in done.stderr
    assert "{id}" in done.stderr
    assert not list(tmp_path.iterdir())
