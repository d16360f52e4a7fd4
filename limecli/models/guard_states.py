"""What state a pickle may give an object: attributes, and none that reach further.

Each rule here answers an exploit that ran: see `tests/models/test_hostile.py`,
`tests/models/test_hostile_boosters.py` and `tests/hostile/corpus.py`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from limecli.errors import ModelError
from limecli.models.guard_calls import UnknownUse, shown

_WRAPPER = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
_PARTS = re.compile(r"estimator|transformer|regressor|classifier|sampler|encoder|selector|steps")
_FUNCTIONS = ("func", "inverse_func", "analyzer", "tokenizer", "preprocessor", "score_func")
_DATA = {"pandas", "scipy", "numpy", "joblib", "collections", "datetime", "builtins"}
_BOOSTERS = {"xgboost", "lightgbm", "catboost"}
_LIBRARIES = _DATA | _BOOSTERS | {"sklearn", "imblearn", "category_encoders"}


def check_state(target: Any, state: Any, vouched: frozenset[int] = frozenset()) -> None:
    """Raise UnknownUse for a state that would do more than fill in attributes."""
    made = f"{type(target).__module__}.{type(target).__qualname__}"
    parts = state if isinstance(state, tuple) else (state,)
    if _takes_attributes(target):
        # Pairs, and whatever has items(), would fill them in too, past the rules below.
        allowed = all(part is None or type(part) is dict for part in parts)
        if not allowed or len(parts) > 2:
            raise UnknownUse(f"to set a {made} to a {type(state).__name__}")
    for part in parts:
        if isinstance(part, dict) and type(part) is not dict:
            raise UnknownUse(f"to set a {made} to a {type(part).__name__}")
        if isinstance(part, dict):
            check_attributes(target, part, vouched)
    if type(target).__module__ == "joblib.numpy_pickle":
        _check_wrapper(state)
    _check_native(target, state)
    if "scipy.stats" in sys.modules:
        _check_distribution(target, state)


def check_attributes(
    target: Any, attributes: dict[Any, Any], vouched: frozenset[int] = frozenset()
) -> None:
    """Raise UnknownUse for attributes that reach further. Looked at again once all is loaded.

    `vouched` are the ids of what the user trusts.
    """
    made = type(target).__name__
    own = _is_one(target, "catboost.core._CatBoostBase")
    words = {key: value for key, value in attributes.items() if not (own and key == "__model")}
    check_words(made, words)
    _check_objects(made, words, vouched)


_METHODS = {"predict", "predict_proba", "decision_function", "predict_log_proba", "auto", "score"}
_METHOD_KEYS = {"stack_method", "stack_method_", "chain_method", "chain_method_",
                "response_method", "_response_method"}  # fmt: skip


def check_words(made: str, state: dict[Any, Any]) -> None:
    """The rules for attributes that are plain values: they need no object to be looked at."""
    for key in state:
        # __array_interface__ on an instance makes numpy read any address.
        if isinstance(key, str) and key.startswith("__") and key != "__doc__":
            raise UnknownUse(f"to set {key} of a {made}")
    for key in _METHOD_KEYS & state.keys():
        named = state[key] if isinstance(state[key], list | tuple) else [state[key]]
        if not all(item is None or (type(item) is str and item in _METHODS) for item in named):
            raise UnknownUse(f"a {made} to call {shown(state[key])}")
    if made.endswith("Vectorizer") and state.get("input", "content") != "content":
        raise UnknownUse(f"a {made} to read files ({shown(state['input'])})")
    for key in ("kw_args", "inv_kw_args"):
        words = state.get(key)
        if words is not None and (type(words) is not dict or {"out", "where"} & words.keys()):
            raise UnknownUse(f"a {made} to call its function with {shown(words)}")


def _check_objects(made: str, state: dict[Any, Any], vouched: frozenset[int]) -> None:
    """The rules for attributes that a prediction calls."""
    getter = state.get("importance_getter", "auto")
    if not isinstance(getter, str | types.FunctionType):
        raise UnknownUse(f"a {made} to get importances from a {type(getter).__name__}")
    for key, value in state.items():
        if not isinstance(key, str) or id(value) in vouched:
            continue
        if key in _FUNCTIONS and callable(value) and not _is_function(value):
            raise UnknownUse(f"a {made} to call {_called(value)} for its {key}")
        if isinstance(value, type) and value.__module__.partition(".")[0] in _BOOSTERS:
            raise UnknownUse(f"a {made} to hold the class {_called(value)}")
        if _holds_parts(key):
            for part in _flat(value, 4):
                if id(part) not in vouched and not _may_be_part(part):
                    raise UnknownUse(f"a {made} with {_called(part)} among its {key}")


@functools.lru_cache(4096)
def _holds_parts(key: str) -> bool:
    return _PARTS.search(key) is not None


def _called(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_function(value: Any) -> bool:
    """A function of numpy, scipy or scikit-learn: no class, no callable object. Or the user's."""
    home = (getattr(value, "__module__", None) or type(value).__module__).partition(".")[0]
    kinds = ("function", "builtin_function_or_method", "ufunc", "_ArrayFunctionDispatcher",
             "cython_function_or_method", "_CheckArray")  # fmt: skip
    return home not in _LIBRARIES or (type(value).__name__ in kinds and home not in _BOOSTERS)


def _flat(value: Any, depth: int) -> Iterator[Any]:
    import numpy as np

    if isinstance(value, tuple) and len(value) == 3:
        value = value[:2]  # (name, transformer, columns)
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.dtype.hasobject else ()
    elif isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for item in value if depth else ():
        yield from _flat(item, depth - 1)


def _may_be_part(value: Any) -> bool:
    """Pandas and numpy have methods by the names of estimators' that do quite other things."""
    if value is None or isinstance(value, str | int | float | slice | range):
        return True
    if isinstance(value, type):
        return value.__module__ in ("builtins", "numpy")  # a dtype
    home = type(value).__module__.partition(".")[0]
    return home not in _DATA or type(value).__name__ in ("ufunc", "float64", "int64", "dtype")


def _is_one(target: Any, name: str) -> bool:
    kind: Any = type(target)
    return name in _bases(kind)


@functools.cache
def _bases(cls: type) -> frozenset[str]:
    # By name: nothing is imported to find out.
    return frozenset(f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__)


def _takes_attributes(target: Any) -> bool:
    """Whether it is an object whose attributes its state names, and nothing else."""
    if type(target) is dict:
        return False
    plain = not hasattr(type(target), "__setstate__")
    return plain or any(_is_one(target, name) for name in ("sklearn.base.BaseEstimator", *_NATIVE))


_NATIVE: dict[str, dict[str, tuple[Any, ...]]] = {
    # A handle of another type is an address that native code reads or frees.
    "xgboost.core.Booster": {"handle": (bytearray,)},
    "lightgbm.basic.Booster": {"_handle": (str,), "handle": (str,)},
    "lightgbm.basic._InnerPredictor": {"_handle": (), "handle": ()},
    "catboost.core._CatBoostBase": {"__model": (bytes,)},
}
"""The attributes that compiled code takes, by class, and what they may be besides None."""


def _check_native(target: Any, state: Any) -> None:
    for name, kinds in _NATIVE.items():
        if not _is_one(target, name):
            continue
        if type(state) is not dict:
            raise UnknownUse(f"to set a {name} to a {type(state).__name__}")
        for key, allowed in kinds.items():
            value = state.get(key)
            if value is not None and type(value) not in allowed:
                raise UnknownUse(f"to give a {name} a {key} that is a {type(value).__name__}")
    _check_booster(target, state)
    if _is_one(target, "category_encoders.hashing.HashingEncoder"):
        _check_hashing(state)


def _check_booster(target: Any, state: Any) -> None:
    """The checks of native files, for what a pickle brings: the libraries would crash."""
    from limecli.models.lightgbm_text import check_pickled_model
    from limecli.models.xgboost_document import check_pickled_handle

    try:
        if _is_one(target, "xgboost.core.Booster") and state.get("handle"):
            check_pickled_handle(state["handle"], "its Booster")
        if _is_one(target, "lightgbm.basic.Booster"):
            for key in ("_handle", "handle"):
                if state.get(key):
                    state[key] = check_pickled_model(state[key], "its Booster")
    except ModelError as error:
        raise UnknownUse(f"a Booster that is damaged ({error.message})") from None


def _check_hashing(state: dict[str, Any]) -> None:
    # It calls the attribute of hashlib that it names, in as many processes as it says.
    method, processes = state.get("hash_method", "md5"), state.get("max_process", 1)
    way = state.get("process_creation_method", "fork")  # others import modules anew
    sound = (
        isinstance(method, str)
        and way == "fork"
        and method in hashlib.algorithms_available
        and (processes is None or (type(processes) is int and 0 <= processes <= 128))
    )
    if not sound:
        raise UnknownUse(f"to hash with {shown(method)} in {shown(processes)} processes, {way}")


def _check_wrapper(state: Any) -> None:
    import numpy as np

    shape = state.get("shape") if isinstance(state, dict) else None
    sound = (
        isinstance(shape, tuple)
        and all(isinstance(size, int) and size >= 0 for size in shape)
        and state.keys() <= _WRAPPER
        and isinstance(state.get("dtype"), np.dtype)
        and math.prod(shape) * state["dtype"].itemsize < 1 << 40
    )
    if not sound:
        raise UnknownUse("an array with an unsound description")


def _check_distribution(target: Any, state: Any) -> None:
    # scipy's distributions run a template of Python source out of their state.
    import scipy.stats
    from scipy.stats._distn_infrastructure import rv_generic

    if not isinstance(target, rv_generic):
        return
    known = {
        item._parse_arg_template
        for item in vars(scipy.stats).values()
        if type(item) is type(target)
    }
    if type(state) is not dict or state.get("_parse_arg_template") not in known:
        raise UnknownUse(f"to give {type(target).__name__} source code of its own")
