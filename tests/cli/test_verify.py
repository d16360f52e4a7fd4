"""`limecli verify`: a true report stands, an edited one does not, a hostile one runs nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from limecli.report.differences import TOLERANCE
from tests.conftest import SAMPLES

PENGUINS = (SAMPLES / "penguins.pkl", SAMPLES / "penguins.csv")
FEW = ("-n", "100")
LIMES = ("--sampler", "lime")


@pytest.fixture
def report(cli, tmp_path):
    """Run a command and give the path of its JSON report."""

    def run(*args, code=0, name="report.json", stdin=b""):
        path = tmp_path / name
        result = cli(*args, "-o", path, stdin=stdin)
        assert result.code == code, result.stderr
        return path

    return run


@pytest.fixture
def verified(cli):
    """Verify a report, which must stand."""

    def run(*args, stdin=b""):
        result = cli("verify", *args, "--json", stdin=stdin)
        assert result.code == 0, result.stderr + result.stdout
        verdict = json.loads(result.stdout)
        assert verdict["verified"]
        assert verdict["largest_difference"] <= TOLERANCE
        return verdict

    return run


@pytest.fixture
def refuted(cli):
    """Verify a report, which must not stand: exit 1, and everything that differs."""

    def run(*args):
        result = cli("verify", *args, "--json")
        assert result.code == 1, result.stderr + result.stdout
        verdict = json.loads(result.stdout)
        assert not verdict["verified"]
        inner = [one for item in verdict["explanations"] for one in item["differences"]]
        return verdict["differences"] + inner

    return run


def edited(path, change):
    """A report after `change(content)`."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def with_settings(report, /, **settings):
    return edited(report, lambda content: content["settings"].update(settings))


def with_model(report, /, **model):
    return edited(report, lambda content: content["model"].update(model))


def refused(fails, code, *args, **kwargs):
    return fails(code, "verify", *args, **kwargs).stderr


# -- what limecli wrote stands ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-r", "0:3"],
        ["-r", "5", "-l", "Gentoo", "-l", "Adelie"],
        ["-r", "7", "-t", "3", "-k", "3"],
        ["-r", "0", "-b", SAMPLES / "penguins.csv", "--discretizer", "decile"],
        ["-r", "0", "-b", SAMPLES / "penguins.csv", "--categorical", "year"],
        ["-r", "1:3", "--feature-selection", "lasso_path", "--distance-metric", "cosine"],
        ["-r", "-1", "--batch-size", "7", "--seed", "5", "--kernel-width", "2"],
        ["-r", "0", "-b", SAMPLES / "penguins.csv", "--discretizer", "entropy", "--target",
         "species"],
        ["-r", "id=Gentoo", "--id-column", "species", "-n", "20"],
    ],
)  # fmt: skip
def test_rows_stand_under_either_engine(report, verified, options):
    made = report("tabular", *PENGUINS, *FEW, *LIMES, *options)
    verdict = verified(made, "--against", "lime")
    assert (verdict["against"], verdict["comparison"]) == ("lime", "equal numbers")
    assert verified(made, "--against", "limecli")["against"] == "limecli"


def test_a_report_stands_against_limes_own_classes(report, verified):
    made = report("tabular", *PENGUINS, *FEW, *LIMES, "-r", "0:2")
    verdict = verified(made, "--against", "lime")
    assert verdict["against"] == "lime"
    assert [item["id"] for item in verdict["explanations"]] == ["0", "1"]
    assert verdict["versions"] == {}


def test_a_regression_stands(report, verified):
    made = report("tabular", SAMPLES / "diabetes.joblib", SAMPLES / "patient.csv", *FEW)
    verified(made)


def test_numbers_without_bins_stand(report, verified, tmp_path):
    frame = pd.read_csv(SAMPLES / "diabetes.csv")
    frame[:3].to_csv(tmp_path / "rows.csv", index=False)
    made = report("tabular", SAMPLES / "diabetes.joblib", tmp_path / "rows.csv", *FEW, "-b",
                  SAMPLES / "diabetes.csv", "--discretizer", "none",
                  "--sample-around-instance")  # fmt: skip
    verified(made)


@pytest.fixture
def loans(tmp_path):
    """A model without a sidecar, rows with ids and a target, one category the model refuses."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"c{i}" for i in range(60)],
                          "city": rng.choice(["Bonn", "Rome", "Oslo"], 60),
                          "income": rng.normal(50, 9, 60).round(2)})  # fmt: skip
    frame["paid"] = np.where(frame["income"] > 50, "yes", "no")
    model = make_pipeline(OneHotEncoder(), LogisticRegression(max_iter=500))
    model.fit(frame[["city"]], frame["paid"])
    joblib.dump(model, tmp_path / "loans.joblib")
    frame.to_csv(tmp_path / "loans.csv", index=False)
    return tmp_path


def loans_report(report, folder, *options, **kwargs):
    return report("tabular", folder / "loans.joblib", folder / "loans.csv", *FEW, "--id-column",
                  "id", "--target", "paid", *options, **kwargs)  # fmt: skip


def test_the_rows_as_background_stand(report, verified, loans):
    made = loans_report(report, loans, "-r", "3:6", "--categorical", "city")
    assert json.loads(made.read_text())["background"]["source"] == "rows"
    verified(made)


def test_a_background_out_of_the_model_stands(report, verified, loans):
    made = loans_report(report, loans, "-r", "id=c7")
    background = json.loads(made.read_text())["background"]
    assert background["source"] in ("model", "rows")
    verified(made)


def test_statistics_as_background_stand(cli, report, verified, loans):
    stats = loans / "stats.json"
    assert cli("background", loans / "loans.csv", "--id-column", "id", "--target", "paid", "-o",
               stats).code == 0  # fmt: skip
    verified(loans_report(report, loans, "-r", "0", "-b", stats))


def test_an_id_that_no_option_named_stands(report, verified, loans):
    made = report("tabular", loans / "loans.joblib", loans / "loans.csv", *FEW, "-r", "id=c9")
    assert json.loads(made.read_text())["explanations"][0]["id"] == "c9"
    verified(made)


def test_a_skipped_row_is_skipped_again(cli, report, verified, loans):
    frame = pd.read_csv(loans / "loans.csv")
    frame.loc[1, "city"] = "Atlantis"
    frame.to_csv(loans / "loans.csv", index=False)
    made = loans_report(report, loans, "-r", "0:3", code=4)
    verdict = verified(made)
    assert [item["largest_difference"] is None for item in verdict["explanations"]] == [
        False, True, False]  # fmt: skip
    assert "skipped again" in cli("verify", made).stdout


def test_pictures_stand(report, verified):
    pictures = [SAMPLES / "digit-3.png", SAMPLES / "digit-5.png"]
    verdict = verified(report("image", SAMPLES / "digits.onnx", *pictures, *FEW, "-t", "2"))
    assert [item["id"] for item in verdict["explanations"]] == ["digit-3", "digit-5"]


@pytest.mark.parametrize(
    "options",
    [
        ["--hide-color", "black", "--segmentation", "slic", "--num-segments", "9"],
        ["--hide-color", "10,20,30", "-k", "3", "--preprocess", "0,255"],
        ["--segmentation", "felzenszwalb", "--resize", "pad"],
    ],
)
def test_options_of_pictures_stand(report, verified, options):
    made = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW, *LIMES,
                  *options)  # fmt: skip
    verified(made, "--against", "lime")
    verified(made, "--against", "limecli")


def test_superpixels_of_a_file_come_out_of_the_report(report, verified, tmp_path):
    Image.fromarray(np.arange(28 * 28).reshape(28, 28).astype(np.uint8) // 50 * 9).save(
        tmp_path / "map.png"
    )
    made = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW,
                  "--segmentation", tmp_path / "map.png")  # fmt: skip
    (tmp_path / "map.png").unlink()
    verified(made)


def test_a_skipped_picture_is_not_compared_without_its_path(report, verified, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    made = report("image", SAMPLES / "digits.onnx", tmp_path / "broken.png",
                  SAMPLES / "digit-3.png", *FEW, code=4)  # fmt: skip
    edited(made, lambda content: content["explanations"][0].pop("input", None))
    assert [item["verified"] for item in verified(made)["explanations"]] == [None, True]
    given = ["--input", tmp_path / "broken.png", "--input", SAMPLES / "digit-3.png"]
    assert [item["verified"] for item in verified(made, *given)["explanations"]] == [True, True]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--char-level", "-k", "4"],
        ["--no-bow", "--mask-string", "x"],
        ["--split-expression", "[ ,]+", "-l", "ham"],
    ],
)
def test_texts_stand(report, verified, options):
    words = "you have won, call now now"
    made = report("text", SAMPLES / "spam.joblib", words, *FEW, *LIMES, *options)
    verified(made, "--against", "lime")
    verified(made, "--against", "limecli")


def test_lines_of_a_file_stand(report, verified, tmp_path):
    (tmp_path / "lines.txt").write_text("call now\n\n...\nsee you at home\n")
    made = report("text", SAMPLES / "spam.joblib", "--file", tmp_path / "lines.txt", "--lines",
                  *FEW, code=4)  # fmt: skip
    results = verified(made)["explanations"]
    assert [(item["index"], item["verified"]) for item in results] == [
        (0, True), (2, True), (3, True)]  # fmt: skip
    verified(made, "--input", tmp_path / "lines.txt")


def as_of_before(content):
    """A report as it was before explanations had intervals, flips and real rows."""
    for key in ("output", "activation", "n_classes", "name"):
        del content["model"][key]
    settings = content["settings"]
    settings.update(later={"a": [1]}, requested={})
    for key in ("batch_size", "flips", "immutable"):
        settings.pop(key, None)
    for item in content["explanations"]:
        item["model_calls"] = item["weight_calls"] or settings["num_samples"]
        for key in ("sampler", "weight_calls", "locality", "real_rows", "caveats"):
            del item[key]
        for label in item["labels"]:
            label.update(fidelity=None, stability=None, settled=None, flips=None)
            for key in ("interval", "no_interval", "fidelity_rows", "cell", "flip_samples"):
                del label[key]
            for found in label["attributions"]:
                del found["ranks"]
                found.update(low=None, high=None, sign_probability=None, top_probability=None)


@pytest.mark.parametrize("engine", ["lime", "limecli"])
def test_a_report_of_before_stands(report, verified, refuted, engine):
    made = report("tabular", *PENGUINS, *FEW, *LIMES, "-r", "0:2", "--engine", engine)
    verified(edited(made, as_of_before))
    edited(made, lambda c: c["explanations"][1].update(model_calls=99))
    assert [item["what"] for item in refuted(made)] == ["model calls"]


def test_a_report_comes_through_a_pipe(cli, verified):
    made = cli("text", SAMPLES / "spam.joblib", "you have won", "--json", *FEW)
    verified("-", stdin=made.stdout)


def test_moved_files_are_named(report, verified, loans, tmp_path):
    shutil.copy(loans / "loans.csv", tmp_path / "train.csv")
    made = loans_report(report, loans, "-r", "0", "-b", tmp_path / "train.csv")
    new = tmp_path / "new"
    new.mkdir()
    for name in ("loans.joblib", "loans.csv", "train.csv"):
        (tmp_path / name).rename(new / name)
    verified(made, "--model", new / "loans.joblib", "--input", new / "loans.csv", "--background",
             new / "train.csv")  # fmt: skip


def test_rows_from_stdin_are_given_again(report, verified, fails):
    rows = (SAMPLES / "penguin.csv").read_bytes()
    made = report("tabular", SAMPLES / "penguins.pkl", "-", *FEW, stdin=rows)
    assert "--input" in refused(fails, 4, made)
    verified(made, "--input", SAMPLES / "penguin.csv")
    verified(made, "--input", "-", stdin=rows)


def test_each_engine_is_the_one_of_the_report(report, verified):
    for engine in ("lime", "limecli"):
        made = report("text", SAMPLES / "spam.joblib", "you have won", *FEW, "--engine", engine)
        assert verified(made)["against"] == engine


def test_a_process_of_its_own_verifies(process, report):
    made = report("tabular", *PENGUINS, *FEW, "-r", "0")
    done = process("verify", made)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("  verified: 1 explanation; largest difference")
    edited(made, lambda c: c["explanations"][0]["labels"][0].update(intercept=9.0))
    assert process("verify", made).returncode == 1


# -- what was changed is found ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_once():
    """Reports by their names, as bytes: most tests only edit one."""
    return {}


@pytest.fixture
def row(report, made_once, tmp_path):
    """Drawn by Sobol's points, so that it has every number that a report can have."""
    if "row" not in made_once:
        made = report("tabular", *PENGUINS, "-n", "256", "--sampler", "sobol", "-r", "0")
        made_once["row"] = made.read_bytes()
    path = tmp_path / "report.json"
    path.write_bytes(made_once["row"])
    return path


def first_label(content):
    return content["explanations"][0]["labels"][0]


def test_an_edited_weight_is_named(cli, row, refuted):
    feature = first_label(json.loads(row.read_text()))["attributions"][0]["feature"]

    def more(content):
        first_label(content)["attributions"][0]["weight"] += 1e-6

    (found,) = refuted(edited(row, more))
    assert (found["what"], found["feature"], found["label"]) == ("weight", feature, "Adelie")
    assert found["difference"] == pytest.approx(1e-6, rel=0.3)
    assert found["deviation"] is None
    shown = cli("verify", row)
    assert f"Adelie: weight of {feature}: " in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("  not verified: 1 of 1")
    assert shown.code == 1


def test_what_is_below_the_tolerance_is_no_finding(row, verified):
    def little(content):
        first_label(content)["attributions"][0]["weight"] += 1e-10

    assert verified(edited(row, little))["largest_difference"] == pytest.approx(1e-10, rel=0.3)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("intercept", lambda c: first_label(c).update(intercept=0.5)),
        ("r2_fit", lambda c: first_label(c).update(r2_fit=None)),
        ("prediction", lambda c: c["explanations"][0]["prediction"].pop()),
        ("explained label", lambda c: first_label(c).update(index=2)),
        ("high", lambda c: first_label(c)["attributions"][0].update(high=None)),
        ("stability", lambda c: first_label(c).update(stability=0.123)),
        ("rows of the cell", lambda c: first_label(c)["cell"].update(rows=99)),
        ("flips", lambda c: first_label(c)["flips"].clear()),
        ("real rows", lambda c: c["explanations"][0].update(real_rows=10**6)),
        ("sha256 of the input",
         lambda c: c["explanations"][0]["input"].update(sha256="0" * 64)),
        ("sha256 of the background", lambda c: c["background"].update(sha256="0" * 64)),
        ("rows of the background", lambda c: c["background"].update(rows=7)),
        ("id", lambda c: c["explanations"][0].update(id="00")),
        ("weight", lambda c: c["settings"].update(seed=1)),
        ("intercept", lambda c: c["settings"].update(kernel_width=1.0)),
        ("flips", lambda c: c["settings"].update(flips=0)),
    ],
)  # fmt: skip
def test_every_edit_is_found(row, refuted, what, change):
    if what == "id":  # a row is known by its number unless a column names it
        with_settings(row, id_column="year")
    assert what in [item["what"] for item in refuted(edited(row, change))]


def test_classes_that_exchanged_their_names_are_found(row, refuted):
    text = row.read_text().replace("Adelie", "?").replace("Gentoo", "Adelie").replace("?", "Gentoo")
    row.write_text(text)
    assert "name of the label" in [item["what"] for item in refuted(row)]


def test_names_that_only_the_report_knows_can_be_given(cli, report, verified, refuted, tmp_path):
    names = [f"digit {i}" for i in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    made = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW,
                  "--class-names", tmp_path / "names.txt", "-l", "digit 5")  # fmt: skip
    verified(made)
    assert "only the report names the classes" in cli("verify", made).stderr
    verified(made, "--class-names", tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("\n".join(reversed(names)))
    assert refuted(made, "--class-names", tmp_path / "names.txt")


def test_exchanged_ranks_are_found(row, refuted):
    def exchange(content):
        first, second = first_label(content)["attributions"][:2]
        first["rank"], second["rank"] = second["rank"], first["rank"]

    assert {item["what"] for item in refuted(edited(row, exchange))} == {"rank"}


def test_an_explanation_that_was_made_a_skipped_one_is_found(report, refuted):
    made = report("tabular", *PENGUINS, *FEW, "-r", "0:2")

    def hide(content):
        content["explanations"][1] = {"id": "1", "index": 1, "status": "skipped",
                                      "reason": "none", "kind": "input"}  # fmt: skip

    (found,) = refuted(edited(made, hide))
    assert found["here"] == "explained"


def test_a_changed_text_is_found(report, refuted):
    made = report("text", SAMPLES / "spam.joblib", "you have won a prize", *FEW)

    def change(content):
        content["explanations"][0]["input"]["text"] = "you have won a price"

    found = refuted(edited(made, change))
    assert "sha256 of the input" in [item["what"] for item in found]

    def and_its_hash(content):
        source = content["explanations"][0]["input"]
        source["sha256"] = hashlib.sha256(source["text"].encode()).hexdigest()

    assert refuted(edited(made, and_its_hash))


def test_a_changed_row_is_found(report, refuted, loans):
    made = loans_report(report, loans, "-r", "0:2", "-b", loans / "loans.csv", "--target", "paid")
    frame = pd.read_csv(loans / "loans.csv")
    frame.loc[1, "city"] = "Rome" if frame.loc[1, "city"] != "Rome" else "Oslo"
    frame.to_csv(loans / "other.csv", index=False)
    found = refuted(made, "--input", loans / "other.csv")
    assert "sha256 of the input" in [item["what"] for item in found]


def test_a_row_that_is_gone_is_found(report, refuted, loans):
    made = loans_report(report, loans, "-r", "0:2", "-b", loans / "loans.csv")
    pd.read_csv(loans / "loans.csv")[:1].to_csv(loans / "one.csv", index=False)
    (found,) = refuted(made, "--input", loans / "one.csv")
    assert found["here"] == "not in the input"


def test_a_changed_background_is_found(report, refuted, loans):
    made = loans_report(report, loans, "-r", "0", "-b", loans / "loans.csv")
    pd.read_csv(loans / "loans.csv")[:50].to_csv(loans / "less.csv", index=False)
    found = refuted(made, "--background", loans / "less.csv")
    assert {"sha256 of the background", "rows of the background"} <= {i["what"] for i in found}


def test_a_background_that_has_come_since_is_found(cli, report, refuted, loans):
    made = loans_report(report, loans, "-r", "0")
    if json.loads(made.read_text())["background"]["source"] != "model":
        pytest.skip("this model does not remember its background")
    cli("background", loans / "loans.csv", "--id-column", "id", "--target", "paid", "-o",
        loans / "loans.joblib.background.json")  # fmt: skip
    assert "source of the background" in [item["what"] for item in refuted(made)]


def test_changed_pixels_are_found(report, refuted, tmp_path):
    shutil.copy(SAMPLES / "digit-3.png", tmp_path / "digit.png")
    made = report("image", SAMPLES / "digits.onnx", tmp_path / "digit.png", *FEW)
    shutil.copy(SAMPLES / "digit-5.png", tmp_path / "digit.png")
    assert "sha256 of the input" in [item["what"] for item in refuted(made)]


def test_changed_superpixels_are_found(report, refuted):
    made = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW)

    def change(content):
        content["explanations"][0]["segmentation"]["map"] = "AAAA"

    assert "superpixels" in [item["what"] for item in refuted(edited(made, change))]


def test_a_changed_model_is_not_opened(cli, row, refuted, tmp_path):
    marker = tmp_path / "marker"
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    (found,) = refuted(row, "--model", evil, "--trust-pickle")
    assert found["what"] == "sha256 of the model"
    assert not marker.exists()
    shown = cli("verify", row, "--model", evil)
    assert shown.stdout.splitlines()[-1] == "  not verified: the model differs"
    no_hash = with_model(row, sha256=None)
    assert [item["what"] for item in refuted(no_hash)] == ["sha256 of the model"]


def test_the_tolerance_grows_with_the_outputs(tmp_path, report, verified, refuted):
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) % 7})
    model = LinearRegression().fit(frame, 1e6 * frame["a"] + 3e6)
    joblib.dump(model, tmp_path / "prices.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    made = report("tabular", tmp_path / "prices.joblib", tmp_path / "rows.csv", "-r", "3", *FEW)

    def more(by):
        def change(content):
            first_label(content)["attributions"][0]["weight"] += by

        return change

    verified(edited(made, more(1e-3)))
    assert refuted(edited(made, more(10.0)))[0]["what"] == "weight"


def test_other_versions_are_a_note_only(cli, row, verified):
    edited(row, lambda c: c["provenance"]["versions"].update(numpy="1.0", unheard="3"))
    versions = verified(row)["versions"]
    assert versions["numpy"] == ["1.0", np.__version__]
    assert versions["unheard"] == ["3", None]
    assert "other versions: numpy 1.0" in cli("verify", row).stderr


def test_the_result_goes_into_a_file(cli, row, tmp_path):
    result = cli("verify", row, "-o", tmp_path / "verdict.json")
    assert result.code == 0
    assert result.stdout == ""
    assert json.loads((tmp_path / "verdict.json").read_text())["verified"]
    assert "verified" in result.stderr


# -- every sampler, and lime as a witness ----------------------------------------------------------

WORDS = "you have won a prize call now to claim your free entry and see you at home tonight"


@pytest.fixture(scope="module")
def beds(tmp_path_factory):
    """Small real models: a forest, boosting, a logistic regression, each with its data."""
    folder = tmp_path_factory.mktemp("beds")
    iris, kinds = load_iris(return_X_y=True, as_frame=True)
    cancer, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    cancer = cancer.iloc[:, :8]
    made = {
        "forest": (RandomForestClassifier(10, random_state=0), iris, kinds),
        "boosted": (HistGradientBoostingClassifier(random_state=0, max_iter=15), cancer, benign),
        "logistic": (make_pipeline(StandardScaler(), LogisticRegression()), cancer, benign),
    }
    for name, (model, table, target) in made.items():
        joblib.dump(model.fit(table, target), folder / f"{name}.joblib")
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture
def drawn(report, beds):
    """Reports of the beds, by what was drawn and how."""

    def run(name, *options):
        if name == "digits":
            return report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *options)
        if name == "spam":
            return report("text", SAMPLES / "spam.joblib", WORDS, *options)
        table = beds / f"{name}.csv"
        return report("tabular", beds / f"{name}.joblib", table, "-b", table, *options)

    return run


@pytest.mark.parametrize(
    ("bed", "sampler", "options"),
    [
        ("forest", "exact", ["-r", "60:63", "--flips", "2"]),
        ("forest", "exact", ["-r", "70", "--kernel-width", "auto", "-k", "2"]),
        ("boosted", "sobol", ["-r", "20:22", "-n", "1000", "--flips", "2", "--immutable",
                              "mean radius,mean area"]),
        ("boosted", "sobol", ["-r", "5", "-n", "500", "--settle", "2", "--max-samples", "3000"]),
        ("boosted", "sobol", ["-r", "3", "-n", "512", "--kernel-width", "auto"]),
        ("boosted", "lime", ["-r", "3", "--sampler", "lime", "--kernel-width", "auto", *FEW]),
        ("logistic", "sobol", ["-r", "3", "-n", "512", "--discretizer", "none", "--sampler",
                               "sobol"]),
        ("digits", "hadamard", ["-n", "600"]),
        ("digits", "pairs", ["-n", "200", "--sampler", "pairs", "--flips", "0"]),
        ("spam", "pairs", ["-n", "300", "--kernel-width", "auto"]),
        ("spam", "pairs", ["-n", "300", "--control-variate", "--flips", "2"]),
        ("logistic", "sobol", ["-r", "3", "-n", "512", "--control-variate", "--sampler", "sobol"]),
        ("spam", "pairs", ["-n", "100", "--settle", "3", "--tie-tolerance", "0.2"]),
    ],
)  # fmt: skip
def test_every_sampler_gives_the_same_numbers_again(drawn, verified, bed, sampler, options):
    made = drawn(bed, *options)
    assert json.loads(made.read_text())["settings"]["sampler"] == sampler
    assert verified(made)["comparison"] == "equal numbers"


def test_a_column_that_the_user_freed_stays_free(report, verified):
    options = [*PENGUINS, "-r", "0:3", *FEW, "--flips", "3"]
    made = report("tabular", *options, "--mutable", "sex")
    assert json.loads(made.read_text())["settings"]["immutable"] == []
    verified(made)
    fixed = report("tabular", *options, name="fixed.json")
    assert json.loads(fixed.read_text())["settings"]["immutable"] == ["sex"]
    verified(fixed)


def test_the_threshold_of_a_regression_is_replayed(report, verified):
    made = report("tabular", SAMPLES / "diabetes.joblib", SAMPLES / "patient.csv",
                  "--flip-threshold", "150")  # fmt: skip
    assert first_label(json.loads(made.read_text()))["flips"]
    verified(made)


def test_what_was_shown_by_several_runs_is_left_out_and_said(cli, drawn):
    made = drawn("forest", "-r", "60", "--repeats", "2")
    assert "not computed again: what --repeats showed" in cli("verify", made).stdout


@pytest.mark.parametrize(
    ("bed", "options"),
    [
        ("forest", ["-r", "60:63"]),
        ("boosted", ["-r", "20", "-k", "4"]),
        ("logistic", ["-r", "3", "--discretizer", "none", "--sampler", "sobol"]),
        ("digits", ["-n", "600"]),
        ("spam", ["-n", "1000", "-k", "5"]),
    ],
)
def test_limes_own_classes_agree_within_the_intervals(cli, drawn, verified, bed, options):
    made = drawn(bed, *options)
    verdict = verified(made, "--against", "lime")
    assert (verdict["against"], verdict["comparison"]) == ("lime", "within the intervals")
    assert all(item["verified"] for item in verdict["explanations"])
    # of some dozens of true weights, the largest deviation is neither none nor far
    assert 0.3 < verdict["largest_deviation"] < verdict["allowed_deviation"] < 5


@pytest.mark.parametrize(("bed", "options"), [("forest", ["-r", "60"]), ("spam", [])])
def test_a_weight_that_lime_does_not_bear_out_is_found(cli, drawn, bed, options):
    made = drawn(bed, *options)
    content = json.loads(made.read_text())
    limes = json.loads(drawn(bed, *options, *LIMES, "-n", "5000").read_text())
    there = {item["index"]: item for item in first_label(limes)["attributions"]}
    first = first_label(content)["attributions"][0]
    error = (there[first["index"]]["high"] - there[first["index"]]["low"]) / 3.92
    first["weight"] += 8 * error * (1 if first["weight"] > 0 else -1)
    first.update(low=first["weight"] - 1, high=first["weight"] + 1)  # and does not help itself
    made.write_text(json.dumps(content))
    result = cli("verify", made, "--against", "lime", "--json")
    assert result.code == 1
    (found,) = json.loads(result.stdout)["explanations"][0]["differences"]
    assert (found["what"], found["feature"]) == ("weight", first["feature"])
    assert 4 < found["deviation"] < 12
    shown = cli("verify", made, "--against", "lime").stdout
    assert f"{found['deviation']:.1f} standard errors)" in shown
    assert shown.splitlines()[-1].startswith("  not verified: 1 of 1 differ; largest deviation")


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("model_prediction", lambda c: first_label(c).update(model_prediction=0.5)),
        ("explained label", lambda c: first_label(c).update(index=2)),
        ("condition", lambda c: first_label(c)["attributions"][0].update(condition="any")),
        ("selected feature", lambda c: first_label(c)["attributions"][0].update(index=99)),
    ],
)
def test_what_both_samplers_know_must_be_equal(drawn, refuted, what, change):
    made = edited(drawn("forest", "-r", "60"), change)
    assert what in [item["what"] for item in refuted(made, "--against", "lime")]


def test_features_that_one_side_alone_selected_are_told(cli, drawn):
    made = drawn("spam", "-n", "200", "-k", "3")
    result = cli("verify", made, "--against", "lime", "--json")
    verdict = json.loads(result.stdout)["explanations"][0]
    mine = {item["feature"] for item in first_label(json.loads(made.read_text()))["attributions"]}
    told = [note for note in verdict.get("notes", ()) if "selected by the report alone" in note]
    limes = drawn("spam", "-n", "5000", "-k", "3", *LIMES)
    theirs = {
        item["feature"] for item in first_label(json.loads(limes.read_text()))["attributions"]
    }
    assert bool(told) == bool(mine - theirs)
    assert all(name in told[0] for name in mine - theirs)


def test_without_intervals_nothing_is_compared(cli, drawn):
    result = cli("verify", drawn("spam", "-n", "16"), "--against", "lime")
    assert result.code == 0
    assert "it has no intervals: fewer than two samples a feature" in result.stdout
    assert result.stdout.splitlines()[-1] == "  nothing could be compared"


@pytest.fixture
def counts(report, tmp_path):
    """A linear model of a column whose first bin holds nothing but sevens: to lime, noughts."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": np.where(rng.random(400) < 0.4, 7.0, rng.uniform(8, 12, 400)),
                          "b": rng.normal(size=400)})  # fmt: skip
    joblib.dump(LinearRegression().fit(frame, frame["a"] + frame["b"]), tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return report("tabular", tmp_path / "m.joblib", tmp_path / "rows.csv", "-b",
                  tmp_path / "rows.csv", "-r", str(int((frame["a"] == 7).argmax())))  # fmt: skip


def test_limes_fault_with_single_values_is_no_failure(cli, counts):
    result = cli("verify", counts, "--against", "lime")
    assert result.code == 0
    assert "not compared: lime perturbs bins with a single value to 0 (in a)" in result.stdout


def test_limes_fault_hides_no_edit(counts, refuted):
    def more(content):
        first_label(content)["attributions"][0]["weight"] += 5.0

    (found,) = refuted(edited(counts, more), "--against", "lime")
    assert found["what"] == "weight"


def test_a_process_of_its_own_compares_with_lime(process, drawn):
    done = process("verify", drawn("forest", "-r", "60"), "--against", "lime", "-q")
    assert done.returncode == 0
    assert "compared within the intervals with the engine lime" in done.stdout
    assert done.stderr == ""


# -- what is no report, and what may not be in one ------------------------------------------------


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("no JSON {", "not JSON"),
        ("", "empty"),
        ("a,b\n1,2\n", "not JSON"),
        ("[1, 2]", "no limecli report"),
        ('{"schema_version": 1, "type": "limecli background"}', "no limecli report"),
        ('{"schema_version": 2, "provenance": 1, "explanations": 2}', "schema 2"),
        ('{"schema_version": 1, "provenance": 1, "explanations": 2}', "no whole limecli report"),
        ('{"schema_version": true, "provenance": 1, "explanations": 2}', "no limecli report"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "not JSON"),
        ("\xff\xfe", "not JSON"),
    ],
)
def test_what_is_no_report_is_refused(fails, tmp_path, content, word):
    (tmp_path / "r.json").write_bytes(content.encode("latin-1"))
    assert word in refused(fails, 6, tmp_path / "r.json")


def test_a_missing_report_or_a_folder_is_refused(fails, tmp_path):
    refused(fails, 6, tmp_path / "none.json")
    refused(fails, 6, tmp_path)
    refused(fails, 6, "-")
    refused(fails, 6, SAMPLES / "penguins.csv")
    refused(fails, 6, SAMPLES / "penguins.pkl")
    refused(fails, 6, SAMPLES / "penguins.pkl.background.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(explanations=[]),
        lambda c: c["explanations"].append(c["explanations"][0]),
        lambda c: c["explanations"][0].pop("labels"),
        lambda c: c["explanations"][0].update(index=-1),
        lambda c: first_label(c).update(intercept="0.5"),
        lambda c: first_label(c).update(intercept=True),
        lambda c: first_label(c).update(intercept=10**400),
        lambda c: c["model"].update(sha256="abc"),
        lambda c: c["model"].update(output="margins"),
        lambda c: c["model"].update(activation=[]),
        lambda c: c.update(background=None),
        lambda c: c["settings"].update(num_samples=10**12),
        lambda c: c["settings"].update(num_samples=True),
        lambda c: c["settings"].update(seed=-1),
        lambda c: c["settings"].update(kernel_width=0),
        lambda c: c["settings"].update(discretizer="magic"),
        lambda c: c["settings"].update(distance_metric="os.system"),
        lambda c: c["settings"].update(engine="../evil"),
        lambda c: c["settings"].update(sampler="later"),
        lambda c: c["settings"].update(sampler="pairs"),
        lambda c: c["settings"].update(engine="lime"),  # which does not draw Sobol's points
        lambda c: c["settings"].update(sampler="lime", settle=3),
        lambda c: c["settings"].update(auto_width="yes"),
        lambda c: c["settings"].update(kernel_width=None),
        lambda c: c["settings"].update(settle=0),
        lambda c: c["settings"].update(settle=2.5),
        lambda c: c["settings"].update(max_samples=10**9),
        lambda c: c["settings"].update(tie_tolerance=1.5),
        lambda c: c["settings"].update(flips=21),
        lambda c: c["settings"].update(flip_threshold="high"),
        lambda c: c["settings"].update(immutable="sex"),
        lambda c: c["settings"].update(immutable=[1]),
        lambda c: c["settings"].update(immutable=["charm"]),
        lambda c: c["settings"].update(labels=["Dodo"]),
        lambda c: c["settings"].update(labels=7),
        lambda c: c["settings"].update(categorical="year"),
        lambda c: c["settings"].update(id_column=["year"]),
        lambda c: c["settings"].update(kind="audio"),
    ],
)
def test_a_report_that_limecli_never_wrote_is_refused(fails, row, change):
    refused(fails, 6, edited(row, change))


@pytest.mark.parametrize(("key", "name"), [("sampler", "quasi"), ("engine", "later")])
def test_what_only_a_newer_limecli_has_is_said(fails, row, key, name):
    told = refused(fails, 6, with_settings(row, **{key: name}))
    assert f"was made with the {key} '{name}', which is not here" in told
    assert "update limecli" in told


@pytest.mark.parametrize("options", [{"preprocess": "magic"}, {"preprocess": 7},
                                     {"hide_color": "os"}, {"resize": "twice"}])  # fmt: skip
def test_a_picture_report_that_limecli_never_wrote_is_refused(fails, report, options):
    made = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW)
    refused(fails, 6, with_settings(made, **options))


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module in the working directory that leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "trap", raising=False)
    importlib.invalidate_caches()
    (tmp_path / "trap.py").write_text(
        "open('marker', 'w')\nimport numpy as np\n"
        "def model(x): return np.full((len(x), 3), 1 / 3)\n"
        "def pixels(x): return x / 255\n"
    )
    return tmp_path / "marker"


def test_a_report_names_no_code_as_its_model(fails, row, trap, cli):
    with_model(row, path="trap:model", format="callable", sha256=None)
    assert "--model" in refused(fails, 2, row)
    assert not trap.exists()
    cli("verify", row, "--model", "trap:model")
    assert trap.exists()


def test_a_report_names_no_preprocessing_code(fails, report, trap, verified):
    made = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW)
    with_settings(made, preprocess="trap:pixels")
    assert "--preprocess" in refused(fails, 2, made)
    assert not trap.exists()
    verified(made, "--preprocess", "trap:pixels")
    assert trap.exists()


@pytest.mark.parametrize("url", ["http://localhost:9/v2/models/m", "HTTPS://localhost:9/m"])
def test_a_report_calls_no_server(fails, row, url, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert "not contacted" in refused(fails, 2, with_model(row, path=url, sha256=None))


@pytest.mark.parametrize("key", ["model", "preprocess"])
def test_neither_file_nor_environment_names_code(cli, row, trap, key, monkeypatch):
    monkeypatch.setenv(f"LIMECLI_VERIFY_{key.upper()}", "trap:model")
    assert cli("verify", row).code == 0
    (trap.parent / "limecli.toml").write_text(f'[verify]\n{key} = "trap:model"\n')
    assert cli("verify", row).code == (0 if key == "model" else 2)
    assert not trap.exists()


def test_what_limecli_toml_says_for_other_runs_is_left_out(cli, report, trap):
    made = report("text", SAMPLES / "spam.joblib", "you have won", *FEW)
    content = 'preprocess = "imagenet"\nbackground = "b.csv"\nseed = 7\n'
    (trap.parent / "limecli.toml").write_text(content)
    assert cli("verify", made).code == 0


def test_a_report_trusts_nothing(fails, row, tmp_path):
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "m").encode() + b"'\ntR.")
    digest = hashlib.sha256(evil.read_bytes()).hexdigest()
    with_settings(row, trust=["posix.system"], trust_pickle=True)
    refused(fails, 3, with_model(row, path=str(evil), sha256=digest))
    assert not (tmp_path / "m").exists()


def test_a_report_makes_nobody_wait_at_a_pipe(fails, row, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(fails, 3, with_model(row, path=str(tmp_path / "pipe")))


@pytest.mark.parametrize("path", ["/nowhere/model.pkl", "a\0b", "x" * 5000])
def test_a_model_that_is_not_there_is_exit_3(fails, row, path):
    assert "--model FILE" in refused(fails, 3, with_model(row, path=path))


def test_inputs_that_are_not_there_are_exit_4(fails, report, loans, row):
    edited(row, lambda c: c["explanations"][0]["input"].update(path="gone.csv"))
    assert "--input FILE" in refused(fails, 4, row)
    made = loans_report(report, loans, "-r", "0", "-b", loans / "loans.csv")
    edited(made, lambda c: c["background"].update(path="gone.csv"))
    assert "--background FILE" in refused(fails, 4, made)


def test_options_that_do_not_fit_the_report_are_refused(fails, report, row):
    refused(fails, 2, row, "--preprocess", "none")
    refused(fails, 2, row, "--input", "a.csv", "--input", "b.csv")
    refused(fails, 2, row, "--against", "shap")
    refused(fails, 2, row, "-o", row)
    words = report("text", SAMPLES / "spam.joblib", "you have won", *FEW)
    refused(fails, 2, words, "--background", "b.csv")
    picture = report("image", SAMPLES / "digits.onnx", SAMPLES / "digit-3.png", *FEW)
    refused(fails, 2, picture, "--input", "a.png", "--input", "b.png")


def test_names_of_a_report_steer_no_terminal(cli, row):
    edited(row, lambda c: first_label(c)["attributions"][0].update(condition="\x1b[2Jx"))
    assert "\x1b" not in cli("verify", row, "--color", "always").stdout
