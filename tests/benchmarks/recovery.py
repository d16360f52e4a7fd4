"""How well explanations from recovered backgrounds agree with those from the training data.

    python tests/benchmarks/recovery.py

Prints, by model family and over all pairs of model and data, the top-k Jaccard and the Spearman
correlation of the weights with those from the true training data, for the recovered background,
for the true data with another seed (the ceiling), and for normal noise of 10 % around the row (what
people do without data). Discretised in quartiles, and continuous.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn import datasets
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from limecli.explainers.reference import LimeTabular
from limecli.inputs.background import background_from_table
from limecli.inputs.recovery import recover_background
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table
from limecli.models.detect import load_model
from limecli.models.frames import bind_columns
from limecli.models.interface import LoadOptions
from limecli.models.outputs import with_class_names
from limecli.types import LimeSettings

ROWS = 5
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def families() -> dict[str, tuple]:
    """Name -> (classifier, regressor or None)."""
    found = {
        "standard + linear": (
            make_pipeline(StandardScaler(), LogisticRegression()),
            make_pipeline(StandardScaler(), Ridge()),
        ),
        "minmax + linear": (
            make_pipeline(MinMaxScaler(), LogisticRegression()),
            make_pipeline(MinMaxScaler(), Ridge()),
        ),
        "random forest": (
            RandomForestClassifier(100, random_state=0),
            RandomForestRegressor(100, random_state=0),
        ),
        "hist gradient boosting": (
            HistGradientBoostingClassifier(max_iter=50, random_state=0),
            HistGradientBoostingRegressor(max_iter=50, random_state=0),
        ),
        "naive Bayes": (GaussianNB(), None),
        "neighbours": (KNeighborsClassifier(), KNeighborsRegressor()),
        "SVM": (SVC(probability=True, random_state=0), None),
        "gradient boosting": (
            GradientBoostingClassifier(random_state=0),
            GradientBoostingRegressor(random_state=0),
        ),
    }
    try:
        import xgboost
    except ImportError:
        pass
    else:
        found["XGBoost"] = (
            xgboost.XGBClassifier(n_estimators=50, n_jobs=1),
            xgboost.XGBRegressor(n_estimators=50, n_jobs=1),
        )
    try:
        import lightgbm
    except ImportError:
        pass
    else:
        found["LightGBM"] = (
            lightgbm.LGBMClassifier(n_estimators=50, verbose=-1, n_jobs=1),
            lightgbm.LGBMRegressor(n_estimators=50, verbose=-1, n_jobs=1),
        )
    try:
        import catboost
    except ImportError:
        pass
    else:
        quiet = {
            "iterations": 50,
            "verbose": False,
            "thread_count": 1,
            "allow_writing_files": False,
        }
        found["CatBoost"] = (
            catboost.CatBoostClassifier(**quiet),
            catboost.CatBoostRegressor(**quiet),
        )
    return found


def data() -> dict[str, tuple[pd.DataFrame, np.ndarray, bool]]:
    """Name -> (features, target, whether it is a regression)."""
    found = {}
    for name in ("iris", "wine", "breast_cancer"):
        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        found[name] = (bunch.data, bunch.target.to_numpy(), False)
    bunch = datasets.load_diabetes(as_frame=True, scaled=False)
    found["diabetes"] = (bunch.data, bunch.target.to_numpy(), True)
    for frame, _, _ in found.values():
        frame.columns = [re.sub(r"\W+", "_", name) for name in frame]  # as LightGBM has it
    return found


def mixed() -> tuple[pd.DataFrame, np.ndarray, dict]:
    """The adult census data where they lie beside the project, and three pipelines over them."""
    frame = pd.read_csv(SHARED / "adult_train.csv", nrows=4000).rename(columns=str.strip)
    target = frame.pop(frame.columns[-1]).astype(str).to_numpy()
    text = [name for name in frame if frame[name].dtype.kind not in "if"]
    numbers = [name for name in frame if name not in text]
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "missing")

    def over(categories: object, scaler: object, model: object) -> object:
        plain = make_pipeline(SimpleImputer(strategy="median"), scaler)
        return make_pipeline(make_column_transformer((categories, text), (plain, numbers)), model)

    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    linear = LogisticRegression(max_iter=500)
    forest = RandomForestClassifier(50, random_state=0)
    boosting = HistGradientBoostingClassifier(random_state=0)
    return frame, target, {
        "adult: one-hot + linear": over(one_hot, StandardScaler(), linear),
        "adult: one-hot + forest": over(one_hot, "passthrough", forest),
        "adult: ordinal + hist": over(ordinal, "passthrough", boosting),
    }  # fmt: skip


def noise(table: Table, row: int, regression: bool) -> pd.DataFrame:
    """What one does without a background: 2000 rows within about 10 % of the row."""
    rng, parts = np.random.RandomState(2), {}
    for name in table.columns:
        value = table.typed[name].iloc[row]
        if isinstance(value, str):
            parts[name] = [value] * 2000
        else:
            parts[name] = rng.normal(value, abs(value) * 0.1 + 1e-6, 2000)
    return pd.DataFrame(parts)


def weights(predictor, background, table, row, seed, discretizer, label):
    """`float[n_features]` of one explanation."""
    encoder = RowEncoder(background)
    instance = encoder.encode(table, row, str(row))
    background = replace(background, columns=encoder.columns)
    settings = LimeSettings(
        kind="tabular", num_samples=1000, num_features=len(background.columns), seed=seed,
        discretizer=discretizer, labels=(label,),
    )  # fmt: skip
    bound = bind_columns(predictor, background.columns)
    explainer = LimeTabular(bound, background, settings, lambda count: None)
    surrogate = explainer.explain(instance).surrogates[0]
    found = np.zeros(len(background.columns))
    for item in surrogate.attributions:
        found[item.index] = item.weight
    return found


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Top-k Jaccard (k = 5, or one less than there are features) and Spearman correlation."""
    k = min(5, len(one) - 1) if len(one) > 4 else 2
    a, b = (set(np.argsort(-np.abs(item))[:k]) for item in (one, other))
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return len(a & b) / len(a | b), 0.0
    return len(a & b) / len(a | b), float(spearmanr(one, other)[0])


def measure(model, frame: pd.DataFrame, target: np.ndarray, regression: bool) -> dict:
    """{discretizer: {what: (jaccard, spearman)}} over ROWS rows of the held-out part."""
    train, test, y, _ = train_test_split(frame, target, test_size=0.3, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        joblib.dump(clone(model).fit(train, y), path)
        options = LoadOptions(kind="tabular", trust_pickle=True)
        predictor = load_model(str(path), options)
    shown = test.iloc[:ROWS].reset_index(drop=True)
    table = Table("rows", "0" * 64, shown.astype(object), untyped=False)
    truth = Table("train", "0" * 64, train.astype(object), untyped=False)
    outputs = 1 if regression else len(np.unique(y))
    predictor = with_class_names(predictor, outputs, options)
    names = list(frame.columns)
    found: dict = {}
    for discretizer in ("quartile", "none"):
        true = background_from_table(truth, names, discretizer)
        recovered, _ = recover_background(predictor.fitted, names, discretizer)
        pairs: dict[str, list] = {"recovered": [], "ceiling": [], "naive": []}
        for i in range(ROWS):
            scores = predictor.predict_fn(shown.iloc[i : i + 1])[0]
            label = 0 if regression else int(scores.argmax())
            local = Table("noise", "0" * 64, noise(table, i, regression).astype(object), False)
            naive = background_from_table(local, names, discretizer)
            reference = weights(predictor, true, table, i, 0, discretizer, label)
            for what, background in (("recovered", recovered), ("ceiling", true), ("naive", naive)):
                own = weights(predictor, background, table, i, 7, discretizer, label)
                pairs[what].append(agreement(reference, own))
        found[discretizer] = {what: np.mean(values, axis=0) for what, values in pairs.items()}
    return found


def shown_line(name: str, results: list[dict]) -> str:
    """One line of the table."""
    cells = [f"{name:<24}"]
    for discretizer in ("quartile", "none"):
        for what in ("recovered", "ceiling", "naive"):
            jaccard, rho = np.mean([item[discretizer][what] for item in results], axis=0)
            cells.append(f"{jaccard:.2f} {rho:5.2f}")
    return " | ".join(cells)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    print(f"{'':<24} | {'discretised':<34} | continuous")
    print(f"{'Jaccard, Spearman':<24} | recovered  | ceiling    | naive      | recovered ...")
    everything: list[dict] = []
    for family, (classifier, regressor) in families().items():
        results = []
        for frame, target, regression in data().values():
            model = regressor if regression else classifier
            if model is not None:
                results.append(measure(model, frame, target, regression))
        everything += results
        print(shown_line(family, results), flush=True)
    print(shown_line(f"all {len(everything)} pairs", everything), flush=True)
    if (SHARED / "adult_train.csv").exists():
        frame, target, pipelines = mixed()
        for name, model in pipelines.items():
            print(shown_line(name, [measure(model, frame, target, regression=False)]), flush=True)


if __name__ == "__main__":
    main()
