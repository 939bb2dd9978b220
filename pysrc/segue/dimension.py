"""Dimensions: small tables beside the facts, each one Parquet file that is replaced whole.

The catalog names the current file of a dimension, so replacing the catalog is what replaces
the dimension: readers see the old rows or the new ones, also after power loss.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .durable import storage_error, sync_directory, sync_file
from .errors import CorruptionError, InvalidError, SchemaError
from .warehouse_types import require_distinct, unknown_column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Dimension",
    "as_table",
    "check_dimension",
    "read_dimension",
    "remove_other_files",
    "write_dimension",
]


@dataclass(frozen=True)
class Dimension:
    """A dimension in memory: `key` is unique and has no nulls."""

    name: str
    key: str
    table: pa.Table


def as_table(data: Any) -> pa.Table:
    """Return an Arrow table from anything that speaks Arrow, or from a dict of columns.

    String and binary views and run-end encodings become the plain types, which every reader has.
    """
    import pyarrow as pa

    try:
        if isinstance(data, pa.Table):
            table = data
        elif hasattr(data, "__arrow_c_stream__"):
            table = pa.RecordBatchReader.from_stream(data).read_all()
        else:
            table = pa.table(data)
    except (TypeError, ValueError, pa.ArrowException) as e:
        raise InvalidError(
            f"{type(data).__name__} is no table ({e}); give anything with __arrow_c_stream__ "
            "(pyarrow, pandas, Polars, DuckDB) or a dict of columns"
        ) from None
    schema = pa.schema([field.with_type(_plain(field.type)) for field in table.schema])
    if schema != table.schema:
        table = table.cast(schema)
    return table.replace_schema_metadata(None)


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa
    from pyarrow import types

    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _plain(kind.value_type), kind.ordered)
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_struct(kind):
        return pa.struct(
            [kind.field(i).with_type(_plain(kind.field(i).type)) for i in range(kind.num_fields)]
        )
    return kind


def check_dimension(name: str, table: pa.Table, key: str) -> pa.Table:
    """Give the table back with a plain key column, once its key is found unique and not null."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    require_distinct(table.column_names, f"dimension {name!r}")
    if key not in table.column_names:
        raise unknown_column(key, table.column_names, f"dimension {name!r}")
    keys = table.column(key)
    if types.is_dictionary(keys.type):
        keys = keys.cast(keys.type.value_type)
        table = table.set_column(table.column_names.index(key), key, keys)
    if types.is_nested(keys.type) or types.is_floating(keys.type) or types.is_null(keys.type):
        raise SchemaError(
            f"dimension {name!r}: key {key!r} is {keys.type}; use integers, strings or dates", key
        )
    if keys.null_count:
        row = pc.index(pc.is_null(keys), pa.scalar(True)).as_py()
        raise InvalidError(f"dimension {name!r}: key {key!r} is null in row {row}; a key has no nulls")
    if len(keys) and pc.count_distinct(keys).as_py() != len(keys):
        counts = pc.value_counts(keys)
        repeated = pc.greater(counts.field("counts"), 1)
        first = counts.filter(repeated)[0].as_py()
        raise InvalidError(
            f"dimension {name!r}: key {key!r} has the value {first['values']!r} {first['counts']} times; "
            "a key is unique"
        )
    return table


def write_dimension(folder: Path, name: str, table: pa.Table) -> str:
    """Write and sync a new file for the table; gives its name. Nothing refers to it yet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = f"{name}-{uuid.uuid4().hex}.parquet"
    path = folder / file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The Arrow schema goes along, so that the table reads back with its very types.
        pq.write_table(table, path, compression="zstd", row_group_size=1 << 20, store_schema=True)
        sync_file(path)
        sync_directory(folder)
        sync_directory(folder.parent)
    except BaseException as e:
        with contextlib.suppress(OSError):
            path.unlink()
        if isinstance(e, OSError):
            raise storage_error(e, f"cannot write dimension {name!r}") from e
        if isinstance(e, pa.ArrowNotImplementedError | pa.ArrowInvalid | pa.ArrowTypeError):
            raise SchemaError(f"dimension {name!r} has a column that Parquet cannot hold: {e}") from e
        raise
    return file


def read_dimension(path: Path) -> pa.Table:
    """Read a dimension's file. `FileNotFoundError` is the caller's: the file may have been replaced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as e:
        raise CorruptionError(f"the dimension's file {path} cannot be read: {e}", str(path)) from e


def remove_other_files(folder: Path, keep: str) -> None:
    """Remove what earlier generations, and writers that died, left. The caller holds the table's lock."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name != keep and entry.name.endswith(".parquet"):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
