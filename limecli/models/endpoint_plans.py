"""How to ask a server for predictions, from what its metadata says and the user wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from limecli.errors import ModelError
from limecli.models import endpoint_protocols as protocol
from limecli.models.endpoint_protocols import PROBABILITIES, Form, Tensor
from limecli.models.interface import LoadOptions
from limecli.models.pictures import (
    PictureInput,
    check_channels,
    chosen_preprocess,
    picture_input,
    preprocessor,
    to_model_scale,
)
from limecli.types import Task

Encode = Callable[[Any, str | None], dict[str, Any]]
_UNNAMED = "input-0"  # what MLServer calls the input of a model that tells nothing of it


@dataclass(frozen=True)
class Plan:
    """`forms` in the order in which they are tried; the first that is taken stays.

    `fixed` is the batch size of a server that takes no other, `sample` makes an input up.
    """

    forms: tuple[Form, ...]
    task: Task | None = None
    feature_names: tuple[str, ...] | None = None
    text_features: tuple[str, ...] = ()
    n_features: int | None = None
    input_shape: tuple[int | None, ...] | None = None
    fixed: int | None = None
    sample: Callable[[], Any] | None = None
    preprocess: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asking:
    """The input side of a plan."""

    encoders: tuple[Encode, ...]
    feature_names: tuple[str, ...] | None = None
    text_features: tuple[str, ...] = ()
    n_features: int | None = None
    input_shape: tuple[int | None, ...] | None = None
    sample: Callable[[], Any] | None = None
    preprocess: str | None = None
    notes: tuple[str, ...] = ()


def inference_plan(
    shown: str, inputs: list[Tensor], outputs: list[Tensor], options: LoadOptions
) -> Plan:
    """For the Open Inference Protocol. Raises ModelError for inputs of another kind."""
    if options.kind == "image":
        asking = _pictures(shown, inputs, options)
    else:
        asking = _table(shown, inputs) if options.kind == "tabular" else _texts(shown, inputs)
    task = output_task(outputs)
    fixed = next((tensor.shape[0] for tensor in inputs if tensor.shape), None)
    forms = tuple(
        _inference_form(encode, name, options)
        for encode in asking.encoders
        for name in _output_names(outputs, task, options)
    )
    return Plan(
        forms, task, asking.feature_names, asking.text_features, asking.n_features,
        asking.input_shape, fixed, asking.sample, asking.preprocess, asking.notes,
    )  # fmt: skip


def mlflow_plan(options: LoadOptions, columns: tuple[str, ...] | None) -> Plan:
    """For MLflow's scoring server, which tells the `columns` of its signature at most."""
    labels_too = _takes_labels(options)

    def form(encode: Callable[[Any], dict[str, Any]]) -> Form:
        return Form(encode, lambda found, n: protocol.read_predictions(found, n, labels_too))

    if options.kind == "tabular":
        sample = None if columns is None else lambda: _zeros([(name, 0.0) for name in columns])
        return Plan((form(protocol.split),), feature_names=columns, sample=sample)
    if options.kind == "text":
        # A vectorizer that gets a table reads its column's name: one answer, whatever the texts.
        # Two texts at least make that show.
        forms = (form(protocol.tensor_inputs), form(_one_column))
        return Plan(tuple(_in_pairs(item) for item in forms), sample=lambda: ["text"])
    asking = _pictures("", [], options)
    convert = _converter(PictureInput(None, None, 3, channels_first=False), asking.preprocess)
    return Plan(
        (form(lambda batch: protocol.tensor_inputs(convert(batch))),),
        input_shape=asking.input_shape,
        preprocess=asking.preprocess,
        notes=asking.notes,
    )


def output_task(outputs: Sequence[Tensor]) -> Task | None:
    """What the outputs that metadata lists are good for; None when they do not tell."""
    chosen = protocol.pick_output(list(outputs))
    for tensor in outputs:
        if tensor.name == chosen or len(outputs) == 1:
            wide = len(tensor.shape) > 1 and tensor.width is not None and tensor.width > 1
            if tensor.is_score and (wide or "prob" in tensor.name.lower()):
                return "classification"
    return None


def _takes_labels(options: LoadOptions) -> bool:
    """Whether whole numbers are good: a regression may count."""
    return options.task == "regression" or options.output == "decision"


def _output_names(
    outputs: list[Tensor], task: Task | None, options: LoadOptions
) -> tuple[str | None, ...]:
    chosen = protocol.pick_output(outputs)
    if chosen is None and len(outputs) == 1:
        chosen = outputs[0].name
    if task == "classification" or _takes_labels(options):
        return (chosen,)
    # MLServer serves probabilities only to who asks for them, and does not list them.
    return (PROBABILITIES, chosen)


def _inference_form(encode: Encode, name: str | None, options: LoadOptions) -> Form:
    labels_too = _takes_labels(options)
    return Form(
        encode=lambda batch: encode(batch, name),
        decode=lambda found, n: protocol.read_outputs(found, n, name, labels_too),
        asks=name,
    )


def _table(shown: str, inputs: list[Tensor]) -> _Asking:
    def by_column(frame: Any, name: str | None) -> dict[str, Any]:
        tensors = tuple(inputs) or protocol.described(frame)
        return protocol.request(protocol.columns(frame, tensors), name, "pd")

    def as_matrix(frame: Any, name: str | None) -> dict[str, Any]:
        tensor = inputs[0] if inputs else Tensor(_UNNAMED, "FP64", (None, None))
        if tensor.datatype == "BYTES":
            cells = frame.to_numpy(dtype=object).ravel()
            return protocol.request([protocol.strings(tensor.name, cells, frame.shape)], name)
        return protocol.request([protocol.numbers(tensor.name, tensor.datatype, frame)], name)

    if not inputs:  # by name first: a server that checks names finds a wrong order
        return _Asking((by_column, as_matrix))
    if len(inputs) == 1 and len(inputs[0].shape) == 2:
        width = inputs[0].width
        sample = None if width is None else lambda: _zeros([(str(i), 0.0) for i in range(width)])
        spelled = inputs[0].datatype == "BYTES"
        return _Asking((as_matrix,), n_features=width, sample=None if spelled else sample)
    wrong = next((tensor for tensor in inputs if not tensor.is_column), None)
    if wrong is not None:
        raise ModelError(
            f"{shown} takes an input {wrong.name!r} of {len(wrong.shape)} dimensions, not rows of"
            " a table",
            "limecli image explains image models",
        )
    names = tuple(tensor.name for tensor in inputs)
    spelled_ones = tuple(tensor.name for tensor in inputs if tensor.datatype == "BYTES")
    cells = [(name, "" if name in spelled_ones else 0.0) for name in names]
    return _Asking((by_column,), names, spelled_ones, sample=lambda: _zeros(cells))


def _zeros(cells: list[tuple[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame({name: [value] for name, value in cells})


def _texts(shown: str, inputs: list[Tensor]) -> _Asking:
    tensor = _only(shown, inputs, Tensor(_UNNAMED, "BYTES", (None,)))
    if tensor.datatype != "BYTES" or not (tensor.is_column or len(tensor.shape) == 2):
        raise ModelError(f"{shown} takes {tensor.datatype} numbers, not texts", "limecli tabular")

    def encode(texts: Any, name: str | None) -> dict[str, Any]:
        shape = (len(texts), 1) if len(tensor.shape) == 2 else (len(texts),)
        return protocol.request([protocol.strings(tensor.name, texts, shape)], name)

    return _Asking((encode,), sample=lambda: ["text"])


def _in_pairs(form: Form) -> Form:
    return Form(
        encode=lambda texts: form.encode(list(texts) * 2 if len(texts) == 1 else texts),
        decode=lambda found, n: form.decode(found, max(n, 2))[:n],
    )


def _one_column(texts: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}


def _pictures(shown: str, inputs: list[Tensor], options: LoadOptions) -> _Asking:
    tensor = _only(shown, inputs, Tensor(_UNNAMED, "FP32", (None, None, None, 3)))
    if tensor.datatype not in protocol.DTYPES:
        raise ModelError(f"{shown} takes {tensor.datatype}, not pictures")
    picture = picture_input(tensor.shape, shown)
    as_it_is = "none" if tensor.datatype == "UINT8" else None
    preprocess, notes = chosen_preprocess(options.preprocess or as_it_is, scales_itself=False)
    check_channels(preprocess, picture.channels)
    convert = _converter(picture, preprocess)

    def encode(batch: Any, name: str | None) -> dict[str, Any]:
        pixels = convert(batch)
        return protocol.request([protocol.numbers(tensor.name, tensor.datatype, pixels)], name)

    return _Asking((encode,), input_shape=picture.shape, preprocess=preprocess, notes=notes)


def _converter(picture: PictureInput, preprocess: str | None) -> Callable[[Any], Any]:
    function = preprocessor(preprocess or "none")
    return lambda batch: to_model_scale(batch, picture, function)


def _only(shown: str, inputs: list[Tensor], default: Tensor) -> Tensor:
    if len(inputs) > 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ModelError(f"{shown} has {len(inputs)} inputs ({names}); one is needed here")
    return inputs[0] if inputs else default
