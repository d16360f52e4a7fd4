"""`limecli verify AUDIT`: a true audit stands, a changed line is named, a sample is made again."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from limecli.audit.replay import Checked, sample
from limecli.report.differences import TOLERANCE
from limecli.report.jsonl import AuditFile, Chain, line_of
from tests.conftest import SAMPLES

MODEL = SAMPLES / "penguins.pkl"
FEW = ("-n", "128")
ROWS = 20


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A few penguins."""
    path = tmp_path_factory.mktemp("penguins") / "penguins.csv"
    pd.read_csv(SAMPLES / "penguins.csv")[::16][:ROWS].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def made():
    """What audits that several tests begin with came to, by their options."""
    return {}


@pytest.fixture
def audited(cli, tmp_path):
    """Run an audit and give the path of its lines."""

    def run(kind, *args, name="audit.jsonl"):
        path = tmp_path / name
        result = cli("audit", kind, *args, "-o", path, "-q")
        assert result.code == 0, result.stderr
        return path

    return run


@pytest.fixture
def audit_of_penguins(audited, rows, made, tmp_path):
    """A copy of an audit of the few penguins, which is made once."""

    def run(*options):
        path = tmp_path / "audit.jsonl"
        if options not in made:
            made[options] = audited("tabular", MODEL, rows, *FEW, *options).read_bytes()
        path.write_bytes(made[options])
        return path

    return run


@pytest.fixture
def penguins(audit_of_penguins):
    """An audit of the few penguins."""
    return audit_of_penguins()


@pytest.fixture
def verdict(cli):
    """The verdict as JSON, and its exit code, which must say the same."""

    def run(path, *args):
        result = cli("verify", path, *args, "--json")
        assert result.code in (0, 1), result.stderr
        content = json.loads(result.stdout)
        assert content["verified"] == (result.code == 0)
        return content

    return run


def records(path):
    """Decisions by their index."""
    lines = map(json.loads, path.read_text().splitlines()[1:-1])
    return {item["index"]: item for item in lines}


def edited(path, change):
    """An audit after `change(lines)`, the chain left as it was."""
    lines = path.read_bytes().splitlines()
    change(lines)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def forged(path, change, envelope=lambda content: None):
    """An audit after `change(records)`, its lines bound to each other anew by somebody clever."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    envelope(lines[0])
    found = lines[1:-1]
    change(found)
    chain = Chain(line_of(lines[0]))
    told = [line_of(lines[0])]
    for item in found:
        item.pop("previous", None)
        told.append(chain.linked(line_of(item)))
    path.write_bytes(b"".join(line + b"\n" for line in [*told, chain.end()]))
    return path


def heavier(record):
    record["labels"][0]["attributions"][0]["weight"] += 1e-6


def last_hash(path):
    return json.loads(path.read_text().splitlines()[-1])["sha256"]


# -- what limecli wrote stands ---------------------------------------------------------------------


def test_a_true_audit_stands(verdict, penguins):
    found = verdict(penguins)
    assert (found["decisions"], found["sampled"], found["sampled_verified"]) == (ROWS, ROWS, ROWS)
    assert found["largest_difference"] <= TOLERANCE
    assert found["files_checked"] == ["model", "background", "input"]
    assert found["findings"] == found["differences"] == found["explanations"] == []
    assert found["versions"] == {}
    assert found["last_hash"] == last_hash(penguins)


def test_all_decisions_are_made_again_on_request(verdict, penguins):
    found = verdict(penguins, "--sample", "all")
    assert found["sampled"] == found["sampled_verified"] == ROWS


@pytest.mark.parametrize(
    "options",
    [
        ["--kernel-width", "auto", "-l", "Gentoo", "-l", "Adelie"],
        ["-b", SAMPLES / "penguins.csv", "--discretizer", "entropy", "--target", "species"],
        ["--protected", "sex,island", "--id-column", "species", "--flips", "2", "-k", "3"],
        ["--settle", "2", "--max-samples", "1024", "--mutable", "sex"],
        ["--categorical", "year", "-b", SAMPLES / "penguins.csv", "--batch-size", "70"],
    ],
)
def test_options_of_an_audit_are_replayed(audited, verdict, rows, options):
    found = verdict(audited("tabular", MODEL, rows, *FEW, *options), "--sample", "6")
    assert found["sampled_verified"] == 6


def test_exact_weights_of_a_forest_are_replayed(audited, verdict, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(frame, frame["a"] > 0)
    joblib.dump(model, tmp_path / "forest.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    rows = (tmp_path / "forest.joblib", tmp_path / "rows.csv", "-b", tmp_path / "rows.csv")
    made = audited("tabular", *rows)
    assert records(made)[0]["sampler"] == "exact"
    assert verdict(made, "--sample", "all")["sampled_verified"] == 60
    around = audited(
        "tabular", *rows, *FEW, "--discretizer", "none", "--sample-around-instance", name="b.jsonl"
    )
    assert verdict(around, "--sample", "5")["sampled_verified"] == 5


def test_a_sample_is_spread_drawn_by_its_seed_and_has_skipped_ones(penguins):
    def drawn(size, seed):
        return sample(Checked(AuditFile(str(penguins))).decisions(), size, seed)

    first = drawn(12, 0)
    assert first == drawn(12, 0) != drawn(12, 1)
    indices = [one.index for one in first]
    assert indices == sorted(set(indices))
    assert len(indices) == 12
    assert 4 < np.mean(indices) < 16
    everything = drawn(10**6, 3)
    assert [one.index for one in everything] == list(range(ROWS))
    assert len(drawn(1, 0)) == 1


@pytest.fixture
def loans(tmp_path):
    """A model that knows two cities; rows with a third, and with an income that is no number."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"city": rng.choice(["Bonn", "Rome"], 40),
                          "income": rng.normal(50, 9, 40).round(2)})  # fmt: skip
    model = make_pipeline(OneHotEncoder(), LogisticRegression())
    model.fit(frame[["city"]], frame["income"] > 50)
    joblib.dump(model, tmp_path / "loans.joblib")
    frame.to_csv(tmp_path / "train.csv", index=False)
    frame.loc[7, "city"] = "Atlantis"
    frame.to_csv(tmp_path / "loans.csv", index=False)
    with (tmp_path / "loans.csv").open("a") as file:
        file.write("Bonn,50,too,many\n")
    return tmp_path


def loans_audit(audited, folder, *options):
    return audited("tabular", folder / "loans.joblib", folder / "loans.csv", "-b",
                   folder / "train.csv", *FEW, *options)  # fmt: skip


def test_skipped_rows_are_skipped_again_for_the_same_reason(audited, verdict, loans):
    made = loans_audit(audited, loans)
    reasons = {i: item["reason"] for i, item in records(made).items() if "reason" in item}
    assert set(reasons) == {7, 40}
    found = verdict(made, "--sample", "all")
    assert (found["sampled_verified"], found["sampled_skipped_again"]) == (41, 2)

    def excuse(items):
        items[40]["reason"] = "no reason"

    (told,) = verdict(forged(made, excuse))["explanations"]
    assert [one["what"] for one in told["differences"]] == ["reason of skipping"]
    assert told["differences"][0]["here"] == reasons[40]


def test_a_moved_input_gives_the_same_reasons(audited, verdict, loans):
    made = loans_audit(audited, loans)
    (loans / "loans.csv").rename(loans / "moved.csv")
    found = verdict(made, "--input", loans / "moved.csv", "--sample", "all")
    assert found["sampled_skipped_again"] == 2


def test_masked_values_are_not_compared_but_their_weights_are(audit_of_penguins, verdict):
    made = audit_of_penguins("--mask", "sex,island", "--protected", "year")
    assert any(part.get("masked") for part in records(made)[0]["labels"][0]["attributions"])
    assert verdict(made, "--sample", "9")["sampled_verified"] == 9

    def change(items):
        for label in items[0]["labels"]:
            for part in label["attributions"]:
                part["weight"] += 0.01 if part.get("masked") else 0.0

    told = verdict(forged(made, change), "--sample", "all")["explanations"]
    assert {one["feature"] for one in told[0]["differences"] if one["what"] == "weight"} <= {
        "sex", "island"}  # fmt: skip
    assert len(told) == 1


TEXTS = "call now\n\nyou have won a prize\n...\nsee you at home\nfree call now\n"


@pytest.mark.parametrize("options", [[], ["--mask", "text"], ["--char-level", "-k", "4"],
                                     ["--no-bow", "--kernel-width", "auto"]])  # fmt: skip
def test_texts_stand(audited, verdict, tmp_path, options):
    (tmp_path / "lines.txt").write_text(TEXTS)
    made = audited("text", SAMPLES / "spam.joblib", tmp_path / "lines.txt", *FEW, *options)
    found = verdict(made)
    skipped = 0 if "--char-level" in options else 1
    assert (found["sampled_verified"], found["sampled_skipped_again"]) == (5, skipped)


def test_a_column_of_texts_stands(audited, verdict, tmp_path):
    frame = pd.DataFrame({"key": ["a", "b", "c"], "words": ["call now", "", "you have won"]})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    made = audited("text", SAMPLES / "spam.joblib", tmp_path / "texts.csv", "--column", "words",
                   "--id-column", "key", *FEW)  # fmt: skip
    assert verdict(made)["sampled_verified"] == 3


def test_an_edited_text_is_found(audited, verdict, tmp_path):
    (tmp_path / "lines.txt").write_text(TEXTS)
    made = audited("text", SAMPLES / "spam.joblib", tmp_path / "lines.txt", *FEW)

    def change(items):
        items[0]["input"]["text"] = "call never"

    (told,) = verdict(forged(made, change))["explanations"]
    assert [one["what"] for one in told["differences"]] == ["text of the input"]


@pytest.fixture
def pictures(tmp_path):
    """A folder of digits, one of them no picture."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in ("digit-3.png", "digit-5.png", "digit-8.png"):
        shutil.copy(SAMPLES / name, folder)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_pictures_of_a_folder_stand_also_where_it_was_moved(audited, verdict, pictures):
    made = audited("image", SAMPLES / "digits.onnx", pictures, *FEW)
    found = verdict(made)
    assert (found["sampled_verified"], found["sampled_skipped_again"]) == (4, 1)
    assert found["files_checked"] == ["model", "input"]
    moved = pictures.rename(pictures.parent / "moved")
    assert verdict(made, "--input", moved)["sampled_verified"] == 4


def test_pictures_given_one_by_one_are_found_by_their_records(audited, verdict, pictures):
    paths = [pictures / f"digit-{i}.png" for i in (5, 3)]
    made = audited("image", SAMPLES / "digits.onnx", pictures / "broken.png", *paths, *FEW)
    found = verdict(made)
    assert (found["sampled_verified"], found["sampled_not_compared"]) == (2, 1)
    Image.new("L", (28, 28)).save(paths[0])
    (told,) = [item for item in verdict(made)["explanations"] if item["verified"] is False]
    assert told["differences"][0]["what"] == "sha256 of the input"


def test_superpixels_of_a_file_come_out_of_the_records(audited, verdict, pictures, tmp_path):
    cells = np.arange(28 * 28).reshape(28, 28).astype(np.uint8) // 50 * 9
    Image.fromarray(cells).save(tmp_path / "map.png")
    made = audited("image", SAMPLES / "digits.onnx", pictures, *FEW, "--segmentation",
                   tmp_path / "map.png")  # fmt: skip
    (tmp_path / "map.png").unlink()
    assert verdict(made)["sampled_verified"] == 4


# -- lines that were changed are named -------------------------------------------------------------


def findings(verdict, path, *args):
    found = verdict(path, "--hashes-only", *args)
    assert found["findings_count"] == len(found["findings"])
    return found["findings"]


def test_an_edited_line_is_named(verdict, penguins):
    def change(lines):
        lines[9] = lines[9].replace(b'"rank":1', b'"rank":9', 1)

    (told,) = findings(verdict, edited(penguins, change))
    assert told.startswith("line 10 (id 8) is not the line that line 11 (id 9) is bound to")


def test_an_edited_envelope_is_named(verdict, penguins):
    def change(lines):
        lines[0] = lines[0].replace(b'"seed":0', b'"seed":1', 1)

    (told,) = findings(verdict, edited(penguins, change))
    assert told.startswith("line 1 (the envelope) is not the line that line 2 (id 0)")


def test_removed_and_swapped_and_added_lines_are_named(verdict, penguins):
    whole = penguins.read_bytes()
    (told,) = findings(verdict, edited(penguins, lambda lines: lines.pop(5)))[:1]
    assert told.startswith("line 5 (id 3) is not the line that line 6 (id 5)")
    penguins.write_bytes(whole)

    def swap(lines):
        lines[5], lines[6] = lines[6], lines[5]

    told = findings(verdict, edited(penguins, swap))
    assert [one.split(" is ")[0] for one in told] == ["line 5 (id 3)", "line 6 (id 5)",
                                                     "line 7 (id 4)"]  # fmt: skip
    penguins.write_bytes(whole)
    told = findings(verdict, edited(penguins, lambda lines: lines.insert(5, lines[5])))
    assert any("line 7 (id 4)" in one for one in told)
    penguins.write_bytes(whole)
    (told,) = findings(verdict, edited(penguins, lambda lines: lines.append(lines[-2])))
    assert told == f"line {ROWS + 3} (id {ROWS - 1}) stands after the end"


def test_an_edit_of_the_last_decision_shows_at_the_end(verdict, penguins):
    def change(lines):
        lines[-2] = lines[-2].replace(b'"rank":1', b'"rank":9', 1)

    (told,) = findings(verdict, edited(penguins, change))
    assert told.startswith(f"line {ROWS + 1} (id {ROWS - 1}) is not the line that the end")


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.jsonl.partial"])
def test_a_cut_tail_is_a_finding_and_the_rest_is_made_again(verdict, penguins, name):
    lines = penguins.read_bytes().splitlines(keepends=True)
    path = penguins.with_name(name)
    path.write_bytes(b"".join(lines[:11]))
    found = verdict(path, "--sample", "5")
    assert found["findings"] == ["unfinished or cut: 10 decisions, no end line"]
    assert (found["sampled_verified"], found["decisions"]) == (5, 10)
    path.write_bytes(b"".join(lines[:11]) + lines[11][:50])
    assert findings(verdict, path)[0] == "line 12 breaks off"


def test_junk_between_the_lines_is_a_finding(verdict, penguins):
    told = findings(verdict, edited(penguins, lambda lines: lines.insert(3, b"[1, 2")))
    assert told[0] == "line 4 is no line of an audit"


def test_a_forged_end_shows_by_the_last_hash_that_was_kept(cli, verdict, penguins):
    kept = last_hash(penguins)
    found = verdict(penguins, "--hashes-only", "--last-hash", kept.upper())
    assert found["last_hash_compared"]
    forged(penguins, lambda items: items.pop())
    assert findings(verdict, penguins) == []
    (told,) = findings(verdict, penguins, "--last-hash", kept)
    assert "the last hash is not the one that was kept" in told
    shown = cli("verify", penguins, "--hashes-only", "--last-hash", kept).stdout
    assert f"last hash {last_hash(penguins)}" in shown
    assert shown.splitlines()[-1].startswith("  not verified: 1 finding")
    found = verdict(penguins, "--sample", "all")  # the input goes on, which a whole replay shows
    assert found["differences"][0]["what"] == "decisions after the last one"


def test_a_decision_that_was_taken_out_leaves_a_gap(verdict, penguins):
    (told,) = findings(verdict, forged(penguins, lambda items: items.pop(3)))
    assert told == "line 5 (id 4) has the index 4, after 2"


def test_many_findings_are_counted_and_the_first_told(verdict, penguins, monkeypatch):
    monkeypatch.setattr("limecli.audit.replay.MOST_FAULTS", 7)

    def change(lines):
        lines[1:-1] = [line.replace(b'"previous":"', b'"previous":"0') for line in lines[1:-1]]

    found = verdict(edited(penguins, change), "--hashes-only")
    assert (found["findings_count"], len(found["findings"])) == (ROWS + 1, 7)


# -- numbers that were changed are named -----------------------------------------------------------


def noughts(label):
    return base64.b64encode(bytes(len(base64.b64decode(label["replicates"])))).decode()


FORGED = [  # what differs, and the change of a record and its first label
    ("weight", lambda item, label: heavier(item)),
    ("prediction", lambda item, label: item["prediction"][0].update(value=0.5)),
    ("sha256 of the input", lambda item, label: item["input"].update(sha256="0" * 64)),
    ("fidelity", lambda item, label: label.update(fidelity=0.99)),
    ("fidelity_rows", lambda item, label: label.update(fidelity_rows=0.99)),
    ("flips", lambda item, label: label.update(flips=[{}] * 9)),
    ("replicates", lambda item, label: label.update(replicates=None)),
    ("replicates", lambda item, label: label.update(replicates=noughts(label))),
    ("groups", lambda item, label: item["groups"].update(sex="FEMALE")),
    ("bins", lambda item, label: item["bins"].append(1)),
    ("id", lambda item, label: item.update(id="1")),
    ("key of the record", lambda item, label: label.pop("stability_top")),
    ("key of the record", lambda item, label: item.update(approved=True)),
    ("model calls", lambda item, label: item.update(model_calls=1)),
]


def test_every_forged_number_is_found(audit_of_penguins, verdict):
    def change(items):
        for item, (_, forge) in zip(items, FORGED, strict=False):
            forge(item, item["labels"][0])

    made = audit_of_penguins("--protected", "sex", "-n", "512", "--sampler", "sobol")
    found = verdict(forged(made, change), "--sample", "all")
    told = {item["index"]: item["differences"][0]["what"] for item in found["explanations"]}
    assert told == {i: what for i, (what, _) in enumerate(FORGED)}
    assert found["sampled_differing"] == len(FORGED)


def test_lines_that_limecli_never_writes_are_findings(verdict, penguins):
    def change(items):
        items[0]["labels"] = {"a": 1}
        items[5]["prediction"] = [{"label": "Adelie", "index": 0, "value": "much"}]
        items[6]["labels"][0]["attributions"] = [7]
        items[7]["model_calls"] = 10**30

    found = verdict(forged(penguins, change), "--sample", "all")["explanations"]
    assert [item["reason"] for item in found] == [
        f"line {number} is no decision as limecli writes it" for number in (2, 7, 8, 9)
    ]


def test_no_number_is_no_way_round_a_comparison(verdict, penguins):
    whole = penguins.read_bytes().splitlines()
    chain, told = Chain(whole[0]), [whole[0]]
    for line in whole[1:-1]:
        bare = line[: line.rindex(b',"previous"')] + b"}"
        weight = b'"weight":' + str(json.loads(line)["labels"][0]["attributions"][0]["weight"]
                                    if b'"labels"' in line else 0).encode()  # fmt: skip
        told.append(chain.linked(bare.replace(weight, b'"weight":NaN', 1)))
    penguins.write_bytes(b"\n".join([*told, chain.end()]) + b"\n")
    found = verdict(penguins, "--sample", "10")
    assert found["findings"] == []
    assert found["sampled_differing"] >= 9


# -- files that were changed -----------------------------------------------------------------------


@pytest.fixture
def copied(audited, rows, tmp_path):
    """An audit of penguins of one's own: model, background and rows in one folder."""
    for path in (MODEL, SAMPLES / "penguins.pkl.background.json", rows):
        shutil.copy(path, tmp_path)
    return audited("tabular", tmp_path / "penguins.pkl", tmp_path / "penguins.csv", *FEW)


def differences(found):
    return [item["what"] for item in found["differences"]]


def test_another_model_is_not_even_opened(cli, verdict, copied, monkeypatch):
    model = copied.with_name("penguins.pkl")
    model.write_bytes(model.read_bytes() + b" ")
    monkeypatch.setattr("limecli.models.detect.load_model", None)
    for options in ([], ["--hashes-only"]):
        assert differences(verdict(copied, *options)) == ["sha256 of the model"]
    assert cli("verify", copied).stdout.splitlines()[-1] == (
        "  not verified: sha256 of the model differs"
    )


def test_a_changed_row_is_named(verdict, copied):
    rows = copied.with_name("penguins.csv")
    frame = pd.read_csv(rows)
    frame.loc[15, "body_mass_g"] += 1000
    frame.to_csv(rows, index=False)
    assert differences(verdict(copied, "--hashes-only")) == ["sha256 of the input"]
    found = verdict(copied, "--sample", "all")
    assert differences(found) == ["sha256 of the input"]
    told = {item["index"]: item for item in found["explanations"]}
    assert told[15]["differences"][0]["what"] == "sha256 of the input"


def test_a_row_that_is_not_there_any_more_is_named(verdict, copied):
    rows = copied.with_name("penguins.csv")
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    found = verdict(copied, "--sample", "all")
    last = [item for item in found["explanations"] if item["index"] == ROWS - 1]
    assert last[0]["differences"][0]["here"] == "not in the input"


def test_another_background_is_named(verdict, copied):
    other = copied.with_name("other.csv")
    pd.read_csv(copied.with_name("penguins.csv"))[:12].to_csv(other, index=False)
    for options in (["--hashes-only"], ["--sample", "5"]):
        found = verdict(copied, *options, "-b", other)
        assert "sha256 of the background" in differences(found)


def test_a_background_out_of_the_model_stands_with_it(cli, verdict, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, frame["a"] > 0)
    joblib.dump(model, tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    made = tmp_path / "audit.jsonl"
    args = ("audit", "tabular", tmp_path / "m.joblib", tmp_path / "rows.csv", *FEW, "-o", made)
    assert cli(*args).code == 0
    assert json.loads(made.read_text().splitlines()[0])["background"]["source"] == "model"
    assert verdict(made, "--sample", "5")["sampled_verified"] == 5
    assert verdict(made, "--hashes-only")["files_checked"] == ["model", "input"]
    (tmp_path / "m.joblib").write_bytes((tmp_path / "m.joblib").read_bytes() + b" ")
    assert differences(verdict(made, "--hashes-only")) == ["sha256 of the model"]


def test_hashes_only_opens_no_model(verdict, copied, monkeypatch):
    for name in ("limecli.models.detect.load_model", "pickle.load", "joblib.load"):
        monkeypatch.setattr(name, None)
    found = verdict(copied, "--hashes-only")
    assert (found["against"], found["sampled"]) == (None, 0)
    assert found["files_checked"] == ["model", "background", "input"]


def test_a_file_that_is_gone_is_told_and_a_finding_only_if_it_was_named(cli, verdict, copied):
    copied.with_name("penguins.csv").unlink()
    found = verdict(copied, "--hashes-only")
    assert found["files_checked"] == ["model", "background"]
    (told,) = found["files_not_checked"]
    assert "penguins.csv is no file here" in told
    gone = verdict(copied, "--hashes-only", "--input", copied.with_name("gone.csv"))
    assert differences(gone) == ["sha256 of the input"]
    assert "--input FILE" in cli("verify", copied).stderr


def test_lines_that_are_wrong_are_told_where_nothing_can_be_made_again(cli, verdict, copied):
    copied.with_name("penguins.pkl").unlink()
    assert cli("verify", copied).code == 3
    edited(copied, lambda lines: lines.pop(4))
    found = verdict(copied)
    assert found["findings"][0].startswith("line 4 (id 2)")
    assert "no such model file" in found["not_computed_again"]


# -- lime itself -----------------------------------------------------------------------------------


def test_limes_own_classes_bear_out_a_sample_within_the_intervals(cli, verdict, penguins):
    found = verdict(penguins, "--against", "lime", "--sample", "3")
    assert (found["against"], found["comparison"]) == ("lime", "within the intervals")
    assert found["sampled_verified"] == 3
    assert 0 < found["largest_deviation"] < found["allowed_deviation"]


def test_limes_sampler_gives_limes_numbers(audit_of_penguins, verdict):
    made = audit_of_penguins("--sampler", "lime", "--mask", "sex")
    found = verdict(made, "--against", "lime")
    assert (found["sampled_verified"], found["comparison"]) == (10, "equal numbers")
    assert found["largest_difference"] <= TOLERANCE
    forged(made, lambda items: [heavier(item) for item in items if item["status"] == "ok"])
    assert verdict(made, "--against", "lime", "--sample", "4")["sampled_differing"] >= 3


def test_lime_finds_a_weight_that_it_does_not_bear_out(verdict, penguins):
    def change(items):
        for item in items:
            for label in item.get("labels", ()):
                label["attributions"][0]["weight"] += 0.5

    found = verdict(forged(penguins, change), "--against", "lime", "--sample", "2")
    assert {one["what"] for item in found["explanations"] for one in item["differences"]} == {
        "weight"}  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "image"])
def test_lime_itself_on_texts_and_pictures(audited, verdict, pictures, tmp_path, kind):
    (tmp_path / "lines.txt").write_text(TEXTS)
    model, source = {"text": ("spam.joblib", tmp_path / "lines.txt"),
                     "image": ("digits.onnx", pictures)}[kind]  # fmt: skip
    made = audited(kind, SAMPLES / model, source, "-n", "100", "--sampler", "lime")
    found = verdict(made, "--against", "lime")
    assert found["comparison"] == "equal numbers"
    assert found["sampled_differing"] == found["sampled_not_compared"] == 0


# -- what an audit may not do ----------------------------------------------------------------------


def test_the_query_of_an_audit_is_not_asked_on_its_word(cli, audited, verdict, rows, tmp_path):
    frame = pd.read_csv(rows)[:10]
    with sqlite3.connect(tmp_path / "zoo.sqlite") as base:
        frame.to_sql("penguins", base, index=False)
    base.close()
    asked = ("--query", "select * from penguins order by rowid", "--database",
             tmp_path / "zoo.sqlite")  # fmt: skip
    made = audited("tabular", MODEL, *asked, *FEW)
    refused = cli("verify", made)
    assert refused.code == 4
    assert "not asked on an audit's word: select * from penguins" in refused.stderr
    assert verdict(made, *asked, "--sample", "all")["sampled_verified"] == 10
    assert verdict(made, "--hashes-only")["files_not_checked"]
    for option in ("--query", "--database"):
        assert cli("verify", made, option, "x").code == 2


def test_an_audit_names_no_code_as_its_model(fails, penguins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text("open('marker', 'w')\ndef model(x): return x\n")
    forged(penguins, lambda items: None, lambda content: content["model"].update(path="trap:model"))
    assert "--model" in fails(2, "verify", penguins).stderr
    assert not (tmp_path / "marker").exists()


def test_an_audit_trusts_nothing(fails, penguins, tmp_path):
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "m").encode() + b"'\ntR.")
    told = {"path": str(evil), "sha256": hashlib.sha256(evil.read_bytes()).hexdigest()}
    forged(penguins, lambda items: None, lambda content: content["model"].update(told))
    fails(3, "verify", penguins)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("change", [
    lambda content: content["settings"].update(mask="sex"),
    lambda content: content["settings"].update(num_samples=10**12),
    lambda content: content["settings"].update(sampler="later"),
    lambda content: content["settings"].update(kind="audio"),
    lambda content: content["settings"].update(id_column=7),
    lambda content: content.update(input=None),
    lambda content: content.update(input={"path": 1, "format": "csv", "sha256": None}),
    lambda content: content.update(provenance=None),
    lambda content: content.pop("model"),
    lambda content: content.update(schema_version=99),
])  # fmt: skip
def test_an_envelope_that_limecli_never_wrote_is_refused(fails, penguins, change):
    forged(penguins, lambda items: None, change)
    fails(6, "verify", penguins)


@pytest.mark.parametrize("content", ["", "[]\n", "no JSON\n", '{"schema_version":1}\n', "{}"])
def test_what_is_no_audit_is_refused(fails, tmp_path, content):
    (tmp_path / "a.jsonl").write_text(content)
    fails(6, "verify", tmp_path / "a.jsonl")
    fails(6, "verify", tmp_path / "gone.jsonl")


@pytest.mark.parametrize("options", [
    ["--sample", "0"], ["--sample", "some"], ["--sample", "all", "--against", "lime"],
    ["--last-hash", "abc"], ["--query", "select 1"], ["--preprocess", "none"],
    ["--input", "a.csv", "--input", "b.csv"],
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(fails, penguins, options):
    fails(2, "verify", penguins, *options)


@pytest.mark.parametrize("options", [["--sample", "5"], ["--last-hash", "0" * 64], ["--seed", "1"],
                                     ["--hashes-only"]])  # fmt: skip
def test_a_report_has_no_lines_to_sample(cli, fails, rows, tmp_path, options):
    assert cli("tabular", MODEL, rows, "-r", "0", *FEW, "-o", tmp_path / "r.json").code == 0
    assert "is for audits" in fails(2, "verify", tmp_path / "r.json", *options).stderr


def test_names_of_an_audit_steer_no_terminal(cli, penguins):
    forged(penguins, lambda items: items[0].update(id="\x1b[2Jx"))
    assert "\x1b" not in cli("verify", penguins, "--sample", "all", "--color", "always").stdout


def test_the_verdict_goes_to_a_file(cli, penguins, tmp_path):
    result = cli("verify", penguins, "--hashes-only", "-o", tmp_path / "verdict.json")
    assert (result.code, result.stdout) == (0, "")
    assert json.loads((tmp_path / "verdict.json").read_text())["verified"]
    assert cli("verify", penguins, "-o", penguins).code == 2
