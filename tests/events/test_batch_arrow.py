"""Arrow batches into event columns and back: exact conversions, named errors, no change on error."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue import _engine
from segue.errors import SchemaError

TS = pa.timestamp("us")


class Stream:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def batch_of(schema, key=("k",), time="t"):
    return _engine.testing.Batch(schema.__arrow_c_schema__(), list(key), time)


def append(batch, table):
    return batch.append(table.__arrow_c_stream__())


def export(batch, columns=None, sequence_name=""):
    return pa.table(Stream(batch.export(columns, sequence_name)))


def one_column(type_, nullable=True):
    return pa.schema([("k", pa.int64()), ("t", TS), pa.field("v", type_, nullable=nullable)])


def rows(values, n=None):
    n = len(values) if n is None else n
    return {"k": pa.array(range(n), pa.int64()), "t": pa.array(range(n), TS), "v": values}


VALUES = {
    pa.bool_(): [True, None, False, True],
    pa.int8(): [-128, None, 127],
    pa.uint8(): [0, None, 255],
    pa.int16(): [-(2**15), None, 2**15 - 1],
    pa.uint16(): [0, None, 2**16 - 1],
    pa.int32(): [-(2**31), None, 2**31 - 1],
    pa.uint32(): [0, None, 2**32 - 1],
    pa.int64(): [-(2**63), None, 2**63 - 1],
    pa.uint64(): [0, None, 2**64 - 1],
    pa.float32(): [1.5, None, float("inf")],
    pa.float64(): [0.1, None, -1e300],
    pa.decimal128(38, 2): [Decimal("1.25"), None, Decimal("-999999999999.99")],
    pa.date32(): [dt.date(1969, 12, 31), None, dt.date(9999, 12, 31)],
    pa.timestamp("s", tz="UTC"): [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None],
    pa.timestamp("ns"): [1, None, -(2**62)],
    pa.string(): ["", None, "héllo", "a" * 40],
    pa.binary(): [b"", None, b"\xff\x00"],
    pa.dictionary(pa.int32(), pa.string()): ["x", None, "y", "x", ""],
}


@pytest.mark.parametrize("type_", list(VALUES), ids=str)
def test_every_type_roundtrips_with_nulls_and_slices(type_):
    values = pa.array(VALUES[type_], type_)
    table = pa.table(rows(values))
    batch = batch_of(one_column(type_))
    append(batch, table)
    append(batch, table.slice(1))
    append(batch, table.slice(0, 1))
    expected = VALUES[type_] + VALUES[type_][1:] + VALUES[type_][:1]
    out = export(batch)
    out.validate(full=True)
    assert out.schema.field("v").type == type_
    assert out["v"].to_pylist() == pa.array(expected, type_).to_pylist()
    assert out["k"].to_pylist() == [*range(len(values)), *range(1, len(values)), 0]


def test_columns_are_matched_by_name_projected_and_numbered():
    batch = batch_of(pa.schema([("k", pa.string()), ("t", TS), ("v", pa.int32()), ("w", pa.string())]))
    append(batch, pa.table({"v": pa.array([1, 2], pa.int32()), "t": pa.array([5, 6], TS), "k": ["a", "b"]}))
    out = export(batch, ["w", "k", "k"], "seq")
    assert out.schema.names == ["w", "k", "k", "seq"]
    assert out.column(0).to_pylist() == [None, None]
    assert out.column(1).to_pylist() == out.column(2).to_pylist() == ["a", "b"]
    assert out.column(3).to_pylist() == [1, 2]


@pytest.mark.parametrize("layout", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
@pytest.mark.parametrize("target", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_string_layouts_are_one_type(layout, target):
    values = ["short", "a string of more than twelve bytes", None, "", "short"] * 3
    batch = batch_of(one_column(target))
    append(batch, pa.table(rows(pa.array(values, layout))).slice(2))
    assert export(batch)["v"].to_pylist() == values[2:]


@pytest.mark.parametrize("index", [pa.int8(), pa.uint16(), pa.int32(), pa.int64()], ids=str)
@pytest.mark.parametrize("target", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_dictionaries_of_any_index_and_null_entries(index, target):
    values = pa.DictionaryArray.from_arrays(pa.array([2, 0, None, 1, 2], index), pa.array(["b", None, "c"]))
    batch = batch_of(one_column(target))
    append(batch, pa.table(rows(values)))
    assert export(batch)["v"].to_pylist() == ["c", "b", None, None, "c"]


def test_dictionary_in_the_key_is_encoded_on_the_way_out():
    type_ = pa.dictionary(pa.int32(), pa.string())
    batch = batch_of(pa.schema([("k", type_), ("t", TS)]))
    append(batch, pa.table({"k": ["z", "a", "z"], "t": pa.array([1, 2, 3], TS)}))
    out = export(batch)
    assert out.schema.field("k").type == type_
    assert out["k"].to_pylist() == ["z", "a", "z"]
    assert out["k"].chunk(0).dictionary.to_pylist() == ["z", "a"]


def test_a_dictionary_far_larger_than_the_batch_is_cut_down():
    batch = batch_of(one_column(pa.dictionary(pa.int32(), pa.string())))
    many = batch_of(one_column(pa.dictionary(pa.int32(), pa.string())))
    values = [f"s{i}" for i in range(20_000)]
    append(many, pa.table(rows(values)))
    assert len(export(many)["v"].chunk(0).dictionary) == 20_000
    append(batch, pa.table(rows(pa.array(values).dictionary_encode())).slice(19_990))
    assert len(export(batch)["v"].chunk(0).dictionary) == 10  # unused entries are not interned at all


INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


def fits(value, type_):
    try:
        return pa.array([value], type_)[0].as_py() == value
    except (OverflowError, pa.ArrowInvalid):
        return False


@given(
    st.sampled_from(INTS),
    st.sampled_from(INTS),
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=5),
)
def test_integers_convert_when_exact(source, target, values):
    values = [v for v in values if fits(v, source)] or [1]
    batch = batch_of(one_column(target))
    bad = [i for i, v in enumerate(values) if not fits(v, target)]
    if bad:
        with pytest.raises(
            SchemaError, match=rf"'v', row {bad[0]}: {values[bad[0]]} does not fit {target}"
        ) as caught:
            append(batch, pa.table(rows(pa.array(values, source))))
        assert caught.value.column == "v"
        assert batch.rows == 0
    else:
        append(batch, pa.table(rows(pa.array(values, source))))
        assert export(batch)["v"].to_pylist() == values


UNITS = ["s", "ms", "us", "ns"]


PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@given(st.sampled_from(UNITS), st.sampled_from(UNITS), st.integers(-(2**63), 2**63 - 1))
def test_timestamps_convert_when_exact(source, target, value):
    exact, rest = divmod(value * PER_SECOND[target], PER_SECOND[source])
    per_second = PER_SECOND[target]
    in_years = -62_135_596_800 * per_second <= exact < 253_402_300_800 * per_second  # 1 to 9999
    table = pa.table(rows(pa.array([value], pa.timestamp(source, tz="Europe/Berlin"))))
    batch = batch_of(one_column(pa.timestamp(target)))
    if rest == 0 and in_years and -(2**63) <= exact < 2**63:
        append(batch, table)
        assert export(batch)["v"].cast(pa.int64()).to_pylist() == [exact]
    else:
        with pytest.raises(SchemaError, match=r"range of time|finer than|years 1 to 9999"):
            append(batch, table)


@pytest.mark.parametrize(
    ("source", "target", "values", "ok"),
    [
        (pa.int64(), pa.float64(), [2**53, -5], True),
        (pa.int64(), pa.float64(), [2**53 + 1], False),
        (pa.int64(), pa.float64(), [2**63 - 1], False),
        (pa.uint64(), pa.float32(), [2**64 - 1], False),
        (pa.int64(), pa.float32(), [-(2**24)], True),
        (pa.float64(), pa.float32(), [0.5, float("inf")], True),
        (pa.float64(), pa.float32(), [0.1], False),
        (pa.float64(), pa.float32(), [1e300], False),
        (pa.float32(), pa.float64(), [0.5], True),
        (pa.int64(), TS, [7], True),
        (pa.uint64(), TS, [2**63], False),
        (pa.float64(), pa.int64(), [1.0], False),
        (pa.bool_(), pa.int8(), [True], False),
        (pa.string(), pa.binary(), ["x"], True),
        (pa.binary(), pa.string(), [b"x"], False),
        (pa.timestamp("us"), pa.int64(), [1], False),
        (pa.decimal128(10, 2), pa.decimal128(5, 1), [Decimal("1.20")], True),
        (pa.decimal128(10, 2), pa.decimal128(5, 1), [Decimal("1.25")], False),
        (pa.decimal128(10, 2), pa.decimal128(5, 3), [Decimal("100.00")], False),
        (pa.decimal128(38, 0), pa.decimal128(38, 38), [Decimal(7)], False),
    ],
    ids=str,
)
def test_other_conversions(source, target, values, ok):
    batch = batch_of(one_column(target))
    table = pa.table(rows(pa.array(values, source)))
    if not ok:
        with pytest.raises(SchemaError, match="'v'"):
            append(batch, table)
        return
    append(batch, table)
    assert export(batch)["v"].cast(target).to_pylist() == pa.array(values, source).cast(target).to_pylist()


def test_a_bad_value_in_a_null_slot_is_no_error():
    values = pa.Array.from_buffers(
        pa.int64(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer((10**12).to_bytes(8, "little") + bytes(8))]
    )
    batch = batch_of(one_column(pa.int8()))
    append(batch, pa.table(rows(values)))
    assert export(batch)["v"].to_pylist() == [None, 0]


@pytest.mark.parametrize(
    ("table", "column", "match"),
    [
        ({"k": ["a"], "t": [1], "x": [1]}, "x", r"unknown column 'x'; the table has k, t, n, v"),
        ({"k": ["a"], "n": [1]}, "t", r"time column 't' is missing"),
        ({"t": [1], "n": [1]}, "k", r"key column 'k' is missing"),
        ({"k": ["a"], "t": [1]}, "n", r"column 'n' is missing"),
        ({"k": ["a", None], "t": [1, 2], "n": [1, 1]}, "k", r"'k', row 1: null"),
        ({"k": ["a", "b"], "t": [None, 2], "n": [1, 1]}, "t", r"'t', row 0: null"),
        ({"k": ["a", "b"], "t": [1, 2], "n": [1, None]}, "n", r"'n', row 1: null"),
        ({"k": ["a"], "t": ["x"], "n": [1]}, "t", r"'t' is timestamp\[us\], but the batch has string"),
    ],
)
def test_errors_name_the_column_and_change_nothing(table, column, match):
    schema = pa.schema(
        [("k", pa.string()), ("t", TS), pa.field("n", pa.int64(), nullable=False), ("v", pa.string())]
    )
    batch = batch_of(schema)
    good = pa.table({"k": ["q"], "t": pa.array([9], TS), "n": [3], "v": pa.array([None], pa.string())})
    append(batch, good)
    with pytest.raises(SchemaError, match=match) as caught:
        append(batch, pa.table(table))
    assert caught.value.column == column
    assert batch.rows == 1
    append(batch, good)
    assert export(batch).to_pylist() == good.to_pylist() * 2


def test_a_doubled_column_is_refused():
    batch = batch_of(one_column(pa.int64()))
    table = pa.Table.from_arrays(
        [pa.array([1]), pa.array([1], TS), pa.array([1]), pa.array([2])], ["k", "t", "v", "v"]
    )
    with pytest.raises(SchemaError, match="'v' is in the batch twice"):
        append(batch, table)


def test_the_least_integer_converts_to_float():
    batch = batch_of(one_column(pa.float64()))
    append(batch, pa.table(rows(pa.array([-(2**63)], pa.int64()))))
    assert export(batch)["v"].to_pylist() == [-(2.0**63)]


@given(st.binary(max_size=12))
def test_strings_must_be_utf8(data):
    values = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.py_buffer((0).to_bytes(4, "little") + len(data).to_bytes(4, "little")), pa.py_buffer(data)],
    )
    try:
        expected = data.decode("utf-8")
    except UnicodeDecodeError:
        expected = None
    for target in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        batch = batch_of(one_column(target))
        if expected is None:
            with pytest.raises(SchemaError, match="not valid UTF-8"):
                append(batch, pa.table(rows(values)))
        else:
            append(batch, pa.table(rows(values)))
            assert export(batch)["v"].to_pylist() == [expected]


def test_empty_batches():
    schema = one_column(pa.string())
    batch = batch_of(schema)
    append(batch, schema.empty_table())
    assert export(batch).num_rows == 0
    append(batch, pa.table(rows(["x"])))
    append(batch, schema.empty_table())
    assert export(batch)["v"].to_pylist() == ["x"]
