"""Query engines behind one small interface, each set up as its own documentation recommends.

All read the same files with the same number of threads; dimensions are in memory or in the engine's own
tables before the clock starts, for everybody. An engine gives a statement's whole answer as Python rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

DIMENSIONS = ("dim_songs", "dim_artists")

OPTIONS = {
    "segue": "defaults",
    "duckdb": "a view over read_parquet with hive_partitioning, parquet_metadata_cache on; dimensions in "
    "tables of its own",
    "duckdb native": "facts and dimensions in tables of its own database file",
    "polars": "scan_parquet with hive_partitioning in an SQLContext, streaming engine; ms_played "
    "is cast to 64 bits, as its SUM of 32 bits overflows",
    "datafusion": "register_parquet with the partition column; collect_statistics and pushdown_filters on",
    "chdb": "file('**/*.parquet') with use_hive_partitioning, schema_inference_make_columns_nullable off "
    "(nothing is NULL); dimensions in Memory tables",
    "chdb MergeTree": "facts and dimensions in MergeTree tables of its own, partitioned by date, ordered by "
    "country and artist",
    "pyarrow": "dataset.to_table of the columns and dates wanted, group_by, join of the groups, select_k "
    "before the sort",
}


class Engine(ABC):
    """An engine with the facts and dimensions in reach."""

    @abstractmethod
    def rows(self, statement: str) -> list[tuple[Any, ...]]: ...

    def figures(self) -> dict[str, Any]:
        """What the engine says of the last statement."""
        return {}


class Segue(Engine):
    """The warehouse that Segue's own pipeline wrote."""

    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        import segue

        self._db = segue.open(facts.parents[1], mode="r")
        self._threads = threads

    def run(self, statement: str) -> Any:
        return self._db.sql(statement, threads=self._threads)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        self._result = self.run(statement)
        return self._result.fetchall()

    def figures(self) -> dict[str, Any]:
        metrics = self._result.metrics
        return {"engine": metrics.engine, "bytes_read": metrics.bytes_read}


class SegueFiles(Segue):
    """Files that somebody else wrote."""

    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        self._tables: dict[str, Any] = {
            name: pq.read_table(dimensions / f"{name}.parquet") for name in DIMENSIONS
        }
        self._tables["fact_plays"] = f"{facts}/**/*.parquet"
        self._threads = threads

    def run(self, statement: str) -> Any:
        import segue

        return segue.sql(statement, self._tables, threads=self._threads)


class DuckDB(Engine):
    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        import duckdb

        self._connection = duckdb.connect(config={"threads": threads})
        self._connection.execute("SET parquet_metadata_cache = true")  # footers are kept, as ours are
        self._connection.execute(
            "CREATE VIEW fact_plays AS "
            f"SELECT * FROM read_parquet('{facts}/**/*.parquet', hive_partitioning = true)"
        )
        for name in DIMENSIONS:
            self._connection.execute(
                f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{dimensions / name}.parquet')"
            )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()


class DuckDBNative(DuckDB):
    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        import duckdb

        self._connection = duckdb.connect(str(facts), read_only=True, config={"threads": threads})


class Polars(Engine):
    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        import polars as pl  # POLARS_MAX_THREADS is in the child's environment

        frames: dict[str, Any] = {
            name: pl.read_parquet(dimensions / f"{name}.parquet").lazy() for name in DIMENSIONS
        }
        facts_frame = pl.scan_parquet(f"{facts}/**/*.parquet", hive_partitioning=True)
        frames["fact_plays"] = facts_frame.with_columns(pl.col("ms_played").cast(pl.Int64))
        self._context = pl.SQLContext(frames)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._context.execute(statement).collect(engine="streaming").rows()


class DataFusion(Engine):
    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        import pyarrow as pa
        from datafusion import SessionConfig, SessionContext

        config = (
            SessionConfig({"datafusion.execution.parquet.pushdown_filters": "true"})
            .with_target_partitions(threads)
            .set("datafusion.execution.collect_statistics", "true")
        )
        self._context = SessionContext(config)
        self._context.register_parquet("fact_plays", str(facts), table_partition_cols=[("date", pa.date32())])
        for name in DIMENSIONS:
            table = pq.read_table(dimensions / f"{name}.parquet")
            self._context.register_record_batches(name, [table.to_batches()])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        import pyarrow as pa

        batches = self._context.sql(statement).collect()
        return _rows(pa.Table.from_batches(batches))


class ChDB(Engine):
    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        from chdb import session

        self._session = session.Session()
        self._session.query("CREATE DATABASE bench ENGINE = Atomic; USE bench")
        # Nothing is NULL in these files, and nullable columns cost ClickHouse time.
        self._settings = (
            f"SETTINGS max_threads = {threads}, use_hive_partitioning = 1, "
            "schema_inference_make_columns_nullable = 0"
        )
        for name in DIMENSIONS:
            self._session.query(
                f"CREATE TABLE bench.{name} ENGINE = Memory AS "
                f"SELECT * FROM file('{dimensions / name}.parquet', Parquet) {self._settings}"
            )
        self._facts = f"file('{facts}/**/*.parquet', Parquet)"

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        import io

        import pyarrow as pa

        text = statement.replace("fact_plays", self._facts)
        for name in DIMENSIONS:
            text = text.replace(f"JOIN {name}", f"JOIN bench.{name}")
        answer = self._session.query(f"{text} {self._settings}", "ArrowStream")
        return _rows(pa.ipc.open_stream(io.BytesIO(answer.bytes())).read_all())


class MergeTree(ChDB):
    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        from chdb import session

        self._session = session.Session(str(facts))
        self._settings = f"SETTINGS max_threads = {threads}"
        self._facts = "bench.fact_plays"


class PyArrow(Engine):
    """The story's query alone: pyarrow has no SQL."""

    def __init__(self, facts: Path, dimensions: Path, threads: int) -> None:
        import pyarrow as pa
        import pyarrow.dataset as ds

        pa.set_cpu_count(threads)
        partitioning = ds.partitioning(pa.schema([("date", pa.date32())]), flavor="hive")
        files = [str(file) for file in sorted(facts.glob("date=*/*.parquet"))]  # not the table's log
        self._facts = ds.dataset(
            files, format="parquet", partitioning=partitioning, partition_base_dir=str(facts)
        )
        self._artists = pq.read_table(dimensions / "dim_artists.parquet")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        import datetime as dt

        import pyarrow.compute as pc

        since = pc.field("date") >= pc.scalar(dt.date(2024, 1, 1))
        table = self._facts.to_table(columns=["artist_id", "country"], filter=since)
        groups = table.group_by(["artist_id", "country"]).aggregate([([], "count_all")])
        named = groups.join(self._artists, "artist_id", join_type="inner").select(
            ["artist", "country", "count_all"]
        )
        # Of the groups with the hundred largest counts, ties included; only these are sorted by strings.
        counts = named["count_all"]
        least = pc.min(counts.take(pc.top_k_unstable(counts, 100)))
        order = [("count_all", "descending"), ("artist", "ascending"), ("country", "ascending")]
        top = named.filter(pc.greater_equal(counts, least))
        return _rows(top.sort_by(order).slice(0, 100))


def _rows(table: Any) -> list[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


ENGINES: dict[str, type[Engine]] = {
    "segue": Segue,
    "segue files": SegueFiles,
    "duckdb": DuckDB,
    "duckdb native": DuckDBNative,
    "polars": Polars,
    "datafusion": DataFusion,
    "chdb": ChDB,
    "chdb MergeTree": MergeTree,
    "pyarrow": PyArrow,
}


def open_engine(name: str, facts: str, dimensions: str, threads: int) -> Engine:
    """Open the engine of that name over the facts."""
    return ENGINES[name](Path(facts), Path(dimensions), threads)
