"""Which columns of a table a statement can read: never too few, perhaps too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

__all__ = ["used_columns"]


def used_columns(statement: str, parsed: exp.Expr | None, schema: pa.Schema) -> list[str]:
    """Return the columns of `schema` that `statement` names, in schema order; all where it may mean all.

    A column counts as named when its name is a word of the statement, whatever it stands for
    there. That is coarse and safe: the result is a superset of what the statement reads.
    """
    if parsed is None or _may_mean_all(parsed):
        return list(schema.names)
    words = _words(statement)
    if "#" in words:  # #1 is a column by its position
        return list(schema.names)
    return [name for name in schema.names if name.casefold() in words]


def _words(statement: str) -> set[str]:
    """Every name-like word of the statement, case-folded; quoted names whole."""
    import sqlglot

    return {token.text.casefold() for token in sqlglot.tokenize(statement, dialect="duckdb")}


def _may_mean_all(parsed: exp.Expr) -> bool:
    from sqlglot import exp

    if not isinstance(parsed, exp.Query):
        return True
    for star in parsed.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            return True
    if parsed.find(exp.Columns, exp.Pivot, exp.Command) or any(
        j.method == "NATURAL" for j in parsed.find_all(exp.Join)
    ):
        return True
    # A table's name, or its alias, used as a column is its whole row.
    tables = {table.alias_or_name.casefold() for table in parsed.find_all(exp.Table)}
    return any(not c.table and c.name.casefold() in tables for c in parsed.find_all(exp.Column))
