"""Run a recognised statement: prune files, count on the kernels, let DuckDB finish.

The three steps share one DuckDB session, hence one transaction and one NOW(). The finish is
bound before anything is counted, over an empty table of groups, and its names and types must
be those of the original statement: a rewrite that changed the statement's shape is found
here, and the statement is delegated instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from segue.delegate import Session, quote
from segue.errors import QueryError
from segue.relations import DataFile, ParquetRelation
from segue.result import JoinPlan
from segue.sql_plan import AGGREGATE, COUNT, FILES, CountQuery, DimensionUse, NotNative

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Prepared", "count", "finish", "merge_fresh", "prepare"]

FACT = "__segue_fact"


@dataclass
class Prepared:
    """A recognised statement with its files chosen and its dimensions filtered."""

    query: CountQuery
    files: list[DataFile]
    dimensions: list[pa.Table]
    """Key and needed attributes of each joined dimension, rows outside its predicate dropped."""
    finish_sql: str
    predicate: str | None
    names: list[str]
    types: list[str]

    @property
    def join_plans(self) -> tuple[JoinPlan, ...]:
        """The joins, for the plan."""
        return tuple(
            JoinPlan(use.relation.name, use.fact_column, use.key, table.num_rows, _sql_and(use.predicates))
            for use, table in zip(self.query.joins, self.dimensions, strict=True)
        )


def prepare(query: CountQuery, session: Session, names: list[str], types: list[str]) -> Prepared:
    """Check the finish against the statement's own `names` and `types`, then choose files."""
    finish_sql = _name_items(query, names)
    session.register(AGGREGATE, query.aggregate_schema().empty_table())
    try:
        # One more plain column makes DuckDB refuse any aggregate that was taken for an ordinary function.
        probe = query.finish.copy()
        probe.select(exp.column(COUNT, table=AGGREGATE, quoted=True), copy=False)
        bound = session.bind(probe.sql("duckdb"))
    except QueryError as e:
        raise NotNative(f"the rest of it does not run over groups ({str(e).splitlines()[0]})") from e
    if (bound[0][:-1], bound[1][:-1]) != (names, types):
        raise NotNative("the rest of it has other names or types over groups")
    try:
        files = _prune(query, session)
        dimensions = [_dimension(use, session) for use in query.joins]
    except QueryError as e:
        raise NotNative(f"its predicate fails on values that rows may not have ({e})") from e
    return Prepared(query, files, dimensions, finish_sql, _sql_and(query.partition_predicates), names, types)


def _name_items(query: CountQuery, names: Sequence[str]) -> str:
    """Give each item of the finish the name that the statement's result has."""
    items = query.finish.expressions
    if len(items) != len(names):
        raise NotNative("its select list expands to other columns")
    named = [exp.alias_(item.unalias(), name, quoted=True) for item, name in zip(items, names, strict=True)]
    query.finish.set("expressions", named)
    return str(query.finish.sql("duckdb"))


def _sql_and(predicates: Sequence[exp.Expr]) -> str | None:
    """Predicates as people wrote them: without the qualifiers that the rewrite put in."""
    shown = []
    for predicate in predicates:
        bare = predicate.copy()
        for column in bare.find_all(exp.Column):
            column.set("table", None)
            column.this.set("quoted", not column.name.isidentifier())
        shown.append(bare.sql("duckdb", comments=False))
    return " AND ".join(shown) or None


def _conjunction(predicates: Sequence[exp.Expr]) -> str:
    return " AND ".join(f"({p.sql('duckdb', comments=False)})" for p in predicates) or "TRUE"


def _prune(query: CountQuery, session: Session) -> list[DataFile]:
    """Return the files whose partition values make the predicate true, as SQL says it."""
    import pyarrow as pa

    files = list(query.fact.files)
    if not query.partition_predicates or not files:
        return files
    columns: dict[str, Any] = {"__segue_index": pa.array(range(len(files)), pa.int64())}
    for column in query.fact.partition_columns:
        values = [file.partition.get(column) for file in files]
        columns[column] = pa.array(values, _plain(query.fact.schema.field(column).type))
    session.register(FILES, pa.table(columns))
    kept, _ = session.query(
        f"SELECT __segue_index FROM {quote(FILES)} "
        f"WHERE {_conjunction(query.partition_predicates)} ORDER BY 1"
    )
    return [files[i] for i in kept.column(0).to_pylist()]


def _plain(data_type: pa.DataType) -> pa.DataType:
    import pyarrow.types as types

    return data_type.value_type if types.is_dictionary(data_type) else data_type


def _dimension(use: DimensionUse, session: Session) -> pa.Table:
    """Return the dimension's key and attributes; rows that cannot join are dropped."""
    import pyarrow.compute as pc

    table = use.relation.table
    wanted = list(dict.fromkeys([use.key, *use.attributes]))
    if use.predicates:
        session.register(use.alias, table)
        columns = ", ".join(quote(name) for name in wanted)
        where = f"{_conjunction(use.predicates)} AND {quote(use.key)} IS NOT NULL"
        rows, _ = session.query(f"SELECT {columns} FROM {quote(use.alias)} WHERE {where}")
        return rows
    table = table.select(wanted)
    if table.column(use.key).null_count:
        table = table.filter(pc.is_valid(table.column(use.key)))
    return table


def count(prepared: Prepared, threads: int | None) -> tuple[pa.Table, Any]:
    """Count on the kernels; `segue.scan.Unsupported` goes to the caller."""
    from segue import scan

    query = prepared.query
    joins = [
        scan.DimensionJoin(fact_column=use.fact_column, table=table, key=use.key)
        for use, table in zip(query.joins, prepared.dimensions, strict=True)
    ]
    groups = [scan.GroupColumn(column=key.column, join=key.join) for key in query.group_by]
    plan = scan.CountPlan(relation=query.fact, files=prepared.files, joins=joins, group_by=groups)
    table, metrics = scan.group_count(plan, threads=threads)
    return table, metrics


def merge_fresh(prepared: Prepared, groups: pa.Table, session: Session, rows: pa.Table) -> pa.Table:
    """Add to `groups` the counts of `rows`, which are of the fact's schema and in no file."""
    query = prepared.query
    alias = FILES  # the name by which the partition predicate knows the fact
    session.register(alias, rows)
    joins = []
    for i, (use, table) in enumerate(zip(query.joins, prepared.dimensions, strict=True)):
        session.register(f"__segue_dimension_{i}", table)
        joins.append(
            f"JOIN __segue_dimension_{i} AS d{i} "
            f"ON {quote(alias)}.{quote(use.fact_column)} = d{i}.{quote(use.key)}"
        )
    keys = [
        f"{quote(alias) if key.join is None else f'd{key.join}'}.{quote(key.column)} AS g{i}"
        for i, key in enumerate(query.group_by)
    ]
    names = [f"g{i}" for i in range(len(keys))]
    session.register("__segue_counted", groups)
    by = f" GROUP BY {', '.join(str(i + 1) for i in range(len(keys)))}" if keys else ""
    fresh = (
        f"SELECT {', '.join([*keys, f'COUNT(*) AS {quote(COUNT)}'])} FROM {quote(alias)} {' '.join(joins)} "
        f"WHERE {_conjunction(query.partition_predicates)}{by}"
    )
    columns = ", ".join([*names, quote(COUNT)])
    total = f"CAST(SUM({quote(COUNT)}) AS BIGINT) AS {quote(COUNT)}"
    merged, _ = session.query(
        f"SELECT {', '.join([*names, total])} "
        f"FROM (SELECT {columns} FROM __segue_counted UNION ALL ({fresh})){by}",
        interruptible=True,
    )
    return merged


def finish(prepared: Prepared, groups: pa.Table, session: Session) -> tuple[pa.Table, list[str]]:
    """Run the rest of the statement over the groups."""
    import pyarrow as pa

    if prepared.query.global_count:
        # SQL counts nothing as one row of 0, where a grouped count has no row at all.
        total = sum(value or 0 for value in groups.column(COUNT).to_pylist())
        groups = pa.table({COUNT: pa.array([total], pa.int64())})
    session.connection.unregister(AGGREGATE)
    session.register(AGGREGATE, groups)
    return session.query(prepared.finish_sql, interruptible=True)


def partitions(relation: ParquetRelation, files: Sequence[DataFile]) -> int:
    """Distinct partitions among `files`."""
    return len({tuple(file.partition.get(column) for column in relation.partition_columns) for file in files})
