"""A merge that stands still, as flushes are behind, must not keep the space that these need."""

from __future__ import annotations

import random
import time

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import StorageError
from segue.events import Events

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})
RATE = 250_000  # bytes a second: the merge would take half a minute
PIECE = 128 << 10  # what a table is written in
OPTIONS = {
    "wal_bytes": 1 << 20,
    "memtable_bytes": 100_000,
    "background_compaction": True,
    "compaction_bytes_per_second": RATE,
}


def merge_under_way(env, tables: int) -> int:
    """Bytes that a merge has written so far into a table that nothing names yet."""
    files = [path for path in env.files() if path.endswith(".sst")]
    return env.file_size(files[-1]) if len(files) > tables else 0


def test_a_standing_merge_gives_its_space_to_a_flush() -> None:
    env = _engine.testing.MemEnv()
    chance = random.Random(0)
    rows = 0
    with Events.create("/t", "t", SCHEMA, "k", "at", durability="os", _options=OPTIONS, _env=env) as events:

        def append() -> None:
            nonlocal rows
            ks = range(rows, rows + 800)
            events.append_batch({"k": ks, "at": ks, "s": [chance.randbytes(250).hex() for _ in ks]})
            rows += 800

        while events.stats().compaction_pending_bytes == 0:
            append()
            events.flush()
        tables = events.stats().tables
        began = time.monotonic()
        while merge_under_way(env, tables) < 4 * PIECE:
            assert time.monotonic() < began + 20
            time.sleep(0.01)
        append()
        # Room for the log of another memtable. With that sealed, too, merges stand still, and what this one
        # has written is all the space that there is to be had.
        env.set_capacity(env.used + OPTIONS["wal_bytes"])
        append()
        began = time.monotonic()
        with pytest.raises(StorageError, match="No space"):
            events.flush()
        assert events.stats().compactions == 0
        while True:
            try:
                events.flush()
            except StorageError:
                assert time.monotonic() < began + 10, "the merge keeps the space"
                time.sleep(0.05)
            else:
                break
        assert events.stats().compactions == 0, "it gave up, and did not end"
        assert events.stats().skiplist_rows == events.stats().run_rows == 0
        found = events.scan(columns=["k"]).to_arrow()["k"].to_pylist()
        assert sorted(found) == list(range(rows))
        env.set_capacity(None)
        events.compact()
        assert sorted(events.scan(columns=["k"]).to_arrow()["k"].to_pylist()) == list(range(rows))
