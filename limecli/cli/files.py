"""`background`, `schema` and `formats`: the commands about files."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from limecli import registry
from limecli.cli.destinations import check_not_read, check_writable, write_atomically
from limecli.cli.grouped import grouped
from limecli.cli.options import CommonOptions, Discretizer, TrustOptions
from limecli.errors import InputError, ModelError, UsageError
from limecli.types import Background

_EXTRAS = {
    "parquet": ("pyarrow",), "database": ("duckdb", "sqlalchemy"), "dask": ("distributed",),
    "ray": ("ray",),
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("background")(grouped(background))
    app.command("schema")(grouped(schema))
    app.command("formats")(grouped(formats))


def background(
    train: Annotated[
        str,
        typer.Argument(
            metavar="TRAIN|MODEL",
            help="Training data (CSV, TSV, JSON, JSONL), or a model that remembers enough of it.",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    trusted: TrustOptions,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write here, not stdout.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column that the model predicts; not a feature.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the rows.")] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column of numbers that are categories. Repeatable."),
    ] = None,
    discretizer: Annotated[
        Discretizer, typer.Option(help="Bins for number columns.")
    ] = Discretizer.quartile,
    feature_names: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...|FILE", help="For a model without them: names, or a table's header."
        ),
    ] = None,
) -> None:
    """Summarise training data into the statistics that LIME needs, without any of its rows."""
    from limecli.inputs.background import to_json

    console = common.console()
    if output is not None:
        check_writable(output)
        check_not_read(output, [train])
    if _is_model(train):
        if target or id_column or categorical:
            raise UsageError("--target, --id-column and --categorical are for training data")
        found, notes = _from_model(train, discretizer.value, feature_names, trusted)
        where = f"recovered from the model ({', '.join(found.recovered_from)})"
    elif feature_names is not None:
        raise UsageError("--feature-names is for a model; a table has names of its own")
    else:
        found = _from_table(train, discretizer.value, target, id_column, tuple(categorical or ()))
        where, notes = f"{found.rows} rows", []
    text = json.dumps(to_json(found), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    for note in notes:
        console.note(note)
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text.encode())
        console.note(f"{output}: {where}, {len(found.columns)} features")


def _from_table(
    path: str,
    discretizer: str,
    target: str | None,
    id_column: str | None,
    categorical: tuple[str, ...],
) -> Background:
    from limecli.inputs.background import background_from_table
    from limecli.inputs.table import read_table, require_column

    table = read_table(path)
    for name, option in ((target, "--target"), (id_column, "--id-column")):
        if name is not None:
            require_column(table, name, option)
    features = [name for name in table.columns if name not in (target, id_column)]
    return background_from_table(table, features, discretizer, categorical, target=target)


def _is_model(path: str) -> bool:
    from limecli.models.detect import find_loader
    from limecli.models.interface import ModelFile

    if path == "-":
        return False
    try:
        find_loader(ModelFile(path))
    except ModelError:  # a table, or something that reading it as one explains better
        return False
    return True


def _from_model(
    path: str, discretizer: str, feature_names: str | None, trusted: TrustOptions
) -> tuple[Background, list[str]]:
    from limecli.inputs.recovery import recover_background
    from limecli.models.detect import load_model
    from limecli.models.interface import LoadOptions

    # Nothing is predicted here: any model that has a predict will do.
    options = LoadOptions(
        "tabular", "regression", trust=trusted.names, trust_pickle=trusted.trust_pickle
    )
    predictor = load_model(path, options)
    names = predictor.feature_names or _names(feature_names)
    if not names:
        raise InputError(
            f"{path} does not know the names of its columns",
            "give them: --feature-names a,b,c or a table that has them as its header",
        )
    if predictor.n_features not in (None, len(names)):
        raise InputError(
            f"the model takes {predictor.n_features} features, but there are {len(names)} names"
        )
    in_its_place = "give the training data in its place: limecli background TRAIN.csv -o stats.json"
    if predictor.fitted is None:
        raise InputError(
            f"a model of the format {predictor.format} does not tell how its features are spread",
            in_its_place,
        )
    try:
        return recover_background(
            predictor.fitted, names, discretizer, categories=predictor.categories
        )
    except InputError as error:
        raise InputError(error.message, in_its_place) from error
    except UsageError as error:
        raise UsageError(error.message, f"{in_its_place} --target COLUMN") from error


def _names(choice: str | None) -> tuple[str, ...]:
    from limecli.inputs.table import read_table

    if choice is None:
        return ()
    if Path(choice).is_file():
        return tuple(read_table(choice).columns)
    return tuple(name.strip() for name in choice.split(","))


class Described(StrEnum):
    """What has a schema."""

    report = "report"
    audit = "audit"
    summary = "summary"


def schema(
    common: CommonOptions,
    what: Annotated[
        Described,
        typer.Argument(
            metavar="[report|audit|summary]",
            help="A JSON report, a line of an audit, or the summary of one.",
        ),
    ] = Described.report,
) -> None:
    """Print the JSON Schema of a report, of an audit's lines, or of its summary."""
    from limecli.audit.summary.schema import SUMMARY_SCHEMA
    from limecli.report.schema import AUDIT_SCHEMA, REPORT_SCHEMA

    common.console()
    found = {"report": REPORT_SCHEMA, "audit": AUDIT_SCHEMA, "summary": SUMMARY_SCHEMA}
    sys.stdout.write(json.dumps(found[what.value], indent=2) + "\n")


def formats(common: CommonOptions) -> None:
    """List what can be read and written here, and which extra would add what."""
    from limecli.models.interface import missing_packages

    common.console()
    lines = ["models:"]
    for name in registry.available(registry.MODELS):
        needed = registry.load(registry.MODELS, name).requires
        missing = missing_packages(needed)
        state = f"pip install 'limecli[{name}]'" if missing else "ready"
        lines.append(f"  {name:<10} {state}")
    lines.append("reports:")
    for name in registry.available(registry.FORMATS):
        suffixes = " ".join(registry.load(registry.FORMATS, name).suffixes)
        lines.append(f"  {name:<10} {suffixes}")
    lines.append("audits:")
    for name, needed in _EXTRAS.items():
        missing = missing_packages(needed)
        state = f"pip install 'limecli[{name}]'" if missing else "ready"
        lines.append(f"  {name:<10} {state}")
    sys.stdout.write("\n".join(lines) + "\n")
