"""kill -9 at random moments of ingest and of the nightly job, again and again on one database."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

import segue

KILLS = int(os.environ.get("SEGUE_KILLS", "6"))

WORKER = """
import sys, pyarrow as pa, segue
path, first = sys.argv[1], int(sys.argv[2])
with segue.open(path) as db:
    try:
        events = db.events("e")
    except segue.InvalidError:
        schema = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us")), ("s", pa.string())])
        events = db.create_events("e", schema, key="k", time="t")
    if "d" not in db.catalog.read().dimensions:
        db.put_dimension("d", {"s": [str(i) for i in range(7)], "v": list(range(7))}, key="s")
    job = (db.pipeline("e").repartition(8, "k").join(segue.broadcast("d"), on="s")
             .sort_within_partitions("t").write("fact", partition_by="date"))
    print("ready", flush=True)
    while True:
        keys = list(range(first, first + 500))
        events.append_batch({"k": keys, "t": [k * 1_000_000 for k in keys], "s": [str(k % 7) for k in keys]})
        print(keys[-1], flush=True)
        first += 500
        events.append(k=first, t=first * 1_000_000, s=str(first % 7))
        print(first, flush=True)
        first += 1
        if first % 3 == 0:
            job.run(memory="64MiB")
"""


def test_no_acknowledged_event_is_lost_and_no_row_is_there_twice(tmp_path: Path) -> None:
    draw = random.Random(os.environ.get("SEGUE_SEED", "7"))
    path = tmp_path / "db"
    acknowledged = -1
    for _ in range(KILLS):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(acknowledged + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(draw.random() * 0.8)
        worker.kill()
        lines = worker.stdout.read().split("\n")[:-1]  # The last may be cut off.
        worker.wait()
        acknowledged = int(lines[-1]) if lines else acknowledged
        with segue.open(path) as db:
            stored = sorted(db.events("e").scan(columns=["k"]).to_arrow()["k"].to_pylist())
            assert stored == list(range(len(stored)))
            # What was under way may be there, whole, though nobody was told.
            assert acknowledged < len(stored) <= acknowledged + 502
            acknowledged = len(stored) - 1
            assert (
                db.sql("SELECT COUNT(*) FROM fact", fresh=True).fetchall() == [(len(stored),)]
                or not db.pipelines()
            )
    with segue.open(path) as db:
        for report in db.run_pipelines(memory="64MiB"):
            assert report.last_sequence == acknowledged + 1
        files = db._fact_relation("fact").files
        rows = [row for f in files for row in pq.ParquetFile(f.path).read().to_pylist()]
        assert sorted(row["k"] for row in rows) == list(range(acknowledged + 1))
        assert all(row["v"] == row["k"] % 7 == int(row["s"]) for row in rows)
        on_disk = {str(p) for p in (path / "warehouse" / "fact").rglob("*.parquet")}
        assert on_disk == {f.path for f in files}
        assert not list((path / "tmp").iterdir())
