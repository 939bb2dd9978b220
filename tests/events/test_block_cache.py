"""Reads by key: the block cache and its budget, bloom filters and what `stats()` counts of both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

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


def missed(events: Events, keys: Iterable[int]) -> int:
    """Blocks that were read from files for the rows of `keys`, each asked for once."""
    before = events.stats().cache_misses
    for key in keys:
        expected = [10 * key // 2 * 2 + turn for turn in range(ROWS_A_KEY)] if key % 2 == 0 else []
        assert events.scan(key=key).to_arrow()["v"].to_pylist() == expected
    return events.stats().cache_misses - before


def test_what_is_asked_for_once_does_not_drive_out_the_others(tmp_path: Path) -> None:
    options = {"cache_bytes": 1 << 16, "block_rows": 256}
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        fill(events)
        missed(events, range(4000, 24_000, 104))  # it is full from here on
        wanted = [0, 1000, 2000]
        assert missed(events, wanted) == len(wanted)
        assert missed(events, wanted) == len(wanted), "once is not enough"
        assert missed(events, wanted) == 0
        strangers = range(24_200, 2 * KEYS, 204)  # each in a block of its own, or two
        assert missed(events, strangers) >= len(strangers)
        assert missed(events, wanted) == 0
        missed(events, [*strangers, *strangers])
        assert 0 < events.stats().cache_bytes <= 1 << 16


def test_a_key_takes_the_space_of_its_rows_and_a_block_comes_in_for_its_eighth_key(events: Events) -> None:
    rows_of_a_block = 512
    one_a_block = range(0, 2 * KEYS - 1000, 2 * rows_of_a_block // ROWS_A_KEY + 2)  # not the last, short one
    assert missed(events, one_a_block) >= len(one_a_block)
    bytes_a_key = events.stats().cache_bytes / len(one_a_block)
    assert bytes_a_key < 1000, "five rows of 32 bytes, not a block of 512"
    assert missed(events, one_a_block) == 0
    for neighbour in range(1, 8):
        assert missed(events, [key + 2 * neighbour for key in one_a_block]) > 0.9 * len(one_a_block)
    assert missed(events, [key + 16 for key in one_a_block]) < 0.1 * len(one_a_block)
    assert events.stats().cache_bytes / len(one_a_block) > 7 * bytes_a_key + 1500


@pytest.mark.parametrize("rows_a_key", [1, 60, 64, 200])
def test_a_key_as_large_as_a_block_comes_in_at_once(tmp_path: Path, rows_a_key: int) -> None:
    schema = pa.schema({"k": pa.string(), "at": pa.timestamp("us"), "v": pa.int64()})
    options = {"block_rows": 64 if rows_a_key > 1 else 1}
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os", _options=options) as events:
        rows = range(10 * rows_a_key)
        keys = [f"{n // rows_a_key:04}-{'long' * 20}" for n in rows]
        events.append_batch({"k": keys, "at": np.array(rows, "datetime64[us]"), "v": rows})
        events.flush()
        for turn in range(2):
            before = events.stats().blocks_read
            for n in range(10):
                found = events.scan(key=keys[n * rows_a_key]).to_arrow()["v"].to_pylist()
                assert found == [*rows[n * rows_a_key : (n + 1) * rows_a_key]]
            assert (events.stats().blocks_read > before) == (turn == 0)


def test_a_key_that_a_filter_takes_for_another_is_looked_for_once(events: Events) -> None:
    absent = range(1, 2 * KEYS, 2)
    errors = [key for key in absent if missed(events, [key]) > 0]
    assert 0.002 < len(errors) / len(absent) < 0.03
    assert missed(events, errors) == 0


def test_a_cached_key_is_read_again_for_columns_that_it_lacks(tmp_path: Path) -> None:
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "v": pa.int64(), "w": pa.int64()})
    with Events.create(tmp_path / "t", "t", schema, "k", "at", durability="os") as events:
        times, keys = np.arange(1000).astype("datetime64[us]"), np.arange(1000)
        events.append_batch({"k": keys, "at": times, "v": keys * 10, "w": keys * 100})
        events.flush()

        def read(columns: list[str]) -> int:
            before = events.stats().blocks_read
            table = events.scan(key=42, columns=columns).to_arrow()
            expected = {"k": [42], "v": [420], "w": [4200]}
            assert table.to_pydict() == {name: expected[name] for name in columns}
            return events.stats().blocks_read - before

        assert [read(columns) for columns in (["v"], ["v"], ["w"])] == [1, 0, 1]
        assert [read(columns) for columns in (["v"], ["w"], ["k", "v", "w"])] == [0, 0, 0]


def test_cached_rows_are_those_of_the_file_whatever_their_types(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows, keys = 20_000, 4000

    def some_null(values: list[object]) -> list[object]:
        return [None if gone else value for value, gone in zip(values, rng.random(rows) < 0.3, strict=True)]

    table = pa.table(
        {
            "name": pa.array([f"key-{k}" for k in rng.integers(0, keys, rows)]),
            "kind": pa.array(rng.integers(0, 2, rows).tolist(), pa.int8()),
            "at": pa.array(rng.integers(0, 1000, rows), pa.timestamp("ms")),
            "text": pa.array(some_null([f"{'é' * int(n)}" for n in rng.integers(0, 30, rows)])),
            "place": pa.array(some_null([f"p{n}" for n in rng.integers(0, 50, rows)])).dictionary_encode(),
            "flag": pa.array(some_null((rng.random(rows) < 0.5).tolist()), pa.bool_()),
            "price": pa.array(
                some_null([Decimal(int(n)) / 100 for n in rng.integers(0, 9**9, rows)]), pa.decimal128(20, 2)
            ),
            "level": pa.array(some_null(rng.random(rows).tolist()), pa.float32()),
            "blob": pa.array(some_null([bytes(int(n)) for n in rng.integers(0, 9, rows)]), pa.binary()),
            "never": pa.array([None] * rows, pa.int16()),
        }
    )
    sizes = {"without": 0, "with": 1 << 22}
    opened = {}
    with contextlib.ExitStack() as stack:
        for name, size in sizes.items():
            events = Events.create(
                tmp_path / name,
                name,
                table.schema,
                ["name", "kind"],
                "at",
                durability="os",
                _options={"cache_bytes": size},
            )
            opened[name] = stack.enter_context(events)
            events.append_batch(table)
            events.flush()
        questions: list[dict[str, Any]] = [
            {},
            {"descending": True, "limit": 2},
            {"since": 300, "until": 700},
            {"columns": ["flag", "text", "never"], "descending": True},
            {"limit": 1, "columns": ["place", "price"]},
        ]
        for _ in range(3):
            for number in rng.permutation(keys)[:300].tolist():
                for question in questions:
                    key = (f"key-{number}", number % 2)
                    want, got = (opened[name].scan(key=key, **question).to_arrow() for name in sizes)
                    assert got.equals(want)
        assert opened["with"].stats().cache_hits > 3000
        assert opened["without"].stats().cache_hits == 0


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
