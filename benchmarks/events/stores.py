"""Event stores behind one small interface: ours and the peers, each set up as its documentation recommends.

``durability`` is ``os`` (survives a killed process), ``interval`` (synced every few milliseconds) or
``commit`` (on return it survives power loss). Loops over rows lie in the stores, so that no contender pays
for an indirection that another does not have. What the packing of untyped bytes costs is part of the work.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.events.encoding import (
    KEY,
    LAST_COUNTER,
    LAST_TIME,
    VALUE,
    Dictionaries,
    Digest,
    Row,
    pack,
)

INTERVAL = 0.005
"""Seconds between syncs with durability ``interval``: what Segue does by default."""

_KEYS = "20-byte keys (user, time inverted, counter inverted), so that the newest are read forwards"
OPTIONS = {
    "segue": "defaults; Arrow in and out; flushes and compaction in the background",
    "rocksdict": f"WriteBatch; {_KEYS}; LZ4, bottommost zstd; 16 KiB blocks, prefix extractor 8 bytes, bloom "
    "filter 10 bits; index and filters in memory, outside of the block cache of 64 MiB; write buffers "
    "3 x 64 MiB, memtable prefix bloom 0.1, dynamic levels, bytes_per_sync 1 MiB, two background threads; "
    "the rest as the wiki's Basic Tuning says. For interval a thread calls flush_wal(sync)",
    "plyvel": "WriteBatch; the same keys; Snappy, bloom filter 10 bits, write buffer and block cache 64 MiB. "
    "For interval the first put that is due syncs",
    "lmdb": "the same keys; cursor.putmulti, one transaction a batch, or a put and a transaction a row; "
    "MDB_NOSYNC where not durable",
    "sqlite3": "a table without an index (it cannot answer by user without a full scan); WAL journal; "
    "executemany, one transaction a batch, or a row; synchronous FULL where durable, else OFF",
    "duckdb": "a table without an index; INSERT ... SELECT from the Arrow batch, one transaction a batch; "
    "its WAL is synced at each commit",
}

CODECS = {
    "segue": "columns by models of the table (prefix codes, delta, bit packing), no general codec",
    "rocksdict": "LZ4, zstd in the last level",
    "plyvel": "Snappy",
    "lmdb": "none",
    "sqlite3": "none",
    "duckdb": "its own columns",
    "pwrite+fdatasync": "none",
}
"""Each store's own, as its documentation recommends; the report says where they differ."""


class Store(ABC):
    """An open store in a directory of its own."""

    DURABILITIES: tuple[str, ...] = ("os", "interval", "commit")

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        if durability not in self.DURABILITIES:
            raise ValueError(f"{type(self).__name__} has no durability {durability!r}")
        self.directory = directory
        self.durability = durability
        self.dictionaries = dictionaries

    @abstractmethod
    def append_rows(self, rows: Sequence[Row]) -> None:
        """One call per event."""

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """Bring a batch into the form that an application would have it in; what `append_batch` takes."""
        return batch

    @abstractmethod
    def append_batch(self, batch: Any, first: int) -> None:
        """All events of a batch, atomically; the first has the counter `first`."""

    @abstractmethod
    def add_to(self, digest: Digest) -> None:
        """Read everything back."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def flush(self) -> None:
        """Write what is in memory to tables."""

    @abstractmethod
    def settle(self) -> None:
        """Flush, and wait until the background has nothing left to do."""

    def last(self, user: int, limit: int) -> Any:
        """Return the newest events of a user, in whatever form the store gives columns of values."""
        raise NotImplementedError

    def songs(self, found: Any) -> list[int]:
        """Return the songs in what :meth:`last` returned, for comparison."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """Return the store's own counters, where it has any."""
        return {}


class SegueStore(Store):
    NAME = "listens"

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        super().__init__(directory, durability, dictionaries)
        import segue

        self.db = segue.open(directory, durability=durability)
        if self.NAME in self.db.events():
            self.events = self.db.events(self.NAME)
        else:
            schema = dictionaries.schema
            self.events = self.db.create_events(self.NAME, schema, key="user_id", time="timestamp")

    def append_rows(self, rows: Sequence[Row]) -> None:
        append = self.events.append
        for row in rows:
            append(*row)

    def append_batch(self, batch: pa.RecordBatch, first: int) -> None:
        self.events.append_batch(batch)

    def add_to(self, digest: Digest) -> None:
        for batch in self.events.scan().batches():
            digest.add_batch(batch, self.dictionaries)

    def flush(self) -> None:
        self.events.flush()

    def settle(self) -> None:
        self.flush()
        while True:
            stats = self.events.stats()
            if not (stats.immutable_memtables or stats.compaction_pending_bytes or stats.retired_tables):
                return
            time.sleep(0.02)

    def last(self, user: int, limit: int) -> pa.Table:
        return self.events.scan(key=user, descending=True, limit=limit).to_arrow()

    def songs(self, found: pa.Table) -> list[int]:
        return found["song_id"].to_pylist()

    def counters(self) -> dict[str, int]:
        stats = self.events.stats()
        names = ("bloom_probes", "bloom_useful", "cache_hits", "cache_misses", "blocks_read")
        names += ("tables", "flushes", "compactions", "wal_bytes_written")
        return {name: getattr(stats, name) for name in names}

    def close(self) -> None:
        self.db.close()


class _Synced:
    """Calls a store's sync every few milliseconds from a thread, for durability ``interval``."""

    def __init__(self, sync: Any, wanted: bool) -> None:
        self._stop = threading.Event()
        self._sync = sync
        self._thread = threading.Thread(target=self._loop, daemon=True) if wanted else None
        if self._thread is not None:
            self._thread.start()

    def _loop(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._sync()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


class _PairStore(Store):
    """A store of packed events, which it keeps in the order of their keys."""

    @abstractmethod
    def newest(self, user: int) -> Iterable[tuple[bytes, bytes]]:
        """Return a user's events, the newest first."""

    def last(self, user: int, limit: int) -> list[tuple[int, ...]]:
        unkey, unvalue = KEY.unpack, VALUE.unpack
        return [unkey(key) + unvalue(value) for key, value in islice(self.newest(user), limit)]

    def songs(self, found: list[tuple[int, ...]]) -> list[int]:
        return [row[3] for row in found]


class RocksStore(_PairStore):
    """With filters outside of the block cache.

    A filter is one block for a whole file, megabytes of it. Of a cache of 64 MiB in shards of 1 MiB none
    would hold one, so that each look-up would read it again: a millisecond at ten million events.
    """

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        super().__init__(directory, durability, dictionaries)
        import rocksdict

        self._new_batch = rocksdict.WriteBatch
        self.db = rocksdict.Rdict(str(directory), self.options())
        write = rocksdict.WriteOptions()
        write.sync = durability == "commit"
        self.db.set_write_options(write)
        read = rocksdict.ReadOptions()
        read.set_prefix_same_as_start(True)
        self._within_user = read
        every = rocksdict.ReadOptions()
        every.set_total_order_seek(True)
        self._everything = every
        self._synced = _Synced(lambda: self.db.flush_wal(True), durability == "interval")

    @staticmethod
    def options() -> Any:
        import rocksdict

        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_size(16 << 10)
        blocks.set_bloom_filter(10, False)
        blocks.set_block_cache(rocksdict.Cache(64 << 20))
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(blocks)
        options.set_prefix_extractor(rocksdict.SliceTransform.create_fixed_prefix(8))
        options.set_memtable_prefix_bloom_ratio(0.1)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        options.set_bottommost_compression_type(rocksdict.DBCompressionType.zstd())
        options.set_level_compaction_dynamic_level_bytes(True)
        options.set_bytes_per_sync(1 << 20)
        options.set_write_buffer_size(64 << 20)
        options.set_max_write_buffer_number(3)
        options.increase_parallelism(2)
        return options

    def append_rows(self, rows: Sequence[Row]) -> None:
        put, key, value = self.db.put, KEY.pack, VALUE.pack
        country, device = self.dictionaries.country_code, self.dictionaries.device_code
        for counter, (user, song, at, land, kind, ms) in enumerate(rows):
            put(
                key(user, LAST_TIME - at, LAST_COUNTER - counter),
                value(song, country[land], device[kind], ms),
            )

    def append_batch(self, batch: pa.RecordBatch, first: int) -> None:
        writes = self._new_batch(raw_mode=True)
        put = writes.put
        for key, value in zip(*pack(batch, first), strict=True):
            put(key, value)
        self.db.write(writes)

    def add_to(self, digest: Digest) -> None:
        digest.add_pairs(self.db.items(read_opt=self._everything))

    def flush(self) -> None:
        self.db.flush()

    def settle(self) -> None:
        self.flush()
        waiting = (
            "rocksdb.mem-table-flush-pending",
            "rocksdb.compaction-pending",
            "rocksdb.num-running-compactions",
        )
        while any(self.db.property_int_value(name) for name in waiting):
            time.sleep(0.02)

    def newest(self, user: int) -> Iterable[tuple[bytes, bytes]]:
        # The iterator stops at the prefix's end by itself.
        return self.db.items(from_key=user.to_bytes(8, "big"), read_opt=self._within_user)

    def close(self) -> None:
        self._synced.close()
        self.db.close()


class LevelStore(_PairStore):
    OPTIONS: Mapping[str, Any] = {
        "create_if_missing": True,
        "write_buffer_size": 64 << 20,
        "lru_cache_size": 64 << 20,
        "bloom_filter_bits": 10,
    }

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        super().__init__(directory, durability, dictionaries)
        import plyvel

        self.db = plyvel.DB(str(directory), **self.OPTIONS)

    def append_rows(self, rows: Sequence[Row]) -> None:
        put, key, value = self.db.put, KEY.pack, VALUE.pack
        country, device = self.dictionaries.country_code, self.dictionaries.device_code
        commit, interval = self.durability == "commit", self.durability == "interval"
        due = time.monotonic() + INTERVAL
        for counter, (user, song, at, land, kind, ms) in enumerate(rows):
            sync = commit
            if interval and (now := time.monotonic()) >= due:  # it has no other way to sync its log
                sync, due = True, now + INTERVAL
            put(
                key(user, LAST_TIME - at, LAST_COUNTER - counter),
                value(song, country[land], device[kind], ms),
                sync=sync,
            )

    def append_batch(self, batch: pa.RecordBatch, first: int) -> None:
        with self.db.write_batch(sync=self.durability == "commit") as writes:
            put = writes.put
            for key, value in zip(*pack(batch, first), strict=True):
                put(key, value)

    def add_to(self, digest: Digest) -> None:
        digest.add_pairs(self.db.iterator())

    def flush(self) -> None:
        # A range of no keys: merging it begins with a flush, and has nothing else to do.
        self.db.compact_range(start=b"\xff" * 21, stop=b"\xff" * 22)

    def settle(self) -> None:
        """Wait until its files have not changed for a second: it does not tell when it is done."""
        self.flush()
        before: list[tuple[str, int]] = []
        while (now := self._tables()) != before:
            before = now
            time.sleep(1)

    def _tables(self) -> list[tuple[str, int]]:
        found = []
        for file in sorted(self.directory.glob("*.ldb")):
            with contextlib.suppress(FileNotFoundError):  # merged meanwhile
                found.append((file.name, file.stat().st_size))
        return found

    def newest(self, user: int) -> Iterable[tuple[bytes, bytes]]:
        # A fifth faster than an iterator with a prefix.
        prefix = user.to_bytes(8, "big")
        iterator = self.db.raw_iterator()
        iterator.seek(prefix)
        while iterator.valid():
            pair = iterator.item()
            if not pair[0].startswith(prefix):
                return
            yield pair
            iterator.next()

    def close(self) -> None:
        self.db.close()


class _NoTables(Store):
    """A store of which no suite asks that it flushes."""

    def flush(self) -> None:
        raise NotImplementedError

    def settle(self) -> None:
        raise NotImplementedError


class LmdbStore(_NoTables):
    DURABILITIES = ("os", "commit")

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        super().__init__(directory, durability, dictionaries)
        import lmdb

        # The map is address space, not disk: as much as any scale needs.
        self.env = lmdb.open(str(directory), map_size=64 << 30, sync=durability == "commit")

    def append_rows(self, rows: Sequence[Row]) -> None:
        begin, key, value = self.env.begin, KEY.pack, VALUE.pack
        country, device = self.dictionaries.country_code, self.dictionaries.device_code
        for counter, (user, song, at, land, kind, ms) in enumerate(rows):
            with begin(write=True) as transaction:
                transaction.put(
                    key(user, LAST_TIME - at, LAST_COUNTER - counter),
                    value(song, country[land], device[kind], ms),
                )

    def append_batch(self, batch: pa.RecordBatch, first: int) -> None:
        with self.env.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(zip(*pack(batch, first), strict=True))

    def add_to(self, digest: Digest) -> None:
        with self.env.begin() as transaction, transaction.cursor() as cursor:
            digest.add_pairs(iter(cursor))

    def close(self) -> None:
        self.env.close()


_TABLE = (
    "(user_id BIGINT, song_id INTEGER, happened {time}, country {text}, device {text}, ms_played INTEGER)"
)


class SqliteStore(_NoTables):
    DURABILITIES = ("os", "commit")
    INSERT = "INSERT INTO listens VALUES (?, ?, ?, ?, ?, ?)"

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        super().__init__(directory, durability, dictionaries)
        directory.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(directory / "events.sqlite", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'commit' else 'OFF'}")
        self.db.execute("CREATE TABLE IF NOT EXISTS listens " + _TABLE.format(time="INTEGER", text="TEXT"))

    def append_rows(self, rows: Sequence[Row]) -> None:
        execute, insert = self.db.execute, self.INSERT
        for row in rows:
            execute(insert, row)

    def prepare(self, batch: pa.RecordBatch) -> list[Row]:
        return rows_of(batch)

    def append_batch(self, batch: list[Row], first: int) -> None:
        self.db.execute("BEGIN")
        self.db.executemany(self.INSERT, batch)
        self.db.execute("COMMIT")

    def add_to(self, digest: Digest) -> None:
        cursor = self.db.execute("SELECT * FROM listens")
        while rows := cursor.fetchmany(1 << 16):
            user, song, at, country, device, ms = zip(*rows, strict=True)
            lands = [self.dictionaries.country_code[name] for name in country]
            kinds = [self.dictionaries.device_code[name] for name in device]
            digest.add(*map(np.array, (user, song, at, lands, kinds, ms)))

    def close(self) -> None:
        self.db.close()


class DuckdbStore(_NoTables):
    DURABILITIES = ("commit",)  # it syncs its log at every commit

    def __init__(self, directory: Path, durability: str, dictionaries: Dictionaries) -> None:
        super().__init__(directory, durability, dictionaries)
        import duckdb

        directory.mkdir(parents=True, exist_ok=True)
        self.db = duckdb.connect(directory / "events.duckdb")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS listens " + _TABLE.format(time="TIMESTAMP", text="VARCHAR")
        )

    def append_rows(self, rows: Sequence[Row]) -> None:
        raise NotImplementedError("its documentation advises against inserting row by row")

    def append_batch(self, batch: pa.RecordBatch, first: int) -> None:
        self.db.register("batch", batch)
        self.db.execute("INSERT INTO listens SELECT * FROM batch")
        self.db.unregister("batch")

    def add_to(self, digest: Digest) -> None:
        found = self.db.execute("SELECT * RENAME (happened AS timestamp) FROM listens").to_arrow_table()
        for batch in found.to_batches():
            digest.add_batch(batch, self.dictionaries)

    def close(self) -> None:
        self.db.close()


STORES: dict[str, type[Store]] = {
    "segue": SegueStore,
    "rocksdict": RocksStore,
    "plyvel": LevelStore,
    "lmdb": LmdbStore,
    "sqlite3": SqliteStore,
    "duckdb": DuckdbStore,
}


def open_store(
    name: str, directory: Path, durability: str, dictionaries: Dictionaries
) -> contextlib.closing[Any]:
    """Open, or make, the store `name`; a context manager that closes it."""
    return contextlib.closing(STORES[name](directory, durability, dictionaries))


def rows_of(batch: pa.RecordBatch) -> list[Row]:
    """Return plain Python rows; time as microseconds."""
    columns = [batch[name] for name in ("user_id", "song_id", "timestamp", "country", "device", "ms_played")]
    columns[2] = columns[2].view(pa.int64())
    return list(zip(*(column.to_pylist() for column in columns), strict=True))
