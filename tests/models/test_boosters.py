"""XGBoost, LightGBM and CatBoost: their own files and their pickles, through the command."""

from __future__ import annotations

import functools
import importlib
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

IRIS = load_iris(as_frame=True)
LIBRARIES = ("xgboost", "lightgbm", "catboost")
SUFFIXES = {"xgboost": ("json", "ubj"), "lightgbm": ("txt",), "catboost": ("cbm",)}
NATIVE = [(library, suffix) for library in LIBRARIES for suffix in SUFFIXES[library]]


def city_frame():
    rng = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame(
        {"city": rng.choice(["Ulm", "Bonn", "Kiel", "Jena"], n), "floor": rng.integers(1, 5, n),
         "size": rng.normal(60, 20, n).round(1), "garden": rng.random(n) > 0.5}
    )  # fmt: skip
    frame.loc[::7, "size"] = np.nan
    label = np.isin(frame["city"], ["Ulm", "Jena"]) ^ (frame["floor"] == 2) | (frame["size"] > 90)
    return frame, label.astype(int)


DATA = {
    "iris": (IRIS.data, IRIS.target),
    "cancer": load_breast_cancer(return_X_y=True, as_frame=True),
    "diabetes": load_diabetes(return_X_y=True, as_frame=True),
    "city": city_frame(),
}


def as_categories(frame, library):
    """The frame as this library wants its category columns."""
    if "city" not in frame:
        return frame
    if library == "catboost":
        return frame.assign(city=frame["city"].astype(object))
    return frame.assign(city=frame["city"].astype(object).astype("category"),
                        floor=frame["floor"].astype("category"))  # fmt: skip


def fitted(library, data, **options):
    """An estimator of the library, fitted on one of the data sets."""
    pytest.importorskip(library)
    return _fitted(library, data, tuple(options.items()))


@functools.cache
def _fitted(library, data, items):
    module, options = importlib.import_module(library), dict(items)
    frame, target = DATA[data]
    regression = data == "diabetes"
    kind = "Regressor" if regression else "Classifier"
    if library == "xgboost":
        model = getattr(module, f"XGB{kind}")(
            n_estimators=8, n_jobs=1, **{"enable_categorical": data == "city", **options}
        )
    elif library == "lightgbm":
        model = getattr(module, f"LGBM{kind}")(n_estimators=8, n_jobs=1, verbose=-1, **options)
    else:
        options |= {"cat_features": ["city", "floor"]} if data == "city" else {}
        model = getattr(module, f"CatBoost{kind}")(
            iterations=8, verbose=0, allow_writing_files=False, thread_count=1, **options
        )
    return model.fit(as_categories(frame, library), target)


def save(model, path, library, suffix):
    if suffix == "pkl":
        path.write_bytes(pickle.dumps(model))
    elif library == "lightgbm":
        model.booster_.save_model(path)
    else:
        named = path.with_name(f"native.{suffix}")
        model.save_model(named)
        named.rename(path)
    return path


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name, (frame, _) in DATA.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture
def explain(cli, tables):
    """Explain a row with a model file; the report."""

    def run(model, data, *options, row=60):
        table = tables / f"{data}.csv"
        result = cli(
            "tabular", model, table, "-b", table, "-r", row, "-n", "200", "--json", *options
        )
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    return run


def predictions(report):
    scores = report["explanations"][0]["prediction"]
    return [score["value"] for score in sorted(scores, key=lambda score: score["index"])]


def answers(model, library, data, row=60):
    """What the library itself says of a row."""
    frame = as_categories(DATA[data][0], library)[row : row + 1]
    scores = model.predict(frame) if data == "diabetes" else model.predict_proba(frame)[0]
    return [float(score) for score in scores]


@pytest.mark.parametrize("data", ["iris", "cancer", "diabetes", "city"])
@pytest.mark.parametrize(("library", "suffix"), NATIVE)
def test_a_file_of_its_own_predicts_what_the_library_predicts(
    explain, tmp_path, library, suffix, data
):
    model = fitted(library, data)
    report = explain(save(model, tmp_path / "model", library, suffix), data)
    assert report["model"]["format"] == library
    assert report["model"]["task"] == ("regression" if data == "diabetes" else "classification")
    assert predictions(report) == pytest.approx(answers(model, library, data), abs=1e-6)


@pytest.mark.parametrize("data", ["iris", "diabetes", "city"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_pickle_and_the_library_s_own_file_are_explained_alike(explain, tmp_path, library, data):
    model = fitted(library, data)
    native = save(model, tmp_path / "native", library, SUFFIXES[library][0])
    pickled = save(model, tmp_path / "pickled", library, "pkl")
    one, other = explain(native, data), explain(pickled, data, "--trust-pickle")
    assert predictions(one) == pytest.approx(predictions(other), abs=1e-6)
    (one,), (other,) = (report["explanations"][0]["labels"] for report in (one, other))
    for mine, theirs in zip(one["attributions"], other["attributions"], strict=True):
        assert mine["condition"] == theirs["condition"]
        assert mine["weight"] == pytest.approx(theirs["weight"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("data", ["iris", "city"])
def test_a_bare_booster_in_a_pickle(explain, tmp_path, library, data):
    model = fitted(library, data)
    booster = model.get_booster() if library == "xgboost" else model.booster_
    report = explain(save(booster, tmp_path / "model", library, "pkl"), data, "--trust-pickle")
    assert report["model"]["format"] == "pickle"
    assert predictions(report) == pytest.approx(answers(model, library, data), abs=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_category_columns_are_categories_though_they_look_like_numbers(explain, tmp_path, library):
    path = save(fitted(library, "city"), tmp_path / "model", library, SUFFIXES[library][0])
    report = explain(path, "city")
    conditions = {
        item["feature"]: item["condition"]
        for item in report["explanations"][0]["labels"][0]["attributions"]
    }
    floor = DATA["city"][0]["floor"][60]
    assert conditions["floor"] == f"floor = {floor}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_missing_numbers_are_the_library_s_own_business(explain, tmp_path, library):
    model = fitted(library, "city")
    path = save(model, tmp_path / "model", library, SUFFIXES[library][0])
    report = explain(path, "city", row=0)
    assert predictions(report) == pytest.approx(answers(model, library, "city", 0), abs=1e-6)


def test_xgboost_refuses_a_category_that_it_never_saw(fails, tables, tmp_path):
    path = save(fitted("xgboost", "city"), tmp_path / "model", "xgboost", "json")
    (tmp_path / "row.csv").write_text("city,floor,size,garden\nRome,1,60,True\n")
    stderr = fails(
        4, "tabular", path, tmp_path / "row.csv", "-b", tables / "city.csv", "-q"
    ).stderr  # fmt: skip
    assert "Rome" in stderr


def test_lightgbm_takes_a_category_that_it_never_saw_as_missing(cli, tables, tmp_path):
    model = fitted("lightgbm", "city")
    path = save(model, tmp_path / "model", "lightgbm", "txt")
    (tmp_path / "row.csv").write_text("city,floor,size,garden\nRome,1,60,True\n")
    result = cli("tabular", path, tmp_path / "row.csv", "-b", tables / "city.csv", "--json",
                 "-n", "100")  # fmt: skip
    frame = pd.DataFrame({"city": ["Rome"], "floor": [1], "size": [60.0], "garden": [True]})
    frame = frame.astype({"city": "category", "floor": "category"})
    expected = model.predict_proba(frame)[0]
    assert predictions(json.loads(result.stdout)) == pytest.approx(expected, abs=1e-6)


def test_columns_are_found_by_the_names_that_lightgbm_rewrites(explain, tmp_path):
    path = save(fitted("lightgbm", "iris"), tmp_path / "model", "lightgbm", "txt")
    assert explain(path, "iris")["model"]["feature_names"] == list(IRIS.data)


def test_two_columns_that_could_be_meant_are_none(fails, tmp_path):
    path = save(fitted("lightgbm", "iris"), tmp_path / "model", "lightgbm", "txt")
    frame = IRIS.data.assign(**{"sepal length [cm]": 1.0})
    frame.to_csv(tmp_path / "x.csv", index=False)
    stderr = fails(4, "tabular", path, tmp_path / "x.csv", "-r", "0").stderr
    assert "lacks the column 'sepal_length_(cm)'" in stderr


def test_onnx_columns_are_found_by_the_names_that_converters_write(explain, tmp_path):
    convert = pytest.importorskip("skl2onnx").convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    names = [name.replace(" ", "_").replace("(", "_").replace(")", "_") for name in IRIS.data]
    frame = IRIS.data.set_axis(names, axis=1)
    model = make_pipeline(
        ColumnTransformer([("all", "passthrough", names)]), LogisticRegression(max_iter=500)
    ).fit(frame, IRIS.target)
    types = [(name, FloatTensorType([None, 1])) for name in names]
    (tmp_path / "model").write_bytes(
        convert(model, initial_types=types, target_opset=17).SerializeToString()
    )
    report = explain(tmp_path / "model", "iris")
    assert report["model"]["feature_names"] == list(IRIS.data)
    assert predictions(report) == pytest.approx(model.predict_proba(frame[60:61])[0], abs=1e-5)


# Objectives


@pytest.mark.parametrize(
    "objective", ["multi:softmax", "binary:logitraw", "binary:hinge", "count:poisson",
                  "reg:logistic", "rank:pairwise", "survival:cox"]
)  # fmt: skip
def test_xgboost_objectives(explain, tmp_path, objective):
    xgboost = pytest.importorskip("xgboost")
    classes = {"num_class": 3} if objective.startswith("multi") else {}
    target = IRIS.target if classes else (IRIS.target == 1).astype(float)
    data = xgboost.DMatrix(IRIS.data, target)
    booster = xgboost.train({"objective": objective, "nthread": 1, **classes}, data, 4)
    report = explain(save(booster, tmp_path / "model", "xgboost", "ubj"), "iris")
    margin = booster.predict(data, output_margin=True)[60]
    if classes:
        expected = np.exp(margin) / np.exp(margin).sum()
    elif objective == "binary:logitraw":
        expected = [1 - 1 / (1 + np.exp(-margin)), 1 / (1 + np.exp(-margin))]
    else:
        own = float(booster.predict(data)[60])
        expected = [1 - own, own] if objective.startswith("binary") else [own]
    assert predictions(report) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("booster", ["gblinear", "dart"])
def test_xgboost_boosters_of_another_kind(explain, tmp_path, booster):
    model = fitted("xgboost", "cancer", booster=booster)
    report = explain(save(model, tmp_path / "model", "xgboost", "json"), "cancer")
    assert predictions(report) == pytest.approx(answers(model, "xgboost", "cancer"), abs=1e-6)


@pytest.mark.parametrize(
    "options", [{"multi_strategy": "multi_output_tree", "tree_method": "hist"},
                {"gamma": 3, "tree_method": "exact"}, {"num_parallel_tree": 3, "subsample": 0.5}]
)  # fmt: skip
def test_xgboost_trees_of_another_kind(explain, tmp_path, options):
    pytest.importorskip("xgboost")
    model = fitted("xgboost", "iris", **options)
    report = explain(save(model, tmp_path / "model", "xgboost", "json"), "iris")
    assert predictions(report) == pytest.approx(answers(model, "xgboost", "iris"), abs=1e-6)


@pytest.mark.parametrize(
    "options", [{"objective": "multiclassova"}, {"linear_tree": True}, {"boosting_type": "dart"},
                {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}]
)  # fmt: skip
def test_lightgbm_models_of_another_kind(explain, tmp_path, options):
    model = fitted("lightgbm", "iris", **options)
    report = explain(save(model, tmp_path / "model", "lightgbm", "txt"), "iris")
    assert predictions(report) == pytest.approx(answers(model, "lightgbm", "iris"), abs=1e-6)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set'")
@pytest.mark.parametrize("library", LIBRARIES)
def test_rounds_after_the_best_one_do_not_count(explain, tmp_path, library):
    module = pytest.importorskip(library)
    noisy = np.random.default_rng(0).permutation(IRIS.target)
    fit = {"eval_set": [(IRIS.data[:30], noisy[:30])]}
    if library == "xgboost":
        model = module.XGBClassifier(n_estimators=40, n_jobs=1, early_stopping_rounds=3)
        fit["verbose"] = False
    elif library == "lightgbm":
        model = module.LGBMClassifier(n_estimators=40, n_jobs=1, verbose=-1)
        fit["callbacks"] = [module.early_stopping(3, verbose=False)]
    else:
        model = module.CatBoostClassifier(iterations=40, early_stopping_rounds=3, verbose=0,
                                          allow_writing_files=False, thread_count=1)  # fmt: skip
    model.fit(IRIS.data[30:], noisy[30:], **fit)
    report = explain(save(model, tmp_path / "model", library, SUFFIXES[library][0]), "iris")
    assert predictions(report) == pytest.approx(answers(model, library, "iris"), abs=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_decisions_are_margins(explain, tmp_path, library):
    model = fitted(library, "cancer")
    report = explain(save(model, tmp_path / "model", library, SUFFIXES[library][0]), "cancer",
                     "--output", "decision")  # fmt: skip
    low, high = answers(model, library, "cancer")
    margin = np.log(high / low)
    assert predictions(report) == pytest.approx([-margin, margin], abs=1e-4)


def test_models_that_never_saw_names_take_columns_in_order(explain, tmp_path):
    for library in LIBRARIES:
        module = pytest.importorskip(library)
        x, y = IRIS.data.to_numpy(), IRIS.target
        if library == "xgboost":
            model = module.XGBClassifier(n_estimators=4, n_jobs=1).fit(x, y)
        elif library == "lightgbm":
            model = module.LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1).fit(x, y)
        else:
            model = module.CatBoostClassifier(iterations=4, verbose=0, thread_count=1,
                                              allow_writing_files=False).fit(x, y)  # fmt: skip
        report = explain(save(model, tmp_path / library, library, SUFFIXES[library][0]), "iris")
        assert report["model"]["feature_names"] == list(IRIS.data)


def test_category_columns_without_names_are_pointed_at(cli, tables, tmp_path):
    module = pytest.importorskip("catboost")
    frame = DATA["city"][0][["city", "size"]].to_numpy(dtype=object)
    model = module.CatBoostClassifier(
        iterations=4, cat_features=[0], verbose=0, allow_writing_files=False, thread_count=1
    ).fit(frame, DATA["city"][1])
    path = save(model, tmp_path / "model", "catboost", "cbm")
    DATA["city"][0][["city", "size"]].to_csv(tmp_path / "x.csv", index=False)
    result = cli("tabular", path, tmp_path / "x.csv", "-b", tmp_path / "x.csv", "-r", "1",
                 "-n", "50", "--categorical", "city")  # fmt: skip
    assert result.code == 0, result.stderr
    assert "takes column 1 as categories" in result.stderr


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_search_over_frames_with_categories(explain, tmp_path, library):
    from sklearn.model_selection import GridSearchCV

    frame, target = as_categories(DATA["city"][0], library), DATA["city"][1]
    search = GridSearchCV(fitted(library, "city"), {"max_depth": [2, 3]}, cv=2).fit(frame, target)
    report = explain(save(search, tmp_path / "model", library, "pkl"), "city", "--trust-pickle")
    assert predictions(report) == pytest.approx(answers(search, library, "city"), abs=1e-6)


@pytest.mark.parametrize(
    ("library", "suffix", "source"),
    [("xgboost", "json", "Booster"), ("xgboost", "ubj", "Booster"),
     ("xgboost", "pkl", "XGBClassifier"), ("lightgbm", "txt", "Booster"),
     ("lightgbm", "pkl", "LGBMClassifier")],
)  # fmt: skip
def test_a_model_that_knows_its_categories_needs_no_background(
    cli, tmp_path, library, suffix, source
):
    model = fitted(library, "city", max_depth=4)
    path = save(model, tmp_path / "model", library, suffix)
    DATA["city"][0].iloc[[60]].to_csv(tmp_path / "row.csv", index=False)
    result = cli("tabular", path, tmp_path / "row.csv", "--trust-pickle", "--json", "-n", "100")
    assert result.code == 0, result.stderr
    assert f"categories of {source}" in json.loads(result.stdout)["background"]["recovered_from"]
    stats = json.loads(cli("background", path, "--trust-pickle").stdout)
    assert stats["categories"]["city"] == ["Bonn", "Jena", "Kiel", "Ulm"]
    assert stats["categories"]["floor"] == [1, 2, 3, 4]
    assert stats["feature_frequencies"]["city"] == [0.25] * 4


# Files that cannot be used


@pytest.mark.parametrize(("library", "suffix"), NATIVE)
def test_a_cut_file_is_called_damaged(fails, tables, tmp_path, library, suffix):
    path = save(fitted(library, "city"), tmp_path / "model", library, suffix)
    data = path.read_bytes()
    # CatBoost's own reader is asked, in a process of its own, which takes a second.
    for share in (0.5, 0.999) if library == "catboost" else (0.02, 0.3, 0.6, 0.95, 0.999):
        path.write_bytes(data[: max(int(len(data) * share), 40)])
        stderr = fails(3, "tabular", path, tables / "city.csv", "-r", "0").stderr
        assert "damaged" in stderr
        assert str(path) in stderr
    assert "damaged" in fails(3, "inspect", path).stderr


def altered(data, old, new):
    assert old in data
    return data.replace(old, new, 1)


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("a child out of range", b'"left_children":[1', b'"left_children":[9999'),
        ("a circle", b'"right_children":[2', b'"right_children":[1'),
        ("no feature", b'"split_indices":[', b'"split_indices":[1'),
        ("another class", b'"num_class":"3"', b'"num_class":"4"'),
        ("a key twice", b'"learner":{', b'"learner":{"attributes":{},'),
        ("no number", b'"num_feature":"4"', b'"num_feature":"x"'),
    ],
)
def test_an_xgboost_file_that_would_crash_xgboost(fails, tables, tmp_path, what, old, new):
    path = save(fitted("xgboost", "iris"), tmp_path / "model", "xgboost", "json")
    path.write_bytes(altered(path.read_bytes(), old, new))
    assert "damaged" in fails(3, "tabular", path, tables / "iris.csv", "-r", "0").stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"left_child=1", b"left_child=0"), (b"split_feature=2", b"split_feature=9"),
     (b"num_leaves=", b"num_leaves=1"), (b"end of trees", b"end of"),
     (b"shrinkage=", b"shrinkage"), (b"num_class=3", b"num_class=5"),
     (b"tree_sizes=", b"tree_sizes=1")],
)  # fmt: skip
def test_a_lightgbm_file_that_would_crash_lightgbm(fails, tables, tmp_path, old, new):
    path = save(fitted("lightgbm", "iris"), tmp_path / "model", "lightgbm", "txt")
    path.write_bytes(altered(path.read_bytes(), old, new))
    assert "damaged" in fails(3, "tabular", path, tables / "iris.csv", "-r", "0").stderr


def test_damaged_training_parameters_of_lightgbm_do_not_matter(explain, tmp_path):
    model = fitted("lightgbm", "city")
    path = save(model, tmp_path / "model", "lightgbm", "txt")
    path.write_bytes(altered(path.read_bytes(), b"[data: ]", b"[data` ]"))
    expected = answers(model, "lightgbm", "city")
    assert predictions(explain(path, "city")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_a_catboost_file_with_wrong_bytes_ends_in_a_sentence(cli, tables, tmp_path, seed):
    path = save(fitted("catboost", "city"), tmp_path / "model", "catboost", "cbm")
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(8, len(data), 40):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))
    result = cli("tabular", path, tables / "city.csv", "-r", "0", "-n", "50")
    assert result.code in (0, 3, 4, 5)
    assert "Traceback" not in result.stderr


def test_xgboost_s_old_binary_format_is_named(fails, tables, tmp_path):
    pytest.importorskip("xgboost")
    objective = b"binary:logistic"
    old = bytes(136) + len(objective).to_bytes(8, "little") + objective + bytes(400)
    for data in (old, b"binf" + old):
        (tmp_path / "model").write_bytes(data)
        stderr = fails(3, "tabular", tmp_path / "model", tables / "iris.csv", "-r", "0").stderr
        assert "save_model('model.json')" in stderr


@pytest.mark.parametrize("version", [(3, 2, 0), (3, 9, 0)])
def test_xgboost_category_names_beyond_ascii(fails, cli, tables, tmp_path, version):
    path = save(fitted("xgboost", "city"), tmp_path / "model", "xgboost", "json")
    document = json.loads(path.read_bytes())
    document["version"] = list(version)
    values = document["learner"]["gradient_booster"]["model"]["cats"]["enc"][0]["values"]
    values[-2:] = list("ü".encode())  # Ulm -> Uü
    path.write_text(json.dumps(document))
    if version < (3, 3):
        stderr = fails(3, "tabular", path, tables / "city.csv", "-r", "0").stderr
        assert "'city'" in stderr
    else:
        assert "Ulm" in cli("tabular", path, tables / "city.csv", "-r", "0:20").stderr


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["image", "text"])
def test_boosters_take_tables_only(fails, tmp_path, library, kind):
    path = save(fitted(library, "iris"), tmp_path / "model", library, SUFFIXES[library][0])
    (tmp_path / "cat.png").write_bytes(b"")
    what = tmp_path / "cat.png" if kind == "image" else "some words"
    assert "limecli tabular" in fails(3, kind, path, what).stderr


def test_catboost_texts_cannot_be_varied(fails, tables, tmp_path):
    catboost = pytest.importorskip("catboost")
    frame = pd.DataFrame({"words": ["a b c", "d e f", "a d", "b e"] * 20, "x": np.arange(80.0)})
    model = catboost.CatBoostClassifier(
        iterations=3, text_features=["words"], verbose=0, allow_writing_files=False, thread_count=1
    ).fit(frame, [0, 1] * 40)
    path = save(model, tmp_path / "model", "catboost", "cbm")
    assert "takes text in 'words'" in fails(3, "tabular", path, tables / "city.csv").stderr


# inspect


@pytest.mark.parametrize(("library", "suffix"), NATIVE)
def test_inspect(cli, tmp_path, library, suffix):
    path = save(fitted(library, "iris"), tmp_path / "model", library, suffix)
    shown = cli("inspect", path)
    assert shown.code == 0, shown.stderr
    assert "classification" in shown.stdout
    assert f"{8 if library == 'catboost' else 24} x tree" in shown.stdout
    assert "features  4: sepal" in shown.stdout
    content = json.loads(cli("inspect", path, "--json").stdout)
    assert content["format"] == library
    assert content["n_features"] == 4
    assert content["task"] == "classification"
    if library != "lightgbm":  # which records neither
        assert content["class_names"] == ["0", "1", "2"]
        saved = content["versions"][library]
        assert saved["saved"] == saved["installed"]
