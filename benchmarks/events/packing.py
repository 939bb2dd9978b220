"""Rows of any flat schema as bytes for stores that know no types, packed a batch at a time.

The key is the key columns, the time and a counter, each so that bytes sort as values do::

    key   = (string NUL | integer i64, sign flipped, big-endian)* | counter u32, big-endian
    value = nulls u16 | fixed columns | u16 length of each string | strings

`nulls` has a bit for each column of the value. Fixed columns are little-endian; a dictionary is the u16 code
that an application would keep the strings of, a decimal of up to 18 digits its unscaled i64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SIGN = np.uint64(1 << 63)
_COUNTER = struct.Struct(">I")
_NUMBER = struct.Struct(">Q")


class Packing:
    """Packs batches of one schema; dictionaries are those of its first batch, which all batches share."""

    def __init__(self, first: pa.RecordBatch, key: list[str]) -> None:
        self._schema = first.schema
        self._key = key
        self._values = [field.name for field in first.schema if field.name not in key]
        self._strings = [name for name in self._values if self._is_string(name)]
        self._fixed = [name for name in self._values if name not in self._strings]
        self._names = {
            name: first[name].dictionary.to_pylist()
            for name in self._fixed
            if pa.types.is_dictionary(first.schema.field(name).type)
        }
        fields = [(name, _numbers(first[name]).dtype.newbyteorder("<")) for name in self._fixed]
        lengths = [(_length(name), "<u2") for name in self._strings]
        self._layout = np.dtype([("nulls", "<u2"), *fields, *lengths])

    def _is_string(self, name: str) -> bool:
        return pa.types.is_string(self._schema.field(name).type)

    def pairs(self, batch: pa.RecordBatch, first: int) -> Iterable[tuple[bytes, bytes]]:
        """Keys and values of a batch whose first event has the counter `first`."""
        return zip(self._keys_of(batch, first), self._values_of(batch), strict=True)

    def _keys_of(self, batch: pa.RecordBatch, first: int) -> list[bytes]:
        parts = []
        for name in self._key:
            if self._is_string(name):
                parts.append([text + b"\0" for text in _texts(batch[name])])
            else:
                numbers = _numbers(batch[name]).astype(np.int64).view(np.uint64) ^ _SIGN
                parts.append(_items(numbers.astype(">u8")))
        parts.append(_items(np.arange(first, first + batch.num_rows).astype(">u4")))
        return list(map(b"".join, zip(*parts, strict=True)))

    def _values_of(self, batch: pa.RecordBatch) -> list[bytes]:
        rows = np.zeros(batch.num_rows, self._layout)
        for bit, name in enumerate(self._values):
            column = batch[name]
            if column.null_count:
                rows["nulls"] |= _bytes_of(column.is_null()).astype(np.uint16) << np.uint16(bit)
        for name in self._fixed:
            rows[name] = _numbers(batch[name])
        if not self._strings:
            return _items(rows)
        texts = [_texts(batch[name]) for name in self._strings]
        for name in self._strings:
            lengths = pc.fill_null(pc.binary_length(batch[name]), 0)
            rows[_length(name)] = np.from_dlpack(lengths)
        return list(map(b"".join, zip(_items(rows), *texts, strict=True)))

    def row(self, key: bytes, value: bytes) -> tuple[Any, ...]:
        """Return the values of one event in the order of the schema: as plain Python objects."""
        found: dict[str, Any] = {}
        at = 0
        for name in self._key:
            if self._is_string(name):
                end = key.index(b"\0", at)
                found[name], at = key[at:end].decode(), end + 1
            else:
                found[name] = _NUMBER.unpack_from(key, at)[0] - (1 << 63)
                at += _NUMBER.size
        if at + _COUNTER.size != len(key):
            raise AssertionError(f"a key of {len(key)} bytes has {at} bytes of columns")
        fixed = np.frombuffer(value, self._layout, 1)[0]
        at = self._layout.itemsize
        for name in self._fixed:
            found[name] = self._plain(name, fixed[name].item())
        for name in self._strings:
            end = at + int(fixed[_length(name)])
            found[name], at = value[at:end].decode(), end
        for bit, name in enumerate(self._values):
            if int(fixed["nulls"]) >> bit & 1:
                found[name] = None
        return tuple(found[field.name] for field in self._schema)

    def _plain(self, name: str, number: Any) -> Any:
        kind = self._schema.field(name).type
        if pa.types.is_dictionary(kind):
            return self._names[name][number]
        if pa.types.is_decimal(kind):
            return str(Decimal(number).scaleb(-kind.scale))
        return bool(number) if pa.types.is_boolean(kind) else number


def _length(name: str) -> str:
    return f"{name} length"


def _items(array: np.ndarray) -> list[bytes]:
    """Bytes of each element."""
    return array.view(f"V{array.dtype.itemsize}").tolist()


def _texts(column: pa.Array) -> list[bytes]:
    return pc.fill_null(column.cast(pa.binary()), b"").to_pylist()


def _bytes_of(column: pa.Array) -> np.ndarray:
    """View booleans as bytes."""
    return np.from_dlpack(column.cast(pa.uint8()))


def _numbers(column: pa.Array) -> np.ndarray:
    """Numbers of a fixed column, some other where it is null; ``to_numpy`` would import pandas."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return np.from_dlpack(pc.fill_null(column.indices, 0)).astype(np.uint16)
    if pa.types.is_decimal(kind):
        # The lower of two words: of up to 18 digits it is all of the number.
        words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset :]
        return words[: 2 * len(column) : 2]
    if pa.types.is_boolean(kind):
        return _bytes_of(pc.fill_null(column, False))
    if pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    elif pa.types.is_date(kind):
        column = column.view(pa.int32())
    return np.from_dlpack(pc.fill_null(column, 0) if column.null_count else column)
