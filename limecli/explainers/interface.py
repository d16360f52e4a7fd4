"""The seam between the command line and an engine: build once, explain many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from limecli.errors import InputError, PredictError
from limecli.types import Background, Explanation, Instance, LimeSettings, Predictor, Skipped

if TYPE_CHECKING:
    from limecli.explainers.width import Tried

Progress = Callable[[int], None]
"""Called with the number of model evaluations just made."""


class Explainer(Protocol):
    """Explains instances of one kind with one model."""

    @property
    def settings(self) -> LimeSettings:
        """The settings in force, every default resolved to a number or a name."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of these explanations should know, once for all of them."""
        ...

    @property
    def tried(self) -> tuple[Tried, ...]:
        """The kernel widths that were tried, once something was explained with `auto_width`."""
        ...

    def evaluations(self, count: int) -> int:
        """How many model evaluations `count` instances take at most."""
        ...

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Explain instances in their order, each with a fresh generator made from the seed.

        What concerns one instance is a Skipped in its place. Raises PredictError when the model
        fails at what all of them rest on.
        """
        ...


def one_by_one(
    instances: Sequence[Instance], explain: Callable[[Instance], Explanation]
) -> Iterator[Explanation | Skipped]:
    """`explain` for each; an InputError or PredictError becomes a Skipped."""
    for instance in instances:
        try:
            yield explain(instance)
        except (InputError, PredictError) as error:
            yield skipped(instance, error)


def skipped(instance: Instance, error: InputError | PredictError) -> Skipped:
    """The place that an instance takes among the results when it fails."""
    kind: Literal["input", "predict"] = "predict" if isinstance(error, PredictError) else "input"
    return Skipped(instance.id, instance.index, error.message, kind, error.hint)


class ExplainerFactory(Protocol):
    """What an entry point of the group `limecli.explainers`, named "engine-kind", holds."""

    def __call__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
        /,
    ) -> Explainer:
        """Build an explainer. `background` is None for images and texts."""
        ...
