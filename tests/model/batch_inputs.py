"""The forms that ``append_batch`` takes rows in: each is the same events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Row = tuple[Any, ...]

WAYS = ["columns", "mappings", "table", "strings", "chunks", "numpy", "pandas", "polars"]


def batch_input(schema: pa.Schema, rows: list[Row], way: str) -> Any:
    """Rows, with times and dates as int, in one of `WAYS`."""
    if way == "mappings" and rows:
        return [dict(zip(schema.names, row, strict=True)) for row in rows]
    columns = {name: [row[c] for row in rows] for c, name in enumerate(schema.names)}
    if way in ("columns", "mappings"):
        return columns
    if way == "numpy":
        return {name: numpy_array(values, schema.field(name).type) for name, values in columns.items()}
    plain = way not in ("table", "pandas", "polars")
    types = {f.name: pa.string() if plain and pa.types.is_dictionary(f.type) else f.type for f in schema}
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    if way == "chunks":
        half = len(rows) // 2
        return pa.concat_tables([table.slice(0, half), table.slice(half)])
    if way == "pandas":
        import pandas as pd

        return table.to_pandas(types_mapper=pd.ArrowDtype)
    if way == "polars":
        import polars as pl

        frame = pl.from_arrow(table)
        # It has no seconds: milliseconds are refused, as they might have to be cut.
        return frame if not has_seconds(schema) else table
    return table


def has_seconds(schema: pa.Schema) -> bool:
    return any(pa.types.is_timestamp(f.type) and f.type.unit == "s" for f in schema)


def numpy_array(values: list[Any], kind: pa.DataType) -> Any:
    """The array that somebody would have it in; what numpy cannot say stays objects."""
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.array(values, object if None in values else kind.to_pandas_dtype())
    if pa.types.is_timestamp(kind) and -(2**63) not in values:  # which is NaT
        nat = [-(2**63) if value is None else value for value in values]
        return np.array(nat, np.int64).view(f"datetime64[{kind.unit}]")
    if pa.types.is_date(kind):
        return np.array(values, "datetime64[D]")
    array = np.empty(len(values), object)
    array[:] = values
    return array
