"""SSTables: what is written is read; damage anywhere is named, never served."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine
from segue.errors import CorruptionError, InvalidError, StorageError, UnsupportedError

testing = _engine.testing
TS = pa.timestamp("us")
DICT = pa.dictionary(pa.int32(), pa.string())


class Stream:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def batch_of(table, key=("k",), time="t", sequences=None):
    batch = testing.Batch(table.schema.__arrow_c_schema__(), list(key), time)
    batch.append(table.__arrow_c_stream__())
    if sequences is not None:
        batch.set_sequences(sequences)
    return batch


def read(reader, columns=None, sequence_name="", blocks=None):
    table = pa.table(Stream(reader.read(columns, sequence_name, blocks)))
    table.validate(full=True)
    return table


def every_type(n):
    rng = np.random.default_rng(3)
    nullable = lambda values: [None if i % 7 == 3 else v for i, v in enumerate(values)]  # noqa: E731
    return pa.table(
        {
            "k": pa.array(sorted(rng.integers(-50, 50, n).tolist()), pa.int64()),
            "t": pa.array(range(n), TS),
            "bool": pa.array(nullable([bool(i % 3) for i in range(n)])),
            "i8": pa.array(nullable(rng.integers(-128, 127, n).tolist()), pa.int8()),
            "u16": pa.array(nullable(rng.integers(0, 65535, n).tolist()), pa.uint16()),
            "i32": pa.array(nullable(rng.integers(-(2**31), 2**31, n).tolist()), pa.int32()),
            "u64": pa.array(nullable([i * 0x9E3779B97F4A7C15 % 2**64 for i in range(n)]), pa.uint64()),
            "f32": pa.array(nullable(rng.random(n, np.float32).tolist()), pa.float32()),
            "f64": pa.array(nullable(rng.random(n).tolist())),
            "dec": pa.array(nullable([Decimal(i * 919 % 997) / 100 for i in range(n)]), pa.decimal128(9, 2)),
            "date": pa.array(nullable([dt.date(2024, 1, 1) + dt.timedelta(i) for i in range(n)])),
            "ns": pa.array(nullable([17 * 10**17 + i for i in range(n)]), pa.timestamp("ns", tz="UTC")),
            "str": pa.array(nullable([f"s{i * 7919 % 1000}" for i in range(n)])),
            "bin": pa.array(nullable([bytes([i % 256]) * (i % 5) for i in range(n)]), pa.binary()),
            "dict": pa.array(nullable([f"d{i % 11}" for i in range(n)])).dictionary_encode().cast(DICT),
            "none": pa.array([None] * n, pa.int64()),
            "nodict": pa.array([None] * n, pa.string()).dictionary_encode().cast(DICT),
        }
    )  # fmt: skip


TOKENS = [(1, 2, 3, 4, 5), (2**64 - 1, 0, 7, 8, 9)]


@pytest.mark.parametrize("piece", [1 << 30, 1, 7, 100, 250])
@pytest.mark.parametrize("block_rows", [1, 64, 100, 65536])
def test_every_type_roundtrips(tmp_path, piece, block_rows):
    path = str(tmp_path / "a.sst")
    table = every_type(517)
    sequences = [(i * 7919) % 10_007 + 1 for i in range(517)]
    meta = testing.write_sstable(
        path, batch_of(table, sequences=sequences), TOKENS, 42, piece, block_rows, bloom_bits_per_key=12
    )
    assert meta["rows"] == 517
    assert meta["file_number"] == 42
    assert meta["file_size"] == (tmp_path / "a.sst").stat().st_size
    assert (meta["min_time"], meta["max_time"]) == (0, 516)
    assert (meta["min_seq"], meta["max_seq"]) == (min(sequences), max(sequences))
    reader = testing.SstReader(path)
    out = read(reader, None, "seq")
    assert out["seq"].to_pylist() == sequences
    assert out.drop(["seq"]).schema.equals(table.schema)
    assert out.drop(["seq"]).to_pydict() == table.to_pydict()
    reader.verify()
    info = reader.info()
    assert info["tokens"] == TOKENS
    assert {k: info[k] for k in meta} == meta
    assert len(info["blocks"]) == -(-517 // block_rows)
    row = 0
    for block in info["blocks"]:
        part = table.slice(row, block["rows"])
        times = part["t"].cast(pa.int64()).to_pylist()
        assert (block["min_time"], block["max_time"]) == (min(times), max(times))
        seqs = sequences[row : row + block["rows"]]
        assert (block["min_seq"], block["max_seq"]) == (min(seqs), max(seqs))
        assert block["first_key"] == (part["k"][0].as_py() + 2**63).to_bytes(8, "big")
        assert block["last_key"] == (part["k"][-1].as_py() + 2**63).to_bytes(8, "big")
        assert block["size"] == sum(size for _, size in block["chunks"])
        row += block["rows"]
    assert row == 517


@pytest.mark.parametrize("columns", [[], ["t"], ["dict"], ["none", "k"], ["str", "bin", "i8"]])
def test_projections(tmp_path, columns):
    path = str(tmp_path / "a.sst")
    table = every_type(300)
    testing.write_sstable(path, batch_of(table), block_rows=128)
    reader = testing.SstReader(path)
    out = read(reader, columns, "seq")
    assert out["seq"].to_pylist() == list(range(1, 301))
    assert out.select(columns).to_pydict() == table.select(columns).to_pydict()
    assert read(reader, columns, "seq", [1])["seq"].to_pylist() == list(range(129, 257))
    with pytest.raises(InvalidError, match="block 3 of an SSTable of 3"):
        reader.read(columns, "", [3])


def test_a_projection_reads_no_damaged_column_that_it_does_not_want(tmp_path):
    # 20,000 incompressible strings lie between k, t and w.
    rng = np.random.default_rng(1)
    n = 20_000
    table = pa.table({"k": pa.array([1] * n), "t": pa.array(range(n), TS),
                      "s": [rng.bytes(20).hex() for _ in range(n)], "w": pa.array(range(n))})  # fmt: skip
    path = tmp_path / "a.sst"
    testing.write_sstable(str(path), batch_of(table), block_rows=n)
    chunks = testing.SstReader(str(path)).info()["blocks"][0]["chunks"]
    data = bytearray(path.read_bytes())
    at = 8 + chunks[0][1] + chunks[1][1]
    data[at + 1000] ^= 1
    path.write_bytes(data)
    reader = testing.SstReader(str(path))
    assert read(reader, ["k", "t", "w"]).equals(table.select(["k", "t", "w"]))
    with pytest.raises(CorruptionError, match="column 's' in block 0") as caught:
        reader.read(["s"])
    assert caught.value.offset == at
    assert caught.value.path == str(path)
    with pytest.raises(CorruptionError, match="column 's'"):
        reader.verify()


def test_readers_share_interners_and_codes_of_their_own(tmp_path):
    first = pa.table(
        {"k": [1, 2], "t": pa.array([0, 0], TS), "d": pa.array(["x", "y"]).dictionary_encode().cast(DICT)}
    )
    second = pa.table(
        {"k": [1, 2], "t": pa.array([0, 0], TS), "d": pa.array(["z", "x"]).dictionary_encode().cast(DICT)}
    )
    for name, table in (("a", first), ("b", second)):
        testing.write_sstable(str(tmp_path / name), batch_of(table))
    shared = batch_of(first.slice(0, 0))
    readers = [testing.SstReader(str(tmp_path / name), shared) for name in "ba"]
    assert [read(r)["d"].to_pylist() for r in readers] == [["z", "x"], ["x", "y"]]
    assert read(readers[1])["d"].chunk(0).dictionary.to_pylist() == ["z", "x", "y"]


def test_keys_of_the_file_are_in_its_bloom_filter(tmp_path):
    table = pa.table({"k": pa.array(range(0, 4000, 2)), "t": pa.array([0] * 2000, TS)})
    path = str(tmp_path / "a.sst")
    testing.write_sstable(path, batch_of(table))
    reader = testing.SstReader(path)
    probe = batch_of(pa.table({"k": pa.array(range(4000)), "t": pa.array([0] * 4000, TS)}))
    found = [reader.may_contain_key(probe, i) for i in range(4000)]
    assert all(found[::2])
    assert sum(found[1::2]) < 60
    assert reader.info()["bloom_keys"] == 2000


KEY_TYPES = {
    "bool": (pa.bool_(), [False, True]),
    "i8": (pa.int8(), [-3, 0, 5]),
    "u16": (pa.uint16(), [0, 7, 60_000]),
    "i32": (pa.int32(), [-(2**31), 0, 9]),
    "date": (pa.date32(), [dt.date(1960, 1, 1), dt.date(2024, 5, 5)]),
    "u64": (pa.uint64(), [0, 2**63, 2**64 - 1]),
    "f64": (pa.float64(), [-1.5, 0.0, 2.25]),
    "dec": (pa.decimal128(20, 1), [Decimal("-9.5"), Decimal("0.1")]),
    "str": (pa.string(), ["", "a", "a\0", "b"]),
    "bin": (pa.binary(), [b"", b"\0", b"\xff"]),
    "dict": (DICT, ["ant", "bee"]),
}


@pytest.mark.parametrize("name", list(KEY_TYPES))
def test_any_type_can_be_the_key_and_its_hashes_agree(tmp_path, name):
    # The builder's quick way to a key's hash and EncodeKey's must agree, or lookups miss rows.
    type_, values = KEY_TYPES[name]
    table = pa.table({"k": pa.array(values * 1, type_), "t": pa.array(range(len(values)), TS)})
    path = str(tmp_path / "a.sst")
    batch = batch_of(table)
    testing.write_sstable(path, batch, bloom_bits_per_key=30)
    reader = testing.SstReader(path)
    assert all(reader.may_contain_key(batch, i) for i in range(len(values)))
    assert read(reader).to_pydict() == table.to_pydict()
    reader.verify()


def test_several_key_columns(tmp_path):
    table = pa.table(
        {"a": ["x", "x", "y"], "t": pa.array([1, 2, 0], TS), "b": pa.array([1, 1, -5], pa.int32())}
    )
    path = str(tmp_path / "a.sst")
    batch = batch_of(table, ["a", "b"])
    testing.write_sstable(path, batch)
    reader = testing.SstReader(path)
    assert reader.info()["bloom_keys"] == 2
    assert all(reader.may_contain_key(batch, i) for i in range(3))
    assert read(reader).equals(table)


def test_long_strings_end_a_block_early(tmp_path):
    strings = ["x" * size for size in (10, 10, 5000, 10, 990, 10, 10)]
    table = pa.table({"k": pa.array([1] * 7), "t": pa.array(range(7), TS), "s": strings})
    for piece in (1, 2, 100):
        path = str(tmp_path / f"{piece}.sst")
        testing.write_sstable(path, batch_of(table), piece=piece, block_bytes=1000)
        reader = testing.SstReader(path)
        assert [b["rows"] for b in reader.info()["blocks"]] == [2, 1, 2, 2]
        assert read(reader)["s"].to_pylist() == strings


@pytest.mark.parametrize(
    ("keys", "times", "sequences"),
    [([2, 1], [0, 0], [1, 2]), ([1, 1], [5, 4], [1, 2]), ([1, 1], [5, 5], [2, 1])],
)
@pytest.mark.parametrize("block_rows", [1, 2])
def test_rows_out_of_order_are_refused(tmp_path, keys, times, sequences, block_rows):
    table = pa.table({"k": keys, "t": pa.array(times, TS)})
    with pytest.raises(InvalidError, match="not in key, time, sequence order"):
        testing.write_sstable(
            str(tmp_path / "a"), batch_of(table, sequences=sequences), block_rows=block_rows
        )


def test_bad_arguments(tmp_path):
    table = pa.table({"k": [1], "t": pa.array([0], TS)})
    path = str(tmp_path / "a.sst")
    with pytest.raises(InvalidError, match="at least one row"):
        testing.write_sstable(path, batch_of(table.slice(0, 0)))
    with pytest.raises(InvalidError, match="block_rows is 0"):
        testing.write_sstable(path, batch_of(table), block_rows=0)
    with pytest.raises(StorageError):
        testing.write_sstable(str(tmp_path / "absent" / "a.sst"), batch_of(table))
    with pytest.raises(StorageError):
        testing.SstReader(str(tmp_path / "none.sst"))


def test_another_schema_is_refused_and_both_are_named(tmp_path):
    path = str(tmp_path / "a.sst")
    table = pa.table({"k": [1], "t": pa.array([0], TS), "v": [1]})
    testing.write_sstable(path, batch_of(table))
    other = batch_of(pa.table({"k": [1], "t": pa.array([0], TS), "v": ["x"]}))
    with pytest.raises(
        CorruptionError, match=r"it has k int64, .* v int64; .* the table has k int64, .* v string;"
    ):
        testing.SstReader(path, other)


def small_file(tmp_path):
    table = pa.table(
        {
            "k": pa.array([1, 1, 2, 9]),
            "t": pa.array([5, 6, 5, 1], TS),
            "s": ["a", None, "bb", ""],
            "d": pa.array(["x", "y", "x", None]).dictionary_encode().cast(DICT),
            "b": [True, False, None, True],
        }
    )
    path = tmp_path / "small.sst"
    testing.write_sstable(str(path), batch_of(table), [(1, 2, 3, 4, 5)], block_rows=3)
    return path, table


def test_damage_to_any_byte_is_noticed(tmp_path):
    path, table = small_file(tmp_path)
    whole = path.read_bytes()
    reader = testing.SstReader(str(path))
    reader.verify()
    assert read(reader).equals(table)
    for i in range(len(whole)):
        broken = bytearray(whole)
        broken[i] ^= (0x01, 0x80, 0xFF, 0x10)[i % 4]
        path.write_bytes(broken)
        with pytest.raises(CorruptionError) as caught:
            read(testing.SstReader(str(path)))
        assert caught.value.path == str(path)
        assert 0 <= caught.value.offset <= i  # the damaged part begins at or before the byte
        with pytest.raises(CorruptionError):
            reader.verify()  # opened before the damage


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    path, _ = small_file(tmp_path)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(CorruptionError) as caught:
            testing.SstReader(str(path))
        assert caught.value.path == str(path)
    for extra in (b"\0", whole):
        path.write_bytes(whole + extra)
        with pytest.raises(CorruptionError):
            testing.SstReader(str(path))


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_newer_version_is_unsupported_not_corrupt(tmp_path):
    path, _ = small_file(tmp_path)
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[-20:-16], "little")
    data[-16:-12] = (3).to_bytes(4, "little")
    data[-12:-8] = crc32c(bytes(data[-20 - size : -12])).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(
        UnsupportedError, match="version 3 of the SSTable format; this build reads versions 1 and 2"
    ):
        testing.SstReader(str(path))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_behind_good_checksums_never_crashes(tmp_path_factory, data):
    # A forged file: bytes of one part changed and its checksum made to match.
    tmp_path = tmp_path_factory.mktemp("forged")
    path, _ = small_file(tmp_path)
    whole = bytearray(path.read_bytes())
    parts = []
    at = 8
    info = testing.SstReader(str(path)).info()
    for block in info["blocks"]:
        for _, size in block["chunks"]:
            parts.append((at, size))
            at += size
    footer_size = int.from_bytes(whole[-20:-16], "little")
    footer_at = len(whole) - 20 - footer_size
    if data.draw(st.booleans()):
        start, size = data.draw(st.sampled_from(parts))
        for _ in range(data.draw(st.integers(1, 3))):
            whole[start + data.draw(st.integers(0, size - 5))] = data.draw(st.integers(0, 255))
        whole[start + size - 4 : start + size] = crc32c(bytes(whole[start : start + size - 4])).to_bytes(
            4, "little"
        )
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            whole[footer_at + data.draw(st.integers(0, footer_size - 1))] = data.draw(st.integers(0, 255))
        whole[-12:-8] = crc32c(bytes(whole[footer_at:-12])).to_bytes(4, "little")
    path.write_bytes(whole)
    try:
        reader = testing.SstReader(str(path))
        reader.verify()
        read(reader)
    except (CorruptionError, UnsupportedError) as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_null_in_a_key_is_damage_behind_a_good_checksum(tmp_path):
    table = pa.table({"k": [1, 2, 3], "t": pa.array([1, 2, 3]).view(TS), "v": [1, None, 3]})
    path = tmp_path / "a"
    testing.write_sstable(str(path), batch_of(table))
    data = bytearray(path.read_bytes())
    footer = len(data) - 20 - int.from_bytes(data[-20:-16], "little")
    keys = footer + 1 + data[footer] - 3  # the schema's last bytes: one key, which column it is, the time
    assert data[keys : keys + 3] == bytes([1, 0, 1])
    data[keys + 1] = 2
    data[-12:-8] = crc32c(bytes(data[footer:-12])).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="column 'v': a null in a key") as caught:
        read(testing.SstReader(str(path)), ["v"])
    assert caught.value.path == str(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_text_that_is_none_is_found_behind_a_good_checksum(tmp_path, kind):
    table = pa.table({"k": [1, 2], "t": pa.array([1, 2], TS), "s": pa.array(["wrong", "right"]).cast(kind)})
    path = tmp_path / "a.sst"
    testing.write_sstable(str(path), batch_of(table))
    whole = bytearray(path.read_bytes())
    at = whole.index(b"wrong")
    whole[at] = 0xFF
    # The chunk or section that it is in begins before it and ends behind it; one checksum fits.
    original = path.read_bytes()
    forged = 0
    for begin in range(8, at + 1):
        for end in range(at + 5, len(whole) - 3):
            if testing.crc32c(original[begin:end]).to_bytes(4, "little") == whole[end : end + 4]:
                whole[end : end + 4] = testing.crc32c(bytes(whole[begin:end])).to_bytes(4, "little")
                forged += 1
    assert forged == 1
    path.write_bytes(whole)
    with pytest.raises(CorruptionError, match="UTF-8") as caught:
        testing.SstReader(str(path)).verify()
    assert 0 < caught.value.offset <= at


def test_many_threads_read_one_file(tmp_path):
    path = str(tmp_path / "a.sst")
    table = every_type(2000)
    testing.write_sstable(path, batch_of(table), block_rows=100)
    reader = testing.SstReader(path)
    expected = table.select(["k", "str", "dict"]).to_pydict()
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(read, reader, ["k", "str", "dict"]) for _ in range(24)]:
            assert future.result().to_pydict() == expected


def test_plays_are_packed_near_their_entropy(tmp_path):
    rng = np.random.default_rng(1)
    n = 100_000
    user = rng.integers(0, 1_000_000, n)
    time = np.sort(rng.integers(0, 86_400_000_000, n)) + 1_704_067_200_000_000
    order = np.lexsort((time, user))
    codes = lambda m: pa.array([f"v{i}" for i in rng.integers(0, m, n)]).dictionary_encode().cast(DICT)  # noqa: E731
    table = pa.table(
        {
            "k": user[order],
            "song": pa.array(rng.integers(0, 1_000_000, n), pa.int32()),
            "t": pa.array(time[order], TS),
            "country": codes(180),
            "device": codes(8),
            "ms": pa.array(rng.integers(1000, 300_000, n), pa.int32()),
        }
    )
    path = str(tmp_path / "a.sst")
    meta = testing.write_sstable(path, batch_of(table, sequences=(order + 1).tolist()))
    # log2 of each column's range, and what a sorted key costs, is 15 bytes a row; the bloom filter 1.2.
    assert meta["file_size"] / n < 18
