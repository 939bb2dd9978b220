"""kill -9 of a writer at random moments: what it acknowledged is there, in whole batches, once.

The nightly job is killed in tests/warehouse/test_kill.py.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest

from segue.events import Events

ROUNDS = int(os.environ.get("SEGUE_KILLS", "8"))

WRITER = textwrap.dedent(
    """
    import os, sys
    import pyarrow as pa
    from segue.events import Events

    path, durability = sys.argv[1], sys.argv[2]
    schema = pa.schema({"user": pa.int64(), "n": pa.int64(), "first": pa.int64(), "at": pa.timestamp("us")})
    options = {"wal_bytes": 262144, "memtable_bytes": 500_000}
    if os.path.exists(os.path.join(path, "MANIFEST")):
        events = Events.open(path, "t", durability=durability, _options=options)
    else:
        events = Events.create(path, "t", schema, "user", "at", durability=durability, _options=options)
    n = events.stats().sequence
    print("ready", n, flush=True)
    while True:
        for _ in range(20):
            n += 1
            assert events.append(n % 7, n, None, n) == n
            os.write(1, b"%d\\n" % n)
        rows = range(n + 1, n + 501)
        first, last = events.append_batch(
            {"user": [i % 7 for i in rows], "n": rows, "first": [n + 1] * 500, "at": rows}
        )
        assert (first, last) == (n + 1, n + 500)
        n = last
        os.write(1, b"%d\\n" % n)
    """
)


@pytest.mark.parametrize("durability", ["commit", "os"])
def test_kill_during_ingest(tmp_path, durability):
    path = str(tmp_path / "t")
    chance = random.Random(7)
    for _ in range(ROUNDS):
        child = subprocess.Popen([sys.executable, "-c", WRITER, path, durability], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"ready")
        time.sleep(chance.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        out, _ = child.communicate()
        # The last line may be cut by the kill: only whole lines count as acknowledged.
        whole = out.decode().rpartition("\n")[0].split()
        acknowledged = int(whole[-1]) if whole else 0
        with Events.open(path, "t", mode="r") as events:
            rows = events.scan(columns=["n", "first"]).to_arrow()
        numbers = sorted(rows["n"].to_pylist())
        assert numbers == list(range(1, len(numbers) + 1)), "a row is missing or there twice"
        assert len(numbers) >= acknowledged
        sizes = Counter(first for first in rows["first"].to_pylist() if first is not None)
        assert set(sizes.values()) <= {500}, "a batch is there in part"
