"""A fresh environment with the lowest versions that pyproject.toml allows, and nothing else.

What a user gets from `pip install limecli` must run without the tests' tools; and the samples,
built with the highest scikit-learn, must load with the lowest (all other tests run the highest).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import ROOT, SAMPLES


def lowest_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [requirement.replace(">=", "==") for requirement in project["dependencies"]]


@pytest.fixture(scope="module")
def lowest(tmp_path_factory):
    """The path of limecli in the lowest environment."""
    folder = tmp_path_factory.mktemp("lowest")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet"]
    try:
        subprocess.run([*pip, *lowest_requirements()], check=True, capture_output=True, text=True)
        subprocess.run([*pip, ROOT], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        if os.environ.get("CI"):
            raise AssertionError(error.stderr) from None
        pytest.skip(f"no package index here: {error.stderr[-200:]}")
    return folder / "venv" / "bin" / "limecli"


def run(limecli, folder, *args):
    return subprocess.run(
        [limecli, *(str(arg) for arg in args)], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv"), "why Adelie?"),
        (("tabular", SAMPLES / "diabetes.joblib", SAMPLES / "patient.csv"), "why value = "),
        (("text", SAMPLES / "spam.joblib", "you have won a prize"), "why spam?"),
    ],
    ids=["penguins", "diabetes", "spam"],
)
def test_a_sample_loads_with_the_lowest_versions(lowest, tmp_path, args, word):
    done = run(lowest, tmp_path, *args)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout
    assert "saved with scikit-learn 1.9.1, loaded with 1.5.0" in done.stderr
    assert "Warning" not in done.stderr


def test_the_weights_are_those_of_the_highest_versions(lowest, tmp_path, cli):
    args = ("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-f", "csv")
    low, high = run(lowest, tmp_path, *args).stdout, cli(*args).stdout

    def weights(text):
        rows = [line.split(",") for line in text.splitlines()]
        place = rows[0].index("weight")
        return {row[rows[0].index("feature")]: float(row[place]) for row in rows[1:]}

    assert weights(low) == pytest.approx(weights(high), abs=1e-8)


def test_a_missing_extra_is_named_with_its_install_line(lowest, tmp_path):
    done = run(lowest, tmp_path, "image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png")
    assert done.returncode == 3
    assert "pip install 'limecli[onnx]'" in done.stderr
    done = run(lowest, tmp_path, "image", SAMPLES / "digits.h5", SAMPLES / "digit-3.png")
    assert done.returncode == 3
    assert "pip install 'limecli[keras]'" in done.stderr


def test_charts_can_be_drawn_with_the_lowest_versions(lowest, tmp_path):
    args = ("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-o", "chart.png")
    done = run(lowest, tmp_path, *args)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
