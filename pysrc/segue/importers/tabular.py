"""Imports tables: any Parquet, CSV, NDJSON or Arrow file into an event table.

Each file is read twice: once to check every value, so that a file with an error in its
last row stores nothing, and once to append. Chunks carry tokens made of the file's
SHA-256, so that importing it again, or after a crash half-way, adds only what is missing.
"""

from __future__ import annotations

import hashlib
import time as clock
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from segue.errors import InvalidError, SchemaError
from segue.importers.formats import Source, detect, open_source
from segue.importers.report import FileReport, ImportReport, OnProgress, Progress
from segue.importers.timestamps import TimeParser, is_text

__all__ = ["Meter", "import_tables", "visible_sequence"]

# Part of the tokens' meaning: with another size the same file would be cut, and stored, again.
CHUNK_ROWS = 1 << 16
TOKEN_VERSION = 1


class Meter:
    """Tells the callback where things stand, at most some ten times a second."""

    def __init__(self, callback: OnProgress | None, total: int) -> None:
        self._callback = callback
        self._total = total
        self._finished = 0
        self._next = 0.0

    def update(self, path: Path, phase: str, position: int, rows: int) -> None:
        """Report a position inside the current pass over a file."""
        now = clock.monotonic()
        if self._callback is not None and now >= self._next:
            self._next = now + 0.1
            done = min(self._finished + position, self._total)
            self._callback(Progress(str(path), phase, done, self._total, rows))

    def finish(self, size: int) -> None:
        """Count a pass over a file of `size` bytes as done."""
        self._finished += size


class _Converter:
    """From the columns of a file to the columns of the event table."""

    def __init__(
        self,
        source: Source,
        found: pa.Schema,
        key: Sequence[str],
        parser: TimeParser,
        table: pa.Schema | None,
    ) -> None:
        self.source = source
        self.key = list(key)
        self.parser = parser
        self.unreadable = f"unreadable time ({parser.column})"
        self.first_unreadable: Any = None
        for name in (*self.key, parser.column):
            if name not in found.names:
                raise SchemaError(
                    f"{source.path} has no column {name!r}; it has {', '.join(found.names)}", name
                )
        for field in found:
            _check_flat(source.path, field)
        self.time_type = parser.result_type(found.field(parser.column).type)
        if table is None:
            self.target = pa.schema([self._field(field) for field in found])
        else:
            self._match(found, table)
            self.target = table

    def _field(self, field: pa.Field) -> pa.Field:
        kind = field.type
        if field.name == self.parser.column:
            kind = self.time_type
        elif pa.types.is_null(kind):
            kind = pa.string()
        elif pa.types.is_dictionary(kind):
            kind = pa.dictionary(pa.int32(), pa.string()) if is_text(kind) else kind.value_type
        elif pa.types.is_date64(kind):
            kind = pa.date32()
        required = field.name in self.key or field.name == self.parser.column
        return pa.field(field.name, kind, nullable=not required)

    def _match(self, found: pa.Schema, table: pa.Schema) -> None:
        path = self.source.path
        extra = [name for name in found.names if name not in table.names]
        if extra:
            wanted = ",".join(table.names)
            raise SchemaError(
                f"{path} has a column {extra[0]!r} that the table has not; "
                f"leave it out with --columns {wanted}",
                extra[0],
            )
        for field in table:
            if field.name not in found.names:
                if field.nullable and self.source.format == "ndjson":
                    continue  # a field that no line has is a column of nulls
                raise SchemaError(f"{path} has no column {field.name!r}, which the table has", field.name)
            kind = found.field(field.name).type
            if field.name == self.parser.column:
                kind = self.time_type
            if not _fits(kind, field.type):
                raise SchemaError(
                    f"{path}: column {field.name!r} is {kind}, in the table it is {field.type}", field.name
                )

    def convert(self, chunk: pa.RecordBatch) -> tuple[pa.RecordBatch, Counter[str]]:
        """Return the events of a chunk, and the rows that are none."""
        skipped: Counter[str] = Counter()
        keep: pa.Array | None = None
        columns: dict[str, pa.Array] = {name: chunk.column(name) for name in chunk.schema.names}

        def drop(valid: pa.Array, reason: str) -> None:
            nonlocal keep
            before = chunk.num_rows if keep is None else _count(keep)
            keep = valid if keep is None else pc.and_(keep, valid)
            if lost := before - _count(keep):
                skipped[reason] += lost

        for name in self.key:
            if columns[name].null_count:
                drop(columns[name].is_valid(), f"null key ({name})")
        given = columns[self.parser.column]
        times = self.parser.parse(given)
        if given.null_count:
            drop(given.is_valid(), f"null time ({self.parser.column})")
        if times.null_count > given.null_count:
            if self.first_unreadable is None:
                self.first_unreadable = given.filter(pc.and_(given.is_valid(), times.is_null()))[0].as_py()
            drop(times.is_valid(), self.unreadable)
        columns[self.parser.column] = times
        arrays = [self._cast(columns.get(field.name), field, chunk.num_rows) for field in self.target]
        if keep is not None:
            arrays = [array.filter(keep) for array in arrays]
        return pa.RecordBatch.from_arrays(arrays, schema=self.target), skipped

    def _cast(self, array: pa.Array | None, field: pa.Field, rows: int) -> pa.Array:
        if array is None:
            return pa.nulls(rows, field.type)
        if array.type == field.type:
            return array
        try:
            if pa.types.is_dictionary(field.type):
                text = (
                    array
                    if pa.types.is_dictionary(array.type)
                    else pc.cast(array, pa.string()).dictionary_encode()
                )
                return pa.DictionaryArray.from_arrays(
                    pc.cast(text.indices, pa.int32()), pc.cast(text.dictionary, field.type.value_type)
                )
            if pa.types.is_dictionary(array.type):
                array = array.dictionary_decode()
            return pc.cast(array, field.type)
        except pa.ArrowInvalid as error:
            raise SchemaError(
                f"{self.source.path}: column {field.name!r} does not fit the table's {field.type}: {error}",
                field.name,
            ) from error


def _count(mask: pa.Array) -> int:
    return pc.sum(mask).as_py() or 0


def _check_flat(path: Path, field: pa.Field) -> None:
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(values):
        raise SchemaError(
            f"{path}: column {field.name!r} is nested ({kind}), and event tables are flat: "
            "flatten it first, or name the columns to take with --columns",
            field.name,
        )


def _check_types(source: Source, found: pa.Schema, types: Mapping[str, pa.DataType]) -> None:
    for name in types:
        if source.format not in ("csv", "tsv", "ndjson"):
            raise InvalidError(
                f"{source.path}: --type {name} is for CSV and NDJSON; the columns of a {source.format} file "
                "have types of their own"
            )
        if name not in found.names:
            raise SchemaError(
                f"--type names column {name!r}, which {source.path} has not; it has {', '.join(found.names)}",
                name,
            )


def _fits(kind: pa.DataType, table: pa.DataType) -> bool:
    """Whether values of `kind` can be cast to the table's type without changing what they mean."""
    types = pa.types
    if kind == table or types.is_null(kind):
        return True
    if is_text(table) or is_text(kind):
        return is_text(table) and is_text(kind)
    if types.is_dictionary(kind):
        return _fits(kind.value_type, table)
    families: tuple[Callable[[pa.DataType], bool], ...] = (
        types.is_integer,
        types.is_decimal,
        types.is_date,
        types.is_timestamp,
        lambda t: types.is_binary(t) or types.is_large_binary(t) or types.is_fixed_size_binary(t),
    )
    if types.is_floating(table):
        return bool(types.is_floating(kind) or types.is_integer(kind))
    return any(same(kind) and same(table) for same in families)


def _chunks(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of exactly CHUNK_ROWS rows (but the last), however the reader cut them."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= CHUNK_ROWS:
            head = batch.slice(0, CHUNK_ROWS - rows)
            batch = batch.slice(head.num_rows)
            yield _one_batch([*held, head])
            held, rows = [], 0
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
    if held:
        yield _one_batch(held)


def _one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def visible_sequence(events: Any) -> int:
    """Return the highest sequence number that a reader sees now."""
    with closing(events.snapshot()) as snapshot:
        return int(snapshot.sequence)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns


def import_tables(
    db: Any,
    paths: Sequence[Path],
    table: str | None,
    key: Sequence[str] | None,
    time: str | None,
    *,
    format: str | None,  # noqa: A002
    time_unit: str | None,
    time_format: str | None,
    columns: Sequence[str] | None,
    types: Mapping[str, pa.DataType],
    progress: OnProgress | None,
) -> ImportReport:
    """Append the rows of tabular files; see :func:`segue.importers.ingest`."""
    started = clock.perf_counter()
    report = ImportReport(table=table or "events")
    events = db.events(report.table) if report.table in db.events() else None
    if events is not None:
        for option, given, stored in (
            ("--key", key, events.key),
            ("--time", time and (time,), (events.time,)),
        ):
            if given and tuple(given) != tuple(stored):
                raise InvalidError(
                    f"table {report.table!r} exists with {option} {','.join(stored)}, not {','.join(given)}"
                )
        key, time = events.key, events.time
    if not key or not time:
        raise InvalidError(
            f"table {report.table!r} does not exist yet: "
            "name its key columns and its time column (--key, --time)"
        )
    if columns is not None:
        columns = list(dict.fromkeys([*columns, *key, time]))

    options = repr(
        (TOKEN_VERSION, CHUNK_ROWS, time_unit, time_format, columns, sorted(map(str, types.items())))
    )
    parser = TimeParser(time, time_unit, time_format)
    meter = Meter(progress, 2 * sum(path.stat().st_size for path in paths))
    highest = visible_sequence(events) if events is not None else 0
    checked: list[tuple[Source, pa.Schema, str, tuple[int, int]]] = []

    # All files are checked before the first is stored.
    schema: pa.Schema | None = events.schema if events is not None else None
    for path in paths:
        stamp = _stamp(path)
        hints = dict(types)
        if schema is not None:
            for field in schema:
                if field.name != time:
                    value = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
                    hints.setdefault(field.name, value)
        kind = format or detect(path)
        source = open_source(path, kind, columns=columns, types=hints, time=time)
        found = source.schema()
        _check_types(source, found, types)
        converter = _Converter(source, found, key, parser, schema)
        rows = unreadable = 0
        for chunk in _chunks(source.batches(found), found):
            _, skipped = converter.convert(chunk)
            rows += chunk.num_rows
            unreadable += skipped[converter.unreadable]
            meter.update(path, "checking", source.position, rows)
        if 0 < rows == unreadable:
            raise InvalidError(
                f"{path}: no row has a time that can be read; the first one has {time} "
                f"{converter.first_unreadable!r}, "
                + (f"not as --time-format {time_format!r} says" if time_format else "name its --time-format")
            )
        meter.finish(source.size)
        schema = converter.target
        checked.append((source, found, _digest(path), stamp))

    if events is None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            events = db.create_events(report.table, schema=schema, key=list(key), time=time)
        report.notes += [str(warning.message) for warning in said]
        report.created = True
        schema = events.schema
    for source, found, digest, stamp in checked:
        converter = _Converter(source, found, key, parser, schema)
        entry = FileReport(str(source.path), source.format)
        report.files.append(entry)
        token = hashlib.sha256(f"{digest} {options}".encode()).hexdigest()
        for index, chunk in enumerate(_chunks(source.batches(found), found)):
            if _stamp(source.path) != stamp:
                raise InvalidError(
                    f"{source.path} changed while it was imported; import it again once it is complete"
                )
            batch, skipped = converter.convert(chunk)
            entry.rows += chunk.num_rows
            entry.skipped += skipped
            if batch.num_rows:
                _, last = events.append_batch(batch, token=f"ingest:{token}:{index}")
                # A token that was seen is answered with the range it had then.
                if last <= highest:
                    entry.stored_before += batch.num_rows
                else:
                    entry.added += batch.num_rows
                    highest = last
            meter.update(source.path, "importing", source.position, entry.rows)
        entry.skipped += source.malformed
        entry.rows += sum(source.malformed.values())
        meter.finish(source.size)
    report.seconds = clock.perf_counter() - started
    return report
