"""Expiry: windows go as files, shared files hide what expired, and nothing a pipeline needs goes."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pyarrow as pa
import pytest

import segue
from segue import _engine
from segue.errors import ClosedError, InvalidError, ReadOnlyError
from segue.events import Events

DAY = 86_400_000_000
SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us")})


def create(path, **options) -> Events:
    options = {"wal_bytes": 1 << 20, "window_rows": 10, "background_compaction": False} | options
    return Events.create(path, "t", SCHEMA, "k", "at", durability="os", _options=options)


def add(events: Events, days, n: int, token: str | None = None) -> None:
    at = [day * DAY + i for day in days for i in range(n)]
    events.append_batch({"k": [i % 5 for i in range(len(at))], "at": at}, token=token)


def days(source) -> dict[int, int]:
    """Rows by day."""
    found = [at // DAY for at in source.scan().to_arrow()["at"].cast(pa.int64()).to_pylist()]
    return {day: found.count(day) for day in sorted(set(found))}


def files(path) -> list[str]:
    return sorted(p.name for p in path.glob("*.sst"))


def test_whole_windows_go_as_files(tmp_path):
    with create(tmp_path / "t") as events:
        add(events, range(5), 20)
        events.flush()
        size = events.stats().table_bytes
        report = events.expire(before=dt.datetime(1970, 1, 4, 13))
        assert (str(report.before), report.events, report.files) == ("1970-01-04T00:00:00.000000", 60, 3)
        assert report.bytes == size - events.stats().table_bytes
        assert days(events) == {3: 20, 4: 20}
        assert len(files(tmp_path / "t")) == 2
        assert events.expire(before=3 * DAY).events == 0
    with Events.open(tmp_path / "t", "t") as events:
        assert days(events) == {3: 20, 4: 20}
        assert events.append(1, 5) == 101, "no sequence number is issued twice"


def test_a_shared_file_hides_what_expired_until_it_is_merged(tmp_path):
    with create(tmp_path / "t", window_rows=1000) as events:
        add(events, range(10), 5)
        events.flush()
        for day, left in ((2, 8), (4, 6)):
            report = events.expire(before=day * DAY)
            assert (report.events, report.files) == (10, 0)
            assert len(days(events)) == left
            assert events.scan(key=3, until=day * DAY).to_arrow().num_rows == 0
            assert events.scan(key=3).to_arrow().num_rows == left
    with Events.open(tmp_path / "t", "t", _options={"background_compaction": False}) as events:
        assert days(events) == dict.fromkeys(range(4, 10), 5)
        assert events.stats().table_rows == 50, "still in the file"
        events.compact()
        assert events.stats().table_rows == 30
        assert days(events) == dict.fromkeys(range(4, 10), 5)
        assert len(files(tmp_path / "t")) == 1


def test_a_snapshot_still_sees_what_expired(tmp_path):
    with create(tmp_path / "t", window_rows=30) as events:
        add(events, range(4), 20)
        add(events, [7], 50)
        events.flush()
        with events.snapshot() as snapshot:
            events.expire(before=3 * DAY)
            assert days(events) == {3: 20, 7: 50}
            assert days(snapshot) == {0: 20, 1: 20, 2: 20, 3: 20, 7: 50}
            events.compact()
            assert days(snapshot) == {0: 20, 1: 20, 2: 20, 3: 20, 7: 50}
            assert days(events) == {3: 20, 7: 50}


def test_late_events_after_an_expiry_are_kept(tmp_path):
    with create(tmp_path / "t", window_rows=1000) as events:
        add(events, range(4), 5)
        events.expire(before=2 * DAY)
        add(events, [0], 3)
        assert days(events) == {0: 3, 2: 5, 3: 5}
        events.flush()
        events.compact()
        assert days(events) == {0: 3, 2: 5, 3: 5}
        assert events.expire(before=2 * DAY).events == 3


def test_everything_may_expire(tmp_path):
    with create(tmp_path / "t") as events:
        add(events, range(3), 20, token="once")
        assert events.expire(before=10 * DAY).events == 60
        assert events.scan().to_arrow().num_rows == 0
        assert events.stats().tables == 0
    with Events.open(tmp_path / "t", "t", durability="os") as events:
        add(events, range(3), 20, token="once")
        assert events.stats().sequence == 60, "a token outlives its events"
        assert events.append(1, 99) == 61
        events.expire(before=10 * DAY)
    with Events.open(tmp_path / "t", "t", durability="os") as events:
        events.append(1, 100)
        events.flush()  # the new table takes over the tokens
        add(events, range(3), 20, token="once")
        assert events.stats().sequence == 62


def test_nothing_lies_before_the_beginning_of_time(tmp_path):
    with create(tmp_path / "t") as events:
        events.append(1, -62_135_596_800_000_000)
        assert events.expire(before=-(2**63)).events == 0
        assert events.scan().to_arrow().num_rows == 1


@pytest.mark.parametrize("before", [None, "soon", True, 1.5])
def test_what_is_no_time_is_refused(tmp_path, before):
    with create(tmp_path / "t") as events, pytest.raises(InvalidError, match="before"):
        events.expire(before=before)


def test_a_closed_or_read_only_table_does_not_expire(tmp_path):
    events = create(tmp_path / "t")
    events.close()
    with pytest.raises(ClosedError):
        events.expire(before=0)
    with Events.open(tmp_path / "t", "t", mode="r") as reader:
        for call in (lambda: reader.expire(before=0), reader.compact):
            with pytest.raises(ReadOnlyError):
                call()


def test_what_a_pipeline_has_not_taken_is_kept(tmp_path):
    with segue.open(tmp_path / "db", durability="os") as db:
        views = db.create_events("views", SCHEMA, key="k", time="at")
        job = db.pipeline("views").repartition(2, "k").write("facts", partition_by=None)
        add(views, [0, 1], 10)
        job.run()
        add(views, [0, 5], 4)
        with pytest.raises(
            InvalidError, match=r"4 events of 'views' before 1970-01-03.*views:facts.*force=True"
        ):
            views.expire(before=2 * DAY)
        assert days(views) == {0: 14, 1: 10, 5: 4}
        job.run()
        assert views.expire(before=2 * DAY).events == 24
        assert days(views) == {5: 4}
        assert db.sql("SELECT COUNT(*) FROM facts").fetchall() == [(28,)]
        add(views, [0], 3)
        assert views.expire(before=2 * DAY, force=True).events == 3
        add(views, [6], 2)
        job.run()
        assert db.sql("SELECT COUNT(*) FROM facts").fetchall() == [(30,)]


def test_a_full_disk_expires_nothing():
    env = _engine.testing.MemEnv()
    options = {"wal_bytes": 65536, "window_rows": 10, "background_compaction": False}
    events = Events.create("/t", "t", SCHEMA, "k", "at", _options=options, _env=env)
    add(events, range(3), 20)
    events.flush()
    env.set_capacity(0)
    with pytest.raises(OSError, match=r"MANIFEST|space"):
        events.expire(before=2 * DAY)
    env.set_capacity(None)
    assert days(events) == {0: 20, 1: 20, 2: 20}
    assert events.expire(before=2 * DAY).events == 40
    events.close()
    again = Events.open("/t", "t", _options=options, _env=env.crash("none", 0))
    assert days(again) == {2: 20}
    again.close()


def test_a_merge_of_blocks_of_which_little_is_left(tmp_path):
    """Every block has one row that has not expired: a batch of the merge names very many of them."""
    n = 6000
    with create(tmp_path / "t", window_rows=1 << 20, block_rows=4) as events:
        for table in range(2):
            at = [(8 if i % 4 == 3 else i % 3) * DAY + 2 * i + table for i in range(n)]
            events.append_batch({"k": [i // 4 for i in range(n)], "at": at})
            events.flush()
        before = events.scan(since=5 * DAY, ordered=True).to_arrow()
        assert before.num_rows == 2 * n // 4
        assert events.expire(before=5 * DAY).events == 2 * n - before.num_rows
        events.compact()
        assert events.stats().table_rows == before.num_rows
        assert events.scan(ordered=True).to_arrow() == before
        events.verify()


def test_flushes_go_on_while_expiry_counts():
    """It reads tables that later windows share, for seconds perhaps: appends must not wait for that."""
    env = _engine.testing.GatedEnv(_engine.testing.MemEnv())
    options = {"wal_bytes": 1 << 20, "window_rows": 1000, "background_compaction": False}
    with Events.create("/t", "t", SCHEMA, "k", "at", durability="os", _options=options, _env=env) as events:
        add(events, range(6), 5)
        events.flush()
        reports = []
        env.close_reads("sst-000001")
        expiry = threading.Thread(target=lambda: reports.append(events.expire(before=4 * DAY)))
        expiry.start()
        try:
            deadline = time.monotonic() + 10
            while env.reads_waiting == 0:
                assert time.monotonic() < deadline, "it does not count"
                time.sleep(0.001)
            add(events, [0, 9], 3)
            flush = threading.Thread(target=events.flush)
            flush.start()
            flush.join(10)
            waited = flush.is_alive()
            handoff = threading.Thread(target=lambda: events.record_handoff(1))
            handoff.start()
            handoff.join(10)
            waited = waited or handoff.is_alive()
            assert expiry.is_alive()
        finally:
            env.open_reads()
            for thread in (expiry, flush, handoff):
                thread.join()
        assert not waited, "flushes waited for what expiry reads"
        # What was flushed meanwhile is stored by the time it is all done, and goes with the rest.
        assert reports[0].events == 23
        assert days(events) == {4: 5, 5: 5, 9: 3}
