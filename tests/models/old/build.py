"""Writes models as an older scikit-learn pickles them, with the predictions that it gave.

Run it with the Python of a throw-away environment; see tests/models/test_versions.py:

    python -m venv old && old/bin/pip install scikit-learn==1.3.2 'numpy<2' 'pandas<2.3'
    old/bin/python tests/models/old/build.py tests/models/old

makes tests/models/old/1.3/ with a dozen small files and predictions.json. With `--all` it writes
every estimator that toy data fit, and more losses, metrics and kernels, to try by hand.
It keeps to what scikit-learn 0.24 and Python 3.8 understand.
"""

from __future__ import print_function  # noqa: UP010 - runs on old Pythons

import contextlib
import inspect
import json
import os
import pickle
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

IRIS = load_iris()
X = IRIS.data[::3] + 0.1
Y = IRIS.target[::3]
HEIGHT = X[:, 0] * 2 + X[:, 3]
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TEXTS = ["good plot", "bad plot", "good actors", "dull and bad", "fine plot", "bad actors"] * 5
MOODS = np.array(["like", "hate", "like", "hate", "like", "hate"] * 5)
TABLE = pd.DataFrame({
    "age": [22.0, 38.0, 26.0, np.nan, 35.0, 54.0, 2.0, 27.0, 14.0, 4.0] * 4,
    "town": ["Cork", "Bath", "Cork", "Bath", "York", "York", "Cork", "York", "Bath", "Cork"] * 4,
})  # fmt: skip
TABLE["age"] += np.arange(40) % 3
SURVIVED = np.array(["no", "yes", "yes", "yes", "no", "no", "no", "yes", "yes", "yes"] * 4)


def column_transformer():
    return make_pipeline(
        ColumnTransformer([
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age"]),
            ("towns", OneHotEncoder(handle_unknown="ignore"), ["town"]),
        ]),
        LogisticRegression(solver="lbfgs"),
    )  # fmt: skip


def histogram(**options):
    with contextlib.suppress(ImportError):  # needed before 1.0
        __import__("sklearn.experimental.enable_hist_gradient_boosting")
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=3, min_samples_leaf=5, max_leaf_nodes=6, random_state=0, **options
    )


def in_codes():
    """The last column with few values, for boosters that take it as a category."""
    return np.c_[X[:, :3], (X[:, 3] * 2).round()]


def grid():
    search = {"max_depth": [1, 2]}
    tree = DecisionTreeClassifier(random_state=0)
    return GridSearchCV(tree, search, cv=StratifiedKFold(3), scoring="accuracy")


def mlp():
    return MLPClassifier((4,), max_iter=400, random_state=0, solver="lbfgs")


SMALL = {
    "forest.pkl": lambda: RandomForestClassifier(4, max_depth=3, random_state=0).fit(X, Y),
    "boosting.pkl": lambda: GradientBoostingClassifier(
        n_estimators=3, max_depth=2, random_state=0).fit(X, Y),
    "boosting_huber.joblib": lambda: GradientBoostingRegressor(
        n_estimators=3, max_depth=2, loss="huber", random_state=0).fit(X, HEIGHT),
    "histogram.pkl": lambda: histogram().fit(X, Y),
    "histogram_categories.joblib": lambda: histogram(
        categorical_features=[3]).fit(in_codes(), Y == 1),
    "columns.pkl": lambda: column_transformer().fit(TABLE, SURVIVED),
    "svc.pkl": lambda: SVC(
        probability=True, gamma="scale", random_state=0).fit(X[::2], Y[::2]),
    "neighbours_kd_tree.joblib": lambda: KNeighborsClassifier(
        3, algorithm="kd_tree", metric="manhattan").fit(X, Y),
    "neighbours_ball_tree.pkl": lambda: KNeighborsClassifier(3, algorithm="ball_tree").fit(X, Y),
    "mlp.pkl": lambda: mlp().fit(X, Y),
    "text_sgd.pkl": lambda: make_pipeline(
        TfidfVectorizer(), SGDClassifier(loss="modified_huber", random_state=0)).fit(TEXTS, MOODS),
    "text_bayes.joblib": lambda: make_pipeline(CountVectorizer(), MultinomialNB()).fit(
        TEXTS, MOODS),
    "calibrated.pkl": lambda: CalibratedClassifierCV(GaussianNB(), cv=2).fit(X, Y),
    "grid.pkl": lambda: grid().fit(X, Y),
    "tree.pkl": lambda: DecisionTreeRegressor(max_depth=3, random_state=0).fit(X, HEIGHT),
    "isolation.joblib": lambda: IsolationForest(
        n_estimators=3, max_samples=32, random_state=0).fit(X),
}  # fmt: skip

NEEDS = {
    "estimator": lambda: LogisticRegression(max_iter=1000),
    "base_estimator": lambda: LogisticRegression(max_iter=1000),
    "estimators": lambda: [("a", LogisticRegression(max_iter=1000)),
                           ("b", RandomForestClassifier(3, max_depth=2))],
    "transformers": lambda: [("keep", "passthrough", [0, 1])],
    "transformer_list": lambda: [("scale", StandardScaler())],
    "steps": lambda: [("model", LogisticRegression(max_iter=1000))],
    "param_grid": lambda: {"C": [1.0]},
    "param_distributions": lambda: {"C": [1.0]},
}  # fmt: skip


def every_estimator():
    """Each estimator of this scikit-learn fitted on toy data, a transformer before a model."""
    try:
        from sklearn.utils import all_estimators
    except ImportError:
        from sklearn.utils.testing import all_estimators
    for module in ("hist_gradient_boosting", "iterative_imputer", "halving_search_cv"):
        with contextlib.suppress(ImportError):
            __import__("sklearn.experimental.enable_" + module)
    for name, cls in all_estimators():
        model = fitted(cls)
        if model is not None:
            yield name, model


def fitted(cls):
    bare = [item.name for item in inspect.signature(cls).parameters.values()
            if item.default is item.empty]  # fmt: skip
    needs = {name: make() for name, make in NEEDS.items() if name in bare}
    if "Regressor" in cls.__name__ and "estimators" in needs:
        needs["estimators"] = [("a", Ridge())]
    if "n_estimators" in inspect.signature(cls).parameters:
        needs["n_estimators"] = 4
    for data, target in ((X, Y), (np.abs(X), Y), (X, HEIGHT), (X[:, 0], Y), (TEXTS, MOODS)):
        try:
            model = cls(**needs)
            if not hasattr(model, "predict") and hasattr(model, "fit_transform"):
                return make_pipeline(model, DecisionTreeClassifier(max_depth=3)).fit(data, target)
            model.fit(data, target)
            return model if hasattr(model, "predict") else None
        except Exception:  # the toy data do not suit it
            continue
    return None


def each(cls, option, values, data=X, target=Y, **others):
    for value in values.split():
        try:
            model = cls(**dict(others, **{option: value})).fit(data, target)
        except Exception:  # another version's option
            continue
        yield f"{cls.__name__}_{option}_{value}", model


def variants():
    """The losses, criteria, metrics and kernels behind the same classes, and odd contents."""
    from sklearn import ensemble, gaussian_process
    from sklearn.gaussian_process import kernels

    for model in each(SGDClassifier, "loss", "log log_loss hinge modified_huber squared_hinge"
                      " perceptron huber squared_error squared_loss epsilon_insensitive"
                      " squared_epsilon_insensitive"):  # fmt: skip
        yield model
    for model in each(SGDRegressor, "loss", "squared_error squared_loss huber epsilon_insensitive"
                      " squared_epsilon_insensitive", target=HEIGHT):  # fmt: skip
        yield model
    for model in each(GradientBoostingClassifier, "loss", "deviance log_loss exponential",
                      target=Y == 1, n_estimators=3):  # fmt: skip
        yield model
    for model in each(GradientBoostingRegressor, "loss", "ls squared_error lad absolute_error huber"
                      " quantile", target=HEIGHT, n_estimators=3):  # fmt: skip
        yield model
    yield "GradientBoosting_init", GradientBoostingClassifier(
        n_estimators=3, init=LogisticRegression(max_iter=1000)).fit(X, Y)  # fmt: skip
    yield "GradientBoosting_zero", GradientBoostingClassifier(n_estimators=3, init="zero").fit(X, Y)
    if hasattr(ensemble, "HistGradientBoostingRegressor"):
        for model in each(ensemble.HistGradientBoostingRegressor, "loss", "squared_error"
                          " least_squares absolute_error least_absolute_deviation poisson gamma",
                          target=HEIGHT, max_iter=3):  # fmt: skip
            yield model
        yield "HGB_binary", histogram().fit(X, Y == 1)
        yield "HGB_early", histogram(early_stopping=True).fit(X, Y)
        for name, options in (("quantile", {"loss": "quantile", "quantile": 0.5}),
                              ("monotonic", {"monotonic_cst": [1, 0, 0, 0]})):  # fmt: skip
            try:
                model = ensemble.HistGradientBoostingRegressor(max_iter=3, **options)
                yield "HGB_" + name, model.fit(X, HEIGHT)
            except Exception:
                continue
    for model in each(DecisionTreeClassifier, "criterion", "gini entropy log_loss"):
        yield model
    for model in each(DecisionTreeRegressor, "criterion", "mse mae squared_error absolute_error"
                      " friedman_mse poisson", target=HEIGHT):  # fmt: skip
        yield model
    for algorithm in ("kd_tree", "ball_tree", "brute"):
        for metric in (
            "euclidean",
            "manhattan",
            "chebyshev",
            "minkowski",
            "cosine",
            "canberra",
            "braycurtis",
            "hamming",
            "seuclidean",
            "mahalanobis",
            "wminkowski",
        ):
            options = {}  # fmt: skip
            if metric == "seuclidean":
                options = {"metric_params": {"V": X.var(axis=0)}}
            if metric == "mahalanobis":
                options = {"metric_params": {"V": np.cov(X.T)}}
            if metric == "wminkowski":
                options = {"metric_params": {"w": np.ones(4)}}
            try:
                model = KNeighborsClassifier(3, algorithm=algorithm, metric=metric, **options)
                yield f"KNN_{algorithm}_{metric}", model.fit(X, Y)
            except Exception:
                continue
    yield "KNN_p3", KNeighborsRegressor(3, p=3, weights="distance").fit(X, HEIGHT)
    yield "KNN_float32", KNeighborsClassifier(3, algorithm="kd_tree").fit(X.astype("f4"), Y)
    for kernel in ("linear", "poly", "sigmoid"):
        yield "SVR_" + kernel, SVR(kernel=kernel, gamma="scale").fit(X, HEIGHT)
    white = kernels.ConstantKernel(1.0) * kernels.RBF(1.0) + kernels.WhiteKernel()
    for name, kernel in (
        ("rbf", white),
        ("matern", kernels.Matern() * kernels.RationalQuadratic()),
        ("dot", kernels.DotProduct() ** 2 + white),
    ):
        model = gaussian_process.GaussianProcessRegressor(kernel, alpha=1.0)  # fmt: skip
        yield "GP_" + name, model.fit(X, HEIGHT)
    yield "random_state", RandomForestClassifier(3, random_state=np.random.RandomState(3)).fit(X, Y)
    yield "sparse_neighbours", make_pipeline(CountVectorizer(), KNeighborsClassifier(3)).fit(
        TEXTS, MOODS)  # fmt: skip
    yield "log1p", make_pipeline(FunctionTransformer(np.log1p, validate=True), Ridge()).fit(
        X, HEIGHT)  # fmt: skip
    yield "frame_forest", RandomForestClassifier(3).fit(pd.DataFrame(X, columns=NAMES), Y)
    framed = RandomForestClassifier(3).fit(X, Y)
    framed.kept_ = pd.DataFrame(X, columns=NAMES).assign(kind=pd.Categorical(Y), when="x")
    framed.index_ = pd.Index([1, 2, 3]), pd.Index([1.5]), pd.date_range("2020", periods=3)
    framed.random_ = np.random.RandomState(1), np.float32(2), np.ma.masked_array([1, 2], [0, 1])
    if hasattr(np.random, "default_rng"):
        framed.random_ += (np.random.default_rng(3),)
    import scipy.sparse

    framed.sparse_ = [getattr(scipy.sparse.csr_matrix(X), "to" + kind)()
                      for kind in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")]  # fmt: skip
    yield "kept_frame", framed


def answers(model, name):
    """Inputs for a model and what it says to them here; None when it will not be asked."""
    if name.startswith("text_") or name == "sparse_neighbours":
        columns, inputs = None, ["good plot", "bad and dull", "other words"]
    elif name.startswith("columns"):
        columns, inputs = ["age", "town"], TABLE.iloc[[0, 1, 3, 4]]
    elif name.startswith("histogram_categories"):
        columns, inputs = NAMES, in_codes()[[3, 20, 44]]
    else:
        columns, inputs = NAMES, X[[3, 20, 44]]
    if getattr(model, "feature_names_in_", None) is not None and not name.startswith("columns"):
        inputs = pd.DataFrame(inputs, columns=columns)
    known = {"columns": columns, "inputs": inputs if columns is None else as_lists(inputs)}
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(model, method):
            try:
                values = np.asarray(getattr(model, method)(inputs), dtype=float)
            except Exception:
                continue
            if values.ndim == 1 or method != "predict":
                return dict(known, method=method, values=as_lists(values))
    return None


def as_lists(values):
    values = np.asarray(values)
    if values.dtype == object:
        return [[None if cell != cell else cell for cell in row] for row in values.tolist()]
    return values.tolist()


def write(model, path):
    if path.endswith(".joblib"):
        joblib.dump(model, path, compress=3)
    else:
        with open(path, "wb") as handle:  # noqa: PTH123
            pickle.dump(model, handle, 4)


def main():
    warnings.simplefilter("ignore")
    all_of_them = "--all" in sys.argv
    folder = os.path.join(sys.argv[1], ".".join(sklearn.__version__.split(".")[:2]))  # noqa: PTH118
    if not os.path.isdir(folder):  # noqa: PTH112
        os.makedirs(folder)  # noqa: PTH103
    models = []
    for name, make in SMALL.items():
        try:
            np.random.seed(0)
            models.append((name, make()))
        except Exception as error:
            print(name, "not built:", error)
    if all_of_them:
        for made in (every_estimator(), variants()):
            np.random.seed(0)
            for name, model in made:
                models += [(name + ".pkl", model), (name + ".joblib", model)]
    known = {}
    for name, model in models:
        found = answers(model, name.rpartition(".")[0])
        if found is not None:
            write(model, os.path.join(folder, name))  # noqa: PTH118
            known[name] = found
    text = json.dumps(
        {"scikit-learn": sklearn.__version__, "models": known}, indent=1, sort_keys=True
    )
    with open(os.path.join(folder, "predictions.json"), "w") as handle:  # noqa: PTH118, PTH123
        handle.write(text + "\n")
    print(folder, len(known), "models")


if __name__ == "__main__":
    main()
