"""Probing a bloom filter, and its false positives beside those that theory expects."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 30), "large": Need(0, 120)}

BITS = 10.0  # a key, as in SSTables


def hashes_of(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def filled(keys: int, bits: float) -> _engine.BloomFilter:
    bloom = _engine.BloomFilter(keys, bits)
    testing.bloom_add(bloom, hashes_of(1, keys))
    return bloom


def theory(keys: int, blocks: int) -> float:
    """Share of absent keys that a split block filter takes for present.

    A block of 512 bits has Poisson-many keys, each of which sets one bit in each of eight words of 64; a
    probe is wrong when it meets a set bit in all eight (Putze, Sanders, Singler 2007, for one bit a word).
    """
    load = keys / blocks
    chance, wrong = math.exp(-load), 0.0
    for present in range(int(load + 20 * math.sqrt(load)) + 20):
        wrong += chance * (1 - (1 - 1 / 64) ** present) ** 8
        chance *= load / (present + 1)
    return wrong


def probe(bloom: _engine.BloomFilter, hashes: np.ndarray, one_by_one: bool = False) -> np.ndarray:
    found = np.empty(len(hashes), np.uint8)
    testing.bloom_probe(bloom, hashes, found, one_by_one)
    return found


@pytest.mark.parametrize("how", ["prefetched", "one by one"])
@pytest.mark.parametrize("size", ["cached", "window", "large"])
def test_probe(kernel: Kernel, size: str, how: str):
    keys = {"cached": 10_000, "window": 1_000_000, "large": kernel.at(8, 64, 256) * 1_000_000}[size]
    bloom = filled(keys, BITS)
    assert probe(bloom, hashes_of(1, keys), how == "one by one").all()
    absent = hashes_of(2, kernel.rows)
    found = np.empty(len(absent), np.uint8)
    kernel(
        "bloom-probe",
        f"{keys} keys, {how}",
        lambda: testing.bloom_probe(bloom, absent, found, how == "one by one"),
        rows=len(absent),
        cost=Cost(read=absent.nbytes, written=found.nbytes, fetches=len(absent), working_set=bloom.nbytes),
    )
    np.testing.assert_array_equal(found.astype(bool), bloom.contains_hashes(absent))


@pytest.mark.parametrize("bits", [6, 8, 10, 12, 16])
def test_false_positives(kernel: Kernel, bits: int):
    keys = 200_000
    bloom = filled(keys, bits)
    absent = hashes_of(2, 2 * kernel.rows)
    expected = theory(keys, bloom.nbytes // 64)
    measured = float(probe(bloom, absent).mean())
    assert measured == pytest.approx(expected, rel=0.03, abs=4 * math.sqrt(expected / len(absent)))
    found = np.empty(len(absent), np.uint8)
    kernel(
        "bloom-false-positives",
        f"{bits} bits a key",
        lambda: testing.bloom_probe(bloom, absent, found, False),
        rows=len(absent),
        cost=Cost(read=absent.nbytes, written=found.nbytes, fetches=len(absent), working_set=bloom.nbytes),
        false_positive_percent=100 * measured,
        theory_percent=100 * expected,
    )
