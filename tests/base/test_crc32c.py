"""CRC32C: the CPU's instruction against the table-driven twin and published vectors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue import _engine

testing = _engine.testing


def crc32c_bitwise(data: bytes, crc: int = 0) -> int:
    """The definition, bit by bit."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# RFC 3720, appendix B.4, and the check value of the CRC catalogue.
VECTORS = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
]


@pytest.mark.parametrize(("data", "crc"), VECTORS)
def test_known_vectors(data: bytes, crc: int) -> None:
    assert testing.crc32c(data) == crc
    assert testing.crc32c_scalar(data) == crc
    assert crc32c_bitwise(data) == crc


@given(st.binary(max_size=200))
def test_both_equal_the_definition(data: bytes) -> None:
    assert testing.crc32c(data) == testing.crc32c_scalar(data) == crc32c_bitwise(data)


@given(st.binary(max_size=5000), st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_continues_from_an_earlier_crc(left: bytes, right: bytes, crc: int) -> None:
    assert testing.crc32c(left, crc) == testing.crc32c_scalar(left, crc)
    assert testing.crc32c(right, testing.crc32c(left)) == testing.crc32c(left + right)
    assert testing.crc32c_scalar(right, testing.crc32c_scalar(left)) == testing.crc32c_scalar(left + right)


def test_every_short_length_and_alignment() -> None:
    data = os.urandom(96)
    for begin in range(16):
        for end in range(begin, len(data)):
            part = data[begin:end]
            assert testing.crc32c(part) == testing.crc32c_scalar(part)


def test_pieces_are_checked_one_by_one() -> None:
    data = os.urandom(1000)
    for isa in testing.crc32c_isas():
        expected = 0
        for begin in range(0, len(data), 72):
            expected ^= crc32c_bitwise(data[begin : begin + 72])
        assert testing.crc32c_pieces(isa, data, 72) == (isa, expected)


def test_scalar_can_be_forced() -> None:
    """The scalar twin runs when it is asked for; naming AVX2 leaves the CPU's instruction alone."""
    code = "from segue import _engine; print(*_engine.testing.crc32c_isas())"

    def isas(**environment: str) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert isas(SEGUE_ISA="scalar") == ["scalar"]
    if "avx2" in _engine.scan_isas():
        assert isas(SEGUE_ISA="avx2") == ["scalar", "sse4.2"]
