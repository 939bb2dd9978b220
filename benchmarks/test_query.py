"""Act 3: the story's query on the warehouse that the pipeline wrote, beside DuckDB on the same files."""

from __future__ import annotations

import pytest

import segue

QUERY = """
SELECT artist, country, COUNT(*) AS plays
FROM {fact} f
JOIN dim_artists a ON f.artist_id = a.artist_id
WHERE f.date >= '2024-01-01'
GROUP BY artist, country
ORDER BY plays DESC, artist, country
LIMIT 100
"""


@pytest.fixture(scope="module")
def warehouse(database: segue.Database, rows: int) -> segue.Database:
    report = (
        database.pipeline("listens")
        .repartition(64, "user_id")
        .join(segue.broadcast("dim_songs"), on="song_id")
        .sort_within_partitions("timestamp")
        .write("fact_plays", partition_by="date")
        .run()
    )
    assert report.rows_out == rows
    return database


@pytest.fixture(scope="module")
def expected(warehouse: segue.Database) -> list[tuple]:
    return duckdb_answer(warehouse)


def duckdb_answer(db: segue.Database) -> list[tuple]:
    import duckdb

    with duckdb.connect() as peer:
        peer.execute("SET threads = 2")
        peer.register("dim_artists", db.sql("SELECT * FROM dim_artists").to_arrow())
        files = f"read_parquet('{db.path}/warehouse/fact_plays/**/*.parquet', hive_partitioning = true)"
        return peer.execute(QUERY.format(fact=files)).fetchall()


def test_top_artists_by_country(benchmark, warehouse: segue.Database, expected: list[tuple]):
    benchmark.group = "top artists by country"
    result = benchmark(lambda: warehouse.sql(QUERY.format(fact="fact_plays"), strict=True))
    assert result.fetchall() == expected
    assert result.metrics.engine == "native"


def test_top_artists_by_country_duckdb(benchmark, warehouse: segue.Database, expected: list[tuple]):
    benchmark.group = "top artists by country"
    assert benchmark(lambda: duckdb_answer(warehouse)) == expected
