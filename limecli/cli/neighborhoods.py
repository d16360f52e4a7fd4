"""`--save-neighborhood`: the samples behind an explanation, as a numpy archive without pickles."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from limecli.cli.destinations import check_writable, filled, write_atomically
from limecli.cli.run import Keep, Prepared, Run
from limecli.errors import UsageError
from limecli.types import Explanation, LimeSettings, Neighborhood, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUFFIX = ".npz"


def neighborhood_files(
    template: str | None, run: Run, prepared: Prepared, engine: str
) -> Keep | None:
    """What saves each neighborhood under the template's name; None if nobody asks.

    Raises UsageError for lime's engine, a name without its suffix, or one for several instances;
    ReportError for a place that cannot be written.
    """
    if template is None:
        return None
    if engine == "lime":
        raise UsageError("--save-neighborhood: lime's own classes keep no samples")
    if not template.endswith(_SUFFIX):
        raise UsageError(f"--save-neighborhood {template}: the name must end with {_SUFFIX}")
    names = [filled(template, instance) for instance in prepared.instances]
    if len(set(names)) < len(names):
        raise UsageError(
            f"--save-neighborhood {template}: several explanations would be written there",
            "put {id} into the name",
        )
    for name in names:
        check_writable(name)

    def keep(explanation: Explanation) -> None:
        found = explanation.neighborhood
        if found is not None:
            data = _archive(explanation, found, run.predictor, prepared)
            write_atomically(filled(template, explanation.instance), data)

    return keep


def _archive(
    explanation: Explanation, found: Neighborhood, predictor: Predictor, prepared: Prepared
) -> bytes:
    """Samples, z, weights and predictions; what features and classes are called."""
    import numpy as np

    z, weights = found.interpretable()
    arrays: dict[str, Any] = {
        "samples": found.samples,
        "z": np.ascontiguousarray(z.T),
        "weights": weights,
        "predictions": np.ascontiguousarray(found.outputs),
        "instance": found.origin,
        "blocks": np.array(found.blocks or 0),  # equal replicates, one after the other
        "class_names": np.array(predictor.class_names, dtype=np.str_),
        **_features(explanation, predictor, prepared),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _features(
    explanation: Explanation, predictor: Predictor, prepared: Prepared
) -> dict[str, NDArray[Any]]:
    """What the columns of z stand for: of a table with its categories, words, or superpixels."""
    import numpy as np

    background = prepared.background
    if background is not None:
        categories = {
            column.name: list(column.categories)
            for column in background.columns
            if column.categories is not None
        }
        return {
            "feature_names": np.array(background.feature_names, dtype=np.str_),
            "categories": np.array(json.dumps(categories)),
        }
    if explanation.segmentation is not None:
        return {"segments": explanation.segmentation.labels}
    from limecli.explainers.assemble import resolved
    from limecli.explainers.tokens import Tokens

    settings = resolved(LimeSettings(kind="text", **prepared.own), 1.0, predictor)
    words = Tokens(explanation.instance, settings).words
    return {"feature_names": np.array(words, dtype=np.str_)}
