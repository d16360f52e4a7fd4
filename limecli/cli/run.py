"""What every command that explains does: load, read, explain, and tell what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from limecli import registry
from limecli.cli.console import Console
from limecli.errors import UsageError
from limecli.explainers.interface import Explainer, ExplainerFactory
from limecli.types import (
    Background,
    Explanation,
    Instance,
    Kind,
    LimeSettings,
    Predictor,
    Skipped,
)

if TYPE_CHECKING:
    from limecli.explainers.width import Tried
    from limecli.models.interface import LoadOptions
    from limecli.types import FloatArray

Keep = Callable[[Explanation], None]
_TOGETHER = 256  # explanations that ask for their flips together
_HELD = 64 << 20  # bytes of samples
_TOLD_ALONE = 20  # explanations whose cost -v tells one by one


@dataclass(frozen=True)
class Prepared:
    """What there is to explain, read and tried on the model.

    `own` are LIME's settings that only its kind has, `extra` the other choices that a report
    records. `real` are real rows of a table to judge explanations by, as `float[m, n_features]`.
    """

    instances: tuple[Instance, ...]
    skipped: tuple[Skipped, ...] = ()
    background: Background | None = None
    real: FloatArray | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class Subject(Protocol):
    """What the user wants explained, of one kind."""

    @property
    def kind(self) -> Kind:
        """Rows, pictures or texts."""
        ...

    def prepare(self, run: Run) -> Prepared:
        """Read it and bind the run's predictor to it. Raises InputError, PredictError."""
        ...


@dataclass(frozen=True)
class Explained:
    """Results by rising index, the settings in force, every default resolved, and the kernel widths
    that were tried.
    """

    results: tuple[Explanation | Skipped, ...]
    settings: LimeSettings
    tried: tuple[Tried, ...] = ()


class Run:
    """One model, opened, and what is explained with it."""

    def __init__(self, model: str, console: Console, load: LoadOptions) -> None:
        from limecli.models.detect import load_model

        started = time.monotonic()
        self.console, self.load = console, load
        self.predictor = load_model(model, load)
        self.unbound = self.predictor
        self.spent = [0]  # evaluations by runs aside, which share the list
        self.notes(self.predictor.notes)
        sha256 = (self.predictor.sha256 or "none")[:12]
        console.detail(
            f"{self.predictor.estimator} from {self.predictor.format}, sha256 {sha256},"
            f" loaded in {time.monotonic() - started:.2f} s"
        )

    def notes(self, texts: Iterable[str]) -> None:
        """Say what was guessed or found odd."""
        for line in texts:
            self.console.note(line)

    def aside(self) -> Run:
        """The same model before anything was bound to it, for a run that tells nothing."""
        found = copy(self)
        found.console, found.predictor = Console(quiet=True), self.unbound
        return found

    def read(self, subject: Subject) -> Prepared:
        """The subject, ready to be explained."""
        started = time.monotonic()
        prepared = subject.prepare(self)
        what = "input" if prepared.background is None else "input and background"
        seconds = time.monotonic() - started
        self.console.detail(f"{what} read and tried on the model in {seconds:.2f} s")
        return prepared

    def bind(
        self, predictor: Predictor, instances: Sequence[Instance], target: str | None = None
    ) -> tuple[Instance, ...]:
        """Take the predictor that answers for instances, and name its outputs by trying the first.

        Returns the instances, the first with the model's answer.
        """
        from limecli.models.outputs import with_class_names

        first = instances[0]
        if first.outputs is None:
            batch = [first.payload] if self.load.kind == "text" else first.payload[None]
            outputs = predictor.predict_fn(batch)[0]
            # Several rows are asked for in one batch: there one alone could differ in a last bit.
            if self.load.kind != "tabular" or len(instances) == 1:
                first = replace(first, outputs=outputs)
        else:
            outputs = first.outputs
        if predictor.task == "regression" and self.load.activation != "none":
            raise UsageError("--activation is for classes, but the model is a regression")
        load = self._named(predictor, len(outputs), replace(self.load, target=target))
        self.predictor = with_class_names(predictor, len(outputs), load)
        return first, *instances[1:]

    def _named(self, predictor: Predictor, n_outputs: int, load: LoadOptions) -> LoadOptions:
        from limecli.inputs.class_names import imagenet_names

        unnamed = not (load.class_names or predictor.class_names)
        if load.kind == "image" and unnamed and n_outputs == 1000:
            self.console.note("1000 classes: ImageNet's names assumed (--class-names)")
            return replace(load, class_names=imagenet_names())
        if unnamed and predictor.task == "classification":
            self.console.note("the model names no classes: they are numbered (--class-names)")
        return load

    def explain(
        self, prepared: Prepared, settings: LimeSettings, keep: Keep | None = None
    ) -> Explained:
        """Explain every instance; one that cannot be is a Skipped among the results.

        `keep` gets each explanation while it still has its neighborhood.
        """
        build: ExplainerFactory = registry.load(
            registry.EXPLAINERS, f"{settings.engine}-{settings.kind}"
        )
        costs = _Costs(self.console)
        with self.console.progress() as progress:
            explainer = build(self.predictor, prepared.background, settings, progress)
            progress.total = explainer.evaluations(len(prepared.instances))
            self.notes(explainer.notes)
            results = [*prepared.skipped, *self._results(explainer, prepared, costs, keep)]
        costs.tell_sum()
        results.sort(key=index_of)
        return Explained(tuple(results), explainer.settings, explainer.tried)

    def _results(
        self, explainer: Explainer, prepared: Prepared, costs: _Costs, keep: Keep | None
    ) -> Iterator[Explanation | Skipped]:
        """Explanations with all that is found out about them, by chunks that share model calls."""
        from limecli.explainers.findings import Findings

        background = prepared.background
        columns = None if background is None else background.columns
        findings: Findings | None = None
        for chunk in _chunks(explainer.explain(prepared.instances)):
            good = [item for item in chunk if isinstance(item, Explanation)]
            yield from (item for item in chunk if isinstance(item, Skipped))
            if not good:
                continue
            if findings is None:  # a kernel width may be chosen by the first explanations
                findings = Findings(self.predictor, explainer.settings, columns, prepared.real)
            for result in findings.added(good):
                where = result.instance.path or explainer.settings.kind
                self.notes(f"{where}: {line}" for line in result.notes)
                costs.add(result)
                if keep is not None:
                    keep(result)
                yield replace(result, neighborhood=None)


def _chunks(
    results: Iterable[Explanation | Skipped],
) -> Iterator[list[Explanation | Skipped]]:
    """Results by so many as may ask the model together: rows that share their samples, or few
    enough that their own samples do not take much memory.
    """
    chunk: list[Explanation | Skipped] = []
    held: dict[int, int] = {}  # bytes of the outputs and samples that are kept alive
    for item in results:
        chunk.append(item)
        found = item.neighborhood if isinstance(item, Explanation) else None
        if found is not None:
            whole = found.outputs if found.outputs.base is None else found.outputs.base
            held[id(whole)] = whole.nbytes + found.samples.nbytes
        if len(chunk) == _TOGETHER or sum(held.values()) > _HELD:
            yield chunk
            chunk, held = [], {}
    if chunk:
        yield chunk


def index_of(item: Explanation | Skipped) -> int:
    """The place that a result takes in its input."""
    return item.index if isinstance(item, Skipped) else item.instance.index


class _Costs:
    """What the explanations cost: said one by one for the first, then as a sum by phase."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._count = 0
        self._phases: dict[str, float] = {}

    def add(self, result: Explanation) -> None:
        self._count += 1
        for name, seconds in result.phases.items():
            self._phases[name] = self._phases.get(name, 0.0) + seconds
        if self._count <= _TOLD_ALONE:
            calls = f", {result.model_calls} model calls"
            self._tell(result.instance.id, calls, result.phases)

    def tell_sum(self) -> None:
        # Without the calls: those that several explanations share would be counted for each.
        if self._count > 1:
            self._tell(f"all {self._count}", "", self._phases)

    def _tell(self, what: str, calls: str, phases: Mapping[str, float]) -> None:
        each = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in phases.items())
        total = sum(phases.values())
        line = f"{what} explained in {total:.3f} s{calls}"
        self._console.detail(f"{line}: {each}" if each else line)
