"""Every column type of the kernels: its values, its place in an order, its Spark hash.

Values are plain Python: timestamps and dates as integers of their unit, decimals unscaled.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
import spark_murmur3 as spark
from hypothesis import strategies as st


class ColumnType(NamedTuple):
    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    hash: Callable[[Any, int], int]  # (value, seed)


def integers(bits: int, is_signed: bool) -> st.SearchStrategy[int]:
    wide = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else st.integers(0, 2**bits - 1)
    return wide | st.integers(0, 3)  # a few values, so that there are ties


def _microseconds(value: int, unit: str) -> int:
    scaled = {"s": value * 10**6, "ms": value * 10**3, "us": value, "ns": value // 1000}[unit]
    return (scaled + 2**63) % 2**64 - 2**63


WORDS = ["", "a", "b", "éé", "long enough for words", "long enough for words too", "a\0", "\U0001f3b5"]
TEXT = st.text(max_size=8) | st.sampled_from(WORDS)

TYPES: dict[str, ColumnType] = {
    "bool": ColumnType(pa.bool_(), st.booleans(), lambda v, s: spark.hash_int(int(v), s)),
    "float32": ColumnType(pa.float32(), st.floats(width=32), spark.hash_float),
    "float64": ColumnType(pa.float64(), st.floats(), spark.hash_double),
    "string": ColumnType(pa.string(), TEXT, lambda v, s: spark.hash_bytes(v.encode(), s)),
    "large_string": ColumnType(pa.large_string(), TEXT, lambda v, s: spark.hash_bytes(v.encode(), s)),
    "string_view": ColumnType(pa.string_view(), TEXT, lambda v, s: spark.hash_bytes(v.encode(), s)),
    "binary": ColumnType(pa.binary(), st.binary(max_size=20), spark.hash_bytes),
    "dictionary": ColumnType(
        pa.dictionary(pa.int16(), pa.string()),
        st.sampled_from(WORDS),
        lambda v, s: spark.hash_bytes(v.encode(), s),
    ),
    "date32": ColumnType(pa.date32(), integers(32, True), spark.hash_int),
    "uint64": ColumnType(pa.uint64(), integers(64, False), lambda v, s: spark.hash_decimal(v, 20, s)),
    "uint32": ColumnType(pa.uint32(), integers(32, False), spark.hash_long),
    "int64": ColumnType(pa.int64(), integers(64, True), spark.hash_long),
}
for _bits in (8, 16, 32):
    TYPES[f"int{_bits}"] = ColumnType(getattr(pa, f"int{_bits}")(), integers(_bits, True), spark.hash_int)
for _bits in (8, 16):
    TYPES[f"uint{_bits}"] = ColumnType(getattr(pa, f"uint{_bits}")(), integers(_bits, False), spark.hash_int)
for _unit in ("s", "ms", "us", "ns"):
    TYPES[f"timestamp[{_unit}]"] = ColumnType(
        pa.timestamp(_unit),
        integers(64, True),
        lambda v, s, u=_unit: spark.hash_long(_microseconds(v, u), s),
    )
for _precision in (1, 18, 19, 38):
    TYPES[f"decimal{_precision}"] = ColumnType(
        pa.decimal128(_precision, 0),
        st.integers(-(10**_precision) + 1, 10**_precision - 1),
        lambda v, s, p=_precision: spark.hash_decimal(v, p, s),
    )


def arrow_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array of plain values."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_date32(kind):
        return pa.array(values, pa.int32()).cast(kind)
    if pa.types.is_decimal(kind):
        return pa.array([None if v is None else decimal.Decimal(v) for v in values], kind)
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def plain_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The plain values of an Arrow column: `arrow_array` undone."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_pylist()
    if pa.types.is_date32(kind):
        return column.cast(pa.int32()).to_pylist()
    if pa.types.is_decimal(kind):
        return [None if v is None else int(v) for v in column.to_pylist()]  # the scale is 0
    return column.to_pylist()


def order_key(value: Any) -> tuple[Any, ...]:
    """Spark's ascending order: nulls first, NaN last, -0.0 with 0.0, strings by their bytes."""
    if value is None:
        return (0,)
    if isinstance(value, float):
        return (2,) if math.isnan(value) else (1, value + 0.0)
    if isinstance(value, str):
        return (1, value.encode())
    return (1, value)


def same(a: Any, b: Any) -> bool:
    """Equal, NaN included, and zeros of one sign."""
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return type(a) is type(b) and a == b
