"""What SQL reads: tables pinned at one snapshot, in the three forms that Segue keeps them.

A database (or :func:`segue.sql`) resolves each table name of a statement to one of these;
the query layer sees nothing else of it. All of them are immutable: a relation describes one
snapshot, and a later write makes another relation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrowRelation", "DataFile", "EventsRelation", "ParquetRelation", "Relation"]


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a fact table.

    Attributes
    ----------
    path
        Absolute path of the file.
    rows
        Rows in the file.
    size
        Bytes of the file.
    partition
        Value of each Hive partition column, typed as the relation's schema says
        (``{"date": datetime.date(2024, 1, 1)}``); None where the path says NULL.
        These columns are not in the file itself.
    """

    path: str
    rows: int
    size: int
    partition: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ParquetRelation:
    """A fact table at one snapshot: Parquet files, perhaps in Hive partitions.

    Attributes
    ----------
    name
        Table name, for messages and plans.
    schema
        All columns in order, partition columns included.
    files
        The files of the snapshot; may be empty.
    partition_columns
        The columns that stand in the path and not in the files.
    version
        Version of the snapshot where there is one (a Delta table's).
    fresh
        Gives the rows that the files do not hold yet, in `schema`; what ``fresh=True``
        adds. None where there is no event table behind.
    """

    name: str
    schema: pa.Schema
    files: tuple[DataFile, ...]
    partition_columns: tuple[str, ...] = ()
    version: int | None = None
    fresh: Callable[[], pa.Table] | None = None


@dataclass(frozen=True)
class ArrowRelation:
    """A table in memory: a dimension, or any Arrow table.

    Attributes
    ----------
    name
        Table name, for messages and plans.
    table
        The rows.
    key
        The column known to be unique and without nulls, or None where no one has promised it.
    """

    name: str
    table: pa.Table
    key: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """Columns of the table."""
        return self.table.schema


@dataclass(frozen=True)
class EventsRelation:
    """An event table at one snapshot.

    Attributes
    ----------
    name
        Table name, for messages and plans.
    schema
        All columns in order.
    reader
        Reads the snapshot: given column names (None for all), a reader of these columns.
    """

    name: str
    schema: pa.Schema
    reader: Callable[[list[str] | None], pa.RecordBatchReader]


Relation: TypeAlias = ParquetRelation | ArrowRelation | EventsRelation
