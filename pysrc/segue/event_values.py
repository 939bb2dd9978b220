"""From Python values to what the event store takes: batches, keys, times, columns by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segue.errors import InvalidError, SchemaError

if TYPE_CHECKING:
    import datetime as dt

    import pyarrow as pa

    from segue import _engine

__all__ = ["EventValues", "shown", "window_width"]


class EventValues:
    """Converts values for one event table."""

    def __init__(self, store: _engine.EventStore, schema: pa.Schema) -> None:
        self._store = store
        self._schema = schema
        self._names: list[str] = schema.names
        self._key = tuple(store.key)
        self._time = store.time

    def batch(self, data: Any) -> pa.RecordBatch:
        """Return events that were given as a mapping of columns or a list of mappings."""
        import pyarrow as pa

        if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
            if not all(isinstance(row, Mapping) for row in data):
                raise InvalidError("a list of events must hold mappings of column name to value")
            # No event at all is an empty batch, as when a buffer is flushed that nothing came into.
            names = list(dict.fromkeys(name for row in data for name in row)) if data else self._names
            data = {name: [row.get(name) for row in data] for name in names}
        if not isinstance(data, Mapping):
            raise InvalidError(
                "append_batch takes Arrow data, a mapping of columns or a list of mappings, "
                f"not {type(data).__name__}"
            )
        arrays: dict[str, pa.Array] = {}
        for name, values in data.items():
            if name not in self._names:
                raise SchemaError(
                    f"there is no column {name!r}; the table has: {', '.join(self._names)}", name
                )
            kind = self._schema.field(name).type
            if pa.types.is_dictionary(kind):
                kind = pa.string()
            try:
                if pa.types.is_timestamp(kind):
                    kind = _exact_time_type(name, values, kind)
                array = _chunks(values, kind) if _is_arrow_stream(values) else pa.array(values, type=kind)
                arrays[name] = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            except SchemaError:
                raise
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise SchemaError(f"column {name!r} is {kind}: {error}", name) from error
        try:
            return pa.record_batch(arrays)
        except (pa.ArrowException, ValueError) as error:
            raise SchemaError(f"the columns do not make a table: {error}") from error

    def columns(self, columns: Sequence[str] | None) -> list[int]:
        """Return the places of columns by their names; of all for None."""
        if columns is None:
            return list(range(len(self._names)))
        if isinstance(columns, str):
            raise InvalidError(f"columns={columns!r} is a string; give a list of names")
        for name in columns:
            if name not in self._names:
                raise SchemaError(
                    f"there is no column {name!r}; the table has: {', '.join(self._names)}", name
                )
        return [self._names.index(name) for name in columns]

    def time(self, what: str, value: Any) -> int | None:
        """Return a bound on times in the time column's unit; `what` is its name in messages."""
        if value is None:
            return None
        import datetime as dt

        import pyarrow as pa

        kind = self._schema.field(self._time).type
        if isinstance(value, (bool, float)):
            raise InvalidError(f"{what}={value!r} is not a time")
        if isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                raise InvalidError(f"{what}={shown(value)} is not a time for column {self._time!r} ({kind})")
            return value
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        if (bound := _first_at_or_after(value, kind.unit)) is not None:
            return bound
        try:
            return int(pa.scalar(value, type=pa.timestamp(kind.unit)).value)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InvalidError(
                f"{what}={value!r} is not a time for column {self._time!r} ({kind}): give a datetime, "
                f"a numpy.datetime64 or an int"
            ) from error

    def key(self, key: Any) -> bytes:
        """Return a key as the store compares it; a tuple for one of several columns."""
        values = key if isinstance(key, tuple) else (key,)
        if (plain := self._store.encode_plain_key(values)) is not None:
            return plain
        if len(values) != len(self._key):
            raise InvalidError(f"key={key!r} has {len(values)} parts; the key is ({', '.join(self._key)})")
        import pyarrow as pa

        arrays = {}
        for name, value in zip(self._key, values, strict=True):
            kind = self._schema.field(name).type
            if pa.types.is_dictionary(kind):
                kind = pa.string()
            try:
                arrays[name] = pa.array([value], type=kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise SchemaError(
                    f"key column {name!r} is {kind}: {value!r} does not fit ({error})", name
                ) from error
        schema, array = pa.record_batch(arrays).__arrow_c_array__()
        return self._store.encode_key(schema, array)


def shown(value: Any) -> str:
    """Return a value for a message, which has no room for a long one.

    >>> shown("home"), len(shown("x" * 1000)), shown(10**5000)
    ("'home'", 100, 'a number of thousands of digits')
    """
    try:
        text = repr(value)
    except ValueError:  # Python converts no such number to text
        return "a number of thousands of digits"
    return text if len(text) <= 100 else text[:97] + "..."


def _is_arrow_stream(values: Any) -> bool:
    """Whether a column comes in Arrow's chunks. pandas' own conversion knows which of its values are null."""
    return hasattr(values, "__arrow_c_stream__") and type(values).__module__.partition(".")[0] != "pandas"


def _chunks(values: Any, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column of Arrow's chunks as the table's type; text as it is: the store takes all layouts."""
    import pyarrow as pa

    chunks = pa.chunked_array(values)
    return chunks if pa.types.is_string(kind) or pa.types.is_binary(kind) else chunks.cast(kind)


def _first_at_or_after(value: Any, unit: str) -> int | None:
    """Round a bound up that is finer than the column: ``>=`` and ``<`` mean the same then. None if it is not.

    >>> import numpy as np
    >>> _first_at_or_after(np.datetime64("1970-01-01T00:00:00.5"), "s")
    1
    >>> _first_at_or_after(np.datetime64("1969-12-31T23:59:58.5"), "s")
    -1
    """
    import datetime as dt

    import numpy as np

    moment = value.to_datetime64() if hasattr(value, "to_datetime64") else value  # pandas has nanoseconds
    if isinstance(moment, dt.datetime):
        moment = np.datetime64(moment, "us")
    if not isinstance(moment, np.datetime64) or np.isnat(moment):
        return None
    fine, factor = np.datetime_data(moment.dtype)
    if factor != 1 or fine not in _PER_SECOND or _PER_SECOND[fine] <= _PER_SECOND[unit]:
        return None
    return -(-int(moment.astype(np.int64)) // (_PER_SECOND[fine] // _PER_SECOND[unit]))


_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _exact_time_type(name: str, values: Any, kind: pa.DataType) -> pa.DataType:
    """Return the type to read times as. pyarrow cuts Python's to a type's unit; the store refuses to lose."""
    import pyarrow as pa

    typed = getattr(getattr(values, "dtype", None), "kind", "O") != "O"  # pyarrow cuts no array of numpy's
    if kind.unit == "ns" or typed or isinstance(values, pa.Array) or _is_arrow_stream(values):
        return kind
    if all(value is None or isinstance(value, int) for value in values):
        return kind
    for row, value in enumerate(values):
        if getattr(value, "nanosecond", 0):
            why = "is finer than the column's unit of time; round it first"
            raise SchemaError(f"column {name!r}, row {row}: {value!r} {why}", name)
    return pa.timestamp("us", kind.tz)


def window_width(window: str | dt.timedelta, schema: pa.Schema, time: str) -> int:
    """Return the width of a time window in the unit of the time column."""
    import datetime as dt

    import pyarrow as pa

    if isinstance(window, dt.timedelta):
        micros = window // dt.timedelta(microseconds=1)
    elif window in ("minute", "hour", "day"):
        micros = {"minute": 60, "hour": 3600, "day": 86400}[window] * 1_000_000
    else:
        raise InvalidError(f"window={window!r} is unknown; use 'day', 'hour', 'minute' or a timedelta")
    index = schema.get_field_index(time)
    kind = schema.field(index).type if index >= 0 else None
    if kind is None or not pa.types.is_timestamp(kind):
        return 0  # the store says what is wrong with the column
    nanos = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[kind.unit]
    width, rest = divmod(micros * 1000, nanos)
    if width < 1 or rest or width >= 2**63:
        raise InvalidError(f"window={window!r} is not a positive multiple of the unit of {time!r} ({kind})")
    return width
