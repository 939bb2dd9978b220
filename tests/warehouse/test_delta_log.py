"""What power loss and other writers can do to a table's log."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest

import segue
from segue import delta_log
from segue.durable import FileLock

SCHEMA = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us"))])


def rows(first: int, n: int) -> pa.Table:
    return pa.table({"k": list(range(first, first + n)), "t": pa.array([0] * n, pa.timestamp("us"))})


def make(path: Path, runs: int) -> None:
    """A fact table of `runs` versions with ten rows each."""
    with segue.open(path) as db:
        events = db.create_events("e", SCHEMA, key="k", time="t")
        for i in range(runs):
            events.append_batch(rows(10 * i, 10))
            assert db.pipeline("e").write("fact").run().version == i


def keys(db: segue.Database) -> list[int]:
    import pyarrow.parquet as pq

    relation = db._fact_relation("fact")
    return sorted(k for f in relation.files for k in pq.ParquetFile(f.path).read()["k"].to_pylist())


CUTS = {"empty": 0, "one byte": 1, "half": 0.5, "all but one": -2, "zeros": None}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("runs", [1, 3])
def test_a_torn_newest_entry_is_put_aside_and_its_events_come_again(
    tmp_path: Path, runs: int, cut: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, runs)
    entry = delta_log.entry_path(tmp_path / "warehouse" / "fact", runs - 1)
    content = entry.read_bytes()
    if cut is None:
        entry.write_bytes(bytes(len(content)))
    else:
        entry.write_bytes(content[: int(len(content) * cut) if isinstance(cut, float) else cut])
    with segue.open(tmp_path) as db, caplog.at_level(logging.WARNING, "segue"):
        relation = db._fact_relation("fact")
        assert relation.version == (runs - 2 if runs > 1 else None)
        assert relation.fresh is not None
        assert sorted(keys(db) + relation.fresh()["k"].to_pylist()) == list(range(10 * runs))
        report = db.pipeline("e").write("fact").run()
        assert report.rows_in == 10
        assert report.version == runs - 1
        assert keys(db) == list(range(10 * runs))
    assert [r.message for r in caplog.records if "was cut off" in r.message]
    assert len(list((tmp_path / "warehouse" / "fact" / "_segue").glob("torn-*"))) == 1


def test_a_run_repairs_too(tmp_path: Path) -> None:
    make(tmp_path, 2)
    entry = delta_log.entry_path(tmp_path / "warehouse" / "fact", 1)
    with segue.open(tmp_path) as db:
        table = db.fact_table("fact")
        before = table.snapshot()
        assert before is not None
        assert before.version == 1
        entry.write_bytes(b"")
        assert db.pipeline("e").write("fact").run().rows_in == 10
        assert keys(db) == list(range(20))


def test_an_open_table_never_loads_a_torn_entry(tmp_path: Path) -> None:
    make(tmp_path, 1)
    with segue.open(tmp_path) as db:
        assert keys(db) == list(range(10))
        delta_log.entry_path(tmp_path / "warehouse" / "fact", 1).write_bytes(b'{"add":{"pa')
        assert db._fact_relation("fact").version == 0
        assert keys(db) == list(range(10))


@pytest.mark.parametrize("content", [b"", b'{"commitInfo":{"ti', b"[]\n"])
def test_an_earlier_damaged_entry_is_corruption(tmp_path: Path, content: bytes) -> None:
    make(tmp_path, 3)
    entry = delta_log.entry_path(tmp_path / "warehouse" / "fact", 1)
    entry.write_bytes(content)
    with segue.open(tmp_path) as db:
        with pytest.raises(segue.CorruptionError) as caught:
            keys(db)
        assert caught.value.path == str(entry)
        with pytest.raises(segue.CorruptionError):
            db.pipeline("e").write("fact").run()
    assert entry.read_bytes() == content


def test_a_missing_entry_is_corruption(tmp_path: Path) -> None:
    make(tmp_path, 3)
    entry = delta_log.entry_path(tmp_path / "warehouse" / "fact", 1)
    entry.unlink()
    with segue.open(tmp_path) as db, pytest.raises(segue.CorruptionError, match="is gone") as e:
        keys(db)
    assert e.value.path == str(entry)


def test_a_lock_holder_is_named(tmp_path: Path) -> None:
    make(tmp_path, 1)
    with segue.open(tmp_path) as db:
        with db.fact_table("fact").lock():
            with pytest.raises(segue.LockedError, match=r"'fact' is in use by process \d+ on "):
                db.pipeline("e").write("fact").run()
            with pytest.raises(segue.LockedError):
                db.drop("fact")
            assert keys(db) == list(range(10))
        assert db.pipeline("e").write("fact").run().up_to_date


def test_a_lock_is_held_once_and_free_after_its_holder(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "l", "it"), FileLock(tmp_path / "l", "it", timeout=0.05)
    with one:
        assert one.held
        assert not two.try_acquire()
        with pytest.raises(segue.LockedError, match="by this very handle"):
            one.acquire()
    assert two.try_acquire()
    two.release()
    two.release()
    assert not two.held


@pytest.mark.parametrize(
    ("features", "said"), [(["deletionVectors"], "deletion vectors"), (["columnMapping"], "column mapping")]
)
def test_tables_that_need_more_than_their_files_are_refused(
    tmp_path: Path, features: list[str], said: str
) -> None:
    make(tmp_path, 1)
    entry = delta_log.entry_path(tmp_path / "warehouse" / "fact", 1)
    listed = ", ".join(f'"{f}"' for f in ["timestampNtz", *features])
    entry.write_text(
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,'
        f'"readerFeatures":[{listed}],"writerFeatures":[{listed}]}}}}\n'
    )
    with segue.open(tmp_path) as db, pytest.raises(segue.UnsupportedError, match=said):
        keys(db)


def test_a_table_that_was_dropped_and_made_again_by_another_handle(tmp_path: Path) -> None:
    make(tmp_path, 2)
    with segue.open(tmp_path, mode="r") as reader:
        assert keys(reader) == list(range(20))
        with segue.open(tmp_path) as writer:
            writer.drop("fact")
            assert reader.catalog.read().find("fact") is None
            writer.pipeline("e").write("fact", partition_by=None).run()
            writer.events("e").append_batch(rows(20, 5))
            writer.pipeline("e").write("fact", partition_by=None).run()
        assert reader._fact_relation("fact").partition_columns == ()
        assert keys(reader) == list(range(25))
