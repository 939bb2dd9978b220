"""Partition hashes equal Spark's: known vectors, and a plain Python reimplementation for every type."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest
import spark_murmur3 as spark
from column_types import TYPES, arrow_array
from hypothesis import given
from hypothesis import strategies as st

from segue import kernels
from segue.errors import InvalidError, SchemaError


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0, pa.int32(), 933211791),
        (1, pa.int32(), -559580957),
        (1, pa.int64(), -1712319331),
        (-1, pa.int64(), -939490007),
        ("", pa.string(), 142593372),
        ("ABC", pa.string(), -757602832),
        ("é", pa.string(), 2119106806),
        (None, pa.int32(), 42),
        (None, pa.string(), 42),
        # The next signed type of an unsigned one.
        (1, pa.uint8(), -559580957),
        (1, pa.uint32(), -1712319331),
        # One integer, whatever small type or date carries it.
        (1, pa.int8(), -559580957),
        (True, pa.bool_(), -559580957),
        (dt.date(1970, 1, 2), pa.date32(), -559580957),
        (dt.datetime(1970, 1, 1, microsecond=1), pa.timestamp("us"), -1712319331),
        (decimal.Decimal("0.01"), pa.decimal128(10, 2), -1712319331),
    ],
)
def test_known_vectors(value: object, kind: pa.DataType, expected: int) -> None:
    assert kernels.murmur3(pa.array([value], kind)).tolist() == [expected]
    if kind == pa.string():
        for dictionary in (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string())):
            assert kernels.murmur3(pa.array([value], pa.string()).cast(dictionary)).tolist() == [expected]
        assert kernels.murmur3(pa.array([value], pa.large_string())).tolist() == [expected]
        assert kernels.murmur3(pa.array([value], pa.string_view())).tolist() == [expected]


@pytest.mark.parametrize("name", TYPES)
def test_every_type_equals_spark(name: str) -> None:
    kind, values, value_hash = TYPES[name]

    @given(st.lists(st.none() | values, max_size=40), st.integers(0, 5), st.integers(0, 2**32 - 1))
    def check(column: list[object], offset: int, seed: int) -> None:
        expected = [spark.signed(seed if v is None else value_hash(v, seed)) for v in column]
        array = arrow_array(column, kind)
        assert kernels.murmur3(array, seed).tolist() == expected
        assert kernels.murmur3(array.slice(offset), seed).tolist() == expected[offset:]

    check()


@given(st.data())
def test_columns_chain_from_left_to_right(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4))
    rows = data.draw(st.integers(0, 30))
    columns = [data.draw(st.lists(st.none() | TYPES[n][1], min_size=rows, max_size=rows)) for n in names]
    expected = []
    for row in range(rows):
        h = 42
        for name, column in zip(names, columns, strict=True):
            if column[row] is not None:
                h = TYPES[name][2](column[row], h)
        expected.append(spark.signed(h))
    arrays = [arrow_array(c, TYPES[n][0]) for n, c in zip(names, columns, strict=True)]
    assert kernels.murmur3(arrays).tolist() == expected
    table = pa.table(arrays, names=[f"c{i}" for i in range(len(arrays))])
    for n in (1, 7, 8, 2**31 - 1):
        partitions = kernels.hash_partition(table, n, table.column_names)
        assert partitions.tolist() == [h % n for h in expected]


def test_a_dictionary_entry_that_is_null_leaves_the_seed() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None]), pa.array(["a", None]))
    a = spark.signed(spark.hash_bytes(b"a", 42))
    assert kernels.murmur3(array).tolist() == [a, 42, a, 42]


def test_partitions_come_from_any_form_of_table() -> None:
    import pandas as pd
    import polars as pl

    keys = np.arange(100, dtype=np.int64)
    expected = [spark.signed(spark.hash_long(int(k), 42)) % 64 for k in keys]
    table = pa.table({"k": keys, "other": ["x"] * 100})
    for data in (
        table,
        table.to_batches()[0],
        pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7)),
        {"k": keys},
        pd.DataFrame({"k": keys}),
        pl.DataFrame({"k": keys, "other": ["x"] * 100}),
    ):
        result = kernels.hash_partition(data, 64, "k")
        assert result.dtype == np.int32
        assert result.tolist() == expected


def test_wrong_arguments_are_refused() -> None:
    table = pa.table({"k": [1]})
    with pytest.raises(SchemaError, match="no column 'nope'"):
        kernels.hash_partition(table, 4, ["nope"])
    for n in (0, -1, 2**31, True, 1.5):
        with pytest.raises(InvalidError, match="number of partitions"):
            kernels.hash_partition(table, n, ["k"])  # type: ignore[arg-type]
    with pytest.raises(InvalidError, match="no table"):
        kernels.hash_partition(3, 4, ["k"])
    with pytest.raises(InvalidError, match="at least one column"):
        kernels.murmur3([])
    with pytest.raises(InvalidError, match="32 bits"):
        kernels.murmur3([[1]], seed=2**32)
    with pytest.raises(SchemaError):
        kernels.murmur3([[[1]]])
