"""Reader processes on a file system in memory: every step of writer and reader in a known order."""

from __future__ import annotations

import random
import struct
from typing import Any

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import ClosedError, CorruptionError, ReadOnlyError
from segue.events import Events

testing = _engine.testing

PAGE = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema({"user": pa.int64(), "page": PAGE, "at": pa.timestamp("us")})
DAY = 86_400_000_000
SMALL = {"wal_bytes": 8192, "memtable_bytes": 1 << 20, "window_rows": 16, "block_rows": 16}


def columns(first: int, last: int) -> dict[str, list[Any]]:
    """What events `first` to `last` hold: it follows from their numbers."""
    numbers = range(first, last + 1)
    return {
        "user": [n % 17 for n in numbers],
        "page": [f"p{n * 31 % 40}" for n in numbers],
        "at": [n * 7919 % 20 * DAY + n for n in numbers],
    }


def append(events: Events, count: int) -> int:
    first = events.snapshot().sequence + 1
    if count == 1:
        values = columns(first, first)
        assert events.append(*(values[name][0] for name in SCHEMA.names)) == first
        return first
    assert events.append_batch(columns(first, first + count - 1)) == (first, first + count - 1)
    return first + count - 1


def shown(events: Events, expired_before: int = -(2**62)) -> int:
    """The last event that is shown; fails unless it is exactly those up to it that have not expired."""
    with events.snapshot() as snapshot:
        table = snapshot.scan_sequences(0, 2**63, None, "sequence").to_arrow().sort_by("sequence")
        want = columns(1, snapshot.sequence)
        kept = [i for i, at in enumerate(want["at"]) if at >= expired_before]
        assert table["sequence"].to_pylist() == [i + 1 for i in kept]
        for name in SCHEMA.names:
            column = table[name].cast(pa.int64()) if name == "at" else table[name]
            assert column.to_pylist() == [want[name][i] for i in kept], name
        return snapshot.sequence


@pytest.fixture(params=["commit", "os"])
def place(request: pytest.FixtureRequest) -> tuple[Any, str]:
    env = testing.MemEnv()
    Events.create("t", "t", SCHEMA, "user", "at", durability=request.param, _options=SMALL, _env=env).close()
    return env, request.param


def writer(place: tuple[Any, str]) -> Events:
    env, durability = place
    return Events.open("t", "t", durability=durability, _options=SMALL, _env=env)


def reader(place: tuple[Any, str]) -> Events:
    return Events.open("t", "t", mode="r", _env=place[0])


@pytest.mark.parametrize("seed", range(6))
def test_a_reader_shows_all_that_was_acknowledged(place: tuple[Any, str], seed: int) -> None:
    rng = random.Random(seed)
    events, seen = writer(place), reader(place)
    last = expired = 0
    held: list[tuple[Any, int]] = []
    for _ in range(400):
        what = rng.choices(
            ["row", "batch", "large", "flush", "compact", "expire", "reopen", "refresh", "hold"],
            [60, 25, 6, 5, 2, 1, 2, 40, 4],
        )[0]
        if what == "row":
            last = append(events, 1)
        elif what == "batch":
            last = append(events, rng.randrange(2, 30))
        elif what == "large":
            last = append(events, rng.randrange(64, 100))
        elif what == "flush":
            events.flush()
        elif what == "compact":
            events.compact()
        elif what == "expire" and not expired and last > 500:
            # Once: how much expires depends on what is stored at that moment.
            expired = last
            events.expire(before=5 * DAY)
        elif what == "reopen":
            events.close()
            if rng.random() < 0.5:
                seen.refresh()  # with nobody writing
            events = writer(place)
        elif what == "hold":
            held.append((seen.snapshot(), 0))
        elif not expired:
            assert seen.refresh() == last
            assert shown(seen) == last
        else:
            assert seen.refresh() == last
            with seen.snapshot() as snapshot:
                numbers = snapshot.scan_sequences(expired, last, None, "s").to_arrow()["s"].to_pylist()
                assert sorted(numbers) == list(range(expired + 1, last + 1))
                old = snapshot.scan_sequences(0, expired, None, "s").to_arrow()["s"].to_pylist()
                gone = [n for n in range(1, expired + 1) if n * 7919 % 20 < 5]
                assert sorted(old) == sorted(set(range(1, expired + 1)) - set(gone))
    for snapshot, _ in held:
        numbers = snapshot.scan_sequences(0, 2**63, None, "s").to_arrow()["s"].to_pylist()
        assert set(numbers) <= set(range(1, snapshot.sequence + 1))
        assert len(set(numbers)) == len(numbers)
        snapshot.close()
    assert events.stats().flushes > 0
    seen.close()
    events.close()


def record_at(log: bytes, offset: int) -> tuple[int, bool]:
    """Generation of the record at an offset, and whether its checksum fits (docs/formats/wal.md)."""
    crc, length, generation = struct.unpack_from("<IIQ", log, offset)
    end = offset + 32 + (length + 7) // 8 * 8
    return generation, end <= len(log) and testing.crc32c(log[offset + 4 : end]) == crc


def test_a_stale_record_where_the_log_ends_is_not_taken(place: tuple[Any, str]) -> None:
    env = place[0]
    events, seen = writer(place), reader(place)
    # Rows of one size: the records of each life of a file begin at the same offsets.
    last = 0
    stale = 0
    for _ in range(60):  # of the logs some are made from nothing
        for _ in range(20):
            last = events.append(last, "p00", last)
            assert seen.refresh() == last
            content = env.read_file(f"t/{newest_log(env)}")
            offset = end_of(content)
            if offset + 32 <= len(content):
                generation, whole = record_at(content, offset)
                own = struct.unpack_from("<Q", content, 32)[0]
                stale += whole and 0 < generation < own
            assert seen.scan().to_arrow().num_rows == last
        events.flush()
        if stale > 20:
            break
    assert stale > 20, "the reader never stood before a whole record of the file's earlier life"
    seen.close()
    events.close()


def newest_log(env: Any) -> str:
    """Of those with a record: the one after it may have been made already."""
    names = [name for name in env.list("t") if name.startswith("wal-") and name.endswith(".log")]
    return max(names, key=lambda name: (end_of(env.read_file(f"t/{name}")) > 4096, name))


def end_of(log: bytes) -> int:
    own = struct.unpack_from("<Q", log, 32)[0]
    offset = 4096
    while offset + 32 <= len(log):
        generation, whole = record_at(log, offset)
        if generation != own or not whole:
            break
        offset += 32 + (struct.unpack_from("<I", log, offset + 4)[0] + 7) // 8 * 8
    return offset


def test_a_snapshot_keeps_what_it_shows(place: tuple[Any, str]) -> None:
    env = place[0]
    events = writer(place)
    for _ in range(4):
        append(events, 100)
        events.flush()
    seen = reader(place)
    before = seen.snapshot()
    tables = {name for name in env.list("t") if name.endswith(".sst")}
    events.compact()
    seen.refresh()
    assert tables <= set(env.list("t")), "the snapshot's lease"
    assert sorted(before.scan_sequences(0, 400, None, "s").to_arrow()["s"].to_pylist()) == list(range(1, 401))
    before.close()
    append(events, 100)
    events.flush()
    events.compact()  # looks at the leases again
    assert not tables & set(env.list("t"))
    assert seen.refresh() == 500
    assert shown(seen) == 500
    seen.close()
    events.close()


def test_tables_stay_open_and_what_is_new_comes(place: tuple[Any, str]) -> None:
    events, seen = writer(place), reader(place)
    assert seen.refresh() == 0
    append(events, 3)
    assert shown(seen) == 0, "nothing comes without a refresh"
    assert seen.refresh() == 3
    assert seen.refresh() == 3
    assert events.refresh() == 3, "the writer always shows everything"
    token = columns(4, 5)
    assert events.append_batch(token, token="a") == (4, 5)
    events.flush()
    assert events.append_batch(columns(6, 7), token="b") == (6, 7)
    assert seen.refresh() == 7
    assert seen.stats().tokens == 2
    assert seen.stats().flushed_sequence == 5
    assert seen.stats().run_rows + seen.stats().skiplist_rows == 2
    with pytest.raises(ReadOnlyError):
        seen.append(1, "x", 1)
    seen.close()
    with pytest.raises(ClosedError):
        seen.refresh()
    events.close()


def test_synced_is_what_the_log_says(place: tuple[Any, str]) -> None:
    _, durability = place
    events, seen = writer(place), reader(place)
    append(events, 5)
    seen.refresh()
    assert seen.sync() == (5 if durability == "commit" else 0)
    events.sync()
    assert seen.sync() == (5 if durability == "commit" else 0), "as of the last refresh"
    seen.refresh()
    assert seen.sync() == 5
    append(events, 300)
    append(events, 300)
    events.sync()
    assert seen.refresh() == 605
    assert seen.sync() == 605
    seen.close()
    events.close()


def test_a_log_that_was_synced_shows_that_the_one_before_it_was(place: tuple[Any, str]) -> None:
    """Also where that one's own note did not reach the disk: it gets there with that log's next sync."""
    env = place[0]
    events = writer(place)
    append(events, 5)
    events.sync()
    store_id = bytes.fromhex(events.store_id)
    content = env.read_file("t/wal-000001.log")
    batch = content[4096 + 32 :][: struct.unpack_from("<I", content, 4100)[0]]
    after = env.crash("all")
    events.close()
    word = struct.pack("<I", 4096 // 8)
    note = word + struct.pack("<I", testing.crc32c(struct.pack("<Q", 1) + word))
    after.write_raw("t/wal-000001.log", content[:64] + note + content[72:])
    log = testing.WalWriter("t/wal-000002.log", store_id, 2, 6, False, 8192, "", after)
    log.append(batch, 2, 6, 5)
    with reader((after, place[1])) as seen:
        assert (seen.snapshot().sequence, seen.sync()) == (10, 0)
        log.sync()
        assert (seen.refresh(), seen.sync()) == (10, 10)


def test_damage_in_the_synced_part_is_an_error_and_not_forgotten(place: tuple[Any, str]) -> None:
    env = place[0]
    events, seen = writer(place), reader(place)
    for _ in range(3):
        append(events, 1)
    events.sync()
    events.close()
    path = f"t/{newest_log(env)}"
    content = env.read_file(path)
    env.write_file_atomic(path, content[:4140] + bytes([content[4140] ^ 1]) + content[4141:])
    for _ in range(2):
        with pytest.raises(CorruptionError, match="damaged"):
            reader(place)
    env.write_file_atomic(path, content)
    assert seen.refresh() == 3
    seen.close()


def test_a_table_in_the_others_place_is_told(place: tuple[Any, str]) -> None:
    env, durability = place
    seen = reader(place)
    for name in list(env.list("t")):
        if name != "leases":
            env.remove(f"t/{name}")
    Events.create("t", "t", SCHEMA, "user", "at", durability=durability, _options=SMALL, _env=env).close()
    with pytest.raises(ClosedError, match="replaced"):
        seen.refresh()
    seen.close()


@pytest.mark.parametrize("gone", [1, 2])
def test_a_log_that_was_removed_is_missed(place: tuple[Any, str], gone: int) -> None:
    """The oldest that is needed, or one in the middle: a reader finds what the writer finds when it opens."""
    env = place[0]
    events, early = writer(place), reader(place)
    last = append(events, 5)
    store_id = bytes.fromhex(events.store_id)
    events.close()
    content = env.read_file("t/wal-000001.log")
    batch = content[4096 + 32 :][: struct.unpack_from("<I", content, 4100)[0]]
    for generation in (2, 3):  # as a writer leaves them that dies before its memtables are flushed
        path = f"t/wal-{generation:06}.log"
        log = testing.WalWriter(path, store_id, generation, last + 1, True, 8192, "", env)
        assert log.append(batch, 2, last + 1, 5)
        log.sync()
        last += 5
    assert early.refresh() == reader(place).snapshot().sequence == last

    content = env.read_file(f"t/wal-{gone:06}.log")
    env.remove(f"t/wal-{gone:06}.log")
    missing = f"begins with event {gone * 5 + 1}, and what comes before ends with {gone * 5 - 5}"
    for open_it in (reader, reader, writer):
        with pytest.raises(CorruptionError, match=missing) as caught:
            open_it(place)
        assert caught.value.path == f"t/wal-00000{gone + 1}.log"
    assert early.refresh() == last, "it has read the log already"
    env.write_raw(f"t/wal-{gone:06}.log", content)
    assert reader(place).snapshot().sequence == last
    early.close()


def test_an_empty_log_is_not_missed(place: tuple[Any, str]) -> None:
    env = place[0]
    events = writer(place)
    store_id = bytes.fromhex(events.store_id)
    events.close()
    testing.WalWriter("t/wal-000001.log", store_id, 1, 1, True, 8192, "", env)
    seen = reader(place)
    assert seen.refresh() == 0
    events = writer(place)
    last = append(events, 3)
    assert seen.refresh() == last
    events.close()
