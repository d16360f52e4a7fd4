"""What a model file says of itself before anything in it runs: the answer of `inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from limecli.types import Task


@dataclass(frozen=True)
class Part:
    """A node of an estimator tree: where it hangs, what it is, and what is inside it.

    `count` says that so many alike hang there.
    """

    name: str
    estimator: str
    parts: tuple[Part, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class Port:
    """An input or output of a graph, by its name. None in `shape` is a free size."""

    name: str
    type: str
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class WantedName:
    """A global that a pickle asks for, as "module.Name", and whether it may have it."""

    name: str
    trusted: bool


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself, nothing in it run. None and () mean: it does not say.

    `saved_with` maps libraries to the versions that the file records. `missing` are sentences:
    what loading it here would lack. `damaged` says that the file ends or breaks off too early.
    """

    format: str
    estimator: Part | None = None
    task: Task | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    n_features: int | None = None
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    saved_with: Mapping[str, str] = field(default_factory=dict)
    wants: tuple[WantedName, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    damaged: bool = False
