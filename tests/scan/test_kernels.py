"""Each scan kernel, in every instruction set of this machine, against numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine

ISAS = _engine.scan_isas()
DROPPED = 0xFFFFFFFF


def pack(values: np.ndarray, width: int) -> bytes:
    """Parquet's bit packing: least significant bit first."""
    bits = (values[:, None].astype(np.uint64) >> np.arange(width, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def hybrid(runs: list[tuple[str, np.ndarray]], width: int) -> bytes:
    out = b""
    for kind, values in runs:
        if kind == "rle":
            out += varint(len(values) << 1) + int(values[0]).to_bytes((width + 7) // 8, "little")
        else:
            padded = np.concatenate([values, np.zeros(-len(values) % 8, values.dtype)])
            out += varint((len(padded) // 8) << 1 | 1) + pack(padded, width)
    return out


def random_values(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << width, n, dtype=np.uint64).astype(np.uint32)


def test_both_kinds_of_kernels_are_here():
    assert ISAS[0] == "scalar"
    if "avx2" in _engine.GroupScan([], 1, 1, 1 << 20, 1 << 30).isa:
        assert "avx2" in ISAS


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", range(33))
@given(seed=st.integers(0, 2**32), n=st.integers(0, 300), first=st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_unpack(isa, width, seed, n, first):
    values = random_values(seed, first + n, width)
    got = _engine.scan_unpack(isa, pack(values, width), width, first, n)
    np.testing.assert_array_equal(got, values[first:])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [1, 7, 12, 20, 25, 26, 31, 32])
def test_unpack_reads_zeros_past_the_end(isa, width):
    values = random_values(7, 64, width)
    data = pack(values, width)
    for cut in (0, 1, 5, len(data) // 2, len(data) - 1):
        whole = np.frombuffer(data[:cut] + bytes(len(data) - cut), np.uint8).tobytes()
        got = _engine.scan_unpack(isa, data[:cut], width, 0, 64)
        np.testing.assert_array_equal(got, _engine.scan_unpack("scalar", whole, width, 0, 64))


@st.composite
def run_lists(draw):
    width = draw(st.integers(0, 32))
    runs = []
    for seed in draw(st.lists(st.integers(0, 2**32), min_size=0, max_size=6)):
        kind = draw(st.sampled_from(["rle", "packed"]))
        n = draw(st.integers(1, 90)) if kind == "rle" else 8 * draw(st.integers(1, 12))
        values = random_values(seed, n, width)
        runs.append((kind, np.full(n, values[0]) if kind == "rle" else values))
    return width, runs


@pytest.mark.parametrize("isa", ISAS)
@given(given_runs=run_lists(), piece=st.integers(1, 100))
@settings(max_examples=150, deadline=None)
def test_hybrid_runs(isa, given_runs, piece):
    width, runs = given_runs
    values = np.concatenate([v for _, v in runs]) if runs else np.empty(0, np.uint32)
    data = hybrid(runs, width)
    np.testing.assert_array_equal(_engine.scan_hybrid(isa, data, width, len(values), piece), values)
    # One value more than the runs hold: the stream ends early.
    assert _engine.scan_hybrid(isa, data, width, len(values) + 1, piece) is None


@pytest.mark.parametrize("isa", ISAS)
@given(data=st.binary(max_size=200), width=st.integers(0, 32), n=st.integers(0, 500))
@settings(max_examples=200, deadline=None)
def test_hybrid_runs_of_any_bytes_are_values_or_damage(isa, data, width, n):
    got = _engine.scan_hybrid(isa, data, width, n, 64)
    expected = _engine.scan_hybrid("scalar", data, width, n, 1)
    assert (got is None) == (expected is None)
    if got is not None:
        np.testing.assert_array_equal(got, expected)


ids = st.lists(st.one_of(st.integers(0, 1000), st.just(DROPPED)), max_size=200).map(
    lambda values: np.array(values, np.uint32)
)


@pytest.mark.parametrize("isa", ISAS)
@given(codes=st.lists(st.integers(0, 99), max_size=200), seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_gather_and_max(isa, codes, seed):
    table = random_values(seed, 100, 32)
    codes = np.array(codes, np.uint32)
    np.testing.assert_array_equal(_engine.scan_gather(isa, table, codes), table[codes])
    assert _engine.scan_max(isa, table[codes]) == table[codes].max(initial=0)


@pytest.mark.parametrize("isa", ISAS)
@given(first=ids, seed=st.integers(0, 2**32), stride=st.integers(1, 1000), base=st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_scale_and_combine(isa, first, seed, stride, base):
    second = np.random.default_rng(seed).integers(0, 5, len(first)).astype(np.uint32)
    second[second == 4] = DROPPED
    got = _engine.scan_combine(isa, first, stride, base, second, 3)
    dropped = (first == DROPPED) | (second == DROPPED)
    cells = base + first.astype(np.int64) * stride + second.astype(np.int64) * 3
    np.testing.assert_array_equal(got, np.where(dropped, DROPPED, cells))


@pytest.mark.parametrize("isa", ISAS)
@given(levels=st.lists(st.integers(0, 1), max_size=200), seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_expand(isa, levels, seed):
    levels = np.array(levels, np.uint32)
    packed = random_values(seed, int(levels.sum()), 32)
    expected = np.full(len(levels), 77, np.uint32)
    expected[levels == 1] = packed
    np.testing.assert_array_equal(_engine.scan_expand(isa, levels, packed, 77), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("replicas", "prefetch"), [(False, False), (True, False), (False, True)])
@given(cells=ids)
@settings(max_examples=50, deadline=None)
def test_increment(isa, replicas, prefetch, cells):
    got = _engine.scan_increment(isa, cells, 1001, replicas, prefetch)
    expected = np.bincount(np.minimum(cells, 1001).astype(np.int64), minlength=1002)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("isa", ISAS)
def test_the_forced_instruction_set_is_the_one_that_runs(isa):
    code = "from segue import _engine; print(_engine.GroupScan([], 1, 1, 1 << 20, 1 << 30).isa)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SEGUE_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == isa


def test_an_instruction_set_that_is_not_here_is_an_error():
    missing = next(isa for isa in ("neon", "avx512", "avx2") if isa not in ISAS)
    code = "from segue import _engine; _engine.GroupScan([], 1, 1, 1 << 20, 1 << 30)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SEGUE_ISA": missing, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "UnsupportedError" in run.stderr
    assert missing in run.stderr
