"""From a report back to what it was made of: the model, the subject, the settings.

A report may come from anybody. It may name files to read; it may not name code to run or a server
to call, nor say what to trust: that is typed by the user or not done at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from limecli import registry
from limecli.cli.recalled import Recalled, is_there
from limecli.cli.run import Prepared, Run
from limecli.errors import InputError, ModelError, ReportError, UsageError
from limecli.explainers.samplers import SAMPLERS
from limecli.report.reading import Recorded, recorded_settings
from limecli.types import Kind, LimeSettings, Predictor

if TYPE_CHECKING:
    from limecli.models.interface import LoadOptions

_LIMES_SAMPLES = {"tabular": 5000, "image": 1000, "text": 5000}


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
        return self.report.kind

    @property
    def model(self) -> str:
        """The model to open: the user's word, else a file or folder that is really there."""
        if self.given.model is not None:
            return self.given.model
        path = str(self.report.model["path"])
        if is_there(path, folders=True):
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
        if scale not in ("probability", "margin", "decision"):
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
        name = self.report.word("preprocess") if self.kind == "image" else None
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

    def settings(self, engine: str | None = None) -> LimeSettings:
        """LIME's settings but for the labels, for another engine where one is given.

        Raises ReportError for an engine or a sampler that nobody has.
        """
        found = recorded_settings(self.report)
        if f"{found.engine}-{self.kind}" not in registry.available(registry.EXPLAINERS):
            self._refuse("engine", found.engine)
        if found.sampler not in SAMPLERS[self.kind]:
            self._refuse("sampler", found.sampler)
        if found.engine == "lime" and found.sampler != "lime":
            self.report.refuse(f"settings.sampler is {found.sampler!r}, which lime does not have")
        if engine is None or engine == found.engine:
            return found
        return replace(
            found, engine=engine, sampler="lime", auto_width=None, control_variate=None,
            settle=None, max_samples=None, tie_tolerance=None, flips=None,
        )  # fmt: skip

    def _refuse(self, what: str, name: str) -> NoReturn:
        raise ReportError(
            f"{self.report.path} was made with the {what} {name[:40]!r}, which is not here",
            "update limecli, or make the report anew",
        )

    def within_intervals(self, engine: str | None) -> bool:
        """Whether the engine draws otherwise than the report was made: no number can be equal."""
        return engine == "lime" and self.settings().sampler != "lime"

    def limes_settings(self) -> LimeSettings:
        """As lime would explain the same with its default number of samples."""
        return replace(self.settings("lime"), num_samples=_LIMES_SAMPLES[self.kind])

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
        recalled = Recalled(self.report, self.given.inputs, self.given.background)
        try:
            prepared = run.read(recalled.subject(run.predictor))
        except UsageError as error:  # no option of the user's: the input is not what it was
            raise InputError(error.message, "give another with --input or --background") from error
        wanted = {item["index"]: item for item in self.report.explanations}
        return replace(
            prepared,
            instances=tuple(
                recalled.with_segments(item, wanted[item.index])
                for item in prepared.instances
                if item.index in wanted
            ),
            skipped=tuple(item for item in prepared.skipped if item.index in wanted),
            # Before explanations were judged by real rows, their evaluations were not counted.
            real=None if self.report.older else prepared.real,
        )
