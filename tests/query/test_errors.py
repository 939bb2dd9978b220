"""Statements that are refused, and what the refusal says."""

from __future__ import annotations

import pytest

from segue import query
from segue.errors import BudgetError, InvalidError, QueryError

REFUSED = {
    "": "empty",
    "-- nothing": "empty",
    "SELECT 1; SELECT 2": "one statement at a time",
    "SELEC 1": r'near "SELEC" \(line 1, column 1\)',
    "SELECT country,\n  FORM fact_plays WHERE": r"line 2",
    "SELECT 1 FROM nope": r"no table nope .*tables: dim_artists, .*listens",
    "SELECT 1 FROM fact_play": "did you mean fact_plays",
    "SELECT 1 FROM other.fact_plays": "write fact_plays",
    "SELECT artst, COUNT(*) FROM fact_plays JOIN dim_artists USING (artist_id)": r'"artst" not.*\n.*"artist"',
    "SELECT countri, COUNT(*) FROM fact_plays GROUP BY countri": r'"countri" not found.*\n.*"country"',
    "SELECT user_idd FROM listens": r'"user_idd" not found.*\n.*"user_id"',
    "SELECT COUNT(*) FROM fact_plays f, dim_artists a WHERE artist_id = a.artist_id": "mbiguous",
    "SELECT country, COUNT(*) FROM fact_plays": "GROUP BY",
    "SELECT country, COUNT(*) FROM fact_plays GROUP BY 3": "GROUP BY",
    "SELECT COUNT(*) FROM fact_plays WHERE date > 'yesterday'": "yesterday",
    "SELECT * FROM read_csv('/etc/passwd')": "/etc/passwd",
    "SELECT * FROM read_parquet('/tmp/x.parquet')": "disabled by configuration",
    "SELECT * FROM '/etc/passwd'": "no table /etc/passwd",
    "SELECT content FROM read_text('/etc/hostname')": "disabled by configuration",
    "SELECT * FROM glob('/etc/*')": r"disabled by configuration.*tables=\{name: path\}",
    "COPY fact_plays TO '/tmp/out.parquet'": "to_arrow",
    "ATTACH '/tmp/x.db'": r"segue\.sql",
    "CREATE TABLE x (a INT)": "create_events",
    "DROP TABLE listens": r"db\.drop",
    "PRAGMA version": "threads=",
    "SET threads = 1": "threads=",
    "UPDATE listens SET user_id = 1": "never overwritten",
    "DELETE FROM listens": "expire",
    "EXPLAIN SELECT 1": "explain",
    "INSTALL httpfs": "extensions",
    "BEGIN": "snapshot",
    "INSERT INTO listens VALUES (1)": r"segue\.open",
    "PIVOT listens ON device USING COUNT(*)": r"IN \(",
    "SELECT ?": "parameter",
    "SELECT country, COUNT(*) FROM fact_plays f WHERE f.dat > '2024' GROUP BY 1": 'Table "f".*"dat"',
}


@pytest.mark.parametrize(("statement", "message"), REFUSED.items())
def test_refusal_teaches(run, statement, message):
    with pytest.raises(QueryError, match=message) as caught:
        run(statement)
    assert isinstance(caught.value, ValueError)
    assert '{"' not in str(caught.value)  # no JSON of DuckDB's shines through


@pytest.mark.parametrize(
    "statement", ["SELECT 1 FROM nope", "SELEC 1", "SELECT artst FROM dim_artists", "DROP TABLE x"]
)
def test_explain_refuses_what_run_refuses(lake, statement):
    with pytest.raises(QueryError):
        query.explain(statement, lake.resolve, names=lake.names)


def test_a_refused_statement_leaves_the_next_one_alone(run):
    for _ in range(3):
        with pytest.raises(QueryError):
            run("SELECT artst FROM dim_artists")
        assert run("SELECT COUNT(*) FROM dim_artists").fetchall() == [(10,)]


def test_neither_text_nor_number(run):
    with pytest.raises(QueryError, match="int"):
        run(1)
    for threads in (0, "2"):
        with pytest.raises(QueryError, match="threads="):
            run("SELECT 1", threads=threads)


def test_memory_bound_is_kept_and_named(run):
    statement = "SELECT length(string_agg(repeat('x', 1000))) FROM range(300000)"
    with pytest.raises(BudgetError, match="memory"):
        run(statement, memory="40MiB")
    assert run("SELECT 1", memory="40MiB").fetchall() == [(1,)]
    assert len(run(statement)) == 1
    with pytest.raises(BudgetError, match=r"memory='1KiB' is too small; the minimum is 16 MiB"):
        run("SELECT 1", memory="1KiB")
    for memory in ("lots", 5.5):
        with pytest.raises(InvalidError, match="is no size"):
            run("SELECT 1", memory=memory)


def test_caller_variables_are_not_tables(run):
    local_table = {"a": [1]}
    with pytest.raises(QueryError, match="no table local_table"):
        run("SELECT * FROM local_table")
    assert local_table


def test_threads_hold_for_the_call_only(run):
    def threads(**options):
        return run("SELECT current_setting('threads')::INT", **options).fetchall()[0][0]

    default = threads()
    assert threads(threads=1) == 1
    assert threads() == default
