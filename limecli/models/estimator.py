"""A fitted estimator with scikit-learn's methods -> Predictor. Formats that hold one share it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from limecli.errors import ModelError, PredictError
from limecli.models.categories import with_category_dtype
from limecli.models.column_names import picked
from limecli.models.forests import quick_forest
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.outputs import checked, no_margin
from limecli.types import Predictor, Task

_LIBRARIES = {"sklearn", "numpy", "scipy", "builtins", "functools", "limecli", "imblearn",
              "xgboost", "lightgbm", "catboost"}  # fmt: skip
_BOOSTERS = ("xgboost.sklearn", "lightgbm.sklearn", "catboost.core")
_WITH_MARGIN = {"LinearClassifierMixin", "GradientBoostingClassifier",
                "HistGradientBoostingClassifier"}  # fmt: skip
_WRAPPERS = {"FrozenEstimator": "estimator", "FixedThresholdClassifier": "estimator_",
             "TunedThresholdClassifierCV": "estimator_"}  # fmt: skip
"""Classes of scikit-learn whose scores are those of the model in this attribute."""


def adapt(model: Any, file: ModelFile, options: LoadOptions, format_name: str) -> Predictor:
    """Wrap a fitted estimator. Its `predict_fn` takes a DataFrame (tabular) or strings (text).

    Raises ModelError when the object is no model or of the wrong kind, PredictError when a
    classifier has no probabilities.
    """
    if not hasattr(model, "predict"):
        raise _no_model(model, file)
    module = _booster_module(model)
    if module is not None:
        predictor: Predictor = module.predictor_of_booster(model, file, options, format_name)
        return predictor
    if options.kind == "image":
        raise ModelError(
            f"{file.name}: {type(model).__name__} takes rows or texts, not pictures",
            "limecli image takes Keras and ONNX models",
        )
    _check_fitted(model, file)
    names = _feature_names(model)
    _check_kind(model, file, options, names)
    _silence(model)
    task = options.task or _task(model, file)
    raw_fn = _score_function(model, file, task, options)
    categories = _known_categories(model, file)
    prepare = (
        _as_text_input(names)
        if options.kind == "text"
        else _as_table_input(model, names, categories, file)
    )
    return Predictor(
        predict_fn=checked(
            _in_one_thread(lambda batch: raw_fn(prepare(batch))), task, options, margin=True
        ),
        task=task,
        class_names=_class_names(model, file, task),
        path=file.name,
        sha256=file.sha256,
        format=format_name,
        estimator=type(_final_step(model)).__name__,
        feature_names=names,
        text_features=tuple(categories),
        categories={name: tuple(known) for name, known in categories.items()},
        rewritten_names=_wrapper_of(model) == "lightgbm",
        n_features=_n_features(model),
        output=options.output,
        fitted=model,
    )


def _in_one_thread(raw_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Whatever n_jobs a model was fitted with: no processes, and sums in the same order always."""

    def run(batch: Any) -> Any:
        import joblib

        with joblib.parallel_config(backend="sequential"):
            return raw_fn(batch)

    return run


def _check_kind(
    model: Any, file: ModelFile, options: LoadOptions, names: tuple[str, ...] | None
) -> None:
    first = _first_step(model)
    reads_text = hasattr(first, "build_analyzer")  # scikit-learn's vectorizers have it
    if options.kind == "tabular" and reads_text and names is None:
        raise ModelError(f"{file.name} takes texts, not rows of a table", "use limecli text")
    own = type(first).__module__.partition(".")[0] == "sklearn"
    if options.kind == "text" and own and not reads_text and names is None and _n_features(model):
        raise ModelError(
            f"{file.name} takes rows of {_n_features(model)} numbers, not texts",
            "use limecli tabular; a text model needs its vectorizer in the same Pipeline",
        )


def _check_fitted(model: Any, file: ModelFile) -> None:
    """Only scikit-learn's own classes are sure to say it."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    part = _final_step(model)
    while type(part).__name__ == "FrozenEstimator":
        part = _final_step(part.estimator)
    if not type(part).__module__.startswith("sklearn."):
        return
    try:
        check_is_fitted(part)
    except NotFittedError:
        raise ModelError(
            f"{file.name}: {type(part).__name__} is not fitted", "call fit before saving it"
        ) from None
    except Exception:  # saved by a version that kept other attributes: predicting will tell
        return


def _silence(model: Any) -> None:
    """Models fitted with verbose=1 talk at every prediction, too; nobody asked them here."""
    inner = _final_step(model)
    if getattr(inner, "verbose", 0):
        inner.verbose = 0


def _no_model(model: Any, file: ModelFile) -> ModelError:
    what = type(model).__name__
    hint = "save the fitted model itself: joblib.dump(model, path)"
    if isinstance(model, dict):
        what = f"dict with the keys {', '.join(str(key) for key in list(model)[:5])}"
        inside = next((key for key, value in model.items() if hasattr(value, "predict")), None)
        if inside is not None:
            steps = [key for key, value in model.items() if _transforms(value)]
            content = ", ".join(f"content[{key!r}]" for key in [*steps, inside])
            content = f"make_pipeline({content})" if steps else content
            hint = f"save what its key {inside!r} holds: joblib.dump({content}, path)"
            if steps:
                hint = f"save the model with what comes before it: joblib.dump({content}, path)"
    return ModelError(f"{file.name} holds a {what}, not a model with a predict method", hint)


def _transforms(value: Any) -> bool:
    return hasattr(value, "transform") and not hasattr(value, "predict")


def _final_step(model: Any) -> Any:
    """What a Pipeline or a search ends in: the part whose name tells a reader something."""
    for attribute in ("best_estimator_", "_final_estimator"):
        inner = getattr(model, attribute, None)
        if inner is not None and hasattr(inner, "predict"):
            return _final_step(inner)
    return model


def _first_step(model: Any) -> Any:
    model = getattr(model, "best_estimator_", model)
    steps = getattr(model, "steps", None)
    return _first_step(steps[0][1]) if isinstance(steps, list) and steps else model


def _feature_names(model: Any) -> tuple[str, ...] | None:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else tuple(str(name) for name in names)


def _n_features(model: Any) -> int | None:
    count = getattr(model, "n_features_in_", None)
    return int(count) if isinstance(count, int) else None


def _task(model: Any, file: ModelFile) -> Task:
    from sklearn.base import is_classifier, is_regressor

    for asked, task in ((is_classifier, "classification"), (is_regressor, "regression")):
        try:
            if asked(model):
                return task  # type: ignore[return-value]
        except (AttributeError, TypeError):  # classes that know nothing of scikit-learn's tags
            continue
    if hasattr(model, "predict_proba"):
        return "classification"
    raise ModelError(
        f"{file.name}: {type(model).__name__} is neither a classifier nor a regressor",
        "to explain the number that its predict returns: --task regression; with --output decision"
        " that of its decision_function",
    )


def _class_names(model: Any, file: ModelFile, task: Task) -> tuple[str, ...]:
    classes = getattr(model, "classes_", None)
    if task == "regression" or classes is None:
        return ()
    if isinstance(classes, list) and not all(isinstance(item, str) for item in classes):
        raise PredictError(
            f"{file.name} predicts {len(classes)} targets at once",
            "save and explain the model of one target",
        )
    return tuple(str(name) for name in classes)


def _score_function(
    model: Any, file: ModelFile, task: Task, options: LoadOptions
) -> Callable[[Any], Any]:
    if options.output == "margin":
        return _margin(model, file, task)
    if options.output == "decision":
        if not hasattr(model, "decision_function"):
            raw_score = _raw_score(_taken_apart(model)[1], task)
            raise PredictError(
                f"{file.name}: {type(_final_step(model)).__name__} has no decision_function",
                "--output margin explains its raw score" if raw_score
                else "leave out --output decision",
            )  # fmt: skip
        return model.decision_function  # type: ignore[no-any-return]
    if task == "regression":
        return quick_forest(*_taken_apart(model), model.predict)
    if not hasattr(model, "predict_proba"):
        hint = (
            "fit it again with probabilities: voting='soft', probability=True, or inside"
            " scikit-learn's CalibratedClassifierCV"
        )
        if hasattr(model, "decision_function"):
            hint = "--output decision explains its decision_function on its own scale"
        raise PredictError(
            f"{file.name}: {type(_final_step(model)).__name__} has no predict_proba", hint
        )
    return quick_forest(*_taken_apart(model), model.predict_proba)


def _margin(model: Any, file: ModelFile, task: Task) -> Callable[[Any], Any]:
    """The raw additive score of what a model ends in, behind the steps before it.

    scikit-learn's searches and Pipelines do not pass on the options that ask a booster for it.
    """
    steps, final = _taken_apart(model)
    raw_score = _raw_score(final, task)
    if raw_score is None:
        what = f"{file.name}: {type(final).__name__}"
        if not hasattr(model, "decision_function"):
            raise no_margin(what, task)
        raise no_margin(what, task, "--output decision explains its decision_function")

    def margin(batch: Any) -> Any:
        for step in steps:
            batch = step.transform(batch)
        return raw_score(batch)

    return margin


def _taken_apart(model: Any) -> tuple[list[Any], Any]:
    """The steps that an input passes through, and the model behind them that scores it."""
    inner = getattr(model, "best_estimator_", None)
    if inner is None and type(model).__module__.startswith("sklearn."):
        inner = getattr(model, _WRAPPERS.get(type(model).__name__, ""), None)
    if inner is not None:
        return _taken_apart(inner)
    if not (isinstance(getattr(model, "steps", None), list) and model.steps):
        return [], model
    further, final = _taken_apart(model.steps[-1][1])
    # What only resamples (imblearn) has its part at fit, and none here.
    before = [step for _, step in model.steps[:-1] if hasattr(step, "transform")]
    return [*before, *further], final


def _raw_score(final: Any, task: Task) -> Callable[[Any], Any] | None:
    homes = {cls.__module__ for cls in type(final).__mro__}
    for home in _BOOSTERS:
        if home in homes:
            module = import_module(f"limecli.models.{home.partition('.')[0]}")
            found: Callable[[Any], Any] | None = module.margin_of(final, task)
            return found
    if task == "regression":
        return _before_link(final)
    own = {cls.__name__ for cls in type(final).__mro__ if cls.__module__.startswith("sklearn.")}
    return final.decision_function if own & _WITH_MARGIN else None


def _before_link(final: Any) -> Callable[[Any], Any] | None:
    """The additive score of scikit-learn's regressions of counts: the logarithm of what they
    predict.
    """
    loss = getattr(final, "_loss", None) or getattr(final, "_base_loss", None)
    link = getattr(loss, "link", None)
    if type(link).__name__ != "LogLink":
        return None

    def score(batch: Any) -> Any:
        import numpy as np

        with np.errstate(divide="ignore"):  # a prediction of 0 is refused as every infinity is
            return np.log(final.predict(batch))

    return score


def _as_text_input(names: tuple[str, ...] | None) -> Callable[[Any], Any]:
    if names is None:
        return lambda texts: texts
    if len(names) > 1:
        raise ModelError(
            f"the model takes the columns {', '.join(names)}, not one text",
            "limecli tabular explains models over columns",
        )

    def as_frame(texts: Any) -> Any:
        import pandas as pd

        return pd.DataFrame({names[0]: list(texts)})

    return as_frame


def _booster_module(model: Any) -> Any:
    """What serves a booster's own file, for a booster inside a pickle; None for another model.

    CatBoost's estimators go the same way: they lack scikit-learn's attributes.
    """
    kinds = {f"{cls.__module__}.{cls.__name__}" for cls in type(model).__mro__}
    for name in ("xgboost.core.Booster", "lightgbm.basic.Booster", "catboost.core.CatBoost"):
        if name in kinds:
            return import_module(f"limecli.models.{name.partition('.')[0]}")
    return None


def _wrapper_of(model: Any) -> str | None:
    """The library whose scikit-learn wrapper the model is, or what a search found best is."""
    homes = {cls.__module__ for cls in type(getattr(model, "best_estimator_", model)).__mro__}
    return next((name for name in ("xgboost", "lightgbm") if f"{name}.sklearn" in homes), None)


def _known_categories(model: Any, file: ModelFile) -> dict[str, list[Any]]:
    """The category columns of the frame that an XGBoost or LightGBM estimator was fitted on."""
    library = _wrapper_of(model)
    if library is None:
        return {}
    module = import_module(f"limecli.models.{library}")
    estimator = getattr(model, "best_estimator_", model)
    found: dict[str, list[Any]] = module.categories_of(estimator, file.name)
    return found


def _as_table_input(
    model: Any,
    names: tuple[str, ...] | None,
    categories: dict[str, list[Any]],
    file: ModelFile,
) -> Callable[[Any], Any]:
    """A model that saw names at fit gets a DataFrame, any other the bare values.

    A part of the user's own (a column selector, say) records no names yet may need them: then the
    model gets the DataFrame too.
    """
    library = _wrapper_of(model)
    if names is not None and library is not None:
        # LightGBM takes a category that it never saw as missing, XGBoost refuses it.
        unknown = library == "xgboost"
        return lambda frame: with_category_dtype(
            picked(frame, names), categories, file.name, refuse_unknown=unknown
        )
    if names is not None:
        wanted = list(names)
        return lambda frame: frame if list(frame.columns) == wanted else frame[wanted]
    own = _is_users_own(_first_step(model))
    if _n_features(model) is None:  # nothing of scikit-learn's own saw the table at fit
        own = own or any(_is_users_own(part) for part in _all_parts(model))
    if own:
        return lambda frame: frame
    return lambda frame: frame.to_numpy()


def _all_parts(model: Any) -> list[Any]:
    """The model and everything inside it, as far as `get_params` tells."""
    try:
        return [model, *model.get_params(deep=True).values()]
    except Exception:  # a class that only looks like an estimator
        return [model]


def _is_users_own(part: Any) -> bool:
    if not (callable(part) or hasattr(part, "fit") or hasattr(part, "predict")):
        return False
    home = getattr(part, "__module__", None) or type(part).__module__
    return str(home).partition(".")[0] not in _LIBRARIES
