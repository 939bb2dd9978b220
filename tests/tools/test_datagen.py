from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import datagen
from segue.datagen import Plays

SMALL = Plays(users=5_000, songs=2_000, artists=100, days=3, seed=3)


def test_same_options_give_the_same_rows_and_another_seed_others() -> None:
    one = datagen.plays_table(150_000, SMALL)
    assert one.equals(datagen.plays_table(150_000, SMALL))
    other = datagen.plays_table(150_000, Plays(users=5_000, songs=2_000, artists=100, days=3, seed=4))
    assert not one["song_id"].equals(other["song_id"])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 200_000), st.integers(1, 150_000))
def test_batch_size_does_not_change_the_rows(n: int, batch_rows: int) -> None:
    batches = list(datagen.plays(n, SMALL, batch_rows=max(batch_rows, n // 50)))
    sizes = [batch.num_rows for batch in batches]
    assert all(size == max(batch_rows, n // 50) for size in sizes[:-1])
    assert sum(sizes) == n
    joined = pa.Table.from_batches(batches).combine_chunks()
    assert joined.equals(datagen.plays_table(n, SMALL).combine_chunks())


def test_values_are_in_range_and_valid() -> None:
    table = datagen.plays_table(200_000, SMALL)
    table.validate(full=True)
    assert table.schema.equals(datagen.PLAYS_SCHEMA)
    assert all(column.null_count == 0 for column in table.columns)
    for name, top in (("user_id", 5_000), ("song_id", 2_000), ("ms_played", 300_000)):
        bounds = pc.min_max(table[name]).as_py()
        assert 0 <= bounds["min"] < bounds["max"] < top
    bounds = pc.min_max(table["timestamp"]).as_py()
    assert dt.datetime(2024, 1, 1) <= bounds["min"] < bounds["max"] < dt.datetime(2024, 1, 4)
    assert len(pc.unique(table["timestamp"].cast(pa.date32()))) == 3
    assert len(pc.unique(table["country"])) == 180
    assert len(pc.unique(table["device"])) == 8


def test_skew() -> None:
    table = datagen.plays_table(200_000, SMALL)

    def shares(name: str) -> np.ndarray:
        counts = pc.value_counts(table[name]).field("counts").to_numpy()
        return np.sort(counts)[::-1] / table.num_rows

    songs = shares("song_id")
    # Zipf with exponent 1 over 2000: rank r has 1/(r H), H = ln 2000 + 0.577.
    assert songs[0] == pytest.approx(
        np.log(2) / np.log(2001), rel=0.05
    )  # continuous law, first unit interval
    assert songs[:100].sum() == pytest.approx(np.log(101) / np.log(2001), rel=0.02)
    assert shares("country")[0] > 0.15
    assert shares("user_id")[0] < 0.02


def test_a_user_stays_in_one_country() -> None:
    table = datagen.plays_table(50_000, SMALL)
    pairs = table.group_by(["user_id", "country"]).aggregate([])
    assert pairs.num_rows == len(pc.unique(table["user_id"]))
    cities = table.group_by(["city", "country"]).aggregate([]).to_pylist()
    assert all(row["city"].startswith(row["country"] + "-") for row in cities)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_late_share(share: float) -> None:
    table = datagen.plays_table(100_000, Plays(users=100, songs=10, artists=3, days=10, late_share=share))
    times = table["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    latest_before = np.maximum.accumulate(times)
    behind = (latest_before - times) > 3_600_000_000
    # The delay is squared uniform over two days: one in seven is under an hour.
    assert behind.mean() == pytest.approx(share * (1 - np.sqrt(1 / 48)), abs=0.01)


def test_dimensions_know_every_song_and_artist() -> None:
    songs, artists = datagen.dim_songs(SMALL), datagen.dim_artists(SMALL)
    assert songs["song_id"].to_pylist() == list(range(2_000))
    assert artists["artist_id"].to_pylist() == list(range(100))
    assert pc.max(songs["artist_id"]).as_py() < 100
    assert pc.all(pc.is_in(pc.unique(songs["artist_id"]), artists["artist_id"])).as_py()
    assert set(datagen.SONG_COLUMNS) < set(songs.column_names)
    # Event columns, joined columns and `date`: the 20 columns of the fact table.
    assert len(datagen.PLAYS_SCHEMA) + len(datagen.SONG_COLUMNS) + 1 == 20
    albums = songs.group_by(["album_id", "artist_id"]).aggregate([])
    assert albums.num_rows == len(pc.unique(songs["album_id"]))


def test_artist_names_are_distinct_even_when_the_words_run_out() -> None:
    names = datagen.dim_artists(Plays(artists=250_000))["artist"]
    assert pc.count_distinct(names).as_py() == 250_000


@pytest.mark.parametrize(
    ("make", "schema", "dimension", "key"),
    [
        (datagen.readings, datagen.READINGS_SCHEMA, datagen.dim_sensors, "sensor"),
        (datagen.trades, datagen.TRADES_SCHEMA, datagen.dim_symbols, "symbol"),
    ],
)
def test_other_schemas(make: object, schema: pa.Schema, dimension: object, key: str) -> None:
    table = pa.Table.from_batches(list(make(100_000, batch_rows=7_000)), schema)  # type: ignore[operator]
    table.validate(full=True)
    assert table.num_rows == 100_000
    again = pa.Table.from_batches(list(make(100_000)), schema)  # type: ignore[operator]
    for column, same in zip(table.columns, again.columns, strict=True):
        if pa.types.is_floating(column.type):  # NaN equals itself here
            column, same = (pc.if_else(pc.is_nan(values), 1e9, values) for values in (column, same))
        assert column.combine_chunks().equals(same.combine_chunks())
    dim = dimension()  # type: ignore[operator]
    assert pc.all(pc.is_in(table[key].combine_chunks(), dim[key].combine_chunks())).as_py()
    assert pc.count_distinct(dim[key]).as_py() == dim.num_rows
    for field in schema:
        if not field.nullable:
            assert table[field.name].null_count == 0


def test_readings_have_nulls_nan_and_negative_zero() -> None:
    table = pa.Table.from_batches(list(datagen.readings(50_000)))
    assert all(table[name].null_count > 0 for name in ("value", "ok", "unit", "note", "battery"))
    values = table["value"].drop_null().to_numpy()
    assert np.isnan(values).any()
    assert (np.signbit(values) & (values == 0)).any()


@pytest.mark.parametrize(
    "options", [{"users": 0}, {"countries": 181}, {"devices": 9}, {"late_share": 1.5}, {"days": 0}]
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Plays(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_rows=0"):
        next(datagen.plays(10, batch_rows=0))
