"""Models of a file's columns: what they write reads back, by the document too; no bytes crash the reader."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine
from segue.errors import CorruptionError, UnsupportedError
from tests.events import test_sstable_format as document

testing = _engine.testing
TS = pa.timestamp("us")
DICT = pa.dictionary(pa.int32(), pa.string())
INT64 = np.iinfo(np.int64)
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999


class Exported:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def plays(n: int, seed: int = 7, late: float = 0.01) -> tuple[pa.Table, list[int]]:
    """Events in the order of their keys, with the sequence numbers that they arrived by."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n // 3, n) ** 2 % (n // 2)
    times = 1_704_067_200_000_000 + np.cumsum(rng.integers(0, 20_000, n))
    times[rng.random(n) < late] -= 3_600_000_000
    songs = np.exp(rng.random(n) * np.log(800)).astype(np.int64) * 7919 % 50_021
    devices = np.where(rng.random(n) < 0.1, rng.integers(0, 8, n), users % 8)
    order = np.lexsort((times, users))
    table = pa.table(
        {
            "user": pa.array(users[order], pa.int64()),
            "song": pa.array(songs[order], pa.int32()),
            "at": pa.array(times[order]).view(TS),
            "country": pa.array([f"c{u % 50}" for u in users[order]]).dictionary_encode().cast(DICT),
            "device": pa.array([f"d{d}" for d in devices[order]]).dictionary_encode().cast(DICT),
            "seconds": pa.array(np.where(order % 4 == 0, order % 30, 120 + order % 180), pa.int16()),
        }
    )
    return table, [1000 + int(i) for i in order]


def write(path, table, key, time, sequences, **kwargs) -> bytes:
    return document.write(path, table, key, time, sequences, **kwargs)


def check(path, table: pa.Table, key: list[str], time: str, sequences: list[int], **kwargs) -> bytes:
    """Both readers give what was written; returns the file."""
    data = write(path, table, key, time, sequences, **kwargs)
    reader = testing.SstReader(str(path))
    reader.verify()
    read = pa.table(Exported(reader.read(None, "seq")))
    read.validate(full=True)
    assert read["seq"].to_pylist() == sequences
    for name in table.schema.names:
        assert read[name].to_pylist() == table[name].to_pylist(), name
    _, _, columns, got, _ = document.read_sstable(data)
    assert got == sequences
    for name, column in zip(table.schema.names, columns, strict=True):
        assert column == document.value_bytes(table[name]), name
    return data


def section_of_models(data: bytes) -> tuple[int, int]:
    """Return where the models are: begin and end, checksum not included."""
    size, version = int.from_bytes(data[-20:-16], "little"), int.from_bytes(data[-16:-12], "little")
    assert version == 2
    footer = document.Bytes(data[len(data) - 20 - size : -20])
    footer.text()
    footer.varint(), footer.varint(), footer.times(), footer.sequences(), footer.text(), footer.text()
    for _ in range(footer.varint()):
        footer.varint(), footer.varint(), footer.varint()
    begin, size = footer.varint(), footer.varint()
    return begin, begin + size - 4


def models_of(data: bytes, chunks: int):
    begin, end = section_of_models(data)
    return document.read_models(document.Bytes(data[begin:end]), chunks)


def encodings(path) -> list[set[str]]:
    blocks = testing.SstReader(str(path)).info()["blocks"]
    return [{block["chunks"][c][0] for block in blocks} for c in range(len(blocks[0]["chunks"]))]


def test_the_worked_example_of_the_document():
    text = document.DOCUMENT.read_text(encoding="utf-8")
    lines = text.split("```models\n")[1].split("```")[0].splitlines()
    data = bytes.fromhex("".join(line.split("#")[0] for line in lines))
    source = document.Bytes(data)
    model = document.Model(source.fixed(1), source)
    assert model.codes[0].bins == {"0": (0, 0), "10": (1, 2), "11": (0, 64)}
    chunk = source.take(len(data) - source.at)
    read = document.read_column(chunk, 5, 8, lambda body: model.read(body, 5, [], []))
    assert [int.from_bytes(value, "little") for value in read] == [0, 0, 3, 0, 1]


@pytest.mark.parametrize("block_rows", [1, 100, 512])
def test_every_kind_of_model_reads_as_the_document_says(tmp_path, block_rows):
    table, sequences = plays(6000)
    data = check(tmp_path / "a", table, ["user"], "at", sequences, block_rows=block_rows)
    clock, models = models_of(data, len(table.schema) + 1)
    kinds = [model.kind if model else 0 for model in models]
    assert kinds[0] == 2  # a key in steps
    assert kinds[1] == 1
    assert len(models[1].frequent) >= 64
    assert kinds[2] == 4
    assert len(clock.knots) > 2
    assert kinds[3] == 3  # a user has one country
    assert models[3].codes[1].bins == {"": (0, 0)}
    if block_rows == 512:
        assert all("modelled" in encodings(tmp_path / "a")[c] for c in (0, 1, 2, 3))


def test_models_save_what_they_are_for(tmp_path):
    table, sequences = plays(20_000)
    sizes = [
        len(write(tmp_path / name, table, ["user"], "at", sequences, models=models))
        for name, models in (("with", True), ("without", False))
    ]
    assert sizes[0] < 0.75 * sizes[1]
    assert int.from_bytes((tmp_path / "without").read_bytes()[-16:-12], "little") == 1


def test_few_rows_have_no_models(tmp_path):
    table, sequences = plays(255)
    data = write(tmp_path / "a", table, ["user"], "at", sequences)
    assert int.from_bytes(data[-16:-12], "little") == 1


def test_frequent_values_at_equal_distances_are_read_back(tmp_path):
    """A list of them takes no bits a value, however long it is."""
    keys, distinct = 32, 1024
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "k": pa.array(np.repeat(np.arange(keys), distinct)),
            "t": pa.array(np.arange(keys * distinct)).view(TS),
            "v": pa.array(np.concatenate([rng.permutation(distinct) << 20 for _ in range(keys)])),
        }
    )
    data = write(tmp_path / "a", table, ["k"], "t", list(range(1, len(table) + 1)))
    _, models = models_of(data, 4)
    assert len(models[2].frequent) >= 256
    assert set(np.diff(models[2].frequent)) == {1 << 20}
    reader = testing.SstReader(str(tmp_path / "a"))
    reader.verify()
    assert pa.table(Exported(reader.read(["v"])))["v"].equals(table["v"])


def test_a_range_of_rows_reads_as_in_the_whole(tmp_path):
    table, sequences = plays(3000)
    write(tmp_path / "a", table, ["user"], "at", sequences)
    reader = testing.SstReader(str(tmp_path / "a"))
    for columns in ([name] for name in table.schema.names):
        read = pa.table(Exported(reader.read(columns, "", [3, 1])))
        wanted = pa.concat_tables([table.select(columns).slice(at, 512) for at in (3 * 512, 512)])
        assert read[columns[0]].to_pylist() == wanted[columns[0]].to_pylist()


@st.composite
def values(draw, n: int, low: int, high: int) -> list[int]:
    """Integers of a column whose distribution is anything from a constant to noise."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    span = min(draw(st.sampled_from([1, 2, 60, 3000, 2**31, 2**64])), high - low + 1)
    base = draw(st.integers(low, high - span + 1))
    kind = draw(st.sampled_from(["noise", "skew", "steps", "outliers", "runs"]))
    if kind == "noise":
        offsets = (
            [int(x) for x in rng.integers(0, span, n, dtype=np.uint64, endpoint=False)]
            if span < 2**64
            else [int(x) for x in rng.integers(0, 2**64 - 1, n, dtype=np.uint64)]
        )
    elif kind == "skew":
        offsets = [int(span ** float(x)) - 1 for x in rng.random(n)]
    elif kind == "steps":
        offsets = [i * int(rng.integers(1, 9)) % span for i in range(n)]
    elif kind == "outliers":
        offsets = [
            0 if x else int(y * (span - 1)) for x, y in zip(rng.random(n) < 0.98, rng.random(n), strict=True)
        ]
    else:
        offsets = [(i // 40) * 7919 % span for i in range(n)]
    found = [min(base + max(0, min(offset, span - 1)), high) for offset in offsets]
    for _ in range(draw(st.integers(0, 2))):  # the ends of the type are values, too
        found[draw(st.integers(0, n - 1))] = draw(st.sampled_from([low, high]))
    return found


TYPES = {
    pa.int8(): (-128, 127), pa.int16(): (-(2**15), 2**15 - 1), pa.int32(): (-(2**31), 2**31 - 1),
    pa.int64(): (INT64.min, INT64.max), pa.uint8(): (0, 255), pa.uint16(): (0, 2**16 - 1),
    pa.uint32(): (0, 2**32 - 1), pa.uint64(): (0, 2**64 - 1), DICT: (0, 2**31 - 1),
}  # fmt: skip


@st.composite
def tables(draw):
    n = draw(st.integers(256, 700))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    users = draw(st.sampled_from([1, 5, 100, 10**9]))
    keys = sorted(int(x) for x in rng.integers(0, users, n))
    times = draw(values(n, FIRST_TIME, LAST_TIME))
    sequences = [int(x) + draw(st.sampled_from([1, 10**12])) for x in rng.permutation(n * 2)[:n]]
    if draw(st.booleans()):  # by arrival
        start = draw(st.integers(-(10**15), 10**15))
        times = [start + s * 1000 + int(j) for s, j in zip(sequences, rng.integers(0, 5000, n), strict=True)]
    rows = sorted(zip(keys, times, sequences, strict=True))
    kind = draw(st.sampled_from(["int64", "string", "two"]))
    columns = {"k": pa.array([r[0] for r in rows], pa.int64())}
    if kind == "string":
        columns["k"] = pa.array([f"user {r[0]:012}" for r in rows])
    if kind == "two":
        columns["k2"] = pa.array([f"{r[0] % 10:02}" for r in rows]).cast(DICT)
        columns["k"] = pa.array([r[0] // 10 for r in rows], pa.int32())
    columns["t"] = pa.array([r[1] for r in rows], pa.int64()).view(TS)
    for i in range(draw(st.integers(1, 3))):
        type_ = draw(st.sampled_from(list(TYPES)))
        column = draw(values(n, *TYPES[type_]))
        if draw(st.booleans()):  # of the key
            column = [column[r[0] % n] for r in rows]
        if draw(st.booleans()):
            column = [None if x else v for x, v in zip(rng.random(n) < 0.3, column, strict=True)]
        made = pa.array(column, pa.uint64() if type_ is DICT else type_)
        columns[f"v{i}"] = made.cast(pa.string()).dictionary_encode().cast(DICT) if type_ is DICT else made
    return pa.table(columns), ["k", "k2"] if kind == "two" else ["k"], [r[2] for r in rows]


@given(tables(), st.sampled_from([100, 512]))
@settings(max_examples=60, deadline=None)
def test_any_table_reads_as_it_was_written(tmp_path_factory, drawn, block_rows):
    table, key, sequences = drawn
    check(tmp_path_factory.mktemp("t") / "a", table, key, "t", sequences, block_rows=block_rows)


def test_the_time_may_be_in_the_key(tmp_path):
    times = [10**15 + i // 2 * 1000 for i in range(1000)]
    table = pa.table({"t": pa.array(times).view(TS), "v": pa.array([i % 3 for i in range(1000)])})
    data = check(tmp_path / "a", table, ["t"], "t", list(range(1, 1001)))
    assert not models_of(data, 3)[0].knots


def forge(data: bytes, begin: int, end: int, change) -> bytes:
    """Bytes [begin, end) changed, and the checksum behind them made to fit."""
    whole = bytearray(data)
    part = bytearray(whole[begin:end])
    change(part)
    whole[begin:end] = part
    whole[end : end + 4] = testing.crc32c(bytes(part)).to_bytes(4, "little")
    return bytes(whole)


def test_a_model_where_there_can_be_none_is_damage(tmp_path):
    table, sequences = plays(2000)
    data = write(tmp_path / "a", table.select(["user", "at"]), ["user"], "at", sequences)
    begin, end = section_of_models(data)
    source = document.Bytes(data[begin:end])
    document.Clock(source)
    key = source.at  # of the key's model
    assert source.data[key] == 2

    def broken(place: int, value: int) -> str:
        (tmp_path / "a").write_bytes(forge(data, begin, end, lambda part: part.__setitem__(place, value)))
        reader = testing.SstReader(str(tmp_path / "a"))
        with pytest.raises(CorruptionError) as caught:
            reader.verify()
        assert caught.value.offset == begin
        with pytest.raises(CorruptionError):
            reader.read()
        return str(caught.value)

    assert "models are damaged" in broken(key, 4)
    assert "models are damaged" in broken(key, 5)
    assert "models are damaged" in broken(key + 1, 255)  # bins


def test_damage_to_models_is_noticed(tmp_path):
    table, sequences = plays(2000)
    path = tmp_path / "a"
    data = write(path, table, ["user"], "at", sequences)
    begin, end = section_of_models(data)
    for at in range(begin, end + 4, 7):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        path.write_bytes(broken)
        with pytest.raises(CorruptionError) as caught:
            testing.SstReader(str(path)).verify()
        assert (caught.value.path, caught.value.offset) == (str(path), begin)


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_damage_behind_good_checksums_never_crashes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("forged") / "a"
    table, sequences = plays(1500)
    whole = write(path, table, ["user"], "at", sequences)
    parts = [section_of_models(whole)]
    at = 8
    for block in testing.SstReader(str(path)).info()["blocks"]:
        for encoding, size in block["chunks"]:
            if encoding == "modelled":
                parts.append((at, at + size - 4))
            at += size
    begin, end = parts[0] if data.draw(st.booleans()) else data.draw(st.sampled_from(parts))

    def change(part: bytearray) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, min(len(part) - 1, data.draw(st.sampled_from([12, 10**6])))))
            part[place] = data.draw(st.integers(0, 255))

    path.write_bytes(forge(whole, begin, end, change))
    reader = testing.SstReader(str(path))
    for read in (reader.verify, reader.read):
        try:
            read()
        except (CorruptionError, UnsupportedError) as error:
            assert str(path) in str(error)  # noqa: PT017
