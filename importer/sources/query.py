"""A query's answer as a list: run once by SQLAlchemy, written as text into a private Parquet file. Floor "sources".

The decision a newcomer would question: the answer is kept before it is read. A list is read more than once and from
positions in its middle, and a database answers the same question otherwise a moment later. The query is run in a
transaction that may only read and is never committed; rows pass through in small parts, so memory stays flat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from importer.errors import ListProblem
from importer.sources.addresses import CUT, fingerprint, scheme_of, shown_name
from importer.sources.delimited import disagreement
from importer.sources.dialect import check_width, column_names
from importer.sources.opening import LocalFile, translated
from importer.sources.records import Query, ReadOptions
from importer.sources.spooling import private_copy, spooled

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, CursorResult

PART_ROWS: Final = 20_000
FILE_DATABASES: Final = ("sqlite", "duckdb")
LONG_NUMBER: Final = re.compile(r"\d{7,}")  # a database may quote the cell it stumbled over
EXTRA: Final = 'pip install "phone-list-importer[sql]"'


def query_name(query: Query) -> str:
    """What a query's list is called: its database without user and password, and a fingerprint of the question.

    **Errors**: ListProblem for a database address that cannot be one.
    """
    if scheme_of(query.db) is None:
        raise ListProblem("--db is no address of a database", hint="Such as postgresql://user@host/crm")
    address = _absolute(query.db).partition("?")[0]
    return f"{shown_name(address)}?{CUT}{fingerprint(' '.join(query.sql.split()))}"


def _absolute(db: str) -> str:
    """The address; of a database that is a file, with its whole path."""
    scheme, sign, rest = db.partition(":///")
    is_relative = sign and scheme.partition("+")[0] in FILE_DATABASES and rest and not rest.startswith((":", "/"))
    return f"{scheme}:///{Path(rest).absolute().as_posix()}" if is_relative else db


def answered(query: Query, options: ReadOptions, spool_dir: Path) -> LocalFile:
    """The rows of the query's answer, as a private Parquet file of text columns.

    **Law**: the file holds as many rows as the cursor gave. **Errors**: ListProblem when the database says no; the
    text of its refusal is told, without its password.
    """
    name = query_name(query)
    with (
        private_copy(name, spool_dir) as (path, keeper),
        _told(name, query),
        _connected(query, name) as connection,
    ):
        result = connection.execution_options(stream_results=True, no_parameters=True).exec_driver_sql(query.sql)
        if not result.returns_rows:
            raise ListProblem(f"{name}: the statement gives no rows", hint="--sql takes a query, such as SELECT.")
        counted = _written(result, path, options, name)
        with path.open("rb") as file:
            parsed = int(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item())
        if parsed != counted:
            raise disagreement(name, counted=counted, parsed=parsed)
        return spooled(name, path, keeper)


@contextmanager
def _connected(query: Query, name: str) -> Iterator[Connection]:
    """A connection that may only read, in a transaction that is rolled back."""
    try:
        import sqlalchemy
    except ImportError:
        raise ListProblem(f"{name}: a query needs an extra that is not installed", hint=EXTRA) from None
    url = _readable(sqlalchemy.make_url(_absolute(query.db)), name)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=_arguments(url))
    try:
        with engine.connect() as connection:
            is_postgres = url.get_backend_name() == "postgresql"
            yield connection.execution_options(postgresql_readonly=True) if is_postgres else connection
    finally:
        engine.dispose()


def _readable(url: URL, name: str) -> URL:
    """The address with the driver we bring, and with a file that is there and is not written to."""
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in FILE_DATABASES:
        return url
    if not url.database or url.database.startswith(":"):
        raise ListProblem(f"{name} names no database file", hint="Such as sqlite:////folder/people.db")
    with translated(url.database):
        Path(url.database).stat()
    if url.get_backend_name() == "duckdb":
        return url
    plain = url.database.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return url.set(database=f"file:{plain}", query={**url.query, "mode": "ro", "uri": "true"})


def _arguments(url: URL) -> dict[str, Any]:
    """SQLite's rows may be fetched by another thread than the one that connected; DuckDB's file is opened to read."""
    return {"sqlite": {"check_same_thread": False}, "duckdb": {"read_only": True}}.get(url.get_backend_name(), {})


def _written(result: CursorResult[Any], path: Path, options: ReadOptions, name: str) -> int:
    """Write the answer part by part; gives the number of rows that the cursor gave."""
    from polars.io.plugins import register_io_source

    names = column_names(list(map(str, result.keys())), name)
    check_width(len(names), options, name)
    counted = 0

    def parts(*_: object) -> Iterator[pl.DataFrame]:
        nonlocal counted
        for rows in result.partitions(PART_ROWS):
            counted += len(rows)
            _check_room(path, options, name)
            yield as_texts(names, rows, name, counted - len(rows))

    answer = register_io_source(parts, schema=dict.fromkeys(names, pl.String()))
    answer.sink_parquet(path, row_group_size=PART_ROWS, maintain_order=True, engine="streaming")
    _check_room(path, options, name)
    return counted


def _check_room(path: Path, options: ReadOptions, name: str) -> None:
    if path.stat().st_size > options.max_spool_bytes:
        raise ListProblem(f"{name} gave more than {options.max_spool_bytes} bytes", hint="Ask for less.")


def as_texts(names: Sequence[str], rows: Sequence[Sequence[Any]], name: str, before: int) -> pl.DataFrame:
    """The rows as columns of text: integers and decimals exactly, floats with their damage in sight, NULL as null."""
    columns = zip(names, zip(*rows, strict=True), strict=True)
    try:
        return pl.DataFrame([pl.Series(each, _texts(cells), dtype=pl.String) for each, cells in columns])
    except UnicodeError:
        raise ListProblem(
            f"{name}: bytes that are no text in rows {before + 1} to {before + len(rows)}",
            hint="Leave the column out, or turn it into text in the query.",
        ) from None


def _texts(cells: Sequence[Any]) -> Sequence[str | None]:
    kinds = set(map(type, cells)) - {type(None)}
    if kinds <= {str}:
        return cells
    text_of = {kind: _converter(kind) for kind in kinds}
    return [None if cell is None else text_of[type(cell)](cell) for cell in cells]


def _converter(kind: type) -> Callable[[Any], str]:
    """How a value of the type is written."""
    exactly: dict[type, Callable[[Any], str]] = {
        bool: lambda cell: "true" if cell else "false",
        Decimal: lambda cell: format(cell, "f"),
        float: repr,
        bytes: lambda cell: str(cell, "utf-8"),
        bytearray: lambda cell: str(cell, "utf-8"),
        memoryview: lambda cell: str(cell, "utf-8"),
        dict: _json,
        list: _json,
        tuple: _json,
    }
    if kind in exactly:
        return exactly[kind]
    return (lambda cell: str(cell.isoformat())) if issubclass(kind, (datetime, date, time)) else str


def _json(value: Iterable[Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


@contextmanager
def _told(name: str, query: Query) -> Iterator[None]:
    """Turn what the database and its driver say into ListProblem, without the password; the cause is not kept."""
    try:
        from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
    except ImportError:
        raise ListProblem(f"{name}: a query needs an extra that is not installed", hint=EXTRA) from None
    try:
        yield
    except (NoSuchModuleError, ImportError):
        raise ListProblem(
            f"{name}: the driver for this kind of database is not installed",
            hint=f"For PostgreSQL and SQLite: {EXTRA}. For others install their SQLAlchemy driver.",
        ) from None
    except SQLAlchemyError as cause:
        said = str(getattr(cause, "orig", None) or type(cause).__name__).strip().splitlines()[0]
        raise ListProblem(
            f"{name} did not answer: {_without_password(said, query.db)}",
            hint="Check the query and the address of the database. Nothing was sent.",
        ) from None


def _without_password(text: str, db: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        password = make_url(db).password
    except ArgumentError:
        return "its address cannot be read"
    return LONG_NUMBER.sub("…", text.replace(str(password), "***") if password else text)
