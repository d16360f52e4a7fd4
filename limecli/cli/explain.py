"""`tabular`, `image` and `text`: read, explain, report."""

from __future__ import annotations

from typing import Annotated

import typer

from limecli.cli.gates import GateOptions
from limecli.cli.grouped import grouped
from limecli.cli.kind_options import PictureOptions, RowOptions, TextOptions
from limecli.cli.options import (
    CommonOptions,
    LimeOptions,
    ModelOptions,
    ReportOptions,
    TrialOptions,
)
from limecli.cli.reporting import Options, explain_and_report
from limecli.cli.subjects import Texts
from limecli.errors import UsageError

MODEL = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model file, MLflow folder, package.module:function (its code runs) or URL.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("tabular")(grouped(tabular))
    app.command("image")(grouped(image))
    app.command("text")(grouped(text))


def tabular(
    model: MODEL,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS",
            help="CSV, TSV, JSON, JSONL or Parquet file; - for stdin.",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    report: ReportOptions,
    gates: GateOptions,
    trials: TrialOptions,
    table: RowOptions,
    row: Annotated[
        str | None,
        typer.Option(
            "-r",
            "--row",
            metavar="N|A:B|id=VALUE|all",
            help="Rows to explain, counted from 0 [all, when there are at most 20].",
        ),
    ] = None,
) -> None:
    """Explain rows of a table."""
    options = Options(common, model_options, lime, report, gates, trials, table.require_background)
    explain_and_report(model, table.rows(rows, row), options)


def image(
    model: MODEL,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="PNG, JPEG, WebP, TIFF, BMP or GIF files; - for stdin.",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    report: ReportOptions,
    gates: GateOptions,
    trials: TrialOptions,
    how: PictureOptions,
) -> None:
    """Explain image classifications."""
    how.check()
    explain_and_report(
        model,
        how.pictures(dict(enumerate(images))),
        Options(common, model_options, lime, report, gates, trials),
        how.preprocess,
    )


def text(
    model: MODEL,
    words: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="The text; - for stdin.", show_default=False),
    ] = None,
    *,
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    report: ReportOptions,
    gates: GateOptions,
    trials: TrialOptions,
    how: TextOptions,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="Read the text here.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Every line is a text.")] = False,
) -> None:
    """Explain text classifications."""
    from limecli.inputs.text import line_instances, read_texts, text_instance

    if (words is None) == (file is None):
        raise UsageError("give one text: as an argument, with --file, or - for stdin")
    how.check()
    if file is None and words is not None and words != "-":
        instances = line_instances(words, None) if lines else [text_instance(words, 0, None)]
    else:
        instances = read_texts(file or "-", lines)
    wanted = Texts(tuple(instances), **how.how())
    explain_and_report(model, wanted, Options(common, model_options, lime, report, gates, trials))
