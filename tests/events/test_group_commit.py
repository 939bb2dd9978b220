"""Who waits for the disk, who shares a sync, and what goes on meanwhile: a disk that syncs when told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import ClosedError
from segue.events import Events

SCHEMA = pa.schema({"user": pa.int64(), "at": pa.timestamp("us")})
BATCH = {"user": [1, 2, 3], "at": [0, 0, 0]}


class Disk:
    """A file system in memory, and an event table on it."""

    def __init__(self) -> None:
        self.env = _engine.testing.GatedEnv(_engine.testing.MemEnv())
        self.events = Events.create("t", "t", SCHEMA, "user", "at", _env=self.env)
        self.events.append(0, 0)  # has its log: from here on nothing but commits syncs
        self.threads: list[threading.Thread] = []
        self.answers: list[Any] = []

    def refuses(self) -> bool:
        """Whether a close has begun; ``closed`` is true a moment earlier."""
        try:
            self.events.snapshot().close()
        except ClosedError:
            return True
        return False

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Syncs do not return within."""
        self.env.close_gate()
        try:
            yield
        finally:
            self.env.open_gate()

    def start(self, *calls: Callable[[], Any]) -> None:
        for call in calls:

            def run(call: Callable[[], Any] = call) -> None:
                try:
                    self.answers.append(call())
                except Exception as error:
                    self.answers.append(error)

            self.threads.append(threading.Thread(target=run))
            self.threads[-1].start()

    def finish(self) -> list[Any]:
        for thread in self.threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        return self.answers

    def users(self) -> list[int]:
        return sorted(self.events.scan().to_arrow()["user"].to_pylist())


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.env.open_gate()
    disk.finish()
    disk.events.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.0005)


async def until_async(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.0005)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a mistake makes wait for ever is an error after a minute."""
    return asyncio.run(asyncio.wait_for(coroutine, 60))


# ---- threads ---------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda events: events.append(1, 0),
        lambda events: events.append_batch(BATCH),
        lambda events: events.append_batch(pa.table(BATCH, schema=SCHEMA)),
        lambda events: (events._rows.append_unacknowledged(1, 0), events.sync()),
        lambda events: (events._rows.append_unacknowledged(1, 0), events.close()),
    ],
    ids=["append", "batch", "stream", "sync", "close"],
)
def test_python_runs_while_others_wait_for_the_disk(disk: Disk, call: Callable[[Events], Any]) -> None:
    with disk.stuck():
        disk.start(lambda: call(disk.events))
        # This thread gets no further if the one that waits has kept the GIL.
        until(lambda: disk.env.waiting == 1)
        counted = sum(1 for _ in range(100_000))
        assert counted == 100_000
        assert disk.env.waiting == 1
        assert disk.answers == [], "it has not been acknowledged"
    assert not isinstance(disk.finish()[0], Exception)


def test_scans_do_not_wait_for_the_disk(disk: Disk) -> None:
    with disk.stuck():
        disk.start(lambda: disk.events.append(1, 0))
        until(lambda: disk.env.waiting == 1)
        assert disk.users() == [0, 1]
        assert disk.events.scan(key=1).to_arrow().num_rows == 1
        assert disk.events.stats().synced_sequence == 1
    assert disk.finish() == [2]


def test_all_who_come_during_a_sync_share_the_next(disk: Disk) -> None:
    before = disk.events.stats().syncs
    with disk.stuck():
        disk.start(lambda: disk.events.append(1, 0))
        until(lambda: disk.env.waiting == 1)
        disk.start(*[lambda: disk.events.append(2, 0)] * 20, *[lambda: disk.events.append_batch(BATCH)] * 5)
        until(lambda: disk.events.snapshot().sequence == 2 + 20 + 5 * 3)
        assert disk.env.waiting == 1, "one sync at a time"
        assert disk.answers == []
    answers = disk.finish()
    rows = [answer if isinstance(answer, tuple) else (answer, answer) for answer in answers]
    assert sorted(n for first, last in rows for n in range(first, last + 1)) == list(range(2, 38))
    assert disk.events.stats().syncs - before == 2
    assert disk.events.stats().synced_sequence == 37


def test_many_threads_need_few_syncs(disk: Disk) -> None:
    """Each thread waits for its own event, and most find that another's sync took it along."""
    together = threading.Barrier(8)

    def append_all() -> None:
        together.wait()
        for n in range(50):
            disk.events.append(n, 0)

    with disk.stuck():  # until all have begun
        disk.start(*[append_all] * 8)
        until(lambda: disk.events.snapshot().sequence >= 9)
    assert disk.finish() == [None] * 8
    stats = disk.events.stats()
    assert stats.sequence == stats.synced_sequence == 401
    assert stats.syncs < 401, "nobody shared a sync"


# ---- coroutines ------------------------------------------------------------


def test_the_callers_of_one_turn_of_the_loop_share_a_commit(disk: Disk) -> None:
    before = disk.events.stats().syncs

    async def serve() -> None:
        first = await asyncio.gather(*(disk.events.append_async(n, 0) for n in range(1, 31)))
        assert sorted(first) == list(range(2, 32))
        assert disk.events.stats().syncs - before == 1
        with disk.stuck():
            early = [asyncio.create_task(disk.events.append_async(31, 0))]
            await until_async(lambda: disk.env.waiting == 1)
            # Several turns while one commit is under way: they share the next.
            later = []
            for n in range(32, 41):
                later.append(asyncio.create_task(disk.events.append_async(n, 0)))
                await asyncio.sleep(0)
            assert not any(task.done() for task in [*early, *later])
        assert await asyncio.gather(*early, *later) == list(range(32, 42))
        assert disk.events.stats().syncs - before == 3

    run(serve())
    assert disk.users() == list(range(41))


def test_the_loop_turns_while_the_disk_works(disk: Disk) -> None:
    async def serve() -> int:
        with disk.stuck():
            task = asyncio.create_task(disk.events.append_async(1, 0))
            await until_async(lambda: disk.env.waiting == 1)
            turns = 0
            for _ in range(1000):
                await asyncio.sleep(0)
                turns += 1
            assert not task.done()
        return turns + await task

    assert run(serve()) == 1002


@pytest.mark.parametrize("size", [10, 5000], ids=["room in the log to be made ready", "a large event"])
def test_python_runs_while_an_event_that_is_not_synced_waits_for_its_log(size: int) -> None:
    env = _engine.testing.GatedEnv(_engine.testing.MemEnv())
    schema = SCHEMA.append(pa.field("text", pa.string()))
    with Events.create("t", "t", schema, "user", "at", durability="os", _env=env) as events:
        events.append(0, 0, "has its log")
        env.close_writes()
        done = threading.Event()

        def append() -> None:
            # Not all of these find their place in the log ready.
            for n in range(1, 10_000 if size < 4096 else 2):
                events.append(n, 0, "x" * size)
            done.set()

        thread = threading.Thread(target=append)
        thread.start()
        try:
            # This thread gets no further if the one that waits has kept the GIL.
            until(lambda: env.writes_waiting == 1)
            assert not done.is_set()
        finally:
            env.open_writes()
            thread.join(timeout=60)
        assert done.is_set()
        assert events.scan().to_arrow().num_rows == (10_000 if size < 4096 else 2)


def test_a_cancelled_call_that_waits_for_a_thread_appends_all_the_same() -> None:
    events = Events.create("t", "t", SCHEMA, "user", "at", _env=_engine.testing.MemEnv())
    free = threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, free.wait)
        # A table's first event waits for its log to be made, in a thread.
        task = asyncio.create_task(events.append_async(1, 0))
        await asyncio.sleep(0.01)
        assert events.stats().sequence == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        free.set()
        await busy
        await until_async(lambda: events.stats().sequence == 1)

    with events:
        run(serve())
        assert events.scan().to_arrow()["user"].to_pylist() == [1]


@pytest.mark.parametrize("when", ["before it started", "during the commit", "while gathering for the next"])
def test_cancelling_loses_and_doubles_nothing(disk: Disk, when: str) -> None:
    async def serve() -> None:
        with disk.stuck():
            if when == "while gathering for the next":
                ahead = asyncio.create_task(disk.events.append_async(1, 0))
                await until_async(lambda: disk.env.waiting == 1)
            else:
                ahead = asyncio.create_task(asyncio.sleep(0, 2))
                await ahead
                disk.events._rows.append_unacknowledged(1, 0)
            tasks = [asyncio.create_task(disk.events.append_async(n, 0)) for n in (2, 3, 4)]
            if when != "before it started":
                await asyncio.sleep(0)
                if when == "during the commit":
                    await until_async(lambda: disk.env.waiting == 1)
                assert disk.events.snapshot().sequence == 5
            tasks[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[1]
            assert not tasks[0].done()
            assert not tasks[2].done()
        await asyncio.gather(ahead, tasks[0], tasks[2])
        # The next one has a commit of its own, on the same loop.
        last = await asyncio.wait_for(disk.events.append_async(5, 0), 60)
        assert last == disk.events.stats().synced_sequence

    run(serve())
    assert disk.users() == ([0, 1, 2, 4, 5] if when == "before it started" else [0, 1, 2, 3, 4, 5])
    disk.events.close()
    with Events.open("t", "t", _env=disk.env) as again:
        assert again.scan().to_arrow().num_rows == len(disk_users_of(again))


def disk_users_of(events: Events) -> list[int]:
    users = sorted(events.scan().to_arrow()["user"].to_pylist())
    assert len(set(users)) == len(users), "an event is there twice"
    return users


def test_all_waiters_cancelled_leaves_the_loop_usable(disk: Disk) -> None:
    async def serve() -> None:
        with disk.stuck():
            tasks = [asyncio.create_task(disk.events.append_async(n, 0)) for n in (1, 2)]
            await until_async(lambda: disk.env.waiting == 1)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        assert await disk.events.append_async(3, 0) == 4

    run(serve())
    assert run(disk.events.append_async(4, 0)) == 5, "another loop"
    assert disk.users() == [0, 1, 2, 3, 4]


def test_closing_while_coroutines_wait(disk: Disk) -> None:
    """What was appended is acknowledged, as closing makes it durable; what comes later is refused."""

    async def serve() -> None:
        with disk.stuck():
            early = [asyncio.create_task(disk.events.append_async(n, 0)) for n in (1, 2)]
            await until_async(lambda: disk.env.waiting == 1)
            between = asyncio.create_task(disk.events.append_async(3, 0))
            await until_async(lambda: disk.events.snapshot().sequence == 4)
            closing = asyncio.create_task(asyncio.to_thread(disk.events.close))
            await until_async(disk.refuses)
            late = [asyncio.create_task(disk.events.append_async(n, 0)) for n in (4, 5)]
            for task in late:
                with pytest.raises(ClosedError):
                    await asyncio.wait_for(task, 60)
            assert not any(task.done() for task in [*early, between, closing])
        assert await asyncio.wait_for(asyncio.gather(*early, between), 60) == [2, 3, 4]
        await asyncio.wait_for(closing, 60)
        with pytest.raises(ClosedError):
            await disk.events.append_async(6, 0)

    run(serve())
    with Events.open("t", "t", _env=disk.env) as again:
        assert disk_users_of(again) == [0, 1, 2, 3]


def test_a_failed_sync_reaches_every_coroutine(disk: Disk) -> None:
    async def serve() -> None:
        with disk.stuck():
            tasks = [asyncio.create_task(disk.events.append_async(n, 0)) for n in (1, 2, 3)]
            await until_async(lambda: disk.env.waiting == 1)
            memory.set_fail_at(memory.op_count() + 1, 5)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, OSError) for result in results), results

    memory = _engine.testing.MemEnv()
    disk.events.close()
    disk.env = _engine.testing.GatedEnv(memory)
    disk.events = Events.create("t", "t", SCHEMA, "user", "at", _env=disk.env)
    disk.events.append(0, 0)
    run(serve())
    with pytest.raises(OSError, match="failed sync"):
        disk.events.append(4, 0)
    with pytest.raises(OSError):
        disk.events.close()
