"""Writes the splits of a pipeline run as Parquet files, several at a time.

One batch of the native job is one row group. Files hold whole row groups and roll over at
`FILE_BYTES`; a split is shared by several threads, by its buckets, only when there are too few
splits to keep them busy. Everything is synced before `write_splits` returns, and nothing refers to it yet.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from .delta_stats import file_stats
from .durable import storage_error, sync_directory
from .errors import SchemaError
from .warehouse_types import to_file_column

if TYPE_CHECKING:
    import pyarrow as pa

#: Opens a split, from its first to its last bucket wanted.
Read: TypeAlias = Callable[[int, int, int], Any]

__all__ = ["BUCKET_RANGES", "OutputLayout", "Split", "WrittenFile", "choose_encodings", "write_splits"]

#: Size at which a file is closed and another begun.
FILE_BYTES = 512 << 20

#: Rows below which a split is not worth sharing between threads.
SHARED_SPLIT_ROWS = 1 << 21

#: Footer key: JSON, for each row group the first and last bucket in it.
BUCKET_RANGES = "segue.bucket_ranges"

#: Rows looked at to choose encodings, and the share of distinct ones up to which codes pay.
_SAMPLE_ROWS = 1 << 16
_DICTIONARY_SHARE = 0.5

#: Largest dictionary of a column chunk; beyond it the writer falls back to plain values.
_DICTIONARY_BYTES = 4 << 20

#: Of the file systems of Linux and macOS, in bytes.
_LONGEST_FOLDER_NAME = 255


def _folder_name(column: str, value: str | None) -> str:
    """Hive's, of one partition column."""
    return f"{column}=" + ("__HIVE_DEFAULT_PARTITION__" if value is None else quote(value, safe=" ._-+@,"))


@dataclass(frozen=True)
class Split:
    """One output partition of the native job: `values` gives its Hive partition columns as strings."""

    index: int
    rows: int
    values: Mapping[str, str | None]

    @property
    def folder(self) -> str:
        """Hive path below the table, ``"date=2024-01-01"``; ``""`` without partition columns."""
        return "/".join(_folder_name(column, value) for column, value in self.values.items())

    def check_folder(self) -> None:
        """Raise `SchemaError` where a value is too long for the name of a folder."""
        for column, value in self.values.items():
            size = len(os.fsencode(_folder_name(column, value)))
            if size > _LONGEST_FOLDER_NAME:
                shown = (value or "")[:40]
                raise SchemaError(
                    f"column {column!r} cannot partition the table: its value {shown!r}... "
                    f"of {len(value or '')} characters would name a folder with {size} bytes, and a name has "
                    f"at most {_LONGEST_FOLDER_NAME}; partition by a column of short values, such as a code "
                    "or a date, and sort by this one",
                    column,
                )


@dataclass(frozen=True)
class WrittenFile:
    """A finished, synced file: `path` is relative to the table's folder, `stats` is Delta's JSON."""

    path: str
    rows: int
    size: int
    partition: Mapping[str, str | None]
    stats: str


@dataclass
class OutputLayout:
    """How the files of one run look.

    Attributes
    ----------
    schema
        Columns of the files in order, without the partition columns, in `file_type`'s types.
    sorted_by
        Columns by which every row group is sorted ascending, nulls first; empty if none is promised.
    buckets
        Number of hash buckets; 0 if there are none.
    joined
        Columns that came from dimensions: their values repeat, so codes always pay.
    metadata
        Footer entries.
    """

    schema: pa.Schema
    sorted_by: Sequence[str] = ()
    buckets: int = 0
    joined: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)


def choose_encodings(layout: OutputLayout, batch: pa.RecordBatch) -> tuple[list[str], dict[str, str]]:
    """Columns to write as codes, and the encodings of others, judged on the first rows of a batch."""
    import pyarrow.compute as pc
    from pyarrow import types

    sample = batch.slice(0, _SAMPLE_ROWS)
    dictionary: list[str] = []
    encodings: dict[str, str] = {}
    for column in layout.schema:
        name, kind = column.name, column.type
        if types.is_boolean(kind):
            continue
        if types.is_dictionary(kind) or name in layout.joined:
            dictionary.append(name)
            continue
        values = sample.column(name)
        if len(values) and pc.count_distinct(values).as_py() <= len(values) * _DICTIONARY_SHARE:
            dictionary.append(name)
        elif types.is_int32(kind) or types.is_int64(kind) or types.is_timestamp(kind) or types.is_date(kind):
            encodings[name] = "DELTA_BINARY_PACKED"
    return dictionary, encodings


class _Piece:
    """Some buckets of a split, or all of it, read by one thread or by several in turn."""

    def __init__(self, split: Split, numbers: Iterator[int], open_stream: Callable[[], Any]) -> None:
        self.split = split
        self.numbers = numbers
        self._open = open_stream
        self._mutex = threading.Lock()
        self._stream: Any = None
        self._reader: pa.RecordBatchReader | None = None
        self._taken = 0
        self._ended = False

    def next(self) -> tuple[pa.RecordBatch, tuple[int, int] | None] | None:
        """Return the next batch with its bucket range, or None at the end."""
        import pyarrow as pa

        with self._mutex:
            if self._ended:
                return None
            if self._reader is None:
                self._stream = self._open()
                self._reader = pa.RecordBatchReader.from_stream(self._stream)
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                self._ended = True
                self._reader.close()
                self._reader = self._stream = None
                return None
            ranges = self._stream.bucket_ranges
            bucket_range = ranges[self._taken] if self._taken < len(ranges) else None
            self._taken += 1
            return batch, bucket_range


class _FileWriter:
    """One Parquet file being written."""

    def __init__(self, path: Path, layout: OutputLayout, encodings: tuple[list[str], dict[str, str]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self.rows = 0
        self._ranges: list[tuple[int, int] | None] = []
        self._layout = layout
        self._footer: list[pq.FileMetaData] = []
        # Opened before the first byte is written, so that the sync reports every earlier failure.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._sink: Any = None
        self._writer: Any = None
        try:
            self._sink = pa.OSFile(str(path), "wb")
            names = layout.schema.names
            sorting = [pq.SortingColumn(names.index(c), nulls_first=True) for c in layout.sorted_by]
            dictionary, column_encoding = encodings
            self._writer = pq.ParquetWriter(
                self._sink,
                layout.schema,
                compression="zstd",
                use_dictionary=dictionary or False,
                column_encoding=column_encoding or None,
                dictionary_pagesize_limit=_DICTIONARY_BYTES,
                write_page_index=True,
                sorting_columns=sorting or None,
                store_schema=False,
                metadata_collector=self._footer,
            )
        except BaseException:
            self.abandon()
            raise

    def write(self, batch: pa.RecordBatch, bucket_range: tuple[int, int] | None) -> None:
        import pyarrow as pa

        columns = [to_file_column(batch.column(f.name), f.type) for f in self._layout.schema]
        table = pa.Table.from_arrays([pa.chunked_array([c]) for c in columns], schema=self._layout.schema)
        self._writer.write_table(table, row_group_size=max(1, batch.num_rows))
        self._ranges.append(bucket_range)
        self.rows += batch.num_rows

    @property
    def size(self) -> int:
        assert self._sink is not None
        return int(self._sink.tell())

    def finish(self) -> tuple[int, str]:
        """Close and sync; gives the size and Delta's statistics."""
        metadata = dict(self._layout.metadata)
        if self._layout.buckets:
            metadata[BUCKET_RANGES] = json.dumps(self._ranges, separators=(",", ":"))
        try:
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            assert self._sink is not None
            self._sink.close()
            os.fsync(self._fd)
            size = os.fstat(self._fd).st_size
        finally:
            os.close(self._fd)
            self._fd = -1
        footer = self._footer[0]
        return size, file_stats(footer, self._layout.schema)

    def abandon(self) -> None:
        """Let go of a file that will not be finished; the run removes it."""
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()
            self._writer.is_open = False  # Or it tries again when it is collected.
        with contextlib.suppress(Exception):
            if self._sink is not None:
                self._sink.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Output:
    """What the threads of `write_splits` share."""

    def __init__(
        self,
        folder: Path,
        run_id: str,
        layout: OutputLayout,
        created: list[Path],
        on_rows: Callable[[int], None],
    ) -> None:
        self.folder = folder
        self.run_id = run_id
        self.layout = layout
        self.stop = threading.Event()
        self.tasks: queue.SimpleQueue[_Piece] = queue.SimpleQueue()
        self.files: list[WrittenFile] = []
        self._created = created
        self._on_rows = on_rows
        self._mutex = threading.Lock()
        self._encodings: tuple[list[str], dict[str, str]] | None = None

    def work(self) -> None:
        """Write splits until none is left; the body of each thread."""
        try:
            while not self.stop.is_set():
                try:
                    task = self.tasks.get_nowait()
                except queue.Empty:
                    return
                self._write_split(task)
        except BaseException:
            self.stop.set()
            raise

    def _write_split(self, task: _Piece) -> None:
        writer: _FileWriter | None = None
        try:
            while not self.stop.is_set():
                item = task.next()
                if item is None:
                    break
                batch, bucket_range = item
                if batch.num_rows == 0:
                    continue
                if writer is None:
                    writer = self._begin(task, batch)
                writer.write(batch, bucket_range)
                self._on_rows(batch.num_rows)
                if writer.size >= FILE_BYTES:
                    self._finish(task, writer)
                    writer = None
            if writer is not None and not self.stop.is_set():
                self._finish(task, writer)
                writer = None
        finally:
            if writer is not None:
                writer.abandon()

    def _begin(self, task: _Piece, batch: pa.RecordBatch) -> _FileWriter:
        folder = self.folder / task.split.folder
        with self._mutex:
            number = next(task.numbers)
        name = f"part-{self.run_id}-{task.split.index:05d}-{number:03d}.zstd.parquet"
        with self._mutex:
            if self._encodings is None:
                self._encodings = choose_encodings(self.layout, batch)
            self._created.append(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        return _FileWriter(folder / name, self.layout, self._encodings)

    def _finish(self, task: _Piece, writer: _FileWriter) -> None:
        size, stats = writer.finish()
        path = str(writer.path.relative_to(self.folder))
        with self._mutex:
            self.files.append(WrittenFile(path, writer.rows, size, task.split.values, stats))


def write_splits(
    splits: Sequence[Split],
    read: Read,
    folder: Path,
    run_id: str,
    layout: OutputLayout,
    threads: int,
    created: list[Path],
    on_rows: Callable[[int], None],
) -> list[WrittenFile]:
    """Write every split below `folder`, durably, and describe the files.

    Parameters
    ----------
    splits
        What to write, in any order.
    read
        Opens the stream of a split (by its index) and a range of its buckets, both inclusive: one
        batch per row group, and ``bucket_ranges``.
    folder
        The table's folder.
    run_id
        Part of every file name, so that no run ever overwrites another's files.
    layout
        Columns and footer of the files.
    threads
        Threads that encode.
    created
        Receives every path before the file is made, for the caller to remove on failure.
    on_rows
        Told the rows of each row group written; called from the threads.
    """
    output = _Output(folder, run_id, layout, created, on_rows)
    for piece in _pieces(splits, read, max(layout.buckets, 1), threads):
        output.tasks.put(piece)
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="segue-write") as pool:
            futures = [pool.submit(output.work) for _ in range(min(threads, output.tasks.qsize()))]
            try:
                # In slices, so that Ctrl-C reaches this thread soon.
                while wait(futures, timeout=0.1).not_done:
                    pass
            finally:
                output.stop.set()
        for future in futures:
            future.result()
        _sync_folders(folder, output.files)
    except OSError as e:
        raise storage_error(e, f"cannot write Parquet files below {folder}") from e
    return sorted(output.files, key=lambda f: f.path)


def _pieces(splits: Sequence[Split], read: Read, buckets: int, threads: int) -> Iterator[_Piece]:
    """Cut the work so that no thread is left alone with a large split; the largest first."""
    total = sum(split.rows for split in splits) or 1
    for split in sorted(splits, key=lambda s: -s.rows):
        workers = 1
        if split.rows >= SHARED_SPLIT_ROWS:
            workers = max(1, min(threads, round(split.rows * threads / total)))
        numbers = itertools.count()
        if workers <= buckets:
            for i in range(workers):
                first, last = buckets * i // workers, buckets * (i + 1) // workers - 1
                yield _Piece(split, numbers, functools.partial(read, split.index, first, last))
        else:  # Too few buckets: the threads take turns at one stream.
            piece = _Piece(split, numbers, functools.partial(read, split.index, 0, buckets - 1))
            yield from itertools.repeat(piece, workers)


def _sync_folders(root: Path, files: Sequence[WrittenFile]) -> None:
    """Make the names of the files durable, and those of the folders above them up to the root's own."""
    folders = {root}
    for file in files:
        parent = (root / file.path).parent
        while parent != root:
            folders.add(parent)
            parent = parent.parent
    for path in [*folders, root.parent]:
        sync_directory(path)
