"""Power loss and failing disks, at every file operation of a short workload.

The in-memory file system numbers its operations. Each run stops at one of them, drops what was not
synced (all of it, none of it, or a random part), opens what is left and checks the promise: what was
acknowledged, or with a weaker durability what was synced, is there; what is there is a prefix of whole
batches, nothing twice; and the store goes on working. Stores into the log's mapping are operations, too: of
one that the crash comes upon some words are there and some are not.
"""

from __future__ import annotations

import contextlib
import errno
import time

import numpy as np
import pyarrow as pa
import pytest
from power_loss import finishes, left_by_crash

from segue import _engine
from segue.errors import Error
from segue.events import Events

SCHEMA = pa.schema(
    {"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string(), "d": pa.dictionary(pa.int32(), pa.string())}
)
OPTIONS = {"wal_bytes": 12288, "memtable_bytes": 1 << 20, "block_rows": 64, "sync_interval_ms": 1}
DURABILITIES = ["commit", "interval", "os"]


class Workload:
    """Appends, batches, flushes and a reopen; remembers what was acknowledged."""

    def __init__(self, env, durability: str) -> None:
        self.env = env
        self.durability = durability
        self.batches: list[list[int]] = []  # the values of k of each acknowledged atomic unit, in order
        self.attempted: list[list[int]] = []
        self.synced_units = 0
        self.events: Events | None = None

    def acknowledge(self) -> None:
        self.batches.append(self.attempted[-1])
        synced = self.events.stats().synced_sequence
        if self.durability == "commit":
            assert synced == sum(map(len, self.batches))
        while synced >= sum(map(len, self.batches[: self.synced_units + 1])):
            self.synced_units += 1
            if self.synced_units == len(self.batches):
                break

    def append(self, k: int) -> None:
        self.attempted.append([k])
        self.events.append(k, k, f"s{k}", f"d{k % 3}")
        self.acknowledge()

    def batch(self, first: int, n: int, token: str | None = None) -> None:
        values = list(range(first, first + n))
        self.attempted.append(values)
        self.events.append_batch(columns(values), token=token)
        self.acknowledge()

    def run(self) -> None:
        self.events = Events.create(
            "/db/t", "t", SCHEMA, "k", "at", durability=self.durability, _options=OPTIONS, _env=self.env
        )
        for k in range(3):
            self.append(k)
        self.batch(100, 80, token="first")
        self.events.flush()
        self.synced_units = len(self.batches)
        self.batch(200, 5)
        self.batch(300, 100)  # several of these rotate the WAL
        self.batch(400, 100, token="second")
        self.append(500)
        self.events.sync()
        self.synced_units = len(self.batches)
        self.events.close()
        self.events = Events.open("/db/t", "t", durability=self.durability, _options=OPTIONS, _env=self.env)
        self.append(600)
        self.batch(700, 90)
        self.events.record_handoff(self.events.stats().sequence)
        self.events.flush()
        self.synced_units = len(self.batches)
        self.append(800)
        self.batch(900, 4)
        self.events.close()
        self.synced_units = len(self.batches)


def columns(values: list[int]) -> dict:
    return {"k": values, "at": values, "s": [f"s{k}" for k in values], "d": [f"d{k % 3}" for k in values]}


def check_recovered(workload: Workload, env, may_lose_unsynced: bool) -> None:
    if not env.exists("/db/t/MANIFEST"):
        assert not workload.batches, "an acknowledged event is gone with its table"
        return
    events = Events.open("/db/t", "t", durability=workload.durability, _options=OPTIONS, _env=env)
    events.verify()
    rows = events.snapshot().scan_sequences(0, 2**62, None, "n").to_arrow().sort_by("n").to_pylist()
    numbers = [row["n"] for row in rows]
    assert len(set(numbers)) == len(numbers), "a row is there twice"
    for row in rows:
        assert row["s"] == f"s{row['k']}"
        assert row["d"] == f"d{row['k'] % 3}"
    # A prefix of what was tried, in whole batches: the last unit may or may not have made it.
    found = [row["k"] for row in rows]
    for units in range(len(workload.attempted), -1, -1):
        if [k for unit in workload.attempted[:units] for k in unit] == found:
            break
    else:
        pytest.fail(f"{len(found)} rows are no prefix of whole batches")
    promised = workload.synced_units if may_lose_unsynced else len(workload.batches)
    assert units >= promised, f"{promised} units were promised, {units} are there"
    if units >= 4:
        # The token of the first batch is known, however it was recovered.
        first, last = events.append_batch(columns(list(range(100, 180))), token="first")
        assert (first, last) == (4, 83)
    # The store goes on, with new numbers above all that were ever handed off or found.
    fresh = events.append(9000, 9000, "s9000", "d0")
    assert fresh > max(numbers, default=0)
    events.flush()
    events.close()
    events = Events.open("/db/t", "t", _options=OPTIONS, _env=env)
    again = events.snapshot().scan_sequences(0, 2**62, None, "n").to_arrow()
    assert sorted(again["k"].to_pylist()) == sorted([*found, 9000])
    events.close()


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("keep", ["none", "all", "random"])
def test_power_loss_at_every_operation(durability, keep):
    # Background threads make the exact number of operations vary a little between runs; going on until
    # a run ends without a crash covers them all.
    clean = False
    n = 0
    while not clean:
        n += 1
        env = _engine.testing.MemEnv()
        env.set_crash_at(n)
        workload = Workload(env, durability)
        finished = finishes(workload)
        assert finished or env.crashed, "it failed by itself"
        clean = finished and not env.crashed
        for after in left_by_crash(env, n, keep, 3):
            check_recovered(workload, after, may_lose_unsynced=True)
    assert n > 40, "the workload is expected to do many operations"


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_killed_process_loses_nothing_that_was_acknowledged(durability):
    # Not power loss: the system keeps what was written but not synced.
    clean = False
    n = 0
    while not clean:
        n += 1
        env = _engine.testing.MemEnv()
        env.set_crash_at(n)
        workload = Workload(env, durability)
        finished = finishes(workload)
        assert finished or env.crashed, "it failed by itself"
        clean = finished and not env.crashed
        for after in left_by_crash(env, n, "all", 5):
            check_recovered(workload, after, may_lose_unsynced=False)


def test_every_kind_of_operation_is_met():
    """Also what only a mapped log does, and a close: else the tests above would show less than they say."""
    kinds = {}
    for durability in DURABILITIES:
        env = _engine.testing.MemEnv()
        Workload(env, durability).run()
        ops = [env.op(n).split() for n in range(1, env.op_count() + 1)]
        kinds[durability] = {verb for verb, path in ops if "/wal-" in path}
        rows = [verb for verb, path in ops if verb == "store" and "/wal-" in path]
        assert len(rows) >= 8 or durability == "commit"
    both = {"map", "write", "rename", "release"}
    assert kinds["commit"] >= both | {"fdatasync"}
    assert kinds["interval"] >= both | {"msync", "store", "prepare"}
    assert kinds["os"] >= both | {"msync", "store", "prepare"}
    # All of a mapped log is never written at once: most of one that is used again may be dead records.
    assert "fdatasync" not in kinds["interval"] | kinds["os"]


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize(("code", "short"), [(errno.ENOSPC, True), (errno.ENOSPC, False), (errno.EIO, False)])
def test_one_failing_operation_at_every_place(code, short, durability):
    clean = False
    n = 0
    while not clean:
        n += 1
        env = _engine.testing.MemEnv()
        env.set_fail_at(n, code, short)
        workload = Workload(env, durability)
        finished = finishes(workload)
        clean = finished and env.op_count() < n
        assert finished or env.op_count() >= n, "it failed by itself"
        # Whatever failed: opening again finds every acknowledged event.
        check_recovered(workload, env.crash("none", 0), may_lose_unsynced=True)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("keep", ["none", "all", "random"])
def test_what_was_handed_off_survives(durability, keep):
    """Else recovery, which passes over numbers handed off and lost, would take later events without them."""
    env = _engine.testing.MemEnv()
    options = OPTIONS | {"sync_interval_ms": 10_000}
    events = Events.create("/db/t", "t", SCHEMA, "k", "at", durability=durability, _options=options, _env=env)
    events.append(0, 0, "s0", "d0")
    for first in (1, 201, 401):  # more than one log
        events.append_batch(columns(list(range(first, first + 200))))
    events.record_handoff(500)
    logs = [path for path in env.files() if "/wal-" in path]
    assert len(logs) > 1
    for seed in range(5):
        with Events.open("/db/t", "t", _options=OPTIONS, _env=env.crash(keep, seed)) as again:
            found = sorted(again.scan(columns=["k"]).to_arrow()["k"].to_pylist())
        assert found == list(range(len(found)))
        assert len(found) >= 500
    events.close()


def test_a_failed_sync_stops_the_store():
    env = _engine.testing.MemEnv()
    events = Events.create("/db/t", "t", SCHEMA, "k", "at", _options=OPTIONS, _env=env)
    events.append(1, 1, "s1", "d1")
    env.set_fail_at(env.op_count() + 1, errno.EIO)
    with pytest.raises(OSError):
        events.append(2, 2, "s2", "d2")
    with pytest.raises(Error, match="failed sync"):
        events.append(3, 3, "s3", "d0")
    assert events.scan(key=1).to_arrow().num_rows == 1, "reads go on"
    with pytest.raises((Error, OSError)):
        events.close()
    again = Events.open("/db/t", "t", _options=OPTIONS, _env=env.crash("none", 0))
    assert again.scan(key=1).to_arrow().num_rows == 1
    assert again.append(4, 4, "s4", "d1") >= 2
    again.close()


def test_a_failed_write_back_of_a_table_loses_nothing():
    """The device's error is told to the write-back alone: the sync after it succeeds."""
    random = np.random.default_rng(0)
    texts = [random.bytes(300).hex() for _ in range(1500)]  # several pieces of 128 KiB
    columns = {"k": range(1500), "at": range(1500), "s": texts, "d": ["d"] * 1500}

    def run(env):
        events = Events.create("/db/t", "t", SCHEMA, "k", "at", _options={"wal_bytes": 4 << 20}, _env=env)
        events.append_batch(columns)
        with contextlib.suppress(Error, OSError):
            events.flush()
        events.close()

    clean = _engine.testing.MemEnv()
    run(clean)
    places = [n for n in range(1, clean.op_count() + 1) if clean.op(n).startswith("write_back")]
    assert len(places) >= 4
    for place in places:
        env = _engine.testing.MemEnv()
        env.set_fail_at(place, errno.EIO)
        run(env)
        with Events.open("/db/t", "t", _env=env.crash("none", 0)) as events:
            assert sorted(events.scan().to_arrow()["s"].to_pylist()) == sorted(texts)
            events.verify()


def test_tables_that_cannot_be_opened_do_not_stay():
    """A flush that fails after its table was written removes it, and is tried again."""
    for code in (errno.EIO, errno.EMFILE):
        env = _engine.testing.MemEnv()
        events = Events.create("/db/t", "t", SCHEMA, "k", "at", durability="os", _options=OPTIONS, _env=env)
        events.append(1, 1, "s1", "d1")
        before = env.op_count()
        events.flush()
        ops = [env.op(n) for n in range(before + 1, env.op_count() + 1)]
        written = next(i for i, op in enumerate(ops) if op.startswith("sync ") and op.endswith(".sst"))
        assert ops[written + 1].startswith("syncdir")
        events.append(2, 2, "s2", "d2")
        env.set_fail_at(env.op_count() + written + 2, code)
        with contextlib.suppress(Error, OSError):
            events.flush()
        events.flush()
        assert events.stats().tables == 2
        for _ in range(200):
            tables = [file for file in env.files() if file.endswith(".sst")]
            if len(tables) == 2:
                break
            time.sleep(0.01)
        assert len(tables) == 2, "a file that nothing names stays"
        events.close()


def test_power_loss_after_a_manifest_was_read_whose_name_was_not_durable():
    """What that one says to be of no use any more is needed when the older one comes back."""
    options = {"wal_bytes": 1 << 16, "memtable_bytes": 1 << 20, "background_compaction": False}

    def left_by_failed_flush(step):
        """A closed store whose last flush failed at operation `step` (0: none), and what that flush did."""
        env = _engine.testing.MemEnv()
        events = Events.create("/t", "t", SCHEMA, "k", "at", _options=options, _env=env)
        for k in range(100):
            events.append(k, k, "s", "d")
            if k == 49:
                events.flush()
        before = env.op_count()
        env.set_fail_at(before + step if step else 0, errno.EIO)
        with contextlib.suppress(Error):
            events.flush()
        env.set_fail_at(0, errno.EIO)
        ops = [env.op(n) for n in range(before + 1, env.op_count() + 1)]
        with contextlib.suppress(Error):
            events.close()
        return env, ops

    def append_one(env):
        with Events.open("/t", "t", _options=options, _env=env) as events:
            events.append(100, 100, "s", "d")

    _, ops = left_by_failed_flush(0)
    renamed = next(n for n, op in enumerate(ops, 1) if op.startswith("rename") and "MANIFEST" in op)
    assert ops[renamed].startswith("syncdir")
    for at in range(1, 100):
        env, _ = left_by_failed_flush(renamed + 1)
        begin = env.op_count()
        env.set_crash_at(begin + at)
        with contextlib.suppress(Error):
            append_one(env)
        for after in left_by_crash(env, begin + at, "none", 1):
            with Events.open("/t", "t", _options=options, _env=after) as events:
                found = sorted(events.scan().to_arrow()["k"].to_pylist())
            assert found in (list(range(100)), list(range(101))), env.op(begin + at)
        if env.op_count() < begin + at:
            break
    assert at > 10
