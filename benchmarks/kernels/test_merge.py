"""The tree of losers over sorted runs, by how many there are; in memory, and spilled."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(1e9, 40), "large": Need(1e9, 120)}


@pytest.mark.parametrize("where", ["in memory", "spilled"])
@pytest.mark.parametrize("fan_in", [2, 8, 32, 128, 512])
def test_merge(kernel: Kernel, fan_in: int, where: str):
    n = kernel.rows // 2
    rng = np.random.default_rng(6)
    keys = rng.permutation(n) * 0x2545F491
    table = pa.table({"key": keys, "high": rng.integers(0, 1 << 60, n), "low": np.arange(n)})
    spills = str(kernel.directory) if where == "spilled" else ""
    runs = testing.RunMerge(table.__arrow_c_stream__(), "key", n // fan_in, spills)
    assert runs.fan_in == fan_in
    stored = n * runs.row_bytes
    # In memory only the keys of a run are in order: its rows are fetched from where they arrived.
    fetched = Cost(fetches=n, working_set=stored, written=8 * n)
    merged = kernel(
        "merge",
        f"{fan_in} runs, {where}",
        lambda: runs.merge("low"),
        rows=n,
        cost=Cost(read=stored + 8 * n, written=8 * n) if spills else fetched,
        isa=testing.crc32c_isas()[-1] if spills else None,  # of the checksum of each block
        page_cache="warm (spill files just written)" if spills else None,
    )
    np.testing.assert_array_equal(merged, np.argsort(keys, kind="stable"))
