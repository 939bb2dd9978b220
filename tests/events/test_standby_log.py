"""The log that is made before it is needed: writers do not wait for the folder's sync."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from segue._engine import testing
from segue.errors import StorageError
from segue.events import Events

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})
OPTIONS = {"wal_bytes": 1 << 16, "memtable_bytes": 1 << 20, "background_compaction": False}
ROW = "x" * 100


def create(env: testing.MemEnv, durability: str = "commit", **options: int) -> Events:
    return Events.create(
        "/t", "t", SCHEMA, "k", "at", durability=durability, _options={**OPTIONS, **options}, _env=env
    )


def reopen(env: testing.MemEnv, mode: str = "rw") -> Events:
    return Events.open("/t", "t", mode=mode, _options=OPTIONS, _env=env)


def logs(env: testing.MemEnv) -> list[str]:
    return sorted(name for name in env.list("/t") if name.startswith("wal-") and name.endswith(".log"))


def has_standby(env: testing.MemEnv) -> bool:
    """Whether the newest log was made ahead of need, and has no record yet."""
    names = logs(env)
    if not names:  # the only one is being made into the next
        return False
    path = f"/t/{names[-1]}"
    try:
        log = testing.WalReader(path, env.read_raw(path)[16:32], env)
    except StorageError:  # it went meanwhile
        return False
    return log.made_ahead and log.next() is None


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def wait_for_standby(env: testing.MemEnv) -> None:
    wait(lambda: has_standby(env))
    time.sleep(0.05)  # its name is there a moment before the store has it


def fill(events: Events, rows: int, first: int = 0) -> None:
    for k in range(first, first + rows):
        events.append(k, k, ROW)


def keys(events: Events) -> list[int]:
    return sorted(events.scan(columns=["k"]).to_arrow()["k"].to_pylist())


def half_full(env: testing.MemEnv, durability: str = "commit") -> Events:
    """A table whose second log is there, and has no record."""
    events = create(env, durability)
    fill(events, 250)
    wait_for_standby(env)
    assert len(logs(env)) == 2
    return events


@pytest.mark.parametrize("durability", ["commit", "os", "interval"])
def test_writers_never_wait_for_a_log_that_is_there(durability: str) -> None:
    env = testing.MemEnv()
    with half_full(env, durability) as events:
        made = events.stats().stalls["log"].count
        for round_ in range(1, 9):
            fill(events, 250, 1000 * round_)  # three quarters of what a log holds
            wait(lambda: events.stats().immutable_memtables == 0)
            wait_for_standby(env)
        assert events.stats().flushes >= 4
        assert events.stats().stalls["log"].count <= made + 1, "not at each of the flushes"
        assert len(keys(events)) == 9 * 250


def test_the_first_append_to_it_waits_for_one_sync_like_any_other() -> None:
    """Not for another one that only says that the log before it was synced."""
    env = testing.MemEnv()
    with half_full(env) as events:
        first, second = (f"/t/{name}" for name in logs(env))
        synced: list[str] = []
        while first in synced[-1:] or not synced:
            before = env.op_count()
            fill(events, 1)
            done = [env.op(n) for n in range(before + 1, env.op_count() + 1)]
            synced = [op.split()[-1] for op in done if op.startswith("fdatasync ") and op.endswith(".log")]
            assert len(synced) == 1, done
        assert synced == [second]


def test_a_flush_that_is_asked_for_leaves_a_log_for_the_next_rows() -> None:
    env = testing.MemEnv()
    with create(env) as events:
        for k in range(5):
            fill(events, 1, k)
            events.flush()
            wait_for_standby(env)
        assert events.stats().stalls["log"].count == 1, "the first one, not each of five"
        assert len(logs(env)) <= 3
        assert keys(events) == list(range(5))


@pytest.mark.parametrize("keep", ["none", "all", "random"])
def test_one_without_a_record_is_nothing_to_recover(keep: str) -> None:
    env = testing.MemEnv()
    events = half_full(env)
    after = env.crash(keep, 7)
    events.close()
    with reopen(after, "r") as reader:
        assert keys(reader) == list(range(250))
    with reopen(after) as again:
        assert keys(again) == list(range(250))
        assert again.stats().flushes == 0, "a log with rows is the newest one, whatever was made after it"
        fill(again, 600, 250)
    with reopen(after) as again:
        assert keys(again) == list(range(850))


def test_a_closed_table_has_none() -> None:
    env = testing.MemEnv()
    half_full(env).close()
    assert len(logs(env)) == 1
    assert not has_standby(env)


def test_a_batch_too_large_for_it_gets_its_name() -> None:
    """No generation may be left out: a reader would miss a log."""
    env = testing.MemEnv()
    with half_full(env) as events, reopen(env, "r") as reader:
        assert reader.refresh() == 250
        standby = logs(env)[-1]
        large = {"k": range(1000), "at": range(1000), "s": [ROW] * 1000}
        assert events.append_batch(large) == (251, 1250)
        assert len(env.read_raw(f"/t/{standby}")) > 100_000
        assert reader.refresh() == 1250
        fill(events, 1)
        assert reader.refresh() == 1251
        after = env.crash("none")
    with reopen(after) as again:
        assert again.scan().to_arrow().num_rows == 1251


def test_a_reader_follows_from_log_to_log() -> None:
    env = testing.MemEnv()
    with half_full(env, "os") as events, reopen(env, "r") as reader:
        for k in range(250, 1500):
            fill(events, 1, k)
            assert reader.refresh() == k + 1
        assert keys(reader) == list(range(1500))


def test_one_that_cannot_be_made_is_no_error_until_it_is_needed() -> None:
    """A full disk at that moment: the writer who needs a log tries again."""
    env = testing.MemEnv()
    with create(env) as events:
        fill(events, 1)
        env.set_capacity(0)
        fill(events, 249, 1)
        wait(lambda: any("wal-000002.log" in env.op(n) for n in range(1, env.op_count() + 1)))
        assert events.stats().background_error == ""
        with pytest.raises(OSError, match="space"):
            fill(events, 250, 250)
        appended = keys(events)
        assert 250 < len(appended) < 500
        env.set_capacity(None)
        fill(events, 250, len(appended))
        events.flush()
        assert events.stats().background_error == ""
        assert keys(events) == list(range(len(appended) + 250))


def test_a_batch_too_large_for_it_that_finds_no_room_leaves_a_table_that_goes_on() -> None:
    env = testing.MemEnv()
    with half_full(env) as events:
        env.set_capacity(env.used + 30_000)  # for a table, not for a log
        large = {"k": range(1000), "at": range(1000), "s": [ROW] * 1000}
        with pytest.raises(OSError, match="space"):
            events.append_batch(large)
        fill(
            events, 50, 250
        )  # the log in use is sealed by now: its successor has the room of the one given up
        assert keys(events) == list(range(300))
        env.set_capacity(None)
        assert events.append_batch(large) == (301, 1300)
        after = env.crash("none")
    with reopen(after) as again:
        assert again.scan().to_arrow().num_rows == 1300
        assert not [name for name in after.list("/t") if name.endswith(".new")]


def test_a_flush_that_finds_no_room_gets_that_of_the_log_made_ahead() -> None:
    env = testing.MemEnv()
    with half_full(env) as events:
        env.set_capacity(env.used)
        events.flush()
        assert events.stats().flushed_sequence == 250
        assert events.stats().background_error == ""
        env.set_capacity(None)
        assert keys(events) == list(range(250))


def test_a_flush_that_is_asked_for_begins_once_the_next_log_is_there() -> None:
    """So those who append while it goes on need not make one."""
    env = testing.MemEnv()
    with create(env) as events:
        fill(events, 20)
        before = env.op_count()
        events.flush()
        ops = [env.op(n) for n in range(before + 1, env.op_count() + 1)]
        named = next(n for n, op in enumerate(ops) if op.startswith("rename") and "wal-" in op)
        assert ops[named + 1].startswith("syncdir")
        assert named < min(n for n, op in enumerate(ops) if ".sst" in op)


def test_a_flush_that_is_asked_for_does_not_fail_for_the_log_that_it_had_made() -> None:
    env = testing.MemEnv()
    with create(env) as events:
        fill(events, 20)
        env.set_capacity(env.used + OPTIONS["wal_bytes"] + 200)
        events.flush()
        assert events.stats().flushed_sequence == 20
        env.set_capacity(None)
        assert keys(events) == list(range(20))


@pytest.mark.parametrize("keep", ["none", "all"])
def test_a_killed_table_opens_on_a_disk_that_is_full(keep: str) -> None:
    """The copy of the newest log takes the place of the one that was made ahead."""
    env = testing.MemEnv()
    events = half_full(env)
    after = env.crash(keep)
    events.close()
    after.set_capacity(after.used + 2000)  # a manifest
    with reopen(after) as again:
        assert keys(again) == list(range(250))
    with reopen(after) as again:
        assert keys(again) == list(range(250))


@pytest.mark.parametrize("durability", ["commit", "os"])
def test_a_reader_beside_a_writer_in_a_hurry(durability: str) -> None:
    """It looks at a log that has no record yet, and at the one before it, which is still written to."""
    env = testing.MemEnv()
    rows = 6000
    with create(env, durability, wal_bytes=1 << 14) as events, reopen(env, "r") as reader:
        writer = threading.Thread(target=fill, args=(events, rows))
        writer.start()
        seen = refreshes = 0
        while writer.is_alive():
            now = reader.refresh()
            assert now >= seen
            seen, refreshes = now, refreshes + 1
        writer.join()
        assert reader.refresh() == rows
        assert refreshes > 20
        assert keys(reader) == list(range(rows))
