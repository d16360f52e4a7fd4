"""Sentences that a summary carries: what its numbers say, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROTECTED = "A low weight does not show absence of discrimination: other columns can stand in."
_FIRST = (
    "Fidelity, stability, gap and weights are those of the first label that each decision explains."
)
_MEANS = "Mean |weight|: a feature that a decision does not show counts as 0 in it."
_SHARED = (
    "95 % intervals of mean weights: only the sampling error of the shared neighborhood, across its"
    " replicates. Not the choice of {}, and not the model's own error."
)
_ROWS = (
    "That an audit holds only some of all possible rows comes on top of its intervals of weights."
)
_SIZES = "Weights that are mostly noise have a mean |weight| above 0."
_CHOICES = {
    "tabular": "background, kernel or bins",
    "image": "superpixels or kernel",
    "text": "words or kernel",
}
_EXACT = (
    "Exact: no sampling error in LIME's large-sample weights; no proof of how the model decides, or"
    " of causes."
)
_RECOVERED = (
    "Background recovered from the model: approximate; weights may differ from those with the"
    " training data."
)
_ZERO = "Weight 0 does not mean unused: features that decide only together can all have weight 0."
_SAMPLE = (
    "Intervals of rates, outputs and associations take the audited rows for a sample of rows like"
    " them."
)
_MARGINS = (
    "Margins of several classes mean something beside each other only: what is added to all of them"
    " changes no decision."
)
_PICTURES = (
    "Superpixels of different pictures have nothing in common: there is no table of features."
)
_LEGAL = "A LIME report alone is not legal compliance."


def notes(envelope: Mapping[str, Any], errors: Mapping[str, int], protected: bool) -> list[str]:
    """Those that apply. `errors` counts decisions by how their errors are known: "exact",
    "replicates", "unknown".
    """
    kind, model = envelope["settings"]["kind"], envelope["model"]
    background = envelope.get("background") or {}
    recovered = background.get("source") == "model" or bool(background.get("recovered_from"))
    margins = model.get("output") == "margin" and (model.get("n_classes") or 0) > 2
    table = kind != "image"
    found = [
        (_FIRST, True),
        (_MEANS, table),
        (_PICTURES, not table),
        (_SHARED.format(_CHOICES[kind]), table and errors["replicates"] > 0),
        (_EXACT, errors["exact"] > 0),
        (_ROWS, table),
        (_SIZES, table and errors["exact"] < sum(errors.values())),
        (_RECOVERED, recovered),
        (_ZERO, table),
        (_MARGINS, margins),
        (PROTECTED, protected),
        (_SAMPLE, protected),
        (_LEGAL, True),
    ]
    return [sentence for sentence, applies in found if applies]
