"""How texts and pictures are explained: by pairs, by Hadamard's blocks or by lime's draws, as the
command does it with real models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.conftest import SAMPLES, Result

Json = dict[str, Any]
MESSAGE = SAMPLES / "message.txt"
DIGITS = [SAMPLES / f"digit-{number}.png" for number in (3, 5, 8)]
ALIKE = norm.ppf(1 - 1e-4) / norm.ppf(0.975)  # a 95 % interval, so much wider, holds 40 of 40


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logistic regression on the words of a few sentences."""
    rng = np.random.default_rng(0)
    good, bad = "fine warm kind clear bright".split(), "cold dull late grey lost".split()
    plain = "the a room was food and it very staff".split()
    texts, labels = [], []
    for i in range(200):
        mood = good if i % 2 else bad
        texts.append(" ".join(rng.permutation([*rng.choice(mood, 3), *rng.choice(plain, 6)])))
        labels.append("up" if i % 2 else "down")
    path = tmp_path_factory.mktemp("words") / "words.joblib"
    joblib.dump(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels), path)
    return path


TEXT = "the room was fine and warm but the staff was late and very dull"


@pytest.fixture
def text(cli: Callable[..., Result], words: Path) -> Callable[..., Json]:
    def run(*options: object, model: Path = words, said: tuple[object, ...] = (TEXT,)) -> Json:
        result = cli("text", model, *said, "--json", "--flips", 0, *options)
        assert result.code == 0, result.stderr
        report: Json = json.loads(result.stdout)
        return report

    return run


@pytest.fixture
def image(cli: Callable[..., Result]) -> Callable[..., Json]:
    def run(*options: object, pictures: list[Path] = DIGITS[:1], segments: int = 20) -> Json:
        result = cli("image", SAMPLES / "digits.onnx", *pictures, "--segmentation", "slic",
                     "--num-segments", segments, "--json", "-q", "--flips", 0,
                     *options)  # fmt: skip
        assert result.code == 0, result.stderr
        report: Json = json.loads(result.stdout)
        return report

    return run


def only(report: Json) -> Json:
    """The one label of the one explanation."""
    (explanation,) = report["explanations"]
    (label,) = explanation["labels"]
    found: Json = label
    return found


def assert_alike(one: Json, other: Json) -> None:
    """Weights of two independent draws, as far apart as their intervals explain."""
    mine, yours = (
        {item["index"]: item for item in label["attributions"]} for label in (one, other)
    )
    assert mine.keys() == yours.keys()
    largest = max(abs(item["weight"]) for item in mine.values())
    for j, a in mine.items():
        b = yours[j]
        errors = [(item["high"] - item["low"]) / 2 for item in (a, b)]
        assert max(errors) < 0.15 * largest  # else the next line could not fail
        assert abs(a["weight"] - b["weight"]) <= ALIKE * float(np.hypot(*errors)), a["feature"]


# -- which way to draw -----------------------------------------------------------------------------


def test_auto_takes_pairs_for_texts_and_hadamard_for_pictures(text, image):
    for report, sampler, interval in ((text(), "pairs", "pairs"),
                                      (image(), "hadamard", "replicates")):  # fmt: skip
        assert report["settings"]["sampler"] == report["explanations"][0]["sampler"] == sampler
        assert only(report)["interval"] == interval


def test_too_few_samples_for_blocks_of_a_picture_are_pairs(image):
    report = image("-n", 20, segments=60)
    assert report["settings"]["sampler"] == "pairs"


def test_each_way_to_draw_a_text_tends_to_the_same_weights(text):
    few, many = ("-k", 20, "-n", 4000), ("-k", 20, "-n", 20000)
    limes = only(text("--sampler", "lime", *many))
    for flags in (("--sampler", "pairs"), ("--sampler", "pairs", "--control-variate")):
        found = only(text(*flags, *few, "-s", 3))
        assert_alike(found, limes)
        assert found["fidelity"] == pytest.approx(limes["fidelity"], abs=0.03)


def test_each_way_to_draw_a_picture_tends_to_the_same_weights(image):
    limes = only(image("--sampler", "lime", "-n", 6000))
    for flags in (("--sampler", "hadamard"), ("--sampler", "pairs"),
                  ("--sampler", "pairs", "--control-variate")):  # fmt: skip
        found = only(image(*flags, "-n", 3000, "-s", 3))
        assert_alike(found, limes)
        assert found["fidelity"] == pytest.approx(limes["fidelity"], abs=0.05)


def test_lime_is_one_flag_away(text, image):
    for run in (text, image):
        ours, limes = run("--sampler", "lime", "-n", 300), run("--engine", "lime", "-n", 300)
        assert ours["settings"]["num_samples"] == 300
        found, expected = (
            {item["index"]: item["weight"] for item in only(report)["attributions"]}
            for report in (ours, limes)
        )
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("count", [100, 777])
def test_the_recorded_number_of_samples_and_sampler_give_the_same_report_again(text, image, count):
    for run, samplers in ((text, ("auto", "pairs", "lime")),
                          (image, ("auto", "hadamard", "pairs", "lime"))):  # fmt: skip
        for sampler in samplers:
            first = run("--sampler", sampler, "-n", count)
            used = first["settings"]
            again = run("--sampler", used["sampler"], "-n", used["num_samples"])
            assert again["explanations"] == first["explanations"]
            assert {**again["settings"], "requested": 0} == {**used, "requested": 0}


@pytest.mark.parametrize("how", [("--batch-size", 7), ("--max-memory", "1M")])
def test_the_size_of_batches_changes_nothing(text, how):
    whole, parts = text("-n", 500), text("-n", 500, *how)
    assert parts["explanations"] == whole["explanations"]


# -- several at a time -----------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["auto", "pairs", "lime"])
def test_pictures_with_other_numbers_of_superpixels_are_each_explained_as_if_alone(image, sampler):
    options = ("--sampler", sampler, "-n", 600)
    report = image(*options, pictures=DIGITS, segments=60)
    counts = {item["segmentation"]["count"] for item in report["explanations"]}
    assert min(counts) < 32 <= max(counts)  # so they take blocks of other sizes
    if sampler == "auto":  # no one number of samples holds for all
        assert report["settings"]["sampler"] == "auto"
        assert report["settings"]["num_samples"] == 600
    for together, picture in zip(report["explanations"], DIGITS, strict=True):
        (alone,) = image(*options, pictures=[picture], segments=60)["explanations"]
        assert {**alone, "index": together["index"]} == together
    settings = report["settings"]
    again = image("--sampler", settings["sampler"], "-n", settings["num_samples"],
                  pictures=DIGITS, segments=60)  # fmt: skip
    assert again["explanations"] == report["explanations"]


def test_texts_are_each_explained_as_if_alone(cli, words, tmp_path):
    texts = [TEXT, "the food was lost", "a bright and clear room"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    run = ("text", words, "--json", "-n", 200)
    together = json.loads(cli(*run, "--file", tmp_path / "texts.txt", "--lines").stdout)
    for found, said in zip(together["explanations"], texts, strict=True):
        (alone,) = json.loads(cli(*run, said).stdout)["explanations"]
        assert found["labels"] == alone["labels"]


# -- settling --------------------------------------------------------------------------------------


def test_settling_doubles_the_samples_until_the_order_is_sure(text, image):
    for run, sampler in ((text, "pairs"), (image, "hadamard"), (image, "pairs")):
        options = ("--sampler", sampler, "--settle", 1)
        report = run("-n", 128, *options)
        start = report["settings"]["num_samples"]
        assert only(report)["settled"] is True
        drawn = next(
            count for count in (start << i for i in range(12))
            if only(run("-n", start, *options, "--max-samples", count))["settled"]
        )  # fmt: skip
        plain = run("--sampler", sampler, "-n", drawn)  # as many at once
        assert only(plain)["attributions"] == only(report)["attributions"]


def test_settling_stops_at_the_most_samples_allowed(text, image):
    for run in (text, image):
        report = run("-n", 128, "--settle", 9, "--tie-tolerance", 0, "--max-samples", 300)
        assert only(report)["settled"] is False
        assert report["explanations"][0]["weight_calls"] <= 301


def test_settling_never_draws_more_than_allowed_even_at_first(text, image):
    for run in (text, image):
        report = run("--settle", 9, "--max-samples", 200)
        assert report["explanations"][0]["weight_calls"] <= 201


def test_labels_are_settled_together(image):
    report = image("-n", 128, "--settle", 1, "-t", 3, "--max-samples", 16384)
    labels = report["explanations"][0]["labels"]
    assert len(labels) == 3
    assert len({label["settled"] for label in labels}) == 1


def test_lime_s_own_stream_cannot_go_on(fails, words):
    for flags in (("--sampler", "lime"), ("--engine", "lime")):
        assert "--settle" in fails(2, "text", words, TEXT, "--settle", 3, *flags).stderr


@pytest.mark.parametrize(
    ("kind", "sampler"),
    [("text", "hadamard"), ("text", "sobol"), ("text", "exact"), ("image", "exact"),
     ("image", "sobol")],
)  # fmt: skip
def test_a_way_to_draw_that_the_kind_lacks_is_refused(fails, words, kind, sampler):
    what = (words, TEXT) if kind == "text" else (SAMPLES / "digits.onnx", DIGITS[0])
    done = fails(2, kind, *what, "--sampler", sampler)
    assert f"--sampler {sampler} is not for {kind} explanations" in done.stderr


# -- the width of the best fidelity ----------------------------------------------------------------


def test_the_width_found_is_recorded_and_no_worse_than_the_default(text, image):
    spam = {"model": SAMPLES / "spam.joblib", "said": ("--file", MESSAGE)}
    for run, more in ((text, {}), (text, spam), (image, {})):
        plain, report = run("-n", 1000, **more), run("-n", 1000, "--kernel-width", "auto", **more)
        width = report["settings"]["kernel_width"]
        assert report["settings"]["auto_width"] is True
        fixed = run("-n", 1000, "--kernel-width", repr(width), **more)
        assert only(fixed)["attributions"] == only(report)["attributions"]
        assert only(fixed)["fidelity"] >= only(plain)["fidelity"]


def test_the_first_picture_settles_the_width_for_all(image):
    report = image("--kernel-width", "auto", "-n", 512, pictures=DIGITS)
    first = image("--kernel-width", "auto", "-n", 512)
    width = report["settings"]["kernel_width"]
    assert width == first["settings"]["kernel_width"]
    fixed = image("--kernel-width", repr(width), "-n", 512, pictures=DIGITS)
    for one, other in zip(report["explanations"], fixed["explanations"], strict=True):
        assert one["labels"][0]["attributions"] == other["labels"][0]["attributions"]


# -- what has little to draw -----------------------------------------------------------------------


def test_one_word_and_one_superpixel(text, cli, tmp_path):
    report = text(said=("fine",), model=SAMPLES / "spam.joblib")
    assert len(only(report)["attributions"]) == 1
    Image.new("L", (28, 28), 120).save(tmp_path / "grey.png")
    done = cli("image", SAMPLES / "digits.onnx", tmp_path / "grey.png", "-q", "--json", "-n", 64)
    assert done.code == 0, done.stderr


def test_a_model_that_always_says_the_same_has_weights_of_nothing(text, tmp_path):
    from sklearn.dummy import DummyClassifier

    path = tmp_path / "same.joblib"
    joblib.dump(
        make_pipeline(TfidfVectorizer(), DummyClassifier()).fit([TEXT] * 4, list("aabb")), path
    )
    for flags in ((), ("--sampler", "lime"), ("--settle", 2), ("--kernel-width", "auto")):
        label = only(text("-n", 200, *flags, model=path))
        assert label["fidelity"] is None
        assert all(item["weight"] == pytest.approx(0, abs=1e-12) for item in label["attributions"])
