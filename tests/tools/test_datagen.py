from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
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


def test_facts_are_the_plays_joined_to_their_songs() -> None:
    facts = pa.Table.from_batches(list(datagen.facts(100_000, SMALL, batch_rows=7000, threads=2)))
    facts.validate(full=True)
    assert facts.schema.equals(datagen.FACTS_SCHEMA)
    assert facts.num_columns == 20
    plays = datagen.plays_table(100_000, SMALL)
    assert facts.select(plays.column_names).combine_chunks().equals(plays.combine_chunks())
    songs = datagen.dim_songs(SMALL)
    for name in datagen.SONG_COLUMNS:
        assert facts[name].combine_chunks().equals(songs[name].take(plays["song_id"]).combine_chunks())
    assert facts["date"].combine_chunks().equals(pc.cast(plays["timestamp"], pa.date32()).combine_chunks())


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_the_rows(threads: int) -> None:
    once = pa.Table.from_batches(list(datagen.facts(300_000, SMALL)))
    again = pa.Table.from_batches(list(datagen.facts(300_000, SMALL, threads=threads)))
    assert again.equals(once)


def test_a_stream_made_ahead_may_be_left_early() -> None:
    stream = datagen.facts(2_000_000, SMALL, threads=2)
    assert next(stream).num_rows == 1 << 16
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("datagen")]


def _contents(entry: Path) -> dict[str, bytes]:
    return {str(p.relative_to(entry)): p.read_bytes() for p in sorted(entry.rglob("*")) if p.is_file()}


def _read(entry: Path, file_format: str) -> pa.Table:
    table = ds.dataset(entry, format=file_format, partitioning="hive", exclude_invalid_files=True).to_table()
    return table.sort_by([(name, "ascending") for name in ("timestamp", "user_id", "song_id")])


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_cached_facts_hold_the_rows_of_the_stream_by_date(tmp_path: Path, file_format: str) -> None:
    entry = datagen.cached("facts", 150_000, SMALL, file_format=file_format, directory=tmp_path)
    assert sorted(p.name for p in entry.iterdir()) == [
        "date=2024-01-01",
        "date=2024-01-02",
        "date=2024-01-03",
        "manifest.json",
    ]
    read = _read(entry, file_format)
    made = pa.Table.from_batches(list(datagen.facts(150_000, SMALL))).sort_by(
        [(name, "ascending") for name in ("timestamp", "user_id", "song_id")]
    )
    assert read.num_rows == 150_000
    for name in ("timestamp", "user_id", "artist_id", "explicit", "ms_played"):
        assert read[name].combine_chunks().equals(made[name].combine_chunks()), name
    assert read["date"].cast(pa.string()).to_pylist()[:1] == ["2024-01-01"]
    assert pc.cast(read["city"], pa.string()).equals(pc.cast(made["city"], pa.string()))


def test_files_are_the_same_bytes_in_another_process_with_other_threads(tmp_path: Path) -> None:
    here = datagen.cached("facts", 150_000, SMALL, directory=tmp_path / "here", threads=1)
    script = (
        "from segue import datagen\nimport sys\n"
        f"print(datagen.cached('facts', 150_000, datagen.{SMALL!r}, directory=sys.argv[1], threads=2))"
    ).replace("datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)", "datagen.Plays().start")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "there")], capture_output=True, text=True, check=True
    )
    there = Path(done.stdout.strip())
    assert there.name == here.name
    assert _contents(there) == _contents(here)


@pytest.mark.parametrize(
    ("name", "time"), [("readings", "at"), ("trades", "executed"), ("plays", "timestamp")]
)
def test_any_stream_is_cut_by_the_day_of_its_time(tmp_path: Path, name: str, time: str) -> None:
    entry = datagen.cached(name, 20_000, directory=tmp_path)
    rows = 0
    for file in entry.rglob("*.parquet"):
        days = pc.unique(
            pc.cast(
                pc.floor_temporal(pq.read_table(file, partitioning=None)[time], unit="day"),
                pa.date32(),
                safe=False,
            )
        )
        assert [f"date={day}" for day in days.to_pylist()] == [file.parent.name]
        rows += pq.ParquetFile(file).metadata.num_rows
    assert rows == 20_000


def test_the_cache_is_used_again_and_keyed_by_every_parameter(tmp_path: Path) -> None:
    first = datagen.cached("readings", 2000, directory=tmp_path, sensors=20)
    before = {p: p.stat().st_mtime_ns for p in first.rglob("*.parquet")}
    assert datagen.cached("readings", 2000, directory=tmp_path, sensors=20) == first
    assert {p: p.stat().st_mtime_ns for p in first.rglob("*.parquet")} == before
    others = {
        datagen.cached("readings", 2000, directory=tmp_path, sensors=21),
        datagen.cached("readings", 2001, directory=tmp_path, sensors=20),
        datagen.cached("readings", 2000, directory=tmp_path, sensors=20, seed=1),
        datagen.cached("readings", 2000, directory=tmp_path, sensors=20, file_format="arrow"),
        datagen.cached("readings", 2000, directory=tmp_path, sensors=20, by_date=False),
        datagen.cached("dim_sensors", directory=tmp_path, sensors=20),
    }
    assert len(others) == 6
    assert first not in others


@pytest.mark.parametrize("harm", ["cut", "remove", "manifest", "empty"])
def test_a_broken_entry_is_made_again(tmp_path: Path, harm: str) -> None:
    entry = datagen.cached("trades", 3000, directory=tmp_path)
    whole = _contents(entry)
    file = next(entry.rglob("*.parquet"))
    if harm == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif harm == "remove":
        file.unlink()
    elif harm == "manifest":
        (entry / "manifest.json").write_text("{")
    else:
        shutil.rmtree(entry)
        entry.mkdir()
    assert datagen.cached("trades", 3000, directory=tmp_path) == entry
    assert _contents(entry) == whole
    assert [p.name for p in tmp_path.iterdir()] == [entry.name]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".partial-{dead.pid}-x"
    living = tmp_path / f".partial-{os.getpid()}-x"
    left.mkdir()
    living.mkdir()
    datagen.cached("dim_symbols", directory=tmp_path)
    assert not left.exists()
    assert living.exists()


def test_a_failure_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(datagen.cache.DateFiles, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        datagen.cached("trades", 3000, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_processes_that_make_the_same_entry_agree(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom segue.datagen import cached\nprint(cached('trades', 30_000, directory=sys.argv[1]))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert said == {str(datagen.cached("trades", 30_000, directory=tmp_path))}


def test_the_cache_is_emptied_oldest_use_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_DATAGEN_CACHE", str(tmp_path / "cache"))
    one, two = datagen.cached("trades", 1000), datagen.cached("trades", 1001)
    assert one.parent == tmp_path / "cache" == datagen.cache_directory()
    os.utime(one, (1, 1))
    os.utime(two, (2, 2))
    assert datagen.cached("trades", 1000) == one  # used: now the younger one
    size = sum(f.stat().st_size for f in one.rglob("*") if f.is_file())
    assert datagen.clear_cache(keep_bytes=size) > 0
    assert list(datagen.cache_directory().iterdir()) == [one]
    assert datagen.clear_cache() == size
    assert list(datagen.cache_directory().iterdir()) == []


def test_wrong_names_and_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known are"):
        datagen.cached("songs", directory=tmp_path)
    with pytest.raises(ValueError, match="a stream needs"):
        datagen.cached("facts", directory=tmp_path)
    with pytest.raises(ValueError, match="of its own"):
        datagen.cached("dim_songs", 5, directory=tmp_path)
    with pytest.raises(ValueError, match="not Plays"):
        datagen.cached("trades", 5, SMALL, directory=tmp_path)
    with pytest.raises(ValueError, match="csv"):
        datagen.cached("facts", 5, SMALL, file_format="csv", directory=tmp_path)  # type: ignore[arg-type]
