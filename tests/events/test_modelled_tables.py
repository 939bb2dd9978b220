"""Tables that flushes and merges write by models hold what was appended, for every way to read it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import segue
from segue import _engine

N = 24_000
DAY = 86_400_000_000
START = 1_704_067_200_000_000
DICT = pa.dictionary(pa.int32(), pa.string())


def arrivals() -> pa.Table:
    """Two days of events in the order of their arrival, some of them hours late."""
    rng = np.random.default_rng(3)
    users = rng.integers(0, 900, N) ** 2 % 5000
    times = START + (np.arange(N) * (2 * DAY // N)) + rng.integers(0, 900_000, N)
    times[rng.random(N) < 0.02] -= 7 * 3_600_000_000
    songs = np.exp(rng.random(N) * np.log(3000)).astype(np.int64) * 7919 % 50_021
    return pa.table(
        {
            "user": pa.array(users, pa.int64()),
            "song": pa.array(songs, pa.int32()),
            "at": pa.array(times).view(pa.timestamp("us")),
            "country": pa.array([f"c{u % 50}" for u in users]).dictionary_encode().cast(DICT),
            "seconds": pa.array([None if i % 11 == 0 else i % 180 for i in range(N)], pa.int16()),
        }
    )


def sequenced(events: segue.Events) -> pa.Table:
    with events.snapshot() as snapshot:
        return snapshot.scan_sequences(0, N, None, "seq").to_arrow().sort_by("seq")


def same(found: pa.Table, expected: pa.Table) -> bool:
    return found.drop(["seq"]).to_pydict() == expected.to_pydict()


def encodings(folder: Path) -> list[set[str]]:
    """Of each table, the encodings of its chunks."""
    found = []
    for path in sorted((folder / "events" / "views").glob("*.sst")):
        blocks = _engine.testing.SstReader(str(path)).info()["blocks"]
        found.append({encoding for block in blocks for encoding, _ in block["chunks"]})
    return found


@pytest.fixture
def stored(tmp_path):
    table = arrivals()
    with segue.open(tmp_path, durability="os") as db:
        events = db.create_events("views", table.schema, key="user", time="at")
        for begin in range(0, N, N // 4):
            events.append_batch(table.slice(begin, N // 4))
            events.flush()
        yield tmp_path, db, events, table


def check(events: segue.Events, table: pa.Table) -> None:
    events.verify()
    assert same(sequenced(events), table)
    users = table["user"].to_numpy()
    times = table["at"].cast(pa.int64()).to_numpy()
    for user in [*np.unique(users)[::60].tolist(), 4]:
        order = np.flatnonzero(users == user)
        order = order[np.argsort(times[order], kind="stable")]
        for _ in range(2):  # from the file, then from the cache
            assert events.scan(key=user).to_arrow().to_pydict() == table.take(order).to_pydict()
            newest = events.scan(key=user, descending=True, limit=3, columns=["song", "at"]).to_arrow()
            assert newest.to_pydict() == table.take(order[::-1][:3]).select(["song", "at"]).to_pydict()
    since, until = START + DAY // 3, START + DAY
    inside = (times >= since) & (times < until)
    bounds = [dt.datetime.fromtimestamp(t / 1e6, dt.UTC) for t in (since, until)]
    found = events.scan(since=bounds[0], until=bounds[1], columns=["country"]).to_arrow()
    assert sorted(found["country"].to_pylist()) == sorted(
        table["country"].filter(pa.array(inside)).to_pylist()
    )
    assert len(found) == inside.sum()


def test_what_a_flush_writes(stored):
    folder, _, events, table = stored
    assert any("modelled" in found for found in encodings(folder))
    check(events, table)


def test_what_a_merge_writes(stored):
    folder, _, events, table = stored
    before = events.stats().table_bytes
    assert events.compact() is not None
    tables = encodings(folder)
    assert 1 <= len(tables) <= 3
    assert any("modelled" in found for found in tables)
    assert events.stats().table_bytes < before
    check(events, table)
    with segue.open(folder, mode="r") as reader:
        check(reader.events("views"), table)


@pytest.mark.parametrize("n", [3000, 12_000])
def test_keys_that_share_a_long_prefix(tmp_path, n):
    """What a flush orders at a time are all of them; many are not sorted for a sample."""
    rng = np.random.default_rng(5)
    table = pa.table(
        {
            "user": pa.array([f"customer {i:06}" for i in rng.integers(0, 400, n)]),
            "at": pa.array(START + np.arange(n) * 1_000_000 + rng.integers(0, 900_000, n)).view(
                pa.timestamp("us")
            ),
        }
    )
    with segue.open(tmp_path, durability="os") as db:
        events = db.create_events("views", table.schema, key="user", time="at")
        events.append_batch(table)
        events.flush()
        assert any("modelled" in found for found in encodings(tmp_path)) == (n <= 8192)
        order = sorted(range(n), key=lambda i: (table["user"][i].as_py(), i))
        by_key = [events.scan(key=f"customer {i:06}").to_arrow() for i in range(400)]
        assert pa.concat_tables(by_key).to_pydict() == table.take(order).to_pydict()
        events.append_batch(table.slice(0, 500))
        events.compact()
        assert all("modelled" in found for found in encodings(tmp_path))
        assert len(events.scan(key=table["user"][0].as_py()).to_arrow()) > 0
        events.verify()


def test_a_merge_of_expired_rows(stored):
    _, _, events, table = stored
    events.expire(before=dt.datetime.fromtimestamp((START + DAY) / 1e6, dt.UTC))
    times = table["at"].cast(pa.int64()).to_numpy()
    left = table.filter(pa.array(times >= START + DAY))
    assert same(sequenced(events), left)
    events.compact()
    assert same(sequenced(events), left)
    events.verify()
