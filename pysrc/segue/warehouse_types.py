"""Arrow types as the warehouse keeps them: what Delta Lake cannot hold is widened.

================================  ============================
event or dimension column         warehouse column
================================  ============================
uint8, uint16, uint32             int16, int32, int64
uint64                            decimal128(20, 0)
timestamp of s, ms, us, ns        timestamp[us], UTC if zoned
date64                            date32
string of any layout, dictionary  string
binary of any layout              binary
decimal32, decimal64              decimal128, same digits
================================  ============================

Everything else that Delta has is kept; the rest is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .errors import InvalidError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "arrow_schema",
    "file_type",
    "require_columns",
    "require_distinct",
    "to_file_column",
    "unknown_column",
    "warehouse_type",
    "widened",
]


def arrow_schema(schema: Any) -> pa.Schema:
    """Return a pyarrow schema from anything with ``__arrow_c_schema__``, or from (name, type) pairs."""
    import pyarrow as pa

    if isinstance(schema, pa.Schema):
        return schema
    try:
        return pa.schema(schema)
    except (TypeError, ValueError, pa.ArrowInvalid) as e:
        raise SchemaError(
            f"{type(schema).__name__} is no Arrow schema ({e}); "
            "give a pyarrow.Schema or anything with __arrow_c_schema__"
        ) from None


def warehouse_type(column: str, kind: pa.DataType) -> pa.DataType:
    """Return the type of a column in a fact table; `SchemaError` if there is none for it."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind):
        return warehouse_type(column, kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    ):
        return pa.binary()
    if types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if types.is_date(kind):
        return pa.date32()
    if types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return pa.decimal128(kind.precision, kind.scale)
    widened_integers = {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
    }
    if kind in widened_integers:
        return widened_integers[kind]
    if (
        types.is_signed_integer(kind)
        or types.is_boolean(kind)
        or types.is_float32(kind)
        or types.is_float64(kind)
    ):
        return kind
    raise SchemaError(
        f"column {column!r} is {kind}, which no fact table holds; cast it or leave it out", column
    )


def widened(schema: pa.Schema) -> dict[str, tuple[pa.DataType, pa.DataType]]:
    """Return the columns whose values get another type in the warehouse, with both types.

    Another layout of the same values (dictionary, large_string, zone) is no widening.
    """
    import pyarrow as pa
    from pyarrow import types

    changed = {}
    for column in schema:
        target = warehouse_type(column.name, column.type)
        same = types.is_dictionary(column.type) or target in (pa.string(), pa.binary())
        if types.is_timestamp(column.type):
            same = column.type.unit == "us"
        if not same and target != column.type:
            changed[column.name] = (column.type, target)
    return changed


def file_type(column: str, kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type to hand to the Parquet writer: the warehouse's, but codes stay codes.

    The writer takes dictionary codes of strings as they are, without hashing the values again.
    """
    import pyarrow as pa
    from pyarrow import types

    target = warehouse_type(column, kind)
    if types.is_dictionary(kind) and target == pa.string() and types.is_string(kind.value_type):
        return kind
    return target


def to_file_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast a column to its `file_type`. Nanoseconds are cut to the microsecond they are in."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if column.type == kind:
        return column
    try:
        if types.is_timestamp(column.type) and column.type.unit == "ns":
            # A plain cast rounds towards 1970, which moves earlier times forward.
            naive = column.cast(pa.timestamp("ns"))
            return pc.floor_temporal(naive, unit="microsecond").cast(pa.timestamp("us")).cast(kind)
        return column.cast(kind)
    except pa.ArrowInvalid as e:
        raise InvalidError(f"a value of type {column.type} does not fit the warehouse's {kind}: {e}") from e


def unknown_column(name: str, known: Iterable[str], where: str) -> SchemaError:
    """Return the error for a column that is not there; it suggests the nearest that is."""
    columns = list(known)
    near = difflib.get_close_matches(str(name), columns, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(columns)}"
    return SchemaError(f"{where} has no column {name!r}; {hint}", str(name))


def require_distinct(names: Iterable[str], where: str) -> None:
    """Raise `SchemaError` if two names are one to SQL, which knows no case."""
    folded: dict[str, str] = {}
    for name in names:
        other = folded.get(name.lower())
        folded[name.lower()] = name
        if other is not None:
            raise SchemaError(
                f"{where} has the columns {other!r} and {name!r}, one name to SQL; rename one", name
            )


def require_columns(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `SchemaError` unless every name is known."""
    columns = list(known)
    for name in names:
        if name not in columns:
            raise unknown_column(name, columns, where)
