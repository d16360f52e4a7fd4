"""Rows, pictures, texts: how each is read and tried on the model before it is explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from limecli.cli.run import Prepared, Run
from limecli.errors import InputError, UsageError
from limecli.explainers.protected import protected_columns
from limecli.types import Background, Instance, Skipped

if TYPE_CHECKING:
    from limecli.inputs.image import Frame, Resize
    from limecli.types import IntArray


@dataclass(frozen=True)
class Rows:
    """Rows of a table, the background that they are seen against, and how columns are taken.

    `from_model` passes over a background file and a sidecar.
    """

    path: str
    row: str | None
    background: str | None
    id_column: str | None
    target: str | None
    categorical: tuple[str, ...]
    discretizer: str | None
    sample_around_instance: bool
    immutable: tuple[str, ...] = ()
    mutable: tuple[str, ...] = ()
    from_model: bool = False
    kind: Literal["tabular"] = "tabular"

    def prepare(self, run: Run) -> Prepared:
        """See `Subject`."""
        from limecli.cli import rows

        found = rows.Rows.read(
            self.path, self.row, run.predictor, self.background, self.id_column, self.target,
            self.categorical, self.discretizer, self.from_model,
        )  # fmt: skip
        run.notes(found.notes)
        instances, skipped = rows.probe(found, run.predictor)
        run.notes(rows.probe_integers(found, run.predictor, instances[0]))
        own, protected = self.own(found.background)
        extra = {"id_column": self.id_column, "target": self.target,
                 "categorical": list(self.categorical), "protected": list(protected)}  # fmt: skip
        bound = run.bind(found.bound(run.predictor), instances, self.target)
        return Prepared(bound, tuple(skipped), found.background, found.real, own, extra)

    def own(self, background: Background) -> tuple[dict[str, Any], tuple[str, ...]]:
        """LIME's settings that only rows have, and which columns count as protected by their name.

        Raises UsageError for columns that are not there.
        """
        names = background.feature_names
        protected = protected_columns(names)
        fixed = [*protected, *columns_of(self.immutable, names, "--immutable")]
        free = columns_of(self.mutable, names, "--mutable")
        both = set(free) & set(columns_of(self.immutable, names, "--immutable"))
        if both:
            raise UsageError(f"--immutable and --mutable both name {min(both)}")
        own = {
            "discretizer": self.discretizer or background.discretizer,
            "sample_around_instance": self.sample_around_instance or None,
            "immutable": tuple(name for name in dict.fromkeys(fixed) if name not in free),
        }
        return own, protected


def columns_of(
    asked: Sequence[str], names: Sequence[str], option: str, where: str = "the model"
) -> list[str]:
    """Column names, given one by one or with commas between. Raises UsageError for others."""
    from limecli.inputs.table import did_you_mean

    found = []
    for item in asked:
        found += [item] if item in names else [part.strip() for part in item.split(",")]
    for name in found:
        if name not in names:
            raise UsageError(
                f"{option} {name}: {where} has no such column", did_you_mean(name, names)
            )
    return found


@dataclass(frozen=True)
class Pictures:
    """Picture files by index, and how they are cut up and shown to the model."""

    paths: Mapping[int, str]
    segmentation: str
    num_segments: int | None
    hide_color: str
    resize: Resize
    image_size: int | None
    kind: Literal["image"] = "image"

    def prepare(self, run: Run) -> Prepared:
        """See `Subject`. A picture that cannot be read is skipped, unless it is the only one."""
        from limecli.inputs.image import read_image

        frame = self.frame(run)
        segments = self.segments(frame)
        instances: list[Instance] = []
        skipped: list[Skipped] = []
        for i, path in self.paths.items():
            try:
                instance, notes = read_image(path, i, frame)
            except InputError as error:
                if len(self.paths) == 1:
                    raise
                skipped.append(Skipped(Path(path).stem, i, error.message))
                continue
            run.notes(f"{path}: {note}" for note in notes)
            instances.append(replace(instance, segments=segments))
        if not instances:
            raise InputError(skipped[0].reason)
        bound = run.bind(run.predictor, instances)
        own, extra = self.own(run, frame)
        return Prepared(bound, tuple(skipped), own=own, extra=extra)

    def own(self, run: Run, frame: Frame) -> tuple[dict[str, Any], dict[str, Any]]:
        """LIME's settings that only pictures have, and what else a report records."""
        from limecli.inputs.image import parse_color

        own = {
            "segmentation": self.segmentation,
            "num_segments": self.num_segments,
            "hide_color": parse_color(self.hide_color, frame.channels),
        }
        extra = {"preprocess": run.predictor.preprocess, "resize": self.resize,
                 "image_size": [frame.height, frame.width]}  # fmt: skip
        return own, extra

    def segments(self, frame: Frame) -> IntArray | None:
        """The superpixels of a file, where one was given."""
        from limecli.explainers.segmentation import ALGORITHMS
        from limecli.inputs.image import read_segments

        if self.segmentation in ALGORITHMS:
            return None
        return read_segments(self.segmentation, frame)

    def frame(self, run: Run) -> Frame:
        """The size that the model takes. Raises UsageError for one that it does not."""
        from limecli.inputs.image import DEFAULT_SIZE, Frame

        height, width, channels = cast("tuple[int | None, ...]", run.predictor.input_shape)
        if self.image_size is not None and None not in (height, width):
            raise UsageError(
                f"--image-size: the model takes {height}x{width} pictures and no others"
            )
        if self.image_size is None and None in (height, width):
            run.notes([f"the model takes any size: {DEFAULT_SIZE} used (--image-size)"])
        side = self.image_size or DEFAULT_SIZE
        return Frame(height or side, width or side, channels or 3, self.resize)


@dataclass(frozen=True)
class Texts:
    """Texts, and what counts as a word in them."""

    instances: tuple[Instance, ...]
    split_expression: str | None
    char_level: bool
    bow: bool
    mask_string: str | None
    kind: Literal["text"] = "text"

    def prepare(self, run: Run) -> Prepared:
        """See `Subject`."""
        return Prepared(run.bind(run.predictor, self.instances), own=self.own())

    def own(self) -> dict[str, Any]:
        """LIME's settings that only texts have."""
        return {
            "split_expression": None if self.char_level else self.split_expression or r"\W+",
            "char_level": self.char_level,
            "bow": self.bow,
            "mask_string": self.mask_string,
        }
