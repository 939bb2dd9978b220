from __future__ import annotations

import datetime as dt
import decimal
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import segue
from segue import pipeline_run
from segue.parquet_output import BUCKET_RANGES

PLAYS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("song_id", pa.int32()),
        ("timestamp", pa.timestamp("us")),
        ("country", pa.dictionary(pa.int32(), pa.string())),
        ("ms", pa.float64()),
    ]
)
START = dt.datetime(2024, 1, 30, 20)


def plays(n: int, seed: int = 1) -> pa.Table:
    draw = random.Random(seed)
    return pa.table(
        {
            "user_id": pa.array([draw.randrange(50) for _ in range(n)], pa.int64()),
            "song_id": pa.array([draw.randrange(12) for _ in range(n)], pa.int32()),
            "timestamp": pa.array(
                [START + dt.timedelta(minutes=draw.randrange(5000)) for _ in range(n)], pa.timestamp("us")
            ),
            "country": pa.array([draw.choice(["US", "DE", None]) for _ in range(n)], pa.string()),
            "ms": pa.array([draw.choice([1.5, float("nan"), None]) for _ in range(n)], pa.float64()),
        }
    )


SONGS = {
    "song_id": list(range(10)),
    "artist_id": [i % 4 for i in range(10)],
    "title": [f"t{i}" for i in range(10)],
}
ARTISTS = {"artist_id": [0, 1, 2], "artist": ["x", "y", None]}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[segue.Database]:
    with segue.open(tmp_path / "db") as database:
        database.create_events("listens", PLAYS, key="user_id", time="timestamp")
        database.put_dimension("songs", SONGS, key="song_id")
        database.put_dimension("artists", ARTISTS, key="artist_id")
        yield database


def fact(db: segue.Database, name: str = "fact") -> list[dict[str, Any]]:
    """Rows of a fact table as another reader sees them."""
    relation = db._fact_relation(name)
    rows: list[dict[str, Any]] = []
    for file in relation.files:
        table = pq.ParquetFile(file.path).read()
        assert table.num_rows == file.rows
        assert Path(file.path).stat().st_size == file.size
        rows += [row | dict(file.partition) for row in table.to_pylist()]
    for row in rows:
        assert list(row) == relation.schema.names
    return rows


def by_repr(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, rows))


def expected(events: pa.Table) -> list[dict[str, Any]]:
    rows = []
    for row in events.to_pylist():
        if row["song_id"] < 10:
            at = row["song_id"]
            rows.append(row | {"artist_id": at % 4, "title": f"t{at}", "date": row["timestamp"].date()})
    return rows


def job(db: segue.Database, **write: Any) -> segue.Job:
    pipeline = db.pipeline("listens").repartition(4, "user_id").join(segue.broadcast("songs"), on="song_id")
    return pipeline.sort_within_partitions("timestamp").write("fact", **write)


def test_every_event_is_there_once_however_often_it_runs(db: segue.Database) -> None:
    events = plays(1000)
    db.events("listens").append_batch(events.slice(0, 600))
    report = job(db).run()
    assert report.rows_in == 600
    assert report.rows_out == len(expected(events.slice(0, 600)))
    assert report.dropped == {"songs": 600 - report.rows_out}
    assert (report.first_sequence, report.last_sequence, report.version) == (1, 600, 0)
    assert not report.up_to_date
    assert report.files == 5
    assert report.bytes_in > 600 * 20
    assert f"{report.dropped['songs']} events dropped: no row in songs" in str(report)

    again = job(db).run()
    assert again.up_to_date
    assert (again.rows_in, again.rows_out, again.files, again.version) == (0, 0, 0, 0)
    assert "up to date, nothing new after event 600" in str(again)
    json.dumps(again.to_json())

    db.events("listens").append_batch(events.slice(600))  # Late ones among them: same days, later sequences.
    report = job(db).run()
    assert (report.first_sequence, report.last_sequence, report.version) == (601, 1000, 1)
    assert by_repr(fact(db)) == by_repr(expected(events))


def test_a_run_without_any_event_registers_the_pipeline(db: segue.Database) -> None:
    report = job(db).run()
    assert report.up_to_date
    assert report.version is None
    assert list(db.pipelines()) == ["listens:fact"]
    relation = db._fact_relation("fact")
    assert relation.files == ()
    assert relation.schema == job(db).schema()
    assert relation.partition_columns == ("date",)


def test_events_that_are_all_dropped_still_move_the_watermark(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(1).set_column(1, "song_id", pa.array([99], pa.int32())))
    report = job(db).run()
    assert (report.rows_in, report.rows_out, report.files, report.version) == (1, 0, 0, 0)
    assert job(db).run().up_to_date
    db.events("listens").append_batch(plays(1).set_column(1, "song_id", pa.array([1], pa.int32())))
    assert job(db).run().rows_out == 1


def test_columns_come_in_order_with_the_partition_last(db: segue.Database) -> None:
    assert job(db).schema() == pa.schema(
        [
            ("user_id", pa.int64()),
            ("song_id", pa.int32()),
            ("timestamp", pa.timestamp("us")),
            ("country", pa.string()),
            ("ms", pa.float64()),
            ("artist_id", pa.int64()),
            ("title", pa.string()),
            ("date", pa.date32()),
        ]
    )
    assert job(db, partition_by=["country"]).schema().names == [
        "user_id", "song_id", "timestamp", "ms", "artist_id", "title", "country",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "by", ["date", "month", "hour", None, ["country"], ["country", "artist_id"], ["title"]]
)
def test_partitions(db: segue.Database, by: Any) -> None:
    events = plays(500)
    db.events("listens").append_batch(events)
    run = job(db, partition_by=by)
    report = run.run()
    rows = fact(db)
    want = expected(events)
    for row in want:
        date = row.pop("date")
        if by == "date":
            row["date"] = date
        elif by == "month":
            row["month"] = date.replace(day=1)
        elif by == "hour":
            row["hour"] = row["timestamp"].replace(minute=0)
        elif by:
            for name in by:
                row[name] = row.pop(name)
    assert by_repr(rows) == by_repr(want)
    columns = [by] if isinstance(by, str) else by or []
    parts = {tuple(row[c] for c in columns) for row in want}
    assert report.files == len(parts)  # One file for each, however many buckets.
    assert db._fact_relation("fact").partition_columns == tuple(columns)
    db.events("listens").append_batch(events)
    assert by_repr(db._fact_relation("fact").fresh().to_pylist()) == by_repr(want)


def test_partition_values_that_need_escaping(db: segue.Database) -> None:
    values = ["a/b", "c d", "e=f", "100%", "é", "..", "x:y", "tab\t", "'q'", "", None, "*?"]
    events = plays(len(values)).set_column(3, "country", pa.array(values))
    db.events("listens").append_batch(events)
    db.pipeline("listens").write("fact", partition_by=["country"]).run()
    # Hive and Delta have no empty partition value: it is null.
    assert sorted(map(str, (row["country"] for row in fact(db)))) == sorted(str(v or None) for v in values)
    from deltalake import DeltaTable

    read = DeltaTable(str(db.path / "warehouse" / "fact")).to_pyarrow_table()
    assert sorted(map(str, read["country"].to_pylist())) == sorted(str(v or None) for v in values)


def test_other_readers_see_the_same(db: segue.Database) -> None:
    import polars as pl
    from deltalake import DeltaTable

    events = plays(300)
    db.events("listens").append_batch(events)
    job(db, partition_by="hour").run()
    folder = str(db.path / "warehouse" / "fact")
    want = by_repr(fact(db))
    assert by_repr(DeltaTable(folder).to_pyarrow_table().to_pylist()) == want
    assert by_repr(pl.read_delta(folder).to_arrow().to_pylist()) == want
    # Their own pruning by our statistics finds what a full read finds.
    table = DeltaTable(folder).to_pyarrow_table(filters=[("user_id", ">=", 40)])
    assert table.num_rows == sum(row["user_id"] >= 40 for row in fact(db))
    last = max(row["timestamp"] for row in fact(db))
    assert DeltaTable(folder).to_pyarrow_table(filters=[("timestamp", ">=", last)]).num_rows >= 1


def test_all_types_pass_through(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("k", pa.string()),
            ("t", pa.timestamp("ns", "Europe/Berlin")),
            ("b", pa.bool_()),
            ("i8", pa.int8()),
            ("u8", pa.uint8()),
            ("u16", pa.uint16()),
            ("u32", pa.uint32()),
            ("u64", pa.uint64()),
            ("f32", pa.float32()),
            ("dec", pa.decimal128(38, 10)),
            ("d", pa.date32()),
            ("s", pa.timestamp("s")),
            ("bin", pa.binary()),
            ("cat", pa.dictionary(pa.int32(), pa.string())),
        ]
    )
    when = dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC)
    row: dict[str, Any] = {
        "k": "é", "t": when, "b": True, "i8": -128, "u8": 255, "u16": 65535, "u32": 2**32 - 1,
        "u64": 2**64 - 1, "f32": 0.5, "dec": decimal.Decimal("1.0000000001"), "d": dt.date(1, 1, 1),
        "s": dt.datetime(2024, 1, 1), "bin": b"\x00\xff", "cat": "c",
    }  # fmt: skip
    empty = dict.fromkeys(schema.names) | {"k": "a", "t": when}
    with segue.open(tmp_path) as db:
        with pytest.warns(segue.WideningWarning):
            events = db.create_events("e", schema, key="k", time="t")
        plain = pa.schema([f.with_type(pa.string()) if f.name == "cat" else f for f in schema])
        events.append_batch(pa.Table.from_pylist([row, empty], schema=plain))
        report = db.pipeline("e").sort_within_partitions("k").write("fact", partition_by="date").run()
        assert report.rows_out == 2
        rows = fact(db)
        day = {"date": dt.date(1969, 12, 31)}
        assert rows == [empty | day, row | {"u64": decimal.Decimal(2**64 - 1)} | day]
        assert db._fact_relation("fact").schema.field("t").type == pa.timestamp("us", "UTC")
        events.append_batch(pa.Table.from_pylist([row], schema=plain))
        pending = db._fact_relation("fact").fresh()
        assert pending.schema == db._fact_relation("fact").schema
        assert pending.to_pylist() == [row | {"u64": decimal.Decimal(2**64 - 1)} | day]


@pytest.mark.parametrize(("how1", "how2"), list(itertools.product(["inner", "left"], repeat=2)))
def test_chained_joins_do_what_the_single_ones_would(
    db: segue.Database, how1: Any, how2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = plays(300)
    db.events("listens").append_batch(events)
    run = (
        db.pipeline("listens")
        .join(segue.broadcast("songs"), on="song_id", how=how1)
        .join(segue.broadcast("artists"), on="artist_id", how=how2)
        .write("fact", partition_by=None)
    )
    report = run.run()
    songs = {k: (a, t) for k, a, t in zip(*SONGS.values(), strict=True)}
    artists = dict(zip(*ARTISTS.values(), strict=True))
    want = []
    for row in events.to_pylist():
        if row["song_id"] not in songs and how1 == "inner":
            continue
        artist_id, title = songs.get(row["song_id"], (None, None))
        if artist_id not in artists and how2 == "inner":
            continue
        want.append(row | {"artist_id": artist_id, "title": title, "artist": artists.get(artist_id)})
    assert by_repr(fact(db)) == by_repr(want)
    unknown = sum(row["song_id"] not in songs for row in events.to_pylist())
    dropped = {"songs": unknown} if how1 == "inner" else {}
    if how2 == "inner":
        dropped["artists"] = 300 - len(want) - dropped.get("songs", 0)
    assert report.dropped == dropped
    for few in (1000, 0):
        monkeypatch.setattr(pipeline_run, "_FEW_EVENTS", few)
        assert by_repr(pipeline_run.pending_rows(db, run.definition, 0).to_pylist()) == by_repr(want)


def test_joined_columns_order_and_partition_too(db: segue.Database) -> None:
    events = plays(300)
    db.events("listens").append_batch(events)
    joined = db.pipeline("listens").join("songs", on="song_id").join("artists", on="artist_id", how="left")
    run = joined.repartition(4, "artist_id").sort_within_partitions("artist", "title", "user_id")
    run.write("fact", partition_by=["artist_id"]).run()
    relation = db._fact_relation("fact")
    assert len(relation.files) == 4
    for file in relation.files:
        rows = pq.ParquetFile(file.path).read().to_pylist()
        assert {row["song_id"] % 4 for row in rows} == {file.partition["artist_id"]}
        keys = [
            (row["artist"] is not None, row["artist"] or "", row["title"], row["user_id"]) for row in rows
        ]
        assert keys == sorted(keys)
    assert sum(file.rows for file in relation.files) == len(expected(events))


def test_columns_are_chosen_and_renamed(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(50))
    run = db.pipeline("listens").join("songs", on="song_id", columns={"title": "song", "song_id": "key"})
    run.join("artists", on="key", columns=[], how="left").write("fact", partition_by=None).run()
    for row in fact(db):
        assert list(row)[5:] == ["song", "key"]
        assert row["song"] == f"t{row['song_id']}"
        assert row["key"] == row["song_id"]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.uint64()], ids=str)
def test_keys_of_another_integer_type_join(db: segue.Database, kind: pa.DataType) -> None:
    extreme = {pa.int8(): 127, pa.uint16(): 65535, pa.int64(): -(2**63), pa.uint64(): 2**64 - 1}[kind]
    db.put_dimension(
        "other", pa.table({"id": pa.array([1, 2, extreme], kind), "v": ["a", "b", "c"]}), key="id"
    )
    events = plays(100)
    db.events("listens").append_batch(events)
    db.pipeline("listens").join("other", on="song_id").write("fact", partition_by=None).run()
    counts = {v: sum(row["v"] == v for row in fact(db)) for v in "abc"}
    ids = events["song_id"].to_pylist()
    assert counts == {"a": ids.count(1), "b": ids.count(2), "c": 0}


def test_missing_rows_can_be_an_error_that_publishes_nothing(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(100))
    run = db.pipeline("listens").join("songs", on="song_id", on_missing="error").write("fact")
    with pytest.raises(segue.InvalidError, match="events have no row in 'songs'"):
        run.run()
    assert db._fact_relation("fact").version is None
    assert not list((db.path / "warehouse" / "fact").glob("**/*.parquet"))
    db.put_dimension("songs", {"song_id": list(range(12)), "x": list(range(12))}, key="song_id")
    assert (
        db.pipeline("listens").join("songs", on="song_id", on_missing="error").write("fact").run().rows_out
        == 100
    )


def test_a_replaced_dimension_counts_from_the_next_run(db: segue.Database) -> None:
    one = plays(1).set_column(1, "song_id", pa.array([1], pa.int32()))
    db.events("listens").append_batch(one)
    job(db).run()
    db.put_dimension("songs", {"song_id": [1], "artist_id": [9], "title": ["new"]}, key="song_id")
    db.events("listens").append_batch(one)
    job(db).run()
    assert sorted(row["title"] for row in fact(db)) == ["new", "t1"]


def test_a_dimension_that_lost_a_column_fails_the_run(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(10))
    run = job(db)
    run.run()
    db.put_dimension("songs", {"song_id": [1], "artist_id": [9]}, key="song_id")
    db.events("listens").append_batch(plays(10))
    with pytest.raises(segue.SchemaError, match="dimension 'songs' has no column 'title'"):
        run.run()
    with pytest.raises(segue.SchemaError, match="dimension 'songs' has no column 'title'"):
        db._fact_relation("fact").fresh()
    db.put_dimension("songs", {"song_id": [1], "artist_id": ["9"], "title": ["t"]}, key="song_id")
    with pytest.raises(
        segue.SchemaError, match="writes column 'artist_id' as string, the table 'fact' has int64"
    ):
        run.run()


def test_a_table_takes_only_its_own_columns(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(10))
    job(db).run()
    db.events("listens").append_batch(plays(10))
    with pytest.raises(
        segue.SchemaError, match="partitioned by \\['date'\\], this pipeline's output by \\['month'\\]"
    ):
        job(db, partition_by="month").run()
    with pytest.raises(segue.SchemaError, match="has a column 'artist_id' that the pipeline does not write"):
        db.pipeline("listens").write("fact").run()
    more = db.pipeline("listens").join("songs", on="song_id").join("artists", on="artist_id").write("fact")
    with pytest.raises(
        segue.SchemaError, match="writes column 'artist' as string, the table 'fact' has no such column"
    ):
        more.run()
    # What cannot run is not kept either.
    assert db.pipeline_named("fact").definition == job(db).definition
    assert db._fact_relation("fact").fresh().num_rows == len(expected(plays(10)))
    assert job(db).run().rows_in == 10


def test_two_stores_feed_one_table(db: segue.Database) -> None:
    db.create_events("more", PLAYS, key="user_id", time="timestamp")
    db.events("listens").append_batch(plays(20))
    db.events("more").append_batch(plays(30, seed=2))
    db.pipeline("listens").write("fact").run()
    db.pipeline("more").write("fact").run()
    assert [r.up_to_date for r in db.run_pipelines()] == [True, True]
    db.events("listens").append_batch(plays(5, seed=3))
    db.events("more").append_batch(plays(6, seed=4))
    assert db._fact_relation("fact").fresh().num_rows == 11
    assert [r.rows_in for r in db.run_pipelines(memory="64MiB", threads=1)] == [5, 6]
    assert len(fact(db)) == 61
    with pytest.raises(segue.InvalidError, match="several pipelines write 'fact'"):
        db.pipeline_named("fact")
    assert db.pipeline_named("more:fact").definition.source == "more"


def test_the_catalog_brings_a_pipeline_back(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.create_events("listens", PLAYS, key="user_id", time="timestamp")
        db.put_dimension("songs", SONGS, key="song_id")
        first = job(db, partition_by=["country", "song_id"])
        first.run()
    with segue.open(tmp_path) as db:
        again = db.pipeline_named("FACT")
        assert again.definition == first.definition
        assert str(again.explain()).startswith("pipeline listens -> fact\n  scan ")
        db.events("listens").append_batch(plays(10))
        (report,) = db.run_pipelines()
        assert report.rows_in == 10


def test_footers_say_what_is_in_the_files(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(200))
    job(db, partition_by=None).run()
    (file,) = db._fact_relation("fact").files
    footer = pq.read_metadata(file.path)
    metadata = {k.decode(): v.decode() for k, v in footer.metadata.items()}
    assert metadata["segue.sequences"] == "1-200"
    assert metadata["segue.buckets"] == "4 by user_id"
    ranges = json.loads(metadata[BUCKET_RANGES])
    assert len(ranges) == footer.num_row_groups
    assert footer.row_group(0).sorting_columns == ()  # Four buckets, each sorted: not sorted as a whole.
    assert footer.row_group(0).column(0).has_offset_index


def test_sorting_columns_are_promised_only_where_true(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(200))
    db.pipeline("listens").sort_within_partitions("country", "timestamp").write("a", partition_by=None).run()
    db.pipeline("listens").sort_within_partitions("ms").write("b", partition_by=None).run()
    (file,) = db._fact_relation("a").files
    footer = pq.read_metadata(file.path)
    assert [(c.column_index, c.descending, c.nulls_first) for c in footer.row_group(0).sorting_columns] == [
        (3, False, True),
        (2, False, True),
    ]
    rows = pq.ParquetFile(file.path).read().to_pylist()
    assert rows == sorted(rows, key=lambda r: (r["country"] is not None, r["country"] or "", r["timestamp"]))
    (file,) = db._fact_relation("b").files
    assert pq.read_metadata(file.path).row_group(0).sorting_columns == ()  # NaN has no place in that order.


def test_row_groups_and_threads(db: segue.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_run, "ROW_GROUP_ROWS", 100)
    monkeypatch.setattr(pipeline_run, "_SMALLEST_ROW_GROUP", 1)
    monkeypatch.setattr("segue.parquet_output.SHARED_SPLIT_ROWS", 10)
    monkeypatch.setattr("segue.parquet_output.FILE_BYTES", 3000)
    events = plays(3000)
    db.events("listens").append_batch(events)
    report = job(db, partition_by=None).run(threads=3)
    assert report.files > 3
    assert by_repr(fact(db)) == by_repr(
        [{k: v for k, v in r.items() if k != "date"} for r in expected(events)]
    )
    for file in db._fact_relation("fact").files:
        footer = pq.read_metadata(file.path)
        assert max(footer.row_group(g).num_rows for g in range(footer.num_row_groups)) <= 100
        assert len(json.loads(footer.metadata[BUCKET_RANGES.encode()])) == footer.num_row_groups


@pytest.mark.parametrize(("value", "size"), [("x" * 254, 256), ("é" * 42 + "x" * 2, 256), ("/" * 500, 1502)])
def test_a_value_too_long_to_name_a_folder(tmp_path: Path, value: str, size: int) -> None:
    """A folder's name has at most 255 bytes, %XX for what may not stand in it."""
    schema = pa.schema([("k", pa.int64()), ("at", pa.timestamp("us")), ("c", pa.string())])
    with segue.open(tmp_path) as db:
        events = db.create_events("e", schema, key="k", time="at")
        events.append(1, 0, "short")
        events.append(1, 0, value)
        job = db.pipeline("e").write("fact", partition_by=["c"])
        with pytest.raises(segue.SchemaError, match="cannot partition the table") as caught:
            job.run()
        assert caught.value.column == "c"
        told = str(caught.value)
        assert f"{value[:40]!r}... of {len(value)} characters" in told
        assert f"{size} bytes" in told
        assert len(told) < 400
        assert not list((tmp_path / "warehouse").rglob("*.parquet"))
        assert not list((tmp_path / "warehouse").rglob("c=*"))
        # Another table of the same events is not held up.
        assert db.pipeline("e").write("by_day", partition_by="date").run().rows_out == 2


def test_a_value_just_short_enough_names_a_folder(tmp_path: Path) -> None:
    schema = pa.schema([("k", pa.int64()), ("at", pa.timestamp("us")), ("c", pa.string())])
    with segue.open(tmp_path) as db:
        events = db.create_events("e", schema, key="k", time="at")
        events.append(1, 0, "x" * 253)
        assert db.pipeline("e").write("fact", partition_by=["c"]).run().rows_out == 1
        assert db.sql("SELECT c FROM fact").fetchall() == [("x" * 253,)]


def test_progress_shows_only_long_runs(
    db: segue.Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    db.events("listens").append_batch(plays(10))
    job(db).run(progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("segue.progress._DELAY", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    db.events("listens").append_batch(plays(10))
    job(db).run(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "listens:fact" in err


def test_running_while_reading(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.create_events("listens", PLAYS, key="user_id", time="timestamp")
        db.put_dimension("songs", SONGS, key="song_id")
        db.events("listens").append_batch(plays(100))
    with segue.open(tmp_path, mode="r") as db:
        assert job(db).run().rows_in == 100
        assert job(db).run().up_to_date
    with segue.open(tmp_path) as db:
        assert job(db).run().up_to_date


# Errors of the builder and of run


def test_columns_are_checked_at_once(db: segue.Database) -> None:
    pipeline = db.pipeline("listens")
    with pytest.raises(segue.SchemaError, match="did you mean 'user_id'") as e:
        pipeline.repartition(4, "userid")
    assert e.value.column == "userid"
    with pytest.raises(segue.SchemaError, match="no column 'artist_id'"):
        pipeline.sort_within_partitions("artist_id")
    pipeline.join("songs", on="song_id").sort_within_partitions("artist_id")
    with pytest.raises(segue.SchemaError, match="no column 'nope'"):
        pipeline.join("songs", on="nope")
    with pytest.raises(
        segue.SchemaError, match="dimension 'songs' has no column 'tilte'; did you mean 'title'"
    ):
        pipeline.join("songs", on="song_id", columns=["tilte"])
    with pytest.raises(segue.SchemaError, match="cannot join 'songs' on 'country'"):
        pipeline.join("songs", on="country")
    with pytest.raises(segue.SchemaError, match="column 'country' is there already"):
        pipeline.join("songs", on="song_id", columns={"title": "country"})
    with pytest.raises(segue.InvalidError, match="no dimension is named 'nope'"):
        pipeline.join("nope", on="song_id")
    with pytest.raises(segue.SchemaError, match="no column 'nope'"):
        pipeline.write("fact", partition_by=["nope"])
    with pytest.raises(segue.InvalidError, match="partition_by='week' is unknown"):
        pipeline.write("fact", partition_by="week")
    with pytest.raises(segue.SchemaError, match="cannot partition by column 'ms'"):
        pipeline.write("fact", partition_by=["ms"])
    with pytest.raises(segue.InvalidError, match="cannot name a table"):
        pipeline.write("a b")
    with pytest.raises(segue.InvalidError, match="no event table is named 'x'"):
        db.pipeline("x")


def test_arguments_are_checked(db: segue.Database) -> None:
    pipeline = db.pipeline("listens")
    for n in (0, -1, 1.5, True, 1 << 21):
        with pytest.raises(segue.InvalidError, match="number of partitions"):
            pipeline.repartition(n, "user_id")  # type: ignore[arg-type]
    with pytest.raises(segue.InvalidError, match="names no column"):
        pipeline.repartition(4)
    with pytest.raises(segue.InvalidError, match="names no column"):
        pipeline.sort_within_partitions()
    with pytest.raises(segue.InvalidError, match="repartitioned already"):
        pipeline.repartition(4, "user_id").repartition(4, "user_id")
    with pytest.raises(segue.InvalidError, match="sorted already"):
        pipeline.sort_within_partitions("user_id").sort_within_partitions("user_id")
    with pytest.raises(segue.InvalidError, match="how='outer'"):
        pipeline.join("songs", on="song_id", how="outer")  # type: ignore[arg-type]
    with pytest.raises(segue.InvalidError, match="on_missing='x'"):
        pipeline.join("songs", on="song_id", on_missing="x")  # type: ignore[arg-type]
    with pytest.raises(segue.InvalidError, match='needs how="inner"'):
        pipeline.join("songs", on="song_id", how="left", on_missing="error")
    run = pipeline.write("fact")
    with pytest.raises(segue.BudgetError, match="memory='1MiB' is too small; the minimum is 64 MiB"):
        run.run(memory="1MiB")
    with pytest.raises(segue.InvalidError, match="threads=0"):
        run.run(threads=0)
    with pytest.raises(segue.UnsupportedError, match='engine="spark" comes in a later version'):
        run.run(engine="spark")
    with pytest.raises(segue.InvalidError, match="engine='dask'"):
        run.run(engine="dask")  # type: ignore[arg-type]


def test_a_date_column_of_ones_own(tmp_path: Path) -> None:
    schema = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us")), ("Date", pa.date32())])
    with segue.open(tmp_path) as db:
        db.create_events("e", schema, key="k", time="t").append_batch(
            {"k": [1], "t": [0], "Date": [dt.date(2024, 5, 5)]}
        )
        with pytest.raises(segue.SchemaError, match=r"there is a column 'Date'; use partition_by=\['Date'\]"):
            db.pipeline("e").write("fact", partition_by="date")
        db.pipeline("e").write("fact", partition_by=["Date"]).run()
        assert fact(db) == [{"k": 1, "t": dt.datetime(1970, 1, 1), "Date": dt.date(2024, 5, 5)}]


@pytest.mark.parametrize("by", ["date", "month", "hour", None])
@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.filterwarnings("ignore::segue.WideningWarning")
def test_no_event_that_is_taken_in_stops_a_run(tmp_path: Path, unit: str, by: str | None) -> None:
    times = [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23), dt.datetime(9999, 12, 31, 23, 59, 59)]
    schema = pa.schema([("k", pa.int64()), ("t", pa.timestamp(unit))])
    with segue.open(tmp_path) as db:
        events = db.create_events("e", schema, key="k", time="t")
        events.append_batch({"k": [1, 2, 3], "t": times})
        wrong = 4 * 10**17 // {"s": 10**6, "ms": 10**3, "us": 1}[unit]
        with pytest.raises(segue.SchemaError, match="years 1 to 9999"):
            events.append(4, wrong)
        assert db.pipeline("e").write("fact", partition_by=by).run().rows_out == 3
        assert db.sql("SELECT t FROM fact ORDER BY t").fetchall() == [(time,) for time in times]


def test_explain_names_every_step(db: segue.Database) -> None:
    text = str(job(db).explain())
    for part in (
        "4 buckets by user_id",
        "songs (10 rows, broadcast) on song_id",
        "timestamp, then arrival",
        "date of timestamp",
    ):
        assert part in text
    plan = job(db).explain()
    assert [name for name, _ in plan.steps] == ["scan", "partition", "join", "sort", "write", "publish"]
    assert plan.schema.names[-1] == "date"
    assert (
        repr(db.pipeline("listens").repartition(2, "user_id"))
        == "Pipeline('listens').repartition(2, 'user_id')"
    )
    assert repr(job(db)) == "Job('listens' -> 'fact', partition_by='date')"


# Dropping


def test_dropping_follows_the_dependencies(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(10))
    job(db).run()
    with pytest.raises(segue.InvalidError, match="'songs' is joined by pipeline 'listens:fact'"):
        db.drop("songs")
    db.events("listens").append_batch(plays(5))
    with pytest.raises(segue.InvalidError, match="5 events that pipeline 'listens:fact' has not taken"):
        db.drop("listens")
    job(db).run()
    db.drop("listens")
    assert db.events() == []
    assert db.pipelines() == {}
    assert not (db.path / "events" / "listens").exists()
    assert len(fact(db)) > 0
    assert db._fact_relation("fact").fresh is None
    db.drop("songs")
    db.drop("fact")
    assert not (db.path / "warehouse" / "fact").exists()
    assert db.catalog.read().names() == ["artists"]


def test_a_table_that_nothing_will_ever_fill(db: segue.Database) -> None:
    job(db).run()
    db.drop("listens")
    with pytest.raises(segue.InvalidError, match="nothing was published into 'fact'"):
        db.sql("SELECT COUNT(*) FROM fact")
    db.drop("fact")


def test_a_new_store_of_an_old_name_starts_over(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(10))
    job(db).run()
    db.drop("listens")
    db.create_events("listens", PLAYS, key="user_id", time="timestamp")
    db.events("listens").append_batch(plays(4, seed=9))
    assert job(db).run().first_sequence == 1
    assert len(fact(db)) == len(expected(plays(10))) + len(expected(plays(4, seed=9)))


def test_a_dropped_fact_is_built_again_from_the_events(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(10))
    job(db).run()
    db.drop("fact")
    assert job(db).run().rows_in == 10
    assert by_repr(fact(db)) == by_repr(expected(plays(10)))


def test_force_drops_all_the_same(db: segue.Database) -> None:
    db.events("listens").append_batch(plays(10))
    job(db).run()
    db.events("listens").append_batch(plays(10))
    db.drop("songs", force=True)
    db.drop("listens", force=True)
    assert db.catalog.read().names() == ["artists", "fact"]
