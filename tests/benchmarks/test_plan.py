from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import plan
from benchmarks.plan import Need, Plan


def test_shared_data_counts_once_and_work_once(tmp_path: Path):
    needs = {
        "a": Need(work=5e9, seconds=60, data={"events": 100_000_000}),
        "b": Need(work=2e9, seconds=120, data={"events": 100_000_000, "groups": 1_000_000}),
    }
    said = Plan(needs, tmp_path)
    events, groups = plan.BYTES_PER_ROW["events"] * 1e8, plan.BYTES_PER_ROW["groups"] * 1e6
    assert said.disk == pytest.approx(events + groups + 5e9)
    assert said.seconds == 180
    assert len(said.lines()) == 3


def test_data_in_the_cache_needs_no_more_disk(tmp_path: Path):
    need = Need(work=0, seconds=1, data={"events": 1000, "warehouse": 2000})
    assert plan.missing_data([need], tmp_path) > plan.BYTES_PER_ROW["warehouse"] * 2000
    (tmp_path / "events-1000-v1.arrow").touch()
    (tmp_path / "warehouse-2000-abc.unfinished").mkdir()
    assert plan.missing_data([need], tmp_path) == plan.BYTES_PER_ROW["warehouse"] * 2000
    (tmp_path / "warehouse-2000-abc").mkdir()
    assert plan.missing_data([need], tmp_path) == 0


def test_kinds_of_one_data_set_are_told_apart(tmp_path: Path):
    (tmp_path / "events-1000-v1.arrow").touch()
    assert plan.held("events", 1000, tmp_path)
    assert not plan.held("events.parquet", 1000, tmp_path)
    (tmp_path / "events-1000-v1.parquet").touch()
    assert plan.held("events.parquet", 1000, tmp_path)


def test_what_is_optional_is_said_and_not_required(tmp_path: Path):
    needs = {"a": Need(1e9, 60), "b": Need(9e12, 3600, optional=True)}
    said = Plan(needs, tmp_path)
    assert said.disk == 1e9
    assert said.seconds == 60
    assert any("9000.0 GB" in text and "where the disk allows" in text for text in said.lines())
