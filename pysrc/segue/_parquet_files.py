"""Parquet footers, read once and reduced to what a scan of pages needs.

pyarrow reads the schema; where the column chunks lie, and the pages themselves, is parsed by
the native core (pyarrow's accessors end the process on some damaged chunk metadata). Footers
are cached by (path, size, modification time), so that a file is parsed again only when it
was replaced.
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

_TYPES: Final = {
    "BOOLEAN": 0,
    "INT32": 1,
    "INT64": 2,
    "INT96": 3,
    "FLOAT": 4,
    "DOUBLE": 5,
    "BYTE_ARRAY": 6,
    "FIXED_LEN_BYTE_ARRAY": 7,
}
"""Physical types by number, as in parquet.thrift."""

_CODECS: Final = {0: None, 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
"""Compression by number, as in parquet.thrift, to the name of pyarrow's codec. Not read: LZO (3)
and the older Hadoop framing of LZ4 (5)."""

_ENCODINGS: Final = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED",
                     6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY", 8: "RLE_DICTIONARY",
                     9: "BYTE_STREAM_SPLIT"}  # fmt: skip
"""What may stand in a chunk's list. BIT_PACKED is listed by old writers for levels that a
required column does not have; where such levels really occur, the page reader says so."""

_ENCODING_MASK: Final = sum(1 << number for number in _ENCODINGS)


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
    _leaves: Any
    """pyarrow's ParquetSchema: the leaf columns."""
    _schema: pa.Schema
    _native: Any
    """_engine.ParquetFooter: where the chunks lie."""
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
        schema = self._leaves
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
            chunks=self._chunks(leaves[0], name, leaf.physical_type),
        )

    def _chunks(self, leaf: int, name: str, physical_type: str) -> tuple[PageRange, ...]:
        if not self.row_groups:
            return ()
        if self._native.leaves != len(self._leaves):
            raise self._damaged(f"{self._native.leaves} column chunks for {len(self._leaves)} columns")
        return tuple(self._chunk(chunk, name, physical_type) for chunk in self._native.chunks(leaf))

    def _chunk(self, chunk: dict[str, Any], name: str, physical_type: str) -> PageRange:
        where = f"column '{name}' of {self.path}"
        if chunk["encrypted"]:
            raise UnsupportedColumn(f"{where} is encrypted")
        if chunk["file"]:
            raise UnsupportedColumn(f"{where} is kept in another file")
        if chunk["path"] != name.encode() or chunk["type"] != _TYPES[physical_type]:
            raise self._damaged(f"a chunk of {where} says it is of another column or type")
        if chunk["codec"] not in _CODECS:
            raise UnsupportedColumn(f"{where} is compressed with codec {chunk['codec']}")
        if unknown := chunk["encodings"] & ~_ENCODING_MASK:
            raise UnsupportedColumn(f"{where} has pages of encoding {unknown.bit_length() - 1}")
        start, size = chunk["data_page_offset"], chunk["compressed_size"]
        # Some writers leave 0 as the offset of a dictionary that is not there.
        if 0 < chunk["dictionary_page_offset"] < start:
            start = chunk["dictionary_page_offset"]
        if start < 0 or size < 0 or start + size > self.size:
            raise self._damaged(f"{where} lies at bytes {start} to {start + size} of {self.size}")
        if chunk["num_values"] < 0 or chunk["uncompressed_size"] < 0:
            raise self._damaged(f"a count or size of {where} is missing")
        codec = _CODECS[chunk["codec"]]
        return PageRange(start, size, chunk["num_values"], chunk["uncompressed_size"], codec)

    def _damaged(self, what: str) -> CorruptionError:
        return CorruptionError(f"damaged Parquet footer of {self.path}: {what}", self.path, self.size)


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


_FOOTER_GUESS: Final = 64 << 10
"""Bytes read from the end of a file at first: most footers are smaller."""


def _read_tail(path: str, size: int) -> bytes:
    """Return the footer's bytes, with the 8 bytes behind it."""

    def damaged(what: str) -> CorruptionError:
        return CorruptionError(f"{path} is no Parquet file or was cut short: {what}", path, max(size - 8, 0))

    if size < 12:
        raise damaged(f"it has {size} bytes")
    try:
        with open(path, "rb") as file:
            file.seek(max(size - _FOOTER_GUESS, 0))
            tail = file.read(min(size, _FOOTER_GUESS))
            if len(tail) < 12:
                raise damaged("it shrinks while it is read")
            if tail[-4:] == b"PARE":
                raise UnsupportedColumn(f"{path} is encrypted")
            if tail[-4:] != b"PAR1":
                raise damaged("it does not end as one")
            wanted = int.from_bytes(tail[-8:-4], "little") + 8
            if wanted > size - 4:
                raise damaged(f"its footer is to be {wanted - 8} bytes")
            if wanted > len(tail):
                file.seek(size - wanted)
                tail = file.read(wanted)
    except CorruptionError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", path, error.errno or 0) from error
    return tail[-wanted:]


def _parse_footer(path: str, size: int) -> Footer:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from . import _engine

    tail = _read_tail(path, size)
    native = _engine.ParquetFooter(tail[:-8], path, size - len(tail))
    try:
        # pyarrow is shown a file that is all footer: it reads no page.
        leaves = pq.read_metadata(pa.BufferReader(b"PAR1" + tail)).schema
        schema = leaves.to_arrow_schema()
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's errors are among these
        if isinstance(error, NotImplementedError) or "ncrypt" in str(error):
            raise UnsupportedColumn(f"{path}: {error}") from error
        what = f"damaged Parquet footer of {path}: {error}"
        raise CorruptionError(what, path, size - len(tail)) from error
    return Footer(
        path=path, size=size, row_groups=tuple(native.rows), _leaves=leaves, _schema=schema, _native=native
    )
