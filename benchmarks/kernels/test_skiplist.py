"""Inserting rows into the active memtable's skiplist, and finding the first row of a key."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 20), "large": Need(0, 90)}

USERS = 10_000_000
ROW_BYTES = 48  # a packed play
OWN_ROWS = 4096
"""Rows at which the memtable seals a skiplist, so that it stays in the second-level cache."""


def keys_of(rows: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, USERS, rows, dtype=np.uint64)


def filled(keys: np.ndarray) -> object:
    rows = testing.SkipList(ROW_BYTES)
    rows.insert(keys)
    return rows


def rows_at(kernel: Kernel, size: str) -> int:
    return OWN_ROWS if size == "own" else kernel.at(1 << 16, 1 << 18, 1 << 20)


def cost(rows: int, visits: int, memory: int) -> Cost:
    """No comparison finds its place among n rows without looking at log2(n) of them."""
    return Cost(fetches=visits * math.log2(rows), working_set=memory)


@pytest.mark.parametrize("size", ["own", "larger"])
def test_insert(kernel: Kernel, size: str):
    keys = keys_of(rows_at(kernel, size))
    full = filled(keys)
    np.testing.assert_array_equal(full.sequences(), np.argsort(keys, kind="stable") + 1)
    kernel(
        "skiplist-insert",
        f"{len(keys)} rows",
        lambda empty: empty.insert(keys),
        setup=lambda: (testing.SkipList(ROW_BYTES),),
        rows=len(keys),
        # On the way to n rows the average insertion meets half of them.
        cost=cost(len(keys) // 2, len(keys), full.memory),
    )


@pytest.mark.parametrize("size", ["own", "larger"])
def test_find(kernel: Kernel, size: str):
    keys = keys_of(rows_at(kernel, size))
    full = filled(keys)
    present, first = np.unique(keys, return_index=True)
    order = np.random.default_rng(2).permutation(len(present))
    asked, expected = present[order], first[order].astype(np.uint64) + 1
    absent = np.setdiff1d(keys_of(2 * len(keys))[len(keys) :], keys)
    assert not full.find(absent).any()
    found = kernel(
        "skiplist-find",
        f"{len(keys)} rows",
        lambda: full.find(asked),
        rows=len(asked),
        cost=cost(len(keys), len(asked), full.memory),
    )
    np.testing.assert_array_equal(found, expected)
