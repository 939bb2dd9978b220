"""The row groups of a scan as tasks, and the threads that share them."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ._parquet_files import ColumnInfo, Footer
from .errors import Cancelled, StorageError

__all__ = ["RowGroupTask", "count_tasks", "row_group_task", "run_threads"]


@dataclass(frozen=True)
class RowGroupTask:
    """One row group to count."""

    footer: Footer
    rows: int
    columns: list[Any]
    """As ScanWorker.count takes them, codecs by name."""
    bytes: int


def row_group_task(footer: Footer, group: int, rows: int, infos: Sequence[ColumnInfo | int]) -> RowGroupTask:
    """Return the task of counting one row group, given each column's chunks or its one id."""
    columns: list[Any] = []
    size = 0
    for info in infos:
        if isinstance(info, int):
            columns.append(info)
            continue
        chunk = info.chunks[group]
        size += chunk.size
        columns.append(
            (
                chunk.offset,
                chunk.size,
                chunk.values,
                chunk.uncompressed_size,
                info.physical,
                info.fixed_length,
                info.nullable,
                chunk.codec,
            )
        )
    return RowGroupTask(footer, rows, columns, size)


def count_tasks(worker: Any, tasks: Iterator[RowGroupTask], stop: threading.Event) -> None:
    """Count row groups until there are no more, or until told to stop."""
    import pyarrow as pa

    codecs: dict[str, Any] = {}  # a codec object serves one thread
    for task in tasks:
        if stop.is_set():
            return
        columns = []
        for column in task.columns:
            if isinstance(column, tuple) and column[-1] is not None:
                name = column[-1]
                if name not in codecs:
                    codecs[name] = pa.Codec(name)
                column = (*column[:-1], codecs[name])
            columns.append(column)
        if task.bytes == 0:
            worker.count(task.footer.path, task.rows, None, columns)
            continue
        with _mapped(task.footer) as mapping:
            worker.count(task.footer.path, task.rows, mapping, columns)


def _mapped(footer: Footer) -> mmap.mmap:
    """Map a file read-only; it must still be the one whose footer was read."""
    try:
        descriptor = os.open(footer.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            size = os.fstat(descriptor).st_size
            if size != footer.size:
                raise StorageError(
                    f"{footer.path} changed while it was being read: {footer.size} bytes, now {size}",
                    footer.path,
                )
            return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"cannot read {footer.path}: {error.strerror}", footer.path, error.errno or 0
        ) from error


class _TaskQueue:
    """Hands out tasks to several threads."""

    def __init__(self, tasks: Sequence[RowGroupTask]) -> None:
        self._tasks = iter(tasks)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[RowGroupTask]:
        return self

    def __next__(self) -> RowGroupTask:
        with self._lock:
            return next(self._tasks)


def run_threads(native: Any, tasks: Sequence[RowGroupTask], count: int) -> None:
    """Share the tasks among threads; the calling thread waits, and hears Ctrl-C."""
    queue = _TaskQueue(tasks)
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(worker: Any) -> None:
        try:
            count_tasks(worker, queue, stop)
        except BaseException as error:  # raised again in the calling thread
            # Appended first: what the others then raise is only the cancelling.
            errors.append(error)
            stop.set()
            native.cancel()

    workers = [native.worker() for _ in range(count)]
    running = [threading.Thread(target=run, args=(worker,), name="segue-scan") for worker in workers]
    try:
        for thread in running:
            thread.start()
        for thread in running:
            while thread.is_alive():
                thread.join(0.05)
    except BaseException:
        stop.set()
        native.cancel()
        for thread in running:
            if thread.ident is not None:
                thread.join()
        raise
    if errors:
        raise next((error for error in errors if not isinstance(error, Cancelled)), errors[0])
