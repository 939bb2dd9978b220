"""Blocks of rows, each with a random generator of its own, and what their columns are drawn with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The unit of generation: each block has a generator of its own, so that a stream can be
# cut anywhere, and small enough for its columns to stay in the cache.
BLOCK_ROWS = 1 << 16


def dictionary_type() -> pa.DataType:
    """Type of all columns of few strings."""
    return pa.dictionary(pa.int32(), pa.string())


def zipf_ranks(uniform: Floats, n: int, exponent: float) -> Ints:
    """Ranks 0..n-1, by the inverse of the continuous Zipf distribution on [1, n + 1)."""
    if exponent == 0.0:
        ranks = uniform * n
    elif exponent == 1.0:
        ranks = np.exp(uniform * np.log(n + 1.0)) - 1.0
    else:
        power = 1.0 - exponent
        ranks = ((n + 1.0) ** power - 1.0) * uniform
        ranks += 1.0
        if power == 0.5:
            ranks *= ranks
        else:
            np.power(ranks, 1.0 / power, out=ranks)
        ranks -= 1.0
    result = ranks.astype(np.int64)
    np.minimum(result, n - 1, out=result)
    return result


def coprime(n: int, start: int) -> int:
    """Return the first multiplier from `start` on that permutes 0..n-1."""
    multiplier = start
    while np.gcd(multiplier, n) != 1:
        multiplier += 1
    return multiplier


def scatter(ranks: Ints, n: int) -> Ints:
    """Permutes ranks, so that the popular ids are not the small ones; n up to 2**32."""
    return (ranks * coprime(n, 506_952_113) + n // 3) % n


def weighted_lookup(weights: Floats, slots: int) -> npt.NDArray[np.int32]:
    """Return a table of `slots` codes; each code fills its share of `weights`, one slot at least."""
    share = np.cumsum(weights) / weights.sum()
    order = np.arange(1, len(weights) + 1)
    ends = np.maximum.accumulate(np.maximum(np.round(share * slots).astype(np.int64), order) - order) + order
    ends = np.minimum(ends, slots - len(weights) + order)
    return np.repeat(np.arange(len(weights), dtype=np.int32), np.diff(ends, prepend=0))


def mix(values: Ints) -> npt.NDArray[np.uint64]:
    """Return a cheap 64-bit hash (one multiply, the good bits on top)."""
    return values.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def dictionary(codes: npt.NDArray[np.int32], values: pa.Array) -> pa.DictionaryArray:
    """Return a dictionary column of valid codes."""
    # safe=False: the codes come from a table of valid ones, checking them is a third of the cost.
    return pa.DictionaryArray.from_arrays(pa.array(codes), values, safe=False)


def micros(moment: datetime) -> int:
    """Return microseconds since 1970; a time without a zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def in_order(columns: Callable[[int], list[pa.Array]], blocks: int, threads: int) -> Iterator[list[pa.Array]]:
    """Columns of block 0, 1, ...; `threads` of them make blocks ahead, not many more than are taken."""
    if threads <= 1:
        yield from map(columns, range(blocks))
        return
    ahead: deque[Future[list[pa.Array]]] = deque()
    with ThreadPoolExecutor(threads, "datagen") as pool:
        try:
            for block in range(blocks):
                ahead.append(pool.submit(columns, block))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # the one who takes may stop early
            for future in ahead:
                future.cancel()


def rebatch(
    n: int, batch_rows: int, schema: pa.Schema, columns: Callable[[int], list[pa.Array]], threads: int = 1
) -> Iterator[pa.RecordBatch]:
    """Cut (or join) blocks of BLOCK_ROWS rows into batches of `batch_rows`."""
    if batch_rows < 1:
        raise ValueError(f"batch_rows={batch_rows} is not positive")
    pending: list[pa.RecordBatch] = []
    held = 0
    for arrays in in_order(columns, -(-n // BLOCK_ROWS), threads):
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        start = 0
        while batch.num_rows - start + held >= batch_rows:
            piece = batch.slice(start, batch_rows - held)
            start += piece.num_rows
            yield pa.concat_batches([*pending, piece]) if pending else piece
            pending, held = [], 0
        if start < batch.num_rows:
            pending.append(batch.slice(start))
            held += batch.num_rows - start
    if pending:
        yield pa.concat_batches(pending) if len(pending) > 1 else pending[0]
