"""Act 1: events a second by way of arrival and by durability, and reads of one key."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import segue

if TYPE_CHECKING:
    import pyarrow as pa


@pytest.mark.parametrize("durability", ["os", "interval", "commit"])
def test_append_batches_of_1000(benchmark, tmp_path: Path, batches: list[pa.RecordBatch], durability: str):
    benchmark.group = "batches of 1000"
    sent = batches[:400]
    count = itertools.count()

    def fresh():
        db = segue.open(tmp_path / str(next(count)), durability=durability)
        return (db, db.create_events("e", sent[0].schema, key="user_id", time="timestamp")), {}

    def append(db, events):
        for batch in sent:
            events.append_batch(batch)
        assert events.stats().sequence == sum(batch.num_rows for batch in sent)
        db.close()

    benchmark.extra_info["events"] = sum(batch.num_rows for batch in sent)
    benchmark.pedantic(append, setup=fresh, rounds=3)


@pytest.mark.parametrize(("durability", "n"), [("os", 50_000), ("commit", 500)])
def test_append_one_by_one(benchmark, tmp_path: Path, batches: list[pa.RecordBatch], durability: str, n: int):
    benchmark.group = f"one call an event, {durability}"
    rows = [tuple(row.values()) for batch in batches[: n // 1000 + 1] for row in batch.to_pylist()][:n]
    count = itertools.count()

    def fresh():
        db = segue.open(tmp_path / str(next(count)), durability=durability)
        return (db, db.create_events("e", batches[0].schema, key="user_id", time="timestamp")), {}

    def append(db, events):
        for row in rows:
            events.append(*row)
        assert events.stats().sequence == n
        db.close()

    benchmark.extra_info["events"] = n
    benchmark.pedantic(append, setup=fresh, rounds=3)


@pytest.mark.parametrize("known", [True, False], ids=["present", "absent"])
def test_last_50_of_a_user(benchmark, database: segue.Database, batches: list[pa.RecordBatch], known: bool):
    benchmark.group = "last 50 of a key"
    events = database.events("listens")
    events.flush()
    user = batches[0]["user_id"][0].as_py() if known else -1
    found = benchmark(lambda: events.scan(key=user, descending=True, limit=50).to_arrow())
    assert (found.num_rows > 0) == known


def test_scan_everything(benchmark, database: segue.Database, rows: int):
    benchmark.group = "scan of a whole table"
    events = database.events("listens")
    benchmark.extra_info["events"] = rows
    assert benchmark(lambda: events.scan().to_arrow().num_rows) == rows
