"""segue.sql: Parquet paths and Arrow data by name, with no database."""

from __future__ import annotations

import datetime as dt
import os

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import segue
from segue.errors import CorruptionError, InvalidError, QueryError, SchemaError, StorageError

ARTISTS = pa.table({"artist_id": range(10), "artist": [f"artist {i}" for i in range(10)]})
STORY = """SELECT artist, country, COUNT(*) AS plays
FROM fact_plays f
JOIN dim_artists a ON f.artist_id = a.artist_id -- broadcast (10 MB)
WHERE f.date >= '2024-01-01'
GROUP BY artist, country
ORDER BY plays DESC
LIMIT 100;"""


@pytest.mark.parametrize("form", ["glob", "folder", "list", "path"])
def test_story_query_over_files(root, form):
    files = sorted(root.glob("*/*.parquet"))
    paths = {
        "glob": f"{root}/**/*.parquet",
        "folder": str(root),
        "list": [str(f) for f in files],
        "path": root,
    }
    result = segue.sql(STORY, tables={"fact_plays": paths[form], "dim_artists": ARTISTS}, strict=True)
    assert result.plan.native
    assert result.metrics.columns == ("artist_id", "country", "date")
    assert (result.metrics.files_read, result.metrics.files_pruned) == (6, 4)
    assert sum(plays for _, _, plays in result.fetchall()) > 0


def test_relative_paths(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    tables = {"fact_plays": "fact_plays/**/*.parquet"}
    assert segue.sql("SELECT COUNT(*) FROM fact_plays", tables=tables).fetchall() == [(1500,)]
    assert segue.sql("SELECT COUNT(*) FROM fact_plays WHERE ms_played >= 0", tables=tables).fetchall() == [
        (1500,)
    ]


@pytest.mark.parametrize(
    "data",
    [
        ARTISTS,
        ARTISTS.to_batches()[0],
        ARTISTS.to_reader(),
        pl.DataFrame(ARTISTS.to_pydict()),
        pd.DataFrame(ARTISTS.to_pydict()),
        ARTISTS.to_pydict(),
    ],
    ids=lambda data: type(data).__module__ + "." + type(data).__name__,
)
def test_any_arrow_data(data):
    statement = "SELECT COUNT(*), MAX(a.artist) FROM a JOIN a AS b USING (artist_id)"
    assert segue.sql(statement, tables={"a": data}).fetchall() == [(10, "artist 9")]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["d=2024-01-01", "d=2024-12-31"], [dt.date(2024, 1, 1), dt.date(2024, 12, 31)]),
        (["d=2024-01-01", "d=2024-13-01"], ["2024-01-01", "2024-13-01"]),
        (["d=1", "d=-20"], [1, -20]),
        (["d=1", "d=x"], ["1", "x"]),
        (["d=1", "d=__HIVE_DEFAULT_PARTITION__"], [1, None]),
        (["d=a%20b", "d=%C3%A9"], ["a b", "é"]),
        (["d=2024-01-01 10%3A00%3A00", "d=x"], ["2024-01-01 10:00:00", "x"]),
        (["d=1.5", "d=2"], ["1.5", "2"]),
    ],
)
def test_partition_types(tmp_path, folders, expected):
    for i, folder in enumerate(folders):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"n": [i]}), tmp_path / folder / "x.parquet")
    for statement in ("SELECT d FROM t ORDER BY n", "SELECT d FROM t GROUP BY d, n ORDER BY n"):
        assert segue.sql(statement, tables={"t": tmp_path}).to_arrow().column(0).to_pylist() == expected


def test_two_partition_columns(tmp_path):
    for year in (2023, 2024):
        for kind in ("a", "b"):
            folder = tmp_path / f"year={year}" / f"kind={kind}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"n": range(year - 2020)}), folder / "x.parquet")
    statement = "SELECT year, kind, COUNT(*) AS n FROM t WHERE year > 2023 AND kind <> 'a' GROUP BY ALL"
    result = segue.sql(statement, tables={"t": tmp_path}, strict=True)
    assert result.fetchall() == [(2024, "b", 4)]
    assert result.metrics.files_pruned == 3


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "x.parquet"
    for rows in (3, 5):
        pq.write_table(pa.table({"n": range(rows)}), path)
        assert segue.sql("SELECT COUNT(*) FROM t", tables={"t": path}).fetchall() == [(rows,)]


def test_other_files_stay_out_of_reach(tmp_path):
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        pq.write_table(pa.table({"n": [1]}), folder / "x.parquet")
    with pytest.raises(QueryError, match="disabled by configuration"):
        segue.sql(
            f"SELECT * FROM t, read_parquet('{tmp_path / 'x.parquet'}')",
            tables={"t": tmp_path / "in" / "x.parquet"},
        )


def test_unusable_tables(tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    pq.write_table(pa.table({"n": [1]}), good / "a.parquet")

    def sql(data):
        return segue.sql("SELECT * FROM t", tables={"t": data})

    with pytest.raises(StorageError, match=r"no Parquet file matches .*\*\.parquet"):
        sql(f"{tmp_path}/none/*.parquet")
    with pytest.raises(InvalidError, match="is a int"):
        sql(5)
    with pytest.raises(QueryError, match="only local"):
        sql("s3://bucket/x.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(CorruptionError, match="not a Parquet file") as caught:
        sql(tmp_path / "bad.parquet")
    assert caught.value.path == str(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"n": ["x"]}), good / "b.parquet")
    with pytest.raises(SchemaError, match="n is string in") as caught_schema:
        sql(good)
    assert caught_schema.value.column == "n"
    pq.write_table(pa.table({"m": [1]}), good / "b.parquet")
    with pytest.raises(SchemaError, match="no column n"):
        sql(good)
    pq.write_table(pa.table({"n": [1], "m": [1]}), good / "b.parquet")
    with pytest.raises(SchemaError, match="the column m"):
        sql(good)
    os.remove(good / "b.parquet")
    (good / "k=1").mkdir()
    pq.write_table(pa.table({"n": [1]}), good / "k=1" / "c.parquet")
    with pytest.raises(QueryError, match="partitioned by"):
        sql(good)
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    with pytest.raises(QueryError, match="Delta table"):
        sql(tmp_path / "delta")


def test_no_tables_at_all():
    assert segue.sql("SELECT 40 + 2").fetchall() == [(42,)]
    with pytest.raises(QueryError, match="none yet"):
        segue.sql("SELECT * FROM t")
