"""INSERT INTO an event table: rows in the table's own types, or a refusal that says why."""

from __future__ import annotations

import datetime as dt

import pytest

from segue import query
from segue.errors import QueryError, SchemaError


class Sink:
    def __init__(self):
        self.rows = []
        self.calls = []

    def __call__(self, table, columns, rows):
        self.calls.append((table, list(columns), rows.schema))
        first = len(self.rows) + 1
        self.rows += rows.to_pylist()
        return first, len(self.rows)


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def insert(lake, sink):
    def call(statement, **options):
        return query.run(statement, lake.resolve, names=lake.names, insert=sink, **options)

    return call


def test_story_click_word_for_word(lake, insert, sink):
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    result = insert("INSERT INTO listens (user_id, song_id, timestamp) VALUES (123456, 789, NOW());")
    after = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    (row,) = sink.rows
    assert (row["user_id"], row["song_id"], row["device"]) == (123456, 789, None)
    assert before <= row["timestamp"] <= after
    assert sink.calls[0] == (
        "listens",
        lake.relations["listens"].schema.names,
        lake.relations["listens"].schema,
    )
    assert (result.metrics.rows, result.metrics.first_sequence, result.metrics.last_sequence) == (1, 1, 1)
    assert result.fetchall() == [(1,)]


def test_values_expressions_and_order(insert, sink):
    insert(
        "INSERT INTO main.listens (timestamp, user_id, device) VALUES "
        "('2024-01-01 10:00:00', 1 + 1, upper('web')), (TIMESTAMP '2024-01-02', 3, NULL), "
        "(make_timestamp(0), 4, 'x')"
    )
    assert [row["user_id"] for row in sink.rows] == [2, 3, 4]
    assert [row["device"] for row in sink.rows] == ["WEB", None, "x"]
    assert sink.rows[0]["timestamp"] == dt.datetime(2024, 1, 1, 10)


def test_all_columns_without_a_list(insert, sink):
    insert("insert into Listens values (1, 2, current_timestamp, 'phone')")
    assert sink.rows[0]["device"] == "phone"


def test_select_from_the_same_table(insert, sink):
    result = insert(
        "INSERT INTO listens SELECT user_id + 100, song_id, timestamp, device FROM listens WHERE user_id < 3"
    )
    assert sorted(row["user_id"] for row in sink.rows) == [100, 101, 102]
    assert result.metrics.rows == 3


def test_select_from_a_dimension_by_name(insert, sink):
    insert("INSERT INTO listens BY NAME SELECT NOW() AS timestamp, artist_id AS user_id FROM dim_artists")
    assert len(sink.rows) == 10


def test_with_before_the_select(insert, sink):
    insert("INSERT INTO listens WITH few AS (SELECT 7 AS u) SELECT u, 1, NOW(), 'x' FROM few")
    assert sink.rows[0]["user_id"] == 7


def test_nothing_selected_inserts_nothing(insert, sink):
    result = insert("INSERT INTO listens SELECT * FROM listens WHERE FALSE")
    assert result.metrics.rows == 0
    assert result.metrics.first_sequence is None
    assert sink.calls == []


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("INSERT INTO listens (song_id) VALUES (1)", SchemaError, "user_id takes no NULL"),
        (
            "INSERT INTO listens (user_id, timestamp) VALUES (NULL, NOW())",
            SchemaError,
            "user_id takes no NULL",
        ),
        ("INSERT INTO listens (user_id, timestamp) VALUES ('x', NOW())", QueryError, "'x' to INT64"),
        ("INSERT INTO listens (user_id, timestamp) VALUES (1, 'noon')", QueryError, "noon"),
        (
            "INSERT INTO listens (user_id, song_id, timestamp) VALUES (1, 5000000000, NOW())",
            QueryError,
            "5000000000",
        ),
        (
            "INSERT INTO listens (user_id, timestamp, nope) VALUES (1, NOW(), 2)",
            QueryError,
            '"listens".*nope',
        ),
        ("INSERT INTO listens (user_id, timestamp) VALUES (1)", QueryError, "2"),
        ("INSERT INTO nowhere VALUES (1)", QueryError, "no table nowhere"),
        ("INSERT INTO fact_plays (user_id) VALUES (1)", QueryError, "run the pipeline"),
        ("INSERT INTO dim_artists VALUES (1, 'x', 'y')", QueryError, "put_dimension"),
        ("INSERT OR REPLACE INTO listens VALUES (1, 2, NOW(), 'x')", QueryError, "overwrite"),
        ("INSERT INTO listens VALUES (1, 2, NOW(), 'x') ON CONFLICT DO NOTHING", QueryError, "overwrite"),
        ("INSERT INTO listens VALUES (1, 2, NOW(), 'x') RETURNING *", QueryError, "first_sequence"),
        ("INSERT INTO listens SELECT * FROM nowhere", QueryError, "no table nowhere"),
        ("INSERT INTO listens SELECT * FROM read_csv('/etc/passwd')", QueryError, "/etc/passwd"),
    ],
)
def test_refusal_names_the_fault(insert, sink, statement, error, message):
    with pytest.raises(error, match=message):
        insert(statement)
    assert sink.rows == []


def test_only_the_column_is_at_fault(insert):
    with pytest.raises(SchemaError) as caught:
        insert("INSERT INTO listens (song_id, timestamp) VALUES (1, NOW())")
    assert caught.value.column == "user_id"
