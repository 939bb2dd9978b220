"""What a statement gives back: its rows, what they cost, and how they were found."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["Explain", "JoinPlan", "Metrics", "Result"]

REPR_ROWS = 10
REPR_CELL = 40


@dataclass(frozen=True)
class Metrics:
    """What a statement read and how long it took.

    Counts are None where the engine that ran the statement does not report them: a
    delegated statement knows its rows and its time, and no more.
    """

    engine: Literal["native", "duckdb"]
    """``"native"`` (Segue's kernels aggregate) or ``"duckdb"`` (delegated whole)."""
    seconds: float
    """Wall time of the call, planning included."""
    result_rows: int
    """Rows of the result; for an INSERT, one row that says how many were added."""
    rows: int | None = None
    """Fact rows that were counted; for an INSERT, the rows added."""
    bytes_read: int | None = None
    """Bytes of Parquet pages and footers read."""
    files_read: int | None = None
    files_pruned: int | None = None
    row_groups_read: int | None = None
    row_groups_pruned: int | None = None
    columns: tuple[str, ...] = ()
    """Columns of the fact table that the statement uses."""
    columns_read: tuple[str, ...] | None = None
    """Those of them whose pages were read; a Hive partition column costs no page."""
    columns_total: int | None = None
    """Columns that the fact table has."""
    isa: str | None = None
    """Instruction set of the kernels that ran."""
    fresh_rows: int | None = None
    """Rows that ``fresh=True`` added to those of the files."""
    first_sequence: int | None = None
    """INSERT: sequence number of the first event added."""
    last_sequence: int | None = None
    """INSERT: sequence number of the last event added."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class JoinPlan:
    """One dimension joined to the fact table by its key."""

    dimension: str
    fact_column: str
    key: str
    rows: int
    filter: str | None = None
    """Predicate on the dimension alone, applied to it before the join."""


@dataclass(frozen=True)
class Explain:
    """How a statement is run: what the kernels do, what DuckDB does, what is never read.

    ``str()`` gives the readable form; the fields are for machines.
    """

    statement: str
    native: bool
    """True when Segue's kernels filter, join, group and count."""
    delegated: str | None = None
    """Why the whole statement goes to DuckDB; None when it is native."""
    fact: str | None = None
    version: int | None = None
    """Snapshot version of the fact table."""
    columns: tuple[str, ...] = ()
    """Columns of the fact table that the statement uses."""
    columns_read: tuple[str, ...] | None = None
    """Those of them whose pages have to be read."""
    columns_total: int | None = None
    files: int | None = None
    """Files of the fact table at this snapshot."""
    files_pruned: int | None = None
    """Files outside the predicate: never opened."""
    partitions: int | None = None
    partitions_pruned: int | None = None
    predicate: str | None = None
    """Predicate over partition columns, decided by the file list alone."""
    joins: tuple[JoinPlan, ...] = ()
    group_by: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    finish: str | None = None
    """What DuckDB runs over the aggregate."""
    fresh: bool = False
    """True when events that no pipeline run has taken yet are added."""
    tables: tuple[str, ...] = field(default_factory=tuple)
    """Every table of the statement."""
    duckdb_plan: str | None = None
    """DuckDB's own plan of a delegated statement; only from ``explain``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if not self.native:
            lines = [f"DuckDB runs the whole statement: {self.delegated}"]
            if self.tables:
                lines.append(f"  tables   {', '.join(self.tables)}")
            if self.duckdb_plan:
                lines.append(self.duckdb_plan.rstrip())
            return "\n".join(lines)
        version = "" if self.version is None else f" at version {self.version}"
        lines = [f"Segue's kernels aggregate {self.fact}{version}:"]
        if self.files is not None:
            kept = self.files - (self.files_pruned or 0)
            lines.append(
                f"  files    {kept} of {self.files}" + (f" where {self.predicate}" if self.predicate else "")
            )
        read = ", ".join(self.columns_read or ()) or "none"
        lines.append(f"  columns  {len(self.columns)} of {self.columns_total} used, pages read of: {read}")
        for join in self.joins:
            where = f", only where {join.filter}" if join.filter else ""
            lines.append(
                f"  join     {join.dimension} on {join.fact_column} = {join.key} ({_rows(join.rows)}{where})"
            )
        lines.append(
            f"  group    {', '.join(self.group_by) or 'all rows into one'}: {', '.join(self.aggregates)}"
        )
        if self.fresh:
            lines.append("  fresh    events above the watermark, counted by DuckDB and added")
        lines.append(f"DuckDB finishes: {self.finish}")
        return "\n".join(lines)


class Result:
    """Rows of a statement as an Arrow table, with `metrics` and `plan`.

    Anything that takes the Arrow C stream interface takes a result: ``pl.DataFrame(result)``,
    ``pa.table(result)``, ``duckdb.from_arrow(result)``.

    Examples
    --------
    >>> import pyarrow as pa, segue
    >>> t = pa.table({"country": ["SE", "SE", "NO"]})
    >>> statement = "SELECT country, COUNT(*) AS n FROM t GROUP BY country ORDER BY n DESC"
    >>> result = segue.sql(statement, tables={"t": t})
    >>> result.fetchall()
    [('SE', 2), ('NO', 1)]
    >>> result.metrics.result_rows
    2
    """

    def __init__(self, table: pa.Table, metrics: Metrics, plan: Explain, types: tuple[str, ...] = ()) -> None:
        self._table = table
        self._types = types
        self.metrics = metrics
        """What was read, and how long it took."""
        self.plan = plan
        """How it was run: see :class:`Explain`."""

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return list(self._table.column_names)

    @property
    def types(self) -> tuple[str, ...]:
        """SQL type of each column, as DuckDB names it."""
        return self._types

    def to_arrow(self) -> pa.Table:
        """Return the rows as a :class:`pyarrow.Table`."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame (needs pandas)."""
        return self._table.to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a Polars data frame (needs polars)."""
        import polars as pl

        frame = pl.from_arrow(self._table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows as a list of tuples of Python values."""
        if self._table.num_columns == 0:
            return []
        columns = [self._python_values(i) for i in range(self._table.num_columns)]
        return list(zip(*columns, strict=True))

    def _python_values(self, index: int) -> list[Any]:
        values = self._table.column(index).to_pylist()
        # Arrow has no 128-bit integer: DuckDB hands HUGEINT over as a decimal without fraction.
        if index < len(self._types) and self._types[index] in ("HUGEINT", "UHUGEINT"):
            return [None if value is None else int(value) for value in values]
        return values

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __arrow_c_schema__(self) -> object:
        return self._table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def _head(self) -> tuple[list[str], list[list[str]], int]:
        shown = self._table.slice(0, REPR_ROWS)
        cells = [[_cell(value) for value in column.to_pylist()] for column in shown.columns]
        return self.columns, [list(row) for row in zip(*cells, strict=True)], len(self) - len(shown)

    def _summary(self) -> str:
        return f"{_rows(len(self))}, {self.metrics.engine}, {self.metrics.seconds * 1e3:.1f} ms"

    def __repr__(self) -> str:
        names, rows, more = self._head()
        numeric = [_is_numeric(field.type) for field in self._table.schema]
        widths = [max([len(name), *(len(row[i]) for row in rows)]) for i, name in enumerate(names)]

        def line(cells: list[str]) -> str:
            pairs = zip(cells, widths, numeric, strict=True)
            return "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in pairs).rstrip()

        lines = [line(names), "  ".join("-" * width for width in widths), *map(line, rows)]
        if more:
            lines.append(f"... {more:,} more")
        lines.append(f"({self._summary()})")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names, rows, more = self._head()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        tail = f"{more:,} more; " if more else ""
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{html.escape(tail + self._summary())}</p>"
        )


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def _cell(value: object) -> str:
    text = "NULL" if value is None else str(value).replace("\n", "\\n")
    return text if len(text) <= REPR_CELL else text[: REPR_CELL - 3] + "..."


def _is_numeric(data_type: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(data_type) or types.is_floating(data_type) or types.is_decimal(data_type))
