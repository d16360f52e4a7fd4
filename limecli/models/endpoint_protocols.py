"""What goes to a server and what comes back: the Open Inference Protocol v2, and MLflow's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limecli.errors import PredictError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray

PROBABILITIES = "predict_proba"  # what MLServer's scikit-learn runtime calls them
_INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_FLOATS = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BF16": "float32"}
DTYPES = {**_FLOATS, **{name: name.lower() for name in _INTEGERS}, "BOOL": "bool"}


@dataclass(frozen=True)
class Form:
    """One way to ask: a batch -> the request's JSON, and the answer's JSON, n -> numbers.

    `asks` is the output that it names, None for whatever the server gives.
    """

    encode: Callable[[Any], dict[str, Any]]
    decode: Callable[[Any, int], FloatArray]
    asks: str | None = None


@dataclass(frozen=True)
class Tensor:
    """An input or output as metadata describes it; None in `shape` is a free size."""

    name: str
    datatype: str
    shape: tuple[int | None, ...]

    @classmethod
    def parse(cls, entry: Any) -> Tensor:
        """Raises ValueError for an entry that is none."""
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError("a tensor without a name")
        shape = entry.get("shape") or []
        if not isinstance(shape, list) or any(type(size) is not int for size in shape):
            raise ValueError(f"the shape of {entry['name']!r} is no list of integers")
        sizes = tuple(size if size > 0 else None for size in shape)
        return cls(entry["name"], str(entry.get("datatype", "FP32")), sizes)

    @property
    def is_column(self) -> bool:
        """Whether it holds one value for each row."""
        return len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)

    @property
    def is_score(self) -> bool:
        """Whether it can hold probabilities or a regression's number."""
        return self.datatype in _FLOATS

    @property
    def width(self) -> int | None:
        """How many numbers for each row; None when that is left open."""
        return 1 if len(self.shape) < 2 else self.shape[-1]


class LabelsError(PredictError):
    """The server answers with classes, not with their probabilities."""


class NotAnswerError(Exception):
    """The JSON has not the form that the protocol says. The message tells what it is instead."""


# --- Open Inference Protocol v2


def request(
    inputs: list[dict[str, Any]], output: str | None, content_type: str | None = None
) -> dict[str, Any]:
    """The body of POST /infer."""
    body: dict[str, Any] = {"inputs": inputs}
    if content_type:
        body["parameters"] = {"content_type": content_type}  # MLServer's; others pass it by
    if output:
        body["outputs"] = [{"name": output}]
    return body


def numbers(name: str, datatype: str, values: Any) -> dict[str, Any]:
    """A tensor of numbers, exact: every float is written so that it reads back the same."""
    import numpy as np

    try:
        array = np.asarray(values, dtype=DTYPES.get(datatype, "float64"))
    except (TypeError, ValueError):
        raise PredictError(
            f"the endpoint's input {name!r} takes {datatype}, but the table has text there"
        ) from None
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": _listed(array)}


def strings(name: str, values: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """A tensor of texts. `str` tells MLServer to decode them."""
    import pandas as pd

    data = [None if value is None or pd.isna(value) else str(value) for value in values]
    return {"name": name, "shape": list(shape), "datatype": "BYTES", "data": data,
            "parameters": {"content_type": "str"}}  # fmt: skip


def columns(frame: Any, tensors: tuple[Tensor, ...]) -> list[dict[str, Any]]:
    """One tensor for each column of a DataFrame, as metadata describes them."""
    result = []
    for tensor in tensors:
        shape = (len(frame), 1) if len(tensor.shape) == 2 else (len(frame),)
        column = frame[tensor.name]
        if tensor.datatype == "BYTES":
            result.append(strings(tensor.name, column, shape))
        else:
            values = column.to_numpy().reshape(shape)
            result.append(numbers(tensor.name, tensor.datatype, values))
    return result


def described(frame: Any) -> tuple[Tensor, ...]:
    """The columns of a DataFrame, where no metadata describes them."""
    import pandas as pd

    return tuple(
        Tensor(str(name), "FP64" if pd.api.types.is_numeric_dtype(kind) else "BYTES", (None,))
        for name, kind in frame.dtypes.items()
    )


def read_outputs(content: Any, n: int, name: str | None, labels_too: bool) -> FloatArray:
    """`float[n, k]` out of an /infer answer: the output `name`, else the likeliest one.

    Raises NotAnswerError for another form, PredictError for labels unless `labels_too`.
    """
    import numpy as np

    outputs = content.get("outputs") if isinstance(content, dict) else None
    if not isinstance(outputs, list) or not outputs:
        raise NotAnswerError("JSON without outputs")
    try:
        tensors = {entry["name"]: (Tensor.parse(entry), entry.get("data")) for entry in outputs}
    except (ValueError, TypeError, KeyError) as error:
        raise NotAnswerError(f"outputs that the protocol does not know ({error})") from None
    chosen = pick_output([tensor for tensor, _ in tensors.values()])
    if name in tensors:
        chosen = name
    tensor, data = tensors[chosen or next(iter(tensors))]
    if tensor.datatype not in _FLOATS and not labels_too:
        raise labels_error(data)
    values = _numeric(data)
    size = int(np.prod([size or 0 for size in tensor.shape])) if tensor.shape else values.size
    if size != values.size:
        raise NotAnswerError(f"{values.size} numbers for an output of shape {list(tensor.shape)}")
    return _of_rows(values.reshape([size or 0 for size in tensor.shape]), n)


def pick_output(tensors: list[Tensor]) -> str | None:
    """The output with probabilities: called so, else one with several numbers a row."""
    floats = [tensor for tensor in tensors if tensor.is_score]
    for tensor in floats:
        if "prob" in tensor.name.lower():
            return tensor.name
    for tensor in floats:
        if len(tensor.shape) >= 2 and tensor.width is not None and tensor.width > 1:
            return tensor.name
    return floats[0].name if len(tensors) > 1 and floats else None


# --- MLflow's scoring server


def split(frame: Any) -> dict[str, Any]:
    """The body of POST /invocations for a DataFrame."""
    data = [_listed(frame[name].to_numpy()) for name in frame.columns]
    rows = [list(row) for row in zip(*data, strict=True)]
    return {"dataframe_split": {"columns": [str(name) for name in frame.columns], "data": rows}}


def tensor_inputs(batch: Any) -> dict[str, Any]:
    """The body of POST /invocations for texts or pictures."""
    return {"inputs": batch.tolist() if hasattr(batch, "tolist") else list(batch)}


def read_predictions(content: Any, n: int, labels_too: bool) -> FloatArray:
    """`float[n, k]` out of an /invocations answer: numbers, lists or objects of numbers.

    Raises NotAnswerError for another form, PredictError for labels unless `labels_too`.
    """
    found = content.get("predictions") if isinstance(content, dict) else content
    if isinstance(found, dict) and found:  # tensors by name
        found = next((found[name] for name in found if "prob" in name.lower()),
                     next(iter(found.values())))  # fmt: skip
    if not isinstance(found, list):
        raise NotAnswerError("JSON without predictions")
    if found and all(isinstance(row, dict) for row in found):
        keys = list(found[0])
        if any(row.keys() != found[0].keys() for row in found):
            raise NotAnswerError("predictions with other keys in each row")
        found = [[row[key] for key in keys] for row in found]
        if any(isinstance(value, str) for value in found[0]):
            raise labels_error(found)
    if found and not labels_too and all(type(value) in (int, str, bool) for value in found):
        raise labels_error(found)
    return _of_rows(_numeric(found), n)


def labels_error(data: Any) -> LabelsError:
    """What to say to class labels where probabilities are needed."""
    while isinstance(data, list) and data:
        data = data[0]
    shown = f" ({str(data)[:40]!r}, for one)" if isinstance(data, (str, int)) else ""
    return LabelsError(
        f"the endpoint answers with class labels{shown}, not probabilities",
        "serve predict_proba: mlflow.sklearn.log_model(..., pyfunc_predict_fn='predict_proba');"
        " if the numbers are a regression's: --task regression",
    )


# --- Numbers


def _listed(array: NDArray[np.generic]) -> list[Any]:
    """Flat Python values, NaN as null: JSON has no other word for it."""
    import numpy as np

    flat = array.ravel()
    if flat.dtype.kind == "f":
        gaps = ~np.isfinite(flat)
        if not gaps.any():
            return flat.tolist()
        return [None if gap else value for gap, value in zip(gaps, flat.tolist(), strict=True)]
    if flat.dtype.kind == "O":
        import pandas as pd

        gaps = pd.isna(flat)
        return [None if gap else _plain(v) for gap, v in zip(gaps, flat, strict=True)]
    return flat.tolist()


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _numeric(data: Any) -> FloatArray:
    import numpy as np

    try:
        array = np.asarray(data)
        if array.dtype.kind in "USb" or data is None:
            raise labels_error(data) if data else NotAnswerError("no data")
        return array.astype(np.float64)  # null becomes NaN, which is refused with a count
    except (TypeError, ValueError, OverflowError):
        raise NotAnswerError("values that are not numbers, or rows of different lengths") from None


def _of_rows(values: FloatArray, n: int) -> FloatArray:
    if values.ndim == 0 or values.shape[0] != n:
        count = values.shape[0] if values.ndim else 1
        raise NotAnswerError(f"{count} predictions for {n} inputs")
    return values
