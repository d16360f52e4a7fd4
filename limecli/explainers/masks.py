"""What is there or gone: words of a text, superpixels of a picture. Drawn, predicted, fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from limecli.explainers.assemble import Describe, chosen_labels, scores, surrogates
from limecli.explainers.batches import BatchedModel
from limecli.explainers.samplers import MAX_SAMPLES, TIE_TOLERANCE
from limecli.explainers.width import Tried, best_width, tuning_blocks, widths_tried
from limecli.neighborhood.hadamard import block_size, draw_hadamard, hadamard_plan
from limecli.neighborhood.kernel import binary_distances, kernel
from limecli.neighborhood.pairs import Law, draw_pairs
from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.control_variate import fit_controlled
from limecli.surrogate.fidelity import held_out_r2
from limecli.surrogate.fit import Fit, fit, fit_pairs, fit_replicates
from limecli.surrogate.ridge import WeightedSamples
from limecli.surrogate.settle import order_settled
from limecli.types import Explanation, Instance, LimeSettings, Locality, Neighborhood, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

    Masks = NDArray[np.bool_]

_FOLDS = 8  # of pairs, or of lime's draws: what held-out fidelity leaves out in turn
_POOL = 1 << 14  # masks that a control variate alone is evaluated on: no model calls
_OTHER = 1 << 32  # added to the seed of the samples, for which it is too large


@dataclass(frozen=True)
class Maskable:
    """An instance with features to switch off.

    `predict` takes `bool[n, n_features]`, which are on, and gives `float[n, n_outputs]`. `law` says
    how many lime leaves on; `draw` is lime's own draw of n masks, row 0 all on. Distances are
    multiplied by `scale`.
    """

    n_features: int
    predict: Callable[[Masks], FloatArray]
    law: Law
    draw: Callable[[int], Masks]
    scale: float = 1.0


@dataclass(frozen=True)
class _Samples:
    """Masks, row 0 the instance, with what they count for besides the kernel, `float[n]`."""

    masks: Masks
    importance: FloatArray
    outputs: FloatArray

    def more(self, other: _Samples) -> _Samples:
        return _Samples(
            np.vstack([self.masks, other.masks]),
            np.concatenate([self.importance, other.importance]),
            np.vstack([self.outputs, other.outputs]),
        )


class MaskedRun:
    """One instance's samples and fits. `settings` are resolved but for `auto` and the width."""

    def __init__(
        self,
        subject: Maskable,
        settings: LimeSettings,
        predictor: Predictor,
        model: BatchedModel,
        default_width: float,
    ) -> None:
        self._subject, self._predictor, self._model = subject, predictor, model
        self._default_width = default_width
        self._first = np.ones(subject.n_features)
        self._k = settings.num_features or subject.n_features
        sampler, count = _plan(settings, subject)
        self.settings = replace(settings, sampler=sampler, num_samples=count)
        self._distances = (
            binary_distances(subject.n_features, settings.distance_metric) * subject.scale
        )
        self._scored: list[int] | None = None
        self.tried: tuple[Tried, ...] = ()

    def explanation(self, instance: Instance, describe: Describe) -> Explanation:
        """Draw, predict, fit; with `settle`, draw on until the order is settled."""
        samples = self._first_samples()
        answer = samples.outputs[0]
        if self.settings.auto_width:
            self._tune(samples)
        fits, settled = self._settled_fits(samples)
        while settled is not None and not all(settled.values()):
            if 2 * (len(samples.masks) - 1) > (self.settings.max_samples or MAX_SAMPLES):
                break
            samples = samples.more(self._more(len(samples.masks) - 1))
            fits, settled = self._settled_fits(samples)
        made = surrogates(fits, answer, self._predictor, describe)
        if settled is not None:
            made = tuple(replace(one, settled=settled[one.index]) for one in made)
        weights = self._weights(samples)
        return Explanation(
            instance=instance,
            prediction=scores(answer, self._predictor, fits),
            model_calls=self._model.calls,
            surrogates=made,
            phases=self._model.clock.seconds,
            sampler=self.settings.sampler,
            weight_calls=self._model.calls,
            locality=_locality(samples.masks, weights),
            neighborhood=Neighborhood(
                samples.masks[1:],
                samples.outputs[1:],
                samples.masks[0],
                self._subject.predict,
                lambda: (samples.masks[1:].T, weights[1:]),
                self._blocks(samples) if self.settings.sampler == "hadamard" else None,
            ),
        )

    def _first_samples(self) -> _Samples:
        n, d = self.settings.num_samples, self._subject.n_features
        with self._model.clock.phase("draw"):
            if self.settings.sampler == "lime":
                masks, importance = self._subject.draw(n), np.ones(n)
            else:
                drawn, ratio = self._draw(n, 0)
                masks = np.vstack([np.ones((1, d), np.bool_), drawn])
                importance = np.append(0.0, ratio)
        return _Samples(masks, importance, self._subject.predict(masks))

    def _draw(self, n: int, start: int) -> tuple[Masks, FloatArray]:
        """Masks `start` to n of a draw, without the instance, and their importance."""
        d, seed = self._subject.n_features, self.settings.seed
        if self.settings.sampler == "hadamard":
            size = block_size(d)
            return draw_hadamard(d, n // size, seed, start // size), np.ones(n - start)
        return draw_pairs(d, n, seed, self._subject.law, start)

    def _more(self, n: int) -> _Samples:
        """As many samples as the n that there are."""
        with self._model.clock.phase("draw"):
            masks, importance = self._draw(2 * n, n)
        return _Samples(masks, importance, self._subject.predict(masks))

    def _kernel(self, samples: _Samples, width: float) -> FloatArray:
        weights: FloatArray = kernel(self._distances, width)[samples.masks.sum(axis=1)]
        return weights * samples.importance if self.settings.sampler == "pairs" else weights

    def _weights(self, samples: _Samples) -> FloatArray:
        return self._kernel(samples, self.settings.kernel_width or 1.0)

    def _blocks(self, samples: _Samples) -> int:
        if self.settings.sampler == "hadamard":
            return (len(samples.masks) - 1) // block_size(self._subject.n_features)
        return _FOLDS

    def _blocked(self, samples: _Samples, width: float) -> BlockedSamples:
        """Samples but for the instance, and but for a rest that fills no block."""
        blocks = self._blocks(samples)
        n = (len(samples.masks) - 1) // blocks * blocks
        weights = self._kernel(samples, width)
        unit = 2 if self.settings.sampler == "pairs" else 1
        return BlockedSamples(samples.masks[1 : n + 1].T, weights[1 : n + 1], blocks, unit)

    def _tune(self, samples: _Samples) -> None:
        """Settle the width, and which blocks are left to measure fidelity on."""
        tuning, self._scored = tuning_blocks(self._blocks(samples))
        if self.settings.kernel_width is not None:
            return  # a replay's
        labels = chosen_labels(self.settings, self._predictor, samples.outputs[0])

        def r2_of(width: float) -> list[float | None]:
            blocked = self._blocked(samples, width)
            return [
                held_out_r2(
                    blocked, samples.outputs[1 : blocked.n + 1, label], self._first,
                    self.settings.feature_selection, self._k, scored=tuning,
                )
                for label in labels
            ]  # fmt: skip

        default, d = self._default_width, self._subject.n_features
        weights_of = [lambda width: self._kernel(samples, width)[1:]]
        self.tried = widths_tried(default, d, weights_of, r2_of)
        width = best_width(default, self.tried)
        self.settings = replace(self.settings, kernel_width=width)

    def _settled_fits(self, samples: _Samples) -> tuple[dict[int, Fit], dict[int, bool] | None]:
        """A fit for each label, and whether its order is settled, if anybody asks."""
        settings = self.settings
        with self._model.clock.phase("fit"):
            labels = chosen_labels(settings, self._predictor, samples.outputs[0])
            fits = self._fits(samples, labels)
        if settings.settle is None:
            return fits, None
        look = round(np.log2((len(samples.masks) - 1) / settings.num_samples))
        tolerance = TIE_TOLERANCE if settings.tie_tolerance is None else settings.tie_tolerance
        return fits, {
            label: order_settled(found, settings.settle, tolerance, look)
            for label, found in fits.items()
        }

    def _fits(self, samples: _Samples, labels: list[int]) -> dict[int, Fit]:
        settings, outputs = self.settings, samples.outputs
        method, k, first, scored = settings.feature_selection, self._k, self._first, self._scored
        if settings.sampler == "lime":
            weighted = WeightedSamples(samples.masks.T, self._weights(samples))
            return {j: fit(weighted, outputs[:, j], first, method, k, scored) for j in labels}
        blocked = self._blocked(samples, settings.kernel_width or 1.0)
        kept = slice(1, blocked.n + 1)
        if settings.sampler == "hadamard":
            return {
                j: fit_replicates(blocked, outputs[kept, j], first, method, k, scored)
                for j in labels
            }
        if settings.control_variate:
            pool = self._pool()
            return {
                j: fit_controlled(blocked, outputs[kept, j], first, method, k, *pool, scored)
                for j in labels
            }
        return {j: fit_pairs(blocked, outputs[kept, j], first, method, k, scored) for j in labels}

    def _pool(self) -> tuple[Masks, FloatArray]:
        """Masks as `bool[n_features, n]` for the control variate alone, and their weights."""
        drawn, importance = draw_pairs(
            self._subject.n_features, _POOL, self.settings.seed + _OTHER, self._subject.law
        )
        return drawn.T, self._weights(_Samples(drawn, importance, np.empty((0, 0))))


def _plan(settings: LimeSettings, subject: Maskable) -> tuple[str, int]:
    """The sampler in force and how many samples it takes: whole blocks, and pairs for each fold."""
    n, sampler = settings.num_samples, settings.sampler
    most = settings.max_samples if settings.settle is not None else None
    blocks = None if subject.law != "binomial" else hadamard_plan(n, subject.n_features)
    size = block_size(subject.n_features)
    if sampler == "auto":
        sampler = "pairs" if blocks is None or settings.control_variate else "hadamard"
        if subject.law == "uniform" and subject.n_features == 1:
            sampler = "lime"  # its draws remove the only word always; lime keeps the text itself
    if sampler == "lime":
        return sampler, n
    if sampler == "pairs":
        size = 2 * _FOLDS
    whole = max(1, round(n / size))
    if most is not None and whole * size > most:
        whole = max(1, most // size)
    return sampler, whole * size


def _locality(masks: Masks, weights: FloatArray) -> Locality:
    """How many features a weighted neighbour keeps."""
    total = float(weights.sum())
    kept = float(weights @ masks.sum(axis=1)) / total if total > 0 else 0.0
    return Locality(kept, masks.shape[1])
