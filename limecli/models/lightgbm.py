"""LightGBM's own files, and Boosters that came out of a pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from limecli.errors import ModelError
from limecli.models.categories import matrix_of, unnamed_note
from limecli.models.info import ModelInfo, Part
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.lightgbm_text import Header, for_booster, read_header
from limecli.models.outputs import checked, no_margin
from limecli.types import Predictor, Task

_LINKED = {"binary", "cross_entropy", "cross_entropy_lambda", "gamma", "poisson", "tweedie"}
"""Objectives whose one prediction is another number than their raw score."""


class LightgbmLoader:
    """Checks the text, then gives it to a Booster: never a path."""

    requires = ("lightgbm",)

    def matches(self, file: ModelFile) -> bool:
        """The first two lines."""
        return file.head.replace(b"\r\n", b"\n").startswith(b"tree\nversion=")

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError for a damaged file."""
        text = _text(file)
        header = read_header(text, file.name)
        import lightgbm

        _silence(lightgbm)
        try:
            booster = lightgbm.Booster(model_str=for_booster(text))
        except Exception as error:  # LightGBMError, and ValueErrors from the pandas categories
            raise ModelError(
                f"{file.name} cannot be loaded by LightGBM {lightgbm.__version__}:"
                f" {' '.join(str(error).split())[:200]}"
            ) from None
        return _predictor(booster, header, file, options, "lightgbm")

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What the text says. LightGBM itself is not asked."""
        header = read_header(_text(file), file.name)
        notes = [f"objective {header.objective or 'of its own'}", f"text format {header.version}"]
        if header.task == "classification":
            notes.append(f"{max(header.num_class, 2)} classes")
        inside = (Part("", "tree", count=header.n_trees),) if header.n_trees else ()
        return ModelInfo(
            format="lightgbm",
            estimator=Part("", "LightGBM Booster", inside),
            task=header.task,
            feature_names=header.feature_names if header.named else None,
            n_features=len(header.feature_names),
            notes=tuple(notes),
        )


def predictor_of_booster(
    booster: Any, file: ModelFile, options: LoadOptions, format_name: str
) -> Predictor:
    """Wrap a `lightgbm.Booster`, wherever it came from."""
    import lightgbm

    _silence(lightgbm)
    header = read_header(booster.model_to_string(num_iteration=-1), file.name)
    return _predictor(booster, header, file, options, format_name)


def categories_of(estimator: Any, path: str) -> dict[str, list[Any]]:
    """Column -> categories, for a fitted scikit-learn wrapper that saw category columns."""
    booster = estimator.booster_
    if not booster.pandas_categorical:
        return {}
    header = read_header(booster.model_to_string(), path)
    return {header.feature_names[j]: known for j, known in header.categories.items() if known}


def margin_of(estimator: Any, task: Task) -> Callable[[Any], Any] | None:
    """What computes the raw score of a fitted scikit-learn wrapper; None for a regression of which
    it is the prediction itself.
    """
    header = read_header(estimator.booster_.model_to_string(), "")
    if not _has_margin(header, task):
        return None
    return lambda table: estimator.predict(table, raw_score=True)


def _has_margin(header: Header, task: Task) -> bool:
    name, *parameters = header.objective.split(" ")
    return task == "classification" or name in _LINKED or "sqrt" in parameters


def _silence(lightgbm: Any) -> None:
    class Silent:
        def info(self, text: str) -> None: ...

        warning = info

    lightgbm.register_logger(Silent())


def _text(file: ModelFile) -> str:
    try:
        return file.data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{file.name} is a damaged LightGBM model: byte {error.start} is no text",
            "copy or save the file again",
        ) from None


def _predictor(
    booster: Any, header: Header, file: ModelFile, options: LoadOptions, format_name: str
) -> Predictor:
    if options.kind != "tabular":
        raise ModelError(
            f"{file.name} is a LightGBM model, which takes rows of a table", "use limecli tabular"
        )
    task = options.task or header.task
    names = header.feature_names if header.named else None
    if options.output == "margin" and not _has_margin(header, task):
        raise no_margin(file.name, task)

    def raw_fn(frame: Any) -> Any:
        # LightGBM treats a category that it never saw as missing.
        values = matrix_of(frame, names, header.categories, file.name, refuse_unknown=False)
        return booster.predict(values, raw_score=options.output != "probability")

    return Predictor(
        predict_fn=checked(
            raw_fn,
            task,
            options,
            independent=header.objective.startswith("multiclassova"),
            margin=True,
        ),
        task=task,
        class_names=(),
        path=file.name,
        sha256=file.sha256,
        format=format_name,
        estimator="LightGBM Booster",
        feature_names=names,
        text_features=tuple(names[j] for j in header.categories) if names else (),
        categories={names[j]: tuple(known) for j, known in header.categories.items() if known}
        if names
        else {},
        rewritten_names=True,
        n_features=len(header.feature_names),
        output=options.output,
        notes=unnamed_note(list(header.categories), names is not None),
        fitted=booster,
    )
