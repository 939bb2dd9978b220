"""Appends of events with nothing in common with plays: string keys, nulls, NaN, decimals, composite keys.

For the untyped peers a key is the key columns, the time and a counter in an order-preserving encoding, and
the value the other columns, packed as `packing.py` says: vectorised, as in the suites of plays.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import workloads
from benchmarks.events.packing import Packing
from benchmarks.harness import Outcome, Timer
from benchmarks.workloads import WORKLOADS, Workload

BATCH_ROWS = 1000

PACKED = (
    "WriteBatch; order-preserving keys; values packed by numpy, strings behind their lengths, a bit for each "
    "null, codes of dictionaries that the application keeps; options as in the other suites"
)
OPTIONS = {
    "segue": "defaults; Arrow in and out",
    "rocksdict": f"{PACKED}, but for the prefix extractor: keys have no fixed length",
    "plyvel": PACKED,
}


def segue(work: Path, params: dict[str, Any]) -> Outcome:
    import segue as engine

    table, kind = _input(params)
    timer = Timer(reset_peaks=True)
    with engine.open(work / "db", durability=params["durability"]) as db:
        events = db.create_events("events", table.schema, key=list(kind.key), time=kind.time)
        with timer:
            for batch in workloads.batches(table, BATCH_ROWS):
                events.append_batch(batch)
        digest, rows = _digest(row for batch in events.scan().batches() for row in _rows(batch))
    return Outcome(timer.seconds, rows, digest)


def rocksdict(work: Path, params: dict[str, Any]) -> Outcome:
    import rocksdict as rocks

    from benchmarks.events.stores import RocksStore

    options = RocksStore.options()
    options.set_prefix_extractor(rocks.SliceTransform.create_noop())  # keys of no fixed length
    db = rocks.Rdict(str(work / "db"), options)

    def write(pairs: Iterable[tuple[bytes, bytes]]) -> None:
        writes = rocks.WriteBatch(raw_mode=True)
        put = writes.put
        for key, value in pairs:
            put(key, value)
        db.write(writes)

    outcome = _untyped(params, write, db.items)
    db.close()
    return outcome


def plyvel(work: Path, params: dict[str, Any]) -> Outcome:
    import plyvel as level

    from benchmarks.events.stores import LevelStore

    db = level.DB(str(work / "db"), **LevelStore.OPTIONS)

    def write(pairs: Iterable[tuple[bytes, bytes]]) -> None:
        with db.write_batch() as writes:
            put = writes.put
            for key, value in pairs:
                put(key, value)

    outcome = _untyped(params, write, db.iterator)
    db.close()
    return outcome


def _untyped(
    params: dict[str, Any],
    write: Callable[[Iterable[tuple[bytes, bytes]]], None],
    read: Callable[[], Iterable[tuple[bytes, bytes]]],
) -> Outcome:
    table, kind = _input(params)
    batches = workloads.batches(table, BATCH_ROWS)
    packing = Packing(batches[0], [*kind.key, kind.time])
    timer = Timer(reset_peaks=True)
    first = 0
    with timer:
        for batch in batches:
            write(packing.pairs(batch, first))
            first += batch.num_rows
    digest, rows = _digest(packing.row(key, value) for key, value in read())
    return Outcome(timer.seconds, rows, digest)


def _input(params: dict[str, Any]) -> tuple[pa.Table, Workload]:
    return workloads.load(params["events"]), WORKLOADS[params["workload"]]


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Plain Python rows: times and dates as integers, decimals and dictionaries as strings."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type):
            column = column.view(pa.int64())
        elif pa.types.is_date(column.type):
            column = column.view(pa.int32())
        elif pa.types.is_decimal(column.type) or pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        columns.append(column.to_pylist())
    return list(zip(*columns, strict=True))


def _digest(rows: Iterable[tuple[Any, ...]]) -> tuple[str, int]:
    """Count and sum of hashes: equal for equal multisets. All NaN are one, -0.0 is not 0.0."""
    total = count = 0
    for row in rows:
        plain = tuple("nan" if isinstance(v, float) and math.isnan(v) else v for v in row)
        total += int.from_bytes(hashlib.blake2b(repr(plain).encode(), digest_size=8).digest(), "big")
        count += 1
    return f"{total % (1 << 64):016x}", count
