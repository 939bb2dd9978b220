"""Merging of SSTables: the same rows in fewer files, while others read and write."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import ClosedError
from segue.events import Events
from tests.events.waiting import wait_until

DAY = 86_400_000_000
SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})


def create(path, **options) -> Events:
    options = {"wal_bytes": 1 << 20, "window_rows": 10, "background_compaction": False} | options
    return Events.create(path, "t", SCHEMA, "k", "at", durability="os", _options=options)


def add(events: Events, days: list[int], first: int, n: int, token: str | None = None) -> list[int]:
    """Append n rows, spread over days; the values of k, which name the rows."""
    values = list(range(first, first + n))
    at = [days[k % len(days)] * DAY + k for k in values]
    events.append_batch(
        {"k": [k % 17 for k in values], "at": at, "s": [f"s{k}" for k in values]}, token=token
    )
    return values


def names(source) -> list[int]:
    return sorted(int(s[1:]) for s in source.scan().to_arrow()["s"].to_pylist())


def files(path) -> list[str]:
    return sorted(p.name for p in path.glob("*.sst"))


def test_compact_leaves_one_file_a_window(tmp_path):
    with create(tmp_path / "t") as events:
        rows = []
        for flush in range(6):
            rows += add(events, [0, 1, 2], flush * 100, 90)
            events.flush()
        assert events.stats().tables == 18
        assert events.compact() == 1
        stats = events.stats()
        assert stats.tables == 3
        assert [(w.tables, w.rows, w.shared) for w in stats.windows] == [(1, 180, False)] * 3
        assert stats.compactions == 3
        assert stats.compaction_bytes_written == stats.table_bytes
        assert names(events) == rows
        assert events.scan(key=5).to_arrow()["s"].to_pylist() == sorted(
            (f"s{k}" for k in rows if k % 17 == 5), key=lambda s: (int(s[1:]) % 3, int(s[1:]))
        )
        assert len(files(tmp_path / "t")) == 3
        events.verify()
        assert events.compact() == 1
        assert events.stats().compactions == 3, "nothing more to do"


def test_a_table_of_many_keys_is_continued_in_another(tmp_path):
    with create(tmp_path / "t", table_keys=2000, block_rows=64) as events:
        rows = []
        for flush in range(4):
            values = list(range(flush * 3000, flush * 3000 + 3000))
            events.append_batch(
                {"k": [k * 7919 % 12007 for k in values], "at": values, "s": [f"s{k}" for k in values]}
            )
            rows += values
            events.flush()
        events.compact()
        tables = events.stats().tables
        assert 2 <= tables <= 6
        assert names(events) == rows
        events.verify()
        done = events.stats().compactions
        events.compact()
        assert events.stats().compactions == done
        add(events, [0], 12000, 500)
        events.compact()
        assert names(events) == list(range(12500))


def test_a_snapshot_keeps_its_files(tmp_path):
    with create(tmp_path / "t") as events:
        rows = add(events, [0], 0, 50)
        events.flush()
        more = add(events, [0], 50, 50)
        events.flush()
        before = files(tmp_path / "t")
        with events.snapshot() as snapshot:
            events.compact()
            assert set(before) < set(files(tmp_path / "t"))
            assert events.stats().retired_tables == 2
            assert names(snapshot) == rows + more
        wait_until(lambda: len(files(tmp_path / "t")) == 1)
        wait_until(lambda: events.stats().retired_tables == 0)


def test_a_scan_goes_on_while_its_files_are_merged_away(tmp_path):
    with create(tmp_path / "t", block_rows=16) as events:
        rows = []
        for flush in range(4):
            rows += add(events, [0], flush * 1000, 1000)
            events.flush()
        batches = events.scan().batches()
        found = [int(s[1:]) for s in next(batches)["s"].to_pylist()]
        events.compact()
        found += [int(s[1:]) for batch in batches for s in batch["s"].to_pylist()]
        assert sorted(found) == rows


def test_sequences_survive_merging(tmp_path):
    with create(tmp_path / "t") as events:
        for flush in range(5):
            add(events, [0, 3], flush * 40, 40)
            events.flush()
        events.compact()
        taken = events.snapshot().scan_sequences(50, 120, ["s"], "n").to_arrow().sort_by("n")
        assert taken["n"].to_pylist() == list(range(51, 121))
        assert taken["s"].to_pylist() == [f"s{k}" for k in range(50, 120)]


def test_tokens_survive_merging_and_reopening(tmp_path):
    with create(tmp_path / "t") as events:
        for flush in range(3):
            add(events, [flush], flush * 40, 40, token=f"token {flush}")
            events.flush()
        events.compact()
    with Events.open(tmp_path / "t", "t") as events:
        for flush in range(3):
            add(events, [flush], flush * 40, 40, token=f"token {flush}")
        assert events.stats().sequence == 120


def test_shared_files_come_down_to_their_windows(tmp_path):
    with create(tmp_path / "t", window_rows=64) as events:
        rows = []
        for flush in range(20):
            rows += add(events, list(range(8)), flush * 100, 80)
            events.flush()
        assert all(window.shared for window in events.stats().windows)
        events.compact()
        assert [(w.rows, w.tables, w.shared) for w in events.stats().windows] == [(200, 1, False)] * 8
        assert names(events) == rows


def test_the_background_merges_by_itself(tmp_path):
    with create(tmp_path / "t", background_compaction=True, compaction_bytes_per_second=0) as events:
        rows = []
        for flush in range(40):
            rows += add(events, [0], flush * 100, 100)
            events.flush()
        wait_until(lambda: events.stats().compactions >= 2 and events.stats().tables < 16)
        assert names(events) == rows
        stats = events.stats()
        assert stats.compaction_bytes_written > 0
        assert 1 < stats.write_amplification < 4


def test_a_slow_merge_gives_way_to_close(tmp_path):
    events = create(tmp_path / "t", background_compaction=True, compaction_bytes_per_second=1000)
    rows = []
    for flush in range(18):
        rows += add(events, [0], flush * 20_000, 20_000)
        events.flush()
    time.sleep(0.2)
    before = time.monotonic()
    events.close()
    assert time.monotonic() - before < 2
    with Events.open(tmp_path / "t", "t", _options={"background_compaction": False}) as events:
        assert names(events) == rows
        assert len(files(tmp_path / "t")) == events.stats().tables, "an unfinished merge leaves nothing"


def test_a_merge_keeps_to_its_rate(tmp_path):
    rate = 1 << 20
    with create(tmp_path / "t", background_compaction=True, compaction_bytes_per_second=rate) as events:
        for flush in range(18):
            add(events, [0], flush * 20_000, 20_000)
            events.flush()
        began = time.monotonic()
        wait_until(lambda: events.stats().compactions > 0)
        took = time.monotonic() - began
        written = events.stats().compaction_bytes_written
        assert written > rate, "long enough to measure"
        assert took > 0.7 * written / rate


def test_compact_on_a_closed_table(tmp_path):
    events = create(tmp_path / "t")
    events.close()
    with pytest.raises(ClosedError):
        events.compact()


def test_orphans_go_at_the_next_open(tmp_path):
    with create(tmp_path / "t") as events:
        rows = add(events, [0], 0, 50)
        events.flush()
    (tmp_path / "t" / "sst-000099.sst").write_bytes(b"left by a crash")
    (tmp_path / "t" / "notes.sst").write_bytes(b"not ours")
    with Events.open(tmp_path / "t", "t") as events:
        assert files(tmp_path / "t") == ["notes.sst", "sst-000001.sst"]
        rows += add(events, [0], 50, 50)
        events.flush()
        assert "sst-000100.sst" in files(tmp_path / "t"), "no number is used twice"
        assert names(events) == rows


def test_a_lease_of_another_process_keeps_files(tmp_path):
    with create(tmp_path / "t") as events:
        for flush in range(2):
            add(events, [0], flush * 50, 50)
            events.flush()
        lease = _engine.testing.take_lease(str(tmp_path / "t"), {1})
        events.compact()
        wait_until(lambda: events.stats().retired_tables == 1)
        assert files(tmp_path / "t") == ["sst-000001.sst", "sst-000003.sst"]
    with Events.open(tmp_path / "t", "t", _options={"background_compaction": False}) as events:
        assert files(tmp_path / "t") == ["sst-000001.sst", "sst-000003.sst"], "across a restart too"
        lease.release()
        wait_until(lambda: files(tmp_path / "t") == ["sst-000003.sst"])


def test_scans_from_snapshots_while_compaction_runs(tmp_path):
    options = {"background_compaction": True, "compaction_bytes_per_second": 0, "block_rows": 32}
    with create(tmp_path / "t", **options) as events:
        rows = add(events, [0, 1, 40], 0, 200)
        events.flush()
        stop = threading.Event()
        failures: list[BaseException] = []

        def read() -> None:
            try:
                while not stop.is_set():
                    with events.snapshot() as snapshot:
                        expected = list(range(snapshot.sequence))
                        assert names(snapshot) == expected
                        key = [int(s[1:]) for s in snapshot.scan(key=3).to_arrow()["s"].to_pylist()]
                        assert sorted(key) == [k for k in expected if k % 17 == 3]
            except BaseException as error:
                failures.append(error)

        def compact() -> None:
            try:
                while not stop.is_set():
                    events.compact()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)] + [threading.Thread(target=compact)]
        for thread in threads:
            thread.start()
        for flush in range(1, 60):
            rows += add(events, [0, 1, 40], flush * 200, 200)
            events.flush()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]
        events.compact()
        assert names(events) == rows
        wait_until(lambda: len(files(tmp_path / "t")) == events.stats().tables)


def test_a_snapshot_of_a_closed_table_keeps_its_files_from_the_next_handle(tmp_path):
    """Reads open files again that were closed meanwhile, so these must not go when the table is reopened."""
    events = create(tmp_path / "t", max_open_files=1, cache_bytes=0)
    for first in range(0, 300, 100):
        add(events, [0, 1], first, 100)
        events.flush()
    snapshot = events.snapshot()
    before = set(files(tmp_path / "t"))
    events.compact()
    events.close()
    with Events.open(tmp_path / "t", "t") as again:
        assert before <= set(files(tmp_path / "t"))
        assert names(snapshot) == list(range(300))
        del events
        snapshot.close()
        del snapshot
        wait_until(lambda: not before & set(files(tmp_path / "t")))
        assert names(again) == list(range(300))
