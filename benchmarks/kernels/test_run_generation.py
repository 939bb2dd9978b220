"""Packing rows, building their keys and sorting them into runs: BigSort until its merge begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine, kernels

PLAN = {"medium": Need(1e9, 30), "large": Need(3e9, 120)}


def table_of(kind: str, n: int) -> tuple[pa.Table, np.ndarray]:
    """Return rows of a key and 16 bytes, and numbers in the order of the keys."""
    rng = np.random.default_rng(5)
    if kind == "int64":
        numbers = rng.integers(-(2**63), 2**63 - 1, n)
        keys = pa.array(numbers)
    elif kind == "int32":
        numbers = rng.integers(0, 1_000_000, n)
        keys = pa.array(numbers.astype(np.int32))
    else:
        numbers = rng.integers(0, 100_000, n)
        keys = pa.array([f"user {i:07d}" for i in range(100_000)]).take(pa.array(numbers))
    return pa.table({"key": keys, "high": rng.integers(0, 1 << 60, n), "low": np.arange(n)}), numbers


def check(table: pa.Table, numbers: np.ndarray, stream: Any) -> None:
    """What is read from the stream is the table, sorted stably."""
    result = stream.read_all().combine_chunks()
    order = np.argsort(numbers, kind="stable")
    np.testing.assert_array_equal(result["low"].to_numpy(), order)
    assert result.equals(table.take(pa.array(order)).combine_chunks())


@pytest.mark.parametrize("kind", ["int64", "int32", "string"])
def test_in_memory(kernel: Kernel, kind: str):
    table, numbers = table_of(kind, kernel.rows)
    stream = kernel(
        "run-generation",
        f"{kind} key, in memory",
        lambda: kernels.big_sort(table, "key", memory="16GiB"),
        rows=table.num_rows,
        cost=Cost(read=table.nbytes, written=table.nbytes),
    )
    assert stream.metrics["spilled_runs"] == 0
    check(table, numbers, stream)


def test_spilled(kernel: Kernel):
    """Under the least budget most runs go to files; nothing syncs them, so that memory takes the writes."""
    table, numbers = table_of("int64", 3 * kernel.rows)
    spills = str(kernel.directory)
    stream = kernel(
        "run-generation",
        "int64 key, spilled within 64 MiB",
        lambda: kernels.big_sort(table, "key", memory="64MiB", spill_dir=spills),
        rows=table.num_rows,
        cost=Cost(read=table.nbytes, written=table.nbytes),
        isa=_engine.testing.crc32c_isas()[-1],  # of the checksum of each block
        durability="none",
    )
    assert stream.metrics["spilled_runs"] > 1
    check(table, numbers, stream)
