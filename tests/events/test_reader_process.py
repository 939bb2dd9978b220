"""Reader processes beside a writer process that works at speed, and kills on either side.

The writer's log files and memtables are tiny, so that within seconds files are rotated, reused, flushed,
merged and removed many times under the reader. What an event holds follows from its sequence number.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import ClosedError
from segue.events import Events, Snapshot

SCHEMA = pa.schema({"user": pa.int64(), "page": pa.string(), "value": pa.int64(), "at": pa.timestamp("us")})
DAY = 86_400_000_000
SECONDS = float(os.environ.get("SEGUE_READER_SECONDS", "4"))

WRITER = """
import mmap, random, struct, sys
import numpy as np
from segue.events import Events
path, acknowledged, durability = sys.argv[1:]
DAY = 86_400_000_000
options = {"wal_bytes": 64 << 10, "memtable_bytes": 256 << 10, "window_rows": 512, "block_rows": 256}
events = Events.open(path, "t", durability=durability, _options=options)
with open(acknowledged, "r+b") as file:
    seen = mmap.mmap(file.fileno(), 8)
rng = random.Random()
last = events.snapshot().sequence
while True:
    n = rng.choice([1, 1, 1, 5, 30, 100, 700])
    numbers = np.arange(last + 1, last + 1 + n, dtype=np.int64)
    pages = [f"p{k}" for k in (numbers * 7919 % 1000).tolist()]
    values, times = numbers * 40503 % 999983, numbers * 31 % 5 * DAY + numbers
    if n == 1:
        got = events.append(int(numbers[0]) % 97, pages[0], int(values[0]), int(times[0]))
    else:
        batch = {"user": numbers % 97, "page": pages, "value": values, "at": times.view("datetime64[us]")}
        got = events.append_batch(batch)[1]
    assert got == last + n, (got, last, n)
    last = got
    seen[:] = struct.pack("<Q", last)
"""


class Writer:
    """A process that appends for ever, and the last event that it was acknowledged."""

    def __init__(self, path: Path, durability: str) -> None:
        self.path, self.durability = path, durability
        file = path.with_suffix(".acknowledged")
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._word = mmap.mmap(opened.fileno(), 8)
        self._file = file
        self.errors = path.with_suffix(".errors")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", WRITER, str(self.path), str(self._file), self.durability]
        with self.errors.open("ab") as errors:
            return subprocess.Popen(arguments, stderr=errors)

    @property
    def acknowledged(self) -> int:
        return int(struct.unpack("<Q", self._word)[0])

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL, self.errors.read_text()

    def restart(self) -> None:
        self.kill()
        self.process = self._start()


@contextlib.contextmanager
def writing(path: Path, durability: str) -> Iterator[Writer]:
    Events.create(path, "t", SCHEMA, "user", "at").close()
    writer = Writer(path, durability)
    try:
        while writer.acknowledged == 0:
            assert writer.process.poll() is None, writer.errors.read_text()
            time.sleep(0.01)
        yield writer
    finally:
        writer.process.kill()
        writer.process.wait()


def check(snapshot: Snapshot, after: int) -> int:
    """Rows of a snapshot above `after`: each once, each as its number says. Returns how many."""
    table = snapshot.scan_sequences(after, 2**63, None, "sequence").to_arrow()
    order = np.argsort(table["sequence"].to_numpy(), kind="stable")
    numbers = table["sequence"].to_numpy()[order].astype(np.int64)
    assert np.array_equal(numbers, np.arange(after + 1, snapshot.sequence + 1)), (after, snapshot.sequence)
    assert np.array_equal(table["user"].to_numpy()[order], numbers % 97)
    assert np.array_equal(table["value"].to_numpy()[order], numbers * 40503 % 999983)
    times = table["at"].cast(pa.int64()).to_numpy()[order]
    assert np.array_equal(times, numbers * 31 % 5 * DAY + numbers)
    pages = table["page"].take(order).to_pylist()
    assert pages == [f"p{k}" for k in (numbers * 7919 % 1000).tolist()]
    return len(numbers)


def newest_log(path: Path) -> int:
    return max(int(name[4:10]) for name in os.listdir(path) if name.startswith("wal-"))


@pytest.mark.parametrize("durability", ["commit", "os"])
def test_a_reader_follows_a_writer_that_is_killed_and_starts_again(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "t"
    with writing(path, durability) as writer, Events.open(path, "t", mode="r") as reader:
        last = refreshes = checked = 0
        held: list[Snapshot] = []
        begin = time.monotonic()
        kills = [begin + SECONDS * part for part in (0.3, 0.6)]
        # On a busy machine until enough has happened.
        while time.monotonic() < begin + SECONDS or (
            (refreshes <= 20 or newest_log(path) <= 10) and time.monotonic() < begin + 15 * SECONDS
        ):
            if kills and time.monotonic() > kills[0]:
                kills.pop(0)
                writer.restart()
                # A killed writer has lost nothing that was acknowledged.
                acknowledged = writer.acknowledged
                assert reader.refresh() >= acknowledged
            acknowledged = writer.acknowledged
            sequence = reader.refresh()
            assert sequence >= acknowledged, "not all that was acknowledged before"
            assert sequence >= last, "events have gone"
            refreshes += 1
            with reader.snapshot() as snapshot:
                assert snapshot.sequence == sequence
                checked += check(snapshot, last)
            if refreshes % 50 == 1 and len(held) < 4:
                held.append(reader.snapshot())
            last = sequence
        for snapshot in held:  # as of then, whatever was merged and removed meanwhile
            check(snapshot, 0)
            snapshot.close()
        with reader.snapshot() as snapshot:
            assert check(snapshot, 0) == last == checked
        assert refreshes > 20
        stats = reader.stats()
        assert stats.table_rows > 0
        assert newest_log(path) > 10, "the logs were hardly rotated"
        writer.kill()
        assert reader.refresh() >= writer.acknowledged
    with Events.open(path, "t") as events:
        assert events.snapshot().sequence >= last


READER = """
import sys, time
from segue.events import Events
events = Events.open(sys.argv[1], "t", mode="r")
snapshot = events.snapshot()
print(snapshot.sequence, flush=True)
time.sleep(600)
"""


def leases(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path / "leases") if name.endswith(".lease"))


def test_a_lease_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "t"
    numbers = np.arange(1, 1001)
    with Events.create(path, "t", {"n": pa.int64(), "at": pa.timestamp("us")}, "n", "at") as events:
        for _ in range(3):
            events.append_batch({"n": numbers, "at": numbers})
            events.flush()
        child = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"3000\n"
            (lease,) = leases(path)
            assert lease.startswith(f"{child.pid}-")
            tables = {name for name in os.listdir(path) if name.endswith(".sst")}
            events.compact()
            assert tables <= set(os.listdir(path))
            assert events.stats().retired_tables == len(tables)
        finally:
            child.kill()
            child.communicate()
        assert leases(path) == [lease], "the kill left its file"
        events.append_batch({"n": numbers, "at": numbers})
        events.flush()
        events.compact()
        assert leases(path) == []
        assert not tables & set(os.listdir(path))
        assert events.stats().retired_tables == 0


def test_a_lease_outlives_a_killed_writer(tmp_path: Path) -> None:
    """A writer that starts anew finds the files of before unnamed, and leaves those that a reader holds."""
    path = tmp_path / "t"
    script = """
import os, sys
import numpy as np, pyarrow as pa
from segue.events import Events
numbers = np.arange(1, 1001)
events = Events.create(sys.argv[1], "t", {"n": pa.int64(), "at": pa.timestamp("us")}, "n", "at")
for _ in range(3):
    events.append_batch({"n": numbers, "at": numbers})
    events.flush()
print("flushed", flush=True)
sys.stdin.readline()
events.compact()
print("merged", flush=True)
sys.stdin.readline()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"flushed\n"
    with Events.open(path, "t", mode="r") as reader:
        snapshot = reader.snapshot()
        tables = {name for name in os.listdir(path) if name.endswith(".sst")}
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"merged\n"
        child.kill()
        child.communicate()
        with Events.open(path, "t") as events:
            assert tables <= set(os.listdir(path))
            assert events.stats().retired_tables == len(tables)
            assert snapshot.scan().to_arrow().num_rows == 3000
            assert reader.refresh() == 3000
            snapshot.close()
            events.append(1, 1)
            events.flush()
            events.compact()
            assert not tables & set(os.listdir(path))
            assert reader.refresh() == 3001
            assert reader.scan().to_arrow().num_rows == 3001


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_reader_that_may_not_write(tmp_path: Path) -> None:
    """It takes no lease, and reads all the same: what it has open stays readable."""
    for part in (tmp_path, *tmp_path.parents):
        if part != Path(part.root):
            os.chmod(part, part.stat().st_mode | 0o055)
    path = tmp_path / "t"
    script = """
import os, sys
import segue
from segue.events import Events
with Events.open(sys.argv[1], "t", mode="r") as events:  # what is imported where it is needed
    events.scan().to_arrow()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Events.open(sys.argv[1], "t", mode="r") as events:
    print(events.scan().to_arrow().num_rows, flush=True)
    sys.stdin.readline()
    print(events.scan().to_arrow().num_rows, events.refresh(), events.scan().to_arrow().num_rows, flush=True)
"""
    numbers = np.arange(1, 1001)
    with Events.create(path, "t", {"n": pa.int64(), "at": pa.timestamp("us")}, "n", "at") as events:
        for _ in range(3):
            events.append_batch({"n": numbers, "at": numbers})
            events.flush()
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"3000\n"
        assert leases(path) == []
        events.append(1, 1)
        events.flush()
        events.compact()
        assert len([name for name in os.listdir(path) if name.endswith(".sst")]) == 1
        assert child.communicate(b"\n")[0] == b"3000 3001 3001\n"
        assert child.returncode == 0


def test_a_reader_while_the_writer_starts(tmp_path: Path) -> None:
    """The copy that a starting writer makes of the newest log is not taken for further events."""
    path = tmp_path / "t"
    script = """
import sys
from segue.events import Events
options = {"wal_bytes": 32 << 10, "memtable_bytes": 1 << 20}
for _ in range(12):
    with Events.open(sys.argv[1], "t", durability="os", _options=options) as events:
        last = events.snapshot().sequence
        for i in range(last, last + 50):
            events.append(i % 97, "p", i, i)
"""
    Events.create(path, "t", SCHEMA, "user", "at").close()
    child = subprocess.Popen([sys.executable, "-c", script, str(path)])
    with Events.open(path, "t", mode="r") as reader:
        last = 0
        while child.poll() is None:
            sequence = reader.refresh()
            assert sequence >= last
            with reader.snapshot() as snapshot:
                values = np.sort(snapshot.scan(columns=["value"]).to_arrow()["value"].to_numpy())
                assert np.array_equal(values, np.arange(sequence))
            last = sequence
        assert child.returncode == 0
        assert reader.refresh() == 600
        assert np.array_equal(np.sort(reader.scan().to_arrow()["value"].to_numpy()), np.arange(600))


def test_a_closed_reader_keeps_no_lease(tmp_path: Path) -> None:
    path = tmp_path / "t"
    Events.create(path, "t", SCHEMA, "user", "at").close()
    reader = Events.open(path, "t", mode="r")
    snapshot = reader.snapshot()
    reader.close()
    with pytest.raises(ClosedError):
        reader.refresh()
    assert len(leases(path)) == 1, "the snapshot's"
    snapshot.close()
    assert leases(path) == []
    assert _engine.testing.leased_tables(str(path)) == set()
