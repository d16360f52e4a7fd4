"""From entries of an input stream to Instances: one reader for each kind, sent to every worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from limecli.errors import InputError
from limecli.inputs.files import read_input
from limecli.inputs.image import Frame, read_image
from limecli.inputs.line_stream import TextLine
from limecli.inputs.picture_stream import PictureFile
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.row_stream import ABSENT, BadCell, BadRow
from limecli.inputs.table import Table
from limecli.inputs.text import text_instance
from limecli.types import Background, Column, Instance, Kind, Predictor, Skipped

if TYPE_CHECKING:
    from limecli.types import IntArray

_NO_VALUE = "a value that is not taken (masked)"


@dataclass(frozen=True)
class Read:
    """Instances, and what could not be read, each by rising index.

    `columns` are the background's, with the categories that only this block has. `more` are keys
    that a record gets besides the explanation, by index. `notes` are remarks by topic.
    """

    instances: tuple[Instance, ...]
    skipped: tuple[Skipped, ...]
    columns: tuple[Column, ...] | None = None
    more: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()


class Reader(Protocol):
    """Reads blocks of one kind. What it gives depends on the block alone."""

    @property
    def kind(self) -> Kind:
        """Rows, pictures or texts."""
        ...

    @property
    def background(self) -> Background | None:
        """That of rows."""
        ...

    def bound(self, predictor: Predictor, columns: tuple[Column, ...] | None) -> Predictor:
        """A predictor, just loaded, that takes the payloads of instances."""
        ...

    def read(self, entries: Sequence[Any]) -> Read:
        """The entries of a block."""
        ...

    def marks(self, entries: Sequence[Any]) -> list[tuple[int, str | None]]:
        """(index, sha256 of the instance) of each; None for one that cannot be read."""
        ...


@dataclass(frozen=True)
class Rows:
    """Entries are (index, cells | BadRow); `columns` name the cells.

    Cells are coded by the background. `path` is what the input is called. Records get the values
    of `protected` columns and all bins.
    """

    path: str
    columns: tuple[str, ...]
    untyped: bool
    background: Background
    id_column: str | None = None
    protected: tuple[str, ...] = ()
    masked: frozenset[str] = frozenset()
    kind: Kind = "tabular"

    def bound(self, predictor: Predictor, columns: tuple[Column, ...] | None) -> Predictor:
        """See `Reader`."""
        from limecli.models.column_names import called_as_in
        from limecli.models.frames import bind_columns

        found = columns or self.background.columns
        return bind_columns(called_as_in(predictor, self.columns), found)

    def read(self, entries: Sequence[tuple[int, Any]]) -> Read:
        """See `Reader`."""
        good, skipped = self._whole(entries)
        table = self.table([cells for _, cells in good])
        encoder = RowEncoder(self.background)
        instances: list[Instance] = []
        places: dict[int, int] = {}
        for i, (index, _) in enumerate(good):
            item = encoder.encode(table, i, self._id(table, i, index), index)
            if isinstance(item, Skipped):
                skipped.append(self._discreet(item))
            else:
                instances.append(self._unmarked(item))
                places[index] = i
        skipped.sort(key=lambda item: item.index)
        more = {}
        if self.protected:
            groups = {name: table.cells[name] for name in self.protected}
            more = {
                index: {"groups": {name: _group(cells[i]) for name, cells in groups.items()}}
                for index, i in places.items()
            }
        notes = tuple(
            (name, text) for name, text in encoder.notes.items() if name not in self.masked
        )
        return Read(tuple(instances), tuple(skipped), encoder.columns, more, notes)

    def marks(self, entries: Sequence[tuple[int, Any]]) -> list[tuple[int, str | None]]:
        """See `Reader`."""
        read = self.read(entries)
        known = {item.index: item.sha256 for item in read.instances}
        return [(index, known.get(index)) for index, _ in entries]

    def table(self, rows: Sequence[tuple[Any, ...]]) -> Table:
        """Rows of cells as a table."""
        return Table.of_cells(self.path, self.columns, list(rows), self.untyped)

    def _whole(
        self, entries: Sequence[tuple[int, Any]]
    ) -> tuple[list[tuple[int, tuple[Any, ...]]], list[Skipped]]:
        """Entries all of whose needed cells can be read, and the others."""
        needed = {*self.background.feature_names, *self.protected, self.id_column}
        gaps = {column.name for column in self.background.columns if column.has_missing}
        good, skipped = [], []
        for index, cells in entries:
            where = f"{self.path}, row {index}"
            if isinstance(cells, BadRow):
                skipped.append(Skipped(str(index), index, f"{where}: {cells.reason}"))
                continue
            found, fault = [], ""
            for name, cell in zip(self.columns, cells, strict=True):
                if cell is ABSENT and name in needed and name not in gaps:
                    fault = fault or f"{where} lacks the column {name!r}"
                if isinstance(cell, BadCell) and name in needed:
                    told = f"{where}: {cell.reason}"
                    hidden = f"{where}, column {name!r}: {_NO_VALUE}"
                    fault = fault or (hidden if name in self.masked else told)
                found.append(None if cell is ABSENT or isinstance(cell, BadCell) else cell)
            if fault:
                skipped.append(Skipped(str(index), index, fault))
            else:
                good.append((index, tuple(found)))
        return good, skipped

    def _id(self, table: Table, i: int, index: int) -> str:
        if self.id_column is None or self.id_column in self.masked:
            return str(index)
        value = table.cells[self.id_column][i]
        return str(index) if value is None else str(value)

    def _discreet(self, item: Skipped) -> Skipped:
        """Without the value of a masked column, which the reason may tell."""
        for name in self.masked:
            if f"column {name!r}" in item.reason:
                where = f"{self.path}, row {item.index}"
                return replace(item, reason=f"{where}, column {name!r}: {_NO_VALUE}")
        return item

    def _unmarked(self, item: Instance) -> Instance:
        """A hash that nobody can find a masked value by."""
        if not self.masked:
            return item
        names = self.background.feature_names
        values = zip(names, item.values, strict=True)
        told = {name: value for name, value in values if name not in self.masked}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return replace(item, sha256=digest)


def _group(value: Any) -> str | None:
    return None if value is None else str(value)


@dataclass(frozen=True)
class Texts:
    """Entries are `TextLine`s out of `path`, which is None for standard input."""

    path: str | None
    kind: Kind = "text"
    background: None = None

    def bound(self, predictor: Predictor, columns: tuple[Column, ...] | None) -> Predictor:
        """See `Reader`."""
        return predictor

    def read(self, entries: Sequence[TextLine]) -> Read:
        """See `Reader`."""
        instances, skipped = [], []
        for line in entries:
            name = str(line.index) if line.id is None else line.id
            if isinstance(line.text, BadRow):
                where = f"{self.path or 'standard input'}, line {line.index + 1}"
                reason = f"{where}: {line.text.reason}"
                skipped.append(Skipped(name, line.index, reason))
                continue
            try:
                instances.append(replace(text_instance(line.text, line.index, self.path), id=name))
            except InputError as error:
                skipped.append(Skipped(name, line.index, error.message))
        return Read(tuple(instances), tuple(skipped))

    def marks(self, entries: Sequence[TextLine]) -> list[tuple[int, str | None]]:
        """See `Reader`."""
        known = {item.index: item.sha256 for item in self.read(entries).instances}
        return [(line.index, known.get(line.index)) for line in entries]


@dataclass(frozen=True)
class Pictures:
    """Entries are `PictureFile`s."""

    frame: Frame
    segments: IntArray | None = None
    kind: Kind = "image"
    background: None = None

    def bound(self, predictor: Predictor, columns: tuple[Column, ...] | None) -> Predictor:
        """See `Reader`."""
        return predictor

    def read(self, entries: Sequence[PictureFile]) -> Read:
        """See `Reader`."""
        instances, skipped = [], []
        for entry in entries:
            try:
                found, _ = read_image(entry.path, entry.index, self.frame)
            except InputError as error:
                skipped.append(Skipped(entry.id, entry.index, error.message))
                continue
            instances.append(replace(found, id=entry.id, segments=self.segments))
        return Read(tuple(instances), tuple(skipped))

    def marks(self, entries: Sequence[PictureFile]) -> list[tuple[int, str | None]]:
        """See `Reader`. Pictures are hashed as they lie there; only damaged ones are decoded."""
        return [(entry.index, _file_hash(entry.path)) for entry in entries]


def _file_hash(path: str) -> str | None:
    try:
        return read_input(path).sha256
    except InputError:
        return None
