"""Data sets by name and number of rows, made by :mod:`segue.datagen` and cached on disk as Arrow IPC files.

The cache is ``$SEGUE_BENCH_CACHE``, or ``segue-bench`` in the user's cache directory. A file is written once,
under a temporary name, and is memory-mapped by the contenders' processes::

    path = workloads.path("plays", 1_000_000)      # in the suite: generated untimed, if at all
    table = workloads.load(path)                   # in the contender: mapped, columns as stored
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

ROWS = {"small": 1_000_000, "medium": 10_000_000, "large": 100_000_000}
"""Events of a scale; suites that are slow in small steps take a share."""

_BATCH_ROWS = 64_000  # of the files: a multiple of what the suites send at a time

EVENT_COLUMNS = ["user_id", "song_id", "timestamp", "country", "device", "ms_played"]
"""The event of the targets; datagen's plays have more columns."""


@dataclass(frozen=True)
class Workload:
    """A stream of record batches, and how its event table is keyed."""

    stream: Callable[[int], Iterator[pa.RecordBatch]]
    key: tuple[str, ...] = ()
    time: str = ""


def _stream(name: str, columns: list[str] | None = None) -> Callable[[int], Iterator[pa.RecordBatch]]:
    def stream(rows: int) -> Iterator[pa.RecordBatch]:
        from segue import datagen  # not in the contenders' processes: they read files

        for batch in getattr(datagen, name)(rows, batch_rows=_BATCH_ROWS):
            yield batch if columns is None else batch.select(columns)

    return stream


def _dim_songs(rows: int) -> Iterator[pa.RecordBatch]:
    from segue import datagen

    return iter(datagen.dim_songs(datagen.Plays(songs=rows)).to_batches())


def _dim_artists(rows: int) -> Iterator[pa.RecordBatch]:
    from segue import datagen

    return iter(datagen.dim_artists(datagen.Plays(artists=rows)).to_batches())


WORKLOADS: dict[str, Workload] = {
    "events": Workload(_stream("plays", EVENT_COLUMNS), ("user_id",), "timestamp"),
    "plays": Workload(_stream("plays"), ("user_id",), "timestamp"),
    "readings": Workload(_stream("readings"), ("sensor",), "at"),
    "trades": Workload(_stream("trades"), ("account", "symbol"), "executed"),
    "dim_songs": Workload(_dim_songs),
    "dim_artists": Workload(_dim_artists),
}


def cache_directory() -> Path:
    """Where data sets are kept between runs; made on first use."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "segue-bench"
    directory = Path(os.environ.get("SEGUE_BENCH_CACHE", default))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def path(name: str, rows: int) -> Path:
    """File of `rows` rows of a workload, generated if it is not in the cache."""

    from segue import datagen

    file = cache_directory() / f"{name}-{rows}-v{datagen.GENERATOR_VERSION}.arrow"
    if not file.exists():
        write(file, WORKLOADS[name].stream(rows))
    return file


def write(file: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow IPC file that is either whole or not there."""
    import tempfile

    descriptor, temporary = tempfile.mkstemp(prefix=file.name, dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            writer = None
            for batch in batches:
                if writer is None:
                    writer = pa.ipc.new_file(sink, batch.schema)
                writer.write_batch(batch)
            if writer is None:
                raise ValueError(f"{file.name}: no batches")
            writer.close()
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def load(file: str | Path) -> pa.Table:
    """Read a cached file as a table of mapped batches; its pages count as mapped, not anonymous."""
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all()


def batches(table: pa.Table, size: int) -> list[pa.RecordBatch]:
    """Cut a table into mapped record batches of `size` rows (fewer at the ends of the file's own batches)."""
    return table.to_batches(max_chunksize=size)
