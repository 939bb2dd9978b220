"""Tables given by the caller of :func:`segue.sql`: Parquet paths and Arrow data as relations."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from segue.errors import CorruptionError, InvalidError, QueryError, SchemaError, StorageError
from segue.relations import ArrowRelation, DataFile, ParquetRelation, Relation

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sources", "parquet_relation"]

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


class Sources:
    """Named tables; each is turned into a relation when a statement first names it."""

    def __init__(self, tables: Mapping[str, object]) -> None:
        self._tables = dict(tables)
        self._relations: dict[str, Relation] = {}

    def names(self) -> list[str]:
        """All names, as given."""
        return list(self._tables)

    def resolve(self, name: str) -> Relation | None:
        """Return the relation of `name`, or None."""
        if name not in self._tables:
            return None
        if name not in self._relations:
            self._relations[name] = _relation(name, self._tables[name])
        return self._relations[name]


def _relation(name: str, data: object) -> Relation:
    import pyarrow as pa

    if isinstance(data, (ParquetRelation, ArrowRelation)):
        return data
    if isinstance(data, (str, os.PathLike)):
        return parquet_relation(name, [data])
    if isinstance(data, pa.Table):
        return ArrowRelation(name, data, None)
    if hasattr(data, "__arrow_c_stream__"):
        # A stream may be read once and a statement may read it twice, so it is taken in whole.
        return ArrowRelation(name, pa.table(data), None)
    if hasattr(data, "__arrow_c_array__"):
        return ArrowRelation(name, pa.Table.from_batches([pa.record_batch(data)]), None)
    if isinstance(data, Mapping):
        return ArrowRelation(name, pa.table(dict(data)), None)
    if isinstance(data, Sequence) and data and all(isinstance(path, (str, os.PathLike)) for path in data):
        return parquet_relation(name, data)
    raise InvalidError(
        f"tables[{name!r}] is a {type(data).__name__}: give a Parquet path, a glob, a list of paths, "
        "or data with the Arrow C stream interface"
    )


def parquet_relation(name: str, paths: Iterable[str | os.PathLike[str]]) -> ParquetRelation:
    """Return the Parquet files of `paths` (files, directories, globs) as one table.

    Folders called ``column=value`` make Hive partition columns: DATE where every value is a
    date, BIGINT where every value is an integer, else VARCHAR. All files must have the same
    such folders, and the same columns.
    """
    import pyarrow as pa

    found = list(
        dict.fromkeys(os.path.abspath(file) for path in paths for file in _expand(name, os.fspath(path)))
    )
    hive = [_hive_values(path) for path in found]
    keys = list(hive[0])
    for path, values in zip(found, hive, strict=True):
        if list(values) != keys:
            raise QueryError(
                f"table {name}: {path} is partitioned by {list(values) or 'nothing'}, "
                f"{found[0]} by {keys or 'nothing'}"
            )
    typed = {key: _typed([values[key] for values in hive]) for key in keys}
    schema: pa.Schema | None = None
    files = []
    for i, path in enumerate(found):
        rows, size, own = _footer(path)
        own = pa.schema([field for field in own if field.name not in keys])
        if schema is None:
            schema = own
        else:
            _check_same(name, path, own, found[0], schema)
        files.append(DataFile(path, rows, size, {key: typed[key][0][i] for key in keys}))
    assert schema is not None
    for key in keys:
        schema = schema.append(pa.field(key, typed[key][1]))
    return ParquetRelation(name, schema, tuple(files), tuple(keys), None, None)


def _expand(name: str, path: str) -> list[str]:
    if "://" in path:
        raise QueryError(f"table {name}: {path}: only local files are read")
    if os.path.isdir(path):
        if os.path.isdir(os.path.join(path, "_delta_log")):
            raise QueryError(
                f"table {name}: {path} is a Delta table, whose directory also holds files of other versions: "
                "open its database with segue.open, or pass deltalake.DeltaTable(path).file_uris()"
            )
        path = os.path.join(path, "**", "*.parquet")
    if os.path.isfile(path):
        return [path]
    files = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
    files = [file for file in files if not os.path.basename(file).startswith(("_", "."))]
    if not files:
        raise StorageError(f"table {name}: no Parquet file matches {path}", path, 2)
    return files


def _hive_values(path: str) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for folder in path.split(os.sep)[:-1]:
        key, equals, value = folder.partition("=")
        if equals and key:
            values[unquote(key)] = None if value == HIVE_NULL else unquote(value)
    return values


def _typed(texts: list[str | None]) -> tuple[list[object], pa.DataType]:
    """Partition values as dates if all are, else integers if all are, else strings."""
    import datetime as dt

    import pyarrow as pa

    present = [text for text in texts if text is not None]
    if present:
        try:
            if all(len(text) == 10 for text in present):
                dates = [None if text is None else dt.date.fromisoformat(text) for text in texts]
                return list(dates), pa.date32()
        except ValueError:
            pass
        if all(text.lstrip("-").isdecimal() and text.isascii() for text in present):
            integers = [None if text is None else int(text) for text in texts]
            if all(value is None or -(2**63) <= value < 2**63 for value in integers):
                return list(integers), pa.int64()
    return list(texts), pa.string()


def _footer(path: str) -> tuple[int, int, pa.Schema]:
    try:
        status = os.stat(path)
    except OSError as e:
        raise StorageError(f"{path}: {e.strerror}", path, e.errno or 0) from e
    return _read_footer(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read_footer(path: str, changed: int, size: int) -> tuple[int, int, pa.Schema]:
    """Rows, size and schema of a file as it was at `changed`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.metadata.num_rows, size, file.schema_arrow.remove_metadata()
    except pa.ArrowInvalid as e:
        raise CorruptionError(f"{path} is not a Parquet file: {e}", path, 0) from e
    except OSError as e:
        raise StorageError(f"{path}: {e}", path, e.errno or 0) from e


def _check_same(name: str, path: str, schema: pa.Schema, first: str, expected: pa.Schema) -> None:
    """Refuse files of other columns; their order, nullability and dictionaries may differ."""
    for field in expected:
        index = schema.get_field_index(field.name)
        if index < 0:
            raise SchemaError(
                f"table {name}: {path} has no column {field.name}, which {first} has", field.name
            )
        found = schema.field(index).type
        if _plain(found) != _plain(field.type):
            message = f"table {name}: {field.name} is {found} in {path} and {field.type} in {first}"
            raise SchemaError(message, field.name)
    for field in schema:
        if expected.get_field_index(field.name) < 0:
            raise SchemaError(
                f"table {name}: {path} has the column {field.name}, which {first} has not", field.name
            )


def _plain(data_type: pa.DataType) -> pa.DataType:
    import pyarrow.types as types

    return data_type.value_type if types.is_dictionary(data_type) else data_type
