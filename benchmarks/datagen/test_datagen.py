"""Fact rows a second of :mod:`segue.datagen`: the way to a billion of them begins there."""

from __future__ import annotations

import pytest

from benchmarks.contest import Contest
from benchmarks.harness import Contender
from benchmarks.plan import Need

ROWS = {"small": 1_000_000, "medium": 10_000_000, "large": 50_000_000}

PLAN = {"medium": Need(work=0, seconds=15), "large": Need(work=0, seconds=60)}

SEGUE = Contender("segue", "benchmarks.datagen.facts:made", options="datagen.facts, 20 columns, defaults")


@pytest.mark.parametrize("contender", [SEGUE], ids=lambda c: c.name)
def test_facts(contest: Contest, contender: Contender, scale: str):
    facts = {"durability": "none", "codec": "none (Arrow in memory)", "page_cache": "none needed: no files"}
    contest("data/facts", [SEGUE], contender, params={"rows": ROWS[scale]}, **facts)
