"""The forms in which rows leave: Arrow, pandas, Polars, Python, text, HTML."""

from __future__ import annotations

import datetime as dt
import json

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from segue import query

STATEMENT = "SELECT country, COUNT(*) AS n FROM fact_plays GROUP BY country ORDER BY n DESC, country"


@pytest.fixture
def result(run):
    return run(STATEMENT)


def test_every_form_holds_the_same_rows(result):
    rows = result.fetchall()
    assert len(rows) == len(result) == 6
    assert list(result) == rows
    assert [tuple(row.values()) for row in result.to_arrow().to_pylist()] == rows
    assert result.to_polars().rows() == rows
    assert pl.DataFrame(result).rows() == rows
    assert pa.table(result).equals(result.to_arrow())
    assert pa.schema(result) == result.to_arrow().schema
    frame = result.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert [(None if pd.isna(a) else a, b) for a, b in frame.itertuples(index=False)] == rows


def test_types_are_named_as_duckdb_names_them(result):
    assert result.columns == ["country", "n"]
    assert result.types == ("VARCHAR", "BIGINT")


def test_python_values(run):
    (row,) = run(
        "SELECT SUM(user_id), 1.50::DECIMAL(9, 2), DATE '2024-02-29', TIMESTAMP '2024-02-29 01:02:03', NULL, "
        "true, [1, 2], {'a': 1}, TIMESTAMPTZ '2024-01-01 00:00:00+02' FROM listens"
    ).fetchall()
    assert row[0] == 190
    assert isinstance(row[0], int)
    assert str(row[1]) == "1.50"
    assert row[2:8] == (dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3), None, True, [1, 2], {"a": 1})
    assert row[8] == dt.datetime(2023, 12, 31, 22, tzinfo=dt.UTC)


def test_text_is_a_small_table(result, run):
    lines = repr(result).splitlines()
    assert lines[0].split() == ["country", "n"]
    assert any(line.startswith("NULL") for line in lines)
    assert lines[-1].startswith("(6 rows, native, ")
    long = repr(run("SELECT range AS i, repeat('x', 500) AS x FROM range(1000)"))
    assert "... 990 more" in long
    assert max(map(len, long.splitlines())) < 60
    assert repr(run("SELECT 1 AS one")).splitlines()[-1].startswith("(1 row, duckdb, ")


def test_html_is_escaped(run):
    page = run("SELECT '<b>' AS \"<i>\"")._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page


def test_no_rows(run):
    empty = run("SELECT country, COUNT(*) AS n FROM fact_plays WHERE date > '2030-01-01' GROUP BY country")
    assert len(empty) == 0
    assert empty.fetchall() == []
    assert empty.to_arrow().schema.names == ["country", "n"]
    assert "(0 rows" in repr(empty)
    assert empty.metrics.files_read == 0
    assert empty.metrics.files_pruned == 10


def test_metrics_and_plan_are_json(lake, result):
    assert json.loads(json.dumps(result.metrics.to_dict()))["engine"] == "native"
    assert json.loads(json.dumps(result.plan.to_dict()))["native"] is True
    plan = query.explain("SELECT AVG(score) FROM fact_plays", lake.resolve, names=lake.names)
    assert json.loads(json.dumps(plan.to_dict()))["delegated"] == "it has the aggregate AVG(score)"


def test_delegated_plan_shows_duckdbs(lake):
    plan = query.explain("SELECT AVG(score) FROM fact_plays", lake.resolve, names=lake.names)
    assert not plan.native
    assert plan.columns == ("score",)
    assert plan.columns_total == 7
    assert "parquet" in plan.duckdb_plan.casefold()
    assert "AVG(score)" in str(plan)


def test_delegated_metrics_say_what_is_known(run):
    metrics = run("SELECT AVG(score) FROM fact_plays WHERE ms_played > 5").metrics
    assert metrics.engine == "duckdb"
    assert metrics.columns == ("ms_played", "score")
    assert metrics.columns_total == 7
    assert metrics.rows is None
    assert metrics.seconds > 0


def test_show_tables(run, lake):
    assert run("SHOW TABLES;").fetchall() == [(name,) for name in sorted(lake.names())]
