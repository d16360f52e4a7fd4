"""XGBoost's own files (JSON, UBJSON), and Boosters that came out of a pickle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from limecli.errors import ModelError, PredictError
from limecli.models.categories import matrix_of, unnamed_note
from limecli.models.info import ModelInfo, Part
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.outputs import checked, no_margin
from limecli.models.xgboost_document import (
    category_values,
    is_document,
    is_old_binary,
    read_document,
)
from limecli.types import Predictor, Task

_LINKED = {"binary:hinge", "binary:logistic", "count:poisson", "reg:gamma", "reg:logistic",
           "reg:tweedie", "survival:aft", "survival:cox"}  # fmt: skip
"""Objectives whose one prediction is another number than their margin."""


class XgboostLoader:
    """Checks the document, then gives its bytes to a Booster: never a path."""

    requires = ("xgboost",)

    def matches(self, file: ModelFile) -> bool:
        """A learner is the first thing in it; or the binary format of old."""
        return is_document(file.head) or is_old_binary(file.head)

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError for what is damaged or in the old binary format."""
        document = _document(file)
        return _predictor(_booster(file), document, file, options, "xgboost")

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What the document says. XGBoost itself is not asked."""
        document = _document(file)
        learner = document["learner"]
        task = _task(learner)
        count = _class_count(learner)
        names = tuple(learner.get("feature_names") or ())
        notes = [f"objective {learner['objective']['name']}"]
        if task == "classification":
            notes.append(f"{count} classes")
        best = (learner.get("attributes") or {}).get("best_iteration")
        if best is not None:
            notes.append(f"stopped early: {int(best) + 1} rounds count")
        version = document.get("version")
        return ModelInfo(
            format="xgboost",
            estimator=_anatomy(learner),
            task=task,
            class_names=_class_names(learner, task) or None,
            feature_names=names or None,
            n_features=int(learner["learner_model_param"]["num_feature"]),
            saved_with={"xgboost": ".".join(map(str, version))} if version is not None else {},
            notes=tuple(notes),
        )


def predictor_of_booster(
    booster: Any, file: ModelFile, options: LoadOptions, format_name: str
) -> Predictor:
    """Wrap a `xgboost.Booster`, wherever it came from."""
    document = json.loads(bytes(booster.save_raw("json")))
    return _predictor(booster, document, file, options, format_name)


def categories_of(estimator: Any, path: str) -> dict[str, list[Any]]:
    """Column -> categories, for a fitted scikit-learn wrapper with `enable_categorical`."""
    booster = estimator.get_booster()
    if "c" not in (booster.feature_types or []):
        return {}
    document = json.loads(bytes(booster.save_raw("json")))
    found = category_values(document, path)
    return {booster.feature_names[j]: known for j, known in found.items() if known}


def margin_of(estimator: Any, task: Task) -> Callable[[Any], Any] | None:
    """What computes the margin of a fitted scikit-learn wrapper; None for a regression of which it
    is the prediction itself.
    """
    learner = json.loads(estimator.get_booster().save_config())["learner"]
    if not _has_margin(learner, task):
        return None
    return lambda table: estimator.predict(table, output_margin=True)


def _has_margin(learner: dict[str, Any], task: Task) -> bool:
    return task == "classification" or learner["objective"]["name"] in _LINKED


def _document(file: ModelFile) -> dict[str, Any]:
    if is_old_binary(file.head):
        raise ModelError(
            f"{file.name} is in XGBoost's old binary format, which today's XGBoost does not read",
            "load it with the version that saved it, and save it as JSON:"
            " booster.save_model('model.json')",
        )
    return read_document(file.data, file.name)


def _booster(file: ModelFile) -> Any:
    import xgboost

    booster = xgboost.Booster({"verbosity": 0})
    try:
        booster.load_model(bytearray(file.data))
    except Exception as error:  # XGBoostError, and what ctypes raises
        raise ModelError(
            f"{file.name} cannot be loaded by XGBoost {xgboost.__version__}: {_reason(error)}"
        ) from None
    return booster


def _reason(error: Exception) -> str:
    """An XGBoost message without the place in its source and the stack."""
    text = str(error).partition("Stack trace")[0]
    return " ".join(text.rpartition(".h:")[2].rpartition(".cc:")[2].split())[:200]


def _predictor(
    booster: Any, document: dict[str, Any], file: ModelFile, options: LoadOptions, format_name: str
) -> Predictor:
    if options.kind != "tabular":
        raise ModelError(
            f"{file.name} is an XGBoost model, which takes rows of a table", "use limecli tabular"
        )
    import xgboost

    learner = document["learner"]
    task = options.task or _task(learner)
    names = tuple(learner.get("feature_names") or ()) or None
    types = list(learner.get("feature_types") or ()) or None
    categories = category_values(document, file.name)
    n_features = int(learner["learner_model_param"]["num_feature"])
    rounds = _rounds(learner)
    has_margin = _has_margin(learner, task)
    if options.output == "margin" and not has_margin:
        raise no_margin(file.name, task)
    margin, finish = _reading(learner, task, options)

    def raw_fn(frame: Any) -> Any:
        import numpy as np

        values = matrix_of(frame, names, categories, file.name, refuse_unknown=True)
        data = xgboost.DMatrix(
            values.astype(np.float32),
            feature_names=names,
            feature_types=types,
            enable_categorical=True,
        )
        try:
            return finish(booster.predict(data, output_margin=margin, iteration_range=rounds))
        except xgboost.core.XGBoostError as error:
            raise PredictError(f"XGBoost refused {file.name}'s input: {_reason(error)}") from error

    several = int(learner["learner_model_param"].get("num_target", 1)) > 1
    return Predictor(
        predict_fn=checked(raw_fn, task, options, independent=several, margin=True),
        task=task,
        class_names=_class_names(learner, task),
        path=file.name,
        sha256=file.sha256,
        format=format_name,
        estimator="XGBoost Booster",
        feature_names=names,
        text_features=tuple(names[j] for j in categories) if names else (),
        categories={names[j]: tuple(known) for j, known in categories.items() if known}
        if names
        else {},
        n_features=n_features,
        output=options.output,
        notes=unnamed_note(list(categories), names is not None),
        fitted=booster,
    )


def _reading(
    learner: dict[str, Any], task: Task, options: LoadOptions
) -> tuple[bool, Callable[[Any], Any]]:
    """Whether to ask for margins, and what to make of them."""
    objective = learner["objective"]["name"]
    if options.output != "probability":
        return True, lambda margin: margin
    if task == "classification" and objective == "multi:softmax":
        return True, _softmax  # its own answer is the class
    if objective == "binary:logitraw" and task == "classification" and options.activation == "none":
        return True, _sigmoid
    return False, lambda scores: scores


def _softmax(margin: Any) -> Any:
    import numpy as np

    shifted = np.exp(margin - margin.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _sigmoid(margin: Any) -> Any:
    import numpy as np

    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(margin, dtype=np.float64)))


def _rounds(learner: dict[str, Any]) -> tuple[int, int]:
    """The rounds that XGBClassifier would use; (0, 0) is all."""
    best = (learner.get("attributes") or {}).get("best_iteration")
    linear = learner["gradient_booster"]["name"] == "gblinear"
    return (0, 0) if best is None or linear else (0, int(best) + 1)


def _task(learner: dict[str, Any]) -> Task:
    objective = learner["objective"]["name"]
    return "classification" if objective.startswith(("binary:", "multi:")) else "regression"


def _class_count(learner: dict[str, Any]) -> int:
    parameters = learner["learner_model_param"]
    several = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    return several if several > 1 else 2


def _class_names(learner: dict[str, Any], task: Task) -> tuple[str, ...]:
    """XGBClassifier has classes 0 to n-1 since 1.6, and recorded others before that."""
    text = (learner.get("attributes") or {}).get("scikit_learn")
    if task == "regression" or text is None:
        return ()
    content: Any = {}
    with contextlib.suppress(ValueError):
        content = json.loads(text)
    if not isinstance(content, dict) or content.get("_estimator_type") != "classifier":
        return ()
    count = _class_count(learner)
    known = content.get("classes_")
    known = known if isinstance(known, list) and len(known) == count else range(count)
    return tuple(str(name) for name in known)


def _anatomy(learner: dict[str, Any]) -> Part:
    booster = learner["gradient_booster"]
    trees = booster.get("gbtree", booster).get("model", {}).get("trees")
    inside = (Part("", "tree", count=len(trees)),) if trees else ()
    return Part("", f"XGBoost {booster['name']}", inside)
