"""Envelopes and records of audits, made by hand."""

from __future__ import annotations

import base64

import numpy as np

SHA = "0" * 64


def envelope(kind="tabular", task="classification", classes=("no", "yes"), features=("a", "b", "c"),
             **settings):  # fmt: skip
    return {
        "schema_version": 1,
        "provenance": {"limecli": "0.1.0", "versions": {}},
        "model": {"path": "model.pkl", "name": "model.pkl", "sha256": SHA, "task": task,
                  "n_classes": len(classes), "class_names": list(classes),
                  "feature_names": list(features), "output": "probability"},
        "background": {"source": "file", "path": "train.csv", "sha256": SHA, "rows": 150},
        "settings": {"kind": kind, "num_features": 10, "protected": [], "mask": [], **settings},
        "input": {"path": "rows.csv", "sha256": SHA, "format": "csv"},
    }  # fmt: skip


def attributions(weights, names=None):
    """By falling size; `weights` by index of the feature."""
    order = sorted(weights, key=lambda index: -abs(weights[index]))
    return [
        {"feature": str(index) if names is None else names[index], "index": index,
         "condition": None, "value": 1, "weight": weights[index], "low": None, "high": None,
         "rank": rank}
        for rank, index in enumerate(order, start=1)
    ]  # fmt: skip


def label(weights, index=1, name="yes", replicates=None, names="abc", **own):
    """`weights` by index of the feature; `replicates`: for each replicate the same."""
    parts = attributions(weights, names)
    made = {
        "label": name, "index": index, "intercept": 0.0, "local_prediction": 0.5,
        "model_prediction": 0.5, "fidelity": 0.8, "r2_fit": 0.9, "stability": 0.9,
        "attributions": parts, "interval": "exact", "no_interval": None, "fidelity_rows": 0.7,
        **own,
    }  # fmt: skip
    if replicates is not None:
        found = [[one[part["index"]] for part in parts] for one in replicates]
        made["interval"] = "replicates"
        made["replicates"] = base64.b64encode(np.array(found, "<f4").tobytes()).decode()
    return made


def record(*labels, index=0, scores=(("yes", 1, 0.9), ("no", 0, 0.1)), **own):
    return {
        "id": str(index), "index": index, "status": "ok", "input": {"path": None, "sha256": SHA},
        "prediction": [{"label": name, "index": i, "value": value} for name, i, value in scores],
        "labels": list(labels), **own,
    }  # fmt: skip


def skipped(reason, index=0, kind="input"):
    return {"id": str(index), "index": index, "status": "skipped", "reason": reason, "kind": kind}
