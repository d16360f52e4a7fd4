"""Rows, backgrounds, texts and settings that do not fit: what is wrong and where, nothing else."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.conftest import SAMPLES

QUICK = ("-n", "200", "--no-progress")
SPAM = SAMPLES / "spam.joblib"


@pytest.fixture(scope="session")
def people():
    rng = np.random.default_rng(0)
    n = 80
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "income": rng.normal(30, 8, n).round(2),
            "city": rng.choice(["Bern", "Graz", "Ulm"], n),
        }
    )


@pytest.fixture(scope="session")
def folder(people, tmp_path_factory):
    """Models, their training data and its statistics."""
    folder = tmp_path_factory.mktemp("people")
    people.to_csv(folder / "people.csv", index=False)
    good = np.where(people["income"] + people["age"] / 10 > 35, "granted", "refused")
    for name, unknown in (("tolerant", "ignore"), ("strict", "error")):
        encoder = make_column_transformer(
            (OneHotEncoder(handle_unknown=unknown), ["city"]), remainder="passthrough"
        )
        joblib.dump(
            make_pipeline(encoder, LogisticRegression(max_iter=5000)).fit(people, good),
            folder / f"{name}.joblib",
        )
    numbers = people[["age", "income"]]
    joblib.dump(
        LogisticRegression(max_iter=5000).fit(numbers.to_numpy(), good), folder / "bare.joblib"
    )
    return folder


@pytest.fixture(scope="session")
def stats(folder):
    path = folder / "stats.json"
    done = subprocess.run(
        [sys.executable, "-m", "limecli", "background", folder / "people.csv", "-o", path],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def table(tmp_path):
    """Write a file of rows."""

    def write(content, name="rows.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def rows(table):
    return table("age,income,city\n40,31.5,Bern\n")


@pytest.fixture
def explain(cli, folder, stats):
    def run(rows, *options, model="tolerant", background=stats):
        given = () if background is None else ("-b", background)
        return cli("tabular", folder / f"{model}.joblib", rows, *given, *QUICK, *options)

    return run


@pytest.fixture
def refused(fails, folder, stats):
    """Explain rows that must be refused; what stderr says."""

    def run(rows, *options, model="tolerant", background=stats, code=4):
        given = () if background is None else ("-b", background)
        model_file = folder / f"{model}.joblib"
        return fails(code, "tabular", model_file, rows, *given, *QUICK, *options).stderr

    return run


# Files of rows


def test_missing_rows_file_is_named(refused, tmp_path):
    assert f"{tmp_path / 'none.csv'}: no such file" in refused(tmp_path / "none.csv")


def test_directory_is_no_table(refused, tmp_path):
    assert f"{tmp_path} is a directory" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n\n"])
def test_empty_rows_file_is_called_empty(refused, table, content):
    assert "rows.csv is empty" in refused(table(content))


def test_byte_order_mark_alone_is_called_empty(refused, table):
    assert "rows.csv" in refused(table(b"\xef\xbb\xbf"))


def test_empty_standard_input_is_called_empty(refused):
    assert "standard input is empty" in refused("-")


def test_header_alone_has_no_rows(refused, table):
    assert "rows.csv has no rows, only a header" in refused(table("age,income,city\n"))


def test_empty_json_list_has_no_rows(refused, table):
    assert "rows.json has no rows" in refused(table("[]", "rows.json"))


def test_ragged_csv_names_the_line(refused, table):
    stderr = refused(table("age,income,city\n40,31.5,Bern\n41,32.5,Bern,Ulm,Graz\n"))
    assert "rows.csv" in stderr
    assert "line 3" in stderr


def test_short_csv_line_leaves_cells_missing(explain, table):
    result = explain(table("age,income,city\n40,31.5\n"))
    assert result.code == 0
    assert "'city' is missing" in result.stderr


def test_open_quote_is_no_table(refused, table):
    assert "rows.csv" in refused(table('age,income,city\n40,31.5,"Bern\n'))


@pytest.mark.parametrize("name", ["[cm] height", "{height}"])
def test_table_whose_header_begins_with_a_bracket_is_no_json(explain, table, name):
    result = explain(table(f"{name},age,income,city\n170,40,31.5,Bern\n"))
    assert result.code == 0, result.stderr
    assert name in result.stderr  # ignored, with a note


def test_same_column_twice_is_told(explain, table):
    result = explain(table("age,income,city,age\n40,31.5,Bern,50\n"))
    assert result.code in (0, 4)
    assert "age" in result.stderr


def test_same_column_twice_but_for_a_space_is_refused(refused, table):
    stderr = refused(table("age,income,city, age\n40,31.5,Bern,50\n"))
    assert "rows.csv" in stderr
    assert "age" in stderr


def test_invalid_json_names_the_line(refused, table):
    stderr = refused(table('[{"age": 40,\n "income": ,}]', "rows.json"))
    assert "rows.json is not valid JSON" in stderr
    assert "line 2" in stderr


def test_nested_json_names_row_and_column(refused, table):
    content = [{"age": 40, "income": 31.5, "city": "Bern"},
               {"age": 40, "income": {"gross": 31.5}, "city": "Bern"}]  # fmt: skip
    stderr = refused(table(json.dumps(content), "rows.json"))
    assert "rows.json, row 1, column 'income': a nested value" in stderr


@pytest.mark.parametrize("content", ["[1, 2, 3]", '[["age"], [40]]', '[{"age": 4}, 7]'])
def test_json_of_another_shape_is_refused(refused, table, content):
    assert "no list of objects" in refused(table(content, "rows.json"))


def test_json_columns_of_different_lengths_are_refused(refused, table):
    stderr = refused(table('{"age": [1, 2], "income": [1], "city": ["Bern"]}', "rows.json"))
    assert "rows.json has columns of different lengths" in stderr


def test_deeply_nested_json_is_refused(refused, table):
    assert "rows.json" in refused(table("[" * 100_000, "rows.json"))


def test_json_number_too_large_for_a_float_names_row_and_column(refused, table):
    content = '[{"age": 1%s, "income": 31.5, "city": "Bern"}]' % ("0" * 400)
    stderr = refused(table(content, "rows.json"))
    assert "rows.json, row 0, column 'age'" in stderr


def test_json_lines_may_hold_a_unicode_line_separator(explain, table):
    line = '{"age": 40, "income": 31.5, "city": "Be\u2028rn"}\n'
    result = explain(table(line + line, "rows.jsonl"))
    assert result.code == 0, result.stderr


def test_rows_that_are_not_utf_8_name_the_place(refused, table):
    stderr = refused(table("age,income,city\n40,31.5,Zürich\n".encode("latin-1")))
    assert "rows.csv is not UTF-8 text (byte 0xfc at position 25)" in stderr
    assert "iconv" in stderr


def test_picture_in_place_of_rows_is_refused(refused):
    assert "digit-3.png is not UTF-8" in refused(SAMPLES / "digit-3.png")


def test_null_bytes_in_a_table_are_no_bug(explain, table):
    assert explain(table(b"age,income,city\n40,3\0001.5,Bern\n")).code in (0, 4)


# Columns


def test_misspelt_column_is_pointed_out(refused, table):
    stderr = refused(table("age,incmoe,city\n40,31.5,Bern\n"))
    assert "rows.csv lacks the column 'income'" in stderr
    assert "did you mean 'incmoe'?" in stderr


def test_missing_columns_are_named(refused, table):
    stderr = refused(table("city\nBern\n"))
    assert "lacks the columns 'age', 'income' that the model needs" in stderr


def test_column_missing_in_the_background_is_named(refused, rows, table):
    train = table("age,city\n" + "40,Bern\n" * 40, "train.csv")
    stderr = refused(rows, background=train)
    assert "train.csv lacks the column 'income'" in stderr


def test_extra_columns_are_ignored_with_a_note(explain, table):
    result = explain(table("name,age,income,city,shoe\nAnn,40,31.5,Bern,41\n"))
    assert result.code == 0
    assert "ignored columns that the model does not use: name, shoe" in result.stderr


def test_number_of_columns_must_fit_a_model_without_names(refused, table):
    content = "age,income,outcome\n" + "40,31.5,1\n" * 40
    stderr = refused(table(content), "-r", "0", model="bare", background=None)
    assert "takes 2 features, but" in stderr
    assert "has 3 columns: age, income, outcome" in stderr
    assert "--target" in stderr


def test_target_column_makes_the_number_of_columns_fit(explain, people, table):
    content = people[["age", "income"]].assign(outcome=1).to_csv(index=False)
    result = explain(table(content), "-r", "0", "--target", "outcome", model="bare",
                     background=None)  # fmt: skip
    assert result.code == 0, result.stderr


@pytest.mark.parametrize("option", ["--id-column", "--categorical"])
def test_option_naming_no_column_is_a_usage_fault(refused, folder, option):
    stderr = refused(folder / "people.csv", "-r", "0", option, "incmoe", background=None, code=2)
    assert f"{option} incmoe" in stderr
    assert "did you mean 'income'?" in stderr


# Cells


def test_word_among_numbers_names_file_row_and_column(refused, table):
    stderr = refused(table("age,income,city\n40,much,Bern\n"))
    assert "rows.csv, row 0, column 'income': 'much' is not a number" in stderr


def test_word_among_the_numbers_of_the_background_is_named(refused, rows, people, table):
    odd = people.astype({"income": object})
    odd.loc[17, "income"] = "much"
    stderr = refused(rows, background=table(odd.to_csv(index=False), "train.csv"))
    assert "train.csv, row 17, column 'income': 'much' is not a number" in stderr


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "1e999"])
def test_infinite_cell_names_row_and_column(refused, table, cell):
    stderr = refused(table(f"age,income,city\n40,{cell},Bern\n"))
    assert "rows.csv, row 0, column 'income'" in stderr


@pytest.mark.parametrize("cell", ["inf", "1e999"])
def test_infinite_cell_of_the_background_names_row_and_column(refused, rows, people, table, cell):
    odd = people.astype({"income": object})
    odd.loc[5, "income"] = cell
    stderr = refused(rows, background=table(odd.to_csv(index=False), "train.csv"))
    assert "train.csv, row 5, column 'income'" in stderr


def test_missing_value_that_the_model_refuses_names_row_and_column(refused, table):
    stderr = refused(table("age,income,city\n40,,Bern\n"))
    assert "rows.csv, row 0: 'income' is missing, which the model refuses" in stderr
    assert "imputer" in stderr


def test_missing_value_in_the_background_names_the_column(refused, rows, people, table):
    odd = people.copy()
    odd.loc[5, "income"] = np.nan
    stderr = refused(rows, background=table(odd.to_csv(index=False), "train.csv"))
    assert "train.csv has missing values in 'income'" in stderr
    assert "imputer" in stderr


def test_unseen_category_is_noted_and_explained(explain, table):
    result = explain(table("age,income,city\n40,31.5,Rome\n"))
    assert result.code == 0
    assert "rows.csv, row 0: 'city' is 'Rome', which never occurs" in result.stderr


def test_unseen_category_that_the_model_refuses_names_row_and_column(refused, table):
    stderr = refused(table("age,income,city\n40,31.5,Rome\n"), "-q", model="strict")
    assert "rows.csv, row 0: 'city' is 'Rome', which the model refuses" in stderr


def test_one_bad_row_does_not_keep_the_others_from_being_explained(explain, table, tmp_path):
    path = table("age,income,city\n40,31.5,Bern\n41,much,Ulm\n42,33.5,Graz\n")
    result = explain(path, "--json", "-o", tmp_path / "out.csv")
    assert result.code == 4
    assert "skipped 1: " in result.stderr
    assert "rows.csv, row 1, column 'income'" in result.stderr
    found = json.loads(result.stdout)["explanations"]
    assert [item["status"] for item in found] == ["ok", "skipped", "ok"]
    assert found[1]["index"] == 1
    assert "'much' is not a number" in found[1]["reason"]
    lines = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert {line["id"]: line["status"] for line in lines} == {"0": "ok", "1": "skipped", "2": "ok"}


def test_row_refused_by_the_model_does_not_keep_the_others_from_being_explained(explain, table):
    path = table("age,income,city\n40,31.5,Bern\n41,,Ulm\n42,33.5,Rome\n43,30,Graz\n")
    result = explain(path, "--json", model="strict")
    assert result.code == 4
    found = json.loads(result.stdout)["explanations"]
    assert [item["status"] for item in found] == ["ok", "skipped", "skipped", "ok"]
    assert "'income' is missing" in found[1]["reason"]
    assert "'city' is 'Rome'" in found[2]["reason"]
    assert "skipped 2 of 4" in result.stderr


def test_skipped_row_is_told_in_the_terminal_report(explain, table):
    result = explain(table("age,income,city\n40,31.5,Bern\n41,much,Ulm\n"))
    assert result.code == 4
    assert "1   skipped: " in result.stdout


@pytest.mark.parametrize("cell", ["1_000", "\u0661\u0662"])
def test_number_that_only_python_reads_does_not_make_a_column_of_categories(
    cli, folder, people, table, tmp_path, cell
):
    odd = people.astype({"income": object})
    odd.loc[5, "income"] = cell
    path, out = table(odd.to_csv(index=False), "train.csv"), tmp_path / "stats.json"
    result = cli("background", path, "-o", out)
    if result.code:
        assert result.code == 4
        assert "train.csv, row 5, column 'income'" in result.stderr
    else:
        assert "income" not in json.loads(out.read_text())["categories"]


def test_numbers_too_large_to_add_up_name_the_column(refused, rows, people, table):
    odd = people.assign(income=[1e308, -1e308] * 40)
    stderr = refused(rows, background=table(odd.to_csv(index=False), "train.csv"))
    assert "train.csv" in stderr
    assert "income" in stderr


# Which rows and labels


@pytest.mark.parametrize("choice", ["80", "-81", "80:90", "5:2", "3:3"])
def test_row_out_of_range_says_what_there_is(refused, folder, choice):
    stderr = refused(folder / "people.csv", f"--row={choice}")
    assert f"--row {choice}" in stderr
    assert "rows 0 to 79" in stderr


@pytest.mark.parametrize("choice", ["first", "1.5", "1:2:3", "1,2", ""])
def test_row_that_cannot_be_read_is_a_usage_fault(refused, folder, choice):
    stderr = refused(folder / "people.csv", f"--row={choice}", code=2)
    assert f"--row {choice}" in stderr
    assert "id=VALUE" in stderr


def test_many_rows_without_a_choice_ask_for_one(refused, folder):
    stderr = refused(folder / "people.csv", code=2)
    assert "people.csv has 80 rows" in stderr
    assert "--row" in stderr


def test_id_that_is_not_there_is_named(refused, table):
    path = table("id,age,income,city\nx1,40,31.5,Bern\n")
    stderr = refused(path, "--row", "id=x9", "--id-column", "id")
    assert "rows.csv: no row has id = x9" in stderr


def test_id_without_a_column_of_ids_asks_for_it(refused, folder):
    stderr = refused(folder / "people.csv", "--row", "id=7", code=2)
    assert "--id-column" in stderr


def test_misspelt_label_is_pointed_out(refused, rows):
    stderr = refused(rows, "-l", "grantd", code=2)
    assert "--label grantd" in stderr
    assert "did you mean 'granted'?" in stderr


@pytest.mark.parametrize("number", ["9", "-1", "1.0", "", "²"])
def test_label_index_that_is_not_there_names_the_range(refused, rows, number):
    stderr = refused(rows, "-l", f"index:{number}", code=2)
    assert f"index:{number}" in stderr
    assert "index:0 to index:1" in stderr


def test_class_names_of_another_number_are_refused(refused, rows, table):
    names = table("a\nb\nc\n", "names.txt")
    stderr = refused(rows, "--class-names", names)
    assert "3 classes" in stderr
    assert "2 outputs" in stderr


def test_class_names_nested_too_deep_are_refused(refused, rows, table):
    path = table("[" * 100_000, "names.json")
    assert "names.json" in refused(rows, "--class-names", path)


@pytest.mark.parametrize("width", ["1e-200", "1e300"])
def test_kernel_width_beyond_arithmetic_is_no_bug(explain, rows, width):
    result = explain(rows, "--kernel-width", width)
    assert result.code in (0, 2), result.stderr
    assert result.code == 0 or "--kernel-width" in result.stderr


@pytest.mark.parametrize(
    "options",
    [("-n", "0"), ("-k", "0"), ("--kernel-width", "0"), ("--kernel-width", "nan"), ("-s", "-1"),
     ("--feature-selection", "best"), ("--engine", "other")],
)  # fmt: skip
def test_senseless_setting_is_a_usage_fault(refused, rows, options):
    assert options[0].lstrip("-")[0] in refused(rows, *options, code=2)


# Backgrounds


def test_few_rows_and_no_background_say_how_to_make_one(refused, rows):
    stderr = refused(rows, background=None)
    assert "no background" in stderr
    assert "rows.csv has fewer than 30 rows" in stderr
    assert "--background TRAIN.csv" in stderr
    assert "limecli background TRAIN.csv -o" in stderr


def test_missing_background_file_is_named(refused, rows, tmp_path):
    stderr = refused(rows, background=tmp_path / "none.csv")
    assert f"{tmp_path / 'none.csv'}: no such file" in stderr


@pytest.fixture
def changed(stats, table):
    """The statistics with a change in them."""

    def write(change):
        content = json.loads(stats.read_text())
        change(content)
        return table(json.dumps(content), "changed.json")

    return write


def test_statistics_cut_in_half_are_refused(refused, rows, stats, table):
    data = stats.read_text()
    stderr = refused(rows, background=table(data[: len(data) // 2], "half.json"))
    assert "half.json is not a background" in stderr
    assert "limecli background TRAIN" in stderr


def test_statistics_of_a_newer_version_ask_for_an_update(refused, rows, changed):
    path = changed(lambda content: content.update(schema_version=99))
    stderr = refused(rows, background=path)
    assert "changed.json is a background of version 99" in stderr
    assert "update limecli" in stderr


def test_statistics_without_a_feature_name_it(refused, rows, changed):
    path = changed(lambda content: content["feature_names"].remove("income"))
    stderr = refused(rows, background=path)
    assert "changed.json lacks the feature 'income'" in stderr


@pytest.mark.parametrize(
    "key", ["feature_names", "means", "bins", "feature_values", "scaler_mean", "categories", "rows"]
)
def test_statistics_without_a_key_name_it(refused, rows, changed, key):
    stderr = refused(rows, background=changed(lambda content: content.pop(key)))
    assert "changed.json is not a background" in stderr
    assert key in stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["means", "stds", "bins", "feature_frequencies"])
def test_statistics_that_are_not_finite_are_refused(refused, rows, changed, key, value):
    def spoil(content):
        content[key]["income"][0] = value

    stderr = refused(rows, background=changed(spoil))
    assert "changed.json" in stderr
    assert "'income' is not finite" in stderr


@pytest.mark.parametrize("key", ["scaler_mean", "scaler_scale"])
def test_scale_that_is_not_finite_is_refused(refused, rows, changed, key):
    def spoil(content):
        content[key]["income"] = float("nan")

    stderr = refused(rows, background=changed(spoil))
    assert "changed.json" in stderr
    assert "income" in stderr


def test_statistics_with_a_number_too_few_are_refused(refused, rows, changed):
    stderr = refused(rows, background=changed(lambda content: content["mins"]["income"].pop()))
    assert "changed.json" in stderr
    assert "'income' do not fit together" in stderr


def test_statistics_with_an_unknown_category_code_are_refused(refused, rows, changed):
    def spoil(content):
        content["feature_values"]["city"][0] = 99

    stderr = refused(rows, background=changed(spoil))
    assert "changed.json" in stderr
    assert "city" in stderr


def test_damaged_sidecar_is_named(fails, folder, rows, tmp_path):
    model = tmp_path / "model.joblib"
    model.write_bytes((folder / "tolerant.joblib").read_bytes())
    sidecar = tmp_path / "model.joblib.background.json"
    sidecar.write_text("[]")
    assert str(sidecar) in fails(4, "tabular", model, rows).stderr


def test_bins_that_the_statistics_do_not_hold_are_refused(refused, rows):
    stderr = refused(rows, "--discretizer", "decile")
    assert "stats.json holds quartile bins, not decile" in stderr


def test_background_command_names_the_bad_cell(fails, people, table, tmp_path):
    odd = people.astype({"income": object})
    odd.loc[3, "income"] = "much"
    out = tmp_path / "stats.json"
    stderr = fails(4, "background", table(odd.to_csv(index=False), "t.csv"), "-o", out).stderr
    assert "t.csv, row 3, column 'income'" in stderr
    assert not out.exists()


# Texts


def test_empty_text_is_refused(fails):
    assert "empty" in fails(4, "text", SPAM, "").stderr


@pytest.mark.parametrize("text", [" ", "\t \n", "\u00a0"])
def test_text_of_blanks_is_called_empty(fails, text):
    assert "empty" in fails(4, "text", SPAM, text).stderr


@pytest.mark.parametrize("text", ["...", "?! --"])
def test_text_of_punctuation_has_no_words(fails, text):
    stderr = fails(4, "text", SPAM, "--", text).stderr
    assert f"'{text}' has no words" in stderr
    assert "--char-level" in stderr


@pytest.mark.parametrize("text", [" ", "\n\n"])
def test_lines_of_blanks_are_called_empty(fails, text):
    assert "empty" in fails(4, "text", SPAM, text, "--lines").stderr


def test_file_of_blank_lines_is_called_empty(fails, table):
    path = table("\u00a0\n\u00a0\n", "blank.txt")
    stderr = fails(4, "text", SPAM, "--file", path, "--lines").stderr
    assert "blank.txt" in stderr
    assert "empty" in stderr


def test_one_line_without_words_does_not_keep_the_others_from_being_explained(cli, table):
    path = table("you have won a prize\n...\nsee you at home\n", "lines.txt")
    result = cli("text", SPAM, "--file", path, "--lines", *QUICK, "--json")
    assert result.code == 4
    found = json.loads(result.stdout)["explanations"]
    assert [item["status"] for item in found] == ["ok", "skipped", "ok"]


def test_text_that_is_not_utf_8_names_the_place(fails, table):
    stderr = fails(4, "text", SPAM, "--file", table(b"caf\xe9 au lait", "latin.txt")).stderr
    assert "latin.txt is not UTF-8 text (byte 0xe9 at position 3)" in stderr


@pytest.mark.parametrize("expression", ["(", "[a", "*"])
def test_bad_split_expression_is_a_usage_fault(fails, expression):
    stderr = fails(2, "text", SPAM, "you have won", "--split-expression", expression).stderr
    assert f"--split-expression {expression} is no regular expression" in stderr


def test_mask_string_needs_no_bow(fails):
    stderr = fails(2, "text", SPAM, "you have won", "--mask-string", "X").stderr
    assert "--mask-string needs --no-bow" in stderr


def test_text_and_file_together_are_a_usage_fault(fails, table):
    stderr = fails(2, "text", SPAM, "you have won", "--file", table("x", "t.txt")).stderr
    assert "one text" in stderr


def test_neither_text_nor_file_is_a_usage_fault(fails):
    assert "--file" in fails(2, "text", SPAM).stderr


# Where the report goes


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_unknown_suffix_lists_the_known_ones(refused, rows, tmp_path):
    stderr = refused(rows, "-o", tmp_path / "out.xyz", code=2)
    assert "out.xyz" in stderr
    assert ".xyz" in stderr
    assert ".json" in stderr
    assert entries(tmp_path) == ["rows.csv"]


def test_unknown_format_lists_the_known_ones(refused, rows):
    stderr = refused(rows, "-f", "docx", code=2)
    assert "--format docx" in stderr
    assert "json" in stderr


def test_json_and_another_format_contradict_each_other(refused, rows):
    assert "contradict" in refused(rows, "--json", "-f", "csv", code=2)


def test_missing_output_folder_is_named(refused, rows, tmp_path):
    stderr = refused(rows, "-o", tmp_path / "none" / "out.json", code=6)
    assert "out.json cannot be written" in stderr
    assert f"no folder {tmp_path / 'none'}" in stderr
    assert entries(tmp_path) == ["rows.csv"]


@pytest.mark.parametrize("name", ["out.json", "results"])
def test_directory_is_no_output_file(refused, rows, tmp_path, name):
    (tmp_path / name).mkdir()
    stderr = refused(rows, "-o", tmp_path / name, code=6)
    assert f"{name} is a directory" in stderr
    assert entries(tmp_path / name) == []


def test_file_system_that_takes_no_files_is_a_report_fault(refused, rows):
    assert "/proc/nope.json cannot be written" in refused(rows, "-o", "/proc/nope.json", code=6)


def test_output_below_a_regular_file_is_a_report_fault(refused, rows):
    assert "cannot be written" in refused(rows, "-o", rows / "out.json", code=6)


def test_output_name_that_is_too_long_is_a_report_fault(refused, rows, tmp_path):
    stderr = refused(rows, "-o", tmp_path / ("x" * 300 + ".json"), code=6)
    assert "cannot be written" in stderr
    assert entries(tmp_path) == ["rows.csv"]


def test_full_device_is_a_report_fault(refused, rows, tmp_path):
    out = tmp_path / "full.json"
    out.symlink_to("/dev/full")
    stderr = refused(rows, "-o", out, code=6)
    assert "full.json cannot be written: No space left on device" in stderr
    assert entries(tmp_path) == ["full.json", "rows.csv"]


def _limited(command, folder):
    """Run with files limited to 1 KiB, as on a disk that fills up."""
    words = " ".join(f"'{word}'" for word in command)
    return subprocess.run(
        ["bash", "-c", f"ulimit -f 1; exec {words}"], cwd=folder, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("before", [None, "the report of yesterday"])
def test_disk_that_fills_up_leaves_what_was_there(command, folder, stats, rows, tmp_path, before):
    out = tmp_path / "out.json"
    if before:
        out.write_text(before)
    there = entries(tmp_path)
    result = _limited(
        [*command, "tabular", folder / "tolerant.joblib", rows, "-b", stats, *QUICK, "-o", out],
        tmp_path,
    )
    assert result.returncode == 6, result.stderr
    assert f"{out} cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert entries(tmp_path) == there
    assert before is None or out.read_text() == before


def test_existing_report_is_kept_when_the_run_fails(refused, table, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("the report of yesterday")
    refused(table("age,income,city\n40,much,Bern\n"), "-o", out)
    assert out.read_text() == "the report of yesterday"
    assert entries(tmp_path) == ["out.json", "rows.csv"]


def test_failed_run_leaves_no_report(refused, table, tmp_path):
    refused(table("age,income,city\n40,much,Bern\n"), "-o", tmp_path / "out.json")
    assert entries(tmp_path) == ["rows.csv"]


def test_row_id_cannot_lead_out_of_the_folder(explain, table, tmp_path):
    path = table("id,age,income,city\n../../x,40,31.5,Bern\n")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    result = explain(path, "--id-column", "id", "-o", tmp_path / "deep" / "er" / "{id}.json")
    assert result.code == 0, result.stderr
    assert len(entries(tmp_path / "deep" / "er")) == 1
    assert entries(tmp_path) == ["deep", "rows.csv"]


def test_several_rows_in_one_png_are_a_usage_fault(refused, table, tmp_path):
    path = table("age,income,city\n40,31.5,Bern\n41,30,Ulm\n")
    stderr = refused(path, "-o", tmp_path / "out.png", code=2)
    assert "out.png" in stderr
    assert "{id}" in stderr
    assert entries(tmp_path) == ["rows.csv"]


# limecli.toml and the environment


@pytest.fixture
def seed_of(explain, rows, tmp_path, monkeypatch):
    """Run where limecli.toml says `config`; the seed that was used."""

    def run(config, *options):
        monkeypatch.chdir(tmp_path)
        Path("limecli.toml").write_text(config)
        result = explain(rows, *options, "--json")
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)["settings"]["seed"]

    return run


@pytest.mark.parametrize("config", ["[tabular]\nseed = 7", "seed = 7"])
def test_config_file_gives_defaults(seed_of, config):
    assert seed_of(config) == 7


def test_environment_beats_the_config_file(seed_of, monkeypatch):
    monkeypatch.setenv("LIMECLI_TABULAR_SEED", "8")
    assert seed_of("[tabular]\nseed = 7") == 8


def test_command_line_beats_environment_and_config_file(seed_of, monkeypatch):
    monkeypatch.setenv("LIMECLI_TABULAR_SEED", "8")
    assert seed_of("[tabular]\nseed = 7", "--seed", "9") == 9


def test_config_key_with_a_dash_gives_a_default(seed_of, cli):
    assert seed_of("[tabular]\nkernel-width = 2.5\nseed = 3") == 3


def test_section_beats_what_holds_everywhere(seed_of):
    assert seed_of("seed = 3\n[tabular]\nseed = 7") == 7


@pytest.fixture
def config_refused(refused, rows, tmp_path, monkeypatch):
    def run(config):
        monkeypatch.chdir(tmp_path)
        data = config if isinstance(config, bytes) else config.encode()
        Path("limecli.toml").write_bytes(data)
        return refused(rows, code=2)

    return run


@pytest.mark.parametrize("config", ["[tabular]\nsede = 7", "sede = 7"])
def test_unknown_config_key_is_a_usage_fault(config_refused, config):
    stderr = config_refused(config)
    assert "limecli.toml" in stderr
    assert "'sede'" in stderr


def test_unknown_config_section_is_a_usage_fault(config_refused):
    assert "[tabula]" in config_refused("[tabula]\nseed = 7")


def test_config_that_is_no_toml_is_a_usage_fault(config_refused):
    assert "limecli.toml cannot be read" in config_refused("seed: 7")


def test_config_that_is_not_utf_8_is_a_usage_fault(config_refused):
    assert "limecli.toml cannot be read" in config_refused(b'label = "caf\xe9"')


def test_config_value_of_the_wrong_type_is_a_usage_fault(config_refused):
    assert "--seed" in config_refused('[tabular]\nseed = "many"')


@pytest.mark.parametrize("config", ['trust = ["os.system"]', '[tabular]\ntrust = ["os.system"]',
                                    '[text]\ntrust = ["os.system"]'])  # fmt: skip
def test_trust_in_the_config_file_is_a_usage_fault(config_refused, config):
    stderr = config_refused(config)
    assert "trust" in stderr
    assert "command line" in stderr


def test_single_value_for_a_repeatable_option_is_one_value(explain, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("limecli.toml").write_text('[tabular]\nlabel = "granted"')
    result = explain(rows, "--json")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["settings"]["labels"] == ["granted"]


def test_output_file_in_the_config_file_is_written(explain, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("limecli.toml").write_text('[tabular]\noutput = ["out.json"]')
    assert explain(rows).code == 0
    assert json.loads(Path("out.json").read_text())["schema_version"] == 1


def test_bad_value_in_the_environment_is_a_usage_fault(refused, rows, monkeypatch):
    monkeypatch.setenv("LIMECLI_TABULAR_SEED", "many")
    assert "--seed" in refused(rows, code=2)


def test_csv_report_of_bad_rows_can_be_read_back(explain, table):
    result = explain(table("age,income,city\n40,31.5,Bern\n41,much,Ulm\n"), "-f", "csv")
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert result.code == 4
    assert lines[-1]["status"] == "skipped"
    assert "'much' is not a number" in lines[-1]["reason"]


def test_no_temporary_files_stay_behind(explain, rows, tmp_path):
    before = entries(tmp_path)
    explain(rows, "-o", tmp_path / "out.json", "-o", tmp_path / "out.csv")
    assert entries(tmp_path) == ["out.csv", "out.json", *before]
