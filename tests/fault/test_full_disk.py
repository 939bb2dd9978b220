"""A disk that fills up for real: a small file system in memory, filled during appends, merges and runs.

Whatever is in the way gets an error, never a SIGBUS behind a mapping; reads go on; with room again all works
again, and no acknowledged event is lost. Each test runs in a process of its own, which a SIGBUS would end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMON = """
    import errno, os, random, sys
    import pyarrow as pa
    import segue
    from segue.errors import Error, QueryError
    from segue.events import Events

    disk, durability = sys.argv[1], sys.argv[2]
    SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})
    OPTIONS = {"wal_bytes": 1 << 18, "memtable_bytes": 400_000, "window_rows": 500, "block_rows": 256}
    DAY = 86_400_000_000
    BALLAST = os.path.join(disk, "ballast")

    def fill():
        with open(BALLAST, "wb", buffering=0) as file:
            for piece in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(bytes(piece)) == piece:
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error

    def make_room():
        os.remove(BALLAST)

    def is_full(error):
        assert error.errno == errno.ENOSPC, repr(error)

    def columns(first, n):
        ks = range(first, first + n)
        at = [k % 3 * DAY + k for k in ks]
        return {"k": [k % 97 for k in ks], "at": at, "s": [f"{k} " * 9 for k in ks]}

    def numbers(events):
        table = events.scan(columns=["s"]).to_arrow()
        return sorted(int(s.split()[0]) for s in table["s"].to_pylist())
"""


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty file system of 6 MiB, or as many as the test is parametrised with."""
    size = getattr(request, "param", 6)
    if not sys.platform.startswith("linux"):
        pytest.skip("mounts a tmpfs, which Linux has")
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def run(code: str, disk: Path, durability: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMMON) + textwrap.dedent(code), disk, durability],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"TMPDIR": str(disk)},
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("durability", ["commit", "interval", "os"])
def test_appends_until_the_disk_is_full_and_on(disk: Path, durability: str) -> None:
    run(
        """
        events = Events.create(disk + "/t", "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS)
        acknowledged, doubtful, failed, k = set(), set(), 0, 0
        with open(BALLAST, "wb") as file:
            file.write(bytes(3 << 19))
        while failed < 20:
            n = 1 if k % 2 else 200
            try:
                if n == 1:
                    events.append(k % 97, k % 3 * DAY + k, f"{k} " * 9)
                else:
                    events.append_batch(columns(k, n))
                acknowledged |= set(range(k, k + n))
            except OSError as error:
                is_full(error)
                doubtful |= set(range(k, k + n))
                failed += 1
            k += n
        assert len(acknowledged) > 5000, len(acknowledged)

        def check(found):
            assert len(set(found)) == len(found), "an event is there twice"
            assert acknowledged <= set(found) <= acknowledged | doubtful

        check(numbers(events))
        for call in (events.flush, events.compact):
            try:
                call()
            except OSError as error:
                is_full(error)
        repr(events.stats())
        check(numbers(events))
        make_room()
        # There is room again: the same store works, and its flush was not given up.
        acknowledged.add(k)
        events.append(1, k, f"{k} ")
        events.flush()
        check(numbers(events))
        events.verify()
        events.close()
        with Events.open(disk + "/t", "t", durability=durability, _options=OPTIONS) as again:
            check(numbers(again))
            again.verify()
        """,
        disk,
        durability,
    )


def test_readers_and_retries_on_a_full_disk(disk: Path) -> None:
    run(
        """
        events = Events.create(disk + "/t", "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS)
        for k in range(0, 400, 200):
            events.append_batch(columns(k, 200), token=f"from {k}")
        events.flush()
        early = Events.open(disk + "/t", "t", mode="r", _options=OPTIONS)
        events.append_batch(columns(400, 200))
        events.flush()
        fill()
        # There is no room for a lease on the new table.
        with Events.open(disk + "/t", "t", mode="r", _options=OPTIONS) as late:
            assert numbers(late) == list(range(600))
        assert early.refresh() == 600
        assert numbers(early) == list(range(600))
        early.close()
        try:
            for k in range(600, 100_000, 200):
                events.append_batch(columns(k, 200))
        except OSError as error:
            is_full(error)
        else:
            raise AssertionError("it was to be full")
        # What was committed before is acknowledged again: nothing is written for it.
        assert events.append_batch(columns(200, 200), token="from 200") == (201, 400)
        make_room()
        events.close()
        """,
        disk,
        "commit",
    )


@pytest.mark.parametrize("durability", ["commit", "interval", "os"])
def test_a_disk_that_fills_up_again_and_again(disk: Path, durability: str) -> None:
    out = run(
        """
        chance = random.Random(3)
        path = disk + "/t"
        events = Events.create(path, "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS)
        acknowledged, doubtful, failures, k, full = set(), set(), 0, 0, False
        opened = True

        def check(events):
            found = numbers(events)
            assert len(set(found)) == len(found), "an event is there twice"
            assert acknowledged <= set(found) <= acknowledged | doubtful

        def append():
            global k
            n = chance.choice([1, 1, 30, 500])
            ks = set(range(k, k + n))
            k += n
            doubtful.update(ks)
            events.append_batch(columns(k - n, n))
            doubtful.difference_update(ks)
            acknowledged.update(ks)

        def reopen():
            global events
            events.close()
            events = Events.open(path, "t", durability=durability, _options=OPTIONS)

        def expire():
            bound = chance.choice([0, DAY, 2 * DAY])
            gone = {n for n in acknowledged if n % 3 * DAY + n < bound}
            maybe = {n for n in doubtful if n % 3 * DAY + n < bound}
            events.expire(before=bound)
            acknowledged.difference_update(gone)
            doubtful.difference_update(maybe)

        for step in range(150):
            if chance.random() < 0.3:
                if full:
                    make_room()
                else:
                    fill()
                full = not full
            call = chance.choice([append] * 12 + [events.flush, events.compact, events.sync, reopen, expire])
            if call is expire and full:
                continue  # half an expiry cannot be, but whether it was is not known here
            try:
                call()
            except OSError as error:
                is_full(error)
                assert full
                failures += 1
                if call is reopen:
                    # Opening wants a little room for a new log.
                    make_room()
                    full = False
                    events = Events.open(path, "t", durability=durability, _options=OPTIONS)
            if step % 10 == 0:
                check(events)
        if full:
            make_room()
        events.flush()
        check(events)
        events.close()
        with Events.open(path, "t", durability=durability, _options=OPTIONS) as again:
            again.verify()
            check(again)
        print(failures)
        """,
        disk,
        durability,
    )
    assert int(out) > 3, "the disk was hardly ever in the way"


@pytest.mark.parametrize("disk", [72], indirect=True, ids=["72 MiB"])  # a database's log takes 64 of them
def test_a_pipeline_on_a_full_disk_publishes_nothing_and_then_everything(disk: Path) -> None:
    run(
        """
        db = segue.open(disk + "/db")
        events = db.create_events("clicks", schema=SCHEMA, key="k", time="at")
        events.append_batch(columns(0, 3000))
        job = db.pipeline("clicks").repartition(4, "k").sort_within_partitions("at")
        job = job.write("fact", partition_by="date")
        for size in range(0, 200, 8):
            # Full but for so many KiB: another step of the run is the one that fails.
            fill()
            os.truncate(BALLAST, max(os.path.getsize(BALLAST) - (size << 10), 0))
            try:
                job.run(memory="64MiB")
            except (Error, OSError):
                published = False
            else:
                published = True
            make_room()
            if published:
                break
            try:
                assert db.sql("SELECT COUNT(*) FROM fact").fetchall() == [(0,)]
            except QueryError as error:
                assert "there is no table fact" in str(error)
        assert size > 0, "the full disk was not in the way"
        job.run(memory="64MiB")
        assert db.sql("SELECT COUNT(*), COUNT(DISTINCT s) FROM fact").fetchall() == [(3000, 3000)]
        events.append_batch(columns(3000, 10))
        job.run(memory="64MiB")
        assert db.sql("SELECT COUNT(*) FROM fact").fetchall() == [(3010,)]
        db.close()
        """,
        disk,
        "commit",
    )
