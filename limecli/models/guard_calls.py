"""What a trusted name may be called with, and what state an object may be given.

Each rule here answers an exploit that ran: see `tests/models/test_hostile.py`.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, Self

_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, list, dict)
_ITEMS = (list, tuple, dict, set, frozenset)
_FACTORIES = (None, list, dict, set, tuple, int, float, str, bool)
_BASES = (object, dict, list, tuple, set, frozenset, int, float, str)
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
}


def _bytes_only(arguments: tuple[Any, ...]) -> bool:
    return all(isinstance(item, bytes | bytearray | str) for item in arguments)


def _items_only(arguments: tuple[Any, ...]) -> bool:
    return not arguments or isinstance(arguments[0], _ITEMS)  # a range could be endless


def _reconstructor(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 3 and arguments[1] in _BASES


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

    return isinstance(arguments[0], type) and issubclass(arguments[0], pd.Index)


_ARGUMENTS: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "builtins.bytes": _bytes_only,
    "builtins.bytearray": _bytes_only,
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
    "pandas.core.indexes.base._new_Index": _index,
}


def check_call(name: str, arguments: Any) -> None:
    """Raise UnknownUse unless a callable of the table may be called with these arguments."""
    allowed = _ARGUMENTS.get(name)
    if not isinstance(arguments, tuple) or (allowed is not None and not allowed(arguments)):
        raise UnknownUse(f"to call {name} with {_shown(arguments)}")


def _shown(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, _PLAIN) else type(value).__name__


def check_state(target: Any, state: Any) -> None:
    """Raise UnknownUse for a state that would do more than fill in attributes."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        for key in part if isinstance(part, dict) else ():
            # __array_interface__ on an instance makes numpy read any address.
            if isinstance(key, str) and key.startswith("__") and key != "__doc__":
                raise UnknownUse(f"to set {key} of a {type(target).__name__}")
    if type(target).__module__ == "joblib.numpy_pickle":
        _check_wrapper(state)
    if "scipy.stats" in sys.modules:
        _check_distribution(target, state)


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
    if not isinstance(state, dict) or state.get("_parse_arg_template") not in known:
        raise UnknownUse(f"to give {type(target).__name__} source code of its own")
