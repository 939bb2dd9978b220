"""BroadcastTable against a dict, for every key type, dense and hashed."""

from __future__ import annotations

import datetime as dt
import decimal
import math

import numpy as np
import pyarrow as pa
import pytest
from column_types import TYPES, arrow_array, plain_values, same
from hypothesis import given
from hypothesis import strategies as st

from segue import kernels
from segue.errors import InvalidError, SchemaError

KEY_TYPES = sorted(TYPES)


def _identity(value: object) -> object:
    """What equality of keys means: NaN equals NaN, -0.0 equals 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


@st.composite
def _joins(draw: st.DrawFn) -> tuple[str, list[object], str, list[object], list[object]]:
    kind = draw(st.sampled_from(KEY_TYPES))
    values = TYPES[kind].values
    keys = draw(st.lists(values, max_size=20, unique_by=_identity))
    attribute = draw(st.sampled_from(KEY_TYPES))
    attributes = draw(st.lists(st.none() | TYPES[attribute].values, min_size=len(keys), max_size=len(keys)))
    known = st.sampled_from(keys) if keys else st.nothing()
    facts = draw(st.lists(st.none() | values | known, max_size=40))
    return kind, keys, attribute, attributes, facts


@given(_joins(), st.integers(1, 50), st.sampled_from(["inner", "left"]), st.integers(1, 30))
def test_equals_a_dict(
    drawn: tuple[str, list[object], str, list[object], list[object]], chunk: int, how: str, dim_chunk: int
) -> None:
    kind, keys, attribute, attributes, facts = drawn
    lookup = {_identity(k): a for k, a in zip(keys, attributes, strict=True)}
    key_type, attribute_type = TYPES[kind].arrow, TYPES[attribute].arrow
    dimension = pa.table(
        {"key": arrow_array(keys, key_type), "attribute": arrow_array(attributes, attribute_type)}
    )
    table = kernels.BroadcastTable(
        pa.RecordBatchReader.from_batches(dimension.schema, dimension.to_batches(dim_chunk)), "key"
    )
    assert len(table) == len(keys)
    fact = pa.table({"n": pa.array(range(len(facts)), pa.int64()), "k": arrow_array(facts, key_type)})
    reader = pa.RecordBatchReader.from_batches(fact.schema, fact.to_batches(chunk))
    stream = table.join(reader, "k", how=how)
    result = stream.read_all()

    matched = [(i, v) for i, v in enumerate(facts) if v is not None and _identity(v) in lookup]
    if how == "inner":
        expected = [(i, v, lookup[_identity(v)]) for i, v in matched]
        assert stream.metrics["dropped"] == len(facts) - len(matched)
    else:
        hits = dict(matched)
        expected = [(i, v, lookup[_identity(v)] if i in hits else None) for i, v in enumerate(facts)]
    got = list(zip(*(plain_values(result[c]) for c in ("n", "k", "attribute")), strict=True))
    assert len(got) == len(expected)
    assert all(same(x, y) for a, b in zip(got, expected, strict=True) for x, y in zip(a, b, strict=True))
    text = pa.types.is_dictionary(attribute_type) or "string" in attribute
    if text:  # few distinct values go out as codes
        assert result.schema.field("attribute").type == pa.dictionary(pa.int32(), pa.string())


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


@pytest.mark.parametrize("dim_type", INTEGERS, ids=str)
@pytest.mark.parametrize("fact_type", INTEGERS, ids=str)
@pytest.mark.parametrize("extra", [[], [0]], ids=["extremes", "dense"])
def test_integers_of_different_types_match_by_value(
    dim_type: pa.DataType, fact_type: pa.DataType, extra: list[int]
) -> None:
    def extremes(kind: pa.DataType) -> list[int]:
        if extra:
            return [0, 1, 2, 100]
        unsigned = pa.types.is_unsigned_integer(kind)
        top = 2 ** (kind.bit_width - (0 if unsigned else 1)) - 1
        return [0, 1, 127, top] + ([] if unsigned else [-1, -top - 1])

    keys = sorted(set(extremes(dim_type)))
    facts = extremes(fact_type)
    table = kernels.BroadcastTable({"k": pa.array(keys, dim_type), "a": pa.array(keys, dim_type)}, "k")
    result = table.join({"f": pa.array(facts, fact_type)}, "f", how="left").read_all()
    assert result["a"].to_pylist() == [f if f in keys else None for f in facts]


def test_dense_or_hashed() -> None:
    def dense(keys: object) -> bool:
        return kernels.BroadcastTable({"k": keys}, "k").dense

    assert dense(np.arange(-1000, 1000))
    assert dense(np.array([0, 60_000]))
    assert not dense(np.array([0, 10_000_000]))
    assert not dense(np.array([-(2**63), 2**63 - 1]))
    assert not dense(["a", "b"])
    assert not dense(np.array([0.5, 1.5]))
    assert not dense(np.array([], dtype=np.int64))


def test_timestamps_match_by_instant() -> None:
    table = kernels.BroadcastTable(
        {"k": pa.array([0, 1, -1], pa.timestamp("ms")), "a": ["zero", "one", "minus"]}, "k"
    )
    fine = pa.array([0, 1000, 1001, -1000, None], pa.timestamp("us"))
    assert table.join({"f": fine}, "f", how="left").read_all()["a"].to_pylist() == [
        "zero", "one", None, "minus", None,
    ]  # fmt: skip
    coarse = pa.array([0, 1, 2**62], pa.timestamp("s"))
    assert table.join({"f": coarse}, "f", how="left").read_all()["a"].to_pylist() == ["zero", None, None]
    with pytest.raises(SchemaError, match="cannot be joined"):
        table.join({"f": pa.array([0], pa.timestamp("ms", "UTC"))}, "f")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([5, 17, 17]), "the value 17 twice"),
        (pa.array([5, 10**12, 10**12]), "the value 1000000000000 twice"),
        (pa.array([2**64 - 1, 2**64 - 1, 0], pa.uint64()), f"the value {2**64 - 1} twice"),
        (pa.array(["x", "yy", "yy"]), "the value 'yy' twice"),
        (pa.array(["x", "yy", "yy"]).dictionary_encode(), "the value 'yy' twice"),
        (pa.array([True, False, False]), "the value false twice"),
        (pa.array([0.5, 1.5, 1.5]), "the value 1.5"),
        (pa.array([decimal.Decimal("-0.05"), decimal.Decimal("-0.05")]), "the value -0.05 twice"),
        (pa.array([dt.date(1970, 1, 3)] * 2), "the value 2 twice"),
    ],
)
def test_a_key_twice_is_refused_by_name(values: pa.Array, text: str) -> None:
    with pytest.raises(InvalidError, match=r"key column 'k'.*" + text + r".*rows"):
        kernels.BroadcastTable({"k": values}, "k")


def test_zeros_and_nans_are_one_key() -> None:
    with pytest.raises(InvalidError, match="twice"):
        kernels.BroadcastTable({"k": np.array([0.0, -0.0])}, "k")
    with pytest.raises(InvalidError, match="twice"):
        kernels.BroadcastTable({"k": np.array([math.nan, -math.nan])}, "k")


@pytest.mark.parametrize("values", [[1, None, 2], ["a", None]])
def test_a_null_key_is_refused_by_row(values: list[object]) -> None:
    with pytest.raises(InvalidError, match="null in row 1"):
        kernels.BroadcastTable({"k": pa.array(values)}, "k")


def test_string_attributes_with_many_values_stay_strings() -> None:
    many = [f"title {i}" for i in range(70_000)]
    table = kernels.BroadcastTable({"k": np.arange(70_000), "title": many, "few": [m[-1] for m in many]}, "k")
    result = table.join({"f": np.array([69_999, 3])}, "f").read_all()
    assert result.schema.field("title").type == pa.string()
    assert result.schema.field("few").type == pa.dictionary(pa.int32(), pa.string())
    assert result.to_pydict() == {"f": [69_999, 3], "title": ["title 69999", "title 3"], "few": ["9", "3"]}


def test_columns_are_chosen_and_named_apart() -> None:
    table = kernels.BroadcastTable({"k": [1], "a": ["x"], "b": [2]}, "k")
    assert table.join({"f": [1]}, "f", columns=["b"]).read_all().column_names == ["f", "b"]
    assert table.join({"f": [1]}, "f", columns=[]).read_all().to_pydict() == {"f": [1]}
    with pytest.raises(SchemaError, match="a column 'a' that is there already"):
        table.join({"f": [1], "a": [0]}, "f")
    with pytest.raises(SchemaError, match="no column 'nope'"):
        table.join({"f": [1]}, "f", columns=["nope"])
    with pytest.raises(SchemaError, match="no column 'nope' to join on"):
        table.join({"f": [1]}, "nope")
    with pytest.raises(InvalidError, match="'inner' or 'left'"):
        table.join({"f": [1]}, "f", how="outer")
    with pytest.raises(SchemaError, match="cannot be joined.*cast"):
        table.join({"f": ["1"]}, "f")
    with pytest.raises(SchemaError, match="no column 'nope'; it has k, a, b"):
        kernels.BroadcastTable({"k": [1], "a": ["x"], "b": [2]}, "nope")


def test_an_empty_dimension_matches_nothing() -> None:
    table = kernels.BroadcastTable({"k": pa.array([], pa.int64()), "a": pa.array([], pa.string())}, "k")
    assert table.join({"f": [1, None]}, "f").read_all().num_rows == 0
    assert table.join({"f": [1, None]}, "f", how="left").read_all()["a"].to_pylist() == [None, None]
