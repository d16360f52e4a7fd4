"""The engine `limecli` for pictures: the numbers of lime.lime_image, pictures made as needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from limecli.explainers.assemble import (
    chosen_labels,
    describe_superpixels,
    resolved,
    scores,
    surrogates,
)
from limecli.explainers.batches import BatchedModel, batch_size_for
from limecli.explainers.composition import Composer, hidden_picture
from limecli.explainers.interface import Progress, one_by_one
from limecli.explainers.segmentation import segmentation_notes, superpixels
from limecli.neighborhood.kernel import binary_distances, kernel
from limecli.neighborhood.lime_stream import draw_superpixels, generator
from limecli.surrogate.fit import fit
from limecli.surrogate.ridge import WeightedSamples
from limecli.types import Background, Explanation, Instance, LimeSettings, Predictor, Skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_BYTES_A_VALUE = 9  # as a byte, and twice in single precision while it is preprocessed


class Image:
    """Pictures, with the numbers of `lime.lime_image.LimeImageExplainer`."""

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        self._predictor, self._progress = predictor, progress
        self.settings = resolved(settings, 0.25, predictor)

    def evaluations(self, count: int) -> int:
        """At most `num_samples` for each."""
        return count * self.settings.num_samples

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Each on its own; see `Explainer`."""
        return one_by_one(instances, self._explain)

    def _explain(self, instance: Instance) -> Explanation:
        settings, image = self.settings, instance.payload
        size = batch_size_for(settings, _BYTES_A_VALUE * image.size)
        model = BatchedModel(self._predictor, size, self._progress)
        with model.clock.phase("segmentation"):
            found = superpixels(instance, settings)
        with model.clock.phase("draw"):
            shown = draw_superpixels(generator(settings.seed), found.count, settings.num_samples)
        with model.clock.phase("compose"):
            composer = Composer(image, hidden_picture(image, found, settings.hide_color), found)
        outputs = model.distinct_masks(shown, composer)
        with model.clock.phase("fit"):
            samples = WeightedSamples(shown.T, self._weights(shown))
            first = np.ones(found.count)
            k = settings.num_features or found.count
            fits = {
                label: fit(samples, outputs[:, label], first, settings.feature_selection, k)
                for label in chosen_labels(settings, self._predictor, outputs[0])
            }
        return Explanation(
            instance=instance,
            prediction=scores(outputs[0], self._predictor, fits),
            model_calls=model.calls,
            surrogates=surrogates(fits, outputs[0], self._predictor, describe_superpixels(found)),
            segmentation=found,
            image=image,
            notes=segmentation_notes(found, settings),
            phases=model.clock.seconds,
        )

    def _weights(self, shown: NDArray[np.bool_]) -> FloatArray:
        settings = self.settings
        distances = binary_distances(shown.shape[1], settings.distance_metric)
        by_count = kernel(distances, settings.kernel_width or 0.25)
        return np.asarray(by_count[shown.sum(axis=1)])
