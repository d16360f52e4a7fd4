"""The rows that a query finds in a database, batch by batch, while nothing there is changed."""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError, LimecliError
from limecli.inputs.files import reading
from limecli.inputs.parquet_stream import plain_cell
from limecli.inputs.row_stream import Cells

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

_BATCH = 1000  # rows
_DUCKDB: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "256MB",  # beyond it sorts on disk
    "threads": 1,  # so that rows come in the same order each time
    "autoinstall_known_extensions": False,
}
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_READS = ("select", "with", "values", "table", "from")
_READ_ONLY = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "cockroachdb": "SET TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}


def open_query(query: str, database: str) -> QueryStream:
    """Ask `database`, a DuckDB or SQLite file or the URL of a server (SQLAlchemy's), for rows.

    Files are opened read-only, transactions begun so where the server can, and always rolled back.
    Only one statement that reads is taken. A run can be resumed only if the query has an ORDER BY
    that settles the order of all rows. Raises InputError, which never tells the URL's user or
    password.
    """
    if "://" in database:
        return _open_url(query, database)
    if "@" in database and ":" in database and not Path(database).exists():
        raise _no_url()
    with reading(database), Path(database).open("rb") as file:
        head = file.read(16)
    _check_reads(query, database)
    if head.startswith(b"SQLite format 3\0"):
        return _open_sqlite(query, database)
    if head[8:12] == b"DUCK":
        return _open_duckdb(query, database)
    raise InputError(
        f"{database} is no DuckDB or SQLite database",
        "give a file of one of these, or a URL: dialect://user:password@host/name",
    )


class QueryStream:
    """The rows of a query, see `RowStream`. Never more than a batch is in memory."""

    format = "query"
    untyped = False

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        fetch: Callable[[int], Sequence[Sequence[Any]]],
        opened: ExitStack,
        secrets: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.columns = tuple(columns)
        self._fetch, self._opened, self._secrets = fetch, opened, secrets
        twice = next((key for key, count in Counter(columns).items() if count > 1), None)
        if twice is not None:
            raise InputError(
                f"{name}: the query gives two columns named {twice!r}", "rename one with AS"
            )

    def rows(self) -> Iterator[Cells]:
        """Every row. Raises InputError when the database fails on the way. Can be called once."""
        while True:
            with _failure(f"{self.name}: the query failed", self._secrets):
                batch = self._fetch(_BATCH)
            if not batch:
                return
            for row in batch:
                yield tuple(map(plain_cell, row, self.columns))

    @property
    def sha256(self) -> None:
        """A database has no bytes of its own to hash."""
        return

    def close(self) -> None:
        """Roll back and close the connection."""
        with _failure(f"{self.name} cannot be closed", self._secrets):
            self._opened.close()


def _check_reads(query: str, name: str) -> None:
    bare = _QUOTED.sub(" ", query).strip().rstrip("; \t\r\n")
    first = re.match(r"[\s(]*(\w*)", bare)
    if first is None or first[1].lower() not in _READS:
        raise InputError(
            f"{name}: only queries that read are taken", 'such as "select * from ... order by id"'
        )
    if ";" in bare:
        raise InputError(f"{name}: more than one statement", "give a single query")


@contextmanager
def _failure(what: str, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Drivers have exceptions of their own, and raise others too: all become one sentence."""
    try:
        yield
    except LimecliError:
        raise
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        lines = [" ".join(line.split()) for line in str(cause).splitlines() if line.strip()]
        text = lines[0][:300] if lines else type(cause).__name__
        for secret in secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        lacks = isinstance(error, ImportError)
        raise InputError(f"{what}: {text}", "install it with pip" if lacks else "") from None


def _need(package: str, name: str, what: str) -> None:
    if find_spec(package) is None:
        raise InputError(
            f"{name} {what}: that needs {package}, which is not installed",
            "install it: pip install 'limecli[database]'",
        )


def _open_sqlite(query: str, path: str) -> QueryStream:
    uri = f"{Path(path).resolve().as_uri()}?mode=ro"
    with ExitStack() as opened:
        with _failure(f"{path} cannot be opened"):
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        opened.callback(connection.close)
        connection.set_authorizer(_no_other_file)
        connection.text_factory = _text
        with _failure(f"{path}: the query failed"):
            cursor = connection.execute(query)
        opened.callback(cursor.close)
        columns = [column[0] for column in cursor.description]
        return QueryStream(path, columns, cursor.fetchmany, opened.pop_all())


def _no_other_file(action: int, *_: Any) -> int:
    """SQLite's authorizer: ATTACH, and VACUUM INTO, would open another file to write."""
    other = action in (24, 25)  # SQLITE_ATTACH, SQLITE_DETACH
    return sqlite3.SQLITE_DENY if other else sqlite3.SQLITE_OK


def _text(data: bytes) -> str | bytes:
    """Text of SQLite may be no text; bytes become a BadCell, and the row's others stay."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


@functools.cache
def _spill_folder() -> str:
    """Where DuckDB sorts what does not fit into memory, instead of beside its file.

    One for the process: DuckDB takes no two connections to a file that are configured differently.
    """
    folder = tempfile.mkdtemp(prefix="limecli-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _open_duckdb(query: str, path: str) -> QueryStream:
    _need("duckdb", path, "is a DuckDB database")
    import duckdb

    with ExitStack() as opened:
        with _failure(f"{path} cannot be opened"):
            config = {**_DUCKDB, "temp_directory": _spill_folder()}
            connection = duckdb.connect(path, read_only=True, config=config)
        opened.callback(connection.close)
        with _failure(f"{path}: the query failed"):
            connection.execute("SET enable_progress_bar = false")  # it would go to stdout
            with suppress(duckdb.Error):  # a build without ICU has no zones, but no such values
                connection.execute("SET TimeZone = 'UTC'")  # else that of the machine
            kinds = [statement.type for statement in connection.extract_statements(query)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise InputError(f"{path}: only a single query that reads is taken")
            connection.execute(query)
            columns = [str(column[0]) for column in connection.description or ()]
        return QueryStream(path, columns, connection.fetchmany, opened.pop_all())


def _no_url() -> InputError:
    return InputError(
        "--database cannot be read as a URL",
        "write dialect://user:password@host/name, an @ in a password as %40",
    )


def _open_url(query: str, database: str) -> QueryStream:
    _need("sqlalchemy", "--database", "is a URL")
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    try:
        url = sqlalchemy.make_url(database)
        shown = sqlalchemy.URL.create(
            url.drivername, host=url.host, port=url.port, database=url.database
        )
        name = shown.render_as_string()
    except Exception:  # its text would show the password
        raise _no_url() from None
    if "@" in name:  # of a password
        raise _no_url()
    _check_reads(query, name)
    _check_sqlite_file(url)
    secrets = _secrets(url)
    with ExitStack() as opened:
        with _failure(f"{name} cannot be opened", secrets):
            engine = sqlalchemy.create_engine(url, poolclass=NullPool)
            opened.callback(engine.dispose)
            connection = opened.enter_context(engine.connect())  # whose end is a rollback
            opened.callback(connection.rollback)
        with _failure(f"{name}: the query failed", secrets):
            result = _ask(connection, query)
            if not result.returns_rows:
                raise InputError(f"{name}: the query gives no rows", "only SELECT is taken")
            columns = list(result.keys())
        return QueryStream(name, columns, result.fetchmany, opened.pop_all(), secrets)


def _ask(connection: Connection, query: str) -> Any:
    """The result, streamed by the server. The query is sent as it stands: no : or % is special."""
    begin = _READ_ONLY.get(connection.dialect.name)
    if begin is not None:
        connection.exec_driver_sql(begin)
    options = {"stream_results": True, "yield_per": _BATCH, "no_parameters": True}
    return connection.exec_driver_sql(query, execution_options=options)


def _check_sqlite_file(url: URL) -> None:
    """SQLite would make a file that is not there."""
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    if is_file and not str(url.database).startswith("file:"):
        with reading(str(url.database)), Path(str(url.database)).open("rb"):
            pass


def _secrets(url: URL) -> tuple[str, ...]:
    """User, password and the values of all parameters, longest first: no message shows them."""
    values = [url.username, url.password]
    for value in url.query.values():
        for text in [value] if isinstance(value, str) else value:
            values.extend([text, *(part.rpartition("=")[2] for part in text.split(";"))])
    return tuple(sorted({str(value) for value in values if value}, key=len, reverse=True))
