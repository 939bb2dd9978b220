"""Pieces of the page that several of its sections are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.targets import quantity


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def spread(stats: Mapping[str, Any]) -> str:
    """The least and the most of the samples."""
    if stats["rounds"] == 1:
        return f"{duration(stats['median'])}, once"
    return f"{duration(stats['min'])} to {duration(stats['max'])}, n={stats['rounds']}"


def duration(seconds: float) -> str:
    for limit, factor, unit in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (1e-6, 1e6, "us")):
        if seconds >= limit:
            return quantity(seconds * factor, unit)
    return quantity(seconds * 1e9, "ns")
