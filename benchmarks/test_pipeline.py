"""Act 2: the nightly job beside DuckDB with as many rows out; and its kernels."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import segue
from segue import datagen, kernels

COLUMNS = ["artist_id", "album_id", "genre_id", "label_id", "duration_ms", "release_year", "explicit"]


@pytest.mark.parametrize("threads", [1, 2])
def test_nightly_job(benchmark, database: segue.Database, rows: int, threads: int):
    benchmark.group = "nightly job: partition, join, sort, write, publish"
    count = itertools.count()

    def job():
        return (
            database.pipeline("listens")
            .repartition(64, "user_id")
            .join(segue.broadcast("dim_songs"), on="song_id", columns=COLUMNS)
            .sort_within_partitions("timestamp")
            .write(f"fact_{threads}_{next(count)}", partition_by="date")
        ).run(threads=threads)

    report = benchmark.pedantic(job, rounds=2)
    benchmark.extra_info["events"] = rows
    assert report.rows_out == rows


def test_nightly_job_duckdb(
    benchmark, tmp_path: Path, batches: list[pa.RecordBatch], options: datagen.Plays, rows: int
):
    duckdb = pytest.importorskip("duckdb")
    benchmark.group = "nightly job: partition, join, sort, write, publish"
    plays, songs = pa.Table.from_batches(batches), datagen.dim_songs(options)
    count = itertools.count()

    def job():
        target = tmp_path / str(next(count))
        with duckdb.connect() as db:
            db.execute("SET threads = 2")
            db.register("plays", plays)
            db.register("songs", songs)
            db.execute(
                f"COPY (SELECT p.*, s.* EXCLUDE (song_id, title), CAST(timestamp AS DATE) AS date "
                f"FROM plays p JOIN songs s USING (song_id) ORDER BY hash(user_id) % 64, timestamp) "
                f"TO '{target}' (FORMAT parquet, PARTITION_BY date, COMPRESSION zstd)"
            )
            return db.execute(f"SELECT COUNT(*) FROM '{target}/**/*.parquet'").fetchone()[0]

    assert benchmark.pedantic(job, rounds=2) == rows


@pytest.mark.parametrize("memory", ["64MiB", "1GiB"])
def test_big_sort(benchmark, rows: int, memory: str):
    benchmark.group = "BigSort of (int64 key, 16-byte payload)"
    rng = np.random.default_rng(1)
    table = pa.table({"k": rng.integers(-(2**62), 2**62, rows), "a": np.arange(rows), "b": np.arange(rows)})

    def sort():
        return pa.table(kernels.big_sort(table, ["k"], memory=memory))

    result = benchmark.pedantic(sort, rounds=2)
    assert (np.diff(result["k"].to_numpy()) >= 0).all()
    assert result["a"].to_numpy().sum() == rows * (rows - 1) // 2


def test_hash_partition(benchmark, batches: list[pa.RecordBatch], rows: int):
    benchmark.group = "hash partition"
    table = pa.Table.from_batches(batches).select(["user_id"])
    ids = benchmark(lambda: kernels.hash_partition(table, 64, ["user_id"]))
    assert len(ids) == rows
    assert set(np.unique(ids)) <= set(range(64))
