"""TorchScript: the modules that an archive tells of, and the operators that its code may use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from limecli.errors import ModelError
from limecli.models.inert import Inert, Name
from limecli.models.info import Part
from limecli.models.torch_archive import Archive, allowed_operator

# The operators of TorchScript's own namespace that only shuffle values.
_PRIM = frozenset(
    {"Constant", "ListConstruct", "ListUnpack", "TupleConstruct", "TupleUnpack",
     "TupleIndex", "TupleSlice", "If", "Loop", "DictConstruct", "GetAttr", "SetAttr",
     "ConstantChunk", "NumToTensor", "RaiseException", "Print", "Uninitialized",
     "StringIndex", "EnumName", "EnumValue", "unchecked_cast", "unchecked_unwrap_optional",
     "isinstance", "shape", "dtype", "device", "layout", "type", "data", "index", "abs",
     "min", "max", "rangelist", "tolist", "itemsize", "nbytes", "name", "requires_grad",
     "is_cpu", "is_cuda", "is_mkldnn", "is_mps", "is_quantized", "is_sparse", "is_meta",
     "is_xpu", "is_nested"}
)  # fmt: skip


_WEIGHTS = ("weight", "weight_ih_l0", "in_proj_weight")


@dataclass
class Layer:
    """A module that has weights: its class, and the shape and dtype of its weight."""

    estimator: str
    shape: tuple[int, ...]
    storage: str  # "FloatStorage"


def script_tree(root: Any, name: str = "", seen: set[int] | None = None) -> Part:
    """The modules as they hang in each other. One that hangs in two places is opened once."""
    seen = set() if seen is None else seen
    seen.add(id(root))
    parts = tuple(
        script_tree(value, key, seen)
        for key, value in root.attributes.items()
        if _is_module(value) and id(value) not in seen and len(seen) < 5000
    )
    return Part(name, root.maker.name.rpartition(".")[2], parts)


def script_layers(root: Any) -> Iterator[Layer]:
    """The layers with a weight, in the order of their definition."""
    stack, seen = [root], set()
    while stack:
        module = stack.pop()
        if id(module) in seen or not _is_module(module):
            continue
        seen.add(id(module))
        weight = next((key for key in _WEIGHTS if key in module.attributes), "")
        found = _tensor(module.attributes.get(weight))
        if found:
            yield Layer(module.maker.name.rpartition(".")[2], *found)
        stack.extend(reversed(list(module.attributes.values())))


def _is_module(value: Any) -> bool:
    return isinstance(value, Inert) and f"{value.maker.module}.".startswith("__torch__.")


def _tensor(value: Any) -> tuple[tuple[int, ...], str] | None:
    with suppress(AttributeError, IndexError, TypeError, ValueError):
        if value.maker.name == "_rebuild_tensor_v2":
            pid, _, size = value.arguments[:3]
            storage = pid.arguments[0][1]
            if isinstance(storage, Name) and all(type(n) is int for n in size):
                return tuple(size), storage.name
    return None


def weights_count(archive: Archive) -> int:
    """Numbers in the members that hold weights, as the tensors' shapes tell."""
    total, stack, seen = 0, [archive.contents.root], set()
    while stack:
        value = stack.pop()
        if not isinstance(value, Inert) or id(value) in seen:
            continue
        seen.add(id(value))
        found = _tensor(value)
        total += math.prod(found[0]) if found else 0
        stack.extend(value.attributes.values())
    return total


def check_graph(graph: Any, name: str) -> None:
    """Refuse operators that do more than compute. Blocks of If and Loop are looked into."""
    refused = sorted({kind for kind in _kinds(graph) if not _only_computes(kind)})
    if refused:
        raise ModelError(
            f"{name} wants {', '.join(refused[:3])}: refused, only PyTorch's own operators (aten)"
            " are run",
            "save the network without custom operators, or as ONNX",
        )


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _only_computes(kind: str) -> bool:
    namespace, _, operator = kind.partition("::")
    return operator in _PRIM if namespace == "prim" else namespace == "aten" and allowed_operator(
        operator
    )  # fmt: skip
