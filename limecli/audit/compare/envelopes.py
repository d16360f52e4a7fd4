"""The first lines of two audits: whether they can be compared, and what differs in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from limecli.audit.compare.changes import Terms
from limecli.errors import UsageError

Envelope = Mapping[str, Any]
# What decides which samples are drawn, besides the background.
_DRAWN = ("engine", "sampler", "num_samples", "seed", "discretizer", "sample_around_instance",
          "control_variate", "settle", "max_samples", "tie_tolerance")  # fmt: skip
_NAMES = {"path", "name", "requested"}  # say nothing of what was computed


def terms_of(old: Envelope, new: Envelope) -> Terms:
    """What two audits share. Raises UsageError for those of other kinds or tasks."""
    kind = old["settings"].get("kind")
    if kind != new["settings"].get("kind"):
        raise UsageError(
            f"an audit of kind {kind} and one of kind {new['settings'].get('kind')} have no"
            " decision in common"
        )
    one, other = _part(old, "model"), _part(new, "model")
    tasks = one.get("task"), other.get("task")
    if tasks[0] != tasks[1]:
        raise UsageError(f"a {tasks[0]} cannot be compared with a {tasks[1]}")
    same_columns = one.get("feature_names") == other.get("feature_names")
    bags = all(side["settings"].get("bow") is not False for side in (old, new))
    return Terms(
        str(kind),
        tasks[0] == "regression",
        kind == "text" or (kind == "tabular" and not same_columns),
        kind == "tabular" or bags,
        kind == "tabular" and same_columns and _same_draws(old, new),
    )


def _part(envelope: Envelope, name: str) -> Mapping[str, Any]:
    found = envelope.get(name)
    return found if isinstance(found, Mapping) else {}


def _same_draws(old: Envelope, new: Envelope) -> bool:
    """Whether both audits drew one and the same neighborhood for all of their rows."""
    settings = old["settings"], new["settings"]
    if settings[0].get("sample_around_instance") or settings[0].get("settle") is not None:
        return False
    if any(settings[0].get(key) != settings[1].get(key) for key in _DRAWN):
        return False
    hashes = [_part(side, "background").get("sha256") for side in (old, new)]
    if hashes[0] is None and hashes[1] is None:  # out of the model itself
        hashes = [_part(side, "model").get("sha256") for side in (old, new)]
    return hashes[0] is not None and hashes[0] == hashes[1]


def differing(old: Envelope, new: Envelope) -> list[dict[str, Any]]:
    """What differs in models, backgrounds, settings, inputs and versions: what, old, new."""
    found = []
    for name in ("model", "background", "settings", "input"):
        one, other = _part(old, name), _part(new, name)
        found += list(_unequal(name, one, other))
    one, other = _part(old, "provenance"), _part(new, "provenance")
    limecli = [{"limecli": side.get("limecli")} for side in (one, other)]
    found += list(_unequal("version of", limecli[0], limecli[1]))
    found += list(_unequal("version of", _part(one, "versions"), _part(other, "versions")))
    return found


def _unequal(
    name: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for key in [*one, *(key for key in other if key not in one)]:
        if key not in _NAMES and one.get(key) != other.get(key):
            what = f"{name} {str(key).replace('_', ' ')}"
            yield {"what": what, "old": one.get(key), "new": other.get(key)}
