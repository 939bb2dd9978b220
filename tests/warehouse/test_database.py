from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pyarrow as pa
import pytest

import segue
from segue.options import format_bytes, parse_memory

SCHEMA = pa.schema([("user", pa.int64()), ("at", pa.timestamp("us"))])


def test_close_is_idempotent_and_ends_everything(tmp_path: Path) -> None:
    db = segue.open(tmp_path / "a" / "b")
    db.close()
    db.close()
    assert db.closed
    assert repr(db) == f"Database({str(tmp_path / 'a' / 'b')!r}, closed)"
    for use in (
        lambda: db.events("x"),
        lambda: db.events(),
        lambda: db.create_events("x", SCHEMA, key="user", time="at"),
        lambda: db.put_dimension("d", {"k": [1]}, key="k"),
        lambda: db.pipelines(),
        lambda: db.sql("SELECT 1"),
        lambda: db.drop("x"),
        lambda: db.__enter__(),
    ):
        with pytest.raises(segue.ClosedError):
            use()


def test_a_database_that_is_never_closed_warns(tmp_path: Path) -> None:
    db = segue.open(tmp_path)
    with pytest.warns(ResourceWarning, match="never closed"):
        del db


def test_a_failed_open_does_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(segue.StorageError):
            segue.open(tmp_path / "none", mode="r")
        gc.collect()


def test_reading_a_missing_directory_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(segue.StorageError, match='no such directory; open it with mode="rw"'):
        segue.open(tmp_path / "none", mode="r")
    with pytest.raises(segue.StorageError, match="it has no catalog"):
        segue.open(tmp_path, mode="r")
    assert not (tmp_path / "none").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(segue.StorageError, match="it is a file"):
        segue.open(tmp_path / "f")
    with pytest.raises(segue.StorageError, match="cannot make a database"):
        segue.open(tmp_path / "f" / "db")


READ_ONLY = """
import os, sys, segue, pyarrow as pa
from pathlib import Path
root = Path(sys.argv[1])
schema = pa.schema([("user", pa.int64()), ("at", pa.timestamp("us"))])
with segue.open(root / "db") as db:
    events = db.create_events("e", schema, key="user", time="at")
    events.append(1, 0)
    db.pipeline("e").write("fact").run()
    events.append(2, 0)
    # Everything once: what is imported later might lie where only root may read.
    db.put_dimension("known", {"k": [1]}, key="k")
    db.sql("SELECT COUNT(*) FROM fact", fresh=True).fetchall()
    db.sql("SELECT COUNT(*) FROM e").fetchall()
for folder, _, files in os.walk(root):
    for file in files:
        os.chmod(os.path.join(folder, file), 0o444)
    os.chmod(folder, 0o555)
if os.geteuid() == 0:  # root writes anywhere
    os.setgid(65534)
    os.setuid(65534)
def refused(call, *args, **options):
    try:
        call(*args, **options)
    except segue.StorageError as error:
        assert "Permission denied" in str(error) and str(root) in error.filename, error
    else:
        raise AssertionError(f"{call} wrote into a read-only folder")
refused(segue.open, root / "other")
with segue.open(root / "db") as db:
    refused(db.events, "e")
    refused(db.create_events, "f", schema, key="user", time="at")
    refused(db.put_dimension, "d", {"k": [1]}, key="k")
    assert db.sql("SELECT COUNT(*) FROM fact").fetchall() == [(1,)]
with segue.open(root / "db", mode="r") as db:
    assert db.sql("SELECT COUNT(*) FROM e").fetchall() == [(2,)]
    assert db.sql("SELECT COUNT(*) FROM fact", fresh=True).fetchall() == [(2,)]
    refused(db.pipeline("e").write("fact").run)
"""


def test_a_directory_that_may_not_be_written() -> None:
    root = Path(tempfile.mkdtemp(prefix="segue-read-only-"))  # pytest's own lets no other user in
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(root)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    finally:
        for folder in (root, *root.rglob("*/")):
            folder.chmod(0o755)
        shutil.rmtree(root)


@pytest.mark.parametrize("bad", [{"durability": "none"}, {"mode": "w"}])
def test_bad_options(tmp_path: Path, bad: dict[str, str]) -> None:
    with pytest.raises(segue.InvalidError, match="is unknown"):
        segue.open(tmp_path, **bad)  # type: ignore[arg-type]
    for path in (None, 3, "", "a\0b"):
        with pytest.raises(segue.InvalidError, match="is no path"):
            segue.open(path)  # type: ignore[arg-type]


def test_names_are_unique_over_all_kinds(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.create_events("listens", SCHEMA, key="user", time="at")
        db.put_dimension("dim", {"k": [1]}, key="k")
        db.pipeline("listens").write("facts").run()
        for name in ("listens", "DIM", "Facts"):
            with pytest.raises(segue.InvalidError, match="is already the name of"):
                db.create_events(name, SCHEMA, key="user", time="at")
        for name in ("LISTENS", "facts"):
            with pytest.raises(segue.InvalidError, match="is already the name of"):
                db.put_dimension(name, {"k": [1]}, key="k")
        for name in ("listens", "dim"):
            with pytest.raises(segue.InvalidError, match="is already the name of"):
                db.pipeline("listens").write(name)
        with pytest.raises(segue.InvalidError, match="spelled: 'facts'"):
            db.pipeline("listens").write("Facts")
        assert db.events() == ["listens"]
        assert "1 events, 1 dimensions, 1 facts" in repr(db)


def test_a_failed_create_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with segue.open(tmp_path) as db:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr("segue.catalog.replace_file", fail)
            with pytest.raises(segue.StorageError, match="No space left"):
                db.create_events("e", SCHEMA, key="user", time="at")
        assert not (tmp_path / "events" / "e").exists()
        db.create_events("e", SCHEMA, key="user", time="at")


def test_a_create_that_died_is_cleared_away(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        (tmp_path / "events" / "e").mkdir()
        (tmp_path / "events" / "e" / "half").touch()
        events = db.create_events("e", SCHEMA, key="user", time="at")
        assert not (tmp_path / "events" / "e" / "half").exists()
        assert db.events("E") is events


def test_events_that_the_catalog_does_not_know_are_never_removed(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        old = (tmp_path / "catalog").read_bytes()
        events = db.create_events("e", SCHEMA, key="user", time="at")
        events.append_batch({"user": [1], "at": [0]})
    (tmp_path / "catalog").write_bytes(old)
    with segue.open(tmp_path) as db:
        with pytest.raises(segue.InvalidError, match="holds events, but the catalog does not know it"):
            db.create_events("e", SCHEMA, key="user", time="at")
        assert (tmp_path / "events" / "e").exists()


def test_a_closed_table_is_opened_again(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        events = db.create_events("e", SCHEMA, key="user", time="at")
        assert db.events("e") is events
        events.close()
        again = db.events("e")
        assert again is not events
        assert again.append(1, 0) == 1
    assert again.closed


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.create_events("e", SCHEMA, key="user", time="at")
        with segue.open(tmp_path) as other:
            with pytest.raises(segue.LockedError):
                other.events("e")
            with pytest.raises(segue.LockedError):
                other.drop("e")
        assert db.events("e").append(1, 0) == 1


def test_unknown_names(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        with pytest.raises(segue.InvalidError, match=r"no event table is named 'x'.*there is none"):
            db.events("x")
        db.put_dimension("d", {"k": [1]}, key="k")
        with pytest.raises(segue.InvalidError, match="'d' is no event table"):
            db.events("d")
        with pytest.raises(segue.InvalidError, match="no pipeline"):
            db.pipeline_named("x")


def test_reading_takes_no_new_events(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.create_events("e", SCHEMA, key="user", time="at")
    with segue.open(tmp_path, mode="r") as db:
        with pytest.raises(segue.ReadOnlyError):
            db.create_events("f", SCHEMA, key="user", time="at")
        with pytest.raises(segue.ReadOnlyError):
            db.drop("e")
        assert db.events("e").schema == SCHEMA


def test_widening_is_told(tmp_path: Path) -> None:
    schema = pa.schema(
        [("user", pa.uint32()), ("at", pa.timestamp("ns")), ("big", pa.uint64()), ("s", pa.large_string())]
    )
    with segue.open(tmp_path) as db:
        with pytest.warns(segue.WideningWarning) as seen:
            db.create_events("e", schema, key="user", time="at")
        text = str(seen[0].message)
        assert "user (uint32 becomes int64)" in text
        assert "at (timestamp[ns] becomes timestamp[us])" in text
        assert "big (uint64 becomes decimal128(20, 0))" in text
        assert "s (" not in text
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            db.create_events("f", SCHEMA, key="user", time="at")


@pytest.mark.parametrize(
    "kind", [pa.float16(), pa.time64("us"), pa.duration("s"), pa.list_(pa.int8()), pa.null()], ids=str
)
def test_types_that_no_warehouse_holds(tmp_path: Path, kind: pa.DataType) -> None:
    with segue.open(tmp_path) as db, pytest.raises(segue.SchemaError, match="'bad'") as e:
        db.create_events("e", SCHEMA.append(pa.field("bad", kind)), key="user", time="at")
    assert e.value.column == "bad"


def test_no_schema(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db, pytest.raises(segue.SchemaError, match="int is no Arrow schema"):
        db.create_events("e", 5, key="user", time="at")


def test_memory_sizes() -> None:
    assert parse_memory("1GiB") == 1 << 30
    assert parse_memory("1.5 gib") == 3 << 29
    assert parse_memory("100MB") == 100_000_000
    assert parse_memory(64 << 20) == 64 << 20
    for bad in ("", "GiB", "1 parsec", None, 1.5, True, "-1GiB"):
        with pytest.raises(segue.InvalidError, match="is no size"):
            parse_memory(bad)  # type: ignore[arg-type]
    with pytest.raises(
        segue.BudgetError, match=r"memory='63MiB' is too small; the minimum is 64 MiB \(67108864 bytes\)"
    ):
        parse_memory("63MiB")
    assert [format_bytes(n) for n in (0, 1023, 1024, 123456789)] == ["0 B", "1023 B", "1 KiB", "118 MiB"]


def test_importing_segue_imports_nothing_heavy() -> None:
    code = (
        "import sys, segue; segue.Database; segue.broadcast;"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in "
        "('pyarrow', 'deltalake', 'duckdb', 'sqlglot', 'rich', 'typer', 'pandas', 'polars', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    pytest.importorskip("segue.kernels")
    for name in segue.__all__:
        assert getattr(segue, name) is not None
        assert name in dir(segue)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        segue.nothing  # type: ignore[attr-defined]  # noqa: B018
