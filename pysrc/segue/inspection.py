"""What a database holds, and whether it is intact: behind ``segue stats`` and ``segue verify``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.errors import CorruptionError, Error

if TYPE_CHECKING:
    from segue.database import Database
    from segue.relations import DataFile

__all__ = ["database_stats", "folder_bytes", "verify_database"]


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder.

    Files that vanish meanwhile do not count, nor do the leases of reader processes: they come and go with
    whoever looks, as this one does.
    """
    total = 0
    for path in folder.rglob("*"):
        if path.parent.name == "leases":
            continue
        try:
            if path.is_file():
                total += path.stat().st_size
        except FileNotFoundError:  # compaction and runs remove files
            continue
    return total


def database_stats(db: Database) -> dict[str, Any]:
    """Describe the tables of a database and the state of its pipelines, as plain values.

    Examples
    --------
    >>> import segue, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
    ...     db.put_dimension("artists", {"id": [1, 2], "artist": ["Miles", "Nina"]}, key="id")
    ...     database_stats(db)["dimensions"]["artists"]["rows"]
    2
    """
    state = db.catalog.read()
    events: dict[str, Any] = {}
    visible: dict[str, int] = {}
    for name in sorted(state.events):
        table = db.events(name)
        with closing(table.snapshot()) as snapshot:
            visible[name] = snapshot.sequence
        events[name] = {
            "events": visible[name],
            "bytes": folder_bytes(db.path / "events" / name),
            "key": list(table.key),
            "time": table.time,
            "columns": {field.name: str(field.type) for field in table.schema},
            "store": asdict(table.stats()),
        }
    dimensions = {
        name: {
            "rows": entry.rows,
            "key": entry.key,
            "generation": entry.generation,
            "bytes": folder_bytes(db.path / "warehouse" / name),
        }
        for name, entry in sorted(state.dimensions.items())
    }
    facts: dict[str, Any] = {}
    for name in sorted(state.facts):
        found = db.fact_table(name).snapshot()
        files = found.files if found else ()
        facts[name] = {
            "rows": sum(file.rows for file in files),
            "files": len(files),
            "bytes": sum(file.size for file in files),
            "partitions": len({tuple(file.partition.items()) for file in files}),
            "partition_columns": list(found.partition_columns) if found else [],
            "columns": {field.name: str(field.type) for field in found.schema} if found else {},
            "version": found.version if found else None,
        }
    return {
        "path": str(db.path),
        "bytes": folder_bytes(db.path),
        "events": events,
        "dimensions": dimensions,
        "facts": facts,
        "pipelines": _pipelines(db, visible),
    }


def _pipelines(db: Database, visible: dict[str, int]) -> dict[str, Any]:
    from segue.pipeline_run import app_id

    found: dict[str, Any] = {}
    for name, definition in db.pipelines().items():
        store = db.events(definition.source).store_id
        app = app_id(store, definition)
        snapshot = db.fact_table(definition.table).snapshot([app])
        taken = snapshot.watermarks.get(app, 0) if snapshot else 0
        found[name] = {
            "source": definition.source,
            "table": definition.table,
            "watermark": taken,
            "waiting": max(0, visible.get(definition.source, 0) - taken),
        }
    return found


def verify_database(db: Database) -> list[dict[str, Any]]:
    """Read every table and check it.

    Returns
    -------
    list of dict
        For each table `table`, `kind`, `checked` (what was read) and `error` (None when intact).
    """
    state = db.catalog.read()
    checks = [_check(name, "events", partial(_verify_events, db, name)) for name in sorted(state.events)]
    checks += [
        _check(name, "dimension", partial(_verify_dimension, db, name)) for name in sorted(state.dimensions)
    ]
    checks += [_check(name, "fact", partial(_verify_fact, db, name)) for name in sorted(state.facts)]
    return checks


def _check(name: str, kind: str, run: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"table": name, "kind": kind, "checked": run(), "error": None}
    except (Error, OSError) as error:
        return {"table": name, "kind": kind, "checked": "", "error": " ".join(str(error).split())}


def _verify_events(db: Database, name: str) -> str:
    table = db.events(name)
    table.verify()
    with closing(table.snapshot()) as snapshot:
        return f"{snapshot.sequence:,} events"


def _verify_dimension(db: Database, name: str) -> str:
    return f"{db.dimension(name).table.num_rows:,} rows"


def _verify_fact(db: Database, name: str) -> str:
    snapshot = db.fact_table(name).snapshot()
    if snapshot is None:
        return "nothing published yet"
    for file in snapshot.files:
        _verify_file(file)
    return f"{sum(file.rows for file in snapshot.files):,} rows in {len(snapshot.files):,} files"


def _verify_file(file: DataFile) -> None:
    """Decode a Parquet file to the end, and compare it with what the log says of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(file.path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise CorruptionError(f"{path} is gone, and the table refers to it", str(path)) from None
    if size != file.size:
        raise CorruptionError(f"{path} has {size:,} bytes, {file.size:,} were published", str(path))
    rows = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches():
                rows += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise CorruptionError(f"{path} cannot be read after row {rows}: {error}", str(path)) from error
    if rows != file.rows:
        raise CorruptionError(f"{path} has {rows:,} rows, {file.rows:,} were published", str(path))
