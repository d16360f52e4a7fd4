"""From a report back to its subject: the rows, pictures or texts that it explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limecli.cli.run import Subject
from limecli.cli.subjects import Pictures, Rows, Texts
from limecli.errors import InputError
from limecli.report.reading import Recorded
from limecli.types import Instance, Predictor

_LARGEST_SIDE = 1 << 14  # of a picture, in pixels


@dataclass(frozen=True)
class Recalled:
    """A report's subject; `inputs` and `background` are what the user gave in their place."""

    report: Recorded
    inputs: tuple[str, ...] = ()
    background: str | None = None

    def subject(self, predictor: Predictor) -> Subject:
        """What is to be explained again. Raises InputError for a file that is not there."""
        if self.report.kind == "tabular":
            return self._rows()
        return self._pictures(predictor) if self.report.kind == "image" else self._texts()

    def _rows(self) -> Rows:
        path = self._input_path()
        first, last = self._span()
        id_column = self.report.word("id_column")
        explained = self.report.explained
        if id_column is None and any(item["id"] != str(item["index"]) for item in explained):
            id_column = "id"  # what --row id=VALUE looks for
        categorical = self.report.settings.get("categorical", [])
        if not isinstance(categorical, list) or not all(isinstance(x, str) for x in categorical):
            self.report.refuse("settings.categorical is no list of names")
        discretizer = self.report.word("discretizer")
        return Rows(
            path, f"{first}:{last + 1}", self._background_path(path), id_column,
            self.report.word("target"), tuple(categorical), discretizer,
            bool(self.report.settings.get("sample_around_instance")),
        )  # fmt: skip

    def _span(self) -> tuple[int, int]:
        indices = [item["index"] for item in self.report.explanations]
        return min(indices), max(indices)

    def _background_path(self, rows: str) -> str | None:
        if self.background is not None:
            return self.background
        recorded = self.report.background
        if recorded is None:
            self.report.refuse("rows of a table without a background")
        if recorded["source"] == "model":
            return None
        if recorded["source"] == "rows":
            return rows
        return _existing(recorded["path"], "background", "--background FILE")

    def _input_path(self) -> str:
        """The one file that a table or texts lie in."""
        if self.inputs:
            return self.inputs[0]
        paths = {item["input"]["path"] for item in self.report.explained}
        if len(paths) > 1:
            self.report.refuse("its rows lie in several files")
        return _existing(next(iter(paths), None), "input", "--input FILE")

    def _pictures(self, predictor: Predictor) -> Pictures:
        settings = self.report.settings
        resize = settings.get("resize", "stretch")
        if resize not in ("crop", "stretch", "pad"):
            self.report.refuse(f"settings.resize is {str(resize)[:40]!r}")
        size = self._size(predictor)
        # Superpixels of the user's own come out of the report, which holds them whole.
        return Pictures(self._picture_paths(), "auto", None, "mean", resize, size)

    def _size(self, predictor: Predictor) -> int | None:
        height, width = (predictor.input_shape or (None, None))[:2]
        size = self.report.settings.get("image_size")
        if height is not None and width is not None:
            return None
        if not (isinstance(size, list) and len(size) == 2 and all(map(_is_side, size))):
            self.report.refuse("settings.image_size is not the height and width of a picture")
        return int(size[0] if height is None else size[1])

    def _picture_paths(self) -> dict[int, str]:
        """Paths by index; a picture that was skipped has one only if the user gives it."""
        everything, explained = self.report.explanations, self.report.explained
        given = self.inputs
        if given:
            items = everything if len(given) == len(everything) else explained
            return {item["index"]: path for item, path in zip(items, given, strict=True)}
        paths = {item["index"]: (item.get("input") or {}).get("path") for item in everything}
        must = {item["index"] for item in explained}
        return {
            index: _existing(path, "picture", "--input FILE") if index in must else str(path)
            for index, path in paths.items()
            if index in must or path is not None
        }

    def with_segments(self, instance: Instance, item: Mapping[str, Any]) -> Instance:
        """A picture with the superpixels of its explanation, where they were the user's own."""
        from limecli.explainers.segmentation import ALGORITHMS
        from limecli.report.label_map import decoded

        algorithm = self.report.settings.get("segmentation", "auto")
        if self.report.kind != "image" or algorithm in ALGORITHMS or item["status"] != "ok":
            return instance
        found = item.get("segmentation") or {}
        segments = decoded(str(found.get("map", "")), instance.payload.shape[:2])
        if segments is None:
            self.report.refuse(f"the superpixels of {item['id'][:40]!r} cannot be read")
        return replace(instance, segments=segments)

    def _texts(self) -> Texts:
        from limecli.inputs.text import text_instance

        settings = self.report.settings
        if self.inputs:
            instances = self._texts_from(self.inputs[0])
        else:
            instances = [
                text_instance(item["input"]["text"], item["index"], item["input"]["path"])
                for item in self.report.explained
            ] + self._skipped_texts()
        if not instances:
            raise InputError(f"{self.report.path} holds no text to explain", "--input FILE")
        return Texts(
            tuple(sorted(instances, key=lambda item: item.index)),
            settings.get("split_expression"), bool(settings.get("char_level")),
            settings.get("bow") is not False, settings.get("mask_string"),
        )  # fmt: skip

    def _texts_from(self, path: str) -> list[Instance]:
        """The whole file where that is the one text of the report, else its lines."""
        from limecli.inputs.text import line_instances, read_texts

        (whole,) = read_texts(path, lines=False)
        explained = self.report.explained
        if len(self.report.explanations) == 1 and (
            not explained or explained[0]["input"]["sha256"] == whole.sha256
        ):
            return [replace(whole, index=self.report.explanations[0]["index"])]
        if self._span() == (0, 0):
            return [whole]
        return line_instances(whole.payload, whole.path)

    def _skipped_texts(self) -> list[Instance]:
        """Lines that were skipped, out of the file that the others lie in, if that is there."""
        wanted = {item["index"] for item in self.report.explanations if item["status"] != "ok"}
        paths = {item["input"]["path"] for item in self.report.explained}
        path = paths.pop() if len(paths) == 1 else None
        if not wanted or path is None or not is_there(path):
            return []
        return [item for item in self._texts_from(path) if item.index in wanted]


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= _LARGEST_SIDE


def is_there(path: str, folders: bool = False) -> bool:
    """Whether a report's path is a plain file (or folder): a device or pipe is not read for it."""
    try:
        return Path(path).is_file() or (folders and Path(path).is_dir())
    except (OSError, ValueError):  # a name that is too long, or holds what no name does
        return False


def _existing(path: str | None, what: str, option: str) -> str:
    if path is None or path == "standard input":
        raise InputError(
            f"the report does not say in which file its {what} lay (perhaps standard input)",
            f"give it again: {option}",
        )
    if not is_there(path):
        raise InputError(f"{path}: no such file", f"if the {what} has moved: {option}")
    return path
