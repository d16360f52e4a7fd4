"""Objects of trusted classes whose contents would lead a prediction, or native code, astray.

Each ran or crashed the process against an earlier guard. A prediction is never reached here.
"""

from __future__ import annotations

import copyreg
import pickle
import struct

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree
from sklearn.utils import Bunch

from limecli.errors import ModelError
from limecli.models.guard import guarded_load
from limecli.models.interface import ModelFile

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
Y = (X[:, 0] > 0).astype(int)


def refused(model, *words):
    data = model if isinstance(model, bytes) else pickle.dumps(model)
    with pytest.raises(ModelError) as error:
        guarded_load(ModelFile("evil.pkl", data))
    for word in ("evil.pkl", *words):
        assert word in error.value.message


def tampered_tree(field, value, node=0):
    """A decision tree with one number of one node changed."""
    model = DecisionTreeClassifier(max_depth=3).fit(X, Y)
    old = model.tree_
    state = old.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][node] = value
    tree = Tree(old.n_features, np.asarray(old.n_classes), old.n_outputs)
    tree.__setstate__(state)
    model.tree_ = tree
    return model


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("left_child", 0), ("right_child", -7), ("feature", 4),
     ("feature", -9), ("feature", 10**6)],
)  # fmt: skip
def test_a_tree_stays_inside_itself(field, value):
    refused(tampered_tree(field, value), "Tree that points outside itself")


def test_a_tree_without_nodes_is_none():
    model = DecisionTreeClassifier().fit(X, Y)
    model.tree_ = Tree(4, np.array([2]), 1)
    refused(model, "Tree")


def test_a_tree_of_more_columns_than_the_model():
    model = DecisionTreeClassifier().fit(np.c_[X, X], Y)
    model.n_features_in_ = 4
    refused(model, "DecisionTreeClassifier that points outside itself")
    forest = RandomForestClassifier(3).fit(np.c_[X, X], Y)
    forest.n_features_in_ = 4
    refused(forest, "RandomForestClassifier")


def wide_tree():
    """A tree that asks for eight columns, as boosting holds them."""
    return GradientBoostingClassifier(n_estimators=1).fit(np.c_[X, X], Y).estimators_[0, 0]


@pytest.mark.parametrize(
    "outer",
    [VotingClassifier([("a", "drop")]), StackingClassifier([]), BaggingClassifier()],
    ids=lambda outer: type(outer).__name__,
)
def test_a_forest_inside_another_model_is_looked_at_as_well(outer):
    forest = RandomForestClassifier(3).fit(np.c_[X, X], Y)
    forest.n_features_in_ = 4
    outer.estimators_ = [forest, forest]
    refused(outer, "RandomForestClassifier that points outside itself")
    tree = wide_tree()
    tree.n_features_in_ = 4
    outer.estimators_ = [tree, tree]
    refused(outer, "DecisionTreeRegressor that points outside itself")


@pytest.mark.parametrize("wrap", [lambda tree: tree, lambda tree: Bunch(tree_=tree.tree_)])
@pytest.mark.parametrize("claim", [{}, {"estimators_features_": [np.arange(4)]}], ids=str)
def test_boosting_hands_rows_to_bare_trees(wrap, claim):
    model = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    model.estimators_[1, 0] = wrap(wide_tree())
    vars(model).update(claim)
    refused(model, "GradientBoostingClassifier that points outside itself")


def boosted(classes=2, **options):
    """Gradient boosting on so many classes, or on numbers for one."""
    if classes == 1:
        return GradientBoostingRegressor(n_estimators=2, **options).fit(X, X[:, 0])
    return GradientBoostingClassifier(n_estimators=2, **options).fit(X, np.arange(80) % classes)


def refused_boosting(model):
    refused(model, f"{type(model).__name__} that points outside itself")


@pytest.mark.parametrize("init", [None, "zero"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_boosting_has_no_more_trees_a_stage_than_scores(classes, init):
    model = boosted(classes, init=init)
    model.estimators_ = np.repeat(model.estimators_, 20, axis=1)
    refused_boosting(model)
    model.n_trees_per_iteration_ = model.n_classes_ = model._loss.n_classes = 20 * classes
    if init is None or classes < 3:  # else it is a model of sixty classes, sound to compiled code
        refused_boosting(model)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_boosting_from_zero_makes_room_for_each_tree(classes):
    model = boosted(classes, init="zero")
    model.n_trees_per_iteration_ = 0
    refused_boosting(model)
    del model.n_trees_per_iteration_
    refused_boosting(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [("class_prior_", np.ones(2) / 2), ("class_prior_", np.ones((0, 3))), ("n_classes_", 1),
     ("n_outputs_", 0), ("predict_proba", np.ravel)],
)  # fmt: skip
def test_boosting_starts_from_a_prior_of_its_classes(field, value):
    model = boosted(3)
    setattr(model.init_, field, value)
    refused_boosting(model)


def test_boosting_starts_from_one_number():
    model = boosted(1)
    model.init_.n_outputs_, model.init_.constant_ = 0, np.ones((1, 0))
    refused_boosting(model)


@pytest.mark.parametrize("init", [LogisticRegression(), DecisionTreeClassifier()], ids=str)
def test_what_a_model_inside_says_of_three_classes_is_not_known(init):
    model = boosted(3, init=init)
    refused_boosting(model)
    model.init_ = init.fit(X, Y)
    refused_boosting(model)


def test_boosting_reads_no_other_scores_than_it_was_fitted_for():
    model = boosted(3)
    model._loss = boosted(2)._loss
    refused_boosting(model)
    for classes in (1, 2):
        model = boosted(classes)
        model._loss = boosted(3)._loss
        refused_boosting(model)
    for place in ("is_multiclass", "link"):
        model = boosted(2)
        setattr(model._loss, place, Bunch(link=np.ravel))
        refused_boosting(model)
    model = boosted(2)
    model._loss.link.link = np.ravel
    refused_boosting(model)
    model = boosted(3)
    model._estimator_type = "regressor"
    refused_boosting(model)


@pytest.mark.parametrize(("field", "value"), [("left", 0), ("right", 10**6), ("feature_idx", 99)])
def test_histogram_trees_stay_inside_themselves(field, value):
    model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5).fit(X, Y)
    model._predictors[0][0].nodes[field][0] = value
    refused(model, "points outside itself")


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_a_sparse_matrix_stays_inside_itself(layout):
    matrix = sparse.random(4, 4, 0.5, layout, random_state=0)
    if layout == "coo":
        matrix.row[0] = 2**28
    else:
        matrix.indices[0] = 2**28
    model = LogisticRegression().fit(X, Y)
    model.coef_ = matrix
    refused(model, "points outside itself")


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
def test_an_index_of_neighbours_is_a_permutation(algorithm):
    model = KNeighborsClassifier(algorithm=algorithm).fit(X, Y)
    np.asarray(model._tree.get_arrays()[1])[0] = 10**6
    refused(model, "points outside itself")


def test_support_vectors_are_as_many_as_are_counted():
    model = SVC().fit(X, Y)
    model._n_support = model._n_support * 1000
    refused(model, "SVC")


def test_a_dtype_of_objects_says_so():
    # The flags of dtype('O') (63) set to 0: numpy would take the bytes that follow for objects.
    real = pickle.dumps(np.array([1, "a"], dtype=object), 2)
    refused(real.replace(b"K?t", b"K\x00t"), "ObjectDType")


class Late:
    """Pickled as a container that is filled only after the object that holds it was built."""

    def __init__(self, model, attribute, fill):
        self.model, self.attribute, self.fill = model, attribute, fill

    def dumps(self):
        container = getattr(self.model, self.attribute)
        assert not container
        module, name = type(self.model).__module__, type(self.model).__qualname__
        empty = b"]" if isinstance(container, list) else b"}"
        code = b"\x80\x04" + f"c{module}\n{name}\n".encode() + b")\x81}("
        state = {**vars(self.model), "_sklearn_version": sklearn.__version__}
        for key, value in state.items():
            code += pickle.dumps(key, 2)[2:-1]
            if key == self.attribute:
                code += empty + b"r" + struct.pack("<I", 5000)
            else:
                code += pickle.dumps(value, 2)[2:-1]
        code += b"ub" + b"j" + struct.pack("<I", 5000)
        for item in self.fill:
            parts = (item,) if isinstance(container, list) else item
            code += b"".join(pickle.dumps(part, 2)[2:-1] for part in parts)
            code += b"a" if isinstance(container, list) else b"s"
        return code + b"0."


def test_what_was_filled_late_is_looked_at_late():
    stack = StackingClassifier([])
    stack.stack_method_ = []
    refused(Late(stack, "stack_method_", ["tofile"]).dumps(), "to call ['tofile']")
    function = FunctionTransformer(np.positive, kw_args={})
    refused(Late(function, "kw_args", [("out", 1)]).dumps(), "to call its function with")


@pytest.mark.parametrize("part", [pd.DataFrame({"a": [1.0]}), pd.DataFrame, [np.dtype("f8")]])
def test_what_is_no_estimator_is_no_part(part):
    kind = pytest.importorskip("sklearn.frozen").FrozenEstimator
    frozen = kind.__new__(kind)
    frozen.__dict__["estimator"] = part
    refused(frozen, "among its estimator")


@pytest.mark.parametrize(
    "func", [slice, str, ConstantKernel(1.0), pd.DataFrame], ids=["slice", "str", "kernel", "frame"]
)
def test_a_function_is_a_function(func):
    refused(make_pipeline(FunctionTransformer(func), LogisticRegression()), "for its func")


def test_ordinary_functions_pass():
    model = make_pipeline(FunctionTransformer(np.log1p, inverse_func=np.expm1), BaggingClassifier())
    guarded_load(ModelFile("x.pkl", pickle.dumps(model)))


def test_a_bunch_answers_for_no_address():
    interface = {"data": (16, False), "shape": (4,), "typestr": "<f8", "version": 3}
    bunch = Bunch()
    dict.__setitem__(bunch, "__array_interface__", interface)
    refused(pickle.dumps(bunch, 4), "__array_interface__")

    class Rebuilt:
        def __reduce__(self):
            return copyreg._reconstructor, (Bunch, dict, {"__array_interface__": interface})

    refused(pickle.dumps(Rebuilt()), "_reconstructor")


def test_no_process_is_started_that_imports_anew():
    encoders = pytest.importorskip("category_encoders")
    model = encoders.HashingEncoder(process_creation_method="spawn", max_process=4)
    refused(model, "spawn")


def test_a_model_of_many_jobs_predicts_in_one_thread(monkeypatch, tmp_path, cli):
    from joblib._parallel_backends import LokyBackend

    model = BaggingClassifier(LogisticRegression(), 4, n_jobs=4).fit(X, Y)
    joblib.dump(model, tmp_path / "m.joblib")
    pd.DataFrame(X[:1]).to_csv(tmp_path / "row.csv", index=False)
    pd.DataFrame(X).to_csv(tmp_path / "train.csv", index=False)
    monkeypatch.setattr(LokyBackend, "configure", None)
    result = cli("tabular", tmp_path / "m.joblib", tmp_path / "row.csv", "-n", "100", "-b",
                 tmp_path / "train.csv")  # fmt: skip
    assert result.code == 0, result.stderr


def test_arrays_of_objects_share_one_bound(monkeypatch, tmp_path):
    """Each is a pickle of its own inside the file: together they may not have more opcodes."""
    monkeypatch.setattr("limecli.models.guard.MAX_OPCODES", 2000)
    arrays = [np.array([{} for _ in range(100)], dtype=object) for _ in range(30)]
    joblib.dump(arrays[:2], tmp_path / "few", compress=9)
    joblib.dump(arrays, tmp_path / "many", compress=9)
    guarded_load(ModelFile(str(tmp_path / "few")))
    with pytest.raises(ModelError, match="asks for more memory"):
        guarded_load(ModelFile(str(tmp_path / "many")))
