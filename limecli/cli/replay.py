"""From a report back to what it was made of: the model, the subject, the settings.

A report may come from anybody. It may name files to read; it may not name code to run or a server
to call, nor say what to trust: that is typed by the user or not done at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from limecli import registry
from limecli.cli.run import Prepared, Run, Subject
from limecli.cli.subjects import Pictures, Rows, Texts
from limecli.errors import InputError, ModelError, ReportError, UsageError
from limecli.report.reading import Recorded, recorded_settings
from limecli.types import Instance, Kind, LimeSettings, Predictor

if TYPE_CHECKING:
    from limecli.models.interface import LoadOptions

_LARGEST_SIDE = 1 << 14  # of a picture, in pixels


@dataclass(frozen=True)
class Given:
    """What the command line says in place of the report, or because no report may."""

    model: str | None = None
    inputs: tuple[str, ...] = ()
    background: str | None = None
    preprocess: str | None = None
    class_names: str | None = None
    trust: frozenset[str] = frozenset()
    trust_pickle: bool = False
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Replay:
    """A report and what the user gave with it."""

    report: Recorded
    given: Given

    def __post_init__(self) -> None:
        """Raises UsageError for options that do not fit the report."""
        if self.kind != "image" and self.given.preprocess is not None:
            raise UsageError("--preprocess is for pictures")
        if self.kind != "tabular" and self.given.background is not None:
            raise UsageError("--background is for rows of a table")
        if self.kind != "image" and len(self.given.inputs) > 1:
            raise UsageError("--input: all that this report explains lies in one file")
        counts = (0, len(self.report.explanations), len(self.report.explained))
        if self.kind == "image" and len(self.given.inputs) not in counts:
            raise UsageError(
                f"--input: {len(self.given.inputs)} pictures for {counts[1]} explanations",
                "give one for each, in the order of the report",
            )

    @property
    def kind(self) -> Kind:
        """What the report explains."""
        return cast("Kind", self.report.settings["kind"])

    @property
    def model(self) -> str:
        """The model to open: the user's word, else a file or folder that is really there."""
        if self.given.model is not None:
            return self.given.model
        path = str(self.report.model["path"])
        if _is_there(path, folders=True):
            # "./" keeps a file that is called like code or a URL from ever being taken for one.
            return f"./{path}" if ":" in path and not Path(path).is_absolute() else path
        if "://" in path:
            raise UsageError(
                f"{self.report.path} names a model behind the URL {path}, which is not contacted"
                " on a report's word",
                "if you know it: --model URL",
            )
        if ":" in path:
            raise UsageError(
                f"{self.report.path} names the code {path} as its model, which is not run on a"
                " report's word",
                "if you know it: --model package.module:function",
            )
        raise ModelError(f"{path}: no such model file", "if it has moved: --model FILE")

    def load_options(self) -> LoadOptions:
        """What the report says about the model, and what the user trusts."""
        from limecli.inputs.class_names import read_class_names
        from limecli.models.interface import LoadOptions

        names = self.given.class_names
        model, settings = self.report.model, self.report.settings
        scale, activation = model.get("output", "probability"), model.get("activation", "none")
        if scale not in ("probability", "decision"):
            self.report.refuse(f"model.output is {str(scale)[:40]!r}")
        if activation not in ("none", "softmax", "sigmoid"):
            self.report.refuse(f"model.activation is {str(activation)[:40]!r}")
        size = settings.get("requested", {}).get("batch_size", settings.get("batch_size"))
        return LoadOptions(
            kind=self.kind,
            task=model["task"],
            output=scale,
            activation=activation,
            independent=activation == "none",  # only spares a check that the report's run made
            class_names=None if names is None else read_class_names(names),
            preprocess=self._preprocess(),
            trust=self.given.trust,
            trust_pickle=self.given.trust_pickle,
            timeout_s=self.given.timeout_s,
            batch_size=size if isinstance(size, int) and size > 0 else None,
        )

    def _preprocess(self) -> str | None:
        from limecli.models.pictures import preprocessor

        if self.given.preprocess is not None:
            preprocessor(self.given.preprocess)
            return self.given.preprocess
        name = self._word("preprocess") if self.kind == "image" else None
        if name is None:
            return None
        if ":" in name:
            raise UsageError(
                f"{self.report.path} names the code {name} for --preprocess, which is not run on a"
                " report's word",
                "if you know it: --preprocess package.module:function",
            )
        try:
            preprocessor(name)
        except UsageError:
            self.report.refuse(f"settings.preprocess is {name[:40]!r}")
        return name

    def settings(self, engine: str | None) -> LimeSettings:
        """LIME's settings but for the labels. Raises ReportError for an engine nobody has."""
        found = recorded_settings(self.report, engine)
        if f"{found.engine}-{self.kind}" not in registry.available(registry.EXPLAINERS):
            raise ReportError(
                f"{self.report.path} was made with the engine {found.engine}, which is not here",
                "update limecli, or compare with lime's own classes: --against lime",
            )
        return found

    def labels(self, predictor: Predictor) -> tuple[int, ...]:
        """Indices of the labels that were asked for; of equal names those that were explained."""
        asked = self.report.settings.get("labels") or []
        if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
            self.report.refuse("settings.labels is no list of names")
        explained = {label["index"] for item in self.report.explained for label in item["labels"]}
        found = []
        for name in asked:
            same = [i for i, other in enumerate(predictor.class_names) if other == name]
            if not same:  # named otherwise than by the model: the comparison tells
                same = [label["index"] for item in self.report.explained
                        for label in item["labels"] if label["label"] == name]  # fmt: skip
            if not all(0 <= i < len(predictor.class_names) for i in same) or not same:
                self.report.refuse(f"settings.labels has {name[:40]!r}, no class of the model")
            found += same if len(same) == 1 else [i for i in same if i in explained]
        return tuple(dict.fromkeys(found))

    def use_class_names(self, run: Run) -> None:
        """Name the outputs: by the user's word, the model's, or for want of these the report's."""
        names, own = self.report.model["class_names"], run.predictor.class_names
        numbered = names == [str(i) for i in range(len(names or ()))]
        if self.given.class_names is not None or names is None or tuple(names) == own:
            return
        if own:
            run.notes(["the report names the classes otherwise than the model (--class-names)"])
        elif not numbered:
            run.notes(["only the report names the classes: nothing checks them (--class-names)"])
            run.load = replace(run.load, class_names=tuple(names))

    def prepare(self, run: Run) -> Prepared:
        """Read the input again and keep what the report explains, with its own superpixels."""
        self.use_class_names(run)
        try:
            prepared = run.read(self._subject(run.predictor))
        except UsageError as error:  # no option of the user's: the input is not what it was
            raise InputError(error.message, "give another with --input or --background") from error
        wanted = {item["index"]: item for item in self.report.explanations}
        return replace(
            prepared,
            instances=tuple(
                self._with_segments(item, wanted[item.index])
                for item in prepared.instances
                if item.index in wanted
            ),
            skipped=tuple(item for item in prepared.skipped if item.index in wanted),
        )

    def _subject(self, predictor: Predictor) -> Subject:
        if self.kind == "tabular":
            return self._rows()
        return self._pictures(predictor) if self.kind == "image" else self._texts()

    def _rows(self) -> Rows:
        path = self._input_path()
        first, last = self._span()
        id_column = self._word("id_column")
        explained = self.report.explained
        if id_column is None and any(item["id"] != str(item["index"]) for item in explained):
            id_column = "id"  # what --row id=VALUE looks for
        categorical = self.report.settings.get("categorical", [])
        if not isinstance(categorical, list) or not all(isinstance(x, str) for x in categorical):
            self.report.refuse("settings.categorical is no list of names")
        discretizer = self._word("discretizer")
        return Rows(
            path, f"{first}:{last + 1}", self._background_path(path), id_column,
            self._word("target"), tuple(categorical), discretizer,
            bool(self.report.settings.get("sample_around_instance")),
        )  # fmt: skip

    def _span(self) -> tuple[int, int]:
        indices = [item["index"] for item in self.report.explanations]
        return min(indices), max(indices)

    def _background_path(self, rows: str) -> str | None:
        if self.given.background is not None:
            return self.given.background
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
        if self.given.inputs:
            return self.given.inputs[0]
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
        given = self.given.inputs
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

    def _with_segments(self, instance: Instance, item: Mapping[str, Any]) -> Instance:
        from limecli.explainers.segmentation import ALGORITHMS
        from limecli.report.label_map import decoded

        algorithm = self.report.settings.get("segmentation", "auto")
        if self.kind != "image" or algorithm in ALGORITHMS or item["status"] != "ok":
            return instance
        found = item.get("segmentation") or {}
        segments = decoded(str(found.get("map", "")), instance.payload.shape[:2])
        if segments is None:
            self.report.refuse(f"the superpixels of {item['id'][:40]!r} cannot be read")
        return replace(instance, segments=segments)

    def _texts(self) -> Texts:
        from limecli.inputs.text import text_instance

        settings = self.report.settings
        if self.given.inputs:
            instances = self._texts_from(self.given.inputs[0])
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
        if not wanted or path is None or not _is_there(path):
            return []
        return [item for item in self._texts_from(path) if item.index in wanted]

    def _word(self, key: str) -> str | None:
        """A setting that is a string, or not there."""
        value = self.report.settings.get(key)
        if value is not None and not isinstance(value, str):
            self.report.refuse(f"settings.{key} is {str(value)[:40]!r}")
        return value


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= _LARGEST_SIDE


def _is_there(path: str, folders: bool = False) -> bool:
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
    if not _is_there(path):
        raise InputError(f"{path}: no such file", f"if the {what} has moved: {option}")
    return path
