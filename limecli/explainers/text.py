"""The engine `limecli` for texts: words kept and removed, each distinct text asked once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limecli.explainers.base import OneByOne
from limecli.explainers.batches import BatchedModel, batch_size_for
from limecli.explainers.masks import Maskable
from limecli.explainers.tokens import Tokens, describe_tokens
from limecli.neighborhood.lime_stream import draw_words, generator
from limecli.types import Explanation, Instance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_BYTES_A_CHARACTER = 8  # as Python holds it, and as the model cuts it up
_LIMES_SCALE = 100.0  # lime multiplies distances between texts


class Text(OneByOne):
    """Texts; with `--sampler lime` the numbers of `lime.lime_text.LimeTextExplainer`."""

    kernel_width = 25.0

    def _explain(self, instance: Instance) -> Explanation:
        settings = self.settings
        size = batch_size_for(settings, _BYTES_A_CHARACTER * len(instance.payload))
        model = BatchedModel(self._predictor, size, self._progress)
        with model.clock.phase("draw"):
            tokens = Tokens(instance, settings)
        n_words = len(tokens.words)
        subject = Maskable(
            n_words,
            lambda kept: _predicted(model, tokens, kept),
            "uniform",
            lambda n: draw_words(generator(settings.seed), n_words, n),
            _LIMES_SCALE,
        )
        explained = self._of_masks(instance, subject, model, describe_tokens(tokens))
        return replace(explained, notes=tokens.notes())


def _predicted(model: BatchedModel, tokens: Tokens, kept: NDArray[np.bool_]) -> FloatArray:
    """`float[n, n_outputs]` for `bool[n, n_words]`; each distinct text is predicted once."""
    if tokens.may_coincide:
        return model.distinct(text for mask in kept for text in tokens.without(mask[None]))
    return model.distinct_masks(kept, tokens.without)
