"""Acknowledgement latency, open loop: arrivals are fixed beforehand, and waiting in line counts.

1,000 batches a second of 100 events arrive whether or not the one before is acknowledged; a batch's latency
runs from its arrival to its acknowledgement. Meanwhile the store flushes, by itself and when a second thread
says so. The bare loop writes the same packed events with ``pwrite`` + ``fdatasync`` into a preallocated file.
The first batch, for which a store begins its log, is sent before the clock starts and has its own figure.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import workloads
from benchmarks.events.encoding import EVENT_BYTES, Dictionaries, Digest, pack_rows
from benchmarks.events.stores import Store, open_store
from benchmarks.harness import Outcome, Timer, histogram, percentiles, thin

if TYPE_CHECKING:
    import pyarrow as pa

BATCHES_PER_SECOND = 1000
BATCH_ROWS = 100
FLUSH_SECONDS = 1.0
"""Between flushes that are asked for, beside those by itself: so many tables that merges are due, too."""


def store(work: Path, params: dict[str, Any]) -> Outcome:
    table, sent = _input(params)
    with open_store(params["store"], work / "db", params["durability"], Dictionaries(table)) as opened:
        first = timed(opened.append_batch, sent[0], 0)
        with flushing(opened, FLUSH_SECONDS):
            latencies = open_loop(sent, opened.append_batch, begin=1)
        counters = opened.counters()
        digest = Digest()
        opened.add_to(digest)
    return _outcome(latencies, first, digest, counters)


def bare(work: Path, params: dict[str, Any]) -> Outcome:
    """The least that any store must do: the bytes in a file, synced."""
    _, sent = _input(params)
    packed = [pack_rows(batch) for batch in sent]
    with bare_log(work / "log", sum(map(len, packed)), params["durability"] == "commit") as write:
        first = timed(write, packed[0], 0)
        latencies = open_loop(packed, write, begin=1)
    digest = Digest()
    digest.add_bare((work / "log").read_bytes())
    return _outcome(latencies, first, digest)


@contextlib.contextmanager
def flushing(opened: Store, seconds: float) -> Iterator[None]:
    """Have another thread ask for a flush every so many seconds."""
    stop = threading.Event()

    def flush() -> None:
        while not stop.wait(seconds):
            opened.flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        yield
    finally:
        stop.set()
        flusher.join()


@contextlib.contextmanager
def bare_log(path: Path, size: int, sync: bool) -> Iterator[Callable[[bytes, int], None]]:
    """Make a preallocated file, and give a function that writes packed events from the number `first` on."""
    fdatasync = getattr(os, "fdatasync", os.fsync)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        os.fsync(descriptor)

        def write(data: bytes, first: int) -> None:
            os.pwrite(descriptor, data, first * EVENT_BYTES)
            if sync:
                fdatasync(descriptor)

        yield write
    finally:
        os.close(descriptor)


def _input(params: dict[str, Any]) -> tuple[pa.Table, list[pa.RecordBatch]]:
    table = workloads.load(params["events"])
    rows = int(params["seconds"] * BATCHES_PER_SECOND) * BATCH_ROWS
    return table, workloads.batches(table.slice(0, rows), BATCH_ROWS)


def timed(send: Callable[[Any, int], object], item: Any, first: int) -> float:
    start = time.perf_counter()
    send(item, first)
    return time.perf_counter() - start


def open_loop(items: list[Any], send: Callable[[Any, int], object], begin: int = 0) -> list[float]:
    """Send each from number `begin` on when it arrives, or once the one before is done.

    Returns seconds from arrival to answer.
    """
    timer = Timer(reset_peaks=True)
    latencies = [0.0] * (len(items) - begin)
    clock, sleep = time.perf_counter, time.sleep
    with timer:
        start = clock() + 0.01
        for number in range(len(latencies)):
            arrival = start + number / BATCHES_PER_SECOND
            wait = arrival - clock()
            if wait > 0:
                sleep(wait)
            send(items[begin + number], (begin + number) * BATCH_ROWS)
            latencies[number] = clock() - arrival
    return latencies


def _outcome(
    latencies: list[float], first: float, digest: Digest, counters: dict[str, int] | None = None
) -> Outcome:
    span = len(latencies) / BATCHES_PER_SECOND + latencies[-1]
    extra: dict[str, Any] = percentiles(latencies) | (counters or {})
    extra["histogram"] = histogram(latencies)
    extra["events_per_second"] = len(latencies) * BATCH_ROWS / span
    extra["latencies"] = len(latencies)
    extra["first_ms"] = first * 1e3
    return Outcome(thin(latencies), digest.rows, str(digest), extra)
