"""The entry point of imports: tells a listening history from a table, and files from folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.errors import InvalidError
from segue.importers.report import ImportReport, OnProgress

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ingest"]

_TABLE_SUFFIXES = (
    ".parquet",
    ".pq",
    ".csv",
    ".tsv",
    ".ndjson",
    ".jsonl",
    ".arrow",
    ".arrows",
    ".feather",
    ".ipc",
)


def ingest(
    db: Any,
    files: Sequence[str | PathLike[str]] | str | PathLike[str],
    table: str | None = None,
    key: str | Sequence[str] | None = None,
    time: str | None = None,
    *,
    format: str | None = None,  # noqa: A002
    time_unit: str | None = None,
    time_format: str | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, str | pa.DataType] | None = None,
    user: str | None = None,
    progress: OnProgress | None = None,
) -> ImportReport:
    """Import files into an event table, which is made if it does not exist.

    Any flat Parquet, CSV, TSV, NDJSON (each of the text formats also gzip, bzip2, zstd or lz4
    compressed) or Arrow IPC file; or Spotify's "Extended streaming history": the zip as
    downloaded, its folder, or files of it. Importing the same file again adds nothing.

    Parameters
    ----------
    db
        An open :class:`segue.Database`.
    files
        Files, or folders of them.
    table
        The event table: ``"events"`` by default, ``"listens"`` for Spotify.
    key, time
        Key columns and time column; needed when the table is new.
    format
        One of :data:`segue.importers.formats.FORMATS`, where the file does not tell.
    time_unit
        ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``: what a number in the time column counts since 1970.
    time_format
        `strptime` format of the time column; ISO 8601 needs none. Times without an offset are UTC.
    columns
        The columns to take; all by default. Key and time are always taken.
    types
        Arrow types by column name, for CSV and NDJSON: ``{"zip": "string"}``.
    user
        Spotify: the user, where the files name none (newer exports do not). ``"me"`` by default.
    progress
        Called with a :class:`~segue.importers.report.Progress` now and then.

    Returns
    -------
    ImportReport
        What was added, what was there already, what was skipped and why.

    Raises
    ------
    SchemaError
        A column is missing, nested, or differs from the table's.
    InvalidError
        A file is malformed. A table's file is checked as a whole before its first row is stored.

    Examples
    --------
    >>> ingest(db, "orders.csv", "orders", key="customer", time="at").added  # doctest: +SKIP
    1200
    """
    from segue.importers import spotify
    from segue.importers.formats import FORMATS
    from segue.importers.tabular import import_tables

    if isinstance(files, str | PathLike):
        files = [files]
    paths = [Path(file) for file in files]
    if not paths:
        raise InvalidError("no file to import")
    for path in paths:
        if not path.exists():
            raise InvalidError(f"{path} does not exist")
    if format is not None and format not in FORMATS:
        raise InvalidError(f"format {format!r} is unknown; use one of {', '.join(FORMATS)}")
    keys = [key] if isinstance(key, str) else list(key) if key is not None else None

    histories = [
        path for path in paths if format == "spotify" or (format is None and spotify.recognises(path))
    ]
    if histories:
        if len(histories) < len(paths):
            other = next(path for path in paths if path not in histories)
            raise InvalidError(f"{other} is not part of a Spotify history: import it in a call of its own")
        for option, value in (("--key", keys), ("--time", time), ("--columns", columns), ("--type", types)):
            if value:
                raise InvalidError(f"{option} does not apply to a Spotify history, whose columns are fixed")
        return spotify.import_history(db, paths, table or "listens", user=user, progress=progress)
    if user is not None:
        raise InvalidError(
            "user applies to Spotify histories only; name the key column of a table with --key"
        )

    return import_tables(
        db,
        _expand(paths),
        table,
        keys,
        time,
        format=format,
        time_unit=time_unit,
        time_format=time_format,
        columns=columns,
        types={name: _data_type(name, kind) for name, kind in (types or {}).items()},
        progress=progress,
    )


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Files as they are; folders as the tables below them, in order of name."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not file.name.startswith((".", "_")) and _is_table(file)
        )
        if not inside:
            raise InvalidError(f"folder {path} holds no file ending in {', '.join(_TABLE_SUFFIXES)}")
        found += inside
    return found


def _is_table(file: Path) -> bool:
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    return any(suffix in _TABLE_SUFFIXES for suffix in suffixes)


def _data_type(name: str, kind: str | pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if not isinstance(kind, str):
        return kind
    try:
        return pa.type_for_alias(kind)
    except ValueError as error:
        raise InvalidError(
            f"type {kind!r} of column {name!r} is unknown; use Arrow's names: "
            "string, int64, float64, bool, date32, timestamp[us] ..."
        ) from error
