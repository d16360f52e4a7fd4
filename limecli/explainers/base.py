"""What engines that take each instance on its own have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from limecli.explainers.assemble import resolved
from limecli.explainers.interface import Progress, one_by_one
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
        self._predictor, self._progress = predictor, progress
        self.settings = resolved(settings, self.kernel_width, predictor)

    def evaluations(self, count: int) -> int:
        """At most `num_samples` for each."""
        return count * self.settings.num_samples

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Each on its own; see `Explainer`."""
        return one_by_one(instances, self._explain)

    @abstractmethod
    def _explain(self, instance: Instance) -> Explanation: ...
