"""What to count in a fact table, and what a scan did: the plain values around :mod:`segue.scan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CountPlan", "DimensionJoin", "GroupColumn", "ScanMetrics", "Unsupported"]


class Unsupported(Exception):  # noqa: N818 - it asks for another way, nothing went wrong
    """The native scan does not take this plan; run the whole query elsewhere."""


class FactFile(Protocol):
    """A Parquet file of a fact table (:class:`segue.relations.DataFile`)."""

    @property
    def path(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def partition(self) -> Mapping[str, object]: ...


class FactTable(Protocol):
    """A fact table (:class:`segue.relations.ParquetRelation`)."""

    @property
    def schema(self) -> pa.Schema: ...
    @property
    def partition_columns(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class DimensionJoin:
    """An inner join of the fact table with a table in memory, on the latter's unique key.

    Attributes
    ----------
    fact_column
        Column of the fact table; its NULLs match nothing.
    table
        The dimension.
    key
        Its key column: no value twice (rows with a NULL key match nothing).
    """

    fact_column: str
    table: pa.Table
    key: str


@dataclass(frozen=True)
class GroupColumn:
    """A column to group by.

    Attributes
    ----------
    column
        Column of the fact table, or attribute of the dimension of `join`.
    join
        Index into :attr:`CountPlan.joins`; None for a fact column.
    """

    column: str
    join: int | None = None


@dataclass(frozen=True)
class CountPlan:
    """What to count.

    Attributes
    ----------
    relation
        The fact table.
    files
        Its files to read, pruned already.
    joins
        Dimensions, all inner joins.
    group_by
        Columns to group by; none at all counts the rows.
    """

    relation: FactTable
    files: Sequence[FactFile]
    joins: Sequence[DimensionJoin] = ()
    group_by: Sequence[GroupColumn] = ()


@dataclass
class ScanMetrics:
    """What a scan did.

    Attributes
    ----------
    rows
        Fact rows looked at (before joins drop any).
    bytes_read
        Bytes of column chunks read, page headers included, footers not.
    files_read, row_groups_read
        How many had pages read.
    row_groups_pruned
        Row groups that were known to count nothing without reading them.
    columns
        Fact columns whose pages were read.
    seconds
        Wall time.
    isa
        Instruction set of the kernels.
    """

    rows: int = 0
    bytes_read: int = 0
    files_read: int = 0
    row_groups_read: int = 0
    row_groups_pruned: int = 0
    columns: list[str] = field(default_factory=list)
    seconds: float = 0.0
    isa: str = ""
