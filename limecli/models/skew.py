"""Pickles of older libraries: what has moved since, and states that mean something else today."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from typing import Any

from limecli.errors import ModelError
from limecli.models.guard_calls import UnknownUse
from limecli.models.versions import installed_version

_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "_loss": "sklearn._loss._loss",  # what scikit-learn before 1.6 called its compiled losses
    "sklearn.neighbors._dist_metrics": "sklearn.metrics._dist_metrics",
    "sklearn.externals.joblib.numpy_pickle": "joblib.numpy_pickle",
    **{f"scipy.sparse.{kind}": f"scipy.sparse._{kind}"
       for kind in ("csr", "csc", "coo", "dok", "lil", "dia", "bsr")},
}  # fmt: skip
_SGD = "sklearn.linear_model._sgd_fast"
_LOSSES = "sklearn._loss._loss"
_SCORERS = "sklearn.metrics._scorer"
_MOVED = {  # only to names that every supported version has
    (_SGD, "Log"): (_LOSSES, "CyHalfBinomialLoss"),
    (_SGD, "Huber"): (_LOSSES, "CyHuberLoss"),
    (_SGD, "SquaredLoss"): (_LOSSES, "CyHalfSquaredError"),
    (_SCORERS, "_PredictScorer"): (_SCORERS, "_Scorer"),
    (_SCORERS, "_ProbaScorer"): (_SCORERS, "_Scorer"),
    (_SCORERS, "_ThresholdScorer"): (_SCORERS, "_Scorer"),
    (_SCORERS, "_passthrough_scorer"): (_SCORERS, "_PassthroughScorer"),
    ("sklearn.utils", "Bunch"): ("sklearn.utils._bunch", "Bunch"),
    ("sklearn.preprocessing._data", "PolynomialFeatures"):
        ("sklearn.preprocessing._polynomial", "PolynomialFeatures"),
    ("pandas.core.arrays.datetimes", "DatetimeArray"): ("pandas.arrays", "DatetimeArray"),
    **{("pandas.core.indexes.numeric", f"{kind}Index"): ("pandas.core.indexes.base", "Index")
       for kind in ("Int64", "UInt64", "Float64")},
}  # fmt: skip

# Not Minkowski's: what 1.0 kept in its state reads as weights today, beyond their end.
_DISTANCES = frozenset(f"{kind}Distance" for kind in (
    "Euclidean", "Manhattan", "Chebyshev", "SEuclidean", "Mahalanobis", "Canberra", "BrayCurtis",
    "Hamming"))  # fmt: skip


class MismatchError(ModelError):
    """The libraries installed here cannot rebuild what the pickle holds."""


def present_name(module: str) -> str:
    """What a module is called today that an older library or Python called otherwise."""
    module = _RENAMED.get(module, module)
    if module == "numpy.core" or module.startswith("numpy.core."):
        module = "numpy._core" + module.removeprefix("numpy.core")
    return module


def present_global(module: str, name: str) -> tuple[str, str]:
    """Where a global lives today that an older library or Python had elsewhere."""
    module = present_name(module)
    if module == "sklearn.metrics._dist_metrics" and name in _DISTANCES:
        name += "64"  # before 1.3 there was no other precision
    return _MOVED.get((module, name), (module, name))


class _Columns(list):  # type: ignore[type-arg]
    """What a ColumnTransformer of scikit-learn 1.5 and 1.6 keeps its remaining columns in."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self[:] = state["data"]


def _rebuilt_loss(cls: type, _: int, state: tuple[float, ...]) -> Any:
    """A compiled loss from the state that Cython's own helper was given until 1.6."""
    numbers = isinstance(state, tuple) and all(type(item) is float for item in state)
    if not numbers or getattr(import_module(_LOSSES), cls.__name__, None) is not cls:
        raise UnknownUse(f"to rebuild a {cls.__name__} as a loss")
    return cls(*state)


def replacement(module: str, name: str) -> Any:
    """What stands for a helper that the installed scikit-learn has no more; None for no such."""
    if module == _LOSSES and name.startswith("__pyx_unpickle_Cy"):
        return _rebuilt_loss
    if (module, name) == ("sklearn.compose._column_transformer", "_RemainderColsList"):
        return _Columns
    return None


def mended_call(name: str, arguments: Any) -> Any:
    """What a trusted name is called with, as numpy 1 takes it where numpy 2 wrote the file."""
    if not name.startswith("numpy.random._pickle.") or str(installed_version("numpy"))[0] != "1":
        return arguments
    if name.endswith(".__bit_generator_ctor"):
        return tuple(getattr(kind, "__name__", kind) for kind in arguments)
    if len(arguments) == 1 and not isinstance(arguments[0], str):
        return (arguments[0], _as_it_is)  # the bit generator itself, not its name
    return arguments


def _as_it_is(bit_generator: Any) -> Any:
    return bit_generator


_SINCE: dict[tuple[str, str], dict[str, Any]] = {  # attributes that later versions look for
    ("sklearn.preprocessing._data", "MaxAbsScaler"): {"clip": False},
    ("sklearn.preprocessing._polynomial", "SplineTransformer"): {"handle_missing": "error"},
    **{("sklearn.tree._classes", name): {"monotonic_cst": None}
       for name in ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier",
                    "ExtraTreeRegressor")},
    **{("sklearn.ensemble._hist_gradient_boosting.gradient_boosting", name):
       {"_preprocessor": None} for name in ("HistGradientBoostingClassifier",
                                            "HistGradientBoostingRegressor")},
}  # fmt: skip


def mended(target: Any, state: Any) -> Any:
    """The state of an object as the installed scikit-learn understands it.

    Raises MismatchError where it would take the state for something else without a word.
    """
    home = (type(target).__module__, type(target).__name__)
    if isinstance(target, functools.partial) and isinstance(state, tuple) and len(state) == 4:
        return _with_present_keywords(state)
    if home[0].startswith("numpy.random.") and isinstance(state, tuple) and len(state) == 2:
        # A bit generator's state has its seed beside it since numpy 2.
        return state[0] if str(installed_version("numpy"))[0] == "1" else state
    if not isinstance(state, dict) or state.get("_sklearn_version") == installed_version(
        "scikit-learn"
    ):
        return state
    if home == ("sklearn.tree._tree", "Tree"):
        return _with_fractions(state)
    if home == ("sklearn.ensemble._weight_boosting", "AdaBoostClassifier"):
        gone = "algorithm" not in inspect.signature(type(target)).parameters
        if gone and state.get("algorithm") == "SAMME.R":
            raise MismatchError("AdaBoostClassifier with algorithm='SAMME.R' is no longer there")
    if home == ("sklearn.impute._base", "SimpleImputer") and "_fit_dtype" in state:
        return {"_fill_dtype": state["_fit_dtype"], **state}
    if home[1] == "SGDClassifier" and state.get("loss") == "log":
        return {**state, "loss": "log_loss"}
    if home[0] == "sklearn.cross_decomposition._pls":
        return _with_unscaled_coefficients(state)
    return {**_SINCE.get(home, {}), **state}


def _with_fractions(state: dict[str, Any]) -> dict[str, Any]:
    """Class counts at a tree's nodes, as scikit-learn kept them until 1.3, made fractions."""
    import numpy as np

    values = state.get("values")
    if not isinstance(values, np.ndarray) or values.ndim != 3 or values.shape[2] < 2:
        return state
    sums = values.sum(axis=2, keepdims=True)
    if np.allclose(sums, 1.0) or (sums == 0).any():
        return state
    return {**state, "values": values / sums}


def _with_unscaled_coefficients(state: dict[str, Any]) -> dict[str, Any]:
    """Coefficients of PLS models for inputs as they are; 1.3 and 1.4 scaled the inputs first."""
    scaled = str(state.get("_sklearn_version")).startswith(("1.3.", "1.4."))
    if not scaled or not {"coef_", "_x_std"} <= state.keys():
        return state
    return {**state, "coef_": state["coef_"] / state["_x_std"]}


def _with_present_keywords(state: tuple[Any, ...]) -> tuple[Any, ...]:
    """`force_all_finite` of check_array is called `ensure_all_finite` since 1.6."""
    from sklearn.utils.validation import check_array

    known = inspect.signature(check_array).parameters
    names = ["force_all_finite", "ensure_all_finite"]
    present = next((name for name in reversed(names) if name in known), "")
    if state[0] is not check_array or not isinstance(state[2], dict):
        return state
    keywords = {present if key in names else key: value for key, value in state[2].items()}
    return (*state[:2], keywords, state[3])
