"""The last 50 plays of a user, asked for once and again, beside RocksDB; and users who do not exist."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.stores import CODECS, OPTIONS
from benchmarks.harness import Contender
from benchmarks.plan import Need

ROWS = {"small": 150_000, "medium": 10_000_000, "large": 100_000_000}
QUERIES = {"small": 500, "medium": 10_000, "large": 10_000}

PLAN = {
    scale: Need(work=work, seconds=seconds, data={"events": ROWS[scale]})
    for scale, work, seconds in (("medium", 1e9, 300), ("large", 8e9, 1200))
}


CONTENDERS = [
    Contender(
        "segue", "benchmarks.events.reads:last_50", options=OPTIONS["segue"], params={"store": "segue"}
    ),
    Contender(
        "rocksdict",
        "benchmarks.events.reads:last_50",
        requires=("rocksdict",),
        options=OPTIONS["rocksdict"] + "; prefix_same_as_start; rows unpacked to tuples",
        params={"store": "rocksdict"},
    ),
    Contender(
        "plyvel",
        "benchmarks.events.reads:last_50",
        requires=("plyvel",),
        options=OPTIONS["plyvel"] + "; a raw iterator; rows unpacked to tuples",
        params={"store": "plyvel"},
    ),
]
UNFAIR = (
    "The key-value stores give tuples of numbers, in which strings are codes; Segue an Arrow table with the "
    "strings."
)
ASKED_BEFORE = "warm (each user asked for once before)"
GROUPS = {
    "events/last-50": ("p99_ms", "last_seconds_each", ASKED_BEFORE),
    "events/first-50": ("first_p99_ms", "first_seconds_each", "warm (no user asked for before)"),
    "events/absent": ("absent_p99_ms", "absent_seconds_each", ASKED_BEFORE),
}


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
@pytest.mark.parametrize("group", GROUPS)
def test_last_50_of_a_user(contest: Contest, contender: Contender, scale: str, group: str):
    value, seconds, page_cache = GROUPS[group]
    params = {"events": str(workloads.path("events", ROWS[scale])), "queries": QUERIES[scale]}
    contest(
        group,
        CONTENDERS,
        contender,
        params=params,
        unit="ms",
        value=value,
        seconds=seconds,
        rounds=1 if scale == "large" else None,
        durability="os",
        codec=CODECS[contender.name],
        page_cache=page_cache,
        stored_rows=ROWS[scale],
        unfair=UNFAIR,
    )
