"""EtlJob against a plain Python model: order, splits, dropped rows, spilling, cancelling, damage."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import decimal
import os
import pathlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from column_types import TYPES, arrow_array, order_key, plain_values, same
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine, errors

MIB = 1 << 20
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def make_job(spill_dir: object = "/nonexistent/never used", **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "partitions": 0,
        "partition_columns": [],
        "sort_columns": [],
        "split_column": None,
        "split_unit": None,
        "split_columns": [],
        "sequence_column": None,
        "memory": 64 * MIB,
        "threads": 1,
    }
    return _engine.EtlJob(**{**defaults, **options}, spill_dir=str(spill_dir))


def consume(job: Any, data: Any) -> int:
    return int(job.consume(data.__arrow_c_stream__()))


def read(job: Any, split: int, row_group_rows: int = 1 << 20, **buckets: int) -> pa.Table:
    return pa.RecordBatchReader.from_stream(job.read(split, row_group_rows, **buckets)).read_all()


class Dimension(NamedTuple):
    on: str
    how: str
    rows: dict[Any, Any]  # key: attribute
    key_kind: str
    attribute: str
    attribute_kind: str


class Case(NamedTuple):
    columns: dict[str, tuple[str, list[Any]]]  # name: (kind, values)
    partitions: int
    partition_columns: list[str]
    sort_columns: list[str]
    split_column: str | None
    split_unit: str | None
    split_columns: list[str]
    sequence: list[int] | None
    dimensions: list[Dimension]


def _identity(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if value != value else value + 0.0
    return value


# Kinds whose values within a year that Python knows make a readable split.
_TIMES = {u: st.integers(-(10**10) * UNITS[u], 10**10 * UNITS[u]) for u in UNITS if u != "ns"}
_TIMES["ns"] = st.integers(-(2**63), 2**63 - 1)


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    rows = draw(st.integers(0, 50))

    def values(strategy: st.SearchStrategy[Any], nulls: bool) -> list[Any]:
        return draw(st.lists(st.none() | strategy if nulls else strategy, min_size=rows, max_size=rows))

    columns: dict[str, tuple[str, list[Any]]] = {}
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(sorted(TYPES)))
        columns[f"c{i}"] = (kind, values(TYPES[kind].values, draw(st.booleans())))
    by_time = draw(st.booleans())
    if by_time:
        unit = draw(st.sampled_from(sorted(UNITS)))
        columns["time"] = (f"timestamp[{unit}]", values(_TIMES[unit], draw(st.booleans())))
    dimensions = []
    for j in range(draw(st.integers(0, 2))):
        on = draw(st.sampled_from(sorted(columns)))
        attribute_kind = draw(st.sampled_from(sorted(TYPES)))
        # The second join may be on what the first one brought.
        if dimensions and draw(st.booleans()):
            on, key_kind = dimensions[0].attribute, dimensions[0].attribute_kind
            candidates = [v for v in dimensions[0].rows.values() if v is not None]
        else:
            key_kind = columns[on][0]
            candidates = [v for v in columns[on][1] if v is not None]
        keys = draw(st.lists(TYPES[key_kind].values, max_size=5))
        if candidates:
            keys += draw(st.lists(st.sampled_from(candidates), max_size=20))
        unique = {_identity(k): k for k in keys}
        rows_of = {k: draw(st.none() | TYPES[attribute_kind].values) for k in unique.values()}
        how = draw(st.sampled_from(["inner", "left"]))
        dimensions.append(Dimension(on, how, rows_of, key_kind, f"a{j}", attribute_kind))
    names = [*columns, *(d.attribute for d in dimensions)]
    some = st.lists(st.sampled_from(names), max_size=3, unique=True)
    partition_columns = draw(some)
    return Case(
        columns,
        draw(st.sampled_from([1, 2, 7, 64])) if partition_columns else 0,
        partition_columns,
        draw(some),
        "time" if by_time else None,
        draw(st.sampled_from(["hour", "day", "month"])) if by_time else None,
        [] if by_time else draw(some),
        draw(st.permutations(range(rows))) if draw(st.booleans()) else None,
        dimensions,
    )


def _split_of_time(value: int, arrow_unit: str, unit: str) -> int:
    seconds = value // UNITS[arrow_unit]
    if unit == "hour":
        return seconds // 3600
    day = seconds // 86400
    if unit == "day":
        return day
    # 400 years are 146097 days: brings every day into the years that Python knows.
    cycles = (day + 719162) // 146097
    date = dt.date.fromordinal(day - cycles * 146097 + 719163)
    return (date.year - 1970 + 400 * cycles) * 12 + date.month - 1


def _model(case: Case) -> tuple[list[tuple[Any, list[dict[str, Any]]]], list[int]]:
    """Rows of each split in order, `_bucket` among their values, and the rows each join dropped."""
    kinds = {name: kind for name, (kind, _) in case.columns.items()}
    kinds |= {d.attribute: d.attribute_kind for d in case.dimensions}
    count = len(next(iter(case.columns.values()))[1])
    dropped = [0] * len(case.dimensions)
    splits: dict[Any, list[dict[str, Any]]] = collections.defaultdict(list)
    for i in range(count):
        row = {name: values[i] for name, (_, values) in case.columns.items()}
        keep = True
        for j, d in enumerate(case.dimensions):
            lookup = {_identity(k): v for k, v in d.rows.items()}
            key = row[d.on]
            found = key is not None and _identity(key) in lookup
            row[d.attribute] = lookup[_identity(key)] if found else None
            if not found and d.how == "inner":
                dropped[j] += 1
                keep = False
                break
        if not keep:
            continue
        h = 42
        for name in case.partition_columns:
            if row[name] is not None:
                h = TYPES[kinds[name]].hash(row[name], h)
        h = h - 2**32 if h >= 2**31 else h
        row["_bucket"] = h % case.partitions if case.partitions else 0
        row["_last"] = case.sequence[i] if case.sequence is not None else i
        value: Any = None
        if case.split_column is not None:
            time_value = row[case.split_column]
            arrow_unit = TYPES[kinds[case.split_column]].arrow.unit
            assert case.split_unit is not None
            value = None if time_value is None else _split_of_time(time_value, arrow_unit, case.split_unit)
        elif case.split_columns:
            value = tuple(_identity(row[name]) for name in case.split_columns)
        splits[value].append(row)
    for rows in splits.values():
        rows.sort(
            key=lambda r: (r["_bucket"], *(order_key(r[name]) for name in case.sort_columns), r["_last"])
        )
    return list(splits.items()), dropped


def _plain_split(value: Any, case: Case) -> Any:
    """A split value of the job in the model's terms."""
    if not case.split_columns:
        return value
    kinds = {name: kind for name, (kind, _) in case.columns.items()}
    kinds |= {d.attribute: d.attribute_kind for d in case.dimensions}
    plain: list[Any] = []
    for name, v in zip(case.split_columns, value, strict=True):
        arrow = TYPES[kinds[name]].arrow
        if isinstance(v, dt.datetime):
            v = (v - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1) * 1000
            v = v // (10**9 // UNITS[arrow.unit])
        elif isinstance(v, np.datetime64):
            v = int(v.astype(np.int64))
        elif isinstance(v, dt.date):
            v = (v - dt.date(1970, 1, 1)).days
        elif isinstance(v, decimal.Decimal):
            v = int(v)
        plain.append(_identity(v))
    return tuple(plain)


def _splits_are_readable(case: Case) -> bool:
    """Python's dates end at the year 9999; such splits are an error of their own."""
    for name in case.split_columns:
        for kind, values in [
            *([case.columns[name]] if name in case.columns else []),
            *((d.attribute_kind, list(d.rows.values())) for d in case.dimensions if d.attribute == name),
        ]:
            arrow = TYPES[kind].arrow
            if pa.types.is_date32(arrow) and any(v is not None and abs(v) > 700_000 for v in values):
                return False
            if pa.types.is_timestamp(arrow) and any(
                v is not None and abs(v) > 6 * 10**10 * UNITS[arrow.unit] for v in values
            ):
                return False
    return True


@given(_cases(), st.integers(1, 60), st.integers(1, 40), st.integers(1, 2))
def test_equals_the_model(case: Case, chunk: int, row_group_rows: int, threads: int) -> None:
    if not _splits_are_readable(case):
        return
    arrays = {name: arrow_array(values, TYPES[kind].arrow) for name, (kind, values) in case.columns.items()}
    if case.sequence is not None:
        arrays["seq"] = pa.array(case.sequence, pa.uint64())
    table = pa.table(arrays)
    job = make_job(
        partitions=case.partitions,
        partition_columns=case.partition_columns,
        sort_columns=case.sort_columns,
        split_column=case.split_column,
        split_unit=case.split_unit,
        split_columns=case.split_columns,
        sequence_column=None if case.sequence is None else "seq",
        threads=threads,
    )
    for d in case.dimensions:
        dimension = pa.table(
            {
                "key": arrow_array(list(d.rows), TYPES[d.key_kind].arrow),
                d.attribute: arrow_array(list(d.rows.values()), TYPES[d.attribute_kind].arrow),
            }
        )
        job.add_join(dimension.__arrow_c_stream__(), d.on, "key", [d.attribute], d.how)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=chunk))
    assert consume(job, reader) == table.num_rows
    job.finish()

    expected, dropped = _model(case)
    metrics = job.metrics
    assert metrics["dropped"] == dropped
    assert metrics["rows_in"] == table.num_rows
    assert metrics["rows_out"] == sum(len(rows) for _, rows in expected)
    by_value = dict(expected)
    splits = job.splits
    assert {_plain_split(v, case): n for v, n in splits} == {v: len(rows) for v, rows in by_value.items()}

    names = [n for n in table.column_names if n != "seq"] + [d.attribute for d in case.dimensions]
    for index, (value, rows) in enumerate(splits):
        model_rows = by_value[_plain_split(value, case)]
        stream = job.read(index, row_group_rows)
        batches = list(pa.RecordBatchReader.from_stream(stream))
        result = pa.Table.from_batches(batches, stream.schema)
        assert result.num_rows == rows
        assert result.column_names == names
        for name in names:
            got = plain_values(result[name])
            assert all(same(g, r[name]) for g, r in zip(got, model_rows, strict=True)), name
        _check_batches([b.num_rows for b in batches], stream.bucket_ranges, model_rows, row_group_rows)
    job.close()


def _check_batches(
    sizes: list[int], ranges: list[tuple[int, int]], rows: list[dict[str, Any]], row_group_rows: int
) -> None:
    """Batches hold whole neighbouring buckets, as many as fit; only a larger bucket is cut."""
    assert len(ranges) == len(sizes)
    buckets = [row["_bucket"] for row in rows]
    begin = 0
    for i, (size, (low, high)) in enumerate(zip(sizes, ranges, strict=True)):
        end = begin + size
        assert 1 <= size <= row_group_rows
        assert (buckets[begin], buckets[end - 1]) == (low, high)
        if end < len(buckets):
            if buckets[end] == high:  # a bucket is cut here: it does not fit, and begins this batch
                assert low == high
                assert size == row_group_rows
            else:  # the next bucket would not have fitted
                following = buckets[end:].count(buckets[end])
                assert size + following > row_group_rows
        begin = end
        assert i or begin
    assert begin == len(rows)


def _events(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    countries = np.array(["SE", "NO", "DK", "a longer name for a country"])
    return pa.table(
        {
            "user": rng.integers(0, 5000, rows),
            "song": pa.array(rng.integers(0, 1200, rows).astype(np.int32), mask=rng.random(rows) < 0.01),
            "time": pa.array(rng.integers(-5 * 86_400_000_000, 5 * 86_400_000_000, rows), pa.timestamp("us")),
            "country": pa.array(countries[rng.integers(0, 4, rows)]).dictionary_encode(),
            "note": pa.array([f"note {i % 977}" for i in range(rows)], mask=rng.random(rows) < 0.5),
            "seq": np.arange(1, rows + 1, dtype=np.uint64),
        }
    )


def _songs() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(1000), pa.int32()),
            "artist": [f"artist {i % 100}" for i in range(1000)],
            "length": pa.array([None if i % 10 == 0 else i for i in range(1000)]),
        }
    )


def _event_job(spill_dir: object, **options: Any) -> Any:
    job = make_job(
        spill_dir,
        **{
            "partitions": 16,
            "partition_columns": ["user"],
            "sort_columns": ["time"],
            "split_column": "time",
            "split_unit": "day",
            "sequence_column": "seq",
            **options,
        },
    )
    job.add_join(_songs().__arrow_c_stream__(), "song", "id", ["artist", "length"], "inner")
    return job


def _all(job: Any, row_group_rows: int = 1 << 20) -> list[tuple[Any, pa.Table]]:
    return [(value, read(job, i, row_group_rows)) for i, (value, _) in enumerate(job.splits)]


@pytest.fixture(scope="module")
def events() -> pa.Table:
    return _events(1_500_000)


@pytest.fixture(scope="module")
def in_memory(events: pa.Table) -> list[tuple[Any, pa.Table]]:
    with _event_job("/nonexistent", memory=2048 * MIB) as job:
        consume(job, events)
        job.finish()
        assert job.metrics["spilled_bytes_written"] == 0
        return _all(job)


def test_large_input_is_in_order(events: pa.Table, in_memory: list[tuple[Any, pa.Table]]) -> None:
    assert [v for v, _ in in_memory] == list(range(-5, 5))
    total = 0
    for value, table in in_memory:
        total += table.num_rows
        times = table["time"].cast(pa.int64()).to_numpy()
        assert (times // 86_400_000_000 == value).all()
        buckets = _engine.hash_partition(table.select(["user"]).__arrow_c_stream__(), ["user"], 16)
        assert (np.diff(buckets) >= 0).all()
        assert (np.diff(times)[np.diff(buckets) == 0] >= 0).all()
        songs = table["song"].to_numpy()
        assert table["artist"].to_pylist()[:500] == [f"artist {s % 100}" for s in songs[:500]]
        assert (pc.is_null(table["length"]).to_numpy() == (songs % 10 == 0)).all()
    assert total == pc.sum(pc.less(events["song"], 1000)).as_py()


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_spilling_gives_what_memory_gives(
    events: pa.Table, in_memory: list[tuple[Any, pa.Table]], threads: int, tmp_path: pathlib.Path
) -> None:
    job = _event_job(tmp_path / "spill", memory=64 * MIB, threads=threads)
    consume(job, events)
    job.finish()
    metrics = job.metrics
    assert metrics["spilled_bytes_written"] > 0
    assert (metrics["merge_passes"] > 0) == (threads == 64)
    result = _all(job, 10_000)
    assert [v for v, _ in result] == [v for v, _ in in_memory]
    for (_, a), (_, b) in zip(result, in_memory, strict=True):
        assert a.unify_dictionaries().combine_chunks().equals(b.unify_dictionaries().combine_chunks())
    if threads < 64:
        assert job.metrics["peak_memory"] <= 64 * MIB
        assert job.metrics["spilled_bytes_read"] >= metrics["spilled_bytes_written"]
    job.close()
    assert os.listdir(tmp_path / "spill") == []


def test_splits_are_read_by_several_threads_at_once(
    events: pa.Table, in_memory: list[tuple[Any, pa.Table]], tmp_path: pathlib.Path
) -> None:
    job = _event_job(tmp_path, threads=2)
    consume(job, events)
    job.finish()
    results: dict[int, pa.Table] = {}
    todo = list(range(len(job.splits)))

    def work() -> None:
        while todo:
            with contextlib.suppress(IndexError):
                index = todo.pop()
                results[index] = read(job, index, 50_000)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, (_, expected) in enumerate(in_memory):
        got = results[index]
        assert (
            got.unify_dictionaries().combine_chunks().equals(expected.unify_dictionaries().combine_chunks())
        )


def test_ranges_of_buckets_make_up_the_split(tmp_path: pathlib.Path) -> None:
    job = _event_job(tmp_path, memory=64 * MIB)
    consume(job, _events(200_000))
    job.finish()
    for split in (0, 4):
        whole = read(job, split)
        parts = [
            read(job, split, first_bucket=low, last_bucket=high) for low, high in [(0, 0), (1, 9), (10, 15)]
        ]
        assert pa.concat_tables(parts).unify_dictionaries().equals(whole.unify_dictionaries()) or (
            pa.concat_tables(parts).to_pylist() == whole.to_pylist()
        )
        assert read(job, split, last_bucket=99).num_rows == whole.num_rows
    with pytest.raises(errors.InvalidError, match="no bucket"):
        job.read(0, 10, 16)
    with pytest.raises(errors.InvalidError, match="split 10 does not exist"):
        job.read(10, 10)
    with pytest.raises(errors.InvalidError, match="row_group_rows=0"):
        job.read(0, 0)


def test_several_streams_are_one_input() -> None:
    job = make_job(sort_columns=["n"])
    assert consume(job, pa.table({"n": [3, 1]})) == 2
    assert consume(job, pa.table({"n": pa.array([], pa.int64())})) == 0
    assert consume(job, pa.table({"n": [2, 0]})) == 2
    with pytest.raises(errors.SchemaError, match="differ"):
        consume(job, pa.table({"m": [2]}))
    job.finish()
    assert job.splits == [(None, 4)]
    assert read(job, 0)["n"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"split_columns": ["n"]}])
def test_no_rows_make_no_splits(options: dict[str, Any]) -> None:
    job = make_job(**options)
    consume(job, pa.table({"n": pa.array([], pa.int64())}))
    job.finish()
    assert job.splits == []
    assert job.schema.names == ["n"]
    nothing = make_job(**options)
    nothing.finish()
    assert nothing.splits == []


def test_a_join_may_use_the_sequence_column() -> None:
    job = make_job(sequence_column="seq", sort_columns=[])
    dimension = pa.table({"k": pa.array([2, 3], pa.uint64()), "label": ["two", "three"]})
    job.add_join(dimension.__arrow_c_stream__(), "seq", "k", None, "left")
    consume(job, pa.table({"n": [10, 20, 30], "seq": pa.array([3, 1, 2], pa.uint64())}))
    job.finish()
    assert read(job, 0).to_pydict() == {"n": [20, 30, 10], "label": [None, "two", "three"]}


def test_a_large_dictionary_is_cut_to_the_row_group() -> None:
    names = [f"value {i:06}" for i in range(50_000)]
    job = make_job(sort_columns=["d"])
    consume(job, pa.table({"d": pa.array(names).dictionary_encode()}))
    job.finish()
    batches = list(pa.RecordBatchReader.from_stream(job.read(0, 1000)))
    assert [v for b in batches for v in b.column(0).to_pylist()] == names
    assert all(len(b.column(0).dictionary) == 1000 for b in batches)


def test_cancel_stops_a_consuming_job(tmp_path: pathlib.Path) -> None:
    job = make_job(tmp_path, sort_columns=["user"], threads=2)
    batch = _events(50_000).to_batches()[0]

    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            yield batch

    timer = threading.Timer(0.3, job.cancel)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(errors.Cancelled):
        consume(job, pa.RecordBatchReader.from_batches(batch.schema, endless()))
    assert time.monotonic() - begun < 5
    with pytest.raises(errors.Cancelled):
        job.finish()
    job.close()
    assert os.listdir(tmp_path) == []


def test_ctrl_c_stops_a_consuming_job(tmp_path: pathlib.Path) -> None:
    job = make_job(tmp_path, sort_columns=["user"], threads=2)
    batch = _events(50_000).to_batches()[0]

    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            yield batch

    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            consume(job, pa.RecordBatchReader.from_batches(batch.schema, endless()))
    finally:
        timer.cancel()
    job.close()
    assert os.listdir(tmp_path) == []


def test_an_exception_without_a_text_is_named() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"n": [1]})
        raise RuntimeError

    job = make_job()
    reader = pa.RecordBatchReader.from_batches(pa.schema({"n": pa.int64()}), broken())
    with pytest.raises(errors.InvalidError, match="the Arrow stream failed: .*RuntimeError$"):
        consume(job, reader)
    job.close()


def test_a_source_that_fails_fails_the_job() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"n": [1]})
        raise RuntimeError("the disk is on fire")

    job = make_job()
    reader = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), broken())
    with pytest.raises(errors.InvalidError, match="the disk is on fire"):
        consume(job, reader)
    with pytest.raises(errors.InvalidError, match="the disk is on fire"):
        job.finish()


def test_a_damaged_spill_file_is_an_error_with_its_place(tmp_path: pathlib.Path) -> None:
    job = _event_job(tmp_path)
    consume(job, _events(800_000))
    job.finish()
    for name in os.listdir(tmp_path):
        path = tmp_path / name
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 0x40
        path.write_bytes(damaged)
    caught: errors.CorruptionError | None = None
    for index in range(len(job.splits)):
        try:
            stream = job.read(index, 1 << 20)
            try:
                pa.RecordBatchReader.from_stream(stream).read_all()
            except OSError:
                stream.raise_error()  # Arrow passes on the text alone
                raise
        except errors.CorruptionError as error:
            caught = error
    assert caught is not None
    assert "spill file" in str(caught)
    assert os.path.dirname(caught.path) == str(tmp_path)
    assert caught.offset > 0
    job.close()
    assert os.listdir(tmp_path) == []


def test_a_closed_job_says_so(tmp_path: pathlib.Path) -> None:
    job = _event_job(tmp_path)
    consume(job, _events(100_000))
    job.finish()
    stream = job.read(0, 100)
    reader = pa.RecordBatchReader.from_stream(stream)
    assert reader.read_next_batch().num_rows <= 100
    job.close()
    job.close()
    with pytest.raises(Exception, match="closed"):
        reader.read_next_batch()
    with pytest.raises(errors.ClosedError):
        stream.raise_error()
    with pytest.raises(errors.ClosedError):
        job.read(0, 100)


def test_a_dropped_job_lives_as_long_as_its_streams(tmp_path: pathlib.Path) -> None:
    job = _event_job(tmp_path)
    consume(job, _events(800_000))
    job.finish()
    rows = job.splits[3][1]
    assert job.metrics["spilled_runs"] > 0
    reader = pa.RecordBatchReader.from_stream(job.read(3, 1000))
    del job
    assert os.listdir(tmp_path) != []
    assert sum(batch.num_rows for batch in reader) == rows
    del reader
    assert os.listdir(tmp_path) == []


def test_a_split_beyond_pythons_years_is_an_error() -> None:
    job = make_job(split_columns=["d"])
    consume(job, pa.table({"d": pa.array([2**31 - 1], pa.int32()).cast(pa.date32())}))
    job.finish()
    with pytest.raises(errors.InvalidError, match="years 1 to 9999"):
        _ = job.splits


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"memory": 64 * MIB - 1}, errors.BudgetError, "67108863 bytes.*67108864"),
        ({"memory": -1}, errors.BudgetError, "minimum"),
        ({"threads": 0}, errors.InvalidError, "threads=0"),
        ({"partitions": -1}, errors.InvalidError, "partitions=-1"),
        ({"partitions": 4}, errors.InvalidError, "needs the columns"),
        ({"partition_columns": ["n"]}, errors.InvalidError, "above 0"),
        ({"split_unit": "day"}, errors.InvalidError, "go together"),
        ({"split_column": "t", "split_unit": "week"}, errors.InvalidError, "'week'.*'month'"),
        ({"split_column": "t", "split_unit": "day", "split_columns": ["n"]}, errors.InvalidError, "not both"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make_job(**options)


@pytest.mark.parametrize(
    ("options", "column", "text"),
    [
        ({"sort_columns": ["x"]}, "x", "sort column 'x'.*there are n, t, s"),
        ({"partitions": 2, "partition_columns": ["x"]}, "x", "partition column 'x'"),
        ({"split_columns": ["x"]}, "x", "split column 'x'"),
        ({"split_column": "n", "split_unit": "day"}, "n", "'n' is int64; only a timestamp"),
        ({"sequence_column": "s"}, "s", "'s' is string; it must be an integer"),
    ],
)
def test_unknown_columns_are_named(options: dict[str, Any], column: str, text: str) -> None:
    job = make_job(**options)
    table = pa.table({"n": [1], "t": pa.array([0], pa.timestamp("us")), "s": ["x"]})
    with pytest.raises(errors.SchemaError, match=text) as caught:
        consume(job, table)
    assert caught.value.column == column


def test_wrong_joins_are_refused() -> None:
    def add(job: Any, on: str = "n", columns: list[str] | None = None, **dimension: list[Any]) -> None:
        table = pa.table(dimension or {"k": [1], "a": [2]})
        job.add_join(table.__arrow_c_stream__(), on, "k", columns, "inner")

    with pytest.raises(errors.InvalidError, match="holds the value 7 twice"):
        add(make_job(), k=[7, 7])
    with pytest.raises(errors.SchemaError, match="no column 'b'"):
        add(make_job(), columns=["b"])
    job = make_job()
    add(job)
    with pytest.raises(errors.SchemaError, match="two joins bring a column named 'a'"):
        add(job)
    for on, data, text in [
        ("m", {"n": [1]}, "join column 'm'"),
        ("n", {"n": ["1"]}, "cannot be joined"),
        ("n", {"n": [1], "a": [0]}, "brings a column 'a'"),
    ]:
        job = make_job()
        add(job, on)
        with pytest.raises(errors.SchemaError, match=text):
            consume(job, pa.table(data))
    job = make_job()
    consume(job, pa.table({"n": [1]}))
    with pytest.raises(errors.InvalidError, match="before the first rows"):
        add(job)


def test_calls_out_of_turn_are_refused() -> None:
    job = make_job()
    with pytest.raises(errors.InvalidError, match="finish"):
        job.read(0, 1)
    with pytest.raises(errors.InvalidError, match="once rows were consumed"):
        _ = job.schema
    table = pa.table({"n": [1]})
    consume(job, table)
    job.finish()
    with pytest.raises(errors.InvalidError, match="finished"):
        consume(job, table)
    with pytest.raises(errors.InvalidError, match="finished"):
        job.finish()
    with pytest.raises(errors.SchemaError, match="'l'"):
        make_job().consume(pa.table({"l": [[1]]}).__arrow_c_stream__())


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_ties_across_spilled_runs_keep_the_sequence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = 700_000
    sequence = rng.permutation(rows).astype(np.uint64)
    table = pa.table(
        {
            "s": pa.array(
                np.array(["same prefix for all of them " + c for c in "ab"])[rng.integers(0, 2, rows)]
            ),
            "n": sequence.astype(np.int64),
            "pad": np.zeros(rows),
            "seq": sequence,
        }
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        make_job(folder, sort_columns=["s"], sequence_column="seq") as job,
    ):
        consume(job, table)
        job.finish()
        assert job.metrics["spilled_runs"] > 0
        result = read(job, 0)
        n = result["n"].to_numpy()
        first = pc.sum(pc.ends_with(result["s"], "a")).as_py()
        assert pc.all(pc.ends_with(result["s"].slice(0, first), "a")).as_py()
        assert (np.diff(n[:first]) > 0).all()
        assert (np.diff(n[first:]) > 0).all()
