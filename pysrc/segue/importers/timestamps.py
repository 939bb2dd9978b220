"""From what files call a time (text, numbers, dates) to a timestamp column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from segue.errors import InvalidError, SchemaError

__all__ = ["TimeParser", "is_text"]

UTC_MICROS = pa.timestamp("us", "UTC")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
# 0001-01-01 and 10000-01-01 in microseconds: what a timestamp can be everywhere it goes (Delta, Python, SQL).
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_800_000_000


def is_text(kind: pa.DataType) -> bool:
    """Whether columns of this type hold strings, in whatever layout."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    view = getattr(pa.types, "is_string_view", None)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or bool(view and view(kind))


class TimeParser:
    """Turns time columns into timestamps; what cannot be read becomes null.

    Parameters
    ----------
    column
        Name of the time column, for messages.
    unit
        Unit of numbers since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
    format
        `strptime` format of text; without it ISO 8601 and its relatives are understood
        ("2024-01-31T23:59:59.5+01:00", "2024-01-31 23:59"), UTC where no offset is given.
    """

    def __init__(self, column: str, unit: str | None = None, format: str | None = None) -> None:  # noqa: A002
        if unit is not None and unit not in _PER_SECOND:
            raise InvalidError(f"time unit {unit!r} is unknown; use one of {', '.join(_PER_SECOND)}")
        self.column = column
        self.unit = unit
        self.format = format
        self._duckdb: Any = None

    def result_type(self, kind: pa.DataType) -> pa.DataType:
        """Return the timestamp type that a column of type `kind` becomes."""
        if self.format is not None and not is_text(kind):
            raise InvalidError(
                f"column {self.column!r} is {kind}, which needs no --time-format; leave it out"
            )
        if pa.types.is_timestamp(kind):
            return kind
        if pa.types.is_date(kind):
            return pa.timestamp("us")
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if number or is_text(kind):
            return UTC_MICROS
        raise SchemaError(f"column {self.column!r} is {kind} and cannot be the time of an event", self.column)

    def parse(self, values: pa.Array) -> pa.Array:
        """Return timestamps of :meth:`result_type`; null where there is none, or none that can be read."""
        kind = values.type
        if pa.types.is_timestamp(kind):
            return values
        if pa.types.is_date(kind):
            return pc.cast(values, pa.timestamp("us"))
        if is_text(kind):
            if self.unit is not None:
                number = "DOUBLE" if self._fractions(values) else "BIGINT"
                return self._numbers(self._sql(f"TRY_CAST(x AS {number})", values))
            return self._text(values)
        return self._numbers(values)

    @staticmethod
    def _fractions(values: pa.Array) -> bool:
        return bool(pc.any(pc.match_substring(pc.cast(values, pa.string()), ".")).as_py())

    def _text(self, values: pa.Array) -> pa.Array:
        if self.format is not None:
            text = pc.cast(values, pa.string())
            parsed = pc.strptime(text, format=self.format, unit="us", error_is_null=True)
            return self._bounded(pc.cast(parsed, pa.int64()))
        # DuckDB reads every ISO form, offsets included, turns the others into null, and does so in columns.
        return self._bounded(
            pc.cast(self._sql("CAST(TRY_CAST(x AS TIMESTAMPTZ) AS TIMESTAMP)", values), pa.int64())
        )

    def _numbers(self, values: pa.Array) -> pa.Array:
        if self.unit is None:
            sample = values.drop_null()
            hint = (
                f" ({sample[0].as_py()} looks like {_likely_unit(sample[0].as_py())})" if len(sample) else ""
            )
            raise InvalidError(
                f"column {self.column!r} holds numbers: name their unit, --time-unit s, ms, us or ns{hint}"
            )
        per_second = _PER_SECOND[self.unit]
        if pa.types.is_floating(values.type):
            micros = pc.multiply(pc.cast(values, pa.float64()), 1_000_000 / per_second)
            usable = pc.and_(pc.greater_equal(micros, float(_FIRST)), pc.less(micros, float(_LAST)))
            micros = pc.cast(pc.round(pc.if_else(usable, micros, None)), pa.int64())
        else:
            if pa.types.is_uint64(values.type):
                values = pc.if_else(pc.less(values, pa.scalar(1 << 63, pa.uint64())), values, None)
            numbers = pc.cast(values, pa.int64())
            if per_second <= 1_000_000:
                scale = 1_000_000 // per_second
                # Bounded before multiplying: a wrong unit must give null, not a wrapped number.
                usable = pc.and_(
                    pc.greater_equal(numbers, _FIRST // scale), pc.less_equal(numbers, _LAST // scale)
                )
                micros = pc.multiply(pc.if_else(usable, numbers, None), scale)
            else:
                # Rounds towards minus infinity, which integer division in Arrow does not.
                remainder = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 1000), 1000))
                micros = pc.subtract(pc.divide(numbers, 1000), pc.cast(pc.less(remainder, 0), pa.int64()))
        return self._bounded(micros)

    @staticmethod
    def _bounded(micros: pa.Array) -> pa.Array:
        usable = pc.and_(pc.greater_equal(micros, _FIRST), pc.less(micros, _LAST))
        return pc.if_else(usable, micros, None).cast(pa.timestamp("us")).cast(UTC_MICROS)

    def _sql(self, expression: str, values: pa.Array) -> pa.Array:
        if self._duckdb is None:
            import duckdb

            self._duckdb = duckdb.connect(":memory:", config={"threads": 1})
            self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.register("texts", pa.table({"x": pc.cast(values, pa.string())}))
        found = self._duckdb.sql(f"SELECT {expression} AS y FROM texts").to_arrow_table()["y"]
        self._duckdb.unregister("texts")
        return pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], found.type)


def _likely_unit(value: float) -> str:
    """Return the unit in which `value` falls near today."""
    for unit in ("s", "ms", "us"):
        if abs(value) < 1e11 * _PER_SECOND[unit]:
            return unit
    return "ns"
