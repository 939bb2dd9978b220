"""Reads by key: the block cache and its budget, bloom filters and what `stats()` counts of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segue.events import Events

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "v": pa.int64()})
KEYS = 20_000
ROWS_A_KEY = 5


def fill(events: Events) -> None:
    """Even keys only, in shuffled order, five rows each; v tells key and turn."""
    rng = np.random.default_rng(1)
    for turn in range(ROWS_A_KEY):
        keys = rng.permutation(KEYS) * 2
        events.append_batch({"k": keys, "at": np.full(KEYS, turn, "datetime64[us]"), "v": keys * 10 + turn})
    events.flush()


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os") as events:
        fill(events)
        yield events


def test_a_second_read_of_a_key_comes_from_the_cache(events: Events) -> None:
    expected = [420 + turn for turn in range(ROWS_A_KEY)]
    assert events.scan(key=42).to_arrow()["v"].to_pylist() == expected
    first = events.stats()
    assert first.cache_misses == first.blocks_read >= 1
    assert 0 < first.cache_bytes <= first.cache_capacity
    assert events.scan(key=42, descending=True).to_arrow()["v"].to_pylist() == expected[::-1]
    second = events.stats()
    assert second.blocks_read == first.blocks_read
    assert second.block_bytes_read == first.block_bytes_read
    assert second.cache_hits > first.cache_hits


def test_a_scan_of_everything_leaves_the_cache_alone(events: Events) -> None:
    before = events.stats().cache_bytes
    assert events.scan().to_arrow().num_rows == KEYS * ROWS_A_KEY
    assert events.stats().cache_bytes == before


def test_absent_keys_are_filtered_near_the_design_rate(events: Events) -> None:
    before = events.stats()
    for key in range(1, 4001, 2):
        assert events.scan(key=key).to_arrow().num_rows == 0
    after = events.stats()
    probes = after.bloom_probes - before.bloom_probes
    useful = after.bloom_useful - before.bloom_useful
    false_positives = after.bloom_false_positives - before.bloom_false_positives
    assert probes >= 2000
    assert useful + false_positives == probes
    assert false_positives / probes < 0.03, "10 bits a key give about 1 %"
    assert after.blocks_read - before.blocks_read <= false_positives


@pytest.mark.parametrize("cache_bytes", [0, 1 << 16, 1 << 20])
def test_the_cache_keeps_to_its_budget_and_answers_stay_right(tmp_path: Path, cache_bytes: int) -> None:
    options = {"cache_bytes": cache_bytes, "block_rows": 256}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        fill(events)
        for key in np.random.default_rng(2).integers(0, KEYS, 400).tolist():
            found = events.scan(key=2 * key, columns=["v"]).to_arrow()["v"].to_pylist()
            assert found == [20 * key + turn for turn in range(ROWS_A_KEY)]
            stats = events.stats()
            assert stats.cache_bytes <= stats.cache_capacity == cache_bytes


def test_blocks_that_are_asked_for_once_do_not_drive_out_the_others(tmp_path: Path) -> None:
    options = {"cache_bytes": 1 << 16, "block_rows": 256}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        fill(events)

        def missed(keys: list[int]) -> int:
            before = events.stats().cache_misses
            for key in keys:
                assert events.scan(key=key).to_arrow().num_rows == ROWS_A_KEY
            return events.stats().cache_misses - before

        wanted = [0, 2000, 4000]  # each in a block of its own
        others = list(range(6000, 2 * KEYS, 200))
        missed(others)  # it is full from here on
        assert missed(wanted) == len(wanted)
        assert missed(wanted) == len(wanted), "once is not enough"
        assert missed(wanted) == 0
        assert missed(others) > 100
        assert missed(wanted) == 0
        missed(others + others[::-1])
        assert 0 < events.stats().cache_bytes <= 1 << 16


def test_more_tables_than_may_be_open(tmp_path: Path) -> None:
    options = {"max_open_files": 2, "background_compaction": False}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        for turn in range(8):
            events.append_batch(
                {
                    "k": np.arange(100),
                    "at": np.full(100, turn, "datetime64[us]"),
                    "v": np.arange(100) * 10 + turn,
                }
            )
            events.flush()
        assert events.stats().tables == 8
        for key in (0, 50, 99):
            assert events.scan(key=key).to_arrow()["v"].to_pylist() == [key * 10 + turn for turn in range(8)]
        events.compact()
        assert events.scan(key=7).to_arrow()["v"].to_pylist() == [70 + turn for turn in range(8)]
