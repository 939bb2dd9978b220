"""INSERT INTO an event table: DuckDB evaluates the rows, the event table takes them.

The statement runs as it was written against an empty table of the same columns, so that
column lists, BY NAME, casts and their errors are DuckDB's own. Where the rows come from a
SELECT, the target gets another name first: the SELECT may read the event table itself.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from segue.delegate import quote
from segue.errors import QueryError, SchemaError
from segue.relations import ArrowRelation, EventsRelation, ParquetRelation, Relation
from segue.result import Explain, Metrics, Result

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from segue.query import Call

__all__ = ["run_insert"]

TARGET = "__segue_insert"


def run_insert(call: Call) -> Result:
    """Run an INSERT statement; the rows are appended as one batch."""
    import pyarrow as pa

    insert = call.insert
    assert insert is not None
    call.parsed = call.parse()
    name, given, tree = _parts(call.parsed)
    relation = call.relation(name)
    if isinstance(relation, ParquetRelation):
        raise QueryError(
            f"{relation.name} is a warehouse table, which only its pipeline writes: "
            "append to the event table, then run the pipeline"
        )
    if isinstance(relation, ArrowRelation):
        raise QueryError(
            f"{relation.name} is a dimension, which is replaced as a whole: "
            f"db.put_dimension({relation.name!r}, table)"
        )
    schema = relation.schema
    _check_omitted(relation, given)
    call.relations = _sources(call, tree)
    with call.over_tables() as (duck, _):
        columns = ", ".join(
            f"{quote(column)} {sql}" for column, sql in zip(schema.names, duck.sql_types(schema), strict=True)
        )
        duck.execute(f"CREATE TEMP TABLE {TARGET} ({columns})")
        try:
            duck.execute(_rename_target(call.statement), interruptible=True)
        except QueryError as e:
            message = " ".join(str(e).replace(TARGET, relation.name).split())
            raise QueryError(message) from e.__cause__
        evaluated, _ = duck.query(f"SELECT * FROM {TARGET}")
    rows = _to_schema(relation.name, evaluated, schema)
    first = last = None
    if rows.num_rows:
        first, last = insert(relation.name, list(schema.names), rows)
    count = pa.table({"Count": pa.array([rows.num_rows], pa.int64())})
    plan = Explain(
        statement=call.statement,
        native=False,
        delegated="DuckDB evaluates the rows of an INSERT",
        tables=(relation.name,),
    )
    metrics = Metrics("duckdb", time.perf_counter() - call.started, 1, rows=rows.num_rows)
    return Result(count, replace(metrics, first_sequence=first, last_sequence=last), plan, ("BIGINT",))


def _parts(parsed: exp.Expr | None) -> tuple[str, list[str] | None, exp.Insert]:
    """Table name, column list (None for all, or BY NAME) and the statement as a tree."""
    from sqlglot import exp

    if not isinstance(parsed, exp.Insert):
        raise QueryError("write INSERT INTO table (columns) VALUES (...), or SELECT in place of VALUES")
    if parsed.args.get("conflict") or parsed.args.get("alternative"):
        raise QueryError("events never overwrite each other: leave out OR REPLACE, OR IGNORE and ON CONFLICT")
    if parsed.args.get("returning"):
        raise QueryError(
            "RETURNING is not run here: metrics.first_sequence and last_sequence say what was added"
        )
    target = parsed.this
    if isinstance(target, exp.Schema):
        return target.this.name, [column.name for column in target.expressions], parsed
    return target.name, None, parsed


def _sources(call: Call, parsed: exp.Insert) -> dict[str, Relation]:
    """Return the relations that the rows are selected from."""
    from sqlglot import exp

    target = parsed.this.this if isinstance(parsed.this, exp.Schema) else parsed.this
    defined = {cte.alias.casefold() for cte in parsed.find_all(exp.CTE)}
    tables = {
        t.name for t in parsed.find_all(exp.Table) if t is not target and isinstance(t.this, exp.Identifier)
    }
    return {name.casefold(): call.relation(name) for name in tables if name.casefold() not in defined}


def _check_omitted(relation: EventsRelation, given: list[str] | None) -> None:
    """Refuse a column list without a column that must have a value."""
    if given is None:
        return
    named = {column.casefold() for column in given}
    for field in relation.schema:
        if field.name.casefold() not in named and not field.nullable:
            raise SchemaError(
                f"{relation.name}.{field.name} takes no NULL: give it a value in the INSERT", field.name
            )


def _rename_target(statement: str) -> str:
    """Return the statement with the table after INSERT INTO called `TARGET`, all else as written."""
    import sqlglot

    tokens = sqlglot.tokenize(statement, dialect="duckdb")
    into = next(i for i, token in enumerate(tokens) if token.text.upper() == "INTO")
    last = into + 1
    while last + 2 < len(tokens) and tokens[last + 1].text == ".":
        last += 2
    return statement[: tokens[into + 1].start] + TARGET + statement[tokens[last].end + 1 :]


def _to_schema(table: str, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """`rows` in the event table's own Arrow types."""
    import pyarrow as pa

    columns = []
    for field, column in zip(schema, rows.columns, strict=True):
        if column.null_count and not field.nullable:
            raise SchemaError(f"{table}.{field.name} takes no NULL", field.name)
        try:
            columns.append(_cast(column, field.type))
        except pa.ArrowException as e:
            raise SchemaError(f"{table}.{field.name} is {field.type}: {e}", field.name) from e
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    import pyarrow.types as types

    if types.is_dictionary(data_type):
        return column.cast(data_type.value_type).dictionary_encode().cast(data_type)
    return column.cast(data_type)
