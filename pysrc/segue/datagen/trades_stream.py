"""Trades: a key of two columns, decimals, dates, nanoseconds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from segue.datagen.blocks import BLOCK_ROWS, dictionary, dictionary_type, micros, rebatch, zipf_ranks
from segue.datagen.words import OPENINGS, distinct_names

TRADES_SCHEMA: pa.Schema = pa.schema(
    [
        ("account", pa.int64()),
        ("symbol", pa.string()),
        ("executed", pa.timestamp("ns")),
        ("price", pa.decimal128(12, 4)),
        ("quantity", pa.uint32()),
        ("settles", pa.date32()),
        ("venue", dictionary_type()),
        ("buy", pa.bool_()),
    ]
)


def trades(
    n: int,
    *,
    accounts: int = 2000,
    symbols: int = 300,
    days: float = 3.0,
    seed: int = 42,
    batch_rows: int = BLOCK_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Trades keyed by two columns, `account` and `symbol`, with decimals, dates and nanoseconds."""
    names = dim_symbols(symbols)["symbol"].combine_chunks()
    venues = pa.array(["XNYS", "XNAS", "XLON", "XETR"], pa.string())
    start = micros(datetime(2023, 12, 31, tzinfo=UTC)) * 1000
    # Decimals from a table of prices: making one per row in Python would be the whole cost.
    prices = pa.array([Decimal(i * 37 + 1).scaleb(-4) for i in range(4096)], pa.decimal128(12, 4))

    def columns(block: int) -> list[pa.Array]:
        first = block * BLOCK_ROWS
        count = min(BLOCK_ROWS, n - first)
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, block])))
        at = (np.arange(first, first + count) + rng.random(count)) * (days / n * 86_400_000_000_000)
        executed = at.astype(np.int64) + start
        settles = (executed // 86_400_000_000_000 + 2).astype(np.int32)
        return [
            pa.array(zipf_ranks(rng.random(count), accounts, 0.7) - accounts // 2),
            names.take(pa.array(zipf_ranks(rng.random(count), symbols, 1.0))),
            pa.array(executed).view(pa.timestamp("ns")),
            prices.take(pa.array(rng.integers(0, len(prices), count))),
            pa.array(rng.integers(1, 1 << 32, count, dtype=np.uint32)),
            pa.array(settles).view(pa.date32()),
            dictionary(rng.integers(0, 4, count, dtype=np.int32), venues),
            pa.array(rng.random(count) < 0.5, mask=rng.random(count) < 0.02),
        ]

    return rebatch(n, batch_rows, TRADES_SCHEMA, columns)


def dim_symbols(symbols: int = 300) -> pa.Table:
    """Return the symbols of :func:`trades`: `symbol`, `company`, `sector`."""

    def ticker(i: int) -> str:
        letters = ""
        for _ in range(4):
            i, letter = divmod(i, 26)
            letters = chr(65 + letter) + letters
        return letters

    columns: dict[str, Any] = {
        "symbol": [ticker(i) for i in range(symbols)],
        "company": distinct_names(np.arange(symbols, dtype=np.int64), OPENINGS),
        "sector": [("tech", "health", "energy", "retail")[i % 4] for i in range(symbols)],
    }
    return pa.table(columns)
