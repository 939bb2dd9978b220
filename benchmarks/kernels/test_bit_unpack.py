"""Packed integers by width, to 32 and to 64 bits: what scans of Parquet files and SSTable blocks decode."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 40), "large": Need(0, 120)}

WIDTHS = (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 25, 28, 32)
WIDE = (1, 8, 12, 20, 25, 32, 40, 48, 57, 58, 64)
BLOCK = 4096
"""Values that a scan unpacks at a time: they stay in the cache."""
PERIOD = 1 << 16
"""After so many values the input repeats: eight values of any width are whole bytes."""


def packed(width: int, n: int) -> tuple[np.ndarray, bytes]:
    values = np.random.default_rng(width).integers(
        0, (1 << width) - 1, PERIOD, dtype=np.uint64, endpoint=True
    )
    bits = values[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    data = np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    return values, data * (n // PERIOD)


def last_of_blocks(values: np.ndarray, n: int) -> int:
    return sum(values[BLOCK - 1 :: BLOCK].tolist()) * (n // PERIOD) % (1 << 64)


def measure(kernel: Kernel, name: str, width: int, isa: str, bits: int) -> None:
    n = 2 * kernel.rows
    values, data = packed(width, n)
    unpacked = testing.packed_unpack(isa, data[: PERIOD * width // 8], width, 0, PERIOD, 0, bits)
    np.testing.assert_array_equal(unpacked, values)
    ran, last = kernel(
        name,
        f"width {width}",
        lambda: testing.packed_unpack_blocks(isa, data, width, n, BLOCK, bits),
        rows=n,
        cost=Cost(read=len(data)),
        isa=isa,
    )
    assert ran == isa
    assert last == last_of_blocks(values, n)


@pytest.mark.parametrize("isa", testing.packed_isas())
@pytest.mark.parametrize("width", WIDTHS)
def test_to_32_bits(kernel: Kernel, width: int, isa: str):
    measure(kernel, "bit-unpack", width, isa, 32)


@pytest.mark.parametrize("isa", testing.packed_isas())
@pytest.mark.parametrize("width", WIDE)
def test_to_64_bits(kernel: Kernel, width: int, isa: str):
    measure(kernel, "bit-unpack-64", width, isa, 64)
