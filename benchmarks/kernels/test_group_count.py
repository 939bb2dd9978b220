"""Counting rows by group ids, by how many groups there are; in an array of counters, and hashed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 60), "large": Need(0, 200)}

ARTISTS, COUNTRIES = 100_000, 180
DENSE_BYTES = 256 << 20  # as a scan allows
SCAN_ROWS = 100_000_000
"""Rows that the scan is said to have: of few it would hash what it counts in an array here."""

SHAPES = {
    "8 groups": [8],
    "180 groups": [180],
    "10000 groups": [10_000],
    "1000000 groups": [1_000_000],
    "100000 x 180 groups": [ARTISTS, COUNTRIES],
    "100000 x 180 groups, skewed": [ARTISTS, COUNTRIES],
    "100000 x 180 groups, hashed": [ARTISTS, COUNTRIES],
}


def ids_of(shape: str, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    if shape.endswith("skewed"):
        # Log-uniform, which is what a Zipf exponent of one makes of ranks.
        return [(c ** rng.random(n)).astype(np.uint32) - np.uint32(1) for c in SHAPES[shape]]
    return [rng.integers(0, c, n, dtype=np.uint32) for c in SHAPES[shape]]


@pytest.mark.parametrize("isa", _engine.scan_isas())
@pytest.mark.parametrize("shape", SHAPES)
def test_group_count(kernel: Kernel, shape: str, isa: str):
    n = kernel.rows
    columns = ids_of(shape, n)
    cardinalities = SHAPES[shape]
    hashed = shape.endswith("hashed")
    counter = testing.GroupCount(isa, cardinalities, 0 if hashed else DENSE_BYTES, SCAN_ROWS)
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        counter.count(columns)

    # Counts go on from call to call: what is measured is counting, not the making of the counters.
    count()
    assert counter.dense != hashed
    kernel(
        "group-count",
        shape,
        count,
        rows=n,
        cost=Cost(read=4 * n * len(columns), fetches=n, working_set=counter.memory),
        isa=isa,
    )
    assert counter.isa == isa
    ids, counts = counter.finish()
    groups = np.ravel_multi_index(ids, cardinalities)
    order = np.argsort(groups)
    expected, expected_counts = np.unique(np.ravel_multi_index(columns, cardinalities), return_counts=True)
    np.testing.assert_array_equal(groups[order], expected)
    np.testing.assert_array_equal(counts[order], calls * expected_counts)
