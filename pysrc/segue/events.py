"""Act 1: event tables. A durable, append-only store of one kind of event.

An event goes ``append`` -> WAL -> memtable -> SSTable; see docs/architecture.md. This module turns
Python arguments into Arrow and back; the store itself is native (``csrc/events``).

Threads: one :class:`Events` may be used from many threads at once. Each append, scan and flush
releases the GIL.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, WeakSet

from segue import _engine
from segue._rows import RowAppender
from segue.errors import InvalidError, StorageError
from segue.event_scan import Scan, Snapshot
from segue.event_stats import CommitLatency, EventStats, Stall, WindowStats
from segue.event_values import EventValues, window_width

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    import pyarrow as pa

    from segue.async_commits import AsyncCommits

__all__ = ["EventStats", "Events", "ExpireReport", "Scan", "Snapshot"]


@dataclass(frozen=True)
class ExpireReport:
    """What :meth:`Events.expire` did."""

    before: np.datetime64
    """Events before it are gone: the beginning of a window. NaT when it lies before all that can be."""
    events: int
    """How many events that were."""
    files: int
    """SSTables that went as a whole; what shared one with later windows goes with the next merge."""
    bytes: int
    """Their size."""


class Events:
    """One event table. Made by ``db.create_events`` and ``db.events``.

    ``append(*values, **named)`` appends one event, positional in schema order or by keyword, and returns
    its sequence number. A timestamp is a ``datetime`` (naive: UTC), a ``numpy.datetime64`` or an int in the
    column's unit. Trailing columns that take nulls may be left out. Raises ``SchemaError`` naming the column
    when a value does not fit, and then changes nothing. About a microsecond, plus the wait for the disk
    with ``durability="commit"``.

    Examples
    --------
    >>> import pyarrow as pa, segue, tempfile, datetime as dt
    >>> db = segue.open(tempfile.mkdtemp())
    >>> schema = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
    >>> views = db.create_events("views", schema, key="user", time="at")
    >>> views.append(7, "home", dt.datetime(2024, 1, 1))
    1
    >>> views.append_batch({"user": [7, 8], "page": ["cart", "home"], "at": [1_704_070_800_000_000] * 2})
    (2, 3)
    >>> views.scan(key=7, columns=["page"]).to_arrow().to_pydict()
    {'page': ['home', 'cart']}
    >>> db.close()
    """

    append: Callable[..., int]
    owned = False
    """Whether a database closes it."""

    def __init__(self, store: _engine.EventStore, name: str, path: str) -> None:
        import pyarrow as pa

        self._store = store
        self.name = name
        self.path = path
        self.schema: pa.Schema = pa.schema(store)
        self.key: tuple[str, ...] = tuple(store.key)
        self.time: str = store.time
        self.store_id: str = store.store_id
        """Identity of the table for life, 32 hexadecimal digits."""
        self._names: list[str] = self.schema.names
        self._values = EventValues(store, self.schema)
        self.closed = False
        """Whether :meth:`close` was called."""
        self.taken: Callable[[], Mapping[str, int]] | None = None
        """Gives up to which sequence number each pipeline has taken events; set by the database."""
        self._rows = RowAppender(store)
        self.append = self._rows.append
        self._async_commits: WeakKeyDictionary[Any, AsyncCommits] = WeakKeyDictionary()  # by event loop
        _open.add(self)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        name: str,
        schema: Any,
        key: str | Sequence[str],
        time: str,
        *,
        window: str | dt.timedelta = "day",
        durability: str = "commit",
        _options: Mapping[str, int] | None = None,
        _env: Any = None,
    ) -> Events:
        """Make a new event table in the directory ``path`` and open it for writing."""
        import pyarrow as pa

        arrow = schema if isinstance(schema, pa.Schema) else pa.schema(schema)
        keys = [key] if isinstance(key, str) else list(key) if isinstance(key, Sequence) else [key]
        for what, column in (*(("key", column) for column in keys), ("time", time)):
            if not isinstance(column, str):
                raise InvalidError(f"{what}={column!r} is no column name; give a string")
        width = window_width(window, arrow, time)
        _engine.EventStore.create(os.fspath(path), arrow, keys, time, width, _env)
        return cls.open(path, name, durability=durability, _options=_options, _env=_env)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        name: str,
        *,
        durability: str = "commit",
        mode: str = "rw",
        progress: bool = False,
        _options: Mapping[str, int] | None = None,
        _env: Any = None,
    ) -> Events:
        """Open an existing event table.

        What its log holds is read into memory again. Ctrl-C stops that, and changes nothing: the next open
        finds the table as this one found it.

        Parameters
        ----------
        path, name
            Its directory, and what it is called in messages.
        durability, mode
            As in `segue.open`.
        progress
            Show a bar on standard error once it takes longer than a second.

        Raises
        ------
        LockedError
            Another process, or another handle of this one, has it open for writing.
        CorruptionError
            A file is damaged; the error names it and the offset.
        StorageError
            The directory is missing or may not be read.
        """
        if mode not in ("rw", "r"):
            raise InvalidError(f"mode={mode!r} is unknown; use 'rw' or 'r'")
        directory = os.fspath(path)
        if _env is None and not (Path(directory) / "MANIFEST").exists():
            raise StorageError(f"there is no event table in {directory!r}", directory, 2)
        native = partial(
            _engine.EventStore.open, directory, durability, mode == "r", dict(_options or {}), _env
        )
        if not progress:
            return cls(native(), name, directory)
        from segue.progress import RunProgress

        with RunProgress(f"open {name}", enabled=True) as bar:
            return cls(native(bar.measured("bytes of log read")), name, directory)

    def __repr__(self) -> str:
        mode = "r" if self._store.read_only else "rw"
        key = ", ".join(self.key)
        return f"<segue.Events {self.name!r} key=({key}) time={self.time!r} mode={mode!r} at {self.path!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self.owned or getattr(self, "closed", True):
            return
        warnings.warn(
            f"{self!r} was never closed; use it in a with statement",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        with contextlib.suppress(Exception):
            self.close()

    async def append_async(self, *values: Any, **named: Any) -> int:
        """Append one event from a coroutine: as ``append``, but the event loop runs on while the disk works.

        With ``durability="commit"``, all who call it in one turn of the event loop share one commit. A call
        that is cancelled while it waits has appended its event all the same. Batches are large enough for a
        thread each: ``await asyncio.to_thread(events.append_batch, data)``.

        Examples
        --------
        >>> import asyncio, pyarrow as pa, segue, tempfile
        >>> db = segue.open(tempfile.mkdtemp())
        >>> schema = pa.schema({"user": pa.int64(), "at": pa.timestamp("us")})
        >>> logins = db.create_events("logins", schema, key="user", time="at")
        >>> async def serve():
        ...     return await asyncio.gather(*(logins.append_async(user, 0) for user in range(3)))
        >>> sorted(asyncio.run(serve()))
        [1, 2, 3]
        >>> db.close()
        """
        import asyncio

        loop = asyncio.get_running_loop()
        sequence = self._rows.try_append(*values, **named)
        if sequence is None:
            append = partial(self._rows.append_unacknowledged, *values, **named)
            # Shielded: a call that is cancelled has appended all the same, even if it had no thread yet.
            sequence = await asyncio.shield(loop.run_in_executor(None, append))
        if self._store.commits:
            commits = self._async_commits.get(loop)
            if commits is None:
                from segue.async_commits import AsyncCommits

                commits = self._async_commits[loop] = AsyncCommits(self._rows.wait)
            await commits.wait(sequence)
        return sequence

    def append_batch(self, data: Any, token: str | None = None) -> tuple[int, int]:
        """Append many events at once: all of them or, on any error, none.

        Only after a sync that failed (``StorageError``; nothing is appended any more) it is open whether they
        survive. A batch without rows stores nothing, and its token neither.

        Parameters
        ----------
        data
            Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, pandas, Polars, DuckDB), a
            mapping of column name to numpy array or list, or a list of mappings. Columns are matched by name.
        token
            Makes a retry safe: a token that was committed before is acknowledged with its first sequence
            range, and nothing is stored again, across restarts too.

        Returns
        -------
        tuple of int
            First and last sequence number; ``first = last + 1`` when there were no rows.

        Raises
        ------
        SchemaError
            A column is missing, unknown, of the wrong type, or null where it must not be.
        InvalidError
            The token was used before with other content.

        Examples
        --------
        >>> import pyarrow as pa, segue, tempfile
        >>> db = segue.open(tempfile.mkdtemp())
        >>> schema = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
        >>> views = db.create_events("views", schema, key="user", time="at")
        >>> views.append_batch([{"user": 7, "page": "home", "at": 10}, {"user": 8, "page": "cart", "at": 11}])
        (1, 2)
        >>> more = {"user": [7], "page": ["cart"], "at": [12]}
        >>> views.append_batch(more, token="file 17"), views.append_batch(more, token="file 17")
        ((3, 3), (3, 3))
        >>> db.close()
        """
        if token is not None and (not isinstance(token, str) or not token):
            raise InvalidError(f"token={token!r} is no token; give a string, or None for no token")
        # An array first: a RecordBatch makes a stream of itself only by way of a table.
        if hasattr(data, "__arrow_c_array__"):
            schema, array = data.__arrow_c_array__()
            return self._store.append_array(schema, array, token or "")
        if hasattr(data, "__arrow_c_stream__"):
            return self._store.append_stream(data.__arrow_c_stream__(), token or "")
        schema, array = self._values.batch(data).__arrow_c_array__()
        return self._store.append_array(schema, array, token or "")

    def scan(
        self,
        key: Any = None,
        since: Any = None,
        until: Any = None,
        columns: Sequence[str] | None = None,
        descending: bool = False,
        ordered: bool = False,
        limit: int | None = None,
    ) -> Scan:
        """Rows of the table as they are now.

        Parameters
        ----------
        key
            Only this key's events, by time, then sequence; a tuple in key order for a key of several columns.
        since, until
            Times, inclusive and exclusive: ``datetime``, ``numpy.datetime64`` or int in the column's unit.
        columns
            Which, in which order; None for all.
        descending
            Newest first.
        ordered
            Without a key: by time, then sequence (an external sort). Otherwise the order is unspecified.
        limit
            At most so many rows; None for all.

        Examples
        --------
        >>> import pyarrow as pa, segue, tempfile
        >>> db = segue.open(tempfile.mkdtemp())
        >>> schema = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
        >>> views = db.create_events("views", schema, key="user", time="at")
        >>> _ = views.append_batch({"user": [7, 8, 7], "page": ["home", "home", "cart"], "at": [10, 11, 12]})
        >>> views.scan(key=7, columns=["page"], descending=True, limit=1).to_arrow().to_pydict()
        {'page': ['cart']}
        >>> [batch.num_rows for batch in views.scan(since=11).batches()]
        [2]
        >>> db.close()
        """
        return Snapshot(self, implied=True).scan(key, since, until, columns, descending, ordered, limit)

    def snapshot(self) -> Snapshot:
        """Take the table as of now, unchanged by later appends."""
        return Snapshot(self)

    def refresh(self) -> int:
        """With ``mode="r"``: show what the writing process has acknowledged by now; return the last sequence.

        Reads on in the log from where the last refresh ended, and opens what SSTables are new: some 10
        microseconds when little has happened. Snapshots and scans that are open do not change. In the
        writing process itself every event shows at once, and there is nothing to do.

        Examples
        --------
        >>> import pyarrow as pa, segue, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> writer = segue.open(folder)
        >>> schema = pa.schema({"user": pa.int64(), "at": pa.timestamp("us")})
        >>> logins = writer.create_events("logins", schema, key="user", time="at")
        >>> reader = segue.open(folder, mode="r")  # in another process, as a rule
        >>> seen = reader.events("logins")
        >>> _ = logins.append(7, 0)
        >>> seen.scan().to_arrow().num_rows, seen.refresh(), seen.scan().to_arrow().num_rows
        (0, 1, 1)
        >>> reader.close(), writer.close()
        (None, None)
        """
        return self._store.refresh()

    def sync(self) -> int:
        """Make every event appended before survive power loss; return the highest durable sequence.

        With ``mode="r"`` it writes nothing: the number is how far the writing process had synced at the
        last :meth:`refresh`.
        """
        return self._store.sync()

    def flush(self) -> None:
        """Write everything in memory to SSTables."""
        self._store.flush()

    def compact(self, progress: bool = False) -> int:
        """Merge what is stored now until each time window of many events is one file.

        The background does that by itself, bit by bit, for windows that gain by it. Events appended meanwhile
        are not waited for. Ctrl-C stops it; what was merged by then stays merged.

        Parameters
        ----------
        progress
            Show a bar on standard error once it takes longer than a second.

        Returns
        -------
        int
            In how many files the events of one window are at most; more than one where late or sparse events
            share a file with those of other windows.
        """
        if not progress:
            return self._store.compact()
        from segue.progress import RunProgress

        with RunProgress(f"compact {self.name}", enabled=True) as bar:
            return self._store.compact(bar.measured("bytes merged"))

    def expire(self, before: Any, force: bool = False) -> ExpireReport:
        """Drop the time windows that lie wholly before a time, durably and all at once.

        Only what is stored now expires; an event that arrives later is kept, however old its time is.

        Parameters
        ----------
        before
            A ``datetime``, ``numpy.datetime64`` or int in the time column's unit; rounded down to the
            beginning of a window.
        force
            Also drop events that a pipeline of the database has not taken.

        Raises
        ------
        InvalidError
            A pipeline has not taken some of those events. Nothing was changed.

        Examples
        --------
        >>> import pyarrow as pa, segue, tempfile, datetime as dt
        >>> db = segue.open(tempfile.mkdtemp())
        >>> views = db.create_events("views", {"user": pa.int64(), "at": pa.timestamp("us")}, "user", "at")
        >>> _ = views.append(7, dt.datetime(2024, 1, 1)), views.append(7, dt.datetime(2024, 1, 2, 5))
        >>> report = views.expire(before=dt.datetime(2024, 1, 2, 12))
        >>> str(report.before), report.events
        ('2024-01-02T00:00:00.000000', 1)
        >>> views.scan().to_arrow().num_rows
        1
        >>> db.close()
        """
        bound = self._values.time("before", before)
        if bound is None:
            raise InvalidError("before=None is no time; give a datetime, a numpy.datetime64 or an int")
        taken = {} if force or self.taken is None else self.taken()
        lowest = min(taken.values(), default=2**64 - 1)
        first_kept, events, files, size, untaken = self._store.expire(bound, lowest)

        import numpy as np

        unit = self.schema.field(self.time).type.unit
        first = np.datetime64(first_kept, unit)
        if untaken:
            behind = sorted(pipeline for pipeline, sequence in taken.items() if sequence == lowest)
            raise InvalidError(
                f"{untaken} events of {self.name!r} before {first} have not been taken by pipeline "
                f"{', '.join(behind)}; run it first, or expire with force=True"
            )
        return ExpireReport(first, events, files, size)

    def verify(self) -> None:
        """Read every file that holds events and check every checksum; of logs, as far as they were synced.

        Raises
        ------
        CorruptionError
            With the path and offset of the first damage found.
        """
        self._store.verify()

    def stats(self) -> EventStats:
        """Counters, sizes, latencies and causes of waiting; see :class:`EventStats`."""
        values = self._store.stats()
        buckets, longest = values.pop("commits")
        values["commits"] = CommitLatency(
            tuple((bound / 1e9, count) for bound, count in buckets), longest / 1e9
        )
        values["stalls"] = {cause: Stall(count, ns / 1e9) for cause, (count, ns) in values["stalls"].items()}
        values["windows"] = tuple(WindowStats(*window) for window in values["windows"])
        return EventStats(**values)

    def record_handoff(self, sequence: int) -> None:
        """Note durably that a pipeline publishes up to ``sequence``: no such number is issued again.

        Events up to it are synced before, whatever the durability.
        """
        self._store.record_handoff(sequence)

    def close(self) -> None:
        """Sync and close. Idempotent; scans and snapshots that are open stay readable."""
        self.closed = True
        self._store.close()


# A background thread of a store that is open while the interpreter goes down, or another thread in the
# middle of an append, would meet an interpreter that is half gone.
_open: WeakSet[Events] = WeakSet()


def _close_all() -> None:
    for events in list(_open):
        try:
            events._store.close()
        except Exception as error:  # The others must be closed too.
            logging.getLogger("segue").error("closing %r at exit: %s", events.name, error)


atexit.register(_close_all)
