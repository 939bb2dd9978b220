"""What single rows are judged by: stalls paired in time, the external-sort formula, the page cache."""

from __future__ import annotations

import pytest

from benchmarks.contest import page_cache
from benchmarks.events.test_latency import BARE, SEGUE, over_bare
from benchmarks.harness import Contender, Measured, Outcome, Sample
from benchmarks.pipeline.sorting import ExternalSort


def rounds(contender: Contender, *worst: float) -> Measured:
    samples = [Sample(Outcome([0.1], 1, "", {"worst_ms": ms}), {}) for ms in worst]
    return Measured(contender, samples)


@pytest.mark.parametrize(
    ("ours", "bare", "added"),
    [
        ((3.0, 4.0, 90.0), (2.0, 3.5, 1.0), 1.0),  # a hiccup in one of our rounds
        ((3.0, 4.0, 5.0), (2.0, 90.0, 3.0), 1.0),  # and in one of the bare loop's
        ((9.0, 9.0, 1.0), (1.0, 1.0, 1.0), 8.0),  # twice is no hiccup
        ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), 0.0),
    ],
)
def test_stalls_are_judged_by_rounds_paired_in_time(
    ours: tuple[float, ...], bare: tuple[float, ...], added: float
):
    results = {SEGUE.name: rounds(SEGUE, *ours), BARE.name: rounds(BARE, *bare)}
    found = over_bare(results, SEGUE.name)
    assert found["added_ms"] == pytest.approx(added)
    assert "median of 3 rounds" in found["note"]
    assert over_bare(results, BARE.name) == {}
    assert over_bare({SEGUE.name: results[SEGUE.name]}, SEGUE.name) == {}


def test_the_formula_of_an_external_sort():
    fits = ExternalSort(1_000_000, 64 << 20, 256)
    assert (fits.runs, fits.kept, fits.bytes_moved) == (7, 7, 0)
    once = ExternalSort(12_000_000, 64 << 20, 256)
    assert once.merged_before == 0
    assert once.bytes_moved == 2 * (once.runs - once.kept) * once.run_rows * 36
    # 680 runs: 256 become one, then 170, which leaves as many as one merge takes.
    more = ExternalSort(100_000_000, 64 << 20, 256)
    assert (more.runs, more.merged_before) == (680, 426)
    assert "426 are merged before the last merge" in str(more)


def test_the_page_cache_is_what_was_measured():
    assert page_cache("warm (input mapped)", 4096) == "warm (input mapped)"
    assert page_cache("warm (input mapped)", None) == "warm (input mapped)"
    assert page_cache("warm", 30 << 20) == "warm, yet 30 MiB came from storage"
