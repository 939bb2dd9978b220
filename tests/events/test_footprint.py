"""What an event table takes of disk and of memory beyond its events."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine
from segue.events import Events

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})


def used(directory) -> int:
    """Bytes on disk: holes are not counted, preallocated blocks are."""
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())


def logs(directory) -> list[str]:
    return sorted(file.name for file in directory.glob("wal-*.log"))


@pytest.mark.skipif(sys.platform != "linux", reason="files are given holes on Linux")
@pytest.mark.parametrize("durability", ["os", "commit"])
def test_a_closed_table_takes_the_space_of_its_events(tmp_path, durability):
    events = Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability=durability)
    for k in range(10):
        events.append(k, k, f"s{k}")
    assert used(tmp_path) > 60 << 20, "the log is preallocated"
    events.close()
    assert used(tmp_path) < 1 << 20
    for round_ in range(2):  # what was given back is allocated anew, and given back again
        with Events.open(tmp_path / "t", "t", durability=durability) as events:
            assert events.scan(key=3).to_arrow().num_rows == 1 + round_
            assert used(tmp_path) > 60 << 20
            events.append(3, 100 + round_, "more")
            assert events.scan().to_arrow().num_rows == 11 + round_
        assert len(logs(tmp_path / "t")) == 1
        assert used(tmp_path) < 1 << 20


def test_a_burst_leaves_one_log_in_reserve(tmp_path):
    options = {"wal_bytes": 1 << 20, "memtable_bytes": 200_000}
    n = 20_000
    with Events.create(tmp_path / "t", "t", SCHEMA, "k", "at", durability="os", _options=options) as events:
        for _ in range(10):
            events.append_batch({"k": range(n), "at": range(n), "s": ["x" * 20] * n})
        events.flush()
        events.append(1, 1, "one more")  # in a log
        end = time.monotonic() + 20
        while len(logs(tmp_path / "t")) > 2:
            assert time.monotonic() < end, logs(tmp_path / "t")
            time.sleep(0.01)
        assert events.scan(columns=["k"]).to_arrow().num_rows == 10 * n + 1


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.skipif("SEGUE_SANITIZED" in os.environ, reason="a sanitizer has a memory of its own")
def test_memory_is_given_back_after_a_burst(tmp_path):
    """Two sealed memtables and a full one are 120 MiB; malloc alone would keep twice that in its arenas."""
    script = """
        import re, sys
        import numpy as np, pyarrow as pa
        from segue.events import Events

        def anonymous():
            with open("/proc/self/status") as status:
                return int(re.search(r"RssAnon:\\s+(\\d+)", status.read())[1]) >> 10

        schema = pa.schema({name: pa.int64() for name in "kabc"} | {"at": pa.timestamp("us")})
        rng = np.random.default_rng(1)
        n = 5000
        columns = {name: rng.integers(0, 1 << 40, n) for name in "kabc"}
        batch = pa.RecordBatch.from_pydict({**columns, "at": np.arange(n)}, schema=schema)
        with Events.create(sys.argv[1], "t", schema, "k", "at", durability="os") as events:
            events.append_batch(batch)
            before = anonymous()
            for _ in range(800):
                events.append_batch(batch)
            events.flush()
            print(anonymous() - before)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "t")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(found.stdout) < 120, "MiB more than before, with nothing in memory"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1 << 16, 12 << 20), st.integers(0, 7)), min_size=1, max_size=30))
def test_large_buffers_do_not_share_memory(steps):
    """Buffers that come and go: each keeps what was put in it, wherever its memory was before."""
    held: dict[int, tuple[_engine.testing.LargeBuffer, int]] = {}
    for number, (size, place) in enumerate(steps):
        held.pop(place, None)
        buffer = _engine.testing.LargeBuffer(size)
        view = np.asarray(buffer)
        assert view.nbytes == size
        view[::4096] = number % 251
        view[-1] = number % 251
        held[place] = (buffer, number % 251)
        for other, mark in held.values():
            assert (np.asarray(other)[::4096] == mark).all()
            assert np.asarray(other)[-1] == mark
