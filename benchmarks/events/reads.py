"""Reads of one user: the last 50 plays of users who have some, and of users who do not exist; warm."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.events.encoding import Dictionaries, numbers
from benchmarks.events.stores import Store, open_store
from benchmarks.harness import Outcome, Timer, histogram, percentiles, thin

BATCH_ROWS = 1000
LIMIT = 50


def last_50(work: Path, params: dict[str, Any]) -> Outcome:
    """Store all events, settle, then ask for each user twice: who was not asked for before, then warm."""
    table = workloads.load(params["events"])
    present, absent = _users(np.concatenate([numbers(c) for c in table["user_id"].chunks]), params["queries"])
    with open_store(params["store"], work / "db", "os", Dictionaries(table)) as store:
        for number, batch in enumerate(workloads.batches(table, BATCH_ROWS)):
            store.append_batch(batch, number * BATCH_ROWS)
        store.settle()
        # The timers are for memory, processor and io; queries have times of their own.
        with (first := Timer(reset_peaks=True)):
            first_latencies, _ = _ask(store, present)
        with (warm := Timer(reset_peaks=True)):
            latencies, found = _ask(store, present)
        _ask(store, absent)
        before = store.counters()
        with (part := Timer(reset_peaks=True)):
            absent_latencies, nothing = _ask(store, absent)
        after = store.counters()
    if any(nothing):
        raise AssertionError("a user who does not exist has events")
    extra: dict[str, Any] = percentiles(latencies)
    extra |= percentiles(first_latencies, "first_") | percentiles(absent_latencies, "absent_")
    extra["histogram"] = histogram(latencies)
    extra["first_histogram"] = histogram(first_latencies)
    extra["absent_histogram"] = histogram(absent_latencies)
    extra["first_seconds_each"], extra["first_usage"] = thin(first_latencies), first.usage
    extra["last_seconds_each"], extra["last_usage"] = thin(latencies), warm.usage
    extra["absent_seconds_each"], extra["absent_usage"] = thin(absent_latencies), part.usage
    extra["tables"] = after.get("tables")  # each with a filter of its own
    if "bloom_probes" in after:
        did = {name: after[name] - before[name] for name in after}
        probes, blocks = did["bloom_probes"], did["cache_hits"] + did["cache_misses"]
        extra["bloom_probes_per_query"] = probes / len(absent)
        extra["filtered_percent"] = 100 * did["bloom_useful"] / probes if probes else None
        # Asked before, a block that a filter let through lies in the cache: to look into it is to read it.
        extra["absent_blocks_per_query"] = blocks / len(absent)
        extra["absent_blocks_percent"] = 100 * blocks / probes if probes else None
    answers = [songs for _, songs in sorted(zip(present, found, strict=True))]
    digest = f"{sum(map(len, answers))} of {len(answers)}: {hash(tuple(map(tuple, answers))):x}"
    return Outcome(thin(latencies), len(latencies), digest, extra)


def _users(users: np.ndarray, queries: int) -> tuple[list[int], list[int]]:
    """Users as often as they play, and ids in the same range that never do."""
    rng = np.random.default_rng(7)
    present = rng.choice(users, queries)
    known = np.unique(users)
    candidates = rng.integers(known[0], known[-1], 20 * queries)
    absent = candidates[~np.isin(candidates, known)][:queries]
    if not len(absent):
        absent = np.arange(known[-1] + 1, known[-1] + 1 + queries)
    return present.tolist(), absent.tolist()


def _ask(store: Store, users: list[int]) -> tuple[list[float], list[list[int]]]:
    latencies, found = [], []
    clock = time.perf_counter
    for user in users:
        began = clock()
        answer = store.last(user, LIMIT)
        latencies.append(clock() - began)
        found.append(store.songs(answer))
    return latencies, found
