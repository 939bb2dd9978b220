"""group_count against DuckDB, over files as different writers make them."""

from __future__ import annotations

import datetime as dt
import decimal
import os
from collections import Counter
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue import kernels
from segue.arrow_count import count_groups
from segue.errors import InvalidError, SchemaError
from segue.relations import DataFile, ParquetRelation
from segue.scan import CountPlan, DimensionJoin, GroupColumn, Unsupported, group_count


def relation(paths, schema, partitions=None, partition_columns=()):
    files = []
    for path in paths:
        rows = pq.read_metadata(path).num_rows
        files.append(DataFile(str(path), rows, os.path.getsize(path), (partitions or {}).get(path, {})))
    return ParquetRelation("fact", schema, tuple(files), partition_columns)


def count(fact, by, joins=(), **options):
    columns = [GroupColumn(c) if isinstance(c, str) else GroupColumn(*c) for c in by]
    return group_count(CountPlan(fact, fact.files, joins, columns), **options)


def plain(value):
    """Hashable, with every NaN equal and -0.0 as 0.0."""
    if isinstance(value, float):
        return "NaN" if value != value else value + 0.0
    return value


def as_counter(table) -> Counter:
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    result = Counter()
    for *key, n in rows:
        key = tuple(plain(v) for v in key)
        assert key not in result, f"group {key} occurs twice"
        result[key] = n
    return result


def expected(sql, **tables) -> Counter:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for name, table in tables.items():
        con.register(name, table)
    return as_counter(con.sql(sql).to_arrow_table())


def columns_of(n: int, seed: int = 3) -> pa.Table:
    """A column of every supported type, with nulls in half of them."""
    rng = np.random.default_rng(seed)

    def some(values, type_=None, nulls=True):
        mask = rng.random(n) < 0.15 if nulls else None
        return pa.array(values, type_, mask=mask)

    day = np.datetime64("2024-01-01")
    seconds = rng.integers(0, 5, n)
    cents = [decimal.Decimal(int(v)).scaleb(-2) for v in rng.integers(-500, 500, n)]
    huge = [decimal.Decimal(int(v) * 10**20) for v in rng.integers(-5, 5, n)]
    words = np.array(["", "é", "a", "bb" * 40, "日本", *(f"w{i}" for i in range(50))])
    text = words[rng.integers(0, len(words), n)]
    floats = rng.choice([0.0, -0.0, 1.5, float("nan"), float("inf"), -2.25], n)
    return pa.table(
        {
            "i8": some(rng.integers(-128, 128, n).astype(np.int8)),
            "i16": some(rng.integers(-300, 300, n).astype(np.int16), nulls=False),
            "i32": some(rng.integers(-(2**31), 2**31, n).astype(np.int32) // 2**20),
            "i64": some(rng.integers(-(2**62), 2**62, n) // 2**50, nulls=False),
            "u8": some(rng.integers(0, 256, n).astype(np.uint8)),
            "u16": some(rng.integers(65000, 65536, n).astype(np.uint16), nulls=False),
            "u32": some((2**32 - 1 - rng.integers(0, 99, n)).astype(np.uint32)),
            "u64": some(np.uint64(2**64 - 1) - rng.integers(0, 99, n).astype(np.uint64)),
            "f32": some(floats.astype(np.float32)),
            "f64": some(floats, nulls=False),
            "flag": some(rng.random(n) < 0.3),
            "flag_required": some(rng.random(n) < 0.9, nulls=False),
            "cents": some(cents, pa.decimal128(7, 2)),
            "cents18": some(cents, pa.decimal128(18, 2)),
            "huge": some(huge, pa.decimal128(38, 0)),
            "day": some((day + rng.integers(0, 40, n)).astype("datetime64[D]")),
            "ts_ms": some((day + seconds * 1000).astype("datetime64[ms]"), pa.timestamp("ms")),
            "ts_us": some(day.astype("datetime64[us]") + seconds, pa.timestamp("us")),
            "ts_utc": some(day.astype("datetime64[us]") + seconds, pa.timestamp("us", "UTC"), nulls=False),
            "ts_ns": some(day.astype("datetime64[ns]") + seconds, pa.timestamp("ns")),
            "clock": some((seconds * 10**6).astype("int64")).cast(pa.time64("us")),
            "text": some(text.tolist()),
            "text_required": some(text.tolist(), nulls=False),
            "large_text": some(text.tolist(), pa.large_string()),
            "view": some(text.tolist(), pa.string_view()),
            "blob": some([t.encode() for t in text], pa.binary()),
            "country": some(text.tolist()).dictionary_encode(),
            "none": pa.nulls(n, pa.string()),
            "none_int": pa.nulls(n, pa.int64()),
        }
    )


WRITERS = {
    "defaults": {},
    "v2": {"data_page_version": "2.0"},
    "none": {"compression": "none"},
    "none_v2": {"compression": "none", "data_page_version": "2.0"},
    "zstd": {"compression": "zstd"},
    "zstd_v2": {"compression": "zstd", "data_page_version": "2.0"},
    "gzip": {"compression": "gzip"},
    "brotli": {"compression": "brotli"},
    "lz4": {"compression": "lz4"},
    "plain": {"use_dictionary": False},
    "plain_v2": {"use_dictionary": False, "data_page_version": "2.0", "compression": "zstd"},
    "fallback": {"dictionary_pagesize_limit": 60, "data_page_size": 200},
    "tiny_pages": {"data_page_size": 16, "write_batch_size": 7},
    "tiny_groups": {"row_group_size": 100},
    "no_schema": {"store_schema": False},
    "checksums": {"write_page_checksum": True, "write_page_index": True},
    "old_format": {"version": "1.0"},
    "integer_decimals": {"store_decimal_as_integer": True},
    "required": {"required": True},
}


@pytest.fixture(scope="module")
def every_type():
    return columns_of(3000)


@pytest.mark.parametrize("writer", WRITERS)
def test_every_type_from_every_writer(tmp_path, every_type, writer):
    options = dict(WRITERS[writer])
    table = every_type
    if options.pop("required", False):
        table = table.select([n for n in table.column_names if table[n].null_count == 0])
        table = table.cast(pa.schema([f.with_nullable(False) for f in table.schema]))
    if writer == "old_format":
        table = table.drop_columns(["u32", "ts_ns"])  # widened there, or coerced
        options["coerce_timestamps"] = "us"
    path = tmp_path / "f.parquet"
    pq.write_table(table, path, **options)
    # ... as the file gives it back: without the Arrow schema some layouts are lost.
    schema = table.schema if options.get("store_schema", True) else pq.read_schema(path)
    fact = relation([path], schema)
    back = pq.read_table(path)
    for name in table.column_names:
        got, metrics = count(fact, [name])
        assert got.schema.field("g0").type == schema.field(name).type
        assert got["count"].type == pa.int64()
        column = back[name]
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
        want = Counter(plain(v) for v in column.to_pylist())
        assert as_counter(got) == Counter({(k,): n for k, n in want.items()}), name
        assert metrics.columns == [name]
        assert metrics.rows == len(table)
        chunks = [pq.read_metadata(path).row_group(g) for g in range(metrics.row_groups_read)]
        index = table.column_names.index(name)
        assert metrics.bytes_read == sum(chunk.column(index).total_compressed_size for chunk in chunks)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("page", [200, 1 << 20])
def test_delta_and_split_encodings(tmp_path, every_type, version, page):
    """What a writer picks for columns in which codes do not pay."""
    rng = np.random.default_rng(11)
    n = len(every_type)
    table = every_type.append_column("wide", pa.array(rng.integers(-(2**63), 2**63 - 1, n)))
    table = table.append_column("wide32", pa.array(rng.integers(-(2**31), 2**31 - 1, n).astype(np.int32)))
    table = table.append_column("rising", pa.array(np.cumsum(rng.integers(0, 3, n)) + 2**40))
    words = [f"https://example.org/{i % 300:05}/{'x' * (i % 7)}" for i in range(n)]
    table = table.append_column("url", pa.array(words))
    integers = [
        "i8",
        "i16",
        "i32",
        "i64",
        "u8",
        "u16",
        "u32",
        "u64",
        "day",
        "ts_ms",
        "ts_us",
        "ts_utc",
        "ts_ns",
    ]
    integers += ["clock", "wide", "wide32", "rising", "none_int"]
    strings = ["text", "text_required", "large_text", "view", "blob", "url", "none"]
    numbers = ["f32", "f64", "i32", "i64", "huge", "cents"]
    encodings = {
        "DELTA_BINARY_PACKED": integers,
        "DELTA_LENGTH_BYTE_ARRAY": strings,
        "DELTA_BYTE_ARRAY": [*strings, "huge", "cents"],
        "BYTE_STREAM_SPLIT": numbers,
    }
    for encoding, names in encodings.items():
        path = tmp_path / f"{encoding}.parquet"
        part = table.select(names)
        pq.write_table(
            part,
            path,
            use_dictionary=False,
            column_encoding=dict.fromkeys(names, encoding),
            data_page_version=version,
            data_page_size=page,
        )
        leaf = {pq.read_metadata(path).row_group(0).column(i).encodings for i in range(len(names))}
        assert all(encoding in found for found in leaf)
        for name in names:
            column = part[name].cast(pa.string()) if name == "view" else part[name]
            want = Counter((plain(v),) for v in column.to_pylist())
            assert as_counter(count(relation([path], part.schema), [name])[0]) == want, (encoding, name)


@pytest.mark.parametrize("writer", ["defaults", "fallback", "plain_v2", "tiny_pages"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("encoded", [False, True])
def test_several_columns(tmp_path, every_type, writer, threads, encoded):
    paths = []
    for part in range(3):
        paths.append(tmp_path / f"{part}.parquet")
        pq.write_table(every_type.slice(part * 1000, 1000), paths[-1], row_group_size=300, **WRITERS[writer])
    fact = relation(paths, every_type.schema)
    for by in (["text", "i8"], ["f64", "flag", "country"], ["day", "none", "huge", "u64"], ["i8", "i8"]):
        got, metrics = count(fact, by, threads=threads, encoded=encoded)
        rows = zip(*(every_type[c].to_pylist() for c in by), strict=True)
        assert as_counter(got) == Counter(tuple(plain(v) for v in row) for row in rows)
        assert metrics.row_groups_read == 12
        assert metrics.files_read == 3


def test_count_without_groups(tmp_path, every_type):
    path = tmp_path / "f.parquet"
    pq.write_table(every_type, path)
    got, metrics = count(relation([path], every_type.schema), [])
    assert got.to_pylist() == [{"count": 3000}]
    assert (metrics.bytes_read, metrics.row_groups_read, metrics.columns) == (0, 0, [])
    assert count(relation([], every_type.schema), [])[0].to_pylist() == [{"count": 0}]


def test_no_files_and_empty_files(tmp_path, every_type):
    schema = every_type.schema
    empty, groupless = tmp_path / "empty.parquet", tmp_path / "groupless.parquet"
    pq.write_table(schema.empty_table(), empty)
    with pq.ParquetWriter(groupless, schema):
        pass
    for paths in ([], [empty], [groupless], [empty, groupless]):
        for name in schema.names:
            got, _ = count(relation(paths, schema), [name, "text"])
            assert got.num_rows == 0
            assert got.schema.field("g0").type == schema.field(name).type


# -- joins

INT64 = pa.int64()


@pytest.fixture
def plays(tmp_path):
    rng = np.random.default_rng(5)
    n = 20_000
    table = pa.table(
        {
            "artist_id": pa.array(rng.integers(0, 500, n).astype(np.int32), mask=rng.random(n) < 0.05),
            "country": pa.array([f"c{i}" for i in rng.integers(0, 30, n)]),
            "city": pa.array(
                [f"c{i % 30}-{i % 4}" for i in rng.integers(0, 99, n)], mask=rng.random(n) < 0.05
            ),
            "flag": pa.array(rng.random(n) < 0.4, mask=rng.random(n) < 0.05),
            "day": pa.array((np.datetime64("2024-01-01") + rng.integers(0, 9, n)).astype("datetime64[D]")),
        }
    )
    paths = []
    for part in range(4):
        paths.append(tmp_path / f"{part}.parquet")
        options = [
            {},
            {"dictionary_pagesize_limit": 100},
            {"use_dictionary": False},
            {"data_page_version": "2.0"},
        ]
        pq.write_table(table.slice(part * n // 4, n // 4), paths[-1], row_group_size=1700, **options[part])
    return SimpleNamespace(table=table, fact=relation(paths, table.schema))


def dimension(key_type=INT64):
    ids = np.random.default_rng(6).permutation(np.arange(100, 700))
    return pa.table(
        {
            "id": pa.array([*ids.tolist(), None], key_type),
            "artist": [*(f"artist {i % 40}" for i in ids), "no one"],
            "score": pa.array([*((float("nan"), 0.0, -0.0, None)[i % 4] for i in ids), 1.0]),
        }
    )


@pytest.mark.parametrize("key_type", [pa.int16(), pa.int32(), pa.int64(), pa.uint16(), pa.uint64()])
def test_join_on_a_number(plays, key_type):
    dim = dimension(key_type)
    got, metrics = count(plays.fact, [("artist", 0), "country"], [DimensionJoin("artist_id", dim, "id")])
    sql = "SELECT artist, country, count(*) FROM plays JOIN dim ON artist_id = id GROUP BY ALL"
    assert as_counter(got) == expected(sql, plays=plays.table, dim=dim)
    assert metrics.columns == ["artist_id", "country"]


@pytest.mark.parametrize(
    ("by", "select"),
    [
        ([("artist", 0), ("score", 0)], "artist, score"),
        ([("id", 0), "artist_id"], "id, artist_id"),
        (["artist_id", ("artist", 0), "country"], "artist_id, artist, country"),
        (["country"], "country"),
        ([], "1"),
    ],
)
def test_groups_of_one_join(plays, by, select):
    dim = dimension()
    got, _ = count(plays.fact, by, [DimensionJoin("artist_id", dim, "id")])
    sql = f"SELECT {select}, count(*) FROM plays JOIN dim ON artist_id = id GROUP BY ALL"
    want = expected(sql, plays=plays.table, dim=dim)
    if not by:
        assert got["count"].to_pylist() == list(want.values())
    else:
        assert as_counter(got) == want


def test_joins_on_strings_dates_and_booleans(plays):
    countries = pa.table({"code": [f"c{i}" for i in range(5, 40)], "zone": [i % 3 for i in range(5, 40)]})
    flags = pa.table({"flag": [True, False], "name": pa.array(["yes", "no"]).dictionary_encode()})
    days = pa.table({"d": [dt.date(2024, 1, 3), dt.date(2024, 1, 4)], "name": ["third", "fourth"]})
    joins = [
        DimensionJoin("country", countries, "code"),
        DimensionJoin("flag", flags, "flag"),
        DimensionJoin("day", days, "d"),
    ]
    got, _ = count(plays.fact, [("name", 2), ("zone", 0), ("name", 1)], joins)
    sql = """SELECT days.name, zone, flags.name, count(*) FROM plays JOIN countries ON country = code
             JOIN flags ON plays.flag = flags.flag JOIN days ON day = d GROUP BY ALL"""
    assert as_counter(got) == expected(sql, plays=plays.table, countries=countries, flags=flags, days=days)
    assert got.schema.types[:3] == [pa.string(), pa.int64(), flags.schema.field("name").type]


def test_two_dimensions_on_one_column(plays):
    first = dimension()
    second = pa.table(
        {"k": pa.array(range(0, 500, 3), pa.int32()), "third": [i % 7 for i in range(0, 500, 3)]}
    )
    joins = [DimensionJoin("artist_id", first, "id"), DimensionJoin("artist_id", second, "k")]
    got, _ = count(plays.fact, [("third", 1), "artist_id", ("artist", 0)], joins)
    sql = """SELECT third, artist_id, artist, count(*) FROM plays JOIN first ON artist_id = id
             JOIN second ON artist_id = k GROUP BY ALL"""
    assert as_counter(got) == expected(sql, plays=plays.table, first=first, second=second)


def test_a_dimension_that_matches_nothing(plays):
    dim = pa.table({"id": pa.array([10_000], pa.int64()), "artist": ["x"]})
    for table in (dim, dim.slice(0, 0)):
        got, _ = count(plays.fact, [("artist", 0)], [DimensionJoin("artist_id", table, "id")])
        assert got.num_rows == 0
        assert got.schema.field("g0").type == pa.string()


def test_what_joins_do_not_take(plays):
    doubled = pa.table({"id": [1, 2, 1], "artist": ["a", "b", "c"]})
    floats = pa.table({"id": [1.0], "artist": ["a"]})
    nested = pa.table({"id": [1], "artist": [[1, 2]]})
    for dim in (doubled, floats, nested):
        with pytest.raises(Unsupported):
            count(plays.fact, [("artist", 0)], [DimensionJoin("artist_id", dim, "id")])
    with pytest.raises(Unsupported):
        count(
            plays.fact,
            [],
            [DimensionJoin("artist_id", dimension(), "id"), DimensionJoin("artist_id", doubled, "id")],
        )
    with pytest.raises(SchemaError):
        count(plays.fact, [("nobody", 0)], [DimensionJoin("artist_id", dimension(), "id")])
    with pytest.raises(SchemaError):
        count(plays.fact, ["nobody"])
    with pytest.raises(InvalidError):
        count(plays.fact, ["country"], threads=0)


# -- partitions


def test_partition_columns_cost_no_page(tmp_path):
    parts, tables = {}, []
    for day in range(5):
        date = None if day == 4 else dt.date(2024, 1, 1 + day // 2)
        table = pa.table({"x": pa.array([i % (day + 2) for i in range(100 + day)], pa.int32())})
        path = tmp_path / f"{day}.parquet"
        pq.write_table(table, path)
        parts[path] = {"date": date}
        tables.append(table.append_column("date", pa.array([date] * len(table), pa.date32())))
    schema = pa.schema([("x", pa.int32()), ("date", pa.date32())])
    fact = relation(list(parts), schema, parts, ("date",))
    whole = pa.concat_tables(tables)

    got, metrics = count(fact, ["date"])
    assert as_counter(got) == expected("SELECT date, count(*) FROM f GROUP BY ALL", f=whole)
    assert got.schema.field("g0").type == pa.date32()
    assert (metrics.bytes_read, metrics.columns) == (0, [])

    got, metrics = count(fact, ["date", "x"])
    assert as_counter(got) == expected("SELECT date, x, count(*) FROM f GROUP BY ALL", f=whole)
    assert metrics.columns == ["x"]

    days = pa.table({"d": [dt.date(2024, 1, 2), dt.date(2025, 1, 1)], "name": ["second", "other"]})
    for by, select in (([("name", 0)], "name"), ([("name", 0), "x"], "name, x"), (["date", "x"], "date, x")):
        got, metrics = count(fact, by, [DimensionJoin("date", days, "d")])
        sql = f"SELECT {select}, count(*) FROM f JOIN days ON date = d GROUP BY ALL"
        assert as_counter(got) == expected(sql, f=whole, days=days)
        if "x" in by:
            assert (metrics.files_read, metrics.row_groups_pruned) == (2, 3)


# -- files that differ


def test_files_of_different_shape(tmp_path):
    """Columns come and go, integers get wider: as schemas change over the years."""
    first = pa.table({"k": pa.array([1, 2, 2, None], pa.int32()), "s": ["a", "b", "b", None]})
    second = pa.table({"k": pa.array([2, 2**40, -1], pa.int64())})
    third = pa.table({"s": pa.array(["b", "c"]).dictionary_encode(), "k": pa.array([2, 7], pa.uint8())})
    paths = []
    for i, table in enumerate((first, second, third)):
        paths.append(tmp_path / f"{i}.parquet")
        pq.write_table(table, paths[-1])
    fact = relation(paths, pa.schema([("k", pa.int64()), ("s", pa.string()), ("new", pa.date32())]))
    want = [
        (1, "a"),
        (2, "b"),
        (2, "b"),
        (None, None),
        (2, None),
        (2**40, None),
        (-1, None),
        (2, "b"),
        (7, "c"),
    ]
    assert as_counter(count(fact, ["k", "s"])[0]) == Counter(want)
    got, _ = count(fact, ["new", "k"])
    assert as_counter(got) == Counter((None, k) for k, _ in want)
    dim = pa.table({"s": ["a", "b"], "n": [1, 2]})
    assert as_counter(count(fact, [("n", 0)], [DimensionJoin("s", dim, "s")])[0]) == Counter(
        {(1,): 1, (2,): 3}
    )


def test_what_files_are_not_taken(tmp_path):
    bad = {
        "nested": pa.table({"x": [[1], [2]]}),
        "struct": pa.table({"x": [{"a": 1}]}),
        "half": pa.table({"x": pa.array([1.0], pa.float16())}),
        "other": pa.table({"x": ["text"]}),
    }
    for name, table in bad.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path)
        schema = pa.schema([("x", pa.int32() if name == "other" else table.schema.field("x").type)])
        with pytest.raises(Unsupported):
            count(relation([path], schema), ["x"])
    old = tmp_path / "int96.parquet"
    stamps = pa.table({"x": pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("ns"))})
    pq.write_table(stamps, old, use_deprecated_int96_timestamps=True)
    with pytest.raises(Unsupported):
        count(relation([old], pq.read_schema(old)), ["x"])
    first, second = tmp_path / "ms.parquet", tmp_path / "us.parquet"
    pq.write_table(stamps.cast(pa.schema([("x", pa.timestamp("ms"))])), first)
    pq.write_table(stamps.cast(pa.schema([("x", pa.timestamp("us"))])), second)
    with pytest.raises(Unsupported):
        count(relation([first, second], pa.schema([("x", pa.timestamp("us"))])), ["x"])


def test_files_of_polars_and_duckdb(tmp_path):
    pl = pytest.importorskip("polars")
    table = columns_of(5000).select(
        ["i8", "i32", "i64", "u16", "f32", "f64", "flag", "day", "ts_us", "text", "text_required", "none_int"]
    )
    paths = {}
    for compression in ("uncompressed", "snappy", "zstd", "lz4", "gzip"):
        paths[f"polars {compression}"] = tmp_path / f"p_{compression}.parquet"
        frame = pl.from_arrow(table)
        frame.write_parquet(paths[f"polars {compression}"], compression=compression, data_page_size=5000)
    con = duckdb.connect()
    con.register("t", table)
    for i, options in enumerate(("", ", COMPRESSION zstd", ", COMPRESSION lz4_raw, ROW_GROUP_SIZE 2048")):
        paths[f"duckdb{options}"] = tmp_path / f"d_{i}.parquet"
        con.execute(f"COPY t TO '{paths[f'duckdb{options}']}' (FORMAT parquet{options})")
    for writer, path in paths.items():
        schema = pq.read_schema(path)
        for name in table.column_names:
            got, _ = count(relation([path], schema), [name])
            want = Counter((plain(v),) for v in table[name].to_pylist())
            assert as_counter(got) == want, (writer, name)


# -- many groups


def test_more_groups_than_an_array_holds(tmp_path):
    rng = np.random.default_rng(9)
    n = 60_000
    table = pa.table({c: rng.integers(0, 3000, n) for c in "abc"})
    path = tmp_path / "f.parquet"
    pq.write_table(table, path, row_group_size=7000)
    fact = relation([path], table.schema)
    want = Counter(zip(*(table[c].to_pylist() for c in "abc"), strict=True))
    for threads in (1, 2):
        got, _ = count(fact, ["a", "b", "c"], threads=threads)
        assert as_counter(got) == want
    with pytest.raises(Unsupported, match="too many"):
        count(fact, ["a", "b", "c"], memory_bytes=1 << 20)


def test_cardinality_that_grows_while_counting(tmp_path):
    """Each row group brings new values: the counters are laid out anew, then given up."""
    rng = np.random.default_rng(10)
    for step, distinct in ((1, 5), (40, 60), (2000, 3000)):
        tables = [
            pa.table({"a": g * step + rng.integers(0, distinct, 2000), "b": rng.integers(0, 2 + g, 2000)})
            for g in range(12)
        ]
        table = pa.concat_tables(tables)
        path = tmp_path / "f.parquet"
        pq.write_table(table, path, row_group_size=2000)
        want = Counter(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))
        for threads in (1, 2):
            assert as_counter(count(relation([path], table.schema), ["a", "b"], threads=threads)[0]) == want


# -- Arrow data


def test_count_groups_of_arrow_data():
    table = columns_of(2000)
    table = table.drop_columns(["clock"])
    for by in (*([name] for name in table.column_names), ["flag", "text"], ["huge", "f64", "country"]):
        got = count_groups(table, by)
        rows = zip(*(table[c].to_pylist() for c in by), strict=True)
        assert as_counter(got) == Counter(tuple(plain(v) for v in row) for row in rows)
        assert got.schema.types[:-1] == [table.schema.field(c).type for c in by]
    batch = table.slice(7, 100).combine_chunks().to_batches()[0]
    assert as_counter(count_groups(batch, "i8")) == Counter((v,) for v in batch["i8"].to_pylist())
    assert count_groups(table, []).to_pylist() == [{"count": 2000}]
    arrays = {"x": np.array([3, 1, 3]), "y": np.array([0.5, -0.0, 0.5])}
    assert as_counter(kernels.group_count(arrays, ["x", "y"])) == Counter({(3, 0.5): 2, (1, 0.0): 1})
    with pytest.raises(SchemaError):
        count_groups(table, "nobody")
    with pytest.raises(InvalidError):
        count_groups(table, ["i8", "i8"])
