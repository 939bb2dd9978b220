"""Sorts of (int64 key, 16 bytes of payload) in memory with one thread, and one that has to spill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import Outcome, Timer
from benchmarks.targets import quantity


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


_ROW_BYTES = 28
"""A row as it is packed: 24 bytes of values, 4 of null bits and padding."""
_KEY_BYTES = 8
"""A spilled row is the row and its normalised key."""
_ENTRY_BYTES, _NARROW_BYTES = 24, 16
"""A row's entry while its run is sorted, where there are two of them, and afterwards."""


@dataclass(frozen=True)
class ExternalSort:
    """The external-sort formula: bytes that must move, from rows, memory and fan-in alone.

    A sixth of the memory is what a run takes while it is sorted; three quarters hold runs, the last ones to
    their end, so that these are never spilled. What is spilled is written and read once, and once more for
    each merge that has to come before the last one, which merges no more than `fan_in` runs.
    """

    rows: int
    memory: int
    fan_in: int

    @property
    def run_rows(self) -> int:
        return self.memory // 6 // (_ROW_BYTES + 2 * _ENTRY_BYTES)

    @property
    def runs(self) -> int:
        return -(-self.rows // self.run_rows)

    @property
    def kept(self) -> int:
        return min(self.runs, self.memory * 3 // 4 // (self.run_rows * (_ROW_BYTES + _NARROW_BYTES)))

    @property
    def merged_before(self) -> int:
        """Runs' worth of rows that are merged before the last merge: as few as bring it to the fan-in."""
        left, moved = self.runs, 0
        while left > self.fan_in:
            group = min(self.fan_in, left - self.fan_in + 1)
            left, moved = left - group + 1, moved + group
        return moved

    @property
    def bytes_moved(self) -> int:
        runs = self.runs - self.kept + self.merged_before
        return 2 * runs * self.run_rows * (_ROW_BYTES + _KEY_BYTES)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows within {self.memory >> 20} MiB are {self.runs} runs of {self.run_rows}; "
            f"{self.kept} stay in memory, {self.merged_before} are merged before the last merge, of at most "
            f"{self.fan_in}; at {_ROW_BYTES + _KEY_BYTES} bytes a row, written and read, that makes "
            f"{quantity(self.bytes_moved, 'bytes')}"
        )


MEMORY_MIB = 64
FAN_IN = 256
"""What a quarter of that memory has blocks of 64 KiB for."""


def external(work: Path, params: dict[str, Any]) -> Outcome:
    """Bytes that the operating system saw written and read, over those of the formula."""
    from segue import kernels

    source = table(params["rows"])
    timer = Timer(reset_peaks=True)
    with timer:
        stream = kernels.big_sort(source, "key", memory=f"{MEMORY_MIB}MiB", threads=1, spill_dir=str(work))
        result = stream.read_all()
    metrics = stream.metrics
    counted, by = timer.usage, "the operating system"
    written, read = counted.get("written_syscall_bytes"), counted.get("read_syscall_bytes")
    if written is None or read is None:  # it does not tell: the engine does
        written, read, by = metrics["spilled_bytes_written"], metrics["spilled_bytes_read"], "the engine"
    formula = ExternalSort(params["rows"], MEMORY_MIB << 20, FAN_IN)
    extra = {
        "bytes_moved": written + read,
        "formula_bytes": formula.bytes_moved,
        "ratio": (written + read) / formula.bytes_moved,
        "note": f"The formula: {formula}. In calls to write and to read, {by} counted "
        f"{quantity(written + read, 'bytes')}.",
        **metrics,
    }
    return Outcome(timer.seconds, params["rows"], _digest(result), extra)
