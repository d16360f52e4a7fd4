"""What a trusted name may be called with.

Each rule here answers an exploit that ran: see `tests/models/test_hostile.py` and
`tests/models/test_hostile_boosters.py`.
"""

from __future__ import annotations

import functools
import re
import reprlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, list, dict)
_ITEMS = (list, tuple, dict, set, frozenset)
_FACTORIES = (None, list, dict, set, tuple, int, float, str, bool, OrderedDict)
_BASES = (object, dict, list, tuple, set, frozenset, int, float, str)
_MAX_RANGE = 10_000_000
_RATIO = re.compile(r"[+-]?[0-9]{1,4000}(/[0-9]{1,4000})?")


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
    if len(arguments) != 3 or arguments[1] not in _BASES or isinstance(arguments[2], range):
        return False
    # As for the items of a Bunch: it would answer for them as attributes.
    keys = arguments[2] if isinstance(arguments[2], dict) else ()
    return not any(isinstance(key, str) and key.startswith("__") for key in keys)


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
        raise UnknownUse(f"to call {name} with {shown(arguments)}")


def shown(value: Any) -> str:
    """A value in few words, for a message. Objects of the file are not asked."""
    return reprlib.repr(value)[:80] if isinstance(value, _PLAIN) else type(value).__name__
