"""Looking fact rows up in a dimension, by how its keys are found."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.kernels.kernel import Cost, Kernel
from benchmarks.plan import Need
from segue import _engine

testing = _engine.testing

PLAN = {"medium": Need(0, 20), "large": Need(0, 60)}

NO_MATCH = 2**32 - 1
KEYS = {"dense integers": 1_000_000, "sparse integers": 1_000_000, "strings": 100_000, "dictionary": 100_000}


def dimension_keys(kind: str) -> pa.Array:
    n = KEYS[kind]
    if kind == "dense integers":
        return pa.array(np.random.default_rng(7).permutation(n))
    if kind == "sparse integers":
        return pa.array(np.random.default_rng(7).permutation(n) * 1_000_003)
    return pa.array([f"name {i:07d}" for i in np.random.default_rng(7).permutation(n)])


@pytest.mark.parametrize("kind", KEYS)
def test_lookup(kernel: Kernel, kind: str):
    """Of 64 facts one has no partner."""
    n = kernel.rows
    keys = dimension_keys(kind)
    rng = np.random.default_rng(8)
    rows = rng.integers(0, len(keys), n)
    missing = rng.integers(0, 64, n) == 0
    absent = pa.array(["name x"] if pa.types.is_string(keys.type) else [-5], keys.type)
    every = pa.concat_arrays([keys, absent])
    codes = np.where(missing, len(keys), rows).astype(np.int32)
    facts = (
        pa.DictionaryArray.from_arrays(codes, every) if kind == "dictionary" else every.take(pa.array(codes))
    )
    table = pa.table({"on": facts})
    probe = testing.JoinProbe(
        pa.table({"key": keys}).__arrow_c_stream__(), "key", table.__arrow_c_stream__(), "on"
    )
    assert probe.dense == (kind == "dense integers")
    matches = kernel(
        "join-probe",
        f"{len(keys)} {kind}" if kind != "dictionary" else f"dictionary over {len(keys)} strings",
        probe.lookup,
        rows=n,
        cost=Cost(read=table.nbytes, written=4 * n, fetches=n, working_set=probe.memory),
    )
    np.testing.assert_array_equal(matches, np.where(missing, NO_MATCH, rows))
