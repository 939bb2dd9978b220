"""The event tables of one database: their folders, their names in the catalog, and those that are open."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .catalog import Catalog, CatalogState, EventsEntry, check_name
from .durable import sync_directory
from .errors import InvalidError, ReadOnlyError
from .trash import Trash

if TYPE_CHECKING:
    import datetime as dt

    import pyarrow as pa

    from .events import Events

__all__ = ["EventTables"]

#: Of an event table, by name and store: the highest sequence number that each of its pipelines has taken.
Taken = Callable[[str, str], dict[str, int]]


class EventTables:
    """Makes, opens and drops event tables, each open at most once. Safe to use from several threads.

    Parameters
    ----------
    path
        The database's directory.
    catalog
        Names the tables.
    trash
        Where dropped folders go.
    taken
        Asked before events are dropped or expire.
    mode, durability, progress
        As given to `segue.open`.
    """

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        trash: Trash,
        taken: Taken,
        *,
        mode: str,
        durability: str,
        progress: bool,
    ) -> None:
        self._folder = path / "events"
        self._path = path
        self._catalog = catalog
        self._trash = trash
        self._taken = taken
        self._mode = mode
        self._durability = durability
        self._progress = progress
        self._open: dict[str, Events] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with a new lock: a thread that exists in the parent only may hold the old one."""
        self._mutex = threading.RLock()

    def create(
        self, name: str, schema: pa.Schema, key: str | Sequence[str], time: str, window: str | dt.timedelta
    ) -> Events:
        """Make an event table; see `Database.create_events`."""
        from .events import Events

        with self._mutex:
            self._remove_unfinished(name)
            handle = Events.create(
                str(self._folder / name), name, schema, key, time, window=window, durability=self._durability
            )
            entry = EventsEntry(handle.store_id, tuple(handle.key), handle.time)

            def add(state: CatalogState) -> tuple[CatalogState, None]:
                state.require_free(name)
                return state.with_changes(events=state.events | {name: entry}), None

            try:
                sync_directory(self._folder)
                self._catalog.update(add)
            except BaseException:
                handle.close()
                shutil.rmtree(self._folder / name, ignore_errors=True)
                raise
            self._keep(name, handle)
        return handle

    def require_free(self, name: str) -> None:
        """Raise an error unless an event table of this name may be made."""
        if self._mode == "r":
            raise ReadOnlyError(f'cannot create events {name!r}: the database is open with mode="r"')
        check_name(name)
        self._catalog.read().require_free(name)

    def _remove_unfinished(self, name: str) -> None:
        """Remove what a `create` that died left in the way; never a store that has events."""
        from .events import Events

        folder = self._folder / name
        if not folder.exists():
            return
        if (folder / "MANIFEST").exists():
            with Events.open(str(folder), name, durability=self._durability, progress=self._progress) as left:
                if left.sync() > 0:
                    raise InvalidError(
                        f"{folder} holds events, but the catalog does not know it (an old copy?); "
                        "move the folder away, or choose another name"
                    )
        self._trash.discard(folder)

    def get(self, name: str) -> Events:
        """Return the event table of a name, opened on first use."""
        from .events import Events

        state = self._catalog.read()
        own = state.require(name, "events", self._path)
        with self._mutex:
            handle = self._open.get(own)
            if handle is not None and handle.store_id != state.events[own].store_id:
                handle.close()  # Its table was dropped by another process, and made anew.
            if handle is None or handle.closed:
                handle = Events.open(
                    str(self._folder / own),
                    own,
                    durability=self._durability,
                    mode=self._mode,
                    progress=self._progress,
                )
                self._keep(own, handle)
            return handle

    def _keep(self, name: str, handle: Events) -> None:
        """Keep a handle, and let it ask what its pipelines have taken."""
        taken = self._taken

        handle.taken = lambda: taken(name, handle.store_id)
        handle.owned = True
        self._open[name] = handle

    def refresh(self) -> None:
        """Let the open ones show what their writer has acknowledged; close those that were dropped."""
        state = self._catalog.read()
        with self._mutex:
            for name, handle in list(self._open.items()):
                entry = state.events.get(name)
                if entry is None or entry.store_id != handle.store_id:
                    del self._open[name]
                    handle.close()
                elif not handle.closed:
                    handle.refresh()

    def drop(self, name: str, force: bool) -> None:
        """Remove an event table, given as it is spelled, with its pipelines.

        Not one with events that a pipeline has not taken, unless `force`.
        """
        if self._mode == "r":
            raise ReadOnlyError(f'cannot drop events {name!r}: the database is open with mode="r"')
        # Opening it for writing proves that no other process has it.
        handle = self.get(name)
        if not force:
            self._require_taken(name, handle)

        def remove(now: CatalogState) -> tuple[CatalogState, None]:
            events = {n: e for n, e in now.events.items() if n != name}
            pipelines = {i: p for i, p in now.pipelines.items() if p.source != name}
            return now.with_changes(events=events, pipelines=pipelines), None

        with self._mutex:
            self._catalog.update(remove)
            self._open.pop(name, None)
            handle.close()
            self._trash.discard(self._folder / name)

    def _require_taken(self, name: str, handle: Events) -> None:
        with handle.snapshot() as snapshot:
            last = snapshot.sequence
        for pipeline, taken in self._taken(name, handle.store_id).items():
            if taken < last:
                raise InvalidError(
                    f"events {name!r} has {last - taken} events that pipeline {pipeline!r} "
                    "has not taken; run it first, or drop with force=True"
                )

    def close(self) -> None:
        """Close those that are open; the first failure is told once all were tried."""
        with self._mutex:
            handles, self._open = list(self._open.values()), {}
        failure: BaseException | None = None
        for handle in handles:
            try:
                handle.close()
            except Exception as e:  # The others must be closed too.
                failure = failure or e
        if failure is not None:
            raise failure
