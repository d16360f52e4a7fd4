"""What an ONNX graph says about its outputs and input: scores, class names, own preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limecli.errors import PredictError
from limecli.models.interface import LoadOptions, ModelFile
from limecli.types import Task

_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_LABELS = ("tensor(int64)", "tensor(string)", "tensor(int32)", "tensor(bool)")
_SCALING = frozenset({"Sub", "Mul", "Div", "Add", "BatchNormalization", "DequantizeLinear"})
_PASSING = frozenset({"Cast", "Reshape", "Identity", "Squeeze", "Flatten", "Unsqueeze"})


@dataclass(frozen=True)
class ScoreOutput:
    """Which outputs hold the scores, and how to read them.

    "tensor" is one output of float[n, k]; "maps" a ZipMap's list of {label: score}; "columns" a
    ZipMap's one output for each class. `labels` are the classes in the order of the columns, None
    where the graph does not say. `last_operator` made the scores.
    """

    names: tuple[str, ...]
    form: Literal["tensor", "maps", "columns"]
    labels: tuple[Any, ...] | None
    n_outputs: int | None
    last_operator: str | None

    def read(self, values: list[Any]) -> Any:
        """float[n, k] from what the session returned for `names`."""
        if self.form == "maps":
            return np.array([[row[label] for label in self.labels or row] for row in values[0]])
        if self.form == "columns":
            return np.column_stack([np.asarray(value).reshape(-1) for value in values])
        return np.asarray(values[0])


def tensors_of(model: Any) -> Iterator[Any]:
    """Every tensor of a ModelProto: of its graph, of the graphs inside nodes, of its functions."""
    graphs, nodes = [model.graph], [node for item in model.functions for node in item.node]
    for info in model.training_info:
        graphs += [info.initialization, info.algorithm]
    attributes = [item for function in model.functions for item in function.attribute_proto]
    while graphs or nodes or attributes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
        elif nodes:
            attributes += nodes.pop().attribute
        else:
            item = attributes.pop()
            yield from (item.t, *item.tensors)
            for sparse in (item.sparse_tensor, *item.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += [item.g] if item.HasField("g") else []
            graphs += item.graphs


def find_scores(session: Any, graph: Any, file: ModelFile) -> ScoreOutput:
    """Raises PredictError when no output holds numbers."""
    outputs = session.get_outputs()
    maps = [item for item in outputs if item.type.startswith("seq(map(")]
    floats = [item for item in outputs if item.type in _FLOATS]
    labels = [item for item in outputs if item.type in _LABELS]
    producers = {name: node for node in graph.node for name in node.output}
    if maps:
        found = _class_labels(producers.get(maps[0].name))
        return ScoreOutput((maps[0].name,), "maps", found, len(found) if found else None, None)
    if not floats:
        kinds = ", ".join(f"{item.name}: {item.type}" for item in outputs)
        raise PredictError(f"{file.name} has no output of scores, only {kinds}")
    found = _label_values(graph, producers, labels[0].name) if labels else None
    if labels and len(floats) > 1 and all(_is_column(item.shape) for item in floats):
        names = tuple(item.name for item in floats)
        return ScoreOutput(names, "columns", found, len(names), None)
    size = floats[0].shape[-1] if len(floats[0].shape or ()) > 1 else None
    node = producers.get(floats[0].name)
    return ScoreOutput(
        (floats[0].name,),
        "tensor",
        found,
        size if isinstance(size, int) else None,
        None if node is None else str(node.op_type),
    )


def _is_column(shape: Any) -> bool:
    return len(shape) < 2 or shape[-1] == 1


def _class_labels(node: Any) -> tuple[Any, ...] | None:
    for attribute in () if node is None else node.attribute:
        if attribute.name.startswith("classlabels_"):
            if attribute.strings:
                return tuple(name.decode("utf-8", "replace") for name in attribute.strings)
            if attribute.ints:
                return tuple(int(name) for name in attribute.ints)
    return None


def _label_values(graph: Any, producers: dict[str, Any], name: str) -> tuple[Any, ...] | None:
    """Follow the label output back to the classifier, or to the array that it picks from."""
    from onnx import numpy_helper

    arrays = {item.name: item for item in graph.initializer}
    for _ in range(len(producers)):
        node = producers.get(name)
        if node is None:
            return None
        found = _class_labels(node)
        if found is not None:
            return found
        if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in arrays:
            values = numpy_helper.to_array(arrays[node.input[0]]).ravel().tolist()
            return tuple(
                v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values
            )
        if node.op_type not in _PASSING:
            return None
        name = node.input[0]
    return None


def task_of(scores: ScoreOutput, labelled: bool, options: LoadOptions) -> Task:
    """Classification if anything speaks for classes, else regression."""
    several = scores.n_outputs is not None and scores.n_outputs > 1
    activated = scores.last_operator in ("Sigmoid", "Softmax") or options.activation != "none"
    unknown = scores.n_outputs is None and options.kind != "tabular"
    if labelled or several or activated or unknown or scores.form != "tensor":
        return "classification"
    return "regression"


def scales_its_input(graph: Any) -> bool:
    """Whether arithmetic with pixels comes before the first real layer."""
    name = graph.input[0].name
    for node in graph.node:  # nodes are in order: follow the input to its first real operator
        if name not in node.input:
            continue
        if node.op_type in _SCALING:
            return True
        if node.op_type not in ("Cast", "Transpose", "Identity"):
            return False
        name = node.output[0]
    return False
