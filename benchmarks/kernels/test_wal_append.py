"""Records into the write-ahead log: stored through the mapping, staged in memory, and staged and synced."""

from __future__ import annotations

import itertools
import os

import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(1e9, 30), "large": Need(1e9, 90)}

STORE = bytes(range(16))
HEADER_BYTES = 32

# Payload and events of a record: a play by itself, and a batch of 1000 of 40 bytes.
RECORDS = {"row": (48, 1), "batch": (40_000, 1000)}


class Logs:
    """New logs that take over the blocks of the one before, as a store's do."""

    def __init__(self, kernel: Kernel, megabytes: int) -> None:
        self._directory = kernel.directory
        self._bytes = megabytes << 20
        self._generations = itertools.count(1)
        self._last = ""

    def __call__(self, staged: bool) -> object:
        generation = next(self._generations)
        path = str(self._directory / f"{generation}.wal")
        log = testing.WalWriter(
            path, STORE, generation=generation, capacity=self._bytes, recycle=self._last, staged=staged
        )
        self._last = path
        return log


def check(logs: Logs, staged: bool, payload: bytes, records: int, events: int) -> None:
    """What a log holds after a sync is what was appended."""
    log = logs(staged)
    log.append_many(payload, records, events)
    log.sync()
    reader = testing.WalReader(log.path, STORE)
    kind, first, count, _, read = reader.next()
    assert (kind, first, count, read) == (2, 1, events, payload)
    assert reader.drain() == (records - 1, (records - 1) * len(payload))


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("how", ["through", "staged", "staged and synced"])
def test_append(kernel: Kernel, record: str, how: str):
    size, events = RECORDS[record]
    megabytes = kernel.at(4, 32, 64)
    payload = os.urandom(size)
    records = ((megabytes << 20) - 4096) // (size + HEADER_BYTES)
    staged = how != "through"
    logs = Logs(kernel, megabytes)
    check(logs, staged, payload, records, events)

    def append(log) -> None:
        log.append_many(payload, records, events)
        if how == "staged and synced":
            log.sync()

    written = records * (size + HEADER_BYTES)
    kernel(
        "wal-append",
        f"{record}, {how}",
        append,
        setup=lambda: (logs(staged),),
        rows=records * events,
        cost=Cost(read=written, written=written, disk=written if how == "staged and synced" else 0),
        isa=testing.crc32c_isas()[-1],  # of the checksum of each record
        durability="one sync at the end" if how == "staged and synced" else "none",
    )
