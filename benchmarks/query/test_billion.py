"""The real aim: one billion facts of 20 columns, the story's query by a plain scan, and DuckDB beside it.

Only at ``--scale large``, and only where the disk has room: the facts are made through a store that holds
100 M events at the most, and stay in the cache.
"""

from __future__ import annotations

import shutil

import pytest

from benchmarks import machine, plan, workloads
from benchmarks.contest import Contest, skipped
from benchmarks.harness import Contender
from benchmarks.plan import Need
from benchmarks.query import data
from benchmarks.query.test_query import FACTS, contenders

ROWS = 1_000_000_000

PLAN = {"large": Need(work=20e9, seconds=3600, data={"warehouse": ROWS}, optional=True)}

CONTENDERS = contenders("statements", "segue", "duckdb")


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def test_one_billion_rows(contest: Contest, contender: Contender, scale: str, request: pytest.FixtureRequest):
    reason = why_not(scale)
    if reason is not None:
        skipped(request.config).add(reason)
        pytest.skip(reason)
    database = data.warehouse(ROWS)
    params = {
        "facts": str(data.facts_of(database)),
        "dimensions": str(database / "dimensions"),
        "rows": ROWS,
        "repeats": 2,
        "names": ["top-artists"],
    }
    size = sum(file.stat().st_size for file in data.facts_of(database).rglob("*.parquet"))
    conditions = {**FACTS, "page_cache": page_cache(size, machine.facts()["memory_bytes"])}
    contest(
        "query/billion",
        CONTENDERS,
        contender,
        params=params,
        unit="s",
        seconds="top-artists_seconds_each",
        rounds=1,
        unfair="The files are larger than memory. Segue has the first turn, with none of them in the page "
        "cache; DuckDB reads what that turn left there. The column of bytes read has what storage gave each.",
        **conditions,
    )


def page_cache(size: int, memory: int) -> str:
    """Say whether files of this size can be warm.

    >>> page_cache(40 << 30, 24 << 30)
    'not warm: 40 GiB of files, 24 GiB of memory'
    """
    if size < 0.75 * memory:
        return "warm"
    return f"not warm: {size / 2**30:.0f} GiB of files, {memory / 2**30:.0f} GiB of memory"


def why_not(scale: str) -> str | None:
    """Why the billion rows are not measured here, or None."""
    if scale not in PLAN:
        return "query/billion: one billion rows are for --scale large"
    cache = workloads.cache_directory()
    need = PLAN[scale]
    wanted = plan.missing_data([need], cache)
    wanted += need.work if wanted else 0.0
    free = shutil.disk_usage(cache).free
    if wanted > free:
        return (
            f"query/billion: one billion facts take {wanted / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free "
            "where data sets are kept; choose another place by SEGUE_BENCH_CACHE"
        )
    return None
