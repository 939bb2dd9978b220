"""Packed integers to 32 bits, by width: the scan's kernels, and the decoder of SSTable blocks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 40), "large": Need(0, 120)}

WIDTHS = (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 25, 28, 32)
BLOCK = 4096
"""Values that a scan unpacks at a time: they stay in the cache."""
PERIOD = 1 << 16
"""After so many values the input repeats: eight values of any width are whole bytes."""


def packed(width: int, n: int) -> tuple[np.ndarray, bytes]:
    values = np.random.default_rng(width).integers(0, 1 << width, PERIOD, dtype=np.uint64)
    bits = values[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    data = np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    return values, data * (n // PERIOD)


def last_of_blocks(values: np.ndarray, n: int) -> int:
    return int(values[BLOCK - 1 :: BLOCK].sum()) * (n // PERIOD)


@pytest.mark.parametrize("isa", _engine.scan_isas())
@pytest.mark.parametrize("width", WIDTHS)
def test_scan(kernel: Kernel, width: int, isa: str):
    n = 2 * kernel.rows
    values, data = packed(width, n)
    unpacked = _engine.scan_unpack(isa, data[: PERIOD * width // 8], width, 0, PERIOD)
    np.testing.assert_array_equal(unpacked, values.astype(np.uint32))
    ran, last = kernel(
        "bit-unpack",
        f"width {width}",
        lambda: testing.scan_unpack_blocks(isa, data, width, n, BLOCK),
        rows=n,
        cost=Cost(read=len(data)),
        isa=isa,
    )
    assert ran == isa
    assert last == last_of_blocks(values, n)


@pytest.mark.parametrize("width", WIDTHS)
def test_sstable(kernel: Kernel, width: int):
    n = 2 * kernel.rows
    values, data = packed(width, n)
    few = 1000
    head = data[: (few * width + 7) // 8]
    assert testing.unpack_bits(head, few, width, 0, False) == values[:few].tolist()
    last = kernel(
        "bit-unpack-sstable",
        f"width {width}",
        lambda: testing.sst_unpack_blocks(data, width, n, BLOCK),
        rows=n,
        cost=Cost(read=len(data)),
    )
    assert last == last_of_blocks(values, n)
