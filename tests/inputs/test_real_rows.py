"""Which real rows explanations are judged by, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from limecli.inputs.background import background_from_table
from limecli.inputs.real_rows import real_rows
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import read_table
from limecli.types import Instance
from tests.conftest import Result


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., object]:
    """A table as limecli reads it, from a frame, by way of a file."""

    def read(frame: pd.DataFrame | str, suffix: str = "csv") -> object:
        path = tmp_path / f"table.{suffix}"
        if isinstance(frame, str):
            path.write_text(frame)
        elif suffix == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records")
        return read_table(str(path))

    return read


def columns_of(data: object, *names: str, categorical: tuple[str, ...] = ()) -> tuple:
    return background_from_table(data, names, "quartile", categorical).columns


def mixed(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "size": rng.normal(size=n), "count": rng.integers(0, 9, n).astype(float),
        "yes": rng.random(n) < 0.5, "town": rng.choice(["Ulm", "Bonn"], n),
        "code": rng.integers(1, 4, n),
    })  # fmt: skip
    frame.loc[3, "count"] = np.nan
    frame.loc[5, "town"] = None
    return frame


NAMES = ("size", "count", "yes", "town", "code")


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_real_rows_are_what_the_encoder_of_instances_makes_of_them(table, suffix):
    data = table(mixed(), suffix)
    background = background_from_table(data, NAMES, "quartile", ("code",))
    encoder = RowEncoder(background)
    one_by_one = [encoder.encode(data, i, str(i)) for i in range(len(data))]
    assert all(isinstance(item, Instance) for item in one_by_one)
    found = real_rows(data, background.columns)
    np.testing.assert_array_equal(found, [item.payload for item in one_by_one])


def test_a_long_table_is_thinned_evenly_from_its_first_row_to_its_last(table):
    frame = pd.DataFrame({"size": np.arange(2500.0)})
    data = table(frame)
    found = real_rows(data, columns_of(data, "size"))[:, 0]
    assert len(found) == 1000
    assert (found[0], found[-1]) == (0.0, 2499.0)
    assert set(np.diff(found)) <= {2.0, 3.0}
    assert len(real_rows(data, columns_of(data, "size"), most=7)) == 7


@pytest.mark.parametrize("n", [1, 2, 999, 1000])
def test_a_short_table_is_taken_whole(table, n):
    columns = columns_of(table(pd.DataFrame({"size": np.arange(40.0)})), "size")
    data = table(pd.DataFrame({"size": np.arange(float(n))}))
    np.testing.assert_array_equal(real_rows(data, columns)[:, 0], np.arange(float(n)))


def test_rows_with_a_category_that_the_background_does_not_know_are_left_out(table):
    columns = columns_of(table("town\n" + "Ulm\nBonn\n" * 20), "town")
    found = real_rows(table("town\nBonn\nParis\nUlm\n"), columns)
    np.testing.assert_array_equal(found[:, 0], [0.0, 1.0])


def test_gaps_are_kept_where_the_background_has_some_and_left_out_where_not(table):
    whole, gaps = "size,town\n" + "1,Ulm\n2,Bonn\n" * 20, "3,\n,Ulm\n"
    asked = table("size,town\n5,Ulm\n" + gaps)
    without = real_rows(asked, columns_of(table(whole), "size", "town"))
    np.testing.assert_array_equal(without, [[5.0, 1.0]])
    asked = table("size,town\n5,Ulm\n" + gaps)
    knows = columns_of(table(whole + gaps), "size", "town")
    with_gaps = real_rows(table("size,town\n5,Ulm\n" + gaps), knows)
    np.testing.assert_array_equal(with_gaps, [[5.0, 1.0], [3.0, 2.0], [np.nan, 1.0]])


def test_numbers_that_are_categories_match_however_they_are_spelled(table):
    columns = columns_of(table("code\n" + "1\n2\n3\n" * 20), "code", categorical=("code",))
    np.testing.assert_array_equal(
        real_rows(table("code\n3.0\n1\n4\n"), columns)[:, 0], [2.0, 0.0]
    )  # fmt: skip


def test_rows_that_are_not_finite_are_left_out(table):
    columns = columns_of(table("size\n" + "1\n2\n" * 20), "size")
    np.testing.assert_array_equal(real_rows(table("size\ninf\n1\n-inf\n"), columns), [[1.0]])


def test_a_table_that_is_no_data_of_this_model_s_has_no_real_rows(table):
    columns = columns_of(table("size,town\n" + "1,Ulm\n2,Bonn\n" * 20), "size", "town")
    assert real_rows(table("size\n1\n"), columns) is None
    assert real_rows(table("size,town\nlarge,Ulm\n"), columns) is None


def test_columns_come_in_the_background_s_order(table):
    columns = columns_of(table("size,more\n" + "1,10\n2,20\n" * 20), "size", "more")
    np.testing.assert_array_equal(real_rows(table("x,more,size\n0,20,2\n"), columns), [[2.0, 20.0]])


# -- through the command line ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest that knows its splits, a model that knows gaps, data long and short."""
    found = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1300, 3)), columns=["a", "b", "c"])
    target = frame["a"] + frame["b"] ** 2 > 0.5
    forest = RandomForestClassifier(5, max_depth=4, random_state=0)
    joblib.dump(forest.fit(frame[:400], target[:400]), found / "forest.joblib")
    for name, part in (("long", frame), ("many", frame[:50]), ("few", frame[:5])):
        part.to_csv(found / f"{name}.csv", index=False)
    joblib.dump(LogisticRegression().fit(frame, target), found / "plain.joblib")
    gaps = frame[:200].copy()
    gaps.loc[:19, "a"] = np.nan
    gaps.to_csv(found / "gaps.csv", index=False)
    model = HistGradientBoostingClassifier(max_iter=5).fit(gaps, target[:200])
    joblib.dump(model, found / "gaps.joblib")
    towns = frame[:100][["a"]].assign(town=rng.choice(["Ulm", "Bonn"], 100))
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough"
    )
    joblib.dump(make_pipeline(columns, forest).fit(towns, target[:100]), found / "towns.joblib")
    towns.to_csv(found / "towns.csv", index=False)
    towns.loc[:9, "town"] = "Paris"
    towns.to_csv(found / "paris.csv", index=False)
    return found


@pytest.fixture
def counted(cli: Callable[..., Result], folder: Path) -> Callable[..., int | None]:
    """How many real rows an explanation of row 2 was judged by, and its fidelity there."""

    def run(model: str, rows: str, *options: object) -> int | None:
        done = cli("tabular", folder / model, folder / rows, "-r", 30 if rows != "few.csv" else 2,
                   "--json", "-q", "--flips", 0, *options)  # fmt: skip
        assert done.code == 0, done.stderr
        (explanation,) = json.loads(done.stdout)["explanations"]
        (label,) = explanation["labels"]
        assert (label["fidelity_rows"] is None) == (not explanation["real_rows"])
        assert (label["cell"] is None) == (explanation["real_rows"] is None)
        found: int | None = explanation["real_rows"]
        return found

    return run


def test_a_table_given_as_background_is_what_explanations_are_judged_by(counted, folder):
    assert counted("forest.joblib", "few.csv", "-b", folder / "many.csv") == 50
    assert counted("forest.joblib", "few.csv", "-b", folder / "long.csv") == 1000


def test_rows_are_judged_by_the_others_where_statistics_hold_no_rows(cli, counted, folder):
    stats = folder / "stats.json"
    assert cli("background", folder / "long.csv", "-o", stats, "-q").code == 0
    assert counted("forest.joblib", "many.csv", "-b", stats) == 50
    assert counted("forest.joblib", "few.csv", "-b", stats) is None


def test_a_recovered_background_has_no_rows_but_those_of_rows(counted):
    assert counted("forest.joblib", "many.csv") == 50
    assert counted("forest.joblib", "few.csv") is None


def test_rows_that_are_the_background_are_real_rows_too(counted):
    assert counted("plain.joblib", "many.csv") == 50


def test_gaps_are_real_where_the_background_has_some(counted, folder):
    assert counted("gaps.joblib", "gaps.csv") == 180  # the model does not tell of its gaps
    assert counted("gaps.joblib", "gaps.csv", "-b", folder / "gaps.csv") == 200


def test_categories_that_only_rows_have_are_not_judged_by(cli, counted, folder):
    stats = folder / "towns.json"
    assert cli("background", folder / "towns.csv", "-o", stats, "-q").code == 0
    assert counted("towns.joblib", "paris.csv", "-b", stats) == 90


def test_a_linear_surrogate_of_a_step_is_as_good_on_real_rows_as_their_share_says(cli, folder):
    """Fidelity on real rows is the weighted R² of the surrogate over them, by the textbook."""
    saved = folder / "saved.npz"
    done = cli("tabular", folder / "forest.joblib", folder / "few.csv", "-r", 2, "--json", "-q",
               "-b", folder / "many.csv", "-k", 3, "--save-neighborhood", saved)  # fmt: skip
    (explanation,) = json.loads(done.stdout)["explanations"]
    (label,) = explanation["labels"]
    real = pd.read_csv(folder / "many.csv")
    row = pd.read_csv(folder / "few.csv").iloc[2]
    edges = real.quantile([0.25, 0.5, 0.75])
    bins = pd.DataFrame({name: np.searchsorted(edges[name], real[name]) for name in real})
    own = [np.searchsorted(edges[name], row[name]) for name in real]
    z = (bins == own).to_numpy(float)
    width = 0.75 * np.sqrt(3)
    weights = np.sqrt(np.exp(-(3 - z.sum(axis=1)) / width**2))
    beta = {item["index"]: item["weight"] for item in label["attributions"]}
    said = label["intercept"] + z @ [beta[j] for j in range(3)]
    meant = joblib.load(folder / "forest.joblib").predict_proba(real)[:, label["index"]]
    centred = meant - np.average(meant, weights=weights)
    expected = 1 - weights @ (meant - said) ** 2 / (weights @ centred**2)
    assert label["fidelity_rows"] == pytest.approx(expected, abs=1e-9)
    inside = z.all(axis=1)
    assert (
        label["cell"]["rows"] == inside.sum() - (meant[inside] == label["model_prediction"]).any()
    )
