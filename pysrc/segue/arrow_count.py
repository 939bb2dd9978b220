"""Counting rows of Arrow data by group, on the kernels that count the pages of fact tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from . import _engine
from ._group_values import GroupValues, decode_bytes, decode_numbers, plain_type
from .errors import InvalidError, SchemaError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["count_groups"]

_DENSE_BYTES: Final = 256 << 20


def count_groups(data: Any, by: str | Sequence[str]) -> pa.Table:
    """Count the rows of Arrow data by group, in one pass and in constant memory per group.

    Parameters
    ----------
    data
        Anything with ``__arrow_c_stream__``, or a record batch.
    by
        Column or columns to group by.

    Returns
    -------
    pyarrow.Table
        The group columns under their names and ``count`` (int64), in no stated order. NULL
        is a group; every NaN is one group, and -0.0 is 0.0.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = count_groups(pa.table({"device": ["tv", "car", "tv", None]}), "device")
    >>> sorted(table.to_pylist(), key=str)
    [{'device': 'car', 'count': 1}, {'device': 'tv', 'count': 2}, {'device': None, 'count': 1}]
    """
    import pyarrow as pa

    names = [by] if isinstance(by, str) else list(by)
    reader = pa.RecordBatchReader.from_stream(data) if hasattr(data, "__arrow_c_stream__") else None
    if reader is None:
        batch = pa.record_batch(data)
        reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    schema = reader.schema
    for name in names:
        if len(schema.get_all_field_indices(name)) != 1:
            raise SchemaError(
                f"the data has no column '{name}' to group by (or several); it has {schema.names}", name
            )
    if "count" in names or len(set(names)) < len(names):
        raise InvalidError(f"by={names}: names must differ from each other and from 'count'")
    # The native side sees the group columns only: others may be of any type.
    positions = [schema.get_field_index(name) for name in names]
    narrow = pa.schema([schema.field(position) for position in positions])
    batches = (batch.select(positions) for batch in reader)
    stream = pa.RecordBatchReader.from_batches(narrow, batches)
    if not names:
        return pa.table({"count": pa.array([sum(batch.num_rows for batch in reader)], pa.int64())})
    is_bytes = [_is_bytes(plain_type(column.type)) for column in narrow]
    kinds = ["bytes" if found else "number" for found in is_bytes]
    native = _engine.GroupScan(kinds, 2**63, 1, _DENSE_BYTES, 2**62)
    native.worker().count_stream(stream.__arrow_c_stream__(), list(range(len(names))))
    ids, counts = native.finish()
    columns: dict[str, Any] = {}
    for c, name in enumerate(names):
        stored = plain_type(narrow.field(c).type)
        null_id = native.value_null_id(c)
        if pa.types.is_decimal(stored):
            offsets, found = native.strings(c)
            values = _little_endian_decimals(offsets, found, null_id, stored)
        elif is_bytes[c]:
            offsets, found = native.strings(c)
            values = decode_bytes(offsets, found, null_id, stored, 0, f"column '{name}'")
        else:
            values = decode_numbers(native.numbers(c), null_id, stored)
        columns[name] = GroupValues(values, narrow.field(c).type).take(ids[c], encoded=False)
    columns["count"] = pa.array(counts)
    return pa.table(columns)


def _is_bytes(type_: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_string(type_) or types.is_binary(type_) or types.is_decimal(type_))


def _little_endian_decimals(
    offsets: np.ndarray[Any, Any], data: np.ndarray[Any, Any], null_id: int | None, type_: pa.DataType
) -> pa.Array:
    """Return decimals from byte keys that are Arrow's own 16 bytes each."""
    import numpy as np

    rows = data.reshape(-1, 16)[:, ::-1]  # as decode_bytes takes them: big-endian
    return decode_bytes(offsets, np.ascontiguousarray(rows).reshape(-1), null_id, type_, 16, "")
