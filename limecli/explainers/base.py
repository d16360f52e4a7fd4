"""What engines that take each instance on its own have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

from limecli.explainers.assemble import Describe, resolved
from limecli.explainers.batches import BatchedModel
from limecli.explainers.interface import Progress, one_by_one
from limecli.explainers.masks import Maskable, MaskedRun
from limecli.explainers.samplers import MAX_SAMPLES, check_sampler
from limecli.explainers.width import Tried
from limecli.types import Background, Explanation, Instance, LimeSettings, Predictor, Skipped


class OneByOne(ABC):
    """An `Explainer` of pictures or texts. `kernel_width` is lime's default for the kind."""

    notes: tuple[str, ...] = ()
    kernel_width: float

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        check_sampler(settings)
        self._predictor, self._progress = predictor, progress
        self._settings = resolved(settings, self.kernel_width, predictor)
        self._used: set[tuple[str, int]] = set()
        self.tried: tuple[Tried, ...] = ()

    @property
    def settings(self) -> LimeSettings:
        """With the sampler and number of samples in force, where these are the same for all."""
        if len(self._used) != 1:
            return self._settings
        ((sampler, count),) = self._used
        return replace(self._settings, sampler=sampler, num_samples=count)

    def evaluations(self, count: int) -> int:
        """At most `num_samples` for each; `max_samples` when they are drawn until settled."""
        settings = self._settings
        if settings.settle is not None:
            return count * (settings.max_samples or MAX_SAMPLES)
        return count * settings.num_samples

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Each on its own; see `Explainer`."""
        return one_by_one(instances, self._explain)

    def _of_masks(
        self, instance: Instance, subject: Maskable, model: BatchedModel, describe: Describe
    ) -> Explanation:
        """Explain what has features to switch off. The first settles a width for all."""
        run = MaskedRun(subject, self._settings, self._predictor, model, self.kernel_width)
        explained = run.explanation(instance, describe)
        self._used.add((run.settings.sampler, run.settings.num_samples))
        self._settings = replace(self._settings, kernel_width=run.settings.kernel_width)
        self.tried = self.tried or run.tried
        return explained

    @abstractmethod
    def _explain(self, instance: Instance) -> Explanation: ...
