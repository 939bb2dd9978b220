"""Damaged files raise, or give an answer; nothing crashes and nothing reads astray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue import _engine, scan
from segue.errors import CorruptionError, Error, StorageError
from segue.relations import DataFile, ParquetRelation
from segue.scan import CountPlan, GroupColumn, Unsupported, group_count

WRITERS = {
    "dictionary": {"compression": "none"},
    "v2": {"compression": "zstd", "data_page_version": "2.0"},
    "plain": {"compression": "none", "use_dictionary": False},
    "snappy": {"compression": "snappy", "data_page_size": 300},
    "delta": {
        "compression": "none",
        "use_dictionary": False,
        "column_encoding": {
            "number": "DELTA_BINARY_PACKED",
            "text": "DELTA_BYTE_ARRAY",
            "float": "BYTE_STREAM_SPLIT",
            "words": "DELTA_LENGTH_BYTE_ARRAY",
            "flag": "RLE",
        },
    },
}


def sample(n=500) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "number": pa.array(rng.integers(0, 50, n), mask=rng.random(n) < 0.2),
            "text": pa.array([f"word {i}" for i in rng.integers(0, 40, n)]),
            "float": rng.integers(0, 9, n) / 4,
            "words": pa.array([f"{i}" * (i % 5) for i in rng.integers(0, 40, n)], mask=rng.random(n) < 0.2),
            "flag": pa.array(rng.random(n) < 0.5),
        }
    )


def fact_of(path, schema, rows=500) -> ParquetRelation:
    return ParquetRelation("fact", schema, (DataFile(str(path), rows, os.path.getsize(path)),))


def count(fact, *by, **options):
    return group_count(CountPlan(fact, fact.files, (), [GroupColumn(c) for c in by]), **options)


@pytest.mark.parametrize("writer", WRITERS)
def test_flipped_bytes(tmp_path, writer):
    """Every byte of the column chunks, changed in several ways."""
    table = sample()
    original = tmp_path / "original.parquet"
    pq.write_table(table, original, **WRITERS[writer])
    data = original.read_bytes()
    footer_size = int.from_bytes(data[-8:-4], "little") + 8
    rng = np.random.default_rng(2)
    positions = rng.permutation(len(data) - footer_size)[:250]
    answered = 0
    messages = []
    path = tmp_path / "damaged.parquet"
    for position in [*range(4, 60), *positions.tolist()]:
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        path.unlink(missing_ok=True)  # a new file: the footer cache knows files by their times
        path.write_bytes(damaged)
        fact = fact_of(path, table.schema)
        for name in table.column_names:
            try:
                result, _ = count(fact, name)
            except (CorruptionError, Unsupported) as error:
                messages.append(str(error))
            else:
                assert sum(result["count"].to_pylist()) == 500
                answered += 1
    assert answered > 50
    assert len(messages) > 50
    # Strings that are no UTF-8 are found behind the pages: they name the column.
    assert all(str(path) in message or "UTF-8" in message for message in messages)


def test_a_damaged_footer(tmp_path):
    table = sample()
    original = tmp_path / "original.parquet"
    pq.write_table(table, original)
    data = original.read_bytes()
    start = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    rng = np.random.default_rng(3)
    path = tmp_path / "damaged.parquet"
    raised = 0
    for position in (start + rng.permutation(len(data) - start)[:250]).tolist():
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        try:
            count(fact_of(path, table.schema), "number", "text")
        except (Error, Unsupported):
            raised += 1
    assert raised > 50


def test_cut_short_and_missing_files(tmp_path):
    table = sample()
    path = tmp_path / "f.parquet"
    pq.write_table(table, path)
    data = path.read_bytes()
    for size in (0, 3, 12, len(data) // 2, len(data) - 1):
        cut = tmp_path / f"{size}.parquet"
        cut.write_bytes(data[:size])
        with pytest.raises(CorruptionError) as error:
            count(fact_of(cut, table.schema), "text")
        assert error.value.path == str(cut)
    fact = fact_of(path, table.schema)
    path.unlink()
    with pytest.raises(StorageError) as missing:
        count(fact, "text")
    assert missing.value.filename == str(path)


def test_a_file_that_changes_under_the_scan(tmp_path, monkeypatch):
    table = sample()
    path = tmp_path / "f.parquet"
    pq.write_table(table, path)
    read = scan.read_footer

    def then_replace(name):
        footer = read(name)
        path.write_bytes(path.read_bytes()[:-100])
        return footer

    monkeypatch.setattr(scan, "read_footer", then_replace)
    with pytest.raises(StorageError, match="changed"):
        count(fact_of(path, table.schema), "text")


def test_a_replaced_file_is_read_again(tmp_path):
    path = tmp_path / "f.parquet"
    for value in (1, 2, 3):
        pq.write_table(pa.table({"x": [value] * 500}), path)
        result, _ = count(fact_of(path, pa.schema([("x", pa.int64())])), "x")
        assert result.to_pylist() == [{"g0": value, "count": 500}]


def big_fact(folder, groups=400) -> ParquetRelation:
    path = folder / "big.parquet"
    table = pa.table({"x": np.arange(200_000) % 70_000})
    pq.write_table(table, path, use_dictionary=False, row_group_size=200_000)
    one = DataFile(str(path), 200_000, os.path.getsize(path))
    return ParquetRelation("fact", table.schema, (one,) * groups)


def test_an_error_in_one_thread_ends_the_scan(tmp_path):
    fact = big_fact(tmp_path, groups=100)
    bad = tmp_path / "bad.parquet"
    table = pa.table({"x": np.arange(1000)})
    pq.write_table(table, bad, compression="none", use_dictionary=False)
    data = bytearray(bad.read_bytes())
    data[4] ^= 0xFF
    bad.write_bytes(data)
    files = (*fact.files[:10], DataFile(str(bad), 1000, len(data)), *fact.files)
    with pytest.raises(CorruptionError):
        group_count(CountPlan(fact, files, (), [GroupColumn("x")]), threads=2)
    assert not [thread for thread in threading.enumerate() if thread.name == "segue-scan"]


def test_ctrl_c_ends_the_scan(tmp_path):
    big_fact(tmp_path)
    code = f"""
import os, sys, time, threading, signal
import pyarrow as pa, pyarrow.compute
from segue.relations import DataFile, ParquetRelation
from segue.scan import CountPlan, GroupColumn, group_count
path = {str(tmp_path / "big.parquet")!r}
one = DataFile(path, 200_000, os.path.getsize(path))
fact = ParquetRelation("fact", pa.schema([("x", pa.int64())]), (one,) * 50_000)
plan = CountPlan(fact, fact.files, (), [GroupColumn("x")])
print("ready", flush=True)
try:
    group_count(plan, threads=2)
except KeyboardInterrupt:
    deadline = time.monotonic() + 5  # a thread that was just being started ends by itself
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    print("interrupted", [t.name for t in threading.enumerate()], flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout.readline().strip() == "ready"
    time.sleep(1.5)
    child.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, _ = child.communicate(timeout=60)
    assert out.strip() == "interrupted ['MainThread']"
    assert time.monotonic() - sent < 10
    assert child.returncode == 0


def test_native_scans_refuse_use_out_of_turn():
    native = _engine.GroupScan(["number"], 1, 1, 1 << 20, 1 << 30)
    worker = native.worker()
    with pytest.raises(Error):
        worker.count("f", 1, None, [])  # no column
    with pytest.raises(Error):
        worker.count("f", 1, None, [5])  # an id that no group has
    with pytest.raises(CorruptionError):
        worker.count("f", 1, b"abc", [(2, 5, 1, 5, 1, 0, False, None)])  # past the file
    with pytest.raises(CorruptionError):
        worker.count("f", 1, b"abc", [(-1, 1, 1, 5, 1, 0, False, None)])
    with pytest.raises(Error):
        worker.count("f", 1, b"abc", [(0, 1, 1, 5, 99, 0, False, None)])  # no such type
    native.finish()
    with pytest.raises(Error):
        worker.count("f", 0, None, [0])
    with pytest.raises(Error):
        native.finish()
    with pytest.raises(Error):
        native.worker()
    with pytest.raises(Error):
        native.numbers(1)
