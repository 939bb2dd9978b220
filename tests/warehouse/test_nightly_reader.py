"""The nightly job in a process of its own, with mode="r", while the service goes on writing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest

import segue

SCHEMA = pa.schema([("k", pa.int64()), ("song", pa.int32()), ("t", pa.timestamp("us"))])
SONGS = 50

SERVICE = """
import select, sys
import numpy as np
import segue
from segue.events import Events
path, durability = sys.argv[1:]
DAY = 86_400_000_000
with segue.open(path, durability=durability) as db:
    # As db.events(), with files so small that they are rotated and merged all the time.
    options = {"wal_bytes": 64 << 10, "memtable_bytes": 128 << 10, "window_rows": 512, "block_rows": 256}
    with Events.open(f"{path}/events/e", "e", durability=durability, _options=options) as events:
        last = began = events.snapshot().sequence
        while last < began + 1000 or not select.select([sys.stdin], [], [], 0)[0]:
            k = np.arange(last, last + 40)
            times = (k % 3 * DAY + k).view("datetime64[us]")
            last = events.append_batch({"k": k, "song": (k % 50).astype("int32"), "t": times})[1]
            if began < last <= began + 40:
                print("ready", flush=True)
        print(last, flush=True)
"""


def start(path: Path, durability: str) -> subprocess.Popen[str]:
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(path), durability],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert out(service).readline() == "ready\n"
    return service


def out(service: subprocess.Popen[str]) -> IO[str]:
    assert service.stdout is not None
    return service.stdout


def nightly(db: segue.Database) -> segue.Job:
    return (
        db.pipeline("e")
        .repartition(4, "k")
        .join(segue.broadcast("songs"), on="song", columns=["artist"])
        .sort_within_partitions("t")
        .write("fact")
    )


@pytest.mark.parametrize("durability", ["commit", "interval"])
def test_the_nightly_job_beside_the_service(tmp_path: Path, durability: str) -> None:
    with segue.open(tmp_path) as db:
        db.create_events("e", SCHEMA, key="k", time="t")
    service = start(tmp_path, durability)
    with segue.open(tmp_path, mode="r") as db:
        songs = {"song": pa.array(range(SONGS), pa.int32()), "artist": [f"a{i % 7}" for i in range(SONGS)]}
        db.put_dimension("songs", pa.table(songs), key="song")
        published = 0
        for run in range(6):
            report = nightly(db).run(threads=1)
            assert report.first_sequence == published + 1
            assert report.rows_out == report.rows_in == report.last_sequence - published
            published = report.last_sequence
            ((count, highest),) = db.sql("SELECT COUNT(*), MAX(k) FROM fact").fetchall()
            assert (count, highest) == (published, published - 1)
            ((fresh, distinct, lowest),) = db.sql(
                "SELECT COUNT(*), COUNT(DISTINCT k), MIN(k) FROM fact", fresh=True
            ).fetchall()
            assert fresh >= published
            assert (distinct, lowest) == (fresh, 0), "an event twice, or a gap"
            if run == 2:
                service.send_signal(signal.SIGKILL)
                service.communicate()
                service = start(tmp_path, durability)
            time.sleep(0.15)
        output, _ = service.communicate("stop\n", timeout=60)
        total = int(output)
        assert service.returncode == 0
        assert db.sql("SELECT COUNT(*) FROM fact", fresh=True).fetchall() == [(total,)]
        assert nightly(db).run().last_sequence == total
        assert nightly(db).run().up_to_date
        by_artist = "SELECT artist, COUNT(*), SUM(k) FROM fact GROUP BY artist ORDER BY artist"
        want = []
        for artist in range(7):
            keys = [k for k in range(total) if k % SONGS % 7 == artist]
            want.append((f"a{artist}", len(keys), sum(keys)))
        assert db.sql(by_artist).fetchall() == want


def test_refresh_of_a_database(tmp_path: Path) -> None:
    with segue.open(tmp_path) as writer, segue.open(tmp_path, mode="r") as reader:
        for name in ("a", "b"):
            writer.create_events(name, SCHEMA, key="k", time="t")
        seen = {name: reader.events(name) for name in ("a", "b")}
        for name in ("a", "b"):
            writer.events(name).append(1, 1, 1)
        count = "SELECT (SELECT COUNT(*) FROM a) + (SELECT COUNT(*) FROM b)"
        assert reader.sql(count).fetchall() == [(0,)], "as of when they were opened"
        reader.refresh()
        assert reader.sql(count).fetchall() == [(2,)]
        writer.events("a").append(2, 2, 2)
        assert reader.sql(count).fetchall() == [(2,)]
        assert reader.sql(count, fresh=True).fetchall() == [(3,)]
        writer.refresh()  # nothing to do, and no error

        # A table that goes, and one that comes in its place.
        writer.drop("a", force=True)
        reader.refresh()
        assert seen["a"].closed
        assert reader.events() == ["b"]
        writer.create_events("a", SCHEMA, key="k", time="t").append(9, 9, 9)
        writer.drop("b", force=True)
        writer.create_events("b", SCHEMA, key="k", time="t")
        assert reader.events("b") is not seen["b"]
        assert seen["b"].closed
        assert reader.events("a").scan().to_arrow()["k"].to_pylist() == [9]
        assert reader.sql(count).fetchall() == [(1,)]
    with pytest.raises(segue.ClosedError):
        reader.refresh()
