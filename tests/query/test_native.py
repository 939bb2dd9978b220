"""Statements that the kernels aggregate: same names, types and rows as DuckDB, and native indeed."""

from __future__ import annotations

import pathlib
import re

import pyarrow as pa
import pytest

from segue import query
from segue.errors import QueryError
from segue.relations import ArrowRelation

STORY = """SELECT artist, country, COUNT(*) AS plays
FROM fact_plays f
JOIN dim_artists a ON f.artist_id = a.artist_id -- broadcast (10 MB)
WHERE f.date >= '2024-01-01'
GROUP BY artist, country
ORDER BY plays DESC
LIMIT 100;"""

HERE = pathlib.Path(__file__).parent


def paragraphs(name: str) -> list[str]:
    """The statements of a file, without its heading."""
    return (HERE / name).read_text().strip().split("\n\n")[1:]


NATIVE = paragraphs("native.sql")
DELEGATED = [tuple(p.removeprefix("-- ").split("\n", 1)) for p in paragraphs("delegated.sql")]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("statement", NATIVE)
def test_native_statement_equals_duckdb(lake, statement, fresh, run, reference, same):
    result = run(statement, strict=True, fresh=fresh)
    assert result.plan.native
    assert result.metrics.engine == "native"
    expected = reference(statement, fresh=fresh)
    same(result.to_arrow(), expected, ordered=bool(re.search("ORDER BY (n|2|ALL)", statement)))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("reason", "statement"), DELEGATED)
def test_delegated_statement_equals_duckdb(lake, statement, reason, fresh, run, reference, same):
    result = run(statement, fresh=fresh)
    assert not result.plan.native
    assert result.metrics.engine == "duckdb"
    assert reason.strip("*").casefold() in result.plan.delegated.casefold()
    same(result.to_arrow(), reference(statement, fresh=fresh))
    with pytest.raises(QueryError, match="strict=True"):
        run(statement, strict=True)


def test_story_query_word_for_word(lake, run, reference, same):
    result = run(STORY, strict=True)
    expected = reference(STORY.replace("LIMIT 100", ""))
    same(result.to_arrow(), expected)
    plays = result.to_arrow()["plays"].to_pylist()
    assert plays == sorted(plays, reverse=True)
    metrics = result.metrics
    assert metrics.columns == ("artist_id", "country", "date")
    assert set(metrics.columns_read) == {"artist_id", "country"}
    assert metrics.columns_total == 7
    assert (metrics.files_read, metrics.files_pruned) == (6, 4)
    assert metrics.rows == 900
    plan = query.explain(STORY, lake.resolve, names=lake.names)
    assert plan.native
    assert plan.delegated is None
    assert (plan.files, plan.files_pruned, plan.partitions, plan.partitions_pruned) == (10, 4, 5, 2)
    assert plan.predicate == "date >= '2024-01-01'"
    assert [(j.dimension, j.fact_column, j.key) for j in plan.joins] == [
        ("dim_artists", "artist_id", "artist_id")
    ]
    assert "date >= '2024-01-01'" in str(plan)


def test_limit_cuts_after_the_order(lake, run, reference, same):
    statement = STORY.replace(
        "ORDER BY plays DESC\nLIMIT 100", "ORDER BY plays DESC, artist, country LIMIT 7"
    )
    same(run(statement, strict=True).to_arrow(), reference(statement), ordered=True)


def test_duplicate_dimension_keys_are_delegated_and_right(lake, run, reference, same):
    twice = lake.relations["dim_countries"]
    table = pa.concat_tables([twice.table, twice.table.slice(0, 1)])
    lake.relations["dim_twice"] = ArrowRelation("dim_twice", table, None)
    statement = "SELECT name, COUNT(*) FROM fact_plays JOIN dim_twice ON country = code GROUP BY name"
    result = run(statement)
    assert not result.plan.native
    assert "duplicate" in result.plan.delegated
    assert result.metrics.engine == "duckdb"
    same(result.to_arrow(), reference(statement))


def test_null_dimension_keys_join_nothing(lake, run, reference, same):
    table = pa.table({"code": ["SE", None, "NO"], "name": ["Sweden", "Nowhere", "Norway"]})
    lake.relations["dim_null"] = ArrowRelation("dim_null", table, "code")
    statement = "SELECT name, COUNT(*) FROM fact_plays JOIN dim_null ON country = code GROUP BY name"
    same(run(statement, strict=True).to_arrow(), reference(statement))


def test_join_columns_of_different_types_are_delegated(lake, run, reference, same):
    table = pa.table({"artist_id": ["1", "2", "3"], "artist": ["x", "y", "z"]})
    lake.relations["dim_text"] = ArrowRelation("dim_text", table, "artist_id")
    statement = "SELECT artist, COUNT(*) FROM fact_plays JOIN dim_text USING (artist_id) GROUP BY artist"
    result = run(statement)
    assert "different types" in result.plan.delegated
    same(result.to_arrow(), reference(statement))


def test_fresh_rows_are_counted(lake, run, reference, same):
    assert run("SELECT COUNT(*) FROM fact_plays", fresh=True).fetchall() == [(1540,)]
    assert run("SELECT COUNT(*) FROM fact_plays", fresh=True).metrics.fresh_rows == 40
    assert run("SELECT COUNT(*) FROM fact_plays").metrics.fresh_rows is None
