"""The page header parser: headers of real files, and any bytes at all."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine
from segue.errors import CorruptionError

DATA, INDEX, DICTIONARY, DATA_V2 = range(4)
PLAIN, RLE, RLE_DICTIONARY = 0, 3, 8


def zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def i32(delta: int, value: int) -> bytes:
    return bytes([delta << 4 | 5]) + zigzag(value)


def header(kind=DATA, uncompressed=100, compressed=10, inner=None) -> bytes:
    inner = i32(1, 7) + i32(1, PLAIN) + i32(1, RLE) + i32(1, RLE) if inner is None else inner
    delta = {DATA: 2, DICTIONARY: 4, DATA_V2: 5}[kind]
    return (
        i32(1, kind) + i32(1, uncompressed) + i32(1, compressed) + bytes([delta << 4 | 12]) + inner + b"\0\0"
    )


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_headers_of_a_written_file(tmp_path, version):
    path = tmp_path / "f.parquet"
    values = [None if i % 5 == 0 else i % 9 for i in range(1000)]
    pq.write_table(
        pa.table({"x": pa.array(values, pa.int32())}), path, data_page_version=version, compression="zstd"
    )
    chunk = pq.read_metadata(path).row_group(0).column(0)
    start = chunk.dictionary_page_offset
    data = path.read_bytes()[start : start + chunk.total_compressed_size]
    first = _engine.parse_page_header(data, str(path), start)
    assert (first["type"], first["num_values"], first["encoding"]) == (DICTIONARY, 9, PLAIN)
    assert first["uncompressed_size"] == 36
    rest = data[first["header_size"] + first["compressed_size"] :]
    second = _engine.parse_page_header(rest, str(path), start)
    assert second["type"] == (DATA_V2 if version == "2.0" else DATA)
    assert (second["num_values"], second["encoding"]) == (1000, RLE_DICTIONARY)
    assert second["num_nulls"] == (200 if version == "2.0" else 0)
    assert second["header_size"] + second["compressed_size"] == len(rest)


def test_unknown_fields_are_skipped():
    strange = (
        bytes([1 << 4 | 12])  # a struct: list of booleans, map of binary to i64, double, set of structs
        + bytes([1 << 4 | 9, 3 << 4 | 1, 1, 2, 1])
        + bytes([1 << 4 | 11, 2, 8 << 4 | 6, 1, 65, 2, 1, 66, 4])
        + bytes([1 << 4 | 7])
        + bytes(8)
        + bytes([1 << 4 | 10, 2 << 4 | 12, 0, 0])
        + bytes([1 << 4 | 3, 9])
        + b"\0"
    )
    inner = i32(1, 7) + i32(1, PLAIN) + i32(1, RLE) + i32(1, RLE) + strange
    body = bytes(10)
    parsed = _engine.parse_page_header(header(inner=inner) + body, "f", 0)
    assert parsed == _engine.parse_page_header(header() + body, "f", 0) | {
        "header_size": len(header(inner=inner))
    }


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        header(),  # the body is missing
        header()[:-3],
        header(compressed=-1) + bytes(20),
        header(uncompressed=-1) + bytes(20),
        header(inner=i32(1, -7) + i32(1, PLAIN)) + bytes(20),
        header(inner=i32(1, 7)) + bytes(20),  # no encoding
        header(kind=DATA_V2, inner=i32(1, 7) + i32(1, 0) + i32(1, 7) + i32(1, RLE) + i32(1, 11)) + bytes(20),
        i32(1, 9) + i32(1, 1) + i32(1, 1) + b"\0" + bytes(20),  # no such page type
        bytes([1 << 4 | 12]) * 100,  # structs without end
        bytes([9 << 4 | 9, 0xF0 | 12]) + varint(2**40),  # a list of more than there is
        b"\x80" * 50,
    ],
)
def test_damage_names_the_place(damaged):
    with pytest.raises(CorruptionError) as error:
        _engine.parse_page_header(damaged, "some/file", 1234)
    assert (error.value.path, error.value.offset) == ("some/file", 1234)


@given(
    data=st.one_of(st.binary(max_size=120), st.lists(st.integers(0, 255)).map(lambda b: header() + bytes(b)))
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_parse_or_are_damaged(data):
    try:
        parsed = _engine.parse_page_header(data, "f", 0)
    except CorruptionError:
        return
    assert parsed["header_size"] + parsed["compressed_size"] <= len(data)
    assert parsed["num_values"] >= 0


@given(position=st.integers(0, len(header()) - 1), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_parses_or_is_damage(position, value):
    data = bytearray(header() + bytes(40))
    data[position] = value
    try:
        parsed = _engine.parse_page_header(bytes(data), "f", 0)
    except CorruptionError:
        return
    assert parsed["header_size"] + parsed["compressed_size"] <= len(data)
