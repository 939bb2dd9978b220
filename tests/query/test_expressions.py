"""Every kind of expression over groups and counts, and in a partition predicate: as DuckDB has it."""

from __future__ import annotations

import pathlib

import duckdb
import pytest

from segue.errors import QueryError

EXPRESSIONS = pathlib.Path(__file__).with_name("expressions.txt").read_text().splitlines()
ON_DATES = [
    e for e in EXPRESSIONS if "date" in e and not any(word in e for word in ("country", "COUNT", "max"))
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_over_groups(run, reference, same, expression):
    window = " WINDOW w AS (PARTITION BY country ORDER BY date)" if expression.endswith("OVER w") else ""
    check(
        run,
        reference,
        same,
        f"SELECT country, date, {expression} FROM fact_plays GROUP BY country, date{window}",
    )
    if "OVER" not in expression:
        rest = f"HAVING {expression} ORDER BY {expression}, date, country"
        check(run, reference, same, f"SELECT date FROM fact_plays GROUP BY date, country {rest}", True)


@pytest.mark.parametrize("expression", ON_DATES)
def test_expression_in_a_predicate(run, reference, same, expression):
    for predicate in (expression, f"({expression})::VARCHAR > '2'"):
        check(
            run,
            reference,
            same,
            f"SELECT country, COUNT(*) FROM fact_plays WHERE {predicate} GROUP BY country",
        )


def check(run, reference, same, statement, ordered=False):
    """The same rows or an error on both sides."""
    try:
        expected = reference(statement)
    except duckdb.Error:
        with pytest.raises(QueryError):
            run(statement)
        return
    same(run(statement).to_arrow(), expected, ordered=ordered)
