"""From a report or an audit back to its subject: the rows, pictures or texts that it explains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limecli.cli.audit_inputs import AuditedPictures, AuditedRows, AuditedTexts, Opened
from limecli.cli.run import Run, Subject
from limecli.cli.subjects import Pictures, Rows, Texts
from limecli.errors import InputError, UsageError
from limecli.report.reading import Recorded
from limecli.types import Instance, Predictor

if TYPE_CHECKING:
    from limecli.types import IntArray

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
        if self.report.kind == "image":
            return self.pictures(self._picture_paths(), predictor)
        return self._texts()

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
            path, f"{first}:{last + 1}", self.background_path(path), id_column,
            self.report.word("target"), tuple(categorical), discretizer,
            bool(self.report.settings.get("sample_around_instance")),
        )  # fmt: skip

    def _span(self) -> tuple[int, int]:
        indices = [item["index"] for item in self.report.explanations]
        return min(indices), max(indices)

    def background_path(self, rows: str) -> str | None:
        """Where the background is now; None for the model's own, `rows` for that of the rows."""
        if self.background is not None:
            return self.background
        recorded = self.report.background
        if recorded is None:
            self.report.refuse("rows of a table without a background")
        if recorded["source"] == "model":
            return None
        if recorded["source"] == "rows":
            return rows
        return existing(recorded["path"], "background", "--background FILE")

    def _input_path(self) -> str:
        """The one file that a table or texts lie in."""
        if self.inputs:
            return self.inputs[0]
        paths = {item["input"]["path"] for item in self.report.explained}
        if len(paths) > 1:
            self.report.refuse("its rows lie in several files")
        return existing(next(iter(paths), None), "input", "--input FILE")

    def pictures(self, paths: Mapping[int, str], predictor: Predictor) -> Pictures:
        """How pictures were shown to the model."""
        settings = self.report.settings
        resize = settings.get("resize", "stretch")
        if resize not in ("crop", "stretch", "pad"):
            self.report.refuse(f"settings.resize is {str(resize)[:40]!r}")
        size = self._size(predictor)
        # Superpixels of the user's own come out of the report, which holds them whole.
        return Pictures(paths, "auto", None, "mean", resize, size)

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
            index: existing(path, "picture", "--input FILE") if index in must else str(path)
            for index, path in paths.items()
            if index in must or path is not None
        }

    def with_segments(self, instance: Instance, item: Mapping[str, Any]) -> Instance:
        """A picture with the superpixels of its explanation, where they were the user's own."""
        if item["status"] != "ok" or instance.kind != "image":
            return instance
        segments = self._segments(item, instance.payload.shape[:2])
        return instance if segments is None else replace(instance, segments=segments)

    def segments(self, shape: tuple[int, ...]) -> IntArray | None:
        """The user's own superpixels, as the first explanation holds them; None for no such."""
        explained = self.report.explained
        return self._segments(explained[0], shape) if explained else None

    def _segments(self, item: Mapping[str, Any], shape: tuple[int, ...]) -> IntArray | None:
        from limecli.explainers.segmentation import ALGORITHMS
        from limecli.report.label_map import decoded

        if self.report.settings.get("segmentation", "auto") in ALGORITHMS:
            return None
        segments = decoded(str((item.get("segmentation") or {}).get("map", "")), shape)
        if segments is None:
            self.report.refuse(f"the superpixels of {item['id'][:40]!r} cannot be read")
        return segments

    def _texts(self) -> Texts:
        from limecli.inputs.text import text_instance

        if self.inputs:
            instances = self._texts_from(self.inputs[0])
        else:
            instances = [
                text_instance(item["input"]["text"], item["index"], item["input"]["path"])
                for item in self.report.explained
            ] + self._skipped_texts()
        if not instances:
            raise InputError(f"{self.report.path} holds no text to explain", "--input FILE")
        return _texts(tuple(sorted(instances, key=lambda item: item.index)), self.report)

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


@dataclass(frozen=True)
class RecalledAudit:
    """An audit's subject. `read` is what its envelope says of the input; `query` and `database` are
    what the user typed, for no audit's own query is asked.
    """

    recalled: Recalled
    read: Mapping[str, Any]
    query: str | None = None
    database: str | None = None

    def opened(self, run: Run, told: Iterable[tuple[int, str, str | None]]) -> Opened:
        """The input as an audit opens it. `told` are index, id and path of the pictures that the
        audit holds, for where they do not come out of one folder or list.
        """
        kind, masked = self.recalled.report.kind, self._names("mask")
        try:
            if kind == "tabular":
                return self._rows().open(run, masked)
            return self._texts().open(run, masked) if kind == "text" else self._pictures(run, told)
        except UsageError as error:  # no option of the user's: the input is not what it was
            if self.query is not None:
                raise
            raise InputError(error.message, "give another with --input or --background") from error

    def _rows(self) -> AuditedRows:
        report = self.recalled.report
        path = "" if self.query else self._input_path()
        rows = Rows(
            path, None, self.recalled.background_path(path), report.word("id_column"),
            report.word("target"), self._names("categorical"), report.word("discretizer"),
            bool(report.settings.get("sample_around_instance")),
        )  # fmt: skip
        return AuditedRows(rows, self.query, self.database, self._names("protected"))

    def _texts(self) -> AuditedTexts:
        report, column = self.recalled.report, self.read.get("column")
        if column is not None and not isinstance(column, str):
            report.refuse("input.column is no name")
        path, id_column = self._input_path(), report.word("id_column")
        return AuditedTexts(path, column, id_column, _texts((), report))

    def _input_path(self) -> str:
        if self.recalled.inputs:
            return self.recalled.inputs[0]
        if self.read["format"] == "query":
            raise InputError(
                f"{self.recalled.report.path} is an audit of a query, which is not asked on an"
                f" audit's word: {str(self.read.get('query'))[:200]}",
                "if you know it: --query SQL --database URL|FILE; or its rows: --input FILE",
            )
        return existing(self.read["path"], "input", "--input FILE")

    def _names(self, key: str) -> tuple[str, ...]:
        """A setting that is a list of names, perhaps not there."""
        found = self.recalled.report.settings.get(key, [])
        if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
            self.recalled.report.refuse(f"settings.{key} is no list of names")
        return tuple(found)

    def _pictures(self, run: Run, told: Iterable[tuple[int, str, str | None]]) -> Opened:
        """The folder or list again; else, of several, the pictures where their records say."""
        from limecli.audit.readers import Pictures as Reader

        name, paths, known = self.read["path"], self.recalled.inputs, []
        if not paths and is_there(name.removeprefix("@"), folders=True):
            paths = (name,)
        if not paths:
            known = [(i, each, existing(p, "picture", "--input FILE")) for i, each, p in told]
            paths = tuple(f"./{p}" if p[:1] in ("@", "-") else p for _, _, p in known)
        if not paths:
            existing(None, "pictures", "--input FOLDER")
        how = self.recalled.pictures({}, run.predictor)
        opened = AuditedPictures(paths, how).open(run, ())
        if isinstance(opened.reader, Reader):
            segments = self.recalled.segments(opened.first[0].payload.shape[:2])
            opened = replace(opened, reader=replace(opened.reader, segments=segments))
        if not known:
            return opened
        entries = (
            replace(entry, index=index, id=each)
            for entry, (index, each, _) in zip(opened.entries, known, strict=False)
        )
        return replace(opened, entries=entries, read={**opened.read, "sha256": None})


def _texts(instances: tuple[Instance, ...], report: Recorded) -> Texts:
    """Texts, and what counted as a word."""
    settings = report.settings
    return Texts(
        instances, report.word("split_expression"), bool(settings.get("char_level")),
        settings.get("bow") is not False, report.word("mask_string"),
    )  # fmt: skip


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= _LARGEST_SIDE


def is_there(path: str, folders: bool = False) -> bool:
    """Whether a report's path is a plain file (or folder): a device or pipe is not read for it."""
    try:
        return Path(path).is_file() or (folders and Path(path).is_dir())
    except (OSError, ValueError):  # a name that is too long, or holds what no name does
        return False


def existing(path: str | None, what: str, option: str) -> str:
    """A file that a report names. Raises InputError where it is not there; `option` says where."""
    if path is None or path == "standard input":
        raise InputError(
            f"the report does not say in which file its {what} lay (perhaps standard input)",
            f"give it again: {option}",
        )
    if not is_there(path):
        raise InputError(f"{path}: no such file", f"if the {what} has moved: {option}")
    return path
