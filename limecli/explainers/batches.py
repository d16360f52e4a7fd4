"""Calls a model in batches, and never twice for the same text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limecli.explainers.clock import Clock
from limecli.explainers.interface import Progress
from limecli.types import Predictor

if TYPE_CHECKING:
    from limecli.types import FloatArray

DEFAULT_BATCH = {"tabular": 16384, "image": 32, "text": 512}


class BatchedModel:
    """`predict_fn` in batches of a bounded size, counting what it asked of the model."""

    def __init__(self, predictor: Predictor, batch_size: int, progress: Progress) -> None:
        self._predictor, self._batch_size, self._progress = predictor, batch_size, progress
        self.clock = Clock()
        self.calls = 0
        self.first: FloatArray | None = None  # what the model says of the first sample

    def __call__(self, samples: Any) -> FloatArray:
        """`float[n, n_outputs]` for n samples."""
        import numpy as np

        n, size = len(samples), self._batch_size
        parts = []
        for start in range(0, n, size):
            batch = samples[start : start + size]
            with self.clock.phase("model"):
                parts.append(self._predictor.predict_fn(batch))
            self.calls += len(batch)
            self._progress(len(batch))
        if self.first is None:
            self.first = parts[0][0]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def distinct(self, texts: Sequence[str]) -> FloatArray:
        """As a call, each distinct text predicted once."""
        index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        scores = self(list(index))
        self._progress(len(texts) - len(index))
        return scores[[index[text] for text in texts]]
