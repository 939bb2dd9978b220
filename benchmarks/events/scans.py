"""Scans of whole windows, as the nightly job reads them: all columns, each thread its own span of days."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.events.encoding import Dictionaries, Digest
from benchmarks.events.stores import open_store
from benchmarks.harness import Outcome, Timer

BATCH_ROWS = 1000


def windows(work: Path, params: dict[str, Any]) -> Outcome:
    """Store all events, settle, then scan them warm, columns of Arrow batches out; count what came."""
    table = workloads.load(params["events"])
    dictionaries = Dictionaries(table)
    times = np.concatenate([chunk.cast("int64").to_numpy() for chunk in table["timestamp"].chunks])
    bounds = np.quantile(times, np.linspace(0, 1, params["threads"] + 1)[1:-1]).astype(np.int64).tolist()
    spans = list(zip([None, *bounds], [*bounds, None], strict=True))
    with open_store(params["store"], work / "db", "os", dictionaries) as store:
        for number, batch in enumerate(workloads.batches(table, BATCH_ROWS)):
            store.append_batch(batch, number * BATCH_ROWS)
        store.settle()

        def scan(span: tuple[int | None, int | None]) -> int:
            stream = store.events.scan(since=span[0], until=span[1])
            return sum(batch.num_rows for batch in stream.batches())

        timer = Timer(reset_peaks=True)
        with ThreadPoolExecutor(len(spans)) as pool:
            for timed in range(params["repeats"] + 1):
                if timed == 0:
                    rows = sum(pool.map(scan, spans))  # warms page cache and allocator
                    continue
                with timer:
                    again = sum(pool.map(scan, spans))
                if again != rows:
                    raise AssertionError(f"scans of the same events gave {rows} and {again} rows")
        digest = Digest()
        store.add_to(digest)
    if rows != digest.rows or rows != table.num_rows:
        raise AssertionError(f"{table.num_rows} events stored, {rows} scanned by span, {digest.rows} in all")
    return Outcome(timer.seconds, rows, str(digest))
