"""Keeps generated streams on disk, so that only the first run of a test or benchmark pays for them.

The cache is the folder named by ``SEGUE_DATAGEN_CACHE``, else ``segue/datagen`` in the user's cache
directory (``$XDG_CACHE_HOME`` or ``~/.cache``). Each entry is a directory with a manifest of its
parameters, rows and file sizes. It appears under its name by one rename, when it is whole; one that does
not match its manifest (files lost or cut off) is made again. Nothing is removed by itself:
:func:`clear_cache` empties the cache, or trims it to a size by dropping what was longest not used, and
deleting the folder is as good.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from segue.datagen import dimensions, fact_stream, plays_stream, readings_stream, trades_stream
from segue.datagen.date_files import DateFiles, FileSink, Format
from segue.datagen.plays_stream import Plays

GENERATOR_VERSION = 1
"""Raised whenever the same options give other rows or other files; part of every entry's name."""

_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"
_WRITE_ROWS = 1 << 18


@dataclass(frozen=True)
class _Stream:
    make: Callable[..., Iterator[pa.RecordBatch]]
    time: str
    unique: tuple[str, ...] = ()
    """Columns of values so many that a dictionary would not pay."""
    threaded: bool = False


_UNIQUE = ("user_id", "timestamp", "ms_played", "session")
_STREAMS = {
    "plays": _Stream(plays_stream.plays, "timestamp", _UNIQUE, threaded=True),
    "facts": _Stream(fact_stream.facts, "date", _UNIQUE, threaded=True),
    "readings": _Stream(readings_stream.readings, "at", ("at", "battery")),
    "trades": _Stream(trades_stream.trades, "executed", ("executed", "quantity")),
}
_TABLES: dict[str, Callable[..., pa.Table]] = {
    "dim_songs": dimensions.dim_songs,
    "dim_artists": dimensions.dim_artists,
    "dim_sensors": readings_stream.dim_sensors,
    "dim_symbols": trades_stream.dim_symbols,
}


def cache_directory(directory: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the cache; made on first use.

    Examples
    --------
    >>> import tempfile
    >>> cache_directory(tempfile.mkdtemp()).is_dir()
    True
    """
    if directory is None:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        directory = os.environ.get("SEGUE_DATAGEN_CACHE") or base / "segue" / "datagen"
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    return path


def cached(
    name: str,
    rows: int | None = None,
    options: Plays | None = None,
    *,
    file_format: Format = "parquet",
    by_date: bool = True,
    directory: str | os.PathLike[str] | None = None,
    threads: int = 2,
    **parameters: Any,
) -> Path:
    """Directory of generated files, made if the cache does not hold them.

    Parameters
    ----------
    name
        ``plays``, ``facts``, ``readings``, ``trades``, or a dimension: ``dim_songs``, ``dim_artists``,
        ``dim_sensors``, ``dim_symbols``.
    rows
        Of a stream; a dimension has its own.
    options
        For plays, facts and their dimensions.
    file_format
        Parquet (zstd, no dictionary for columns of nearly unique values, pyarrow's defaults otherwise) or
        Arrow IPC files, to be memory-mapped.
    by_date
        A folder ``date=YYYY-MM-DD`` for each day of a stream, Hive's way: facts leave their column `date`
        out of the files then. Without, and for a dimension, it is one file ``part-0``.
    directory
        Of the cache, instead of the default.
    threads
        That generate, and that write; the files are the same with any number.
    parameters
        Of ``readings``, ``trades`` and their dimensions: ``sensors=``, ``seed=`` and so on.

    Examples
    --------
    >>> import tempfile
    >>> made = cached("facts", 1000, Plays(days=2, songs=10, artists=3), directory=tempfile.mkdtemp())
    >>> sorted(path.name for path in made.iterdir())
    ['date=2024-01-01', 'date=2024-01-02', 'manifest.json']
    """
    if name not in _STREAMS and name not in _TABLES:
        known = ", ".join([*_STREAMS, *_TABLES])
        raise ValueError(f"name={name!r} is not generated here; known are {known}")
    if (name in _STREAMS) != (rows is not None):
        raise ValueError(
            f"{name}: rows={rows}, but "
            + ("a stream needs them" if rows is None else "a dimension has rows of its own")
        )
    if file_format not in ("parquet", "arrow"):
        raise ValueError(f"file_format={file_format!r} is neither 'parquet' nor 'arrow'")
    takes_options = name in ("plays", "facts", "dim_songs", "dim_artists")
    if options is not None and not takes_options:
        raise ValueError(f"{name} takes keyword parameters, not Plays")
    by_date = by_date and name in _STREAMS
    asked: dict[str, Any] = {
        "name": name,
        "rows": rows,
        "format": file_format,
        "by_date": by_date,
        "options": asdict(options or Plays()) if takes_options else None,
        "parameters": dict(sorted(parameters.items())),
        "version": GENERATOR_VERSION,
    }
    key = json.dumps(asked, sort_keys=True, default=_plain)
    digest = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    root = cache_directory(directory)
    entry = root / f"{name}-{'all' if rows is None else rows}-{digest}"
    if _whole(entry, json.loads(key)):
        os.utime(entry)  # the use that clear_cache goes by
        return entry
    _remove_partials(root)
    if takes_options:
        parameters["options"] = options
    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=root))
    try:
        _generate(partial, name, rows, file_format, by_date, threads, parameters)
        files = {
            str(p.relative_to(partial)): p.stat().st_size for p in sorted(partial.rglob("*.*")) if p.is_file()
        }
        (partial / _MANIFEST).write_text(json.dumps({"asked": json.loads(key), "files": files}, indent=1))
        _publish(partial, entry, json.loads(key))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry


def clear_cache(directory: str | os.PathLike[str] | None = None, *, keep_bytes: int = 0) -> int:
    """Remove entries, those longest not used first, until at most `keep_bytes` remain; return bytes freed.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> _ = cached("dim_artists", options=Plays(artists=10), directory=folder)
    >>> clear_cache(folder) > 0
    True
    """
    root = cache_directory(directory)
    _remove_partials(root)
    entries = sorted((p for p in root.iterdir() if (p / _MANIFEST).exists()), key=lambda p: p.stat().st_mtime)
    sizes = [sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in entries]
    held, freed = sum(sizes), 0
    for entry, size in zip(entries, sizes, strict=True):
        if held - freed <= keep_bytes:
            break
        shutil.rmtree(entry)
        freed += size
    return freed


def _generate(
    folder: Path,
    name: str,
    rows: int | None,
    file_format: Format,
    by_date: bool,
    threads: int,
    parameters: Mapping[str, Any],
) -> None:
    unique: tuple[str, ...] = ()
    if rows is None:
        batches: Iterator[pa.RecordBatch] = iter(_TABLES[name](**parameters).to_batches())
    else:
        stream = _STREAMS[name]
        unique = stream.unique
        pool = {"threads": threads} if stream.threaded else {}
        batches = stream.make(rows, batch_rows=_WRITE_ROWS, **pool, **parameters)
        if by_date:
            DateFiles(folder, file_format, stream.unique, threads).write(batches, stream.time)
            return
    first = next(batches)
    sink = FileSink(folder / f"part-0.{file_format}", first.schema, file_format, unique)
    sink.write(pa.Table.from_batches([first]))
    for batch in batches:
        sink.write(pa.Table.from_batches([batch]))
    sink.close()


def _publish(partial: Path, entry: Path, asked: Mapping[str, Any]) -> None:
    """Rename into place. Another process may have been faster, and a broken entry may be in the way."""
    while True:
        try:
            os.rename(partial, entry)
            return
        except OSError:
            if _whole(entry, asked):
                return
            if not entry.exists():
                raise
            aside = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=entry.parent))
            os.rename(entry, aside)
            shutil.rmtree(aside)


def _whole(entry: Path, asked: Mapping[str, Any]) -> bool:
    """Whether the entry has what its manifest says. Sizes are checked; contents are not read."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text())
        return manifest["asked"] == asked and all(
            (entry / name).stat().st_size == size for name, size in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove_partials(root: Path) -> None:
    """Remove what processes that are no more left unfinished."""
    for partial in root.glob(f"{_PARTIAL}*"):
        owner = int(partial.name.removeprefix(_PARTIAL).partition("-")[0])
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            shutil.rmtree(partial, ignore_errors=True)
        except PermissionError:
            continue  # alive, and somebody else's


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be part of a cache key")
