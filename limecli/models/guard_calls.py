"""What a trusted name may be called with, and what state an object may be given.

Each rule here answers an exploit that ran: see `tests/models/test_hostile.py` and
`tests/models/test_hostile_boosters.py`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import reprlib
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, list, dict)
_ITEMS = (list, tuple, dict, set, frozenset)
_FACTORIES = (None, list, dict, set, tuple, int, float, str, bool, OrderedDict)
_BASES = (object, dict, list, tuple, set, frozenset, int, float, str)
_MAX_RANGE = 10_000_000
_RATIO = re.compile(r"[+-]?[0-9]{1,4000}(/[0-9]{1,4000})?")
_WRAPPER = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}


class UnknownUse(Exception):  # noqa: N818 - it names the use; the message names the fault
    """A trusted name put to a use that is not."""


def _latin1(text: object, encoding: object = "latin1") -> bytes:
    # How Python 2 style pickles carry bytes; the real codecs.encode reaches every codec.
    if isinstance(text, str) and encoding in ("latin1", "latin-1"):
        return text.encode("latin1")
    raise UnknownUse("_codecs.encode for something other than latin-1 text")


class _CheckArray(functools.partial):  # type: ignore[type-arg]
    """`partial(check_array, ...)`, which HistGradientBoosting keeps for category columns.

    `functools.partial` itself would let a pickle call anything that it can name with arguments of
    its own; this one holds scikit-learn's check_array or nothing.
    """

    def __new__(cls, func: Any = None, /, *args: Any, **keywords: Any) -> Self:
        _require_check_array(func)
        return super().__new__(cls, func, *args, **keywords)

    def __setstate__(self, state: Any) -> None:
        _require_check_array(state[0])
        super().__setstate__(state)  # type: ignore[misc]


def _require_check_array(func: Any) -> None:
    from sklearn.utils.validation import check_array

    if func is not check_array:
        raise UnknownUse("functools.partial of something other than check_array")


STAND_INS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _latin1,
    ("functools", "partial"): _CheckArray,
    # What protocols 0 to 2 call these, for Python 2 to read.
    ("builtins", "xrange"): range,
    ("builtins", "long"): int,
    ("builtins", "unicode"): str,
}


def _bytes_only(arguments: tuple[Any, ...]) -> bool:
    return all(isinstance(item, bytes | bytearray | str) for item in arguments)


def _items_only(arguments: tuple[Any, ...]) -> bool:
    return not arguments or isinstance(arguments[0], _ITEMS)  # a range could be endless


def _reconstructor(arguments: tuple[Any, ...]) -> bool:
    sound = len(arguments) == 3 and arguments[1] in _BASES
    return sound and not isinstance(arguments[2], range)


def _short_range(arguments: tuple[Any, ...]) -> bool:
    return len(range(*arguments)) <= _MAX_RANGE  # someone may make a list of it


def _fraction(arguments: tuple[Any, ...]) -> bool:
    # "1e999999999" is a number of a billion digits.
    return all(
        type(item) is int or (isinstance(item, str) and _RATIO.fullmatch(item))
        for item in arguments
    )


def _own_dtype(arguments: tuple[Any, ...]) -> bool:
    # Without a copy, a state given to it would change numpy's own for the whole process.
    return len(arguments) == 3 and isinstance(arguments[0], str) and arguments[2] in (True, 1)


def _factory(arguments: tuple[Any, ...]) -> bool:
    return not arguments or arguments[0] in _FACTORIES


def _empty_array(arguments: tuple[Any, ...]) -> bool:
    import numpy as np

    kinds = (np.ndarray, np.matrix, np.ma.MaskedArray)
    return len(arguments) == 3 and arguments[0] in kinds and arguments[1] == (0,)


def _empty_masked_array(arguments: tuple[Any, ...]) -> bool:
    import numpy as np

    return arguments[:3] == (np.ma.MaskedArray, np.ndarray, (0,))


def _scalar(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 2 and not arguments[0].hasobject


def _index(arguments: tuple[Any, ...]) -> bool:
    import pandas as pd

    cls = arguments[0]
    return isinstance(cls, type) and issubclass(cls, pd.Index) and type(arguments[-1]) is dict


def _bit_generator(arguments: tuple[Any, ...]) -> bool:
    # numpy calls the class it is given, and the function it is given as a second argument.
    from numpy.random import BitGenerator, _pickle
    from numpy.random._pickle import BitGenerators

    first, *more = arguments or ("MT19937",)
    sound = (
        first in BitGenerators.values()
        or isinstance(first, BitGenerator)
        or (isinstance(first, str) and first in BitGenerators)
    )
    return sound and all(item is _pickle.__bit_generator_ctor for item in more)


def _no_state(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 3 and arguments[2] is None  # a state comes by BUILD, and is looked at


def _plain_only(arguments: tuple[Any, ...]) -> bool:
    from datetime import timedelta

    return all(isinstance(item, bool | int | str | timedelta | None) for item in arguments)


def _period(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 3 and arguments[0] is None


def _sparse_index(arguments: tuple[Any, ...]) -> bool:
    import numpy as np

    return type(arguments[0]) is int and all(type(item) is np.ndarray for item in arguments[1:])


def _never(_: tuple[Any, ...]) -> bool:
    return False  # only to be held


_ARGUMENTS: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "builtins.bytes": _bytes_only,
    "builtins.range": _short_range,
    "builtins.xrange": _short_range,
    "fractions.Fraction": _fraction,
    "numpy.dtype": _own_dtype,
    "builtins.bytearray": _bytes_only,
    "builtins.long": _never,
    "builtins.unicode": _never,
    "builtins.set": _items_only,
    "builtins.frozenset": _items_only,
    "collections.Counter": _items_only,
    "collections.OrderedDict": _items_only,
    "collections.deque": _items_only,
    "collections.defaultdict": _factory,
    "copyreg._reconstructor": _reconstructor,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.ma.core._mareconstruct": _empty_masked_array,
    "numpy.random._pickle.__bit_generator_ctor": _bit_generator,
    "numpy.random._pickle.__generator_ctor": _bit_generator,
    "numpy.random._pickle.__randomstate_ctor": _bit_generator,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _no_state,
    "pandas.Period": _period,
    "pandas.PeriodDtype": _plain_only,
    "pandas.core.dtypes.dtypes.PeriodDtype": _plain_only,
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": _no_state,
    "pandas._libs.interval.__pyx_unpickle_IntervalMixin": _no_state,
    "pandas._libs.sparse.BlockIndex": _sparse_index,
    "pandas._libs.sparse.IntIndex": _sparse_index,
    "pandas._libs.tslibs.period.Period": _period,
    "pandas.core.indexes.base._new_Index": _index,
    "pandas.core.indexes.datetimes._new_DatetimeIndex": _index,
    "pandas.core.indexes.interval._new_IntervalIndex": _index,
    "pandas.core.indexes.timedeltas._new_TimedeltaIndex": _index,
}


def check_call(name: str, arguments: Any) -> None:
    """Raise UnknownUse unless a callable of the table may be called with these arguments."""
    allowed = _ARGUMENTS.get(name)
    if name.startswith("pandas._libs.tslibs.offsets."):
        allowed = _plain_only
    if not isinstance(arguments, tuple) or (allowed is not None and not allowed(arguments)):
        raise UnknownUse(f"to call {name} with {_shown(arguments)}")


def _shown(value: Any) -> str:
    return reprlib.repr(value)[:80] if isinstance(value, _PLAIN) else type(value).__name__


def check_state(target: Any, state: Any) -> None:
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
            check_attributes(target, part)
    if type(target).__module__ == "joblib.numpy_pickle":
        _check_wrapper(state)
    _check_native(target, state)
    if "scipy.stats" in sys.modules:
        _check_distribution(target, state)


def check_attributes(target: Any, attributes: dict[Any, Any]) -> None:
    """Raise UnknownUse for attributes that reach further. Looked at again once all is loaded."""
    _check_uses(target, attributes)
    for key in attributes:
        # __array_interface__ on an instance makes numpy read any address.
        if isinstance(key, str) and key.startswith("__") and not _may_set(target, key):
            raise UnknownUse(f"to set {key} of a {type(target).__name__}")


def check_built(target: Any) -> None:
    """Raise UnknownUse when a state has made an object that lies about itself."""
    import numpy as np

    if isinstance(target, np.dtype) and not _is_honest(target):
        raise UnknownUse("a dtype of objects that says it holds none")


def _is_honest(dtype: Any) -> bool:
    """Whether a dtype with objects in it says so: else numpy takes bytes of the file for them."""
    import numpy as np

    inner = [field[0] for field in (dtype.fields or {}).values()]
    if dtype.subdtype is not None:
        inner.append(dtype.subdtype[0])
    holds = dtype.type is np.object_ or any(item.hasobject for item in inner)
    return (dtype.hasobject or not holds) and all(_is_honest(item) for item in inner)


_METHODS = {"predict", "predict_proba", "decision_function", "predict_log_proba", "auto", "score"}
_METHOD_KEYS = {"stack_method", "stack_method_", "chain_method", "chain_method_",
                "response_method", "_response_method"}  # fmt: skip


def _check_uses(target: Any, state: dict[Any, Any]) -> None:
    """Attributes that say what a prediction calls, reads or writes."""
    made = type(target).__name__
    for key in _METHOD_KEYS & state.keys():
        named = state[key] if isinstance(state[key], list | tuple) else [state[key]]
        if not all(item is None or (type(item) is str and item in _METHODS) for item in named):
            raise UnknownUse(f"a {made} to call {_shown(state[key])}")
    if hasattr(type(target), "build_analyzer") and state.get("input", "content") != "content":
        raise UnknownUse(f"a {made} to read files ({_shown(state['input'])})")
    for key in ("kw_args", "inv_kw_args"):
        words = state.get(key)
        if words is not None and (type(words) is not dict or {"out", "where"} & words.keys()):
            raise UnknownUse(f"a {made} to call its function with {_shown(words)}")
    getter = state.get("importance_getter", "auto")
    if not isinstance(getter, str | types.FunctionType):
        raise UnknownUse(f"a {made} to get importances from a {type(getter).__name__}")


def _may_set(target: Any, key: str) -> bool:
    return key == "__doc__" or (key == "__model" and _is_one(target, "catboost.core._CatBoostBase"))


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
    if _is_one(target, "category_encoders.hashing.HashingEncoder"):
        _check_hashing(state)


def _check_hashing(state: dict[str, Any]) -> None:
    # It calls the attribute of hashlib that it names, in as many processes as it says.
    method, processes = state.get("hash_method", "md5"), state.get("max_process", 1)
    sound = (
        isinstance(method, str)
        and method in hashlib.algorithms_available
        and (processes is None or (type(processes) is int and 0 <= processes <= 128))
    )
    if not sound:
        raise UnknownUse(f"to hash with {_shown(method)} in {_shown(processes)} processes")


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
