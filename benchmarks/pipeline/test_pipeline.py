"""The nightly job beside other engines; its threads, memory and slope; BigSort alone."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest, skipped
from benchmarks.harness import Contender
from benchmarks.pipeline import data
from benchmarks.plan import Need

ROWS = {"small": 150_000, "medium": 10_000_000, "large": 40_000_000}
SORT_ROWS = {"small": 500_000, "medium": 20_000_000, "large": 100_000_000}
SPILL_ROWS = {"small": 3_000_000, "medium": 20_000_000, "large": 100_000_000}

PLAN = {
    scale: Need(work, seconds, {"events": ROWS[scale], "events.parquet": ROWS[scale]})
    for scale, work, seconds in (("medium", 4e9, 900), ("large", 16e9, 3600))
}


OPTIONS = {
    "segue": "its own event store in, one durable commit out; memory='1GiB'",
    "duckdb": "COPY (... ORDER BY bucket, timestamp) to one file; memory_limit 2GB",
    "polars": "scan_parquet, join, sort, sink_parquet(PartitionBy) with the streaming engine",
    "spark": "local mode, driver memory 8g; repartition, broadcast join, sortWithinPartitions, write.parquet",
    "numpy": "argsort(kind='stable') and take",
}
FACTS = {"codec": "zstd", "page_cache": "warm (input just read or written)"}
SORT_FACTS = {"codec": "none", "page_cache": "none needed: input in memory", "durability": "none"}
DURABILITY = {"segue": "commit (files and table log synced)"}
"""Of what is written; the peers' is left to the operating system."""
OURS_FACTS = FACTS | {"durability": DURABILITY["segue"]}

UNFAIR = (
    "The peers read zstd Parquet and neither commit nor sync what they write; Segue reads its event store "
    "and syncs its files. The 64 partitions are 64 files of Polars and Spark; Segue orders them inside few "
    "files, and DuckDB inside one (its partitioned COPY keeps no order). One file instead of 64 makes "
    "Polars no faster. The clock does not count Spark's start."
)


def contenders(function: str, *names: str, module: str = "nightly") -> list[Contender]:
    needs = {"spark": ("pyspark", "command:java"), "duckdb": ("duckdb",), "polars": ("polars",)}
    return [
        Contender(
            name,
            f"benchmarks.pipeline.{module}:{function or name}",
            requires=needs.get(name, ()),
            options=OPTIONS[name],
        )
        for name in names
    ]


NIGHTLY = contenders("", "segue", "duckdb", "polars", "spark")
OURS = contenders("segue", "segue")
THREADS = contenders("segue_threads", "segue")
LINEAR = contenders("segue_linear", "segue")
SORTS = contenders("", "segue", "duckdb", "numpy", "polars", module="sorting")
EXTERNAL = contenders("external", "segue", module="sorting")


def inputs(scale: str) -> dict[str, object]:
    rows = ROWS[scale]
    return {
        "rows": rows,
        "memory": "1GiB",
        "events": str(workloads.path("events", rows)),
        "events_parquet": str(data.events_file(rows)),
        "songs": str(data.songs(rows)),
        "songs_parquet": str(data.songs_file(rows)),
    }


@pytest.mark.parametrize("contender", NIGHTLY, ids=lambda c: c.name)
def test_nightly_job(contest: Contest, contender: Contender, scale: str, request: pytest.FixtureRequest):
    if contender.name == "spark" and scale == "small":
        reason = "spark: takes longer to start than the whole suite at --scale small"
        skipped(request.config).add(reason)
        pytest.skip(reason)
    durability = DURABILITY.get(contender.name, "os (not synced)")
    facts = FACTS | {"durability": durability, "unfair": UNFAIR}
    measured = [c for c in NIGHTLY if c.name != "spark" or scale != "small"]
    contest("pipeline/nightly", measured, contender, params=inputs(scale), **facts)


@pytest.mark.parametrize("contender", OURS, ids=lambda c: c.name)
def test_within_128_mib(contest: Contest, contender: Contender, scale: str):
    params = inputs(scale) | {"memory": "128MiB"}
    contest("pipeline/memory-128MiB", OURS, contender, params=params, **OURS_FACTS)


@pytest.mark.parametrize("contender", THREADS, ids=lambda c: c.name)
def test_two_threads(contest: Contest, contender: Contender, scale: str):
    params = inputs(scale) | {"repeats": 1 if scale == "small" else 2}
    contest(
        "pipeline/threads",
        THREADS,
        contender,
        params=params,
        unit="x",
        value="speedup",
        rounds=1,
        **OURS_FACTS,
    )


@pytest.mark.parametrize("contender", LINEAR, ids=lambda c: c.name)
@pytest.mark.parametrize(
    ("group", "unit", "value"),
    [("pipeline/linear", "x", "times_4"), ("pipeline/extrapolated", "s", "story_seconds")],
)
def test_slope(contest: Contest, contender: Contender, scale: str, group: str, unit: str, value: str):
    quarter = str(workloads.path("events", ROWS[scale] // 4))
    params = inputs(scale) | {"quarter": quarter, "repeats": 1 if scale == "small" else 3}
    contest(group, LINEAR, contender, params=params, unit=unit, value=value, rounds=1, **OURS_FACTS)


@pytest.mark.parametrize("contender", SORTS, ids=lambda c: c.name)
def test_big_sort(contest: Contest, contender: Contender, scale: str):
    params = {"rows": SORT_ROWS[scale], "threads": 1}
    contest("pipeline/big-sort", SORTS, contender, params=params, **SORT_FACTS)


@pytest.mark.parametrize("contender", EXTERNAL, ids=lambda c: c.name)
def test_big_sort_that_spills(contest: Contest, contender: Contender, scale: str):
    params = {"rows": SPILL_ROWS[scale], "threads": 1}
    facts = SORT_FACTS | {"page_cache": "warm (spill files just written)", "durability": "none (spill files)"}
    contest(
        "pipeline/big-sort-external",
        EXTERNAL,
        contender,
        params=params,
        unit="x",
        value="ratio",
        rounds=1,
        **facts,
    )
