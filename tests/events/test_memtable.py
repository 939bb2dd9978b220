"""What background threads make of a memtable: sorted runs, few of them, and several memtables that wait."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pyarrow as pa

from segue import _engine
from segue.events import Events
from tests.events.waiting import wait_until

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})


def rows(first: int, n: int, text: int, keys: int) -> pa.RecordBatch:
    numbers = range(first, first + n)
    return pa.RecordBatch.from_pydict(
        {"k": [i * 7919 % keys for i in numbers], "at": numbers, "s": [f"{i}".ljust(text) for i in numbers]},
        schema=SCHEMA,
    )


def test_single_rows_are_sealed_and_sorted_in_the_background(tmp_path: Path) -> None:
    n = 20_000
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os") as events:
        for i in range(n):
            events.append(i * 7919 % 100, i, f"{i}")
        wait_until(lambda: events.stats().run_rows > 0)
        stats = events.stats()
        assert stats.skiplist_rows + stats.run_rows == n
        assert stats.run_rows % 4096 == 0, "a skiplist is sealed when it has 4096 rows"
        assert stats.flushes == 0
        read = events.scan(key=3).to_arrow()
        assert read["at"].cast(pa.int64()).to_pylist() == [i for i in range(n) if i * 7919 % 100 == 3]


def test_batches_become_sorted_runs_and_the_smallest_of_many_are_merged(tmp_path: Path) -> None:
    batches, n, keys = 120, 2600, 500  # a batch takes more than what is sorted at a time
    options = {"memtable_bytes": 1 << 30, "wal_bytes": 400 << 20}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        for b in range(batches // 2):
            events.append_batch(rows(b * n, n, 500, keys))
        with events.snapshot() as snapshot:
            for b in range(batches // 2, batches):
                events.append_batch(rows(b * n, n, 500, keys))
            most = 64
            wait_until(lambda: events.stats().runs <= most)
            stats = events.stats()
            assert stats.run_rows == batches * n
            assert (stats.flushes, stats.immutable_memtables, stats.skiplist_rows) == (0, 0, 0)
            for events_or_snapshot, last in ((snapshot, batches // 2 * n), (events, batches * n)):
                read = events_or_snapshot.scan(key=17).to_arrow()
                expected = [i for i in range(last) if i * 7919 % keys == 17]
                assert read["at"].cast(pa.int64()).to_pylist() == expected
                assert [int(s) for s in read["s"].to_pylist()] == expected
            assert len(events.scan(columns=["k"]).to_arrow()) == batches * n
        events.flush()
        read = events.scan(columns=["at", "s"]).to_arrow().sort_by("at")
        assert [int(s) for s in read["s"].to_pylist()] == list(range(batches * n))


def test_two_memtables_wait_for_a_flush_before_a_writer_does() -> None:
    env = _engine.testing.GatedEnv(_engine.testing.MemEnv())
    options = {"memtable_bytes": 256 << 10, "wal_bytes": 1 << 20, "background_compaction": False}
    batches, appended = 200, 0
    with Events.create("/t", "t", SCHEMA, "k", "at", durability="os", _options=options, _env=env) as events:

        def append() -> None:
            nonlocal appended
            for b in range(batches):
                events.append_batch(rows(b * 100, 100, 100, 10))
                appended += 1

        writer = threading.Thread(target=append)
        env.close_reads("sst-")  # a flush looks at what it wrote: it stands still there
        try:
            writer.start()
            seen = -1
            while appended > seen:
                seen = appended
                time.sleep(0.5)
            assert writer.is_alive(), "there is no room for a third one"
            assert events.stats().immutable_memtables == 2
        finally:
            env.open_reads()
            writer.join()
        assert events.stats().stalls["flush"].count > 0
        wait_until(lambda: events.stats().immutable_memtables == 0)
        read = events.scan(columns=["at"]).to_arrow()["at"].cast(pa.int64()).to_pylist()
        assert sorted(read) == list(range(batches * 100))
