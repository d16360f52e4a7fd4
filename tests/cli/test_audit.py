"""`limecli audit`: one line a decision, in order, whatever the number of workers and restarts."""

import hashlib
import itertools
import json
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from limecli.report.jsonl import AuditFile
from limecli.report.schema import AUDIT_SCHEMA
from tests.conftest import SAMPLES

SMALL = ("-n", "256", "-q")


def people(count, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "person": [f"p{i}" for i in range(count)],
            "age": rng.integers(18, 80, count),
            "income": rng.normal(30, 9, count).round(1),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], count),
            "sex": rng.choice(["f", "m"], count),
        }
    )


FEATURES = ["age", "income", "city"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Models of people with their background and some rows."""
    folder = tmp_path_factory.mktemp("audit")
    train = people(400)
    granted = np.where(train["income"] + 5 * (train["city"] == "Oslo") > 30, "granted", "refused")
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"
    )
    logistic = make_pipeline(encode, LogisticRegression(max_iter=2000))
    forest = make_pipeline(encode, RandomForestClassifier(10, max_depth=4, random_state=0))
    for name, model in (("logistic", logistic), ("forest", forest)):
        model.fit(train[FEATURES], granted)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))
    linear = LinearRegression().fit(train[["age", "income"]], 2 * train["age"] - train["income"])
    (folder / "linear.pkl").write_bytes(pickle.dumps(linear))
    train.to_csv(folder / "train.csv", index=False)
    people(300, 1).to_csv(folder / "rows.csv", index=False)
    texts = ["you won a prize", "see you at noon", "claim the prize now", "noon it is"] * 5
    spam = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, [1, 0, 1, 0] * 5)
    (folder / "spam.pkl").write_bytes(pickle.dumps(spam))
    (folder / "texts.txt").write_text("you won a prize\n\nsee you at noon\nnow\n")
    return folder


@pytest.fixture
def audited(cli, folder, tmp_path):
    """Run an audit of people; (envelope, decisions, end) as they were written."""

    def run(model, *options, rows="rows.csv", name="out.jsonl", code=0, small=SMALL):
        path = tmp_path / name
        result = cli("audit", "tabular", folder / f"{model}.pkl", folder / rows, "-b",
                     folder / "train.csv", "-o", path, *small, *options)  # fmt: skip
        assert result.code == code, result.stderr
        return read(path)

    return run


@pytest.fixture(scope="session")
def whole(folder, command):
    """An audit of all rows without further options, run once: path, envelope, decisions, end."""
    found = {}

    def run(model):
        if model not in found:
            path = folder / f"{model}.jsonl"
            words = [*command, "audit", "tabular", f"{model}.pkl", "rows.csv", "-b", "train.csv"]
            subprocess.run([*words, "-o", path.name, *SMALL], cwd=folder, check=True)
            found[model] = (path, *read(path))
        return found[model]

    return run


def read(path):
    envelope, *decisions, end = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    return envelope, decisions, end


# One line a decision


def test_every_row_has_a_line_in_the_order_of_the_input(audited):
    envelope, decisions, end = audited("logistic", "--id-column", "person")
    assert [item["id"] for item in decisions] == [f"p{i}" for i in range(300)]
    assert [item["index"] for item in decisions] == list(range(300))
    assert all(item["status"] == "ok" for item in decisions)
    assert end["count"] == 300
    assert "explanations" not in envelope
    assert set(envelope["provenance"]) == {"limecli", "versions"}


def test_an_audit_explains_a_row_as_tabular_does(audited, cli, folder):
    _, decisions, _ = audited("logistic", small=("-q",))
    whole = cli("tabular", folder / "logistic.pkl", folder / "rows.csv", "-b",
                folder / "train.csv", "-r", "270:273", "-n", "16384", "--json", "-q")  # fmt: skip
    for item in json.loads(whole.stdout)["explanations"]:
        (here,), (there,) = decisions[item["index"]]["labels"], item["labels"]
        for mine, other in zip(here["attributions"], there["attributions"], strict=True):
            assert mine["weight"] == pytest.approx(other["weight"], abs=1e-10)
            assert mine["low"] == pytest.approx(other["low"], abs=1e-10)
        assert here["fidelity"] == pytest.approx(there["fidelity"], abs=1e-10)
        assert decisions[item["index"]]["input"]["sha256"] == item["input"]["sha256"]


def test_rows_share_2_to_the_14_evaluations(audited):
    envelope, decisions, _ = audited("logistic", small=("-q",))
    assert envelope["settings"]["num_samples"] == 2**14
    assert {item["weight_calls"] for item in decisions} == {2**14 + 1}  # and one to begin with


def test_a_forest_s_weights_are_exact(whole):
    _, envelope, decisions, _ = whole("forest")
    assert envelope["settings"]["sampler"] == "exact"
    assert {item["weight_calls"] for item in decisions} == {0}
    parts = [part for item in decisions for part in item["labels"][0]["attributions"]]
    assert all(part["low"] == part["weight"] == part["high"] for part in parts)


def test_a_regression_s_mean_weights_are_known(audited, folder, tmp_path):
    """Without bins the weights of a linear model are its coefficients times the scales."""
    _, decisions, _ = audited(
        "linear", "--discretizer", "none", "--summary", str(tmp_path / "s.json"), "--target", "due"
    )
    train = pd.read_csv(folder / "train.csv")
    expected = {"age": 2 * train["age"].std(ddof=0), "income": -train["income"].std(ddof=0)}
    for item in decisions:
        assert {x["feature"]: x["weight"] for x in item["labels"][0]["attributions"]} == (
            pytest.approx(expected)
        )
    summary = json.loads((tmp_path / "s.json").read_text())
    means = {item["feature"]: item["mean_abs_weight"] for item in summary["features"]}
    assert means == pytest.approx({name: abs(weight) for name, weight in expected.items()})


def test_each_replicate_s_weights_are_kept_and_their_mean_is_the_weight(whole):
    from limecli.audit.records import replicates_of

    _, _, decisions, _ = whole("logistic")
    for item in decisions[:20]:
        (label,) = item["labels"]
        told = replicates_of(label).astype(float)
        weights = np.array([part["weight"] for part in label["attributions"]])
        half = np.array([(part["high"] - part["low"]) / 2 for part in label["attributions"]])
        assert told.mean(axis=0) == pytest.approx(weights, abs=1e-6)
        spread = told.std(axis=0, ddof=1) / np.sqrt(len(told))
        from scipy.stats import t

        assert half == pytest.approx(spread * t.ppf(0.975, len(told) - 1), rel=1e-4, abs=1e-7)


def test_lines_are_bound_to_the_ones_before_them(whole):
    lines = whole("logistic")[0].read_bytes().splitlines()
    for before, line in itertools.pairwise(lines[:-1]):
        assert json.loads(line)["previous"] == hashlib.sha256(before).hexdigest()
    assert json.loads(lines[-1])["sha256"] == hashlib.sha256(lines[-2]).hexdigest()


def test_the_last_hash_is_told_at_the_end(cli, folder, tmp_path):
    result = cli("audit", "tabular", folder / "forest.pkl", folder / "rows.csv", "-b",
                 folder / "train.csv", "-o", tmp_path / "a.jsonl")  # fmt: skip
    assert f"last hash {read(tmp_path / 'a.jsonl')[2]['sha256']}" in result.stderr
    assert result.stdout == ""


def test_without_a_file_the_lines_go_to_stdout(command, folder, whole):
    words = [*command, "audit", "tabular", "forest.pkl", "rows.csv", "-b", "train.csv", *SMALL]
    result = subprocess.run(words, cwd=folder, check=True, capture_output=True)
    assert result.stdout == whole("forest")[0].read_bytes()


def test_every_line_follows_the_schema(audited):
    for options in ((), ("--protected", "sex", "--mask", "city")):
        envelope, decisions, end = audited("logistic", *options)
        validator = Draft202012Validator(AUDIT_SCHEMA)
        for line in (envelope, *decisions[:20], end):
            validator.validate(line)


def test_an_id_that_comes_twice_is_recorded_twice_and_counted(audited, folder, tmp_path):
    head, *good = (folder / "rows.csv").read_text().splitlines()
    (folder / "twice.csv").write_text("\n".join([head, *good[:5], *good[:2]]) + "\n")
    _, decisions, _ = audited("forest", "--id-column", "person", "--summary",
                              str(tmp_path / "s.json"), rows="twice.csv")  # fmt: skip
    assert [item["id"] for item in decisions] == ["p0", "p1", "p2", "p3", "p4", "p0", "p1"]
    assert json.loads((tmp_path / "s.json").read_text())["counts"]["repeated_ids"] == 2


# The same bytes


@pytest.mark.parametrize("model", ["logistic", "forest"])
@pytest.mark.parametrize(
    "options",
    [("-j", "2"), ("-j", "2", "--backend", "threading"), ("--max-memory", "1M")],
    ids=["loky", "threading", "memory"],
)
def test_workers_and_memory_change_no_byte(audited, tmp_path, model, options):
    audited(model)
    audited(model, *options, name="other.jsonl")
    one, other = (tmp_path / name for name in ("out.jsonl", "other.jsonl"))
    if options[0] == "--max-memory" and "max_memory" in read(other)[0]["settings"]:
        pytest.skip("this model's last digits depend on the batch: it is part of the settings")
    assert one.read_bytes() == other.read_bytes()


def test_a_batch_size_changes_no_byte_where_the_model_rounds_alike(audited, tmp_path):
    audited("forest")
    envelope, _, _ = audited("forest", "--batch-size", "7", name="other.jsonl")
    assert "batch_size" not in envelope["settings"]
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "other.jsonl").read_bytes()


# Inputs


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".json", ".tsv"])
def test_other_formats_give_the_same_weights(audited, whole, folder, suffix):
    table = pd.read_csv(folder / "rows.csv")
    name = f"same{suffix}"
    if suffix == ".parquet":
        table.to_parquet(folder / name)
    elif suffix == ".tsv":
        table.to_csv(folder / name, sep="\t", index=False)
    else:
        table.to_json(folder / name, orient="records", lines=suffix == ".jsonl")
    _, _, one, _ = whole("logistic")
    _, other, _ = audited("logistic", rows=name)
    assert [item["labels"] for item in one] == [item["labels"] for item in other]


def test_rows_come_out_of_a_database(cli, folder, tmp_path, whole):
    with sqlite3.connect(tmp_path / "people.sqlite") as database:
        pd.read_csv(folder / "rows.csv").to_sql("people", database, index=False)
    database.close()
    result = cli("audit", "tabular", folder / "logistic.pkl", "--query",
                 "select * from people order by rowid", "--database", tmp_path / "people.sqlite",
                 "-b", folder / "train.csv", "-o", tmp_path / "q.jsonl", *SMALL)  # fmt: skip
    assert result.code == 0, result.stderr
    envelope, decisions, _ = read(tmp_path / "q.jsonl")
    assert envelope["input"]["format"] == "query"
    _, _, others, _ = whole("logistic")
    assert [item["labels"] for item in decisions] == [item["labels"] for item in others]


def test_rows_come_from_stdin(cli, folder, tmp_path, whole):
    result = cli("audit", "tabular", folder / "forest.pkl", "-", "-b", folder / "train.csv",
                 "-o", tmp_path / "in.jsonl", *SMALL,
                 stdin=(folder / "rows.csv").read_bytes())  # fmt: skip
    assert result.code == 0, result.stderr
    _, decisions, _ = read(tmp_path / "in.jsonl")
    _, _, others, _ = whole("forest")
    assert [item["labels"] for item in decisions] == [item["labels"] for item in others]


def test_every_line_of_a_file_is_a_text(cli, folder, tmp_path):
    result = cli("audit", "text", folder / "spam.pkl", folder / "texts.txt", "-o",
                 tmp_path / "t.jsonl", "-n", "100", "-q")  # fmt: skip
    assert result.code == 0, result.stderr
    envelope, decisions, _ = read(tmp_path / "t.jsonl")
    assert [item["index"] for item in decisions] == [0, 2, 3]
    assert decisions[1]["input"]["text"] == "see you at noon"
    assert envelope["settings"]["sampler"] == "pairs"


def test_a_column_of_a_table_holds_texts(cli, folder, tmp_path):
    (tmp_path / "mail.csv").write_text('key,body\nx,"you won, a prize"\ny,noon\n')
    result = cli("audit", "text", folder / "spam.pkl", tmp_path / "mail.csv", "--column", "body",
                 "--id-column", "key", "-o", tmp_path / "t.jsonl", "-n", "100", "-q")  # fmt: skip
    assert result.code == 0, result.stderr
    _, decisions, _ = read(tmp_path / "t.jsonl")
    assert [item["id"] for item in decisions] == ["x", "y"]


def test_every_picture_of_a_folder_is_explained(cli, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("digit-3.png", "digit-5.png"):
        Image.open(SAMPLES / name).save(tmp_path / "in" / "deep" / name)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    result = cli("audit", "image", SAMPLES / "digits.onnx", tmp_path / "in", "-o",
                 tmp_path / "i.jsonl", "-n", "64", "--segmentation", "grid", "-q")  # fmt: skip
    assert result.code == 0, result.stderr
    _, decisions, end = read(tmp_path / "i.jsonl")
    assert [item["id"] for item in decisions] == [
        "broken.png", "deep/digit-3.png", "deep/digit-5.png"
    ]  # fmt: skip
    assert [item["status"] for item in decisions] == ["skipped", "ok", "ok"]
    assert end["count"] == 3
    lines = (tmp_path / "i.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "again.jsonl.partial").write_bytes(b"".join(lines[:3]))
    again = cli("audit", "image", SAMPLES / "digits.onnx", tmp_path / "in", "-o",
                tmp_path / "again.jsonl", "-n", "64", "--segmentation", "grid", "-q",
                "--resume")  # fmt: skip
    assert again.code == 0, again.stderr
    assert (tmp_path / "again.jsonl").read_bytes() == b"".join(lines)


# Bad rows


BAD = {
    "p1,abc,30.5,Rome,f": "column 'age': 'abc' is not a number",
    "p2,40,30.5": "3 cells",
    "p3,40,30.5,Rome,f,more": "6 cells",
    "p5,40,30.5,Ro\x00me,f": "NUL",
}


def test_bad_rows_are_recorded_and_the_run_goes_on(audited, folder):
    head, *good = (folder / "rows.csv").read_text().splitlines()
    lines = [head, good[0], *BAD, good[1]]
    (folder / "bad.csv").write_text("\n".join(lines) + "\n")
    _, decisions, end = audited("logistic", rows="bad.csv")
    assert [item["status"] for item in decisions] == ["ok", *["skipped"] * len(BAD), "ok"]
    for item, reason in zip(decisions[1:-1], BAD.values(), strict=True):
        assert reason in item["reason"]
        assert f"row {item['index']}" in item["reason"]
    assert end["count"] == len(BAD) + 2


def test_strict_stops_at_the_first_bad_row(cli, fails, folder, tmp_path):
    (folder / "bad.csv").write_text(
        (folder / "rows.csv").read_text() + "p9,abc,30.5,Rome,f\np10,3,30.5,Rome,f\n"
    )
    result = fails(4, "audit", "tabular", folder / "forest.pkl", folder / "bad.csv", "-b",
                   folder / "train.csv", "-o", tmp_path / "s.jsonl", "--strict",
                   *SMALL)  # fmt: skip
    assert "row 300" in result.stderr
    assert not (tmp_path / "s.jsonl").exists()


def test_rows_that_the_model_refuses_at_the_beginning_are_skipped(cli, folder, tmp_path):
    train = people(100)[["age", "income"]]
    bare = LogisticRegression().fit(train, train["income"] > 30)
    (folder / "bare.pkl").write_bytes(pickle.dumps(bare))
    rows = people(60, 5).astype({"age": object})
    rows.loc[:49, "age"] = None
    rows.to_csv(folder / "gaps.csv", index=False)
    result = cli("audit", "tabular", folder / "bare.pkl", folder / "gaps.csv", "-b",
                 folder / "train.csv", "-o", tmp_path / "g.jsonl", *SMALL)  # fmt: skip
    assert result.code == 0, result.stderr
    _, decisions, _ = read(tmp_path / "g.jsonl")
    assert [item["status"] for item in decisions] == ["skipped"] * 50 + ["ok"] * 10


def test_an_unseen_category_has_no_weight_and_harms_no_other_row(audited, whole, folder):
    head, *good = (folder / "rows.csv").read_text().splitlines()
    rows = [head, good[0], "new,40,30.5,Paris,f", *good[1:5]]
    (folder / "unseen.csv").write_text("\n".join(rows) + "\n")
    for model in ("logistic", "forest"):
        _, decisions, _ = audited(model, rows="unseen.csv")
        (label,) = decisions[1]["labels"]
        (city,) = [part for part in label["attributions"] if part["feature"] == "city"]
        assert city["weight"] == 0
        assert city["value"] == "Paris"
        plain = whole(model)[2]
        for here, there in zip(decisions[0]["labels"], plain[0]["labels"], strict=True):
            weights = [[part["weight"] for part in x["attributions"]] for x in (here, there)]
            assert weights[0] == pytest.approx(weights[1], abs=1e-12)


def test_an_audit_is_never_its_own_background(fails, folder, tmp_path):
    result = fails(4, "audit", "tabular", folder / "linear.pkl", folder / "rows.csv", "-o",
                   tmp_path / "n.jsonl", *SMALL)  # fmt: skip
    assert "no background" in result.stderr


# Privacy


def test_a_masked_column_s_values_are_nowhere(audited, folder, tmp_path):
    head, *good = (folder / "rows.csv").read_text().splitlines()
    (folder / "masked.csv").write_text("\n".join([head, *good[:40], "q,1,2,Atlantis,f"]) + "\n")
    for model in ("logistic", "forest"):
        envelope, decisions, _ = audited(model, "--mask", "city,person", rows="masked.csv")
        text = (tmp_path / "out.jsonl").read_text()
        assert not any(word in text for word in ("Rome", "Oslo", "Bonn", "Atlantis", "p17"))
        parts = [part for item in decisions for part in item["labels"][0]["attributions"]]
        assert all(part["masked"] for part in parts if part["feature"] == "city")
        assert envelope["settings"]["mask"] == ["city", "person"]


def test_two_rows_that_differ_in_a_masked_value_have_the_same_hash(audited, folder):
    (folder / "two.csv").write_text("person,age,income,city,sex\na,40,30,Rome,f\nb,40,30,Oslo,m\n")
    _, decisions, _ = audited("logistic", "--mask", "city", rows="two.csv")
    assert decisions[0]["input"]["sha256"] == decisions[1]["input"]["sha256"]


def test_a_masked_text_is_left_out(cli, folder, tmp_path):
    cli("audit", "text", folder / "spam.pkl", folder / "texts.txt", "-o", tmp_path / "t.jsonl",
        "-n", "100", "-q", "--mask", "text")  # fmt: skip
    _, decisions, _ = read(tmp_path / "t.jsonl")
    assert all("text" not in item["input"] for item in decisions)


# Protected columns and gates


def test_groups_are_those_of_a_column_that_the_model_never_sees(audited, tmp_path):
    _, decisions, _ = audited("logistic", "--protected", "sex", "--summary",
                              str(tmp_path / "s.json"))  # fmt: skip
    assert {item["groups"]["sex"] for item in decisions} == {"f", "m"}
    summary = json.loads((tmp_path / "s.json").read_text())
    (sex,) = summary["protected"]
    granted = {"f": [], "m": []}
    for item in decisions:
        granted[item["groups"]["sex"]].append(item["prediction"][0]["label"] == "granted")
    for group in sex["groups"]:
        assert group["outcomes"]["granted"]["rate"] == pytest.approx(
            np.mean(granted[group["value"]])
        )


def test_a_gate_that_fails_ends_with_1_and_a_whole_file(audited, tmp_path):
    _, decisions, end = audited("logistic", "--min-fidelity", "0.999", code=1)
    assert end["count"] == len(decisions) == 300


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--max-skipped", "0"], 1), (["--max-skipped", "1"], 0), (["--max-skipped", "1%"], 0),
     (["--fail-on", "fidelity.median < 0.01"], 0), (["--fail-on", "skipped > 0"], 1)],
)  # fmt: skip
def test_gates_judge_the_summary(audited, folder, options, code):
    (folder / "one_bad.csv").write_text((folder / "rows.csv").read_text() + "p9,abc,30.5,Rome,f\n")
    audited("logistic", *options, rows="one_bad.csv", code=code)


# Other outputs


def test_tables_and_pages_are_made_of_the_same_lines(audited, tmp_path, cli):
    audited("logistic", "-o", str(tmp_path / "t.csv"), "-o", str(tmp_path / "p.html"))
    table = pd.read_csv(tmp_path / "t.csv")
    _, decisions, _ = read(tmp_path / "out.jsonl")
    assert len(table) == sum(len(item["labels"][0]["attributions"]) for item in decisions)
    cli("render", tmp_path / "out.jsonl", "-o", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")


def test_a_table_alone_leaves_no_lines_behind(cli, folder, tmp_path):
    result = cli("audit", "tabular", folder / "forest.pkl", folder / "rows.csv", "-b",
                 folder / "train.csv", "-o", tmp_path / "only.parquet", *SMALL)  # fmt: skip
    assert result.code == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["only.parquet"]
    assert pd.read_parquet(tmp_path / "only.parquet")["id"].nunique() == 300


def test_the_file_reads_back_with_its_chain_unbroken(whole):
    audit = AuditFile(str(whole("logistic")[0]))
    assert sum(1 for _ in audit.records()) == 300
    assert audit.end["count"] == 300
    audit.close()


def test_rows_behind_many_bad_ones_are_found(audited, folder):
    head, *good = (folder / "rows.csv").read_text().splitlines()
    lines = [head, *["x,abc,30.5,Rome,f"] * 1500, *good[:3]]
    (folder / "late.csv").write_text("\n".join(lines) + "\n")
    _, decisions, _ = audited("forest", rows="late.csv")
    assert [item["status"] for item in decisions] == ["skipped"] * 1500 + ["ok"] * 3


def test_what_the_first_rows_fail_by_tells_no_masked_value(cli, folder, tmp_path):
    (folder / "secret.csv").write_text("person,age,income,city,sex\na,SECRET,30,Rome,f\n")
    result = cli("audit", "tabular", folder / "forest.pkl", folder / "secret.csv", "-b",
                 folder / "train.csv", "-o", tmp_path / "m.jsonl", "--mask", "age")  # fmt: skip
    assert result.code == 4
    assert "SECRET" not in result.stderr
    assert "masked" in result.stderr


def test_an_edited_last_line_is_seen_when_it_is_gone_on_with(cli, folder, whole, tmp_path):
    path, *_ = whole("forest")
    lines = path.read_bytes().splitlines(keepends=True)[:-1]
    for count in (300, 1):
        edited = [*lines[:count], lines[count].replace(b'"intercept":0', b'"intercept":1')]
        (folder / "edited.jsonl.partial").write_bytes(b"".join(edited))
        result = subprocess.run(
            [sys.executable, "-m", "limecli", "audit", "tabular", "forest.pkl", "rows.csv", "-b",
             "train.csv", "-o", "edited.jsonl", "--resume", *SMALL],
            cwd=folder, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 6, result.stderr
        assert "was edited" in result.stderr


def test_a_leftover_without_a_decision_is_begun_anew(audited, whole, tmp_path):
    path, *_ = whole("logistic")
    (tmp_path / "out.jsonl.partial").write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    _, decisions, _ = audited("forest")
    assert len(decisions) == 300


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_cluster_of_this_machine_changes_no_byte(folder, command, whole, backend):
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend])
    words = [*command, "audit", "tabular", "logistic.pkl", "rows.csv", "-b", "train.csv", *SMALL]
    subprocess.run(
        [*words, "-o", f"{backend}.jsonl", "--backend", backend, "-j", "2"], cwd=folder, check=True
    )
    assert (folder / f"{backend}.jsonl").read_bytes() == whole("logistic")[0].read_bytes()
