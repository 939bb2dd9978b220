"""A database: one directory with event tables, dimensions and fact tables, under one catalog."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from .catalog import Catalog, CatalogState, FactEntry, PipelineEntry
from .dimension import Dimension
from .dimension_store import DimensionStore
from .durable import storage_error, sync_directory
from .errors import ClosedError, CorruptionError, InvalidError, LockedError, StorageError
from .event_tables import EventTables
from .pipeline import Job, Pipeline, PipelineDefinition
from .scratch import ScratchFolders
from .table_relations import fact_relation, resolver
from .trash import Trash
from .warehouse import FactTable
from .warehouse_types import arrow_schema, require_distinct, widened

if TYPE_CHECKING:
    import datetime as dt

    import pyarrow as pa

    from .events import Events
    from .pipeline_run import RunReport
    from .relations import ParquetRelation
    from .result import Explain, Result

__all__ = ["Database", "WideningWarning", "open"]

Durability = Literal["commit", "interval", "os"]
Mode = Literal["rw", "r"]

_all: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for database in _all:  # A thread that exists in the parent only may hold a lock.
        database._mutex = threading.RLock()
        database._event_tables.after_fork()
        database._dimension_store.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


class WideningWarning(UserWarning):
    """A column of an event table will have another type in the warehouse."""


def open(  # noqa: A001 - segue.open is the name, like gzip.open
    path: str | os.PathLike[str],
    durability: Durability = "commit",
    mode: Mode = "rw",
    progress: bool = False,
) -> Database:
    """Open a database, making its directory on first use.

    Parameters
    ----------
    path
        The directory.
    durability
        What an append survives once it has returned: ``"commit"`` power loss, ``"os"`` a killed
        process, ``"interval"`` as ``"os"``, with a sync in the background every few milliseconds.
    mode
        ``"rw"``, or ``"r"`` to read events beside the process that writes them, as they were when first
        used or at the last `Database.refresh`. Pipelines and `Database.put_dimension` work in both.
    progress
        Show a bar when an event table takes longer than a second to open, as its log is read again: after
        a crash, or when much was appended since the last flush.

    Examples
    --------
    >>> import segue, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with segue.open(folder + "/music") as db:
    ...         db.put_dimension("artists", {"id": [1, 2], "artist": ["Miles", "Nina"]}, key="id")
    ...         db.sql("SELECT artist FROM artists WHERE id = 2").fetchall()
    [('Nina',)]
    """
    return Database(path, durability, mode, progress)


class Database:
    """One directory of event tables and a warehouse; made by `segue.open`.

    A context manager. Safe to use from several threads. Event tables have one writer process
    each; everything else may be done from several processes at once.

    Attributes
    ----------
    path
        The directory, absolute.
    mode
        ``"rw"`` or ``"r"``.
    durability, progress
        As given to `segue.open`.
    catalog
        What the database holds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: str = "commit",
        mode: str = "rw",
        progress: bool = False,
    ) -> None:
        self._closed = True  # Until it is open; `__del__` runs even when this fails.
        if durability not in ("commit", "interval", "os"):
            raise InvalidError(f'durability={durability!r} is unknown; use "commit", "interval" or "os"')
        if mode not in ("rw", "r"):
            raise InvalidError(f'mode={mode!r} is unknown; use "rw" or "r"')
        if not isinstance(path, str | os.PathLike) or not (name := os.fspath(path)) or "\0" in str(name):
            raise InvalidError(f"{path!r} is no path; name a directory, which is made on first use")
        self.path = Path(os.path.abspath(os.fsdecode(name)))
        self.mode = mode
        self.durability = durability
        self.progress = progress
        self.catalog = Catalog(self.path)
        self._mutex = threading.RLock()  # guards _facts, and closing
        self._facts: dict[str, FactTable] = {}
        self._trash = Trash(self.path)
        self._dimension_store = DimensionStore(self.path, self.catalog, self._trash)
        self._event_tables = EventTables(
            self.path,
            self.catalog,
            self._trash,
            _taken_by_pipelines(self),
            mode=mode,
            durability=durability,
            progress=progress,
        )
        self._open_directory()
        self._closed = False
        _all.add(self)

    def _open_directory(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StorageError(
                f"cannot open a database at {str(self.path)!r}: it is a file", str(self.path), errno.ENOTDIR
            )
        if not self.catalog.exists():
            for part in ("events", "warehouse"):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    if os.listdir(self.path / part):
                        raise CorruptionError(
                            f"the catalog {self.catalog.path} is gone, but {self.path / part} is not empty; "
                            "restore it from a backup",
                            str(self.catalog.path),
                        )
            if self.mode == "r":
                what = "it has no catalog" if self.path.exists() else "there is no such directory"
                raise StorageError(
                    f'no Segue database at {str(self.path)!r}: {what}; open it with mode="rw" to make one',
                    str(self.path),
                    errno.ENOENT,
                )
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                for part in ("events", "warehouse"):
                    (self.path / part).mkdir(exist_ok=True)
                self.catalog.create()
                sync_directory(self.path.parent)
            except OSError as e:
                if isinstance(e, StorageError | LockedError):
                    raise
                raise storage_error(e, f"cannot make a database at {str(self.path)!r}") from e
        self.catalog.read()
        if self.mode == "rw":
            # Left by a process that died while it removed them.
            self._trash.remove_left()
            ScratchFolders(self.path).remove_left()

    # Life

    def close(self) -> None:
        """Close the event tables that were opened here. Calling it again does nothing."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._facts.clear()
        self._dimension_store.forget()
        self._event_tables.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(
                f"{self!r} was never closed; use it in a with statement",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            with contextlib.suppress(Exception):
                self.close()

    def __repr__(self) -> str:
        if self._closed:
            where = str(self.path) if hasattr(self, "path") else "?"
            return f"Database({where!r}, closed)"
        try:
            state = self.catalog.read()
        except Exception as e:  # A repr never fails.
            return f"Database({str(self.path)!r}, mode={self.mode!r}, catalog unreadable: {type(e).__name__})"
        return (
            f"Database({str(self.path)!r}, mode={self.mode!r}, {len(state.events)} events, "
            f"{len(state.dimensions)} dimensions, {len(state.facts)} facts)"
        )

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the database {str(self.path)!r} is closed")

    # Event tables

    def create_events(
        self,
        name: str,
        schema: Any,
        key: str | Sequence[str],
        time: str,
        window: str | dt.timedelta = "day",
    ) -> Events:
        """Make an event table.

        Parameters
        ----------
        name
            ASCII letters, digits and underscores; unique in the database, without case.
        schema
            A `pyarrow.Schema`, or anything with ``__arrow_c_schema__``.
        key
            Column or columns that events are looked up by.
        time
            A timestamp column. What stands in it, as in every timestamp column, is of the years 1 to 9999.
        window
            Events are stored, merged and expired by windows of the time column, in UTC from 1970 on:
            ``"day"``, ``"hour"``, ``"minute"`` or a ``timedelta``. A window of few events shares its file
            with neighbours, so a small one costs little; see docs/event-store.md.

        Warns
        -----
        WideningWarning
            The warehouse keeps some column in another type, such as uint64 as decimal(20, 0).

        Examples
        --------
        >>> import pyarrow as pa, segue, tempfile
        >>> schema = pa.schema({"shop": pa.string(), "user": pa.int64(), "at": pa.timestamp("us")})
        >>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/shop") as db:
        ...     orders = db.create_events("orders", schema, key=["shop", "user"], time="at", window="hour")
        ...     orders.append("north", 7, 0)
        1
        """
        self._require_open()
        self._event_tables.require_free(name)
        arrow = arrow_schema(schema)
        changed = widened(arrow)
        require_distinct(arrow.names, f"events {name!r}")
        handle = self._event_tables.create(name, arrow, key, time, window)
        if changed:
            columns = ", ".join(f"{column} ({old} becomes {new})" for column, (old, new) in changed.items())
            warnings.warn(
                f"events {name!r}: Delta Lake cannot hold some types, so the warehouse widens {columns}",
                WideningWarning,
                stacklevel=2,
            )
        return handle

    @overload
    def events(self) -> list[str]: ...
    @overload
    def events(self, name: str) -> Events: ...

    def events(self, name: str | None = None) -> Events | list[str]:
        """Return the event table of a name, opened on first use; without a name, the names of all."""
        self._require_open()
        return sorted(self.catalog.read().events) if name is None else self._event_tables.get(name)

    def refresh(self) -> None:
        """With ``mode="r"``: let the event tables show what their writing process has acknowledged by now.

        Closes tables that were dropped. Statements with ``fresh=True`` and pipeline runs begin with it.
        """
        self._require_open()
        if self.mode == "r":
            self._event_tables.refresh()

    # Dimensions

    def put_dimension(self, name: str, table: Any, key: str) -> None:
        """Store a small table, or replace it: atomically, durably, at once visible to SQL.

        Parameters
        ----------
        name
            ASCII letters, digits and underscores.
        table
            Anything that speaks Arrow (pyarrow, pandas, Polars), or a dict of columns.
        key
            The column that facts join on: unique, without nulls.

        Examples
        --------
        >>> import segue, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
        ...     db.put_dimension("songs", {"song_id": [1, 1], "title": ["a", "b"]}, key="song_id")
        Traceback (most recent call last):
        segue.errors.InvalidError: dimension 'songs': key 'song_id' has the value 1 2 times; a key is unique
        """
        self._require_open()
        self._dimension_store.put(name, table, key)

    def dimension(self, name: str) -> Dimension:
        """Return a dimension with its rows, as of now."""
        self._require_open()
        return self._dimension_store.get(name)

    # Pipelines and facts

    def pipeline(self, source: str) -> Pipeline:
        """Begin a pipeline from an event table; see `segue.pipeline.Pipeline`."""
        events = self.events(source)
        return Pipeline(self, PipelineDefinition(events.name, "", events.time), events.schema)

    def pipelines(self) -> dict[str, PipelineDefinition]:
        """Return the pipelines that were run, by their ids (``"listens:fact_plays"``)."""
        self._require_open()
        entries = self.catalog.read().pipelines
        return {name: PipelineDefinition.from_json(entries[name].definition) for name in sorted(entries)}

    def pipeline_named(self, name: str) -> Job:
        """Return a pipeline that was run before, ready to run again.

        Parameters
        ----------
        name
            Its id, or the name of its fact table if only one pipeline writes that.
        """
        known = self.pipelines()
        found = (
            [known[name]] if name in known else [d for d in known.values() if d.table.lower() == name.lower()]
        )
        if len(found) != 1:
            have = f"there are {', '.join(known)}" if known else "none was run yet"
            problem = "several pipelines write" if found else "no pipeline is or writes"
            raise InvalidError(f"{problem} {name!r}; {have}")
        return Job(self, found[0], self.events(found[0].source).schema)

    def run_pipelines(
        self, memory: int | str = "1GiB", threads: int = 2, progress: bool = False
    ) -> list[RunReport]:
        """Run every pipeline of the catalog, in order of their ids."""
        return [
            self.pipeline_named(name).run(memory=memory, threads=threads, progress=progress)
            for name in self.pipelines()
        ]

    def check_target(self, definition: PipelineDefinition) -> None:
        """Raise `InvalidError` unless a pipeline may write its table."""
        state = self.catalog.read()
        found = state.find(definition.table)
        if found is None:
            return
        if found[0] != "fact":
            state.require_free(definition.table)
        if found[1] != definition.table:
            raise InvalidError(f"write the table as it is spelled: {found[1]!r}")

    def register_pipeline(self, definition: PipelineDefinition, store_id: str) -> None:
        """Record a pipeline and its table in the catalog; nothing happens if they stand there."""
        entry = PipelineEntry(definition.source, definition.table, store_id, definition.to_json())

        def add(state: CatalogState) -> tuple[CatalogState, None]:
            facts = state.facts
            if definition.table not in facts:
                state.require_free(definition.table)
                facts = facts | {definition.table: FactEntry(definition.table_partitions)}
            return state.with_changes(facts=facts, pipelines=state.pipelines | {definition.id: entry}), None

        if self.catalog.read().pipelines.get(definition.id) != entry:
            self.catalog.update(add)

    def fact_table(self, name: str) -> FactTable:
        """Return the fact table of a name."""
        self._require_open()
        with self._mutex:
            table = self._facts.get(name)
            if table is None:
                lock_path = self.path / "locks" / f"{name}.lock"
                table = self._facts[name] = FactTable(name, self.path / "warehouse" / name, lock_path)
            return table

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """Give a folder for spilled runs, removed afterwards; elsewhere if the database is read-only."""
        return ScratchFolders(self.path).folder()

    # Removal

    def drop(self, name: str, force: bool = False) -> None:
        """Remove a table with its files.

        A dimension that a pipeline joins is not dropped, nor an event table with events that a
        pipeline has not taken; `force` overrides both. With an event table or a fact table go
        its pipelines.

        Parameters
        ----------
        name
            The table.
        force
            Drop it all the same.

        Examples
        --------
        >>> import segue, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
        ...     db.put_dimension("artists", {"id": [1]}, key="id")
        ...     db.drop("artists")
        ...     db.catalog.read().names()
        []
        """
        self._require_open()
        state = self.catalog.read()
        found = state.find(name)
        if found is None:
            have = ", ".join(state.names()) or "no table"
            raise InvalidError(f"no table is named {name!r} in {str(self.path)!r}; it has {have}")
        kind, own = found
        if kind == "events":
            self._event_tables.drop(own, force)
        elif kind == "dimension":
            self._dimension_store.drop(own, force)
        else:
            self._drop_fact(own)

    def _taken(self, name: str, store_id: str) -> dict[str, int]:
        """Return the highest sequence number of an event table that each of its pipelines has taken."""
        from .pipeline_run import app_id

        taken: dict[str, int] = {}
        for pipeline in self.catalog.read().pipelines.values():
            if pipeline.source == name:
                definition = PipelineDefinition.from_json(pipeline.definition)
                app = app_id(store_id, definition)
                published = self.fact_table(definition.table).snapshot([app])
                taken[definition.id] = published.watermarks[app] if published else 0
        return taken

    def _drop_fact(self, name: str) -> None:
        def remove(now: CatalogState) -> tuple[CatalogState, None]:
            facts = {n: f for n, f in now.facts.items() if n != name}
            pipelines = {i: p for i, p in now.pipelines.items() if p.table != name}
            return now.with_changes(facts=facts, pipelines=pipelines), None

        table = self.fact_table(name)
        with table.lock():  # LockedError while a run is under way.
            self.catalog.update(remove)
            with self._mutex:
                self._facts.pop(name, None)
            self._trash.discard(table.folder)

    # SQL

    def sql(
        self,
        statement: str,
        fresh: bool = False,
        strict: bool = False,
        threads: int | None = None,
        memory: int | str | None = None,
    ) -> Result:
        """Run a SQL statement over fact tables, dimensions and event tables.

        Parameters
        ----------
        statement
            One statement. ``INSERT INTO <event table> (...) VALUES (...)`` appends.
        fresh
            Fact tables also give the events that no run has taken yet, joined as a run would; with
            ``mode="r"``, all that the writing process has acknowledged by now.
        strict
            Raise `QueryError` rather than delegate the whole statement to DuckDB.
        threads
            Threads to use; None is as many as there are cores.
        memory
            Bound on DuckDB's memory, such as ``"1GiB"``; None for DuckDB's own.

        Examples
        --------
        >>> import segue, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
        ...     db.put_dimension("songs", {"song_id": [1, 2], "title": ["a", "b"]}, key="song_id")
        ...     db.sql("SELECT COUNT(*) FROM songs").fetchall()
        [(2,)]
        """
        self._require_open()
        from . import query

        with resolver(self, fresh) as resolve:
            return query.run(
                statement,
                resolve,
                names=self._table_names,
                fresh=fresh,
                strict=strict,
                threads=threads,
                memory=memory,
                insert=self._insert,
            )

    def explain(self, statement: str, fresh: bool = False) -> Explain:
        """Return what the kernels would run of a statement, what is delegated, and what is pruned.

        Examples
        --------
        >>> import segue, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
        ...     db.put_dimension("artists", {"id": [1], "name": ["Nina"]}, key="id")
        ...     db.explain("SELECT max(name) FROM artists").native
        False
        """
        self._require_open()
        from . import query

        with resolver(self, fresh) as resolve:
            return query.explain(statement, resolve, names=self._table_names, fresh=fresh)

    def _table_names(self) -> list[str]:
        return self.catalog.read().names()

    def _insert(self, table: str, columns: Sequence[str], rows: pa.Table) -> tuple[int, int]:
        return self.events(table).append_batch(rows.select(list(columns)))

    def _fact_relation(self, name: str) -> ParquetRelation:
        return fact_relation(self, name)


def _taken_by_pipelines(database: Database) -> Callable[[str, str], dict[str, int]]:
    """Return `Database._taken` for handles, which do not keep their database alive."""
    alive = weakref.ref(database)

    def taken(name: str, store_id: str) -> dict[str, int]:
        own = alive()
        if own is None:
            raise ClosedError(f"the database of {name!r} is gone; keep it while its tables are used")
        return own._taken(name, store_id)

    return taken
