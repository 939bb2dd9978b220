"""Generated statements: whatever is recognised has DuckDB's names, types and rows."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FACT_KEYS = ["f.country", "f.user_id", "f.skipped", "f.artist_id", "f.date", "f.score"]
DIMENSIONS = {
    "JOIN dim_artists a ON f.artist_id = a.artist_id": ["a.artist", "a.genre", "a.artist_id"],
    "JOIN dim_countries c ON c.code = f.country": ["c.name", "c.code"],
    "JOIN dim_artists u ON f.user_id = u.artist_id": ["u.artist", "u.genre"],
}
PREDICATES = [
    "f.date >= '2024-01-01'",
    "f.date < DATE '2024-01-03'",
    "f.date BETWEEN '2023-12-31' AND '2024-01-01'",
    "NOT f.date = '2024-01-02'",
    "f.date IN ('2023-12-30', '2024-01-02')",
    "(f.date = '2024-01-01' OR f.date > '2024-01-02')",
    "f.date IS NOT NULL",
    "extract(day FROM f.date) % 2 = 1",
    "f.date + INTERVAL 1 DAY > '2024-01-01'",
    "CAST(f.date AS VARCHAR) LIKE '2024%'",
    "1 < 2",
]
DIMENSION_PREDICATES = {
    "a": [
        "a.genre = 'pop'",
        "a.artist LIKE 'artist%'",
        "a.artist_id > 3",
        "lower(a.genre) <> 'rock'",
        "a.artist IS NULL",
    ],
    "c": ["c.name > 'F'", "c.code IN ('SE', 'NO')"],
    "u": ["u.genre IS NOT NULL", "u.artist_id BETWEEN 2 AND 8"],
}
ITEMS = [
    "COUNT(*)",
    "COUNT(*) AS n",
    "COUNT(1) * 3 - 1 AS m",
    "COUNT(*) / 7.0 AS ratio",
    "CASE WHEN COUNT(*) > 5 THEN 'many' END AS word",
    "SUM(COUNT(*)) OVER () AS total",
    "rank() OVER (ORDER BY COUNT(*) DESC) AS place",
    "42 AS answer",
]
HAVING = ["COUNT(*) > 3", "COUNT(*) % 2 = 0 AND COUNT(*) < 100", "NOT COUNT(*) IS NULL"]


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, bool]:
    joins = draw(st.lists(st.sampled_from(list(DIMENSIONS)), unique=True, max_size=3))
    available = FACT_KEYS + [key for join in joins for key in DIMENSIONS[join]]
    keys = draw(st.lists(st.sampled_from(available), unique=True, max_size=4))
    conjuncts = draw(st.lists(st.sampled_from(PREDICATES), max_size=2))
    for join in joins:
        alias = join.split()[2]
        conjuncts += draw(st.lists(st.sampled_from(DIMENSION_PREDICATES[alias]), max_size=1))
    items = draw(st.lists(st.sampled_from(ITEMS), unique=True, min_size=1, max_size=3))
    if not keys and not any("COUNT" in item and "OVER" not in item for item in items):
        items.insert(0, "COUNT(*)")
    shown = draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
    statement = (
        f"SELECT {', '.join(draw(st.permutations(shown + items)))} FROM fact_plays f {' '.join(joins)}"
    )
    if conjuncts:
        statement += f" WHERE {' AND '.join(conjuncts)}"
    if keys:
        statement += f" GROUP BY {', '.join(keys)}"
    if draw(st.booleans()):
        statement += f" HAVING {draw(st.sampled_from(HAVING))}"
    ordered = bool(keys) and draw(st.booleans())
    if ordered:
        terms = [
            key + draw(st.sampled_from(["", " DESC", " NULLS FIRST"])) for key in draw(st.permutations(keys))
        ]
        statement += f" ORDER BY {', '.join(draw(st.sampled_from([['COUNT(*) DESC'], []])) + terms)}"
        if draw(st.booleans()):
            statement += f" LIMIT {draw(st.integers(0, 20))} OFFSET {draw(st.integers(0, 3))}"
    return statement, ordered


@pytest.mark.parametrize("fresh", [False, True])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=statements())
def test_generated_statement_equals_duckdb(run, reference, same, fresh, made):
    statement, ordered = made
    result = run(statement, strict=True, fresh=fresh)
    same(result.to_arrow(), reference(statement, fresh=fresh), ordered=ordered)
