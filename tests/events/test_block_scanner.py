"""Scans without a key: any bounds, columns and limit give the rows that a filter over all of them gives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine
from segue.errors import CorruptionError
from segue.events import Events

ROWS = 3000
SCHEMA = pa.schema(
    {
        "k": pa.int64(),
        "at": pa.timestamp("us"),
        "small": pa.int8(),
        "text": pa.string(),
        "label": pa.dictionary(pa.int32(), pa.string()),
        "flag": pa.bool_(),
    }
)


def make_rows() -> pa.Table:
    rng = np.random.default_rng(11)
    texts = pa.array([None if i % 7 == 0 else "x" * (i % 5) + str(i) for i in range(ROWS)])
    labels = pa.array([None if i % 11 == 0 else f"label {i % 37}" for i in range(ROWS)])
    return pa.table(
        {
            "k": rng.integers(0, 50, ROWS),
            # Times that neither follow the keys nor the sequence numbers, so that blocks are taken in part.
            "at": pa.array(rng.integers(0, 1000, ROWS)).view(pa.timestamp("us")),
            "small": pa.array(rng.integers(-128, 127, ROWS).astype(np.int8), mask=rng.random(ROWS) < 0.1),
            "text": texts,
            "label": labels.dictionary_encode(),
            "flag": pa.array(rng.random(ROWS) < 0.5, mask=rng.random(ROWS) < 0.3),
        },
        SCHEMA,
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Three tables of small blocks, and a memtable with batches and single rows."""
    rows = make_rows()
    options = {"block_rows": 64, "background_compaction": False}
    path = tmp_path_factory.mktemp("scans") / "t"
    with Events.create(path, "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        for begin in range(0, 2700, 900):
            events.append_batch(rows.slice(begin, 900))
            events.flush()
        events.append_batch(rows.slice(2700, 290))
        for row in rows.slice(2990).to_pylist():
            events.append(**row)
        assert events.stats().table_rows == 2700
        yield events, rows.append_column("sequence", pa.array(np.arange(1, ROWS + 1, dtype=np.uint64)))


def values_of(table: pa.Table) -> Counter:
    plain = [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return Counter(zip(*(column.to_pylist() for column in plain), strict=True))


columns = st.lists(st.sampled_from(SCHEMA.names), min_size=1, unique=True)


@given(
    since=st.none() | st.integers(-1, 1001), until=st.none() | st.integers(-1, 1001), columns=columns,
    limit=st.none() | st.integers(0, ROWS + 1),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_times_and_limits(stored, since, until, columns, limit):
    events, rows = stored
    times = rows["at"].cast(pa.int64())
    low = pc.greater_equal(times, -1 if since is None else since)
    high = pc.less(times, 2000 if until is None else until)
    expected = values_of(rows.filter(pc.and_(low, high)).select(columns))
    got = events.scan(since=since, until=until, columns=columns, limit=limit).to_arrow()
    got.validate(full=True)
    assert got.num_rows == min(expected.total(), ROWS if limit is None else limit)
    # Which rows a limit leaves is not said, but they are rows that there are.
    assert values_of(got) <= expected


@given(after=st.integers(0, ROWS), count=st.integers(0, ROWS), columns=columns, named=st.booleans())
@settings(max_examples=100, deadline=None)
def test_sequences(stored, after, count, columns, named):
    events, rows = stored
    name = "sequence" if named else None
    with events.snapshot() as snapshot:
        got = snapshot.scan_sequences(after, after + count, columns, name).to_arrow()
    got.validate(full=True)
    expected = rows.slice(after, count).select([*columns, name] if name else columns)
    assert values_of(got) == values_of(expected)


def test_batches_are_of_a_good_size_whatever_the_blocks(tmp_path):
    n = 300_000
    options = {"block_rows": 50_000}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        events.append_batch({"k": np.arange(n), "at": np.arange(n)})
        events.flush()
        sizes = [batch.num_rows for batch in events.scan().batches()]
        assert sum(sizes) == n
        assert all(30_000 <= size <= 116_000 for size in sizes[:-1])


def test_long_strings_end_a_batch_early(tmp_path):
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os") as events:
        text = "y" * 60_000
        for begin in range(0, 3000, 500):
            block = np.arange(begin, begin + 500)
            events.append_batch({"k": block, "at": block, "text": [text] * 500})
        events.flush()
        batches = list(events.scan(columns=["text"]).batches())
        assert sum(batch.num_rows for batch in batches) == 3000
        assert max(batch.nbytes for batch in batches) < 100 << 20
        assert pc.all(pc.equal(pa.chunked_array([batch["text"] for batch in batches]), text)).as_py()


def test_zone_maps_spare_what_is_out_of_bounds(tmp_path):
    """A damaged block is met by those scans alone that need it."""
    n, block_rows = 4000, 100
    table = pa.table({"k": range(n), "at": pa.array(range(n)).view(pa.timestamp("us"))})
    options = {"block_rows": block_rows}
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("us")})
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os", _options=options) as events:
        events.append_batch(table)
        events.flush()
    (file,) = (tmp_path / "t").glob("*.sst")
    blocks = _engine.testing.SstReader(str(file)).info()["blocks"]
    begin = 8 + sum(size for block in blocks[:20] for _, size in block["chunks"])
    size = sum(size for _, size in blocks[20]["chunks"])
    data = bytearray(file.read_bytes())
    for at in range(begin, begin + size):
        data[at] ^= 0xFF
    file.write_bytes(data)
    with Events.open(tmp_path / "t", "t") as events:
        keys = lambda **bounds: sorted(events.scan(**bounds).to_arrow()["k"].to_pylist())  # noqa: E731
        assert keys(until=2000) == list(range(2000))
        assert keys(since=2100) == list(range(2100, n))
        assert keys(key=1999) == [1999]
        assert keys(key=2000, until=2000) == [], "the key's block has no such time"
        for bounds in ({"since": 1950, "until": 2050}, {"key": 2010}, {}):
            with pytest.raises(CorruptionError, match=file.name):
                keys(**bounds)
