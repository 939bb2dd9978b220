"""After one failed file operation the store goes on; and a crash between any two appends loses nothing.

test_event_store_crash.py stops at the failure and opens again. Here the writer carries on with the same
store, as a service does: whatever failed but a sync or a write of the log, all that follows works, and
what the store shows is what it finds again when it is opened.
"""

from __future__ import annotations

import contextlib
import errno

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import Error, ReadOnlyError
from segue.events import Events

DAY = 86_400_000_000
SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "d": pa.dictionary(pa.int32(), pa.string())})
OPTIONS = {
    "wal_bytes": 8192,
    "memtable_bytes": 1 << 20,
    "block_rows": 16,
    "window_rows": 8,
    "background_compaction": False,
}
# One that fails is the end of a log, as what was written before may be lost.
LOG_OPERATIONS = ("msync", "fdatasync", "write", "store", "prepare")


def columns(rows: list[tuple[int, int]]) -> dict[str, list]:
    return {
        "k": [k for k, _ in rows],
        "at": [day * DAY + k for k, day in rows],
        "d": [f"d{k % 3}" for k, _ in rows],
    }


class Service:
    """Steps that each may fail once; remembers which events it promised, and which may be there."""

    def __init__(self, env, durability: str) -> None:
        self.env = env
        self.events = Events.create(
            "/t", "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS, _env=env
        )
        self.next = 0
        self.promised: set[tuple[int, int]] = set()
        self.doubtful: list[set[tuple[int, int]]] = []  # of each call that failed
        self.expired: list[tuple[int, bool]] = []  # first day kept, whether acknowledged
        self.failures = 0
        self.stopped = False  # a log could not be written or synced

    @contextlib.contextmanager
    def step(self):
        try:
            yield
        except ReadOnlyError:
            self.stopped = True
        except (Error, OSError):
            self.failures += 1

    def append(self, n: int, day: int, token: str | None = None) -> None:
        rows = [(self.next + i, day) for i in range(n)]
        self.next += n
        self.doubtful.append(set(rows))
        with self.step():
            if n == 1:
                k, day = rows[0]
                self.events.append(k, day * DAY + k, f"d{k % 3}")
            else:
                first, last = self.events.append_batch(columns(rows), token=token)
                assert last == first + n - 1
            self.doubtful.pop()
            self.promised |= set(rows)

    def expire(self, day: int) -> None:
        self.expired.append((day, False))
        with self.step():
            self.events.expire(before=day * DAY)
            self.expired[-1] = (day, True)

    def run(self) -> None:
        for k in range(3):
            self.append(1, k)
        self.append(70, 1, token="t")
        with self.step():
            self.events.flush()
        self.append(90, 2)
        self.append(90, 3)  # begins a new log, in a file that is reused
        self.append(1, 3)
        with self.step():
            self.events.record_handoff(self.events.sync())
        self.append(5, 4)
        with self.step():
            self.events.compact()
        self.append(90, 4)
        self.expire(1)
        self.append(1, 5)
        with self.step():
            self.events.compact()
        self.append(90, 6)
        with self.step():
            self.events.flush()
        self.append(1, 7)


def found_in(events: Events) -> set[tuple[int, int]]:
    table = events.scan().to_arrow()
    at = table["at"].cast(pa.int64()).to_pylist()
    rows = [(k, time // DAY) for k, time in zip(table["k"].to_pylist(), at, strict=True)]
    assert len(set(rows)) == len(rows), "a row is there twice"
    assert table["d"].to_pylist() == [f"d{k % 3}" for k, _ in rows]
    return set(rows)


def check(service: Service, found: set[tuple[int, int]]) -> None:
    firm = max((day for day, acknowledged in service.expired if acknowledged), default=0)
    may = max((day for day, _ in service.expired), default=0)
    missing = {row for row in service.promised - found if row[1] >= may}
    assert not missing, f"{len(missing)} acknowledged events are gone"
    assert not {row for row in found if row[1] < firm}, "what expired is there again"
    extra = found - service.promised
    for unit in service.doubtful:
        assert {row for row in unit if row[1] >= may} <= found or not unit & found, "half a batch is there"
        extra -= unit
    assert not extra


@pytest.mark.parametrize("durability", ["commit", "os"])
def test_after_one_failed_operation(durability: str) -> None:
    n = 0
    stopped = failed = 0
    while True:
        n += 1
        env = _engine.testing.MemEnv()
        service = Service(env, durability)
        at = env.op_count() + n
        # A full disk that takes a half, or a device that takes nothing: by turns, as it is a long loop.
        full = n % 2 == (durability == "commit")
        env.set_fail_at(at, errno.ENOSPC if full else errno.EIO, full)
        service.run()
        what = env.op(at)
        if not what:
            break
        failed += service.failures > 0
        stopped += service.stopped
        if service.stopped:
            verb, path = what.split()
            assert verb in LOG_OPERATIONS, f"a failed {what} stopped the store"
            assert "wal-" in path
        else:
            # At most one call heard of it, and all after it worked.
            assert service.failures <= 1, f"{service.failures} calls failed after one failed {what}"
        live = found_in(service.events)
        if not service.stopped:
            check(service, live)
        service.events.verify()
        try:
            service.events.close()
        except (Error, OSError):
            if not service.stopped:  # the last write of the log was the one that failed
                verb, path = what.split()
                assert verb in LOG_OPERATIONS, f"closing failed after a failed {what}"
                assert path.startswith("/t/wal-")
                service.stopped = True
        for keep in ("none", "all"):
            after = env.crash(keep)
            with Events.open("/t", "t", _options=OPTIONS, _env=after) as again:
                found = found_in(again)
                if not service.stopped:
                    assert found == live, f"after a failed {what}"
                if keep == "all" or durability == "commit":
                    check(service, found)
                again.verify()
                again.append(10**6, 500 * DAY, "d1")
                again.flush()
    assert failed > 20, "most operations are somebody's"
    assert stopped < n
    # Elsewhere few operations of the log are synced, and threads do not meet at the same places each time.
    assert stopped > 0 or durability != "commit"


@pytest.mark.parametrize("durability", ["commit", "interval", "os"])
def test_a_crash_after_each_append(durability: str) -> None:
    env = _engine.testing.MemEnv()
    service = Service(env, durability)
    synced: set[tuple[int, int]] = set()

    def crash_now() -> None:
        for keep, seed in [("none", 0), ("all", 0), *(("random", seed) for seed in range(3))]:
            with Events.open("/t", "t", _options=OPTIONS, _env=env.crash(keep, seed)) as again:
                found = found_in(again)
                again.verify()
                rows = sorted(found)
                assert rows == sorted(service.promised)[: len(rows)], "no prefix"
                if keep == "all" or durability == "commit":
                    assert found == service.promised
                assert synced <= found

    for n, rows in enumerate([1, 1, 1, 3, 1, 70, 1, 64, 1, 1, 100, 90, 1, 1, 90]):
        service.append(rows, 0)
        if n % 4 == 3:
            service.events.sync()
            synced = set(service.promised)
        if n == 7:
            service.events.flush()
            synced = set(service.promised)
        crash_now()
    assert service.failures == 0
    assert not service.stopped
    service.events.close()
