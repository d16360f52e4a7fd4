"""From the options of a command to what a model is loaded with and LIME is run with."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from limecli.cli.options import (
    ActivationName,
    Engine,
    LimeOptions,
    ModelOptions,
    OutputOptions,
    Sampler,
)
from limecli.errors import UsageError
from limecli.explainers.samplers import check_sampler
from limecli.types import Kind, LimeSettings, Predictor

if TYPE_CHECKING:
    from limecli.models.interface import LoadOptions

_FLIPS = 1
_NUM_SAMPLES = {"tabular": 5000, "image": 1000, "text": 5000}
_METRIC = {"tabular": "euclidean", "image": "cosine", "text": "cosine"}


def load_options(
    kind: Kind,
    model: ModelOptions,
    lime: LimeOptions,
    output: OutputOptions,
    preprocess: str | None = None,
) -> LoadOptions:
    """What the user said about the model. Raises InputError for names that cannot be read."""
    from limecli.inputs.class_names import read_class_names
    from limecli.models.interface import LoadOptions

    return LoadOptions(
        kind=kind,
        task=None if model.task is None else model.task.value,
        output=cast("Any", output.scale),
        activation=cast("Any", model.activation.value if model.activation else "none"),
        independent=model.activation is ActivationName.none,
        class_names=None if model.class_names is None else read_class_names(model.class_names),
        trust=model.names,
        trust_pickle=model.trust_pickle,
        timeout_s=model.timeout,
        batch_size=lime.batch_size,
        preprocess=preprocess,
    )


def lime_settings(
    kind: Kind,
    lime: LimeOptions,
    predictor: Predictor,
    own: Mapping[str, Any],
    num_samples: int | None = None,
    flips: int = _FLIPS,
) -> LimeSettings:
    """LIME's settings for a run; `own` are those of the kind, `num_samples` and `flips` are
    other defaults.
    """
    default_k = None if kind == "image" else 10
    limes = lime.engine is Engine.lime
    found = LimeSettings(
        kind=kind,
        engine=lime.engine.value,
        sampler="lime" if limes and lime.sampler is Sampler.auto else lime.sampler.value,
        num_samples=lime.num_samples
        or min(num_samples or _NUM_SAMPLES[kind], lime.max_samples or sys.maxsize),
        num_features=lime.num_features or default_k,
        kernel_width=lime.width,
        distance_metric=lime.distance_metric.value if lime.distance_metric else _METRIC[kind],
        feature_selection=lime.feature_selection.value,
        seed=lime.seed,
        batch_size=lime.batch_size,
        max_memory=lime.max_bytes,
        top_labels=min(lime.top_labels, len(predictor.class_names)),
        labels=_label_indices(lime.label or [], predictor),
        auto_width=lime.kernel_width == "auto" or None,
        control_variate=lime.control_variate or None,
        settle=lime.settle,
        max_samples=lime.max_samples,
        tie_tolerance=lime.tie_tolerance,
        flips=None if limes else flips if lime.flips is None else lime.flips,
        flip_threshold=_threshold(lime, predictor),
        **own,
    )
    check_sampler(found)
    return found


def _threshold(lime: LimeOptions, predictor: Predictor) -> float | None:
    if lime.flip_threshold is not None and predictor.task != "regression":
        raise UsageError(
            "--flip-threshold is for regressions: a classification flips when another class wins"
        )
    return lime.flip_threshold


def _label_indices(names: Sequence[str], predictor: Predictor) -> tuple[int, ...]:
    """Class names, or index:N, -> output indices. Raises UsageError for what is not there."""
    if names and predictor.task == "regression":
        raise UsageError("--label: a regression model has no classes")
    return tuple(dict.fromkeys(_label_index(name, predictor.class_names) for name in names))


def _label_index(name: str, classes: tuple[str, ...]) -> int:
    from limecli.inputs.table import did_you_mean

    if name.startswith("index:") and name not in classes:
        number = name.removeprefix("index:")
        if number.isdecimal() and int(number) < len(classes):
            return int(number)
        raise UsageError(f"--label {name}: the classes are index:0 to index:{len(classes) - 1}")
    found = [i for i, other in enumerate(classes) if other == name]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = " or ".join(f"index:{i}" for i in found)
        raise UsageError(f"--label {name}: {len(found)} classes have that name", f"say {numbers}")
    raise UsageError(f"--label {name}: the model has no such class", did_you_mean(name, classes))
