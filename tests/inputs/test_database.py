"""A query gives rows as a file does, streamed, and changes nothing."""

from __future__ import annotations

import hashlib
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from limecli.errors import InputError
from limecli.inputs.database import open_query
from limecli.inputs.row_stream import MAX_CELL, BadCell

duckdb = pytest.importorskip("duckdb")
sqlalchemy = pytest.importorskip("sqlalchemy")

SHOP = """
create table orders (id integer, city varchar, price double precision, note varchar);
insert into orders values (1, 'Ulm', 1.5, null), (2, 'Köln', null, '100 %'),
  (3, null, -0.25, 'at 10:30 :soon');
"""
ORDERS = [(1, "Ulm", 1.5, None), (2, "Köln", None, "100 %"), (3, None, -0.25, "at 10:30 :soon")]
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
ENGINES = ["sqlite", "duckdb", "url"]


def made(engine, folder, script=SHOP):
    """The path or URL of a new database."""
    if engine == "duckdb":
        path = folder / "shop #1.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute(script)
        return str(path)
    path = folder / ("shop #1.db" if engine == "sqlite" else "shop.db")
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return str(path) if engine == "sqlite" else f"sqlite:///{path}"


def asked(query, database):
    stream = open_query(query, database)
    try:
        return stream.columns, list(stream.rows())
    finally:
        stream.close()


def refusal(query, database):
    with pytest.raises(InputError) as refused:
        asked(query, database)
    assert "\n" not in refused.value.message
    return refused.value.message


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_query_gives_its_rows(tmp_path, engine):
    database = made(engine, tmp_path)
    before = digests(tmp_path)
    columns, rows = asked("select * from orders order by id;", database)
    assert columns == ("id", "city", "price", "note")
    assert rows == ORDERS
    assert digests(tmp_path) == before
    stream = open_query("select 1 as one", database)
    assert (stream.name, stream.format, stream.untyped) == (database, "query", False)
    assert stream.sha256 is None
    stream.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_percent_signs_colons_and_comments_are_part_of_the_query(tmp_path, engine):
    query = """-- what; now
    with few as (select * from orders where note like '%:soon' /* ; */)
    select id, '100 %s; :x' as sign from few"""
    assert asked(query, made(engine, tmp_path)) == (("id", "sign"), [(3, "100 %s; :x")])


@pytest.mark.parametrize("engine", ENGINES)
def test_no_rows_are_no_error(tmp_path, engine):
    database = made(engine, tmp_path)
    assert asked("select id from orders where id > 9", database) == (("id",), [])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "query",
    [
        "drop table orders",
        "insert into orders values (4, 'x', 1, null) returning id",
        "delete from orders",
        "select 1; drop table orders",
        "with x as (select 9 as n) insert into orders select n, 'x', 1, null from x returning id",
        "attach 'other.db' as other",
        "vacuum into 'other.db'",
        "copy orders to 'other.db'",
        "pragma user_version = 3",
        "",
        "-- nothing",
    ],
)
def test_only_reading_is_taken(tmp_path, engine, query):
    database = made(engine, tmp_path)
    before = digests(tmp_path)
    refusal(query.replace("other.db", str(tmp_path / "other.db")), database)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_in_the_query_is_one_sentence(tmp_path, engine):
    database = made(engine, tmp_path)
    assert f"{database}: the query failed: " in refusal("select * from nowhere", database)
    assert "nowhere" in refusal("select * from nowhere", database)
    assert "the query failed" in refusal("select id frm orders where", database)
    message = refusal("select id, city as id from orders", database)
    assert message.endswith("the query gives two columns named 'id'")


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty", "damaged"])
def test_what_is_no_database(tmp_path, kind):
    path = tmp_path / "shop.sqlite"
    if kind == "folder":
        path.mkdir()
    elif kind == "damaged":
        path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    elif kind != "missing":
        path.write_text("id\n1\n" if kind == "text" else "")
    message = refusal("select 1 as x from orders", str(path))
    expected = {"missing": "no such file", "folder": "directory", "damaged": "not a database"}
    assert expected.get(kind, "is no DuckDB or SQLite database") in message
    if kind == "missing":
        assert "no such file" in refusal("select 1 as x", f"sqlite:///{path}")
        assert not path.exists()


def test_cells_that_are_no_values_leave_the_others(tmp_path):
    script = f"""create table t (id integer, x);
    insert into t values (1, x'00ff'), (2, cast(x'e9' as text)), (3, 9e999),
      (4, printf('%.*c', {MAX_CELL + 1}, 'a')), (5, 7), (6, 'seven');"""
    _, rows = asked("select * from t order by id", made("sqlite", tmp_path, script))
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    blob, damaged, infinite, long, *others = [row[1] for row in rows]
    assert blob == damaged == BadCell("column 'x' holds bytes, not text or a number")
    assert infinite == math.inf
    assert long == BadCell("column 'x' holds 1,048,577 characters; at most 1,048,576 are taken")
    assert others == [7, "seven"]


def test_the_types_of_duckdb(tmp_path):
    query = """select 1.50::decimal(5, 2) as two, 7::decimal(38, 0) as whole,
      2::hugeint ** 100 as power, 9::hugeint as huge, 'nan'::double as gap, true as yes,
      date '2024-02-29' as day, timestamp '2024-02-29 12:30:00' as at, time '08:05:00' as clock,
      uuid '00000000-0000-0000-0000-00000000000f' as id, 'a'::enum('a', 'b') as kind,
      [1, 2] as list, {'a': 1} as part, blob 'x' as bytes, interval 1 day as long"""
    columns, (row,) = asked(query, made("duckdb", tmp_path))
    found = dict(zip(columns, row, strict=True))
    assert {key: cell for key, cell in found.items() if not isinstance(cell, BadCell)} == {
        "two": 1.5, "whole": 7, "power": 2.0**100, "huge": 9, "gap": None, "yes": True,
        "day": "2024-02-29", "at": "2024-02-29T12:30:00", "clock": "08:05:00",
        "id": "00000000-0000-0000-0000-00000000000f", "kind": "a",
    }  # fmt: skip
    assert found["yes"] is True
    assert type(found["whole"]) is int
    assert found["list"] == BadCell("column 'list' holds a nested value, not a cell")
    assert found["part"] == BadCell("column 'part' holds a nested value, not a cell")
    assert found["bytes"] == BadCell("column 'bytes' holds bytes, not text or a number")
    assert found["long"] == BadCell("column 'long' holds a timedelta, not text or a number")


def test_moments_of_duckdb_are_told_in_utc_wherever_it_runs(tmp_path, monkeypatch):
    pytest.importorskip("pytz")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    query = "select timestamptz '2024-02-29 12:30:00+02' as at"
    _, rows = asked(query, made("duckdb", tmp_path))
    assert rows == [("2024-02-29T10:30:00+00:00",)]


def test_no_message_shows_the_user_or_the_password(tmp_path):
    def says(secret_url):
        with pytest.raises(InputError) as refused:
            open_query("select 1 as x", secret_url)
        text = refused.value.message + refused.value.hint
        assert "alice" not in text
        assert "s3cret" not in text
        assert "s%33cret" not in text
        return text

    says("nothing://alice:s3cret@host/db")
    says("sqlite+alice://alice:s3cret@host/db?password=s3cret")
    says("sqlite://alice:s3cret@host:port/db")
    says("://alice:s3cret@host")
    says("sqlite:///:memory:?odbc_connect=UID%3Dalice%3BPWD%3Ds3cret&timeout=s3cret")


def test_a_message_of_the_driver_is_cleaned(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError('connection failed: password "s3cret" of user "alice"\nDETAIL: no')

    monkeypatch.setattr(sqlalchemy, "create_engine", refused)
    message = refusal("select 1 as x", "postgresql://alice:s3cret@db.example:5432/shop")
    assert message == (
        "postgresql://db.example:5432/shop cannot be opened: connection failed:"
        ' password "***" of user "***"'
    )


def test_a_failure_half_way_is_one_sentence(tmp_path):
    script = "create table t as with recursive n(i) as (select 1 union all select i + 1 from n"
    script += " where i < 5000) select i from n;"
    query = "select abs(case when i < 3000 then i else -9223372036854775807 - 1 end) as a from t"
    stream = open_query(query, made("sqlite", tmp_path, script))
    rows = stream.rows()
    assert next(rows) == (1,)
    with pytest.raises(InputError, match="the query failed: integer overflow"):
        list(rows)
    stream.close()


@pytest.mark.parametrize("package", ["duckdb", "sqlalchemy"])
def test_a_package_that_is_not_installed(tmp_path, package, monkeypatch):
    database = made("duckdb" if package == "duckdb" else "url", tmp_path)
    monkeypatch.setattr("limecli.inputs.database.find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"needs {package}") as refused:
        open_query("select 1 as x", database)
    assert "limecli[database]" in refused.value.hint


@needs_proc
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("order", ["", " order by text desc"])
def test_a_long_answer_is_read_in_pieces(tmp_path, engine, order):
    numbers = "range(200000) r(i)" if engine == "duckdb" else (
        "(with recursive n(i) as (select 0 union all select i + 1 from n where i < 199999)"
        " select i from n)"
    )  # fmt: skip
    text = "'a text of some length, so that it is seen in memory ' || i"
    script = f"create table t as select i, {text} as text, i * 0.5 as half from {numbers};"
    database = made(engine, tmp_path, script)
    program = (
        "import sys, sqlite3, duckdb, sqlalchemy\n"
        "from limecli.inputs.database import open_query\n"
        "status = lambda: open('/proc/self/status').read()\n"
        "used = lambda: int(status().split('VmHWM:')[1].split()[0])\n"
        "before = used()\n"
        "stream = open_query(sys.argv[2], sys.argv[1])\n"
        "print(sum(1 for row in stream.rows()), (used() - before) / 1024)\n"
        "stream.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, database, f"select * from t{order}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    count, megabytes = done.stdout.split()
    assert int(count) == 200_000
    sorts_in_memory = 60 if engine == "duckdb" and order else 0  # at most _DUCKDB's limit
    assert float(megabytes) < 60 + sorts_in_memory  # all rows as Python objects: 70 more


def test_two_readers_at_once(tmp_path):
    for engine in ENGINES:
        Path(tmp_path / engine).mkdir()
        database = made(engine, tmp_path / engine)
        first, second = (open_query("select id from orders order by id", database) for _ in "ab")
        assert list(first.rows()) == list(second.rows()) == [(1,), (2,), (3,)]
        first.close()
        second.close()
