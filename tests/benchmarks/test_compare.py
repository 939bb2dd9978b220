from __future__ import annotations

import math
import random
import statistics
import sys
from pathlib import Path

import pytest

import segue
from benchmarks.compare import __main__ as command
from benchmarks.compare import builds, headline, rows, verdict
from benchmarks.compare.builds import Side
from benchmarks.compare.pairing import Found, Pairing, RowFailedError, Worker, line, measure_all
from benchmarks.compare.verdict import Comparison


def noisy(factor: float, rounds: int, seed: int, spread: float = 0.05) -> list[float]:
    """Ratios of rounds: what is true, and a noise with a heavy tail on either side."""
    rng = random.Random(seed)
    return [
        factor * math.exp(rng.gauss(0, spread) + (rng.random() < 0.1) * rng.choice((-1, 1)) * 0.5)
        for _ in range(rounds)
    ]


@pytest.mark.parametrize(("n", "rank"), [(5, 1), (6, 1), (7, 1), (8, 2), (12, 3), (18, 6), (30, 11)])
def test_ranks_are_those_of_the_sign_test(n: int, rank: int):
    """P(B < k) for B of n coins: the k-th smallest exceeds the median with at most 5 %, the next in more."""
    below = [sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(n)]
    assert verdict.bound_rank(n) == rank
    assert below[rank] <= 0.05 < below[rank + 1]


def test_too_few_rounds_are_refused():
    with pytest.raises(ValueError, match="5 can"):
        verdict.bound_rank(4)


def test_the_bound_covers_the_median_as_often_as_it_says():
    lows = [verdict.judge(noisy(1.3, 8, seed)).low for seed in range(2000)]
    above = sum(low > 1.3 for low in lows) / len(lows)
    assert 0.02 < above < 0.05  # 9/256 for eight rounds


def test_a_slowdown_is_found_and_noise_is_not():
    slower = [verdict.judge(noisy(1.25, 8, seed)).verdict for seed in range(500)]
    assert slower.count("slower") > 450
    equal = [verdict.judge(noisy(1.0, 8, seed)).verdict for seed in range(500)]
    assert equal.count("slower") <= 2
    faster = [verdict.judge(noisy(0.7, 8, seed)).verdict for seed in range(100)]
    assert faster.count("faster") > 90


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.05, 1.06, 1.05, 1.07, 1.06, 1.05], "same"),  # certain, but too little
        ([1.2, 1.3, 0.99, 1.3, 1.2, 1.4], "same"),  # much, but not certain
        ([1.12, 1.11, 1.3, 1.2, 1.01, 1.15], "slower"),
        ([0.85, 0.8, 0.82, 0.9, 0.7, 0.84], "faster"),
        ([1.0, 1.0, 9.0, 1.0, 1.0, 1.0], "same"),  # one round that something disturbed
    ],
)
def test_a_verdict_needs_certainty_and_size(ratios: list[float], expected: str):
    assert verdict.judge(ratios).verdict == expected


def test_a_least_effect_can_be_set():
    ratios = [1.05, 1.06, 1.05, 1.07, 1.06, 1.05]
    assert verdict.judge(ratios, effect=0.03).verdict == "slower"


def test_a_round_is_the_median_of_its_pairs():
    # The machine slowed down for both in the second pair: the pair's ratio does not show it.
    assert verdict.round_ratio([1.0, 5.0, 1.0], [1.1, 5.5, 1.1]) == pytest.approx(1.1)


def found(verdict_: str = "same", failed: bool = False) -> Found:
    comparison = None if failed else Comparison(1.0, 0.9, 1.1, verdict_)
    return Found("row", "a row", [[0.1]], [[0.1]], comparison, "broken" if failed else "", failed)


def new() -> Found:
    """A row that base cannot run."""
    return Found("new", "a new row", note="base: no such attribute")


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([found()], 0),
        ([found(), found("faster")], 0),
        ([found(), found("slower")], 1),
        ([found("slower"), found(failed=True)], 2),
        ([found(), new()], 0),
        ([new(), new()], 2),
    ],
)
def test_exit_statuses(results: list[Found], status: int):
    assert command.conclude(results) == status


class Scripted(Pairing):
    """A pairing whose rounds were written down."""

    def _round(self, row, number, digests):
        for name in digests:
            digests[name].add(DIGESTS.get((row.name, name), "equal"))
        if row.name == "new":
            raise RowFailedError(self.base, "no such attribute")
        if row.name == "broken":
            raise RowFailedError(self.head, "no such attribute")
        ROUNDS.append(row.name)
        return {"base": [0.1] * 3, "head": [0.1 * FACTORS.get(row.name, 1.0)] * 3}


ROUNDS: list[str] = []
FACTORS = {"slow": 1.5}
DIGESTS = {("other", "head"): "unequal"}


def test_rows_are_judged_and_slow_ones_measured_again(tmp_path: Path):
    ROUNDS.clear()
    base, head = (Side(n, n, tmp_path / n, tmp_path / f"scratch-{n}") for n in ("base", "head"))
    pairing = Scripted(base, head, tmp_path, {}, rounds=5, pairs=3, effect=0.1)
    said: list[str] = []
    names = ("fine", "slow", "new", "broken", "other")
    results = measure_all(pairing, [headline.Row(n, n, n) for n in names], said.append)
    by_name = {result.row: result for result in results}
    assert ROUNDS.count("fine") == 5
    assert ROUNDS.count("slow") == 5 + 10
    assert by_name["slow"].slower
    assert not by_name["fine"].slower
    assert (by_name["new"].failed, by_name["broken"].failed, by_name["other"].failed) == (False, True, True)
    assert "outputs differ: base equal, head unequal" in by_name["other"].note
    assert any("again: slower" in text for text in said)
    assert "not compared: base: no such attribute" in line(by_name["new"])


def test_every_headline_row_is_there():
    assert len({row.name for row in headline.ROWS}) == len(headline.ROWS)
    for row in headline.ROWS:
        assert callable(getattr(rows, row.function))
    assert [row.name for row in headline.chosen("big-sort")] == ["big-sort", "big-sort-spilling"]
    with pytest.raises(SystemExit, match="no row is named"):
        headline.chosen("nothing-like-it")


def test_requirements_are_those_of_both_sides(tmp_path: Path):
    sides = []
    for name, needs in (("base", '["numpy>=1"]'), ("head", '["numpy>=2"]')):
        side = Side(name, name, tmp_path / name, tmp_path)
        side.sources.mkdir()
        text = f'[build-system]\nrequires = ["setuptools"]\n[project]\ndependencies = {needs}\n'
        (side.sources / "pyproject.toml").write_text(text)
        sides.append(side)
    assert builds.requirements(sides) == ["setuptools", "numpy>=1", "numpy>=2"]


def test_a_worker_measures_the_package_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A real process on this checkout's package; and one whose package is elsewhere refuses."""
    here = Path(segue.__file__).resolve().parents[1]
    monkeypatch.setenv("SEGUE_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "pysrc").symlink_to(here)
    side = Side("head", "this", tmp_path / "sources", tmp_path / "scratch")
    with Worker(side, Path(sys.executable), row="big-sort", inputs={}) as worker:
        assert worker.answer() == {"ready": True}
        samples = [worker.sample() for _ in range(2)]
    assert len({digest for _, digest in samples}) == 1
    assert statistics.median(seconds for seconds, _ in samples) > 0
    elsewhere = Side("base", "that", tmp_path / "elsewhere", tmp_path / "scratch")
    with (
        Worker(elsewhere, Path(sys.executable), row="big-sort", inputs={}) as worker,
        pytest.raises(RowFailedError, match="base: exit status 1"),
    ):
        worker.answer()
