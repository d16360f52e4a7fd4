"""Exploits through the classes of boosters, encoders and data libraries. None may run."""

from __future__ import annotations

import ctypes
import pickle
import sys

import numpy as np
import pandas as pd
import pytest

from limecli.errors import ModelError
from limecli.models.guard import guarded_load
from limecli.models.guard_calls import STAND_INS, UnknownUse
from limecli.models.guard_states import check_state
from limecli.models.interface import ModelFile
from tests.models.test_hostile import Assembler

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
BOOSTERS = [
    ("xgboost.core", "Booster"),
    ("xgboost.sklearn", "XGBClassifier"),
    ("lightgbm.basic", "Booster"),
    ("lightgbm.sklearn", "LGBMClassifier"),
    ("catboost.core", "CatBoost"),
    ("catboost.core", "CatBoostClassifier"),
]


def load(data):
    return guarded_load(ModelFile("evil.pkl", data))


def refused(data, *words):
    with pytest.raises(ModelError) as error:
        load(data)
    assert "evil.pkl" in error.value.message
    assert "refused" in error.value.message
    for word in words:
        assert word in error.value.message


def made(module, name):
    return Assembler().name(module, name).op(b")\x81")


@pytest.fixture
def model_file(tmp_path):
    """A model that native code would read if it were given the path."""
    lightgbm = pytest.importorskip("lightgbm")
    path = tmp_path / "model.txt"
    lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), 2).save_model(path)
    return str(path)


@pytest.mark.parametrize(("module", "name"), BOOSTERS)
@pytest.mark.parametrize("opcode", [b"R", b"\x81"], ids=["REDUCE", "NEWOBJ"])
def test_no_booster_is_made_of_a_path(module, name, opcode, tmp_path):
    pytest.importorskip(module.partition(".")[0])
    for arguments in ((str(tmp_path / "m"),), (None, (), str(tmp_path / "m")), ({"a": 1},)):
        evil = Assembler().name(module, name).value(arguments).op(opcode)
        refused(evil.done, name)
    evil = Assembler().name(module, name).op(b")").value({"model_file": "m"}).op(b"\x92")
    refused(evil.done)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("xgboost.core", "DMatrix"),  # each frees the address that its state names
        ("xgboost.core", "QuantileDMatrix"),
        ("lightgbm.basic", "Dataset"),
        ("lightgbm.engine", "CVBooster"),  # reads a file; answers to any method name
        ("catboost.core", "Pool"),
        ("_catboost", "_PoolBase"),
        ("xgboost.callback", "TrainingCheckPoint"),  # writes files
        ("xgboost.core", "_LIB"),
        ("lightgbm.basic", "_LIB"),
        ("ctypes", "CDLL"),
        ("hashlib", "new"),
        ("zoneinfo", "ZoneInfo"),  # reads files
        ("pytz", "_p"),
    ],
)
def test_what_reaches_further_is_not_in_the_table(module, name):
    refused(Assembler().name(module, name).done, f"{module}.{name}")


@pytest.mark.parametrize("handle", [12345, "model.json", b"bytes", np.zeros(4, "u1"), [1], True])
def test_a_handle_of_xgboost_is_a_bytearray(handle):
    pytest.importorskip("xgboost")
    evil = made("xgboost.core", "Booster").value({"handle": handle}).op(b"b")
    refused(evil.done, "handle")


def test_the_bytes_of_xgboost_are_no_path(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    path = tmp_path / "model.json"
    xgboost.train({}, xgboost.DMatrix(X, Y), 1).save_model(path)
    evil = made("xgboost.core", "Booster").value({"handle": bytearray(str(path).encode())})
    with pytest.raises(ModelError):
        load(evil.op(b"b").done)


@pytest.mark.parametrize("key", ["_handle", "handle"])
@pytest.mark.parametrize("handle", [12345, b"bytes", np.zeros(4, "u1"), [1], True])
def test_a_handle_of_lightgbm_is_text(key, handle):
    pytest.importorskip("lightgbm")
    evil = made("lightgbm.basic", "Booster").value({key: handle}).op(b"b")
    refused(evil.done, key)


@pytest.mark.parametrize("key", ["_handle", "handle"])
def test_the_text_of_lightgbm_is_no_path(key, model_file):
    """LightGBM makes a model without trees of any text; the file's two trees are not in it."""
    state = {key: model_file, "pandas_categorical": None}
    try:
        loaded = load(made("lightgbm.basic", "Booster").value(state).op(b"b").done)
    except ModelError:
        return
    assert loaded.num_trees() == 0


@pytest.mark.parametrize("handle", [0, 12345, "model.txt", ctypes.sizeof(ctypes.c_void_p)])
@pytest.mark.parametrize("key", ["_handle", "handle"])
def test_lightgbm_frees_no_address(key, handle):
    """`_InnerPredictor.__del__` frees what `_handle` says: its own pickles never hold one."""
    pytest.importorskip("lightgbm")
    state = {"_InnerPredictor__is_manage_handle": True, key: handle}
    refused(made("lightgbm.basic", "_InnerPredictor").value(state).op(b"b").done, key)
    slots = made("lightgbm.basic", "_InnerPredictor").value((None, state)).op(b"b")
    refused(slots.done, "_InnerPredictor")


@pytest.mark.parametrize("model", ["model.cbm", 3, ["model.cbm"], bytearray(b"CBM1")])
def test_a_model_of_catboost_is_bytes(model):
    pytest.importorskip("catboost")
    evil = made("catboost.core", "CatBoostClassifier").value({"__model": model}).op(b"b")
    refused(evil.done, "__model")


def test_only_catboost_keeps_a_model_under_such_a_name():
    evil = made("sklearn.base", "BaseEstimator").value({"__model": b"CBM1"}).op(b"b")
    refused(evil.done, "__model")


def test_the_state_of_catboost_names_no_method():
    pytest.importorskip("catboost")
    for key in ("__setstate__", "__class__", "__dict__"):
        refused(made("catboost.core", "CatBoost").value({key: 1}).op(b"b").done, key)


def interface(address):
    return {"data": (address, False), "shape": (1,), "typestr": "|S6", "version": 3}


@pytest.fixture
def secret():
    return ctypes.create_string_buffer(b"SECRET")


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    ("module", "name"),
    [("imblearn.base", "FunctionSampler"), ("category_encoders.ordinal", "OrdinalEncoder"),
     ("xgboost.sklearn", "XGBClassifier"), ("xgboost.core", "Booster"),
     ("lightgbm.sklearn", "LGBMClassifier"), ("catboost.core", "CatBoost")],
)  # fmt: skip
def test_a_state_of_pairs_is_looked_at_too(module, name, kind, secret):
    """Estimators outside scikit-learn hand their state to `dict.update`, which takes pairs."""
    pytest.importorskip(module.partition(".")[0])
    pairs = kind([("__array_interface__", interface(ctypes.addressof(secret)))])
    refused(made(module, name).value(pairs).op(b"b").done, f"to set a {module}.{name}")


def test_a_state_with_items_of_its_own_is_refused(secret):
    """A sparse matrix has `items()`, of a dict that its own state gives it."""
    matrix = made("scipy.sparse._dok", "dok_matrix").value(
        {"_dict": {"__array_interface__": interface(ctypes.addressof(secret))}, "_shape": (1, 1)}
    )
    evil = made("sklearn.gaussian_process.kernels", "RBF")
    evil.code += matrix.op(b"b").code[2:]
    refused(evil.op(b"b").done, "RBF")


def test_a_table_of_states_is_refused():
    pytest.importorskip("lightgbm")
    evil = made("lightgbm.basic", "Booster").value(pd.Series({"_handle": 1, "__class__": 2}))
    refused(evil.op(b"b").done, "Booster")


@pytest.mark.parametrize("length", [1, 3])
def test_attributes_in_a_longer_tuple_are_looked_at(length, secret):
    """pandas' compiled arrays set the attributes that the last part of their state names."""
    attributes = {"__array_interface__": interface(ctypes.addressof(secret))}
    state = (np.dtype("M8[ns]"), np.zeros(1, "M8[ns]"), attributes)[-length:]
    evil = made("pandas.core.arrays.datetimes", "DatetimeArray").value(state).op(b"b")
    refused(evil.done, "__array_interface__")


@pytest.mark.parametrize(
    ("module", "name"),
    [("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
     ("pandas._libs.interval", "__pyx_unpickle_IntervalMixin"),
     ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence")],
)  # fmt: skip
def test_a_compiled_class_takes_no_state_past_the_rules(module, name):
    evil = Assembler().name(module, name).op(b"(").name("pandas", "DataFrame").value(1)
    refused(evil.value(({"__array_interface__": 1},)).op(b"tR").done, name)


@pytest.mark.parametrize("name", ["__generator_ctor", "__randomstate_ctor"])
def test_numpy_calls_no_constructor_that_it_is_given(name):
    """Its constructors call their second argument with their first."""
    evil = Assembler().name("numpy.random._pickle", name).op(b"(").value("some/path")
    refused(evil.name("sklearn.linear_model._base", "LinearRegression").op(b"tR").done, name)
    evil = Assembler().name("numpy.random._pickle", name).op(b"(")
    refused(evil.name("sklearn.linear_model._base", "LinearRegression").op(b"tR").done, name)


def test_numpy_makes_no_class_that_it_is_given():
    evil = Assembler().name("numpy.random._pickle", "__bit_generator_ctor").op(b"(")
    refused(evil.name("sklearn.linear_model._base", "LinearRegression").op(b"tR").done, "_ctor")


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("pandas", "Period", ("2020", "D", 1)),
        ("pandas", "PeriodDtype", ([1],)),
        ("pandas._libs.tslibs.offsets", "Day", ([1], False)),
        ("pandas._libs.sparse", "IntIndex", (3, [1])),
        ("pandas.core.indexes.interval", "_new_IntervalIndex", (int, {"left": 1})),
        ("builtins", "unicode", ("text",)),
        ("builtins", "long", ("9" * 5000,)),
    ],
)
def test_trusted_calls_take_ordinary_arguments(module, name, arguments):
    refused(Assembler().name(module, name).value(arguments).op(b"R").done, name)


@pytest.mark.parametrize(
    "state",
    [{"hash_method": "file_digest"}, {"hash_method": "__loader__"}, {"hash_method": ["md5"]},
     {"max_process": 1 << 20}, {"max_process": "9"}],
)  # fmt: skip
def test_an_encoder_names_no_function(state):
    """HashingEncoder calls the attribute of hashlib that it names, in so many processes."""
    pytest.importorskip("category_encoders")
    evil = made("category_encoders.hashing", "HashingEncoder").value(state).op(b"b")
    refused(evil.done, "to hash with")


@pytest.mark.parametrize(("module", "name"), BOOSTERS)
def test_a_subclass_keeps_the_rules(module, name):
    """A class that the user vouches for is a booster still."""
    library = pytest.importorskip(module)
    cls = type("Mine", (getattr(library, name),), {})
    with pytest.raises(UnknownUse):
        check_state(cls.__new__(cls), [("handle", 1)])


def test_protocol_2_names_are_plain_types():
    held = {"long": int, "unicode": str, "xrange": range}
    assert {name: STAND_INS["builtins", name] for name in held} == held
    assert load(pickle.dumps([int, str, range(3)], 2)) == [int, str, range(3)]


def test_nothing_is_imported_to_look_at_a_state():
    before = set(sys.modules)
    load(pickle.dumps(pd.DataFrame({"a": [1]})))
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert new & {"xgboost", "lightgbm", "catboost", "imblearn", "category_encoders"} == set()
