"""Writes a stream into a folder for each day, as Parquet or Arrow files; days are written in parallel."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

Format = Literal["parquet", "arrow"]

ROW_GROUP_ROWS = 1 << 20
"""pyarrow's own default; other settings are its defaults too, but for zstd and the dictionaries."""
_HELD_ROWS = 4 << 20
_DAYS_PER_UNIT = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_EPOCH = date(1970, 1, 1)


class FileSink:
    """One file of record batches; nothing of it counts before `close`."""

    def __init__(self, path: Path, schema: pa.Schema, file_format: Format, unique: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: Any = (
            pq.ParquetWriter(
                path, schema, compression="zstd", use_dictionary=[n for n in schema.names if n not in unique]
            )
            if file_format == "parquet"
            else pa.ipc.new_file(str(path), schema)
        )

    def write(self, table: pa.Table) -> None:
        """Append rows: a row group, or one record batch."""
        if isinstance(self._writer, pq.ParquetWriter):
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        else:
            self._writer.write_table(table.combine_chunks())

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def days_of(column: pa.Array) -> np.typing.NDArray[np.int32]:
    """Days since 1970 (UTC) of a date32 or timestamp column without nulls."""
    if pa.types.is_date32(column.type):
        return column.view(pa.int32()).to_numpy()
    ticks = column.view(pa.int64()).to_numpy()
    return (ticks // _DAYS_PER_UNIT[column.type.unit]).astype(np.int32)


def _by_day(batch: pa.RecordBatch, time: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    days = days_of(batch[time])
    rest = batch.drop_columns(["date"]) if "date" in batch.schema.names else batch
    first = int(days.min())
    counts = np.bincount(days - first)
    for offset in np.flatnonzero(counts):
        day = first + int(offset)
        if counts[offset] == len(days):
            yield day, rest
        else:
            yield day, rest.take(pa.array(np.flatnonzero(days == day)))


class DateFiles:
    """``date=2024-01-01/part-0.parquet`` and so on below one directory.

    Rows of a day keep the order of the stream. At most some four million rows are held: the day that has
    most of them is written when there are more, so that the files do not depend on timing or threads.
    """

    def __init__(self, directory: Path, file_format: Format, unique: Sequence[str], threads: int) -> None:
        self._directory = directory
        self._format: Format = file_format
        self._unique = unique
        self._threads = max(threads, 1)
        self._sinks: dict[int, FileSink] = {}
        self._held: dict[int, list[pa.RecordBatch]] = {}
        self._rows: dict[int, int] = {}
        self._last: dict[int, Future[None]] = {}
        self._running: deque[Future[None]] = deque()

    def write(self, batches: Iterable[pa.RecordBatch], time: str) -> int:
        """Write all batches by the day of column `time`; return the number of rows."""
        total = 0
        with ThreadPoolExecutor(self._threads, "datagen-write") as pool:
            try:
                for batch in batches:
                    total += batch.num_rows
                    for day, piece in _by_day(batch, time):
                        self._held.setdefault(day, []).append(piece)
                        self._rows[day] = self._rows.get(day, 0) + piece.num_rows
                        if self._rows[day] >= ROW_GROUP_ROWS:
                            self._submit(pool, day)
                    while sum(self._rows.values()) > _HELD_ROWS:
                        self._submit(pool, max(self._rows, key=lambda day: (self._rows[day], day)))
                for day in sorted(self._held):
                    self._submit(pool, day)
                while self._running:
                    self._running.popleft().result()
            except BaseException:
                for future in self._running:
                    future.cancel()
                raise
        for sink in self._sinks.values():
            sink.close()
        return total

    def _submit(self, pool: ThreadPoolExecutor, day: int) -> None:
        pieces = self._held.pop(day)
        del self._rows[day]
        before = self._last.get(day)
        future = pool.submit(self._append, day, pieces, before)
        self._last[day] = future
        self._running.append(future)
        if len(self._running) > self._threads:
            self._running.popleft().result()

    def _append(self, day: int, pieces: list[pa.RecordBatch], before: Future[None] | None) -> None:
        if before is not None:
            before.result()  # submitted earlier, so it runs or is done: row groups keep their order
        if day not in self._sinks:
            name = (_EPOCH + timedelta(days=day)).isoformat()
            path = self._directory / f"date={name}" / f"part-0.{self._format}"
            self._sinks[day] = FileSink(path, pieces[0].schema, self._format, self._unique)
        self._sinks[day].write(pa.Table.from_batches(pieces))
