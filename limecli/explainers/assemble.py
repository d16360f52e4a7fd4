"""From fitted numbers to an Explanation, from a user's settings to numbers: for every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.explainers.batches import DEFAULT_BATCH
from limecli.explainers.conditions import bin_code, condition
from limecli.types import (
    Attribution,
    Column,
    Instance,
    LimeSettings,
    Predictor,
    Score,
    Segmentation,
    Surrogate,
)

if TYPE_CHECKING:
    from limecli.types import FloatArray

_SHOWN_SCORES = 20
Describe = Callable[[int], dict[str, Any]]
"""Feature index -> the fields of its Attribution that say what it is."""


@dataclass(frozen=True)
class Fit:
    """One label's surrogate as numbers: (feature index, weight) pairs, strongest first.

    `r2` is None where it is undefined: the model answers the same for every sample.
    """

    intercept: float
    pairs: tuple[tuple[int, float], ...]
    r2: float | None
    local_prediction: float


def resolved(settings: LimeSettings, kernel_width: float) -> LimeSettings:
    """Settings with lime's defaults filled in; `kernel_width` is the one of this kind."""
    k, selection = settings.num_features, settings.feature_selection
    if selection == "auto":
        selection = "forward_selection" if k is not None and k <= 6 else "highest_weights"
    return replace(
        settings,
        kernel_width=kernel_width if settings.kernel_width is None else settings.kernel_width,
        feature_selection=selection,
        batch_size=settings.batch_size or DEFAULT_BATCH[settings.kind],
    )


def scores(row: FloatArray, predictor: Predictor, labels: Mapping[int, Fit]) -> tuple[Score, ...]:
    """The 20 highest of `float[n_outputs]` and the explained ones, by falling value."""
    order = [int(i) for i in np.argsort(-row, kind="stable")]
    kept = set(order[:_SHOWN_SCORES]) | set(labels)
    return tuple(Score(predictor.class_names[i], i, float(row[i])) for i in order if i in kept)


def surrogates(
    fits: Mapping[int, Fit], row: FloatArray, predictor: Predictor, describe: Describe
) -> tuple[Surrogate, ...]:
    """One Surrogate for each fitted label, the likeliest first. `row` is the model's own answer."""
    order = sorted(fits, key=lambda label: (-row[label], label))
    found = []
    for label in order:
        fit = fits[label]
        attributions = tuple(
            Attribution(index=index, weight=weight, rank=rank, **describe(index))
            for rank, (index, weight) in enumerate(fit.pairs, start=1)
        )
        found.append(
            Surrogate(
                label=predictor.class_names[label],
                index=label,
                intercept=fit.intercept,
                local_prediction=fit.local_prediction,
                model_prediction=float(row[label]),
                r2_fit=fit.r2,
                attributions=attributions,
            )
        )
    return tuple(found)


def describe_columns(instance: Instance, columns: tuple[Column, ...], binned: bool) -> Describe:
    """Name a table's features by the bin or category that the instance lies in."""

    def describe(j: int) -> dict[str, Any]:
        column, number = columns[j], float(instance.payload[j])
        words: str | None = None
        if not column.continuous:
            words = condition(column, number)
        elif binned:
            words = condition(column, bin_code(column, number))
        return {"feature": column.name, "condition": words, "value": instance.values[j]}

    return describe


def describe_superpixels(found: Segmentation) -> Describe:
    """Name superpixels by number, share of the picture and centre."""
    areas, centroids = _geometry(found)

    def describe(j: int) -> dict[str, Any]:
        return {
            "feature": f"superpixel {j}",
            "condition": None,
            "value": None,
            "area": areas[j],
            "centroid": centroids[j],
        }

    return describe


def _geometry(found: Segmentation) -> tuple[list[float], list[tuple[float, float]]]:
    """Share of the picture and centre (y, x) of every superpixel."""
    flat = found.labels.ravel()
    counts = np.bincount(flat, minlength=found.count)
    y, x = np.indices(found.labels.shape)
    ys = np.bincount(flat, weights=y.ravel(), minlength=found.count) / counts
    xs = np.bincount(flat, weights=x.ravel(), minlength=found.count) / counts
    centres = [(float(a), float(b)) for a, b in zip(ys, xs, strict=True)]
    return (counts / flat.size).tolist(), centres
