"""skops files: ordinary models load with no flag, and no trusted name is put to another use."""

from __future__ import annotations

import ctypes
import io
import json
import pickle
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from limecli.errors import ModelError
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.skops import SkopsLoader, _built
from limecli.models.skops_schema import SchemaCheck

from .test_guard import ESTIMATORS, fitted
from .test_hostile_objects import tampered_tree

sio = pytest.importorskip("skops.io")
IRIS = load_iris(as_frame=True)
QUICK = ("-n", "120")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("skops") / "iris.csv"
    IRIS.data.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(5, random_state=0).fit(
        IRIS.data, IRIS.target_names[IRIS.target]
    )  # fmt: skip


def written(path, model, **options):
    path.write_bytes(sio.dumps(model, **options))
    return path


def loaded(data, *trust):
    file = ModelFile("m.skops", data)
    check = SchemaCheck(file, frozenset(trust))
    assert check.untrusted == []
    assert check.refusals == []
    return _built(file, check)


# What ordinary files hold


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                                         zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])  # fmt: skip
def test_a_forest_loads_with_no_flag_whatever_its_suffix(cli, tmp_path, rows, forest, compression):
    path = written(tmp_path / "model.pkl", forest, compression=compression)
    result = cli("tabular", path, rows, "-r", "60", *QUICK, "--json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["model"]["format"] == "skops"
    assert report["model"]["class_names"] == ["setosa", "versicolor", "virginica"]
    assert report["model"]["feature_names"] == list(IRIS.data)
    values = [score["value"] for score in report["explanations"][0]["prediction"]]
    assert sorted(values) == sorted(forest.predict_proba(IRIS.data[60:61])[0])


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")
def test_every_estimator_that_skops_writes_loads_with_no_flag(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = fitted(ESTIMATORS[name])
    if found is None:
        pytest.skip("the toy data do not suit it")
    model, _ = found
    try:
        data = sio.dumps(model)
    except Exception:
        pytest.skip("skops does not write it")
    rebuilt = loaded(data)
    assert type(rebuilt) is type(model)
    assert vars(rebuilt).keys() == vars(model).keys()
    SkopsLoader().inspect(ModelFile("m.skops", data), LoadOptions("tabular"))


def mixed_frame():
    return pd.DataFrame({"city": ["Ulm", "Bonn", "Kiel"] * 20, "size": np.arange(60.0)})


@pytest.mark.filterwarnings("ignore")
def test_what_models_hold_besides_estimators():
    from scipy import stats

    texts = ["win a prize", "see you at home", "free prize now", "dinner at home"] * 3
    frame = mixed_frame().astype({"city": "category"})
    models = [
        make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(
            IRIS.data.to_numpy(), IRIS.target
        ),
        make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [0, 1] * 6),
        HistGradientBoostingClassifier(max_iter=2, categorical_features=["city"]).fit(
            frame, np.arange(60) > 30
        ),
        RandomizedSearchCV(
            LogisticRegression(), {"C": stats.uniform(0.1, 2)}, n_iter=2, random_state=0
        ).fit(IRIS.data, IRIS.target),
    ]
    for model, sample in zip(models, [IRIS.data.to_numpy(), texts, frame, IRIS.data], strict=True):
        rebuilt = loaded(sio.dumps(model))
        assert rebuilt.predict_proba(sample).tolist() == model.predict_proba(sample).tolist()


def test_a_text_model(cli, tmp_path):
    texts = ["win a prize", "see you at home", "free prize now", "dinner at home"] * 3
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["spam", "ham"] * 6)
    path = written(tmp_path / "m.skops", model)
    result = cli("text", path, "a free prize", *QUICK, "--json")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["explanations"][0]["labels"][0]["label"] == "spam"


def edited(model, change):
    """The file of a model after `change(schema)`."""
    with zipfile.ZipFile(io.BytesIO(sio.dumps(model))) as old:
        schema = json.loads(old.read("schema.json"))
        members = {name: old.read(name) for name in old.namelist() if name != "schema.json"}
    return packed(change(schema) or schema, members, bare=True)


def replaced(old, new):
    return lambda schema: json.loads(json.dumps(schema).replace(old, new))


def test_another_scikit_learn_is_noted_once(cli, tmp_path, rows, forest):
    import sklearn

    path = tmp_path / "m.skops"
    path.write_bytes(edited(forest, replaced(sklearn.__version__, "1.0.2")))
    result = cli("tabular", path, rows, "-r", "60", *QUICK)
    assert result.code == 0
    assert result.stderr.count("saved with scikit-learn 1.0.2") == 1


def test_old_module_paths_are_mapped():
    old = node("TypeNode", "numpy.core.multiarray", "_reconstruct")
    check = SchemaCheck(ModelFile("m", packed(holder(old))), frozenset())
    assert "numpy._core.multiarray._reconstruct" in check.wants
    assert "numpy.core" not in check.archive().decode("latin1")


def test_inspect_tells_what_is_inside_and_builds_nothing(cli, tmp_path, forest, monkeypatch):
    path = written(tmp_path / "m.skops", make_pipeline(StandardScaler(), forest).fit(
        IRIS.data, IRIS.target_names[IRIS.target]))  # fmt: skip
    monkeypatch.setattr(sio, "load", None)
    result = cli("inspect", path, "--json")
    assert result.code == 0, result.stderr
    info = json.loads(result.stdout)
    assert info["format"] == "skops"
    assert info["estimator"]["estimator"] == "Pipeline"
    assert info["class_names"] == ["setosa", "versicolor", "virginica"]
    assert info["feature_names"] == list(IRIS.data)
    assert info["task"] == "classification"
    assert {"skops", "scikit-learn"} <= set(info["versions"])
    assert info["missing"] == []


# Hand-written files


def node(loader, module="builtins", name="dict", **rest):
    return {"__loader__": loader, "__module__": module, "__class__": name, **rest}


def plain(value):
    return node("JsonNode", name="str", content=json.dumps(value), is_json=True)


def many(*items, kind="List"):
    return node(f"{kind}Node", name=kind.lower(), content=list(items))


def mapping(items, keys=None):
    types = keys or [node("TypeNode", name="str") for _ in items]
    return node("DictNode", content=dict(items), key_types=many(*types))


def of(loader, full, **rest):
    return node(loader, *full.rpartition(".")[::2], **rest)


def obj(full, attributes):
    if not isinstance(attributes, dict) or "__loader__" not in attributes:
        attributes = mapping(attributes)
    return of("ObjectNode", full, content=attributes)


def holder(content):
    return obj("sklearn.base.BaseEstimator", {"a": content})


def packed(root, members=(), bare=False, protocol=2):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in dict(members).items():
            archive.writestr(name, data)
        schema = root if bare else {**root, "protocol": protocol, "_skops_version": "0.16.0"}
        archive.writestr("schema.json", schema if isinstance(schema, str) else json.dumps(schema))
    return buffer.getvalue()


def refused(data, *words, trust=()):
    if isinstance(data, dict):
        data = packed(holder(data))
    with pytest.raises(ModelError) as error:
        SkopsLoader().load(
            ModelFile("evil.skops", data), LoadOptions("tabular", trust=frozenset(trust))
        )
    assert "evil.skops" in error.value.message
    for word in words:
        assert word in error.value.message + error.value.hint
    return error.value


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def array():
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3.0))
    return buffer.getvalue()


CSR = "scipy.sparse._csr.csr_matrix"
SCALER = "sklearn.preprocessing._data.StandardScaler"
CALLS = {
    "list": of("ListNode", SCALER, content=[]),
    "set": of("SetNode", SCALER, content=[]),
    "tuple": of("TupleNode", SCALER, content=[]),
    "dict": of("DictNode", SCALER, content={}, key_types=many()),
    "key type": mapping({"x": plain(1)}, [of("TypeNode", SCALER)]),
    "factory": of("DefaultDictNode", "collections.defaultdict", content={
        "main": mapping({}), "default_factory": of("TypeNode", SCALER)}),
    "reduce": of("ConstructorFromReduceNode", SCALER, content=many(kind="Tuple")),
    "loss": of("LossNode", SCALER, content=mapping({}), __reduce__={"args": many(kind="Tuple")}),
    "loss that is another callable": of(
        "LossNode", "numpy.dtype", content=mapping({}),
        __reduce__={"args": many(plain("f8"), kind="Tuple")}),
    "tree": of("TreeNode", SCALER, content=mapping({}), __reduce__={"args": many(kind="Tuple")}),
    "random state": of("RandomStateNode", SCALER, content=mapping({})),
}  # fmt: skip


@pytest.mark.parametrize("use", CALLS)
def test_what_may_be_held_may_not_be_called(use):
    refused(CALLS[use], "to call", "which may be named but not that")


def test_a_scalar_of_another_name_is_not_called():
    root = holder(of("NdArrayNode", SCALER, type="numpy", file="a.npy"))
    refused(packed(root, {"a.npy": array()}), f"to call {SCALER}")


def test_a_distribution_brings_no_source_code(marker):
    code = f"open({str(marker)!r}, 'w')\ndef _parse_args(self): pass\n"
    evil = obj("scipy.stats._continuous_distns.norm_gen", {"_parse_arg_template": plain(code)})
    refused(evil, "norm_gen", "source code of its own")


def test_a_distribution_hides_its_source_in_no_other_node(marker):
    buffer = io.BytesIO()
    np.save(buffer, np.array(f"open({str(marker)!r}, 'w')\n"))
    template = of("NdArrayNode", "numpy.str_", type="numpy", file="t.npy")
    evil = obj("scipy.stats._continuous_distns.norm_gen", {"_parse_arg_template": template})
    refused(packed(evil, {"t.npy": buffer.getvalue()}), "source code of its own")


def test_no_address_is_read():
    secret = ctypes.create_string_buffer(b"SECRET")
    interface = {"data": (ctypes.addressof(secret), False), "shape": (1,), "typestr": "|S6",
                 "version": 3}  # fmt: skip
    for attributes in (
        {"__array_interface__": plain(1)},
        plain({"__array_interface__": interface}),
        plain([["__array_interface__", interface]]),
        many(many(plain("__array_interface__"), plain(1), kind="Tuple")),
        many(plain(None), mapping({"__array_interface__": plain(1)}), kind="Tuple"),
    ):
        refused(obj("sklearn._loss.link.IdentityLink", attributes))


def test_partial_holds_check_array_only(marker):
    def partial(func, space=None):
        return of("PartialNode", "functools.partial", content={
            "func": func, "args": many(plain(str(marker)), kind="Tuple"), "kwds": mapping({}),
            "namespace": space or mapping({})})  # fmt: skip

    check_array = of("FunctionNode", "sklearn.utils.validation.check_array")
    refused(partial(of("FunctionNode", "numpy.mean")), "something other than check_array")
    refused(partial(of("ObjectNode", "sklearn.utils.validation.check_array")), "check_array")
    refused(partial(check_array, mapping({"x": plain(1)})), "with attributes")


def test_one_id_does_not_carry_a_node_to_where_another_was_checked():
    func = {**of("FunctionNode", "sklearn.utils.validation.check_array"), "__id__": 7}
    other = {**of("FunctionNode", "numpy.mean"), "__id__": 7}
    refused(many(other, func), "two different objects under one id")
    deep = {**many(plain("x")), "__id__": 7}
    refused(many({**many(plain("y")), "__id__": 7}, deep), "under one id")
    refused(many({**many(plain("y")), "__id__": True}), "under one id")


@pytest.mark.parametrize("name", ["attrgetter", "itemgetter", "methodcaller"])
def test_operators_are_refused_by_name(name):
    evil = of("OperatorFuncNode", f"operator.{name}", attrs=many(plain("x"), kind="Tuple"))
    refused(evil, f"operator.{name}", f"--trust operator.{name}")


def test_a_bound_method_is_refused_by_name():
    owner = obj(SCALER, {"x": plain(1)})
    method = of("MethodNode", SCALER, content={"func": "fit", "obj": owner})
    refused(method, f"{SCALER}.fit", f"--trust {SCALER}.fit")


def test_a_method_of_another_class_than_it_says():
    owner = obj("sklearn.linear_model._base.LinearRegression", {})
    method = of("MethodNode", SCALER, content={"func": "fit", "obj": owner})
    refused(method, "damaged", trust=[f"{SCALER}.fit"])


def test_a_generator_is_a_generator():
    def generator(name, pool=4):
        seed = mapping({"entropy": plain(1), "pool_size": plain(pool)})
        content = {"bit_generator": mapping({"bit_generator": plain(name)}), "seed_seq": seed}
        return of("RandomGeneratorNode", "numpy.random._generator.Generator", content=content)

    refused(generator("seed"), "numpy.random.seed")
    refused(generator("PCG64", 10**9), "unsound seed")


@pytest.mark.parametrize("loader", ["FunctionNode", "TypeNode", "ObjectNode"])
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "builtins.getattr",
                                  "numpy.load", "builtins.__import__"])  # fmt: skip
def test_other_names_are_refused_before_anything_is_imported(loader, name):
    refused(of(loader, name), f"wants {name}, which is not on", f"--trust {name}")


def test_no_module_of_an_unknown_name_is_imported(marker, tmp_path, monkeypatch):
    (tmp_path / "evilmodule.py").write_text(f"open({str(marker)!r}, 'w')\nclass Model: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for data in (packed(obj("evilmodule.Model", {})), of("TypeNode", "evilmodule.Model")):
        refused(data, "evilmodule.Model")
    assert "evilmodule" not in sys.modules


def test_a_module_that_lies_where_an_old_name_was_is_not_imported(marker, tmp_path, monkeypatch):
    (tmp_path / "_loss.py").write_text(f"open({str(marker)!r}, 'w')\nCyHalfPoissonLoss = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    root = holder(of("TypeNode", "_loss.CyHalfPoissonLoss"))
    assert loaded(packed(root)).a.__module__ != "_loss"
    assert "_loss" not in sys.modules


def test_all_names_are_listed_at_once():
    refused(many(of("TypeNode", "a.B"), of("TypeNode", "c.D")), "a.B", "c.D", "--trust c.D")


def test_a_name_inside_a_name_is_refused():
    refused(node("TypeNode", "numpy", "ndarray.tofile"), "numpy.ndarray.tofile")


@pytest.mark.parametrize("loader", ["CachedNode", "EvilNode", "_DictWithDeprecatedKeysNode"])
def test_kinds_of_nodes_that_models_do_not_have(loader):
    refused(node(loader, __id__=3), loader)


@pytest.mark.parametrize("protocol", [0, -1, 3, True, "2", None, [2]])
def test_the_protocol_chooses_no_other_code(protocol):
    refused(packed(obj("sklearn.base.BaseEstimator", {}), protocol=protocol), "protocol")


def test_what_is_json_is_a_plain_value():
    for value in ({"a": 1}, [1, 2]):
        refused(many(plain(value)), "in place of a plain value")


def test_an_array_brings_no_pickle(marker):
    class Evil:
        def __reduce__(self):
            return open, (str(marker), "w")

    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    for data in (buffer.getvalue(), pickle.dumps(Evil())):
        root = holder(of("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy"))
        refused(packed(root, {"a.npy": data}))


def test_a_sparse_matrix_brings_no_pickle(marker):
    class Evil:
        def __reduce__(self):
            return open, (str(marker), "w")

    buffer = io.BytesIO()
    np.savez(buffer, format=np.array([Evil()], dtype=object), allow_pickle=True)
    root = holder(of("SparseMatrixNode", CSR, type="scipy", file="a.npz"))
    refused(packed(root, {"a.npz": buffer.getvalue()}))


def test_members_are_never_written_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "../escaped.npy"
    root = holder(of("NdArrayNode", "numpy.ndarray", type="numpy", file=name))
    assert loaded(packed(root, {name: array(), "/tmp/other": b"x"})).a.tolist() == [0, 1, 2]
    assert list(tmp_path.parent.glob("escaped*")) == []


# Bombs


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("limecli.models.compression.MAX_BYTES", 1 << 20)


def deflated(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.usefixtures("small")
def test_a_bomb_is_bounded():
    bomb = deflated({"schema.json": json.dumps(plain(1)), "a.npy": bytes(2 << 20)})
    refused(bomb, "decompresses to more than 1 MiB")


@pytest.mark.usefixtures("small")
def test_a_member_that_lies_about_its_size_is_bounded():
    bomb = deflated({"schema.json": json.dumps(plain(1)), "a.npy": bytes(2 << 20)})
    size = (2 << 20).to_bytes(4, "little")
    refused(bomb.replace(size, (100).to_bytes(4, "little")))


@pytest.mark.usefixtures("small")
def test_a_member_that_is_named_often_is_counted_often():
    data = io.BytesIO()
    np.save(data, np.zeros(20_000))
    entry = of("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy")
    root = holder(many(*[entry] * 10))
    refused(packed(root, {"a.npy": data.getvalue()}), "more than 1 MiB")


@pytest.mark.usefixtures("small")
def test_a_zip_inside_the_zip_is_bounded():
    root = holder(of("SparseMatrixNode", CSR, type="scipy", file="a.npz"))
    refused(packed(root, {"a.npz": deflated({"data.npy": bytes(2 << 20)})}), "more than 1 MiB")


def test_very_many_members_are_refused(monkeypatch):
    monkeypatch.setattr("limecli.models.skops_schema._MAX_MEMBERS", 10)
    members = {f"{i}.npy": b"" for i in range(20)}
    refused(packed(obj("sklearn.base.BaseEstimator", {}), members), "21 members")


def test_an_array_of_unsound_shape():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
    )
    root = holder(of("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy"))
    refused(packed(root, {"a.npy": header.getvalue()}))


def test_deep_nesting_ends_in_a_sentence():
    deep = plain(1)
    for _ in range(160):
        deep = many(deep)
    refused(deep, "nests objects more than")
    text = '{"protocol": 2, "a": ' + "[" * 200_000 + "]" * 200_000 + "}"
    refused(packed(text, bare=True))


# Damage


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_file_cut_short(forest, share):
    data = sio.dumps(forest)
    file = ModelFile("m.skops", data[: int(len(data) * share)])
    assert not SkopsLoader().matches(file)


@pytest.mark.parametrize(
    "schema",
    ["", "[]", "3", "null", "{}", '{"protocol": 2}', "{not json", "\x00\xff",
     '{"protocol": 2, "__loader__": "ListNode", "__class__": 3, "__module__": null}',
     '{"protocol": 2, "__loader__": ["x"], "__class__": "list", "__module__": "builtins"}',
     '{"protocol": 2, "__loader__": "NdArrayNode", "__class__": "ndarray", "__module__": "numpy",'
     ' "type": "numpy", "file": "nowhere.npy"}'],
)  # fmt: skip
def test_a_schema_that_is_none(schema):
    refused(packed(schema, bare=True), "damaged skops file")


def test_a_member_that_is_damaged(fails, tmp_path, rows, forest):
    data = bytearray(sio.dumps(forest))
    data[len(data) // 4] ^= 255
    (tmp_path / "m.skops").write_bytes(data)
    result = fails(3, "tabular", tmp_path / "m.skops", rows)
    assert "damaged skops file" in result.stderr


def test_a_file_without_a_model(fails, tmp_path, rows):
    path = written(tmp_path / "m.skops", {"model": 1})
    assert "holds a dict with the keys model" in fails(3, "tabular", path, rows).stderr


def test_inspect_of_a_hostile_file_lists_what_would_be_refused(cli, tmp_path):
    path = tmp_path / "m.skops"
    path.write_bytes(packed(obj(SCALER, {"a": of("TypeNode", "posix.system"),
                                         "b": CALLS["list"]})))  # fmt: skip
    result = cli("inspect", path)
    assert result.code == 0
    assert "posix.system is not trusted" in result.stdout
    assert "it wants to call" in result.stdout


# Classes of the user's own

OWN = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Model(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, rows):
        return self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows):
        p = 1 / (1 + np.exp(-np.asarray(rows, dtype=float)[:, 0]))
        return np.column_stack([1 - p, p])
"""


def test_a_class_of_the_users_own_is_trusted_by_name(fails, process, tmp_path, rows):
    (tmp_path / "ownskops.py").write_text(OWN)
    save = ("import ownskops, skops.io, numpy as np;"
            "skops.io.dump(ownskops.Model().fit(np.eye(2), [0, 1]), 'm.skops')")  # fmt: skip
    subprocess.run([sys.executable, "-c", save], cwd=tmp_path, check=True, timeout=60)
    stderr = fails(3, "tabular", tmp_path / "m.skops", rows).stderr
    assert "wants ownskops.Model" in stderr
    assert "--trust ownskops.Model" in stderr
    assert "ownskops" not in sys.modules
    result = process("tabular", "m.skops", rows, "-r", "60", *QUICK, "--json",
                     "--trust", "ownskops.Model", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["model"]["estimator"] == "Model"


def test_any_file_loads_for_users_who_say_that_it_may(process, tmp_path, rows):
    (tmp_path / "ownskops.py").write_text(OWN)
    save = ("import ownskops, skops.io, numpy as np;"
            "skops.io.dump(ownskops.Model().fit(np.eye(2), [0, 1]), 'm.skops')")  # fmt: skip
    subprocess.run([sys.executable, "-c", save], cwd=tmp_path, check=True, timeout=60)
    result = process("tabular", "m.skops", rows, "-r", "60", *QUICK, "--trust-pickle",
                     cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "any code in m.skops has run" in result.stderr


# Boosters, which MLflow 3 saves with skops


@pytest.mark.filterwarnings("ignore")
def test_a_lightgbm_model(cli, tmp_path, rows):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(IRIS.data, IRIS.target)
    path = written(tmp_path / "m.skops", model)
    result = cli("tabular", path, rows, "-r", "60", *QUICK, "--json")
    assert result.code == 0, result.stderr
    values = [
        score["value"] for score in json.loads(result.stdout)["explanations"][0]["prediction"]
    ]
    assert sorted(values) == pytest.approx(sorted(model.predict_proba(IRIS.data[60:61])[0]))


@pytest.mark.parametrize(("library", "handle"), [("lightgbm.basic", "_handle"),
                                                 ("xgboost.core", "handle")])  # fmt: skip
def test_a_booster_is_given_no_address(library, handle):
    pytest.importorskip(library.partition(".")[0])
    refused(obj(f"{library}.Booster", {handle: plain(0xDEAD)}), f"{handle} that is a int")


def test_what_skops_builds_stays_inside_itself():
    data = sio.dumps(tampered_tree("left_child", 10**6))
    with pytest.raises(ModelError, match="Tree that points outside itself"):
        SkopsLoader().load(ModelFile("m.skops", data), LoadOptions("tabular"))
