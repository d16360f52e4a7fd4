"""The seam between the command line and an engine: build once, explain many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from limecli.types import Background, Explanation, Instance, LimeSettings, Predictor

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

    def explain(self, instance: Instance) -> Explanation:
        """Explain one instance with a fresh generator made from the seed.

        Raises PredictError when the model fails, InputError when the instance has no features.
        """
        ...


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
