"""Kernels on buffers that their owner changes during the call: any values come out, or an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from segue import _engine, kernels
from segue.errors import InvalidError
from tests.events.test_lifetimes import hammer

N = 20_000
KINDS = ["offsets", "large_offsets", "views", "codes", "validity", "no_entries"]
TEXTS = [f"text {i % 100:03}" * (1 + i % 3) for i in range(N)]


def changing(kind: str) -> tuple[Any, Callable[[], None]]:
    """A column of strings, and what changes it and puts it right again."""
    if kind in ("codes", "no_entries"):
        codes = np.zeros(N, np.int32)
        bits = np.zeros(N // 8 + 1, np.uint8) if kind == "no_entries" else None
        column = pa.DictionaryArray.from_buffers(
            pa.dictionary(pa.int32(), pa.string()),
            N,
            [None if bits is None else pa.py_buffer(bits), pa.py_buffer(codes)],
            pa.array([] if kind == "no_entries" else ["zero", "one", "two"], pa.string()),
        )

        def change() -> None:
            if bits is not None:
                bits[:] = 255
            codes[:] = np.random.randint(-(2**31), 2**31 - 1, N)
            codes[:] = 0
            if bits is not None:
                bits[:] = 0

        return column, change
    if kind == "validity":
        bits = np.zeros(N // 8 + 1, np.uint8)
        plain = pa.array(TEXTS)
        column = pa.Array.from_buffers(pa.string(), N, [pa.py_buffer(bits), *plain.buffers()[1:]])

        def change() -> None:
            bits[:] = 255
            bits[:] = 0

        return column, change
    if kind == "views":
        plain = pa.array(TEXTS).cast(pa.string_view())
        views = np.frombuffer(plain.buffers()[1], np.int32).reshape(N, 4).copy()
        right = views.copy()
        column = pa.Array.from_buffers(plain.type, N, [None, pa.py_buffer(views), *plain.buffers()[2:]])

        def change() -> None:
            views[:] = np.random.randint(-(2**31), 2**31 - 1, (N, 4))
            views[:] = right
            views[:] = right[::-1]
            views[:] = right

        return column, change
    plain = pa.array(TEXTS, pa.string() if kind == "offsets" else pa.large_string())
    width = np.int32 if kind == "offsets" else np.int64
    right = np.frombuffer(plain.buffers()[1], width).copy()
    offsets = right.copy()
    column = pa.Array.from_buffers(plain.type, N, [None, pa.py_buffer(offsets), plain.buffers()[2]])

    def change() -> None:
        offsets[1:-1] = np.random.randint(-(2**31), 2**31 - 1, N - 1)
        offsets[1:-1] = right[1:-1]
        offsets[1:-1] = right[-2:0:-1]
        offsets[1:-1] = right[1:-1]

    return column, change


@pytest.mark.parametrize("kind", KINDS)
def test_hashes(kind: str) -> None:
    column, change = changing(kind)
    table = pa.table({"n": np.arange(N), "text": column})

    def hash_it() -> None:
        assert len(kernels.murmur3([column, column])) == N
        assert len(kernels.hash_partition(table, 8, ["n", "text"])) == N

    assert hammer(change, hash_it, 0.4) > 0 or kind == "no_entries"


@pytest.mark.parametrize("kind", KINDS)
def test_sorts(kind: str) -> None:
    column, change = changing(kind)
    table = pa.table({"n": np.arange(N)[::-1], "text": column})

    def sort_it() -> None:
        for by in ("n", "text"):
            rows = kernels.big_sort(table, by).read_all()
            rows.validate(full=kind not in ("offsets", "large_offsets", "views"))  # any bytes are no UTF-8
            assert sorted(rows["n"].to_pylist()) == list(range(N))

    done = hammer(change, sort_it, 0.8)
    assert done > 0 or kind != "codes"  # the others may be refused each time


@pytest.mark.parametrize("kind", KINDS)
def test_joins(kind: str) -> None:
    column, change = changing(kind)
    songs = kernels.BroadcastTable(pa.table({"k": TEXTS[:100], "v": TEXTS[100:200]}), key="k")
    plays = pa.table({"n": np.arange(N), "text": column})

    def join_it() -> None:
        rows = songs.join(plays, on="text", how="left").read_all()
        assert rows["n"].to_pylist() == list(range(N))
        kernels.BroadcastTable(pa.table({"k": np.arange(N), "v": column}), key="k")

    assert hammer(change, join_it, 0.4) > 0 or kind == "no_entries"


def test_what_grew_is_an_error() -> None:
    """Strings that get longer between being measured and being copied."""
    plain = pa.array(["x" * 8] * N)
    right = np.frombuffer(plain.buffers()[1], np.int32).copy()
    offsets = right.copy()
    column = pa.Array.from_buffers(pa.string(), N, [None, pa.py_buffer(offsets), plain.buffers()[2]])
    errors: set[str] = set()

    def change() -> None:
        offsets[1 : N // 2] = 8 * N  # the second half all at once, and before it nothing
        offsets[1 : N // 2] = right[1 : N // 2]

    def sort_it() -> None:
        try:
            kernels.big_sort(pa.table({"text": column}), "text").read_all()
        except InvalidError as error:
            errors.add(str(error))
            raise

    hammer(change, sort_it, 0.8)
    assert all("'text' changed while it was read" in error for error in errors)


def test_a_dictionary_without_entries_has_no_values() -> None:
    codes = pa.array([None, None], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, pa.array([], pa.string()))
    assert kernels.big_sort(pa.table({"t": column}), "t").read_all()["t"].to_pylist() == [None, None]
    bad = pa.DictionaryArray.from_buffers(
        column.type, 1, [None, pa.py_buffer(np.zeros(1, np.int32))], pa.array([], pa.string())
    )
    with pytest.raises(InvalidError, match="index is out of range"):
        _engine.murmur3(pa.table({"t": bad}).__arrow_c_stream__(), None, 42)
