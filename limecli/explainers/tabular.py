"""The engine `limecli` for rows of a table: draws, predictions and fits, each computed once.

In lime the perturbed rows do not depend on the row to explain. So with a fresh generator for each
row, as always here, one neighborhood and its predictions serve every row of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from limecli.errors import InputError, PredictError, UsageError
from limecli.explainers.assemble import (
    NEVER,
    ColumnWords,
    chosen_labels,
    resolved,
    scores,
    surrogates,
    without_weight,
)
from limecli.explainers.batches import BYTES_A_CELL, BatchedModel, batch_size_for
from limecli.explainers.choice import chosen
from limecli.explainers.clock import Clock
from limecli.explainers.conditions import lime_notes, refuse_missing
from limecli.explainers.designs import Design, Fitter, Row, Space
from limecli.explainers.interface import Progress, one_by_one, skipped
from limecli.explainers.levels import Asked, Levels
from limecli.explainers.row_wise import RowWise, alike, rounding
from limecli.explainers.samplers import MAX_SAMPLES, TIE_TOLERANCE, check_sampler
from limecli.explainers.width import Tried, best_width, tuning_blocks, widths_tried
from limecli.surrogate.fit import Fit
from limecli.surrogate.settle import order_settled
from limecli.types import (
    Background,
    Explanation,
    Instance,
    LimeSettings,
    Neighborhood,
    Predictor,
    Skipped,
)

if TYPE_CHECKING:
    from limecli.types import FloatArray

_TOGETHER = 256  # rows that are predicted and grouped at a time
_TUNED_ON = 32  # rows that a kernel width is chosen by, at most
_NOT_ROW_WISE = (
    "the model's answers depend on the other rows of a batch, or change from call to call: each row"
    " gets a neighborhood of its own"
)


@dataclass(frozen=True)
class _Fitted:
    """What was made of one row, of which the model says `answer`, and from which neighborhood.

    `settled` is None if nobody asks.
    """

    row: Row
    answer: FloatArray
    fits: dict[int, Fit]
    seen: Asked
    settled: dict[int, bool] | None


class Tabular:
    """Rows of a table. With `--sampler lime` the numbers of lime's `LimeTabularExplainer`."""

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        if background is None:
            raise UsageError("explaining a row needs a background")
        check_sampler(settings)
        self._predictor, self._columns = predictor, background.columns
        # lime's own expression, so that the default agrees to the last bit
        self._default_width = float(np.sqrt(len(background.columns)) * 0.75)
        self.settings = resolved(settings, self._default_width, predictor)
        self._space = Space(self._columns, self.settings)
        self._progress = progress
        self._batch_size = batch_size_for(self.settings, BYTES_A_CELL * len(self._columns))
        self.tried: tuple[Tried, ...] = ()
        self._scored: list[int] | None = None
        self._shared: tuple[Levels, RowWise] | None = None
        self._checks = 0  # evaluations that only told whether weights can be exact
        self._shared_clock = Clock()
        choice = chosen(self.settings, self._space, self._exact)
        self._design, self.settings = choice.design, choice.settings
        known = None if self.settings.sampler == "lime" else NEVER
        self._words = ColumnWords(self._columns, self._space.binned, known)
        self.notes = (*lime_notes(self._columns, self.settings), *choice.notes)

    def _exact(self) -> Design:
        """Exact weights, checked on the model; what it says of the draws is kept."""
        from limecli.explainers.exact import ExactDesign

        model = self._model()
        try:
            design = ExactDesign(self._predictor, self._space, self.settings, model)
        finally:
            self._checks = model.calls
        if not self._around:
            self._checks = 0  # they are those of the shared neighborhood
            outputs = np.vstack([design.outputs[:1], design.outputs])
            self._keep(
                model, design, Asked.of(design.draws, outputs, model.calls), design.same_digits
            )
        return design

    def evaluations(self, count: int) -> int:
        """`num_samples` for all together, or for each when they are drawn around it."""
        n = self.settings.num_samples
        if self.settings.settle is not None and self._design.sampler != "exact":
            n = self.settings.max_samples or MAX_SAMPLES
        return n * count if self._around else n + count

    def share(self) -> Asked | None:
        """Ask about the neighborhood that rows share; None where each row has its own."""
        return None if self._around else self._share()[0][0]

    def adopt(self, asked: Asked | None) -> None:
        """Take what another explainer of the same model, background and settings has asked."""
        if asked is not None and self._shared is None:
            self._keep(self._model(), self._design, asked)

    def same_digits(self, some: Sequence[Instance]) -> bool:
        """Whether no digit of the model's answers depends on how many rows it is asked for."""
        if self._around:
            return rounding(self._predictor.predict_fn, [item.payload for item in some]) == 0
        return self._share()[1].same_digits

    def explain_block(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """As `explain`, for a block of an audit: its rows are asked for together, however few.

        So what comes of a block depends on its rows alone.
        """
        self.share()
        if self._around:
            return one_by_one(instances, self._alone)
        return self._together(instances, as_block=True)

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Rows in their order; see `Explainer`. One row costs `num_samples` evaluations, further
        ones an evaluation each.
        """
        alone = len(instances) < 2 and self._shared is None
        if alone or self._around:
            return one_by_one(instances, self._alone)
        return self._together(instances)

    @property
    def _around(self) -> bool:
        return bool(self.settings.sample_around_instance)

    def _model(self) -> BatchedModel:
        return BatchedModel(self._predictor, self._batch_size, self._progress)

    def _keep(
        self,
        model: BatchedModel,
        design: Design,
        first: Asked,
        same_digits: bool = False,
    ) -> tuple[Levels, RowWise]:
        """A neighborhood with its outputs, for every row of this call and of later ones."""
        rows = RowWise(model.silent(), first.draws.rows, first.by_label.T, same_digits)
        levels = Levels(first, design, None, lambda more: self._counted(self._model(), more))
        self._shared, self._shared_clock = (levels, rows), model.clock
        return self._shared

    def _share(self) -> tuple[Levels, RowWise]:
        """Ask about the neighborhood of every row, unless that has been done."""
        if self._shared is not None:
            return self._shared
        model = self._model()
        with model.clock.phase("draw"):
            draws = self._design.draw(None)
            draws.rows[0] = draws.rows[1]  # any row that the model takes
        outputs = self._predicted(model, draws.rows)
        return self._keep(model, self._design, Asked.of(draws, outputs, model.calls))

    def _alone(self, instance: Instance) -> Explanation:
        """A row with a neighborhood of its own."""
        self._check(instance)
        model = self._model()
        centre = instance.payload if self._around else None
        with model.clock.phase("draw"):
            draws = self._design.draw(centre)
            draws.rows[0] = instance.payload
        outputs = self._predicted(model, draws.rows)
        answer = outputs[0]
        if instance.outputs is not None and alike(instance.outputs, answer, outputs):
            answer = instance.outputs  # the same digits as among other rows
        first = Asked.of(draws, outputs, model.calls)
        levels = Levels(first, self._design, centre, lambda more: self._counted(model, more))
        (row,) = self._space.rows(instance.payload[None])
        self._tune([row], [answer], levels)
        with model.clock.phase("fit"):
            found = self._fitted(row, answer, self._labels(answer), levels, {})
        return self._explanation(instance, found, model.clock.seconds)

    def _of_its_own(self, instance: Instance) -> Explanation:
        return replace(self._alone(instance), notes=(_NOT_ROW_WISE,))

    def _together(
        self, instances: Sequence[Instance], as_block: bool = False
    ) -> Iterator[Explanation | Skipped]:
        """Rows that share one neighborhood, where the model answers for each row by itself."""
        levels, rows = self._share()
        if not rows.sound:
            yield from one_by_one(instances, self._of_its_own)
            return
        clock = Clock(self._shared_clock.seconds)  # what rows share counts for the first of them
        self._shared_clock = Clock()
        for start in range(0, len(instances), _TOGETHER):
            chunk = instances[start : start + _TOGETHER]
            with clock.phase("model"):
                answers = self._answers(rows, chunk, None if as_block else len(instances))
            with clock.phase("fit"):
                found = self._shared_fits(chunk, answers, levels)
            for i, (instance, answer) in enumerate(zip(chunk, answers, strict=True)):
                self._progress(1)
                fitted = answer if isinstance(answer, Skipped) else found[i]
                if isinstance(fitted, Skipped):
                    yield fitted
                    continue
                yield self._explanation(instance, fitted, clock.seconds)
                clock = Clock()

    def _predicted(self, model: BatchedModel, rows: FloatArray) -> FloatArray:
        """`float[n, n_outputs]`; equal rows are predicted once."""
        table = self._space.table
        numbers = table.never_repeats if self._space.binned else bool(table.normals)
        return model(rows) if numbers else model.distinct_rows(rows)

    def _counted(self, model: BatchedModel, rows: FloatArray) -> tuple[FloatArray, int]:
        before = model.calls
        return self._predicted(model, rows), model.calls - before

    def _check(self, instance: Instance) -> None:
        if not self._space.binned:
            refuse_missing(instance, self._columns)

    def _answers(
        self, rows: RowWise, instances: Sequence[Instance], among: int | None
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
        answers: Sequence[FloatArray | Skipped],
        levels: Levels,
    ) -> dict[int, _Fitted | Skipped]:
        """Fits of each row. Rows in the same bins have the same z, weights and Gram matrix."""
        found: dict[int, _Fitted | Skipped] = {}
        good = {i: answer for i, answer in enumerate(answers) if not isinstance(answer, Skipped)}
        if not good:
            return found
        rows = self._space.rows(np.stack([instances[i].payload for i in good]))
        self._tune(rows, list(good.values()), levels)
        labels = [self._labels(answer) for answer in good.values()]
        self._design.foresee(rows, self.settings, labels)
        cells: dict[bytes, list[int]] = {}  # places of the rows in each
        for place, row in enumerate(rows):
            cell = row.payload if row.codes is None else row.codes
            cells.setdefault(cell.tobytes(), []).append(place)
        numbers = list(good)
        for places in cells.values():
            fitters: dict[int, Fitter] = {}  # each holds samples: those of one cell at a time
            for place in places:
                i = numbers[place]
                try:
                    found[i] = self._fitted(rows[place], good[i], labels[place], levels, fitters)
                except InputError as error:
                    found[i] = skipped(instances[i], error)
        return found

    def _tune(self, rows: Sequence[Row], answers: Sequence[FloatArray], levels: Levels) -> None:
        """`--kernel-width auto`: one width for all rows, by the first ones."""
        if not self.settings.auto_width or self._scored is not None:
            return
        tuning, self._scored = tuning_blocks(self._design.blocks)
        if self.settings.kernel_width is not None:
            return  # a replay's
        pairs = list(zip(rows, answers, strict=True))[:_TUNED_ON]
        seen = levels[0]

        def weights_of(row: Row) -> Callable[[float], FloatArray]:
            near = replace(self._space.near(seen.draws, row), z=np.empty((0, 0)))
            return lambda width: near.weights(width)[1:]

        def r2_of(width: float) -> list[float | None]:
            settings = replace(self.settings, kernel_width=width)
            return [
                self._design.r2(
                    seen.draws, row, settings, seen.outputs(label, answer), label, tuning
                )
                for row, answer in pairs
                for label in chosen_labels(settings, self._predictor, answer)
            ]

        of_each = [weights_of(row) for row, _ in pairs]
        default = self._default_width
        self.tried = widths_tried(default, len(self._columns), of_each, r2_of)
        width = best_width(default, self.tried)
        self.settings = replace(self.settings, kernel_width=width)

    def _fitted(
        self,
        row: Row,
        answer: FloatArray,
        labels: Sequence[int],
        levels: Levels,
        fitters: dict[int, Fitter],
    ) -> _Fitted:
        """One fit for each label; with `settle`, from draws that grow until the order is settled.

        `fitters` are those of other rows in the same cell, by level.
        """
        settings, number = self.settings, 0
        most = settings.max_samples or MAX_SAMPLES
        while True:
            seen = levels[number]
            if number not in fitters:
                fitters[number] = self._design.fitter(seen.draws, row, settings, self._scored)
            fits = {label: fitters[number](label, seen.outputs(label, answer)) for label in labels}
            if settings.settle is None:
                return _Fitted(row, answer, fits, seen, None)
            settled = self._settled(fits, number)
            if all(settled.values()) or 2 * (len(seen.draws.rows) - 1) > most:
                return _Fitted(row, answer, fits, seen, settled)
            number += 1

    def _labels(self, answer: FloatArray) -> list[int]:
        return chosen_labels(self.settings, self._predictor, answer)

    def _settled(self, fits: dict[int, Fit], look: int) -> dict[int, bool]:
        settings = self.settings
        tolerance = TIE_TOLERANCE if settings.tie_tolerance is None else settings.tie_tolerance
        top = settings.settle or 1
        return {label: order_settled(fit, top, tolerance, look) for label, fit in fits.items()}

    def _explanation(
        self, instance: Instance, found: _Fitted, phases: dict[str, float]
    ) -> Explanation:
        describe, answer = self._words.describe(instance), found.answer
        made = surrogates(found.fits, answer, self._predictor, describe)
        if found.row.never and self._design.sampler != "lime":
            made = tuple(without_weight(one, found.row.never) for one in made)
        if found.settled is not None:
            made = tuple(replace(one, settled=found.settled[one.index]) for one in made)
        exact = self._design.sampler == "exact"
        return Explanation(
            instance=instance,
            prediction=scores(answer, self._predictor, found.fits),
            model_calls=found.seen.calls + self._checks,
            surrogates=made,
            phases=phases,
            sampler=self._design.sampler,
            weight_calls=0 if exact else found.seen.calls,
            neighborhood=self._neighborhood(instance, found.seen),
        )

    def _neighborhood(self, instance: Instance, seen: Asked) -> Neighborhood:
        def interpretable() -> tuple[FloatArray, FloatArray]:
            (row,) = self._space.rows(instance.payload[None])
            found = self._space.seen(seen.draws, row, self.settings.kernel_width)
            return found.z[:, 1:], found.weights[1:]

        return Neighborhood(
            seen.draws.rows[1:], seen.by_label[:, 1:].T, instance.payload,
            self._predictor.predict_fn, interpretable,
            self._design.blocks if self._design.sampler == "sobol" else None,
        )  # fmt: skip
