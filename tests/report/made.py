"""Reports made by hand, and what the formats make of them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import jsonschema
import numpy as np
from rich.console import Console

from limecli.report.csv import CsvFormat
from limecli.report.json import JsonFormat
from limecli.report.schema import REPORT_SCHEMA
from limecli.report.terminal import TerminalFormat, show
from limecli.types import (
    Attribution,
    Cell,
    Change,
    Explanation,
    Flip,
    Instance,
    Locality,
    Report,
    Score,
    Segmentation,
    Skipped,
    Surrogate,
)

SHA = "0" * 64


def attribution(rank, feature, weight, **own):
    return Attribution(feature=feature, index=rank - 1, weight=weight, rank=rank,
                       **{"condition": None, "value": None, **own})  # fmt: skip


def surrogate(*attributions, label="yes", r2=0.62):
    return Surrogate(label, 1, 0.25, 0.91, 0.96, r2, attributions)


def explanation(kind, payload, *surrogates, **own):
    instance = Instance("60", 60, kind, payload, SHA, "input.file")
    scores = (Score("yes", 1, 0.96), Score("no", 0, 0.04))
    return Explanation(instance, scores, 5000, surrogates, **own)


def report(kind, *items):
    settings = {
        "kind": kind, "engine": "lime", "sampler": "lime", "num_samples": 5000, "num_features": 10,
        "kernel_width": 1.5, "distance_metric": "euclidean", "feature_selection": "auto",
        "seed": 0, "requested": {},
    }  # fmt: skip
    background = {"source": "file", "path": "train.csv", "sha256": SHA, "rows": 150}
    return Report(
        provenance={"limecli": "0.1.0", "versions": {"lime": "0.2.0.1"}, "command": ["limecli"],
                    "created": "2026-11-21T01:30:00Z", "wall_s": 0.41},
        model={"path": "model.pkl", "name": "model.pkl", "sha256": SHA, "format": "pickle",
               "estimator": "RandomForestClassifier", "task": "classification", "n_classes": 2,
               "class_names": ["no", "yes"], "feature_names": ["age", "[bold]x[/bold]"]},
        background=background if kind == "tabular" else None,
        settings=settings,
        explanations=items,
    )  # fmt: skip


TABULAR = report(
    "tabular",
    explanation(
        "tabular",
        None,
        surrogate(
            attribution(1, "age", 0.312, condition="37 < age <= 45", value=41),
            attribution(2, "[bold]x[/bold]", -0.087, condition="[bold]x[/bold] = =1+1",
                        value="=1+1"),
            attribution(3, "evil\x1b[31m", 0.01, condition="evil\x1b[31m is missing"),
        ),
    ),
    Skipped("61", 61, "column 'age' is empty"),
)  # fmt: skip
TEXT = report(
    "text",
    explanation(
        "text",
        "win a prize, win it now",
        surrogate(
            attribution(1, "win", 0.2, positions=((0, 3), (13, 16))),
            attribution(2, "it", -0.05, positions=((17, 19),)),
            r2=0.1,
        ),
    ),
)


def picture():
    labels = np.zeros((20, 20), dtype=np.int64)
    labels[:, 10:] = 1
    pixels = np.full((20, 20, 3), 200, dtype=np.uint8)
    return report(
        "image",
        explanation(
            "image",
            pixels,
            surrogate(
                attribution(1, "superpixel 0", 0.4, area=0.5, centroid=(9.5, 4.5)),
                attribution(2, "superpixel 1", -0.2, area=0.5, centroid=(9.5, 14.5)),
            ),
            segmentation=Segmentation(labels, 2, "grid", {"num_segments": 2}),
            image=pixels,
        ),
    )


def with_label(made, attributions=None, **own):
    """The report with another first label, and settings where `settings` gives them."""
    item = made.explanations[0]
    settings = {**made.settings, "engine": "limecli", **own.pop("settings", {})}
    background = own.pop("background", made.background)
    fields = {key: own.pop(key) for key in list(own) if key in Explanation.__dataclass_fields__}
    first = replace(item.surrogates[0], **own)
    if attributions is not None:
        first = replace(first, attributions=attributions)
    item = replace(item, surrogates=(first,), **fields)
    return replace(made, settings=settings, background=background, explanations=(item,))


def with_intervals(attributions, half):
    """A 95 % interval of this half width for each."""
    return tuple(
        replace(part, low=part.weight - half, high=part.weight + half, sign_probability=1.0,
                top_probability=0.9)
        for part in attributions
    )  # fmt: skip


PENGUIN = report(
    "tabular",
    explanation(
        "tabular",
        None,
        surrogate(
            attribution(1, "bill_length_mm", 0.164, condition="39.23 < bill_length_mm <= 44.45",
                        value=43.2),
            attribution(2, "island", -0.150, condition="island = Dream", value="Dream",
                        ranks=(2, 3)),
            attribution(3, "flipper_length_mm", 0.128, ranks=(2, 3), value=192,
                        condition="190 < flipper_length_mm <= 197"),
            attribution(4, "sex", 0.008, condition="sex = male", value="male"),
            r2=0.64,
        ),
    ),
)  # fmt: skip
FLIP = Flip("Chinstrap", 1, 0.52, (Change("bill length", 0, 38.1, 46.2),))
SAMPLED = with_label(
    PENGUIN,
    with_intervals(PENGUIN.explanations[0].surrogates[0].attributions, 0.02),
    interval="replicates", fidelity=0.62, stability=0.87, stability_top=4, settled=True,
    fidelity_rows=0.58, cell=Cell(14, 0.91, 1.0), flips=(FLIP,), flip_samples=4096,
    sampler="sobol", model_calls=6175, weight_calls=4096, locality=Locality(3.2, 6), real_rows=569,
    settings={"settle": 4, "max_samples": 131072, "discretizer": "quartile"},
)  # fmt: skip
EXACT = with_label(
    PENGUIN,
    tuple(
        replace(part, low=part.weight, high=part.weight, ranks=None)
        for part in PENGUIN.explanations[0].surrogates[0].attributions
    ),
    interval="exact", fidelity=0.62, stability=1.0, flips=(), flip_samples=2079, sampler="exact",
    model_calls=2079, weight_calls=0,
    background={"source": "model", "path": None, "sha256": None, "rows": None},
)  # fmt: skip


def terminal(made):
    return TerminalFormat().render(made).decode()


def label(made):
    return explained(made)["labels"][0]


def explained(made):
    content = json.loads(JsonFormat().render(made))
    jsonschema.validate(content, REPORT_SCHEMA, jsonschema.Draft202012Validator)
    return content["explanations"][0]


def lines(made):
    return list(csv.DictReader(io.StringIO(CsvFormat().render(made).decode())))


def row(shown, text):
    return next(line for line in shown.split("\n") if text in line)


def on_terminal(made, width):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    file = Tty()
    show(made, Console(file=file, width=width, color_system=None, force_terminal=True,
                       highlight=False, markup=False, emoji=False))  # fmt: skip
    return file.getvalue()


def attributions(made):
    return made.explanations[0].surrogates[0].attributions
