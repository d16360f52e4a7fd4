"""The JSON Schema of an audit's summary; `limecli.audit.summary.Summary` says what its keys mean.

More keys may be added within a schema version, so none is forbidden.
"""

from __future__ import annotations

from typing import Any

from limecli.audit.summary import SCHEMA_VERSION

_STRING = {"type": "string"}
_STRING_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SHARE_OR_NULL = {"type": ["number", "null"], "minimum": 0, "maximum": 1}


def _object(**required: Any) -> dict[str, Any]:
    return {"type": "object", "properties": required, "required": list(required)}


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _by_name(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


_SPREAD = _object(
    count=_COUNT,
    unknown=_COUNT,
    **dict.fromkeys(
        ("mean", "min", "p01", "p05", "p25", "median", "p75", "p95", "p99", "max"),
        _NUMBER_OR_NULL,
    ),
)
_INTERVAL = {"low": _NUMBER_OR_NULL, "high": _NUMBER_OR_NULL}
_MEASURED = {**_INTERVAL, "no_interval": _STRING_OR_NULL}
_COUNTED = _object(decisions=_COUNT, share=_SHARE_OR_NULL)
_FEATURES = _array(
    _object(
        feature=_STRING,
        decisions=_COUNT,
        top=_COUNT,
        mean_abs_weight=_NUMBER,
        **_MEASURED,
        mean_weight=_NUMBER,
    )
)
_OUTCOME = {  # of a label; of a regression
    "anyOf": [
        _object(decisions=_COUNT, rate=_SHARE, low=_SHARE, high=_SHARE),
        _object(mean=_NUMBER_OR_NULL, **_INTERVAL),
    ]
}
_PROTECTED = _object(
    column=_STRING,
    decisions=_COUNT,
    grouped_by={"enum": ["values", "bins", "quartiles"]},
    groups=_array(
        _object(value=_STRING, decisions=_COUNT, share=_SHARE, outcomes=_by_name(_OUTCOME))
    ),
    differences=_array(
        _object(
            value=_STRING,
            reference=_STRING,
            outcomes=_by_name(_object(difference=_NUMBER_OR_NULL, **_INTERVAL)),
        )
    ),
    top=_or_null(_object(decisions=_COUNT, share=_SHARE, low=_SHARE, high=_SHARE)),
    top_reason=_STRING_OR_NULL,
    weights=_array(
        _object(
            value=_STRING,
            label=_STRING,
            index=_COUNT,
            decisions=_COUNT,
            shown=_COUNT,
            mean=_NUMBER,
            **_MEASURED,
        )
    ),
    weights_unknown=_COUNT,
    stand_ins=_array(
        _object(
            feature=_STRING,
            rows=_COUNT,
            association=_SHARE,
            low=_SHARE_OR_NULL,
            high=_SHARE_OR_NULL,
            mean_abs_weight=_NUMBER,
            weight_low=_NUMBER_OR_NULL,
            weight_high=_NUMBER_OR_NULL,
            no_interval=_STRING_OR_NULL,
        )
    ),
    note=_STRING,
)

SUMMARY_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "limecli audit summary",
    **_object(
        schema_version={"const": SCHEMA_VERSION},
        kind={"enum": ["tabular", "image", "text"]},
        model=_object(
            name=_STRING_OR_NULL,
            sha256=_STRING_OR_NULL,
            task={"enum": ["classification", "regression"]},
        ),
        input={"type": ["object", "null"]},
        counts=_object(
            decisions=_COUNT, explained=_COUNT, skipped=_COUNT, below=_COUNT, repeated_ids=_COUNT
        ),
        skipped=_object(
            by_kind=_array(_object(kind=_STRING, count=_COUNT, first=_COUNT)),
            by_reason=_array(_object(reason=_STRING, count=_COUNT, first=_COUNT)),
        ),
        classes=_array(
            _object(label=_STRING, index=_COUNT, decisions=_COUNT, share=_SHARE_OR_NULL)
        ),
        output=_or_null(_SPREAD),
        fidelity=_SPREAD,
        fidelity_rows=_SPREAD,
        stability=_SPREAD,
        gap=_SPREAD,
        words=_object(good=_COUNTED, fair=_COUNTED, low=_COUNTED, undefined=_COUNTED),
        errors=_object(exact=_COUNT, replicates=_COUNT, unknown=_COUNT),
        features=_FEATURES,
        features_by_label=_array(
            _object(label=_STRING, index=_COUNT, decisions=_COUNT, features=_FEATURES)
        ),
        features_left_out=_object(features=_COUNT, words_forgotten=_COUNT, weight_share=_SHARE),
        protected=_array(_PROTECTED),
        gates=_object(
            min_fidelity=_NUMBER_OR_NULL,
            min_stability=_NUMBER_OR_NULL,
            max_gap=_NUMBER_OR_NULL,
            max_skipped=_STRING_OR_NULL,
            fail_on=_array(_STRING),
        ),
        notes=_array(_STRING),
        run={"type": ["object", "null"]},
    ),
}
