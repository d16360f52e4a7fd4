"""`--save-neighborhood`: the samples behind an explanation, as a numpy archive without pickles."""

from __future__ import annotations

import io
import json
from typing import Any

from limecli.cli.destinations import check_writable, filled, write_atomically
from limecli.cli.run import Keep, Prepared, Run
from limecli.errors import UsageError
from limecli.types import Background, Explanation, Predictor

_SUFFIX = ".npz"


def neighborhood_files(template: str | None, run: Run, prepared: Prepared) -> Keep | None:
    """What saves each neighborhood under the template's name; None if nobody asks.

    Raises UsageError for a name without its suffix, or one for several instances; ReportError for a
    place that cannot be written.
    """
    if template is None:
        return None
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
        data = _archive(explanation, run.predictor, prepared.background)
        if data is None:
            run.console.note("--save-neighborhood: lime's own classes keep no samples")
            return
        write_atomically(filled(template, explanation.instance), data)

    return keep


def _archive(
    explanation: Explanation, predictor: Predictor, background: Background | None
) -> bytes | None:
    """Samples, z, weights and predictions; names and categories as text."""
    import numpy as np

    found = explanation.neighborhood
    if found is None:
        return None
    z, weights = found.interpretable()
    arrays: dict[str, Any] = {
        "samples": found.samples,
        "z": np.ascontiguousarray(z.T),
        "weights": weights,
        "predictions": np.ascontiguousarray(found.outputs),
        "instance": found.origin,
        "class_names": np.array(predictor.class_names, dtype=np.str_),
    }
    if background is not None:
        categories = {
            column.name: list(column.categories)
            for column in background.columns
            if column.categories is not None
        }
        arrays["feature_names"] = np.array(background.feature_names, dtype=np.str_)
        arrays["categories"] = np.array(json.dumps(categories))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
