"""Power loss at every durable step of a whole database: events, dimensions, runs, catalog.

A short workload runs once while what it does is recorded: the event store on the in-memory file system,
the rest on a real directory (see recorded_disk.py). Then the power goes after each operation: what was not
synced is dropped, or kept, or kept in part. Whatever is left must open, hold all that was acknowledged,
and give every event once after the next run.

SEGUE_CRASHES=all plays back every moment; without it every fifth, beginning with another one for each
kind of loss.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from recorded_disk import Moment, RecordedDisk

import segue
from segue import _engine
from segue.events import Events
from segue.inspection import verify_database

if TYPE_CHECKING:
    import pytest

SCHEMA = pa.schema({"k": pa.int64(), "t": pa.timestamp("us"), "song": pa.int32()})
OPTIONS = {"wal_bytes": 12288, "memtable_bytes": 1 << 20, "block_rows": 64}
DAY = 86_400_000_000
STEP = 1 if os.environ.get("SEGUE_CRASHES") == "all" else 5
KEEP = ("none", "all", "random", "random")


def songs(generation: int) -> dict[str, list[Any]]:
    return {"song": [0, 1, 2], "title": [f"{name}{generation}" for name in "abc"]}


class Workload:
    """What a service and its nightly job do; remembers what was begun and what was acknowledged."""

    def __init__(self) -> None:
        self.events = self.acknowledged_events = 0
        self.published = 0
        self.generation = self.acknowledged_generation = 0
        self.spare = "absent"

    def state(self) -> tuple[Any, ...]:
        return tuple(self.__dict__.values())

    def append(self, events: Events, n: int) -> None:
        rows = range(self.events, self.events + n)
        self.events += n
        events.append_batch(
            {"k": list(rows), "t": [k % 3 * DAY for k in rows], "song": [k % 3 for k in rows]}
        )
        self.acknowledged_events = self.events

    def put_songs(self, db: segue.Database) -> None:
        self.generation += 1
        db.put_dimension("songs", songs(self.generation), key="song")
        self.acknowledged_generation = self.generation

    def run_job(self, db: segue.Database) -> None:
        job(db).run(memory="64MiB", threads=1)
        self.published = self.events

    def run(self, path: Path) -> None:
        with segue.open(path) as db:
            events = db.events("e")
            self.put_songs(db)
            self.append(events, 10)
            self.run_job(db)
            self.append(events, 1)
            self.put_songs(db)
            self.append(events, 5)
            self.run_job(db)
            self.run_job(db)
            self.spare = "putting"
            db.put_dimension("spare", {"x": [1]}, key="x")
            self.spare = "there"
            self.spare = "dropping"
            db.drop("spare")
            self.spare = "dropped"


def job(db: segue.Database) -> segue.Job:
    return (
        db.pipeline("e")
        .repartition(4, "k")
        .join(segue.broadcast("songs"), on="song")
        .sort_within_partitions("t")
        .write("fact", partition_by="date")
    )


class EventsInMemory:
    """Puts event tables on an in-memory file system, at one path wherever their database is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.env = _engine.testing.MemEnv()
        create, open_ = Events.create.__func__, Events.open.__func__

        def created(cls: type[Events], path: str, name: str, *args: Any, **options: Any) -> Events:
            os.mkdir(path)  # what the database syncs around it is on the real disk
            return create(cls, f"/db/{name}", name, *args, **options, _options=OPTIONS, _env=self.env)

        def opened(cls: type[Events], path: str, name: str, **options: Any) -> Events:
            options |= {"_options": OPTIONS, "_env": self.env}
            return open_(cls, f"/db/{name}", name, **options)

        monkeypatch.setattr(Events, "create", classmethod(created))
        monkeypatch.setattr(Events, "open", classmethod(opened))


def fact_rows(db: segue.Database) -> list[dict[str, Any]]:
    if db.catalog.read().find("fact") is None:
        return []
    files = db._fact_relation("fact").files
    rows = [row for file in files for row in pq.ParquetFile(file.path).read().to_pylist()]
    return sorted(rows, key=lambda row: row["k"])


def check_recovered(db: segue.Database, moment: Moment) -> None:
    events, acknowledged, published, generation, put, spare = moment.note[0]
    assert [check for check in verify_database(db) if check["error"]] == []

    stored = sorted(db.events("e").scan(columns=["k"]).to_arrow()["k"].to_pylist())
    assert stored == list(range(len(stored)))
    assert acknowledged <= len(stored) <= events

    known = db.catalog.read()
    if put or "songs" in known.dimensions:
        table = db.dimension("songs").table.to_pydict()
        assert table in [songs(g) for g in range(max(put, 1), generation + 1)]
    assert ("spare" in known.dimensions) in {
        "absent": (False,),
        "putting": (False, True),
        "there": (True,),
        "dropping": (False, True),
        "dropped": (False,),
    }[spare]

    before = [row["k"] for row in fact_rows(db)]
    assert before == list(range(len(before)))
    assert published <= len(before) <= len(stored)
    if "fact" in known.facts:
        assert db.sql("SELECT COUNT(*) FROM fact", fresh=True).fetchall() == [(len(stored),)]

    if "songs" not in known.dimensions:
        db.put_dimension("songs", songs(1), key="song")
    report = job(db).run(memory="64MiB", threads=1)
    assert report.rows_out == len(stored) - len(before)
    assert job(db).run(memory="64MiB", threads=1).up_to_date
    rows = fact_rows(db)
    assert [row["k"] for row in rows] == stored, "an event is missing in the fact table, or there twice"
    assert all(row["title"][0] == "abc"[row["song"]] for row in rows)
    assert db.sql("SELECT COUNT(*) FROM fact").fetchall() == [(len(stored),)]

    files = {file.path for file in db._fact_relation("fact").files}
    assert {str(path) for path in (db.path / "warehouse" / "fact").rglob("*.parquet")} == files
    assert list((db.path / "tmp").iterdir()) == [] if (db.path / "tmp").exists() else True
    # The store goes on above every number that was handed off.
    assert db.events("e").append(99, 0, 0) > report.last_sequence


def test_power_loss_after_every_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = EventsInMemory(monkeypatch)
    with segue.open(tmp_path / "disk" / "db") as db:
        db.create_events("e", SCHEMA, key="k", time="t")
    workload = Workload()

    def note() -> tuple[Any, ...]:
        return (workload.state(), [memory.env.crash(keep, seed) for seed, keep in enumerate(KEEP)])

    disk = RecordedDisk(tmp_path / "disk", note)
    with disk.recording():
        workload.run(tmp_path / "disk" / "db")
    assert len(disk.moments) > 80, "the workload is expected to take many steps"
    assert workload.state() == (16, 16, 16, 2, 2, "dropped")

    for kind, keep in enumerate(KEEP):
        for number in range(kind % STEP, len(disk.moments), STEP):
            moment = disk.moments[number]
            where = tmp_path / f"{keep}-{kind}-{number}"
            disk.play_back(moment, keep, seed=number * len(KEEP) + kind, to=where)
            memory.env = moment.note[1][kind]
            try:
                with segue.open(where / "db") as db:
                    check_recovered(db, moment)
            except BaseException as error:
                error.add_note(f"power lost (keeping {keep}) after {moment.after}, moment {number}")
                raise
