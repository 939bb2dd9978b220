from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import segue


@pytest.fixture
def db(tmp_path: Path) -> Iterator[segue.Database]:
    with segue.open(tmp_path / "db") as database:
        yield database


COLUMNS = {"id": [1, 2, 3], "name": ["a", None, "c"]}


@pytest.mark.parametrize(
    "make", [dict, pa.table, pd.DataFrame, pl.DataFrame], ids=["dict", "arrow", "pandas", "polars"]
)
def test_anything_that_speaks_arrow_is_taken(db: segue.Database, make: object) -> None:
    db.put_dimension("d", make(COLUMNS), key="id")  # type: ignore[operator]
    table = db.dimension("d").table
    assert table.column_names == ["id", "name"]
    assert table.to_pydict() == COLUMNS


def test_types_come_back_as_they_were(tmp_path: Path) -> None:
    table = pa.table(
        {
            "k": pa.array(["a", "b"], pa.large_string()),
            "u": pa.array([0, 2**64 - 1], pa.uint64()),
            "d": pa.array(["x", None]).dictionary_encode(),
            "ns": pa.array([dt.datetime(2024, 1, 1), None], pa.timestamp("ns", "Europe/Berlin")),
            "dec": pa.array([decimal.Decimal("1.5"), None], pa.decimal128(10, 2)),
            "list": pa.array([[1], []], pa.list_(pa.int8())),
        }
    )
    with segue.open(tmp_path) as db:
        db.put_dimension("d", table, key="k")
    with segue.open(tmp_path) as db:
        read = db.dimension("d").table
    assert read.schema.types == table.schema.types
    assert read.to_pydict() == table.to_pydict()


def test_replacing_is_seen_at_once_by_other_handles(tmp_path: Path) -> None:
    with segue.open(tmp_path) as writer, segue.open(tmp_path, mode="r") as reader:
        writer.put_dimension("d", {"k": [1]}, key="k")
        assert reader.dimension("d").table.num_rows == 1
        reader.put_dimension("D", {"k": [1, 2], "x": [None, None]}, key="k")  # A reader may, in any case.
        assert writer.dimension("d").table.num_rows == 2
        assert writer.dimension("d").name == "d"
        assert len(list((tmp_path / "warehouse" / "d").iterdir())) == 1


def test_a_failed_write_leaves_the_old_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with segue.open(tmp_path) as db:
        db.put_dimension("d", {"k": [1]}, key="k")
        for step in (
            "segue.dimension.sync_file",
            "segue.dimension.sync_directory",
            "segue.catalog.replace_file",
        ):
            with monkeypatch.context() as patch:

                def fail(*_: object) -> None:
                    raise OSError(28, "No space left on device")

                patch.setattr(step, fail)
                with pytest.raises(segue.StorageError, match="No space left"):
                    db.put_dimension("d", {"k": [2, 3]}, key="k")
            assert db.dimension("d").table.to_pydict() == {"k": [1]}
            assert len(list((tmp_path / "warehouse" / "d").iterdir())) == 1


def test_keys_must_be_unique_and_the_error_names_the_value(db: segue.Database) -> None:
    with pytest.raises(segue.InvalidError, match="'k' has the value 'b' 3 times"):
        db.put_dimension("d", {"k": ["a", "b", "b", "b"]}, key="k")


def test_keys_must_not_be_null_and_the_error_names_the_row(db: segue.Database) -> None:
    with pytest.raises(segue.InvalidError, match="'k' is null in row 2"):
        db.put_dimension("d", {"k": [1, 2, None]}, key="k")


@pytest.mark.parametrize(
    "values",
    [pa.array([1.5]), pa.array([[1]]), pa.array([{"a": 1}]), pa.nulls(0)],
    ids=["float", "list", "struct", "null"],
)
def test_keys_must_be_exact_values(db: segue.Database, values: pa.Array) -> None:
    with pytest.raises(segue.SchemaError, match="use integers, strings or dates"):
        db.put_dimension("d", pa.table({"k": values}), key="k")


def test_a_dictionary_may_be_the_key(db: segue.Database) -> None:
    db.put_dimension("d", pa.table({"k": pa.array(["a", "b"]).dictionary_encode()}), key="k")
    assert db.dimension("d").table.schema.field("k").type == pa.string()


def test_unknown_key_column_suggests_the_nearest(db: segue.Database) -> None:
    with pytest.raises(segue.SchemaError, match="did you mean 'song_id'") as e:
        db.put_dimension("d", {"song_id": [1], "x": [1]}, key="songid")
    assert e.value.column == "songid"


def test_columns_that_sql_cannot_tell_apart(db: segue.Database) -> None:
    with pytest.raises(segue.SchemaError, match="one name to SQL"):
        db.put_dimension("d", {"a": [1], "A": [2]}, key="a")
    with pytest.raises(segue.SchemaError, match="'a' and 'A', one name to SQL") as e:
        db.create_events("e", {"a": pa.int64(), "A": pa.int64(), "t": pa.timestamp("us")}, key="a", time="t")
    assert e.value.column == "A"


def test_no_table(db: segue.Database) -> None:
    with pytest.raises(segue.InvalidError, match="int is no table"):
        db.put_dimension("d", 5, key="k")


def test_an_empty_dimension(db: segue.Database) -> None:
    db.put_dimension("d", pa.table({"k": pa.array([], pa.int64())}), key="k")
    assert db.dimension("d").table.num_rows == 0


def test_a_damaged_file_is_corruption(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.put_dimension("d", {"k": [1]}, key="k")
    (file,) = (tmp_path / "warehouse" / "d").iterdir()
    file.write_bytes(b"PAR1 nothing")
    with segue.open(tmp_path) as db, pytest.raises(segue.CorruptionError) as e:
        db.dimension("d")
    assert e.value.path == str(file)
    file.unlink()
    with segue.open(tmp_path) as db, pytest.raises(segue.CorruptionError, match="put the dimension again"):
        db.dimension("d")


def test_dropping(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.put_dimension("d", {"k": [1]}, key="k")
        db.drop("D")
        assert not (tmp_path / "warehouse" / "d").exists()
        with pytest.raises(segue.InvalidError, match="no dimension is named 'd'"):
            db.dimension("d")
        with pytest.raises(segue.InvalidError, match="no table is named 'd'"):
            db.drop("d")
        db.put_dimension("d", {"k": [2]}, key="k")
        assert db.dimension("d").table.to_pydict() == {"k": [2]}
