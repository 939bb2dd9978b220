"""Batches of 1000 of other schemas: `readings` (string key, nulls), `trades` (two key columns, decimals)."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.schemas import OPTIONS
from benchmarks.events.stores import CODECS
from benchmarks.harness import Contender
from benchmarks.plan import Need

ROWS = {"small": 30_000, "medium": 500_000, "large": 2_000_000}

PLAN = {
    scale: Need(work=work, seconds=seconds, data={"readings": ROWS[scale], "trades": ROWS[scale]})
    for scale, work, seconds in (("medium", 0.5e9, 180), ("large", 2e9, 600))
}


UNFAIR = (
    "Segue takes the Arrow batch as it is; the key-value stores need bytes, and packing them is part of "
    "their time."
)

CONTENDERS = [
    Contender(
        name,
        f"benchmarks.events.schemas:{name}",
        requires=() if name == "segue" else (name,),
        options=OPTIONS[name],
    )
    for name in ("segue", "rocksdict", "plyvel")
]


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
@pytest.mark.parametrize("workload", ["readings", "trades"])
def test_other_schemas(contest: Contest, contender: Contender, scale: str, workload: str):
    params = {"events": str(workloads.path(workload, ROWS[scale])), "workload": workload, "durability": "os"}
    facts = {"durability": "os", "codec": CODECS[contender.name], "page_cache": "warm (input mapped)"}
    contest(f"events/batches-of-{workload}", CONTENDERS, contender, params=params, unfair=UNFAIR, **facts)
