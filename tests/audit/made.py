"""Audits for tests: real explanations of small models, or records made by hand."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict

import numpy as np
import pandas as pd

from limecli.audit.records import record
from limecli.explainers.tabular import Tabular
from limecli.inputs.background import background_from_table
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table
from limecli.models.frames import bind_columns
from limecli.report.jsonl import Chain, line_of
from limecli.types import LimeSettings, Predictor

SHA = "0" * 64


def written(path, envelope, records, end=True):
    """An audit of these records, each a dict; returns its path."""
    first = line_of(envelope)
    chain, lines = Chain(first), [first]
    lines += [chain.linked(line_of(item)) for item in records]
    if end:
        lines.append(chain.end())
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def envelope(kind="tabular", task="classification", names=("a", "b", "c"), **settings):
    return {
        "schema_version": 1,
        "provenance": {"limecli": "0.1.0", "versions": {"numpy": "2.0"}},
        "model": {"path": "m.pkl", "name": "m.pkl", "sha256": SHA, "task": task,
                  "feature_names": None if names is None else list(names)},
        "background": {"source": "file", "path": "b.csv", "sha256": SHA, "rows": 100},
        "settings": {"kind": kind, "seed": 0, "num_samples": 1000, "sampler": "sobol", **settings},
        "input": {"path": "x.csv", "sha256": SHA, "format": "csv"},
    }  # fmt: skip


def part(feature, index, weight, half=None, **own):
    """An attribution; `half` is half its interval, 0: exact."""
    return {
        "feature": feature, "index": index, "condition": None, "value": None, "weight": weight,
        "low": None if half is None else weight - half,
        "high": None if half is None else weight + half,
        "sign_probability": None, "top_probability": None, "rank": 0, "ranks": None, **own,
    }  # fmt: skip


def decision(name, *parts, label="yes", value=0.9, interval="HC3", fidelity=0.8, sha=SHA, **own):
    """A record of one label, its attributions ranked by |weight|."""
    ranked = sorted(parts, key=lambda item: -abs(item["weight"]))
    ranked = [{**item, "rank": rank} for rank, item in enumerate(ranked, start=1)]
    return {
        "id": str(name), "index": int(name) if str(name).isdigit() else 0, "status": "ok",
        "input": {"path": "x.csv", "sha256": sha},
        "prediction": [{"label": label, "index": 1, "value": value}],
        "labels": [{"label": label, "index": 1, "fidelity": fidelity, "interval": interval,
                    "attributions": ranked, **own}],
    }  # fmt: skip


def skipped(name, reason="empty"):
    return {"id": str(name), "index": 0, "status": "skipped", "reason": reason, "kind": "input"}


class Bed:
    """A table to explain rows of, with its background."""

    def __init__(self, frame):
        self.frame = frame.astype(object)
        self.names = list(frame)
        table = Table("rows.csv", SHA, self.frame, untyped=False)
        self.background = background_from_table(table, self.names, "quartile")
        encoder = RowEncoder(self.background)
        self.instances = [encoder.encode(table, i, str(i)) for i in range(len(table))]

    def audit(self, path, predict, classes=None, fitted=None, rows=None, edit=None, **settings):
        """Explain rows and write the audit. `predict`: DataFrame -> `float[n, n_outputs]`."""
        task = "regression" if classes is None else "classification"
        predictor = Predictor(
            predict, task, tuple(classes or ["y"]), "m.pkl", SHA, "pickle", "model",
            tuple(self.names), fitted=fitted,
        )  # fmt: skip
        predictor = bind_columns(predictor, self.background.columns)
        asked = LimeSettings(kind="tabular", **{"sampler": "sobol", "discretizer": "quartile",
                                                **settings})  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer = Tabular(predictor, self.background, asked, lambda count: None)
            found = list(explainer.explain(self.instances[:rows]))
        records = [json.loads(record(item, {}, frozenset())) for item in found]
        if edit is not None:
            records = edit(records)
        told = envelope(task=task, names=self.names)
        told["settings"] = {key: value for key, value in asdict(explainer.settings).items()
                            if value is not None}  # fmt: skip
        return written(path, told, records)


def numbers(n=300, d=5, seed=0):
    """Independent normal columns."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(n, d)), columns=[f"x{j}" for j in range(d)])
