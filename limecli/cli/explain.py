"""`tabular`, `image` and `text`: read, explain, report."""

from __future__ import annotations

from typing import Annotated

import typer

from limecli.cli.gates import GateOptions
from limecli.cli.grouped import grouped
from limecli.cli.options import (
    CommonOptions,
    Discretizer,
    LimeOptions,
    ModelOptions,
    ReportOptions,
    Resize,
)
from limecli.cli.reporting import Options, explain_and_report
from limecli.cli.subjects import Pictures, Rows, Texts
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
            metavar="ROWS", help="CSV, TSV, JSON or JSONL file; - for stdin.", show_default=False
        ),
    ],
    common: CommonOptions,
    model_options: ModelOptions,
    lime: LimeOptions,
    report: ReportOptions,
    gates: GateOptions,
    row: Annotated[
        str | None,
        typer.Option(
            "-r",
            "--row",
            metavar="N|A:B|id=VALUE|all",
            help="Rows to explain, counted from 0 [all, when there are at most 20].",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "-b",
            "--background",
            metavar="FILE",
            help="Training data, or statistics from `limecli background`.",
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the rows.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Column that the model predicts; not a feature.")
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column of numbers that are categories. Repeatable."),
    ] = None,
    discretizer: Annotated[
        Discretizer | None, typer.Option(help="Bins for number columns [quartile].")
    ] = None,
    sample_around_instance: Annotated[
        bool, typer.Option("--sample-around-instance", help="With --discretizer none: draw there.")
    ] = False,
    immutable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMNS", help="No flip changes these, nor protected ones (sex, age ...)."
        ),
    ] = None,
    mutable: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMNS", help="Flips may change these, though protected."),
    ] = None,
    require_background: Annotated[
        bool, typer.Option("--require-background", help="Exit 1 unless a background was given.")
    ] = False,
) -> None:
    """Explain rows of a table."""
    if sample_around_instance and discretizer is not Discretizer.none:
        raise UsageError("--sample-around-instance needs --discretizer none")
    wanted = Rows(
        rows, row, background, id_column, target, tuple(categorical or ()),
        discretizer.value if discretizer else None, sample_around_instance,
        tuple(immutable or ()), tuple(mutable or ()),
    )  # fmt: skip
    options = Options(common, model_options, lime, report, gates, require_background)
    explain_and_report(model, wanted, options)


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
    preprocess: Annotated[
        str | None,
        typer.Option(
            allow_from_autoenv=False,
            metavar="NAME|MEAN,STD|MODULE:FUNCTION",
            help="none, scale01, scale-1-1, imagenet, caffe, MEAN,STD, or your function"
            " (its code runs) on float32[n, h, w, 3] of 0..255 [by the model].",
        ),
    ] = None,
    segmentation: Annotated[
        str,
        typer.Option(
            metavar="auto|quickshift|slic|felzenszwalb|grid|FILE",
            help="Superpixels, or a file with one value each segment.",
        ),
    ] = "auto",
    num_segments: Annotated[
        int | None, typer.Option(min=2, help="About how many superpixels (slic, grid).")
    ] = None,
    hide_color: Annotated[
        str, typer.Option(metavar="mean|COLOR", help="What hidden superpixels are filled with.")
    ] = "mean",
    resize: Annotated[
        Resize, typer.Option(help="How pictures get the model's size.")
    ] = Resize.stretch,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side in pixels, for models of any size [224].")
    ] = None,
) -> None:
    """Explain image classifications."""
    from limecli.models.pictures import preprocessor

    if preprocess is not None:
        preprocessor(preprocess)  # a name that is not known should not cost a model's loading
    wanted = Pictures(
        dict(enumerate(images)), segmentation, num_segments, hide_color, resize.value, image_size
    )
    explain_and_report(
        model, wanted, Options(common, model_options, lime, report, gates), preprocess
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
    file: Annotated[str | None, typer.Option(metavar="FILE", help="Read the text here.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Every line is a text.")] = False,
    split_expression: Annotated[
        str | None, typer.Option(metavar="REGEX", help="What lies between words [\\W+].")
    ] = None,
    char_level: Annotated[
        bool, typer.Option("--char-level", help="Characters, not words.")
    ] = False,
    no_bow: Annotated[
        bool, typer.Option("--no-bow", help="Each place of a word is a feature of its own.")
    ] = False,
    mask_string: Annotated[
        str | None, typer.Option(help="Stands for hidden words; needs --no-bow [UNKWORDZ].")
    ] = None,
) -> None:
    """Explain text classifications."""
    from limecli.inputs.text import line_instances, read_texts, text_instance

    if (words is None) == (file is None):
        raise UsageError("give one text: as an argument, with --file, or - for stdin")
    if mask_string is not None and not no_bow:
        raise UsageError("--mask-string needs --no-bow: a bag of words has its words removed")
    if split_expression == "":
        raise UsageError("--split-expression is empty", "--char-level explains characters")
    if split_expression is not None and char_level:
        raise UsageError("--split-expression and --char-level contradict each other")
    if file is None and words is not None and words != "-":
        instances = line_instances(words, None) if lines else [text_instance(words, 0, None)]
    else:
        instances = read_texts(file or "-", lines)
    wanted = Texts(tuple(instances), split_expression, char_level, not no_bow, mask_string)
    explain_and_report(model, wanted, Options(common, model_options, lime, report, gates))
