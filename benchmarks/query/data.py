"""The star schema, made once and cached: our warehouse, files of another writer, a DuckDB table.

Everything comes from :mod:`segue.datagen`: 31 days of plays, joined to their songs by our own pipeline.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from benchmarks import workloads
from benchmarks.harness import ROOT

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = 31
BATCH_ROWS = 64_000
RUN_ROWS = 100_000_000
"""Events that the store holds at the most; a run takes them, and they expire."""


def options(rows: int):
    """Dimensions of the targets from ten million facts on; smaller ones for less."""
    from segue import datagen

    if rows >= 10_000_000:
        return datagen.Plays(days=DAYS)
    return datagen.Plays(users=1_000_000, songs=100_000, artists=10_000, days=DAYS)


def _cached(name: str, rows: int, make: Callable[[Path], None]) -> Path:
    """Directory of that content, whole or not there."""
    import segue
    from segue import datagen, parquet_output

    # What other rows, or another layout of our files, would come from.
    modules = inspect.getmodule(_cached), parquet_output
    source = "".join(map(inspect.getsource, modules)) + f"{datagen.GENERATOR_VERSION} {segue.__version__}"
    version = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    target = workloads.cache_directory() / f"{name}-{rows}-{version}"
    if not target.exists():
        unfinished = target.with_name(target.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        make(unfinished)
        unfinished.rename(target)
    return target


def warehouse(rows: int, run_rows: int = RUN_ROWS) -> Path:
    """A Segue database whose pipeline wrote `rows` facts; its folder ``dimensions`` has them as Parquet.

    A pipeline run takes at most `run_rows` events, which then expire, so that the store stays small.
    """

    def make(directory: Path) -> None:
        import segue
        from segue import datagen

        plays = options(rows)
        dimensions = {"dim_songs": datagen.dim_songs(plays), "dim_artists": datagen.dim_artists(plays)}
        with segue.open(directory / "music", durability="os") as db:
            listens = db.create_events("listens", datagen.PLAYS_SCHEMA, key="user_id", time="timestamp")
            db.put_dimension("dim_songs", dimensions["dim_songs"], key="song_id")
            db.put_dimension("dim_artists", dimensions["dim_artists"], key="artist_id")
            job = (
                db.pipeline("listens")
                .repartition(64, "user_id")
                .join(segue.broadcast("dim_songs"), on="song_id", columns=list(datagen.SONG_COLUMNS))
                .sort_within_partitions("timestamp")
                .write("fact_plays", partition_by="date")
            )
            written = 0
            for run in _runs(datagen.plays(rows, plays, batch_rows=BATCH_ROWS, threads=2), run_rows):
                for batch in run:
                    listens.append_batch(batch)
                written += job.run().rows_out
                listens.expire(before=plays.end + timedelta(days=1))  # makes room for what comes
            if written != rows:
                raise AssertionError(f"{rows} plays gave {written} facts")
        (directory / "dimensions").mkdir()
        for name, table in dimensions.items():
            pq.write_table(table, directory / "dimensions" / f"{name}.parquet", compression="zstd")

    return _cached("warehouse", rows, make)


def _runs(batches: Iterator[pa.RecordBatch], run_rows: int) -> Iterator[Iterator[Any]]:
    """Batches in runs of `run_rows`; each run is to be read to its end."""
    for first in batches:
        rest = itertools.islice(batches, max(run_rows // BATCH_ROWS - 1, 0))
        yield itertools.chain([first], rest)


def facts_of(database: Path) -> Path:
    """The fact table's folder in a database of :func:`warehouse`: ``date=.../*.parquet``."""
    return database / "music" / "warehouse" / "fact_plays"


def foreign(rows: int) -> Path:
    """The same facts, written by DuckDB as zstd Parquet with a folder a day."""
    source = facts_of(warehouse(rows))

    def make(directory: Path) -> None:
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("SET threads = 1")  # one file a day
            connection.execute(
                f"COPY (SELECT * FROM read_parquet('{source}/**/*.parquet', hive_partitioning = true)) "
                f"TO '{directory / 'facts'}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date))"
            )

    return _cached("foreign", rows, make) / "facts"


def mergetree(rows: int) -> Path:
    """The same facts and dimensions in MergeTree tables."""
    database, source = warehouse(rows), foreign(rows)

    def make(directory: Path) -> None:
        arguments = [str(directory / "store"), str(source), str(database / "dimensions")]
        command = [sys.executable, "-m", "benchmarks.query.mergetree", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")

    return _cached("mergetree", rows, make) / "store"


def duckdb_file(rows: int) -> Path:
    """The same facts and dimensions in a DuckDB database file."""
    database = warehouse(rows)

    def make(directory: Path) -> None:
        import duckdb

        with duckdb.connect(str(directory / "facts.duckdb")) as connection:
            files = f"{facts_of(database)}/**/*.parquet"
            connection.execute(
                f"CREATE TABLE fact_plays AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)"
            )
            for name in ("dim_songs", "dim_artists"):
                file = database / "dimensions" / f"{name}.parquet"
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{file}')")

    return _cached("duckdb", rows, make) / "facts.duckdb"
