"""Opening the store of a writer that was killed with a full log."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.stores import CODECS, OPTIONS
from benchmarks.harness import Contender
from benchmarks.plan import Need

EVENTS = {"small": 200_000, "medium": 10_000_000, "large": 100_000_000}
ROWS = {"small": 150_000, "medium": 800_000, "large": 800_000}
"""As many as our log holds before its memtable is flushed, at defaults."""

PLAN = {scale: Need(work=0.5e9, seconds=60, data={"events": EVENTS[scale]}) for scale in ("medium", "large")}


CONTENDERS = [
    Contender(
        name,
        "benchmarks.events.recovery:reopen",
        requires=() if name == "segue" else (name,),
        options=OPTIONS[name],
        params={"store": name},
    )
    for name in ("segue", "rocksdict", "plyvel")
]


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def test_recovery_of_a_full_log(contest: Contest, contender: Contender, scale: str):
    params = {"events": str(workloads.path("events", EVENTS[scale])), "rows": ROWS[scale]}
    facts = {"durability": "os", "codec": CODECS[contender.name], "page_cache": "warm (log just written)"}
    contest("events/recovery", CONTENDERS, contender, params=params, **facts)
