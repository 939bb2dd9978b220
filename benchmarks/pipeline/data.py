"""What the nightly job takes, and what its output has to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import workloads

SONGS = 1_000_000
EVENTS_OF_ALL_SONGS = 1_000_000
SONG_COLUMNS = (
    "artist_id",
    "album_id",
    "genre_id",
    "label_id",
    "duration_ms",
    "release_year",
    "explicit",
)
PARTITIONS = 64


def events_file(rows: int) -> Path:
    """The events as zstd Parquet, which is what the peers read."""
    return _parquet(workloads.path("events", rows))


def songs(rows: int) -> Path:
    """The songs that `rows` events are joined to: all; for fewer than a million, those that occur in them.

    A short job beside a million songs would be little else than their load.
    """
    every = workloads.path("dim_songs", SONGS)
    if rows >= EVENTS_OF_ALL_SONGS:
        return every
    target = every.with_name(every.name.replace(str(SONGS), f"of-{rows}-events"))
    if not target.exists():
        import pyarrow.compute as pc  # not in the contenders' processes

        played = workloads.load(workloads.path("events", rows))["song_id"].unique()
        table = workloads.load(every)
        workloads.write(target, table.filter(pc.is_in(table["song_id"], value_set=played)).to_batches())
    return target


def songs_file(rows: int) -> Path:
    """The same as zstd Parquet."""
    return _parquet(songs(rows))


def _parquet(source: Path) -> Path:
    target = source.with_suffix(".parquet")
    if not target.exists():
        unfinished = target.with_suffix(".unfinished")
        pq.write_table(workloads.load(str(source)), unfinished, compression="zstd", row_group_size=1 << 20)
        unfinished.rename(target)
    return target


def check(files: Sequence[Path], bucket_of: Callable[[pa.Table], Any] | None = None) -> str:
    """Digest of the rows in any order, after checking the order inside each file.

    A file is ordered by time; with `bucket_of`, by bucket and then by time.
    """
    import duckdb
    import numpy as np

    for file in files:
        names = [name for name in ("user_id", "timestamp", "bucket") if name in pq.read_schema(file).names]
        table = pq.read_table(file, columns=names)
        time = table["timestamp"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        falls = time[1:] < time[:-1]
        if bucket_of is not None:
            bucket = np.asarray(bucket_of(table))
            if (bucket[1:] < bucket[:-1]).any():
                raise AssertionError(f"{file}: buckets are out of order")
            falls &= bucket[1:] == bucket[:-1]
        if falls.any():
            raise AssertionError(f"{file}: rows are not sorted by time")
    columns = (
        "user_id::BIGINT, song_id::INTEGER, epoch_us(timestamp)::BIGINT, country::VARCHAR, device::VARCHAR, "
        "ms_played::INTEGER, " + ", ".join(f"{name}::BIGINT" for name in SONG_COLUMNS)
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        row = connection.execute(
            f"SELECT count(*), bit_xor(hash({columns})), sum(hash({columns})) "
            "FROM read_parquet($files, hive_partitioning = false)",
            {"files": [str(file) for file in files]},
        ).fetchone()
    return " ".join(map(str, row or ()))


def size(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)
