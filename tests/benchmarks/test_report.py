from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import __main__ as command
from benchmarks.report import page, results, verdict
from benchmarks.targets import TARGETS, Target, quantity


def entry(group: str, contender: str, value: float, unit: str = "rows/s", **info: Any) -> dict[str, Any]:
    return {
        "name": f"test[{contender}]",
        "group": group,
        "stats": {"min": 0.5, "median": 1.0, "max": 2.0, "rounds": 3},
        "extra_info": {
            "group": group,
            "contender": contender,
            "value": value,
            "unit": unit,
            "rows": 1000,
            "scale": "small",
            **info,
        },
    }


def write(path: Path, entries: list[dict[str, Any]], **about: Any) -> Path:
    run = {"commit": "abc", "scale": "small", "threads": 2, "rounds": 3, "skipped": [], **about}
    path.write_text(json.dumps({"benchmarks": entries, "segue": run, "datetime": "2024-01-01T00:00:00"}))
    return path


def target(name: str) -> Target:
    return next(row for row in TARGETS if row.id == name)


def load(tmp_path: Path, entries: list[dict[str, Any]]) -> results.Results:
    return results.load([write(tmp_path / "results.json", entries)])


def judged(tmp_path: Path, name: str, *entries: dict[str, Any]) -> verdict.Verdict:
    return verdict.judge(target(name), load(tmp_path, list(entries)))


def test_every_row_has_an_id_of_its_own():
    assert len({row.id for row in TARGETS}) == len(TARGETS)
    assert {row.better for row in TARGETS} <= {"higher", "lower", "equal"}


@pytest.mark.parametrize(
    ("ours", "rocks", "text"),
    [
        (5e6, 4e5, "*reached*"),
        (5e6, 6e5, "*not reached*"),  # fast enough, but not ten times RocksDB
        (3e6, 1e5, "*not reached*"),  # thirty times RocksDB, but not fast enough
    ],
)
def test_all_goals_of_a_row_must_hold(tmp_path: Path, ours: float, rocks: float, text: str):
    entries = entry("events/batches", "segue", ours), entry("events/batches", "rocksdict", rocks)
    found = judged(tmp_path, "batches", *entries)
    assert found.text == text
    assert found.best_peer is not None
    assert found.best_peer.better == pytest.approx(ours / rocks)


def test_a_missing_peer_leaves_its_goal_open(tmp_path: Path):
    found = judged(tmp_path, "batches", entry("events/batches", "segue", 5e6))
    assert found.reached is None
    assert found.text == "not judged: rocksdict not measured"
    found = judged(tmp_path, "batches", entry("events/batches", "segue", 3e6))
    assert found.text == "*not reached* (rocksdict not measured)", "whatever the peer would have"


def test_a_row_without_results_is_not_measured(tmp_path: Path):
    assert judged(tmp_path, "recovery", entry("events/batches", "segue", 5e6)).text == "not measured"


@pytest.mark.parametrize(
    ("worst", "bare", "reached"),
    [(7.0, 1.0, True), (14.0, 10.0, True), (14.0, 9.0, False), (9.0, 7.0, False), (8.0, 8.0, True)],
)
def test_a_machine_that_stalls_is_allowed_for(tmp_path: Path, worst: float, bare: float, reached: bool):
    ours = entry("events/latency", "segue", 0.5, "ms", worst_ms=worst)
    loop = entry("events/latency", "pwrite+fdatasync", 0.5, "ms", worst_ms=bare, role="limit")
    found = judged(tmp_path, "latency-worst", ours, loop)
    assert found.reached is reached
    assert found.best_peer is None  # a bare loop is no peer


def test_bounds_for_a_number_of_rows_scale_with_it(tmp_path: Path):
    ours = entry("query/top-artists-foreign", "segue", 0.05, "s", rows=10_000_000)
    assert judged(tmp_path, "top-artists-foreign", ours).reached is True
    ours = entry("query/top-artists-foreign", "segue", 0.07, "s", rows=10_000_000)
    assert judged(tmp_path, "top-artists-foreign", ours).reached is False


def test_a_family_is_the_geometric_mean_of_its_speedups(tmp_path: Path):
    entries = [
        entry("query/family/a", "segue", 1.0, "s"),
        entry("query/family/a", "duckdb", 4.0, "s"),
        entry("query/family/b", "segue", 1.0, "s"),
        entry("query/family/b", "duckdb", 9.0, "s"),
    ]
    found = verdict.judge(target("family"), load(tmp_path, entries))
    assert found.ours == pytest.approx(6.0)


def test_a_family_with_a_query_missing_has_no_mean(tmp_path: Path):
    entries = [
        entry("query/family/a", "segue", 1.0, "s"),
        entry("query/family/a", "duckdb", 40.0, "s"),
        entry("query/family/b", "segue", 1.0, "s"),
    ]
    assert verdict.judge(target("family"), load(tmp_path, entries)).text == "not measured"


def test_contenders_of_a_group_have_one_scale(tmp_path: Path):
    entries = [
        entry("events/batches", "segue", 5e6, scale="large"),
        entry("events/batches", "rocksdict", 4e5, scale="medium"),
    ]
    assert judged(tmp_path, "batches", *entries).text == "not judged: rocksdict not measured"


def test_goals_across_groups(tmp_path: Path):
    entries = [entry("pipeline/nightly", "segue", 4e6), entry("pipeline/memory-128MiB", "segue", 1.9e6)]
    assert judged(tmp_path, "nightly-128MiB", *entries).reached is False
    entries[1] = entry("pipeline/memory-128MiB", "segue", 2.1e6)
    assert judged(tmp_path, "nightly-128MiB", *entries).reached is True
    entries[0] = entry("pipeline/nightly", "segue", 4e6, rows=12345)
    assert judged(tmp_path, "nightly-128MiB", *entries).reached is None, "of other rows"


def test_a_group_is_taken_from_one_run_only(tmp_path: Path):
    small = write(
        tmp_path / "a.json", [entry("events/batches", "segue", 1.0), entry("events/batches", "lmdb", 1.0)]
    )
    large = write(tmp_path / "b.json", [entry("events/batches", "segue", 2.0, scale="large")])
    found = results.load([large, small])
    assert {name: e.figure() for name, e in found.group("events/batches").items()} == {"segue": 2.0}


def test_goals_in_words():
    assert target("one-call").goal_text() == "at least 1.2 M rows/s and at least 6 x rocksdict"
    assert (
        target("latency-worst").goal_text()
        == "(under 8 ms, or at most 1.5 x pwrite+fdatasync where that misses it, too)"
    )
    assert target("memory").goal_text() == "at most 512 MiB"
    top_artists = "at most 0.35 s for 100 M rows and at most 1/20 of duckdb and at most 1/9 of pyarrow"
    assert target("top-artists").goal_text() == top_artists


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (4_123_456, "rows/s", "4.12 M rows/s"),
        (1 << 29, "bytes", "512 MiB"),
        (0.35, "s", "0.35 s"),
        (0, "bytes", "0 B"),
        (12.3e9, "B/s", "12.3 GB/s"),
        (0.00676, "ms", "0.00676 ms"),
        (1000, "", "1 K"),
        (99.4, "%", "99.4 %"),
    ],
)
def test_quantities_for_people(value: float, unit: str, text: str):
    assert quantity(value, unit) == text


ENTRIES = [
    entry("events/batches", "segue", 5e6, options="ours", durability="os", unfair="they pack."),
    entry("events/batches", "rocksdict", 4e5, options="theirs", durability="os"),
    entry("events/store-size", "segue", 9.0, "bytes", store_bytes=9 << 20),
    entry("events/store-size", "rocksdict", 9.0, "bytes", store_bytes=3 << 20),
    entry(
        "events/latency",
        "segue",
        0.5,
        "ms",
        p50_ms=0.5,
        p99_ms=1.5,
        worst_ms=3.0,
        histogram={"upper_ms": [0.5, 1.0, 4.0], "count": [90, 9, 1]},
    ),
    entry("kernels/crc32c", "avx2", 2e10, "B/s", limit_percent=80.0, limit="of memory"),
    entry("scaling/rows", "segue", 1.0, "s", x=1e6, x_label="rows", slope=1.02),
    {**entry("scaling/rows", "segue", 2.0, "s", x=2e6, x_label="rows", slope=1.02), "name": "other"},
]


def test_the_page_holds_every_row_and_what_peers_win(tmp_path: Path):
    source = write(
        tmp_path / "results.json", ENTRIES, skipped=["lmdb: the distribution 'lmdb' is not installed"]
    )
    page = tmp_path / "docs" / "benchmarks.md"
    assert command.main([str(source), "-o", str(page), "--no-plots"]) == 0
    text = page.read_text()
    for row in TARGETS:
        assert f"| {row.title} |" in text
    act = text[text.index("## Act 1") :]
    batches = next(line for line in act.splitlines() if line.startswith("| Batches of 1000, not synced |"))
    assert "*reached*" in batches
    assert "rocksdict 400 K rows/s | 12.5 x" in batches
    assert "- Store size on disk: rocksdict 3 MiB; Segue 9 MiB, rocksdict 3 x better." in text
    assert "`events/batches`: they pack." in text
    assert "Not measured: lmdb: the distribution 'lmdb' is not installed." in text
    assert "- rocksdict: theirs." in text
    assert "### CRC32C" in text
    assert "80 % of memory" in text
    assert text.count("| not measured |") > 20
    assert str(tmp_path) not in text


def test_a_difference_between_contenders_is_said_once_with_its_groups(tmp_path: Path):
    entries = [
        entry(group, contender, 1.0, codec=codec)
        for group in ("events/batches", "events/one-call")
        for contender, codec in (("segue", "packed"), ("rocksdict", "LZ4, zstd"))
    ]
    source, page = write(tmp_path / "results.json", entries), tmp_path / "benchmarks.md"
    command.main([str(source), "-o", str(page), "--no-plots"])
    said = "- `events/batches`, `events/one-call`: contenders differ in codec: LZ4, zstd; packed."
    assert page.read_text().count("contenders differ") == 1
    assert said in page.read_text()


def test_a_curve_says_its_range_and_its_line(tmp_path: Path):
    curve = entry(
        "scaling/append-by-rows",
        "segue",
        1.0,
        "s",
        points=[[1000, 0.1], [20_000, 1.0]],
        x_label="rows",
        slope=0.97,
        fixed_seconds=0.05,
        seconds_per_unit=5e-5,
    )
    source, page = write(tmp_path / "results.json", [curve]), tmp_path / "benchmarks.md"
    command.main([str(source), "-o", str(page), "--no-plots"])
    line = next(text for text in page.read_text().splitlines() if text.startswith("| append-by-rows |"))
    assert "1000 to 20 K rows | 1 s | 0.97 | 50 ms + 50 µs each" in line.replace("|  |", "|")


def test_plots_are_drawn_and_old_ones_removed(tmp_path: Path):
    pytest.importorskip("matplotlib")
    source = write(tmp_path / "results.json", ENTRIES)
    page = tmp_path / "benchmarks.md"
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "gone.svg").write_text("of an earlier report")
    command.main([str(source), "-o", str(page)])
    drawn = {file.name for file in (tmp_path / "benchmarks").iterdir()}
    assert drawn == {"events.svg", "events-latency.svg", "kernels.svg", "scaling-rows.svg"}
    for name in drawn:
        assert f"](benchmarks/{name})" in page.read_text()
        assert "<svg" in (tmp_path / "benchmarks" / name).read_text()


def test_a_group_says_how_it_came_about_and_what_measures_it_again(tmp_path: Path):
    known = {"fullname": "benchmarks/events/test_latency.py::test_stalls[segue]"}
    entries = [
        {**entry("events/latency-unsynced", "segue", 3.0, "ms", added_ms=1.0, note="Of rounds."), **known},
        {
            **entry("kernels/crc32c", "avx2", 2e10, "B/s"),
            "fullname": "benchmarks/kernels/test_crc32c.py::t[a]",
        },
    ]
    source, page = write(tmp_path / "results.json", entries), tmp_path / "benchmarks.md"
    command.main([str(source), "-o", str(page), "--no-plots"])
    text = page.read_text()
    assert "Of rounds." in text
    assert "Alone: `pytest benchmarks/events/test_latency.py::test_stalls --scale small`" in text
    assert "Alone: `pytest benchmarks/kernels/test_crc32c.py::t --scale small`" in text


@pytest.mark.parametrize(
    ("titles", "joined"),
    [
        ([], ""),
        (["One row"], "One row"),
        (["Reads, warm: p50", "Reads, warm: p99"], "Reads, warm: p50; p99"),
        (["Job, joined", "Job: memory", "Job: files"], "Job, joined; memory; files"),
        (["Size", "Size while open"], "Size; while open"),
        (["Batches", "Both"], "Batches; Both"),
    ],
)
def test_what_titles_share_is_said_once(titles: list[str], joined: str):
    assert page._title(titles) == joined
