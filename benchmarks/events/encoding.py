"""Events as bytes for stores that know no types, and a digest of events for all of them.

Keyed by (user, time), as the documentation of ordered key-value stores recommends for time series: user
and time big-endian, so that bytes sort as numbers do, then a counter, because equal user and time are two
events. Time and counter are stored inverted, so that a user's newest event comes first: the stores read
forwards faster than backwards::

    key   = user u64 | ~microseconds u64 | ~counter u32    20 bytes, big-endian
    value = song i32 | country u16 | device u16 | ms i32   12 bytes, little-endian

A *packed event* is what both hold without the counter: 28 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EVENT_BYTES = 28

KEY = struct.Struct(">QQI")
VALUE = struct.Struct("<iHHi")
LAST_TIME, LAST_COUNTER = (1 << 64) - 1, (1 << 32) - 1
"""Less the time, and less the counter: what is stored."""
_KEYS = np.dtype([("user", ">u8"), ("time", ">u8"), ("counter", ">u4")])
_VALUES = np.dtype([("song", "<i4"), ("country", "<u2"), ("device", "<u2"), ("ms", "<i4")])

Row = tuple[int, int, int, str, str, int]


class Dictionaries:
    """Codes of the two string columns, as an application would keep them beside an untyped store."""

    def __init__(self, events: pa.Table) -> None:
        batch = events.to_batches()[0]
        self.schema: pa.Schema = events.schema
        self.countries: pa.StringArray = batch["country"].dictionary
        self.devices: pa.StringArray = batch["device"].dictionary
        self.country_code = {name: code for code, name in enumerate(self.countries.to_pylist())}
        self.device_code = {name: code for code, name in enumerate(self.devices.to_pylist())}


def pack(batch: pa.RecordBatch, first: int) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of a batch whose first event has the counter `first`; vectorised, one copy each."""
    keys = np.empty(batch.num_rows, _KEYS)
    keys["user"] = numbers(batch["user_id"])
    keys["time"] = ~numbers(batch["timestamp"]).view(np.uint64)
    keys["counter"] = ~np.arange(first, first + batch.num_rows, dtype=np.uint32)
    return keys.view(f"V{KEY.size}").tolist(), pack_values(batch).view(f"V{VALUE.size}").tolist()


def pack_values(batch: pa.RecordBatch) -> np.ndarray:
    values = np.empty(batch.num_rows, _VALUES)
    values["song"] = numbers(batch["song_id"])
    values["country"] = numbers(batch["country"].indices)
    values["device"] = numbers(batch["device"].indices)
    values["ms"] = numbers(batch["ms_played"])
    return values


def pack_rows(batch: pa.RecordBatch) -> bytes:
    """One packed event after the other, for the bare write loop."""
    rows = np.empty(batch.num_rows, _BARE)
    rows["user"] = numbers(batch["user_id"])
    rows["time"] = numbers(batch["timestamp"])
    values = pack_values(batch)
    for name in _VALUES.names or ():
        rows[name] = values[name]
    return rows.tobytes()


_BARE = np.dtype([("user", "<u8"), ("time", "<u8"), *_VALUES.descr])


class Digest:
    """Count and sum of row hashes: equal for equal multisets of events, in whatever order."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, *columns: np.ndarray) -> None:
        """Add rows given as user, song, time, country code, device code, ms."""
        mixed = np.zeros(len(columns[0]), np.uint64)
        for column in columns:
            mixed ^= np.asarray(column).astype(np.int64).view(np.uint64)
            mixed *= np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(32)
        self.rows += len(mixed)
        self._sum = (self._sum + int(mixed.sum(dtype=np.uint64))) % (1 << 64)

    def __str__(self) -> str:
        return f"{self.rows}:{self._sum:016x}"

    def add_batch(self, batch: pa.RecordBatch, dictionaries: Dictionaries) -> None:
        """Add typed rows; strings become the codes that the packed events hold."""
        self.add(
            numbers(batch["user_id"]),
            numbers(batch["song_id"]),
            numbers(batch["timestamp"]),
            _codes(batch["country"], dictionaries.countries),
            _codes(batch["device"], dictionaries.devices),
            numbers(batch["ms_played"]),
        )

    def add_pairs(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Add packed events, a chunk at a time."""
        source: Iterator[tuple[bytes, bytes]] = iter(pairs)
        while chunk := list(islice(source, 1 << 16)):
            keys = np.frombuffer(b"".join(key for key, _ in chunk), _KEYS)
            values = np.frombuffer(b"".join(value for _, value in chunk), _VALUES)
            time = ~keys["time"]
            self.add(keys["user"], values["song"], time, values["country"], values["device"], values["ms"])

    def add_bare(self, data: bytes) -> None:
        rows = np.frombuffer(data, _BARE)
        self.add(*(rows[name] for name in ("user", "song", "time", "country", "device", "ms")))


def numbers(array: pa.Array) -> np.ndarray:
    """View integers or times without nulls; ``to_numpy`` would import pandas amid what is timed."""
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    return np.from_dlpack(array)


def _codes(column: pa.Array, names: pa.StringArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return numbers(pc.index_in(column, names))
