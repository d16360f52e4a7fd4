"""Finds model formats, explainers and report formats by entry point.

Built-ins are registered in pyproject.toml exactly as a third party's package would do it:
groups `limecli.models`, `limecli.explainers`, `limecli.formats`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

MODELS = "limecli.models"
EXPLAINERS = "limecli.explainers"
FORMATS = "limecli.formats"


@cache
def _all() -> EntryPoints:
    """What every installed package registers, read once: the packages may be hundreds."""
    found = entry_points()
    groups = (MODELS, EXPLAINERS, FORMATS)
    return EntryPoints(point for group in groups for point in found.select(group=group))


@cache
def available(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, in the order of their names, nothing imported."""
    return {point.name: point for point in sorted(_all().select(group=group))}


@cache
def load(group: str, name: str) -> Any:
    """The object behind an entry point. Raises KeyError when there is none of that name."""
    return available(group)[name].load()
