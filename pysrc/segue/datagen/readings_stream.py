"""Sensor readings: a string key, nulls, and other than plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from segue.datagen.blocks import BLOCK_ROWS, dictionary_type, micros, rebatch, zipf_ranks

READINGS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("ms", "UTC"), nullable=False),
        ("value", pa.float64()),
        ("ok", pa.bool_()),
        ("unit", dictionary_type()),
        ("note", pa.string()),
        ("battery", pa.float32()),
    ]
)


def readings(
    n: int, *, sensors: int = 500, days: float = 3.0, seed: int = 42, batch_rows: int = BLOCK_ROWS
) -> Iterator[pa.RecordBatch]:
    """Sensor readings: a string key (some of them not ASCII), nulls, NaN and -0.0 elsewhere."""
    names = dim_sensors(sensors)["sensor"].combine_chunks()
    units = pa.array(["°C", "hPa", "%", "lx", ""], pa.string())
    notes = pa.array(["", "calibrated", "door open", "überprüft", "x" * 200], pa.string())
    start = micros(datetime(2024, 2, 28, tzinfo=UTC)) // 1000

    def columns(block: int) -> list[pa.Array]:
        first = block * BLOCK_ROWS
        count = min(BLOCK_ROWS, n - first)
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, block])))
        at = ((np.arange(first, first + count) + rng.random(count) * 50) * (days / n * 86_400_000)).astype(
            np.int64
        )
        np.minimum(at, int(days * 86_400_000) - 1, out=at)  # the jitter stays within the days asked for
        value = np.round(rng.normal(20, 5, count), 2)
        value[rng.random(count) < 0.01] = np.nan
        value[rng.random(count) < 0.01] = -0.0
        unit = rng.integers(0, len(units), count, dtype=np.int32)
        return [
            names.take(pa.array(zipf_ranks(rng.random(count), sensors, 0.8))),
            pa.array(at + start).view(pa.timestamp("ms", "UTC")),
            pa.array(value, mask=rng.random(count) < 0.1),
            pa.array(rng.random(count) < 0.9, mask=rng.random(count) < 0.05),
            pa.DictionaryArray.from_arrays(pa.array(unit, mask=rng.random(count) < 0.2), units),
            notes.take(pa.array(rng.integers(0, len(notes), count), mask=rng.random(count) < 0.7)),
            pa.array(rng.random(count).astype(np.float32), mask=rng.random(count) < 0.3),
        ]

    return rebatch(n, batch_rows, READINGS_SCHEMA, columns)


def dim_sensors(sensors: int = 500) -> pa.Table:
    """Return the sensors of :func:`readings`: `sensor` (string), `site`, `floor` (with nulls)."""
    prefix = ("s", "sensor-", "Fühler ", "気温")
    return pa.table(
        {
            "sensor": [f"{prefix[i % 4]}{i}" for i in range(sensors)],
            "site": [f"site {i % 7}" for i in range(sensors)],
            "floor": pa.array([None if i % 11 == 0 else i % 5 for i in range(sensors)], pa.int16()),
        }
    )
