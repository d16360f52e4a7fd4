"""The committed samples: whole, small, explained by the commands that the README shows."""

from __future__ import annotations

import hashlib
import json

import jsonschema
import pytest

from tests.conftest import SAMPLES

MANIFEST = [line.split("  ") for line in (SAMPLES / "MANIFEST").read_text().splitlines()]


@pytest.mark.parametrize(("digest", "name"), MANIFEST, ids=[name for _, name in MANIFEST])
def test_a_sample_is_what_the_manifest_says(digest, name):
    data = (SAMPLES / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
    assert len(data) < (5_000_000 if name.startswith("efficientnet") else 300_000)


def test_the_manifest_is_complete():
    kept = {path.name for path in SAMPLES.iterdir() if path.is_file()}
    documented = {"MANIFEST", "README.md", "build.py", "build_efficientnet.py",
                  "LICENSE-efficientnet-lite0.md"}  # fmt: skip
    assert kept - documented == {name for _, name in MANIFEST}


@pytest.mark.parametrize(
    ("args", "label"),
    [
        (("tabular", "penguins.pkl", "penguin.csv"), "Adelie"),
        (("tabular", "diabetes.joblib", "patient.csv", "--target", "progression"), "progression"),
        (("text", "spam.joblib", "--file", "message.txt"), "spam"),
        (("image", "digits.h5", "digit-3.png", "--hide-color", "black"), "3"),
        (("image", "digits.onnx", "digit-5.png", "--hide-color", "black"), "5"),
        (("image", "efficientnet-lite0.onnx", "chelsea.jpg"), "Egyptian_cat"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_sample_is_explained(cli, args, label):
    words = [args[0], *(SAMPLES / a if (SAMPLES / a).is_file() else a for a in args[1:])]
    result = cli(*words, "-n", "64", "--json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    jsonschema.validate(report, json.loads(cli("schema").stdout))
    (item,) = report["explanations"]
    assert item["labels"][0]["label"] == label


def test_keras_and_onnx_give_the_same_digits(cli):
    scores = []
    for name in ("digits.h5", "digits.onnx"):
        result = cli("image", SAMPLES / name, SAMPLES / "digit-8.png", "-n", "32", "--json")
        (item,) = json.loads(result.stdout)["explanations"]
        scores.append({score["label"]: score["value"] for score in item["prediction"]})
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
