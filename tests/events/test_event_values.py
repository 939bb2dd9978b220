"""What an event table takes: frames and columns of libraries, nulls of no type, numbers of any length."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from segue.errors import InvalidError, SchemaError
from segue.events import Events

CLICKS = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})


@pytest.fixture
def clicks(tmp_path: Path) -> Iterator[Events]:
    with Events.create(tmp_path / "clicks", "clicks", CLICKS, "user", "at", durability="os") as events:
        yield events


def test_a_data_frame_that_was_filtered_sorted_or_joined_is_taken(clicks):
    """Its row numbers are not a range any more, so that pandas hands them over as a column."""
    at = pd.to_datetime([30, 10, 40, 20], unit="us")
    frame = pd.DataFrame({"user": [3, 1, 4, 2], "page": ["c", "a", "d", "b"], "at": at})
    for part in (frame[frame.user > 1], frame.sort_values("user"), pd.concat([frame, frame])):
        assert "__index_level_0__" in pa.RecordBatchReader.from_stream(part).schema.names
        clicks.append_batch(part)
    clicks.append_batch(frame.set_index("user"))  # one with the name of a column is that column
    assert clicks.scan(key=3, columns=["page"]).to_arrow()["page"].to_pylist() == ["c"] * 5
    assert clicks.stats().sequence == 19
    with pytest.raises(SchemaError, match="unknown column 'index'"):
        clicks.append_batch(frame.set_index(pd.Index([5, 7, 8, 1], name="index")))


def test_columns_of_nulls_alone_are_taken_where_nulls_are(clicks):
    """Libraries that see no value give them a type of their own."""
    import polars as pl

    at = pa.array([0, 1], pa.timestamp("us"))
    clicks.append_batch(pa.table({"user": [1, 2], "page": pa.nulls(2), "at": at}))
    clicks.append_batch(pl.DataFrame({"user": [1, 2], "page": [None, None], "at": pl.from_arrow(at)}))
    clicks.append_batch(pd.DataFrame({"user": [1, 2], "page": [None, None], "at": at.to_pandas()}))
    chunks = [pa.record_batch({"user": [n], "page": pa.nulls(1), "at": at[:1]}) for n in (1, 2)]
    clicks.append_batch(pa.Table.from_batches(chunks))
    clicks.append_batch({"user": [1, 2], "page": pa.nulls(2), "at": at})
    for _ in range(2):
        assert clicks.scan(columns=["page"]).to_arrow()["page"].to_pylist() == [None] * 10
        clicks.flush()
    with pytest.raises(SchemaError, match="'user', row 0: null in a column that takes none"):
        clicks.append_batch(pa.table({"user": pa.nulls(2), "at": at}))
    assert clicks.append_batch(pa.table({"user": pa.nulls(0), "at": at[:0]})) == (11, 10)
    with pytest.raises(SchemaError, match="'page' is null, which event tables do not take"):
        Events.create(clicks.path + "2", "t", CLICKS.set(1, pa.field("page", pa.null())), "user", "at")


def test_columns_in_chunks_are_taken(clicks):
    import polars as pl

    pages = pa.chunked_array([["a", None], ["b"]])
    columns = {"user": pl.Series([1, 1, 1]), "page": pages, "at": pa.chunked_array([[0], [1, 2]])}
    clicks.append_batch(columns)
    joined = pd.concat(
        [pd.Series(["a", None], dtype="string[pyarrow]"), pd.Series(["b"], dtype="string[pyarrow]")]
    )
    clicks.append_batch({"user": [1] * 3, "page": joined, "at": [3, 4, 5]})
    clicks.append_batch(
        pa.table({"user": [1] * 3, "page": pages, "at": pa.array([6, 7, 8], pa.timestamp("us"))})
    )
    assert clicks.scan(key=1).to_arrow()["page"].to_pylist() == ["a", None, "b"] * 3
    with pytest.raises(SchemaError, match="column 'user' is int64"):
        clicks.append_batch({**columns, "user": pl.Series([1.5, 1, 1])})


def test_numbers_of_any_length_are_stored_or_refused(tmp_path):
    schema = pa.schema(
        {
            "k": pa.int64(),
            "at": pa.timestamp("us"),
            "d": pa.decimal128(6, 2),
            "f": pa.float64(),
            "g": pa.float32(),
        }
    )
    huge = 10**5000
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os") as events:
        stored = [
            decimal.Decimal(text)
            for text in ("0E+999999999", "-0", "1E3", "1234.5000000", "-0.01", "9999.99")
        ]
        for value in stored:
            events.append(1, 0, value)
        events.append(1, 0, 12)
        assert events.scan(columns=["d"]).to_arrow()["d"].to_pylist() == [*stored, 12]
        for text in ("1E+999999999", "-1E+999999999", "10000", "9999.991", "1E-999999999", "0.001", "1E-3"):
            with pytest.raises(SchemaError, match="'d' is decimal128"):
                events.append(1, 0, decimal.Decimal(text))
        for column, value in (
            ("k", huge),
            ("at", huge),
            ("d", huge),
            ("d", decimal.Decimal(huge)),
            ("f", huge),
        ):
            with pytest.raises(SchemaError, match=f"{column!r} is .* digits|out of range") as error:
                events.append(**{"k": 1, "at": 0, column: value})
            assert len(str(error.value)) < 300
        events.append(1, 0, None, 2**53, 2**24)
        for column, value in (("f", 2**53 + 1), ("g", 2**24 + 1)):
            with pytest.raises(SchemaError, match="give a float to have it rounded"):
                events.append(**{"k": 1, "at": 0, column: value})
        events.append(1, 0, None, float(2**53 + 1), 0.1)
        assert events.stats().sequence == len(stored) + 3
        with pytest.raises(InvalidError, match="since=a number of thousands of digits"):
            events.scan(since=huge)
