"""Seconds for dashboard queries, warm, and what they read; a first query; the way from append to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.contest import Contest
from benchmarks.harness import Contender
from benchmarks.plan import Need
from benchmarks.query import data
from benchmarks.query.engines import OPTIONS
from benchmarks.query.statements import FAMILY

ROWS = {"small": 100_000, "medium": 10_000_000, "large": 100_000_000}
REPEATS = {"small": 1, "medium": 3, "large": 3}
FRESH_ROWS = {"small": 50_000, "medium": 1_000_000, "large": 10_000_000}

PLAN = {
    scale: Need(work, seconds, dict.fromkeys(("warehouse", "foreign", "duckdb", "mergetree"), ROWS[scale]))
    for scale, work, seconds in (("medium", 3e9, 600), ("large", 20e9, 4200))
}


FACTS = {
    "codec": "zstd (high-entropy codes stored as they are in our own files)",
    "page_cache": "warm (each statement once before)",
    "durability": "none needed: reads only",
}
AS_LEFT = "as the queries before left it"


def contenders(function: str, *names: str) -> list[Contender]:
    """Of one name, perhaps with ``=engine`` behind it."""
    found = []
    for name in names:
        shown, _, engine = name.partition("=")
        package = shown.split()[0]
        found.append(
            Contender(
                shown,
                f"benchmarks.query.contenders:{function}",
                requires=() if package == "segue" else (package,),
                options=OPTIONS[shown],
                params={"engine": engine or shown},
            )
        )
    return found


PEERS = ("duckdb", "duckdb native", "polars", "datafusion", "chdb", "chdb MergeTree", "pyarrow")
TOP = contenders("statements", "segue", *PEERS)
FOREIGN = contenders("statements", "segue=segue files", *PEERS)
SQL = contenders("statements", "segue", "duckdb", "polars", "datafusion", "chdb")
DELEGATED = contenders("statements", "segue", "duckdb")
ALONE = {name: contenders(name, "segue") for name in ("threads", "bytes_read", "first_query", "fresh")}


def ours(scale: str) -> dict[str, object]:
    database = data.warehouse(ROWS[scale])
    return {
        "facts": str(data.facts_of(database)),
        "dimensions": str(database / "dimensions"),
        "rows": ROWS[scale],
        "repeats": REPEATS[scale],
    }


OWN_FILES = (
    "'duckdb native' and 'chdb MergeTree' read table formats of their own, written before the clock starts."
)
OUR_FILES = (
    "All others read the files that Segue's pipeline wrote, in its layout and order; on those of others "
    "Segue has a row of its own."
)


@pytest.mark.parametrize("contender", TOP, ids=lambda c: c.name)
def test_top_artists_by_country(contest: Contest, contender: Contender, scale: str):
    _top_artists(contest, contender, scale, "query/top-artists", TOP, {}, f"{OWN_FILES} {OUR_FILES}")


@pytest.mark.parametrize("contender", FOREIGN, ids=lambda c: c.name)
def test_top_artists_on_files_of_others(contest: Contest, contender: Contender, scale: str):
    others = dict.fromkeys((c.name for c in FOREIGN), data.foreign)
    _top_artists(contest, contender, scale, "query/top-artists-foreign", FOREIGN, others, OWN_FILES)


def _top_artists(
    contest: Contest,
    contender: Contender,
    scale: str,
    group: str,
    among: list[Contender],
    files: dict[str, Callable[[int], Path]],
    unfair: str,
) -> None:
    """`files`: where contenders have their facts, if not in our warehouse or in tables of their own."""
    places = {**files, "duckdb native": data.duckdb_file, "chdb MergeTree": data.mergetree}
    chosen = [
        replace(c, params={**c.params, "facts": str(places[c.name](ROWS[scale]))})
        if c.name in places and not c.missing()
        else c
        for c in among
    ]
    contest(
        group,
        chosen,
        next(c for c in chosen if c.name == contender.name),
        params=ours(scale) | {"names": ["top-artists"]},
        unit="s",
        seconds="top-artists_seconds_each",
        unfair=unfair,
        **FACTS,
    )


@pytest.mark.parametrize("contender", SQL, ids=lambda c: c.name)
@pytest.mark.parametrize("name", FAMILY)
def test_family(contest: Contest, contender: Contender, scale: str, name: str):
    params = ours(scale) | {"names": FAMILY}
    contest(
        f"query/family/{name}",
        SQL,
        contender,
        params=params,
        unit="s",
        seconds=f"{name}_seconds_each",
        unfair=OUR_FILES,
        **FACTS,
    )


@pytest.mark.parametrize("contender", DELEGATED, ids=lambda c: c.name)
def test_delegated(contest: Contest, contender: Contender, scale: str):
    params = ours(scale) | {"names": ["delegated"]}
    part = "delegated_seconds_each"
    contest(
        "query/delegated",
        DELEGATED,
        contender,
        params=params,
        unit="s",
        seconds=part,
        unfair=OUR_FILES,
        **FACTS,
    )


@pytest.mark.parametrize("contender", ALONE["threads"], ids=lambda c: c.name)
def test_two_threads(contest: Contest, contender: Contender, scale: str):
    contest(
        "query/threads", ALONE["threads"], contender, params=ours(scale), unit="x", value="speedup", **FACTS
    )


@pytest.mark.parametrize("contender", ALONE["bytes_read"], ids=lambda c: c.name)
def test_bytes_read(contest: Contest, contender: Contender, scale: str):
    contest(
        "query/bytes-read",
        ALONE["bytes_read"],
        contender,
        params=ours(scale),
        unit="x",
        value="ratio",
        **FACTS | {"page_cache": AS_LEFT},
    )


@pytest.mark.parametrize("contender", ALONE["first_query"], ids=lambda c: c.name)
def test_first_query(contest: Contest, contender: Contender, scale: str):
    facts = FACTS | {"page_cache": AS_LEFT}
    contest("query/first", ALONE["first_query"], contender, params=ours(scale), unit="s", **facts)


@pytest.mark.parametrize("contender", ALONE["fresh"], ids=lambda c: c.name)
def test_append_to_answer(contest: Contest, contender: Contender, scale: str):
    params = {"rows": FRESH_ROWS[scale], "events": 5 if scale == "small" else 20, "engine": "segue"}
    facts = {"durability": "commit", "codec": "zstd", "page_cache": "warm (just written)"}
    contest("journey/fresh", ALONE["fresh"], contender, params=params, unit="ms", **facts)
