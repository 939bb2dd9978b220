"""How much disk and time a scale takes, said before it starts.

A suite says it by ``PLAN = {"medium": Need(...), ...}``: the data sets it reads, which stay in the cache and
are shared by suites; what it writes and removes again; and seconds on two cores. The estimates are on the
safe side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCALES = ("small", "medium", "large")


def scale_of(config: pytest.Config, test: str) -> str:
    """Return the scale of a test by its id: that of the last ``--scale-of`` that fits, or ``--scale``.

    Parameters of a test do not count, so that the contenders of a group have one scale.
    """
    test = test.partition("[")[0]
    scale: str = config.getoption("scale")
    for word, other in map(split_scale_of, config.getoption("scale_of")):
        if word in test:
            scale = other
    return scale


def split_scale_of(text: str) -> tuple[str, str]:
    """Split ``WORD=SCALE``.

    >>> split_scale_of("test_billion=large")
    ('test_billion', 'large')
    """
    word, _, scale = text.rpartition("=")
    if not word or scale not in SCALES:
        raise pytest.UsageError(f"--scale-of {text}: give WORD=SCALE, SCALE one of {', '.join(SCALES)}")
    return word, scale


BYTES_PER_ROW = {
    "events": 33,
    "events.parquet": 15,
    "readings": 56,
    "trades": 54,
    "warehouse": 36,
    "foreign": 34,
    "duckdb": 40,
    "mergetree": 54,
    "groups": 12,
}
"""Of data sets by name, measured; a data set is a file or a directory ``NAME-ROWS-...`` in the cache."""


@dataclass(frozen=True)
class Need:
    """What one suite needs at one scale."""

    work: float
    """Bytes that it holds at the same time besides its data."""
    seconds: float
    data: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Rows by name of data set."""
    optional: bool = False
    """The suite skips itself where this does not fit."""


@dataclass(frozen=True)
class Plan:
    """What all suites of a session need; optional ones not counted."""

    needs: Mapping[str, Need]
    cache: Path

    @property
    def disk(self) -> float:
        """Bytes at the same time: all data not made yet, and the most that one suite writes."""
        taken = [need for need in self.needs.values() if not need.optional]
        return missing_data(taken, self.cache) + max((need.work for need in taken), default=0.0)

    @property
    def seconds(self) -> float:
        return sum(need.seconds for need in self.needs.values() if not need.optional)

    def lines(self) -> list[str]:
        """One line a suite, and the sum."""
        said = []
        for name, need in self.needs.items():
            disk = missing_data([need], self.cache) + need.work
            note = "  where the disk allows; not in the sum" if need.optional else ""
            said.append(f"  {name:<48} {disk / 1e9:7.1f} GB {need.seconds / 60:7.1f} min{note}")
        said.append(
            f"  {'together, shared data once':<48} {self.disk / 1e9:7.1f} GB {self.seconds / 60:7.1f} min"
        )
        return said


def missing_data(needs: Iterable[Need], cache: Path) -> float:
    """Bytes of the data sets that are not in the cache, each once."""
    wanted = {item for need in needs for item in need.data.items()}
    return float(sum(BYTES_PER_ROW[name] * rows for name, rows in wanted if not held(name, rows, cache)))


def held(name: str, rows: int, cache: Path) -> bool:
    """Whether the cache has that data set, whole."""
    kind, _, suffix = name.partition(".")
    return any(
        not found.name.endswith(".unfinished") and (not suffix or found.suffix == f".{suffix}")
        for found in cache.glob(f"{kind}-{rows}-*")
    )
