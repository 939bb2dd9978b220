"""What ends in the middle of something ends in an error or works: never in a crash or in wrong data."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import segue
from segue.errors import ClosedError, Error, LockedError
from segue.events import Events

SCHEMA = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
SMALL = {"wal_bytes": 64 << 10, "memtable_bytes": 64 << 10}


@pytest.fixture
def clicks(tmp_path: Path) -> Iterator[Events]:
    with Events.create(tmp_path / "clicks", "clicks", SCHEMA, "user", "at", durability="os") as events:
        yield events


def fill(events: Events, rows: int = 200_000) -> None:
    numbers = np.arange(rows)
    events.append_batch({"user": numbers, "page": ["p"] * rows, "at": numbers})


# ---- close -----------------------------------------------------------------


def test_close_while_others_append(tmp_path: Path) -> None:
    events = Events.create(tmp_path / "t", "t", SCHEMA, "user", "at", _options=SMALL)
    acknowledged: list[int] = []
    failures: list[BaseException] = []

    def append(step: Callable[[], int]) -> None:
        try:
            while True:
                acknowledged.append(step())
        except ClosedError:
            pass
        except BaseException as error:
            failures.append(error)

    batch = {"user": [1] * 100, "page": ["p"] * 100, "at": [1] * 100}
    steps = [
        lambda: events.append(1, "p", 1),
        lambda: events.append_batch(batch)[1],
        lambda: (events.flush(), 0)[1],
        lambda: (events.compact(), 0)[1],
        lambda: events.sync(),
        lambda: events.stats().sequence,
        lambda: events.scan().to_arrow().num_rows,
    ]
    threads = [threading.Thread(target=append, args=(step,)) for step in steps + steps[:2] * 2]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    events.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert failures == []
    with Events.open(tmp_path / "t", "t") as again:
        assert again.snapshot().sequence >= max(acknowledged)


def test_scans_and_snapshots_outlive_the_table(clicks: Events) -> None:
    fill(clicks)
    clicks.flush()
    fill(clicks, 1000)
    snapshot = clicks.snapshot()
    begun = clicks.scan().batches()
    rows = next(begun).num_rows
    unread = clicks.scan().to_reader()
    lazy = clicks.scan()
    clicks.close()
    assert rows + sum(batch.num_rows for batch in begun) == 201_000
    assert unread.read_all().num_rows == 201_000
    assert lazy.to_arrow().num_rows == 201_000
    assert snapshot.scan(key=7).to_arrow().num_rows == 2
    for use in (
        clicks.snapshot,
        clicks.scan,
        clicks.sync,
        clicks.flush,
        clicks.compact,
        clicks.stats,
        clicks.verify,
        clicks.refresh,
        lambda: clicks.append(1, "p", 1),
        lambda: clicks.append_batch({"user": [1], "page": ["p"], "at": [1]}),
        lambda: clicks.expire(before=1),
        lambda: clicks.record_handoff(1),
    ):
        with pytest.raises(ClosedError):
            use()
    clicks.close()
    snapshot.close()
    with pytest.raises(ClosedError, match="snapshot"):
        snapshot.scan().to_arrow()


def test_scans_outlive_every_other_object(tmp_path: Path) -> None:
    db = segue.open(tmp_path)
    fill(db.create_events("clicks", SCHEMA, "user", "at"))
    with segue.open(tmp_path, mode="r") as reader:
        streams = [db.events("clicks").scan().to_reader(), reader.events("clicks").scan().to_reader()]
        names = streams[0].schema.names
    db.close()
    del db, reader
    gc.collect()
    assert os.listdir(tmp_path / "events" / "clicks" / "leases") != []
    for stream in streams:
        numbers = np.concatenate([batch["user"].to_numpy() for batch in stream])
        assert np.array_equal(np.sort(numbers), np.arange(200_000))
    assert names == SCHEMA.names
    del stream, streams
    gc.collect()
    assert os.listdir(tmp_path / "events" / "clicks" / "leases") == []


def test_close_while_others_read(clicks: Events) -> None:
    fill(clicks)
    clicks.flush()
    failures: list[BaseException] = []
    counts: list[int] = []

    def read() -> None:
        try:
            while True:
                counts.append(sum(batch.num_rows for batch in clicks.scan(columns=["user"]).batches()))
        except ClosedError:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    clicks.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert failures == []
    assert set(counts) == {200_000}


def test_double_open_in_one_process(clicks: Events) -> None:
    with pytest.raises(LockedError, match=str(os.getpid())):
        Events.open(clicks.path, "clicks")
    clicks.append(1, "still", 1)
    with Events.open(clicks.path, "clicks", mode="r") as reader:
        assert reader.scan().to_arrow()["page"].to_pylist() == ["still"]
    clicks.close()
    with Events.open(clicks.path, "clicks") as again:
        assert again.append(1, "again", 2) == 2


# ---- fork ------------------------------------------------------------------


def in_child(use: Callable[[], Any]) -> str:
    """What `use` comes to in a forked child: the name of the exception's class, or what it returned."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = repr(use())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(read)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    assert ended[1] == 0
    with os.fdopen(read, "rb") as pipe:
        return pipe.read().decode()


@pytest.mark.skipif("SEGUE_SANITIZED" in os.environ, reason="its allocator may be locked in a forked child")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_lets_go_of_replaced_tables_that_threads_of_its_parent_read(tmp_path: Path) -> None:
    options = {"background_compaction": False, "block_rows": 64, "cache_bytes": 1 << 20}
    with Events.create(
        tmp_path / "t", "t", SCHEMA, "user", "at", durability="os", _options=options
    ) as events:
        for user in (-1, 1):
            for _ in range(2):
                events.append_batch({"user": [user] * 5000, "page": ["p"] * 5000, "at": range(5000)})
                events.flush()
        snapshot = events.snapshot()
        events.compact()
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                for _ in events.scan(key=-1).batches():
                    pass

        def let_go() -> None:
            nonlocal snapshot
            snapshot.close()
            del snapshot

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                assert in_child(let_go) == "None"
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert snapshot.scan().to_arrow().num_rows == 20_000
        snapshot.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_every_operation_in_a_forked_child(clicks: Events) -> None:
    fill(clicks, 10_000)
    snapshot = clicks.snapshot()
    stream = clicks.scan().batches()
    first = next(stream)
    unread = clicks.scan()
    with Events.open(clicks.path, "clicks", mode="r") as reader:
        uses: list[Callable[[], Any]] = [
            lambda: clicks.append(1, "child", 1),
            lambda: clicks.append_batch({"user": [1], "page": ["child"], "at": [1]}),
            clicks.scan,
            clicks.snapshot,
            clicks.sync,
            clicks.flush,
            clicks.compact,
            clicks.stats,
            clicks.verify,
            lambda: clicks.expire(before=1),
            lambda: clicks.record_handoff(5),
            lambda: snapshot.scan().to_arrow(),
            lambda: unread.to_arrow(),
            lambda: sum(batch.num_rows for batch in stream),
            clicks.refresh,
            reader.refresh,
            reader.scan,
        ]
        for use in uses:
            answer = in_child(use)
            assert answer.startswith("ClosedError"), answer
            assert "fork" in answer
        assert in_child(clicks.close) == "None"
        assert in_child(reader.close) == "None"
        assert reader.refresh() == 10_000
    assert first.num_rows + sum(batch.num_rows for batch in stream) == 10_000
    assert clicks.append(1, "parent", 1) == 10_001


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_collecting_everything_in_a_child_harms_nobody(tmp_path: Path) -> None:
    db = segue.open(tmp_path)
    events = db.create_events("clicks", SCHEMA, "user", "at")
    events.append(1, "parent", 1)
    stop = threading.Event()

    def work() -> None:  # a thread that may hold any lock at the moment of the fork
        while not stop.is_set():
            events.append(1, "busy", 1)
            db.events("clicks").stats()

    thread = threading.Thread(target=work)
    thread.start()
    reader = segue.open(tmp_path, mode="r")
    seen = reader.events("clicks")
    snapshot = seen.snapshot()

    def collect() -> str:
        nonlocal events, reader, seen, snapshot, db
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del snapshot, seen, reader, events, db
            gc.collect()
        return "collected"

    try:
        for _ in range(10):
            assert in_child(collect) == "'collected'"
    finally:
        stop.set()
        thread.join()
    assert seen.refresh() == events.append(1, "parent", 2) - 1
    with pytest.raises(LockedError):
        Events.open(events.path, "clicks")
    assert len(os.listdir(tmp_path / "events" / "clicks" / "leases")) >= 1, "the parent's leases"
    snapshot.close()
    reader.close()
    db.close()
    assert os.listdir(tmp_path / "events" / "clicks" / "leases") == []


# ---- the end of the process ------------------------------------------------

EXIT = """
import sys, threading, time
import numpy as np, pyarrow as pa
import segue
from segue.events import Events

path, how = sys.argv[1:]
SCHEMA = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
options = {"wal_bytes": 64 << 10, "memtable_bytes": 64 << 10}
durability = "os" if how == "os" else "commit"
events = Events.create(path, "t", SCHEMA, "user", "at", durability=durability, _options=options)
file = open(path + ".acknowledged", "w", buffering=1)
# Not a table: pyarrow itself takes the GIL back in a destructor when it makes a stream of one.
numbers = np.arange(300)
batch = pa.record_batch({"user": numbers, "page": ["p"] * 300, "at": numbers.view("datetime64[us]")})


def rows():
    while True:
        file.write(f"{events.append(1, 'p', 1)}\\n")


def batches():
    while True:
        file.write(f"{events.append_batch(batch)[1]}\\n")


def stubborn():
    while True:
        try:
            events.append(1, "p", 1)
            events.append_batch(batch)
        except segue.ClosedError:
            pass


def reads():
    while True:
        for part in events.scan().batches():
            pass


def merges():
    while True:
        events.compact()


def told():  # a callback of Python's, in which threads switch, on a table that the exit does not close
    bare = Events.create(path + ".bare", "bare", SCHEMA, "user", "at", durability="os")
    segue.events._open.discard(bare)
    while True:
        for _ in range(2):
            bare.append_batch(batch)
            bare.flush()
        bare._store.compact(lambda done, left: sum(range(300_000)))


work = [rows, batches, stubborn, reads, told if how == "callback" else merges]
threads = [threading.Thread(target=f, daemon=True) for f in work]
for thread in threads:
    thread.start()
snapshot = events.snapshot()
iterator = events.scan().batches()
time.sleep(0.4)
while events.stats().flushes < 2 or len(open(file.name).readlines()) < 20:
    time.sleep(0.01)
next(iterator)
if how == "exception":
    raise SystemExit(0)
if how == "held":  # by something that outlives modules
    sys.modules["builtins"].held = (events, snapshot, iterator)
"""


@pytest.mark.parametrize("how", ["commit", "os", "exception", "held", "callback"])
def test_the_interpreter_ends_with_work_in_flight(tmp_path: Path, how: str) -> None:
    path = tmp_path / "t"
    for _ in range(3):
        begin = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(EXIT), str(path), how],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert time.monotonic() - begin < 30
        text = (tmp_path / "t.acknowledged").read_text()
        acknowledged = [int(line) for line in text.splitlines()[:-1] if line.isdigit()]
        with Events.open(path, "t") as events:
            assert len(acknowledged) > 10
            assert events.snapshot().sequence >= max(acknowledged)
            events.verify()
        assert ended.returncode == 0, ended.stderr
        assert "Fatal" not in ended.stderr
        assert "terminate" not in ended.stderr
        for file in sorted(path.glob("**/*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()


# ---- what was never closed -------------------------------------------------


def test_a_table_that_was_never_closed_warns(tmp_path: Path) -> None:
    events = Events.create(tmp_path / "t", "t", SCHEMA, "user", "at", durability="os")
    events.append(1, "p", 1)
    with pytest.warns(ResourceWarning, match="'t'.*never closed"):
        del events
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Events.open(tmp_path / "t", "t") as events:  # it was closed all the same
            assert events.stats().sequence == 1
        with segue.open(tmp_path / "db") as db:
            db.create_events("e", SCHEMA, "user", "at")  # the database closes it
        del events, db
        gc.collect()
    db = segue.open(tmp_path / "db")
    db.events("e")
    with pytest.warns(ResourceWarning, match="never closed") as caught:
        del db
        gc.collect()
    assert len(caught) == 1, "one for the database, none for its tables"
    reader = segue.open(tmp_path / "db", mode="r")
    with pytest.warns(ResourceWarning, match="mode='r'.*never closed"):
        del reader
        gc.collect()


@pytest.mark.parametrize("mode", ["rw", "r"])
def test_a_snapshot_that_was_never_closed_warns(tmp_path: Path, mode: str) -> None:
    with Events.create(tmp_path / "t", "t", SCHEMA, "user", "at", durability="os") as events:
        events.append(1, "p", 1)
    with Events.open(tmp_path / "t", "t", mode=mode) as events:
        snapshot = events.snapshot()
        scan = snapshot.scan()
        del snapshot
        assert scan.to_arrow().num_rows == 1, "the scan has it"
        with pytest.warns(ResourceWarning, match="Snapshot of 't' at sequence 1> was never closed") as caught:
            del scan
            gc.collect()
        assert len(caught) == 1


def test_scans_want_no_closing(tmp_path: Path) -> None:
    """Not even half read ones: leaving a loop early is how one reads a few."""
    with (
        warnings.catch_warnings(),
        Events.create(tmp_path / "t", "t", SCHEMA, "user", "at", durability="os") as events,
    ):
        warnings.simplefilter("error")
        events.append(1, "p", 1)
        events.flush()
        events.append(1, "q", 2)
        for scan in (events.scan(), events.scan(ordered=True), events.scan(key=1)):
            half = scan.batches()
            next(half)
            reader = scan.to_reader()
            reader.read_next_batch()
            del half, reader
        with events.snapshot() as snapshot:
            left = snapshot.scan().batches()
            next(left)
        del scan, snapshot, left
        gc.collect()


# ---- buffers that their owner changes --------------------------------------


def hammer(change: Callable[[], None], append: Callable[[], None], seconds: float = 0.8) -> int:
    """Append again and again while another thread changes the buffers. Returns how many went through."""
    stop = threading.Event()

    def changing() -> None:
        while not stop.is_set():
            change()

    thread = threading.Thread(target=changing)
    thread.start()
    done = 0
    begin = time.monotonic()
    try:
        while time.monotonic() < begin + seconds:
            try:
                append()
                done += 1
            except Error:
                pass
    finally:
        stop.set()
        thread.join()
    return done


N = 20_000


@pytest.mark.parametrize("kind", ["codes", "offsets", "large_offsets", "text", "validity", "entries", "keys"])
def test_a_buffer_that_changes_during_the_call(tmp_path: Path, kind: str) -> None:
    """Either value is taken, cell by cell, or the batch is refused; the log stays whole."""
    texts = [f"text {i % 100:03}" * (1 + i % 3) for i in range(N)]
    at = np.arange(N).view("datetime64[us]")
    user = np.arange(N)
    page: Any
    change: Callable[[], None]
    legal: set[str | None]
    column: pa.DataType = pa.string()
    if kind in ("codes", "validity"):
        codes = np.zeros(N, np.int32)
        bits = np.full(N // 8 + 1, 255, np.uint8)
        entries = pa.array(["zero", "one", "two"])
        page = pa.DictionaryArray.from_buffers(
            pa.dictionary(pa.int32(), pa.string()), N, [pa.py_buffer(bits), pa.py_buffer(codes)], entries
        )
        wild = np.array([0, 1, 2, 10**9, -5], np.int32) if kind == "codes" else np.array([0, 1, 2], np.int32)

        def change() -> None:
            codes[:] = wild[np.random.randint(0, len(wild))]
            if kind == "validity":
                bits[:] = np.random.randint(0, 256)
                codes[:] = 1

        legal = {"zero", "one", "two", None}
        if kind == "codes":
            column = pa.dictionary(pa.int32(), pa.string())
    elif kind in ("offsets", "large_offsets"):
        plain = pa.array(texts, pa.string() if kind == "offsets" else pa.large_string())
        width = np.int32 if kind == "offsets" else np.int64
        right = np.frombuffer(plain.buffers()[1], width).copy()
        offsets = right.copy()
        page = pa.Array.from_buffers(plain.type, N, [None, pa.py_buffer(offsets), plain.buffers()[2]])

        def change() -> None:
            offsets[1:-1] = np.random.randint(-(2**31), 2**31 - 1, N - 1)
            offsets[1:-1] = right[1:-1]
            offsets[1:-1] = right[-2:0:-1]
            offsets[1:-1] = right[1:-1]

        legal = set()
    elif kind == "text":
        plain = pa.array(texts)
        content = np.frombuffer(plain.buffers()[2], np.uint8).copy()
        right = content.copy()
        page = pa.Array.from_buffers(plain.type, N, [None, plain.buffers()[1], pa.py_buffer(content)])

        def change() -> None:
            content[:] = 0xFF
            content[:] = right

        legal = set()
    elif kind == "entries":
        entries = pa.array(["zero", "one!", "two!"])
        content = np.frombuffer(entries.buffers()[2], np.uint8).copy()
        right = content.copy()
        changed = pa.Array.from_buffers(pa.string(), 3, [None, entries.buffers()[1], pa.py_buffer(content)])
        page = pa.DictionaryArray.from_arrays(pa.array(user % 3, pa.int32()), changed)

        def change() -> None:
            content[:] = ord("x")
            content[:] = 0xFF
            content[:] = right

        legal = set()
        column = pa.dictionary(pa.int32(), pa.string())
    else:
        page = pa.array(["p"] * N)

        def change() -> None:
            user[:] = 7
            user[:] = 1 << 40

        legal = {"p"}
    schema = pa.schema({"user": pa.int64(), "page": column, "at": pa.timestamp("us")})
    small = {"wal_bytes": 4 << 20, "memtable_bytes": 4 << 20}
    batch = pa.record_batch({"user": pa.array(user), "page": page, "at": pa.array(at)})
    with Events.create(tmp_path / "t", "t", schema, "user", "at", durability="os", _options=small) as events:
        done = hammer(change, lambda: events.append_batch(batch))
        total = events.snapshot().sequence
        assert total == done * N
        in_memory = events.scan().to_arrow()
    in_memory.validate(full=True)
    with Events.open(tmp_path / "t", "t") as events:  # from the log
        events.verify()
        table = events.scan().to_arrow()
        table.validate(full=True)
        assert table.num_rows == total
        pages = table["page"].cast(pa.string())
        if legal:
            assert set(pages.unique().to_pylist()) <= legal
        if kind == "keys":
            assert set(table["user"].unique().to_pylist()) <= set(range(N)) | {7, 1 << 40}
            found = events.scan(key=7).to_arrow().num_rows
            assert found == sum(1 for key in table["user"].to_pylist() if key == 7)
        counts = in_memory["page"].cast(pa.string()).value_counts().to_pylist()
        again = pages.value_counts().to_pylist()
        assert {c["values"]: c["counts"] for c in counts} == {c["values"]: c["counts"] for c in again}


def test_a_value_that_does_not_fit_and_then_does(tmp_path: Path) -> None:
    """A checked conversion keeps no half of a value that was replaced between two looks."""
    values = np.full(N, 5, np.int64)
    batch = pa.record_batch({"n": pa.array(values), "at": pa.array(np.arange(N).view("datetime64[us]"))})
    schema = {"n": pa.int32(), "at": pa.timestamp("us")}

    def change() -> None:
        values[N // 2] = (1 << 40) + 77
        values[N // 2] = 5

    with Events.create(tmp_path / "t", "t", schema, "at", "at", durability="os") as events:
        hammer(change, lambda: events.append_batch(batch))
        assert events.scan(columns=["n"]).to_arrow()["n"].unique().to_pylist() == [5]
