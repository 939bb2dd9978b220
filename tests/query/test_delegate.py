"""What DuckDB sees of the tables: pruned columns, Hive values, files and nothing else."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue import delegate, query
from segue.relations import DataFile, EventsRelation, ParquetRelation


def test_event_table_reads_only_the_columns_used(lake, run):
    assert (
        run("SELECT device, COUNT(*) FROM listens WHERE song_id > 2 GROUP BY device").metrics.engine
        == "duckdb"
    )
    assert lake.reads == [["song_id", "device"]]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM listens",
        "FROM listens",
        "SELECT l FROM listens l",
        "SELECT #2 FROM listens",
        "SUMMARIZE listens",
    ],
)
def test_event_table_reads_everything_where_it_may_be_meant(lake, run, statement):
    run(statement)
    assert {tuple(columns) for columns in lake.reads} == {("user_id", "song_id", "timestamp", "device")}


def test_counting_events_reads_one_narrow_column(lake, run):
    assert run("SELECT COUNT(*) FROM listens").fetchall() == [(20,)]
    assert lake.reads == [["song_id"]]


def test_event_table_may_be_read_twice(run):
    assert run("SELECT COUNT(*) FROM listens a JOIN listens b USING (song_id)").fetchall() == [(80,)]


def test_errors_while_reading_reach_the_caller(lake, run):
    def broken(columns):
        raise OSError("the disk is gone")

    lake.relations["listens"] = EventsRelation("listens", lake.relations["listens"].schema, broken)
    with pytest.raises(Exception, match="the disk is gone"):
        run("SELECT user_id FROM listens")


WEIRD = ["plain", "a b", "x=y", "50%", "o'clock", "é", "a/b", "[1]*?{a,b}", "", "NULL", "2024-01-01"]


@pytest.mark.parametrize("hive", [False, True])
def test_partition_values_come_from_the_file_list(tmp_path, hive):
    """Whatever the folders are called, the values are those of the snapshot."""
    files = []
    for i, value in enumerate([*WEIRD, None]):
        folder = tmp_path / (f"kind={value}" if hive and value and "/" not in value else f"[part]*{i}'")
        folder.mkdir()
        pq.write_table(pa.table({"n": [i]}), folder / "x.parquet")
        files.append(DataFile(str(folder / "x.parquet"), 1, 1, {"kind": value}))
    schema = pa.schema([("n", pa.int64()), ("kind", pa.string())])
    fact = ParquetRelation("fact", schema, tuple(files), ("kind",))
    found = query.run("SELECT n, kind FROM fact ORDER BY n", {"fact": fact}.get, names=lambda: ["fact"])
    assert found.fetchall() == [*enumerate([*WEIRD, None])]


@pytest.mark.parametrize(
    ("values", "data_type"),
    [
        ([1, -5, None], pa.int32()),
        ([True, False, None], pa.bool_()),
        ([1.5, -0.25, None], pa.float64()),
        ([dt.date(2024, 2, 29), None], pa.date32()),
        ([dt.datetime(2024, 2, 29, 1, 2, 3, 4), None], pa.timestamp("us")),
        ([b"\x00\xff'", None], pa.binary()),
    ],
)
def test_partition_values_of_every_type(tmp_path, values, data_type):
    files = []
    for i, value in enumerate(values):
        path = tmp_path / f"{i}.parquet"
        pq.write_table(pa.table({"n": [i]}), path)
        files.append(DataFile(str(path), 1, 1, {"p": value}))
    fact = ParquetRelation("fact", pa.schema([("p", data_type), ("n", pa.int64())]), tuple(files), ("p",))
    found = query.run("SELECT p FROM fact ORDER BY n", {"fact": fact}.get, names=lambda: ["fact"])
    assert found.to_arrow().column(0).to_pylist() == values
    assert found.to_arrow().schema.field("p").type == data_type


def test_columns_are_read_by_name_and_in_the_type_of_the_table(tmp_path):
    pq.write_table(pa.table({"b": pa.array([1], pa.int8()), "a": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["y"], "b": pa.array([2], pa.int32())}), tmp_path / "2.parquet")
    files = tuple(DataFile(str(path), 1, 1) for path in sorted(tmp_path.iterdir()))
    fact = ParquetRelation("fact", pa.schema([("a", pa.string()), ("b", pa.int64())]), files)
    found = query.run("SELECT * FROM fact ORDER BY b", {"fact": fact}.get, names=lambda: ["fact"]).to_arrow()
    assert found.schema == fact.schema
    assert found.to_pylist() == [{"a": "x", "b": 1}, {"a": "y", "b": 2}]


def test_sessions_are_used_again(run):
    delegate._pool.clear()
    run("SELECT COUNT(*) FROM dim_artists")
    before = {id(one) for one in delegate._pool._idle}
    run("SELECT COUNT(*) FROM dim_artists")
    assert {id(one) for one in delegate._pool._idle} == before


def test_statements_run_in_many_threads(run):
    answers = []

    def work():
        answers.extend(
            run("SELECT COUNT(*) FROM fact_plays WHERE ms_played >= 0").fetchall() for _ in range(3)
        )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[(1500,)]] * 12
    assert len(delegate._pool._idle) <= delegate.MAX_IDLE


def test_ctrl_c_stops_a_delegated_statement(run):
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    started = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run("SELECT SUM(hash(a.range) % 7 * b.range) FROM range(10000000) a, range(1000000) b")
    assert time.perf_counter() - started < 10
    assert run("SELECT 1").fetchall() == [(1,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_its_own(run):
    run("SELECT COUNT(*) FROM dim_artists")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if run("SELECT COUNT(*) FROM dim_artists").fetchall() == [(10,)] else 2
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_answers_do_not_depend_on_the_time_zone_of_the_machine():
    program = (
        "import segue; print(segue.sql(\"SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00'::VARCHAR, "
        "current_setting('TimeZone'), TIMESTAMP '2024-06-01'::TIMESTAMPTZ::DATE::VARCHAR\").fetchall())"
    )
    environment = {**os.environ, "TZ": "America/New_York", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[('2024-01-01 00:00:00+00', 'UTC', '2024-06-01')]"
