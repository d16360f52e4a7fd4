"""Runs of the engine on the test beds, seed by seed, as a user would run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import beds
import mask_beds
import numpy as np
from beds import TableBed
from mask_beds import MaskBed
from speed import HASH, limecli, predictor_of

from limecli.explainers.base import OneByOne
from limecli.explainers.batches import BatchedModel
from limecli.explainers.masks import Maskable
from limecli.neighborhood.lime_stream import draw_superpixels, draw_words, generator
from limecli.types import Explanation, Instance, LimeSettings, Surrogate

Bed = TableBed | MaskBed


@dataclass(frozen=True)
class Way:
    """A sampler, with a control variate or without."""

    sampler: str
    control: bool = False

    def __str__(self) -> str:
        return f"{self.sampler} with control variate" if self.control else self.sampler


LIME, SOBOL, HADAMARD, PAIRS = Way("lime"), Way("sobol"), Way("hadamard"), Way("pairs")
CONTROLLED, BOOSTED = Way("pairs", control=True), Way("sobol", control=True)


@cache
def bed_of(name: str, limit: int) -> Bed:
    """A bed, made once."""
    make: dict[str, Callable[[int], Bed]] = {
        "iris": beds.iris,
        "breast_cancer": beds.cancer,
        "mixed": beds.mixed,
        "picture": lambda n: mask_beds.picture(2 * n),
        "text": lambda n: mask_beds.text(2 * n),
        "forest_text": lambda n: mask_beds.forest_text(2 * n),
    }
    return make[name](limit)


WAYS = {
    "iris": (LIME, SOBOL, BOOSTED),
    "breast_cancer": (LIME, SOBOL, BOOSTED),
    "mixed": (LIME, SOBOL, BOOSTED),
    "picture": (LIME, HADAMARD, PAIRS, CONTROLLED),
    "text": (LIME, PAIRS, CONTROLLED),
    "forest_text": (LIME, PAIRS, CONTROLLED),
}


class Masked(OneByOne):
    """The engine for what is there or gone, on masks alone: no picture or text is made of them."""

    def __init__(self, bed: MaskBed, settings: LimeSettings) -> None:
        self.kernel_width = 0.25 if bed.kind == "image" else 25.0
        self._bed = bed

        def predict_fn(masks: np.ndarray) -> np.ndarray:
            outputs = bed.outputs(masks)
            return np.column_stack([1 - outputs, outputs])

        predictor = predictor_of(predict_fn, 2, fitted=object())
        super().__init__(predictor, None, settings, lambda count: None)

    def _explain(self, instance: Instance) -> Explanation:
        model = BatchedModel(self._predictor, 1 << 15, self._progress)
        d, image, rng = self._bed.n_features, self._bed.kind == "image", self._settings.seed
        draw = draw_superpixels if image else draw_words
        subject = Maskable(
            d, model, "binomial" if image else "uniform",
            lambda n: draw(generator(rng), d, n), 1.0 if image else 100.0,
        )  # fmt: skip
        return self._of_masks(instance, subject, model, lambda j: _NOTHING | {"feature": str(j)})


_NOTHING = {"condition": None, "value": None}


def explained(bed: Bed, settings: LimeSettings) -> Explanation:
    """The bed's instance, by the engine."""
    if isinstance(bed, TableBed):
        found = limecli(bed.predictor, [bed.instance], settings, bed.background)
    else:
        found = list(Masked(bed, settings).explain([Instance("0", 0, bed.kind, None, HASH)]))
    if not isinstance(found[0], Explanation):
        raise TypeError(found[0].reason)
    return found[0]


def settings_of(bed: Bed, way: Way, n: int | None = None, k: int | None = None) -> LimeSettings:
    """lime's defaults, but for the sampler; n and k None for lime's number and all features."""
    table = isinstance(bed, TableBed)
    return LimeSettings(
        kind="tabular" if table else bed.kind,
        sampler=way.sampler,
        num_samples=n or bed.num_samples,
        num_features=k,
        labels=(bed.label if table else 1,),
        distance_metric="euclidean" if table else "cosine",
        discretizer=bed.background.discretizer if table else None,
        control_variate=way.control or None,
    )


@dataclass(frozen=True)
class Runs:
    """One bed explained with many seeds. Arrays are `[seeds, n_features]`, NaN where a feature was
    not chosen; `evaluations` are those that the weights rest on, for one seed.
    """

    surrogates: list[Surrogate]
    evaluations: float
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sign: np.ndarray


@cache
def repeated(name: str, limit: int, way: Way, n: int | None, k: int | None, seeds: int) -> Runs:
    """Explain with seeds 0, 1, 2 ...; asked again, remembered."""
    bed = bed_of(name, limit)
    settings = settings_of(bed, way, n, k)
    found = [explained(bed, replace(settings, seed=seed)) for seed in range(seeds)]
    surrogates = [explanation.surrogates[0] for explanation in found]
    fields = {key: np.full((seeds, bed.n_features), np.nan)
              for key in ("weight", "low", "high", "sign_probability")}  # fmt: skip
    for i, surrogate in enumerate(surrogates):
        for one in surrogate.attributions:
            for key, values in fields.items():
                said = getattr(one, key)
                values[i, one.index] = np.nan if said is None else said
    calls = np.mean([explanation.weight_calls or explanation.model_calls for explanation in found])
    return Runs(surrogates, float(calls), *fields.values())
