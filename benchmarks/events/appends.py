"""What is measured of appends: one call per event, batches, and a long run with its files and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import meter, workloads
from benchmarks.events.encoding import EVENT_BYTES, Dictionaries, Digest
from benchmarks.events.stores import Store, open_store, rows_of
from benchmarks.harness import Outcome, Timer

BATCH_ROWS = 1000
PIECE_ROWS = 250 * BATCH_ROWS
"""Rows whose batches a long run has in memory at a time: they are not the store's."""


def one_call(work: Path, params: dict[str, Any]) -> Outcome:
    """Append rows one call each; the rows are Python tuples made beforehand."""
    table = workloads.load(params["events"])
    dictionaries = Dictionaries(table)
    rows = [row for batch in table.slice(0, params["rows"]).to_batches() for row in rows_of(batch)]
    timer = Timer(reset_peaks=True)
    with open_store(params["store"], work / "db", params["durability"], dictionaries) as store:
        with timer:
            store.append_rows(rows)
        return _outcome(store, timer)


def batches(work: Path, params: dict[str, Any]) -> Outcome:
    """Append record batches of 1000 rows."""
    table = workloads.load(params["events"])
    batch_rows = params.get("batch_rows", BATCH_ROWS)
    timer = Timer(reset_peaks=True)
    with open_store(params["store"], work / "db", params["durability"], Dictionaries(table)) as store:
        sent = list(map(store.prepare, workloads.batches(table.slice(0, params["rows"]), batch_rows)))
        with timer:
            for number, batch in enumerate(sent):
                store.append_batch(batch, number * batch_rows)
        return _outcome(store, timer)


def sustained(work: Path, params: dict[str, Any]) -> Outcome:
    """Append all events in batches of 1000 by tenths, then wait for flushes and compaction.

    The figure ``sustained_percent`` is the rate of the last tenth over that of the first; the seconds
    are those of all appends and of what the background had left to do, bytes written include both. The
    store's size is that of its files once it is closed.
    """
    table = workloads.load(params["events"])
    tenth = -(-table.num_rows // 10 // BATCH_ROWS) * BATCH_ROWS
    appends = []
    timer = Timer(reset_peaks=True)
    before = _written()
    with open_store(params["store"], work / "db", params["durability"], Dictionaries(table)) as store:
        for start in range(0, table.num_rows, tenth):
            share = table.slice(start, tenth)
            timed = len(timer.seconds)
            for begin in range(0, share.num_rows, PIECE_ROWS):
                sent = workloads.batches(share.slice(begin, PIECE_ROWS), BATCH_ROWS)
                with timer:
                    for number, batch in enumerate(sent):
                        store.append_batch(batch, start + begin + number * BATCH_ROWS)
            appends.append(sum(timer.seconds[timed:]) / share.num_rows)
        with timer:
            store.settle()
        written, counters = _written() - before, store.counters()
        open_bytes = sum(_sizes(work / "db").values())
        outcome = _outcome(store, timer)
    sizes = _sizes(work / "db")
    size = sum(sizes.values())
    extra = {
        "rows_per_second": table.num_rows / sum(timer.seconds),
        "appended_rows_per_second": table.num_rows / (sum(timer.seconds) - timer.seconds[-1]),
        "sustained_percent": 100 * appends[0] / appends[-1],
        "tenths_rows_per_second": [round(1 / seconds) for seconds in appends],
        "settle_seconds": timer.seconds[-1],
        "store_bytes": size,
        "store_bytes_while_open": open_bytes,
        "log_bytes": sum(bytes_ for file, bytes_ in sizes.items() if file.suffix == ".log"),
        "store_bytes_per_event": size / table.num_rows,
        "written_per_byte": written / (table.num_rows * EVENT_BYTES),
        **counters,
    }
    return Outcome([sum(timer.seconds)], outcome.rows, outcome.digest, extra)


def _sizes(directory: Path) -> dict[Path, int]:
    """Bytes on disk of each file: blocks that a file does not use are not counted, preallocated ones are."""
    return {f: f.stat().st_blocks * 512 for f in directory.rglob("*") if f.is_file()}


def _written() -> int:
    return meter.active.counters().written_bytes if meter.active is not None else 0


def _outcome(store: Store, timer: Timer) -> Outcome:
    digest = Digest()
    store.add_to(digest)
    return Outcome(timer.seconds, digest.rows, str(digest))
