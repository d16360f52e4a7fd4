"""The main job, end to end, on the committed samples."""

import json

from tests.conftest import SAMPLES


def test_a_row_is_explained_in_the_terminal(cli):
    result = cli("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-b",
                 SAMPLES / "penguins.csv")  # fmt: skip
    assert result.code == 0
    assert "why Adelie?" in result.stdout
    assert "island = Dream" in result.stdout


def test_json_goes_to_stdout_alone(cli):
    result = cli("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-b",
                 SAMPLES / "penguins.csv", "--json", "-n", "500")  # fmt: skip
    assert result.code == 0
    assert json.loads(result.stdout)["schema_version"] == 1


def test_verbose_says_what_took_how_long(cli):
    result = cli("tabular", SAMPLES / "penguins.pkl", SAMPLES / "penguin.csv", "-n", "100", "-v")
    assert "RandomForestClassifier from pickle" in result.stderr
    assert "0 explained in" in result.stderr
    assert "explained in" not in result.stdout
