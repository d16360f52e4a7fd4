"""The engine `lime`: lime's own classes, unmodified, with their traps closed off.

A recording `LimeBase` keeps every label's fit (lime keeps only the last), segments are relabelled,
statistics come from a Background instead of training rows, and each instance gets a fresh generator
made from the seed: its explanation equals that of a new lime explainer with `random_state=seed`.
Only this file imports lime's explainer classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from lime import lime_image
from lime.discretize import BaseDiscretizer
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from lime.lime_text import IndexedCharacters, IndexedString, LimeTextExplainer

from limecli.errors import InputError, UsageError
from limecli.explainers.assemble import (
    Fit,
    describe_columns,
    describe_superpixels,
    resolved,
    scores,
    surrogates,
)
from limecli.explainers.batches import BatchedModel
from limecli.explainers.conditions import condition
from limecli.explainers.interface import Progress, one_by_one
from limecli.explainers.segmentation import superpixels
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

_TREE_SEED_RANGE = 0x7FFFFFFF  # what a scikit-learn tree draws from its generator at fit

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
        constant = bool(np.ptp(outputs[:, label]) == 0)
        self.outputs = outputs
        self.fits[int(label)] = Fit(
            float(intercept),
            tuple((int(feature), float(weight)) for feature, weight in pairs),
            # R² of a constant is undefined, not 1; so is that of a single weighted sample
            None if constant or not np.isfinite(score) else float(score),
            float(np.ravel(local)[0]),
        )
        return result


class _TopLabels:
    """The likeliest labels, found once lime asks for them: it has called the model by then.

    lime's own `top_labels` takes the last of equal scores, `predict` takes the first.
    """

    def __init__(self, model: BatchedModel, count: int) -> None:
        self._model, self._count = model, count

    def __iter__(self) -> Iterator[int]:
        scores = np.asarray(self._model.first)
        return iter(np.argsort(-scores, kind="stable")[: self._count].tolist())


def _label_arguments(
    settings: LimeSettings, predictor: Predictor, model: BatchedModel
) -> dict[str, Any]:
    if predictor.task == "regression":
        return {"labels": (0,), "top_labels": None}
    labels = settings.labels or _TopLabels(model, settings.top_labels)
    return {"labels": labels, "top_labels": None}


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
        self.settings = resolved(settings, width)
        self.notes = self._one_value_notes()

    def _one_value_notes(self) -> tuple[str, ...]:
        if self.settings.discretizer == "none":
            return ()
        faulty = [
            column.name
            for column in self._background.columns
            for low, high in zip(column.mins, column.maxs, strict=True)
            if low == high != 0
        ]
        if not faulty:
            return ()
        names = ", ".join(dict.fromkeys(faulty))
        return (f"lime perturbs bins with a single value to 0; columns with such a bin: {names}",)

    def _explainer(self) -> LimeTabularExplainer:
        settings, columns = self.settings, self._background.columns
        rng = np.random.RandomState(settings.seed)
        discretizer = None
        if settings.discretizer == "entropy":
            # lime's own constructor grows one tree a column from the shared generator.
            for column in columns:
                if column.continuous:
                    rng.randint(0, _TREE_SEED_RANGE)
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
            _refuse_missing(instance, columns)
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
                **_label_arguments(settings, self._predictor, model),
            )

        base = explainer.base
        describe = describe_columns(instance, columns, settings.discretizer != "none")
        return Explanation(
            instance=instance,
            prediction=scores(base.outputs[0], self._predictor, base.fits),
            model_calls=model.calls,
            phases=model.clock.seconds,
            surrogates=surrogates(base.fits, base.outputs[0], self._predictor, describe),
        )


def _refuse_missing(instance: Instance, columns: tuple[Column, ...]) -> None:
    missing = [
        column.name
        for column, number in zip(columns, instance.payload, strict=True)
        if np.isnan(number)
    ]
    if missing:
        raise InputError(
            f"{instance.path}, row {instance.index}: {missing[0]!r} is missing, which --discretizer"
            " none cannot perturb",
            "--discretizer quartile treats missing as a bin of its own",
        )


class LimeImage:
    """Pictures by `lime.lime_image.LimeImageExplainer`, on segments numbered from 0."""

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        self._predictor, self._progress = predictor, progress
        self.settings = resolved(settings, 0.25)

    def evaluations(self, count: int) -> int:
        """`num_samples` for each."""
        return count * self.settings.num_samples

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Each on its own; see `Explainer`."""
        return one_by_one(instances, self._explain)

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
                hide_color=_rgb(settings.hide_color),
                num_features=settings.num_features or found.count,
                num_samples=settings.num_samples,
                batch_size=settings.batch_size,
                segmentation_fn=lambda _: found.labels,
                distance_metric=settings.distance_metric,
                **_label_arguments(settings, self._predictor, model),
            )
        notes: tuple[str, ...] = ()
        if settings.segmentation == "auto" and found.algorithm == "grid":
            notes = ("quickshift finds next to nothing to separate here: a grid was used",)
        describe = describe_superpixels(found)
        return Explanation(
            instance=instance,
            prediction=scores(base.outputs[0], self._predictor, base.fits),
            model_calls=model.calls,
            phases=model.clock.seconds,
            surrogates=surrogates(base.fits, base.outputs[0], self._predictor, describe),
            segmentation=found,
            image=instance.payload,
            notes=notes,
        )


def _rgb(color: str | None) -> tuple[int, ...] | None:
    if color is None or color == "mean":
        return None
    return tuple(bytes.fromhex(color.removeprefix("#")))


class LimeText:
    """Texts by `lime.lime_text.LimeTextExplainer`; no perturbed text is predicted twice."""

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        predictor: Predictor,
        background: Background | None,
        settings: LimeSettings,
        progress: Progress,
    ) -> None:
        self._predictor, self._progress = predictor, progress
        self.settings = resolved(settings, 25.0)
        if settings.bow is False and settings.mask_string is None:
            mask = "\0" if settings.char_level else "UNKWORDZ"  # lime's own
            self.settings = replace(self.settings, mask_string=mask)

    def evaluations(self, count: int) -> int:
        """`num_samples` for each."""
        return count * self.settings.num_samples

    def explain(self, instances: Sequence[Instance]) -> Iterator[Explanation | Skipped]:
        """Each on its own; see `Explainer`."""
        return one_by_one(instances, self._explain)

    def _explain(self, instance: Instance) -> Explanation:
        settings = self.settings
        self._require_tokens(instance)
        model = BatchedModel(self._predictor, settings.batch_size or 1, self._progress)
        explainer = LimeTextExplainer(
            kernel_width=settings.kernel_width,
            feature_selection=settings.feature_selection,
            split_expression=settings.split_expression or r"\W+",
            bow=settings.bow is not False,
            mask_string=settings.mask_string,
            char_level=bool(settings.char_level),
            random_state=settings.seed,
        )
        base = explainer.base = _RecordingBase(explainer.base)
        with model.clock.phase("lime"):
            result = explainer.explain_instance(
                instance.payload,
                model.distinct,
                num_features=settings.num_features,
                num_samples=settings.num_samples,
                distance_metric=settings.distance_metric,
                **_label_arguments(settings, self._predictor, model),
            )
        tokens = result.domain_mapper.indexed_string

        def describe(j: int) -> dict[str, Any]:
            word = str(tokens.word(j))
            starts = [int(start) for start in np.ravel(tokens.string_position(j))]
            positions = tuple((start, start + len(word)) for start in starts)
            return {"feature": word, "condition": None, "value": None, "positions": positions}

        notes: tuple[str, ...] = ()
        unspaced = any("\u3040" <= char <= "\u9fff" for char in instance.payload)
        if tokens.num_words() == 1 and (unspaced or len(instance.payload.strip()) > 20):
            notes = ("the whole text is one token: --char-level or --split-expression cut it up",)
        return Explanation(
            instance=instance,
            prediction=scores(base.outputs[0], self._predictor, base.fits),
            model_calls=model.calls,
            phases=model.clock.seconds,
            surrogates=surrogates(base.fits, base.outputs[0], self._predictor, describe),
            notes=notes,
        )

    def _require_tokens(self, instance: Instance) -> None:
        settings = self.settings
        try:
            if settings.char_level:
                tokens: Any = IndexedCharacters(instance.payload)
            else:
                tokens = IndexedString(
                    instance.payload, split_expression=settings.split_expression or r"\W+"
                )
        except re.error as error:
            raise UsageError(
                f"--split-expression {settings.split_expression} is no regular expression: {error}"
            ) from None
        if tokens.num_words() == 0:
            shown = instance.payload if len(instance.payload) <= 40 else instance.payload[:40] + "…"
            raise InputError(
                f"the text {shown!r} has no words to explain",
                "--char-level explains characters, --split-expression says where words end",
            )
