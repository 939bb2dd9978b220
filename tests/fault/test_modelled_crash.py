"""Power loss and failing disks at every file operation of flushes and merges that write tables by models.

The tables of test_compaction_crash.py have too few rows for models, as those of most tests of crashes.
"""

from __future__ import annotations

import errno

import pyarrow as pa
import pytest
from power_loss import finishes, left_by_crash

from segue import _engine
from segue.events import Events

DAY = 86_400_000_000
SCHEMA = pa.schema(
    {"k": pa.int64(), "at": pa.timestamp("us"), "n": pa.int32(), "d": pa.dictionary(pa.int32(), pa.string())}
)
OPTIONS = {"wal_bytes": 1 << 17, "window_rows": 300, "background_compaction": False}
BATCHES = ((0, 600), (0, 500), (1, 700), (0, 400), (1, 300))  # day and rows of each


def columns(batch: int) -> dict:
    """Events in the order of their times, of keys that have a country each."""
    day, rows = BATCHES[batch]
    first = sum(n for _, n in BATCHES[:batch])
    numbers = range(first, first + rows)
    keys = [i * i % 53 for i in numbers]
    return {
        "k": keys,
        "at": [day * DAY + i * 20_000_000 + i * 7919 % 1000 for i in numbers],
        "n": list(numbers),
        "d": [f"d{k % 7}" for k in keys],
    }


class Workload:
    def __init__(self, env) -> None:
        self.env = env
        self.events: Events | None = None
        self.tried = 0
        self.promised = 0

    def append(self) -> None:
        self.tried += 1
        self.events.append_batch(columns(self.tried - 1), token=f"{self.tried - 1}")
        self.promised = self.tried

    def run(self) -> None:
        self.events = Events.create("/db/t", "t", SCHEMA, "k", "at", _options=OPTIONS, _env=self.env)
        self.append()
        self.events.flush()
        self.append()
        self.append()
        self.events.flush()
        self.events.compact()
        self.append()
        self.append()
        self.events.compact()
        self.events.close()


def versions(env) -> list[int]:
    """Of the format, as each table has it; 2 are those with models."""
    tables = [env.read_file(f"/db/t/{name}") for name in env.list("/db/t") if name.endswith(".sst")]
    return [int.from_bytes(table[-16:-12], "little") for table in tables]


def check_recovered(workload: Workload, env) -> None:
    if not env.exists("/db/t/MANIFEST"):
        assert workload.promised == 0
        return
    with Events.open("/db/t", "t", _options=OPTIONS, _env=env) as events:
        events.verify()
        found = events.scan().to_arrow().sort_by("n")
        kept = next((n for n in range(len(BATCHES) + 1) if sum(r for _, r in BATCHES[:n]) == len(found)), -1)
        assert workload.promised <= kept <= workload.tried
        expected = [columns(batch) for batch in range(kept)]
        for name in ("k", "n", "d"):
            assert found[name].to_pylist() == [value for batch in expected for value in batch[name]]
        assert found["at"].cast(pa.int64()).to_pylist() == [t for batch in expected for t in batch["at"]]
        for batch in range(workload.tried):  # a retry of each: what was there is not there twice
            events.append_batch(columns(batch), token=f"{batch}")
        events.compact()
        events.verify()
        numbers = sorted(events.scan(columns=["n"]).to_arrow()["n"].to_pylist())
        assert numbers == list(range(sum(r for _, r in BATCHES[: workload.tried])))


def test_the_workload_writes_tables_by_models() -> None:
    env = _engine.testing.MemEnv()
    workload = Workload(env)
    workload.events = Events.create("/db/t", "t", SCHEMA, "k", "at", _options=OPTIONS, _env=env)
    workload.append()
    workload.events.flush()
    assert versions(env) == [2], "as a flush writes them"
    workload.events.close()
    env = _engine.testing.MemEnv()
    Workload(env).run()
    assert set(versions(env)) == {2}, "as merges write them"


@pytest.mark.parametrize("keep", ["none", "all", "random"])
def test_power_loss_at_every_operation(keep) -> None:
    clean = False
    n = 0
    while not clean:
        n += 1
        env = _engine.testing.MemEnv()
        env.set_crash_at(n)
        workload = Workload(env)
        finished = finishes(workload)
        assert finished or env.crashed, "it failed by itself"
        clean = finished and not env.crashed
        for after in left_by_crash(env, n, keep, 2):
            check_recovered(workload, after)
    assert n > 60, "the workload is expected to do many operations"


@pytest.mark.parametrize(("code", "short"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_one_failing_operation_at_every_place(code, short) -> None:
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
