"""The bloom filter: never a false negative, false positives near theory, the documented bits."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue._engine import BloomFilter
from segue.errors import BudgetError, CorruptionError, InvalidError, UnsupportedError

SALT = [0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31]
U64 = st.integers(0, 2**64 - 1)


class Twin:
    """The filter as docs/formats/sstable.md words it, one bit at a time."""

    def __init__(self, blocks: int) -> None:
        self.blocks = [[0] * 8 for _ in range(blocks)]
        self.added = 0

    def bits(self, key):
        block = ((key >> 32) * len(self.blocks)) >> 32
        return [
            (block, lane, 1 << (((key & 0xFFFFFFFF) * SALT[lane] & 0xFFFFFFFF) >> 26)) for lane in range(8)
        ]

    def add(self, key):
        self.added += 1
        for block, lane, bit in self.bits(key):
            self.blocks[block][lane] |= bit

    def contains(self, key):
        return all(self.blocks[block][lane] & bit for block, lane, bit in self.bits(key))

    def body(self):
        head = struct.pack("<IIQ", 1, len(self.blocks), self.added)
        return head + b"".join(struct.pack("<8Q", *lanes) for lanes in self.blocks)


@given(st.lists(U64, max_size=60), st.lists(U64, max_size=60), st.integers(0, 200))
def test_equals_its_scalar_twin(keys, probes, capacity):
    bloom = BloomFilter(capacity)
    twin = Twin(bloom.nbytes // 64)
    bloom.add_hashes(np.array(keys, np.uint64))
    for key in keys:
        twin.add(key)
    assert bloom.to_bytes()[:-4] == twin.body()
    assert bloom.contains_hashes(np.array(probes, np.uint64)).tolist() == [twin.contains(p) for p in probes]


@pytest.mark.parametrize(("bits", "low", "high"), [(6, 0.04, 0.10), (10, 0.006, 0.014), (16, 0.0005, 0.002)])
def test_false_positive_rate_is_near_theory(bits, low, high):
    rng = np.random.default_rng(7)
    keys = rng.integers(0, 2**62, 100_000)
    bloom = BloomFilter(len(keys), bits)
    bloom.add(keys)
    assert bloom.contains(keys).all()
    found = bloom.contains(rng.integers(2**62, 2**63, 200_000)).mean()
    assert low < found < high
    assert bloom.false_positive_rate == pytest.approx(found, rel=0.15)


def test_sequential_integers_spread_as_well_as_random_ones():
    bloom = BloomFilter(100_000)
    bloom.add(np.arange(100_000))
    assert bloom.contains(np.arange(100_000, 300_000)).mean() < 0.014


KEYS = [3, 5, 200]


@pytest.mark.parametrize(
    "keys",
    [
        KEYS,
        tuple(KEYS),
        np.array(KEYS, np.uint8),
        np.array(KEYS, np.int64)[::-1],
        np.array(KEYS, np.uint64),
        pa.array(KEYS, pa.int16()),
        pa.array([None, *KEYS], pa.uint64()).slice(1),
        pa.chunked_array([[3], [5, 200]], pa.int64()),
        pa.array(KEYS, pa.timestamp("us")),
        pa.array(KEYS, pa.date32()),
    ],
    ids=lambda k: type(k).__name__ + str(getattr(k, "type", getattr(k, "dtype", ""))),
)
def test_a_number_is_one_key_whatever_holds_it(keys):
    bloom = BloomFilter(3)
    bloom.add(keys)
    assert bloom.size == len(bloom) == 3
    assert bloom.contains(KEYS).tolist() == [True] * 3
    reference = BloomFilter(3)
    reference.add(KEYS)
    assert bloom.to_bytes() == reference.to_bytes()


@pytest.mark.parametrize(
    "type_",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_strings_and_nulls(type_):
    bloom = BloomFilter(10)
    bloom.add(pa.array(["ann", None, "a name longer than twelve bytes"], type_))
    assert bloom.size == 2
    assert bloom.contains(pa.array(["ann", None, "eve"], type_)).tolist() == [True, False, False]
    assert "ann" in bloom
    assert b"ann" in bloom
    assert None not in bloom
    assert "a name longer than twelve bytes" in bloom
    assert bloom.contains([None, "ann"]).tolist() == [False, True]


@given(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=20))
def test_scalars_are_the_same_keys(keys):
    bloom = BloomFilter(len(keys))
    bloom.add(keys)
    assert all(key in bloom for key in keys)


def test_roundtrip_through_bytes():
    bloom = BloomFilter(1000)
    bloom.add(np.arange(1000))
    again = BloomFilter.from_bytes(bloom.to_bytes())
    assert again.to_bytes() == bloom.to_bytes()
    assert again.size == 1000
    assert again.nbytes == bloom.nbytes


def test_damaged_bytes_are_refused():
    data = BloomFilter(1).to_bytes()
    for i in range(len(data)):
        broken = bytearray(data)
        broken[i] ^= 0x10
        with pytest.raises(CorruptionError, match="checksum"):
            BloomFilter.from_bytes(bytes(broken))
    for n in range(len(data)):
        with pytest.raises(CorruptionError, match="checksum"):
            BloomFilter.from_bytes(data[:n])


def test_bad_arguments():
    with pytest.raises(InvalidError, match="bits_per_key is 0"):
        BloomFilter(1, 0)
    with pytest.raises(BudgetError, match="too large"):
        BloomFilter(2**60)
    bloom = BloomFilter(1)
    with pytest.raises(TypeError, match="not float"):
        bloom.add([1.5])
    with pytest.raises(TypeError, match="sequence of keys"):
        bloom.add("ann")
    with pytest.raises(InvalidError, match="does not fit 64 bits"):
        bloom.contains([2**64])
    with pytest.raises(UnsupportedError, match="not double"):
        bloom.add(pa.array([1.0]))
    assert bloom.contains([]).tolist() == []
