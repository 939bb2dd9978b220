"""The checksum of every file, over pieces of the size of a log record, a page and a large block."""

from __future__ import annotations

import os

import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 10), "large": Need(0, 30)}

PIECES = {"72 B": 72, "4 KiB": 4096, "1 MiB": 1 << 20}


@pytest.mark.parametrize("isa", testing.crc32c_isas())
@pytest.mark.parametrize("piece", PIECES)
def test_crc32c(kernel: Kernel, piece: str, isa: str):
    size = PIECES[piece]
    data = os.urandom(kernel.at(16, 64, 256) << 20)
    assert testing.crc32c_pieces(isa, b"123456789", 9) == (isa, 0xE3069283)  # of RFC 3720
    expected = testing.crc32c_pieces("scalar", data, size)[1]
    ran, checksum = kernel(
        "crc32c",
        piece,
        lambda: testing.crc32c_pieces(isa, data, size),
        rows=-(-len(data) // size),
        cost=Cost(read=len(data)),
        isa=isa,
    )
    assert (ran, checksum) == (isa, expected)
