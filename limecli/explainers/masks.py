"""Fits where a feature is there or gone: words of a text, superpixels of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limecli.explainers.assemble import chosen_labels
from limecli.neighborhood.kernel import binary_distances, kernel
from limecli.surrogate.fit import Fit, fit
from limecli.surrogate.ridge import WeightedSamples
from limecli.types import LimeSettings, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray


def fits_of_masks(
    masks: NDArray[np.bool_],
    outputs: FloatArray,
    settings: LimeSettings,
    predictor: Predictor,
    scale: float = 1.0,
) -> dict[int, Fit]:
    """One fit for each label to explain, by its index.

    `masks` is `bool[n, n_features]`, all true in row 0, which is the instance; `outputs` is
    `float[n, n_outputs]`. Distances are multiplied by `scale`.
    """
    n_features = masks.shape[1]
    distances = binary_distances(n_features, settings.distance_metric) * scale
    weights = kernel(distances, settings.kernel_width or 1.0)[masks.sum(axis=1)]
    samples, first = WeightedSamples(masks.T, weights), np.ones(n_features)
    k = settings.num_features or n_features
    return {
        label: fit(samples, outputs[:, label], first, settings.feature_selection, k)
        for label in chosen_labels(settings, predictor, outputs[0])
    }
