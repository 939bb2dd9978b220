"""Figures that a table gives of itself, its log messages, and appending from coroutines."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import ClosedError, ReadOnlyError, SchemaError, StorageError
from segue.event_stats import CommitLatency, EventStats, Stall
from segue.events import Events
from tests.events.waiting import wait_until

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})


def batch(n: int, first: int = 0) -> dict:
    keys = list(range(first, first + n))
    return {"k": keys, "at": keys, "s": [f"s{k}" for k in keys]}


@pytest.fixture
def events(tmp_path: Path):
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at") as table:
        yield table


def test_commit_latency(events: Events) -> None:
    assert events.stats().commits == CommitLatency()
    assert repr(CommitLatency()) == "CommitLatency(count=0)"
    begin = time.perf_counter()
    for k in range(50):
        events.append(k, k, "s")
    took = time.perf_counter() - begin
    commits = events.stats().commits
    assert commits.count == 50
    assert 0 < commits.percentile(50) <= commits.percentile(99.9) <= commits.longest <= took
    # A bucket's bound is at most an eighth too high.
    assert sum(bound * count for bound, count in commits.buckets) <= took * 1.126 + 50 * 1.1e-6
    assert "p99.9=" in repr(commits)


def test_percentiles_against_sorted_values() -> None:
    latency = CommitLatency(buckets=((1.0, 10), (2.0, 80), (3.0, 9), (4.0, 1)), longest=3.9)
    values = [1.0] * 10 + [2.0] * 80 + [3.0] * 9 + [3.9]
    for percent in (1, 10, 11, 50, 90, 91, 99, 99.5, 100):
        assert latency.percentile(percent) == values[math.ceil(percent / 100 * 100) - 1], percent


def test_stats_read_well(events: Events) -> None:
    events.append_batch(batch(100))
    events.flush()
    stats = events.stats()
    assert isinstance(stats, EventStats)
    assert stats.appended_rows == stats.table_rows == 100
    assert stats.rows_per_second == pytest.approx(100 / stats.seconds)
    assert set(stats.stalls) == {"pace", "flush", "log"}
    text = str(stats)
    assert "appended_rows" in text
    assert f"rows_per_second           {stats.rows_per_second:,.0f}\n" in text
    assert f"rows_per_second={stats.rows_per_second:.0f})" in repr(stats)
    assert "MiB" in text
    assert "p99=" in text
    assert "log 1 (" in text, "the first append began a log"
    assert repr(Stall(2, 0.0015)) == "Stall(count=2, 1.50 ms)"
    assert repr(stats).startswith("EventStats(seconds=")


def test_a_writer_that_outruns_the_flush_is_paced_and_told_so(tmp_path: Path) -> None:
    options = {"memtable_bytes": 1 << 20, "wal_bytes": 1 << 20}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        data = pa.RecordBatch.from_pydict(
            {"k": range(1000), "at": range(1000), "s": ["x" * 50] * 1000}, schema=SCHEMA
        )
        longest = 0.0
        for _ in range(400):
            begin = time.perf_counter()
            events.append_batch(data)
            longest = max(longest, time.perf_counter() - begin)
        stalls = events.stats().stalls
        assert stalls["pace"].count > 0
        assert sum(stall.seconds for stall in stalls.values()) > 0
        assert longest < 5
        assert events.stats().appended_rows == 400_000


def test_background_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    env = _engine.testing.MemEnv()
    events = Events.create("/db/t", "t", SCHEMA, "k", "at", durability="os", _env=env)
    events.append_batch(batch(100))
    env.set_fail_at(env.op_count() + 1, errno.ENOSPC)
    with caplog.at_level(logging.ERROR, logger="segue"):
        with pytest.raises(StorageError):
            events.flush()
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [record.name for record in caplog.records] == ["segue"]
    assert "/db/t" in caplog.records[0].getMessage()
    assert "tried again" in caplog.records[0].getMessage()
    assert events.stats().background_error
    events.flush()
    assert events.stats().background_error == "", "all is well again"
    assert events.scan().to_arrow().num_rows == 100
    events.close()


def test_a_failed_sync_in_the_background_is_logged_and_ends_appends(caplog: pytest.LogCaptureFixture) -> None:
    env = _engine.testing.MemEnv()
    options = {"sync_interval_ms": 300}
    events = Events.create("/t", "t", SCHEMA, "k", "at", durability="interval", _env=env, _options=options)
    events.append(1, 1, "s")
    wait_until(lambda: events.stats().synced_sequence == 1)  # the next sync comes in 300 ms
    events.append(2, 2, "s")
    with caplog.at_level(logging.ERROR, logger="segue"):
        env.set_fail_at(env.op_count() + 1, errno.EIO)
        wait_until(lambda: caplog.records)
    assert "nothing is appended any more" in caplog.records[0].getMessage()
    assert "/t" in events.stats().background_error
    with pytest.raises(ReadOnlyError, match="failed sync"):
        events.append(3, 3, "s")
    assert events.scan().to_arrow()["k"].to_pylist() == [1, 2]
    with pytest.raises(StorageError, match="msync"):
        events.close()


def test_errors_of_merges_and_removals_are_logged_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    def merge(failing: int) -> tuple[int, list[str]]:
        env = _engine.testing.MemEnv()
        options = {"window_rows": 10}
        caplog.clear()
        with Events.create(
            "/t", "t", SCHEMA, "k", "at", durability="os", _env=env, _options=options
        ) as events:
            events.append_batch(batch(200))  # sequence numbers of as many digits from here on
            events.flush()
            for _ in range(15):
                events.append_batch(batch(20))
                events.flush()
            events.append_batch(batch(20))
            before = env.op_count()
            if failing:
                env.set_fail_at(before + failing, errno.EIO)
            events.flush()  # the 16th of a size: a merge is due
            wait_until(lambda: events.stats().compactions == 1 and events.stats().retired_tables == 0)
            operations = env.op_count() - before
            wait_until(lambda: events.stats().background_error == "")
            assert events.scan().to_arrow().num_rows == 520
            return operations, [record.getMessage() for record in caplog.records if record.name == "segue"]

    operations, messages = merge(0)
    assert messages == []
    told: set[str] = set()
    # The last one is a removal, the 16 before it are, too. Some fail the log made ahead, without a word.
    for back in (0, *range(18, 40)):
        _, messages = merge(operations - back)
        assert len(messages) <= 1, messages
        assert all("event table '/t': " in message for message in messages)
        told.update(message.rpartition("; ")[2] for message in messages)
        if len(told) == 2:
            break
    assert told == {
        "the file takes space until it can be removed",
        "the tables stay as they are, and the merge is tried again",
    }


# ---- append_async ----


def test_coroutines_of_one_turn_share_a_commit(events: Events) -> None:
    events.append(0, 0, "first")  # makes the log

    async def serve() -> list[int]:
        return await asyncio.gather(*(events.append_async(k, at=k, s=f"s{k}") for k in range(200)))

    before = events.stats().syncs
    assert sorted(asyncio.run(serve())) == list(range(2, 202))
    stats = events.stats()
    assert stats.syncs - before <= 3
    assert stats.synced_sequence == 201
    assert sorted(asyncio.run(serve())) == list(range(202, 402)), "another loop"
    assert events.scan().to_arrow().num_rows == 401


def test_commits_of_later_turns_gather_while_one_is_under_way(events: Events) -> None:
    async def client(n: int) -> None:
        for k in range(20):
            assert await events.append_async(n, k, "s") > 0

    async def serve() -> None:
        await asyncio.gather(*(client(n) for n in range(50)))

    asyncio.run(serve())
    stats = events.stats()
    assert stats.synced_sequence == 1000
    assert stats.syncs <= 200, "a thousand appends share commits"


def test_the_loop_runs_while_the_disk_works(events: Events) -> None:
    release = threading.Event()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while not release.is_set():
            ticks += 1
            await asyncio.sleep(0)

    async def serve() -> None:
        ticking = asyncio.create_task(tick())
        for k in range(20):
            await events.append_async(k, k, "s")
        release.set()
        await ticking

    asyncio.run(serve())
    assert ticks > 20


def test_a_cancelled_append_has_appended_and_disturbs_nobody(events: Events) -> None:
    async def serve() -> int:
        first = asyncio.create_task(events.append_async(1, 1, "cancelled"))
        second = asyncio.create_task(events.append_async(2, 2, "kept"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert asyncio.run(serve()) == 2
    assert events.scan().to_arrow().num_rows == 2


def test_errors_reach_the_coroutine(tmp_path: Path) -> None:
    events = Events.create(tmp_path / "t", "t", SCHEMA, "k", "at")
    with pytest.raises(SchemaError, match="'k'"):
        asyncio.run(events.append_async("no number", 0, "s"))
    events.close()
    with pytest.raises(ClosedError):
        asyncio.run(events.append_async(1, 1, "s"))

    env = _engine.testing.MemEnv()
    failing = Events.create("/db/t", "t", SCHEMA, "k", "at", _env=env)
    failing.append(1, 1, "s")

    async def serve() -> list:
        env.set_fail_at(env.op_count() + 1, errno.EIO)
        return await asyncio.gather(
            *(failing.append_async(k, k, "s") for k in range(3)), return_exceptions=True
        )

    assert [type(error) for error in asyncio.run(serve())] == [StorageError] * 3
    with pytest.raises(StorageError):
        failing.close()
