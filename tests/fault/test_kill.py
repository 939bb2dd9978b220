"""kill -9 at random moments: every acknowledged event is there, in whole batches, once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest

import segue

from segue.events import Events

ROUNDS = int(os.environ.get("SEGUE_KILL_ROUNDS", "8"))

WRITER = textwrap.dedent(
    """
    import os, sys
    import pyarrow as pa
    from segue.events import Events

    path, durability = sys.argv[1], sys.argv[2]
    schema = pa.schema({"user": pa.int64(), "n": pa.int64(), "first": pa.int64(), "at": pa.timestamp("us")})
    options = {"wal_bytes": 262144, "memtable_bytes": 500_000}
    if os.path.exists(os.path.join(path, "MANIFEST")):
        events = Events.open(path, "t", durability=durability, _options=options)
    else:
        events = Events.create(path, "t", schema, "user", "at", durability=durability, _options=options)
    n = events.stats().sequence
    print("ready", n, flush=True)
    while True:
        for _ in range(20):
            n += 1
            assert events.append(n % 7, n, None, n) == n
            os.write(1, b"%d\\n" % n)
        rows = range(n + 1, n + 501)
        first, last = events.append_batch(
            {"user": [i % 7 for i in rows], "n": rows, "first": [n + 1] * 500, "at": rows}
        )
        assert (first, last) == (n + 1, n + 500)
        n = last
        os.write(1, b"%d\\n" % n)
    """
)


@pytest.mark.parametrize("durability", ["commit", "os"])
def test_kill_during_ingest(tmp_path, durability):
    path = str(tmp_path / "t")
    chance = random.Random(7)
    for _ in range(ROUNDS):
        child = subprocess.Popen([sys.executable, "-c", WRITER, path, durability], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"ready")
        time.sleep(chance.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        out, _ = child.communicate()
        # The last line may be cut by the kill: only whole lines count as acknowledged.
        whole = out.decode().rpartition("\n")[0].split()
        acknowledged = int(whole[-1]) if whole else 0
        with Events.open(path, "t", mode="r") as events:
            rows = events.scan(columns=["n", "first"]).to_arrow()
        numbers = sorted(rows["n"].to_pylist())
        assert numbers == list(range(1, len(numbers) + 1)), "a row is missing or there twice"
        assert len(numbers) >= acknowledged
        sizes = Counter(first for first in rows["first"].to_pylist() if first is not None)
        assert set(sizes.values()) <= {500}, "a batch is there in part"


NIGHT = textwrap.dedent(
    """
    import os, sys
    import pyarrow as pa
    import segue

    db = segue.open(sys.argv[1], durability="os")
    if "listens" not in db.events():
        schema = pa.schema({"user": pa.int64(), "n": pa.int64(), "song": pa.int32(), "at": pa.timestamp("us")})
        db.create_events("listens", schema, key="user", time="at")
    db.put_dimension("songs", pa.table({"song": pa.array(range(9), pa.int32()), "genre": list("abcabcabc")}),
                     key="song")
    listens = db.events("listens")
    job = (db.pipeline("listens").repartition(8, "user").join(segue.broadcast("songs"), on="song")
           .sort_within_partitions("at").write("facts", partition_by="date"))
    n = listens.stats().sequence
    print("ready", flush=True)
    while True:
        rows = range(n + 1, n + 2001)
        n += 2000
        listens.append_batch({"user": [i % 31 for i in rows], "n": rows, "song": [i % 9 for i in rows],
                              "at": [i * 100_000_000 for i in rows]})
        os.write(1, b"%d\\n" % n)
        job.run()
    """
)


def test_kill_during_the_nightly_job(tmp_path):
    chance = random.Random(11)
    acknowledged = 0
    for _ in range(ROUNDS):
        child = subprocess.Popen([sys.executable, "-c", NIGHT, str(tmp_path / "db")], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"ready")
        time.sleep(chance.uniform(0.0, 0.6))
        child.send_signal(signal.SIGKILL)
        out, _ = child.communicate()
        whole = out.decode().rpartition("\n")[0].split()
        acknowledged = int(whole[-1]) if whole else acknowledged
        with segue.open(tmp_path / "db", mode="r") as db:
            events = db.sql("SELECT COUNT(*) AS n FROM listens").to_arrow()["n"][0].as_py()
            assert events >= acknowledged
            assert events % 2000 == 0
            if "facts" in names(db):
                rows, distinct = db.sql("SELECT COUNT(n), COUNT(DISTINCT n) FROM facts").fetchall()[0]
                assert rows == distinct <= events, "a fact row is there twice"
                assert db.sql("SELECT COUNT(*) FROM facts", fresh=True).fetchall() == [(events,)]
    with segue.open(tmp_path / "db") as db:
        (report,) = db.run_pipelines()
        assert report.up_to_date or report.rows_out > 0
        rows = db.sql("SELECT n FROM facts ORDER BY n").to_arrow()["n"].to_pylist()
        assert rows == list(range(1, events + 1)), "an event is missing from the facts"
        left = {path.name for path in (tmp_path / "db" / "warehouse" / "facts").rglob("*.parquet")}
        live = {os.path.basename(file) for file in files_of(tmp_path / "db" / "warehouse" / "facts")}
        assert left == live, "files of killed runs are cleaned up"


def names(db: segue.Database) -> set[str]:
    return {path.name for path in (db.path / "warehouse").glob("*") if (path / "_delta_log").exists()}


def files_of(table) -> list[str]:
    from deltalake import DeltaTable

    return DeltaTable(str(table)).file_uris()
