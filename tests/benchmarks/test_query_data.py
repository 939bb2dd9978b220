from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import segue
from benchmarks import workloads
from benchmarks.query import data, test_billion

if TYPE_CHECKING:
    import pytest


def test_a_warehouse_of_many_runs_holds_the_same_facts_in_a_small_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """How a billion facts are made: each run's events expire before the next ones come."""
    statement = (
        "SELECT date, COUNT(*) AS plays, SUM(ms_played) AS ms, SUM(artist_id) AS artists "
        "FROM fact_plays GROUP BY date ORDER BY date"
    )
    answers, stored = [], []
    for name, run_rows in (("one", 10_000_000), ("many", data.BATCH_ROWS)):
        monkeypatch.setenv("SEGUE_BENCH_CACHE", str(tmp_path / name))
        database = data.warehouse(200_000, run_rows)
        with segue.open(database / "music", mode="r") as db:
            answers.append(db.sql(statement).fetchall())
            stored.append(db.sql("SELECT COUNT(*) FROM listens").fetchall()[0][0])
    assert answers[0] == answers[1]
    assert sum(row[1] for row in answers[0]) == 200_000
    assert stored == [0, 0]


def test_a_billion_rows_say_why_they_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGUE_BENCH_CACHE", str(tmp_path))
    assert "--scale large" in str(test_billion.why_not("small"))
    usage = test_billion.shutil.disk_usage(tmp_path)
    full = usage._replace(free=1_000_000_000)
    monkeypatch.setattr(test_billion.shutil, "disk_usage", lambda _: full)
    assert "1 GB are free" in str(test_billion.why_not("large"))
    monkeypatch.setattr(test_billion.shutil, "disk_usage", lambda _: usage._replace(free=10**15))
    assert test_billion.why_not("large") is None
    # Once they are made they need no room any more.
    (workloads.cache_directory() / f"warehouse-{test_billion.ROWS}-abc").mkdir()
    monkeypatch.setattr(test_billion.shutil, "disk_usage", lambda _: full)
    assert test_billion.why_not("large") is None
