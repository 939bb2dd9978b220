"""Reads Parquet, CSV, NDJSON and Arrow files as record batches, in bounded memory.

A source is read more than once: for its schema, to check it, to import it. Every reading
gives the same rows in the same order.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from segue.errors import InvalidError, SchemaError
from segue.importers.timestamps import is_text

__all__ = ["FORMATS", "Source", "detect", "open_source"]

FORMATS = ("parquet", "arrow", "arrow-stream", "csv", "tsv", "ndjson", "spotify")
# Text is parsed in blocks of so much; Arrow's CSV reader may hold 32 of them.
BLOCK_BYTES = 1 << 20
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".listens": "ndjson",
}
MALFORMED = "malformed row"


def _compression(path: Path) -> str | None:
    return _COMPRESSED.get(path.suffix.lower())


def _open(path: Path) -> pa.NativeFile:
    """Return the file's bytes, decompressed."""
    compression = _compression(path)
    return pa.input_stream(str(path), compression=compression)


def detect(path: Path) -> str:
    """Return the format of a file, from its first bytes, then from its name.

    Raises
    ------
    InvalidError
        When neither tells; the message lists the formats.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    if not head:
        raise InvalidError(f"{path} is empty")
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    if head.startswith(b"\xff\xff\xff\xff"):
        return "arrow-stream"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    name = path.with_suffix("") if _compression(path) else path
    by_name = _BY_SUFFIX.get(name.suffix.lower())
    if by_name:
        return by_name
    try:
        with _open(path) as stream:
            start = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidError(f"{path} cannot be read: {error}") from error
    if start.startswith(b"{"):
        return "ndjson"
    if start.startswith(b"["):
        return "json-array"
    raise InvalidError(
        f"cannot tell the format of {path}: name it with --format, one of {', '.join(FORMATS)}"
    )


class Source(ABC):
    """One file of rows.

    Parameters
    ----------
    path
        The file.
    columns
        Columns to read; all without it.
    types
        Arrow types of columns whose type the file does not say (CSV, NDJSON).
    """

    format = ""

    def __init__(
        self, path: Path, *, columns: Sequence[str] | None, types: Mapping[str, pa.DataType], time: str
    ) -> None:
        self.path = path
        self.columns = columns
        self.types = dict(types)
        self.time = time
        self.size = path.stat().st_size
        self.position = 0
        """Bytes read in the current pass, for progress."""
        self.malformed: Counter[str] = Counter()
        """Rows that could not be parsed, of the current pass."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the columns as they will be read, nested ones too: the caller refuses them."""

    @abstractmethod
    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """All rows, as `schema`, which is what :meth:`schema` returned with text types perhaps narrowed."""

    def check_columns(self, names: Sequence[str]) -> None:
        """Refuses wanted columns that the file does not have."""
        for wanted in self.columns or ():
            if wanted not in names:
                raise SchemaError(f"{self.path} has no column {wanted!r}; it has {', '.join(names)}", wanted)

    def failed(self, error: Exception, where: str = "") -> InvalidError:
        """Make an error of the parsing library one of ours: the file, the reason, what to do."""
        text = " ".join(str(error).split())
        fix = (
            "; name the column's type with --type COLUMN=TYPE"
            if "conversion" in text or "changed" in text
            else ""
        )
        return InvalidError(f"{self.path}: {where}{text}{fix}")


class _ParquetSource(Source):
    format = "parquet"

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        try:
            # Read ahead, all row groups would stay in memory until the last one is decoded.
            return pq.ParquetFile(self.path, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise self.failed(error) from error

    def schema(self) -> pa.Schema:
        with self._open() as file:
            schema = file.schema_arrow
        self.check_columns(schema.names)
        return schema if self.columns is None else pa.schema([schema.field(name) for name in self.columns])

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            total = max(file.metadata.num_rows, 1)
            done = 0
            try:
                for batch in file.iter_batches(batch_size=1 << 16, columns=self.columns):
                    done += batch.num_rows
                    self.position = self.size * done // total
                    yield batch.select(schema.names)
            except (pa.ArrowException, OSError) as error:
                raise self.failed(error, f"after row {done}: ") from error


class _ArrowSource(Source):
    format = "arrow"

    def _reader(self, file: pa.NativeFile) -> Any:
        return pa.ipc.open_file(file)

    def schema(self) -> pa.Schema:
        try:
            with pa.OSFile(str(self.path)) as file:
                schema = self._reader(file).schema
        except (pa.ArrowException, OSError) as error:
            raise self.failed(error) from error
        self.check_columns(schema.names)
        return schema if self.columns is None else pa.schema([schema.field(name) for name in self.columns])

    def _batches(self, file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        reader = self._reader(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        done = 0
        # Not mapped: a file cut short while it is read must be an error, not a signal.
        with pa.OSFile(str(self.path)) as file:
            try:
                for batch in self._batches(file):
                    batch.validate(
                        full=True
                    )  # what is in the file is not trusted further than Arrow checks it
                    done += batch.num_rows
                    self.position = file.tell()
                    yield batch.select(schema.names)
            except (pa.ArrowException, OSError) as error:
                raise self.failed(error, f"after row {done}: ") from error


class _ArrowStreamSource(_ArrowSource):
    format = "arrow-stream"

    def _reader(self, file: pa.NativeFile) -> Any:
        return pa.ipc.open_stream(file)

    def _batches(self, file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        yield from self._reader(file)


class _TextSource(Source):
    def _counted(self) -> BinaryIO:
        """Return the decompressed bytes; keeps :attr:`position` on the compressed ones."""
        raw = _CountedFile(self.path, self._moved)
        compression = _compression(self.path)
        if compression is None:
            return raw  # type: ignore[return-value]
        return pa.CompressedInputStream(pa.PythonFile(raw, "r"), compression)

    def _moved(self, position: int) -> None:
        self.position = position

    def text_type(self, name: str, inferred: pa.DataType) -> pa.DataType:
        """Return the type to read a column as, given what the first rows look like."""
        if name in self.types:
            return self.types[name]
        if name == self.time and not (pa.types.is_integer(inferred) or pa.types.is_floating(inferred)):
            return pa.string()  # parsed by TimeParser, which can skip a row where Arrow gives up the file
        if pa.types.is_null(inferred) or pa.types.is_time(inferred):
            return pa.string()
        if pa.types.is_timestamp(inferred):
            return pa.timestamp("us", inferred.tz)  # later rows may have fractions of a second
        return inferred


class _CountedFile:
    """A read-only file that reports how far it was read."""

    def __init__(self, path: Path, moved: Callable[[int], None]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._moved = moved
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._moved(self._file.tell())
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()
        self.closed = True


class _CsvSource(_TextSource):
    format = "csv"
    delimiter = ","

    def _reader(self, types: Mapping[str, pa.DataType] | None, columns: Sequence[str] | None) -> Any:
        import pyarrow.csv as pcsv

        def invalid(row: Any) -> str:
            self.malformed[
                f"{MALFORMED} ({row.actual_columns} fields instead of {row.expected_columns})"
            ] += 1
            return "skip"

        return pcsv.open_csv(
            self._counted(),
            read_options=pcsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pcsv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=invalid
            ),
            convert_options=pcsv.ConvertOptions(
                column_types=types,
                include_columns=columns,
                # Not Arrow's default list: "NA" is Namibia, "null" may be a name.
                null_values=["", "\\N", "NULL"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def schema(self) -> pa.Schema:
        try:
            with self._reader(None, None) as reader:
                found = reader.schema
        except (pa.ArrowException, OSError) as error:
            raise self.failed(error) from error
        if len(set(found.names)) != len(found.names):
            twice = [name for name, count in Counter(found.names).items() if count > 1]
            raise SchemaError(f"{self.path} has two columns named {twice[0]!r}", twice[0])
        self.check_columns(found.names)
        names = found.names if self.columns is None else self.columns
        return pa.schema([(name, self.text_type(name, found.field(name).type)) for name in names])

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        self.malformed.clear()
        done = 0
        try:
            with self._reader({field.name: field.type for field in schema}, schema.names) as reader:
                for batch in reader:
                    done += batch.num_rows
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise self.failed(error, f"after row {done}: ") from error


class _TsvSource(_CsvSource):
    format = "tsv"
    delimiter = "\t"


class _NdjsonSource(_TextSource):
    """One JSON object a line. The schema is the union over all lines: fields may appear late."""

    format = "ndjson"

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number of the first line, whole lines), a block at a time."""
        file = self._counted()
        line = 1
        rest = b""
        try:
            while data := file.read(BLOCK_BYTES):
                if line == 1 and not rest:
                    data = data.removeprefix(b"\xef\xbb\xbf")
                cut = data.rfind(b"\n") + 1
                if cut == 0:
                    rest += data
                    continue
                block = rest + data[:cut]
                rest = data[cut:]
                yield line, block
                line += block.count(b"\n")
            if rest.strip():
                yield line, rest
        finally:
            file.close()

    def _read(self, line: int, block: bytes, schema: pa.Schema | None) -> pa.Table | None:
        import pyarrow.json as pj

        explicit = None
        if schema is not None:
            explicit = schema
        elif self.types:
            explicit = pa.schema(list(self.types.items()))
        options = pj.ParseOptions(
            explicit_schema=explicit, unexpected_field_behavior="infer" if schema is None else "ignore"
        )
        reading = pj.ReadOptions(use_threads=False, block_size=max(len(block), 1) + 1)

        def parse(data: bytes) -> pa.Table | None:
            if not data.strip():
                return None
            return pj.read_json(pa.BufferReader(data), read_options=reading, parse_options=options)

        try:
            return parse(block)
        except pa.ArrowInvalid as error:
            kept, dropped = _whole_lines(block)
            if not dropped:
                last = line + block.count(b"\n", 0, len(block) - 1)
                raise self.failed(error, f"lines {line} to {last}: ") from error
            self.malformed[f"{MALFORMED} (not a JSON object)"] += dropped
            try:
                return parse(kept)
            except pa.ArrowInvalid as second:
                raise self.failed(second, f"from line {line} on: ") from second

    def schema(self) -> pa.Schema:
        self.malformed.clear()
        kinds: dict[str, pa.DataType] = {}
        try:
            for line, block in self._blocks():
                table = self._read(line, block, None)
                for field in table.schema if table is not None else ():
                    known = kinds.get(field.name)
                    kinds[field.name] = (
                        field.type if known is None else self._wider(field.name, known, field.type)
                    )
        except OSError as error:
            raise self.failed(error) from error
        if not kinds:
            raise InvalidError(f"{self.path} holds no JSON object: is it NDJSON, one object a line?")
        self.check_columns(list(kinds))
        names = list(kinds) if self.columns is None else list(self.columns)
        return pa.schema([(name, self.text_type(name, kinds[name])) for name in names])

    def _wider(self, name: str, one: pa.DataType, other: pa.DataType) -> pa.DataType:
        if one == other or pa.types.is_null(other):
            return one
        if pa.types.is_null(one):
            return other
        numbers = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)]
        if all(numbers):
            return pa.float64()
        texts = [is_text(kind) or pa.types.is_timestamp(kind) for kind in (one, other)]
        if all(texts):
            return pa.string()
        if pa.types.is_nested(one) and pa.types.is_nested(other):
            return one
        raise SchemaError(f"{self.path}: column {name!r} is {one} in some lines and {other} in others", name)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        self.malformed.clear()
        try:
            for line, block in self._blocks():
                table = self._read(line, block, schema)
                if table is not None:
                    yield from table.select(schema.names).combine_chunks().to_batches()
        except OSError as error:
            raise self.failed(error) from error


def _whole_lines(block: bytes) -> tuple[bytes, int]:
    """Return the lines that are JSON objects, and the number of those that are not."""
    kept = []
    dropped = 0
    for line in block.split(b"\n"):
        if not line.strip():
            continue
        try:
            good = isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            good = False
        if good:
            kept.append(line)
        else:
            dropped += 1
    return b"\n".join(kept), dropped


_SOURCES: dict[str, type[Source]] = {
    cls.format: cls
    for cls in (_ParquetSource, _ArrowSource, _ArrowStreamSource, _CsvSource, _TsvSource, _NdjsonSource)
}


def open_source(
    path: Path,
    format: str,  # noqa: A002
    *,
    columns: Sequence[str] | None,
    types: Mapping[str, pa.DataType],
    time: str,
) -> Source:
    """Return the reader of one file.

    Raises
    ------
    InvalidError
        For formats that are not tables: a JSON array, a zip.
    """
    if format == "json-array":
        raise InvalidError(
            f"{path} is one JSON array, and no Spotify history: write it as one object a line "
            f"(jq -c '.[]' {path.name} > {path.stem}.ndjson)"
        )
    if format == "zip":
        raise InvalidError(f"{path} is a zip without a Spotify history in it: unpack it and name the files")
    return _SOURCES[format](path, columns=columns, types=types, time=time)
