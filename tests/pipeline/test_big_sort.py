"""BigSort against sorted(): types, nulls, directions, ties, spilling, several merge passes."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from column_types import TYPES, arrow_array, order_key, plain_values, same
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import kernels
from segue.errors import BudgetError, CorruptionError, InvalidError, SchemaError, StorageError

MIB = 1 << 20


class _Reversed:
    """Turns an order round, ties staying ties."""

    def __init__(self, key: object) -> None:
        self.key = key

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.key < self.key)  # type: ignore[operator]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.key == other.key

    def __hash__(self) -> int:
        raise NotImplementedError


@st.composite
def _tables(draw: st.DrawFn) -> tuple[pa.Table, list[list[object]], list[tuple[int, bool]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 60))
    columns = []
    for kind in kinds:
        values = TYPES[kind].values
        columns.append(
            draw(
                st.lists(values if draw(st.booleans()) else st.none() | values, min_size=rows, max_size=rows)
            )
        )
    by = draw(st.lists(st.tuples(st.integers(0, len(kinds) - 1), st.booleans()), min_size=1, max_size=3))
    arrays = [arrow_array(c, TYPES[k].arrow) for c, k in zip(columns, kinds, strict=True)]
    nullable = [draw(st.booleans()) or None in c for c in columns]
    fields = [pa.field(f"c{i}", a.type, n) for i, (a, n) in enumerate(zip(arrays, nullable, strict=True))]
    return pa.table(arrays, schema=pa.schema(fields)), columns, by


@given(_tables(), st.integers(1, 70))
def test_equals_sorted(
    drawn: tuple[pa.Table, list[list[object]], list[tuple[int, bool]]], chunk: int
) -> None:
    table, columns, by = drawn

    def key(row: int) -> tuple[object, ...]:
        keys = [order_key(columns[c][row]) for c, _ in by]
        return tuple(_Reversed(k) if down else k for k, (_, down) in zip(keys, by, strict=True))

    expected = sorted(range(table.num_rows), key=key)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=chunk))
    stream = kernels.big_sort(reader, [(f"c{c}", down) for c, down in by])
    result = stream.read_all()
    assert result.column_names == table.column_names
    assert stream.metrics["spilled_bytes_written"] == 0
    for i, column in enumerate(columns):
        got = plain_values(result.column(i))
        assert len(got) == len(expected)
        assert all(same(value, column[row]) for value, row in zip(got, expected, strict=True))


def _random_table(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    words = np.array([f"word number {i}" for i in range(1000)])
    return pa.table(
        {
            "key": pa.array(rng.integers(0, rows // 3, rows), mask=rng.random(rows) < 0.01),
            "text": words[rng.integers(0, 1000, rows)],
            "code": pa.array(words[rng.integers(0, 50, rows)]).dictionary_encode(),
            "arrival": np.arange(rows),
            "payload": rng.random(rows),
        }
    )


def _plain(table: pa.Table) -> pa.Table:
    """Dictionaries as their strings, in one chunk."""
    columns = [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(columns, names=table.column_names).combine_chunks()


def _reference(table: pa.Table, by: list[tuple[str, str]]) -> pa.Table:
    # Only `key` has nulls, and no value below 0: so they come first.
    index = table.column_names.index("key")
    filled = _plain(table).set_column(index, "key", pc.fill_null(table["key"], -1))
    return table.take(pc.sort_indices(filled, sort_keys=[*by, ("arrival", "ascending")]))


def _equal(a: pa.Table, b: pa.Table) -> bool:
    return bool(_plain(a).equals(_plain(b)))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_spills_what_does_not_fit_and_leaves_nothing_behind(tmp_path: pathlib.Path, threads: int) -> None:
    table = _random_table(1_500_000)
    folder = tmp_path / "made" / "when needed"
    stream = kernels.big_sort(table, ["key", "text"], memory=64 * MIB, threads=threads, spill_dir=folder)
    metrics = stream.metrics
    assert metrics["spilled_runs"] > 1
    assert metrics["merge_fan_in"] == metrics["runs"]
    files = os.listdir(folder)
    assert len(files) == metrics["spilled_runs"]
    assert sum((folder / f).stat().st_size for f in files) == metrics["spilled_bytes_written"]
    result = stream.read_all()
    assert _equal(result, _reference(table, [("key", "ascending"), ("text", "ascending")]))
    metrics = stream.metrics
    # Each spilled byte is written once and read once: one pass.
    assert metrics["spilled_bytes_read"] == metrics["spilled_bytes_written"]
    assert metrics["merge_passes"] == 0
    assert metrics["peak_memory"] <= 64 * MIB
    del stream, result
    assert os.listdir(folder) == []


def test_nothing_is_spilled_while_everything_fits(tmp_path: pathlib.Path) -> None:
    table = _random_table(100_000)
    folder = tmp_path / "spill"
    stream = kernels.big_sort(table, "key", memory=64 * MIB, spill_dir=folder)
    assert _equal(stream.read_all(), _reference(table, [("key", "ascending")]))
    assert stream.metrics["spilled_bytes_written"] == 0
    assert not folder.exists()


def test_more_runs_than_one_merge_takes_are_merged_in_passes(tmp_path: pathlib.Path) -> None:
    # 64 readers leave buffers for 8 runs only.
    table = _random_table(2_000_000, seed=1)
    stream = kernels.big_sort(table, [("code", True), "key"], memory=64 * MIB, threads=64, spill_dir=tmp_path)
    assert stream.metrics["merge_passes"] > 0
    assert stream.metrics["merge_fan_in"] <= 8
    result = stream.read_all()
    assert _equal(result, _reference(table, [("code", "descending"), ("key", "ascending")]))


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["key", "text", "code", "payload"]), st.booleans()), min_size=1, max_size=3
    ),
    st.integers(0, 2**32 - 1),
)
def test_spilled_equals_in_memory(by: list[tuple[str, bool]], seed: int) -> None:
    table = _random_table(300_000, seed).append_column("fill", pa.array(["x" * 120] * 300_000))
    small = kernels.big_sort(table, by, memory=64 * MIB, threads=2)
    large = kernels.big_sort(table, by, memory=1024 * MIB)
    assert small.metrics["spilled_bytes_written"] > 0
    assert large.metrics["spilled_bytes_written"] == 0
    assert _equal(small.read_all(), large.read_all())


def test_rows_far_larger_than_a_block() -> None:
    texts = [str(i % 7) * (3 * MIB + i) for i in range(60)]
    table = pa.table({"t": texts, "n": list(range(60))})
    stream = kernels.big_sort(table, [("t", True)], memory=64 * MIB)
    assert stream.metrics["spilled_runs"] > 0
    result = stream.read_all()
    assert result["n"].to_pylist() == sorted(range(60), key=lambda i: _Reversed(texts[i].encode()))
    assert [len(t) for t in result["t"].to_pylist()] == [len(texts[n]) for n in result["n"].to_pylist()]


def test_equal_rows_stay_in_arrival_order_in_both_directions() -> None:
    table = pa.table({"k": [1, 0, 1, 0, None, None], "n": list(range(6))})
    up = kernels.big_sort(table, "k").read_all()["n"].to_pylist()
    down = kernels.big_sort(table, "k", descending=True).read_all()["n"].to_pylist()
    assert up == [4, 5, 1, 3, 0, 2]
    assert down == [0, 2, 1, 3, 4, 5]


def test_one_dictionary_grows_over_batches_and_is_cut_to_the_batch() -> None:
    batches = [
        pa.record_batch({"d": pa.array([f"v{j:05}" for j in range(i, i + 500)]).dictionary_encode()})
        for i in range(0, 20_000, 500)
    ]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    stream = pa.RecordBatchReader.from_stream(kernels.big_sort(reader, [("d", True)]))
    out = list(stream)
    assert [v for b in out for v in b.column(0).to_pylist()] == [f"v{j:05}" for j in reversed(range(20_000))]
    assert all(b.column(0).type == pa.dictionary(pa.int32(), pa.string()) for b in out)


def test_a_damaged_spill_file_is_an_error_with_its_place(tmp_path: pathlib.Path) -> None:
    table = _random_table(1_000_000)
    for damage in ("flip", "cut"):
        folder = tmp_path / damage
        stream = kernels.big_sort(table, "key", memory=64 * MIB, spill_dir=folder)
        victim = folder / sorted(os.listdir(folder))[0]
        size = victim.stat().st_size
        with open(victim, "r+b") as f:
            if damage == "flip":
                f.seek(size // 2)
                byte = f.read(1)
                f.seek(size // 2)
                f.write(bytes([byte[0] ^ 1]))
            else:
                f.truncate(size // 2)
        with pytest.raises(CorruptionError) as caught:
            stream.read_all()
        assert caught.value.path == str(victim)
        assert 0 <= caught.value.offset <= size // 2


def test_a_directory_that_takes_no_files_is_an_error(tmp_path: pathlib.Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(StorageError):
        kernels.big_sort(_random_table(1_000_000), "key", memory=64 * MIB, spill_dir=blocked / "sub")


def test_a_write_that_fails_is_an_error_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    resource = pytest.importorskip("resource")
    # A file size limit fails the write as a full disk does, only with another errno.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(StorageError):
            kernels.big_sort(_random_table(1_000_000), "key", memory=64 * MIB, spill_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_stops_a_sort(tmp_path: pathlib.Path) -> None:
    table = _random_table(50_000)

    def endless() -> object:
        yield from iter(lambda: table.to_batches()[0], None)

    reader = pa.RecordBatchReader.from_batches(table.schema, endless())
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            kernels.big_sort(reader, "key", memory=64 * MIB, threads=2, spill_dir=tmp_path)
    finally:
        timer.cancel()
    assert time.monotonic() - begun < 5
    assert os.listdir(tmp_path) == []


def test_wrong_arguments_are_refused() -> None:
    table = pa.table({"k": [1]})
    with pytest.raises(SchemaError, match="no column 'nope'.*there are k"):
        kernels.big_sort(table, "nope")
    with pytest.raises(InvalidError, match="at least one column"):
        kernels.big_sort(table, [])
    with pytest.raises(BudgetError, match="minimum"):
        kernels.big_sort(table, "k", memory="63MiB")
    with pytest.raises(InvalidError, match="threads"):
        kernels.big_sort(table, "k", threads=0)
    with pytest.raises(InvalidError, match="threads=1000"):
        kernels.big_sort(table, "k", threads=1000)
    strict = pa.schema([pa.field("k", pa.int64(), nullable=False)])
    with pytest.raises(SchemaError, match="declared not nullable"):
        kernels.big_sort(pa.Table.from_arrays([pa.array([1, None])], schema=strict), "k")


def test_a_stream_is_read_once() -> None:
    stream = kernels.big_sort({"k": np.array([2, 1])}, "k")
    assert stream.read_all()["k"].to_pylist() == [1, 2]
    with pytest.raises(InvalidError, match="already consumed"):
        stream.__arrow_c_stream__()
