"""Calls a model in batches of bounded memory, and never twice for the same sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from limecli.explainers.clock import Clock
from limecli.explainers.interface import Progress
from limecli.types import Kind, LimeSettings, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_BATCH = {"tabular": 16384, "image": 32, "text": 512}
_LARGE = 16384
DEFAULT_MEMORY = 64 << 20
BYTES_A_CELL = 24  # of a table: a code, the value in a DataFrame, and what the model makes of it
_SHORT = 64  # characters up to which a text is its own key


def default_batch(kind: Kind, predictor: Predictor) -> int:
    """How many samples a model gets at a time. An estimator takes any number, and pays for each
    call; a network that reads texts may need much memory for each.
    """
    return _LARGE if predictor.fitted is not None else _BATCH[kind]


def batch_size_for(settings: LimeSettings, sample_bytes: int) -> int:
    """How many samples of a size may exist at a time: `--batch-size`, and within `--max-memory`."""
    most = settings.batch_size or 1  # `resolved` has settled it
    if settings.max_memory is None:
        return most
    return max(1, min(most, settings.max_memory // max(1, sample_bytes)))


class Distinct(NamedTuple):
    """Rows without their repetitions: `first[place[i]]` is the first row that equals row i."""

    first: NDArray[np.intp]
    place: NDArray[np.intp]


class BatchedModel:
    """`predict_fn` in batches of a bounded size, counting what it asked of the model."""

    def __init__(self, predictor: Predictor, batch_size: int, progress: Progress) -> None:
        self._predictor, self._batch_size, self._progress = predictor, batch_size, progress
        self.clock = Clock()
        self.calls = 0
        self.first: FloatArray | None = None  # what the model says of the first sample

    def __call__(self, samples: Any) -> FloatArray:
        """`float[n, n_outputs]` for n samples."""
        return self.composed(samples, lambda batch: batch)

    def of_batches(self, batches: Iterable[Any]) -> FloatArray:
        """`float[n, n_outputs]` for all samples of the batches, which are made one by one."""
        parts = []
        for batch in batches:
            with self.clock.phase("model"):
                parts.append(self._predictor.predict_fn(batch))
            self.calls += len(batch)
            self._progress(len(batch))
            del batch  # before the next one is made
        if self.first is None:
            self.first = parts[0][0]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def composed(self, samples: Any, compose: Callable[[Any], Any]) -> FloatArray:
        """As a call, for inputs that `compose` makes of the samples, one batch at a time."""
        size = self._batch_size
        return self.of_batches(
            compose(samples[start : start + size]) for start in range(0, len(samples), size)
        )

    def silent(self) -> BatchedModel:
        """The same model, whose calls count for nobody."""
        return BatchedModel(self._predictor, self._batch_size, lambda _: None)

    def distinct_rows(self, rows: FloatArray) -> FloatArray:
        """As a call for `float[n, n_features]`, equal rows after the first predicted once.

        The first row stays a row of its own, so that what the others are does not depend on it.
        """
        found = distinct_rows(rows[1:])
        if found is None:
            return self(rows)
        outputs = self(np.vstack([rows[:1], rows[1:][found.first]]))
        self._progress(len(rows) - len(outputs))
        return np.asarray(outputs[np.append(0, found.place + 1)])

    def distinct_masks(
        self, masks: NDArray[np.bool_], compose: Callable[[NDArray[np.bool_]], Any]
    ) -> FloatArray:
        """As a call, for inputs that `compose` makes of masks, of equal ones the first only."""
        found = distinct_masks(masks)

        def timed(batch: NDArray[np.bool_]) -> Any:
            with self.clock.phase("compose"):
                return compose(batch)

        outputs = self.composed(masks[found.first], timed)
        self._progress(len(masks) - len(outputs))
        return np.asarray(outputs[found.place])

    def distinct(self, texts: Iterable[str]) -> FloatArray:
        """As a call, each distinct text predicted once, and no more than a batch kept."""
        numbers: dict[str | bytes, int] = {}
        places: list[int] = []
        outputs = self.of_batches(self._unseen(texts, numbers, places))
        self._progress(len(places) - len(numbers))
        return np.asarray(outputs[places])

    def _unseen(
        self, texts: Iterable[str], numbers: dict[str | bytes, int], places: list[int]
    ) -> Iterator[list[str]]:
        """Batches of the texts that were not there before; `places` tells which each text is."""
        batch: list[str] = []
        for text in texts:
            key = text if len(text) <= _SHORT else _digest(text)
            if key not in numbers:
                numbers[key] = len(numbers)
                batch.append(text)
            places.append(numbers[key])
            if len(batch) == self._batch_size:
                yield batch
                batch = []
        if batch:
            yield batch


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def distinct_rows(rows: FloatArray) -> Distinct | None:
    """The distinct ones among `float[n, d]`.

    None when no two rows are equal, which costs one product to find out: equal rows have equal
    projections.
    """
    # Missing values are equal to each other. The multipliers have no simple ratios.
    projected = np.nan_to_num(rows, nan=0.5) @ np.sqrt(np.arange(2.0, 2.0 + rows.shape[1]))
    if len(np.unique(projected)) == len(rows):
        return None
    return _distinct(np.nan_to_num(rows, nan=np.inf))


def distinct_masks(masks: NDArray[np.bool_]) -> Distinct:
    """The distinct ones among `bool[n, d]`."""
    return _distinct(np.packbits(masks, axis=1))


def _distinct(rows: NDArray[Any]) -> Distinct:
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
    _, first, inverse = np.unique(keys.ravel(), return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of their first occurrence
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return Distinct(first[order], place[inverse])
