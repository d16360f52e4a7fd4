"""`background`, `schema` and `formats`: the commands about files."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from limecli import registry
from limecli.cli.destinations import check_not_read, check_writable, write_atomically
from limecli.cli.options import CommonOptions, Discretizer, grouped


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("background")(grouped(background))
    app.command("schema")(grouped(schema))
    app.command("formats")(grouped(formats))


def background(
    train: Annotated[
        str,
        typer.Argument(
            metavar="TRAIN", help="Training data: CSV, TSV, JSON or JSONL.", show_default=False
        ),
    ],
    common: CommonOptions,
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
) -> None:
    """Summarise training data into the statistics that LIME needs, without any of its rows."""
    from limecli.inputs.background import background_from_table, to_json
    from limecli.inputs.table import read_table, require_column

    console = common.console()
    if output is not None:
        check_writable(output)
        check_not_read(output, [train])
    table = read_table(train)
    for name, option in ((target, "--target"), (id_column, "--id-column")):
        if name is not None:
            require_column(table, name, option)
    features = [name for name in table.columns if name not in (target, id_column)]
    found = background_from_table(
        table, features, discretizer.value, tuple(categorical or ()), target=target
    )
    text = json.dumps(to_json(found), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text.encode())
        console.note(f"{output}: {found.rows} rows, {len(features)} features")


def schema(common: CommonOptions) -> None:
    """Print the JSON Schema of a report."""
    from limecli.report.schema import REPORT_SCHEMA

    common.console()
    sys.stdout.write(json.dumps(REPORT_SCHEMA, indent=2) + "\n")


def formats(common: CommonOptions) -> None:
    """List what can be read and written here, and which extra would add what."""
    common.console()
    lines = ["models:"]
    for name in registry.available(registry.MODELS):
        needed = registry.load(registry.MODELS, name).requires
        missing = [package for package in needed if find_spec(package) is None]
        state = f"pip install 'limecli[{name}]'" if missing else "ready"
        lines.append(f"  {name:<10} {state}")
    lines.append("reports:")
    for name in registry.available(registry.FORMATS):
        suffixes = " ".join(registry.load(registry.FORMATS, name).suffixes)
        lines.append(f"  {name:<10} {suffixes}")
    sys.stdout.write("\n".join(lines) + "\n")
