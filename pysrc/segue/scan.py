"""Counting rows of a fact table by group, natively on Parquet pages.

:func:`group_count` answers *join dimensions on their key, group, count* over Parquet files.
It reads only the column chunks of the fact columns used, straight from the mapped file; the
native core decodes their pages, maps dictionary codes to group ids (the join and the
dimension's attributes are folded into that one map) and counts into arrays. What it cannot
do raises :class:`Unsupported`, and the query is then for another engine as a whole.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from . import _engine
from ._group_values import (
    GroupValues,
    Incompatible,
    decode_bytes,
    decode_numbers,
    dense_codes,
    join_keys,
    plain_type,
)
from ._parquet_files import (
    BYTE_ARRAY,
    FIXED_BYTES,
    ColumnInfo,
    ColumnMissing,
    Footer,
    UnsupportedColumn,
    read_footer,
)
from .errors import InvalidError, SchemaError, UnsupportedError
from .scan_plan import CountPlan, DimensionJoin, GroupColumn, ScanMetrics, Unsupported
from .scan_tasks import RowGroupTask, count_tasks, row_group_task, run_threads

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["CountPlan", "DimensionJoin", "GroupColumn", "ScanMetrics", "Unsupported", "group_count"]

_DROPPED: Final = 0xFFFFFFFF
"""scan::kDropped: the id of rows that a join drops."""

_DENSE_BYTES: Final = 256 << 20
_MEMORY_BYTES: Final = 1 << 30
_INLINE_ROWS: Final = 1 << 16
"""A scan of fewer rows is not worth a thread."""


def group_count(
    plan: CountPlan,
    *,
    threads: int | None = None,
    encoded: bool = False,
    memory_bytes: int = _MEMORY_BYTES,
) -> tuple[pa.Table, ScanMetrics]:
    """Count the rows of each group.

    Parameters
    ----------
    plan
        The files, joins and group columns.
    threads
        Threads to use; by default as many as there are processors for this process.
    encoded
        Return every group column dictionary-encoded: much cheaper with many groups, equal
        in value.
    memory_bytes
        Bound for counters and dictionaries; a count that needs more is `Unsupported`.

    Returns
    -------
    table
        Columns ``g0``, ``g1``, ... of the group columns' types, and ``count`` (int64). Only
        groups that have rows; without any group column the one row of ``count(*)``.
    metrics
        What was read.

    Raises
    ------
    Unsupported
        The plan needs something that is not done natively. Nothing was answered.
    CorruptionError
        A file is damaged.

    Examples
    --------
    >>> import os, tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq
    >>> from segue.relations import DataFile, ParquetRelation
    >>> fact = pa.table({"country": ["AT", "DE", "AT"], "song": [7, 7, 8]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "fact.parquet")
    ...     pq.write_table(fact, path)
    ...     files = (DataFile(path, rows=3, size=os.path.getsize(path)),)
    ...     plan = CountPlan(ParquetRelation("fact", fact.schema, files), files, (), [GroupColumn("country")])
    ...     table, metrics = group_count(plan)
    >>> sorted(zip(table["g0"].to_pylist(), table["count"].to_pylist()))
    [('AT', 2), ('DE', 1)]
    >>> metrics.columns
    ['country']
    """
    started = time.perf_counter()
    if threads is not None and threads < 1:
        raise InvalidError(f"threads={threads} is not a number of threads; use 1 or more")
    try:
        scan = _Scan(plan, threads or len(_processors()), memory_bytes)
        scan.run()
        table = scan.table(encoded)
    except (Incompatible, UnsupportedColumn, UnsupportedError) as reason:
        raise Unsupported(str(reason)) from reason
    scan.metrics.seconds = time.perf_counter() - started
    return table, scan.metrics


def _processors() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


@dataclass
class _Column:
    """One fact column of the scan: what groups and joins make of it."""

    name: str
    type: pa.DataType
    outputs: list[int] = field(default_factory=list)
    """Positions in group_by that this column decides."""
    joins: list[int] = field(default_factory=list)
    values: dict[int, GroupValues] = field(default_factory=dict)
    """By output; filled when the ids' meaning is known."""
    info: ColumnInfo | None = None
    """From the first file that has the column; None for partition columns too."""


@dataclass(frozen=True)
class _Folded:
    """A joined column before the scan: which group each key stands for."""

    keys: Any  # JoinKeys
    fold: np.ndarray[Any, Any]
    groups: int


class _Scan:
    """One run of :func:`group_count`."""

    def __init__(self, plan: CountPlan, threads: int, memory_bytes: int) -> None:
        self.plan = plan
        self.threads = threads
        self.memory_bytes = memory_bytes
        self.metrics = ScanMetrics()
        self.columns = self._fact_columns()
        self.footers: dict[str, Footer] = {}
        self.ids: list[Any] = []
        self.counts: Any = None

    # -- what to do

    def _fact_columns(self) -> list[_Column]:
        columns: dict[str, _Column] = {}
        schema = self.plan.relation.schema

        def column(name: str) -> _Column:
            if name not in columns:
                if len(schema.get_all_field_indices(name)) != 1:
                    raise SchemaError(f"the fact table has no column '{name}'", name)
                columns[name] = _Column(name, schema.field(name).type)
            return columns[name]

        for position, join in enumerate(self.plan.joins):
            if len(join.table.schema.get_all_field_indices(join.key)) != 1:
                raise SchemaError(f"a dimension has no column '{join.key}'", join.key)
            column(join.fact_column).joins.append(position)
        for position, group in enumerate(self.plan.group_by):
            if group.join is None:
                column(group.column).outputs.append(position)
                continue
            join = self.plan.joins[group.join]
            if len(join.table.schema.get_all_field_indices(group.column)) != 1:
                raise SchemaError(f"a dimension has no column '{group.column}'", group.column)
            column(join.fact_column).outputs.append(position)
        return list(columns.values())

    def _is_partition(self, column: _Column) -> bool:
        return column.name in self.plan.relation.partition_columns

    # -- running

    def run(self) -> None:
        """Count."""
        read = [column for column in self.columns if not self._is_partition(column)]
        if not read:
            self._count_from_listing()
            return
        for file in self.plan.files:
            if file.path not in self.footers:
                self.footers[file.path] = read_footer(file.path)
        for column in read:
            self._inspect(column)
        self.metrics.columns = [column.name for column in read]
        expected = sum(sum(self.footers[file.path].row_groups) for file in self.plan.files)
        kinds = [self._kind(column) for column in self.columns]
        constants: list[list[int] | None] = []
        native = _engine.GroupScan(
            kinds,
            expected,
            self.threads,
            min(_DENSE_BYTES, self.memory_bytes // 2),
            self.memory_bytes,
        )
        self.metrics.isa = native.isa
        for c, column in enumerate(self.columns):
            constants.append(self._prepare(native, c, column))
        tasks = self._tasks(native, constants)
        self._count(native, tasks)
        self.ids, self.counts = native.finish()
        for c, column in enumerate(self.columns):
            if column.outputs and not column.values:
                self._decode(native, c, column)

    def _kind(self, column: _Column) -> str:
        if self._is_partition(column):
            return "external"
        if column.info is not None:
            return "bytes" if column.info.physical in (BYTE_ARRAY, FIXED_BYTES) else "number"
        return "number"  # no file has it: nothing but NULL

    def _inspect(self, column: _Column) -> None:
        """Look at the column in every file; all of them must have comparable keys."""
        for footer in self.footers.values():
            try:
                info = footer.column(column.name)
            except ColumnMissing:
                continue
            if column.info is None:
                _check_type(column, info, footer.path)
                column.info = info
            elif info.form != column.info.form or info.fixed_length != column.info.fixed_length:
                raise Unsupported(
                    f"column '{column.name}' is {column.info.form} in one file "
                    f"and {info.form} in {footer.path}"
                )

    def _prepare(self, native: Any, c: int, column: _Column) -> list[int] | None:
        """Seed the column's dictionary; -> its constant id in each file, for partition columns."""
        if self._is_partition(column):
            ids, groups = self._partition_ids(column)
            native.set_external(c, groups)
            return ids
        if column.joins:
            stored = plain_type(column.type) if column.info is None else column.info.stored
            folded = self._fold(column, stored)
            try:
                if folded.keys.numbers is not None:
                    native.seed_numbers(c, folded.keys.numbers, folded.fold, folded.groups)
                else:
                    native.seed_bytes(c, _stream(folded.keys.values), folded.fold, folded.groups)
            except InvalidError as error:
                raise _duplicates(self.plan.joins[column.joins[0]]) from error
        return None

    def _fold(self, column: _Column, stored: pa.DataType) -> _Folded:
        """Fold all joins on one fact column into a map from key to group."""
        import numpy as np
        import pyarrow as pa

        joins = [self.plan.joins[position] for position in column.joins]
        keys = join_keys(joins[0].table[joins[0].key], stored)
        rows = {column.joins[0]: keys.rows}
        keep = np.ones(len(keys.values), dtype=bool)
        for position, join in zip(column.joins[1:], joins[1:], strict=True):
            # An event has to match in every dimension: look the first one's keys up in the others.
            other = join_keys(join.table[join.key], stored)
            if len(other.values.unique()) != len(other.values):
                raise _duplicates(join)
            found = _index_in(keys.values, other.values)
            keep &= found >= 0
            rows[position] = other.rows[found] if len(other.rows) else np.zeros(len(found), dtype=np.int64)
        if not keep.all():
            keys = type(keys)(
                keys.rows[keep],
                keys.values.filter(pa.array(keep)),
                None if keys.numbers is None else keys.numbers[keep],
            )
            rows = {position: found[keep] for position, found in rows.items()}
        parts: list[tuple[int, np.ndarray[Any, Any], GroupValues]] = []
        for output in column.outputs:
            wanted = self.plan.group_by[output]
            if wanted.join is None:
                codes = np.arange(len(keys.values), dtype=np.int64)
                values, type_ = keys.values, column.type
            else:
                attribute = self.plan.joins[wanted.join].table[wanted.column]
                all_codes, values = dense_codes(attribute)
                codes, type_ = all_codes[rows[wanted.join]], attribute.type
            parts.append((output, codes, GroupValues(values, type_)))
        group, groups = _combine([(codes, len(found.values)) for _, codes, found in parts], len(keys.values))
        if len(parts) == 1:
            column.values[parts[0][0]] = parts[0][2]  # the group is the code
        else:
            first = np.zeros(groups, dtype=np.int64)
            first[group] = np.arange(len(group))  # any key of the group will do
            for output, codes, meaning in parts:
                column.values[output] = GroupValues(meaning.values, meaning.type, codes[first])
        return _Folded(keys, group.astype(np.uint32), groups)

    def _partition_ids(self, column: _Column) -> tuple[list[int], int]:
        """Return the group id of each file by its partition value, and how many groups there are."""
        import numpy as np
        import pyarrow as pa

        numbers: dict[object, int] = {}
        of_file = []
        for file in self.plan.files:
            if column.name not in file.partition:
                raise Unsupported(f"{file.path} has no value of partition column '{column.name}'")
            of_file.append(numbers.setdefault(file.partition[column.name], len(numbers)))
        stored = plain_type(column.type)
        try:
            values = pa.array(list(numbers), stored)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise Unsupported(f"partition column '{column.name}': {error}") from error
        if not column.joins:
            # Values that differ as Python objects may be one value here (1 and True, 0.0 and -0.0).
            codes, distinct = dense_codes(values)
            for output in column.outputs:
                column.values[output] = GroupValues(distinct, column.type)
            return [int(codes[number]) for number in of_file], len(distinct)
        folded = self._fold(column, stored)
        key_type = folded.keys.values.type
        found = _index_in(values.cast(key_type), folded.keys.values)
        if len(folded.keys.values.unique()) != len(folded.keys.values):
            raise _duplicates(self.plan.joins[column.joins[0]])
        groups = np.where(found >= 0, folded.fold[found] if len(folded.fold) else 0, _DROPPED)
        groups[values.is_null().to_numpy(zero_copy_only=False)] = _DROPPED  # NULL matches nothing
        return [int(groups[number]) for number in of_file], folded.groups

    def _count_from_listing(self) -> None:
        """Count without reading a page: every column stands in the paths, or there is none."""
        import numpy as np

        ids = [self._partition_ids(column)[0] for column in self.columns]
        totals: dict[tuple[int, ...], int] = {}
        for index, file in enumerate(self.plan.files):
            rows = file.rows if file.rows >= 0 else sum(read_footer(file.path).row_groups)
            self.metrics.rows += rows
            key = tuple(column[index] for column in ids)
            if _DROPPED not in key and rows:
                totals[key] = totals.get(key, 0) + rows
        if not self.columns:
            totals = {(): self.metrics.rows}
        self.ids = [np.array([key[c] for key in totals], dtype=np.uint32) for c in range(len(self.columns))]
        self.counts = np.array(list(totals.values()), dtype=np.int64)
        self.metrics.isa = "none"

    def _tasks(self, native: Any, constants: list[list[int] | None]) -> list[RowGroupTask]:
        tasks = []
        for index, file in enumerate(self.plan.files):
            footer = self.footers[file.path]
            infos: list[ColumnInfo | int] = []
            for c, column in enumerate(self.columns):
                constant = constants[c]
                if constant is not None:
                    infos.append(constant[index])
                    continue
                try:
                    infos.append(footer.column(column.name))
                except ColumnMissing:
                    infos.append(_DROPPED if column.joins else native.null_id(c))
            if any(info == _DROPPED for info in infos):
                self.metrics.row_groups_pruned += len(footer.row_groups)
                continue
            for group, rows in enumerate(footer.row_groups):
                if rows:
                    tasks.append(row_group_task(footer, group, rows, infos))
        return tasks

    def _count(self, native: Any, tasks: list[RowGroupTask]) -> None:
        metrics = self.metrics
        metrics.rows = sum(task.rows for task in tasks)
        metrics.bytes_read = sum(task.bytes for task in tasks)
        metrics.row_groups_read = sum(task.bytes > 0 for task in tasks)
        metrics.files_read = len({task.footer.path for task in tasks if task.bytes > 0})
        workers = min(self.threads, len(tasks))
        if workers <= 1 and metrics.rows <= _INLINE_ROWS:
            count_tasks(native.worker(), iter(tasks), threading.Event())
        else:
            run_threads(native, tasks, workers)

    # -- what came out

    def _decode(self, native: Any, c: int, column: _Column) -> None:
        """Give the ids of a growing dictionary their values."""
        null_id = native.value_null_id(c)
        if column.info is None:  # in no file: only NULL
            stored = plain_type(column.type)
            import pyarrow as pa

            values = pa.nulls(0 if null_id is None else 1, stored)
        elif self._kind(column) == "number":
            values = decode_numbers(native.numbers(c), null_id, column.info.stored)
        else:
            info = column.info
            where = f"column '{column.name}'"
            offsets, found = native.strings(c)
            values = decode_bytes(offsets, found, null_id, info.stored, info.fixed_length, where)
        for output in column.outputs:
            column.values[output] = GroupValues(values, column.type)

    def table(self, encoded: bool) -> pa.Table:
        """Return the groups and their counts."""
        import pyarrow as pa

        arrays: list[Any] = [None] * len(self.plan.group_by)
        for c, column in enumerate(self.columns):
            for output in column.outputs:
                arrays[output] = column.values[output].take(self.ids[c], encoded=encoded)
        names = [f"g{position}" for position in range(len(arrays))]
        return pa.table([*arrays, pa.array(self.counts)], names=[*names, "count"])


def _combine(
    parts: Sequence[tuple[np.ndarray[Any, Any], int]], count: int
) -> tuple[np.ndarray[Any, Any], int]:
    """Return a dense group number for each of `count` rows, from codes and how many each part has."""
    import numpy as np

    if not parts:
        return np.zeros(count, dtype=np.int64), min(count, 1)
    group, groups = parts[0]
    for codes, distinct in parts[1:]:
        # Numbered anew after each step: the product stays far below 64 bits.
        found, group = np.unique(group * distinct + codes, return_inverse=True)
        group, groups = group.reshape(-1), len(found)
    return group, groups


def _duplicates(join: DimensionJoin) -> Unsupported:
    return Unsupported(f"key '{join.key}' of a dimension has duplicate values: joining it multiplies rows")


def _check_type(column: _Column, info: ColumnInfo, path: str) -> None:
    """Refuse a stored type that does not become the declared one value by value."""
    import pyarrow as pa

    types = pa.types
    wanted, stored = plain_type(column.type), info.stored
    same = (
        wanted == stored
        or (types.is_integer(wanted) and types.is_integer(stored))
        or (types.is_timestamp(wanted) and types.is_timestamp(stored) and bool(wanted.tz) == bool(stored.tz))
        or (types.is_date64(wanted) and types.is_date32(stored))
        or (
            types.is_decimal(wanted)
            and types.is_decimal(stored)
            and (wanted.precision, wanted.scale) == (stored.precision, stored.scale)
        )
    )
    if not same:
        raise Unsupported(f"column '{column.name}' is to be {column.type} but is {stored} in {path}")


def _stream(values: pa.Array) -> Any:
    import pyarrow as pa

    return pa.table({"key": values}).__arrow_c_stream__()


def _index_in(values: pa.Array, among: pa.Array) -> np.ndarray[Any, Any]:
    """Return the position of each value among others, -1 where it is not."""
    import pyarrow.compute as pc

    found = pc.index_in(values, value_set=among.cast(values.type))
    return found.fill_null(-1).to_numpy(zero_copy_only=False)
