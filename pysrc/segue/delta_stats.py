"""Statistics of a Parquet file in the form that Delta Lake's log keeps them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["file_stats"]

#: Longest string bound that goes into the log; a longer one would bloat it.
_LONGEST_STRING = 64


def file_stats(footer: pq.FileMetaData, schema: pa.Schema) -> str:
    """``numRecords``, and where they are certain ``minValues``, ``maxValues``, ``nullCount``.

    Bounds are given for integers, dates, timestamps and short strings. Floats have none: the
    footer's leave NaN out, which readers order above every number.
    """
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index, field in enumerate(schema):
        chunks = [footer.row_group(g).column(index).statistics for g in range(footer.num_row_groups)]
        if not chunks or any(c is None for c in chunks):
            continue
        if all(c.has_null_count for c in chunks):
            nulls[field.name] = sum(c.null_count for c in chunks)
        bounds = _bounds(chunks, field.type)
        if bounds is not None:
            minimum[field.name], maximum[field.name] = bounds
    return json.dumps(
        {"numRecords": footer.num_rows, "minValues": minimum, "maxValues": maximum, "nullCount": nulls},
        separators=(",", ":"),
    )


def _bounds(chunks: list[Any], kind: pa.DataType) -> tuple[Any, Any] | None:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (
        types.is_signed_integer(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
        or types.is_string(kind)
    ):
        return None
    # A row group of nulls only has no bounds and takes nothing from the others'.
    chunks = [c for c in chunks if c.has_min_max or not (c.has_null_count and c.num_values == 0)]
    if not chunks or not all(c.has_min_max for c in chunks):
        return None
    try:
        low, high = min(c.min for c in chunks), max(c.max for c in chunks)
    except (OverflowError, ValueError):  # A time outside Python's years: readers must open the file.
        return None
    if types.is_string(kind):
        if max(len(low), len(high)) > _LONGEST_STRING:
            return None
        return low, high
    if types.is_timestamp(kind):
        return _timestamp(low, kind, up=False), _timestamp(high, kind, up=True)
    if types.is_date(kind):
        return low.isoformat(), high.isoformat()
    return low, high


def _timestamp(value: dt.datetime, kind: pa.DataType, *, up: bool) -> str:
    """Return a bound to the millisecond, as Delta has them, rounded outwards."""
    cut = value.replace(microsecond=value.microsecond // 1000 * 1000)
    if up and cut != value:
        cut += dt.timedelta(milliseconds=1)
    text = cut.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return text + "Z" if kind.tz else text
