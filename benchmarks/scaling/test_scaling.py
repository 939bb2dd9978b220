"""Curves of cost, each with its slope in double logarithms: 1 is linear, 0 constant, -1 halves with twice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.stores import CODECS
from benchmarks.harness import Contender, Measured
from benchmarks.pipeline import data as pipeline_data
from benchmarks.pipeline.test_pipeline import OURS_FACTS as NIGHTLY_FACTS
from benchmarks.plan import Need
from benchmarks.query import data as query_data
from benchmarks.query.engines import OPTIONS
from benchmarks.query.test_query import FACTS as QUERY_FACTS
from benchmarks.query.test_query import ROWS as FACT_ROWS
from benchmarks.scaling import curves
from benchmarks.scaling import data as scaling_data

EVENT_ROWS = {"small": 200_000, "medium": 10_000_000, "large": 100_000_000}
NIGHTLY_ROWS = {"small": 150_000, "medium": 8_000_000, "large": 40_000_000}
GROUP_ROWS = {"small": 300_000, "medium": 10_000_000, "large": 100_000_000}
MEMORY_ROWS = {"small": 150_000, "medium": 8_000_000, "large": 40_000_000}
REPEATS = {"small": 1, "medium": 3, "large": 3}
PARTITIONS = (4, 16, 64, 256, 1024)
BUDGETS = (64, 128, 256, 512, 1024)
"""Mebibytes."""
DAYS = (1, 2, 4, 8, 16, 31)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = sorted({1, 2, *(n for n in (4, 8, 16, 32) if n <= CORES)})

PLAN = {
    scale: Need(
        work,
        seconds,
        {"events": EVENT_ROWS[scale], "warehouse": FACT_ROWS[scale], "groups": GROUP_ROWS[scale]},
    )
    for scale, work, seconds in (("medium", 4e9, 900), ("large", 16e9, 5400))
}


def alone(function: str) -> list[Contender]:
    return [Contender("segue", f"benchmarks.scaling.acts:{function}")]


def beside_duckdb(function: str) -> list[Contender]:
    return [
        Contender(
            name,
            f"benchmarks.scaling.acts:{function}",
            requires=() if name == "segue" else (name,),
            options=OPTIONS[name],
            params={"engine": name},
        )
        for name in ("segue", "duckdb")
    ]


APPEND = alone("append_by_rows")
NIGHTLY = alone("nightly_curves")
QUERY = beside_duckdb("query_curves")
MEMORY = [
    Contender(
        f"segue within {budget} MiB",
        "benchmarks.pipeline.nightly:segue",
        params={"memory": f"{budget}MiB", "budget": budget << 20},
    )
    for budget in BUDGETS
]


def eighths(rows: int) -> list[int]:
    """An eighth of the rows, twice that and so on; whole batches."""
    return [rows // share // 1000 * 1000 for share in (8, 4, 2, 1)]


def events(rows: int) -> str:
    return str(workloads.path("events", rows))


@pytest.mark.parametrize("contender", APPEND, ids=lambda c: c.name)
def test_append_by_rows(contest: Contest, contender: Contender, scale: str):
    rows = EVENT_ROWS[scale]
    params = {"events": events(rows), "xs": eighths(rows), "repeats": REPEATS[scale]}
    facts = {
        "x_label": "rows",
        "durability": "os",
        "codec": CODECS["segue"],
        "page_cache": "warm (input mapped)",
    }
    contest("scaling/append-by-rows", APPEND, contender, params=params, unit="s", rounds=1, **facts)


@pytest.mark.parametrize("contender", NIGHTLY, ids=lambda c: c.name)
@pytest.mark.parametrize("what", ["rows", "partitions", "threads"])
def test_nightly(contest: Contest, contender: Contender, scale: str, what: str):
    """One process measures all three curves."""
    rows = NIGHTLY_ROWS[scale]
    params = {
        "events": events(rows),
        "songs": str(pipeline_data.songs(rows)),
        "rows": rows,
        "repeats": REPEATS[scale],
        "rows_xs": eighths(rows),
        "partitions_xs": PARTITIONS[::2] if scale == "small" else PARTITIONS,
        "threads_xs": THREADS,
    }
    facts = NIGHTLY_FACTS | ({"threads": f"1 to {THREADS[-1]}"} if what == "threads" else {})
    contest(
        f"scaling/nightly-by-{what}",
        NIGHTLY,
        contender,
        params=params,
        unit="s",
        seconds=f"{what}_seconds_each",
        rounds=1,
        figures=lambda results: results["segue"].extra[f"{what}_curve"],
        x_label=what,
        **facts,
    )


@pytest.mark.parametrize("contender", MEMORY, ids=lambda c: c.name)
def test_nightly_by_memory(contest: Contest, contender: Contender, scale: str):
    """Each budget in a process of its own, as its memory is measured; all give the same rows."""
    chosen = [MEMORY[0], MEMORY[-1]] if scale == "small" else MEMORY
    if contender not in chosen:
        pytest.skip("scale small measures the least and the largest budget")
    rows = MEMORY_ROWS[scale]
    contest(
        "scaling/nightly-by-memory",
        chosen,
        contender,
        params={"events": events(rows), "songs": str(pipeline_data.songs(rows)), "rows": rows},
        unit="s",
        figures=over_budgets,
        x=contender.params["budget"],
        x_label="bytes of memory",
        series="segue",
        **NIGHTLY_FACTS,
    )


def over_budgets(results: Mapping[str, Measured]) -> dict[str, Any]:
    """Fit a slope through the budgets that were measured."""
    seconds = {m.contender.params["budget"]: m.seconds for m in results.values() if m.samples}
    return {"slope": curves.facts(seconds)["slope"]} if len(seconds) > 1 else {}


def facts_params(scale: str) -> dict[str, Any]:
    database = query_data.warehouse(FACT_ROWS[scale])
    return {
        "facts": str(query_data.facts_of(database)),
        "dimensions": str(database / "dimensions"),
        "rows": FACT_ROWS[scale],
        "repeats": REPEATS[scale],
    }


@pytest.mark.parametrize("contender", QUERY, ids=lambda c: c.name)
@pytest.mark.parametrize("what", ["rows", "threads", "groups"])
def test_query(contest: Contest, contender: Contender, scale: str, what: str):
    """One process of each engine measures all three curves."""
    params = facts_params(scale) | {
        "days": DAYS,
        "threads_xs": THREADS,
        "groups": str(scaling_data.groups_file(GROUP_ROWS[scale])),
        "groups_xs": scaling_data.CARDINALITIES,
    }
    facts = QUERY_FACTS | ({"threads": f"1 to {THREADS[-1]}"} if what == "threads" else {})
    contest(
        f"scaling/query-by-{what}",
        QUERY,
        contender,
        params=params,
        unit="s",
        seconds=f"{what}_seconds_each",
        rounds=1,
        figures=lambda results: results[contender.name].extra[f"{what}_curve"],
        x_label=what,
        **facts,
    )
