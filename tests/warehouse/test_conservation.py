"""Events appended = rows in the fact table = sum of the counts in a query, for any schema and intake."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import segue

DRAW = random.Random(3)
N = 3000


def times(n: int) -> list[dt.datetime]:
    start = dt.datetime(2023, 12, 30)
    return [start + dt.timedelta(seconds=DRAW.randrange(4 * 86400)) for _ in range(n)]


def plays() -> tuple[pa.Table, list[str], str, str, str, pa.Table]:
    table = pa.table(
        {
            "user_id": pa.array([DRAW.randrange(200) for _ in range(N)], pa.int64()),
            "song_id": pa.array([min(int(DRAW.paretovariate(0.8)), 50) for _ in range(N)], pa.int32()),
            "timestamp": pa.array(times(N), pa.timestamp("us")),
            "country": pa.array([DRAW.choice(["US", "DE", "FR"]) for _ in range(N)]).dictionary_encode(),
        }
    )
    songs = pa.table({"song_id": list(range(51)), "artist": [f"a{i % 9}" for i in range(51)]})
    return table, ["user_id"], "timestamp", "song_id", "artist", songs


def sensors() -> tuple[pa.Table, list[str], str, str, str, pa.Table]:
    table = pa.table(
        {
            "device": pa.array([f"dév-{DRAW.randrange(20)}" for _ in range(N)], pa.string()),
            "at": pa.array(times(N), pa.timestamp("ms", "UTC")),
            "reading": pa.array(
                [DRAW.choice([None, 1.5, -0.0, float("inf")]) for _ in range(N)], pa.float64()
            ),
            "ok": pa.array([DRAW.choice([None, True, False]) for _ in range(N)], pa.bool_()),
            "note": pa.array([DRAW.choice([None, "", "x" * 100]) for _ in range(N)], pa.string()),
        }
    )
    devices = pa.table({"id": [f"dév-{i}" for i in range(20)], "site": [f"s{i % 3}" for i in range(20)]})
    return table, ["device"], "at", "device", "site", devices


def trades() -> tuple[pa.Table, list[str], str, str, str, pa.Table]:
    table = pa.table(
        {
            "venue": pa.array([DRAW.randrange(5) for _ in range(N)], pa.int16()),
            "symbol": pa.array([DRAW.choice("ABC") for _ in range(N)], pa.string()),
            "when": pa.array(times(N), pa.timestamp("us")),
            "quantity": pa.array([DRAW.choice([None, *range(10)]) for _ in range(N)], pa.int8()),
        }
    )
    venues = pa.table({"venue_id": pa.array(range(5), pa.int64()), "name": [f"v{i}" for i in range(5)]})
    return table, ["venue", "symbol"], "when", "venue", "name", venues


INTAKE: dict[str, Callable[[pa.Table], Any]] = {
    "arrow": lambda t: t,
    "pandas": lambda t: pd.DataFrame({c: t[c].to_pandas(types_mapper=pd.ArrowDtype) for c in t.column_names}),
    "polars": lambda t: pl.from_arrow(t),
}


@pytest.mark.parametrize("intake", INTAKE)
@pytest.mark.parametrize("case", [plays, sensors, trades])
@pytest.mark.filterwarnings("ignore::segue.WideningWarning")
def test_counts_are_conserved(tmp_path: Path, case: Callable[[], Any], intake: str) -> None:
    table, key, time, on, attribute, dimension = case()
    with segue.open(tmp_path) as db:
        events = db.create_events("events", table.schema, key=key, time=time)
        db.put_dimension("dim", INTAKE[intake](dimension), key=dimension.column_names[0])
        for start in range(0, N, 1000):
            events.append_batch(INTAKE[intake](table.slice(start, 1000)))
            report = (
                db.pipeline("events")
                .repartition(8, *key)
                .join(segue.broadcast("dim"), on=on)
                .sort_within_partitions(time)
                .write("fact", partition_by="date")
                .run(memory="64MiB")
            )
            assert report.rows_out == report.rows_in == 1000
        files = [f.path for f in db._fact_relation("fact").files]
        assert ds.dataset(files).count_rows() == N
        query = f"SELECT {attribute}, date, COUNT(*) AS n FROM fact GROUP BY ALL ORDER BY ALL"
        ours = db.sql(query).fetchall()
        assert sum(row[2] for row in ours) == N
        pattern = f"{tmp_path}/warehouse/fact/**/*.parquet"
        theirs = duckdb.sql(
            query.replace("FROM fact", f"FROM read_parquet('{pattern}', hive_partitioning=true)")
        )
        assert ours == theirs.fetchall()
        assert db.sql("SELECT COUNT(*) FROM events").fetchall() == [(N,)]

        # Value by value: what was appended is what stands in the files.
        columns = table.column_names
        stored = pa.concat_tables(pq.ParquetFile(f).read() for f in files).select(columns)
        wanted = pa.table({c: table[c].cast(stored.schema.field(c).type) for c in columns})
        assert sorted(map(repr, stored.to_pylist())) == sorted(map(repr, wanted.to_pylist()))
        day = pc.floor_temporal(table[time].cast(pa.timestamp("us")), unit="day").cast(pa.date32())
        assert {row[1] for row in ours} == set(day.to_pylist())
