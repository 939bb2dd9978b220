"""Fact tables: Delta Lake tables that are published to by compare-and-swap on a watermark.

The watermark of (event store, pipeline) is the highest sequence number that the table holds. It
is an application transaction of the very Delta commit that adds the rows, so rows and watermark
cannot part. ``docs/formats/warehouse.md`` describes what is on disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from . import delta_log
from .durable import FileLock, storage_error, sync_directory
from .errors import CorruptionError, SchemaError, StorageError, UnsupportedError
from .parquet_output import WrittenFile
from .relations import DataFile

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["FactTable", "TableSnapshot", "WatermarkMoved"]

_log = logging.getLogger("segue.warehouse")

#: Table features that change which rows or columns a Parquet file stands for.
_REFUSED_FEATURES = {"deletionVectors": "deletion vectors", "columnMapping": "column mapping"}


class WatermarkMoved(Exception):  # noqa: N818 - a signal to the run, never seen by users
    """Another run published first; the range that was chosen is no longer the next one."""


@dataclass(frozen=True)
class TableSnapshot:
    """A fact table at one version: its files, and how far each pipeline into it has come."""

    version: int
    schema: pa.Schema
    partition_columns: tuple[str, ...]
    files: tuple[DataFile, ...]
    watermarks: Mapping[str, int]


class FactTable:
    """One fact table of a database.

    Thread safety: all methods may be called from any thread. The loaded table is cached, and
    brought up to date when the log has a newer entry.

    Parameters
    ----------
    name
        Its name.
    folder
        The Delta table's folder; need not exist.
    lock_path
        The lock file that keeps runs apart, also between processes.
    """

    def __init__(self, name: str, folder: Path, lock_path: Path) -> None:
        self.name = name
        self.folder = folder
        self._lock_path = lock_path
        self._mutex = threading.RLock()
        self._loaded: DeltaTable | None = None
        self._identity: tuple[int, int] | None = None
        self._snapshot: TableSnapshot | None = None

    def lock(self) -> FileLock:
        """Return the lock of this table, not yet taken: one run at a time."""
        return FileLock(self._lock_path, f"the warehouse table {self.name!r}")

    def exists(self) -> bool:
        """Whether something was ever published."""
        return delta_log.newest_entry(self.folder) is not None

    def snapshot(self, app_ids: Iterable[str] = ()) -> TableSnapshot | None:
        """Return the newest version with the watermarks of `app_ids`; None before the first publication."""
        import pyarrow as pa

        with self._mutex:
            table = self._load()
            if table is None:
                return None
            watermarks = {app: table.transaction_version(app) or 0 for app in app_ids}
            version = table.version()
            cached = self._snapshot
            if cached is None or cached.version != version:
                partition_columns = tuple(table.metadata().partition_columns)
                schema = pa.schema(table.schema())
                last = [schema.field(name) for name in partition_columns]
                schema = pa.schema([*(f for f in schema if f.name not in partition_columns), *last])
                files = tuple(self._files(table, partition_columns))
                cached = TableSnapshot(version, schema, partition_columns, files, {})
                self._snapshot = cached
            return TableSnapshot(version, cached.schema, cached.partition_columns, cached.files, watermarks)

    def _files(self, table: DeltaTable, partition_columns: Sequence[str]) -> Iterator[DataFile]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        actions = pa.table(table.get_add_actions(flatten=True))
        paths = actions.column("path").to_pylist()
        sizes = actions.column("size_bytes").to_pylist()
        counts: list[int | None] = [None] * len(paths)
        if "num_records" in actions.column_names:
            counts = actions.column("num_records").to_pylist()
        partitions = [
            (name, actions.column(f"partition.{name}").to_pylist())
            for name in partition_columns
            if f"partition.{name}" in actions.column_names
        ]
        for i, encoded in enumerate(paths):
            path = str(self.folder / unquote(encoded))
            rows = counts[i]
            if rows is None:  # Another writer may leave statistics out.
                rows = int(pq.read_metadata(path).num_rows)
            yield DataFile(path, rows, sizes[i], {name: values[i] for name, values in partitions})

    def _load(self) -> DeltaTable | None:
        """Return the table at its newest version, repaired if power loss tore the log."""
        if self._loaded is not None and self._entry_identity(self._loaded.version()) == self._identity:
            if not delta_log.entry_path(self.folder, self._loaded.version() + 1).exists():
                return self._loaded
            self._repair_if_free()
        else:
            self.forget()
            self._repair_if_free()
            if delta_log.newest_entry(self.folder) is None:
                return None
        delta_log.check_no_empty_entry(self.folder)
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            if self._loaded is None:
                loaded = DeltaTable(str(self.folder))
                self._check_features(loaded)
                self._loaded = loaded
            else:
                self._loaded.update_incremental()
                self._check_features(self._loaded)
            self._identity = self._entry_identity(self._loaded.version())
        except (DeltaError, OSError) as e:
            self.forget()
            delta_log.check_entries(self.folder)
            raise CorruptionError(
                f"the warehouse table {self.name!r} does not load: {_first_line(e)}", str(self.folder)
            ) from e
        return self._loaded

    def _entry_identity(self, version: int) -> tuple[int, int] | None:
        """Tell the log entry of a version from one of the same name in a table that replaced this one."""
        try:
            status = os.stat(delta_log.entry_path(self.folder, version))
        except FileNotFoundError:
            return None
        except OSError as e:
            raise storage_error(e, f"cannot open the warehouse table {self.name!r}") from e
        return status.st_ino, status.st_mtime_ns

    def _repair_if_free(self) -> None:
        """Repair a torn log, unless a run holds the lock: it has repaired, and what it writes is whole."""
        if delta_log.torn_entry(self.folder) is None:
            return
        lock = self.lock()
        if lock.try_acquire():
            with lock:
                delta_log.repair(self.folder)

    def _check_features(self, table: DeltaTable) -> None:
        for feature in table.protocol().reader_features or []:
            if feature in _REFUSED_FEATURES:
                raise UnsupportedError(
                    f"the warehouse table {self.name!r} uses {_REFUSED_FEATURES[feature]}, which another "
                    "writer has turned on and Segue does not read; rewrite the table without"
                )
        mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
        if mode != "none":
            raise UnsupportedError(
                f"the warehouse table {self.name!r} uses column mapping ({mode!r}), which Segue does not read"
            )

    def forget(self) -> None:
        """Drop what is cached; the next use loads again."""
        with self._mutex:
            self._loaded = None
            self._snapshot = None

    # Below: for the holder of the lock.

    def repair(self) -> None:
        """Repair a torn log. The caller holds the lock."""
        with self._mutex:
            if delta_log.torn_entry(self.folder) is not None:
                delta_log.repair(self.folder)
                self.forget()

    def begin_run(self, run_id: str) -> Path:
        """Mark a run as under way, so that its files are found if it dies. The caller holds the lock."""
        marker = self.folder / delta_log.PRIVATE_FOLDER / f"run-{run_id}"
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
            # Before any file of the run can become durable, or power loss would leave them unmarked:
            # the marker's name, and the names that lead to it.
            for folder in (marker.parent, self.folder, self.folder.parent):
                sync_directory(folder)
        except OSError as e:
            raise storage_error(e, f"cannot write into the warehouse folder {self.folder}") from e
        return marker

    def end_run(self, run_id: str) -> None:
        """Forget the mark of a run that has published, or removed its files."""
        with contextlib.suppress(OSError):
            (self.folder / delta_log.PRIVATE_FOLDER / f"run-{run_id}").unlink()

    def remove_orphans(self) -> int:
        """Remove the files of runs that died unpublished; gives how many. The caller holds the lock."""
        private = self.folder / delta_log.PRIVATE_FOLDER
        try:
            names = os.listdir(private)
        except FileNotFoundError:
            return 0
        removed = 0
        runs = [name.removeprefix("run-") for name in names if name.startswith("run-")]
        if not runs:
            return 0
        snapshot = self.snapshot()
        published = {Path(f.path).name for f in snapshot.files} if snapshot else set()
        for run_id in runs:
            for path in self.folder.glob(f"**/part-{run_id}-*.parquet"):
                if path.name not in published:
                    with contextlib.suppress(OSError):
                        path.unlink()
                        removed += 1
            self.end_run(run_id)
        if removed:
            _log.info("removed %d files that runs into %r left unpublished", removed, self.name)
        return removed

    def publish(
        self,
        files: Sequence[WrittenFile],
        schema: pa.Schema,
        partition_columns: Sequence[str],
        app_id: str,
        low: int,
        high: int,
        run_id: str,
    ) -> int:
        """Add the files and move the watermark from `low` to `high`, in one durable commit.

        Gives the version. The commit names the version after the one whose watermark was read,
        without retries, so it fails if anything came between; then the watermark decides: still
        `low` means that somebody else's commit came between and ours is tried again on top of it.

        Raises
        ------
        WatermarkMoved
            The watermark is not `low`.
        SchemaError
            The table has other columns.
        """
        seen: int | None = None
        for attempt in range(20):
            self.forget()
            snapshot = self.snapshot([app_id])
            seen = snapshot.version if snapshot and seen is None else seen
            if snapshot is not None and self._holds_run(snapshot, app_id, high, files):
                # An earlier attempt had succeeded although it reported an error: it is one of these.
                for version in range(seen or 0, snapshot.version + 1):
                    delta_log.sync_entry(self.folder, version)
                return snapshot.version
            watermark = snapshot.watermarks[app_id] if snapshot else 0
            if watermark != low:
                raise WatermarkMoved(f"{app_id} is at {watermark}, not at {low}")
            if snapshot is not None:
                self.check_schema(schema, partition_columns, snapshot)
            try:
                self._commit(files, schema, partition_columns, app_id, high, run_id)
            except Exception as e:
                from deltalake.exceptions import DeltaError

                if not isinstance(e, DeltaError | OSError):
                    raise
                newest = delta_log.newest_entry(self.folder)
                if newest == (snapshot.version if snapshot else None):
                    raise StorageError(
                        f"cannot commit to the warehouse table {self.name!r}: {_first_line(e)}",
                        str(self.folder),
                    ) from e
                _log.info("version %s of %r came between (attempt %d)", newest, self.name, attempt + 1)
                continue
            version = snapshot.version + 1 if snapshot else 0
            delta_log.sync_entry(self.folder, version)
            self.forget()
            return version
        raise StorageError(
            f"cannot commit to the warehouse table {self.name!r}: other writers came first 20 times",
            str(self.folder),
        )

    def _holds_run(
        self, snapshot: TableSnapshot, app_id: str, high: int, files: Sequence[WrittenFile]
    ) -> bool:
        if snapshot.watermarks[app_id] != high or not files:
            return False
        present = {f.path for f in snapshot.files}
        return all(str(self.folder / file.path) in present for file in files)

    def _commit(
        self,
        files: Sequence[WrittenFile],
        schema: pa.Schema,
        partition_columns: Sequence[str],
        app_id: str,
        high: int,
        run_id: str,
    ) -> None:
        """Commit exactly on top of the loaded table: no retries, no checkpoint, no clean-up."""
        from deltalake import CommitProperties, PostCommitHookProperties, Schema, Transaction
        from deltalake.transaction import AddAction, create_table_with_add_actions

        now = time.time_ns() // 1_000_000
        actions: list[Any] = [
            AddAction(
                path=file.path,
                size=file.size,
                partition_values=dict(file.partition),
                modification_time=now,
                data_change=True,
                stats=file.stats,
            )
            for file in files
        ]
        commit = CommitProperties(
            custom_metadata={"segue.run": run_id},
            max_commit_retries=0,
            app_transactions=[Transaction(app_id, high)],
        )
        hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
        delta_schema = Schema.from_arrow(schema)
        if self._loaded is None:
            create_table_with_add_actions(
                str(self.folder),
                delta_schema,
                actions,
                mode="error",
                partition_by=list(partition_columns),
                name=self.name,
                commit_properties=commit,
                post_commithook_properties=hooks,
            )
        else:
            self._loaded.create_write_transaction(
                actions,
                mode="append",
                schema=delta_schema,
                partition_by=list(partition_columns),
                commit_properties=commit,
                post_commithook_properties=hooks,
            )

    def check_schema(
        self, schema: pa.Schema, partition_columns: Sequence[str], snapshot: TableSnapshot
    ) -> None:
        """Raise `SchemaError` unless the table at `snapshot` has exactly these columns."""
        if tuple(partition_columns) != snapshot.partition_columns:
            raise SchemaError(
                f"the table {self.name!r} is partitioned by {list(snapshot.partition_columns)!r}, "
                f"this pipeline's output by {list(partition_columns)!r}; "
                "write to another table, or drop this one and run again"
            )
        have = {field.name: field.type for field in snapshot.schema}
        want = {field.name: field.type for field in schema}
        for name, kind in want.items():
            if have.get(name) != kind:
                found = f"{have[name]}" if name in have else "no such column"
                raise SchemaError(
                    f"the pipeline writes column {name!r} as {kind}, the table {self.name!r} has {found}; "
                    "write to another table, or drop this one and run again",
                    name,
                )
        for name in have:
            if name not in want:
                raise SchemaError(
                    f"the table {self.name!r} has a column {name!r} that the pipeline does not write; "
                    "write to another table, or drop this one and run again",
                    name,
                )


def _first_line(error: BaseException) -> str:
    """Return the message without the native backtrace that the library appends."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
