"""Graphs of torch.export, read and run operator by operator.

torch.export.load is not used: it unpickles with weights_only=False, imports modules that the file
names, and runs strings of the file as Python (sympy expressions, guards, generated code).
"""

from __future__ import annotations

import io
import json
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from limecli.errors import ModelError
from limecli.models.info import Port
from limecli.models.torch_archive import Archive, allowed_operator

_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
           8: "float64", 12: "bool", 13: "bfloat16"}  # fmt: skip
_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d",
            4: "preserve_format"}  # fmt: skip
_NUMBERS = {name: getattr(operator, name) for name in (
    "add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pos", "eq", "ne", "lt", "le", "gt",
    "ge", "and_", "or_", "getitem")} | {
    "math.ceil": math.ceil, "math.floor": math.floor, "math.trunc": math.trunc,
    "torch.sym_int": int, "torch.sym_float": float, "torch.sym_max": max, "torch.sym_min": min,
    "torch.sym_not": operator.not_}  # fmt: skip
_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_NO_GRAD = "torch.ops.higher_order.wrap_with_set_grad_enabled"
_MODES = {"train": False, "training": False, "dropout_p": 0.0}  # of evaluation
_PLAIN = {"as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings", "as_int_lists"}

_WRAPPED = {"as_sym_int", "as_sym_bool", "as_optional_tensor"}
_LISTS = {"as_sym_ints", "as_sym_floats", "as_sym_bools", "as_optional_tensors"}
_CONSTANTS: dict[str, Callable[[Any, Any], Any]] = {
    "as_none": lambda _torch, _value: None,
    "as_scalar_type": lambda torch, value: getattr(torch, _DTYPES[value]),
    "as_memory_format": lambda torch, value: getattr(torch, _FORMATS[value]),
    "as_layout": lambda torch, _value: torch.strided,
    "as_device": lambda torch, _value: torch.device("cpu"),  # whatever it was exported on
    "as_graph": lambda _torch, value: value["graph"],
}


@dataclass
class Program:
    """An exported graph and the weights beside it. Reading it imports nothing and runs nothing."""

    archive: Archive
    model: dict[str, Any] = field(init=False)
    inputs: tuple[Port, ...] = field(init=False)
    outputs: tuple[Port, ...] = field(init=False)
    most: int | None = None  # the largest batch that it was exported for

    def __post_init__(self) -> None:
        if len(self.archive.graphs) != 1:
            raise ModelError(f"{self.archive.name} holds {len(self.archive.graphs)} models, not 1")
        with self.archive.reading(self.archive.graphs[0]):
            self.model = json.loads(self.archive.read(self.archive.graphs[0]))
            self.graph = self.model["graph_module"]["graph"]
            signature = self.model["graph_module"]["signature"]
            self.version = str(self.model.get("torch_version", ""))
            self._specs = [_only(spec) for spec in signature["input_specs"]]
            wanted = [_only(spec)[0] == "user_output" for spec in signature["output_specs"]]
            ends = zip(self.graph["outputs"], wanted, strict=True)
            self._results = [argument for argument, user in ends if user]
            self.inputs = self._ports(
                spec["arg"] for kind, spec in self._specs if kind == "user_input"
            )
            self.outputs = self._ports(self._results)
            self.targets = sorted(set(_targets(self.graph)))
            self.last = next(
                (node["target"] for node in self.graph["nodes"]
                 if self._results and self._results[0] in node["outputs"]), "",
            )  # fmt: skip

    def _ports(self, arguments: Any) -> tuple[Port, ...]:
        ports = []
        for argument in arguments:
            kind, value = _only(argument)
            if kind != "as_tensor":
                ports.append(Port(str(value), kind.removeprefix("as_")))
                continue
            meta = self.graph["tensor_values"][value["name"]]
            shape = tuple(size.get("as_int") for size in meta["sizes"])
            ports.append(Port(value["name"], _DTYPES.get(meta["dtype"], "unknown"), shape))
            symbol = re.search(r"Symbol\('(\w+)'", str(meta["sizes"][:1]))
            limits = self.model["range_constraints"].get(symbol[1] if symbol else "", {})
            self.most = self.most or limits.get("max_val")
        return tuple(ports)

    @property
    def trains(self) -> bool:
        """Whether it was exported without model.eval(): dropout and batch norm would train."""
        return any(
            item["name"] in _MODES and bool(_only(item["arg"])[1])
            for node in self.graph["nodes"]
            for item in node["inputs"]
        )

    def refusal(self) -> ModelError | None:
        """Which operators of the graph are not run, if there are any."""
        refused = [target for target in self.targets if not _may_run(target)]
        if not refused:
            return None
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        return ModelError(
            f"{self.archive.name} wants {', '.join(refused[:3])}{more}: refused, only PyTorch's"
            " own operators (aten) are run",
            "export without custom operators, or as ONNX",
        )

    def check_operators(self) -> None:
        """Raise ModelError for an operator that the installed torch lacks."""
        for target in self.targets:
            if match := _ATEN.fullmatch(target):
                _operator(match[1], match[2])

    def weights(self) -> dict[str, Any]:
        """The tensors that the graph takes besides its input, by their argument's name."""
        stem = self.archive.graphs[0].removeprefix("models/").removesuffix(".json")
        old = self.archive.graphs[0].startswith("serialized")
        with self.archive.reading("its weights"):
            tensors: dict[str, Any] = {}
            for folder, key in (("weights", "state_dict"), ("constants", "constants")):
                path = f"serialized_{key}.pt" if old else f"data/{folder}/{stem}.pt"
                if path in self.archive.names:
                    tensors |= _pickled(self.archive, path)
                else:
                    config = f"data/{folder}/{stem}_{folder}_config.json"
                    tensors |= self._raw(folder, json.loads(self.archive.read(config))["config"])
            keys = {"parameter": "parameter_name", "buffer": "buffer_name",
                    "tensor_constant": "tensor_constant_name"}  # fmt: skip
            return {
                spec["arg"]["name"]: tensors[spec[keys[kind]]]
                for kind, spec in self._specs if kind in keys
            }  # fmt: skip

    def _raw(self, folder: str, config: dict[str, Any]) -> dict[str, Any]:
        import torch

        tensors = {}
        for name, item in config.items():
            meta = item["tensor_meta"]
            if item["use_pickle"] or not meta:
                raise ModelError(f"{self.archive.name} keeps {name} as a pickle: refused")
            data = bytearray(self.archive.read(f"data/{folder}/{item['path_name']}"))
            dtype = getattr(torch, _DTYPES[meta["dtype"]])
            size, stride = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
            if math.prod(size) * dtype.itemsize > max(len(data), 64 << 20):
                raise ModelError(f"{self.archive.name} is damaged: {name} is larger than its data")
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            tensors[name] = flat.as_strided(size, stride, meta["storage_offset"]["as_int"])
        return tensors

    def run(self, weights: dict[str, Any], batch: Any) -> list[Any]:
        """The graph's results for one input tensor."""
        env = {**weights, self.inputs[0].name: batch}
        _run_nodes(self.graph, env)
        return [_value(argument, env) for argument in self._results]


def _only(union: dict[str, Any]) -> tuple[str, Any]:
    ((kind, value),) = union.items()
    return kind, value


def _targets(graph: dict[str, Any]) -> Iterator[str]:
    for node in graph["nodes"]:
        yield str(node["target"])
        for item in node["inputs"]:
            if "as_graph" in item["arg"]:
                yield from _targets(item["arg"]["as_graph"]["graph"])


def _may_run(target: str) -> bool:
    match = _ATEN.fullmatch(target)
    if match:
        return allowed_operator(match[1])
    return target == _NO_GRAD or target.removeprefix("_operator.") in _NUMBERS


def _pickled(archive: Archive, path: str) -> dict[str, Any]:
    import torch

    # weights_only alone: torch.export.load tries again without it, and that runs code.
    found = torch.load(io.BytesIO(archive.read(path)), map_location="cpu", weights_only=True)
    return dict(found)


@cache
def _operator(name: str, overload: str) -> Any:
    import torch

    found = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload):
        raise ModelError(
            f"PyTorch {torch.__version__} has no operator aten.{name}.{overload}",
            "install the version that the network was exported with",
        )
    return found


def _run_nodes(graph: dict[str, Any], env: dict[str, Any]) -> None:
    for node in graph["nodes"]:
        target = node["target"]
        if not _may_run(target):
            raise ModelError(f"the graph wants {target}: refused")
        values = [_value(item["arg"], env) for item in node["inputs"]]
        if match := _ATEN.fullmatch(target):
            named = dict(zip((item["name"] for item in node["inputs"]), values, strict=True))
            named |= {mode: off for mode, off in _MODES.items() if named.get(mode)}
            result = _operator(match[1], match[2])(**named)
        elif target == _NO_GRAD:
            _, inner, *operands = values
            names = [_only(argument)[1]["name"] for argument in inner["inputs"]]
            inside = dict(zip(names, operands, strict=True))
            _run_nodes(inner, inside)
            result = [_value(argument, inside) for argument in inner["outputs"]]
        else:
            result = _NUMBERS[target.removeprefix("_operator.")](*values)
        _bind(node["outputs"], result, env)


def _bind(outputs: list[Any], result: Any, env: dict[str, Any]) -> None:
    if not outputs:  # an assertion
        return
    several = len(outputs) > 1 or (isinstance(result, list) and "as_tensor" in outputs[0])
    for argument, value in zip(outputs, result if several else [result], strict=True):
        kind, name = _only(argument)
        if kind in ("as_tensors", "as_optional_tensors"):
            _bind(name if kind == "as_optional_tensors" else [{"as_tensor": x} for x in name],
                  list(value), env)  # fmt: skip
        elif kind != "as_none":
            env[name.get("name", name.get("as_name"))] = value


def _value(argument: dict[str, Any], env: dict[str, Any]) -> Any:
    import torch

    kind, value = _only(argument)
    if kind in _PLAIN:
        return value
    if kind.endswith("float") or kind in ("as_floats", "as_float_lists"):
        return _floats(value, env)
    if kind in ("as_tensor", "as_name"):
        return env[value["name"] if kind == "as_tensor" else value]
    if kind in _WRAPPED:
        return _value(value, env)
    if kind in _LISTS:
        return [_value(item, env) for item in value]
    if kind == "as_tensors":
        return [env[item["name"]] for item in value]
    if kind not in _CONSTANTS:
        raise ModelError(f"the graph has an argument of the kind {kind}: refused")
    return _CONSTANTS[kind](torch, value)


def _floats(value: Any, env: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return _value(value, env)
    return [_floats(item, env) for item in value] if isinstance(value, list) else float(value)
