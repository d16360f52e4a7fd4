"""`verify`: compute a report again, and compare every number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limecli.cli.console import Console
from limecli.cli.destinations import check_not_read, check_writable, write_atomically
from limecli.cli.grouped import grouped
from limecli.cli.options import CommonOptions, TrustOptions
from limecli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from limecli.cli.replay import Given, Replay
    from limecli.cli.run import Prepared, Run
    from limecli.report.differences import Compared, Difference
    from limecli.report.reading import Recorded
    from limecli.report.verdict import AuditVerdict, Verdict
    from limecli.types import Background, Instance, LimeSettings


_ROUNDINGS = 4  # of the model's outputs, as far as they may show in a weight
_COARSEST = 1e-5  # a model whose answers differ by more is not the same twice


class Against(StrEnum):
    """Who computes the report again."""

    lime = "lime"
    limecli = "limecli"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("verify")(grouped(verify))


def _typed(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Take what is typed only: limecli.toml names files for other runs, and must not name code."""
    source = ctx.get_parameter_source(str(param.name))
    return value if source is not None and source.name == "COMMANDLINE" else None


def _typed_option(metavar: str, told: str, *flags: str) -> Any:
    """An option that neither limecli.toml nor the environment can set."""
    return typer.Option(
        *flags, metavar=metavar, help=told, allow_from_autoenv=False, callback=_typed
    )


def verify(
    report: Annotated[
        str,
        typer.Argument(
            metavar="REPORT",
            help="JSON report of limecli, - for stdin; or an audit (JSONL).",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    trusted: TrustOptions,
    against: Annotated[
        Against | None,
        typer.Option(help="Compute with lime's own classes, or limecli's [as in the report]."),
    ] = None,
    model: Annotated[
        str | None,
        _typed_option(
            "MODEL", "Where the model is now; needed for package.module:function and for URLs."
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        _typed_option("FILE", "Where the input is now. Repeatable.", "--input"),
    ] = None,
    background: Annotated[
        str | None,
        _typed_option("FILE", "Where the background is now.", "-b", "--background"),
    ] = None,
    preprocess: Annotated[
        str | None,
        _typed_option(
            "NAME|MEAN,STD|MODULE:FUNCTION", "As for limecli image; needed where it was a function."
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        _typed_option(
            "FILE|imagenet", "Names of the classes, where the model has none or the report others."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, max=86400, help="How long a URL may take for one batch."
        ),
    ] = 30.0,
    hashes_only: Annotated[
        bool | None,
        _typed_option(
            None,
            "Of an audit: check its lines, and files by their hashes; load nothing.",
            "--hashes-only",
        ),
    ] = None,
    last_hash: Annotated[
        str | None, _typed_option("HEX", "Of an audit: the last hash, as it was kept.")
    ] = None,
    sample: Annotated[
        str | None,
        _typed_option("N|all", "Of an audit: how many decisions [100; 10 with --against lime]."),
    ] = None,
    seed: Annotated[int | None, _typed_option("N", "Of an audit: draws the sample [0].")] = None,
    query: Annotated[
        str | None, _typed_option("SQL", "Of an audit of a query: it again, with --database.")
    ] = None,
    database: Annotated[str | None, _typed_option("URL|FILE", "Where to ask --query.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the result as JSON here."),
    ] = None,
) -> None:
    """Compute a report, or a sample of an audit, again from its model and inputs, and compare every
    number.
    """
    from limecli.cli.replay import Given, Replay
    from limecli.cli.verify_audit import Asked, is_audit, verdict_on_audit
    from limecli.report.reading import read_report

    console = common.console()
    given = Given(
        model, tuple(inputs or ()), background, preprocess, class_names, trusted.names,
        trusted.trust_pickle, timeout,
    )  # fmt: skip
    engine = against.value if against else None
    only = {"hashes-only": hashes_only, "last-hash": last_hash, "sample": sample, "seed": seed,
            "query": query, "database": database}  # fmt: skip
    if is_audit(report):
        asked = Asked(engine, bool(hashes_only), last_hash, sample, seed or 0, query, database)
        if output is not None:
            check_writable(output)
            check_not_read(output, [report, given.model, given.background, *given.inputs])
        _finish(verdict_on_audit(report, given, asked, console), as_json, output, console)
        return
    for option, value in only.items():
        if value is not None:
            raise UsageError(f"--{option} is for audits, and {report} is none")
    replay = Replay(read_report(report), given)
    if output is not None:
        check_writable(output)
        check_not_read(output, [report, *_files_read(replay.report, given)])
    _finish(_verdict(replay, engine, console), as_json, output, console)


def _finish(
    verdict: Verdict | AuditVerdict, as_json: bool, output: str | None, console: Console
) -> None:
    _tell_versions(verdict, console)
    _write(verdict, as_json, output, console)
    if not verdict.verified:
        raise typer.Exit(int(ExitCode.FINDING))


def _files_read(report: Recorded, given: Given) -> list[str | None]:
    recorded = [report.model["path"], report.background and report.background["path"]]
    recorded += [item["input"]["path"] for item in report.explained]
    return [*recorded, given.model, given.background, *given.inputs]


def _write(
    verdict: Verdict | AuditVerdict, as_json: bool, output: str | None, console: Console
) -> None:
    """The file, and stdout unless there is one; a short word on stderr in its place."""
    if output is not None:
        write_atomically(output, verdict.as_json().encode())
        console.note(f"{output}: {'verified' if verdict.verified else 'not verified'}")
    if as_json:
        sys.stdout.write(verdict.as_json())
    elif output is None:
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in verdict.lines()))


def _verdict(replay: Replay, against: str | None, console: Console) -> Verdict:
    """Load, read, explain and compare; a model that is another one is not even opened."""
    from limecli.cli.run import Run
    from limecli.report.verdict import Verdict

    settings = replay.settings(against)
    load, report = replay.load_options(), replay.report
    told = (report.path, replay.kind, settings.engine)
    changed = model_differences(replay, console)
    if not changed:
        run = Run(replay.model, console, load)
        changed = hash_difference("model", report.model["sha256"], run.predictor.sha256)
        if _unguarded(replay):
            changed = ()
    if changed:
        return Verdict(*told, changed, _not_compared(report), other_versions(report.versions))
    prepared = replay.prepare(run)
    settings = replace(settings, labels=replay.labels(run.predictor))
    moved = background_differences(report, prepared.background)
    try:
        compared, tolerance, allowed = compare_all(
            replay, run, prepared, settings, _same_name(replay)
        )
    except UsageError as error:  # an option that nobody typed
        report.refuse(error.message)
    found = (*description_differences(report, run), *moved)
    left_out = () if allowed is not None else report.left_out
    versions = other_versions(report.versions)
    return Verdict(*told, found, compared, versions, tolerance, allowed, left_out)


def compare_all(
    replay: Replay, run: Run, prepared: Prepared, settings: LimeSettings, same_name: bool
) -> tuple[tuple[Compared, ...], float, float | None]:
    """Every explanation compared, the tolerance, and the standard errors that a weight may lie off
    where the report was not drawn as lime draws.
    """
    from limecli.cli.against_lime import by_index, lime_results
    from limecli.report.comparison import compare

    tolerance = _tolerance(replay, run, prepared.instances, settings)
    if replay.within_intervals(settings.engine):
        results = lime_results(replay, run, prepared, settings.labels)
        judged = partial(results.compared, same_name=same_name, tolerance=tolerance)
        return _each(replay, results.lime.keys(), judged), tolerance, results.allowed
    here = by_index(run.explain(prepared, settings), run.predictor.task)
    same_engine = settings.engine == replay.report.settings["engine"]

    def compared(item: Mapping[str, Any]) -> Compared:
        twin = here[item["index"]]
        return compare(item, twin, same_engine, same_name, tolerance)

    return _each(replay, here.keys(), compared), tolerance, None


def _same_name(replay: Replay) -> bool:
    return not (replay.kind == "image" and replay.given.inputs)


def _each(
    replay: Replay, there: Container[int], compared: Callable[[Mapping[str, Any]], Compared]
) -> tuple[Compared, ...]:
    """The verdict on each recorded explanation, also on those that are not there any more."""
    from limecli.report.differences import Compared, Difference

    found = []
    for item in replay.report.explanations:
        if item["index"] in there:
            found.append(compared(item))
        elif item["status"] == "skipped" and replay.kind != "tabular":
            reason = "the report does not hold what was skipped: --input FILE"
            found.append(Compared(item["id"], item["index"], None, reason=reason))
        else:
            gone = Difference("status", "in the input", "not in the input")
            found.append(Compared(item["id"], item["index"], False, differences=(gone,)))
    return tuple(found)


def _tolerance(
    replay: Replay, run: Run, instances: Sequence[Instance], settings: LimeSettings
) -> float:
    """Two engines give a model different batches: what these alone change, they must not count."""
    from limecli.explainers.row_wise import rounding
    from limecli.report.differences import TOLERANCE

    if settings.engine == replay.report.settings["engine"]:
        return TOLERANCE
    found = _ROUNDINGS * rounding(run.predictor.predict_fn, [x.payload for x in instances])
    return max(TOLERANCE, min(found, _COARSEST))


def description_differences(report: Recorded, run: Run) -> Iterator[Difference]:
    """What the model says of itself that is not as recorded."""
    from limecli.cli.reporting import describe_model
    from limecli.report.differences import Difference

    here = describe_model(run)
    for key in ("format", "estimator", "task", "n_classes", "feature_names"):
        if key in report.model and report.model[key] != here[key]:
            what = f"{key.replace('_', ' ')} of the model"
            yield Difference(what, report.model[key], here[key])


def model_differences(replay: Replay, console: Console) -> tuple[Difference, ...]:
    """Whether the model's file or folder is another one, found before anything in it is opened."""
    from limecli.models.interface import ModelFile

    if _unguarded(replay):
        console.note("the report holds no sha256 of its model: nothing shows whether it changed")
        return ()
    file = ModelFile(replay.model)
    if not (file.is_file or file.is_folder):
        return ()  # code that the user named: its hash is known once it is imported
    return hash_difference("model", replay.report.model["sha256"], file.sha256)


def _unguarded(replay: Replay) -> bool:
    # A model that the report alone names is a file, of which limecli always records the hash.
    return replay.report.model["sha256"] is None and replay.given.model is not None


def hash_difference(what: str, recorded: str | None, here: str | None) -> tuple[Difference, ...]:
    """The difference of two hashes, if there is one."""
    from limecli.report.differences import Difference

    return () if recorded == here else (Difference(f"sha256 of the {what}", recorded, here),)


def background_differences(report: Recorded, here: Background | None) -> tuple[Difference, ...]:
    """Whether the background is another one."""
    from limecli.report.differences import Difference

    recorded = report.background
    if recorded is None or here is None:
        return ()
    if recorded["source"] == "model" and here.source != "model":
        return (Difference("source of the background", "the model itself", str(here.path)),)
    found = [*hash_difference("background", recorded["sha256"], here.sha256)]
    if recorded["rows"] != here.rows:
        found.append(Difference("rows of the background", recorded["rows"], here.rows))
    return tuple(found)


def _not_compared(report: Recorded) -> tuple[Compared, ...]:
    from limecli.report.differences import Compared

    return tuple(Compared(item["id"], item["index"], None) for item in report.explanations)


def other_versions(
    recorded: Mapping[str, str],
) -> dict[str, tuple[str | None, str | None]]:
    """Recorded packages whose version here is another."""
    from limecli.report.provenance import provenance

    now = provenance((), datetime.now(UTC), 0.0)
    here = {"limecli": now["limecli"], **now["versions"]}
    pairs = {name: (told, here.get(name) or _installed(name)) for name, told in recorded.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _installed(name: str) -> str | None:
    from limecli.models.versions import installed_version

    try:
        return installed_version(name)
    except ValueError:  # a report may call a package anything, "" too
        return None


def _tell_versions(verdict: Verdict | AuditVerdict, console: Console) -> None:
    if verdict.versions:
        each = ", ".join(
            f"{name} {recorded} ({here or 'not'} here)"
            for name, (recorded, here) in verdict.versions.items()
        )
        console.note(f"the report was made with other versions: {each}")
