from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import segue
from segue.cli import app

CSV = "customer,at,amount\n" + "".join(
    f"{i % 9},2024-0{1 + i % 3}-0{1 + i % 7}T10:00:00Z,{i / 2}\n" for i in range(500)
)


def run(*arguments: object, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def run_json(*arguments: object, code: int = 0, stdin: str | None = None) -> dict[str, Any]:
    result = run(*arguments, "--json", code=code, stdin=stdin)
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout
    return json.loads(lines[0])


def error_of(*arguments: object, code: int = 1) -> str:
    """One line on standard error, nothing on standard output."""
    for extra in ([], ["--json"]):
        result = run(*arguments, *extra, code=code)
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("segue: ")
    return lines[0].removeprefix("segue: ")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A database of 500 orders; its pipeline has not run."""
    file = tmp_path / "orders.csv"
    file.write_text(CSV)
    run("ingest", tmp_path / "shop", file, "--table", "orders", "--key", "customer", "--time", "at")
    return tmp_path / "shop"


@pytest.mark.parametrize("command", ["demo", "ingest", "etl", "sql", "stats", "verify"])
def test_help_has_examples(command: str) -> None:
    for flag in ("--help", "-h"):
        text = run(command, flag).stdout
        assert f"segue {command}" in text
        assert "Example" in text
        assert "--json" in text
    assert command in run("--help").stdout


def test_version() -> None:
    assert run("--version").stdout == f"segue {segue.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["stats"],
        ["sql", "db"],
        ["demo", "--events", "many"],
        ["demo", "--events", "99"],
        ["demo", "--durability", "maybe"],
        ["etl", "db", "--from", "a"],
        ["etl", "db", "--sort-by", "a"],
        ["etl", "db", "p", "--from", "a", "--into", "b"],
        ["ingest", "db", "file", "--type", "zip"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, code=2)
    assert result.stdout == ""
    assert "Usage" in result.stderr


@pytest.mark.parametrize("arguments", [["stats"], ["verify"], ["etl"], ["sql", "SELECT 1"]])
def test_a_missing_database_is_not_made(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    command, *rest = arguments
    missing = error_of(command, path, *rest)
    assert f"no Segue database at '{path}': there is no such folder; `segue ingest`" in missing
    assert "mode=" not in missing
    assert not path.exists()
    path.mkdir()
    assert f"no Segue database at '{path}': it is another folder" in error_of(command, path, *rest)
    assert list(path.iterdir()) == []


def test_a_database_that_lost_its_catalog_is_told(shop: Path) -> None:
    (shop / "catalog").unlink()
    for command in (["stats"], ["etl"], ["sql", "INSERT INTO orders VALUES (1)"]):
        assert "is gone, but" in error_of(command[0], shop, *command[1:])


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "gone.csv does not exist" in error_of("ingest", tmp_path / "db", tmp_path / "gone.csv")
    odd = tmp_path / "x.bin"
    odd.write_bytes(b"\0\1")
    assert "cannot tell the format" in error_of("ingest", tmp_path / "db", odd, "--key", "a", "--time", "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--type", "amunt=string"], "--type names column 'amunt', which {csv} has not; it has customer, at"),
        (
            ["--time-format", "%d/%m/%Y"],
            "{csv}: no row has a time that can be read; the first one has at '2024",
        ),
        (["--key", "custmer"], "{csv} has no column 'custmer'"),
    ],
)
def test_an_import_that_fails_leaves_nothing(options: list[str], message: str, tmp_path: Path) -> None:
    csv, db = tmp_path / "orders.csv", tmp_path / "shop"
    csv.write_text(CSV)
    asked = ["--table", "orders", "--time", "at", "--key", "customer", *options]
    assert error_of("ingest", db, csv, *asked).startswith(message.format(csv=csv))
    assert "does not exist" in error_of("ingest", db, tmp_path / "none.csv", *asked)
    assert not db.exists()
    run("ingest", db, csv, *asked[:6])
    error_of("ingest", db, tmp_path / "none.csv", *asked[:6])
    assert run_json("stats", db)["events"]["orders"]["events"] == 500, "what was there stays"


def test_types_and_formats_do_not_apply_where_a_file_has_types(tmp_path: Path) -> None:
    file = tmp_path / "orders.parquet"
    table = pcsv.read_csv(pa.BufferReader(CSV.encode()))
    pq.write_table(table, file)
    asked = ["ingest", tmp_path / "shop", file, "--table", "orders", "--key", "customer", "--time", "at"]
    assert "--type amount is for CSV and NDJSON" in error_of(*asked, "--type", "amount=string")
    stream = tmp_path / "orders.arrows"
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    asked[2] = stream
    assert "--type amount is for CSV and NDJSON" in error_of(*asked, "--type", "amount=string")
    assert "which needs no --time-format" in error_of(*asked, "--time-format", "%Y")
    run(*asked)


def test_import_etl_and_query(shop: Path, tmp_path: Path) -> None:
    again = run_json("ingest", shop, tmp_path / "orders.csv", "--table", "orders")
    assert (again["added"], again["stored_before"], again["rows"]) == (0, 500, 500)
    assert "knows no pipeline" in error_of("etl", shop)

    ran = run_json(
        "etl", shop, "--from", "orders", "--into", "fact_orders", "--partition-by", "month", "--sort-by", "at"
    )
    assert [run["rows_out"] for run in ran["runs"]] == [500]
    ran = run_json("etl", shop)
    assert [(run["rows_out"], run["up_to_date"]) for run in ran["runs"]] == [(0, True)]
    assert run_json("etl", shop, "fact_orders")["runs"][0]["up_to_date"]
    assert "up to date" in run("etl", shop).stdout

    answer = run_json(
        "sql", shop, "SELECT customer, COUNT(*) AS n, SUM(amount) AS total FROM fact_orders GROUP BY 1"
    )
    assert answer["columns"] == ["customer", "n", "total"]
    expected = {c: [sum(1 for i in range(500) if i % 9 == c), sum(i / 2 for i in range(500) if i % 9 == c)]
                for c in range(9)}  # fmt: skip
    assert {row[0]: row[1:] for row in answer["rows"]} == expected
    assert answer["metrics"]["result_rows"] == 9


def test_fresh_counts_what_no_run_has_taken(shop: Path, tmp_path: Path) -> None:
    run("etl", shop, "--from", "orders", "--into", "fact_orders", "--partition-by", "date")
    more = tmp_path / "more.csv"
    more.write_text("customer,at,amount\n1,2024-05-05T00:00:00Z,1\n")
    run("ingest", shop, more, "--table", "orders")
    statement = "SELECT COUNT(*) FROM fact_orders"
    assert run_json("sql", shop, statement)["rows"] == [[500]]
    assert run_json("sql", shop, statement, "--fresh")["rows"] == [[501]]
    assert run_json("stats", shop)["pipelines"]["orders:fact_orders"]["waiting"] == 1


def test_sql_output(shop: Path) -> None:
    text = run("sql", shop, "SELECT customer, amount FROM orders ORDER BY amount", "--max-rows", "3")
    assert text.stdout.split() == ["customer", "amount", "0", "0.0", "1", "0.5", "2", "1.0"]
    assert "497 more rows" in text.stderr
    full = run("sql", shop, "SELECT customer FROM orders", "--max-rows", "0")
    assert len(full.stdout.split()) == 501
    assert "\x1b" not in text.stdout + full.stdout
    long = "x" * 300
    assert long in run("sql", shop, f"SELECT '{long}' AS a").stdout
    assert run("sql", shop, "-", stdin="SELECT 41 + 1 AS n").stdout.split() == ["n", "42"]


def test_sql_values_as_json(shop: Path) -> None:
    statement = (
        "SELECT TIMESTAMP '2024-01-31 10:00:00' AS a, DATE '2024-01-31' AS b, 1.50::DECIMAL(4, 2) AS c, "
        "'NaN'::DOUBLE AS d, NULL AS e, '\\xC3\\xBC'::BLOB AS f, [1, 2] AS g, true AS h"
    )
    answer = run_json("sql", shop, statement)
    assert answer["rows"] == [
        ["2024-01-31T10:00:00", "2024-01-31", "1.50", "NaN", None, "c3bc", [1, 2], True]
    ]


def test_insert_through_sql(shop: Path) -> None:
    insert = '/* a click */ INSERT INTO orders (customer, "at", amount) VALUES (77, NOW(), 1.5)'
    run("sql", shop, insert)
    assert run_json("sql", shop, "SELECT COUNT(*) FROM orders WHERE customer = 77")["rows"] == [[1]]


def test_explain(shop: Path) -> None:
    run("etl", shop, "--from", "orders", "--into", "fact_orders", "--partition-by", "date")
    statement = "SELECT customer, COUNT(*) FROM fact_orders WHERE date >= '2024-03-01' GROUP BY customer"
    plan = run_json("sql", shop, "--explain", statement)
    assert plan["native"] is True
    assert plan["files_pruned"] > 0
    assert "kernels" in run("sql", shop, "--explain", statement).stdout


@pytest.mark.parametrize(
    ("statement", "message"),
    [("SELEC 1", "SELEC"), ("SELECT nothing FROM orders", "nothing"), ("SELECT * FROM missing", "missing")],
)
def test_a_wrong_statement_is_one_line(statement: str, message: str, shop: Path) -> None:
    assert message in error_of("sql", shop, statement)


def test_stats(shop: Path) -> None:
    run("etl", shop, "--from", "orders", "--into", "fact_orders", "--partition-by", "month")
    found = run_json("stats", shop)
    orders = found["events"]["orders"]
    assert (orders["events"], orders["key"], orders["time"]) == (500, ["customer"], "at")
    assert orders["columns"] == {"customer": "int64", "at": "timestamp[us, tz=UTC]", "amount": "double"}
    fact = found["facts"]["fact_orders"]
    assert (fact["rows"], fact["partitions"], fact["partition_columns"]) == (500, 3, ["month"])
    assert found["pipelines"]["orders:fact_orders"]["waiting"] == 0
    on_disk = sum(file.stat().st_size for file in shop.rglob("*") if file.is_file())
    assert found["bytes"] == on_disk
    text = run("stats", shop).stdout
    for word in ("orders", "500", "customer", "fact_orders", "month", "orders → fact_orders"):
        assert word in text


def test_stats_work_beside_a_writer(shop: Path) -> None:
    with segue.open(shop) as db:
        db.events("orders").append(1, 1_700_000_000_000_000, 2.0)
        assert run_json("stats", shop)["events"]["orders"]["events"] == 501
        assert run_json("sql", shop, "SELECT COUNT(*) FROM orders")["rows"] == [[501]]
        assert str(os.getpid()) in error_of(
            "sql", shop, 'INSERT INTO orders (customer, "at", amount) VALUES (1, NOW(), 1)'
        )


def test_verify_finds_damage(shop: Path) -> None:
    run("etl", shop, "--from", "orders", "--into", "fact_orders", "--partition-by", "month")
    assert run_json("verify", shop)["ok"] is True
    assert "intact" in run("verify", shop).stdout
    file = next((shop / "warehouse" / "fact_orders").rglob("*.parquet"))
    content = file.read_bytes()
    for damaged in (content[:-1], None):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        result = run("verify", shop, "--json", code=1)
        found = json.loads(result.stdout)
        assert found["ok"] is False
        [bad] = [check for check in found["checks"] if check["error"]]
        assert bad["table"] == "fact_orders"
        assert file.name in bad["error"]
        assert "1 of 2 tables are damaged" in result.stderr


def test_types_columns_and_units(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("zip,when,n,rest\n01234,1700000000,1,x\n")
    run("ingest", tmp_path / "db", file, "--key", "zip,n", "--time", "when", "--time-unit", "s",
        "--type", "zip=string", "--columns", "n")  # fmt: skip
    assert run_json("sql", tmp_path / "db", 'SELECT zip, n, epoch("when")::BIGINT FROM events')["rows"] == [
        ["01234", 1, 1_700_000_000]
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(segue.__file__).parents[1])}


def test_as_a_process(tmp_path: Path) -> None:
    table = pa.table({"k": [1, 2], "t": pa.array([0, 1], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet")
    pcsv.write_csv(table, tmp_path / "b.csv")
    command = [sys.executable, "-m", "segue"]
    done = subprocess.run(
        [*command, "ingest", tmp_path / "db", tmp_path / "a.parquet", "--key", "k", "--time", "t", "--json"],
        capture_output=True, text=True, env=environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 2
    assert done.stderr == ""
    done = subprocess.run(
        [*command, "sql", tmp_path / "db", "SELEC"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("segue: ")
    assert done.stderr.count("\n") == 1


def test_interrupt_is_status_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "segue", "demo", "--events", "5000000", "--dir", tmp_path / "db"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "db" / "warehouse" / "dim_artists").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "segue: interrupted; what was committed before stays"
    # What was acknowledged is there, and the lock is free.
    assert run_json("sql", tmp_path / "db", "SELECT COUNT(*) FROM listens")["rows"][0][0] > 0
