"""Events a second by way of arrival and by durability, and a long run with its files and memory."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contest import Contest
from benchmarks.events.stores import CODECS, OPTIONS
from benchmarks.harness import Contender
from benchmarks.plan import Need

ROWS = {"small": 200_000, "medium": 10_000_000, "large": 100_000_000}
LONG_RUN_ROWS = {"small": 200_000, "medium": 10_000_000, "large": 100_000_000}
ONE_CALL_ROWS = {"small": 20_000, "medium": 500_000, "large": 2_000_000}
BATCHED_ROWS = {"small": 100_000, "medium": 3_000_000, "large": 10_000_000}
DURABLE_ROWS = {"small": 50_000, "medium": 2_000_000, "large": 5_000_000}

PLAN = {
    scale: Need(work=work, seconds=seconds, data={"events": ROWS[scale]})
    for scale, work, seconds in (("medium", 1.5e9, 900), ("large", 8e9, 3000))
}


def contenders(function: str, *names: str) -> list[Contender]:
    packages = {"segue": (), "sqlite3": ()}
    return [
        Contender(
            name,
            f"benchmarks.events.appends:{function}",
            requires=packages.get(name, (name,)),
            options=OPTIONS[name],
            params={"store": name},
        )
        for name in names
    ]


def events(rows: int) -> str:
    return str(workloads.path("events", rows))


UNFAIR = (
    "Segue takes the Arrow batch, or the row of Python values, as it is; the key-value stores need bytes, "
    "and packing them (vectorised for batches) is part of their time. They get 2-byte codes of the strings "
    "from dictionaries that the application would have to keep; Segue, SQLite and DuckDB store the strings. "
    "SQLite and DuckDB append without an index, so that they do less; SQLite's batches are made into Python "
    "rows before the clock starts, and are in its memory."
)


AT_REST = (
    "Judged is the store at rest, closed, logs included: while open, Segue preallocates its logs, which the "
    "row of the open store counts."
)


def facts(contender: Contender, durability: str) -> dict[str, str]:
    said = {"os": "os", "commit": "commit", "interval": "interval, 5 ms"}[durability]
    return {"durability": said, "codec": CODECS[contender.name], "page_cache": "warm (input mapped)"}


ONE_CALL = contenders("one_call", "segue", "rocksdict", "plyvel", "lmdb", "sqlite3")
INTERVAL = contenders("one_call", "segue", "rocksdict", "plyvel")
BATCHES = contenders("batches", "segue", "rocksdict", "plyvel", "lmdb", "sqlite3")
DURABLE = contenders("batches", "segue", "rocksdict", "plyvel", "lmdb", "sqlite3", "duckdb")
SUSTAINED = contenders("sustained", "segue", "rocksdict", "plyvel")


@pytest.mark.parametrize("contender", ONE_CALL, ids=lambda c: c.name)
def test_one_call_per_event(contest: Contest, contender: Contender, scale: str):
    params = {"events": events(ROWS[scale]), "rows": ONE_CALL_ROWS[scale], "durability": "os"}
    conditions = facts(contender, "os")
    contest("events/one-call", ONE_CALL, contender, params=params, unfair=UNFAIR, **conditions)


@pytest.mark.parametrize("contender", INTERVAL, ids=lambda c: c.name)
def test_one_call_per_event_synced_in_the_background(contest: Contest, contender: Contender, scale: str):
    params = {"events": events(ROWS[scale]), "rows": ONE_CALL_ROWS[scale], "durability": "interval"}
    conditions = facts(contender, "interval")
    contest("events/one-call-interval", INTERVAL, contender, params=params, unfair=UNFAIR, **conditions)


@pytest.mark.parametrize("contender", BATCHES, ids=lambda c: c.name)
def test_batches_of_1000(contest: Contest, contender: Contender, scale: str):
    params = {"events": events(ROWS[scale]), "rows": BATCHED_ROWS[scale], "durability": "os"}
    conditions = facts(contender, "os")
    contest("events/batches", BATCHES, contender, params=params, unfair=UNFAIR, **conditions)


@pytest.mark.parametrize("contender", DURABLE, ids=lambda c: c.name)
def test_batches_of_1000_each_durable(contest: Contest, contender: Contender, scale: str):
    params = {"events": events(ROWS[scale]), "rows": DURABLE_ROWS[scale], "durability": "commit"}
    conditions = facts(contender, "commit")
    contest("events/batches-durable", DURABLE, contender, params=params, unfair=UNFAIR, **conditions)


# One long run of each answers four rows: its speed, and what it left on disk and took of memory.
LONG_RUN = {
    "events/sustained": ("%", "sustained_percent"),
    "events/write-amplification": ("bytes/byte", "written_per_byte"),
    "events/store-size": ("bytes", "store_bytes"),
    "events/memory": ("bytes", "memory_anonymous"),
}


@pytest.mark.parametrize("contender", SUSTAINED, ids=lambda c: c.name)
@pytest.mark.parametrize("group", LONG_RUN)
def test_long_run(contest: Contest, contender: Contender, scale: str, group: str):
    unit, value = LONG_RUN[group]
    contest(
        group,
        SUSTAINED,
        contender,
        # Logs that are deleted before the page cache writes them would not count: they are synced here.
        params={"events": events(LONG_RUN_ROWS[scale]), "durability": "interval"},
        unit=unit,
        value=value,
        rounds=1 if scale == "large" else None,
        **facts(contender, "interval"),
        unfair=AT_REST if group == "events/store-size" else UNFAIR,
    )
