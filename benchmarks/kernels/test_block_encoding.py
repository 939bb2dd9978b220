"""Columns of SSTable blocks, each encoding over data that it is meant for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 40), "large": Need(0, 120)}

BLOCK_ROWS = 2048


class _Stream:
    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self._capsule


def _words(rng: np.random.Generator, n: int) -> pa.Array:
    """Decimals beyond 64 bits, close together."""
    halves = np.empty((n, 2), np.int64)
    halves[:, 0] = rng.integers(0, 1 << 20, n)
    halves[:, 1] = 1 + rng.integers(0, 4, n)
    return pa.Array.from_buffers(pa.decimal128(30, 2), n, [None, pa.py_buffer(halves)])


def _skewed(rng: np.random.Generator, n: int) -> pa.Array:
    """Numbers of songs: a few are most of them, and which is not to be seen from the number."""
    return pa.array((np.exp(rng.random(n) * np.log(1e6)).astype(np.int64) * 506_952_113) % 1_000_003)


def _texts(rng: np.random.Generator, n: int, distinct: int) -> pa.Array:
    names = pa.array([f"name {i:06d}" for i in range(distinct)])
    return names.take(pa.array(rng.integers(0, distinct, n)))


DATA = {
    "plain": lambda rng, n: pa.array(rng.integers(-(2**63), 2**63 - 1, n)),
    "constant": lambda rng, n: pa.array(np.full(n, 7)),
    "frame_of_reference": lambda rng, n: pa.array(10**15 + rng.integers(0, 10_000, n)),
    "delta": lambda rng, n: pa.array(10**15 + np.cumsum(rng.integers(0, 100, n))),
    "dictionary": lambda rng, n: pa.array(rng.integers(0, 2**62, 200)[rng.integers(0, 200, n)]),
    "words": _words,
    "bytes": lambda rng, n: _texts(rng, n, 1 << 17),
    "bytes_dictionary": lambda rng, n: _texts(rng, n, 180),
    "all_null": lambda rng, n: pa.nulls(n, pa.int64()),
    "modelled": _skewed,
}
"""For each encoding a column for which the encoder chooses it."""

WITHOUT_PACKED_INTEGERS = {"plain", "constant", "all_null", "modelled"}
"""The others unpack integers by the kernels of the active instruction set; packing has one form."""


def blocks_of(kernel: Kernel, encoding: str) -> tuple[pa.Array, Any]:
    """Return a column and its encoded blocks, decoded and compared."""
    n = kernel.at(1 << 17, 1 << 20, 1 << 22)
    column = DATA[encoding](np.random.default_rng(3), n)
    zeros = np.zeros(n, np.int64)
    table = pa.table({"k": zeros, "t": pa.array(zeros).view(pa.timestamp("us")), "v": column})
    batch = testing.Batch(table.schema.__arrow_c_schema__(), ["k"], "t")
    batch.append(table.__arrow_c_stream__())
    # A model is of a whole table: it must be asked for.
    blocks = testing.ColumnBlocks(batch, "v", BLOCK_ROWS, encoding if encoding == "modelled" else None)
    assert blocks.encodings == {encoding}
    assert blocks.blocks == n // BLOCK_ROWS
    for block in (0, blocks.blocks // 2, blocks.blocks - 1):
        rows = column.slice(block * BLOCK_ROWS, BLOCK_ROWS)
        if encoding == "modelled":
            assert blocks.decoded(block) == rows.to_numpy().tobytes()
            continue
        decoded = pa.table(_Stream(batch.decode_block("v", blocks.chunk(block), BLOCK_ROWS)))["v"]
        assert decoded.combine_chunks().equals(rows)
    return column, blocks


@pytest.mark.parametrize("encoding", DATA)
def test_encode(kernel: Kernel, encoding: str):
    column, blocks = blocks_of(kernel, encoding)
    cost = Cost(read=column.nbytes, written=blocks.nbytes)
    kernel("block-encode", encoding, blocks.encode, rows=len(column), cost=cost, nbytes=column.nbytes)
    assert blocks.encodings == {encoding}


@pytest.mark.parametrize("encoding", DATA)
def test_decode(kernel: Kernel, encoding: str):
    column, blocks = blocks_of(kernel, encoding)
    # What is decoded stays in the cache for whoever asked for the block.
    cost = Cost(read=blocks.nbytes)
    kernel(
        "block-decode",
        encoding,
        blocks.decode,
        rows=len(column),
        cost=cost,
        nbytes=column.nbytes,
        isa=None if encoding in WITHOUT_PACKED_INTEGERS else testing.active_packed_isa(),
    )
