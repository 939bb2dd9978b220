"""DuckDB as Segue uses it: pooled private instances, tables of one call, no way out to files.

A *session* is one in-memory DuckDB database held by one call. It has no catalog of its own,
installs no extensions, and reads no files but those below the directories it was opened for.
Opening an instance costs 20 to 30 ms, so idle ones are kept per set of directories.

Thread safety: a session belongs to one thread; the pool may be used from any.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from segue.errors import BudgetError, Error, QueryError
from segue.options import parse_memory

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from segue.relations import ParquetRelation

__all__ = ["EventsStream", "Session", "TemporalDefaults", "quote", "session", "wrap_errors"]

T = TypeVar("T")

LEAST_MEMORY = 16 << 20
"""Bytes below which DuckDB does not even start."""

MAX_IDLE = 4
"""Idle instances kept for the next call; each holds its threads and little memory."""


def quote(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


# --- errors ---


@contextmanager
def wrap_errors(statement: str = "") -> Iterator[None]:
    """Turn DuckDB's exceptions into Segue's, naming line and column of `statement`."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException as e:
        raise KeyboardInterrupt from e
    except duckdb.OutOfMemoryException as e:
        raise BudgetError(f"{_message(e, '')}; give the statement more memory or select less") from e
    except duckdb.Error as e:
        raise QueryError(_message(e, statement)) from e


def _message(error: duckdb.Error, statement: str) -> str:
    """Return the message of an error under ``errors_as_json``, with the position in words."""
    text = str(error)
    match = re.match(r"([\w ]+Error): (\{.*\})\s*$", text, re.DOTALL)
    if match is None:
        # Errors of the relation API are plain text with an excerpt of the statement below.
        return text.split("\n\nLINE ")[0].strip()
    try:
        details = json.loads(match[2])
    except ValueError:
        return text
    message = str(details.get("exception_message", text)).split("\n\nPossible solutions")[0].strip()
    # What a statement is bound over is a view without rows, which DuckDB calls by another name.
    message = re.sub(r'^Values list "', 'Table "', message)
    if "file system operations are disabled" in message:
        message += "; files are tables of segue.sql(statement, tables={name: path})"
    position = str(details.get("position", ""))
    if statement and position.isdigit() and int(position) <= len(statement.encode()):
        before = statement.encode()[: int(position)].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"{message} (line {line}, column {column})"
    return message


# --- sessions ---


class TemporalDefaults:
    """What a statement depends on beyond its tables, pinned: answers do not vary by machine."""

    TIME_ZONE = "UTC"


class EventsStream:
    """Gives DuckDB a new stream of an event table's snapshot for each scan of it."""

    def __init__(self, schema: pa.Schema, open_reader: Callable[[], pa.RecordBatchReader]) -> None:
        self._schema = schema
        self._open_reader = open_reader

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._open_reader().__arrow_c_stream__(requested_schema)


class Session:
    """One DuckDB instance, used by one call at a time. Made by :func:`session`."""

    def __init__(self, directories: tuple[str, ...]) -> None:
        import duckdb

        self.directories = directories
        self._settings: dict[str, str] = {}
        with wrap_errors():
            self._root = duckdb.connect(
                ":memory:",
                config={
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    # A table that is not resolved must not become a Python variable of some caller.
                    "python_enable_replacements": False,
                },
            )
            spill = os.path.join(tempfile.gettempdir(), f"segue-duckdb-{os.getpid()}-{id(self):x}")
            self._root.execute(f"SET temp_directory = {literal(spill)}")
            if directories:
                allowed = ", ".join(literal(os.path.join(d, "")) for d in directories)
                self._root.execute(f"SET allowed_directories = [{allowed}]")
            self._root.execute("SET enable_external_access = false")
            self._root.execute(f"SET GLOBAL TimeZone = {literal(TemporalDefaults.TIME_ZONE)}")
        self._connection: duckdb.DuckDBPyConnection | None = None

    def begin(self, threads: int | None, memory: str | int | None) -> None:
        """Start a call: a connection with no tables, inside one transaction (one NOW())."""
        with wrap_errors():
            self._set("threads", None if threads is None else str(int(threads)))
            limit = None if memory is None else f"{parse_memory(memory, LEAST_MEMORY)}B"
            self._set("memory_limit", None if limit is None else literal(limit))
            self._connection = self._root.cursor()
            self._connection.execute("SET errors_as_json = true")
            self._connection.execute("BEGIN TRANSACTION")

    def _set(self, setting: str, value: str | None) -> None:
        if self._settings.get(setting) == value:
            return
        self._root.execute(f"RESET {setting}" if value is None else f"SET {setting} = {value}")
        if value is None:
            del self._settings[setting]
        else:
            self._settings[setting] = value

    def end(self) -> None:
        """Drop the call's connection, and its temporary tables and views with it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Shut the instance down."""
        self.end()
        self._root.close()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The call's connection."""
        if self._connection is None:
            raise Error("the session is not in use")
        return self._connection

    # -- tables

    def register(self, name: str, data: object) -> None:
        """Make Arrow data visible as `name`."""
        with wrap_errors():
            self.connection.register(name, data)

    def register_empty(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table of `schema` visible as `name`: enough to bind a statement."""
        self.register(name, schema.empty_table())

    def register_files(self, name: str, relation: ParquetRelation, fresh: pa.Table | None = None) -> None:
        """Make the files of a fact table, and `fresh` rows below them, visible as `name`."""
        if not relation.files:
            self.register(name, relation.schema.empty_table() if fresh is None else fresh)
            return
        fields = [*zip(relation.schema.names, self.sql_types(relation.schema), strict=True)]
        types = dict(fields)
        select = ", ".join(f"CAST({quote(column)} AS {sql}) AS {quote(column)}" for column, sql in fields)
        union = ""
        if fresh is not None and fresh.num_rows:
            rows = f"__segue_fresh_{name}"
            self.register(rows, fresh)
            union = f" UNION ALL SELECT {', '.join(map(quote, types))} FROM {quote(rows)}"
        with wrap_errors():
            view = f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT {select} FROM {{}}{union}"
            self._create_view(view, _read_parquet(relation, types))

    def _create_view(self, view: str, source: str) -> None:
        self.connection.execute(view.replace("{}", source, 1))

    def sql_types(self, schema: pa.Schema) -> list[str]:
        """DuckDB's type of each column of an Arrow schema."""
        self.register_empty("__segue_types", schema)
        try:
            return self.bind("SELECT * FROM __segue_types")[1]
        finally:
            self.connection.unregister("__segue_types")

    # -- statements

    def tables(self, statement: str) -> tuple[list[tuple[str, str]], set[str]]:
        """Tables that a SELECT names, as (schema, name), and the names that it defines itself."""
        with wrap_errors(statement):
            rows = self.connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchall()
        tree = json.loads(rows[0][0])
        if tree.get("error"):
            raise QueryError(str(tree.get("error_message")))
        tables: dict[tuple[str, str], None] = {}
        defined: set[str] = set()
        todo: list[Any] = [tree]
        while todo:
            node = todo.pop()
            if isinstance(node, dict):
                if node.get("type") == "BASE_TABLE":
                    schema = ".".join(filter(None, [node.get("catalog_name"), node.get("schema_name")]))
                    tables[schema, node["table_name"]] = None
                defined.update(
                    str(cte["key"]).casefold() for cte in (node.get("cte_map") or {}).get("map", [])
                )
                todo.extend(node.values())
            elif isinstance(node, list):
                todo.extend(node)
        return sorted(tables), defined

    def _bound(self, statement: str) -> duckdb.DuckDBPyRelation:
        import duckdb

        try:
            return self.connection.sql(statement)
        except duckdb.Error:
            # Executing reports the same error with its position in the statement.
            self.connection.execute(statement)
            raise

    def bind(self, statement: str) -> tuple[list[str], list[str]]:
        """Names and SQL types of a SELECT's result, without running it."""
        with wrap_errors(statement):
            relation = self._bound(statement)
            return list(relation.columns), [str(t) for t in relation.types]

    def query(self, statement: str, *, interruptible: bool = False) -> tuple[pa.Table, list[str]]:
        """Run a SELECT: its rows and their SQL types."""

        def run() -> tuple[pa.Table, list[str]]:
            relation = self._bound(statement)
            return relation.to_arrow_table(), [str(t) for t in relation.types]

        with wrap_errors(statement):
            return self._wait(run) if interruptible else run()

    def execute(self, statement: str, *, interruptible: bool = False) -> None:
        """Run a statement for its effect on the session."""

        def run() -> None:
            self.connection.execute(statement).fetchall()

        with wrap_errors(statement):
            self._wait(run) if interruptible else run()

    def _wait(self, run: Callable[[], T]) -> T:
        """Call `run` so that Ctrl-C in the main thread stops DuckDB."""
        if threading.current_thread() is not threading.main_thread():
            return run()
        outcome: list[T] = []
        failure: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            try:
                outcome.append(run())
            except BaseException as e:  # raised again in the waiting thread
                failure.append(e)
            finally:
                done.set()

        threading.Thread(target=work, name="segue-duckdb", daemon=True).start()
        try:
            while not done.wait(1.0):
                pass
        except BaseException:
            # The statement may not have started yet when the first interrupt is sent.
            while not done.wait(0.02):
                self.connection.interrupt()
            raise
        if failure:
            raise failure[0]
        return outcome[0]


def _glob_escape(path: str) -> str:
    """Return a path that names one file, whatever characters it has."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _read_parquet(relation: ParquetRelation, types: dict[str, str]) -> str:
    """Return the files of a relation as a table expression with its partition columns."""
    hive = relation.partition_columns
    if all(_is_hive_path(file.path, hive, file.partition) for file in relation.files):
        return _scan([file.path for file in relation.files], {column: types[column] for column in hive})
    # The paths do not say the values: one scan per partition, with the values as constants.
    groups: dict[tuple[Any, ...], list[str]] = {}
    for file in relation.files:
        groups.setdefault(tuple(file.partition.get(column) for column in hive), []).append(file.path)
    parts = []
    for values, paths in groups.items():
        constants = ", ".join(
            f"CAST({_constant(value)} AS {types[column]}) AS {quote(column)}"
            for column, value in zip(hive, values, strict=True)
        )
        exclude = [*map(quote, hive)]
        columns = ", ".join(quote(c) for c in relation.schema.names if quote(c) not in exclude)
        parts.append(f"SELECT {columns}, {constants} FROM {_scan(paths, {})}")
    return "(" + " UNION ALL ".join(parts) + ")"


def _scan(paths: Sequence[str], hive: dict[str, str]) -> str:
    files = ", ".join(literal(_glob_escape(path)) for path in paths)
    if not hive:
        return f"read_parquet([{files}], hive_partitioning = false)"
    types = ", ".join(f"{literal(column)}: {sql}" for column, sql in hive.items())
    return f"read_parquet([{files}], hive_partitioning = true, hive_types = {{{types}}})"


def _is_hive_path(path: str, columns: Sequence[str], partition: Any) -> bool:
    folders = path.split("/")[:-1]
    for column in columns:
        value = partition.get(column)
        # A value whose text form is not its path form (floats, timestamps, escapes) is given as a constant.
        if value is None or isinstance(value, float) or f"{column}={value}" not in folders:
            return False
    return True


def _constant(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
    return literal(str(value))


# --- pool ---


class _Pool:
    """Idle sessions, most recently used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._lost: list[Session] = []

    def take(self, directories: tuple[str, ...]) -> Session:
        with self._lock:
            for i in range(len(self._idle) - 1, -1, -1):
                if self._idle[i].directories == directories:
                    return self._idle.pop(i)
        return Session(directories)

    def give(self, used: Session) -> None:
        with self._lock:
            self._idle.append(used)
            surplus = self._idle.pop(0) if len(self._idle) > MAX_IDLE else None
        if surplus is not None:
            surplus.close()

    def clear(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def forget(self) -> None:
        """After a fork, in the child: the instances' threads are not there, so leave them be."""
        self._lock = threading.Lock()
        self._lost.extend(self._idle)
        self._idle = []


_pool = _Pool()
atexit.register(_pool.clear)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


@contextmanager
def session(
    directories: Sequence[str] = (), *, threads: int | None = None, memory: str | int | None = None
) -> Iterator[Session]:
    """Return a session that reads Parquet files below `directories`, and no other file."""
    one = _pool.take(tuple(sorted(directories)))
    try:
        one.begin(threads, memory)
        yield one
    except BaseException as e:
        if not isinstance(e, Exception):
            # Interrupted: something of the call may still be under way.
            one.close()
            raise
        one.end()
        _pool.give(one)
        raise
    one.end()
    _pool.give(one)
