"""Adds to explanations what would flip the decision, found among the samples of their fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.errors import PredictError
from limecli.explainers.batches import DEFAULT_MEMORY
from limecli.explainers.flip_space import flip_space
from limecli.explainers.tokens import Tokens
from limecli.surrogate.flips import (
    MOST_CANDIDATES,
    Asking,
    Crossing,
    Decision,
    Flipped,
    Problem,
    Space,
    differs,
    search,
)
from limecli.types import (
    Change,
    Column,
    Explanation,
    Flip,
    Instance,
    LimeSettings,
    Neighborhood,
    PredictFn,
    Predictor,
    Surrogate,
    Value,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.surrogate.flips import Pool
    from limecli.types import FloatArray, IntArray

    Mask = NDArray[np.bool_]

_TOGETHER = 1024  # explanations that share each call of the model
_FEW = 64  # flips that are asked for one by one
_CLEAR = 1e-4  # so far past the border a flip must go, as a share of the instance's way to it

_Goal = Decision | Crossing


@dataclass
class _Searched:
    """What became of a search: its flips, or why the model would not answer, and what it cost."""

    flips: list[Flipped] | None = None
    refused: str = ""
    evaluations: int = 0


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The samples of a neighborhood that may become flips; see `Problem.pools`.

    `crossed` are the places of the samples decided otherwise. `binned` says that numbers of one bin
    count as equal.
    """

    neighborhood: Neighborhood
    goal: _Goal
    crossed: NDArray[np.intp]
    space: Space
    strength: FloatArray
    binned: bool

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Samples with equal bins put back; if none of them holds, whole samples and others."""
        return self._near, self._further

    def _near(self, kept: Mask) -> NDArray[Any]:
        """Samples decided otherwise, those first that differ least: in what must not change, then
        in other features, then by the kernel.
        """
        samples, origin = self.neighborhood.samples, self.neighborhood.origin
        z, weights = self.neighborhood.interpretable()
        if not self.binned:
            nearest = np.argsort(-weights[self.crossed], kind="stable")[:MOST_CANDIDATES]
            return self._within(samples[self.crossed[nearest]])
        z, must = z.astype(np.bool_, copy=False), np.flatnonzero(kept | self.space.fixed)
        away = len(z) - _counts(z)[self.crossed]
        bound = len(must) - _counts(z[must])[self.crossed]
        some = away > bound  # a feature differs that is free
        crossed, changes = self.crossed[some], (bound * len(z) + away)[some]
        if len(crossed) > MOST_CANDIDATES:
            few = changes <= np.partition(changes, MOST_CANDIDATES)[MOST_CANDIDATES]
            crossed, changes = crossed[few], changes[few]
        picked = crossed[np.lexsort((-weights[crossed], changes))[:MOST_CANDIDATES]]
        return self._within(np.where(z[:, picked].T, origin, samples[picked]))

    def _further(self, kept: Mask) -> NDArray[Any]:
        """The nearest samples as they are, and the instance with its 1, 2, 4 ... features that
        matter most as in the sample that goes furthest.
        """
        samples, origin = self.neighborhood.samples, self.neighborhood.origin
        outputs = self.neighborhood.outputs
        order = np.argsort(-self.strength, kind="stable")
        order = order[(self.strength[order] > 0) & ~(kept | self.space.fixed)[order]]
        masks = samples.dtype.kind == "b"
        donor = ~origin if masks else samples[self.goal.margin(outputs).argmax()]
        rows = [np.where(np.isin(np.arange(len(origin)), order[: 1 << k]), donor, origin)
                for k in range(len(order).bit_length() + 1)]  # fmt: skip
        if not masks:
            _, weights = self.neighborhood.interpretable()
            nearest = np.argsort(-weights[self.crossed], kind="stable")[:MOST_CANDIDATES]
            rows += list(samples[self.crossed[nearest]])
        return self._within(np.stack(rows))

    def _within(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self.space.within(rows[:MOST_CANDIDATES], self.neighborhood.origin)


def _counts(places: Mask) -> IntArray:
    """`int[n]`: how many of `[m, n]` are True; bytes are added up many at a time."""
    small = np.uint8 if len(places) < 256 else np.uint32
    return np.asarray(places.view(np.uint8).sum(axis=0, dtype=small), np.int64)


class _Crossed:
    """The samples that reach a goal; found once for the explanations that share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], NDArray[np.intp]] = {}

    def of(self, outputs: FloatArray, goal: _Goal) -> NDArray[np.intp]:
        """Their places. `outputs`, `float[n, n_outputs]`, must live as long as this object."""
        memory = outputs.__array_interface__
        key = (goal, memory["data"], memory["shape"], memory["strides"])
        if key not in self._known:
            self._known[key] = np.flatnonzero(goal.holds(outputs))
        return self._known[key]


class _Alone:
    """Asks the model of each flip alone, until many have shown that a batch changes no digit.

    What is reported must not depend on the other rows of a call.
    """

    def __init__(self) -> None:
        self._same, self._differs = 0, False

    def answer(self, flip: Flipped, predict: PredictFn, many: bool) -> FloatArray:
        """`float[n_outputs]` for a flip, one of `many` or of a few."""
        if many and self._same >= _FEW and not self._differs:
            return flip.answer
        alone: FloatArray = predict(flip.row[None])[0]
        if many:
            self._same += 1
            self._differs |= not np.array_equal(alone, flip.answer)
        return alone


class Flipper:
    """Looks for up to `settings.flips` changes a surrogate; `settings` are an engine's own.

    `columns` are those of the background, None for texts and pictures. Raises UsageError for an
    immutable column that is not among them.
    """

    def __init__(
        self, predictor: Predictor, settings: LimeSettings, columns: Sequence[Column] | None
    ) -> None:
        self._predictor, self._settings = predictor, settings
        self._columns = None if columns is None else tuple(columns)
        self._space = None if columns is None else flip_space(columns, settings.immutable or ())
        self._regression = predictor.task == "regression"
        self._alone = _Alone()

    def found(self, explanations: Sequence[Explanation]) -> list[Explanation]:
        """The same explanations with `flips`, and with `model_calls` that count what they cost.

        Rows of a table ask the model together. Explanations without a neighborhood stay as they
        are, and so do those of a regression without `settings.flip_threshold`. Where the model
        refuses to answer, `flips` stays None and a note says why.
        """
        settings, done = self._settings, list(explanations)
        if not settings.flips or (self._regression and settings.flip_threshold is None):
            return done
        for members in self._groups(explanations):
            done_now = self._together([(explanations[i], near) for i, near in members])
            for (i, _), explanation in zip(members, done_now, strict=True):
                done[i] = explanation
        return done

    def _groups(
        self, explanations: Sequence[Explanation]
    ) -> Iterator[list[tuple[int, Neighborhood]]]:
        """Explanations that can ask the same function, by index, within bounded memory."""
        known = [(i, one.neighborhood) for i, one in enumerate(explanations) if one.neighborhood]
        size = 1
        if self._columns is not None:
            n = max(1, len(self._columns))
            bytes_each = 8 * n * max(2 * MOST_CANDIDATES, 3 * n)  # a question has so many rows
            memory = self._settings.max_memory or DEFAULT_MEMORY
            size = max(1, min(_TOGETHER, memory // bytes_each))
        for start in range(0, len(known), size):
            yield known[start : start + size]

    def _together(self, members: Sequence[tuple[Explanation, Neighborhood]]) -> list[Explanation]:
        """Explanations of which any one's `predict` serves all."""
        crossed = _Crossed()
        goals = [self._problems(*member, crossed) for member in members]
        problems = [problem for each in goals for problem in each.values()]
        predict, count = members[0][1].predict, self._settings.flips or 0
        results = _in_step([search(problem, count) for problem in problems], predict)
        self._confirm(list(zip(problems, results, strict=True)), predict)
        in_order = iter(results)
        return [
            self._with_flips(*member, {goal: next(in_order) for goal in each})
            for member, each in zip(members, goals, strict=True)
        ]

    def _confirm(self, results: Sequence[tuple[Problem, _Searched]], predict: PredictFn) -> None:
        """Let every flip have the answer that the model gives to it alone."""
        many = sum(len(result.flips or ()) for _, result in results) > _FEW
        for problem, result in results:
            flips = result.flips or []
            try:
                alone = [self._alone.answer(flip, predict, many) for flip in flips]
            except PredictError as error:
                result.flips, result.refused = None, error.message
                continue
            result.evaluations += len(flips)
            if any(said is not flip.answer for said, flip in zip(alone, flips, strict=True)):
                good = problem.flipped(np.stack(alone))
                pairs = zip(flips, alone, good, strict=True)
                result.flips = [Flipped(flip.row, said) for flip, said, holds in pairs if holds]

    def _problems(
        self, explanation: Explanation, neighborhood: Neighborhood, crossed: _Crossed
    ) -> dict[_Goal, Problem]:
        """A problem for each goal of an explanation's surrogates."""
        problems: dict[_Goal, Problem] = {}
        origin, binned = neighborhood.origin, self._settings.discretizer != "none"
        space = self._space or Space.of_masks(len(origin))
        if self._space is not None and self._space.whole.any():
            whole = np.array([type(value) is int for value in explanation.instance.values])
            space = replace(space, whole=space.whole & whole)
        for surrogate in explanation.surrogates:
            goal, gap = self._goal(explanation, surrogate)
            if goal in problems:
                continue
            strength = self._strength(explanation, surrogate, goal, len(origin))
            places = crossed.of(neighborhood.outputs, goal)
            pools = _Candidates(neighborhood, goal, places, space, strength, binned).pools
            problems[goal] = Problem(goal, _CLEAR * gap, origin, space, strength, pools)
        return problems

    def _goal(self, explanation: Explanation, surrogate: Surrogate) -> tuple[_Goal, float]:
        """What would be a flip, and how far the instance itself is from it."""
        value, threshold = surrogate.model_prediction, self._settings.flip_threshold
        if self._regression and threshold is not None:
            return Crossing(threshold, value < threshold), abs(value - threshold)
        decided, *others = explanation.prediction
        if surrogate.index != decided.index:
            return Decision(surrogate.index, leave=False), decided.value - value
        gap = decided.value - others[0].value if others else 0.0
        if len(self._predictor.class_names) == 2:  # what the other label's surrogate looks for
            return Decision(1 - decided.index, leave=False), gap
        return Decision(decided.index, leave=True), gap

    def _strength(
        self, explanation: Explanation, surrogate: Surrogate, goal: _Goal, n_features: int
    ) -> FloatArray:
        """`float[n_features]`: how much, says a surrogate, a change of each feature helps."""
        if isinstance(goal, Crossing):
            sign = -1.0 if goal.upward else 1.0
        else:
            sign = 1.0 if surrogate.index == explanation.prediction[0].index else -1.0
        strength = np.zeros(n_features)
        for found in surrogate.attributions:
            strength[found.index] = sign * found.weight
        # Without bins a weight is a slope, and numbers may go either way.
        return np.abs(strength) if self._settings.discretizer == "none" else strength

    def _with_flips(
        self,
        explanation: Explanation,
        neighborhood: Neighborhood,
        results: Mapping[_Goal, _Searched],
    ) -> Explanation:
        surrogates = []
        for surrogate in explanation.surrogates:
            goal, _ = self._goal(explanation, surrogate)
            found, flips = results[goal].flips, None
            if found is not None:
                instance, origin = explanation.instance, neighborhood.origin
                flips = tuple(self._flip(instance, flip, origin) for flip in found)
            samples = None if flips is None else len(neighborhood.samples)
            surrogates.append(replace(surrogate, flips=flips, flip_samples=samples))
        refused = dict.fromkeys(one.refused for one in results.values() if one.refused)
        return replace(
            explanation,
            surrogates=tuple(surrogates),
            model_calls=explanation.model_calls + sum(one.evaluations for one in results.values()),
            notes=explanation.notes
            + tuple(f"what would flip it is unknown: {reason}" for reason in refused),
        )

    def _flip(self, instance: Instance, flip: Flipped, origin: NDArray[Any]) -> Flip:
        index = 0 if self._regression else int(flip.answer.argmax())
        features = np.flatnonzero(differs(flip.row, origin)).tolist()
        return Flip(
            self._predictor.class_names[index],
            index,
            float(flip.answer[index]),
            tuple(self._changes(instance, flip.row, features)),
        )

    def _changes(
        self, instance: Instance, row: NDArray[Any], features: Sequence[int]
    ) -> Iterator[Change]:
        if self._columns is not None:
            for j in features:
                column, before = self._columns[j], instance.values[j]
                yield Change(column.name, j, before, _value(column, float(row[j]), before))
        elif instance.kind == "text":
            words = Tokens(instance, self._settings).words if features else []
            for j in features:
                yield Change(words[j], j, words[j], None)
        else:
            for j in features:
                yield Change(f"superpixel {j}", j, "shown", "hidden")


def _value(column: Column, number: float, before: Value) -> Value:
    """A number or code of a table as its file would have it."""
    if column.categories is not None:
        return column.categories[int(number)]
    if math.isnan(number):
        return None
    return int(number) if type(before) is int and number.is_integer() else number


def _in_step(searches: Sequence[Asking[list[Flipped]]], predict: PredictFn) -> list[_Searched]:
    """Run searches side by side; what they ask at a time goes to the model together."""
    results = [_Searched() for _ in searches]
    waiting: dict[int, FloatArray | None] = dict.fromkeys(range(len(searches)))
    while waiting:
        asked: dict[int, NDArray[Any]] = {}
        for i, outputs in waiting.items():
            try:
                asked[i] = next(searches[i]) if outputs is None else searches[i].send(outputs)
            except StopIteration as ended:
                results[i].flips = ended.value
        waiting = {}
        for i, answer in _answers(asked, predict).items():
            results[i].evaluations += len(asked[i])
            if isinstance(answer, PredictError):
                results[i].refused = answer.message
            else:
                waiting[i] = answer
    return results


def _answers(
    asked: Mapping[int, NDArray[Any]], predict: PredictFn
) -> dict[int, FloatArray | PredictError]:
    """What the model says to each; if it refuses them together, to each on its own."""
    if not asked:
        return {}
    try:
        outputs = predict(np.concatenate(list(asked.values())))
    except PredictError as error:
        if len(asked) == 1:
            return dict.fromkeys(asked, error)
        return {
            i: answer
            for i, rows in asked.items()
            for answer in _answers({i: rows}, predict).values()
        }
    answers: dict[int, FloatArray | PredictError] = {}
    start = 0
    for i, rows in asked.items():
        answers[i] = outputs[start : start + len(rows)]
        start += len(rows)
    return answers
