"""Column chunks: every encoding gives back what went in; no bytes crash the decoder."""

from __future__ import annotations

import decimal
import struct

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine
from segue.errors import InvalidError

testing = _engine.testing
TS = pa.timestamp("us")
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999


class Stream:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def batch_of(values: pa.Array):
    n = len(values)
    table = pa.table({"k": pa.array([0] * n), "t": pa.array([0] * n, TS), "v": values})
    batch = testing.Batch(table.schema.__arrow_c_schema__(), ["k"], "t")
    batch.append(table.__arrow_c_stream__())
    return batch


def encode(values, encoding=None, begin=0, n=None):
    batch = batch_of(values)
    name, chunk = batch.encode_block("v", begin, len(values) - begin if n is None else n, encoding)
    return batch, name, chunk


def decode(batch, chunk, rows):
    column = pa.table(Stream(batch.decode_block("v", chunk, rows)))["v"]
    column.validate(full=True)
    return column.combine_chunks()


INT_BITS = {
    pa.int8(): (8, True), pa.int16(): (16, True), pa.int32(): (32, True), pa.int64(): (64, True),
    pa.uint8(): (8, False), pa.uint16(): (16, False), pa.uint32(): (32, False), pa.uint64(): (64, False),
}  # fmt: skip


@st.composite
def int_values(draw, type_):
    bits, signed = INT_BITS[type_]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    # Runs, narrow ranges far from zero and full-range noise all occur.
    base = draw(st.integers(low, high))
    width = draw(st.integers(0, bits))
    near = st.integers(max(low, base - 2**width // 2), min(high, base + 2**width // 2))
    values = draw(st.lists(st.one_of(near, st.just(base)), min_size=1, max_size=70))
    if draw(st.booleans()):
        values.sort()
    return values


@st.composite
def columns(draw):
    type_ = draw(
        st.sampled_from(
            [
                *INT_BITS,
                pa.bool_(),
                pa.float32(),
                pa.float64(),
                pa.decimal128(38, 3),
                pa.date32(),
                TS,
                pa.string(),
                pa.binary(),
            ]
        )
    )
    if type_ in INT_BITS:
        values = draw(int_values(type_))
    elif type_ == pa.bool_():
        values = draw(st.lists(st.booleans(), min_size=1, max_size=70))
    elif pa.types.is_floating(type_):
        width = 32 if type_ == pa.float32() else 64
        values = draw(st.lists(st.floats(width=width), min_size=1, max_size=70))
    elif pa.types.is_decimal(type_):
        unscaled = st.one_of(st.integers(-9, 9), st.integers(-(10**38) + 1, 10**38 - 1))
        context = decimal.Context(prec=40)
        values = [
            decimal.Decimal(v).scaleb(-3, context) for v in draw(st.lists(unscaled, min_size=1, max_size=70))
        ]
    elif type_ == pa.date32():
        values = draw(int_values(pa.int32()))
    elif type_ == TS:
        values = [min(max(v, FIRST_TIME), LAST_TIME) for v in draw(int_values(pa.int64()))]
    elif type_ == pa.string():
        values = draw(
            st.lists(
                st.sampled_from(["", "a", "bb", "é" * 30]) | st.text(max_size=20), min_size=1, max_size=70
            )
        )
    else:
        values = draw(st.lists(st.binary(max_size=9), min_size=1, max_size=70))
    if draw(st.booleans()):
        values = [None if draw(st.integers(0, 2)) == 0 else v for v in values]
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return pa.array(values, pa.int32() if type_ == pa.date32() else pa.int64()).view(type_)
    return pa.array(values, type_)


def encodings_of(type_):
    if type_ in (pa.string(), pa.binary()):
        return ["bytes", "bytes_dictionary"]
    if pa.types.is_decimal(type_):
        return ["plain", "dictionary", "words"]
    return ["plain", "frame_of_reference", "delta", "dictionary"]


def same(a: pa.Array, b: pa.Array) -> bool:
    """Equal to the last bit: NaN payloads and the sign of zero count."""
    if pa.types.is_floating(a.type):
        ints = pa.int32() if a.type == pa.float32() else pa.int64()
        return a.view(ints).equals(b.view(ints))
    return a.equals(b)


def distinct_bytes(values: pa.Array) -> int:
    """Distinct strings as the builder sees them: a null is an empty one."""
    return len({value or None for value in values.to_pylist()})


@given(columns(), st.data())
@settings(max_examples=300)
def test_every_encoding_roundtrips(values, data):
    begin = data.draw(st.integers(0, len(values) - 1))
    n = data.draw(st.integers(1, len(values) - begin))
    expected = values.slice(begin, n)
    batch, chosen, best = encode(values, None, begin, n)
    assert same(decode(batch, best, n), expected)
    if chosen == "all_null":
        assert best == b"\x08"
        return
    for encoding in encodings_of(values.type):
        name, chunk = batch.encode_block("v", begin, n, encoding)
        assert name == encoding
        assert same(decode(batch, chunk, n), expected)
        # The builder stops looking at a dictionary of strings once more than half of them are distinct.
        if encoding == "bytes_dictionary" and distinct_bytes(expected) > n // 2:
            continue
        # A local dictionary has to save a ninth, so the choice may be that much over the least.
        assert len(best) <= len(chunk) * 1.13 + 40


@given(columns(), st.data())
@settings(max_examples=300)
def test_damaged_chunks_never_crash(values, data):
    encoding = data.draw(st.sampled_from([None, *encodings_of(values.type)]))
    batch, _, chunk = encode(values, encoding)
    broken = bytearray(chunk)
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(broken)[: data.draw(st.integers(0, len(broken)))]
    rows = data.draw(st.sampled_from([len(values), 0, 1, len(values) + 1, 65536, 65537]))
    try:
        batch.decode_block("v", broken, rows)
    except InvalidError as error:
        assert "damaged" in str(error)  # noqa: PT017


@given(
    st.binary(max_size=80),
    st.integers(0, 40),
    st.sampled_from([pa.bool_(), pa.int16(), pa.int64(), pa.decimal128(9), pa.string()]),
)
@settings(max_examples=300)
def test_garbage_never_crashes(garbage, rows, type_):
    batch = batch_of(pa.array([None], type_))
    for tag in range(10):
        for head in (b"", bytes([tag]), bytes([tag, 0]), bytes([tag, 1])):
            try:
                batch.decode_block("v", head + garbage, rows)
            except InvalidError as error:
                assert "damaged" in str(error)  # noqa: PT017


SPARSE = [None if i % 3 else 10**15 + i * 7919 % 1000 for i in range(2048)]


@pytest.mark.parametrize(
    ("values", "encoding", "most"),
    [
        (pa.array([7] * 2048), "constant", 10),
        (pa.array([None] * 2048, pa.int64()), "all_null", 1),
        (pa.array(range(10**9, 10**9 + 2048)), "delta", 20),
        (pa.array([10**15 + (i * 7919) % 1000 for i in range(2048)]), "frame_of_reference", 2600),
        (pa.array([(i // 100) * 0x9E3779B97F4A7C15 % 2**63 for i in range(2048)]), "dictionary", 480),
        (pa.array([i**3 * 0x9E3779B97F4A7C15 % 2**64 for i in range(2048)], pa.uint64()), "plain", 16386),
        (pa.array(["de", "fr", "it"] * 600), "bytes_dictionary", 500),
        (pa.array([f"user-{i * 7919 % 100000}" for i in range(2048)]), "bytes", 2048 * 12),
        (pa.array([decimal.Decimal(i * i % 997) for i in range(2048)], pa.decimal128(20, 0)), "words", 2700),
        (pa.array([i % 2 == 0 for i in range(2048)]), "frame_of_reference", 270),
        (pa.array(SPARSE), "frame_of_reference", 2900),
        (pa.array([0.5, 1.5, 99.9] * 600), "dictionary", 500),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_the_encoding_fits_the_data(values, encoding, most):
    batch, name, chunk = encode(values)
    assert name == encoding
    assert len(chunk) <= most
    assert same(decode(batch, chunk, len(values)), values)


def test_the_largest_block_roundtrips_and_a_larger_one_is_refused():
    values = pa.array([i * 7919 % 65521 for i in range(65537)], pa.int32())
    batch, _, chunk = encode(values, None, 1)
    assert decode(batch, chunk, 65536).equals(values.slice(1))
    with pytest.raises(InvalidError, match="block of 65537 rows"):
        batch.encode_block("v", 0, 65537)
    with pytest.raises(InvalidError, match="block of 0 rows"):
        batch.encode_block("v", 0, 0)


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        (pa.array([1, 2]), "constant"),
        (pa.array([1, 2]), "words"),
        (pa.array([1, 2]), "bytes"),
        (pa.array([1, 2]), "all_null"),
        (pa.array(["a"]), "plain"),
        (pa.array([decimal.Decimal(1), decimal.Decimal(2)], pa.decimal128(9)), "delta"),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused(values, encoding):
    with pytest.raises(InvalidError):
        encode(values, encoding)


def test_a_dictionary_bomb_is_refused():
    # One entry of 64 KiB, 65,536 rows that all name it: it would unfold to 4 GiB.
    entry = b"x" * 65536
    chunk = (
        b"\x07\x00\x01\x02" + struct.pack("<QB", len(entry), 0) + entry + b"\x02" + struct.pack("<QB", 0, 0)
    )
    batch = batch_of(pa.array(["a"]))
    assert decode(batch, chunk, 2).to_pylist() == ["x" * 65536] * 2
    with pytest.raises(InvalidError, match="unfolds to 4 GiB"):
        batch.decode_block("v", chunk, 65536)


@given(st.integers(0, 64), st.data())
def test_bit_packing_equals_its_scalar_twin_and_the_formula(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=80))
    base = data.draw(st.integers(0, 2**64 - 1))
    wrapped = [(base + v) % 2**64 for v in values]
    packed = testing.pack_bits(wrapped, base, width)
    number = sum(v << (i * width) for i, v in enumerate(values))
    assert packed == number.to_bytes((len(values) * width + 7) // 8, "little")
    for spare in (b"", b"\xff", b"\xff" * 20):
        assert testing.unpack_bits(packed + spare, len(values), width, base, False) == wrapped
    assert testing.unpack_bits(packed, len(values), width, base, True) == wrapped
