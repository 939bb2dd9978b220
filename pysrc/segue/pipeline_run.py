"""One run of a pipeline: from a snapshot of the events to one durable commit in the warehouse.

The order of the steps is what makes a run repeatable (docs/decisions/0002):

1. the table's lock is taken; a torn log is repaired, files of runs that died are removed;
2. a snapshot is taken, then the events are synced: the range is everything above the table's
   watermark that both hold;
3. the native job partitions, joins and sorts it; the files are written and synced;
4. the event store records the hand-off, so that recovery never issues these numbers again;
5. one commit adds the files and moves the watermark, if it still is where step 2 saw it.

Whatever fails before 5 leaves files that nothing refers to; they are removed at once, or by the
next run if this one was killed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Error, InvalidError
from .join_plan import KEY, PreparedJoin, joined_fields, narrow_joins, prepare_joins
from .options import MINIMUM_MEMORY, format_bytes
from .parquet_output import OutputLayout, Split, WrittenFile, write_splits
from .pipeline import PipelineDefinition
from .progress import RunProgress
from .warehouse import WatermarkMoved
from .warehouse_types import file_type, to_file_column

if TYPE_CHECKING:
    import pyarrow as pa

    from .database import Database
    from .events import Events, Snapshot

__all__ = ["SEQUENCE", "RunReport", "app_id", "pending_rows", "run_pipeline"]

#: The column of sequence numbers between the event store and the native job.
SEQUENCE = "__segue_sequence"

#: Rows of a row group when memory is ample, and the least worth having.
ROW_GROUP_ROWS = 1 << 20
_SMALLEST_ROW_GROUP = 1 << 13

#: Pending events up to which a fresh query joins them with only what they refer to.
_FEW_EVENTS = 1 << 17

#: How often a run starts over because another one published first.
_ATTEMPTS = 10

_log = logging.getLogger("segue.pipeline")


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes
    ----------
    pipeline, table, engine
        What ran.
    up_to_date
        True if there was nothing new: the run changed nothing.
    rows_in, rows_out
        Events taken, and rows published.
    dropped
        For each inner join, by its dimension: events that had no row there.
    files, bytes_in, bytes_out
        Files published; bytes of the events in memory as Arrow columns, and of the files.
    seconds, rows_per_s
        Wall time of the whole run, and events taken per second of it.
    peak_memory, spilled_bytes
        Most memory that the native job held, and bytes of sorted runs that it wrote to disk.
    first_sequence, last_sequence
        The sequence numbers taken, both inclusive; equal to the watermark + 1 and the watermark
        when there was nothing.
    version
        Version of the table after the run; None if nothing was ever published.
    """

    pipeline: str
    table: str
    engine: str = "native"
    up_to_date: bool = False
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    spilled_bytes: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    version: int | None = None

    @property
    def ratio(self) -> float:
        """Bytes in per byte out; 0 when nothing was written."""
        return self.bytes_in / self.bytes_out if self.bytes_out else 0.0

    @property
    def rows_per_s(self) -> float:
        """Events taken per second."""
        return self.rows_in / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """All figures, for machines."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"ratio": self.ratio, "rows_per_s": self.rows_per_s}

    def __str__(self) -> str:
        at = "" if self.version is None else f", table version {self.version}"
        if self.up_to_date:
            return f"{self.pipeline}: up to date, nothing new after event {self.last_sequence}{at}"
        lines = [
            (
                f"{self.pipeline}: {self.rows_in:,} events -> {self.rows_out:,} rows in {self.files} files, "
                f"{self.seconds:.2f} s ({self.rows_per_s:,.0f} events/s)"
            ),
            f"  sequences {self.first_sequence} to {self.last_sequence}{at}",
            (
                f"  {format_bytes(self.bytes_in)} in, {format_bytes(self.bytes_out)} out "
                f"({self.ratio:.1f} : 1), peak memory {format_bytes(self.peak_memory)}, "
                f"spilled {format_bytes(self.spilled_bytes)}"
            ),
        ]
        for name, count in self.dropped.items():
            if count:
                lines.append(f"  {count:,} events dropped: no row in {name}")
        return "\n".join(lines)


def app_id(store_id: str, definition: PipelineDefinition) -> str:
    """Return the name under which a Delta table keeps the watermark of (event store, pipeline)."""
    return f"segue:{store_id}:{definition.id}"


def run_pipeline(
    database: Database, definition: PipelineDefinition, memory: int, threads: int, progress: bool
) -> RunReport:
    """Run a pipeline once; see `segue.pipeline.Job.run`."""
    started = time.perf_counter()
    events = database.events(definition.source)
    table = database.fact_table(definition.table)
    published = table.snapshot()
    if published is not None:
        # Known before anything is done, so told before it; and the catalog keeps only what can run.
        fields = joined_fields(events.schema, definition.joins, database.dimension)
        table.check_schema(
            definition.fact_schema(events.schema, fields), definition.table_partitions, published
        )
    database.register_pipeline(definition, events.store_id)
    with table.lock(), RunProgress(definition.id, progress) as shown:
        table.repair()
        table.remove_orphans()
        _remove_old_scratch(database, definition.table)
        for attempt in range(_ATTEMPTS):
            try:
                return _Run(database, definition, events, memory, threads, shown, started).go()
            except WatermarkMoved as e:
                _log.info(
                    "%s: another run published first (%s), starting over (%d)", definition.id, e, attempt + 1
                )
    raise Error(f"{definition.id}: other runs published first {_ATTEMPTS} times; run it again")


def _scratch_prefix(table: str) -> str:
    return f"spill-{table}-"


def _remove_old_scratch(database: Database, table: str) -> None:
    """Remove spill folders of runs into the table that were killed. The caller holds the table's lock."""
    folder = database.path / "tmp"
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(_scratch_prefix(table)):
                shutil.rmtree(entry.path, ignore_errors=True)


class _Run:
    """One attempt of one run. The caller holds the table's lock."""

    def __init__(
        self,
        database: Database,
        definition: PipelineDefinition,
        events: Events,
        memory: int,
        threads: int,
        shown: RunProgress,
        started: float,
    ) -> None:
        self._database = database
        self._definition = definition
        self._events = events
        self._memory = memory
        self._threads = threads
        self._shown = shown
        self._started = started
        self._table = database.fact_table(definition.table)
        self._app_id = app_id(events.store_id, definition)
        self._run_id = uuid.uuid4().hex[:16]
        self._created: list[Path] = []

    def go(self) -> RunReport:
        self._events.refresh()
        snapshot = self._events.snapshot()
        try:
            # The snapshot first: what it shows may be newer than what is synced, never the other way round.
            upto = min(snapshot.sequence, self._events.sync())
            published = self._table.snapshot([self._app_id])
            low = published.watermarks[self._app_id] if published else 0
            if upto <= low:
                return RunReport(
                    self._definition.id,
                    self._definition.table,
                    up_to_date=True,
                    seconds=time.perf_counter() - self._started,
                    first_sequence=low + 1,
                    last_sequence=low,
                    version=published.version if published else None,
                )
            return self._publish_range(snapshot, low, upto)
        finally:
            snapshot.close()

    def _publish_range(self, snapshot: Snapshot, low: int, upto: int) -> RunReport:
        import pyarrow as pa

        definition = self._definition
        source = self._events.schema
        fields = joined_fields(source, definition.joins, self._database.dimension)
        schema = definition.fact_schema(source, fields)
        self._table.begin_run(self._run_id)
        succeeded = False
        scratch = self._database.path / "tmp" / f"{_scratch_prefix(definition.table)}{self._run_id}"
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            joins = prepare_joins(source, definition.joins, self._database.dimension)
            job = _native_job(definition, source, joins, self._memory, self._threads, str(scratch))
            try:
                self._shown.start("reading", upto - low)
                scan = snapshot.scan_sequences(low, upto, source.names, SEQUENCE)
                taken = _consume(job, pa.schema(scan), scan.batches(), joins, self._shown.advance)
                self._shown.start("sorting", None)
                job.finish()
                splits = _splits(job, definition, source, fields)
                for split in splits:
                    split.check_folder()
                layout = _layout(definition, source, fields, schema, self._run_id, low, upto)
                row_group = _row_group_rows(layout.schema, self._memory, self._threads)
                self._shown.start("writing", sum(split.rows for split in splits))
                files = self._write(job, splits, layout, row_group)
                metrics = job.metrics
            except BaseException:
                job.cancel()
                raise
            finally:
                job.close()
            self._events.record_handoff(upto)
            version = self._table.publish(
                files, schema, definition.table_partitions, self._app_id, low, upto, self._run_id
            )
            succeeded = True
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if not succeeded and not self._is_published():
                self._remove_files()
            self._table.end_run(self._run_id)
        return RunReport(
            pipeline=definition.id,
            table=definition.table,
            rows_in=metrics["rows_in"],
            rows_out=sum(file.rows for file in files),
            dropped=_dropped(joins, metrics["dropped"]),
            files=len(files),
            bytes_in=taken,
            bytes_out=sum(file.size for file in files),
            seconds=time.perf_counter() - self._started,
            peak_memory=metrics["peak_memory"],
            spilled_bytes=metrics["spilled_bytes_written"],
            first_sequence=low + 1,
            last_sequence=upto,
            version=version,
        )

    def _write(
        self, job: Any, splits: Sequence[Split], layout: OutputLayout, row_group: int
    ) -> list[WrittenFile]:
        return write_splits(
            splits,
            lambda index, first, last: job.read(index, row_group, first, last),
            self._table.folder,
            self._run_id,
            layout,
            self._threads,
            self._created,
            self._shown.advance,
        )

    def _is_published(self) -> bool:
        """Whether a run that failed had got through after all (only its last sync failed, say)."""
        try:
            self._table.forget()
            snapshot = self._table.snapshot()
        except (Error, OSError):
            return True  # Not known: files that may be part of the table stay.
        if snapshot is None:
            return False
        present = {file.path for file in snapshot.files}
        return any(str(path) in present for path in self._created)

    def _remove_files(self) -> None:
        for path in self._created:
            with contextlib.suppress(OSError):
                path.unlink()
            # Folders that were made for them, as far up as they are empty.
            parent = path.parent
            with contextlib.suppress(OSError):
                while parent != self._table.folder:
                    parent.rmdir()
                    parent = parent.parent


def _native_job(
    definition: PipelineDefinition,
    source: pa.Schema,
    joins: Sequence[PreparedJoin],
    memory: int,
    threads: int,
    scratch: str,
    *,
    ordered: bool = True,
) -> Any:
    from . import _engine

    by = definition.table_partitions
    job = _engine.EtlJob(
        definition.partitions if ordered else 0,
        list(definition.partition_columns) if ordered else [],
        list(definition.sort) if ordered else [],
        definition.time if definition.time_unit else None,
        definition.time_unit,
        [] if definition.time_unit else list(by),
        SEQUENCE,
        # The rest is for encoding what the job gives.
        max(MINIMUM_MEMORY, memory - memory // 8),
        threads,
        scratch,
    )
    for join in joins:
        columns = [name for name in join.table.column_names if name != KEY]
        job.add_join(join.table.__arrow_c_stream__(), join.spec.on, KEY, columns, join.spec.how)
    return job


def _consume(
    job: Any,
    schema: pa.Schema,
    source: Iterable[pa.RecordBatch],
    joins: Sequence[PreparedJoin],
    advance: Callable[[int], None],
) -> int:
    """Feed events to the job; gives their bytes as Arrow columns."""
    import pyarrow as pa

    bytes_in = 0
    failure: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal bytes_in
        try:
            for batch in source:
                bytes_in += _event_bytes(batch)
                yield batch
                advance(batch.num_rows)
        except BaseException as e:
            # The C stream interface carries only a text; the error itself is raised below.
            failure.append(e)
            raise

    counted = pa.RecordBatchReader.from_batches(schema, batches())
    try:
        job.consume(counted.__arrow_c_stream__())
    except Exception:
        if failure:
            raise failure[0] from None
        raise
    for join, dropped in zip(joins, job.metrics["dropped"], strict=True):
        if dropped and join.spec.on_missing == "error":
            raise InvalidError(
                f"{dropped} events have no row in {join.spec.dimension!r} (joined on {join.spec.on!r}, "
                'on_missing="error"); nothing was published. Put the rows there, or use on_missing="drop" '
                'or how="left"'
            )
    return bytes_in


def _event_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of a batch without its sequence column; a dictionary counts as its codes."""
    from pyarrow import types

    total = 0
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name != SEQUENCE:
            total += column.indices.nbytes if types.is_dictionary(column.type) else column.nbytes
    return total


def _splits(
    job: Any, definition: PipelineDefinition, source: pa.Schema, fields: Sequence[pa.Field]
) -> list[Split]:
    """Return the job's splits with their Hive partition values as Delta writes them."""
    names = definition.table_partitions
    splits = []
    values: dict[str, str | None]
    for index, (value, rows) in enumerate(job.splits):
        values = {}
        if definition.time_unit:
            values = {names[0]: _time_text(definition.time_unit, value)}
        elif names:
            values = dict(zip(names, map(_value_text, value), strict=True))
        splits.append(Split(index, rows, values))
    return splits


def _time_value(unit: str, value: int) -> dt.date | dt.datetime:
    try:
        if unit == "day":
            return dt.date(1970, 1, 1) + dt.timedelta(days=value)
        if unit == "month":
            return dt.date(1970 + value // 12, value % 12 + 1, 1)
        return dt.datetime(1970, 1, 1) + dt.timedelta(hours=value)
    except (OverflowError, ValueError):
        raise InvalidError(
            f"an event's time lies {value} {unit}s from 1970: no year that a partition can be named by"
        ) from None


def _time_text(unit: str, value: int) -> str:
    when = _time_value(unit, value)
    return when.isoformat(sep=" ") if isinstance(when, dt.datetime) else when.isoformat()


def _value_text(value: Any) -> str | None:
    if value is None or value == "":
        return None  # Delta has no empty partition value: it reads back as null.
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _layout(
    definition: PipelineDefinition,
    source: pa.Schema,
    fields: Sequence[pa.Field],
    schema: pa.Schema,
    run_id: str,
    low: int,
    upto: int,
) -> OutputLayout:
    import pyarrow as pa
    from pyarrow import types

    kinds = {f.name: f.type for f in [*source, *fields]}
    by = definition.table_partitions
    columns = [f.name for f in schema if f.name not in by]
    # Row groups hold several buckets, so they are sorted as a whole only without buckets. Floats
    # are left out because Parquet does not say where NaN sorts.
    promised = not definition.partitions and not any(
        types.is_floating(kinds[c]) or c in by for c in definition.sort
    )
    return OutputLayout(
        schema=pa.schema([pa.field(name, file_type(name, kinds[name])) for name in columns]),
        sorted_by=definition.sort if promised else (),
        buckets=definition.partitions,
        joined=frozenset(f.name for f in fields),
        metadata={
            "segue.run": run_id,
            "segue.pipeline": definition.id,
            "segue.sequences": f"{low + 1}-{upto}",
            **(
                {"segue.buckets": f"{definition.partitions} by {','.join(definition.partition_columns)}"}
                if definition.partitions
                else {}
            ),
        },
    )


def _row_width(schema: pa.Schema) -> int:
    """Bytes that a row takes as Arrow columns, guessing 32 for a string."""
    from pyarrow import types

    width = 0
    for column in schema:
        kind = column.type
        if types.is_dictionary(kind):
            width += 4
        elif types.is_boolean(kind):
            width += 1
        else:
            try:
                width += kind.bit_width // 8
            except ValueError:
                width += 32
    return max(width, 1)


def _row_group_rows(schema: pa.Schema, memory: int, threads: int) -> int:
    """Rows of a row group: as many as fit in an eighth of the budget for each writing thread."""
    # A row group exists as Arrow columns and, column by column, as encoded pages.
    rows = memory // 8 // threads // (_row_width(schema) * 2)
    return max(_SMALLEST_ROW_GROUP, min(ROW_GROUP_ROWS, rows))


def _dropped(joins: Sequence[PreparedJoin], counts: Sequence[int]) -> dict[str, int]:
    dropped: dict[str, int] = {}
    for join, count in zip(joins, counts, strict=True):
        if join.spec.how == "inner":
            dropped[join.spec.dimension] = dropped.get(join.spec.dimension, 0) + count
    return dropped


def pending_rows(database: Database, definition: PipelineDefinition, low: int) -> pa.Table:
    """Return the rows that a run from watermark `low` would publish now, by the very same job.

    Unlike a run it takes events that are not synced yet, and leaves the rows in no order.
    """
    import pyarrow as pa

    events = database.events(definition.source)
    source = events.schema
    fields = joined_fields(source, definition.joins, database.dimension)
    schema = definition.fact_schema(source, fields)
    by = definition.table_partitions
    joins = prepare_joins(source, definition.joins, database.dimension)
    pending: list[pa.RecordBatch] = []
    snapshot = events.snapshot()
    try:
        if snapshot.sequence <= low:
            return schema.empty_table()
        scan = snapshot.scan_sequences(low, snapshot.sequence, source.names, SEQUENCE)
        batches: Iterable[pa.RecordBatch] = scan.batches()
        if snapshot.sequence - low <= _FEW_EVENTS:
            few = scan.to_arrow()
            joins, batches = narrow_joins(joins, few), few.to_batches()
        with database.scratch() as scratch:
            job = _native_job(definition, source, joins, 4 * MINIMUM_MEMORY, 1, str(scratch), ordered=False)
            try:
                _consume(job, pa.schema(scan), batches, joins, lambda rows: None)
                job.finish()
                for index, (value, _) in enumerate(job.splits):
                    if definition.time_unit:
                        constants = {by[0]: _time_value(definition.time_unit, value)}
                    else:
                        constants = dict(zip(by, value or (), strict=True))
                    for batch in pa.RecordBatchReader.from_stream(job.read(index, ROW_GROUP_ROWS)):
                        pending.append(_fact_batch(batch, schema, constants))
            finally:
                job.close()
    finally:
        snapshot.close()
    return pa.Table.from_batches(pending, schema)


def _fact_batch(batch: pa.RecordBatch, schema: pa.Schema, constants: dict[str, Any]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = []
    for column in schema:
        if column.name in constants:
            value = constants[column.name]
            if isinstance(value, dt.datetime) and column.type.tz:
                value = value.replace(tzinfo=dt.UTC)
            columns.append(pa.repeat(pa.scalar(None if value == "" else value, column.type), batch.num_rows))
        else:
            columns.append(to_file_column(batch.column(column.name), column.type))
    return pa.record_batch(columns, schema=schema)
