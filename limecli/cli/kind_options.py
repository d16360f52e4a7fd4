"""The options that only rows, pictures or texts have, for one explanation and for a million."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limecli.cli.options import Discretizer, Resize
from limecli.errors import UsageError

if TYPE_CHECKING:
    from limecli.cli.subjects import Pictures, Rows


@dataclass
class RowOptions:
    """How the columns of a table are taken, and what they are seen against."""

    background: Annotated[
        str | None,
        typer.Option(
            "-b",
            "--background",
            metavar="FILE",
            help="Training data, or statistics from `limecli background`.",
        ),
    ] = None
    id_column: Annotated[str | None, typer.Option(help="Column that names the rows.")] = None
    target: Annotated[
        str | None, typer.Option(help="Column that the model predicts; not a feature.")
    ] = None
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column of numbers that are categories. Repeatable."),
    ] = None
    discretizer: Annotated[
        Discretizer | None, typer.Option(help="Bins for number columns [quartile].")
    ] = None
    sample_around_instance: Annotated[
        bool, typer.Option("--sample-around-instance", help="With --discretizer none: draw there.")
    ] = False
    immutable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMNS", help="No flip changes these, nor protected ones (sex, age ...)."
        ),
    ] = None
    mutable: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMNS", help="Flips may change these, though protected."),
    ] = None
    require_background: Annotated[
        bool, typer.Option("--require-background", help="Exit 1 unless a background was given.")
    ] = False

    def __post_init__(self) -> None:
        """Raises UsageError before a model is loaded for nothing."""
        if self.sample_around_instance and self.discretizer is not Discretizer.none:
            raise UsageError("--sample-around-instance needs --discretizer none")

    def rows(self, path: str, row: str | None) -> Rows:
        """The rows of a file."""
        from limecli.cli.subjects import Rows

        return Rows(
            path, row, self.background, self.id_column, self.target, tuple(self.categorical or ()),
            self.discretizer.value if self.discretizer else None, self.sample_around_instance,
            tuple(self.immutable or ()), tuple(self.mutable or ()),
        )  # fmt: skip


@dataclass
class PictureOptions:
    """How pictures are cut up and shown to the model."""

    preprocess: Annotated[
        str | None,
        typer.Option(
            allow_from_autoenv=False,
            metavar="NAME|MEAN,STD|MODULE:FUNCTION",
            help="none, scale01, scale-1-1, imagenet, caffe, MEAN,STD, or your function"
            " (its code runs) on float32[n, h, w, 3] of 0..255 [by the model].",
        ),
    ] = None
    segmentation: Annotated[
        str,
        typer.Option(
            metavar="auto|quickshift|slic|felzenszwalb|grid|FILE",
            help="Superpixels, or a file with one value each segment.",
        ),
    ] = "auto"
    num_segments: Annotated[
        int | None, typer.Option(min=2, help="About how many superpixels (slic, grid).")
    ] = None
    hide_color: Annotated[
        str, typer.Option(metavar="mean|COLOR", help="What hidden superpixels are filled with.")
    ] = "mean"
    resize: Annotated[Resize, typer.Option(help="How pictures get the model's size.")] = (
        Resize.stretch
    )
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side in pixels, for models of any size [224].")
    ] = None

    def check(self) -> None:
        """Raise UsageError for a preprocessing that is not known: a model may take long to load."""
        from limecli.models.pictures import preprocessor

        if self.preprocess is not None:
            preprocessor(self.preprocess)

    def pictures(self, paths: dict[int, str]) -> Pictures:
        """Picture files by index."""
        from limecli.cli.subjects import Pictures

        return Pictures(
            paths, self.segmentation, self.num_segments, self.hide_color, self.resize.value,
            self.image_size,
        )  # fmt: skip


@dataclass
class TextOptions:
    """What counts as a word, and what becomes of a hidden one."""

    split_expression: Annotated[
        str | None, typer.Option(metavar="REGEX", help="What lies between words [\\W+].")
    ] = None
    char_level: Annotated[bool, typer.Option("--char-level", help="Characters, not words.")] = False
    no_bow: Annotated[
        bool, typer.Option("--no-bow", help="Each place of a word is a feature of its own.")
    ] = False
    mask_string: Annotated[
        str | None, typer.Option(help="Stands for hidden words; needs --no-bow [UNKWORDZ].")
    ] = None

    def check(self) -> None:
        """Raise UsageError for options that do not go together."""
        if self.mask_string is not None and not self.no_bow:
            raise UsageError("--mask-string needs --no-bow: a bag of words has its words removed")
        if self.split_expression == "":
            raise UsageError("--split-expression is empty", "--char-level explains characters")
        if self.split_expression is not None and self.char_level:
            raise UsageError("--split-expression and --char-level contradict each other")

    def how(self) -> dict[str, Any]:
        """As fields of `subjects.Texts`."""
        return {
            "split_expression": self.split_expression,
            "char_level": self.char_level,
            "bow": not self.no_bow,
            "mask_string": self.mask_string,
        }
