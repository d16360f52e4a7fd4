"""ONNX models through onnxruntime: image networks, and scikit-learn models out of skl2onnx."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limecli.errors import ModelError, PredictError
from limecli.models.column_names import picked
from limecli.models.info import ModelInfo, Part, Port
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.onnx_graph import (
    ScoreOutput,
    find_scores,
    scales_its_input,
    task_of,
    tensors_of,
)
from limecli.models.outputs import checked, in_fixed_batches
from limecli.models.pictures import (
    PictureInput,
    check_channels,
    chosen_preprocess,
    picture_input,
    preprocessor,
    to_model_scale,
)
from limecli.types import Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import IntArray

_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})  # of onnx.proto's ModelProto
_GRAPH = 7
_PATIENCE_S, _PATIENCE_PER_ROW_S, _MOST_PATIENCE_S = 120.0, 5.0, 900.0  # for one batch
_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
           "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(uint8)": "uint8",
           "tensor(bool)": "bool", "tensor(string)": "object"}  # fmt: skip


class OnnxLoader:
    """One session a run, on the CPU."""

    requires = ("onnxruntime", "onnx")

    def matches(self, file: ModelFile) -> bool:
        """The bytes parse as a ModelProto's top level, and a graph is among its fields."""
        return file.head[:1] == b"\x08" and _has_graph(file.data)

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError when a package is missing or onnxruntime refuses the file."""
        session, graph = _open(file)
        inputs = session.get_inputs()
        scores = find_scores(session, graph, file)
        labelled = len(session.get_outputs()) > len(scores.names)
        task = options.task or task_of(scores, labelled, options)
        prepare: Callable[[Any], dict[str, Any]]
        picture: PictureInput | None = None
        preprocess: str | None = None
        notes: tuple[str, ...] = ()
        if options.kind == "image":
            picture = picture_input(_shape(_only(inputs, file)), file.name)
            preprocess, notes = chosen_preprocess(options.preprocess, scales_its_input(graph))
            check_channels(preprocess, picture.channels)
            prepare = _picture_feed(inputs[0], picture, preprocess)
        elif options.kind == "text":
            prepare = _text_feed(_only(inputs, file), file)
        else:
            prepare = _table_feed(inputs, file)
        fixed = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None

        def raw_fn(batch: Any) -> Any:
            return _run(session, scores, prepare(batch), fixed)

        by_column = options.kind == "tabular" and len(inputs) > 1
        columns = inputs[0].shape[-1] if len(inputs[0].shape) == 2 else None
        return Predictor(
            predict_fn=checked(
                raw_fn, task, options, independent=scores.last_operator == "Sigmoid"
            ),
            task=task,
            class_names=_names(scores) if task == "classification" else (),
            text_features=_text_columns(inputs),
            rewritten_names=by_column,
            path=file.name,
            sha256=file.sha256,
            format="onnx",
            estimator=_estimator(graph.name),
            feature_names=tuple(item.name for item in inputs) if by_column else None,
            n_features=columns if isinstance(columns, int) and not by_column else None,
            input_shape=picture.shape if picture else _shape(inputs[0]),
            output=options.output,
            preprocess=preprocess,
            notes=notes,
        )

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """The graph's inputs, outputs, classes and operator sets."""
        session, graph = _open(file)
        producer = session.get_modelmeta().producer_name
        info = ModelInfo(
            format="onnx",
            estimator=Part("", _estimator(graph.name)),
            inputs=tuple(_port(item) for item in session.get_inputs()),
            outputs=tuple(_port(item) for item in session.get_outputs()),
            notes=(f"made by {producer}",) if producer else (),
        )
        try:
            scores = find_scores(session, graph, file)
        except PredictError:  # outputs of a kind that cannot be explained can still be listed
            return info
        task = task_of(scores, len(session.get_outputs()) > len(scores.names), options)
        names = _names(scores) if task == "classification" else ()
        return replace(info, task=task, class_names=names or None)


def _port(item: Any) -> Port:
    return Port(item.name, item.type, _shape(item))


def _has_graph(data: bytes) -> bool:
    """Walk protobuf's top level: tag, then skip. A cut file still counts once its graph began."""
    position, size, graph = 0, len(data), False
    while position < size:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if number not in _MODEL_FIELDS or wire not in (0, 2):
            return False
        graph = graph or (number == _GRAPH and wire == 2)
        length, position = _varint(data, position)
        position += length if wire == 2 else 0
    return graph


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, position


def _open(file: ModelFile) -> tuple[Any, Any]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    external = onnx.TensorProto.EXTERNAL
    options.log_severity_level = 4
    try:
        # Weights are in the session; the graph is read for its names and operators only.
        model = onnx.load_model_from_string(file.data)
        graph = model.graph
        if any(item.data_location == external or item.external_data for item in tensors_of(model)):
            raise ModelError(
                f"{file.name} keeps its weights in another file, which its sha256 does not cover",
                "save it as one file: onnx.save_model(model, path, save_as_external_data=False)",
            )
        session = onnxruntime.InferenceSession(
            file.data, options, providers=["CPUExecutionProvider"]
        )
    except ModelError:
        raise
    except Exception as error:  # protobuf's and onnxruntime's errors have no common base
        text = " ".join(str(error).split())
        hint = ""
        if "locale" in text.lower():
            hint = "the model needs the system locale en_US.UTF-8: on Debian, install locales-all"
        raise ModelError(f"{file.name} cannot be loaded as ONNX: {text[:300]}", hint) from error
    return session, graph


def _shape(item: Any) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in item.shape)


def _only(inputs: list[Any], file: ModelFile) -> Any:
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs)
        raise ModelError(f"{file.name} has {len(inputs)} inputs ({names}); one is needed here")
    return inputs[0]


def _names(scores: ScoreOutput) -> tuple[str, ...]:
    return tuple(str(label) for label in scores.labels or ())


def _estimator(graph_name: str) -> str:
    """Graphs are named by people, by converters, or by a random number that tells nothing."""
    if graph_name.startswith("ONNX(") or not graph_name:
        return graph_name or "ONNX model"
    return "ONNX model" if re.fullmatch("[0-9a-f]{32}", graph_name) else f"ONNX {graph_name}"


def _text_columns(inputs: list[Any]) -> tuple[str, ...]:
    return tuple(item.name for item in inputs if item.type == "tensor(string)")


def _picture_feed(
    item: Any, picture: PictureInput, preprocess: str
) -> Callable[[Any], dict[str, Any]]:
    function, dtype = preprocessor(preprocess), _DTYPES.get(item.type, "float32")
    return lambda batch: {
        item.name: to_model_scale(batch, picture, function).astype(dtype, copy=False)
    }


def _text_feed(item: Any, file: ModelFile) -> Callable[[Any], dict[str, Any]]:
    import numpy as np

    if item.type != "tensor(string)":
        raise ModelError(f"{file.name} takes {item.type}, not texts")
    shape = (-1, 1) if len(item.shape) == 2 else (-1,)
    return lambda texts: {item.name: np.array(list(texts), dtype=object).reshape(shape)}


def _table_feed(inputs: list[Any], file: ModelFile) -> Callable[[Any], dict[str, Any]]:
    def converted(values: Any, item: Any) -> NDArray[np.generic]:
        import numpy as np

        dtype = _DTYPES.get(item.type, "float32")
        if dtype == "object":
            return np.asarray(values.astype(str), dtype=object)
        try:
            return np.asarray(values, dtype=dtype)
        except (TypeError, ValueError):
            raise PredictError(
                f"{file.name}: input {item.name!r} takes {item.type}, but the table has text there"
            ) from None

    if len(inputs) == 1:
        if len(inputs[0].shape) != 2:
            raise ModelError(
                f"{file.name} takes an input of {len(inputs[0].shape)} dimensions, not rows of a"
                " table",
                "limecli image explains image networks",
            )
        return lambda frame: {inputs[0].name: converted(frame, inputs[0])}

    def feed(frame: Any) -> dict[str, Any]:
        frame = picked(frame, [item.name for item in inputs])
        return {item.name: converted(frame[item.name], item).reshape(-1, 1) for item in inputs}

    return feed


def _run(session: Any, scores: ScoreOutput, feed: dict[str, Any], fixed: int | None) -> Any:
    """Run the session; a graph with a fixed batch size gets batches of just that size."""
    if fixed is None:
        return scores.read(_answers(session, scores, feed))

    def run(indices: IntArray) -> Any:
        batch = {name: values[indices] for name, values in feed.items()}
        return scores.read(_answers(session, scores, batch))

    return in_fixed_batches(run, len(next(iter(feed.values()))), fixed)


def _answers(session: Any, scores: ScoreOutput, feed: dict[str, Any]) -> Any:
    """One run, stopped when it takes for ever: a Loop may ask for any number of rounds."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    rows = len(next(iter(feed.values()), ()))
    patience = min(_PATIENCE_S + _PATIENCE_PER_ROW_S * rows, _MOST_PATIENCE_S)
    late = threading.Event()

    def stop() -> None:
        late.set()
        options.terminate = True

    timer = threading.Timer(patience, stop)
    timer.daemon = True
    timer.start()
    try:
        return session.run(scores.names, feed, options)
    except Exception:
        if late.is_set():
            raise PredictError(
                f"the ONNX model did not answer within {patience:.0f} s",
                "if it is merely slow, give it less to do at a time: --batch-size",
            ) from None
        raise
    finally:
        timer.cancel()
