from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.scaling import curves, data


@pytest.mark.parametrize("power", [1.0, 0.0, -1.0, 1.5])
def test_the_exponent_of_a_power_is_found(power: float):
    assert curves.exponent([(x, 3 * x**power) for x in (10, 20, 50, 1000)]) == pytest.approx(power)


def test_a_line_gives_its_fixed_and_its_linear_cost():
    fixed, unit = curves.line([(x, 0.5 + 2e-6 * x) for x in (1e3, 1e4, 1e5, 1e6)])
    assert fixed == pytest.approx(0.5)
    assert unit == pytest.approx(2e-6)


def test_small_points_count_as_much_as_large_ones():
    """An error of a tenth at the large end must not drown what a start costs."""
    points = [(x, 0.01 + 1e-6 * x) for x in (1e3, 1e4, 1e5)] + [(1e6, 1.1 * 1.01)]
    fixed, unit = curves.line(points)
    assert fixed == pytest.approx(0.01, rel=0.1)
    assert unit == pytest.approx(1e-6, rel=0.15)


def test_costs_are_never_negative():
    assert curves.line([(1.0, 1.0), (2.0, 2.5), (3.0, 4.0)])[0] == 0.0  # the best line starts below zero
    fixed, unit = curves.line([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)])
    assert unit == 0.0
    assert 1.0 < fixed < 3.0


def test_points_are_measured_in_turns_and_summed_up_by_their_medians():
    order = []

    def once(x: int) -> float:
        order.append(x)
        return float(x) * (10 if len(order) == 1 else 1)  # the very first is slow

    seconds = curves.measure([1, 2], 3, once)
    assert order == [1, 2, 1, 2, 1, 2]
    found = curves.facts(seconds, linear=True)
    assert found["points"] == [(1, 1.0), (2, 2.0)]
    assert found["slope"] == pytest.approx(1.0)
    assert math.isclose(found["seconds_per_unit"], 1.0)


def test_groups_have_the_cardinality_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGUE_BENCH_CACHE", str(tmp_path))
    file = data.groups_file(50_000)
    table = pq.read_table(file)
    assert table.num_rows == 50_000
    assert [len(table[f"k{n}"].unique()) for n in (10, 100, 1000)] == [10, 100, 1000]
    assert data.groups_file(50_000) == file
    assert [f.name for f in tmp_path.iterdir()] == [file.name]
