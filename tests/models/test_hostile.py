"""Exploits that ran against an earlier guard, made of trusted names alone. None may run again."""

from __future__ import annotations

import ctypes
import io
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn

from limecli.errors import ModelError
from limecli.models.guard import guarded_load
from limecli.models.interface import ModelFile


class Assembler:
    """Writes pickle opcodes by hand."""

    def __init__(self):
        self.code = b"\x80\x04"

    def name(self, module, name):
        self.code += f"c{module}\n{name}\n".encode()
        return self

    def value(self, value):
        self.code += pickle.dumps(value, 2)[2:-1]
        return self

    def op(self, code):
        self.code += code
        return self

    @property
    def done(self):
        return self.code + b"."


def refused(code, *words):
    with pytest.raises(ModelError) as error:
        guarded_load(ModelFile("evil.pkl", code))
    assert "evil.pkl" in error.value.message
    for word in words:
        assert word in error.value.message
    return error.value


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("cls", ["norm_gen", "gamma_gen"])
def test_a_distribution_brings_no_source_code(marker, cls):
    code = f"open({str(marker)!r}, 'w')\ndef _parse_args(self): pass\n"
    evil = Assembler().name("scipy.stats._continuous_distns", cls).op(b")\x81")
    refused(evil.value({"_parse_arg_template": code}).op(b"b").done, cls)


def test_a_real_distribution_still_loads():
    from scipy import stats

    loaded = guarded_load(ModelFile("x", pickle.dumps(stats.norm(1, 2))))
    assert loaded.mean() == 1


@pytest.mark.parametrize(
    ("content", "method", "argument"),
    [
        (np.array([b"import os"]), "tofile", "{marker}"),
        (pd.DataFrame({"a": [1.0]}), "to_csv", "{marker}"),
        (pd.DataFrame({"a": [1.0]}), "eval", "@np.f2py.os.system('touch {marker}')"),
    ],
)
def test_no_method_is_reached_through_a_callable_object(marker, content, method, argument):
    """A scorer instance is callable: it scores a stack, which calls any method of any object."""
    evil = Assembler().name("sklearn.metrics._scorer", "_PassthroughScorer").op(b")\x81")
    evil.value({"_estimator": None}).op(b"b(")
    evil.name("sklearn.ensemble._stacking", "StackingClassifier").op(b")\x81}(")
    evil.value("estimators_").op(b"]").value(content).op(b"a")
    evil.value("stack_method_").value([method]).value("_sklearn_version")
    evil.value(sklearn.__version__).op(b"ub")
    evil.value(argument.format(marker=marker)).value([0]).op(b"tR")
    refused(evil.done, "to call")


@pytest.mark.parametrize(
    ("module", "name"),
    [("numpy", "asarray"), ("numpy", "add"), ("numpy", "mean"), ("numpy", "ndarray"),
     ("sklearn.utils.validation", "check_array"), ("sklearn.metrics._classification", "f1_score"),
     ("sklearn.linear_model._base", "LinearRegression"), ("builtins", "list"),
     ("pandas", "DataFrame")],
)  # fmt: skip
def test_what_may_be_held_may_not_be_called(module, name):
    evil = Assembler().name(module, name).op(b"(").value(3).op(b"tR")
    refused(evil.done, f"to call {module}.{name}")


def test_no_address_is_read():
    secret = ctypes.create_string_buffer(b"SECRET")
    interface = {"data": (ctypes.addressof(secret), False), "shape": (1,), "typestr": "|S6",
                 "version": 3}  # fmt: skip
    evil = Assembler().name("sklearn.base", "BaseEstimator").op(b")\x81")
    refused(evil.value({"__array_interface__": interface}).op(b"b").done, "__array_interface__")


@pytest.mark.parametrize(
    ("module", "name", "state"),
    [
        ("numpy", "add", {"reduce": 1}),
        ("numpy", "mean", {"x": 1}),
        ("pandas._libs.internals", "_unpickle_block", (None, {"__defaults__": (1,)})),
        ("sklearn.linear_model._base", "LinearRegression", {"fit": 1}),
    ],
)
def test_nothing_that_a_name_stands_for_is_changed(module, name, state):
    refused(Assembler().name(module, name).value(state).op(b"b").done, f"to change {module}")
    assert np.add.reduce([1, 2]) == 3


def test_an_array_wrapper_keeps_its_own_methods():
    evil = Assembler().name("joblib.numpy_pickle", "NumpyArrayWrapper").op(b")\x81}(")
    evil.value("dtype").value(np.dtype("f8")).value("read")
    evil.name("sklearn.calibration", "_CalibratedClassifier").op(b"ub")
    refused(evil.done, "unsound")


@pytest.mark.parametrize("shape", [(1 << 50,), (-1,), ("a",), [3]])
def test_an_array_of_unsound_shape(shape):
    evil = Assembler().name("joblib.numpy_pickle", "NumpyArrayWrapper").op(b")\x81")
    state = {"subclass": None, "shape": shape, "order": "C", "dtype": np.dtype("f8"),
             "allow_mmap": False, "numpy_array_alignment_bytes": None}  # fmt: skip
    refused(evil.value(state).op(b"b").done, "unsound")


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("builtins", "bytearray", (3 << 30,)),
        ("builtins", "bytes", (3 << 30,)),
        ("builtins", "set", (7,)),
        ("collections", "Counter", (7,)),
        ("numpy._core.multiarray", "_reconstruct", (0, (1 << 40,), b"b")),
        ("numpy._core.multiarray", "scalar", (np.dtype("O"), b"12345678")),
    ],
)
def test_trusted_calls_take_ordinary_arguments(module, name, arguments):
    refused(Assembler().name(module, name).value(arguments).op(b"R").done, name)


def test_a_factory_is_a_plain_type():
    evil = Assembler().name("collections", "defaultdict").op(b"(")
    refused(evil.name("sklearn.linear_model._base", "LinearRegression").op(b"tR").done, "default")


def test_an_endless_range_is_not_listed():
    evil = Assembler().name("builtins", "set").op(b"(").name("builtins", "range").op(b"(")
    refused(evil.value(10**11).op(b"tRtR").done, "builtins.range")


@pytest.mark.parametrize("opcode", [b"i", b"o"], ids=["INST", "OBJ"])
def test_the_opcodes_of_python_1_are_not_served(opcode):
    if opcode == b"i":
        code = b"(I1\nisklearn.linear_model._base\nLinearRegression\n."
    else:
        code = b"(csklearn.linear_model._base\nLinearRegression\nI1\no."
    refused(code)


def test_deep_nesting_ends_in_a_sentence(tmp_path):
    """Hashing two million nested tuples once ended the process with a segmentation fault."""
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x04}(" + b")" + b"\x85" * 2_000_000 + b"Nu.")
    code = f"from limecli.models.guard import *\nguarded_load(ModelFile({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nests tuples" in done.stderr


def test_a_nested_pickle_in_an_object_array_is_guarded(marker):
    import os

    import joblib

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    buffer = io.BytesIO()
    joblib.dump(np.array([Evil()], dtype=object), buffer)
    refused(buffer.getvalue(), "posix.system")


def test_the_table_calls_few_names():
    from limecli.models.guard import trusted_names

    called = [pair for pair, call in trusted_names().items() if call]
    assert len(called) < 100
    assert ("numpy", "asarray") not in called
