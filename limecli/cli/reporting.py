"""From a subject on the command line to a report at its destinations."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from limecli.cli import variants
from limecli.cli.destinations import destinations
from limecli.cli.gates import GateOptions, check_background
from limecli.cli.neighborhoods import neighborhood_files
from limecli.cli.options import (
    CommonOptions,
    LimeOptions,
    ModelOptions,
    ReportOptions,
    TrialOptions,
)
from limecli.cli.run import Prepared, Run, Subject
from limecli.cli.settings import lime_settings, load_options
from limecli.cli.variants import Tuned
from limecli.errors import InputError, PredictError
from limecli.types import (
    Background,
    Explanation,
    LimeSettings,
    Predictor,
    Report,
    Skipped,
)


@dataclass(frozen=True)
class Options:
    """The groups of options that `tabular`, `image` and `text` share."""

    common: CommonOptions
    model: ModelOptions
    lime: LimeOptions
    report: ReportOptions
    gates: GateOptions
    trials: TrialOptions
    require_background: bool = False


def explain_and_report(
    model: str, subject: Subject, options: Options, preprocess: str | None = None
) -> None:
    """Explain all of the subject, write the report, and fail at the end if some was skipped or
    does not reach what the gates demand.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    console = options.common.console()
    load = load_options(subject.kind, options.model, options.lime, options.report, preprocess)
    run = Run(model, console, load)
    prepared = run.read(subject)
    if options.require_background:
        check_background(prepared.background)
    requested = lime_settings(subject.kind, options.lime, run.predictor, prepared.own)
    tuned = Tuned(prepared, requested, ())
    if options.trials.tune:
        tuned = variants.tuned(run, subject, prepared, requested)
        run.notes(variants.table_lines(tuned.table))
        prepared = tuned.prepared
    where = destinations(options.report, prepared.instances, _files_read(run, prepared))
    keep = neighborhood_files(options.report.save_neighborhood, run, prepared, requested.engine)
    explained = run.explain(prepared, tuned.settings, keep)
    _fail_alone(explained.results)
    if options.trials.repeats is not None:
        explained = variants.repeated(
            run, prepared, explained, tuned.settings, options.trials.repeats
        )
    if options.trials.sensitivity:
        explained = variants.sensitive(run, subject, prepared, explained, tuned.settings)

    from limecli.report.provenance import provenance

    extra = {**prepared.extra, "tried": list(tuned.table), "variant_calls": run.spent[0]}
    command = ["limecli", *sys.argv[1:]]
    written = Report(
        provenance=provenance(command, started, time.monotonic() - clock),
        model=describe_model(run),
        background=describe_background(prepared.background),
        settings=describe_settings(explained.settings, requested, run.predictor, extra),
        explanations=explained.results,
    )
    where.write(written, console)
    _fail_for_skipped(explained.results)
    options.gates.check(explained.results)


def _files_read(run: Run, prepared: Prepared) -> list[str | None]:
    background = prepared.background
    read = [run.predictor.path, *(instance.path for instance in prepared.instances)]
    return [*read, background.path if background else None]


def describe_model(run: Run) -> dict[str, Any]:
    """What a report says of the model."""
    predictor = run.predictor
    classes = predictor.class_names if predictor.task == "classification" else None
    return {
        "path": predictor.path,
        "name": Path(predictor.path).name,
        "sha256": predictor.sha256,
        "format": predictor.format,
        "estimator": predictor.estimator,
        "task": predictor.task,
        "output": predictor.output,
        "activation": run.load.activation,
        "n_classes": None if classes is None else len(classes),
        "class_names": None if classes is None else list(classes),
        "feature_names": _listed(predictor.feature_names),
    }


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def describe_background(background: Background | None) -> dict[str, Any] | None:
    """What a report says of the background."""
    if background is None:
        return None
    content = {key: getattr(background, key) for key in ("source", "path", "sha256", "rows")}
    if background.recovered_from:
        content["recovered_from"] = list(background.recovered_from)
    return content


def describe_settings(
    used: LimeSettings, requested: LimeSettings, predictor: Predictor, extra: Mapping[str, Any]
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


def _fail_alone(results: Sequence[Explanation | Skipped]) -> None:
    """Raise what became of the only instance: a report of nothing helps nobody."""
    lost = results[0]
    if len(results) == 1 and isinstance(lost, Skipped):
        raise _fault([lost])(lost.reason, lost.hint)


def _fail_for_skipped(results: Sequence[Explanation | Skipped]) -> None:
    lost = [item for item in results if isinstance(item, Skipped)]
    if not lost:
        return
    if len(lost) == 1:
        raise _fault(lost)(f"skipped {lost[0].id}: {lost[0].reason}")
    raise _fault(lost)(
        f"skipped {len(lost)} of {len(results)}, the first: {lost[0].reason}",
        "--json gives every reason",
    )


def _fault(lost: Sequence[Skipped]) -> type[InputError | PredictError]:
    return PredictError if all(item.kind == "predict" for item in lost) else InputError
