"""Points of a curve, measured in turns, and what is fitted through them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any


def measure(xs: Sequence[float], repeats: int, once: Callable[[Any], float]) -> dict[float, list[float]]:
    """Seconds of ``once(x)`` for every x: all of them in turns, `repeats` times."""
    seconds: dict[float, list[float]] = {x: [] for x in xs}
    for _ in range(repeats):
        for x in xs:
            seconds[x].append(once(x))
    return seconds


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Slope b of ``seconds = a * x**b``: least squares through the logarithms. 1 is linear, 0 constant."""
    xs, ys = ([math.log(value) for value in values] for values in zip(*points, strict=True))
    return statistics.linear_regression(xs, ys).slope


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fixed seconds and seconds a unit of ``seconds = fixed + unit * x``, both at least 0.

    Least squares of the *relative* errors, so that the small points count as much as the large ones.
    """
    weights = [1 / y**2 for _, y in points]
    total = math.fsum(weights)
    mean_x, mean_y = (
        math.fsum(w * point[i] for w, point in zip(weights, points, strict=True)) / total for i in (0, 1)
    )
    across = [(w, x - mean_x, y - mean_y) for w, (x, y) in zip(weights, points, strict=True)]
    unit = math.fsum(w * x * y for w, x, y in across) / math.fsum(w * x * x for w, x, _ in across)
    fixed = mean_y - unit * mean_x
    if unit < 0:
        return 1 / (math.fsum(1 / y for _, y in points) / len(points)), 0.0
    if fixed < 0:
        # Through the origin.
        ratios = [(x / y, (x / y) ** 2) for x, y in points]
        return 0.0, math.fsum(r for r, _ in ratios) / math.fsum(s for _, s in ratios)
    return fixed, unit


def facts(seconds: dict[float, list[float]], linear: bool = False) -> dict[str, Any]:
    """Points, slope and, with `linear`, the coefficients of the line, as the report reads them."""
    points = [(x, statistics.median(samples)) for x, samples in seconds.items()]
    found: dict[str, Any] = {"points": points, "slope": exponent(points)}
    if linear:
        found["fixed_seconds"], found["seconds_per_unit"] = line(points)
    return found
