"""Sorts of (int64 key, 16 bytes of payload) in memory with one thread, and one that has to spill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import Outcome, Timer


def table(rows: int) -> pa.Table:
    """Distinct random keys, so that there is one right order."""
    rng = np.random.default_rng(3)
    key = rng.permutation(rows).astype(np.int64) * 0x2545F4914F6CDD1D
    return pa.table({"key": key, "high": rng.integers(0, 1 << 60, rows), "low": np.arange(rows)})


def _digest(sorted_table: pa.Table) -> str:
    key, high, low = (sorted_table[name].to_numpy() for name in ("key", "high", "low"))
    if (key[1:] < key[:-1]).any():
        raise AssertionError("the keys are not in order")
    place = np.arange(1, len(low) + 1)
    return f"{len(key)} {int((place * low).sum())} {int((place * high).sum())}"


def segue(work: Path, params: dict[str, Any]) -> Outcome:
    from segue import kernels

    source = table(params["rows"])
    timer = Timer()
    with timer:
        result = kernels.big_sort(source, "key", memory="16GiB", threads=1).read_all()
    return Outcome(timer.seconds, params["rows"], _digest(result))


def duckdb(work: Path, params: dict[str, Any]) -> Outcome:
    import duckdb as peer

    source = table(params["rows"])
    with peer.connect(config={"threads": 1}) as connection:
        connection.execute("CREATE TABLE t AS SELECT * FROM source")
        timer = Timer()
        with timer:
            result = connection.execute("SELECT * FROM t ORDER BY key").to_arrow_table()
    del source
    return Outcome(timer.seconds, params["rows"], _digest(result))


def numpy(work: Path, params: dict[str, Any]) -> Outcome:
    columns = {
        name: column.to_numpy()
        for name, column in zip(("key", "high", "low"), table(params["rows"]).columns, strict=True)
    }
    timer = Timer()
    with timer:
        order = np.argsort(columns["key"], kind="stable")
        result = pa.table({name: column[order] for name, column in columns.items()})
    return Outcome(timer.seconds, params["rows"], _digest(result))


def polars(work: Path, params: dict[str, Any]) -> Outcome:
    import polars as pl

    frame = pl.DataFrame(table(params["rows"]))
    timer = Timer()
    with timer:
        result = frame.sort("key")
    return Outcome(timer.seconds, params["rows"], _digest(result.to_arrow()))


_KEY_BYTES = 8
"""A spilled row is the row and its normalised key."""


def external(work: Path, params: dict[str, Any]) -> Outcome:
    """Bytes written and read, over rows spilled x bytes a row x (1 + passes)."""
    from segue import kernels

    source = table(params["rows"])
    timer = Timer()
    with timer:
        stream = kernels.big_sort(source, "key", memory="64MiB", threads=1, spill_dir=str(work))
        result = stream.read_all()
    metrics = stream.metrics
    spilled_rows = params["rows"] * metrics["spilled_runs"] / metrics["runs"]
    formula = 2 * spilled_rows * (metrics["row_bytes"] + _KEY_BYTES) * (1 + metrics["merge_passes"])
    moved = metrics["spilled_bytes_written"] + metrics["spilled_bytes_read"]
    extra = {"bytes_moved": moved, "formula_bytes": formula, "ratio": moved / formula, **metrics}
    return Outcome(timer.seconds, params["rows"], _digest(result), extra)
