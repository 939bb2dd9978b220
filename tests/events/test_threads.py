"""Many threads at one event table: run under ThreadSanitizer by `ci/sanitize tsan`.

Every call that these tests make at the same time releases the GIL, so that the native code underneath
really runs at the same time.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import ClosedError, LockedError
from segue.events import Events

SCHEMA = pa.schema(
    {
        "k": pa.int64(),
        "at": pa.timestamp("us"),
        "writer": pa.int32(),
        "n": pa.int64(),
        "word": pa.dictionary(pa.int32(), pa.string()),
    }
)
# Small, so that sealing, flushing, merging and reuse of logs happen all the time.
OPTIONS = {
    "wal_bytes": 1 << 16,
    "memtable_bytes": 300_000,
    "block_rows": 64,
    "window_rows": 200,
    "sync_interval_ms": 1,
    "compaction_bytes_per_second": 0,
}
DAY = 86_400_000_000


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


class Crew:
    """Threads whose first exception is raised by `finish`."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def add(self, work: Callable[[], Any]) -> None:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)
                self.stop.set()

        self.threads.append(threading.Thread(target=guarded))

    def repeat(self, work: Callable[[], Any]) -> None:
        def until_stopped() -> None:
            while not self.stop.is_set():
                work()

        self.add(until_stopped)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for thread in self.threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in self.threads:
                thread.join(timeout=120)
        assert not any(thread.is_alive() for thread in self.threads), "a thread hangs"
        if self.errors:
            raise self.errors[0]


def batch(writer: int, first: int, rows: int, day: int) -> dict[str, list[Any]]:
    numbers = range(first, first + rows)
    return {
        "k": [n % 11 for n in numbers],
        "at": [day * DAY + n for n in numbers],
        "writer": [writer] * rows,
        "n": list(numbers),
        "word": [f"w{writer}-{n % 5}" for n in numbers],
    }


def append_some(events: Events, writer: int, chance: random.Random, first: int) -> int:
    """One append or batch of a writer's numbers from `first`; the next number."""
    rows = chance.choice([1, 1, 1, 5, 63, 64, 300])
    day = chance.randrange(4)
    if rows == 1:
        events.append(first % 11, day * DAY + first, writer, first, f"w{writer}-{first % 5}")
    else:
        events.append_batch(batch(writer, first, rows, day))
    return first + rows


def numbers_by_writer(table: pa.Table) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for writer, n in zip(table["writer"].to_pylist(), table["n"].to_pylist(), strict=True):
        found.setdefault(writer, []).append(n)
    return found


def test_the_skiplist_shows_every_published_row_to_readers_without_locks() -> None:
    wrong, walks = _engine.testing.read_skiplist_while_writing(4096, 3)
    assert wrong == [""] * 3
    assert walks >= 3


def test_a_seek_never_finds_a_smaller_row_that_was_inserted_meanwhile() -> None:
    assert _engine.testing.seek_skiplist_while_writing(200_000) == 0


@pytest.mark.parametrize("durability", ["commit", "interval", "os"])
def test_everything_at_the_same_time(tmp_path, durability):
    events = Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS)
    done = [0] * 4  # of each writer: numbers below were acknowledged
    crew = Crew()

    def write(writer: int) -> Callable[[], None]:
        chance = random.Random(writer)

        def once() -> None:
            done[writer] = append_some(events, writer, chance, done[writer])

        return once

    def scan() -> None:
        before = list(done)
        found = numbers_by_writer(events.scan(columns=["writer", "n", "word"]).to_arrow())
        for writer, acknowledged in enumerate(before):
            numbers = sorted(found.get(writer, []))
            # Each writer's events come one after the other: what a snapshot has of them is a prefix.
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= acknowledged

    def look_up() -> None:
        with events.snapshot() as snapshot:
            mine = snapshot.scan(key=3, descending=True).to_arrow().to_pydict()
            assert snapshot.scan(key=3, descending=True).to_arrow().to_pydict() == mine
            assert set(mine["k"]) <= {3}
            assert mine["at"] == sorted(mine["at"], reverse=True)
            upto = snapshot.sequence
            rows = snapshot.scan_sequences(0, upto, ["word"], "s").to_arrow()
            assert sorted(rows["s"].to_pylist()) == list(range(1, upto + 1))

    for writer in range(len(done)):
        crew.repeat(write(writer))
    crew.repeat(scan)
    crew.repeat(look_up)
    crew.repeat(events.flush)
    crew.repeat(events.compact)
    crew.repeat(lambda: (events.sync(), repr(events.stats()), events.verify(), time.sleep(0.01)))
    crew.repeat(lambda: (events.record_handoff(events.sync()), time.sleep(0.01)))
    with crew.at_work():
        crew.stop.wait(1.5)

    def check(table: pa.Table) -> None:
        found = numbers_by_writer(table)
        for writer, acknowledged in enumerate(done):
            assert sorted(found[writer]) == list(range(acknowledged))
        assert all(word.startswith("w") for word in set(table["word"].to_pylist()))

    stats = events.stats()
    assert stats.flushes > 0
    assert stats.compactions > 0
    check(events.scan().to_arrow())
    events.close()
    with Events.open(tmp_path / "t", "t", _options=OPTIONS) as again:
        again.verify()
        check(again.scan().to_arrow())


def test_expiry_while_others_write_scan_and_merge(tmp_path):
    events = Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=OPTIONS)
    day = 0  # only grows; writers write at today or later, so nothing of theirs expires that they would miss
    written: Counter[int] = Counter()  # events by day, acknowledged
    lock = threading.Lock()
    crew = Crew()

    def write(writer: int) -> Callable[[], None]:
        numbers = itertools.count()

        def once() -> None:
            with lock:
                at = day + next(numbers) % 3
                events.append_batch(batch(writer, 0, 70, at))
                written[at] += 70

        return once

    def expire() -> None:
        nonlocal day
        with lock:
            day += 1
            bound = day
        assert events.expire(before=bound * DAY).before.astype("int64") == bound * DAY
        left = events.scan(columns=["at"]).to_arrow()["at"].cast("int64").to_pylist()
        assert min(left, default=bound * DAY) >= bound * DAY

    def scan() -> None:
        with events.snapshot() as snapshot:
            rows = snapshot.scan(columns=["n"]).to_arrow().num_rows
            assert rows % 70 == 0, "a batch was there in part"
            assert snapshot.scan(columns=["n"]).to_arrow().num_rows == rows, "a snapshot changed"

    for writer in range(2):
        crew.repeat(write(writer))
    crew.repeat(expire)
    crew.repeat(scan)
    crew.repeat(events.compact)
    with crew.at_work():
        crew.stop.wait(1.5)
    left = events.scan(columns=["at"]).to_arrow()["at"].cast("int64").to_pylist()
    assert Counter(at // DAY for at in left) == {at: n for at, n in written.items() if at >= day}
    events.close()


def test_a_token_of_many_threads_is_stored_once(tmp_path):
    events = Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", _options=OPTIONS)
    answers: list[list[tuple[int, int]]] = [[] for _ in range(4)]
    together = threading.Barrier(len(answers))
    crew = Crew()

    def work(mine: list[tuple[int, int]]) -> Callable[[], None]:
        def run() -> None:
            for n in range(20):
                together.wait()
                mine.append(events.append_batch(batch(0, n * 100, 1 + n * 9, 0), token=f"t{n}"))

        return run

    for mine in answers:
        crew.add(work(mine))
    with crew.at_work():
        for thread in crew.threads:
            thread.join(timeout=120)
    assert all(mine == answers[0] for mine in answers)
    assert events.stats().sequence == sum(1 + n * 9 for n in range(20)) == events.scan().to_arrow().num_rows
    events.close()


def test_coroutines_and_threads_share_commits(tmp_path):
    events = Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", _options=OPTIONS)
    numbers = itertools.count()
    crew = Crew()

    def loop() -> None:
        async def one() -> int:
            n = next(numbers)
            return await events.append_async(n % 11, n, 9, n, "async")

        async def serve() -> list[int]:
            return await asyncio.gather(*(one() for _ in range(50)))

        for _ in range(5):
            got = asyncio.run(serve())
            assert events.stats().synced_sequence >= max(got)

    for _ in range(2):
        crew.add(loop)
    for _ in range(2):
        crew.add(lambda: [events.append(1, n, 8, next(numbers), "thread") for n in range(100)])
    with crew.at_work():
        for thread in crew.threads:
            thread.join(timeout=120)
    found = events.scan(columns=["n"]).to_arrow()["n"].to_pylist()
    assert sorted(found) == list(range(2 * 5 * 50 + 2 * 100))
    assert events.stats().syncs < len(found), "nobody shared a commit"
    events.close()


@pytest.mark.parametrize("durability", ["commit", "interval", "os"])
def test_close_while_everything_goes_on(tmp_path, durability):
    for round_ in range(6):
        path = tmp_path / f"t{round_}"
        events = Events.create(path, "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS)
        done = [0] * 3
        crew = Crew()

        def until_closed(work: Callable[[], Any], crew: Crew = crew) -> None:
            def run() -> None:
                try:
                    while True:
                        work()
                except ClosedError:
                    pass

            crew.add(run)

        def write(writer: int, events: Events = events, done: list[int] = done) -> Callable[[], None]:
            chance = random.Random(writer)

            def once() -> None:
                done[writer] = append_some(events, writer, chance, done[writer])

            return once

        for writer in range(len(done)):
            until_closed(write(writer))
        until_closed(lambda events=events: events.scan().to_arrow())
        until_closed(events.flush)
        until_closed(events.compact)
        until_closed(lambda events=events: events.expire(before=0))
        until_closed(lambda events=events: (events.sync(), events.stats(), events.verify()))
        snapshot = events.snapshot()
        with crew.at_work():
            time.sleep(0.02 * round_)
            closers = [threading.Thread(target=events.close) for _ in range(3)]
            for closer in closers:
                closer.start()
            for closer in closers:
                closer.join(timeout=60)
                assert not closer.is_alive()
            # A close that has returned has let go of the lock, whoever did the work.
            with Events.open(path, "t", _options=OPTIONS) as again:
                found = numbers_by_writer(again.scan().to_arrow())
        for writer, acknowledged in enumerate(done):
            numbers = sorted(found.get(writer, []))
            assert numbers == list(range(len(numbers)))
            # One call may have been acknowledged to the log and not to its caller.
            assert acknowledged <= len(numbers) <= acknowledged + 300
        assert snapshot.scan().to_arrow().num_rows == snapshot.sequence
        snapshot.close()


def test_many_handles_open_and_close_one_table(tmp_path):
    """A second writer is refused or waits its turn; no event is lost between them."""
    Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", _options=OPTIONS).close()
    crew = Crew()
    appended: list[int] = []

    def once() -> None:
        try:
            with Events.open(tmp_path / "t", "t", _options=OPTIONS) as events:
                appended.append(events.append(1, 1, 0, 0, "x"))
        except LockedError:
            pass

    for _ in range(3):
        crew.repeat(once)
    crew.repeat(lambda: Events.open(tmp_path / "t", "t", mode="r").scan().to_arrow())
    with crew.at_work():
        crew.stop.wait(1.0)
    assert sorted(appended) == list(range(1, len(appended) + 1))
