"""What the workers of an audit are told: once for all (`Job`), and block by block (`Block`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limecli.audit.readers import Reader
from limecli.explainers.levels import Asked
from limecli.models.interface import LoadOptions
from limecli.types import LimeSettings

if TYPE_CHECKING:
    from limecli.types import FloatArray

ROWS_A_BLOCK = 512
"""Rows that are explained together, always from the same row on: so the bytes depend on nothing
else, be it jobs, back ends, or where a run was stopped."""


@dataclass(frozen=True)
class Block:
    """Neighbours in the input, as the stream gives them; see the readers."""

    entries: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class RealRows:
    """Rows of the audit itself, to judge explanations by: `float[m, n_features]`, and what the
    model says of them, `float[m, n_outputs]`.
    """

    rows: FloatArray
    outputs: FloatArray


@dataclass(frozen=True, eq=False)
class Job:
    """What all blocks share, for workers in other processes or on other machines.

    They load the model themselves, from `model` if the file there has the `sha256`, else from
    `parcel`, its bytes. `settings` are an explainer's, every default resolved. `asked` is the
    neighborhood that rows share, already predicted. `masked` are columns whose values no record
    may hold.
    """

    token: str
    model: str
    sha256: str | None
    load: LoadOptions
    class_names: tuple[str, ...]
    reader: Reader
    settings: LimeSettings
    asked: Asked | None = None
    real: RealRows | None = None
    masked: frozenset[str] = frozenset()
    parcel: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Done:
    """A block's records as lines of JSON, not yet chained, and what there is to say, by topic."""

    lines: tuple[bytes, ...]
    notes: tuple[tuple[str, str], ...] = ()
