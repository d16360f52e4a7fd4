"""CatBoost's own files, and its models that came out of a pickle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from limecli.errors import ModelError, PredictError
from limecli.models.categories import matrix_of, unnamed_note
from limecli.models.info import ModelInfo, Part
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.outputs import checked, no_margin
from limecli.types import Predictor, Task

_MAGIC = b"CBM1"
_CLASSES = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
_LABELS = ("MultiLogloss", "MultiCrossEntropy")
_LOGARITHMIC = ("Poisson", "Tweedie")
_TRIAL_S = 300

# Reads the model from its standard input and asks it about odd rows, in a process of its own.
_TRIAL = """
import sys
from catboost import CatBoost, Pool
model = CatBoost().load_model(blob=sys.stdin.buffer.read())
names, kinds = model.feature_names_, model.get_cat_feature_indices()
model.classes_, model.get_all_params()
if not (model.get_text_feature_indices() or model.get_embedding_feature_indices()):
    rows = [["a" if j in kinds else x for j in range(len(names))]
            for x in (0.0, 1e30, -1e30, float("nan"), 1.0, 30.0)]
    model.predict(Pool(rows, cat_features=kinds), prediction_type="RawFormulaVal", thread_count=1)
"""


class CatboostLoader:
    """Gives the bytes to CatBoost, never a path."""

    requires = ("catboost",)

    def matches(self, file: ModelFile) -> bool:
        """CatBoost's magic bytes."""
        return file.head.startswith(_MAGIC)

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError for a damaged file, or a model of texts and embeddings."""
        return predictor_of_booster(_model(file), file, options, "catboost")

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What CatBoost's own reader tells; it runs nothing of the file."""
        model = _model(file)
        loss, task = _loss(model), _task(model)
        names = _names(model)
        kinds = [_shown(model, j) for j in model.get_cat_feature_indices()]
        notes = [
            f"loss {loss}" if loss else "",
            f"categories in {', '.join(kinds)}" if kinds else "",
        ]
        return ModelInfo(
            format="catboost",
            estimator=Part("", "CatBoost", (Part("", "tree", count=int(model.tree_count_)),)),
            task=task,
            class_names=_class_names(model, task) or None,
            feature_names=names,
            n_features=len(model.feature_names_),
            saved_with=_version(model),
            notes=tuple(note for note in notes if note),
        )


def predictor_of_booster(
    booster: Any, file: ModelFile, options: LoadOptions, format_name: str
) -> Predictor:
    """Wrap a `catboost.CatBoost` or one of its subclasses, wherever it came from."""
    if options.kind != "tabular":
        raise ModelError(
            f"{file.name} is a CatBoost model, which takes rows of a table", "use limecli tabular"
        )
    if not booster.is_fitted():
        raise ModelError(f"{file.name} holds a {type(booster).__name__} that was never fitted")
    for kind in ("text", "embedding"):
        found = getattr(booster, f"get_{kind}_feature_indices")()
        if found:
            raise ModelError(
                f"{file.name} takes {kind} in {_shown(booster, found[0])}, which limecli tabular"
                " cannot vary",
                "explain a model of numbers and categories",
            )
    task = options.task or _task(booster)
    names = _names(booster)
    categorical = list(booster.get_cat_feature_indices())
    prepare = _table_feed(names, categorical, len(booster.feature_names_), file.name)
    if options.output == "margin" and margin_of(booster, task) is None:
        raise no_margin(file.name, task)
    kind = _prediction_type(_loss(booster), task, options)

    def raw_fn(frame: Any) -> Any:
        from catboost import CatBoost

        # The base class: a classifier's own predict would turn classes into probabilities twice.
        return CatBoost.predict(booster, prepare(frame), prediction_type=kind)

    return Predictor(
        predict_fn=checked(
            raw_fn, task, options, independent=_loss(booster) in _LABELS, margin=True
        ),
        task=task,
        class_names=_class_names(booster, task),
        path=file.name,
        sha256=file.sha256,
        format=format_name,
        estimator=type(booster).__name__,
        feature_names=names,
        text_features=tuple(names[j] for j in categorical) if names else (),
        n_features=len(booster.feature_names_),
        output=options.output,
        notes=unnamed_note(categorical, names is not None),
        fitted=booster,
    )


def margin_of(model: Any, task: Task) -> Callable[[Any], Any] | None:
    """What computes the raw formula value of a fitted model; None for a regression of which it is
    the prediction itself.
    """
    if task == "regression" and _loss(model) not in _LOGARITHMIC:
        return None
    return lambda table: model.predict(table, prediction_type="RawFormulaVal")


def _model(file: ModelFile) -> Any:
    import catboost

    _try_elsewhere(file)
    try:
        model = catboost.CatBoost().load_model(blob=file.data)
        whole = _tail(model._serialize_model())
    except Exception as error:  # CatBoostError, and what its converters raise
        raise _damaged(file, str(error)) from None
    if _tail(file.data) < whole:  # CatBoost reads zeros past the end and says nothing
        raise _damaged(file, "it is cut short")
    return model


def _tail(data: bytes) -> int:
    """Bytes after the trees: the statistics of the categories."""
    return len(data) - len(_MAGIC) - 4 - int.from_bytes(data[4:8], "little")


def _try_elsewhere(file: ModelFile) -> None:
    """CatBoost reads outside its arrays in a damaged file: let that end another process first."""
    # -P: what lies in the working directory is not to be imported.
    command = [sys.executable, "-P", "-W", "ignore", "-c", _TRIAL]
    try:
        trial = subprocess.run(  # noqa: S603 - our own interpreter, our own code
            command, input=file.data, capture_output=True, timeout=_TRIAL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _damaged(file, f"CatBoost does not finish reading it in {_TRIAL_S} s") from None
    if not 0 <= trial.returncode < 256:  # a signal; on Windows, an exception code
        raise _damaged(file, "CatBoost crashes on it")


def _damaged(file: ModelFile, reason: str) -> ModelError:
    text = " ".join(reason.rpartition(".cpp:")[2].split())[:200]
    return ModelError(
        f"{file.name} is a damaged CatBoost model, or of another version: {text}",
        "copy or save the file again",
    )


def _names(model: Any) -> tuple[str, ...] | None:
    """None when the names are the numbers that CatBoost gives itself."""
    names = tuple(str(name) for name in model.feature_names_)
    return None if names == tuple(str(i) for i in range(len(names))) else names


def _shown(model: Any, j: int) -> str:
    names = _names(model)
    return repr(names[j]) if names else f"feature {j}"


def _loss(model: Any) -> str:
    with suppress(Exception):  # sums of models and conversions record no parameters
        return str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    return ""


def _task(model: Any) -> Task:
    loss = _loss(model)
    classes = loss in _CLASSES or loss in _LABELS or (not loss and len(model.classes_) > 0)
    return "classification" if classes else "regression"


def _class_names(model: Any, task: Task) -> tuple[str, ...]:
    return tuple(str(name) for name in model.classes_) if task == "classification" else ()


def _version(model: Any) -> dict[str, str]:
    text = str(model.get_metadata().get("catboost_version_info", ""))
    _, found, rest = text.partition("CatBoost release ")
    return {"catboost": rest.split()[0].rstrip(".")} if found and rest.split() else {}


def _prediction_type(loss: str, task: Task, options: LoadOptions) -> str:
    if options.output != "probability":
        return "RawFormulaVal"
    if task == "classification" and loss in (*_CLASSES, *_LABELS, ""):
        return "Probability"
    return "Exponent" if loss in _LOGARITHMIC else "RawFormulaVal"


def _table_feed(
    names: Sequence[str] | None, categorical: Sequence[int], n_features: int, path: str
) -> Callable[[Any], Any]:
    def feed(frame: Any) -> Any:
        import pandas as pd

        frame = frame[list(names)] if names is not None else frame.iloc[:, :n_features]
        columns = {}
        for j, name in enumerate(frame.columns):
            column = frame.iloc[:, j]
            if j in categorical:
                columns[name] = column.map(_as_category)
            else:
                columns[name] = matrix_of(column.to_frame(), None, {}, path, False)[:, 0]
        table = pd.DataFrame(columns)
        return _pool(table, categorical)

    return feed


def _pool(table: Any, categorical: Sequence[int]) -> Any:
    from catboost import CatBoostError, Pool

    try:
        return Pool(table, cat_features=list(categorical))
    except CatBoostError as error:
        raise PredictError(f"CatBoost refused its input: {str(error)[:200]}") from error


def _as_category(value: Any) -> str:
    """CatBoost hashes spellings: whole numbers are integers, missing values "nan"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
