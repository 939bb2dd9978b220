"""Acknowledgement while flushes and merges go on, durable, at 100,000 events a second; a short one, for CI.

Open loop, as benchmarks/events/latency.py measures it at length: batches arrive at fixed times, and waiting
in line counts. What a machine can do at all varies from one to the next and from second to second, so the
bounds are those of a bare ``pwrite`` + ``fdatasync`` loop that takes turns with the store, with much to
spare. They still fail: whatever costs a batch a millisecond more makes a line that only grows, and stops of
a fiftieth of a second at each flush delay a fifth of the batches.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import workloads
from benchmarks.events.encoding import Dictionaries, pack_rows
from benchmarks.events.latency import BATCH_ROWS, BATCHES_PER_SECOND, bare_log, flushing, open_loop
from benchmarks.events.stores import SegueStore

ROUNDS = 6
ENOUGH = 2
"""Rounds that keep to the bounds: none does where something is wrong, and a busy machine spoils some."""
STORE_SECONDS, BARE_SECONDS = 0.8, 0.4
FLUSH_SECONDS = 0.1
"""So many tables that merges are due after two rounds."""
WITHIN = 0.008
"""Seconds: what is promised of nearly all batches."""


def middle(latencies: list[float]) -> float:
    return sorted(latencies)[len(latencies) // 2]


def share(latencies: list[float]) -> float:
    return sum(latency <= WITHIN for latency in latencies) / len(latencies)


@pytest.mark.skipif("SEGUE_SANITIZED" in os.environ, reason="measures time")
def test_acknowledged_in_time_while_flushes_and_merges_go_on(tmp_path: Path) -> None:
    file = tmp_path / "events.arrow"
    each = int(STORE_SECONDS * BATCHES_PER_SECOND)
    workloads.write(file, workloads.WORKLOADS["events"].stream(ROUNDS * each * BATCH_ROWS))
    table = workloads.load(file)
    batches = workloads.batches(table, BATCH_ROWS)
    few = int(BARE_SECONDS * BATCHES_PER_SECOND)
    packed = [pack_rows(batch) for batch in batches[:few]]
    kept = 0
    said = []
    store = SegueStore(tmp_path / "db", "commit", Dictionaries(table))
    try:
        with bare_log(tmp_path / "log", sum(map(len, packed)), sync=True) as write:
            open_loop(packed, write)  # blocks that were never written cost more
            for number in range(ROUNDS):
                bare = open_loop(packed, write)
                with flushing(store, FLUSH_SECONDS):
                    ours = open_loop(batches[number * each : (number + 1) * each], store.append_batch)
                allowed = 3 * middle(bare) + 0.001
                good = middle(ours) <= allowed and share(ours) >= share(bare) - 0.1
                kept += good
                said.append(
                    f"p50 {middle(ours) * 1e3:.2f} ms where {allowed * 1e3:.2f} is allowed, within 8 ms "
                    f"{share(ours):.0%} where the bare loop has {share(bare):.0%}"
                )
        stats = store.events.stats()
        assert stats.sequence == ROUNDS * each * BATCH_ROWS
        if stats.flushes < ROUNDS * STORE_SECONDS / FLUSH_SECONDS / 2:
            pytest.skip(f"{stats.flushes} flushes were all that this disk could do")
        assert stats.compactions + stats.compaction_pending_bytes > 0, "merges were to go on"
    finally:
        store.close()
    assert kept >= ENOUGH, "; ".join(said)
