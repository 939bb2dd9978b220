"""Events as bytes: what is packed for key-value stores is what they give back, the newest first."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from benchmarks.events import schemas
from benchmarks.events.encoding import KEY, VALUE, Dictionaries, Digest, pack
from benchmarks.events.packing import Packing
from segue import datagen


def batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_rows_of_any_schema_come_back():
    day = pa.array([dt.date(2024, 2, 29), None, dt.date(1969, 12, 31)], pa.date32())
    rows = batch(
        name=pa.array(["b", "a", "überprüft"]),
        number=pa.array([-5, 2**62, 0]),
        at=pa.array([3, 2, 1], pa.timestamp("us")),
        day=day,
        price=pa.array([Decimal("-1.25"), Decimal("99999999.99"), None], pa.decimal128(10, 2)),
        kind=pa.array(["x", None, "y"]).dictionary_encode(),
        note=pa.array(["", None, "long " * 100]),
        other=pa.array([None, "ß", ""]),
        value=pa.array([float("nan"), -0.0, None]),
        ok=pa.array([True, None, False]),
    )
    packing = Packing(rows, ["name", "number", "at"])
    for begin in (0, 1):  # a slice begins amid buffers
        pairs = list(packing.pairs(rows.slice(begin), begin))
        expected = [str(row) for row in schemas._rows(rows.slice(begin))]
        assert [str(packing.row(key, value)) for key, value in pairs] == expected


@pytest.mark.parametrize("name", ["sensor", "number"])
def test_keys_sort_as_their_values_do(name: str):
    values = {"sensor": ["a", "ab", "b", "é"], "number": [-(2**63), -1, 0, 2**63 - 1]}[name]
    rows = batch(**{name: pa.array(values), "at": pa.array([0] * 4, pa.timestamp("us"))})
    keys = [key for key, _ in Packing(rows, [name, "at"]).pairs(rows, 0)]
    assert keys == sorted(keys)


def test_plays_are_packed_newest_first():
    events = datagen.plays_table(1000).select(
        ["user_id", "song_id", "timestamp", "country", "device", "ms_played"]
    )
    dictionaries = Dictionaries(events)
    typed, packed = Digest(), Digest()
    pairs = []
    for piece in events.to_batches():
        typed.add_batch(piece, dictionaries)
        pairs += list(zip(*pack(piece, len(pairs)), strict=True))
    packed.add_pairs(sorted(pairs))
    assert str(packed) == str(typed)
    first = min(pairs)
    user, _, _ = KEY.unpack(first[0])
    song = VALUE.unpack(first[1])[0]
    mine = [row for row in events.to_pylist() if row["user_id"] == user]
    assert song == max(mine, key=lambda row: row["timestamp"])["song_id"]
