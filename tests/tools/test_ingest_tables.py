from __future__ import annotations

import bz2
import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from segue.errors import InvalidError, SchemaError
from segue.importers import Progress, formats, ingest, tabular

UTC = dt.UTC
ROWS = 1000
TABLE = pa.table(
    {
        "customer": pa.array([i % 37 for i in range(ROWS)], pa.int64()),
        "at": pa.array(
            [dt.datetime(2024, 5, 1) + dt.timedelta(minutes=i) for i in range(ROWS)], pa.timestamp("us")
        ),
        "amount": pa.array([None if i % 10 == 0 else i / 4 for i in range(ROWS)], pa.float64()),
        "note": pa.array([None if i % 7 == 0 else f'n{i}, "é"\nline' for i in range(ROWS)], pa.string()),
        "paid": pa.array([i % 2 == 0 for i in range(ROWS)], pa.bool_()),
    }
)


def write_ndjson(table: pa.Table, path: Path) -> None:
    lines = [json.dumps(row, default=str, ensure_ascii=False) for row in table.to_pylist()]
    path.write_text("\n".join(lines) + "\n")


def write(table: pa.Table, path: Path) -> Path:
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=300)
    elif name.endswith(".csv"):
        pcsv.write_csv(table, path)
    elif name.endswith(".csv.gz"):
        plain = path.with_suffix("")
        pcsv.write_csv(table, plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    elif name.endswith(".tsv"):
        pcsv.write_csv(table, path, pcsv.WriteOptions(delimiter="\t"))
    elif name.endswith(".ndjson"):
        write_ndjson(table, path)
    elif name.endswith(".jsonl.bz2"):
        write_ndjson(table, path)
        path.write_bytes(bz2.compress(path.read_bytes()))
    elif name.endswith(".feather"):
        feather.write_feather(table, path)
    elif name.endswith(".arrow"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=130)
    elif name.endswith(".arrows"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=130)
    return path


FILES = [
    "a.parquet",
    "a.csv",
    "a.csv.gz",
    "a.tsv",
    "a.ndjson",
    "a.jsonl.bz2",
    "a.feather",
    "a.arrow",
    "a.arrows",
]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_events(name: str, tmp_path: Path, fake_db: Any) -> None:
    path = write(TABLE, tmp_path / name)
    report = ingest(fake_db, path, "orders", key="customer", time="at")
    assert (report.rows, report.added, report.stored_before, report.created) == (ROWS, ROWS, 0, True)
    assert not report.skipped
    stored = fake_db.stores["orders"]
    assert stored.key == ("customer",)
    assert stored.time == "at"
    assert not stored.schema.field("at").nullable
    expected = TABLE.to_pydict()
    found = stored.table.to_pydict()
    for column in ("customer", "amount", "note", "paid"):
        assert found[column] == expected[column], column
    assert [moment.replace(tzinfo=None) for moment in found["at"]] == expected["at"]


@pytest.mark.parametrize("name", FILES)
def test_second_import_adds_nothing(name: str, tmp_path: Path, fake_db: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tabular, "CHUNK_ROWS", 300)
    path = write(TABLE, tmp_path / name)
    first = ingest(fake_db, [path], "orders", key="customer", time="at")
    before = fake_db.stores["orders"].table
    assert fake_db.stores["orders"].appends == 4
    again = ingest(fake_db, [path], "orders")
    copy = tmp_path / f"copy-{name}"
    copy.write_bytes(path.read_bytes())
    copied = ingest(fake_db, [copy, copy], "orders")
    assert (first.added, again.added, copied.added) == (ROWS, 0, 0)
    assert (again.stored_before, copied.stored_before) == (ROWS, 2 * ROWS)
    assert fake_db.stores["orders"].table is before


def test_import_resumes_after_a_crash(tmp_path: Path, fake_db: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tabular, "CHUNK_ROWS", 100)
    path = write(TABLE, tmp_path / "a.parquet")
    fake_db.create_events("orders", TABLE.schema, "customer", "at").fail_after = 3
    with pytest.raises(OSError, match="disk full"):
        ingest(fake_db, path, "orders")
    assert fake_db.stores["orders"].table.num_rows == 300
    fake_db.stores["orders"].fail_after = None
    report = ingest(fake_db, path, "orders")
    assert (report.added, report.stored_before) == (700, 300)
    assert fake_db.stores["orders"].table.equals(TABLE)


def test_rows_without_key_or_time_are_counted(tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "user,at,v\n"
        "ann,2024-01-01 10:00:00,1\n"
        ",2024-01-01 10:00:00,2\n"
        "bob,,3\n"
        "cid,soon,4\n"
        "dan,2024-01-01T12:00:00+02:00,5\n"
        "eve,2024-01-01\n"
        "NA,2024-01-02,6\n"
    )
    report = ingest(fake_db, path, key="user", time="at")
    assert report.table == "events"
    assert fake_db.stores["events"].table["user"].to_pylist() == ["ann", "dan", "NA"]
    assert fake_db.stores["events"].table["at"].to_pylist() == [
        dt.datetime(2024, 1, 1, 10, tzinfo=UTC),
        dt.datetime(2024, 1, 1, 10, tzinfo=UTC),
        dt.datetime(2024, 1, 2, tzinfo=UTC),
    ]
    assert report.skipped == {
        "null key (user)": 1,
        "null time (at)": 1,
        "unreadable time (at)": 1,
        "malformed row (2 fields instead of 3)": 1,
    }
    assert report.rows == 7 == report.added + report.stored_before + sum(report.skipped.values())


@pytest.mark.parametrize(
    ("unit", "scale"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)]
)
def test_epoch_numbers(unit: str, scale: int, tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"k,t\n1,{1_700_000_000 * scale}\n2,{-5 * scale}\n3,9223372036854775807\n")
    report = ingest(fake_db, path, key="k", time="t", time_unit=unit)
    assert fake_db.stores["events"].table["t"].to_pylist()[:2] == [
        dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        dt.datetime(1969, 12, 31, 23, 59, 55, tzinfo=UTC),
    ]
    assert report.skipped == ({} if unit == "ns" else {"unreadable time (t)": 1})


def test_numbers_need_a_unit_and_the_message_guesses_it(tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text("k,t\n1,1700000000000\n")
    with pytest.raises(InvalidError, match=r"--time-unit.*looks like ms"):
        ingest(fake_db, path, key="k", time="t")
    assert fake_db.stores == {}


def test_time_format(tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text("k,t\n1,31/12/2023 23:59\n2,2023-12-31\n")
    report = ingest(fake_db, path, key="k", time="t", time_format="%d/%m/%Y %H:%M")
    assert fake_db.stores["events"].table["t"].to_pylist() == [dt.datetime(2023, 12, 31, 23, 59, tzinfo=UTC)]
    assert report.skipped == {"unreadable time (t)": 1}


def test_several_key_columns(tmp_path: Path, fake_db: Any) -> None:
    path = write(TABLE, tmp_path / "a.parquet")
    ingest(fake_db, path, "orders", key=["customer", "paid"], time="at")
    assert fake_db.stores["orders"].key == ("customer", "paid")


def test_nested_columns_are_refused_by_name(tmp_path: Path, fake_db: Any) -> None:
    table = TABLE.append_column("tags", pa.array([["x"]] * ROWS))
    for name in ("a.parquet", "a.ndjson", "a.arrows"):
        path = write(table, tmp_path / name)
        with pytest.raises(SchemaError, match=r"'tags' is nested.*--columns") as caught:
            ingest(fake_db, path, key="customer", time="at")
        assert caught.value.column == "tags"
        assert fake_db.stores == {}
        report = ingest(fake_db, path, name[2:], key="customer", time="at", columns=["amount"])
        assert report.added == ROWS
        assert fake_db.stores.pop(name[2:]).schema.names == ["amount", "customer", "at"]


@pytest.mark.parametrize(
    ("change", "message", "column"),
    [
        (lambda t: t.append_column("extra", t["paid"]), "'extra' that the table has not", "extra"),
        (lambda t: t.drop_columns("paid"), "no column 'paid'", "paid"),
        (
            lambda t: t.set_column(0, "customer", t["customer"].cast(pa.string())),
            "'customer' is string",
            "customer",
        ),
        (lambda t: t.set_column(2, "amount", t["paid"]), "'amount' is bool", "amount"),
        (lambda t: t.set_column(1, "at", t["paid"]), "'at' is bool", "at"),
    ],
)
def test_a_file_that_differs_from_the_table_is_refused(
    change: Any, message: str, column: str, tmp_path: Path, fake_db: Any
) -> None:
    ingest(fake_db, write(TABLE, tmp_path / "a.parquet"), "orders", key="customer", time="at")
    other = write(change(TABLE), tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match=message) as caught:
        ingest(fake_db, other, "orders")
    assert caught.value.column == column
    assert fake_db.stores["orders"].table.num_rows == ROWS


def test_values_that_fit_are_cast_to_the_table(tmp_path: Path, fake_db: Any) -> None:
    schema = pa.schema(
        [
            ("customer", pa.int32()),
            ("at", pa.timestamp("ms", "UTC")),
            ("amount", pa.float32()),
            ("note", pa.dictionary(pa.int32(), pa.string())),
            ("paid", pa.bool_()),
        ]
    )
    for name in ("a.parquet", "a.csv", "a.ndjson"):
        events = fake_db.create_events(name[2:], schema, "customer", "at")
        assert ingest(fake_db, write(TABLE, tmp_path / name), name[2:]).added == ROWS
        assert events.table["note"].to_pylist() == TABLE["note"].to_pylist()
        assert events.table["customer"].to_pylist() == TABLE["customer"].to_pylist()
    too_large = TABLE.set_column(0, "customer", pa.array([1 << 40] * ROWS))
    with pytest.raises(SchemaError, match="'customer' does not fit"):
        ingest(fake_db, write(too_large, tmp_path / "b.parquet"), "parquet")


def test_an_error_in_the_last_row_stores_nothing(tmp_path: Path, fake_db: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tabular, "CHUNK_ROWS", 20_000)
    good = tmp_path / "good.csv"
    good.write_text("k,t,v\n1,2024-01-01,5\n")
    path = tmp_path / "a.csv"
    # Beyond the first block, from which the type is inferred.
    path.write_text("k,t,v\n" + "1,2024-01-01,5\n" * 400_000 + "1,2024-01-01,five\n")
    with pytest.raises(InvalidError, match=r"a\.csv: after row \d+: .*five.*--type") as caught:
        ingest(fake_db, [good, path], key="k", time="t")
    assert str(path) in str(caught.value)
    assert fake_db.stores == {}
    monkeypatch.setattr(tabular, "CHUNK_ROWS", 1 << 16)
    assert ingest(fake_db, path, key="k", time="t", types={"v": "string"}).added == 400_001


def test_ndjson_fields_may_come_late_and_broken_lines_are_counted(tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "a.ndjson"
    lines = ['{"k": 1, "t": "2024-01-01T00:00:00Z", "v": 1}'] * 100_000
    lines[5] = '{"k": 1, "t": '
    lines[6] = "[1]"
    lines += ['{"k": 2, "t": "2024-01-02T00:00:00.25Z", "v": 1.5, "w": "late"}', "", '{"k": 3, "t": null}']
    path.write_text("\n".join(lines))
    report = ingest(fake_db, path, key="k", time="t")
    table = fake_db.stores["events"].table
    assert report.skipped == {"malformed row (not a JSON object)": 2, "null time (t)": 1}
    assert report.rows == 100_002
    assert table.num_rows == 99_999
    assert table["w"].to_pylist()[-1] == "late"
    assert table["w"].null_count == 99_998
    assert table["v"].to_pylist()[-1] == 1.5
    assert table["t"].to_pylist()[-1] == dt.datetime(2024, 1, 2, 0, 0, 0, 250_000, tzinfo=UTC)


def test_ndjson_with_a_column_of_two_kinds_is_refused(tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"k": 1, "t": "2024-01-01", "v": 1}\n{"k": 1, "t": "2024-01-01", "v": "x"}\n')
    with pytest.raises(InvalidError, match=r"lines 1 to 2.*/v"):
        ingest(fake_db, path, key="k", time="t")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 but no more of it PAR1", "a.parquet"),
        ("a.arrow", b"ARROW1\0\0 and then nothing", "a.arrow"),
        ("a.csv", b"", "is empty"),
        ("a.bin", b"\0\1\2\3", "cannot tell the format.*--format"),
        ("a.json", b'[{"k": 1}]', "one object a line"),
        ("a.csv.gz", b"no gzip", "a.csv.gz"),
        ("a.csv", b"k,k,t\n1,2,3\n", "two columns named 'k'"),
        ("a.csv", b"k,u\n1,2\n", "no column 't'"),
        ("a.ndjson", b"hello\n", "holds no JSON object"),
    ],
)
def test_bad_files(name: str, content: bytes, message: str, tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidError, match=message):
        ingest(fake_db, path, key="k", time="t")
    assert fake_db.stores == {}


def test_a_truncated_parquet_file_stores_nothing(tmp_path: Path, fake_db: Any) -> None:
    path = write(TABLE, tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidError, match=r"a\.parquet"):
        ingest(fake_db, path, key="customer", time="at")
    assert fake_db.stores == {}


def test_folders_are_read_in_order_of_name(tmp_path: Path, fake_db: Any) -> None:
    (tmp_path / "x" / "day=2").mkdir(parents=True)
    write(TABLE.slice(500), tmp_path / "x" / "day=2" / "b.parquet")
    write(TABLE.slice(0, 500), tmp_path / "x" / "a.parquet")
    (tmp_path / "x" / "_SUCCESS").touch()
    report = ingest(fake_db, tmp_path / "x", key="customer", time="at")
    assert [Path(file.path).name for file in report.files] == ["a.parquet", "b.parquet"]
    assert fake_db.stores["events"].table.to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "customer"}, "does not exist yet.*--time"),
        ({"key": "nobody", "time": "at"}, "no column 'nobody'"),
        ({"key": "customer", "time": "at", "columns": ["nothing"]}, "no column 'nothing'"),
        ({"key": "customer", "time": "at", "format": "xml"}, "'xml' is unknown"),
        ({"key": "customer", "time": "at", "time_unit": "h"}, "'h' is unknown"),
        ({"key": "customer", "time": "at", "types": {"paid": "varchar"}}, "'varchar'.*'paid'"),
        ({"key": "customer", "time": "at", "user": "me"}, "Spotify"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, tmp_path: Path, fake_db: Any) -> None:
    path = write(TABLE, tmp_path / "a.parquet")
    with pytest.raises(InvalidError, match=message):
        ingest(fake_db, path, **arguments)
    assert fake_db.stores == {}


def test_no_file_and_missing_file(tmp_path: Path, fake_db: Any) -> None:
    with pytest.raises(InvalidError, match="no file"):
        ingest(fake_db, [])
    with pytest.raises(InvalidError, match="does not exist"):
        ingest(fake_db, tmp_path / "nothing.csv")


def test_an_existing_table_keeps_its_key_and_time(tmp_path: Path, fake_db: Any) -> None:
    path = write(TABLE, tmp_path / "a.parquet")
    ingest(fake_db, path, "orders", key="customer", time="at")
    with pytest.raises(InvalidError, match="exists with --key customer, not paid"):
        ingest(fake_db, path, "orders", key="paid")


def test_progress_reaches_the_end_and_never_goes_back(tmp_path: Path, fake_db: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tabular, "CHUNK_ROWS", 50)
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(tabular.clock, "monotonic", lambda: next(ticks))
    seen: list[Progress] = []
    paths = [write(TABLE, tmp_path / name) for name in ("a.csv", "b.parquet")]
    ingest(fake_db, paths, key="customer", time="at", progress=seen.append)
    done = [step.done for step in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total == 2 * sum(path.stat().st_size for path in paths)
    assert {step.phase for step in seen} == {"checking", "importing"}


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz", "a.ndjson", "a.arrow", "a.arrows"])
def test_memory_does_not_grow_with_the_file(
    name: str, tmp_path: Path, fake_db: Any, monkeypatch: Any
) -> None:
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(tabular.clock, "monotonic", lambda: next(ticks))  # progress at every chunk
    monkeypatch.setattr(tabular, "CHUNK_ROWS", 8192)
    monkeypatch.setattr(formats, "BLOCK_BYTES", 1 << 15)
    monkeypatch.setattr(type(fake_db), "create_events", lambda self, *_, **named: Counting(named["schema"]))

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}-{name}"
        path.touch()
        source = np.random.default_rng(rows).integers(0, 1 << 60, rows)
        times = pa.array(np.arange(rows) * 1_000_000).view(pa.timestamp("us"))
        write(pa.table({"customer": source, "at": times}), path)
        del source, times
        if name.endswith(".parquet"):
            pq.write_table(pq.read_table(path), path, row_group_size=8192)
        before = pa.total_allocated_bytes()
        most = 0

        def look(_: Progress) -> None:
            nonlocal most
            most = max(most, pa.total_allocated_bytes() - before)

        assert ingest(fake_db, path, key="customer", time="at", progress=look).added == rows
        return most

    small, large = peak(50_000), peak(200_000)
    assert large < small + 1_000_000, (small, large)  # four times the rows are 2.4 MB more


class Counting:
    """An event table that forgets what it is given."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema, self.rows = schema, 0

    def append_batch(self, data: pa.RecordBatch, token: str) -> tuple[int, int]:
        self.rows += data.num_rows
        return self.rows - data.num_rows + 1, self.rows
