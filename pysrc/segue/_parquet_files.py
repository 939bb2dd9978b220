"""Parquet footers, read once and reduced to what a scan of pages needs.

pyarrow reads the footer; the pages themselves are parsed by the native core. Footers are
cached by (path, size, modification time), so that a file is parsed again only when it was
replaced.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import CorruptionError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnInfo", "ColumnMissing", "Footer", "PageRange", "UnsupportedColumn", "read_footer"]

# Numbers of scan::PhysicalType.
BOOLEAN, INT32, UINT32, INT64, FLOAT, DOUBLE, BYTE_ARRAY, FIXED_BYTES = range(8)

_CODECS: Final = {
    "UNCOMPRESSED": None,
    "SNAPPY": "snappy",
    "GZIP": "gzip",
    "BROTLI": "brotli",
    "ZSTD": "zstd",
    "LZ4": "lz4_raw",  # pyarrow's name for LZ4_RAW; the older Hadoop framing has another
    "LZ4_RAW": "lz4_raw",
}
"""Compression as a footer names it, to the name of pyarrow's codec."""

_ENCODINGS: Final = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}
"""What may stand in a chunk's list. BIT_PACKED is listed by old writers for levels that a
required column does not have; where such levels really occur, the page reader says so."""


class UnsupportedColumn(Exception):  # noqa: N818 - the caller turns it into its own
    """The column is valid Parquet that the native scan does not read."""


class ColumnMissing(Exception):  # noqa: N818
    """The file has no column of this name (it is older than the column): all NULL."""


class PageRange(NamedTuple):
    """The bytes of one column chunk, dictionary page included."""

    offset: int
    size: int
    values: int
    uncompressed_size: int
    codec: str | None


@dataclass(frozen=True)
class ColumnInfo:
    """How a column stands in one file."""

    physical: int
    """Number of scan::PhysicalType."""
    fixed_length: int
    nullable: bool
    stored: pa.DataType
    """Arrow type of the stored values; strings of every layout are ``string``."""
    form: str
    """Columns of equal form have comparable keys, whichever file they come from."""
    chunks: tuple[PageRange, ...]
    """One for each row group."""


@dataclass
class Footer:
    """What a scan needs of a file's metadata."""

    path: str
    size: int
    row_groups: tuple[int, ...]
    """Rows of each row group."""
    metadata: Any
    """pyarrow's FileMetaData."""
    _schema: pa.Schema
    _columns: dict[str, ColumnInfo] = field(default_factory=dict)

    def column(self, name: str) -> ColumnInfo:
        """Return how column `name` stands in the file.

        Raises
        ------
        ColumnMissing
            There is none of this name.
        UnsupportedColumn
            It is nested, or of a type, encoding or compression that is not read natively.
        """
        found = self._columns.get(name)
        if found is None:
            # Two threads may both make it: the results are equal.
            found = self._columns[name] = self._read_column(name)
        return found

    def _read_column(self, name: str) -> ColumnInfo:
        matches = self._schema.get_all_field_indices(name)
        if not matches:
            raise ColumnMissing(name)
        if len(matches) > 1:
            raise UnsupportedColumn(f"{self.path} has {len(matches)} columns named '{name}'")
        schema = self.metadata.schema
        leaves = [i for i in range(len(schema)) if schema.column(i).path == name]
        arrow = self._schema.field(matches[0]).type
        if len(leaves) != 1:
            raise UnsupportedColumn(f"column '{name}' of {self.path} is nested ({arrow})")
        leaf = schema.column(leaves[0])
        if leaf.max_repetition_level != 0 or leaf.max_definition_level > 1:
            raise UnsupportedColumn(f"column '{name}' of {self.path} is nested ({arrow})")
        physical, stored, form = _physical_type(leaf, arrow, f"column '{name}' of {self.path}")
        return ColumnInfo(
            physical=physical,
            fixed_length=leaf.length if physical == FIXED_BYTES else 0,
            nullable=leaf.max_definition_level == 1,
            stored=stored,
            form=form,
            chunks=tuple(self._chunk(group, leaves[0], name) for group in range(len(self.row_groups))),
        )

    def _chunk(self, group: int, leaf: int, name: str) -> PageRange:
        try:
            chunk = self.metadata.row_group(group).column(leaf)
            codec_name = chunk.compression
            encodings = set(chunk.encodings)
            start = chunk.data_page_offset
            # Some writers leave 0 in the offset of a dictionary that is not there.
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            found = PageRange(
                start, chunk.total_compressed_size, chunk.num_values, chunk.total_uncompressed_size, None
            )
            elsewhere = chunk.file_path
        except (OSError, ValueError, OverflowError) as error:
            raise CorruptionError(
                f"damaged Parquet footer of {self.path}: {error}", self.path, self.size
            ) from error
        where = f"column '{name}' of {self.path}"
        if elsewhere:
            raise UnsupportedColumn(f"{where} is kept in another file, {elsewhere}")
        if codec_name not in _CODECS:
            raise UnsupportedColumn(f"{where} is compressed with {codec_name}")
        if encodings - _ENCODINGS:
            raise UnsupportedColumn(
                f"{where} has pages encoded as {', '.join(sorted(encodings - _ENCODINGS))}"
            )
        if found.offset < 0 or found.size < 0 or found.offset + found.size > self.size or found.values < 0:
            raise CorruptionError(
                f"damaged Parquet footer of {self.path}: {where} lies at bytes {found.offset} to "
                f"{found.offset + found.size} of {self.size}",
                self.path,
                self.size,
            )
        return found._replace(codec=_CODECS[codec_name])


def _physical_type(leaf: Any, arrow: pa.DataType, where: str) -> tuple[int, pa.DataType, str]:
    """Return the physical type's number, the stored Arrow type and the form of its keys."""
    import pyarrow as pa

    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    types = pa.types
    kind = leaf.physical_type
    if kind == "BOOLEAN" and types.is_boolean(arrow):
        return BOOLEAN, arrow, "bool"
    if kind in ("INT32", "INT64"):
        number = INT32 if kind == "INT32" else INT64
        if types.is_uint64(arrow):
            return number, arrow, "uint64"
        if types.is_integer(arrow):
            return UINT32 if types.is_unsigned_integer(arrow) and number == INT32 else number, arrow, "int"
        if types.is_date32(arrow) and number == INT32:
            return number, arrow, "date"
        if types.is_date64(arrow) and number == INT32:
            return number, pa.date32(), "date"
        if types.is_timestamp(arrow) and number == INT64:
            return number, arrow, f"timestamp {arrow.unit} {'instant' if arrow.tz else 'local'}"
        if types.is_time(arrow) or types.is_duration(arrow):
            return number, arrow, str(arrow)
        if types.is_decimal(arrow):
            stored = pa.decimal128(arrow.precision, arrow.scale)
            return number, stored, f"integer {stored}"
    if kind == "FLOAT" and types.is_float32(arrow):
        return FLOAT, arrow, "float"
    if kind == "DOUBLE" and types.is_float64(arrow):
        return DOUBLE, arrow, "double"
    if kind == "BYTE_ARRAY":
        if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
            return BYTE_ARRAY, pa.string(), "string"
        if types.is_binary(arrow) or types.is_large_binary(arrow) or types.is_binary_view(arrow):
            return BYTE_ARRAY, pa.binary(), "binary"
    if kind == "FIXED_LEN_BYTE_ARRAY":
        if types.is_decimal(arrow) and leaf.length <= 16:
            stored = pa.decimal128(arrow.precision, arrow.scale)
            return FIXED_BYTES, stored, f"bytes[{leaf.length}] {stored}"
        if types.is_fixed_size_binary(arrow):
            return FIXED_BYTES, arrow, str(arrow)
    raise UnsupportedColumn(f"{where} is {arrow}, stored as {kind}")


_CACHE_SIZE: Final = 4096
_cache: OrderedDict[tuple[str, int, int], Footer] = OrderedDict()
_cache_lock = threading.Lock()


def read_footer(path: str) -> Footer:
    """Return the footer of a local Parquet file, from the cache when the file is unchanged.

    Raises
    ------
    StorageError
        The file cannot be read.
    CorruptionError
        It is no Parquet file, or its footer is damaged.
    UnsupportedColumn
        Its footer is encrypted.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", path, error.errno or 0) from error
    key = (path, status.st_size, status.st_mtime_ns)
    with _cache_lock:
        found = _cache.get(key)
        if found is not None:
            _cache.move_to_end(key)
            return found
    footer = _parse_footer(path, status.st_size)
    with _cache_lock:
        _cache[key] = footer
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return footer


def _parse_footer(path: str, size: int) -> Footer:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        rows = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's errors are among these
        if "ncrypt" in str(error):
            raise UnsupportedColumn(f"{path} is encrypted") from error
        if isinstance(error, NotImplementedError):
            raise UnsupportedColumn(f"{path}: {error}") from error
        raise CorruptionError(f"damaged Parquet footer of {path}: {error}", path, max(size - 8, 0)) from error
    if any(count < 0 for count in rows):
        raise CorruptionError(
            f"damaged Parquet footer of {path}: a row group of {min(rows)} rows", path, size
        )
    return Footer(path=path, size=size, row_groups=rows, metadata=metadata, _schema=schema)
