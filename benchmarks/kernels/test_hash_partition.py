"""Spark's Murmur3 of a column, and the partition of each row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import kernels

PLAN = {"medium": Need(0, 10), "large": Need(0, 40)}

POWER, OTHER = 64, 100
"""Partitions: the remainder of a power of two is a mask, of others a division."""


def _mix(hashes: np.ndarray, word: np.ndarray) -> np.ndarray:
    word = word * np.uint32(0xCC9E2D51)
    word = (word << np.uint32(15) | word >> np.uint32(17)) * np.uint32(0x1B873593)
    hashes = hashes ^ word
    return (hashes << np.uint32(13) | hashes >> np.uint32(19)) * np.uint32(5) + np.uint32(0xE6546B64)


def murmur3(words: np.ndarray) -> np.ndarray:
    """Murmur3_x86_32 with seed 42 of each row of 32-bit words: the twin in numpy."""
    hashes = np.full(len(words), 42, np.uint32)
    for column in range(words.shape[1]):
        hashes = _mix(hashes, words[:, column])
    hashes = hashes ^ np.uint32(4 * words.shape[1])
    hashes = (hashes ^ hashes >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ hashes >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return (hashes ^ hashes >> np.uint32(16)).view(np.int32)


def column_of(kind: str, n: int) -> tuple[pa.Array, np.ndarray]:
    """Return a column and its values as 32-bit words."""
    rng = np.random.default_rng(4)
    if kind in ("int32", "int64"):
        values = rng.integers(-(2**31), 2**31 - 1, n).astype(kind)
        return pa.array(values), values.view(np.uint32).reshape(n, -1)
    # Twelve bytes a string: whole words, as a tail is hashed in another way.
    names = pa.array([f"user {i:07d}" for i in range(100_000)])
    codes = rng.integers(0, len(names), n).astype(np.int32)
    words = np.frombuffer(names.buffers()[2], np.uint32).reshape(len(names), 3)[codes]
    if kind == "dictionary":
        return pa.DictionaryArray.from_arrays(codes, names), words
    return names.take(pa.array(codes)), words


@pytest.mark.parametrize("partitions", [POWER, OTHER])
@pytest.mark.parametrize("kind", ["int32", "int64", "string", "dictionary"])
def test_hash_partition(kernel: Kernel, kind: str, partitions: int):
    column, words = column_of(kind, kernel.rows)
    table = pa.table({"user": column})
    numbers = kernel(
        "hash-partition",
        f"{kind}, {partitions} partitions",
        lambda: kernels.hash_partition(table, partitions, "user"),
        rows=len(column),
        cost=Cost(read=table.nbytes, written=4 * len(column)),
    )
    np.testing.assert_array_equal(numbers, murmur3(words) % np.int32(partitions))
