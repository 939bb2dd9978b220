"""Acknowledgement at a steady 100 K events/s, open loop, beside a bare ``pwrite`` + ``fdatasync`` loop."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.stores import CODECS, OPTIONS
from benchmarks.harness import Contender, Measured
from benchmarks.plan import Need

SECONDS = {"small": 0.5, "medium": 20, "large": 1000}
ROWS = {"small": 200_000, "medium": 10_000_000, "large": 100_000_000}
LEAST_PAIRS = {"small": 3, "medium": 3, "large": 1}
"""Rounds of a worst wait, which is one wait of thousands: the median of three is not one machine's hiccup."""

PLAN = {
    scale: Need(work=work, seconds=seconds, data={"events": ROWS[scale]})
    for scale, work, seconds in (("medium", 0.5e9, 350), ("large", 8e9, 6500))
}


SEGUE = Contender(
    "segue", "benchmarks.events.latency:store", options=OPTIONS["segue"], params={"store": "segue"}
)
ROCKSDICT = Contender(
    "rocksdict",
    "benchmarks.events.latency:store",
    requires=("rocksdict",),
    options=OPTIONS["rocksdict"],
    params={"store": "rocksdict"},
)
PLYVEL = Contender(
    "plyvel",
    "benchmarks.events.latency:store",
    requires=("plyvel",),
    options=OPTIONS["plyvel"],
    params={"store": "plyvel"},
)
BARE = Contender(
    "pwrite+fdatasync",
    "benchmarks.events.latency:bare",
    options="packed events of 28 bytes into a preallocated file; no store, no index",
    role="limit",
)
DURABLE = [SEGUE, ROCKSDICT, PLYVEL, BARE]
UNSYNCED = [SEGUE, BARE]


@pytest.mark.parametrize("contender", DURABLE, ids=lambda c: c.name)
def test_acknowledgement(contest: Contest, contender: Contender, scale: str):
    params = {"events": str(workloads.path("events", ROWS[scale])), "seconds": SECONDS[scale]}
    measured = contest(
        "events/latency",
        DURABLE,
        contender,
        params={**params, "durability": "commit"},
        unit="ms",
        value="p50_ms",
        durability="commit",
        codec=CODECS[contender.name],
        page_cache="warm (input mapped)",
        load="open loop, 1000 batches/s of 100 events, one caller",
        unfair="The key-value stores pack the batch to bytes within the time that counts; the bare loop has "
        "its bytes.",
    )
    if contender is SEGUE and scale != "small":
        assert measured.extra["flushes"] > 0
        assert measured.extra["compactions"] > 0, "the row is about a store that flushes and merges meanwhile"


@pytest.mark.parametrize("contender", UNSYNCED, ids=lambda c: c.name)
def test_stalls_without_a_disk_to_wait_for(
    contest: Contest, contender: Contender, scale: str, request: pytest.FixtureRequest
):
    params = {"events": str(workloads.path("events", ROWS[scale])), "seconds": SECONDS[scale]}
    contest(
        "events/latency-unsynced",
        UNSYNCED,
        contender,
        params={**params, "durability": "os"},
        unit="ms",
        value="worst_ms",
        rounds=max(LEAST_PAIRS[scale], request.config.getoption("rounds")),
        figures=lambda results: over_bare(results, contender.name),
        durability="os",
        codec=CODECS[contender.name],
        page_cache="warm (input mapped)",
        load="open loop, 1000 batches/s of 100 events, one caller",
    )


def over_bare(results: Mapping[str, Measured], contender: str) -> dict[str, Any]:
    """How much longer the worst wait of a round is than the bare loop's, which meets the same machine.

    Rounds are paired in time, and the median of their differences counts: the worst of all rounds would be
    the machine's own hiccup in whichever of the two it struck. It is 0 where the bare loop waited longer.
    """
    if contender == BARE.name or not (results.get(BARE.name) and results[BARE.name].samples):
        return {}
    ours, bare = (results[name].each("worst_ms") for name in (contender, BARE.name))
    added = [mine - machine for mine, machine in zip(ours, bare, strict=False)]
    said = ", ".join(f"{milliseconds:.2f}" for milliseconds in added)
    note = (
        f"Added is the median of {len(added)} rounds' differences, ours less the bare loop's right after it: "
        f"{said} ms (negative where the bare loop waited longer; a median below 0 counts as 0)."
    )
    return {"added_ms": max(0.0, statistics.median(added)), "note": note}
