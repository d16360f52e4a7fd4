"""JSON Schemas of reports and of audits' lines. `limecli schema` prints them; tests use them."""

from __future__ import annotations

from typing import Any

from limecli.report.json import SCHEMA_VERSION

_STRING = {"type": "string"}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_INTEGER = {"type": "integer"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_STRING_OR_NULL = {"type": ["string", "null"]}
_PROBABILITY_OR_NULL = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_VALUE = {"type": ["string", "number", "boolean", "null"]}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    # More keys may be added within a schema version, so none is forbidden.
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_ATTRIBUTION = _object(
    {
        "feature": _STRING,
        "index": _COUNT,
        "condition": _STRING_OR_NULL,
        "value": _VALUE,
        "weight": _NUMBER,
        "low": _NUMBER_OR_NULL,
        "high": _NUMBER_OR_NULL,
        "sign_probability": _PROBABILITY_OR_NULL,
        "top_probability": _PROBABILITY_OR_NULL,
        "rank": {"type": "integer", "minimum": 1},
    },
    {
        "ranks": _or_null(
            {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 2,
                "maxItems": 2,
            }
        ),
        "masked": {"const": True},
        "positions": _array({"type": "array", "items": _COUNT, "minItems": 2, "maxItems": 2}),
        "area": {"type": "number", "minimum": 0, "maximum": 1},
        "centroid": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
    },
)

_CHANGE = _object({"feature": _STRING, "from": _VALUE, "to": _VALUE}, {"index": _COUNT})
_FLIP = _object(
    {"to": _STRING, "changes": _array(_CHANGE)}, {"index": _COUNT, "value": _NUMBER}
)  # fmt: skip

_LABEL = _object(
    {
        "label": _STRING,
        "index": _COUNT,
        "intercept": _NUMBER,
        "local_prediction": _NUMBER,
        "model_prediction": _NUMBER,
        "fidelity": _NUMBER_OR_NULL,
        "r2_fit": _NUMBER_OR_NULL,
        "stability": _NUMBER_OR_NULL,
        "settled": {"type": ["boolean", "null"]},
        "attributions": _array(_ATTRIBUTION),
        "flips": _or_null(_array(_FLIP)),
    },
    {
        "interval": _STRING_OR_NULL,
        "no_interval": _STRING_OR_NULL,
        "fidelity_rows": _NUMBER_OR_NULL,
        "cell": _or_null(_object({"rows": _COUNT, "low": _NUMBER_OR_NULL,
                                  "high": _NUMBER_OR_NULL})),
        "flip_samples": _COUNT_OR_NULL,
        "stability_top": _COUNT_OR_NULL,
        "replicates": _STRING,  # base64 of float32[replicates, attributions], little-endian
        "repeats": _or_null(_object({"runs": _COUNT, "jaccard": _NUMBER})),
        "variants": _or_null(_array(_object({
            "name": _STRING, "fidelity": _NUMBER_OR_NULL,
            "effects": _array(_object({"index": _COUNT, "effect": _NUMBER})),
        }))),
    },
)  # fmt: skip

_EXPLAINED = _object(
    {
        "id": _STRING,
        "index": _COUNT,
        "status": {"const": "ok"},
        "input": _object({"path": _STRING_OR_NULL, "sha256": _SHA256}, {"text": _STRING}),
        "prediction": _array(_object({"label": _STRING, "index": _COUNT, "value": _NUMBER})),
        "model_calls": _COUNT,
        "labels": _array(_LABEL),
    },
    {
        "sampler": _STRING_OR_NULL,
        "weight_calls": _COUNT_OR_NULL,
        "locality": _or_null(
            _object({"shared": _NUMBER, "of": _COUNT, "toward_mean": _NUMBER_OR_NULL})
        ),
        "real_rows": _COUNT_OR_NULL,
        "caveats": _array(_STRING),
        "segmentation": _object({"algorithm": _STRING, "count": _COUNT, "map": _STRING}),
    },
)

_SKIPPED = _object({
    "id": _STRING,
    "index": _COUNT,
    "status": {"const": "skipped"},
    "reason": _STRING,
    "kind": {"enum": ["input", "predict"]},
})  # fmt: skip

_MODEL = _object(
    {
        "path": _STRING,
        "sha256": _or_null(_SHA256),
        "format": _STRING,
        "estimator": _STRING,
        "task": {"enum": ["classification", "regression"]},
        "class_names": _or_null(_array(_STRING)),
        "feature_names": _or_null(_array(_STRING)),
    }
)

_BACKGROUND = _or_null(
    _object(
        {
            "source": {"enum": ["file", "sidecar", "model", "rows"]},
            "path": _STRING_OR_NULL,
            "sha256": _or_null(_SHA256),
            "rows": {"type": ["integer", "null"], "minimum": 1},
        }
    ),
)

_SETTINGS = _object({
    "kind": {"enum": ["tabular", "image", "text"]},
    "engine": _STRING,
    "sampler": _STRING,
    "num_samples": _COUNT,
    "num_features": {"type": ["integer", "null"]},
    "kernel_width": _NUMBER,
    "distance_metric": _STRING,
    "feature_selection": _STRING,
    "seed": _INTEGER,
    "requested": {"type": "object"},
}, {"discretizer": _STRING})  # fmt: skip

REPORT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "limecli report",
    **_object({
        "schema_version": {"const": SCHEMA_VERSION},
        "provenance": _object({
            "limecli": _STRING,
            "versions": {"type": "object", "additionalProperties": _STRING},
            "command": _array(_STRING),
            "created": _STRING,
            "wall_s": {"type": "number", "minimum": 0},
        }),
        "model": _MODEL,
        "background": _BACKGROUND,
        "settings": _SETTINGS,
        "explanations": _array({"anyOf": [_EXPLAINED, _SKIPPED]}),
    }),
}  # fmt: skip

_ENVELOPE = _object(
    {
        "schema_version": {"const": SCHEMA_VERSION},
        "provenance": _object(
            {"limecli": _STRING, "versions": {"type": "object", "additionalProperties": _STRING}}
        ),
        "model": _MODEL,
        "background": _BACKGROUND,
        "settings": _SETTINGS,
        "input": _object({"path": _STRING, "sha256": _or_null(_SHA256), "format": _STRING}),
        "caveats": _array(_STRING),
    },
)

_PREVIOUS = {"previous": _SHA256}

AUDIT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "one line of a limecli audit: the first is the envelope, the last has the status end",
    "anyOf": [
        _ENVELOPE,
        {"allOf": [_EXPLAINED, _object(_PREVIOUS, {
            "groups": {"type": "object", "additionalProperties": _STRING_OR_NULL},
            "bins": _array({"type": ["integer", "null"]}),
        })]},
        {"allOf": [_SKIPPED, _object(_PREVIOUS)]},
        _object({"status": {"const": "end"}, "count": _COUNT, "sha256": _SHA256}),
    ],
}  # fmt: skip
