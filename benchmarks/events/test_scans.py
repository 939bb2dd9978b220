"""Columnar scans of whole windows: what the nightly job reads."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.stores import CODECS, OPTIONS
from benchmarks.harness import Contender
from benchmarks.plan import Need

EVENTS = {"small": 150_000, "medium": 10_000_000, "large": 100_000_000}

PLAN = {
    scale: Need(work=20 * rows, seconds=rows / 1e5, data={"events": rows})
    for scale, rows in EVENTS.items()
    if scale != "small"
}

SEGUE = Contender(
    "segue", "benchmarks.events.scans:windows", options=OPTIONS["segue"], params={"store": "segue"}
)


@pytest.mark.parametrize("contender", [SEGUE], ids=lambda c: c.name)
def test_scan_of_whole_windows(contest: Contest, contender: Contender, scale: str):
    params = {"events": str(workloads.path("events", EVENTS[scale])), "repeats": 3}
    facts = {"durability": "os", "codec": CODECS["segue"], "page_cache": "warm (scanned once before)"}
    contest("events/scan", [SEGUE], contender, params=params, **facts)
