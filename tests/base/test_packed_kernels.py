"""Unpacking in every instruction set of this machine, against the formula and within its bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine

testing = _engine.testing
ISAS = testing.packed_isas()


def unpacked(data: bytes, width: int, first: int, n: int, base: int, bits: int) -> np.ndarray:
    """By the formula, on one large number; what lies past the end is zero."""
    number = int.from_bytes(data, "little") >> first * width
    values = [(base + (number >> i * width & (1 << width) - 1)) % (1 << bits) for i in range(n)]
    return np.array(values, np.uint64)


def test_vector_kernels_are_here():
    assert ISAS[0] == "scalar"
    assert ("avx2" in ISAS) == ("avx2" in _engine.cpu_features())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("width", range(65))
@given(
    seed=st.integers(0, 2**32), n=st.integers(0, 150), first=st.integers(0, 40), spare=st.integers(-60, 40),
    base=st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_unpack(isa, bits, width, seed, n, first, spare, base):
    # The data end before, at or behind the last value, and no memory follows them.
    size = max(0, ((first + n) * width + 7) // 8 + spare)
    data = np.random.default_rng(seed).bytes(size)
    got = testing.packed_unpack(isa, data, width, first, n, base, bits)
    np.testing.assert_array_equal(got, unpacked(data, width, first, n, base, bits))


@pytest.mark.parametrize("isa", ISAS)
def test_the_forced_instruction_set_is_the_one_that_decodes(isa):
    code = "from segue import _engine; print(_engine.testing.active_packed_isa())"
    environment = {**os.environ, "SEGUE_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == isa


OPEN = """
import sys, pyarrow as pa
from segue.events import Events
Events.create(sys.argv[1], "t", {"k": pa.int64(), "at": pa.timestamp("us")}, "k", "at").close()
"""


def test_a_store_does_not_open_with_an_instruction_set_that_is_not_here(tmp_path):
    missing = next(isa for isa in ("neon", "avx512", "avx2") if isa not in ISAS)
    environment = {**os.environ, "SEGUE_ISA": missing, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OPEN, str(tmp_path / "t")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert f"UnsupportedError: SEGUE_ISA={missing}" in run.stderr
