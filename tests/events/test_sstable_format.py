"""docs/formats/sstable.md is true: its example is what is written, a reader made from it reads SSTables."""

from __future__ import annotations

import re
import struct
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segue import _engine

testing = _engine.testing
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "formats" / "sstable.md"
DICT = pa.dictionary(pa.int32(), pa.string())
M64 = 2**64 - 1

# ---- A reader made from the document alone ----


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, n: int) -> bytes:
        assert self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n : self.at]

    def fixed(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def zigzag(self) -> int:
        value = self.varint()
        return value >> 1 if value % 2 == 0 else -(value >> 1) - 1

    def text(self) -> bytes:
        return self.take(self.varint())

    def times(self):
        least = self.zigzag()
        return least, least + self.varint()

    def sequences(self):
        least = self.varint()
        return least, least + self.varint()

    def packed(self, n: int, kind: int | None = None) -> list[int]:
        kind = self.fixed(1) if kind is None else kind
        assert kind in (2, 3)
        base = self.fixed(8)
        step = self.fixed(8) if kind == 3 else 0
        width = self.fixed(1)
        count = n if kind == 2 else n - 1
        number = int.from_bytes(self.take((count * width + 7) // 8), "little")
        bits = [number >> (i * width) & ((1 << width) - 1) for i in range(count)]
        if kind == 2:
            return [(base + b) & M64 for b in bits]
        values = [base]
        for b in bits:
            values.append((values[-1] + step + b) & M64)
        return values

    def strings(self, n: int) -> list[bytes]:
        return [self.take(length) for length in (self.packed(n) if n else (self.take(10), [])[1])]

    def end(self) -> None:
        assert self.at == len(self.data)


WIDTHS = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 2,
    8: 4,
    9: 8,
    10: 4,
    11: 8,
    12: 16,
    13: 4,
    14: 8,
    15: 0,
    16: 0,
    17: 4,
}


def signed(value: int) -> int:
    value &= M64
    return value - (1 << 64) if value >> 63 else value


class Code:
    """Bins, by their codes as strings of bits."""

    def __init__(self, source: Bytes) -> None:
        base = 0
        bins = []
        for _ in range(source.varint()):
            base = (base + source.zigzag()) & M64
            bins.append((base, source.fixed(1), source.fixed(1)))
        assert bins
        assert all(width <= 64 and length <= 8 for _, width, length in bins)
        assert sum(2.0**-length for _, _, length in bins) == 1
        self.bins: dict[str, tuple[int, int]] = {}
        number = 0
        last = 0
        for base, width, length in sorted(bins, key=lambda b: b[2]):  # a stable sort
            number <<= length - last
            last = length
            self.bins[format(number, f"0{length}b") if length else ""] = (base, width)
            number += 1


class Stream:
    """Bits of bytes, the least significant one first."""

    def __init__(self, data: bytes) -> None:
        self.bits = "".join(format(byte, "08b")[::-1] for byte in data)
        self.at = 0

    def take(self, n: int) -> str:
        assert self.at + n <= len(self.bits)
        self.at += n
        return self.bits[self.at - n : self.at]

    def difference(self, code: Code) -> int:
        word = ""
        while word not in code.bins:
            word += self.take(1)
        base, width = code.bins[word]
        return (base + int(self.take(width)[::-1] or "0", 2)) & M64

    def end(self) -> None:
        assert len(self.bits) - self.at < 8
        assert "1" not in self.bits[self.at :]


class Clock:
    def __init__(self, source: Bytes) -> None:
        self.knots: list[int] = []
        n = source.varint()
        if n:
            self.first = source.varint()
            self.shift = source.fixed(1)
            self.knots = source.packed(n)

    def __call__(self, sequence: int) -> int:
        place = max(0, sequence - self.first)
        k, r = place >> self.shift, place % (1 << self.shift)
        if k >= len(self.knots) - 1:
            return self.knots[-1]
        return (self.knots[k] + (signed(self.knots[k + 1] - self.knots[k]) * r >> self.shift)) & M64


class Model:
    def __init__(self, kind: int, source: Bytes) -> None:
        self.kind = kind
        self.frequent: list[int] = []
        self.least = 0
        if kind == 1 and (n := source.varint()):
            self.least = source.fixed(8)
            self.frequent = source.packed(n)
        self.codes = [Code(source) for _ in range(2 if kind == 3 else 1)]

    def read(self, source: Bytes, rows: int, same: list[bool], clock: list[int]) -> list[int]:
        values = [source.fixed(8)] if self.kind == 2 else []
        sizes = []
        for _ in range(3):
            sizes.append((sizes[-1] if sizes else 0) + source.zigzag())
        sizes.append(len(source.data) - source.at - sum(sizes))
        streams = [Stream(source.take(size)) for size in sizes]
        first = len(values)
        for row in range(first, rows):
            follows = self.kind == 3 and same[row]
            x = streams[(row - first) % 4].difference(self.codes[1 if follows else 0])
            if self.kind == 2 or follows:
                x += values[-1]
            elif self.kind == 4:
                x += clock[row]
            elif self.frequent:
                x = self.frequent[x] if x < len(self.frequent) else x - len(self.frequent) + self.least
            values.append(x & M64)
        for stream in streams:
            stream.end()
        return values


def read_models(source: Bytes, chunks: int) -> tuple[Clock, list[Model | None]]:
    clock = Clock(source)
    kinds = []
    for _ in range(chunks):
        kind = source.fixed(1)
        assert kind <= 4
        kinds.append(Model(kind, source) if kind else None)
    source.end()
    return clock, kinds


def read_column(chunk: bytes, rows: int, width: int, modelled=None) -> list[bytes | None]:
    """Each row's value as its bytes in memory; ``modelled(source)`` reads what is written by a model."""
    source = Bytes(chunk)
    encoding = source.fixed(1)
    if encoding == 8:
        source.end()
        return [None] * rows
    valid = [True] * rows
    if source.fixed(1) == 1:
        number = int.from_bytes(source.take((rows + 7) // 8), "little")
        valid = [number >> i & 1 == 1 for i in range(rows)]
    values: list[bytes]
    if encoding == 0:
        values = [source.take(width) for _ in range(rows)]
    elif encoding == 1:
        values = [source.take(width)] * rows
    elif encoding in (2, 3):
        values = [v.to_bytes(8, "little")[:width] for v in source.packed(rows, encoding)]
    elif encoding == 4:
        entries = [source.take(width) for _ in range(source.varint())]
        values = [entries[i] for i in source.packed(rows)]
    elif encoding == 5:
        low, high = source.packed(rows), source.packed(rows)
        values = [struct.pack("<QQ", a, b) for a, b in zip(low, high, strict=True)]
    elif encoding == 6:
        values = source.strings(rows)
    elif encoding == 9:
        values = [v.to_bytes(8, "little")[:width] for v in modelled(source)]
    else:
        assert encoding == 7
        entries = source.strings(source.varint())
        values = [entries[i] for i in source.packed(rows)]
    source.end()
    return [value if ok else None for value, ok in zip(values, valid, strict=True)]


def read_schema(data: bytes):
    source = Bytes(data)
    fields = []
    for _ in range(source.varint()):
        name = source.text().decode()
        type_, unit, nullable = source.take(3)
        fields.append((name, type_, unit, nullable, source.text(), source.zigzag(), source.zigzag()))
    key = [source.varint() for _ in range(source.varint())]
    time = source.varint()
    source.end()
    return fields, key, time


def read_sstable(data: bytes):
    """(schema, file number, columns of values as bytes, sequence numbers, tokens)."""
    assert data[:8] == b"SEGUESST"
    assert data[-8:] == b"TSSEUGES"
    footer_size, version, crc = struct.unpack("<III", data[-20:-8])
    assert version in (1, 2)
    footer_at = len(data) - 20 - footer_size
    assert crc32c(data[footer_at:-12]) == crc
    footer = Bytes(data[footer_at:-20])

    def part(offset: int, size: int) -> bytes:
        body = data[offset : offset + size - 4]
        assert crc32c(body) == int.from_bytes(data[offset + size - 4 : offset + size], "little")
        return body

    fields, key, time = read_schema(footer.text())
    number, rows = footer.varint(), footer.varint()
    zone = (footer.times(), footer.sequences(), footer.text(), footer.text())
    dictionaries = []
    for _ in range(footer.varint()):
        body = Bytes(part(footer.varint(), footer.varint()))
        dictionaries.append(body.strings(footer.varint()))
        body.end()
    clock, models = None, [None] * (len(fields) + 1)
    if version == 2:
        clock, models = read_models(Bytes(part(footer.varint(), footer.varint())), len(fields) + 1)
    bloom = part(footer.varint(), footer.varint())
    token_bytes = Bytes(part(footer.varint(), footer.varint()))
    tokens = [struct.unpack("<5Q", token_bytes.take(40)) for _ in range(token_bytes.varint())]
    token_bytes.end()
    index = Bytes(part(footer.varint(), footer.varint()))
    blocks = footer.varint()
    footer.end()

    coded = [f[1] == 17 and i not in key for i, f in enumerate(fields)]
    widths = [0 if f[1] == 17 and not c else WIDTHS[f[1]] for f, c in zip(fields, coded, strict=True)]
    columns: list[list[bytes | None]] = [[] for _ in fields]
    sequences: list[int] = []
    at = 8
    zones = []
    for _ in range(blocks):
        n = index.varint()
        sizes = [index.varint() for _ in range(len(fields) + 1)]
        block_zone = (index.times(), index.sequences(), index.text(), index.text())
        chunks = []
        for size in sizes:
            chunks.append(part(at, size))
            at += size

        # The key first, which sequence numbers may be foretold by, then those, which times may be.
        same = [False] * n
        times: list[int] = []
        found: list[list[bytes | None]] = [[] for _ in fields]

        def modelled(c, n=n, same=same, times=times):
            return lambda body: models[c].read(body, n, same, times)

        for c in key:
            found[c] = read_column(chunks[c], n, widths[c], modelled(c))
        same[1:] = [all(found[c][i] == found[c][i - 1] for c in key) for i in range(1, n)]
        source = Bytes(chunks[-1])
        if chunks[-1][0] == 9:
            source.fixed(1)
            sequences += modelled(len(fields))(source)
        else:
            sequences += source.packed(n)
            source.end()
        times += [clock(s) for s in sequences[-n:]] if clock and clock.knots else []
        for c in range(len(fields)):
            columns[c] += found[c] if c in key else read_column(chunks[c], n, widths[c], modelled(c))
        real = [int.from_bytes(v, "little", signed=True) for v in columns[time][-n:]]
        assert block_zone[:2] == ((min(real), max(real)), (min(sequences[-n:]), max(sequences[-n:])))
        zones.append(block_zone)
    index.end()
    assert rows == len(sequences)
    assert zone == (
        (min(z[0][0] for z in zones), max(z[0][1] for z in zones)),
        (min(z[1][0] for z in zones), max(z[1][1] for z in zones)),
        zones[0][2],
        zones[-1][3],
    )
    strings_of = iter(dictionaries)
    for c, is_coded in enumerate(coded):
        if is_coded:
            strings = next(strings_of)
            columns[c] = [None if v is None else strings[int.from_bytes(v, "little")] for v in columns[c]]
    assert struct.unpack("<II", bloom[:8]) == (1, (len(bloom) - 16) // 64)
    return (fields, key, time), number, columns, sequences, tokens


def value_bytes(array: pa.ChunkedArray) -> list[bytes | None]:
    """What read_column gives, from Arrow."""
    type_ = array.type
    out: list[bytes | None] = []
    for value in array.to_pylist() if not pa.types.is_temporal(type_) else temporal(array).to_pylist():
        if value is None:
            out.append(None)
        elif pa.types.is_boolean(type_):
            out.append(bytes([value]))
        elif pa.types.is_decimal(type_):
            out.append(int(value.scaleb(type_.scale)).to_bytes(16, "little", signed=True))
        elif pa.types.is_floating(type_):
            out.append(struct.pack("<f" if type_ == pa.float32() else "<d", value))
        elif isinstance(value, int):
            width = type_.bit_width // 8
            out.append((value % (1 << 8 * width)).to_bytes(width, "little"))
        else:
            out.append(value if isinstance(value, bytes) else value.encode())
    return out


def temporal(array: pa.ChunkedArray) -> pa.ChunkedArray:
    return array.cast(pa.int32() if pa.types.is_date(array.type) else pa.int64())


# ---- Tests ----


def example_bytes() -> bytes:
    block = re.search(r"```hex\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    return bytes.fromhex("".join(line.split("#")[0] for line in block.group(1).splitlines()))


def write(path, table, key, time, sequences, **kwargs):
    batch = testing.Batch(table.schema.__arrow_c_schema__(), key, time)
    batch.append(table.__arrow_c_stream__())
    batch.set_sequences(sequences)
    testing.write_sstable(str(path), batch, **kwargs)
    return path.read_bytes()


def test_the_worked_example_is_what_is_written(tmp_path):
    schema = pa.schema(
        [
            pa.field("user", pa.int32(), nullable=False),
            pa.field("at", pa.timestamp("ms"), nullable=False),
            pa.field("device", DICT),
        ]
    )
    table = pa.table(
        {"user": [7, 7, 9], "at": [1000, 1060, 1020], "device": ["phone", "tv", None]}, schema=schema
    )
    data = write(tmp_path / "a", table, ["user"], "at", [4, 6, 5], tokens=[(1, 2, 3, 4, 6)], file_number=17)
    assert data.hex(" ") == example_bytes().hex(" ")


def test_the_worked_example_reads_as_the_document_says():
    (fields, key, time), number, columns, sequences, tokens = read_sstable(example_bytes())
    assert [f[:4] for f in fields] == [("user", 4, 2, 0), ("at", 14, 1, 0), ("device", 17, 2, 1)]
    assert (key, time, number) == ([0], 1, 17)
    assert [int.from_bytes(v, "little") for v in columns[0]] == [7, 7, 9]
    assert [int.from_bytes(v, "little") for v in columns[1]] == [1000, 1060, 1020]
    assert columns[2] == [b"phone", b"tv", None]
    assert sequences == [4, 6, 5]
    assert tokens == [(1, 2, 3, 4, 6)]


@pytest.mark.parametrize("block_rows", [1, 50, 1000])
def test_the_document_reads_every_type_and_encoding(tmp_path, block_rows):
    rng = np.random.default_rng(5)
    n = 230
    some = lambda values: [None if i % 5 == 2 else v for i, v in enumerate(values)]  # noqa: E731
    table = pa.table(
        {
            "k": pa.array(sorted(f"key{i % 40:03}" for i in range(n))).dictionary_encode().cast(DICT),
            "t": pa.array(range(-100, n - 100), pa.timestamp("us")),
            "k2": pa.array([0] * n, pa.int16()),
            "bool": pa.array(some([i % 3 == 0 for i in range(n)])),
            "i8": pa.array(some(rng.integers(-128, 127, n).tolist()), pa.int8()),
            "runs": pa.array([(i // 25) * 0x9E3779B97F4A7C15 % 2**63 for i in range(n)]),
            "i32": pa.array(rng.integers(-(2**31), 2**31, n).tolist(), pa.int32()),
            "u64": pa.array(some([i**3 * 0x9E3779B97F4A7C15 % 2**64 for i in range(n)]), pa.uint64()),
            "f32": pa.array(some(rng.random(n, np.float32).tolist()), pa.float32()),
            "f64": pa.array(rng.choice([0.5, 1.25, -0.0], n)),
            "dec": pa.array(some([Decimal(i - 9) / 100 for i in range(n)]), pa.decimal128(30, 2)),
            "big": pa.array([Decimal(10**37) * (i % 9) for i in range(n)], pa.decimal128(38, 0)),
            "date": pa.array(range(n), pa.int32()).cast(pa.date32()),
            "str": pa.array(some([f"s{i * 7919 % 1000}" for i in range(n)])),
            "few": pa.array(some([f"a long and repeated string {i % 3}" for i in range(n)])),
            "bin": pa.array(some([bytes([i % 256]) * (i % 5) for i in range(n)]), pa.binary()),
            "dict": pa.array(some([f"d{i % 11}" for i in range(n)])).dictionary_encode().cast(DICT),
            "none": pa.array([None] * n, pa.string()).dictionary_encode().cast(DICT),
        }
    )
    wanted = [(i * 37) % 1009 + 1 for i in range(n)]
    tokens = [(1, 2, 3, 4, 5), (6, 7, 8, 9, 10)]
    data = write(
        tmp_path / "a", table, ["k", "k2"], "t", wanted, tokens=tokens, block_rows=block_rows, file_number=300
    )
    (fields, key, time), number, columns, sequences, got = read_sstable(data)
    assert ([f[0] for f in fields], key, time, number) == (table.schema.names, [0, 2], 1, 300)
    assert sequences == wanted
    assert got == tokens
    for name, column in zip(table.schema.names, columns, strict=True):
        assert column == value_bytes(table[name]), name
    seen = {e for b in testing.SstReader(str(tmp_path / "a")).info()["blocks"] for e, _ in b["chunks"]}
    if block_rows == 1000:
        assert seen == {
            "plain", "constant", "frame_of_reference", "delta", "dictionary", "words", "bytes",
            "bytes_dictionary", "all_null",
        }  # fmt: skip
