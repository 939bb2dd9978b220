"""A table of columns with 10 to millions of values, for counts by group."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import workloads

CARDINALITIES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
_CHUNK = 1 << 20


def groups_file(rows: int) -> Path:
    """Zstd Parquet of a column ``k10``, ``k100``, ... each: uniform values below that number."""
    target = workloads.cache_directory() / f"groups-{rows}.parquet"
    if target.exists():
        return target
    rng = np.random.default_rng(11)
    names = [f"k{n}" for n in CARDINALITIES]
    schema = pa.schema([(name, pa.int32()) for name in names])
    unfinished = target.with_suffix(".unfinished")
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for start in range(0, rows, _CHUNK):
            count = min(_CHUNK, rows - start)
            columns = [rng.integers(0, n, count, dtype=np.int32) for n in CARDINALITIES]
            writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema=schema))
    os.replace(unfinished, target)
    return target
