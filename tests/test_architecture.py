"""What keeps the tool quick to start and its help complete."""

from __future__ import annotations

import ast
import json
import pickle
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer

from limecli.cli import app, commands_of
from limecli.cli.options import Sampler
from limecli.explainers.samplers import SAMPLERS
from tests.conftest import ROOT

HEAVY = ("sklearn", "lime", "pandas", "matplotlib", "skimage", "PIL", "scipy", "jinja2", "keras",
         "torch", "onnxruntime", "numpy", "joblib")  # fmt: skip
COMMANDS = {" ".join(path): found for path, found in commands_of(typer.main.get_command(app))}
PACKAGE = ROOT / "limecli"


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom limecli.cli import main\nsys.argv = ['limecli', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "tabular" in done.stdout


NEVER = ("lime", "matplotlib", "PIL", "skimage", "jinja2", "onnx", "onnxruntime", "keras", "torch",
         "xgboost", "lightgbm", "catboost", "sklearn.ensemble", "sklearn.tree")  # fmt: skip


@pytest.fixture(scope="module")
def logistic(tmp_path_factory):
    """A folder with a logistic model, a row, the training data and their statistics."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("logistic")
    table, target = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=500).fit(table, target)
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    (folder / "bare.pkl").write_bytes(pickle.dumps(model.fit(table.to_numpy(), target)))
    table.to_csv(folder / "train.csv", index=False)
    table.head(1).to_csv(folder / "row.csv", index=False)
    return folder


@pytest.mark.parametrize("model", ["model.pkl", "bare.pkl"])
@pytest.mark.parametrize("words", [
    ["row.csv", "-b", "train.csv"], ["train.csv", "--row", "0"],
    ["row.csv", "-b", "train.csv", "-k", "3", "--json"],
    ["row.csv", "-b", "train.csv", "-f", "csv"],
])  # fmt: skip
def test_a_linear_model_is_explained_without_what_it_does_not_need(logistic, model, words):
    command = ["limecli", "tabular", model, *words]
    code = (
        f"import sys\nfrom limecli.cli import main\nsys.argv = {command}\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print([name for name in {NEVER} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=logistic
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout


def test_a_forest_is_explained_exactly_without_lime_itself(logistic):
    """lime's own classes are for `--engine lime`, the pictures' libraries for pictures."""
    code = (
        "import pickle, sys\nimport pandas as pd\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "table = pd.read_csv('train.csv')\n"
        "model = RandomForestClassifier(5, random_state=0).fit(table, [0, 1, 2] * 50)\n"
        "pickle.dump(model, open('forest.pkl', 'wb'))\n"
        "from limecli.cli import main\n"
        "sys.argv = ['limecli', 'tabular', 'forest.pkl', 'row.csv', '-b', 'train.csv', '--json']\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print([n for n in {NEVER} if n in sys.modules and 'sklearn' not in n], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=logistic
    )
    assert done.stderr.splitlines()[-1] == "[]"
    (item,) = json.loads(done.stdout)["explanations"]
    assert item["sampler"] == "exact"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_help(name):
    command = COMMANDS[name]
    assert command.help
    options = [param for param in command.params if param.opts[0].startswith("-")]
    assert len(options) >= 5
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_its_help(cli, name):
    result = cli(*name.split(), "--help")
    assert result.code == 0
    assert result.stdout.startswith(f"Usage: limecli {name}")


def test_version(cli):
    assert re.fullmatch(r"limecli \d+\.\d+\.\d+\n", cli("--version").stdout)


def test_builtins_register_like_third_parties():
    for group, names in (
        ("limecli.models", {"pickle", "keras", "onnx"}),
        ("limecli.explainers", {"limecli-tabular", "limecli-image", "lime-tabular", "lime-text"}),
        ("limecli.formats", {"terminal", "json", "csv", "png"}),
    ):
        assert names <= {point.name for point in entry_points(group=group)}


def test_every_optional_package_has_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert {"keras", "onnx", "samples", "test"} <= extras.keys()
    assert not any(name.startswith(("keras", "onnx")) for name in project["dependencies"])


def test_formats_lists_what_can_be_read_and_written(cli):
    shown = cli("formats").stdout
    for name in ("pickle", "keras", "onnx", "terminal", "json", ".csv", ".png"):
        assert name in shown


def test_no_file_holds_two_ideas():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in Path(ROOT / "limecli").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def imported(path):
    """Every module that a file imports, at its head or inside of a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


def test_lime_itself_is_known_to_its_own_engine_and_to_its_bins():
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "lime" for name in imported(path))
    }
    assert users == {"explainers/reference.py", "inputs/background.py"}


@pytest.mark.parametrize("package", ["neighborhood", "surrogate"])
def test_the_mathematics_know_arrays_and_nouns_only(package):
    """No files, no tables, no options; each of the two knows nothing of the other."""
    allowed = {"numpy", "scipy", "sklearn", "limecli.types", "limecli.leaf_boxes"}
    allowed |= {f"limecli.{package}", *sys.stdlib_module_names}
    known = {
        ".".join(name.split(".")[:2] if name.startswith("limecli") else name.split(".")[:1])
        for path in (PACKAGE / package).glob("*.py")
        for name in imported(path)
    }
    assert known - allowed == set()


@pytest.mark.parametrize("package", ["neighborhood", "surrogate", "explainers", "report"])
def test_what_is_heavy_is_imported_where_it_is_needed(package):
    """A sampler or a fit that a run does not use costs it no time to start."""
    modules = [f"limecli.{package}.{path.stem}" for path in (PACKAGE / package).glob("[a-z]*.py")]
    modules = [name for name in modules if name != "limecli.explainers.reference"]
    code = (
        f"import importlib, sys\nfor name in {modules}:\n    importlib.import_module(name)\n"
        f"print([name for name in {HEAVY} if name in sys.modules and name != 'numpy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert modules


def test_every_sampler_that_can_be_asked_for_is_one_of_some_kind():
    assert {name for names in SAMPLERS.values() for name in names} == {
        item.value for item in Sampler
    }
    (option,) = (item for item in COMMANDS["tabular"].params if item.name == "sampler")
    assert all(item.value in option.help for item in Sampler if item is not Sampler.auto)
