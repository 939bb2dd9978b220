"""Loads the facts and dimensions into a ClickHouse database of its own; a process has one session at most.

``python -m benchmarks.query.mergetree DIRECTORY FACTS DIMENSIONS``
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.query.engines import DIMENSIONS

# Nothing is NULL in these files, and nullable columns cost ClickHouse time.
SETTINGS = "SETTINGS use_hive_partitioning = 1, schema_inference_make_columns_nullable = 0"


def load(directory: str, facts: str, dimensions: str) -> None:
    from chdb import session

    opened = session.Session(directory)
    opened.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
    # In the order of the columns that the story's query reads, as ClickHouse's guide to keys recommends.
    opened.query(
        "CREATE TABLE bench.fact_plays ENGINE = MergeTree PARTITION BY date ORDER BY (country, artist_id) "
        f"AS SELECT * FROM file('{facts}/**/*.parquet', Parquet) {SETTINGS}"
    )
    for name in DIMENSIONS:
        file = Path(dimensions) / f"{name}.parquet"
        opened.query(
            f"CREATE TABLE bench.{name} ENGINE = MergeTree ORDER BY tuple() "
            f"AS SELECT * FROM file('{file}', Parquet) {SETTINGS}"
        )
    opened.close()


if __name__ == "__main__":
    load(*sys.argv[1:])
