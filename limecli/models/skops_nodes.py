"""A rule for each kind of node that a skops file may have: what it may hold, call and set.

Each refusal answers an exploit that ran with skops's own check: `tests/models/test_skops.py`.
"""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limecli.models import trust
from limecli.models.guard_calls import UnknownUse
from limecli.models.guard_states import check_state

if TYPE_CHECKING:
    from limecli.models.skops_schema import SchemaCheck

State = dict[str, Any]
Rule = Callable[["SchemaCheck", State], tuple[list[State], Any]]
"""Judges one node; the nodes below it, and what else tells it from others of its name."""

_DICTS = {"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"}
_SETS = {"builtins.set", "builtins.frozenset"}
_MASKED = {"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"}
_FACTORIES = {"builtins.dict", "builtins.list", "builtins.set", "builtins.tuple", "builtins.int",
              "builtins.float", "builtins.str", "builtins.bool",
              "collections.OrderedDict"}  # fmt: skip
_SCALARS = {f"numpy.{name}" for name in (
    "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "longlong", "ulonglong", "float16", "float32", "float64", "longdouble", "complex64",
    "complex128", "str_", "bytes_", "datetime64", "timedelta64")}  # fmt: skip
_KEYS = _SCALARS | {"builtins.str", "builtins.int", "builtins.float", "builtins.bool"}
_CONSTRUCTED = {"builtins.frozenset", "builtins.complex", "builtins.range", "decimal.Decimal",
                "datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta",
                "datetime.timezone"}  # fmt: skip
_LOSSES = ("sklearn._loss._loss.", "sklearn.linear_model._sgd_fast.")
_BIT_GENERATORS = {"PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"}
_MAX_POOL = 1024  # numbers that a seed is mixed in; numpy's default is 4
PLAIN = _SCALARS | _MASKED | _FACTORIES
"""Names beside the table that do nothing but hold."""


def scalar(state: State) -> Any:
    """What a JsonNode holds. Raises TypeError for anything but a plain value."""
    value = json.loads(state["content"])
    if state["__loader__"] != "JsonNode" or isinstance(value, dict | list):
        raise TypeError("a plain value was expected")
    return value


def _json(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    value = json.loads(state["content"])
    if isinstance(value, dict | list):
        # skops writes these as nodes; as JSON they would pass by the rules for attributes.
        check.refuse("a dictionary or list in place of a plain value")
    return [], state["content"]


def _dict(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    check.require(check.name_of(state) in _DICTS, state)
    types = state["key_types"]
    if types["__loader__"] != "ListNode":
        raise TypeError("a dictionary's key types are no list")
    for item in types["content"]:
        if item["__loader__"] != "TypeNode":
            raise TypeError("a dictionary's key type is no type")
        check.require(check.name_of(item) in _KEYS, item)  # skops calls it with each key
    content = state["content"]
    return [types, *content.values()], tuple(content)


def _default_dict(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    main, factory = state["content"]["main"], state["content"]["default_factory"]
    if factory["__loader__"] != "JsonNode":
        check.require(check.name_of(factory) in _FACTORIES, factory)
    return [main, factory], None


def _sequence(names: set[str]) -> Rule:
    def rule(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
        check.require(check.name_of(state) in names, state)
        return list(state["content"]), None

    return rule


def _held(_check: SchemaCheck, _state: State) -> tuple[list[State], Any]:
    return [], None


def _slice(_check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    ends = tuple(state["content"][key] for key in ("start", "stop", "step"))
    if not all(end is None or isinstance(end, int | str) for end in ends):
        raise TypeError("a slice's end is no plain value")
    return [], ends


def _partial(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    content = state["content"]
    func, space = content["func"], content["namespace"]
    wanted = check.name_of(func)
    if wanted != "sklearn.utils.validation.check_array" or func["__loader__"] != "FunctionNode":
        check.require(False, state, "make of something other than check_array a")
    empty = space["__loader__"] == "DictNode" and not space["content"]
    if not empty and (space["__loader__"] != "JsonNode" or scalar(space) is not None):
        check.refuse("a functools.partial with attributes")
    return [func, content["args"], content["kwds"], space], None


def _constructor(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    name, content = check.name_of(state), state["content"]
    plain = content["__loader__"] == "TupleNode"
    if plain and name == "builtins.frozenset":
        items = content["content"]  # a range could be endless
        plain = all(item["__loader__"] in ("ListNode", "TupleNode", "SetNode") for item in items)
    check.require(plain and name in _CONSTRUCTED, state)
    return [content], None


def _object(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    attributes = state.get("content")
    if attributes is None:
        return [], None
    _check_attributes(check, state, attributes)
    return [attributes], None


def _check_attributes(check: SchemaCheck, state: State, attributes: State) -> None:
    """The pickle guard's rules for what `__setstate__` or `__dict__.update` gets."""
    name, loader = check.name_of(state), attributes["__loader__"]
    if loader == "DictNode":
        saved = attributes["content"].get("_sklearn_version")
        if saved is not None and isinstance(scalar(saved), str):
            check.versions.setdefault("scikit-learn", scalar(saved))
    if state["__module__"].startswith("joblib"):
        check.refuse(f"a {name}")
    if check.is_own(state) or not check.wants.get(name):
        return
    target = _empty(state) if check.builds else None
    try:
        check_state(target, _outline(check, attributes))
    except UnknownUse as error:
        check.refuse(str(error).replace("builtins.NoneType", name).replace("NoneType", name))


def _empty(state: State) -> Any:
    """What skops will fill; None where it cannot be made, for then skops cannot make it either."""
    try:
        cls = getattr(importlib.import_module(state["__module__"]), state["__class__"])
        return cls.__new__(cls)
    except Exception:  # a library that is not there, a class that needs arguments
        return None


class _Other:
    """A value that is neither plain nor a dictionary."""


def _outline(check: SchemaCheck, state: State) -> Any:
    """A state as far as the guard looks at it: keys, plain values, and of what type the rest is."""
    loader, content = state["__loader__"], state.get("content")
    if loader == "DictNode" and isinstance(content, dict):
        outline = {key: _value(check, value) for key, value in content.items()}
        return outline if state["__class__"] == "dict" else OrderedDict(outline)
    if loader == "TupleNode" and isinstance(content, list):
        return tuple(_outline(check, item) for item in content)
    return _value(check, state)


def _value(check: SchemaCheck, state: State) -> Any:
    loader, content = state["__loader__"], state.get("content")
    if loader == "JsonNode":
        try:
            return scalar(state)
        except TypeError:  # refused where it is visited
            return _Other()
    if loader in ("ListNode", "TupleNode") and isinstance(content, list):
        items = [_value(check, item) for item in content]
        return items if loader == "ListNode" else tuple(items)
    if loader == "DictNode" and isinstance(content, dict):
        return {key: _value(check, value) for key, value in content.items()}
    if loader == "FunctionNode":
        return _value  # any function will do: its name was judged
    if loader in ("BytesNode", "BytearrayNode"):
        data = check.member(state["file"])
        return data if loader == "BytesNode" else bytearray(data)
    return _Other()


def _reduced(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    name, arguments = check.name_of(state), state["__reduce__"]["args"]
    if state["__loader__"] == "TreeNode":
        check.require(name == "sklearn.tree._tree.Tree", state)
    else:
        module, cls = state["__module__"], state["__class__"]
        allowed = trust.trusted_names().get((module, cls), False) and name.startswith(_LOSSES)
        check.require(allowed, state)
    if arguments["__loader__"] != "TupleNode":
        raise TypeError("arguments are no tuple")
    _check_attributes(check, state, state["content"])
    return [state["content"], arguments], None


def _array(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    if state["type"] == "numpy":
        check.file_of(state)
        check.require(check.name_of(state) in _SCALARS | {"numpy.ndarray"}, state)
        return [], None
    if state["type"] != "json" or state["shape"]["__loader__"] != "TupleNode":
        raise TypeError("an array of no known kind")
    return [*state["content"], state["shape"]], None


def _dtype(_check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    if state["content"]["__loader__"] != "NdArrayNode":
        raise TypeError("a dtype without an array")
    return [state["content"]], None


def _masked(_check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    return [state["content"]["data"], state["content"]["mask"]], None


def _random_state(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    check.require(check.name_of(state) == "numpy.random.mtrand.RandomState", state)
    return [state["content"]], None


def _generator(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    content = state["content"]
    check.require(check.name_of(state) == "numpy.random._generator.Generator", state)
    name = scalar(content["bit_generator"]["content"]["bit_generator"])
    if name not in _BIT_GENERATORS:
        check.refuse(f"to call numpy.random.{str(name)[:40]}, which is no bit generator")
    if "seed_seq" not in content:
        return [content["bit_generator"]], None
    seed = content["seed_seq"]["content"]
    pool = scalar(seed["pool_size"]) if "pool_size" in seed else 4
    if type(pool) is not int or not 0 <= pool <= _MAX_POOL:
        check.refuse("a random generator with an unsound seed")
    return [content["bit_generator"], content["seed_seq"]], None


def _sparse(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    with zipfile.ZipFile(io.BytesIO(check.file_of(state))) as inner:  # an .npz is a zip of its own
        check.take(sum(entry.file_size for entry in inner.infolist()))
    return [], None


def _bytes(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    check.file_of(state)
    return [], None


def _method(check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    owner, method = state["content"]["obj"], state["content"]["func"]
    full = f"{check.name_of(state)}.{method}"
    if check.name_of(owner) != check.name_of(state):
        raise TypeError("a method of another class than it says")
    check.wants[full] = full in check.trust
    return [owner], method


def _operator(_check: SchemaCheck, state: State) -> tuple[list[State], Any]:
    return [state["attrs"]], None


RULES: dict[str, Rule] = {
    "JsonNode": _json,
    "DictNode": _dict,
    "DefaultDictNode": _default_dict,
    "ListNode": _sequence({"builtins.list"}),
    "SetNode": _sequence(_SETS),
    "TupleNode": _sequence({"builtins.tuple"}),
    "BytesNode": _bytes,
    "BytearrayNode": _bytes,
    "SliceNode": _slice,
    "FunctionNode": _held,
    "TypeNode": _held,
    "PartialNode": _partial,
    "ConstructorFromReduceNode": _constructor,
    "ObjectNode": _object,
    "MethodNode": _method,
    "OperatorFuncNode": _operator,
    "TreeNode": _reduced,
    "LossNode": _reduced,
    "NdArrayNode": _array,
    "MaskedArrayNode": _masked,
    "DTypeNode": _dtype,
    "RandomStateNode": _random_state,
    "RandomGeneratorNode": _generator,
    "SparseMatrixNode": _sparse,
}
