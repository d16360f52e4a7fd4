"""From INPUTS to a stream of entries, a reader of them, and a model bound to what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, compress, islice
from typing import TYPE_CHECKING, Any, Protocol

from limecli.cli.run import Run
from limecli.cli.subjects import Pictures, Rows, Texts, columns_of
from limecli.errors import InputError, LimecliError, PredictError, UsageError
from limecli.types import Background, Instance, Kind

if TYPE_CHECKING:
    from limecli.audit.readers import Reader
    from limecli.cli.rows import Rows as EncodedRows
    from limecli.inputs.row_stream import RowStream
    from limecli.inputs.table import Table
    from limecli.types import FloatArray

_HEAD = 1000  # entries that are looked at before anything is explained
_LONGEST_HEAD = 100_000  # where it is given up that one of them may be good


@dataclass
class Opened:
    """An input, opened. `entries` are all of it, once; `first` its first good instances.

    `own` are LIME's settings that only its kind has, `extra` the other choices that an audit
    records, `read` what its envelope says of the input. `real` are rows to judge explanations by.
    `changed` says, once all entries were taken, whether the input is another one than it was.
    """

    reader: Reader
    entries: Iterator[Any]
    first: tuple[Instance, ...]
    read: Mapping[str, Any]
    changed: Callable[[], bool]
    own: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    background: Background | None = None
    real: FloatArray | None = None


class Source(Protocol):
    """What is audited, of one kind."""

    @property
    def kind(self) -> Kind:
        """Rows, pictures or texts."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The files that it reads, which no output may replace."""
        ...

    def open(self, run: Run, masked: Sequence[str]) -> Opened:
        """Read the head and bind the run's predictor to it. Raises InputError, PredictError."""
        ...


@dataclass(frozen=True)
class AuditedRows:
    """Rows of a file or of a database's answer. `rows` says how columns are taken."""

    rows: Rows
    query: str | None
    database: str | None
    protected: tuple[str, ...]
    kind: Kind = "tabular"

    @property
    def paths(self) -> Sequence[str]:
        """See `Source`."""
        return [path for path in (self.rows.path, self.rows.background) if path]

    def open(self, run: Run, masked: Sequence[str]) -> Opened:
        """See `Source`."""
        from limecli.audit import readers
        from limecli.audit.job import ROWS_A_BLOCK
        from limecli.cli import rows
        from limecli.inputs.real_rows import real_rows
        from limecli.inputs.row_stream import hash_file

        at_first = None if self.query else hash_file(self.rows.path)
        stream = self._stream()
        entries: Iterator[Any] = enumerate(stream.rows())
        hidden = columns_of(masked, stream.columns, "--mask", stream.name)
        protected = columns_of(self.protected, stream.columns, "--protected", stream.name)
        both = set(protected) & set(hidden)
        if both:
            raise UsageError(
                f"--mask and --protected both name {min(both)}",
                "groups cannot be told without the values that make them",
            )
        with _discreet(stream, hidden) as head:
            found, table = self._found(run, stream, entries, head)
            run.notes(found.notes)
            bound = found.bound(run.predictor)
            first = _taken(bound.predict_fn, found.instances)
            rows.probe_missing(found, bound, first)
            run.notes(rows.probe_integers(found, run.predictor, first))
            run.bind(bound, (first,), self.rows.target)
        wanted = self.rows
        own, _ = wanted.own(found.known)
        reader = readers.Rows(
            stream.name, stream.columns, stream.untyped, found.known, wanted.id_column,
            tuple(protected), frozenset(hidden),
        )  # fmt: skip
        known = [item for item in found.instances if _is_known(item, found.known)]
        return Opened(
            reader,
            chain(head, entries),
            tuple(known[:ROWS_A_BLOCK]) or (first,),
            _described(
                stream.name, stream.format, at_first, query=self.query,
                head_sha256=None if at_first else _hash_of(head, stream.columns, hidden),
            ),
            lambda: at_first is not None and stream.sha256 not in (None, at_first),
            own,
            {
                "id_column": wanted.id_column, "target": wanted.target,
                "categorical": list(wanted.categorical), "protected": protected, "mask": hidden,
            },
            found.known,
            real_rows(table, found.known.columns),
        )  # fmt: skip

    def _found(
        self, run: Run, stream: RowStream, entries: Iterator[Any], head: list[tuple[int, Any]]
    ) -> tuple[EncodedRows, Table]:
        """The rows of the head, which is read on until one of them is good."""
        from limecli.cli import rows
        from limecli.inputs.table import require_column

        wanted, fault = self.rows, InputError(f"{stream.name} has no rows")
        while len(head) < _LONGEST_HEAD and (part := list(islice(entries, _HEAD))):
            head += part
            try:
                table = _table(stream, head)
                if wanted.id_column is not None:
                    require_column(table, wanted.id_column, "--id-column")
                return rows.Rows.of(
                    table, "all", run.predictor, wanted.background, wanted.id_column,
                    wanted.target, wanted.categorical, wanted.discretizer, head=True,
                ), table  # fmt: skip
            except rows.NoGoodRowError as error:
                fault = InputError(
                    f"{error.message}; nor can any other of the first {len(head):,} rows be read"
                )
        raise fault

    def _stream(self) -> RowStream:
        from limecli.inputs.row_stream import open_rows

        if self.query is None:
            return open_rows(self.rows.path)
        from limecli.inputs.database import open_query

        return open_query(self.query, self.database or "")


@contextmanager
def _discreet(stream: RowStream, hidden: Sequence[str]) -> Iterator[list[tuple[int, Any]]]:
    """A head to be filled; errors about it do not tell the values of hidden columns."""
    head: list[tuple[int, Any]] = []
    try:
        yield head
    except (InputError, PredictError) as error:
        places = [stream.columns.index(name) for name in hidden]
        cells = (cells[j] for _, cells in head if isinstance(cells, tuple) for j in places)
        if not any(str(cell) in error.message for cell in cells if cell is not None):
            raise
        told = type(error)(
            "the first rows cannot be explained (why is left out: a column is masked)",
            "without --mask it is told",
        )
        raise told from None


def _table(stream: RowStream, head: Sequence[tuple[int, Any]]) -> Table:
    """The rows of the head that can be read, cells that cannot left out."""
    from limecli.cli.rows import NoGoodRowError
    from limecli.inputs.row_stream import ABSENT, BadCell, BadRow
    from limecli.inputs.table import Table

    good = [
        tuple(None if cell is ABSENT or isinstance(cell, BadCell) else cell for cell in cells)
        for _, cells in head
        if not isinstance(cells, BadRow)
    ]
    if not good:
        raise NoGoodRowError(f"{stream.name}, row {head[0][0]}: {head[0][1].reason}")
    return Table.of_cells(stream.name, stream.columns, good, stream.untyped)


def _hash_of(head: Sequence[tuple[int, Any]], columns: Sequence[str], hidden: Sequence[str]) -> str:
    """Of rows that all records rest on (`Opened.real`), where the whole input has no hash."""
    shown = [name not in hidden for name in columns]
    rows = [
        list(compress(cells, shown)) if isinstance(cells, tuple) else cells for _, cells in head
    ]
    return hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass")).hexdigest()


def _taken(predict_fn: Callable[[Any], Any], instances: Sequence[Instance]) -> Instance:
    """The first instance that the model takes. Raises what it says of the first of all."""
    import numpy as np

    failed: LimecliError | None = None
    for item in instances:
        try:
            predict_fn(np.stack([item.payload]))
        except PredictError as error:
            failed = failed or error
        else:
            return item
    raise failed or InputError("there is nothing to explain")


def _is_known(item: Instance, background: Background) -> bool:
    """Whether the background has all categories of a row."""
    return all(
        column.categories is None or code < len(column.categories)
        for column, code in zip(background.columns, item.payload, strict=True)
    )


def _described(
    path: str, form: str, sha256: str | None, **more: str | None
) -> dict[str, str | None]:
    found = {key: value for key, value in more.items() if value is not None}
    return {"path": path, "sha256": sha256, "format": form, **found}


@dataclass(frozen=True)
class AuditedTexts:
    """Lines of a file, or a column of a table."""

    path: str
    column: str | None
    id_column: str | None
    texts: Texts
    kind: Kind = "text"

    @property
    def paths(self) -> Sequence[str]:
        """See `Source`."""
        return [self.path]

    def open(self, run: Run, masked: Sequence[str]) -> Opened:
        """See `Source`."""
        from limecli.audit import readers
        from limecli.inputs.line_stream import open_lines
        from limecli.inputs.row_stream import hash_file

        if set(masked) - {"text"}:
            raise UsageError("--mask: of texts only the text itself can be kept out: --mask text")
        at_first = hash_file(self.path)
        stream = open_lines(self.path, self.column, self.id_column)
        reader = readers.Texts(None if self.path == "-" else self.path)
        head, first, entries = _first_good(reader, stream.lines(), stream.name)
        run.bind(run.predictor, (first,))
        return Opened(
            reader, chain(head, entries), (first,),
            _described(stream.name, stream.format, at_first, column=self.column),
            lambda: at_first is not None and stream.sha256 not in (None, at_first),
            self.texts.own(), {"id_column": self.id_column, "mask": list(masked)},
        )  # fmt: skip


@dataclass(frozen=True)
class AuditedPictures:
    """Picture files, and folders of them."""

    paths: tuple[str, ...]
    pictures: Pictures
    kind: Kind = "image"

    def open(self, run: Run, masked: Sequence[str]) -> Opened:
        """See `Source`."""
        from limecli.audit import readers
        from limecli.inputs.picture_stream import open_pictures

        if masked:
            raise UsageError("--mask is for the columns of a table, and for texts")
        frame = self.pictures.frame(run)
        stream = open_pictures(self.paths)
        reader = readers.Pictures(frame, self.pictures.segments(frame))
        head, first, entries = _first_good(reader, iter(stream.pictures()), stream.name)
        run.bind(run.predictor, (first,))
        own, extra = self.pictures.own(run, frame)
        at_first = stream.sha256
        return Opened(
            reader, chain(head, entries), (first,),
            _described(stream.name, stream.format, at_first), lambda: False, own, extra,
        )  # fmt: skip


def _first_good(
    reader: Reader, entries: Iterable[Any], name: str
) -> tuple[list[Any], Instance, Iterator[Any]]:
    """What was read up to the first entry that holds something, that, and the rest."""
    rest, head, reason = iter(entries), [], ""
    for entry in islice(rest, _HEAD):
        head.append(entry)
        found = reader.read([entry])
        if found.instances:
            return head, found.instances[0], rest
        reason = reason or found.skipped[0].reason
    raise InputError(reason or f"{name} is empty: there is nothing to explain")
