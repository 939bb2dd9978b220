"""The dimensions of one database: their files, their names in the catalog, and those that were read."""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path
from typing import Any

from .catalog import Catalog, CatalogState, DimensionEntry, check_name
from .dimension import (
    Dimension,
    as_table,
    check_dimension,
    read_dimension,
    remove_other_files,
    write_dimension,
)
from .durable import FileLock
from .errors import CorruptionError, InvalidError, StorageError
from .pipeline import PipelineDefinition
from .trash import Trash

__all__ = ["DimensionStore"]


class DimensionStore:
    """Puts, gives and drops dimensions. Safe to use from several threads.

    Parameters
    ----------
    path
        The database's directory.
    catalog
        Names the current file of each dimension.
    trash
        Where dropped folders go.
    """

    def __init__(self, path: Path, catalog: Catalog, trash: Trash) -> None:
        self._path = path
        self._catalog = catalog
        self._trash = trash
        self._read: dict[str, tuple[str, Dimension]] = {}  # by name: the file it was read from, and its rows
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with a new lock: a thread that exists in the parent only may hold the old one."""
        self._mutex = threading.RLock()

    def _lock(self, name: str) -> FileLock:
        """Return the lock for whoever writes this table's files."""
        return FileLock(self._path / "locks" / f"{name}.lock", f"the table {name!r}", timeout=60.0)

    def put(self, name: str, table: Any, key: str) -> None:
        """Store or replace a dimension; see `Database.put_dimension`."""
        check_name(name)
        _own_name(self._catalog.read(), name)
        checked = check_dimension(name, as_table(table), key)
        with self._lock(name):
            own = _own_name(self._catalog.read(), name)
            folder = self._path / "warehouse" / own
            file = write_dimension(folder, own, checked)

            def add(state: CatalogState) -> tuple[CatalogState, None]:
                _own_name(state, own)
                before = state.dimensions.get(own)
                entry = DimensionEntry(key, file, checked.num_rows, before.generation + 1 if before else 1)
                return state.with_changes(dimensions=state.dimensions | {own: entry}), None

            try:
                self._catalog.update(add)
            except BaseException:
                with contextlib.suppress(OSError):
                    (folder / file).unlink()
                raise
            remove_other_files(folder, file)
        with self._mutex:
            self._read[own] = (file, Dimension(own, key, checked))

    def get(self, name: str) -> Dimension:
        """Return a dimension with its rows, as of now."""
        for _ in range(10):
            state = self._catalog.read()
            own = state.require(name, "dimension", self._path)
            entry = state.dimensions[own]
            with self._mutex:
                cached = self._read.get(own)
            if cached is not None and cached[0] == entry.file:
                return cached[1]
            path = self._path / "warehouse" / own / entry.file
            try:
                found = Dimension(own, entry.key, read_dimension(path))
            except FileNotFoundError:
                if self._catalog.read().dimensions.get(own) == entry:
                    raise CorruptionError(
                        f"the file {path} of dimension {own!r} is gone; put the dimension again", str(path)
                    ) from None
                continue  # Replaced between reading the catalog and the file.
            with self._mutex:
                self._read[own] = (entry.file, found)
            return found
        raise StorageError(
            f"dimension {name!r} is replaced faster than it can be read", str(self._path), errno.EAGAIN
        )

    def drop(self, name: str, force: bool) -> None:
        """Remove a dimension, given as it is spelled; not one that a pipeline joins, unless `force`."""

        def remove(now: CatalogState) -> tuple[CatalogState, None]:
            for pipeline in now.pipelines.values():
                definition = PipelineDefinition.from_json(pipeline.definition)
                if not force and any(join.dimension == name for join in definition.joins):
                    raise InvalidError(
                        f"dimension {name!r} is joined by pipeline {definition.id!r}; drop its table "
                        f"{definition.table!r} first, or drop with force=True"
                    )
            return now.with_changes(dimensions={n: d for n, d in now.dimensions.items() if n != name}), None

        with self._lock(name):
            self._catalog.update(remove)
            with self._mutex:
                self._read.pop(name, None)
            self._trash.discard(self._path / "warehouse" / name)

    def forget(self) -> None:
        """Let go of what was read."""
        with self._mutex:
            self._read.clear()


def _own_name(state: CatalogState, name: str) -> str:
    """Return the spelling under which a dimension may be put: a free name, or that of a dimension."""
    found = state.find(name)
    if found is None:
        return name
    if found[0] != "dimension":
        state.require_free(name)
    return found[1]
