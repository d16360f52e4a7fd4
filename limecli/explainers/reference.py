"""The engine `lime`: lime's own classes, unmodified, with their traps closed off.

A recording `LimeBase` keeps every label's fit (lime keeps only the last), segments are relabelled,
statistics come from a Background instead of training rows, and each instance gets a fresh generator
made from the seed: its explanation equals that of a new lime explainer with `random_state=seed`.
Only this file imports lime's explainer classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from lime import lime_image
from lime.discretize import BaseDiscretizer
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from lime.lime_text import LimeTextExplainer

from limecli.errors import UsageError
from limecli.explainers.assemble import (
    ColumnWords,
    chosen_labels,
    describe_superpixels,
    resolved,
    scores,
    surrogates,
)
from limecli.explainers.base import OneByOne
from limecli.explainers.batches import BatchedModel
from limecli.explainers.composition import fill_color
from limecli.explainers.conditions import condition, lime_notes, refuse_missing, seeded
from limecli.explainers.interface import Progress, one_by_one
from limecli.explainers.segmentation import segmentation_notes, superpixels
from limecli.explainers.tokens import DEFAULT_SPLIT, Tokens, describe_tokens
from limecli.explainers.width import Tried
from limecli.surrogate.fit import Fit, Weight
from limecli.types import (
    Background,
    Column,
    Explanation,
    Instance,
    LimeSettings,
    Predictor,
    Skipped,
)

if TYPE_CHECKING:
    from limecli.types import FloatArray


# lime draws a progress bar on stderr whatever one wishes; ours shows the same.
lime_image.tqdm = lambda rows, **_: rows


class _RecordingBase(LimeBase):  # type: ignore[misc]
    """Keeps each label's result and the model's outputs, which lime's explanation overwrites."""

    def __init__(self, base: LimeBase) -> None:
        super().__init__(base.kernel_fn, random_state=base.random_state)
        self.fits: dict[int, Fit] = {}
        self.outputs: FloatArray = np.empty((0, 0))

    def explain_instance_with_data(
        self, data: Any, outputs: Any, distances: Any, label: int, *args: Any, **kwargs: Any
    ) -> Any:
        result = super().explain_instance_with_data(
            data, outputs, distances, label, *args, **kwargs
        )
        intercept, pairs, score, local = result
        seen = outputs[self.kernel_fn(distances) > 0, label]
        constant = bool(np.ptp(seen) == 0)
        self.outputs = outputs
        self.fits[int(label)] = Fit(
            float(intercept),
            tuple(Weight(int(feature), float(weight)) for feature, weight in pairs),
            # R² of a constant is undefined, not 1; so is that of a single weighted sample
            None if constant or not np.isfinite(score) else float(score),
            float(np.ravel(local)[0]),
        )
        return result


class _Labels:
    """The labels to explain, found once lime asks for them: it has called the model by then."""

    def __init__(self, settings: LimeSettings, predictor: Predictor, model: BatchedModel) -> None:
        self._settings, self._predictor, self._model = settings, predictor, model

    def __iter__(self) -> Iterator[int]:
        row = np.asarray(self._model.first)
        return iter(chosen_labels(self._settings, self._predictor, row))


class _BackgroundDiscretizer(BaseDiscretizer):  # type: ignore[misc]
    """lime's discretizer over a Background, with one more bin for missing values.

    A missing value stays missing when it is undiscretised and takes no number from the generator.
    """

    def __init__(self, columns: tuple[Column, ...], random_state: np.random.RandomState) -> None:
        self._columns = columns
        categorical = [j for j, column in enumerate(columns) if not column.continuous]
        stats = {
            key: {j: list(getattr(c, key)) for j, c in enumerate(columns) if c.continuous}
            for key in ("means", "stds", "mins", "maxs")
        }
        super().__init__(
            np.zeros((1, len(columns))),
            categorical,
            [column.name for column in columns],
            random_state=random_state,
            data_stats=stats,
        )
        for j, column in enumerate(columns):
            if column.continuous:
                edges = np.array(column.bins)
                codes = range(len(edges) + 2)
                self.names[j] = [condition(column, code) for code in codes]
                self.lambdas[j] = lambda x, edges=edges: np.where(
                    np.isnan(x), len(edges) + 1, np.searchsorted(edges, x)
                )

    def bins(self, data: Any, labels: Any) -> list[Any]:
        # lime names bins after these edges and fails on none; the names are replaced above.
        return [np.array(c.bins or (0.0,)) for c in self._columns if c.continuous]

    def get_undiscretize_values(self, feature: int, values: Any) -> FloatArray:
        result = np.full(len(values), np.nan)
        present = values <= len(self._columns[feature].bins)
        if present.any():
            result[present] = super().get_undiscretize_values(feature, values[present])
        return result


class LimeTabular:
    """Rows of a table by `lime.lime_tabular.LimeTabularExplainer`."""

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        if background is None:
            raise UsageError("explaining a row needs a background")
        self._predictor, self._background, self._progress = predictor, background, progress
        # lime's own expression, so that the default agrees to the last bit
        width = float(np.sqrt(len(background.columns)) * 0.75)
        self.settings = resolved(settings, width, predictor)
        self.notes = lime_notes(background.columns, self.settings)
        self.tried: tuple[Tried, ...] = ()

    def _explainer(self) -> LimeTabularExplainer:
        settings, columns = self.settings, self._background.columns
        rng = seeded(settings, columns)
        discretizer = None
        if settings.discretizer != "none":
            discretizer = _BackgroundDiscretizer(columns, rng)
        categorical = [j for j, column in enumerate(columns) if not column.continuous]
        explainer = LimeTabularExplainer(
            np.zeros((1, len(columns))),
            mode=self._predictor.task,
            feature_names=[column.name for column in columns],
            categorical_features=categorical,
            kernel_width=settings.kernel_width,
            feature_selection=settings.feature_selection,
            discretize_continuous=discretizer is not None,
            discretizer=discretizer,
            sample_around_instance=bool(settings.sample_around_instance),
            random_state=rng,
        )
        # The constructor took its statistics from the row of zeros; these are the real ones.
        for j in explainer.categorical_features:
            explainer.feature_values[j] = list(columns[j].feature_values)
            explainer.feature_frequencies[j] = np.array(columns[j].feature_frequencies)
        if discretizer is None:
            explainer.scaler.mean_ = np.array([column.mean for column in columns])
            explainer.scaler.scale_ = np.array([column.scale for column in columns])
        explainer.base = _RecordingBase(explainer.base)
        return explainer

    def evaluations(self, count: int) -> int:
        """`num_samples` for each."""
        return count * self.settings.num_samples

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Each on its own; see `Explainer`."""
        return one_by_one(instances, self._explain)

    def _explain(self, instance: Instance) -> Explanation:
        settings, columns = self.settings, self._background.columns
        if settings.discretizer == "none":
            refuse_missing(instance, columns)
        model = BatchedModel(self._predictor, settings.batch_size or 1, self._progress)
        one_output = self._predictor.task == "regression"

        def predict_fn(codes: FloatArray) -> FloatArray:
            scores = model(codes)
            return scores[:, 0] if one_output else scores

        explainer = self._explainer()
        with model.clock.phase("lime"):
            explainer.explain_instance(
                instance.payload,
                predict_fn,
                num_features=settings.num_features,
                num_samples=settings.num_samples,
                distance_metric=settings.distance_metric,
                labels=_Labels(settings, self._predictor, model),
                top_labels=None,
            )

        base = explainer.base
        describe = ColumnWords(columns, settings.discretizer != "none").describe(instance)
        return Explanation(
            instance=instance,
            prediction=scores(base.outputs[0], self._predictor, base.fits),
            model_calls=model.calls,
            phases=model.clock.seconds,
            surrogates=surrogates(base.fits, base.outputs[0], self._predictor, describe),
        )


class LimeImage(OneByOne):
    """Pictures by `lime.lime_image.LimeImageExplainer`, on segments numbered from 0."""

    kernel_width = 0.25

    def _explain(self, instance: Instance) -> Explanation:
        settings = self.settings
        model = BatchedModel(self._predictor, settings.batch_size or 1, self._progress)
        with model.clock.phase("segmentation"):
            found = superpixels(instance, settings)
        explainer = LimeImageExplainer(
            kernel_width=settings.kernel_width,
            feature_selection=settings.feature_selection,
            random_state=settings.seed,
        )
        base = explainer.base = _RecordingBase(explainer.base)
        with model.clock.phase("lime"):
            explainer.explain_instance(
                instance.payload,
                model,
                hide_color=fill_color(settings.hide_color),
                num_features=settings.num_features or found.count,
                num_samples=settings.num_samples,
                batch_size=settings.batch_size,
                segmentation_fn=lambda _: found.labels,
                distance_metric=settings.distance_metric,
                labels=_Labels(settings, self._predictor, model),
                top_labels=None,
            )
        describe = describe_superpixels(found)
        return Explanation(
            instance=instance,
            prediction=scores(base.outputs[0], self._predictor, base.fits),
            model_calls=model.calls,
            phases=model.clock.seconds,
            surrogates=surrogates(base.fits, base.outputs[0], self._predictor, describe),
            segmentation=found,
            image=instance.payload,
            notes=segmentation_notes(found, settings),
        )


class LimeText(OneByOne):
    """Texts by `lime.lime_text.LimeTextExplainer`; no perturbed text is predicted twice."""

    kernel_width = 25.0

    def _explain(self, instance: Instance) -> Explanation:
        settings = self.settings
        tokens = Tokens(instance, settings)  # says what is wrong with a text before lime sees it
        model = BatchedModel(self._predictor, settings.batch_size or 1, self._progress)
        explainer = LimeTextExplainer(
            kernel_width=settings.kernel_width,
            feature_selection=settings.feature_selection,
            split_expression=settings.split_expression or DEFAULT_SPLIT,
            bow=settings.bow is not False,
            mask_string=settings.mask_string,
            char_level=bool(settings.char_level),
            random_state=settings.seed,
        )
        base = explainer.base = _RecordingBase(explainer.base)
        with model.clock.phase("lime"):
            explainer.explain_instance(
                instance.payload,
                model.distinct,
                num_features=settings.num_features,
                num_samples=settings.num_samples,
                distance_metric=settings.distance_metric,
                labels=_Labels(settings, self._predictor, model),
                top_labels=None,
            )
        return Explanation(
            instance=instance,
            prediction=scores(base.outputs[0], self._predictor, base.fits),
            model_calls=model.calls,
            phases=model.clock.seconds,
            surrogates=surrogates(
                base.fits, base.outputs[0], self._predictor, describe_tokens(tokens)
            ),
            notes=tokens.notes(),
        )
