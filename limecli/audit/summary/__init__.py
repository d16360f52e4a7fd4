"""The summary of an audit: a fold over its records, in their order, in bounded memory.

A run, a resumed run, and a finished file that is read again give the same summary, to the bit.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from limecli.audit.gates import Gates
from limecli.audit.summary.features import FeatureTable
from limecli.audit.summary.notes import notes
from limecli.audit.summary.protected import Groups
from limecli.audit.summary.quantiles import Spread
from limecli.audit.summary.reasons import Reasons

SCHEMA_VERSION = 1  # raise it when a key changes its meaning or goes; adding keys leaves it
_MOST_LABELS = 20  # classes up to which each has its own table of features
_WORDS = ("good", "fair", "low", "undefined")


class Summary:
    """Folds records into what is said of all decisions. `content()` has these keys:

    schema_version, kind, model {name, sha256, task}, input;
    counts {decisions, explained, skipped, below, repeated_ids}: `below` miss the gates'
    thresholds, `repeated_ids` are decisions whose id another one before them has;
    skipped {by_kind: [{kind, count, first}], by_reason: [{reason, count, first}]}: `first` is an
    index, reasons lack numbers and quoted values, those after the twentieth are "other";
    classes [{label, index, decisions, share}]: what the model predicts; [] of a regression;
    output: the spread of a regression's predictions, else null;
    fidelity (held out), fidelity_rows, stability, gap (|surrogate - model|): spreads {count,
    unknown, mean, min, p01, p05, p25, median, p75, p95, p99, max} over the first label of each
    decision;
    words {good, fair, low, undefined: {decisions, share}}: of the held-out fidelity;
    errors {exact, replicates, unknown}: decisions by how the error of their weights is known;
    features [{feature, decisions (that show it), top (of rank 1, unless its weight is 0),
    mean_abs_weight, low, high, no_interval, mean_weight}], first labels of all decisions together;
    features_by_label [{label, index, decisions, features}] for at most 20 classes;
    features_left_out {features, words_forgotten, weight_share};
    protected: see `Groups`; gates: what was demanded; notes: sentences to show; run: what the
    driver measured, or null.

    Memory: 16 to 28 bytes a decision, and what the number of features asks for.
    """

    def __init__(self, envelope: Mapping[str, Any], gates: Gates) -> None:
        self._envelope, self._gates = envelope, gates
        settings, model = envelope["settings"], envelope["model"]
        self._kind: str = settings["kind"]
        self._regression = model["task"] == "regression"
        several = 1 < (model.get("n_classes") or 0) <= _MOST_LABELS
        self._features = FeatureTable(self._kind == "text", several and not self._regression)
        self._groups = Groups(envelope)
        self._reasons = Reasons((envelope.get("input") or {}).get("path") or "")
        self._counts: Counter[str] = Counter()
        self._classes: Counter[tuple[int, str]] = Counter()
        self._words: Counter[str] = Counter()
        hidden = self._kind == "text" and "text" in (settings.get("mask") or ())
        self._has_features = self._kind != "image" and not hidden
        self._named = settings.get("id_column") is not None or self._kind == "image"
        self._ids = array("q")
        self._output, self._gap = Spread(), Spread()
        self._fidelity, self._rows, self._stability = Spread(), Spread(), Spread()

    def add(self, record: Mapping[str, Any]) -> None:
        """Take the next record, explained or skipped."""
        if self._named:
            self._ids.append(hash(record["id"]))
        if record["status"] != "ok":
            self._counts["skipped"] += 1
            self._reasons.add(record)
            return
        self._counts["explained"] += 1
        if self._gates.below(record):
            self._counts["below"] += 1
        best, label = record["prediction"][0], record["labels"][0]
        if self._regression:
            self._output.add(best["value"])
        else:
            self._classes[best["index"], best["label"]] += 1
        self._words[fidelity_word(label["fidelity"])] += 1
        self._fidelity.add(label["fidelity"])
        self._rows.add(label["fidelity_rows"])
        self._stability.add(label["stability"])
        self._gap.add(abs(label["local_prediction"] - label["model_prediction"]))
        if self._has_features:
            self._features.add(label)
        self._groups.add(record)

    def content(self, run: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What was found so far, JSON-ready; more records may follow. `run` is what the driver
        measured: throughput and the like.
        """
        envelope, explained = self._envelope, self._counts["explained"]
        model, errors = envelope["model"], self._features.errors
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self._kind,
            "model": {
                "name": model.get("name"),
                "sha256": model.get("sha256"),
                "task": model["task"],
            },
            "input": envelope.get("input"),
            "counts": {
                "decisions": explained + self._counts["skipped"],
                "explained": explained,
                "skipped": self._counts["skipped"],
                "below": self._counts["below"],
                "repeated_ids": len(self._ids) - len(np.unique(np.frombuffer(self._ids, "q"))),
            },
            "skipped": self._reasons.content(),
            "classes": self._class_rows(explained),
            "output": self._output.content() if self._regression else None,
            "fidelity": self._fidelity.content(),
            "fidelity_rows": self._rows.content(),
            "stability": self._stability.content(),
            "gap": self._gap.content(),
            "words": {word: self._share(self._words[word], explained) for word in _WORDS},
            "errors": dict(errors),
            "features": self._features.rows(),
            "features_by_label": self._features.by_label(),
            "features_left_out": self._features.left_out(),
            "protected": self._groups.content(self._features.of_features()),
            "gates": self._gates.content(),
            "notes": notes(envelope, errors, bool(self._groups.columns)),
            "run": None if run is None else dict(run),
        }

    def _class_rows(self, explained: int) -> list[dict[str, Any]]:
        found = sorted(self._classes.items(), key=lambda item: (-item[1], item[0]))
        return [
            {"label": label, "index": index, **self._share(count, explained)}
            for (index, label), count in found
        ]

    @staticmethod
    def _share(count: int, of: int) -> dict[str, Any]:
        return {"decisions": count, "share": count / of if of else None}


def fidelity_word(fidelity: float | None) -> str:
    """The word that a report has for a held-out R²; "undefined" for none."""
    if fidelity is None:
        return "undefined"
    rounded = round(fidelity, 2)
    return "good" if rounded >= 0.7 else "fair" if rounded >= 0.3 else "low"
