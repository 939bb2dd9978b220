"""Which SSTables a flush makes: a file a window of many rows, one for windows of few."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import pyarrow as pa
import pytest

from segue.errors import InvalidError
from segue.events import Events

spec = importlib.util.spec_from_file_location("manifest_parser", Path(__file__).with_name("test_manifest.py"))
assert spec
assert spec.loader
parser = importlib.util.module_from_spec(spec)
spec.loader.exec_module(parser)
parse = parser.parse

DAY = 86_400_000_000
SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us")})


def tables(path) -> list[tuple[int, int, int]]:
    """First window, last window, rows of each table."""
    return sorted((t[3] // DAY, t[4] // DAY, t[2]) for t in parse((path / "MANIFEST").read_bytes())["tables"])


def open_store(path, **options) -> Events:
    return Events.create(path, "t", SCHEMA, "k", "at", durability="os", _options=options)


def test_a_flush_splits_by_window(tmp_path):
    with open_store(tmp_path / "t", window_rows=10) as events:
        times = [day * DAY + i for day in (-1, 0, 1) for i in range(20)]
        events.append_batch({"k": list(range(60)), "at": times})
        events.flush()
        assert tables(tmp_path / "t") == [(-1, -1, 20), (0, 0, 20), (1, 1, 20)]
        assert sorted(events.scan().to_arrow()["at"].cast(pa.int64()).to_pylist()) == times
        events.verify()


def test_sparse_history_shares_files(tmp_path):
    with open_store(tmp_path / "t", window_rows=1000) as events:
        n = 3650
        events.append_batch({"k": [i % 9 for i in range(n)], "at": [i * DAY for i in range(n)]})
        events.flush()
        made = tables(tmp_path / "t")
        assert len(made) <= n // 1000 + 1
        assert sum(rows for _, _, rows in made) == n
        assert events.scan(key=5, since=100 * DAY, until=200 * DAY).to_arrow().num_rows == 11


def test_late_events_do_not_widen_a_window_of_many(tmp_path):
    with open_store(tmp_path / "t", window_rows=10) as events:
        times = [7 * DAY + i for i in range(50)] + [DAY, 2 * DAY, 3 * DAY]
        events.append_batch({"k": [1] * len(times), "at": times})
        events.flush()
        assert tables(tmp_path / "t") == [(1, 3, 3), (7, 7, 50)]


@pytest.mark.parametrize(
    ("unit", "window", "width"),
    [
        ("us", "day", DAY),
        ("s", "day", 86400),
        ("ms", "hour", 3_600_000),
        ("ns", "minute", 60_000_000_000),
        ("us", dt.timedelta(days=7), 7 * DAY),
        ("us", dt.timedelta(microseconds=3), 3),
    ],
)
def test_the_window_is_an_option(tmp_path, unit, window, width):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp(unit)})
    Events.create(tmp_path / "t", "t", schema, "k", "at", window=window).close()
    assert parse((tmp_path / "t" / "MANIFEST").read_bytes())["window"] == width


@pytest.mark.parametrize(
    "window", ["month", 86400, None, dt.timedelta(0), dt.timedelta(days=-1), dt.timedelta(1, 0, 1)]
)
def test_a_wrong_window_is_refused(tmp_path, window):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("ms")})
    with pytest.raises(InvalidError, match="window="):
        Events.create(tmp_path / "t", "t", schema, "k", "at", window=window)
    assert not (tmp_path / "t").exists()


def test_windows_at_the_ends_of_time(tmp_path):
    with open_store(tmp_path / "t", window_rows=1) as events:
        times = [-62_135_596_800_000_000, -62_135_596_799_999_999, -1, 0, 253_402_300_799_999_999]
        events.append_batch({"k": [1] * 70, "at": times * 14})
        events.flush()
        events.verify()
        assert events.scan(key=1).to_arrow()["at"].cast(pa.int64()).to_pylist() == sorted(times * 14)
        assert len(tables(tmp_path / "t")) == 4
