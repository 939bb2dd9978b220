"""The event table through its Python class: values, scans, errors, durability levels, tokens."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from segue.errors import (
    ClosedError,
    CorruptionError,
    InvalidError,
    LockedError,
    ReadOnlyError,
    SchemaError,
    StorageError,
)
from segue.events import Events

UTC = dt.UTC

ALL_TYPES = pa.schema(
    [
        pa.field("user", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("b", pa.bool_()),
        pa.field("i8", pa.int8()),
        pa.field("i16", pa.int16()),
        pa.field("i32", pa.int32()),
        pa.field("u8", pa.uint8()),
        pa.field("u16", pa.uint16()),
        pa.field("u32", pa.uint32()),
        pa.field("u64", pa.uint64()),
        pa.field("f32", pa.float32()),
        pa.field("f64", pa.float64()),
        pa.field("dec", pa.decimal128(20, 3)),
        pa.field("day", pa.date32()),
        pa.field("s", pa.string()),
        pa.field("raw", pa.binary()),
        pa.field("d", pa.dictionary(pa.int32(), pa.string())),
        pa.field("ns", pa.timestamp("ns")),
        pa.field("sec", pa.timestamp("s")),
    ]
)
FULL_ROW = {
    "user": 7,
    "at": dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
    "b": True,
    "i8": -128,
    "i16": 32767,
    "i32": -(2**31),
    "u8": 255,
    "u16": 65535,
    "u32": 2**32 - 1,
    "u64": 2**64 - 1,
    "f32": 1.5,
    "f64": -0.1,
    "dec": decimal.Decimal("-12345678901234567.125"),
    "day": dt.date(1969, 12, 31),
    "s": "héllo\0world",
    "raw": b"\x00\xff",
    "d": "Sweden",
    "ns": dt.datetime(2024, 1, 1, 0, 0, 0, 1),
    "sec": dt.datetime(1900, 1, 1),
}
NULL_ROW = dict.fromkeys(FULL_ROW) | {"user": 7, "at": dt.datetime(2024, 3, 1, tzinfo=UTC)}

CLICKS = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})


@pytest.fixture
def clicks(tmp_path: Path):
    with Events.create(tmp_path / "clicks", "clicks", CLICKS, "user", "at", durability="os") as events:
        yield events


def reopened(events: Events, **options) -> Events:
    events.close()
    return Events.open(events.path, events.name, **options)


@pytest.mark.parametrize("flush", [False, True])
def test_every_type_comes_back_as_it_was_appended(tmp_path, flush):
    events = Events.create(tmp_path / "t", "t", ALL_TYPES, "user", "at")
    assert events.append(**NULL_ROW) == 1
    assert events.append(*FULL_ROW.values()) == 2
    table = pa.Table.from_pylist([FULL_ROW, NULL_ROW], schema=ALL_TYPES)
    assert events.append_batch(table) == (3, 4)
    expected = [FULL_ROW, FULL_ROW, NULL_ROW, NULL_ROW]
    for _ in range(2):
        if flush:
            events.flush()
        for scan in (events.scan(key=7), events.scan(ordered=True)):
            result = scan.to_arrow()
            assert result.schema.remove_metadata() == ALL_TYPES
            assert result.to_pylist() == expected
        events = reopened(events)
    events.close()


def test_pandas_polars_numpy_and_lists_are_taken(clicks):
    import pandas as pd
    import polars as pl

    rows = {"user": [1, 2], "page": ["a", None], "at": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2)]}
    clicks.append_batch(pa.table(rows))
    clicks.append_batch(pl.DataFrame(rows))
    clicks.append_batch(pd.DataFrame(rows))
    clicks.append_batch(pa.record_batch(rows))
    clicks.append_batch(
        {
            "user": np.array([1, 2]),
            "page": ["a", None],
            "at": np.array(["2024-01-01", "2024-01-02"], "M8[us]"),
        }
    )
    clicks.append_batch([{"user": 1, "page": "a", "at": rows["at"][0]}, {"user": 2, "at": rows["at"][1]}])
    assert clicks.stats().sequence == 12
    for user, page in ((1, "a"), (2, None)):
        found = clicks.scan(key=user).to_arrow().to_pydict()
        assert found["page"] == [page] * 6
        assert found["at"] == [rows["at"][user - 1]] * 6


def test_scan_bounds_order_limit_and_columns(clicks):
    for batch in range(3):
        for i in range(10):
            clicks.append(i % 2, f"{batch}-{i}", 100 * i)
        if batch == 1:
            clicks.flush()
    got = clicks.scan(key=1, since=300, until=900, columns=["at", "page"]).to_arrow()
    assert got.column_names == ["at", "page"]
    assert got["page"].to_pylist() == [f"{b}-{i}" for i in (3, 5, 7) for b in range(3)]
    newest = clicks.scan(key=1, limit=4, descending=True).to_arrow()
    assert newest["page"].to_pylist() == ["2-9", "1-9", "0-9", "2-7"]
    everyone = clicks.scan(ordered=True, until=dt.datetime(1970, 1, 1, 0, 0, 0, 200)).to_arrow()
    assert everyone["page"].to_pylist() == [f"{b}-{i}" for i in (0, 1) for b in range(3)]
    assert clicks.scan(descending=True, limit=1).to_arrow()["page"].to_pylist() == ["2-9"]
    assert clicks.scan(key=5).to_arrow().num_rows == 0
    assert clicks.scan(limit=0).to_arrow().num_rows == 0
    assert clicks.scan(since=np.datetime64(500, "us")).to_arrow().num_rows == 15


def test_equal_key_and_time_are_both_kept(clicks):
    for page in "abc":
        clicks.append(1, page, 5)
    clicks.flush()
    clicks.append(1, "d", 5)
    assert clicks.scan(key=1).to_arrow()["page"].to_pylist() == ["a", "b", "c", "d"]


def test_a_snapshot_does_not_change(clicks):
    clicks.append(1, "a", 1)
    snapshot = clicks.snapshot()
    clicks.append(1, "b", 2)
    clicks.append_batch({"user": [1] * 100, "page": ["c"] * 100, "at": range(100)})
    for _ in range(2):
        assert snapshot.sequence == 1
        assert snapshot.scan().to_arrow()["page"].to_pylist() == ["a"]
        assert snapshot.scan(key=1).to_arrow()["page"].to_pylist() == ["a"]
        clicks.flush()
    scan = snapshot.scan()
    clicks.close()
    assert scan.to_arrow().num_rows == 1, "a snapshot outlives its table"
    snapshot.close()
    with pytest.raises(ClosedError):
        snapshot.scan().to_arrow()


def test_sequences_after_and_up_to(clicks):
    clicks.append_batch({"user": range(10), "page": ["x"] * 10, "at": range(10)})
    clicks.flush()
    clicks.append_batch({"user": range(10), "page": ["x"] * 10, "at": range(10)})
    with clicks.snapshot() as snapshot:
        got = snapshot.scan_sequences(5, 13, ["user"], "n").to_arrow()
    assert got.column_names == ["user", "n"]
    assert sorted(got["n"].to_pylist()) == list(range(6, 14))
    assert sorted(got["user"].to_pylist()) == sorted([5, 6, 7, 8, 9, 0, 1, 2])


def test_keys_of_several_columns_and_of_strings(tmp_path):
    schema = pa.schema(
        {
            "app": pa.dictionary(pa.int32(), pa.string()),
            "device": pa.string(),
            "n": pa.int32(),
            "at": pa.timestamp("ms"),
        }
    )
    events = Events.create(tmp_path / "t", "t", schema, ["device", "app", "n"], "at")
    keys = [("a", "x", 1), ("a", "x", -1), ("a\0", "x", 1), ("", "x", 1), ("a", "\0x", 1), ("ab", "", 1)]
    for turn in range(3):
        for at, (device, app, n) in enumerate(keys):
            events.append(app, device, n, at)
        events.append_batch(
            {
                "device": [k[0] for k in keys],
                "app": [k[1] for k in keys],
                "n": [k[2] for k in keys],
                "at": [9] * 6,
            }
        )
        if turn == 1:
            events.flush()
    for at, key in enumerate(keys):
        found = events.scan(key=key).to_arrow().to_pylist()
        assert [row["at"] for row in found] == [
            dt.datetime(1970, 1, 1, 0, 0, 0, 1000 * n) for n in (at, at, at, 9, 9, 9)
        ]
        assert {(r["device"], r["app"], r["n"]) for r in found} == {key}
    with pytest.raises(InvalidError, match="3 parts|has 1"):
        events.scan(key="a")
    events.close()


def test_a_token_is_stored_once_across_restarts(clicks):
    batch = {"user": [1, 2], "page": ["a", "b"], "at": [1, 2]}
    assert clicks.append_batch(batch, token="t-1") == (1, 2)
    clicks.append(9, "x", 9)
    assert clicks.append_batch(batch, token="t-1") == (1, 2)
    with pytest.raises(InvalidError, match="t-1"):
        clicks.append_batch({"user": [1], "page": ["a"], "at": [1]}, token="t-1")
    again = reopened(clicks)
    assert again.append_batch(batch, token="t-1") == (1, 2)
    again.flush()
    again = reopened(again)
    assert again.append_batch(batch, token="t-1") == (1, 2)
    assert again.append_batch(batch, token="t-2") == (4, 5)
    assert again.scan().to_arrow().num_rows == 5
    again.close()


def test_an_empty_batch_stores_nothing(clicks):
    clicks.append(1, "a", 1)
    assert clicks.append_batch(CLICKS.empty_table()) == (2, 1)
    assert clicks.append_batch([]) == (2, 1)
    assert clicks.stats().sequence == 1


def test_a_stream_that_fails_half_way_stores_nothing_and_shows_no_traceback(clicks):
    def batches():
        yield pa.record_batch({"user": [1], "at": pa.array([1], pa.timestamp("us"))})
        raise RuntimeError("the socket closed")

    schema = pa.schema({"user": pa.int64(), "at": pa.timestamp("us")})
    with pytest.raises(InvalidError, match="the socket closed") as caught:
        clicks.append_batch(pa.RecordBatchReader.from_batches(schema, batches()))
    assert "Traceback" not in str(caught.value)
    assert clicks.append(1, "fine", 1) == 1


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (("x", "a", 1), "user"),
        ((1.5, "a", 1), "user"),
        ((True, "a", 1), "user"),
        ((2**63, "a", 1), "user"),
        ((None, "a", 1), "user"),
        ((1, 5, 1), "page"),
        ((1, "\ud800", 1), "page"),
        ((1, "a", None), "at"),
        ((1, "a", "2024-01-01"), "at"),
        ((1, "a", dt.date(2024, 1, 1)), "at"),
        ((1, "a", np.datetime64("NaT")), "at"),
        ((1, "a", pd.NaT), "at"),
        ((1, "a", pd.Timestamp(1)), "at"),  # a nanosecond
        ((1, "a", 2**62), "at"),
        ((1, "a", np.datetime64("20000-01-01", "us")), "at"),
        ((1, "a"), "at"),
    ],
)
def test_a_bad_row_names_its_column_and_changes_nothing(clicks, row, column):
    with pytest.raises(SchemaError, match=column) as error:
        clicks.append(*row)
    assert error.value.column == column
    assert clicks.append(1, "fine", 1) == 1


def test_bad_calls_teach(clicks):
    with pytest.raises(SchemaError, match="4 values.*3 columns"):
        clicks.append(1, "a", 1, 1)
    with pytest.raises(SchemaError, match=r"'pge'.*user, page, at"):
        clicks.append(user=1, pge="a", at=1)
    with pytest.raises(SchemaError, match="by position and by name"):
        clicks.append(1, user=1)
    with pytest.raises(SchemaError, match="'nope'"):
        clicks.append_batch({"user": [1], "nope": [1], "at": [1]})
    with pytest.raises(SchemaError, match="'at'"):
        clicks.append_batch({"user": [1]})
    with pytest.raises(SchemaError, match="row 1"):
        clicks.append_batch(
            pa.table({"user": pa.array([1, None]), "at": pa.array([1, 2], pa.timestamp("us"))})
        )
    with pytest.raises(SchemaError, match="'user'"):
        clicks.append_batch(pa.table({"user": ["x"], "at": pa.array([1], pa.timestamp("us"))}))
    with pytest.raises(InvalidError, match="int"):
        clicks.append_batch(5)
    with pytest.raises(SchemaError, match="'nope'"):
        clicks.scan(columns=["nope"])
    with pytest.raises(InvalidError, match="since='yesterday'"):
        clicks.scan(since="yesterday")
    for limit in (-1, 1.5, "2"):
        with pytest.raises(InvalidError, match="limit="):
            clicks.scan(limit=limit)
    with pytest.raises(InvalidError, match="until="):
        clicks.scan(until=2**70)
    for token in ("", 7):
        with pytest.raises(InvalidError, match="token="):
            clicks.append_batch({"user": [1], "at": [1]}, token=token)
    with pytest.raises(SchemaError, match="'user'"):
        clicks.scan(key="seven")
    assert clicks.stats().sequence == 0


@pytest.mark.parametrize("value", [pa.timestamp("s"), pa.timestamp("ms")])
def test_a_timestamp_that_does_not_convert_exactly_is_refused(tmp_path, value):
    schema = pa.schema({"k": pa.int64(), "at": value})
    with Events.create(tmp_path / "t", "t", schema, "k", "at") as events:
        with pytest.raises(SchemaError, match="finer"):
            events.append(1, dt.datetime(2024, 1, 1, 0, 0, 0, 1))
        with pytest.raises(SchemaError, match="exactly"):
            events.append(1, np.datetime64("2024-01-01T00:00:00.000001"))
        for at in (dt.datetime(2024, 1, 1, 0, 0, 0, 1), pd.Timestamp("2024-01-01T00:00:00.000000001")):
            with pytest.raises(SchemaError, match="row 1.*finer"):
                events.append_batch({"k": [1, 2], "at": [dt.datetime(2024, 1, 1), at]})


def test_a_timestamp_out_of_range_is_refused(tmp_path):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("ns")})
    with Events.create(tmp_path / "t", "t", schema, "k", "at") as events:
        with pytest.raises(SchemaError, match="out of range"):
            events.append(1, dt.datetime(2500, 1, 1))
        with pytest.raises(SchemaError, match="'at'"):
            events.append_batch(pa.table({"k": [1], "at": pa.array([2**62], pa.timestamp("us"))}))
        # What a nanosecond column can hold is within the years that there are.
        events.append_batch({"k": [1, 2], "at": [-(2**63), 2**63 - 1]})
        events.append(3, pd.Timestamp("2024-01-01T00:00:00.123456789", tz="Europe/Berlin"))
        assert events.scan(key=3).to_arrow()["at"].cast(pa.int64()).to_pylist() == [1704063600123456789]


@pytest.mark.parametrize(("unit", "second"), [("s", 1), ("ms", 10**3), ("us", 10**6)])
def test_times_outside_the_years_that_there_are_are_refused(tmp_path, unit, second):
    # One event of a caller who took nanoseconds for microseconds must not stop every later run.
    first, last = -62_135_596_800 * second, 253_402_300_800 * second - 1
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp(unit), "other": pa.timestamp(unit)})
    with Events.create(tmp_path / "t", "t", schema, "k", "at") as events:
        for row in ({"at": first - 1}, {"at": last + 1}, {"at": 0, "other": last + 1}):
            column = list(row)[-1]
            with pytest.raises(SchemaError, match=f"'{column}'.*years 1 to 9999") as caught:
                events.append(k=1, **row)
            assert caught.value.column == column
            columns = {name: pa.array([0, value], pa.timestamp(unit)) for name, value in row.items()}
            table = pa.table({"k": [0, 1]} | columns)
            with pytest.raises(SchemaError, match=f"'{column}', row 1.*years 1 to 9999") as caught:
                events.append_batch(table)
            assert caught.value.column == column
        events.append(1, first)
        events.append_batch({"k": [1], "at": [last], "other": [None]})
        years = [at.year for at in events.scan(key=1).to_arrow()["at"].to_pylist()]
        assert years == [1, 9999]


def test_a_number_too_large_for_a_float_is_refused(tmp_path):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "f": pa.float32()})
    with Events.create(tmp_path / "t", "t", schema, "k", "at") as events:
        for value in (1e300, -(10**400)):
            with pytest.raises(SchemaError, match="'f'.*out of range"):
                events.append(1, 0, value)
        events.append(1, 0, float("-inf"))
        assert events.scan().to_arrow()["f"].to_pylist() == [float("-inf")]


@pytest.mark.parametrize(
    ("schema", "key", "time", "match"),
    [
        ({"k": pa.int64(), "at": pa.int64()}, "k", "at", "must be a timestamp"),
        ({"k": pa.int64(), "at": pa.timestamp("us")}, "x", "at", "'x'"),
        ({"k": pa.int64(), "at": pa.timestamp("us")}, "k", "when", "'when'"),
        ({"k": pa.int64(), "at": pa.timestamp("us")}, [], "at", "key"),
        ({"k": pa.list_(pa.int64()), "at": pa.timestamp("us")}, "k", "at", "'k'"),
        ({"k": pa.int64(), "at": pa.timestamp("us"), "h": pa.float16()}, "k", "at", "'h'"),
        ({"k": pa.int64(), "at": pa.timestamp("us"), "t": pa.time64("us")}, "k", "at", "'t'"),
        ({"k": pa.int64(), "at": pa.timestamp("us"), "t": pa.duration("us")}, "k", "at", "'t'"),
        ({"k": pa.int64(), "at": pa.timestamp("us"), "d": pa.date64()}, "k", "at", "'d' is date64"),
        ({"k": pa.int64(), "at": pa.timestamp("us"), "l": pa.list_(pa.int8())}, "k", "at", "'l' is a list"),
        ({"k": pa.int64(), "at": pa.timestamp("us")}, 5, "at", "key=5"),
        ({"k": pa.int64(), "at": pa.timestamp("us")}, ["k", 5], "at", "key=5"),
        ({"k": pa.int64(), "at": pa.timestamp("us")}, "k", None, "time=None"),
    ],
)
def test_bad_schemas_are_refused_and_leave_nothing(tmp_path, schema, key, time, match):
    with pytest.raises(ValueError, match=match):
        Events.create(tmp_path / "t", "t", pa.schema(schema), key, time)
    assert not (tmp_path / "t").exists()


def test_a_second_writer_is_refused_by_name(clicks):
    with pytest.raises(LockedError, match=str(os.getpid())):
        Events.open(clicks.path, "clicks")
    script = "import sys; from segue.events import Events; Events.open(sys.argv[1], 'clicks')"
    other = subprocess.run(
        [sys.executable, "-c", script, clicks.path], capture_output=True, text=True, check=False
    )
    assert "LockedError" in other.stderr
    assert str(os.getpid()) in other.stderr


def test_a_reader_sees_the_live_writers_rows(clicks):
    clicks.append_batch({"user": range(100), "page": ["x"] * 100, "at": range(100)})
    clicks.flush()
    clicks.append(1, "live", 1)
    before = sorted(os.listdir(clicks.path))
    with Events.open(clicks.path, "clicks", mode="r") as reader:
        assert reader.scan().to_arrow().num_rows == 101
        assert reader.sync() == 100, "only what the writer has certainly synced"
        with pytest.raises(ReadOnlyError, match="mode"):
            reader.append(1, "no", 1)
        with pytest.raises(ReadOnlyError):
            reader.flush()
    assert sorted(os.listdir(clicks.path)) == before, "a reader changes nothing"
    clicks.sync()
    with Events.open(clicks.path, "clicks", mode="r") as reader:
        assert reader.sync() == 101


def test_readers_open_while_a_writer_flushes(tmp_path):
    events = Events.create(
        tmp_path / "t",
        "t",
        CLICKS,
        "user",
        "at",
        durability="os",
        _options={"wal_bytes": 65536, "memtable_bytes": 300_000},
    )
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            events.append_batch({"user": range(500), "page": ["x"] * 500, "at": range(500)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = 0
        for _ in range(20):
            with Events.open(events.path, "t", mode="r") as reader:
                table = reader.snapshot().scan_sequences(0, 2**62, ["user"], "n").to_arrow()
                n = np.sort(table["n"].to_numpy())
                assert (n == np.arange(1, len(n) + 1)).all()
                assert len(n) % 500 == 0, "a batch is seen whole or not at all"
                assert len(n) >= seen
                seen = len(n)
    finally:
        stop.set()
        writer.join()
        events.close()


def test_closed_tables_say_so(clicks):
    clicks.append(1, "a", 1)
    clicks.close()
    clicks.close()
    for call in (
        lambda: clicks.append(1, "a", 1),
        lambda: clicks.append_batch({"user": [1], "page": ["a"], "at": [1]}),
        clicks.sync,
        clicks.flush,
        clicks.stats,
        clicks.verify,
        lambda: clicks.scan().to_arrow(),
    ):
        with pytest.raises(ClosedError, match="closed"):
            call()


def test_many_threads_append_at_once(tmp_path):
    with Events.create(tmp_path / "t", "t", CLICKS, "user", "at") as events:
        sequences: list[int] = []

        def work(user: int) -> None:
            for i in range(25):
                sequences.append(events.append(user, "p", i))
                first, last = events.append_batch({"user": [user] * 3, "page": ["q"] * 3, "at": [i] * 3})
                sequences.extend(range(first, last + 1))

        threads = [threading.Thread(target=work, args=(user,)) for user in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(sequences) == list(range(1, 801))
        stats = events.stats()
        assert stats.synced_sequence == 800
        assert stats.syncs < 400, "waiting callers share a sync"
        for user in range(8):
            assert events.scan(key=user).to_arrow().num_rows == 100


def test_interval_durability_syncs_in_the_background(tmp_path):
    import time

    with Events.create(tmp_path / "t", "t", CLICKS, "user", "at", durability="interval") as events:
        events.append(1, "a", 1)
        deadline = time.monotonic() + 10
        while events.stats().synced_sequence < 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert events.stats().synced_sequence == 1


def test_handed_off_sequences_are_never_issued_again(clicks):
    clicks.append(1, "a", 1)
    clicks.record_handoff(10)
    again = reopened(clicks)
    assert again.append(1, "b", 2) == 11
    again = reopened(again)
    assert again.append(1, "c", 3) == 12
    assert again.scan(key=1).to_arrow()["page"].to_pylist() == ["a", "b", "c"]
    again.close()


def test_missing_and_unreadable_directories(tmp_path):
    with pytest.raises(StorageError, match="no event table"):
        Events.open(tmp_path / "nowhere", "t")
    with pytest.raises(InvalidError, match="mode='w'"):
        Events.open(tmp_path, "t", mode="w")
    with pytest.raises(InvalidError, match="durability='sometimes'"):
        Events.create(tmp_path / "t", "t", CLICKS, "user", "at", durability="sometimes")


def test_every_damaged_file_is_reported(clicks):
    clicks.append_batch({"user": range(1000), "page": ["x"] * 1000, "at": range(1000)})
    clicks.flush()
    clicks.append(1, "a", 1)
    clicks.close()
    for name in ("MANIFEST", "sst-", "wal-"):
        newest = sorted(path for path in Path(clicks.path).iterdir() if path.name.startswith(name))[-1]
        good = newest.read_bytes()
        newest.write_bytes(good[:20] + bytes([good[20] ^ 0x40]) + good[21:])
        with pytest.raises(CorruptionError) as error, Events.open(clicks.path, "clicks") as events:
            events.verify()
        assert error.value.path == str(newest)
        newest.write_bytes(good)
    with Events.open(clicks.path, "clicks") as events:
        events.verify()
        assert events.scan().to_arrow().num_rows == 1001
        # Its log is in use, so that nothing reads it before the next open.
        newest = sorted(path for path in Path(clicks.path).iterdir() if path.name.startswith("wal-"))[-1]
        good = newest.read_bytes()
        with newest.open("r+b") as log:
            log.seek(4096 + 40)
            log.write(bytes([good[4096 + 40] ^ 0x40]))
        with pytest.raises(CorruptionError) as error:
            events.verify()
        assert (error.value.path, error.value.offset) == (str(newest), 4096)
        newest.write_bytes(good)
        events.verify()
    sst = next(path for path in Path(clicks.path).iterdir() if path.suffix == ".sst")
    sst.unlink()
    with pytest.raises(CorruptionError, match="missing"):
        Events.open(clicks.path, "clicks")


def test_a_process_that_ends_without_close_loses_nothing(tmp_path):
    script = textwrap.dedent(
        """
        import os, sys
        import pyarrow as pa
        from segue.events import Events
        schema = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
        events = Events.create(sys.argv[1], "t", schema, "user", "at", durability="os")
        for i in range(1000):
            events.append(i, "p", i)
        events.append_batch({"user": range(500), "page": ["q"] * 500, "at": range(500)})
        os._exit(0)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "t")], check=True)
    with Events.open(tmp_path / "t", "t") as events:
        assert events.scan().to_arrow().num_rows == 1500


def test_a_forked_child_gets_an_error_and_harms_nothing(clicks):
    clicks.append(1, "parent", 1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            clicks.append(1, "child", 2)
            os.write(write, b"no error")
        except ClosedError as error:
            os.write(write, str(error).encode())
        clicks.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert b"fork" in os.read(read, 1000)
    os.close(read)
    os.close(write)
    clicks.append(1, "parent again", 3)
    assert clicks.scan(key=1).to_arrow()["page"].to_pylist() == ["parent", "parent again"]
    with pytest.raises(LockedError):
        Events.open(clicks.path, "clicks")


def test_a_table_under_the_name_of_another_is_refused(tmp_path):
    with Events.create(tmp_path / "t", "t", CLICKS, "user", "at", durability="os") as events:
        for user in range(2):
            events.append(user, "p", 1)
            events.flush()
    first, second = sorted((tmp_path / "t").glob("sst-*.sst"))
    second.write_bytes(first.read_bytes())
    for mode in ("rw", "r"):
        with pytest.raises(CorruptionError, match="holds table 1: it was renamed") as error:
            Events.open(tmp_path / "t", "t", mode=mode)
        assert error.value.path == str(second)


def test_blocks_of_many_rows_are_read_whole(tmp_path):
    options = {"block_rows": 40_000, "memtable_bytes": 64 << 20}
    with Events.create(
        tmp_path / "t", "t", CLICKS, "user", "at", durability="os", _options=options
    ) as events:
        for rows in (30_000, 50_000, 90_000):
            events.append_batch({"user": range(rows), "at": range(rows), "page": ["p"] * rows})
            events.flush()
        assert len(events.scan().to_arrow()) == 170_000
        assert len(events.scan(limit=120_000).to_arrow()) == 120_000
    for rows in (0, 65_537):
        with pytest.raises(InvalidError, match="block_rows is 1 to 65536"):
            Events.open(tmp_path / "t", "t", _options={"block_rows": rows})


def test_long_strings_in_memory_come_in_several_batches(tmp_path):
    with Events.create(tmp_path / "t", "t", CLICKS, "user", "at", durability="os") as events:
        events.append_batch({"user": range(3000), "at": range(3000), "page": ["x" * 65536] * 3000})
        sizes = [len(batch) for batch in events.scan(columns=["page"]).batches()]
        assert sum(sizes) == 3000
        assert max(sizes) * 65536 < 128 << 20


def test_an_event_that_is_too_large_is_refused_and_changes_nothing(tmp_path):
    with Events.create(tmp_path / "t", "t", CLICKS, "user", "at", durability="os") as events:
        with pytest.raises(InvalidError, match="an event of more than 1073741824 bytes"):
            events.append(1, "x" * (1 << 30), 1)
        events.append(2, "short", 2)
        assert events.scan().to_arrow()["user"].to_pylist() == [2]


def test_few_rows_do_not_each_keep_a_long_string_of_theirs(tmp_path):
    schema = pa.schema(
        {"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.dictionary(pa.int32(), pa.string())}
    )
    rows, size = 63, 1 << 20
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os") as events:
        events.append_batch({"k": range(rows), "at": [0] * rows, "s": ["x" * 100] * rows})
        assert events.stats().skiplist_rows == rows
        events.append_batch({"k": range(rows), "at": [1] * rows, "s": ["x" * size] * rows})
        assert events.stats().memtable_bytes < 8 * size
        got = events.scan(since=1).to_arrow()
        assert got["k"].to_pylist() == list(range(rows))
        assert set(map(len, got["s"].to_pylist())) == {size}


@pytest.mark.parametrize("key", [None, 1])
def test_a_scan_that_failed_does_not_go_on_without_the_rows_it_lost(tmp_path, key):
    options = {"background_compaction": False}
    with Events.create(
        tmp_path / "t", "t", CLICKS, "user", "at", durability="os", _options=options
    ) as events:
        for first in (0, 10, 20):
            events.append_batch({"user": [1] * 10, "at": range(first, first + 10), "page": ["p"] * 10})
            events.flush()
        _, damaged, _ = sorted((tmp_path / "t").glob("*.sst"))
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:8] + bytes(byte ^ 0xFF for byte in whole[8:60]) + whole[60:])
        reader = events.scan(key=key).to_reader()
        with pytest.raises(OSError, match="checksum"):
            reader.read_all()
        damaged.write_bytes(whole)
        for _ in range(2):
            with pytest.raises(OSError, match="checksum"):
                reader.read_next_batch()
        assert events.scan(key=key).to_arrow().num_rows == 30


def test_reads_of_a_key_with_large_values_come_in_pieces(tmp_path):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "blob": pa.binary()})
    size, n = 20 << 20, 9
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os") as events:
        for at in range(n):
            events.append(1, at, bytes([at]) * size)
            if at == 5:
                events.flush()
        for descending in (False, True):
            seen = []
            for batch in events.scan(key=1, descending=descending).batches():
                assert batch.nbytes < (64 << 20) + 2 * size
                seen += [(value[0], len(value)) for value in batch["blob"].to_pylist()]
            assert seen == [(at, size) for at in (range(n)[::-1] if descending else range(n))]


def test_a_small_table_beside_very_many_strings(tmp_path):
    schema = pa.schema(
        {"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.dictionary(pa.int32(), pa.string())}
    )
    many = 200_000
    options = {"background_compaction": False}
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os", _options=options) as events:
        events.append_batch({"k": range(many), "at": [0] * many, "s": [f"s{i}" for i in range(many)]})
        events.flush()
        few = [0, many - 1, 7, 7, 100_000]
        events.append_batch({"k": few, "at": [1] * len(few), "s": [f"s{i}" for i in few]})
        events.append(5, 1, None)
        events.flush()
        # So many of them that the table of codes replaces the map on the way.
        events.append_batch(
            {"k": range(50_000), "at": [2] * 50_000, "s": [f"s{3 * i}" for i in range(50_000)]}
        )
        events.flush()
        got = events.scan(since=1, until=2, ordered=True).to_arrow()
        assert got["s"].to_pylist() == [*(f"s{i}" for i in few), None]
        got = events.scan(since=2).to_arrow()
        assert got["s"].cast(pa.string()).to_pylist() == [f"s{3 * k}" for k in got["k"].to_pylist()]
        assert got.num_rows == 50_000


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_bounds_finer_than_the_column_are_not_cut(tmp_path, unit):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp(unit)})
    per_second = {"s": 1, "ms": 1000, "us": 10**6}[unit]
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os") as events:
        events.append_batch({"k": range(-2, 3), "at": range(-2, 3)})
        for nanos in range(
            -2 * 10**9 // per_second, 2 * 10**9 // per_second + 1, 10**9 // per_second // 4 or 1
        ):
            bound = np.datetime64(nanos, "ns")
            at = [t for t in range(-2, 3) if t * 10**9 // per_second >= nanos]
            assert events.scan(since=bound).to_arrow()["k"].to_pylist() == at
            assert events.scan(until=bound).to_arrow()["k"].to_pylist() == [
                t for t in range(-2, 3) if t not in at
            ]
            assert events.scan(since=pd.Timestamp(nanos)).to_arrow()["k"].to_pylist() == at
        half = dt.datetime(1970, 1, 1, 0, 0, 0, 500_000 if unit == "s" else 500)
        if unit != "us":
            assert events.scan(until=half).to_arrow()["k"].to_pylist() == [-2, -1, 0]
