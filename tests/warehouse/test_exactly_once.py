"""Runs that are killed, fail or race: no event lost, none there twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import segue
from segue import warehouse

SCHEMA = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us"))])
DAY = 86_400_000_000


def rows(first: int, n: int) -> pa.Table:
    times = pa.array([i % 3 * DAY for i in range(n)], pa.timestamp("us"))
    return pa.table({"k": list(range(first, first + n)), "t": times})


def make(path: Path) -> None:
    with segue.open(path) as db:
        events = db.create_events("e", SCHEMA, key="k", time="t")
        events.append_batch(rows(0, 30))


def job(db: segue.Database) -> segue.Job:
    return db.pipeline("e").repartition(4, "k").sort_within_partitions("t").write("fact")


def keys(db: segue.Database) -> list[int]:
    relation = db._fact_relation("fact")
    return sorted(k for f in relation.files for k in pq.ParquetFile(f.path).read()["k"].to_pylist())


def stray_files(db: segue.Database) -> list[str]:
    known = {f.path for f in db._fact_relation("fact").files}
    return [str(p) for p in (db.path / "warehouse" / "fact").glob("**/*.parquet") if str(p) not in known]


# Every step that a run takes on disk, in order. A run is stopped before it and after it.
STEPS = [
    "segue.database.Database.register_pipeline",
    "segue.warehouse.FactTable.repair",
    "segue.warehouse.FactTable.remove_orphans",
    "segue.warehouse.FactTable.begin_run",
    "segue.pipeline_run._consume",
    "segue.pipeline_run.write_splits",
    "segue.parquet_output._FileWriter.write",
    "segue.parquet_output._FileWriter.finish",
    "segue.parquet_output._sync_folders",
    "segue.events.Events.record_handoff",
    "segue.warehouse.FactTable.publish",
    "segue.warehouse.FactTable._commit",
    "segue.delta_log.sync_entry",
    "segue.warehouse.FactTable.end_run",
]

KILLED_RUN = """
import importlib, os, sys
path, step, when = sys.argv[1:4]
sys.path.insert(0, sys.argv[4])
import segue
from test_exactly_once import job
module, _, name = step.rpartition(".")
try:
    owner = importlib.import_module(module)
except ModuleNotFoundError:
    module, _, cls = module.rpartition(".")
    owner = getattr(importlib.import_module(module), cls)
original = getattr(owner, name)
def stopped(*args, **kwargs):
    if when == "before":
        os._exit(42)
    original(*args, **kwargs)
    os._exit(42)
setattr(owner, name, stopped)
with segue.open(path) as db:
    job(db).run()
os._exit(7)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=[s.rpartition(".")[2] for s in STEPS])
@pytest.mark.parametrize("runs_before", [0, 1])
def test_a_run_killed_at_any_step(tmp_path: Path, step: str, when: str, runs_before: int) -> None:
    make(tmp_path)
    if runs_before:
        with segue.open(tmp_path) as db:
            job(db).run()
            db.events("e").append_batch(rows(30, 30))
    total = 30 * (runs_before + 1)
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(tmp_path), step, when, folder], timeout=60, check=False
    )
    assert done.returncode == 42
    with segue.open(tmp_path) as db:
        report = job(db).run()
        assert keys(db) == list(range(total))
        assert stray_files(db) == []
        published = step.endswith(("sync_entry", "end_run")) or (
            when == "after" and step.endswith(("publish", "_commit"))
        )
        assert report.up_to_date == published
        assert job(db).run().up_to_date
        assert not list((tmp_path / "tmp").iterdir())
        assert not [p for p in (tmp_path / "warehouse/fact/_segue").iterdir() if p.name.startswith("run-")]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS[3:], ids=[s.rpartition(".")[2] for s in STEPS[3:]])
def test_a_run_that_fails_at_any_step(
    tmp_path: Path, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    with segue.open(tmp_path) as db:
        with monkeypatch.context() as patch:
            failed = _fail_at(patch, step, when)
            if step.endswith("_commit") and when == "after":
                job(db).run()  # It looks again, and finds that its commit is there.
            else:
                with pytest.raises((segue.StorageError, OSError), match="no space"):
                    job(db).run()
            assert failed
        published = step.endswith(("sync_entry", "end_run")) or (
            when == "after" and step.endswith(("publish", "_commit"))
        )
        assert db._fact_relation("fact").version == (0 if published else None)
        if not published:
            assert not list((tmp_path / "warehouse" / "fact").glob("**/*.parquet"))
        assert job(db).run().up_to_date == published
        assert keys(db) == list(range(30))
        assert stray_files(db) == []


def _fail_at(patch: pytest.MonkeyPatch, step: str, when: str) -> list[int]:
    import importlib

    module, _, name = step.rpartition(".")
    try:
        owner: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        module, _, cls = module.rpartition(".")
        owner = getattr(importlib.import_module(module), cls)
    original = getattr(owner, name)
    failed: list[int] = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            original(*args, **kwargs)
        failed.append(1)
        raise OSError(28, "no space left on device")

    patch.setattr(owner, name, failing)
    return failed


INTERRUPTED_RUN = """
import os, signal, sys, time
path = sys.argv[1]
sys.path.insert(0, sys.argv[2])
import segue
from segue.parquet_output import _FileWriter
from test_exactly_once import job
original = _FileWriter.write
def write(*args):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    original(*args)
_FileWriter.write = write
with segue.open(path) as db:
    job(db).run()
"""


def test_ctrl_c_stops_a_run_and_leaves_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_RUN, str(tmp_path), str(Path(__file__).parent)],
        timeout=60,
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert not list((tmp_path / "warehouse" / "fact").glob("**/*.parquet"))
    assert not list((tmp_path / "tmp").iterdir())
    with segue.open(tmp_path) as db:
        assert job(db).run().rows_in == 30


def test_events_that_cannot_be_read_say_where(tmp_path: Path) -> None:
    make(tmp_path)
    with segue.open(tmp_path) as db:
        db.events("e").flush()
    (table,) = (p for p in (tmp_path / "events" / "e").rglob("*") if p.suffix == ".sst")
    content = bytearray(table.read_bytes())
    content[20:60] = bytes(40)
    table.write_bytes(content)
    with segue.open(tmp_path) as db:
        with pytest.raises(segue.CorruptionError) as caught:
            job(db).run()
        assert caught.value.path == str(table)
        assert db._fact_relation("fact").version is None
        assert not list((tmp_path / "tmp").iterdir())


class NoLock:
    """Stands for writers on different machines, whose locks do not see each other."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def try_acquire(self) -> bool:
        return True


@pytest.mark.parametrize("runs_before", [0, 1])
def test_racing_runs_publish_every_row_once(
    tmp_path: Path, runs_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    with segue.open(tmp_path) as db:
        if runs_before:
            job(db).run()
            db.events("e").append_batch(rows(30, 30))
    monkeypatch.setattr(warehouse.FactTable, "lock", lambda self: NoLock())
    # Orphans of the one are files under way of the other, where there is no lock.
    monkeypatch.setattr(warehouse.FactTable, "remove_orphans", lambda self: 0)
    runners = 4
    barrier = threading.Barrier(runners)
    original = warehouse.FactTable.publish

    def publish(self: warehouse.FactTable, *args: Any) -> int:
        if not getattr(waited, "once", False):
            waited.once = True
            barrier.wait(30)
        return original(self, *args)

    waited = threading.local()
    monkeypatch.setattr(warehouse.FactTable, "publish", publish)
    reports: list[segue.RunReport] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with segue.open(tmp_path, mode="r") as db:
                reports.append(job(db).run())
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run) for _ in range(runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sum(not r.up_to_date for r in reports) == 1
    assert sum(r.rows_out for r in reports) == 30
    with segue.open(tmp_path) as db:
        assert keys(db) == list(range(30 * (runs_before + 1)))
        assert stray_files(db) == []


def test_a_moved_watermark_starts_the_run_over_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    monkeypatch.setattr(warehouse.FactTable, "lock", lambda self: NoLock())
    original = warehouse.FactTable.publish
    nested: list[segue.RunReport] = []

    def publish(self: warehouse.FactTable, *args: Any) -> int:
        if not nested:
            monkeypatch.setattr(warehouse.FactTable, "publish", original)
            monkeypatch.setattr(warehouse.FactTable, "remove_orphans", lambda self: 0)
            with segue.open(tmp_path, mode="r") as other:
                nested.append(job(other).run())
            db.events("e").append_batch(rows(30, 7))
        return original(self, *args)

    monkeypatch.setattr(warehouse.FactTable, "publish", publish)
    with segue.open(tmp_path) as db:
        report = job(db).run()
        assert nested[0].rows_out == 30
        assert (report.first_sequence, report.rows_out, report.version) == (31, 7, 1)
        assert keys(db) == list(range(37))
        assert stray_files(db) == []


def test_a_foreign_commit_in_between_is_built_upon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deltalake import CommitProperties, DeltaTable

    make(tmp_path)
    with segue.open(tmp_path) as db:
        job(db).run()
        db.events("e").append_batch(rows(30, 5))
        original = warehouse.FactTable._commit
        calls = []

        def commit(self: warehouse.FactTable, *args: Any) -> None:
            if not calls:
                DeltaTable(str(self.folder)).alter.set_table_properties(
                    {"delta.logRetentionDuration": "interval 60 days"},
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            calls.append(1)
            original(self, *args)

        monkeypatch.setattr(warehouse.FactTable, "_commit", commit)
        assert job(db).run().version == 2
        assert len(calls) == 2
        assert keys(db) == list(range(35))


def test_a_commit_that_got_through_although_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    original = warehouse.FactTable._commit

    def commit(self: warehouse.FactTable, *args: Any) -> None:
        original(self, *args)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(warehouse.FactTable, "_commit", commit)
    with segue.open(tmp_path) as db:
        report = job(db).run()
        assert (report.rows_out, report.version) == (30, 0)
        assert keys(db) == list(range(30))


def test_the_handoff_is_recorded_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    with segue.open(tmp_path) as db:
        seen: list[Any] = []
        handed = type(db.events("e")).record_handoff
        committed = warehouse.FactTable._commit
        monkeypatch.setattr(
            type(db.events("e")), "record_handoff", lambda self, n: (seen.append(n), handed(self, n))[1]
        )
        monkeypatch.setattr(
            warehouse.FactTable, "_commit", lambda self, *a: (seen.append("commit"), committed(self, *a))[1]
        )
        job(db).run()
    assert seen == [30, "commit"]


def test_only_synced_events_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    with segue.open(tmp_path) as db:
        monkeypatch.setattr(type(db.events("e")), "sync", lambda self: 20)
        assert job(db).run().last_sequence == 20
        assert job(db).run().up_to_date
        monkeypatch.undo()
        assert job(db).run().first_sequence == 21
        assert len(keys(db)) == 30


def test_files_and_folders_are_synced_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    synced: list[str] = []
    fsync = os.fsync

    def recording(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    with segue.open(tmp_path) as db:
        run = job(db)
        committed = warehouse.FactTable._commit
        monkeypatch.setattr(
            warehouse.FactTable, "_commit", lambda self, *a: (synced.append("commit"), committed(self, *a))[1]
        )
        monkeypatch.setattr(os, "fsync", recording)
        run.run()
        monkeypatch.undo()
        table = tmp_path / "warehouse" / "fact"
        before, after = synced[: synced.index("commit")], synced[synced.index("commit") :]
        for file in db._fact_relation("fact").files:
            assert file.path in before
            assert str(Path(file.path).parent) in before
        assert str(table) in before
        assert str(table.parent) in before
        log = table / "_delta_log"
        assert after[1:4] == [str(log / f"{0:020d}.json"), str(log), str(table)]
