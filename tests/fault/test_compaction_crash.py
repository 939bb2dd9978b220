"""Power loss and failing disks at every file operation of flushes by window, merges and expiry.

As test_event_store_crash.py does it: each run stops at one operation, drops what was not synced, opens
what is left and checks that what was acknowledged is there, that expiry happened as a whole or not at
all, and that the files on disk are those that the manifest names.
"""

from __future__ import annotations

import contextlib
import errno

import pyarrow as pa
import pytest
from power_loss import finishes, left_by_crash

from segue import _engine
from segue.events import Events

DAY = 86_400_000_000
SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "d": pa.dictionary(pa.int32(), pa.string())})
OPTIONS = {
    "wal_bytes": 12288,
    "block_rows": 16,
    "window_rows": 8,
    "background_compaction": False,
    "sync_interval_ms": 1,
}


class Workload:
    """Late events, merges and expiry; remembers what was promised."""

    def __init__(self, env, durability: str = "commit") -> None:
        self.env = env
        self.durability = durability
        self.events: Events | None = None
        self.units: list[list[tuple[int, int]]] = []  # (k, day) of each batch that was tried
        self.promised = 0  # units that survive power loss
        self.expiries: list[tuple[int, int]] = []  # (first day kept, units before it) of each one tried
        self.expired = 0  # of them acknowledged

    def batch(self, days: list[int], n: int, token: str | None = None) -> None:
        first = sum(map(len, self.units))
        rows = [(first + i, days[i % len(days)]) for i in range(n)]
        self.units.append(rows)
        self.events.append_batch(columns(rows), token=token)
        self.note_synced()
        assert self.promised == len(self.units) or self.durability != "commit"

    def note_synced(self) -> None:
        synced = self.events.stats().synced_sequence
        while self.promised < len(self.units):
            if sum(map(len, self.units[: self.promised + 1])) > synced:
                break
            self.promised += 1

    def expire(self, day: int) -> None:
        self.expiries.append((day, len(self.units)))
        self.events.expire(before=day * DAY)
        self.expired = len(self.expiries)
        self.note_synced()

    def open(self, how, *arguments) -> None:
        self.events = how(
            "/db/t", "t", *arguments, durability=self.durability, _options=OPTIONS, _env=self.env
        )

    def run(self) -> None:
        self.open(Events.create, SCHEMA, "k", "at")
        self.batch([0, 1, 2], 30, token="first")
        self.events.flush()  # a file for each of three windows
        self.batch([1, 2, 9, 11, 13, 200], 42)
        self.events.flush()  # files of windows, a shared one of what is left
        self.events.compact()
        self.batch([2, 3, 0], 12, token="second")
        self.expire(1)  # flushes, drops a file, hides a part of another
        self.batch([0, 3], 6)  # older than the bound: stays
        self.events.close()
        self.promised = len(self.units)
        self.open(Events.open)
        self.batch([3, 4], 20)
        self.events.compact()  # drops what was hidden
        self.expire(12)
        self.events.compact()
        self.expire(300)  # everything: its tokens wait in the manifest
        self.batch([400], 5)
        self.events.flush()
        self.events.close()

    def rows(self, units: int, expiries: int) -> list[tuple[int, int]]:
        """What there is after so many units and expiries."""
        kept: list[tuple[int, int]] = []
        for n, unit in enumerate(self.units[:units]):
            bound = max((day for day, before in self.expiries[:expiries] if n < before), default=0)
            kept += [(k, day) for k, day in unit if day >= bound]
        return sorted(kept)


def columns(rows: list[tuple[int, int]]) -> dict:
    return {
        "k": [k for k, _ in rows],
        "at": [day * DAY + k for k, day in rows],
        "d": [f"d{k % 3}" for k, _ in rows],
    }


def rows_of(events: Events) -> list[tuple[int, int]]:
    table = events.scan().to_arrow()
    for k, d in zip(table["k"].to_pylist(), table["d"].to_pylist(), strict=True):
        assert d == f"d{k % 3}"
    at = table["at"].cast(pa.int64()).to_pylist()
    return sorted((k, time // DAY) for k, time in zip(table["k"].to_pylist(), at, strict=True))


def check_files(env) -> None:
    named = {
        f"/db/t/sst-{table[0]:06d}.sst" for table in _engine.testing.manifest_tables("/db/t/MANIFEST", env)
    }
    there = {f"/db/t/{name}" for name in env.list("/db/t") if name.endswith(".sst")}
    assert there == named


def check_recovered(workload: Workload, env) -> None:
    if not env.exists("/db/t/MANIFEST"):
        assert workload.promised == 0
        return
    events = Events.open("/db/t", "t", _options=OPTIONS, _env=env)
    check_files(env)
    events.verify()
    found = rows_of(events)
    possible = [
        (units, expiries)
        for units in range(workload.promised, len(workload.units) + 1)
        for expiries in range(workload.expired, len(workload.expiries) + 1)
        if workload.rows(units, expiries) == found
    ]
    assert possible, f"{found} is no state that was promised"
    if workload.units:
        # The token outlives merges and expiry.
        first, last = events.append_batch(columns(workload.units[0]), token="first")
        assert (first, last) == (1, 30)
    numbers = events.snapshot().scan_sequences(0, 2**62, [], "n").to_arrow()["n"].to_pylist()
    assert events.append(10**6, 500 * DAY + 10**6, "d1") > max(numbers, default=0)
    found = rows_of(events)
    events.compact()
    assert rows_of(events) == found
    events.close()
    check_files(env)
    events = Events.open("/db/t", "t", _options=OPTIONS, _env=env)
    assert rows_of(events) == found
    events.close()


@pytest.mark.parametrize("durability", ["commit", "os"])
@pytest.mark.parametrize("keep", ["none", "all", "random"])
def test_power_loss_at_every_operation(keep, durability):
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
        for after in left_by_crash(env, n, keep, 2):
            check_recovered(workload, after)
    assert n > 150, "the workload is expected to do many operations"


def test_power_loss_at_every_operation_beside_syncs_of_the_background():
    """Where they come varies, so what is kept takes turns instead of being tried at the same place each."""
    clean = False
    n = 0
    while not clean:
        n += 1
        env = _engine.testing.MemEnv()
        env.set_crash_at(n)
        workload = Workload(env, "interval")
        finished = finishes(workload)
        assert finished or env.crashed, "it failed by itself"
        clean = finished and not env.crashed
        for after in left_by_crash(env, n, ("none", "all", "random")[n % 3], 2):
            check_recovered(workload, after)


@pytest.mark.parametrize(("code", "short"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_one_failing_operation_at_every_place(code, short):
    clean = False
    n = 0
    while not clean:
        n += 1
        env = _engine.testing.MemEnv()
        env.set_fail_at(n, code, short)
        workload = Workload(env)
        finished = finishes(workload)
        clean = finished and env.op_count() < n
        assert finished or env.op_count() >= n, "it failed by itself"
        check_recovered(workload, env.crash("none", 0))


def test_a_disk_that_stays_full_stops_merging_not_the_store():
    env = _engine.testing.MemEnv()
    events = Events.create("/db/t", "t", SCHEMA, "k", "at", _options=OPTIONS, _env=env)
    for first in range(0, 90, 30):
        events.append_batch(columns([(first + i, 0) for i in range(30)]))
        events.flush()
    before = rows_of(events)
    for step in range(1, 12):
        env.set_fail_at(env.op_count() + step, errno.ENOSPC, True)
        with contextlib.suppress(OSError):
            events.compact()
        assert rows_of(events) == before
    env.set_fail_at(0, errno.ENOSPC)
    events.append(1000, 5, "d1")
    events.compact()
    assert len(rows_of(events)) == 91
    assert events.stats().tables == 1
    check_files(env)
    events.close()
