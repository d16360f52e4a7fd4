"""From fitted numbers to an Explanation, from a user's settings to numbers: for every engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.explainers.batches import DEFAULT_MEMORY, default_batch
from limecli.explainers.conditions import bin_code, condition
from limecli.surrogate.fit import Fit
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


def resolved(settings: LimeSettings, kernel_width: float, predictor: Predictor) -> LimeSettings:
    """Settings with lime's defaults filled in; `kernel_width` is the one of this kind."""
    k, selection = settings.num_features, settings.feature_selection
    if settings.kernel_width is not None:
        width: float | None = settings.kernel_width
    else:  # one that is to be chosen is not known yet
        width = None if settings.auto_width else kernel_width
    if selection == "auto":
        selection = "forward_selection" if k is not None and k <= 6 else "highest_weights"
    return replace(
        settings,
        kernel_width=width,
        feature_selection=selection,
        mask_string=_mask_string(settings),
        batch_size=settings.batch_size or default_batch(settings.kind, predictor),
        max_memory=settings.max_memory or (None if settings.batch_size else DEFAULT_MEMORY),
    )


def _mask_string(settings: LimeSettings) -> str | None:
    """What stands for a hidden word where places count, by lime's own defaults."""
    if settings.bow is not False or settings.mask_string is not None:
        return settings.mask_string
    return "\0" if settings.char_level else "UNKWORDZ"


def chosen_labels(settings: LimeSettings, predictor: Predictor, row: FloatArray) -> list[int]:
    """The labels to explain, given the model's own answer `float[n_outputs]`.

    Of equal scores the first is the likelier, as `predict` takes it.
    """
    if predictor.task == "regression":
        return [0]
    likeliest = np.argsort(-row, kind="stable")[: settings.top_labels]
    return list(settings.labels) or [int(label) for label in likeliest]


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
    made = []
    for label in order:
        fit = fits[label]
        attributions = tuple(
            Attribution(
                index=found.feature,
                weight=found.weight,
                rank=rank,
                low=found.low,
                high=found.high,
                sign_probability=found.sign_probability,
                top_probability=found.top_probability,
                ranks=found.ranks,
                **describe(found.feature),
            )
            for rank, found in enumerate(fit.weights, start=1)
        )
        made.append(
            Surrogate(
                label=predictor.class_names[label],
                index=label,
                intercept=fit.intercept,
                local_prediction=fit.local_prediction,
                model_prediction=float(row[label]),
                r2_fit=fit.r2,
                attributions=attributions,
                fidelity=fit.fidelity,
                stability=fit.stability,
                stability_top=fit.stability_top,
                interval=fit.interval,
                no_interval=fit.no_interval,
                replicates=fit.replicates,
            )
        )
    return tuple(made)


NEVER = "never in the background: no weight"


class ColumnWords:
    """Names a table's features by the bin or category that a row lies in; each name made once.

    `never` is added where the background never has that bin or category.
    """

    def __init__(self, columns: tuple[Column, ...], binned: bool, never: str | None = None) -> None:
        self._columns, self._binned, self._never = columns, binned, never
        self._words: dict[tuple[int, float], str] = {}

    def describe(self, instance: Instance) -> Describe:
        """The names for one row."""

        def describe(j: int) -> dict[str, Any]:
            column, number = self._columns[j], float(instance.payload[j])
            words: str | None = None
            if self._binned or not column.continuous:
                words = self._condition(j, bin_code(column, number))
            return {"feature": column.name, "condition": words, "value": instance.values[j]}

        return describe

    def _condition(self, j: int, code: float) -> str:
        if (j, code) not in self._words:
            column = self._columns[j]
            words = condition(column, code)
            if self._never is not None and code not in column.feature_values:
                words = f"{words} ({self._never})"
            self._words[j, code] = words
        return self._words[j, code]


def without_weight(surrogate: Surrogate, features: Collection[int]) -> Surrogate:
    """A surrogate that claims nothing of some features: their 0 is no measured one."""
    parts = tuple(
        replace(part, low=None, high=None, sign_probability=None, top_probability=None)
        if part.index in features
        else part
        for part in surrogate.attributions
    )
    return replace(surrogate, attributions=parts)


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
