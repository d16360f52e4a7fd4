"""`audit tabular`, `audit image`, `audit text`: explain very many."""

from __future__ import annotations

from typing import Annotated

import typer

from limecli.cli.audit_inputs import AuditedPictures, AuditedRows, AuditedTexts
from limecli.cli.audit_options import AuditOptions
from limecli.cli.auditing import Options, audit_and_report
from limecli.cli.explain import MODEL
from limecli.cli.gates import GateOptions
from limecli.cli.grouped import grouped
from limecli.cli.kind_options import PictureOptions, RowOptions, TextOptions
from limecli.cli.options import CommonOptions, LimeOptions, ModelOptions
from limecli.cli.subjects import Texts
from limecli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    audits = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Explain very many decisions: streamed, resumable, in parallel, summed up.",
    )
    audits.command("tabular")(grouped(tabular))
    audits.command("image")(grouped(image))
    audits.command("text")(grouped(text))
    app.add_typer(audits, name="audit")


def tabular(
    model: MODEL,
    rows: Annotated[
        str | None,
        typer.Argument(
            metavar="[ROWS]",
            help="CSV, TSV, JSONL, JSON or Parquet file; - for stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    audit: AuditOptions,
    gates: GateOptions,
    table: RowOptions,
    protected: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMNS", help="Sum up what they weigh, by group: sex,race."),
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="SQL", help="Rows of a database; order them.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL|FILE", help="FILE.duckdb, FILE.sqlite, or SQLAlchemy's URL."),
    ] = None,
) -> None:
    """Explain all rows of a table, or of a query."""
    if (rows is None) == (query is None):
        raise UsageError("give ROWS, or --query with --database")
    if (query is None) != (database is None):
        raise UsageError("--query and --database go together")
    source = AuditedRows(table.rows(rows or "", None), query, database, tuple(protected or ()))
    options = Options(common, model_options, lime, audit, gates, table.require_background)
    audit_and_report(model, source, options)


def image(
    model: MODEL,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Picture files and folders of them; @FILE or - for a list of paths.",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    audit: AuditOptions,
    gates: GateOptions,
    how: PictureOptions,
) -> None:
    """Explain all pictures of a folder or a list."""
    how.check()
    source = AuditedPictures(tuple(images), how.pictures({}))
    options = Options(common, model_options, lime, audit, gates)
    audit_and_report(model, source, options, how.preprocess)


def text(
    model: MODEL,
    texts: Annotated[
        str,
        typer.Argument(
            metavar="TEXTS",
            help="A file of lines, or a table with --column; - for stdin.",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    audit: AuditOptions,
    gates: GateOptions,
    how: TextOptions,
    column: Annotated[
        str | None, typer.Option(help="Of a CSV, JSONL or Parquet file: what holds the texts.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="With --column: what names them.")] = None,
) -> None:
    """Explain every line of a file, or the texts of a column."""
    how.check()
    if id_column is not None and column is None:
        raise UsageError("--id-column needs --column: lines have numbers only")
    source = AuditedTexts(texts, column, id_column, Texts((), **how.how()))
    audit_and_report(model, source, Options(common, model_options, lime, audit, gates))
