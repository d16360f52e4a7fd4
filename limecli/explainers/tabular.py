"""The engine `limecli` for rows of a table: lime's draws and lime's fit, each computed once.

In lime the perturbed rows do not depend on the row to explain. So with a fresh generator for each
row, as always here, one neighborhood and its predictions serve every row of a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from limecli.errors import InputError, PredictError, UsageError
from limecli.explainers.assemble import ColumnWords, chosen_labels, resolved, scores, surrogates
from limecli.explainers.batches import BatchedModel, batch_size_for
from limecli.explainers.clock import Clock
from limecli.explainers.conditions import refuse_missing, seeded, tabular_notes
from limecli.explainers.interface import Progress, one_by_one, skipped
from limecli.explainers.row_wise import RowWise, alike
from limecli.neighborhood.kernel import binary_distances, distances_to_first, kernel
from limecli.neighborhood.lime_stream import TabularDraws, draw_bins, draw_normals
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.surrogate.fit import Fit, fit
from limecli.surrogate.ridge import WeightedSamples
from limecli.types import Background, Explanation, Instance, LimeSettings, Predictor, Skipped

if TYPE_CHECKING:
    from limecli.types import FloatArray

_BYTES_A_CELL = 24  # a code, the value in a DataFrame, and what the model makes of it
_TOGETHER = 256  # rows that are predicted and grouped at a time
_NOT_ROW_WISE = (
    "the model's answers depend on the other rows of a batch, or change from call to call: each row"
    " gets a neighborhood of its own"
)


@dataclass(frozen=True)
class _Shared:
    """A neighborhood's outputs as `float[n_outputs, n]`, and what they cost."""

    by_label: FloatArray
    rows: RowWise
    calls: int
    phases: dict[str, float]


class Tabular:
    """Rows of a table, with the numbers of `lime.lime_tabular.LimeTabularExplainer`."""

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        if background is None:
            raise UsageError("explaining a row needs a background")
        self._predictor, self._columns = predictor, background.columns
        # lime's own expression, so that the default agrees to the last bit
        width = float(np.sqrt(len(background.columns)) * 0.75)
        self.settings = resolved(settings, width, predictor)
        self.notes = tabular_notes(self._columns, self.settings)
        self._binned = self.settings.discretizer != "none"
        self._words = ColumnWords(self._columns, self._binned)
        self._space = TabularSpace(self._columns)
        self._progress = progress
        self._batch_size = batch_size_for(self.settings, _BYTES_A_CELL * len(self._columns))

    def evaluations(self, count: int) -> int:
        """`num_samples` for all together, or for each when they are drawn around it."""
        n = self.settings.num_samples
        return n * count if self._around or count == 1 else n + count

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Rows in their order; see `Explainer`. One row costs `num_samples` evaluations, further
        ones an evaluation each.
        """
        if len(instances) < 2 or self._around:
            return one_by_one(instances, self._alone)
        return self._together(instances)

    @property
    def _around(self) -> bool:
        return bool(self.settings.sample_around_instance)

    @cached_property
    def _draws(self) -> TabularDraws:
        """The neighborhood of every row; row 0 is for the row to explain."""
        return self._draw(None)

    def _draw(self, centre: FloatArray | None) -> TabularDraws:
        rng, n = seeded(self.settings, self._columns), self.settings.num_samples
        if self._binned:
            return draw_bins(rng, self._space, n)
        return draw_normals(rng, self._space, n, centre)

    @cached_property
    def _shared(self) -> _Shared:
        """What the model says of the neighborhood, for every row of every call."""
        model = self._model()
        with model.clock.phase("draw"):
            draws = self._draws
            draws.rows[0] = draws.rows[1]  # any row that the model takes
        outputs = self._predicted(model, draws.rows)
        rows = RowWise(model.silent(), draws.rows, outputs)
        return _Shared(np.ascontiguousarray(outputs.T), rows, model.calls, model.clock.seconds)

    def _model(self) -> BatchedModel:
        return BatchedModel(self._predictor, self._batch_size, self._progress)

    def _alone(self, instance: Instance) -> Explanation:
        """A row with a neighborhood of its own."""
        self._check(instance)
        model = self._model()
        with model.clock.phase("draw"):
            draws = self._draw(instance.payload) if self._around else self._draws
            draws.rows[0] = instance.payload
        outputs = self._predicted(model, draws.rows)
        answer = outputs[0]
        if instance.outputs is not None and alike(instance.outputs, answer, outputs):
            answer = instance.outputs  # the same digits as among other rows
        with model.clock.phase("fit"):
            samples, first = self._samples(draws, instance)
            fits = self._fits(samples, first, outputs.T, answer)
        return self._explanation(instance, answer, fits, model.calls, model.clock.seconds)

    def _of_its_own(self, instance: Instance) -> Explanation:
        return replace(self._alone(instance), notes=(_NOT_ROW_WISE,))

    def _together(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Rows that share one neighborhood, where the model answers for each row by itself."""
        shared = self._shared
        if not shared.rows.sound:
            yield from one_by_one(instances, self._of_its_own)
            return
        clock = Clock(shared.phases.copy())  # what rows share counts for the first of them
        shared.phases.clear()
        for start in range(0, len(instances), _TOGETHER):
            chunk = instances[start : start + _TOGETHER]
            with clock.phase("model"):
                answers = self._answers(shared.rows, chunk, len(instances))
            with clock.phase("fit"):
                fits = self._shared_fits(chunk, shared.by_label, answers)
            for instance, answer, found in zip(chunk, answers, fits, strict=True):
                self._progress(1)
                if isinstance(answer, Skipped):
                    yield answer
                    continue
                yield self._explanation(instance, answer, found, shared.calls, clock.seconds)
                clock = Clock()

    def _predicted(self, model: BatchedModel, rows: FloatArray) -> FloatArray:
        """`float[n, n_outputs]`; equal rows are predicted once."""
        numbers = self._space.never_repeats if self._binned else bool(self._space.normals)
        return model(rows) if numbers else model.distinct_rows(rows)

    def _check(self, instance: Instance) -> None:
        if not self._binned:
            refuse_missing(instance, self._columns)

    def _answers(
        self, rows: RowWise, instances: Sequence[Instance], among: int
    ) -> list[FloatArray | Skipped]:
        """What the model says of each row; rows that it refuses, or that cannot be drawn around."""
        try:
            for instance in instances:
                self._check(instance)
            payloads = np.stack([instance.payload for instance in instances])
            return list(rows.answers(payloads, among))
        except (InputError, PredictError) as error:
            if len(instances) == 1:
                return [skipped(instances[0], error)]
        return [answer for instance in instances for answer in self._answers(rows, [instance], 1)]

    def _shared_fits(
        self,
        instances: Sequence[Instance],
        by_label: FloatArray,
        answers: Sequence[FloatArray | Skipped],
    ) -> list[dict[int, Fit]]:
        """Fits of each row. Rows in the same bins have the same z, weights and Gram matrix."""
        found: list[dict[int, Fit]] = [{} for _ in instances]
        good = {i: answer for i, answer in enumerate(answers) if not isinstance(answer, Skipped)}
        for members in self._cells({i: instances[i] for i in good}):
            samples, first = self._samples(self._draws, instances[members[0]])
            for i in members:
                found[i] = self._fits(samples, first, by_label, good[i])
        return found

    def _cells(self, instances: Mapping[int, Instance]) -> list[list[int]]:
        """The keys of rows that share all their bins; of equal rows, without bins."""
        if not instances:
            return []
        rows = np.stack([instance.payload for instance in instances.values()])
        cells: dict[bytes, list[int]] = {}
        places = self._space.codes(rows) if self._binned else rows
        for i, cell in zip(instances, places, strict=True):
            cells.setdefault(cell.tobytes(), []).append(i)
        return list(cells.values())

    def _samples(
        self, draws: TabularDraws, instance: Instance
    ) -> tuple[WeightedSamples, FloatArray]:
        """The weighted z of one row's neighborhood, and z of the row, `float[n_features]`."""
        settings, space = self.settings, self._space
        width = settings.kernel_width or 1.0
        if self._binned:
            z = space.matches(draws.codes, space.codes(instance.payload[None])[0])
            z[:, 0] = True
            by_count = kernel(binary_distances(len(z), settings.distance_metric), width)
            weights = by_count[z.sum(axis=0, dtype=np.uint32)]
            return WeightedSamples(z, weights), np.ones(len(z))
        draws.rows[0] = instance.payload
        scaled = (draws.rows - space.means) / space.scales
        for j in space.categorical:
            scaled[:, j] = draws.rows[:, j] == instance.payload[j]
        weights = kernel(distances_to_first(scaled, settings.distance_metric), width)
        return WeightedSamples(scaled.T, weights), scaled[0]

    def _fits(
        self,
        samples: WeightedSamples,
        first: FloatArray,
        by_label: FloatArray,
        answer: FloatArray,
    ) -> dict[int, Fit]:
        """One fit for each label, given the outputs as `float[n_outputs, n]`."""
        settings = self.settings
        k = settings.num_features or len(first)
        fits = {}
        for label in chosen_labels(settings, self._predictor, answer):
            outputs = by_label[label].copy()
            outputs[0] = answer[label]
            fits[label] = fit(samples, outputs, first, settings.feature_selection, k)
        return fits

    def _explanation(
        self,
        instance: Instance,
        answer: FloatArray,
        fits: dict[int, Fit],
        calls: int,
        phases: dict[str, float],
    ) -> Explanation:
        describe = self._words.describe(instance)
        return Explanation(
            instance=instance,
            prediction=scores(answer, self._predictor, fits),
            model_calls=calls,
            surrogates=surrogates(fits, answer, self._predictor, describe),
            phases=phases,
        )
