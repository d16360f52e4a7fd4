"""What `tabular`, `image` and `text` have in common: load, settle the settings, explain, report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from limecli import registry
from limecli.cli.console import Console
from limecli.cli.destinations import Destinations, destinations
from limecli.cli.options import ActivationName, LimeOptions, ModelOptions, ReportOptions
from limecli.errors import InputError, PredictError, UsageError
from limecli.explainers.interface import ExplainerFactory
from limecli.types import (
    Background,
    Explanation,
    Instance,
    Kind,
    LimeSettings,
    Predictor,
    Report,
    Skipped,
)

_NUM_SAMPLES = {"tabular": 5000, "image": 1000, "text": 5000}
_METRIC = {"tabular": "euclidean", "image": "cosine", "text": "cosine"}


@dataclass
class _Options:
    model: ModelOptions
    lime: LimeOptions
    report: ReportOptions


class Run:
    """One call of a command: loads the model, then explains and reports."""

    def __init__(
        self,
        kind: Kind,
        model: str,
        console: Console,
        model_options: ModelOptions,
        lime: LimeOptions,
        report: ReportOptions,
        preprocess: str | None = None,
    ) -> None:
        from limecli.models.detect import load_model
        from limecli.models.interface import LoadOptions

        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self.kind, self.console = kind, console
        self._options = _Options(model_options, lime, report)
        if lime.kernel_width is not None and not 1e-6 <= lime.kernel_width <= 1e6:
            raise UsageError(f"--kernel-width {lime.kernel_width}: it must lie in 1e-6 to 1e6")
        activation = model_options.activation
        self._load = LoadOptions(
            kind=kind,
            task=None if model_options.task is None else model_options.task.value,
            output=cast("Any", report.scale),
            activation=cast("Any", activation.value if activation else "none"),
            independent=activation is ActivationName.none,
            class_names=self._class_names(model_options.class_names),
            trust=model_options.names,
            trust_pickle=model_options.trust_pickle,
            timeout_s=model_options.timeout,
            batch_size=lime.batch_size,
            preprocess=preprocess,
        )
        self.predictor = load_model(model, self._load)
        self.notes(self.predictor.notes)
        sha256 = (self.predictor.sha256 or "none")[:12]
        console.detail(
            f"{self.predictor.estimator} from {self.predictor.format}, sha256 {sha256},"
            f" loaded in {time.monotonic() - self._clock:.2f} s"
        )

    @staticmethod
    def _class_names(choice: str | None) -> tuple[str, ...] | None:
        from limecli.inputs.class_names import read_class_names

        return None if choice is None else read_class_names(choice)

    def notes(self, texts: Any) -> None:
        """Say what was guessed or found odd."""
        for line in texts:
            self.console.note(line)

    def bind(self, predictor: Predictor, first: Instance, target: str | None = None) -> None:
        """Take the predictor that answers for instances, and name its outputs by trying one."""
        from limecli.inputs.class_names import imagenet_names
        from limecli.models.outputs import with_class_names

        batch = first.payload[None] if self.kind != "text" else [first.payload]
        n_outputs = predictor.predict_fn(batch).shape[1]
        if predictor.task == "regression" and self._load.activation != "none":
            raise UsageError("--activation is for classes, but the model is a regression")
        load = replace(self._load, target=target)
        unnamed = not (load.class_names or predictor.class_names)
        if self.kind == "image" and unnamed and n_outputs == 1000:
            self.console.note("1000 classes: ImageNet's names assumed (--class-names)")
            load = replace(load, class_names=imagenet_names())
        elif unnamed and predictor.task == "classification":
            self.console.note("the model names no classes: they are numbered (--class-names)")
        self.predictor = with_class_names(predictor, n_outputs, load)

    def settings(self, **own: Any) -> LimeSettings:
        """LIME's settings for this run; `own` are those of the kind."""
        lime, kind = self._options.lime, self.kind
        default_k = None if kind == "image" else 10
        metric = lime.distance_metric.value if lime.distance_metric else _METRIC[kind]
        return LimeSettings(
            kind=kind,
            engine=lime.engine.value,
            sampler=lime.sampler.value,
            num_samples=lime.num_samples or _NUM_SAMPLES[kind],
            num_features=lime.num_features or default_k,
            kernel_width=lime.kernel_width,
            distance_metric=metric,
            feature_selection=lime.feature_selection.value,
            seed=lime.seed,
            batch_size=lime.batch_size,
            top_labels=min(lime.top_labels, len(self.predictor.class_names)),
            labels=_label_indices(lime.label or [], self.predictor),
            **own,
        )

    def explain_and_report(
        self,
        instances: Sequence[Instance],
        skipped: Sequence[Skipped],
        settings: LimeSettings,
        background: Background | None,
        extra: dict[str, Any],
    ) -> None:
        """Explain every instance, write the report, and fail at the end if one was skipped."""
        read = [self.predictor.path, *(instance.path for instance in instances)]
        read.append(background.path if background else None)
        where: Destinations = destinations(self._options.report, instances, read)
        requested = settings
        build: ExplainerFactory = registry.load(
            registry.EXPLAINERS, f"{settings.engine}-{self.kind}"
        )
        results: list[Explanation | Skipped] = list(skipped)
        with self.console.progress() as progress:
            explainer = build(self.predictor, background, settings, progress)
            progress.total = explainer.evaluations(len(instances))
            self.notes(explainer.notes)
            for result in explainer.explain(instances):
                if isinstance(result, Skipped):
                    if len(instances) == 1 and not skipped:
                        raise _fault(result)(result.reason, result.hint)
                else:
                    self._tell(result)
                results.append(result)
        results.sort(key=_index)
        where.write(
            self._report(tuple(results), explainer.settings, requested, background, extra),
            self.console,
        )
        self._fail_for_skipped(results)

    def _report(
        self,
        results: tuple[Explanation | Skipped, ...],
        used: LimeSettings,
        requested: LimeSettings,
        background: Background | None,
        extra: dict[str, Any],
    ) -> Report:
        from limecli.report.provenance import provenance

        predictor = self.predictor
        command = ["limecli", *sys.argv[1:]]
        classes = predictor.class_names if predictor.task == "classification" else None
        return Report(
            provenance=provenance(command, self._started, time.monotonic() - self._clock),
            model={
                "path": predictor.path,
                "name": Path(predictor.path).name,
                "sha256": predictor.sha256,
                "format": predictor.format,
                "estimator": predictor.estimator,
                "task": predictor.task,
                "output": predictor.output,
                "activation": self._load.activation,
                "n_classes": None if classes is None else len(classes),
                "class_names": None if classes is None else list(classes),
                "feature_names": _listed(predictor.feature_names),
            },
            background=_background(background),
            settings=_settings(used, requested, predictor, extra),
            explanations=results,
        )

    def _tell(self, result: Explanation) -> None:
        """What is to be said of one explanation: its notes, and under -v what it cost."""
        instance = result.instance
        self.notes(f"{instance.path or self.kind}: {line}" for line in result.notes)
        phases = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in result.phases.items())
        self.console.detail(
            f"{instance.id} explained in {sum(result.phases.values()):.3f} s,"
            f" {result.model_calls} model calls: {phases}"
        )

    def _fail_for_skipped(self, results: Sequence[Explanation | Skipped]) -> None:
        lost = [item for item in results if isinstance(item, Skipped)]
        if not lost:
            return
        fault = PredictError if all(item.kind == "predict" for item in lost) else InputError
        if len(lost) == 1:
            raise fault(f"skipped {lost[0].id}: {lost[0].reason}")
        raise fault(
            f"skipped {len(lost)} of {len(results)}, the first: {lost[0].reason}",
            "--json gives every reason",
        )


def _fault(item: Skipped) -> type[InputError | PredictError]:
    return PredictError if item.kind == "predict" else InputError


def _index(item: Explanation | Skipped) -> int:
    return item.index if isinstance(item, Skipped) else item.instance.index


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _background(background: Background | None) -> dict[str, Any] | None:
    if background is None:
        return None
    content = {key: getattr(background, key) for key in ("source", "path", "sha256", "rows")}
    if background.recovered_from:
        content["recovered_from"] = list(background.recovered_from)
    return content


def _settings(
    used: LimeSettings, requested: LimeSettings, predictor: Predictor, extra: dict[str, Any]
) -> dict[str, Any]:
    """What was used, without the options of other kinds, and what was asked for."""
    optional = {"num_features", "batch_size"}
    values = {
        key: value for key, value in asdict(used).items() if value is not None or key in optional
    }
    values["labels"] = [predictor.class_names[i] for i in used.labels]
    asked = asdict(requested)
    changed = {key: asked[key] for key in values if key in asked and asked[key] != values[key]}
    changed.pop("labels", None)
    return {**values, **{k: v for k, v in extra.items() if v}, "requested": changed}


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
