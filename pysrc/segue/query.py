"""SQL over pinned relations: kernels count, DuckDB finishes, or runs the whole statement.

:func:`run` is what ``Database.sql`` calls; :func:`sql` is the same without a database. The way
of a statement:

1. DuckDB's parser says what kind it is; only SELECT-like statements and INSERT go on.
2. Its tables are resolved to relations, each pinned at one snapshot.
3. :mod:`segue.sql_plan` recognises a grouped count over a fact table, and
   :mod:`segue.grouped_count` runs it (*native*); or it says why not, and
4. DuckDB runs the statement as it was written over the same relations (*delegated*).
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from segue.delegate import EventsStream, Session, session, wrap_errors
from segue.errors import QueryError
from segue.relations import ArrowRelation, EventsRelation, ParquetRelation, Relation
from segue.result import Explain, Metrics, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from sqlglot import exp

    from segue.grouped_count import Prepared

__all__ = ["explain", "run", "sql"]

Resolve = Callable[[str], Relation | None]
Insert = Callable[[str, list[str], "pa.Table"], tuple[int, int]]

_TEACH = {
    "INSERT": "INSERT appends to an event table of a database: use segue.open(path).sql(...)",
    "UPDATE": "events are never overwritten: append the corrected event, or put_dimension the new table",
    "DELETE": "events are never deleted one by one: use expire(before=...) on the event table",
    "MERGE_INTO": "events are never overwritten: append the corrected event, or put_dimension the new table",
    "COPY": "to write a result, use sql('SELECT ...').to_arrow() and pyarrow.parquet.write_table; "
    "to read files, use append_batch or 'segue ingest'",
    "COPY_DATABASE": "copy the directory of the closed database",
    "EXPORT": "write each result with sql('SELECT ...').to_arrow()",
    "CREATE": "use create_events for an event table, put_dimension for a dimension, pipeline(...).write(...) "
    "for a warehouse table",
    "CREATE_FUNC": "functions of one's own are not kept; write the expression out",
    "DROP": "use db.drop(name)",
    "ALTER": "schemas are fixed when a table is made: create_events a new table and append to it",
    "ATTACH": "other files are read by segue.sql(statement, tables={name: path})",
    "DETACH": "there is nothing to detach: each statement sees the tables of its database",
    "PRAGMA": "settings are arguments of sql(): threads=, memory=",
    "SET": "settings are arguments of sql(): threads=, memory=",
    "VARIABLE_SET": "settings are arguments of sql(): threads=, memory=",
    "EXPLAIN": "use explain(statement), which also shows what Segue's kernels run",
    "TRANSACTION": "each statement sees one snapshot of every table, so there is no transaction to open",
    "LOAD": "extensions are not loaded: DuckDB runs with what it is built with",
    "VACUUM": "use compact() on the event table",
    "CALL": "use SELECT * FROM function(...)",
}


def run(
    statement: str,
    resolve: Resolve,
    *,
    names: Callable[[], list[str]],
    fresh: bool = False,
    strict: bool = False,
    threads: int | None = None,
    memory: str | int | None = None,
    insert: Insert | None = None,
) -> Result:
    """Run one SQL statement.

    Parameters
    ----------
    statement
        A SELECT in DuckDB's SQL, or an INSERT INTO an event table; a trailing semicolon is fine.
    resolve
        Gives the relation of a table name, or None.
    names
        Gives all table names, for messages.
    fresh
        Add the rows that the fact tables' files do not hold yet.
    strict
        Raise :class:`QueryError` where the statement would be delegated to DuckDB.
    threads
        Threads to use; None for all cores.
    memory
        Bound on DuckDB's memory, such as ``"1GiB"``; None for DuckDB's own.
    insert
        Appends rows to an event table and gives the first and last sequence number; None
        where nothing can be inserted.
    """
    return Call(statement, resolve, names, fresh, strict, threads, memory, insert).run()


def explain(
    statement: str,
    resolve: Resolve,
    *,
    names: Callable[[], list[str]],
    fresh: bool = False,
    strict: bool = False,
    threads: int | None = None,
    memory: str | int | None = None,
) -> Explain:
    """Say how :func:`run` would run `statement`, without running it."""
    return Call(statement, resolve, names, fresh, strict, threads, memory, None).explain()


def sql(
    statement: str,
    tables: Mapping[str, object] | None = None,
    *,
    strict: bool = False,
    threads: int | None = None,
    memory: str | int | None = None,
) -> Result:
    """Run SQL over Parquet files and Arrow data, with no database.

    Parameters
    ----------
    statement
        A SELECT in DuckDB's SQL.
    tables
        Each name's data: a path, a directory, a glob or a list of these for Parquet (Hive
        partitions in the path become columns, ``date=2024-01-01`` of type DATE), or anything
        with the Arrow C stream interface.
    strict, threads, memory
        As for ``Database.sql``.

    Examples
    --------
    >>> import pyarrow as pa, segue
    >>> plays = pa.table({"artist_id": [1, 1, 2]})
    >>> artists = pa.table({"artist_id": [1, 2], "artist": ["ABBA", "Robyn"]})
    >>> segue.sql(
    ...     "SELECT artist, COUNT(*) AS n FROM plays JOIN artists USING (artist_id) GROUP BY ALL ORDER BY n",
    ...     tables={"plays": plays, "artists": artists},
    ... ).fetchall()
    [('Robyn', 1), ('ABBA', 2)]
    """
    from segue.sources import Sources

    sources = Sources(tables or {})
    return run(statement, sources.resolve, names=sources.names, strict=strict, threads=threads, memory=memory)


@dataclass
class _Native:
    """A statement that the kernels will count, ready to go."""

    prepared: Prepared
    plan: Explain


class Call:
    """One statement on its way."""

    def __init__(
        self,
        statement: str,
        resolve: Resolve,
        names: Callable[[], list[str]],
        fresh: bool,
        strict: bool,
        threads: int | None,
        memory: str | int | None,
        insert: Insert | None,
    ) -> None:
        if not isinstance(statement, str):
            raise QueryError(f"a statement is a string, not {type(statement).__name__}")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise QueryError(f"threads={threads!r} is no number of threads; give 1 or more")
        self.statement = statement
        self.fresh = fresh
        self.strict = strict
        self.threads = threads
        self.memory = memory
        self.insert = insert
        self._resolve = resolve
        self._names = names
        self.started = time.perf_counter()
        self.relations: dict[str, Relation] = {}
        self.parsed: exp.Expr | None = None

    # -- the two entry points

    def run(self) -> Result:
        with session(threads=self.threads, memory=self.memory) as own:
            kind = self._kind(own)
            if kind == "INSERT" and self.insert is not None:
                from segue.insert import run_insert

                return run_insert(self)
            self._accept(kind)
            if self._is_show_tables():
                return self._show_tables()
            self.parsed = self.parse()
            self._find_relations(own)
            native = self._try_native(own)
            if isinstance(native, _Native):
                result = self._count(native, own)
                if isinstance(result, Result):
                    return result
                native = result
        if self.strict:
            raise QueryError(f"strict=True, and the statement would be delegated to DuckDB: {native}")
        return self._delegate(native)

    def explain(self) -> Explain:
        with session(threads=self.threads, memory=self.memory) as own:
            kind = self._kind(own)
            if kind == "INSERT":
                raise QueryError("an INSERT has no plan: sql() runs it; explain() takes the SELECT in it")
            self._accept(kind)
            self.parsed = self.parse()
            self._find_relations(own)
            native = self._try_native(own)
            if isinstance(native, _Native):
                return native.plan
        with self.over_tables() as (duck, _):
            plan, _ = duck.query(f"EXPLAIN {self.statement}")
            text = "\n".join(plan.column(plan.num_columns - 1).to_pylist())
        return replace(self._delegated_plan(native), duckdb_plan=text)

    # -- what kind of statement, over which tables

    def _kind(self, own: Session) -> str:
        with wrap_errors(self.statement):
            statements = own.connection.extract_statements(self.statement)
        if not statements:
            raise QueryError("the statement is empty")
        if len(statements) > 1:
            raise QueryError(f"one statement at a time, not {len(statements)}: call sql() for each")
        return str(statements[0].type).rsplit(".", 1)[-1].upper()

    def _accept(self, kind: str) -> None:
        if kind == "SELECT":
            return
        if kind == "MULTI":
            raise QueryError(
                "a PIVOT that takes its columns from the data needs two passes: name them with IN (...), "
                "as in PIVOT t ON country IN ('SE', 'NO') USING COUNT(*)"
            )
        verb = kind.replace("_", " ")
        teach = _TEACH.get(kind, "only SELECT, and INSERT INTO an event table, are run here")
        raise QueryError(f"{verb} is not run here; {teach}")

    def _is_show_tables(self) -> bool:
        return self.statement.strip().rstrip(";").upper().split() == ["SHOW", "TABLES"]

    def _show_tables(self) -> Result:
        import pyarrow as pa

        table = pa.table({"name": pa.array(sorted(self._names()), pa.string())})
        return self._result(table, ["VARCHAR"], self._delegated_plan("it lists the tables"))

    def _find_relations(self, own: Session) -> None:
        tables, defined = own.tables(self.statement)
        for schema, name in tables:
            if schema.casefold() in ("information_schema", "pg_catalog"):
                continue
            if schema.casefold() not in ("", "main"):
                raise QueryError(f"table {schema}.{name}: tables have no schema name here; write {name}")
            if schema or name.casefold() not in defined or self._lookup(name) is not None:
                self.relations[name.casefold()] = self.relation(name)

    def relation(self, name: str) -> Relation:
        """Return the relation of a table name, which SQL spells in any case."""
        found = self._lookup(name)
        if found is not None:
            return found
        known = self._names()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        listed = ", ".join(sorted(known)) or "none yet"
        raise QueryError(f"there is no table {name}{hint} (tables: {listed})")

    def _lookup(self, name: str) -> Relation | None:
        found = self._resolve(name)
        if found is None:
            for other in self._names():
                if found is None and other.casefold() == name.casefold():
                    found = self._resolve(other)
        return found

    def parse(self) -> exp.Expr | None:
        """Return the statement as sqlglot sees it, or None where it does not know the syntax."""
        import sqlglot
        from sqlglot.errors import SqlglotError

        try:
            parsed = [tree for tree in sqlglot.parse(self.statement, dialect="duckdb") if tree is not None]
        except (SqlglotError, RecursionError):
            return None
        return parsed[0] if len(parsed) == 1 else None

    # -- native

    def _try_native(self, own: Session) -> _Native | str:
        """Return the statement made ready for the kernels, or why it is not theirs."""
        from segue import grouped_count, sql_plan

        if self.parsed is None:
            return "its syntax is DuckDB's own"
        try:
            query = sql_plan.recognise(self.parsed, self.relations)
            for name, relation in self.relations.items():
                own.register_empty(name, relation.schema)
            columns, types = own.bind(self.statement)
            prepared = grouped_count.prepare(query, own, columns, types)
        except sql_plan.NotNative as e:
            return str(e)
        fact = query.fact
        read = [column for column in query.columns if column not in fact.partition_columns]
        plan = Explain(
            statement=self.statement,
            native=True,
            fact=fact.name,
            version=fact.version,
            columns=tuple(query.columns),
            columns_read=tuple(read),
            columns_total=len(fact.schema),
            files=len(fact.files),
            files_pruned=len(fact.files) - len(prepared.files),
            partitions=grouped_count.partitions(fact, fact.files),
            partitions_pruned=grouped_count.partitions(fact, fact.files)
            - grouped_count.partitions(fact, prepared.files),
            predicate=prepared.predicate,
            joins=prepared.join_plans,
            group_by=tuple(query.group_names),
            aggregates=("COUNT(*)",),
            finish=prepared.finish_sql,
            fresh=self.fresh and fact.fresh is not None,
            tables=self._table_names(),
        )
        return _Native(prepared, plan)

    def _count(self, native: _Native, own: Session) -> Result | str:
        """Count on the kernels and finish; or why the kernels refused, before they counted anything."""
        from segue import grouped_count, scan

        prepared, fact = native.prepared, native.prepared.query.fact
        try:
            groups, scanned = grouped_count.count(prepared, self.threads)
        except scan.Unsupported as e:
            return str(e)
        fresh_rows = None
        if self.fresh and fact.fresh is not None:
            rows = fact.fresh()
            fresh_rows = rows.num_rows
            if fresh_rows:
                groups = grouped_count.merge_fresh(prepared, groups, own, rows)
        table, types = grouped_count.finish(prepared, groups, own)
        return self._result(
            table,
            types,
            native.plan,
            engine="native",
            rows=scanned.rows,
            bytes_read=scanned.bytes_read,
            files_read=scanned.files_read,
            files_pruned=native.plan.files_pruned,
            row_groups_read=scanned.row_groups_read,
            row_groups_pruned=scanned.row_groups_pruned,
            columns=native.plan.columns,
            columns_read=tuple(scanned.columns),
            columns_total=native.plan.columns_total,
            fresh_rows=fresh_rows,
            isa=scanned.isa,
        )

    # -- delegated

    def _delegated_plan(self, reason: str) -> Explain:
        plan = Explain(
            statement=self.statement,
            native=False,
            delegated=reason,
            fresh=self.fresh,
            tables=self._table_names(),
        )
        facts = [r for r in self.relations.values() if isinstance(r, ParquetRelation)]
        if len(facts) != 1:
            return plan
        columns = tuple(self._used(facts[0].schema))
        return replace(
            plan,
            fact=facts[0].name,
            version=facts[0].version,
            columns=columns,
            columns_total=len(facts[0].schema),
            files=len(facts[0].files),
        )

    def _table_names(self) -> tuple[str, ...]:
        return tuple(relation.name for relation in self.relations.values())

    def _used(self, schema: pa.Schema) -> list[str]:
        from segue.projection import used_columns

        return used_columns(self.statement, self.parsed, schema)

    @contextmanager
    def over_tables(self) -> Iterator[tuple[Session, int]]:
        """Open a session in which the statement's tables hold their rows, and how many of them are fresh."""
        roots: set[str] = set()
        for relation in self.relations.values():
            if isinstance(relation, ParquetRelation):
                roots.update(_roots(relation))
        with session(tuple(roots), threads=self.threads, memory=self.memory) as duck:
            yield duck, sum(self._register(duck, name, relation) for name, relation in self.relations.items())

    def _register(self, duck: Session, name: str, relation: Relation) -> int:
        if isinstance(relation, ParquetRelation):
            fresh = relation.fresh() if self.fresh and relation.fresh is not None else None
            duck.register_files(name, relation, fresh)
            return 0 if fresh is None else int(fresh.num_rows)
        if isinstance(relation, ArrowRelation):
            duck.register(name, relation.table)
        else:
            import pyarrow as pa

            columns = self._used(relation.schema) or [_narrowest(relation.schema)]
            schema = pa.schema([relation.schema.field(column) for column in columns])
            duck.register(name, EventsStream(schema, partial(relation.reader, columns)))
        return 0

    def _delegate(self, reason: str) -> Result:
        with self.over_tables() as (duck, fresh_rows):
            try:
                table, types = duck.query(self.statement, interruptible=True)
            except QueryError:
                self._bind_over_nothing()
                raise
        plan = self._delegated_plan(reason)
        return self._result(
            table,
            types,
            plan,
            columns=plan.columns,
            columns_total=plan.columns_total,
            fresh_rows=fresh_rows if self.fresh else None,
        )

    def _bind_over_nothing(self) -> None:
        """Raise the binder's error as it is when every column is there, whose hints name them all."""
        if not any(isinstance(relation, EventsRelation) for relation in self.relations.values()):
            return
        with session() as empty:
            for name, relation in self.relations.items():
                empty.register_empty(name, relation.schema)
            empty.bind(self.statement)

    def _result(
        self,
        table: pa.Table,
        types: Sequence[str],
        plan: Explain,
        *,
        engine: Literal["native", "duckdb"] = "duckdb",
        **figures: Any,
    ) -> Result:
        metrics = Metrics(engine, time.perf_counter() - self.started, table.num_rows, **figures)
        return Result(table, metrics, plan, tuple(types))


def _roots(relation: ParquetRelation) -> list[str]:
    """Directories that hold the files and little else; what a session may read."""
    folders = sorted({os.path.dirname(file.path) for file in relation.files})
    if not folders:
        return []
    common = os.path.commonpath(folders)
    return folders if os.path.dirname(common) == common else [common]


def _narrowest(schema: pa.Schema) -> str:
    """Return the cheapest column to read where only the rows count."""

    def width(field: pa.Field) -> int:
        try:
            return int(field.type.bit_width)
        except ValueError:
            return 1 << 30  # variable width

    return str(min(schema, key=width).name)
