"""The names of the rows; needs the standard library alone. What they do stands in `rows.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A headline row: a generator of samples in :mod:`benchmarks.compare.rows`, and its arguments."""

    name: str
    title: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)


def _query(name: str, title: str, **arguments: Any) -> Row:
    return Row(name, title, "query", {"name": name, **arguments})


ROWS = (
    Row("one-call", "one call per event, not synced", "one_call"),
    Row("batches", "batches of 1000, not synced", "batches", {"durability": "os", "rows": 400_000}),
    Row(
        "batches-durable",
        "batches of 1000, each synced",
        "batches",
        {"durability": "commit", "rows": 150_000},
    ),
    Row("last-50", "last 50 events of a user, warm", "last_50"),
    Row("window", "scan of one day of five", "window"),
    Row("recovery", "opening after a kill", "recovery"),
    Row("nightly", "nightly job", "nightly"),
    Row("big-sort", "BigSort in memory", "big_sort", {"rows": 1_000_000, "memory": "1GiB"}),
    Row("big-sort-spilling", "BigSort within 64 MiB", "big_sort", {"rows": 2_500_000, "memory": "64MiB"}),
    Row("hash-partition", "hash partition by two columns", "hash_partition"),
    _query("top-artists", "top artists by country", times=3),
    Row("top-artists-foreign", "the same on files of others", "foreign", {"times": 2}),
    _query("by-country", "count by country", times=5),
    _query("day-genre", "plays and time by day and genre", times=3),
    _query("devices", "device statistics", times=3),
    _query("distinct-users", "distinct users by country", times=2),
    Row("fresh", "count by country, fresh", "query", {"name": "by-country", "times": 2, "fresh": True}),
)


def chosen(words: str) -> list[Row]:
    """Rows whose name holds one of the words; all without any."""
    found = [row for row in ROWS if not words or any(word in row.name for word in words.split())]
    if not found:
        raise SystemExit(f"no row is named like {words!r}; there are {', '.join(row.name for row in ROWS)}")
    return found
